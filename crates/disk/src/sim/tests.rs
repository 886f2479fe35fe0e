//! Tests of the disk that loses power.

use super::*;
use crate::write_atomic;

fn disk_with_folder() -> (Arc<SimDisk>, PathBuf) {
    let disk = SimDisk::new();
    let dir = PathBuf::from("/data");
    disk.create_dir_all(&dir).expect("create folder");
    (disk, dir)
}

#[test]
fn a_crash_takes_what_was_not_synced_and_nothing_else() {
    let (disk, dir) = disk_with_folder();
    let path = dir.join("log");
    let mut file = disk.create_new(&path).expect("create");
    file.append(b"synced").expect("append");
    file.sync_data().expect("sync");
    disk.sync_dir(&dir).expect("sync folder");
    file.append(b" and not").expect("append");
    assert_eq!(disk.read(&path).expect("read"), b"synced and not");
    disk.crash();
    assert_eq!(disk.read(&path).expect("read"), b"synced");
    assert!(
        file.append(b"late").is_err(),
        "handles of a dead process are stale"
    );
    assert!(file.len().is_err() && file.sync_data().is_err() && file.reopen().is_err());
    assert_eq!((disk.syncs(), disk.dir_syncs()), (1, 1));
}

#[test]
fn a_torn_crash_keeps_a_prefix_of_the_unsynced_tail() {
    let (disk, dir) = disk_with_folder();
    let path = dir.join("log");
    let mut file = disk.create_new(&path).expect("create");
    disk.sync_dir(&dir).expect("sync folder");
    file.append(b"abc").expect("append");
    file.sync_data().expect("sync");
    file.append(b"defg").expect("append");
    disk.crash_torn(|_, unsynced| {
        assert_eq!(unsynced, 4);
        2
    });
    assert_eq!(disk.read(&path).expect("read"), b"abcde");
}

#[test]
fn names_return_to_the_last_synced_folder() {
    let (disk, dir) = disk_with_folder();
    let (old, new) = (dir.join("old"), dir.join("new"));
    disk.create_new(&old)
        .expect("create")
        .sync_data()
        .expect("sync");
    disk.crash();
    assert!(
        !disk.exists(&old).expect("exists"),
        "bytes were synced, the name was not"
    );

    disk.create_new(&old)
        .expect("create")
        .sync_data()
        .expect("sync");
    disk.sync_dir(&dir).expect("sync folder");
    disk.rename(&old, &new).expect("rename");
    disk.crash();
    assert_eq!(disk.list(&dir).expect("list"), vec![old.clone()]);

    disk.remove(&old).expect("remove");
    disk.crash();
    assert!(disk.exists(&old).expect("exists"));
    disk.remove(&old).expect("remove");
    disk.sync_dir(&dir).expect("sync folder");
    disk.crash();
    assert!(disk.list(&dir).expect("list").is_empty());
}

#[test]
fn an_unsynced_truncation_is_undone() {
    let (disk, dir) = disk_with_folder();
    let path = dir.join("log");
    let mut file = disk.create_new(&path).expect("create");
    disk.sync_dir(&dir).expect("sync folder");
    file.append(b"abcdef").expect("append");
    file.sync_data().expect("sync");
    file.truncate(4).expect("truncate");
    file.truncate(2).expect("truncate");
    file.append(b"XY").expect("append");
    assert_eq!(disk.read(&path).expect("read"), b"abXY");
    disk.crash();
    assert_eq!(disk.read(&path).expect("read"), b"abcdef");
}

#[test]
fn what_a_crash_would_leave_can_be_looked_at_before() {
    let (disk, dir) = disk_with_folder();
    let (old, new) = (dir.join("old"), dir.join("new"));
    let mut file = disk.create_new(&old).expect("create");
    assert_eq!(disk.unsynced(&dir), vec![old.clone()], "no name yet");
    file.append(b"abcd").expect("append");
    disk.sync_dir(&dir).expect("sync folder");
    assert_eq!(disk.durable_files(&dir), vec![(old.clone(), 0)]);
    file.sync_data().expect("sync");
    assert!(disk.unsynced(&dir).is_empty());
    file.append(b"ef").expect("append");
    file.truncate(3).expect("truncate");
    assert_eq!(disk.read_durable(&old).expect("read"), b"abcd");
    assert!(disk.has_unsynced_bytes(&old).expect("look"));
    assert_eq!(disk.durable_files(&dir), vec![(old.clone(), 4)]);
    disk.rename(&old, &new).expect("rename");
    assert_eq!(disk.unsynced(&dir), vec![new.clone()]);
    assert!(disk.read_durable(&new).is_err());
    disk.crash();
    assert_eq!(disk.read(&old).expect("read"), b"abcd");
}

#[test]
fn failing_syncs_make_nothing_durable() {
    let (disk, dir) = disk_with_folder();
    let path = dir.join("log");
    let mut file = disk.create_new(&path).expect("create");
    disk.sync_dir(&dir).expect("sync folder");
    disk.fail_syncs_after(1);
    file.append(b"a").expect("append");
    file.sync_data().expect("the first sync still works");
    file.append(b"b").expect("append");
    assert!(file.sync_data().is_err());
    assert!(disk.sync_dir(&dir).is_err());
    disk.crash();
    assert_eq!(disk.read(&path).expect("read"), b"a");
    disk.fail_syncs(false);
    disk.open(&path)
        .expect("open")
        .sync_data()
        .expect("sync works again");
}

#[test]
fn a_full_disk_says_so_and_writes_nothing() {
    let (disk, dir) = disk_with_folder();
    let mut file = disk.create_new(&dir.join("log")).expect("create");
    disk.set_capacity(Some(4));
    file.append(b"abc").expect("append");
    assert_eq!(disk.free_bytes(&dir).expect("free bytes"), 1);
    let full = file.append(b"de").expect_err("beyond the capacity");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().expect("len"), 3);
    disk.set_capacity(None);
    file.append(b"de").expect("append");
}

#[test]
fn a_removed_file_can_still_be_read_by_who_holds_it() {
    let (disk, dir) = disk_with_folder();
    let path = dir.join("log");
    let mut file = disk.create_new(&path).expect("create");
    file.append(b"kept").expect("append");
    disk.remove(&path).expect("remove");
    let mut buffer = [0_u8; 4];
    file.reopen()
        .expect("reopen")
        .read_exact_at(0, &mut buffer)
        .expect("read");
    assert_eq!(&buffer, b"kept");
    assert!(disk.create_new(&dir.join("missing/log")).is_err());
}

#[test]
fn an_atomic_write_leaves_the_old_file_or_the_new_one() {
    let (disk, dir) = disk_with_folder();
    let path = dir.join("state");
    write_atomic(&*disk, &path, b"old").expect("write");
    for syncs in 0..2 {
        disk.fail_syncs_after(syncs);
        assert!(write_atomic(&*disk, &path, b"new").is_err());
        disk.crash();
        disk.fail_syncs(false);
        assert_eq!(disk.read(&path).expect("read"), b"old");
    }
    write_atomic(&*disk, &path, b"new").expect("write");
    disk.crash();
    assert_eq!(disk.read(&path).expect("read"), b"new");
}

#[test]
fn a_corrupted_byte_stays_corrupted() {
    let (disk, dir) = disk_with_folder();
    let path = dir.join("log");
    write_atomic(&*disk, &path, b"abc").expect("write");
    disk.corrupt(&path, 1, 0x01).expect("corrupt");
    disk.crash();
    assert_eq!(disk.read(&path).expect("read"), b"acc");
    assert!(disk.corrupt(&path, 3, 1).is_err());
}
