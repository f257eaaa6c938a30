//! Compaction: gives back the space of bytes that nothing needs, and brings a stream's bytes together.
//!
//! Two reasons to write extents anew:
//! - A segment of which less than half is live: its live extents move, and the file goes.
//! - A stream in many extents: the short ones at its end become one. A longer extent is written
//!   anew only when what joins it is at least half as long, so that a byte moves a logarithmic
//!   number of times, however often a stream is flushed.
//!
//! Adjacent extents of one stream always come out as one. Every byte and every mark is read through
//! its checksum; what cannot be read is left where it is and told, and never in the way of the rest.
//!
//! The commit exchanges exactly those extents that are still what they were: a stream that was
//! deleted meanwhile stays deleted (T5). Old segments go when nothing in them is live and no
//! reader holds them.

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{SegmentId, StreamId};
use millrace_env::Env;

use crate::{
    StoreError,
    catalog::{Catalog, Commit, Replaced, SegmentRow},
    flush::{FlushOptions, Packer, commit_and_remove},
    reserve,
    segment::{Extent, SegmentRef, Segments, writer::SegmentWriter},
};

/// How many bytes are read at once.
const READ_BYTES: u64 = 1 << 20;
/// BOUND: how many streams with many extents one call looks at.
const STREAMS_MAX: usize = 4096;

/// How much one call of [`compact`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactOptions {
    /// About how many bytes of streams one call writes.
    pub bytes_max: u64,
    /// An extent of at least so many bytes is long enough: it is never written anew to join others.
    pub long_extent_bytes: u64,
    /// How segments are written.
    pub flush: FlushOptions,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            long_extent_bytes: 16 << 20,
            flush: FlushOptions::default(),
        }
    }
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Every stream whose extents changed, with all of them as the catalog has them. A flush may
    /// commit meanwhile: join the list with what is known ([`joined`]).
    pub moved: Vec<(StreamId, Vec<Extent>)>,
    /// Segments without a live byte from now on; their files are being deleted.
    pub doomed: Vec<SegmentId>,
    /// How many bytes of streams were written anew.
    pub bytes: u64,
    /// What could not be read, and was left where it is.
    pub problems: Vec<String>,
}

impl Compacted {
    /// Whether there was something to do: then there may be more.
    pub fn did_something(&self) -> bool {
        !self.moved.is_empty()
    }
}

/// A stream's extents after a compaction told `moved` and flushes made it `known`: whichever was
/// heard of first, later extents stay and earlier ones are the moved.
pub fn joined(moved: &[Extent], known: &[Extent]) -> Vec<Extent> {
    let Some(last) = moved.last() else {
        return known.to_vec();
    };
    let later = known.iter().filter(|extent| extent.from >= last.until);
    moved.iter().chain(later).copied().collect()
}

/// Does a bounded amount of compaction. Nothing is changed when it fails. On a full disk the reserve
/// is used.
pub fn compact(
    env: &Env,
    segments: &Segments,
    catalog: &Catalog,
    options: &CompactOptions,
) -> Result<Compacted, StoreError> {
    match attempt(env, segments, catalog, options) {
        Err(StoreError::Full) if reserve::release(env) => attempt(env, segments, catalog, options),
        done => done,
    }
}

fn attempt(
    env: &Env,
    segments: &Segments,
    catalog: &Catalog,
    options: &CompactOptions,
) -> Result<Compacted, StoreError> {
    let mut work = Work::new(segments, catalog, options);
    work.pick_sparse()?;
    work.pick_scattered()?;
    let (runs, gathered) = work.runs();
    let mut compacted = Compacted {
        problems: work.problems,
        ..Compacted::default()
    };
    if runs.is_empty() && gathered.is_empty() {
        return Ok(compacted);
    }
    let mut packer = Packer::new(env, catalog, &options.flush);
    let mut mover = Mover {
        segments,
        packer: &mut packer,
        options,
        problems: &mut compacted.problems,
    };
    let moved = mover.write(&runs);
    let replaced = match moved {
        Ok(moved) => replacements(moved, &packer.extents),
        Err(error) => {
            packer.abandon();
            return Err(error);
        }
    };
    let commit = Commit {
        segments: packer.metas.clone(),
        replaced: replaced.clone(),
        gathered,
        ..Commit::default()
    };
    let committed = match commit_and_remove(segments, catalog, commit) {
        Ok(committed) => committed,
        Err(error) => {
            // Where it is not known whether the commit took place, its files have to stay.
            if !matches!(error, StoreError::Poisoned { .. }) {
                packer.abandon();
            }
            return Err(error);
        }
    };
    compacted.doomed = committed.doomed;
    let mut streams = BTreeSet::new();
    for (swap, done) in replaced.iter().zip(&committed.replaced) {
        if *done {
            compacted.bytes += swap.new.iter().map(Extent::bytes).sum::<u64>();
            streams.insert(swap.stream);
        }
    }
    for stream in streams {
        compacted.moved.push((stream, catalog.extents(stream)?));
    }
    Ok(compacted)
}

/// Adjacent extents of one stream that are to become one.
type Run = Vec<Extent>;

/// What was picked so far.
struct Work<'a> {
    segments: &'a Segments,
    catalog: &'a Catalog,
    options: &'a CompactOptions,
    budget: u64,
    picked: BTreeMap<StreamId, BTreeMap<u64, Extent>>,
    gathered: Vec<StreamId>,
    problems: Vec<String>,
}

impl<'a> Work<'a> {
    fn new(segments: &'a Segments, catalog: &'a Catalog, options: &'a CompactOptions) -> Self {
        Self {
            segments,
            catalog,
            options,
            budget: options.bytes_max,
            picked: BTreeMap::new(),
            gathered: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Picks an extent if it fits the budget; the first one always does.
    fn pick(&mut self, extent: Extent) -> bool {
        if extent.bytes() > self.budget && !self.picked.is_empty() {
            return false;
        }
        let stream = self.picked.entry(extent.stream).or_default();
        if stream.insert(extent.from.get(), extent).is_none() {
            self.budget = self.budget.saturating_sub(extent.bytes());
        }
        true
    }

    /// The live extents of segments of which less than half is live, the emptiest first.
    fn pick_sparse(&mut self) -> Result<(), StoreError> {
        let mut sparse: Vec<SegmentRow> = self.catalog.segments()?;
        sparse.retain(|row| row.live < row.total - row.live && !self.segments.is_suspect(row.id));
        sparse.sort_by_key(|row| row.live);
        for row in sparse {
            let written = match self.segments.pin(row.id).extents() {
                Ok(extents) => extents,
                Err(error) => {
                    self.left(row.id, &error)?;
                    continue;
                }
            };
            for extent in self.catalog.still_named(&written)? {
                if !self.pick(extent) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The short extents at the end of streams that have many.
    fn pick_scattered(&mut self) -> Result<(), StoreError> {
        for stream in self.catalog.scattered(STREAMS_MAX)? {
            let extents = self.catalog.extents(stream)?;
            let tail = short_tail(
                &extents,
                self.options.long_extent_bytes,
                self.options.bytes_max,
            );
            let suspect = tail.iter().any(|e| self.segments.is_suspect(e.segment));
            let bytes: u64 = tail.iter().map(Extent::bytes).sum();
            if tail.len() > 1 && !suspect {
                if bytes > self.budget && !self.picked.is_empty() {
                    return Ok(());
                }
                for extent in tail {
                    let stream = self.picked.entry(extent.stream).or_default();
                    stream.insert(extent.from.get(), *extent);
                }
                self.budget = self.budget.saturating_sub(bytes);
            }
            self.gathered.push(stream);
        }
        Ok(())
    }

    /// Leaves a segment out that cannot be read, now and until the next start.
    fn left(&mut self, id: SegmentId, error: &StoreError) -> Result<(), StoreError> {
        self.problems.push(leave_out(self.segments, id, error)?);
        Ok(())
    }

    /// What was picked, joined where it is adjacent, in the order of the streams.
    fn runs(&mut self) -> (Vec<Run>, Vec<StreamId>) {
        let mut runs: Vec<Run> = Vec::new();
        for extent in std::mem::take(&mut self.picked)
            .into_values()
            .flat_map(BTreeMap::into_values)
        {
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|last| joins(last, &extent)) => {
                    run.push(extent);
                }
                _ => runs.push(vec![extent]),
            }
        }
        (runs, std::mem::take(&mut self.gathered))
    }
}

fn joins(last: &Extent, next: &Extent) -> bool {
    last.stream == next.stream && last.until == next.from
}

/// The extents at the end that become one: each one further to the front is at most twice as long as
/// all behind it.
fn short_tail(extents: &[Extent], long: u64, bytes_max: u64) -> &[Extent] {
    let mut bytes: u64 = 0;
    let mut start = extents.len();
    for extent in extents.iter().rev() {
        let joins = bytes == 0 || extent.bytes() <= bytes.saturating_mul(2);
        if !joins
            || extent.is_lost()
            || extent.bytes() >= long
            || bytes + extent.bytes() > bytes_max
        {
            break;
        }
        bytes += extent.bytes();
        start -= 1;
    }
    &extents[start..]
}

/// Says what is wrong with a segment and lets it alone; an error that is no segment's fault ends the
/// call.
fn leave_out(segments: &Segments, id: SegmentId, error: &StoreError) -> Result<String, StoreError> {
    match error {
        StoreError::Corrupt { .. }
        | StoreError::Missing { .. }
        | StoreError::Lost
        | StoreError::Newer { .. } => {
            segments.suspect(id);
            tracing::warn!(segment = id.get(), %error, "a segment is left out of compaction");
            Ok(error.to_string())
        }
        other => Err(StoreError::Io(std::io::Error::other(other.to_string()))),
    }
}

/// Writes runs into new segments.
struct Mover<'m, 'p> {
    segments: &'m Segments,
    packer: &'m mut Packer<'p>,
    options: &'m CompactOptions,
    problems: &'m mut Vec<String>,
}

impl Mover<'_, '_> {
    /// Gives back the runs that were written.
    fn write<'r>(&mut self, runs: &'r [Run]) -> Result<Vec<&'r Run>, StoreError> {
        let mut written = Vec::new();
        for run in runs {
            if self.write_run(run)? {
                written.push(run);
            }
        }
        self.packer.done()?;
        Ok(written)
    }

    fn write_run(&mut self, run: &Run) -> Result<bool, StoreError> {
        let bytes: u64 = run.iter().map(Extent::bytes).sum();
        let mut own = None;
        let writer = if bytes >= self.options.flush.own_segment_bytes {
            own.insert(self.packer.begin()?)
        } else {
            self.packer.pack(bytes)?
        };
        let copied = copy_run(self.segments, run, writer);
        let readable = match copied {
            Ok(()) => true,
            Err(Stop::Write(error)) => return Err(error),
            Err(Stop::Read(id, error)) => {
                // The bytes that were copied already stay in the new file, and nothing names them.
                writer.drop_extent();
                self.problems.push(leave_out(self.segments, id, &error)?);
                false
            }
        };
        match own {
            Some(own) if readable => self.packer.finish(own)?,
            Some(own) => self.packer.discard(own),
            None => {}
        }
        Ok(readable)
    }
}

/// Why a run was not copied.
enum Stop {
    Read(SegmentId, StoreError),
    Write(StoreError),
}

fn copy_run(segments: &Segments, run: &Run, writer: &mut SegmentWriter) -> Result<(), Stop> {
    let first = run.first().expect("a run holds an extent");
    writer.begin(first.stream, first.from);
    for extent in run {
        let source = segments.pin(extent.segment);
        let unread = |error| Stop::Read(extent.segment, error);
        copy_marks(&source, extent, writer).map_err(unread)?;
        let mut from = extent.from;
        while from < extent.until {
            let len = extent.until.since(from).min(READ_BYTES);
            let read = source.read(extent, from, usize::try_from(len).unwrap_or(usize::MAX));
            let bytes = read.map_err(unread)?;
            writer.data(&bytes).map_err(Stop::Write)?;
            from = from.advance(len);
        }
    }
    writer.end();
    Ok(())
}

fn copy_marks(
    source: &SegmentRef,
    extent: &Extent,
    writer: &mut SegmentWriter,
) -> Result<(), StoreError> {
    let mut end = extent.from;
    for mark in source.messages(extent, extent.from)? {
        let mark = mark?;
        let len = u32::try_from(mark.end.since(end))
            .map_err(|_| StoreError::corrupt("a message of 4 GiB or more"))?;
        writer.message(len, mark.starts_append, mark.at);
        end = mark.end;
    }
    Ok(())
}

fn replacements(runs: Vec<&Run>, extents: &[Extent]) -> Vec<Replaced> {
    let new: BTreeMap<_, _> = extents.iter().map(|e| ((e.stream, e.from), *e)).collect();
    let replace = |run: &Run| Replaced {
        stream: run[0].stream,
        old: run.clone(),
        new: vec![new[&(run[0].stream, run[0].from)]],
    };
    runs.into_iter().map(replace).collect()
}

#[cfg(test)]
mod tests;
