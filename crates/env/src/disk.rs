//! The seam to files: a dozen calls, all below one root directory, all blocking.
//!
//! Paths are relative to the data directory. A real call may write less than it was asked to
//! ([`File::write_at`] says how much); nothing here retries, buffers or syncs by itself.

mod once;
mod real;

use std::{fmt::Debug, io, path::Path, sync::Arc};

pub use real::RealDisk;

/// Files below one root directory.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file. Opening never changes what is in it.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, replacing what had it. Durable after [`Disk::sync_dir`] of both
    /// directories.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name. Open files stay readable.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it; fine if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// What is in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that can still be written.
    fn available(&self) -> io::Result<u64>;
    /// Takes the exclusive lock file `path` until the value is dropped; [`io::ErrorKind::WouldBlock`]
    /// when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "a call that can fail, not a container's length"
)]
pub trait File: Debug + Send + Sync {
    /// Reads up to `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize>;
    /// Writes up to `buf.len()` bytes and says how many; the file grows as needed.
    fn write_at(&self, buf: &[u8], pos: u64) -> io::Result<usize>;
    /// Makes the bytes, and the length where it grew, durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or grows (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read each byte of it once. What the system's cache did not hold before is
    /// not left there, where the system can do that; what it did hold stays.
    ReadOnce,
    /// An existing file, to read and write.
    ReadWrite,
    /// To read and write; made empty if there is none.
    CreateOrOpen,
    /// To read and write; [`io::ErrorKind::AlreadyExists`] if there is one.
    CreateNew,
}

impl OpenMode {
    /// Whether the file may be changed.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::ReadOnce)
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The last part of its path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Its length in bytes; 0 for a directory.
    pub len: u64,
}

/// Whole reads and writes on top of [`File`].
pub trait FileExt {
    /// Fills `buf`, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buf: &mut [u8], pos: u64) -> io::Result<()>;
    /// Writes all of `buf`. When it fails, any part may have been written.
    fn write_all_at(&self, buf: &[u8], pos: u64) -> io::Result<()>;
}

impl<F: File + ?Sized> FileExt for F {
    fn read_exact_at(&self, mut buf: &mut [u8], mut pos: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, pos)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    buf = &mut buf[read..];
                    pos += read as u64;
                }
            }
        }
        Ok(())
    }

    fn write_all_at(&self, mut buf: &[u8], mut pos: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_at(buf, pos)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    buf = &buf[written..];
                    pos += written as u64;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaultError, FaultOp, SimDisk};

    fn file(disk: &SimDisk) -> Arc<dyn File> {
        disk.open(Path::new("a"), OpenMode::CreateNew)
            .expect("opens")
    }

    #[test]
    fn whole_writes_and_reads_go_on_after_short_ones() {
        let disk = SimDisk::new(3);
        let file = file(&disk);
        disk.set_short_writes(1.0);
        let content: Vec<u8> = (0..200).collect();
        file.write_all_at(&content, 5).expect("writes");
        let mut read = vec![0; 200];
        file.read_exact_at(&mut read, 5).expect("reads");
        assert_eq!(read, content);
    }

    #[test]
    fn reading_past_the_end_is_an_error_and_not_zeros() {
        let file = file(&SimDisk::new(3));
        file.write_all_at(b"abc", 0).expect("writes");
        let short = file.read_exact_at(&mut [0; 4], 0).expect_err("is short");
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn t14_a_whole_write_that_no_longer_fits_is_an_error() {
        let disk = SimDisk::new(3);
        let file = file(&disk);
        disk.set_capacity(Some(10));
        let full = file.write_all_at(&[1; 11], 0).expect_err("is full");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().expect("has a length"), 10, "a part is written");
    }

    #[test]
    fn errors_in_the_middle_come_through() {
        let disk = SimDisk::new(3);
        let file = file(&disk);
        file.write_all_at(b"abc", 0).expect("writes");
        disk.fail_next(FaultOp::Read, FaultError::Io, 0);
        let failed = file.read_exact_at(&mut [0; 3], 0).expect_err("fails");
        assert_eq!(failed.raw_os_error(), Some(5));
    }
}
