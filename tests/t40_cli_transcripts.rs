//! L1, L5, F8, A13: the command line as a person at a shell has it: writing, reading, listing, deleting, what each kind of
//! failure answers, and the same through a unix socket.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use serde_json::json;

use jarvis_harness::{Programs, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  backend:
    allow: [database_url]
"#;
/// Every value below begins so; none may reach standard error.
const VALUE: &str = "example-not-a-secret";

#[test]
fn l1_values_go_in_by_pipe_and_file_and_come_out_in_every_format() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();

    // One newline at the end belongs to the pipe.
    let written = cli
        .piped(&["set", "db/password"], b"example-not-a-secret\n")
        .expect(0)
        .json();
    assert_eq!(
        (&written["name"], &written["version"]),
        (&json!("db/password"), &json!(1))
    );
    let raw = cli.run(&["get", "db/password", "-o", "raw"]).expect(0);
    assert_eq!(raw.bytes, VALUE.as_bytes());
    cli.piped(&["set", "two-lines", "-"], b"example-not-a-secret\n\n")
        .expect(0);
    let raw = cli.run(&["get", "two-lines", "-o", "raw"]).expect(0);
    assert_eq!(raw.out, format!("{VALUE}\n"));
    cli.piped(&["set", "empty"], b"\n").expect(0);
    assert_eq!(cli.run(&["get", "empty"]).expect(0).json()["value"], "");

    // A file is taken as it is, text or not.
    let folder = node.plan().folder();
    node.plan().file("value.txt", "example-not-a-secret\n");
    std::fs::write(folder.join("value.bin"), [0xff, 0x00, b'\n']).unwrap();
    let here = cli.within(folder);
    here.run(&["set", "from-file", "@value.txt"]).expect(0);
    assert_eq!(
        here.run(&["get", "from-file", "-o", "raw"]).out,
        format!("{VALUE}\n")
    );
    here.run(&["set", "binary", "--file", "value.bin"])
        .expect(0);
    assert_eq!(
        here.run(&["get", "binary", "-o", "raw"]).bytes,
        [0xff, 0x00, b'\n']
    );
    assert_eq!(here.run(&["get", "binary"]).json()["encoding"], "base64");
    here.run(&["get", "binary", "-o", "env"])
        .expect(1)
        .complains("binary");

    // L5: a value on the command line works, with a warning that does not repeat it.
    let warned = cli
        .run(&["set", "careless", "--value", VALUE])
        .expect(0)
        .complains("warning");
    assert!(!warned.err.contains(VALUE));
    let mistaken = cli
        .run(&["set", "careless", VALUE])
        .expect(2)
        .complains("@FILE");
    assert!(
        !mistaken.err.contains(VALUE),
        "it may be a value: {}",
        mistaken.err
    );

    // JSON is the default, so that `jq -r .value` keeps working.
    let json = cli.run(&["get", "db/password"]).expect(0).json();
    for field in [
        "name",
        "value",
        "kid",
        "version",
        "created_at",
        "expires_at",
    ] {
        assert!(!json[field].is_null(), "{field} of {json}");
    }
    assert_eq!(
        cli.run(&["get", "db/password", "-o", "json"])
            .expect(0)
            .json(),
        json
    );
    assert_eq!(
        cli.done(&["get", "db/password", "-o", "env"]),
        format!("DB_PASSWORD=\"{VALUE}\"\n")
    );
    assert_eq!(
        cli.done(&["get", "db/password", "--field", "value"]),
        format!("{VALUE}\n")
    );
    assert_eq!(
        cli.done(&["get", "db/password", "--field", "version"]),
        "1\n"
    );
    cli.run(&["get", "db/password", "--field", "colour"])
        .expect(2)
        .complains("created_at");
    let table = cli.done(&["get", "db/password", "-o", "table"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["FIELD", "CONTENT"]);
    assert!(rows.contains(&vec!["value", VALUE]), "{table}");

    // Versions.
    cli.piped(&["set", "db/password"], b"second\n").expect(0);
    assert_eq!(
        cli.done(&["get", "db/password", "--field", "value"]),
        "second\n"
    );
    let old = cli.done(&["get", "db/password", "--version", "1", "--field", "value"]);
    assert_eq!(old, format!("{VALUE}\n"));
    let versions = cli.done(&["versions", "db/password"]);
    assert!(versions.starts_with("VERSION"), "{versions}");
    assert_eq!(versions.lines().count(), 3);
    assert!(!versions.contains(VALUE) && !versions.contains("second"));
    let json = cli
        .run(&["versions", "db/password", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(json["versions"].as_array().unwrap().len(), 2);
}

#[test]
fn l1_a_list_has_one_header_line_and_deleted_names_come_back() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    assert_eq!(
        cli.done(&["list"]).lines().count(),
        1,
        "a header also when there is nothing"
    );
    for name in ["b", "team/a", "team/c"] {
        cli.piped(&["set", name], VALUE.as_bytes()).expect(0);
    }
    let about = [
        "--description",
        "what it is for",
        "--owner",
        "us",
        "--type",
        "password",
    ];
    cli.piped(
        &[&["set", "team/d"][..], &about[..]].concat(),
        VALUE.as_bytes(),
    )
    .expect(0);

    assert_eq!(
        column_one(&cli.done(&["list"])),
        ["NAME", "b", "team/a", "team/c", "team/d"]
    );
    assert_eq!(
        column_one(&cli.done(&["list", "-o", "table", "--prefix", "team/"])).len(),
        4
    );
    let list = cli.run(&["list", "-o", "json"]).expect(0);
    assert!(!list.out.contains(VALUE));
    let list = list.json();
    assert_eq!(list["secrets"][3]["owner"], "us");

    let gone = cli
        .run(&["delete", "team/a"])
        .expect(0)
        .complains("jarvis-secrets undelete team/a");
    let until = gone.json()["undelete_until"].as_str().unwrap().to_owned();
    assert_eq!(
        column_one(&cli.done(&["list"])),
        ["NAME", "b", "team/c", "team/d"]
    );
    let with_deleted = cli.done(&["list", "--deleted"]);
    assert_eq!(column_one(&with_deleted).len(), 5);
    assert!(with_deleted.contains(&until), "{with_deleted}");
    cli.run(&["get", "team/a"]).expect(3).complains(&until);
    cli.run(&["delete", "team/a"]).expect(3);
    cli.run(&["undelete", "team/a"]).expect(0);
    assert_eq!(
        cli.done(&["get", "team/a", "--field", "value"]),
        format!("{VALUE}\n")
    );
    let alive = cli
        .run(&["undelete", "team/a"])
        .expect(5)
        .complains("team/a is not deleted");
    assert!(!alive.err.contains("--cas"), "{}", alive.err);

    // Destroying wants a yes.
    cli.run(&["destroy", "team/a"]).expect(2).complains("--yes");
    cli.run(&["get", "team/a"]).expect(0);
    cli.run(&["destroy", "team/a", "--yes"]).expect(0);
    cli.run(&["get", "team/a"]).expect(3);
    cli.run(&["undelete", "team/a"]).expect(3);
}

#[test]
fn l5_every_kind_of_failure_has_its_exit_code_and_says_what_to_do() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    cli.piped(&["set", "database_url"], VALUE.as_bytes())
        .expect(0);

    // 1: a definite refusal of another kind.
    let long = "x".repeat(60 * 1024);
    let long = format!("{long}{}", &long[..6 * 1024]);
    let path = node.plan().file("long.txt", &long);
    let from_file = format!("@{}", path.display());
    cli.run(&["set", "long", &from_file])
        .expect(1)
        .complains("too_large");
    // 2: the command line is wrong; nothing was sent.
    for usage in [
        &["get"][..],
        &["nonsense"],
        &["get", "two words"],
        &["get", "/leading"],
        &["get", "a", "--version", "one"],
        &["get", "a", "-o", "xml"],
        &["get", "a", "--url", "nonsense"],
        &["get", "a", "--url", "ftp://127.0.0.1"],
        &["get", "a", "--cert", "only.pem"],
        &["get", "a", "--token", "two\nlines"],
        &["set", "a", "@/none/such/file"],
        &["set", "a", "@long.txt", "--value", "x"],
        &["run", "env"],
        &["token", "create", "a", "--ttl", "5y"],
    ] {
        cli.run(usage).expect(2);
    }
    cli.run(&[]).expect(2).complains("Usage");
    // 3, 4, 5.
    cli.run(&["get", "none"]).expect(3).complains("not_found");
    cli.run(&["get", "database_url", "--version", "7"])
        .expect(3);
    let backend = cli.done(&["token", "create", "backend", "-o", "raw"]);
    let backend = cli.with("JARVIS_SECRETS_TOKEN", backend.trim());
    assert_eq!(
        backend.done(&["get", "database_url", "--field", "version"]),
        "1\n"
    );
    backend
        .run(&["get", "other"])
        .expect(4)
        .complains("not_authorized");
    backend.piped(&["set", "database_url"], b"x").expect(4);
    let contradicting = backend.with("JARVIS_CLIENT_ID", "admin");
    contradicting.run(&["get", "database_url"]).expect(4);
    backend
        .with("JARVIS_CLIENT_ID", "backend")
        .run(&["get", "database_url"])
        .expect(0);
    let nobody = cli.with("JARVIS_SECRETS_TOKEN", "");
    nobody
        .run(&["get", "database_url"])
        .expect(4)
        .complains("JARVIS_SECRETS_TOKEN");
    nobody
        .run(&["--token", "jv1.x", "get", "database_url"])
        .expect(4);
    cli.piped(&["set", "database_url", "--cas", "0"], b"x")
        .expect(5)
        .complains("--cas");
    cli.piped(&["set", "database_url", "--cas", "1"], b"example-2")
        .expect(0);
    cli.run(&["delete", "database_url", "--cas", "1"])
        .expect(5)
        .complains("the current version is 2");
    let keyed = ["set", "keyed", "--idempotency-key", "story"];
    let first = cli.piped(&keyed, b"x").expect(0).out;
    assert_eq!(cli.piped(&keyed, b"x").expect(0).out, first);
    cli.piped(&keyed, b"y")
        .expect(5)
        .complains("idempotency_key_reused");
    // 6: nobody there, or sealed; several addresses are tried in turn.
    let spare = JARVIS.plan();
    let (dead, live) = (
        format!("http://{}", spare.api),
        format!("http://{}", node.plan().api),
    );
    cli.run(&["get", "database_url", "--url", &dead])
        .expect(6)
        .complains(&dead);
    let both = format!("{dead},{live}");
    for asks_one in ["health", "metrics"] {
        let refused = cli
            .run(&[asks_one, "--url", &both])
            .expect(6)
            .complains("--url");
        assert!(
            refused.err.contains(&dead) && !refused.err.contains(&live),
            "{}",
            refused.err
        );
    }
    cli.with("JARVIS_SECRETS_URL", &both)
        .run(&["get", "database_url"])
        .expect(0);
    cli.run(&["seal"]).expect(0);
    cli.run(&["get", "database_url"])
        .expect(6)
        .complains("sealed");
    cli.run(&["health", "--ready"]).expect(6);
    cli.run(&["health"]).expect(0);
    let wrong = cli
        .piped(&["unseal"], b"an example of a wrong phrase\n")
        .expect(4)
        .complains("no seal slot opens with this passphrase");
    assert!(!wrong.err.contains("JARVIS_SECRETS_TOKEN"), "{}", wrong.err);

    let help = JARVIS.cli().run(&["--help"]).expect(0).out;
    for line in [
        "0  done",
        "3  not found",
        "6  unavailable",
        "JARVIS_SECRETS_URL",
    ] {
        assert!(help.contains(line), "{line}");
    }
    JARVIS.cli().run(&["--version"]).expect(0);
}

#[test]
fn a13_the_command_line_speaks_through_a_unix_socket() {
    let settings = [
        ("server", "allow_unix_socket = true"),
        ("security", "trust_client_header = true"),
    ];
    let mut node = JARVIS.node(POLICY, &settings);
    let socket = format!("unix://{}/api.sock", node.plan().data().display());
    let live = format!("http://{}", node.plan().api);
    let cli = node.cli().with("JARVIS_SECRETS_URL", &socket);
    cli.piped(&["set", "database_url"], VALUE.as_bytes())
        .expect(0);
    assert_eq!(
        cli.done(&["get", "database_url", "--field", "value"]),
        format!("{VALUE}\n")
    );
    let over_tcp = [
        "get",
        "database_url",
        "--field",
        "version",
        "--url",
        live.as_str(),
    ];
    assert_eq!(cli.done(&over_tcp), "1\n");

    // I2: on this machine's socket a name alone is believed, where the node is told to believe one.
    let named = JARVIS
        .cli()
        .with("JARVIS_SECRETS_URL", &socket)
        .with("JARVIS_CLIENT_ID", "backend");
    named.run(&["get", "database_url"]).expect(0);
    named
        .run(&["get", "other"])
        .expect(4)
        .complains("not_authorized");

    // Among other addresses, before and after them.
    let missing = format!("unix://{}/none.sock", node.plan().folder().display());
    let dead = format!("http://{}", JARVIS.plan().api);
    for urls in [format!("{missing},{live}"), format!("{dead},{socket}")] {
        cli.run(&["get", "database_url", "--url", &urls]).expect(0);
    }
    let both = format!("{socket},{live}");
    let all = cli.done(&["health", "--all", "--url", &both]);
    assert_eq!(
        column_one(&all),
        ["ADDRESS", socket.as_str(), live.as_str()]
    );

    // What can not be a socket, what is not there, and what a dead node leaves behind.
    let long = format!("unix:///{}", "x".repeat(200));
    for usage in [
        "unix://api.sock",
        "unix:/api.sock",
        "unix:///",
        long.as_str(),
    ] {
        cli.run(&["health", "--url", usage])
            .expect(2)
            .complains("unix:///run/jarvis-secretsd/api.sock");
    }
    cli.run(&["bench", "--url", &socket])
        .expect(2)
        .complains("the bench measures TCP");
    cli.run(&["health", "--url", &missing])
        .expect(6)
        .complains("allow_unix_socket");
    node.kill();
    cli.run(&["health"]).expect(6).complains("nobody listens");
}

fn column_one(table: &str) -> Vec<&str> {
    table
        .lines()
        .map(|line| line.split("  ").next().unwrap())
        .collect()
}
