//! All files of a simulated data directory, as bytes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use millrace_env::{Disk as _, FileExt as _, OpenMode, SimDisk};

/// Content by path.
pub(in crate::crash) type Files = BTreeMap<String, Vec<u8>>;

/// Everything there is.
pub(in crate::crash) fn read(disk: &SimDisk) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).expect("a directory") {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                dirs.push(path);
            } else {
                let content = disk.content(&path);
                files.insert(path.display().to_string(), content);
            }
        }
    }
    files
}

/// Whether a path has this extension.
pub(super) fn is(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

/// Puts a file there with this content, durably, whatever was there.
pub(in crate::crash) fn write(disk: &SimDisk, path: &str, content: &[u8]) {
    let path = Path::new(path);
    let dir = path.parent().expect("it is no root");
    disk.create_dir(dir).expect("it can be made");
    let file = disk.open(path, OpenMode::CreateOrOpen).expect("it opens");
    file.set_len(content.len() as u64).expect("it has room");
    file.write_all_at(content, 0).expect("it has room");
    file.sync().expect("it syncs");
    for dir in path.ancestors().skip(1) {
        disk.sync_dir(dir).expect("it syncs");
    }
}
