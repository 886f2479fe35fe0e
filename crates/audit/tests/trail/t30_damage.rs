//! Every kind of damage has a name, in plain and in compressed segments (X4).

use jarvis_audit::{Finding, FindingKind, Trust, verify, verify_with};

use crate::builder::{Builder, Folder, lines};

fn trail() -> Builder {
    let mut builder = Builder::begun(5);
    builder.reads(12);
    builder
}

/// Both forms of the same trail.
fn folders() -> [Folder; 2] {
    [trail().folder(false), trail().folder(true)]
}

fn finding(folder: &Folder) -> Finding {
    verify(folder.path()).expect_err("the damage must be found")
}

/// Puts lines back together after `change`.
fn edit_lines(folder: &Folder, segment: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    folder.edit(&folder.segments()[segment], |bytes| {
        let mut all = lines(&bytes);
        change(&mut all);
        all.concat()
    });
}

#[test]
fn a_changed_value_is_a_hash_mismatch_at_its_line() {
    for folder in folders() {
        edit_lines(&folder, 1, |all| {
            let text = String::from_utf8(all[2].clone()).expect("text");
            all[2] = text.replace("backend", "bookend").into_bytes();
        });
        let finding = finding(&folder);
        assert_eq!(finding.kind, FindingKind::HashMismatch);
        assert_eq!((finding.line, finding.seq), (3, 8));
        assert!(
            finding.file.starts_with("0000000000000006-"),
            "{}",
            finding.file
        );
        assert!(finding.to_string().contains("line 3, event 8"), "{finding}");
        let json: serde_json::Value = serde_json::from_str(&finding.to_json()).expect("JSON");
        assert_eq!(json["kind"], "hash_mismatch");
        assert_eq!(json["line"], 3);
    }
}

#[test]
fn any_flipped_bit_in_a_closed_segment_is_found() {
    let folder = trail().folder(false);
    let path = &folder.segments()[0];
    let intact = std::fs::read(path).expect("read");
    for offset in 0..intact.len() {
        let mut damaged = intact.clone();
        damaged[offset] ^= 1 << (offset % 8);
        std::fs::write(path, damaged).expect("write");
        finding(&folder);
    }
    std::fs::write(path, intact).expect("write");
    assert!(verify(folder.path()).is_ok());
}

#[test]
fn a_flipped_byte_in_a_compressed_file_is_found_or_changes_no_content() {
    // The first 10 bytes of a gzip file (time, level, system) are not content, nor are a few padding bits.
    let builder = trail();
    let folder = builder.folder(true);
    let path = &folder.segments()[0];
    let intact = std::fs::read(path).expect("read");
    let mut found = 0;
    for offset in 10..intact.len() {
        let mut damaged = intact.clone();
        damaged[offset] ^= 0x10;
        std::fs::write(path, damaged).expect("write");
        match verify(folder.path()) {
            Ok(report) => assert_eq!(report.head, hex::encode(builder.head())),
            Err(_) => found += 1,
        }
    }
    assert!(
        found > intact.len() * 9 / 10,
        "only {found} of {}",
        intact.len()
    );

    std::fs::write(path, &intact[..intact.len() / 2]).expect("write");
    let cut = finding(&folder);
    assert!(
        matches!(cut.kind, FindingKind::CorruptCompressed { .. }),
        "{cut:?}"
    );
    let mut longer = intact;
    longer.extend_from_slice(b"more");
    std::fs::write(path, longer).expect("write");
    let longer = finding(&folder);
    assert!(
        matches!(longer.kind, FindingKind::CorruptCompressed { .. }),
        "{longer:?}"
    );
}

#[test]
fn a_removed_line_leaves_a_gap() {
    for folder in folders() {
        edit_lines(&folder, 0, |all| {
            all.remove(1);
        });
        let finding = finding(&folder);
        assert_eq!(
            finding.kind,
            FindingKind::SeqGap {
                expected: 2,
                found: 3
            }
        );
        assert_eq!(finding.line, 2);
    }
}

#[test]
fn swapped_lines_are_out_of_order() {
    for folder in folders() {
        edit_lines(&folder, 1, |all| all.swap(1, 2));
        let finding = finding(&folder);
        assert_eq!(
            finding.kind,
            FindingKind::SeqGap {
                expected: 7,
                found: 8
            }
        );
    }
}

#[test]
fn a_line_of_another_kind_is_not_json_of_ours() {
    for folder in folders() {
        edit_lines(&folder, 0, |all| all.insert(1, b"not an event\n".to_vec()));
        let finding = finding(&folder);
        assert!(
            matches!(finding.kind, FindingKind::BadJson { .. }),
            "{finding:?}"
        );
    }
}

#[test]
fn a_closed_segment_that_ends_early_is_cut() {
    for folder in folders() {
        edit_lines(&folder, 1, |all| {
            all.pop();
        });
        let finding = finding(&folder);
        assert_eq!(finding.kind, FindingKind::CutEnd { recorded_seq: None });
        assert!(
            finding.file.starts_with("0000000000000006-"),
            "{}",
            finding.file
        );
    }
    for folder in folders() {
        folder.edit(&folder.segments()[1], |mut bytes| {
            bytes.truncate(bytes.len() - 10);
            bytes
        });
        assert_eq!(
            finding(&folder).kind,
            FindingKind::CutEnd { recorded_seq: None }
        );
    }
}

#[test]
fn an_open_segment_cut_at_a_line_is_known_by_the_head_file() {
    let folder = trail().folder(false);
    edit_lines(&folder, 2, |all| {
        all.pop();
    });
    assert_eq!(
        finding(&folder).kind,
        FindingKind::CutEnd {
            recorded_seq: Some(13)
        }
    );
    std::fs::remove_file(folder.path().join("audit.head")).expect("remove");
    assert_eq!(
        verify(folder.path()).expect("nothing tells of it").last_seq,
        12
    );
    let trust = Trust {
        noted: vec![(13, trail().head())],
        ..Trust::default()
    };
    let finding = verify_with(folder.path(), &trust).expect_err("a noted head does");
    assert_eq!(
        finding.kind,
        FindingKind::CutEnd {
            recorded_seq: Some(13)
        }
    );
}

#[test]
fn an_unfinished_last_line_beyond_the_head_file_is_no_error() {
    let folder = trail().folder(false);
    folder.edit(&folder.segments()[2], |mut bytes| {
        bytes.extend_from_slice(b"{\"seq\":14,\"time\"");
        bytes
    });
    let report = verify(folder.path()).expect("a line being written");
    assert!(report.unfinished_last_line);
    assert_eq!(report.last_seq, 13);
}

#[test]
fn an_unfinished_line_below_the_head_file_is_a_cut() {
    let folder = trail().folder(false);
    folder.edit(&folder.segments()[2], |mut bytes| {
        bytes.truncate(bytes.len() - 10);
        bytes
    });
    assert_eq!(
        finding(&folder).kind,
        FindingKind::CutEnd {
            recorded_seq: Some(13)
        }
    );
}

#[test]
fn a_trail_rewritten_with_a_sound_chain_differs_from_the_head_file() {
    let folder = trail().folder(false);
    let mut other = Builder::begun(5);
    other.reads(9);
    other.event("secret.read", "deny", "");
    other.reads(2);
    let forged = other.folder(false);
    let head = std::fs::read(folder.path().join("audit.head")).expect("read");
    std::fs::write(forged.path().join("audit.head"), head).expect("write");
    assert_eq!(
        finding(&forged).kind,
        FindingKind::HeadDiffers { recorded_seq: 13 }
    );
}

#[test]
fn a_missing_segment_is_named() {
    for folder in folders() {
        std::fs::remove_file(&folder.segments()[1]).expect("remove");
        let kind = FindingKind::MissingSegment {
            expected_first_seq: 6,
            next_first_seq: 11,
        };
        assert_eq!(finding(&folder).kind, kind);
    }
    for folder in folders() {
        std::fs::remove_file(&folder.segments()[0]).expect("remove");
        let kind = FindingKind::MissingSegment {
            expected_first_seq: 1,
            next_first_seq: 6,
        };
        assert_eq!(finding(&folder).kind, kind);
    }
}

#[test]
fn a_trail_that_lost_everything_is_cut() {
    let folder = trail().folder(false);
    for path in folder.segments() {
        std::fs::remove_file(path).expect("remove");
    }
    assert_eq!(
        finding(&folder).kind,
        FindingKind::CutEnd {
            recorded_seq: Some(13)
        }
    );
}

#[test]
fn a_beginning_that_is_gone_needs_a_retirement_with_the_right_head() {
    let mut builder = trail();
    builder.reads(10);
    builder.retire(2, "");
    let folder = builder.folder(true);
    assert_eq!(verify(folder.path()).expect("all is there").first_seq, 1);
    let segments = folder.segments();
    std::fs::remove_file(&segments[1]).expect("remove");
    let report = verify(folder.path()).expect("half removed: the rest of it does not count");
    assert_eq!(report.first_seq, 11);
    std::fs::remove_file(&segments[0]).expect("remove");
    assert_eq!(verify(folder.path()).expect("removed").first_seq, 11);
    std::fs::remove_file(&segments[2]).expect("remove");
    let kind = FindingKind::MissingSegment {
        expected_first_seq: 11,
        next_first_seq: 16,
    };
    assert_eq!(
        finding(&folder).kind,
        kind,
        "the retirement does not cover this one"
    );
}

#[test]
fn a_retirement_with_a_wrong_head_explains_nothing() {
    let mut builder = trail();
    let members = format!(r#""upto_seq":5,"head":"{}""#, "ab".repeat(32));
    builder.event("audit.retire", "ok", &members);
    let folder = builder.folder(false);
    assert_eq!(
        finding(&folder).kind,
        FindingKind::HeadDiffers { recorded_seq: 5 }
    );
    std::fs::remove_file(&folder.segments()[0]).expect("remove");
    assert_eq!(finding(&folder).kind, FindingKind::HashMismatch);
}

#[test]
fn a_log_index_never_goes_back() {
    let mut builder = trail();
    builder.event_at(3, "secret.read", "allow", "");
    let folder = builder.folder(false);
    assert_eq!(
        finding(&folder).kind,
        FindingKind::IndexWentBack {
            before: 13,
            found: 3
        }
    );
}

#[test]
fn files_that_do_not_belong_are_named() {
    let folder = trail().folder(false);
    let stray = "0000000000000003-aaaaaaaaaaaaaaaa.jsonl";
    std::fs::write(folder.path().join(stray), b"").expect("write");
    let found = finding(&folder);
    assert_eq!(
        (found.kind, found.file.as_str()),
        (FindingKind::StraySegment, stray)
    );

    let folder = trail().folder(false);
    let twin = "0000000000000006-aaaaaaaaaaaaaaaa.jsonl";
    std::fs::copy(&folder.segments()[1], folder.path().join(twin)).expect("copy");
    assert!(matches!(
        finding(&folder).kind,
        FindingKind::AmbiguousSegment { .. }
    ));

    let folder = trail().folder(false);
    std::fs::write(folder.path().join("audit.head"), b"{}").expect("write");
    assert!(matches!(
        finding(&folder).kind,
        FindingKind::BadHeadFile { .. }
    ));

    let folder = Folder::new();
    let gone = verify(&folder.path().join("nowhere")).expect_err("no such folder");
    assert!(
        matches!(gone.kind, FindingKind::Unreadable { .. }),
        "{gone:?}"
    );
}
