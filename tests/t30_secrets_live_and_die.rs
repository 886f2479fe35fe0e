//! A2–A4, A9, A10, A14, A15: the life of a secret, from its first version to its destruction.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use jarvis_harness::{Caller, Node, Programs, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  writer:
    allow:
      - { name: "own/*", verbs: [read, write] }
"#;

/// A longest value, bytes (A14).
const LONGEST: usize = 64 * 1024;
/// Versions that plain writes keep (R2).
const KEPT_VERSIONS: u64 = 10;

#[test]
fn a2_a3_values_come_back_as_they_were_written() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    every_kind_of_value(&admin);
    binary_values(&admin);
    names_of_every_shape(&admin);
    what_people_say_about_a_secret(&admin);
    the_index_grows(&admin);
    // What was acknowledged is there after the process was killed (C7).
    let mut node = node;
    let config = std::fs::read_to_string(node.plan().folder().join("config.toml")).unwrap();
    node.kill();
    node.start_again(&config);
    every_kind_of_value_is_there(&node.admin());
}

#[test]
fn a9_a10_versions_grow_are_chosen_and_forgotten() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    compare_and_set(&admin);
    versions_and_kids(&admin);
    delete_and_undelete(&admin);
    a_write_revives_a_deleted_name(&admin);
    destroy(&admin);
}

#[test]
fn a4_a15_lists_have_pages_and_batches_are_all_or_none() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    batches(&node, &admin);
    pages_and_prefixes(&admin);
}

fn kinds_of_values() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("values/empty", String::new()),
        ("values/text", "example-not-a-secret".to_owned()),
        (
            "values/unicode",
            "zażółć gęślą jaźń \u{1f511} \u{0}\u{202e}".to_owned(),
        ),
        (
            "values/lines",
            "-----BEGIN EXAMPLE-----\r\nx\n\n".to_owned(),
        ),
        ("values/json", r#"{"a":"\"\\"}"#.to_owned()),
        ("values/longest", "x".repeat(LONGEST)),
        // JSON writes each of these bytes as six.
        ("values/controls", "\u{1}".repeat(LONGEST)),
    ])
}

fn every_kind_of_value(admin: &Caller) {
    for (name, value) in kinds_of_values() {
        let written = admin.write(name, &value);
        assert_eq!(
            (&written["name"], &written["version"]),
            (&json!(name), &json!(1))
        );
        for number in ["audit_seq", "version"] {
            assert!(written[number].is_u64(), "{number} of {written}");
        }
        assert_eq!(written["log_id"].as_str().unwrap().split('-').count(), 3);
        is_a_time(&written["expires_at"]);
    }
    every_kind_of_value_is_there(admin);
}

fn every_kind_of_value_is_there(admin: &Caller) {
    for (name, value) in kinds_of_values() {
        let answer = admin.read(name);
        let read = answer.done();
        assert!(read["value"] == value.as_str(), "{name} came back changed");
        assert_eq!(read["name"], name);
        assert!(read.get("encoding").is_none(), "{name}");
        // 90 days by default (R1).
        let age = is_a_time(&read["expires_at"]) - is_a_time(&read["created_at"]);
        assert_eq!(age.whole_days(), 90);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

fn binary_values(admin: &Caller) {
    for (encoded, name) in [
        ("/wD+gA==", "values/binary"),
        ("", "values/nothing"),
        ("YWJj", "values/abc"),
    ] {
        let write = json!({"name": name, "value": encoded, "encoding": "base64"});
        admin.post("/secret", &write).done();
        let read = admin.read(name).done();
        assert_eq!(
            (&read["value"], &read["encoding"]),
            (&json!(encoded), &json!("base64"))
        );
    }
    // The limit is on the bytes, not on their base64.
    let longest = base64_of_zeros(LONGEST);
    let write = json!({"name": "values/zeros", "value": longest, "encoding": "base64"});
    admin.post("/secret", &write).done();
    assert!(admin.read("values/zeros").done()["value"] == longest.as_str());
    let longer = json!({"name": "values/zeros", "value": base64_of_zeros(LONGEST + 3), "encoding": "base64"});
    admin.post("/secret", &longer).refused(413, "too_large");
}

fn base64_of_zeros(count: usize) -> String {
    let mut text = "AAAA".repeat(count / 3);
    match count % 3 {
        1 => text.push_str("AA=="),
        2 => text.push_str("AAA="),
        _ => {}
    }
    text
}

/// A14: everything that is legal, up to the longest.
fn names_of_every_shape(admin: &Caller) {
    let longest = "n".repeat(512);
    for name in [
        "a",
        "...",
        "A-b_c.9/x/..y",
        "db/main/password",
        "versions",
        longest.as_str(),
    ] {
        let written = admin.write(name, "x");
        assert_eq!(written["name"], name);
        assert_eq!(admin.read(name).done()["name"], name);
    }
}

fn what_people_say_about_a_secret(admin: &Caller) {
    let about = json!({
        "name": "about", "value": "x", "description": "what it is for", "owner": "the example team", "type": "password"
    });
    admin.post("/secret", &about).done();
    // A write that says nothing keeps what was said.
    admin.write("about", "y");
    let list = admin.get("/secrets?prefix=about").done();
    let listed = &list["secrets"][0];
    for field in ["description", "owner", "type"] {
        assert_eq!(listed[field], about[field], "{field}");
    }
    let long = json!({"name": "about", "value": "z", "owner": "o".repeat(1_025)});
    admin.post("/secret", &long).refused(400, "invalid_request");
}

/// A3: the header tells the log index at which the answer was decided.
fn the_index_grows(admin: &Caller) {
    let mut last = 0;
    for _ in 0..5 {
        let answer = admin.read("values/text");
        let index: u64 = answer.header("x-jarvis-index").unwrap().parse().unwrap();
        assert!(index > last, "{index} after {last}");
        last = index;
        let written = admin.write("moving", "x");
        let log_id = written["log_id"].as_str().unwrap();
        let at: u64 = log_id.rsplit('-').next().unwrap().parse().unwrap();
        assert!(at > last, "{log_id} after {last}");
        last = at;
    }
}

fn compare_and_set(admin: &Caller) {
    let write = |cas: u64| json!({"name": "cas", "value": format!("after {cas}"), "cas": cas});
    let conflict = admin.post("/secret", &write(1)).refused(409, "conflict");
    assert_eq!(conflict["actual_version"], 0);
    assert_eq!(admin.post("/secret", &write(0)).done()["version"], 1);
    let conflict = admin.post("/secret", &write(0)).refused(409, "conflict");
    assert_eq!(conflict["actual_version"], 1);
    assert_eq!(admin.post("/secret", &write(1)).done()["version"], 2);
    let read = admin.read("cas").done();
    assert_eq!(
        (&read["value"], &read["version"]),
        (&json!("after 1"), &json!(2))
    );
}

/// A10: +1 per write; the kid tells the second, and which one within it.
fn versions_and_kids(admin: &Caller) {
    const WRITES: u64 = 12;
    for number in 1..=WRITES {
        assert_eq!(
            admin.write("kids", &format!("value {number}"))["version"],
            number
        );
    }
    assert_eq!(admin.read("kids").done()["value"], "value 12");
    let mut within_second: BTreeMap<String, u64> = BTreeMap::new();
    let oldest = WRITES - KEPT_VERSIONS + 1;
    for number in oldest..=WRITES {
        let read = admin.get(&format!("/secret/kids?version={number}")).done();
        assert_eq!(read["value"], format!("value {number}").as_str());
        assert_eq!(read["version"], number);
        let plain = plain_kid("kids", &read["created_at"]);
        let kid = read["kid"].as_str().unwrap();
        let suffix = kid.strip_prefix(plain.as_str()).unwrap();
        let count: u64 = match suffix.strip_prefix('-') {
            Some(count) => count.parse().unwrap(),
            None => 1,
        };
        let before = within_second.insert(plain, count);
        // Versions 1 and 2 are forgotten, so the first one seen may be the third of its second.
        assert!(before.is_none_or(|before| count == before + 1), "{kid}");
    }
    // Twelve writes do not take ten seconds: some shared theirs.
    assert!(within_second.values().any(|count| *count > 1));
    for forgotten in 1..oldest {
        let target = format!("/secret/kids?version={forgotten}");
        admin.get(&target).refused(404, "not_found");
    }

    let list = admin.get("/secret/kids/versions").done();
    let listed: Vec<(u64, &str)> = list["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| {
            (
                version["version"].as_u64().unwrap(),
                version["state"].as_str().unwrap(),
            )
        })
        .collect();
    // Newest first.
    let expected: Vec<(u64, &str)> = (oldest..=WRITES)
        .rev()
        .map(|number| {
            (
                number,
                if number == WRITES {
                    "current"
                } else {
                    "previous"
                },
            )
        })
        .collect();
    assert_eq!(listed, expected);
    assert!(
        !list.to_string().contains("value "),
        "a list of versions shows no value"
    );
}

fn plain_kid(name: &str, created_at: &Value) -> String {
    let at = is_a_time(created_at);
    format!(
        "{name}-{:04}{:02}{:02}-{:02}{:02}{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn delete_and_undelete(admin: &Caller) {
    let written = admin.write("ends", "kept through deletion");
    let deleted = admin.delete("/secret/ends?cas=1").done();
    // Seven days by default.
    let rest = is_a_time(&deleted["undelete_until"]) - is_a_time(&deleted["deleted_at"]);
    assert_eq!(rest.whole_days(), 7);
    admin.read("ends").refused(404, "not_found");
    admin
        .get("/secret/ends?version=1")
        .refused(404, "not_found");
    assert!(names(&admin.get("/secrets?prefix=ends").done()).is_empty());

    let with_deleted = admin.get("/secrets?prefix=ends&deleted=true").done();
    assert_eq!(
        with_deleted["secrets"][0]["deleted_at"],
        deleted["deleted_at"]
    );
    assert_eq!(
        with_deleted["secrets"][0]["undelete_until"],
        deleted["undelete_until"]
    );
    let versions = admin.get("/secret/ends/versions").done();
    assert_eq!(versions["undelete_until"], deleted["undelete_until"]);

    let back = admin.command("/secret/ends/undelete").done();
    assert_eq!(back["version"], 1);
    let read = admin.read("ends").done();
    assert_eq!(
        (&read["value"], &read["kid"]),
        (&json!("kept through deletion"), &written["kid"])
    );
    assert_eq!(names(&admin.get("/secrets?prefix=ends").done()), ["ends"]);
}

fn a_write_revives_a_deleted_name(admin: &Caller) {
    admin.write("revived", "old");
    admin.delete("/secret/revived").done();
    // A deleted name counts as absent for `cas` 0; numbers are never used twice.
    let write = json!({"name": "revived", "value": "new", "cas": 0});
    assert_eq!(admin.post("/secret", &write).done()["version"], 2);
    assert_eq!(admin.read("revived").done()["value"], "new");
    admin
        .get("/secret/revived?version=1")
        .refused(404, "not_found");
}

fn destroy(admin: &Caller) {
    for value in ["one", "two", "three"] {
        admin.write("doomed", value);
    }
    let some = json!({"versions": [1]});
    let destroyed = admin.post("/secret/doomed/destroy", &some).done();
    assert_eq!(destroyed["destroyed"], json!([1]));
    admin
        .get("/secret/doomed?version=1")
        .refused(404, "not_found");
    assert_eq!(admin.read("doomed").done()["value"], "three");
    // Destroying the current version leaves the one before it.
    admin
        .post("/secret/doomed/destroy", &json!({"versions": [3]}))
        .done();
    assert_eq!(admin.read("doomed").done()["value"], "two");

    let destroyed = admin.command("/secret/doomed/destroy").done();
    assert_eq!(destroyed["destroyed"], json!([2]));
    admin.read("doomed").refused(404, "not_found");
    admin
        .command("/secret/doomed/undelete")
        .refused(404, "not_found");
    let everything = admin.get("/secrets?prefix=doomed&deleted=true").done();
    assert!(names(&everything).is_empty());
    assert_eq!(admin.write("doomed", "four")["version"], 4);
}

fn batches(node: &Node, admin: &Caller) {
    let batch = |writes: Vec<Value>| admin.post("/secrets/batch", &json!({"writes": writes}));
    let plain = |name: &str| json!({"name": name, "value": "x"});
    let whole = (0..64)
        .map(|number| plain(&format!("batch/{number:02}")))
        .collect();
    let results = batch(whole).done();
    let results = results["results"].as_array().unwrap();
    assert_eq!(results.len(), 64);
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result["name"], format!("batch/{number:02}").as_str());
        // One entry, one event per write.
        assert_eq!(result["log_id"], results[0]["log_id"]);
        let seq = results[0]["audit_seq"].as_u64().unwrap() + number as u64;
        assert_eq!(result["audit_seq"], seq);
    }

    let before = admin.get("/secrets").done();
    let cas = json!({"name": "batch/00", "value": "y", "cas": 0});
    let conflict = batch(vec![plain("none/a"), cas, plain("none/b")]).refused(409, "conflict");
    assert_eq!(conflict["actual_version"], 1);
    for refused in [
        batch(vec![]),
        batch(
            (0..65)
                .map(|number| plain(&format!("none/{number}")))
                .collect(),
        ),
        batch(vec![plain("none/a"), plain("none/a")]),
        batch(vec![plain("none/a"), plain("none//b")]),
    ] {
        refused.refused(400, "invalid_request");
    }
    let writes = json!({"writes": [plain("own/a"), plain("foreign/b")]});
    let writer = node.client("writer");
    writer
        .post("/secrets/batch", &writes)
        .refused(403, "not_authorized");
    assert_eq!(admin.get("/secrets").done(), before);
}

fn pages_and_prefixes(admin: &Caller) {
    let all = admin.get("/secrets?prefix=batch/").done();
    let expected: Vec<String> = (0..64).map(|number| format!("batch/{number:02}")).collect();
    assert_eq!(names(&all), expected);
    assert_eq!(all["next"], Value::Null);

    let mut paged: Vec<String> = Vec::new();
    let mut pages = 0;
    let mut after = String::new();
    loop {
        let page = admin
            .get(&format!("/secrets?prefix=batch%2F&limit=10{after}"))
            .done();
        let found = names(&page);
        assert!(found.len() <= 10);
        paged.extend(found);
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((paged, pages), (expected, 7));

    admin.write("marked", "example-not-a-secret");
    let everything = admin.get("/secrets");
    assert!(
        !everything.text().contains("example-not-a-secret"),
        "a list shows no value"
    );
    for listed in everything.done()["secrets"].as_array().unwrap() {
        is_a_time(&listed["created_at"]);
        is_a_time(&listed["expires_at"]);
        assert_eq!(listed["is_expired"], false);
        assert!(listed["kid"].is_string() && listed["version"].is_u64());
    }
    let health = admin.get("/healthz").done();
    assert_eq!(health["secrets_count"], 65);
}

fn names(list: &Value) -> Vec<String> {
    let listed = list["secrets"].as_array().unwrap();
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    listed.iter().map(name).collect()
}

/// A10: RFC 3339, UTC.
#[track_caller]
fn is_a_time(text: &Value) -> OffsetDateTime {
    let text = text.as_str().unwrap();
    assert!(text.ends_with('Z'), "{text}");
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}
