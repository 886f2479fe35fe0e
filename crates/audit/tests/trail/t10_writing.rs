//! What is written is what is read, whatever the segments look like.

use jarvis_audit::{compress, reader, verify};
use jarvis_disk::RealDisk;
use jarvis_domain::audit::Lines;

use crate::builder::{Builder, Folder};

fn trail() -> Builder {
    let mut builder = Builder::begun(5);
    builder.reads(11);
    builder.checkpoint(1);
    builder
}

#[test]
fn x4_an_intact_trail_verifies_plain_and_compressed() {
    for compressed in [false, true] {
        let builder = trail();
        let folder = builder.folder(compressed);
        let report = verify(folder.path()).expect("an intact trail");
        assert_eq!(
            (report.events, report.first_seq, report.last_seq),
            (13, 1, 13)
        );
        assert_eq!(report.head, hex::encode(builder.head()));
        assert_eq!(report.segments, 3);
        assert_eq!(
            (
                report.checkpoints,
                report.signed_upto_seq,
                report.unsigned_tail
            ),
            (1, 12, 1)
        );
        assert_eq!(report.signers.iter().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(report.by_event["secret.read"], 11);
        assert_eq!(
            report.first_time.as_deref(),
            Some("2026-11-22T03:00:00.001Z")
        );
        assert_eq!(
            report.last_time.as_deref(),
            Some("2026-11-22T03:00:00.013Z")
        );
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!(json["signed_upto_seq"], 12);
    }
}

#[test]
fn segments_carry_their_first_event_and_head_in_the_name() {
    let builder = trail();
    let folder = builder.folder(false);
    let names: Vec<String> = folder
        .segments()
        .iter()
        .map(|path| {
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let first = format!(
        "0000000000000001-{}.jsonl",
        hex::encode(&builder.heads[5][..8])
    );
    let second = format!(
        "0000000000000006-{}.jsonl",
        hex::encode(&builder.heads[10][..8])
    );
    assert_eq!(names, [first, second, "audit.jsonl".to_owned()]);
}

#[test]
fn an_empty_folder_is_an_empty_trail() {
    let folder = Folder::new();
    let mut writer = folder.open(None);
    writer.sync().expect("sync");
    let report = verify(folder.path()).expect("nothing is wrong");
    assert_eq!(
        (report.events, report.first_seq, report.last_seq),
        (0, 0, 0)
    );
    assert!(reader::tail(folder.path(), 10).expect("tail").is_empty());
    assert_eq!(reader::last_seq(folder.path()).expect("last seq"), None);
}

#[test]
fn reading_starts_anywhere_and_crosses_segments() {
    for compressed in [false, true] {
        let builder = trail();
        let folder = builder.folder(compressed);
        let seqs =
            |lines: Vec<reader::TrailLine>| lines.iter().map(|line| line.seq).collect::<Vec<_>>();
        assert_eq!(
            seqs(reader::from_seq(folder.path(), 4, 4).expect("read")),
            [4, 5, 6, 7]
        );
        assert_eq!(
            seqs(reader::from_seq(folder.path(), 0, 2).expect("read")),
            [1, 2]
        );
        assert_eq!(
            seqs(reader::from_seq(folder.path(), 14, 2).expect("read")),
            [0_u64; 0]
        );
        assert_eq!(
            seqs(reader::tail(folder.path(), 4).expect("tail")),
            [10, 11, 12, 13]
        );
        assert_eq!(reader::tail(folder.path(), 100).expect("tail").len(), 13);
        assert!(reader::tail(folder.path(), 0).expect("tail").is_empty());
        assert_eq!(reader::last_seq(folder.path()).expect("last seq"), Some(13));
        let all: Vec<u8> = reader::Trail::from_seq(folder.path(), 1)
            .expect("open")
            .flat_map(|line| format!("{}\n", line.expect("line").json).into_bytes())
            .collect();
        assert_eq!(all, builder.bytes());

        let by_the_node = || reader::Folder::on(RealDisk::handle(), folder.path().to_path_buf());
        for from in 0..15 {
            assert_eq!(
                reader::from_seq(by_the_node(), from, 6).expect("read"),
                reader::from_seq(folder.path(), from, 6).expect("read")
            );
        }
        assert_eq!(
            reader::tail(by_the_node(), 7).expect("tail"),
            reader::tail(folder.path(), 7).expect("tail")
        );
    }
}

#[test]
fn an_entry_may_close_several_segments_and_be_repeated() {
    let builder = trail();
    let mut lines = Lines::default();
    for written in &builder.written {
        lines.bytes.extend_from_slice(&written.line);
        lines
            .closes
            .extend(written.close.map(|segment| (lines.bytes.len(), segment)));
    }
    let folder = Folder::new();
    let mut writer = folder.open(None);
    writer.append_entry(&lines).expect("append");
    writer
        .append_entry(&lines)
        .expect("the same entry once more changes nothing");
    assert_eq!(writer.position(), builder.position());
    assert_eq!(writer.last_seq(), 13);
    writer.sync().expect("sync");
    assert_eq!(verify(folder.path()).expect("an intact trail").events, 13);
}

#[test]
fn lines_that_do_not_follow_are_refused_and_leave_no_trace() {
    let builder = trail();
    let folder = Folder::new();
    let mut writer = folder.open(None);
    assert!(
        writer.append(&builder.written[1].line, None).is_err(),
        "event 2 before event 1"
    );
    assert!(
        writer.append(b"{\"seq\":1,\"cut", None).is_err(),
        "half a line"
    );
    let wrong_mark = builder.written[4].close;
    assert!(
        writer.append(&builder.written[0].line, wrong_mark).is_err(),
        "a mark for five events"
    );
    builder.replay(&mut writer, 0);
    writer.sync().expect("sync");
    assert_eq!(verify(folder.path()).expect("an intact trail").events, 13);
}

#[test]
fn closed_segments_read_back_the_same_in_both_forms() {
    let builder = trail();
    let folder = builder.folder(false);
    let writer = folder.open(Some(builder.position()));
    let plain = writer.read_closed(6).expect("read");
    assert_eq!(
        compress::compress_closed(&RealDisk, folder.path(), 1).expect("compress"),
        1
    );
    assert_eq!(
        compress::compress_closed(&RealDisk, folder.path(), 10).expect("compress"),
        1
    );
    assert_eq!(writer.read_closed(6).expect("read"), plain);
    assert!(writer.read_closed(7).is_err());
    let open: Vec<u8> = builder.written[10..]
        .iter()
        .flat_map(|written| written.line.clone())
        .collect();
    assert_eq!(writer.read_open().expect("read"), open);
}

#[test]
fn retired_segments_go_and_the_rest_still_verifies() {
    for compressed in [false, true] {
        let mut builder = trail();
        let signers = format!(
            r#","cluster":"{}","recovery_epoch":0,"voters":[1],"signers":"1:{}""#,
            hex::encode(crate::builder::CLUSTER),
            crate::builder::public_key(1)
        );
        let before = builder.seq();
        let upto_seq = builder.retire(1, &signers);
        builder.reads(9);
        let folder = builder.folder(compressed);
        let mut writer = folder.open(Some({
            let mut position = builder.position();
            position.closed.insert(0, first_segment(&builder));
            position
        }));
        assert_eq!(writer.retire(upto_seq).expect("retire"), 1);
        writer.sync().expect("sync");
        assert_eq!(writer.position(), builder.position());
        let report = verify(folder.path()).expect("an intact trail");
        assert_eq!((report.first_seq, report.last_seq), (6, before + 10));
        assert_eq!((report.checkpoints, report.unchecked_checkpoints), (1, 0));
        assert_eq!(report.signed_upto_seq, 12);
        let oldest = reader::from_seq(folder.path(), 1, 1).expect("read");
        assert_eq!(
            oldest[0].seq, 6,
            "reading begins with the oldest that is left"
        );
    }
}

fn first_segment(builder: &Builder) -> jarvis_audit::ClosedSegment {
    builder.written[4]
        .close
        .expect("the fifth event closes the first segment")
}
