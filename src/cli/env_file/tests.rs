//! Each clause of L3's grammar.

use super::*;

fn values(text: &str) -> Vec<(String, String)> {
    let file = parse(text.as_bytes());
    assert!(file.bad.is_empty(), "{text:?}: {:?}", file.bad);
    file.entries
        .into_iter()
        .map(|entry| (entry.name, entry.value.to_string()))
        .collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn value(text: &str) -> String {
    let mut found = values(text);
    assert_eq!(found.len(), 1, "{text:?}");
    found.remove(0).1
}

fn bad(text: &str) -> Vec<(usize, BadReason)> {
    parse(text.as_bytes())
        .bad
        .into_iter()
        .map(|bad| (bad.line, bad.reason))
        .collect()
}

#[test]
fn l3_export_is_optional() {
    assert_eq!(values("export A=1"), [pair("a", "1")]);
    assert_eq!(values("  export\tA = 1"), [pair("a", "1")]);
    assert_eq!(values("export=1"), [pair("export", "1")]);
    assert_eq!(values("export =1"), [pair("export", "1")]);
    assert_eq!(values("exported=1"), [pair("exported", "1")]);
}

#[test]
fn l3_spaces_around_the_equals_sign_are_allowed() {
    assert_eq!(values("A = 1\n\tB\t=\t2"), [pair("a", "1"), pair("b", "2")]);
    assert_eq!(value("A = 'x'"), "x");
    assert_eq!(value("A = \"x\""), "x");
}

#[test]
fn l3_an_unquoted_value_ends_at_a_space_and_a_hash_or_the_newline_and_is_trimmed() {
    assert_eq!(value("A=one two   # comment"), "one two");
    assert_eq!(value("A=one#two"), "one#two");
    assert_eq!(value("A=#one"), "#one");
    assert_eq!(value("A= # nothing here"), "");
    assert_eq!(value("A=  x  \r\n"), "x");
    assert_eq!(value("A=a=b=c"), "a=b=c");
    assert_eq!(value(r"A=C:\new\table"), r"C:\new\table");
    assert_eq!(value("A=it's \"so\""), "it's \"so\"");
}

#[test]
fn l3_single_quotes_are_literal() {
    assert_eq!(value(r#"A='a\nb $HOME # "x" '"#), r#"a\nb $HOME # "x" "#);
    assert_eq!(value("A='x' # comment"), "x");
    assert_eq!(bad("A='x\nB=1'"), [(1, BadReason::OpenSingleQuote)]);
}

#[test]
fn l3_double_quotes_know_six_escapes() {
    assert_eq!(value(r#"A="\n\t\r\"\\\$""#), "\n\t\r\"\\$");
    assert_eq!(value(r#"A="\x \' \a""#), r"\x \' \a");
    assert_eq!(
        value("A=\"ends with a backslash\\\nand goes on\""),
        "ends with a backslash\\\nand goes on"
    );
}

#[test]
fn l3_double_quotes_may_span_lines() {
    let text = "A=\"-----BEGIN-----\nabc\n-----END-----\n\" # pem\nB=2";
    let found = parse(text.as_bytes());
    assert_eq!(
        found.entries[0].value.as_str(),
        "-----BEGIN-----\nabc\n-----END-----\n"
    );
    assert_eq!((found.entries[0].line, found.entries[1].line), (1, 5));
}

#[test]
fn l3_nothing_is_interpolated() {
    assert_eq!(value("A=$HOME/${USER}"), "$HOME/${USER}");
    assert_eq!(value("A=\"$HOME/${USER}\""), "$HOME/${USER}");
}

#[test]
fn l3_empty_is_an_empty_secret() {
    for text in ["A=", "A=''", "A=\"\"", "A=   "] {
        assert_eq!(value(text), "", "{text:?}");
    }
}

#[test]
fn l3_of_duplicates_the_last_wins_and_is_reported() {
    let file = parse(b"A=1\nB=2\na=3\nA=4");
    let left: Vec<_> = file
        .entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.value.as_str()))
        .collect();
    assert_eq!(left, [("b", "2"), ("a", "4")]);
    let replaced: Vec<_> = file
        .duplicates
        .iter()
        .map(|twice| (twice.replaced_line, twice.line))
        .collect();
    assert_eq!(replaced, [(1, 4), (3, 4)]);
}

#[test]
fn l3_a_bad_line_is_named_and_the_rest_goes_on() {
    let file = parse(b"A=1\nnonsense\n=2\nB C=3\nD='x' y\nE=5");
    let names: Vec<_> = file
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(names, ["a", "e"]);
    assert_eq!(
        bad("A=1\nnonsense\n=2\nB C=3\nD='x' y\nE=5"),
        [
            (2, BadReason::NoAssignment),
            (3, BadReason::BadKey),
            (4, BadReason::BadKey),
            (5, BadReason::TextAfterQuote)
        ]
    );
}

#[test]
fn l3_an_open_double_quote_costs_its_own_line_only() {
    let file = parse(b"A=\"oops\nB=2\nC=3");
    assert_eq!(
        file.bad,
        [BadLine {
            line: 1,
            reason: BadReason::OpenDoubleQuote
        }]
    );
    assert_eq!(file.entries.len(), 2);
    let file = parse(b"A=\"oops\nB=\"2\"\nC=3");
    assert_eq!(
        file.bad,
        [BadLine {
            line: 1,
            reason: BadReason::TextAfterQuote
        }]
    );
    assert_eq!(file.entries.len(), 2);
}

#[test]
fn l3_comments_blank_lines_a_byte_order_mark_and_carriage_returns_are_no_entries() {
    assert_eq!(
        values("\u{feff}A=1\r\n\r\n  # B=2\r\n\t\r\n#\r\n"),
        [pair("a", "1")]
    );
    assert!(values("").is_empty());
}

#[test]
fn l3_keys_are_lowered_and_must_be_names() {
    assert_eq!(
        values("DB/Main.Password-1=x"),
        [pair("db/main.password-1", "x")]
    );
    for text in ["É=1", "A B=1", "/A=1", "A//B=1", "..=1"] {
        assert_eq!(bad(text), [(1, BadReason::BadKey)], "{text:?}");
    }
}

#[test]
fn l3_bytes_that_are_no_text_are_a_bad_line_also_inside_quotes() {
    let file = parse(b"A=\xff\nB=\"x\n\xfe\ny\"\n# \xff\nC=3");
    assert_eq!(
        file.bad,
        [
            BadLine {
                line: 1,
                reason: BadReason::NotUtf8
            },
            BadLine {
                line: 3,
                reason: BadReason::NotUtf8
            }
        ]
    );
    assert_eq!(file.entries.len(), 1);
    assert_eq!(file.entries[0].name, "c");
}

#[test]
fn l3_what_is_rendered_reads_back_the_same() {
    for text in [
        "",
        "plain",
        "a \"b\" $c \\d\\n",
        "line\nline\r\n\ttab",
        " lead and trail ",
        "zażółć # 'x'",
    ] {
        assert_eq!(value(&render("KEY", text)), text);
    }
}

#[test]
fn rule_12_debug_and_errors_hold_no_value() {
    let file = parse(b"A=example-not-a-secret\nB='example-not-a-secret\nexample-not-a-secret");
    assert!(!format!("{file:?}").contains("example"));
    assert!(
        file.bad
            .iter()
            .all(|bad| !bad.reason.to_string().contains("example"))
    );
}
