//! A node that lagged too far takes over a peer's trail (snapshot, then closed segments one by one).

use jarvis_audit::{AuditError, verify, writer};
use jarvis_disk::RealDisk;

use crate::builder::Builder;

#[test]
fn a_lagging_node_installs_a_position_and_fetches_what_it_lacks() {
    let mut old = Builder::begun(5);
    old.reads(6);
    let mut new = old.clone();
    new.reads(20);
    let peer_folder = new.folder(true);
    let peer = peer_folder.open(Some(new.position()));
    let folder = old.folder(false);
    let mut lagging = folder.open(Some(old.position()));

    let open_bytes = peer.read_open().expect("read");
    let segment = new.position().closed[1];
    let fetched = vec![(segment, peer.read_closed(segment.first_seq).expect("read"))];
    lagging
        .install(new.position(), &open_bytes, fetched)
        .expect("install");
    assert_eq!(lagging.position(), new.position());
    let missing = lagging.missing_closed();
    assert_eq!(missing, new.position().closed[2..]);
    assert!(verify(folder.path()).is_err(), "segments are still missing");
    for segment in &missing {
        let bytes = peer.read_closed(segment.first_seq).expect("read");
        assert!(lagging.add_closed(segment, &bytes).expect("add"));
    }
    assert_eq!(
        verify(folder.path()).expect("sound").head,
        hex::encode(new.head())
    );

    let mut newer = new.clone();
    newer.reads(7);
    newer.replay(&mut lagging, new.seq());
    lagging.sync().expect("sync");
    assert_eq!(verify(folder.path()).expect("sound").last_seq, newer.seq());
}

#[test]
fn what_does_not_fit_together_is_refused_and_changes_nothing() {
    let mut old = Builder::begun(5);
    old.reads(6);
    let mut new = old.clone();
    new.reads(6);
    let peer = new.folder(false);
    let peer = peer.open(Some(new.position()));
    let folder = old.folder(false);
    let mut lagging = folder.open(Some(old.position()));

    let open_bytes = peer.read_open().expect("read");
    let mut forged = open_bytes.clone();
    forged[40] ^= 1;
    let error = lagging.install(new.position(), &forged, Vec::new());
    assert!(
        matches!(error, Err(AuditError::Damaged { .. })),
        "{error:?}"
    );
    let error = lagging.install(new.position(), &open_bytes[1..], Vec::new());
    assert!(
        matches!(error, Err(AuditError::BadPosition { .. })),
        "{error:?}"
    );
    let mut gap = new.position();
    gap.closed.remove(1);
    let error = lagging.install(gap, &open_bytes, Vec::new());
    assert!(
        matches!(error, Err(AuditError::BadPosition { .. })),
        "{error:?}"
    );
    old.reads(2);
    old.replay(&mut lagging, 7);
    lagging.sync().expect("the writer goes on as before");
    assert_eq!(verify(folder.path()).expect("sound").last_seq, 9);
}

#[test]
fn the_open_segment_of_a_snapshot_is_read_wherever_it_is_by_now() {
    let mut builder = Builder::begun(5);
    builder.reads(6);
    let position = builder.position();
    let wanted: Vec<u8> = builder.written[5..]
        .iter()
        .flat_map(|written| written.line.clone())
        .collect();
    for compressed in [false, true] {
        for more in [0, 2, 9] {
            let mut later = builder.clone();
            later.reads(more);
            let folder = later.folder(compressed);
            let prefix = writer::read_prefix(
                &RealDisk,
                folder.path(),
                position.open_first_seq,
                position.open_bytes,
            );
            assert_eq!(prefix.expect("read"), wanted);
        }
    }
}
