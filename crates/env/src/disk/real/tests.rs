//! The real disk does what the simulated one pretends to; each fact runs on both.
#![allow(clippy::disallowed_methods, reason = "cleans up its own directory")]

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{SimDisk, disk::FileExt as _};

/// A directory of its own for every test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace-env-{}-{count}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Runs `check` on a real and on a simulated disk whose root was made.
fn on_both(check: impl Fn(&dyn Disk)) {
    let scratch = Scratch::new();
    for disk in [&RealDisk::new(&scratch.0) as &dyn Disk, &*SimDisk::new(1)] {
        disk.create_dir(Path::new("")).expect("makes the root");
        check(disk);
    }
}

fn write(disk: &dyn Disk, path: &str, content: &[u8]) {
    let file = disk
        .open(Path::new(path), OpenMode::CreateOrOpen)
        .expect("opens");
    file.write_all_at(content, 0).expect("writes");
    file.sync().expect("syncs");
}

fn read(disk: &dyn Disk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(Path::new(path), OpenMode::Read)?;
    let len = usize::try_from(file.len()?).expect("fits");
    let mut content = vec![0; len];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

#[test]
fn what_is_written_is_read() {
    on_both(|disk| {
        write(disk, "a", b"0123456789");
        let file = disk
            .open(Path::new("a"), OpenMode::ReadWrite)
            .expect("opens");
        file.write_all_at(b"xy", 12).expect("writes past the end");
        file.set_len(13).expect("cuts");
        assert_eq!(read(disk, "a").expect("reads"), b"0123456789\0\0x");
        assert_eq!(file.read_at(&mut [0; 4], 13).expect("reads"), 0);
        assert_eq!(file.read_at(&mut [0; 4], 11).expect("reads"), 2);
    });
}

#[test]
fn open_never_changes_content_and_says_what_is_missing() {
    on_both(|disk| {
        let open = |mode| disk.open(Path::new("a"), mode).map(|_| ());
        let kind = |mode| open(mode).map_err(|error| error.kind());
        assert_eq!(kind(OpenMode::Read), Err(io::ErrorKind::NotFound));
        assert_eq!(kind(OpenMode::ReadWrite), Err(io::ErrorKind::NotFound));
        assert_eq!(kind(OpenMode::CreateNew), Ok(()));
        write(disk, "a", b"x");
        assert_eq!(kind(OpenMode::CreateNew), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(kind(OpenMode::CreateOrOpen), Ok(()));
        assert_eq!(read(disk, "a").expect("reads"), b"x");
        let file = disk.open(Path::new("a"), OpenMode::Read).expect("opens");
        assert!(file.write_at(b"y", 0).is_err());
    });
}

#[test]
fn names_are_made_renamed_listed_and_removed() {
    on_both(|disk| {
        disk.create_dir(Path::new("d/e")).expect("makes");
        disk.create_dir(Path::new("d/e")).expect("is there");
        write(disk, "d/z", b"123");
        write(disk, "d/a", b"1");
        disk.rename(Path::new("d/a"), Path::new("d/e/a"))
            .expect("renames");
        disk.rename(Path::new("d/e/a"), Path::new("d/z"))
            .expect("replaces");
        disk.sync_dir(Path::new("d")).expect("syncs");
        let entry = |name: &str, is_dir, len| DirEntry {
            name: name.into(),
            is_dir,
            len,
        };
        let list = disk.list(Path::new("d")).expect("lists");
        assert_eq!(list, [entry("e", true, 0), entry("z", false, 1)]);
        let open = disk.open(Path::new("d/z"), OpenMode::Read).expect("opens");
        disk.remove(Path::new("d/z")).expect("removes");
        assert_eq!(open.read_at(&mut [0; 4], 0).expect("reads"), 1);
        assert!(disk.remove_dir(Path::new("d")).is_err(), "is not empty");
        disk.remove_dir(Path::new("d/e")).expect("removes");
        disk.remove_dir(Path::new("d")).expect("removes");
        let missing = disk.list(Path::new("d")).expect_err("is gone");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let missing = disk.sync_dir(Path::new("d")).expect_err("is gone");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(disk.list(Path::new("")).expect("lists").is_empty());
    });
}

#[test]
fn a_lock_is_exclusive_until_it_is_dropped() {
    on_both(|disk| {
        let held = disk.lock(Path::new("LOCK")).expect("locks");
        let refused = disk.lock(Path::new("LOCK")).err().expect("is held");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        disk.lock(Path::new("LOCK")).expect("is free");
        let missing = disk.lock(Path::new("none/LOCK")).err();
        let missing = missing.expect("no directory");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn space_is_told() {
    on_both(|disk| assert!(disk.available().expect("tells") > 0));
}
