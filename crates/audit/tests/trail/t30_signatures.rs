//! Checkpoints: who signed what, and how far a majority vouches (X4).

use jarvis_audit::{FindingKind, verify};

use crate::builder::{Builder, CLUSTER, key, public_key};

fn three_nodes() -> Builder {
    let mut builder = Builder::begun(8);
    builder.join(2);
    builder.join(3);
    builder.voters("1,2,3");
    builder.reads(4);
    builder
}

fn finding(builder: &Builder) -> FindingKind {
    verify(builder.folder(false).path())
        .expect_err("it must be found")
        .kind
}

#[test]
fn x4_what_a_majority_signed_is_covered() {
    let mut builder = three_nodes();
    builder.checkpoint(1); // Signs up to 8.
    let report = verify(builder.folder(false).path()).expect("sound");
    assert_eq!(
        (report.checkpoints, report.signed_upto_seq),
        (1, 0),
        "one of three is no majority"
    );
    builder.checkpoint(3); // Signs up to 9.
    builder.reads(2);
    let report = verify(builder.folder(true).path()).expect("sound");
    assert_eq!((report.signed_upto_seq, report.unsigned_tail), (8, 4));
    assert_eq!(report.signers.iter().copied().collect::<Vec<_>>(), [1, 3]);
    builder.checkpoint(2); // Signs up to 12: with node 3 that covers 9.
    let report = verify(builder.folder(false).path()).expect("sound");
    assert_eq!(report.signed_upto_seq, 9);
}

#[test]
fn a_majority_is_counted_by_the_voters_of_the_moment() {
    let mut builder = three_nodes();
    builder.voters("1");
    builder.checkpoint(1); // Signs up to 9, alone.
    builder.voters("1,2,3");
    builder.checkpoint(2); // Signs up to 11: now two of three reach 9.
    let report = verify(builder.folder(false).path()).expect("sound");
    assert_eq!(report.signed_upto_seq, 9);
}

#[test]
fn a_signature_by_another_key_is_bad() {
    let mut builder = three_nodes();
    builder.checkpoint_signed(2, 8, builder.head(), &key(3));
    assert_eq!(finding(&builder), FindingKind::BadSignature { node: 2 });
}

#[test]
fn a_signer_that_never_joined_is_unknown() {
    let mut builder = three_nodes();
    builder.event("node.join", "refused", r#""reason":"join_token""#);
    builder.checkpoint(4);
    assert_eq!(finding(&builder), FindingKind::UnknownSigner { node: 4 });
}

#[test]
fn history_rewritten_behind_a_signature_is_found() {
    // The forger rebuilds the chain, but can not make node 2 sign the new head.
    let mut builder = three_nodes();
    let honest = [0x77; 32];
    builder.checkpoint_signed(2, 7, honest, &key(2));
    assert_eq!(
        finding(&builder),
        FindingKind::SignedHeadDiffers {
            node: 2,
            signed_seq: 7
        }
    );
}

#[test]
fn a_checkpoint_can_not_vouch_for_what_comes_after_it() {
    let mut builder = three_nodes();
    builder.checkpoint_signed(2, 40, [0x77; 32], &key(2));
    assert_eq!(
        finding(&builder),
        FindingKind::CheckpointAhead {
            node: 2,
            signed_seq: 40
        }
    );
}

#[test]
fn a_changed_key_holds_from_its_update_on_and_the_old_one_for_what_was_under_way() {
    let mut builder = three_nodes();
    let (seq, head) = (builder.seq(), builder.head());
    let members = format!(r#""node":2,"audit_key":"{}""#, public_key(9));
    builder.event("node.update", "ok", &members);
    builder.checkpoint_signed(2, seq, head, &key(2));
    builder.checkpoint_signed(2, builder.seq(), builder.head(), &key(9));
    let report = verify(builder.folder(false).path()).expect("sound");
    assert_eq!(report.checkpoints, 2);
}

#[test]
fn a_removed_node_no_longer_counts() {
    let mut builder = three_nodes();
    builder.voters("1,2");
    builder.event("node.remove", "allow", r#""node":1,"member":3"#);
    builder.checkpoint(3);
    builder.checkpoint(1);
    let report = verify(builder.folder(false).path()).expect("sound");
    assert_eq!((report.checkpoints, report.signed_upto_seq), (2, 0));
}

#[test]
fn signers_from_before_a_retirement_are_not_checkable_unless_the_retirement_names_them() {
    for named in [false, true] {
        let mut builder = three_nodes();
        builder.checkpoint(1);
        builder.checkpoint(2);
        builder.reads(8);
        let extra = format!(
            r#","cluster":"{}","recovery_epoch":0,"voters":[1,2,3],"signers":"1:{},2:{},3:{}""#,
            hex::encode(CLUSTER),
            public_key(1),
            public_key(2),
            public_key(3)
        );
        builder.retire(1, if named { &extra } else { "" });
        builder.checkpoint(1);
        builder.checkpoint(3);
        let folder = builder.folder(false);
        std::fs::remove_file(&folder.segments()[0]).expect("remove");
        let report = verify(folder.path()).expect("sound");
        assert_eq!(report.first_seq, 9);
        if named {
            // The checkpoints 9 (over 8, the cut) and 10 (over 9), and the two behind the retirement.
            assert_eq!((report.checkpoints, report.unchecked_checkpoints), (4, 0));
            assert_eq!(report.signed_upto_seq, 19);
        } else {
            assert_eq!((report.checkpoints, report.unchecked_checkpoints), (0, 4));
            assert_eq!(report.signed_upto_seq, 0);
        }
    }
}
