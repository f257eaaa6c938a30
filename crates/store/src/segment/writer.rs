//! Writes one segment: data first, then indexes, directory, footer and trailer, in one pass.
//!
//! DURABILITY: [`SegmentWriter::finish`] returns after the file is synced and has its final name;
//! the name is durable only after the directory is synced, which the caller does once for all the
//! segments of a job, before the catalog names any of them.
//!
//! What was written is synced every few MiB (decision 27), so that a commit's sync of another file
//! never waits behind hundreds of megabytes of this one.

use std::sync::Arc;

use millrace_core::{FilePos, SegmentId, StreamId, StreamPos, Timestamp};
use millrace_env::{Env, File, FileExt, OpenMode};

use super::{
    Chunk, Extent, SegmentMeta,
    format::{self, BLOCK_BYTES, Trailer},
    index::IndexBuilder,
    segment_path, temp_path,
};
use crate::{StoreError, codec::Encoder};

/// How many bytes are gathered for one write.
const WRITE_BYTES: usize = 1 << 20;

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    env: Env,
    id: SegmentId,
    file: Arc<dyn File>,
    /// Bytes not written yet; the first one stands at `written`, a block's beginning.
    pending: Vec<u8>,
    written: u64,
    unsynced: u64,
    sync_bytes: u64,
    checksums: Vec<u32>,
    done: Vec<(Extent, IndexBuilder)>,
    current: Option<(Extent, IndexBuilder)>,
    bytes: u64,
    index_bytes: u64,
}

impl SegmentWriter {
    /// Begins `segments/<id>.tmp`, which must not exist. Synced after every `sync_bytes`.
    pub(crate) fn create(env: &Env, id: SegmentId, sync_bytes: u64) -> Result<Self, StoreError> {
        let path = temp_path(id);
        let file = env
            .disk
            .open(&path, OpenMode::CreateNew)
            .map_err(|error| StoreError::io(format!("create {}", path.display()), &error))?;
        Ok(Self {
            env: env.clone(),
            id,
            file,
            pending: format::header(id),
            written: 0,
            unsynced: 0,
            sync_bytes: sync_bytes.max(BLOCK_BYTES),
            checksums: Vec::new(),
            done: Vec::new(),
            current: None,
            bytes: 0,
            index_bytes: 0,
        })
    }

    /// The id of the segment.
    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// About how long the file would be if it ended here.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.written + self.pending.len() as u64 + self.index_bytes
    }

    /// Begins the extent of `stream` at `from`.
    pub(crate) fn begin(&mut self, stream: StreamId, from: StreamPos) {
        assert!(self.current.is_none(), "one extent at a time");
        let extent = Extent {
            stream,
            from,
            until: from,
            segment: self.id,
            data: FilePos(self.written + self.pending.len() as u64),
            index: FilePos::ZERO,
            index_pages: 0,
            messages: 0,
        };
        self.current = Some((extent, IndexBuilder::new(from)));
    }

    /// Adds one append to the extent.
    pub(crate) fn chunk(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let (extent, _) = self.current.as_ref().expect("an extent was begun");
        assert_eq!(extent.until, chunk.from, "chunks of {} join", extent.stream);
        for (number, len) in chunk.payload.lengths().enumerate() {
            self.message(len, number == 0, chunk.at);
        }
        self.data(chunk.payload.bytes())
    }

    /// Adds a message to the extent's index.
    pub(crate) fn message(&mut self, len: u32, starts_append: bool, at: Timestamp) {
        let (_, index) = self.current.as_mut().expect("an extent was begun");
        index.push(len, starts_append, at);
    }

    /// Adds bytes to the extent.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let (extent, _) = self.current.as_mut().expect("an extent was begun");
        extent.until = extent.until.advance(bytes.len() as u64);
        self.bytes += bytes.len() as u64;
        self.put(bytes)
    }

    /// Ends the extent. Its messages and its bytes must agree.
    pub(crate) fn end(&mut self) {
        let (mut extent, index) = self.current.take().expect("an extent was begun");
        assert_eq!(extent.until, index.end(), "messages add up to the bytes");
        assert!(extent.from < extent.until, "no extent is empty");
        extent.index_pages = index.pages();
        extent.messages = index.messages();
        self.index_bytes += index.bytes() + format::DIRECTORY_ENTRY_BYTES;
        self.done.push((extent, index));
    }

    /// Forgets the extent that was begun. Its bytes stay in the file, and nothing names them.
    pub(crate) fn drop_extent(&mut self) {
        let (extent, _) = self.current.take().expect("an extent was begun");
        self.bytes -= extent.bytes();
    }

    /// Writes the rest, syncs, and gives the file its name.
    pub(crate) fn finish(mut self) -> Result<(SegmentMeta, Vec<Extent>), StoreError> {
        assert!(self.current.is_none(), "the last extent was ended");
        let index = self.place();
        let mut extents = Vec::with_capacity(self.done.len());
        for (mut extent, builder) in std::mem::take(&mut self.done) {
            let mut out = Encoder::with_capacity(usize::try_from(builder.bytes()).unwrap_or(0));
            extent.index = builder.put(self.place(), &mut out);
            self.put(&out.finish())?;
            extents.push(extent);
        }
        let directory = self.place();
        for extent in &extents {
            let mut out = Encoder::new();
            format::put_entry(extent, &mut out);
            self.put(&out.finish())?;
        }
        let len = self.seal(index, directory, extents.len())?;
        let (from, to) = (temp_path(self.id), segment_path(self.id));
        self.env
            .disk
            .rename(&from, &to)
            .map_err(|error| StoreError::io(format!("name {}", to.display()), &error))?;
        let meta = SegmentMeta {
            id: self.id,
            len,
            bytes: self.bytes,
        };
        Ok((meta, extents))
    }

    /// Writes footer and trailer and syncs; gives the length of the file.
    fn seal(
        &mut self,
        index: FilePos,
        directory: FilePos,
        extents: usize,
    ) -> Result<u64, StoreError> {
        let footer = self.place();
        self.write_blocks(true)?;
        let mut out = Encoder::new();
        for crc in &self.checksums {
            out.u32(*crc);
        }
        let trailer = Trailer {
            segment: self.id,
            index,
            directory,
            extents: u32::try_from(extents).expect("a segment has fewer than 2^32 extents"),
            footer,
            footer_crc: crc32c::crc32c(out.as_mut_slice()),
        };
        out.raw(&trailer.encode());
        self.write(&out.finish(), footer.get())?;
        self.sync()?;
        Ok(trailer.file_len())
    }

    /// Where the next byte goes.
    fn place(&self) -> FilePos {
        FilePos(self.written + self.pending.len() as u64)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        for part in bytes.chunks(WRITE_BYTES) {
            self.pending.extend_from_slice(part);
            if self.pending.len() >= WRITE_BYTES {
                self.write_blocks(false)?;
            }
        }
        Ok(())
    }

    /// Writes the pending whole blocks, and with `rest` also what is left behind them.
    fn write_blocks(&mut self, rest: bool) -> Result<(), StoreError> {
        let block = usize::try_from(BLOCK_BYTES).expect("a block fits memory");
        let whole = self.pending.len() / block * block;
        let take = if rest { self.pending.len() } else { whole };
        let pending = std::mem::take(&mut self.pending);
        let (now, later) = pending.split_at(take);
        self.checksums.extend(now.chunks(block).map(crc32c::crc32c));
        self.write(now, self.written)?;
        self.written += take as u64;
        self.pending = later.to_vec();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Result<(), StoreError> {
        self.file
            .write_all_at(bytes, at)
            .map_err(|error| self.failed("write", &error))?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= self.sync_bytes {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync()
            .map_err(|error| self.failed("sync", &error))?;
        self.unsynced = 0;
        Ok(())
    }

    fn failed(&self, doing: &str, error: &std::io::Error) -> StoreError {
        StoreError::io(format!("{doing} {}", temp_path(self.id).display()), error)
    }
}
