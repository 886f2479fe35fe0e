//! What a node wrote into its audit trail, read from its own disk, beside the node or without it.
//!
//! ```text
//! <data>/audit/   0000000000000001-3f0c….jsonl.gz   closed and compressed; the number is that of its first event
//!                 0000000000004097-9a71….jsonl      closed
//!                 audit.jsonl                       open; its last line may be half written
//! ```
//! A reader of its own, after the format's description: a mistake that the product's writer and reader share would
//! go unseen otherwise. It takes the open segment first, so that what is closed meanwhile is seen twice and never
//! missed, and looks again while the whole is not events 1, 2, 3 ….

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use crate::Programs;

/// The segment that is being appended to.
const OPEN: &str = "audit.jsonl";
/// Every line begins so.
const LINE_START: &str = "{\"seq\":";
/// Renames beside the reader take microseconds, and a node that starts cuts its trail back in far less than this.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Every line that a node has on its disk, oldest first, without its newline.
///
/// # Panics
/// When the trail can not be read, or is not all events from the first one on.
#[must_use]
#[track_caller]
pub fn lines(data_dir: &Path) -> Vec<String> {
    let folder = data_dir.join("audit");
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        match look(&folder) {
            Ok(lines) => return lines,
            Err(what) => assert!(
                Instant::now() < deadline,
                "the trail in {}: {what}",
                folder.display()
            ),
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Every event that a node has on its disk, oldest first.
///
/// # Panics
/// As [`lines`].
#[must_use]
#[track_caller]
pub fn events(data_dir: &Path) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).expect("an event is JSON");
    lines(data_dir).iter().map(parse).collect()
}

/// The events of each request.
#[must_use]
pub fn by_request(events: &[Value]) -> BTreeMap<&str, Vec<&Value>> {
    let mut requests: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in events {
        if let Some(id) = event["request_id"].as_str() {
            requests.entry(id).or_default().push(event);
        }
    }
    requests
}

/// How many events of this name the request left.
#[must_use]
pub fn count(events: &[Value], name: &str, request_id: &str) -> usize {
    events
        .iter()
        .filter(|event| event["event"] == name && event["request_id"] == request_id)
        .count()
}

/// `jarvis-secrets audit verify` on a node's disk: its report (X4).
///
/// # Panics
/// When it finds something.
#[track_caller]
pub fn verify(programs: Programs, data_dir: &Path) -> Value {
    let data = data_dir.display().to_string();
    let said = programs
        .cli()
        .run(&["audit", "verify", "-o", "json", "--data", &data]);
    assert_eq!(
        said.code,
        Some(0),
        "the trail in {data}: {}{}",
        said.out,
        said.err
    );
    said.json()
}

/// One look at all files; an error may be a matter of the moment.
fn look(folder: &Path) -> Result<Vec<String>, String> {
    let mut events = BTreeMap::new();
    match fs::read(folder.join(OPEN)) {
        Ok(bytes) => {
            let newline = bytes.iter().rposition(|byte| *byte == b'\n');
            take(&bytes[..newline.map_or(0, |at| at + 1)], &mut events)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{OPEN}: {error}")),
    }
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if let Some(bytes) = closed_segment(&path)? {
            take(&bytes, &mut events)?;
        }
    }
    let mut in_order = (1_u64..).zip(events.keys());
    if let Some((missing, _)) = in_order.find(|(expected, seq)| expected != *seq) {
        return Err(format!("event {missing} is missing"));
    }
    Ok(events.into_values().collect())
}

/// The lines of a closed segment; `None` for any other file.
fn closed_segment(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    let is_compressed = name.ends_with(".jsonl.gz");
    let is_numbered = name.starts_with(|first: char| first.is_ascii_digit());
    if !is_numbered || !(is_compressed || name.ends_with(".jsonl")) {
        return Ok(None);
    }
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let mut bytes = fs::read(path).map_err(failed)?;
    if is_compressed {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .map_err(failed)?;
        bytes = plain;
    }
    if bytes.last() == Some(&b'\n') {
        Ok(Some(bytes))
    } else {
        Err(format!("{name} ends inside a line"))
    }
}

/// Adds lines to what is known; an event that was seen already must be the same.
fn take(bytes: &[u8], events: &mut BTreeMap<u64, String>) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    for line in text.split_terminator('\n') {
        let digits = line
            .strip_prefix(LINE_START)
            .and_then(|rest| rest.split(',').next());
        let Some(seq) = digits.and_then(|digits| digits.parse().ok()) else {
            return Err(format!("no event: {line}"));
        };
        let before = events.insert(seq, line.to_owned());
        if before.is_some_and(|before| before != line) {
            return Err(format!("there are two events {seq}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn text(seqs: std::ops::RangeInclusive<u64>) -> String {
        let line = |seq| format!("{{\"seq\":{seq},\"event\":\"example\"}}\n");
        seqs.map(line).collect()
    }

    #[test]
    fn all_forms_of_segments_are_read_and_a_gap_is_found() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("audit");
        fs::create_dir(&folder).unwrap();
        assert_eq!(lines(data.path()), Vec::<String>::new());

        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text(1..=3).as_bytes()).unwrap();
        let compressed = folder.join("0000000000000001-00ff00ff00ff00ff.jsonl.gz");
        fs::write(&compressed, encoder.finish().unwrap()).unwrap();
        let plain = folder.join("0000000000000004-00ff00ff00ff00ff.jsonl");
        fs::write(&plain, text(4..=5)).unwrap();
        fs::write(folder.join("audit.head"), "no segment").unwrap();
        // Closed between two looks, so that event 5 is seen twice; and a line that is being written.
        let open = folder.join(OPEN);
        fs::write(&open, text(5..=6) + "{\"seq\":7,").unwrap();
        let all = lines(data.path());
        assert_eq!(all.join("\n") + "\n", text(1..=6));
        assert_eq!(events(data.path())[5]["seq"], 6);

        fs::write(&open, text(7..=7)).unwrap();
        assert_eq!(look(&folder), Err("event 6 is missing".to_owned()));
        fs::write(&open, text(5..=6).replace("example", "other")).unwrap();
        assert_eq!(look(&folder), Err("there are two events 5".to_owned()));
        fs::write(&plain, text(4..=5).trim_end()).unwrap();
        assert!(look(&folder).unwrap_err().ends_with("ends inside a line"));
    }
}
