//! A flush: what a shard gathered in memory becomes segments, and one commit of the catalog.
//!
//! The order is the promise (decision 25): segments written, synced and named; their directory
//! synced; then one commit that names them and the log's LSN; only then may the log below that LSN
//! be recycled. A crash in between only repeats work: segments that no commit names are set aside at
//! the next start.
//!
//! The job keeps what it was given: after a failure nothing is forgotten, and it can run again (T7).
//!
//! Not here: when to flush and what is dirty (`millrace-engine`), recycling (`crate::wal`).

use std::{collections::BTreeSet, path::Path};

use millrace_core::{
    Generation, Lsn, ProducerId, SegmentId, SlotId, StreamId,
    stream::{ProducerState, StreamState},
};
use millrace_env::{
    Env,
    mutant::{self, Mutant},
};

use crate::{
    StoreError,
    catalog::{Catalog, Commit, Committed},
    reserve,
    segment::{
        Chunk, Extent, SEGMENTS_DIR, SegmentMeta, Segments, segment_path, temp_path,
        writer::SegmentWriter,
    },
    wal::LogId,
};
/// What a shard froze at an LSN.
#[derive(Clone, Debug)]
pub struct FlushJob {
    /// The shard's log.
    pub log: LogId,
    /// Everything up to here is in the catalog once the job is done.
    pub lsn: Lsn,
    /// Streams that changed.
    pub streams: Vec<FrozenStream>,
    /// Streams that are gone.
    pub removed: Vec<StreamId>,
    /// Producers that changed; `None` for one that was forgotten.
    pub producers: Vec<(StreamId, ProducerId, Option<ProducerState>)>,
    /// The highest generations used, of slots where that changed.
    pub generations: Vec<(SlotId, Generation)>,
}

/// A stream at the moment of the freeze.
#[derive(Clone, Debug)]
pub struct FrozenStream {
    /// Its state.
    pub state: StreamState,
    /// Its bytes that are in no segment yet: contiguous, and ending at the state's tail. None when
    /// only the row changed.
    pub chunks: Vec<Chunk>,
}

/// How segments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushOptions {
    /// A stream with at least so many bytes to seal gets a segment of its own.
    pub own_segment_bytes: u64,
    /// About how long a segment that streams share may become.
    pub pack_bytes: u64,
    /// After how many bytes written a file is synced.
    pub sync_bytes: u64,
}

impl Default for FlushOptions {
    fn default() -> Self {
        Self {
            own_segment_bytes: 1 << 20,
            pack_bytes: 64 << 20,
            sync_bytes: 4 << 20,
        }
    }
}

/// What a flush made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// The new extents, by stream and position: each joins the last one of its stream.
    pub extents: Vec<Extent>,
    /// Segments without a live byte from now on; their files are being deleted.
    pub doomed: Vec<SegmentId>,
    /// How many bytes of streams were sealed.
    pub bytes: u64,
}

impl FrozenStream {
    fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.payload.len()).sum()
    }

    /// Its chunks that hold anything: an append may only close a stream.
    fn filled(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().filter(|chunk| !chunk.payload.is_empty())
    }

    fn check(&self) {
        let Some(first) = self.chunks.first() else {
            return;
        };
        let end = self.chunks.iter().fold(first.from, |end, chunk| {
            assert_eq!(end, chunk.from, "the chunks of {} join", self.state.id);
            chunk.until()
        });
        assert_eq!(
            end, self.state.tail,
            "the chunks of {} end at its tail",
            self.state.id
        );
    }
}

impl FlushJob {
    /// Writes the segments and commits. When it fails the catalog is unchanged, nothing of the log
    /// may be recycled, and the job can run again; files that it left are deleted now or set aside
    /// at the next start. On a full disk the reserve is used.
    ///
    /// # Panics
    /// When a stream's chunks do not join or do not end at its tail.
    pub fn run(
        &self,
        env: &Env,
        segments: &Segments,
        catalog: &Catalog,
        options: &FlushOptions,
    ) -> Result<Flushed, StoreError> {
        match self.attempt(env, segments, catalog, options) {
            Err(StoreError::Full) if reserve::release(env) => {
                self.attempt(env, segments, catalog, options)
            }
            done => done,
        }
    }

    fn attempt(
        &self,
        env: &Env,
        segments: &Segments,
        catalog: &Catalog,
        options: &FlushOptions,
    ) -> Result<Flushed, StoreError> {
        let mut packer = Packer::new(env, catalog, options);
        let live = self.live();
        if let Err(error) = write(&live, &mut packer, options) {
            packer.abandon();
            return Err(error);
        }
        let (metas, extents) = (packer.metas.clone(), packer.extents.clone());
        let commit = Commit {
            log: Some((self.log, self.lsn)),
            upserts: live.iter().map(|frozen| frozen.state.clone()).collect(),
            removed: self.removed.clone(),
            segments: metas,
            extents,
            producers: self.producers.clone(),
            generations: self.generations.clone(),
            ..Commit::default()
        };
        match commit_and_remove(segments, catalog, commit) {
            Ok(committed) => Ok(Flushed {
                bytes: packer.extents.iter().map(Extent::bytes).sum(),
                extents: packer.extents,
                doomed: committed.doomed,
            }),
            Err(error) => {
                // Where it is not known whether the commit took place, its files have to stay.
                if !matches!(error, StoreError::Poisoned { .. }) {
                    packer.abandon();
                }
                Err(error)
            }
        }
    }

    /// The streams that are not gone.
    fn live(&self) -> Vec<&FrozenStream> {
        let gone: BTreeSet<StreamId> = self.removed.iter().copied().collect();
        let streams = self.streams.iter();
        streams
            .filter(|frozen| !gone.contains(&frozen.state.id))
            .collect()
    }
}

fn write(
    streams: &[&FrozenStream],
    packer: &mut Packer<'_>,
    options: &FlushOptions,
) -> Result<(), StoreError> {
    let filled = streams.iter().filter(|frozen| frozen.bytes() > 0);
    let mut filled: Vec<&FrozenStream> = filled.copied().collect();
    filled.sort_by_key(|frozen| frozen.state.id);
    for frozen in filled {
        frozen.check();
        let bytes = frozen.bytes();
        if bytes >= options.own_segment_bytes {
            let mut own = packer.begin()?;
            write_stream(&mut own, frozen)?;
            packer.finish(own)?;
        } else {
            write_stream(packer.pack(bytes)?, frozen)?;
        }
    }
    packer.done()
}

fn write_stream(writer: &mut SegmentWriter, frozen: &FrozenStream) -> Result<(), StoreError> {
    let mut chunks = frozen.filled().peekable();
    let first = chunks
        .peek()
        .expect("a stream with bytes has a chunk with bytes");
    writer.begin(frozen.state.id, first.from);
    for chunk in chunks {
        writer.chunk(chunk)?;
    }
    writer.end();
    Ok(())
}

/// Commits, and deletes what the commit dooms. Segments that were deleted before are forgotten by
/// the same commit.
pub(crate) fn commit_and_remove(
    segments: &Segments,
    catalog: &Catalog,
    mut commit: Commit,
) -> Result<Committed, StoreError> {
    commit.forget_doomed = segments.take_unlinked()?;
    match catalog.commit(&commit) {
        Ok(committed) => {
            for id in &committed.doomed {
                segments.remove(*id);
            }
            Ok(committed)
        }
        Err(error) => {
            segments.return_unlinked(commit.forget_doomed);
            Err(error)
        }
    }
}

/// Spreads extents over new segments: own ones, and packs that are filled one after the other.
pub(crate) struct Packer<'a> {
    env: &'a Env,
    catalog: &'a Catalog,
    options: &'a FlushOptions,
    pack: Option<SegmentWriter>,
    /// Every segment that was begun, for the case that the job fails.
    begun: Vec<SegmentId>,
    pub(crate) metas: Vec<SegmentMeta>,
    pub(crate) extents: Vec<Extent>,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(env: &'a Env, catalog: &'a Catalog, options: &'a FlushOptions) -> Self {
        Self {
            env,
            catalog,
            options,
            pack: None,
            begun: Vec::new(),
            metas: Vec::new(),
            extents: Vec::new(),
        }
    }

    /// A segment for one stream alone. The caller finishes it.
    pub(crate) fn begin(&mut self) -> Result<SegmentWriter, StoreError> {
        let id = self.catalog.allocate_segment();
        self.begun.push(id);
        SegmentWriter::create(self.env, id, self.options.sync_bytes)
    }

    /// The pack that the next `bytes` go into.
    pub(crate) fn pack(&mut self, bytes: u64) -> Result<&mut SegmentWriter, StoreError> {
        let full = |pack: &mut SegmentWriter| pack.file_bytes() + bytes > self.options.pack_bytes;
        if let Some(pack) = self.pack.take_if(full) {
            self.finish(pack)?;
        }
        if self.pack.is_none() {
            self.pack = Some(self.begin()?);
        }
        Ok(self.pack.as_mut().expect("begun just now"))
    }

    /// Ends a segment and keeps what it holds.
    pub(crate) fn finish(&mut self, writer: SegmentWriter) -> Result<(), StoreError> {
        let (meta, extents) = writer.finish()?;
        self.metas.push(meta);
        self.extents.extend(extents);
        Ok(())
    }

    /// Gives up a segment that was begun.
    pub(crate) fn discard(&mut self, writer: SegmentWriter) {
        let id = writer.id();
        drop(writer);
        if self.env.disk.remove(&temp_path(id)).is_err() {
            tracing::warn!(segment = id.get(), "an unfinished segment was left over");
        }
    }

    /// Ends the last pack and makes all names durable.
    pub(crate) fn done(&mut self) -> Result<(), StoreError> {
        if let Some(pack) = self.pack.take() {
            self.finish(pack)?;
        }
        self.extents
            .sort_by_key(|extent| (extent.stream, extent.from));
        if self.metas.is_empty() || mutant::is(Mutant::ForgetDirectorySync) {
            return Ok(());
        }
        // DURABILITY: before the commit that names the files (T11).
        self.env
            .disk
            .sync_dir(Path::new(SEGMENTS_DIR))
            .map_err(|error| StoreError::io("sync the directory segments", &error))
    }

    /// Deletes what a failed job wrote, as far as that goes: on a full disk the space is needed. No
    /// commit names the files, so what is left is set aside at the next start.
    pub(crate) fn abandon(self) {
        for id in self.begun {
            let temp = self.env.disk.remove(&temp_path(id));
            let named = self.env.disk.remove(&segment_path(id));
            if temp.is_err() && named.is_err() {
                tracing::warn!(
                    segment = id.get(),
                    "a segment of a failed flush was left over"
                );
            }
        }
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
