//! A look at the catalog that cannot change it: what `redb` writes stays in memory.
//!
//! Opening a `redb` file marks it as open, and its integrity check repairs. `check` and `dump` must
//! leave a data directory as they find it, and a catalog whose last commit failed may be read but
//! not written; both get this in place of the file.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

use super::paged::{PAGE_BYTES, PagedFile};

/// Reads from the file, writes to memory.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: PagedFile,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    pages: BTreeMap<u64, Vec<u8>>,
    /// The length it would have.
    len: u64,
    /// The shortest length it ever had: what the file holds behind that was cut off.
    file_len: u64,
}

impl Overlay {
    /// A look at `file`.
    pub(crate) fn new(file: PagedFile) -> io::Result<Self> {
        let len = file.len()?;
        let written = Written {
            pages: BTreeMap::new(),
            len,
            file_len: len,
        };
        Ok(Self {
            file,
            written: Mutex::new(written),
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content of one page.
    fn page(&self, written: &Written, page: u64) -> io::Result<Vec<u8>> {
        if let Some(bytes) = written.pages.get(&page) {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; PAGE_LEN];
        if page * PAGE_BYTES < written.file_len {
            self.file.read(page * PAGE_BYTES, &mut bytes)?;
        }
        Ok(bytes)
    }
}

/// [`PAGE_BYTES`] in memory.
const PAGE_LEN: usize = 4096;

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset + out.len() as u64 > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let page = self.page(&written, at / PAGE_BYTES)?;
            let start = usize::try_from(at % PAGE_BYTES).expect("less than a page");
            let part = (PAGE_LEN - start).min(out.len() - done);
            out[done..done + part].copy_from_slice(&page[start..start + part]);
            done += part;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        written.len = len;
        written.file_len = written.file_len.min(len);
        written.pages.retain(|page, _| page * PAGE_BYTES < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let number = at / PAGE_BYTES;
            let start = usize::try_from(at % PAGE_BYTES).expect("less than a page");
            let part = (PAGE_LEN - start).min(data.len() - done);
            let mut page = self.page(&written, number)?;
            page[start..start + part].copy_from_slice(&data[done..done + part]);
            written.pages.insert(number, page);
            done += part;
        }
        Ok(())
    }
}
