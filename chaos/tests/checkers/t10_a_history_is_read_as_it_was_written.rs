//! The format: what is written is read again; what is no history is refused, line by line.

use jarvis_chaos::history::{
    Answer, Due, Fault, FaultResult, History, Item, Kind, Leader, Operation, Outcome, ReadError,
    Rotation,
};

use crate::tale::{Told, batch, cas, history, list, read, write};

const HEADER: &str = r#"{"type":"header","format":1,"seed":7,"nodes":[1,2,3],"command":"c","commit":"d","request_prefix":"t-"}"#;

fn bad_lines(text: &str) -> Vec<(u64, String)> {
    match History::read(text.as_bytes()) {
        Err(ReadError::Lines { bad, .. }) => bad
            .into_iter()
            .map(|line| (line.number, line.what))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_history_with_everything_in_it_survives() {
    let mut all = history([
        write("a", "x\n\"ü\"").at(1, 2).wrote(1),
        cas("a", 1, "y").at(3, 4).conflict(2),
        read("a").at(5, 6).saw("x", 1),
        read("q").at(5, 6).sequence(&["one", "two"], 3),
        list("a").at(7, 8).listed(&[("a", 1)]),
        batch(&[("b", "1", -5, 0), ("c", "2", 5, 0)])
            .at(9, 10)
            .became(&[("b", 1), ("c", 1)]),
        write("a", "z").at(11, 12).unknown(),
        Operation {
            kind: Kind::Revoke,
            credential: Some("token-1".to_owned()),
            start_ns: u64::MAX,
            idempotency_key: Some("k".to_owned()),
            ..Operation::default()
        },
    ]);
    all.operations[0].answer.log_id = Some("3-1-812".to_owned());
    all.operations[2].answer.index = Some(813);
    all.operations[2].answer.stale_age_ms = Some(0);
    all.faults.push(Fault {
        kind: "kill_leader".to_owned(),
        nodes: vec![2],
        start_ns: 4,
        end_ns: Some(9),
        result: FaultResult::Installed,
        leaves_quorum: true,
        note: Some("pid 7".to_owned()),
    });
    all.leaders.push(Leader {
        at_ns: 8,
        node: 3,
        term: 4,
    });
    all.due.push(Due {
        secret: "s".to_owned(),
        slot: "1".to_owned(),
        at_ns: 5,
    });
    all.rotations.push(Rotation {
        secret: "s".to_owned(),
        slot: "1".to_owned(),
        from_version: 1,
        version: 2,
        ..Rotation::default()
    });
    let mut bytes = Vec::new();
    all.write(&mut bytes).unwrap();
    let again = History::read(bytes.as_slice()).unwrap();
    assert_eq!(again, all);
    assert_eq!(again.operations[0].log_index(), Some(812));
    assert_eq!(again.operations[2].log_index(), Some(813));
    assert_eq!(again.request_id(&again.operations[3]), "t-4");
}

#[test]
fn the_documents_example_is_a_history() {
    let document = include_str!("../../docs_history_format.md");
    let example = document.split("```").nth(1).unwrap();
    let example = example.strip_prefix("text\n").unwrap();
    let history = History::read(example.as_bytes()).unwrap();
    assert_eq!(history.operations.len(), 3);
    assert_eq!(history.operations[2].kind, Kind::Cas);
    assert_eq!(history.operations[2].answer.actual_version, Some(1));
    assert_eq!(history.faults.len(), 1);
    assert_eq!(history.leaders[0].term, 4);
}

#[test]
fn an_answer_without_anything_is_not_written() {
    let mut bytes = Vec::new();
    history([write("a", "x").at(1, 2).unknown()])
        .write(&mut bytes)
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let line = text.lines().nth(1).unwrap();
    assert_eq!(
        line,
        r#"{"type":"op","id":1,"process":1,"node":1,"kind":"write","key":"a","value":"x","start_ns":1,"end_ns":2,"outcome":"info","error":"timeout"}"#
    );
}

#[test]
fn bad_lines_are_named_by_their_number() {
    let good = r#"{"type":"op","id":1,"process":1,"node":1,"kind":"read","key":"a","start_ns":1,"end_ns":2,"outcome":"info"}"#;
    let misspelt = good.replace("\"key\"", "\"kee\"");
    let another = good.replace("\"id\":1", "\"id\":9");
    let text = [
        HEADER,
        good,
        "not JSON",
        r#"{"type":"op","id":2}"#,
        r#"{"type":"novelty"}"#,
        misspelt.as_str(),
        good,
        HEADER,
        "",
        another.as_str(),
    ];
    let bad = bad_lines(&(text.join("\n") + "\n"));
    let numbers: Vec<u64> = bad.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [3, 4, 5, 6, 7, 8, 9], "{bad:?}");
    assert!(bad[3].1.contains("kee"), "{bad:?}");
    assert!(bad[4].1.contains("operation 1 is there twice"), "{bad:?}");
    assert!(!bad[0].1.contains("line 1"), "{bad:?}");
}

#[test]
fn what_does_not_make_sense_is_a_bad_line() {
    let operation = |change: fn(&mut Operation)| {
        let mut operation = write("a", "x").at(5, 9).wrote(1);
        change(&mut operation);
        let mut bytes = Vec::new();
        let mut all = History::read(format!("{HEADER}\n").as_bytes()).unwrap();
        all.operations.push(operation);
        all.write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let cases: [(fn(&mut Operation), &str); 8] = [
        (|it| it.end_ns = Some(4), "ended before it began"),
        (|it| it.end_ns = None, "`end_ns` is missing"),
        (|it| it.key.clear(), "`key` is missing"),
        (|it| it.value = None, "`value` is missing"),
        (|it| it.kind = Kind::Cas, "`expected` is missing"),
        (|it| it.kind = Kind::Batch, "`writes` is missing"),
        (|it| it.kind = Kind::Revoke, "`credential` is missing"),
        (|it| it.kind = Kind::List, "`answer.listed` is missing"),
    ];
    for (change, what) in cases {
        let bad = bad_lines(&operation(change));
        assert!(bad[0].1.contains(what), "{bad:?} does not say {what}");
        assert_eq!(bad[0].0, 2);
    }
    // Without them it is right.
    let untouched = operation(|_| {});
    assert_eq!(
        History::read(untouched.as_bytes())
            .unwrap()
            .operations
            .len(),
        1
    );
    let list_of_nothing = operation(|it| {
        it.kind = Kind::List;
        it.answer = Answer {
            listed: Some(Vec::new()),
            ..Answer::default()
        };
    });
    assert!(History::read(list_of_nothing.as_bytes()).is_ok());
    let batch = operation(|it| {
        it.kind = Kind::Batch;
        it.writes = vec![Item::default()];
        it.outcome = Outcome::Info;
    });
    assert!(History::read(batch.as_bytes()).is_ok());
}

#[test]
fn a_recorder_that_was_stopped_leaves_no_history() {
    let bad = bad_lines(&format!("{HEADER}\n{{\"type\":\"op\",\"id\":1"));
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].0, 2);
    assert!(bad[0].1.contains("not finished"), "{bad:?}");
    assert_eq!(bad_lines("")[0].0, 1);
    let other_format = HEADER.replace("\"format\":1", "\"format\":2");
    let bad = bad_lines(&format!("{other_format}\n"));
    assert!(bad[0].1.contains("format 2"), "{bad:?}");
}

#[test]
fn only_the_first_bad_lines_are_named_and_the_rest_is_counted() {
    let text = format!("{HEADER}\n{}", "x\n".repeat(50));
    let error = History::read(text.as_bytes()).unwrap_err();
    assert!(error.to_string().ends_with("and 30 more"), "{error}");
}
