//! A running node can be verified and read: nothing it does looks like damage (X4).

use std::sync::atomic::{AtomicBool, Ordering};

use jarvis_audit::{compress, reader, verify};
use jarvis_disk::RealDisk;

use crate::builder::{Builder, Folder};

const EVENTS: u64 = 6_000;
const SEGMENT_EVENTS: u64 = 64;
const SYNC_EVERY: usize = 97;
const RETIRE_EVERY: usize = 1_500;

#[test]
fn verification_holds_while_segments_are_appended_closed_compressed_and_retired() {
    let mut builder = Builder::begun(SEGMENT_EVENTS);
    while builder.seq() < EVENTS {
        builder.reads(500);
        builder.checkpoint(1);
        let closed = builder.position().closed.len();
        if closed > 12 {
            builder.retire(closed - 6, "");
        }
    }
    let folder = Folder::new();
    let mut writer = folder.open(None);
    let done = AtomicBool::new(false);
    let verified = std::thread::scope(|scope| {
        let _stop = SetOnDrop(&done);
        let writing = scope.spawn(|| {
            for (at, written) in builder.written.iter().enumerate() {
                writer.append(&written.line, written.close).expect("append");
                if at % SYNC_EVERY == 0 {
                    writer.sync().expect("sync");
                }
                if at % RETIRE_EVERY == RETIRE_EVERY - 1 {
                    retire_what_the_trail_allows(&mut writer, &builder, at);
                }
            }
            writer.sync().expect("sync");
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                compress::compress_closed(&RealDisk, folder.path(), 2).expect("compress");
            }
        });
        let mut verified = 0;
        let mut reached = 0;
        while !writing.is_finished() || verified == 0 {
            let report = match verify(folder.path()) {
                Ok(report) => report,
                Err(finding) => panic!("{finding:?}"),
            };
            assert!(report.last_seq >= reached, "the trail never shrinks");
            reached = report.last_seq;
            let tail = reader::tail(folder.path(), 5).expect("tail");
            assert!(tail.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
            verified += 1;
        }
        verified
    });
    assert!(verified > 0);
    let report = verify(folder.path()).expect("sound at the end");
    assert_eq!(report.last_seq, builder.seq());
    assert_eq!(report.head, hex::encode(builder.head()));
}

/// Tells the writer the newest retirement among the lines that it has written.
fn retire_what_the_trail_allows(
    writer: &mut jarvis_audit::SegmentWriter,
    builder: &Builder,
    at: usize,
) {
    let newest = builder.written[..=at].iter().rev().find_map(|written| {
        let line: serde_json::Value = serde_json::from_slice(&written.line).expect("JSON");
        (line["event"] == "audit.retire").then(|| line["upto_seq"].as_u64().expect("a number"))
    });
    if let Some(upto_seq) = newest {
        writer.retire(upto_seq).expect("retire");
    }
}

/// Ends the compressing thread also when the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
