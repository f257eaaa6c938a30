//! A file that is read once: the system's cache is left as it was found.
//!
//! Advice to drop what was read (`posix_fadvise`) would take away pages that others are reading, too,
//! and asking beforehand what is in the cache (`RWF_NOWAIT`) brings it there. Linux 6.14 has a read that
//! does what is wanted: pages that it has to bring in go again with it, others stay.
//!
//! Where the system or the file system has no such read, it is read like any other file: what was read
//! only once is the first that goes when memory is short.

use std::io;

use super::{File, real::RealFile};

/// A real file, opened with [`super::OpenMode::ReadOnce`].
#[derive(Debug)]
pub(super) struct OnceFile(pub(super) RealFile);

impl File for OnceFile {
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        if let Some(read) = read_uncached(&self.0.0, buf, pos) {
            return Ok(read);
        }
        self.0.read_at(buf, pos)
    }

    fn write_at(&self, buf: &[u8], pos: u64) -> io::Result<usize> {
        self.0.write_at(buf, pos)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

/// `None` where that did not go: a plain read says why, or reads.
#[cfg(target_os = "linux")]
fn read_uncached(file: &std::fs::File, buf: &mut [u8], pos: u64) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    /// `RWF_DONTCACHE`.
    const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
    preadv2(file, &mut [io::IoSliceMut::new(buf)], pos, DONT_CACHE).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "looks at the system's cache")]

    use std::{
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    use super::read_uncached;
    use crate::{Disk as _, FileExt as _, OpenMode, RealDisk};

    const LEN: usize = 8 << 20;

    /// How much of a file the system's cache holds, where util-linux is there to say it.
    fn cached(path: &Path) -> Option<u64> {
        let asked = Command::new("fincore")
            .args(["-b", "-n", "-o", "RES"])
            .arg(path)
            .output();
        let said = String::from_utf8(asked.ok()?.stdout).ok()?;
        said.trim().parse().ok()
    }

    /// A file of which a part is in the cache; gone when dropped.
    struct Half(PathBuf);

    impl Half {
        fn new(content: &[u8]) -> Self {
            let name = format!("millrace-once-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).expect("writes");
            let file = fs::File::open(&path).expect("opens");
            file.sync_all().expect("syncs");
            let advice = rustix::fs::Advice::DontNeed;
            rustix::fs::fadvise(&file, LEN as u64 / 2, None, advice).expect("is advice");
            Self(path)
        }
    }

    impl Drop for Half {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    #[test]
    fn reading_once_leaves_the_cache_as_it_was() {
        let content: Vec<u8> = (0..=250).cycle().take(LEN).collect();
        let half = Half::new(&content);
        let before = cached(&half.0);
        let once = RealDisk::new("/").open(&half.0, OpenMode::ReadOnce);
        let mut read = vec![0; LEN];
        let once = once.expect("opens");
        for (number, piece) in (0..).zip(read.chunks_mut(1 << 20)) {
            once.read_exact_at(piece, number << 20).expect("reads");
        }
        assert!(read == content, "it reads what was written");
        let file = fs::File::open(&half.0).expect("opens");
        // Not every system can, and not every file system.
        if read_uncached(&file, &mut [0], 0).is_some() {
            assert_eq!(cached(&half.0), before);
        }
    }
}
