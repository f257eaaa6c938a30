//! A file that is read once: the system's cache is left as it was found.
//!
//! Dropping all that was read would take pages away that others are reading, too. So every read asks
//! first for what is in the cache alone; only what had to come from the disk is dropped again. Reading
//! ahead is off, or the next read would take what this one brought for somebody else's.
//!
//! Where the system or the file system cannot tell the two apart, it is read like any other file.

use std::io;

use super::{File, real::RealFile};

/// A real file, opened with [`super::OpenMode::ReadOnce`].
#[derive(Debug)]
pub(super) struct OnceFile(RealFile);

impl OnceFile {
    pub(super) fn new(file: RealFile) -> Self {
        #[cfg(target_os = "linux")]
        cache::do_not_read_ahead(&file.0);
        Self(file)
    }
}

impl File for OnceFile {
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        return match cache::held(&self.0.0, buf, pos) {
            cache::Held::Read(bytes) => Ok(bytes),
            cache::Held::Nothing => {
                let read = self.0.read_at(buf, pos)?;
                cache::drop_range(&self.0.0, pos, read);
                Ok(read)
            }
            cache::Held::Unknown => self.0.read_at(buf, pos),
        };
        #[cfg(not(target_os = "linux"))]
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

#[cfg(target_os = "linux")]
mod cache {
    use std::{fs, io::IoSliceMut, num::NonZeroU64};

    use rustix::{
        fs::{Advice, fadvise},
        io::{Errno, ReadWriteFlags, preadv2},
    };

    /// What the system's cache holds of a range.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) enum Held {
        /// Its beginning, or it ends here; read now.
        Read(usize),
        /// Not its beginning.
        Nothing,
        /// It does not say.
        Unknown,
    }

    pub(super) fn held(file: &fs::File, buf: &mut [u8], pos: u64) -> Held {
        let bufs = &mut [IoSliceMut::new(buf)];
        match preadv2(file, bufs, pos, ReadWriteFlags::NOWAIT) {
            Ok(bytes) => Held::Read(bytes),
            Err(Errno::AGAIN) => Held::Nothing,
            // Whatever else is wrong, the plain read that follows says.
            Err(_) => Held::Unknown,
        }
    }

    /// Advice alone: where it is not taken, the cache holds more than it needs to.
    pub(super) fn do_not_read_ahead(file: &fs::File) {
        let _: Result<(), Errno> = fadvise(file, 0, None, Advice::Random);
    }

    /// The same.
    pub(super) fn drop_range(file: &fs::File, pos: u64, len: usize) {
        // A length of 0 would mean all of the file.
        if let Some(len) = NonZeroU64::new(len as u64) {
            let _: Result<(), Errno> = fadvise(file, pos, Some(len), Advice::DontNeed);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "looks at the system's cache")]

    use std::{fs, path::Path};

    use super::cache::{drop_range, held};
    use crate::{Disk as _, FileExt as _, OpenMode, RealDisk};

    const LEN: usize = 1 << 20;
    const HALF: usize = LEN / 2;

    #[test]
    fn reading_once_leaves_the_cache_as_it_was() {
        let name = format!("millrace-once-{}", std::process::id());
        let (root, path) = (std::env::temp_dir(), Path::new(&name));
        let disk = RealDisk::new(&root);
        let content: Vec<u8> = (0..=255).cycle().take(LEN).collect();
        let written = disk.open(path, OpenMode::CreateOrOpen).expect("opens");
        written.write_all_at(&content, 0).expect("writes");
        written.sync().expect("syncs");

        let look = fs::File::open(root.join(path)).expect("opens");
        drop_range(&look, HALF as u64, HALF);
        let before = [0, HALF as u64].map(|pos| held(&look, &mut [0], pos));
        let once = disk.open(path, OpenMode::ReadOnce).expect("opens");
        let mut read = vec![0; LEN];
        once.read_exact_at(&mut read, 0).expect("reads");
        let after = [0, HALF as u64].map(|pos| held(&look, &mut [0], pos));
        fs::remove_file(root.join(path)).expect("removes");

        assert_eq!(read, content);
        // A file system in memory holds all of it, always; others say what the test is about.
        assert_eq!(before, after);
    }
}
