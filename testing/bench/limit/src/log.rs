//! The file that bodies go to. It is filled with zeros first, so that a sync writes data and no
//! metadata.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

/// Filled with zeros; when it is full, writing begins anew at its start.
const FILE_BYTES: u64 = 256 << 20;
const ZEROS: usize = 1 << 20;

/// A file that is written round and round.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    at: u64,
    /// Bodies of this turn.
    gathered: Vec<u8>,
}

impl Log {
    /// A fresh file; it has no name any more, so it goes with the process.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let zeros = vec![0; ZEROS];
        let mut at = 0;
        while at < FILE_BYTES {
            file.write_all_at(&zeros, at)?;
            at += ZEROS as u64;
        }
        file.sync_all()?;
        std::fs::remove_file(path)?;
        Ok(Self {
            file,
            at: 0,
            gathered: Vec::new(),
        })
    }

    pub(crate) fn append(&mut self, body: &[u8]) {
        self.gathered.extend_from_slice(body);
    }

    /// One write, one `fdatasync`.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let bytes = self.gathered.len() as u64;
        if self.at + bytes > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.gathered, self.at)?;
        self.at += bytes;
        self.gathered.clear();
        rustix::fs::fdatasync(&self.file)?;
        Ok(())
    }
}
