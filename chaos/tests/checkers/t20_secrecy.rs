//! Canaries in files. The encoders here are other people's: what is looked for was not made by the code that looks.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use jarvis_chaos::checker::secrecy::{self, Canary, Search};
use jarvis_chaos::checker::{Report, Verdict};

use crate::tale::{assert_held, assert_unknown};

/// 32 bytes that look random and hold characters of which base64 differs between the alphabets.
const CANARY: &str = "q7~Zp0?x>V_4tKw9~B?n6>Yd2rLf8?~>";

fn canary(name: &str, bytes: &[u8]) -> Canary {
    Canary {
        name: name.to_owned(),
        bytes: bytes.to_vec(),
    }
}

fn search() -> Search {
    Search::new(&[canary("one", CANARY.as_bytes())]).unwrap()
}

/// Searches a folder with these files.
fn check(files: &[(&str, Vec<u8>)], search: &Search) -> Report {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    secrecy::check(search, &[folder.path().to_owned()], &[])
}

#[track_caller]
fn found(content: &[u8], form: &str) {
    let report = check(&[("deep/inside/file", content.to_vec())], &search());
    assert_eq!(report.verdict, Verdict::Violated, "{form} is not found");
    let story = &report.stories[0];
    assert!(story.what.contains("deep/inside/file"), "{report}");
    let is_said = story.notes.iter().any(|note| note.contains(form));
    assert!(is_said, "{report} does not say {form}");
    assert!(
        !report.to_string().contains(CANARY),
        "the report shows the value"
    );
}

#[test]
fn files_without_canaries_hold() {
    let report = check(
        &[("a", b"nothing here".to_vec()), ("b/c", vec![0; 3_000_000])],
        &search(),
    );
    assert_held(&report);
    assert_eq!(report.count("files"), 2);
    assert_eq!(report.count("bytes"), 3_000_012);
    assert_eq!(report.count("canaries"), 1);
    assert!(report.count("forms") > 10);
}

#[test]
fn each_form_is_found() {
    let bytes = CANARY.as_bytes();
    found(format!("before {CANARY} after").as_bytes(), "as it is");
    found(hex::encode(bytes).as_bytes(), ", hex,");
    found(hex::encode_upper(bytes).as_bytes(), "upper-case hex");
    found(format!("{bytes:?}").as_bytes(), "a list of numbers");
    let numbers = serde_json::to_string(bytes).unwrap();
    found(numbers.as_bytes(), "a compact list of numbers");
    for before in ["", "1", "22", "333", "a longer text before it: "] {
        let shifted = format!("{before}{CANARY}");
        found(STANDARD.encode(&shifted).as_bytes(), ", base64,");
        found(
            URL_SAFE_NO_PAD.encode(&shifted).as_bytes(),
            "URL-safe base64",
        );
    }
}

#[test]
fn a_part_of_a_value_is_found() {
    found(&CANARY.as_bytes()[..16], "as it is");
    found(&CANARY.as_bytes()[16..], "as it is");
    found(hex::encode(&CANARY.as_bytes()[10..]).as_bytes(), ", hex,");
}

#[test]
fn text_is_found_as_json_writes_it() {
    let value = "line 1\n\"quoted\" \\ tab\t bell\u{7} ümlaut 🦀 Zp0xV4tKw9Bn6Yd2";
    let search = Search::new(&[canary("text", value.as_bytes())]).unwrap();
    let json = serde_json::to_string(value).unwrap();
    let report = check(&[("log", json.into_bytes())], &search);
    assert_eq!(report.verdict, Verdict::Violated, "{report}");
    assert!(
        report.stories[0]
            .notes
            .iter()
            .any(|note| note.contains("JSON")),
        "{report}"
    );
    let ascii = "\"line 1\\n\\\"quoted\\\" \\\\ tab\\t bell\\u0007 \\u00fcmlaut \\ud83e\\udd80 Zp0xV4tKw9Bn6Yd2\"";
    let report = check(&[("log", ascii.as_bytes().to_vec())], &search);
    let notes = &report.stories[0].notes;
    assert!(
        notes.iter().any(|note| note.contains("JSON in ASCII")),
        "{report}"
    );
}

#[test]
fn it_is_found_wherever_it_lies() {
    // Around the places at which a large file is read on.
    let chunk = 1024 * 1024;
    for place in [
        0,
        1,
        chunk - 33,
        chunk - 32,
        chunk - 31,
        chunk - 1,
        chunk,
        chunk + 1,
        2 * chunk - 7,
    ] {
        let mut content = vec![b'.'; place];
        content.extend_from_slice(CANARY.as_bytes());
        content.extend_from_slice(&vec![b'.'; 2 * chunk - place]);
        let searched = search().search(content.as_slice()).unwrap();
        assert_eq!(searched.bytes, content.len() as u64);
        // Two pieces of sixteen bytes.
        let offsets: Vec<u64> = searched.hits.iter().map(|hit| hit.offset).collect();
        assert_eq!(offsets, [place as u64, place as u64 + 16], "at {place}");
    }
}

#[test]
fn a_stream_in_small_pieces_is_searched_as_a_whole() {
    struct Slow<'a>(&'a [u8]);
    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(5);
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }
    let content = format!("{}{CANARY}", ".".repeat(99));
    let searched = search().search(Slow(content.as_bytes())).unwrap();
    assert_eq!(searched.hits.len(), 2);
    assert_eq!(searched.hits[0].offset, 99);
}

#[test]
fn compressed_files_are_searched_inside() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Long enough that it is worth compressing, and not only copied.
    let text = format!("{0}{{\"value\":\"{CANARY}\"}}{0}", "an event ".repeat(500));
    encoder.write_all(text.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    let report = check(&[("0001.jsonl.gz", compressed.clone())], &search());
    assert_eq!(report.verdict, Verdict::Violated, "{report}");
    assert!(report.stories[0].what.ends_with("uncompressed"), "{report}");
    // Under another name it is bytes like any others.
    assert_held(&check(&[("0001.jsonl", compressed)], &search()));
    let report = check(&[("broken.gz", b"no gzip".to_vec())], &search());
    assert_unknown(&report, "broken.gz can not be read");
}

#[test]
fn the_one_legitimate_answer_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root-token");
    fs::write(&file, CANARY).unwrap();
    fs::write(folder.path().join("other"), "nothing").unwrap();
    let places = [folder.path().to_owned()];
    assert_held(&secrecy::check(&search(), &places, &[file.clone()]));
    fs::write(folder.path().join("other"), CANARY).unwrap();
    let report = secrecy::check(&search(), &places, &[file]);
    assert_eq!(report.verdict, Verdict::Violated, "{report}");
}

#[test]
fn many_canaries_are_told_apart() {
    let canaries: Vec<Canary> = (0..500_u64)
        .map(|number| {
            let mut dice = crate::dice::Dice::new(number);
            let bytes: Vec<u8> = (0..4).flat_map(|_| dice.roll().to_be_bytes()).collect();
            canary(&number.to_string(), &bytes)
        })
        .collect();
    let search = Search::new(&canaries).unwrap();
    let report = check(&[("file", canaries[321].bytes.clone())], &search);
    assert_eq!(report.verdict, Verdict::Violated, "{report}");
    assert!(
        report.stories[0].notes[0].starts_with("321, as it is"),
        "{report}"
    );
}

#[test]
fn what_can_not_be_judged_is_unknown() {
    let report = secrecy::check(&search(), &[PathBuf::from("/nonexistent/jarvis")], &[]);
    assert_unknown(&report, "can not be read");
    let nothing = Search::new(&[]).unwrap();
    assert_unknown(&check(&[("a", b"x".to_vec())], &nothing), "no canary");
    assert_unknown(&check(&[], &search()), "nothing was checked");
    let error = Search::new(&[canary("short", b"1234567")]).err().unwrap();
    assert_eq!(error.canary, "short");
}
