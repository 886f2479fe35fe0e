//! L3: a team moves in with its env file, and its programs get their values: `import`, `export`, `run`.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::path::Path;

use jarvis_harness::{Programs, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = "default_deny: true\nclients:\n  admin:\n    allow: [\"*\"]\n";
/// The shipped example: 40 entries, one of them twice.
const TEAM_ENV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/team.env");

#[test]
fn l3_an_import_reports_and_a_second_one_changes_nothing() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    let dry = cli.done(&["import", TEAM_ENV, "--dry-run"]);
    assert_eq!(
        last_line(&dry),
        "dry run: 40 created, 0 updated, 0 unchanged, 1 duplicates, 0 bad lines, 0 refused"
    );
    assert_eq!(
        cli.done(&["list"]).lines().count(),
        1,
        "a dry run writes nothing"
    );

    let first = cli.done(&["import", TEAM_ENV]);
    assert_eq!(
        last_line(&first),
        "40 created, 0 updated, 0 unchanged, 1 duplicates, 0 bad lines, 0 refused"
    );
    assert!(first.contains("created    database_url\n"), "{first}");
    assert!(
        first.contains("log_level, line "),
        "the duplicate is named: {first}"
    );
    let list = cli.done(&["list", "-o", "json"]);
    let second = cli.done(&["import", TEAM_ENV]);
    assert_eq!(
        last_line(&second),
        "0 created, 0 updated, 40 unchanged, 1 duplicates, 0 bad lines, 0 refused"
    );
    assert_eq!(
        cli.done(&["list", "-o", "json"]),
        list,
        "no version, no time, nothing changed"
    );

    // The grammar, end to end.
    let raw = |name: &str| cli.done(&["get", name, "-o", "raw"]);
    assert_eq!(raw("log_level"), "debug");
    assert_eq!(raw("legacy_license"), "");
    assert_eq!(
        raw("postgres_password"),
        "example-not-a-password $1 # not a comment"
    );
    assert_eq!(raw("cookie_key"), "example-cookie-not-a-secret");
    assert_eq!(raw("session_secret"), "example-session-not-a-secret");
    assert_eq!(raw("smtp_from"), "The \"Example\" Team <team@example.com>");
    assert_eq!(
        raw("elastic_password"),
        "example\tnot a password\\with a tab and a backslash"
    );
    assert_eq!(raw("greeting"), "zażółć gęślą jaźń 🔑");
    assert_eq!(raw("db/main/username"), "main_app");
    let key = raw("tls_private_key");
    assert!(
        key.starts_with("-----BEGIN") && key.ends_with("-----\n") && key.lines().count() == 4,
        "{key}"
    );

    // A changed line is one new version.
    let text = std::fs::read_to_string(TEAM_ENV)
        .unwrap()
        .replace("JWT_ISSUER=https://login", "JWT_ISSUER=https://new");
    let changed = node.plan().file("changed.env", &text);
    let third = cli.done(&["import", path(&changed)]);
    assert_eq!(
        last_line(&third),
        "0 created, 1 updated, 39 unchanged, 1 duplicates, 0 bad lines, 0 refused"
    );
    assert_eq!(
        cli.done(&["get", "jwt_issuer", "--field", "version"]),
        "2\n"
    );

    // Bad lines are named and the rest goes on; no message holds a value.
    let bad = node.plan().file(
        "bad.env",
        "GOOD=1\nexample-not-an-assignment\n=example-value\nbad key=example-value\nLAST=2\n",
    );
    let reported = cli
        .run(&["import", path(&bad), "--prefix", "team/"])
        .expect(1);
    for line in ["line 2: ", "line 3: ", "line 4: "] {
        assert!(reported.out.contains(line), "{line}: {}", reported.out);
    }
    assert!(
        !reported.out.contains("example-") && !reported.err.contains("example-"),
        "{}",
        reported.out
    );
    assert_eq!(raw("team/good") + &raw("team/last"), "12");
    cli.run(&["import", "/none/such.env"]).expect(2);
}

#[test]
fn l3_exports_import_again_and_programs_see_their_values() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    let env = node.plan().file(
        "app.env",
        "URL=postgres://x?a=b#c\nKEY=\"two\\nlines \\\"q\\\" $HOME\"\nEMPTY=\n",
    );
    cli.run(&["import", path(&env), "--prefix", "app/"])
        .expect(0);

    let exported = cli.done(&["export", "--prefix", "app/"]);
    assert!(
        exported.contains("APP_URL=\"postgres://x?a=b#c\"\n"),
        "{exported}"
    );
    let copy = node.plan().file("copy.env", &exported);
    cli.run(&["import", path(&copy)]).expect(0);
    for name in ["url", "key", "empty"] {
        let original = cli.done(&["get", &format!("app/{name}"), "-o", "raw"]);
        assert_eq!(
            cli.done(&["get", &format!("app_{name}"), "-o", "raw"]),
            original,
            "{name}"
        );
    }
    let json = cli
        .run(&["export", "--names", "app/url,app/empty", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(json["secrets"][0]["name"], "app/url");
    assert_eq!(json["secrets"][1]["value"], "");
    cli.run(&["export", "--prefix", "nothing/"]).expect(2);
    cli.run(&["export", "--names", "none"]).expect(3);

    // Into the child's environment, and the exit code is the child's.
    let shown = cli.done(&[
        "run",
        "--prefix",
        "app/",
        "--",
        "sh",
        "-c",
        "printf %s \"$APP_KEY\"",
    ]);
    assert_eq!(shown, "two\nlines \"q\" $HOME");
    let stripped = [
        "run",
        "--prefix",
        "app/",
        "--strip-prefix",
        "--",
        "sh",
        "-c",
        "printf %s \"$URL$EMPTY\"",
    ];
    assert_eq!(cli.done(&stripped), "postgres://x?a=b#c");
    cli.run(&[
        "run",
        "--names",
        "app/url",
        "--",
        "sh",
        "-c",
        "test -z \"$APP_KEY\" && exit 9",
    ])
    .expect(9);
    let arguments = [
        "run",
        "--names",
        "app/url",
        "--",
        "sh",
        "-c",
        "tr '\\0' ' ' < /proc/$$/cmdline",
    ];
    assert!(
        !cli.done(&arguments).contains("postgres://"),
        "`ps` must not show a value"
    );
    cli.run(&["run", "--names", "app/url", "--", "/none/such/program"])
        .expect(127);
    let folder = path(node.plan().folder());
    cli.run(&["run", "--names", "app/url", "--", folder])
        .expect(126);
    cli.run(&["run", "--names", "none", "--", "true"]).expect(3);

    // Two names for one variable, and what no environment can hold, are refused by name.
    cli.piped(&["set", "app.url"], b"x").expect(0);
    let both = cli
        .run(&["run", "--names", "app/url,app.url", "--", "true"])
        .expect(2);
    both.complains("app/url and app.url");
    let zero = node.plan().file("zero", "a\0b");
    cli.run(&["set", "zero", "--file", path(&zero)]).expect(0);
    cli.run(&["run", "--names", "zero", "--", "true"])
        .expect(2)
        .complains("zero");
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
