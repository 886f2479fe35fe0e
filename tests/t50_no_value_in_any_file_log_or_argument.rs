//! Rule 12, C2, X6, L5: a value that goes through everything the product does is found in no file, log, command line or
//! environment of the server, in no form; nor is the secret half of a token, nor one node's key file on another's disk.
//!
//! The nodes log all they can, snapshots and a new key epoch are made on the way, one node dies in the middle. The
//! search itself is tested below: it finds each form when it is there.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use jarvis_harness::canary::{Search, files_below};
use jarvis_harness::{
    Answer, DevCluster, DevOptions, Programs, Request, eventually, phase, programs, secret_path,
};

/// What Cargo built.
const JARVIS: Programs = programs!();

/// Everything that is worth a line, of everything that sees a value; openraft and sled at this level write 5 MB a second
/// about entries that they know as ciphertext.
const LOG_FILTER: &str = "trace,openraft=info,sled=info";
/// A snapshot after so much log, bytes: a few writes.
const SNAPSHOT_WAL_BYTES: &str = "65536";
/// Writes of about 48 KiB: more than enough log for a snapshot on every node.
const LARGE_WRITES: usize = 6;
/// Written first and last, so that it is in snapshots and in the end of the log.
const SEEN_NAME: &str = "t50/where-names-are-seen";
/// Half of the canary's length, and a multiple of what the search takes as a piece.
const HALF: usize = 32;

#[test]
fn no_value_is_in_any_file_log_or_argument() {
    let canary = new_canary();
    let values = Search::for_bytes(canary.as_bytes());
    let mut cluster = JARVIS.dev(&DevOptions {
        environment: vec![
            ("RUST_LOG", LOG_FILTER),
            (
                "JARVIS_SECRETSD_RAFT_SNAPSHOT_WAL_BYTES",
                SNAPSHOT_WAL_BYTES,
            ),
        ],
        ..DevOptions::default()
    });

    phase("values go in and out through the API");
    cluster.put(0, SEEN_NAME, &canary);
    write_and_read(&cluster, &canary);
    let token = use_a_token(&cluster, &canary);

    phase("values go in and out through the command line");
    use_the_command_line(&cluster, &canary, &values);

    phase("requests with a value in them fail");
    for (what, answer) in failures(&cluster, &canary) {
        assert!(answer.status >= 400, "{what}: {}", answer.text());
        let shown = values.find(&answer.body);
        assert!(shown.is_none(), "{what} shows the value: {}", answer.text());
    }

    phase("a new key epoch, snapshots, a death");
    let rotated = Request::command("/sys/epochs/rotate");
    assert_eq!(cluster.ask_as_admin(1, rotated).done()["epoch"], 2);
    for number in 0..LARGE_WRITES {
        let value = canary.repeat(700);
        cluster.put(number % cluster.count(), "t50/large", &value);
    }
    for index in cluster.all() {
        let folder = cluster.node(index).data_dir.join("snapshots");
        eventually("every node has a snapshot", || {
            let is_there = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "snap");
            files_below(&folder).iter().any(is_there).then_some(())
        });
    }
    let leader = cluster.wait_for_leader();
    let pid = cluster.kill(leader);
    cluster.wait_until_restarted(leader, pid);
    cluster.wait_until_ready();

    phase("values are deleted and destroyed");
    delete_and_destroy(&cluster);
    assert_eq!(cluster.get(0, "t50/text")["value"], canary.as_str());

    phase("nothing in arguments and environments");
    let [root, backend] = [cluster.root_token(), &token].map(secret_half);
    search_processes(&cluster, &[&values, &root, &backend]);

    phase("nothing in any file");
    cluster.put(0, SEEN_NAME, &canary);
    cluster.wait_until_caught_up();
    // Closed segments are compressed on the disk: what is in them is searched here.
    let trails: Vec<Value> = cluster
        .all()
        .flat_map(|index| cluster.events(index))
        .collect();
    let trails = Value::from(trails).to_string();
    cluster.stop();
    let files = files_below(cluster.folder());
    the_right_files_are_searched(&cluster, &files);
    for search in [&values, &backend] {
        let found = search.files_with(&files);
        assert!(found.is_empty(), "{found:?}");
    }
    // The first token is for whoever started `dev`: two files and the screen (DESIGN 10).
    let told = ["root-token", "dev.json", "dev.out"];
    let mut found = root.files_with(&files);
    found.retain(|(path, _, _)| !told.iter().any(|name| path.ends_with(name)));
    assert!(found.is_empty(), "{found:?}");
    each_key_file_stays_where_it_is(&files);
    for search in [&values, &root, &backend] {
        assert_eq!(search.find(trails.as_bytes()), None, "in the trail");
    }
}

#[test]
fn the_search_finds_each_form_and_each_half() {
    let canary = new_canary();
    let search = Search::for_bytes(canary.as_bytes());
    let bytes = canary.as_bytes();
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let forms = [
        canary.clone(),
        canary[..HALF].to_owned(),
        canary[HALF..].to_owned(),
        hex::encode(bytes),
        hex::encode_upper(bytes),
        format!("{bytes:?}"),
        numbers.join(","),
        STANDARD.encode(bytes),
        STANDARD.encode(format!("1{canary}")),
        STANDARD.encode(format!("22{canary}")),
        URL_SAFE_NO_PAD.encode(bytes),
        json!({ "value": canary }).to_string(),
    ];
    for form in &forms {
        let text = format!("before {form} after");
        assert!(search.find(text.as_bytes()).is_some(), "{form}");
        assert!(search.find(form.as_bytes()).is_some(), "{form}");
    }
    assert_eq!(search.find(new_canary().as_bytes()), None);
    assert_eq!(search.find(b""), None);
    assert_eq!(search.find(b"abc"), None);
}

/// Plainly no secret, and nowhere else in the world: 64 hex digits.
fn new_canary() -> String {
    let mut random = [0; HALF];
    getrandom::fill(&mut random).expect("the system has random bytes");
    hex::encode(random)
}

/// Text, binary, a batch of its two halves, versions, lists.
fn write_and_read(cluster: &DevCluster, canary: &str) {
    cluster.put(0, "t50/text", canary);
    cluster.put(1, "t50/text", &format!("before {canary} after"));
    assert_eq!(cluster.put(2, "t50/text", canary), 3);
    let binary = json!({
        "name": "t50/binary",
        "value": STANDARD.encode(canary),
        "encoding": "base64",
    });
    cluster
        .ask_as_admin(1, Request::post("/secret", &binary))
        .done();
    let (first, second) = canary.split_at(HALF);
    let batch = json!({ "writes": [
        { "name": "t50/half/1", "value": first },
        { "name": "t50/half/2", "value": second, "description": "the other half" },
    ] });
    cluster
        .ask_as_admin(2, Request::post("/secrets/batch", &batch))
        .done();
    for node in cluster.all() {
        assert_eq!(cluster.get(node, "t50/text")["value"], canary);
        assert_eq!(cluster.get(node, "t50/half/2")["value"], second);
        let read = cluster.get(node, "t50/binary");
        assert_eq!(read["value"], STANDARD.encode(canary), "{read}");
        cluster
            .ask_as_admin(node, Request::read("t50/text", "?version=2"))
            .done();
        cluster.ask_as_admin(node, Request::get("/secrets")).done();
        let versions = Request::get(&format!("{}/versions", secret_path("t50/text")));
        cluster.ask_as_admin(node, versions).done();
    }
}

/// A second token, used on every node; nobody wrote it down.
fn use_a_token(cluster: &DevCluster, canary: &str) -> String {
    let request = Request::post("/tokens", &json!({ "client": "backend" }));
    let created = cluster.ask_as_admin(0, request).done();
    let token = created["token"].as_str().expect("a token").to_owned();
    let write = Request::write("app/t50", canary).bearer(&token);
    cluster.ask(1, &write).done();
    for node in cluster.all() {
        let read = Request::read("app/t50", "").bearer(&token);
        assert_eq!(cluster.ask(node, &read).done()["value"], canary);
    }
    token
}

/// `set` from a pipe and from a file, `get`, `list`, `export`, `run`, and its errors.
fn use_the_command_line(cluster: &DevCluster, canary: &str, values: &Search) {
    let is_shown = |bytes: &[u8]| values.find(bytes).is_some();
    let cli = cluster.cli();
    let line = format!("{canary}\n");
    let set = cli.piped(&["set", "t50/cli/pipe"], line.as_bytes());
    assert!(set.code == Some(0) && !is_shown(&set.bytes), "{set:?}");
    // Outside the folders that are searched.
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let file = elsewhere.path().join("value");
    fs::write(&file, canary).expect("a file with the value");
    let file = format!("@{}", file.display());
    let set = cli.run(&["set", "t50/cli/file", &file]);
    assert!(set.code == Some(0) && !is_shown(&set.bytes), "{set:?}");
    for arguments in [
        &["get", "t50/cli/pipe"][..],
        &["get", "t50/cli/file", "-o", "raw"],
        &["export", "--prefix", "t50/cli/"],
        &["export", "--names", "t50/cli/file", "-o", "json"],
    ] {
        let said = cli.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}");
        assert!(is_shown(&said.bytes), "{arguments:?} shows the value");
        assert!(!is_shown(&said.err_bytes), "{arguments:?}");
    }
    for arguments in [&["list"][..], &["versions", "t50/cli/pipe"]] {
        let said = cli.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}");
        assert!(!is_shown(&said.bytes), "{arguments:?} shows a value");
    }
    // The child has the value in its environment, and nothing of it in its arguments.
    let script = "printenv T50_CLI_PIPE; tr '\\0' ' ' </proc/$$/cmdline >&2";
    let child = cli.run(&["run", "--names", "t50/cli/pipe", "--", "sh", "-c", script]);
    assert_eq!(child.code, Some(0), "{child:?}");
    assert_eq!(child.bytes, line.as_bytes());
    assert!(!child.err_bytes.is_empty() && !is_shown(&child.err_bytes));

    let conflict = cli.piped(&["set", "t50/cli/pipe", "--cas", "9"], line.as_bytes());
    let mistaken = cli.run(&["set", "t50/cli/pipe", canary]);
    for failed in [conflict, mistaken] {
        assert_ne!(failed.code, Some(0));
        assert!(
            !is_shown(&failed.bytes) && !is_shown(&failed.err_bytes),
            "{failed:?}"
        );
    }
}

/// Each way to be refused that comes after the value has arrived.
fn failures(cluster: &DevCluster, canary: &str) -> Vec<(&'static str, Answer)> {
    let post = |body: String| Request::new("POST", "/secret").body(body);
    let write = |value: &str| Request::write("t50/text", value);
    let cas = json!({ "name": "t50/text", "value": canary, "cas": 99 });
    let name = json!({ "name": "t50//bad", "value": canary });
    let encoding = json!({ "name": "t50/x", "value": format!("{canary}!"), "encoding": "base64" });
    let field = json!({ "name": "t50/x", "value": "example", "cas": canary });
    let key = |value: &str| write(value).idempotency_key("t50-key");
    cluster.ask_as_admin(0, key(canary)).done();
    let admin = [
        (
            "JSON that ends early",
            post(format!("{{\"name\":\"t50/x\",\"value\":\"{canary}")),
        ),
        ("no JSON at all", post(canary.to_owned())),
        (
            "a list as value",
            post(format!("{{\"name\":\"t50/x\",\"value\":[\"{canary}\"]}}")),
        ),
        (
            "a value of the wrong type",
            Request::post("/secret", &field),
        ),
        ("no base64", Request::post("/secret", &encoding)),
        ("a bad name", Request::post("/secret", &name)),
        ("a wrong compare-and-set", Request::post("/secret", &cas)),
        ("a value that is too large", write(&canary.repeat(1_100))),
        ("a body that is too large", write(&canary.repeat(16_000))),
        ("a key used again", key(&format!("{canary}{canary}"))),
        (
            "a batch with a bad name",
            Request::post("/secrets/batch", &json!({ "writes": [name] })),
        ),
    ];
    let others = [
        ("no permission", write(canary).client("mcp")),
        ("an unknown client", write(canary).client("nobody")),
        ("no credential", write(canary)),
        (
            "a token that is none",
            Request::get("/secrets").bearer(canary),
        ),
        (
            "a token of nobody",
            write(canary).bearer(&format!("jv1.{}.{}", "0".repeat(32), &canary[..43])),
        ),
        ("a client that is none", write(canary).client("no client")),
    ];
    let admin = admin.map(|(what, request)| (what, request.client("admin")));
    let all = admin.into_iter().chain(others).enumerate();
    all.map(|(turn, (what, request))| (what, cluster.ask(turn % cluster.count(), &request)))
        .collect()
}

fn delete_and_destroy(cluster: &DevCluster) {
    let delete = |name: &str| Request::delete(&secret_path(name));
    let then = |name: &str, verb: &str| Request::command(&format!("{}/{verb}", secret_path(name)));
    cluster.ask_as_admin(0, delete("t50/cli/pipe")).done();
    cluster
        .ask_as_admin(1, then("t50/cli/pipe", "undelete"))
        .done();
    cluster.ask_as_admin(2, delete("t50/half/1")).done();
    cluster
        .ask_as_admin(0, then("t50/half/2", "destroy"))
        .done();
    let some = Request::post(
        &format!("{}/destroy", secret_path("t50/text")),
        &json!({ "versions": [1] }),
    );
    cluster.ask_as_admin(1, some).done();
    let gone = cluster.ask_as_admin(2, Request::read("t50/half/2", ""));
    assert_eq!(gone.status, 404, "{}", gone.text());
}

/// A token's secret half, as its text and as its bytes.
fn secret_half(token: &str) -> Search {
    let (_, secret) = token.rsplit_once('.').expect("a token has three parts");
    let bytes = URL_SAFE_NO_PAD
        .decode(secret)
        .expect("a token's secret is base64");
    Search::for_all(&[secret.as_bytes(), &bytes])
}

/// What `ps` shows of the server's processes, and what they were given as environment.
fn search_processes(cluster: &DevCluster, searches: &[&Search]) {
    let nodes = cluster.all().map(|index| cluster.pid(index).to_string());
    let pids: Vec<String> = nodes.chain([cluster.dev_pid().to_string()]).collect();
    for pid in pids {
        for file in ["cmdline", "environ"] {
            let path = Path::new("/proc").join(&pid).join(file);
            let bytes = fs::read(&path).expect("a running process");
            assert!(!bytes.is_empty(), "{}", path.display());
            for search in searches {
                assert_eq!(search.find(&bytes), None, "in {}", path.display());
            }
        }
    }
}

/// A search that looks at the wrong place finds nothing either: a name is no secret, and lies where a value would.
fn the_right_files_are_searched(cluster: &DevCluster, files: &[PathBuf]) {
    let found = Search::for_bytes(SEEN_NAME.as_bytes()).files_with(files);
    for index in cluster.all() {
        let data = &cluster.node(index).data_dir;
        let of_node = |path: &Path| path.starts_with(data);
        for kind in ["wal", "snap", "jsonl"] {
            let is_seen = |path: &Path| path.extension().is_some_and(|found| found == kind);
            let is_there = found
                .iter()
                .any(|(path, _, _)| of_node(path) && is_seen(path));
            assert!(is_there, "node {index}: the name is in no .{kind} file");
        }
        let image = data.join("image/db");
        assert!(files.contains(&image), "{}", image.display());
        let log = fs::read_to_string(data.join("node.log")).expect("a node's log");
        assert!(log.contains(" DEBUG "), "node {index} logs little");
    }
    assert!(files.iter().any(|path| path.ends_with("dev.out")));
}

/// The key file of a node unseals it: no other file holds it, on no node.
fn each_key_file_stays_where_it_is(files: &[PathBuf]) {
    for own in files.iter().filter(|path| path.ends_with("master.key")) {
        let key = fs::read(own).expect("a key file");
        let found = Search::for_bytes(&key).files_with(files);
        let paths: Vec<&PathBuf> = found.iter().map(|(path, _, _)| path).collect();
        assert_eq!(paths, [own]);
    }
}
