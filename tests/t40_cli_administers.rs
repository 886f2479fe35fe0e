//! L2, L3, L5, X4: what an administrator does at a shell: policy, tokens, the trail, and the manual.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::fs;
use std::path::Path;

use jarvis_harness::{Programs, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

/// The shipped example.
const POLICY: &str = include_str!("../policy.yaml.example");

#[test]
fn p2_a_policy_file_is_compared_applied_and_explained() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    let shown = cli
        .run(&["policy", "show"])
        .expect(0)
        .complains("version 1");
    assert_eq!(shown.out.trim_end(), POLICY.trim_end());

    let stricter = POLICY.replace("      - redis_url\n", "");
    let file = node.plan().file("new.yaml", &stricter);
    let dry = cli.done(&["policy", "apply", path(&file), "--dry-run"]);
    assert!(
        dry.contains("\n-       - redis_url\n") && dry.contains("dry run"),
        "{dry}"
    );
    cli.run(&["policy", "show"])
        .expect(0)
        .complains("version 1");
    let applied = cli.done(&["policy", "apply", path(&file)]);
    assert!(applied.contains("\n-       - redis_url\n"), "{applied}");
    assert!(applied.ends_with("version 2 is in force\n"), "{applied}");
    let again = cli.done(&["policy", "apply", path(&file)]);
    assert_eq!(again, "nothing changes: version 2 stays in force\n");

    let bad = node.plan().file(
        "bad.yaml",
        "clients:\n  backend:\n    allow: [{ name: a, verbs: [eat] }]\n",
    );
    cli.run(&["policy", "apply", path(&bad)])
        .expect(1)
        .complains("client backend, allow rule 1");
    cli.run(&["policy", "apply", "/none/such.yaml"]).expect(2);
    cli.run(&["policy", "show"])
        .expect(0)
        .complains("version 2");

    for (question, answer) in [
        (
            "backend redis_url",
            "denied: backend may not read redis_url",
        ),
        (
            "backend database_url",
            "allowed: backend may read database_url",
        ),
        (
            "backend app/x --verb write",
            "allowed: backend may write app/x",
        ),
        (
            "backend api_keys/billing",
            "denied: backend may not read api_keys/billing",
        ),
        (
            "nobody database_url",
            "denied: nobody may not read database_url",
        ),
    ] {
        let words: Vec<&str> = ["policy", "explain"]
            .into_iter()
            .chain(question.split(' '))
            .collect();
        let said = cli.done(&words);
        assert!(
            said.starts_with(answer) && said.contains("(policy version 2)"),
            "{said}"
        );
    }
    cli.run(&["policy", "explain", "backend", "x", "--verb", "eat"])
        .expect(2);
}

#[test]
fn i1_tokens_are_made_shown_once_listed_and_revoked() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    cli.piped(&["set", "database_url"], b"example-not-a-secret")
        .expect(0);
    let created = cli
        .run(&["token", "create", "backend", "--ttl", "12h"])
        .expect(0)
        .complains("not shown again")
        .json();
    let raw = cli.done(&["token", "create", "backend", "-o", "raw"]);
    for token in [created["token"].as_str().unwrap(), raw.trim()] {
        let backend = cli.with("JARVIS_SECRETS_TOKEN", token);
        backend.run(&["get", "database_url"]).expect(0);
        backend.run(&["token", "list"]).expect(4);
    }
    let table = cli.done(&["token", "list"]);
    assert!(table.starts_with("ID "), "{table}");
    assert_eq!(table.lines().count(), 4, "two, and the first one: {table}");
    let (_, secret) = raw.trim().rsplit_once('.').unwrap();
    assert!(!table.contains(secret));
    assert!(!cli.done(&["token", "list", "-o", "json"]).contains(secret));

    // By its id, or by mistake with the whole token: the secret half is not sent.
    let id = created["id"].as_str().unwrap();
    assert_eq!(
        cli.done(&["token", "revoke", id]),
        format!("{id} is revoked\n")
    );
    cli.run(&["token", "revoke", raw.trim()]).expect(0);
    for token in [created["token"].as_str().unwrap(), raw.trim()] {
        let backend = cli.with("JARVIS_SECRETS_TOKEN", token);
        backend
            .run(&["get", "database_url"])
            .expect(4)
            .complains("unauthenticated");
    }
    cli.run(&["token", "revoke", id]).expect(3);
    cli.run(&["token", "revoke", "not/an/id"]).expect(2);
    cli.run(&["token", "create", "two words"]).expect(1);
}

#[test]
fn a11_a_command_that_makes_a_credential_is_repeated_under_its_key() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    for (number, command) in [
        &["token", "create", "backend", "-o", "raw"][..],
        &["cluster", "join-token", "--uses", "2"],
        &["seal", "add-passphrase"],
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("story-{number}");
        let key = ["--idempotency-key", key.as_str()];
        let keyed = [command, &key[..]].concat();
        let phrase = b"an example of a long passphrase\n";
        let first = cli.piped(&keyed, phrase).expect(0).out;
        assert_eq!(cli.piped(&keyed, phrase).expect(0).out, first);
        let another = cli.piped(command, phrase).expect(0).out;
        assert_ne!(another, first, "a new key is drawn where none is given");
        let other = ["token", "create", "admin", key[0], key[1]];
        cli.run(&other)
            .expect(5)
            .complains("idempotency_key_reused");
    }
}

#[test]
fn x4_the_trail_is_read_and_verified_and_a_flipped_byte_is_named() {
    let mut node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    for number in 0..10 {
        cli.piped(&["set", &format!("n{number}")], b"example-not-a-secret")
            .expect(0);
    }
    let tail = cli.done(&["audit", "tail", "-n", "3"]);
    assert_eq!(tail.lines().count(), 3);
    for line in tail.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            event["seq"].is_u64() && event["hash"].is_string(),
            "{event}"
        );
    }
    assert!(!tail.contains("example-not-a-secret"));
    let first = cli.done(&["audit", "tail", "--from-seq", "1", "-n", "2"]);
    assert!(first.starts_with(r#"{"seq":1,"#), "{first}");
    assert_eq!(first.lines().count(), 2);
    cli.run(&["audit", "tail", "--token", "jv1.x"]).expect(4);

    // Offline, and of a running node: no address is asked.
    let offline = JARVIS
        .cli()
        .with("JARVIS_SECRETS_URL", "http://127.0.0.1:1");
    let data = node.plan().data();
    let report = offline.done(&["audit", "verify", "--data", path(&data)]);
    assert!(
        report.starts_with("the chain holds: events 1 to "),
        "{report}"
    );
    let json = offline
        .run(&["audit", "verify", "--data", path(&data), "-o", "json"])
        .expect(0)
        .json();
    assert!(json["events"].as_u64().unwrap() >= 12, "{json}");
    assert!(
        json["by_event"]["secret.write"].as_u64().unwrap() >= 10,
        "{json}"
    );

    // A copy of a running trail could hold a newer record of its end than lines.
    node.kill();
    let copy = node.plan().folder().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(data.join("audit")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    offline
        .run(&["audit", "verify", "--data", path(&copy)])
        .expect(0);
    let trail = copy.join("audit.jsonl");
    let sound = fs::read(&trail).unwrap();
    for line in [1, 5, 9] {
        let start: usize = sound
            .split(|byte| *byte == b'\n')
            .take(line - 1)
            .map(|text| text.len() + 1)
            .sum();
        let mut damaged = sound.clone();
        // A digit of the time, which no parser would miss.
        let at = start + r#"{"seq":1,"time":"20"#.len();
        damaged[at] ^= 1;
        fs::write(&trail, &damaged).unwrap();
        let found = offline
            .run(&["audit", "verify", "--data", path(&copy)])
            .expect(1);
        assert!(
            found
                .out
                .contains(&format!("audit.jsonl, line {line}, event {line}:")),
            "{}",
            found.out
        );
        let found = offline
            .run(&["audit", "verify", "--data", path(&copy), "-o", "json"])
            .expect(1)
            .json();
        assert_eq!(found["file"], "audit.jsonl");
        assert_eq!(found["line"], line);
        assert!(found["kind"].is_string(), "{found}");
    }
    offline
        .run(&["audit", "verify", "--data", "/none/such/folder"])
        .expect(2);
}

#[test]
fn l3_completions_manual_pages_and_a_look_at_the_server() {
    let cli = JARVIS.cli();
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef jarvis-secrets"),
        ("fish", "complete -c jarvis-secrets"),
    ] {
        let script = cli.done(&["completions", shell]);
        assert!(script.contains(sign), "{shell}");
        assert!(script.contains("undelete"), "{shell}");
    }
    cli.run(&["completions", "teashell"]).expect(2);
    let page = cli.done(&["man"]);
    assert!(
        page.contains(".TH jarvis-secrets") && page.contains("Exit codes"),
        "{page}"
    );
    let folder = tempfile::tempdir().unwrap();
    cli.run(&["man", "--dir", path(folder.path())]).expect(0);
    for name in [
        "jarvis-secrets.1",
        "jarvis-secrets-set.1",
        "jarvis-secrets-audit-verify.1",
    ] {
        assert!(folder.path().join(name).exists(), "{name}");
    }

    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    assert_eq!(cli.run(&["health"]).expect(0).json()["status"], "ok");
    let ready = cli.run(&["health", "--ready"]).expect(0).json();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["checks"]["unsealed"], true);
    assert!(cli.done(&["metrics"]).contains("\nsecrets_total 0\n"));
    let status = cli.done(&["cluster", "status"]);
    assert!(
        status.contains("leader") && status.lines().count() >= 2,
        "{status}"
    );
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
