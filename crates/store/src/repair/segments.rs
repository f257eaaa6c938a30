//! A segment file that is not as it was written, and what of it still is.
//!
//! A message counts where its place in the index and all of its bytes hold. Positions in between are lost.
//!
//! Layout: this file (what is wrong, and what can be had), `source` (a file and which of its blocks hold),
//! `copying` (into a new segment).

mod copying;
mod source;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use millrace_core::{SegmentId, StreamPos};
use millrace_env::Env;

use self::{
    copying::Copying,
    source::{Part, Source, open, read_at},
};
use crate::{
    StoreError,
    catalog::SegmentRow,
    check::files,
    flush::Packer,
    segment::{
        Extent, QUARANTINE_DIR, SEGMENTS_DIR,
        file::SegmentFile,
        format::{TRAILER_BYTES, Trailer},
        segment_path,
        walk::IndexWalk,
    },
};

/// How many blocks are read at once.
const BLOCKS: u64 = 64;

/// A damaged segment, and what can be had of it.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) row: SegmentRow,
    /// What is wrong.
    pub(super) why: String,
    /// Where its content is, as far as it is anywhere.
    pub(super) source: Option<Source>,
    pub(super) rescues: Vec<Rescue>,
}

/// An extent of a damaged segment.
#[derive(Debug)]
pub(super) struct Rescue {
    /// As the catalog has it.
    pub(super) old: Extent,
    /// As its source has it.
    found: Option<Extent>,
    /// Positions whose bytes are lost, in order, none adjacent to another.
    pub(super) lost: Vec<Range<StreamPos>>,
}

/// What is wrong with a segment that the catalog names, of which it needs `named`; `None` where nothing
/// is.
pub(super) fn fault(
    env: &Env,
    row: &SegmentRow,
    named: &[Extent],
) -> Result<Option<String>, StoreError> {
    let looked = SegmentFile::open(env, row.id).and_then(|file| look(&Arc::new(file), row, named));
    match looked {
        Ok(()) => Ok(None),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Missing { .. })) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

fn look(file: &Arc<SegmentFile>, row: &SegmentRow, named: &[Extent]) -> Result<(), StoreError> {
    let mut first = 0;
    while first < file.blocks() {
        let last = (first + BLOCKS).min(file.blocks()) - 1;
        file.read_blocks(first, last)?;
        first = last + 1;
    }
    let mut index = IndexWalk::new(file)?;
    while index.walk(file, u32::MAX)? {}
    let written = index.into_extents();
    let total: u64 = written.iter().map(Extent::bytes).sum();
    if (file.trailer().file_len(), total) != (row.len, row.total) {
        return Err(file.corrupt("its length or content is not what the catalog knows of it"));
    }
    match named.iter().find(|extent| !written.contains(extent)) {
        Some(extent) => Err(file.corrupt(&format!(
            "the catalog looks here for stream {} from {} to {}, which was not written here",
            extent.stream, extent.from, extent.until
        ))),
        None => Ok(()),
    }
}

/// Segment files by what their trailers say they are, under whatever names.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(BTreeMap<SegmentId, Vec<PathBuf>>);

impl Elsewhere {
    /// Looks through `segments/` and `quarantine/`.
    pub(super) fn look(env: &Env) -> Result<Self, StoreError> {
        let mut elsewhere = Self::default();
        elsewhere.look_in(env, Path::new(SEGMENTS_DIR), 0)?;
        elsewhere.look_in(env, Path::new(QUARANTINE_DIR), 2)?;
        Ok(elsewhere)
    }

    fn look_in(&mut self, env: &Env, dir: &Path, deeper: u32) -> Result<(), StoreError> {
        for entry in files::list(env, &dir.display().to_string())? {
            let path = dir.join(&entry.name);
            if entry.is_dir && deeper > 0 {
                self.look_in(env, &path, deeper - 1)?;
            }
            if !entry.is_dir && entry.len > TRAILER_BYTES {
                let bytes = read_at(
                    &*open(env, &path)?,
                    &path,
                    entry.len - TRAILER_BYTES,
                    TRAILER_BYTES,
                )?;
                let claims = bytes.get(16..24).and_then(|id| id.try_into().ok());
                let claims = SegmentId(claims.map_or(u64::MAX, u64::from_le_bytes));
                if Trailer::decode(&bytes, claims, entry.len).is_ok() {
                    self.0.entry(claims).or_default().push(path);
                }
            }
        }
        Ok(())
    }
}

impl Damaged {
    /// Finds out what can be had of a segment.
    pub(super) fn new(
        env: &Env,
        row: SegmentRow,
        why: String,
        named: &[Extent],
        elsewhere: &Elsewhere,
    ) -> Result<Self, StoreError> {
        let own = segment_path(row.id);
        let mut paths = vec![own.clone()];
        let others = elsewhere.0.get(&row.id).into_iter().flatten();
        paths.extend(others.filter(|path| **path != own).cloned());
        let mut best: Option<(Option<Source>, Vec<Rescue>)> = None;
        for path in paths {
            let source = Source::open(env, &path, &row)?;
            let rescues = named
                .iter()
                .map(|extent| Rescue::new(*extent, source.as_ref()))
                .collect::<Result<Vec<_>, _>>()?;
            let better = best
                .as_ref()
                .is_none_or(|(_, known)| lost_in(&rescues) < lost_in(known));
            if better {
                best = Some((source, rescues));
            }
        }
        let (source, rescues) = best.expect("its own path is looked at");
        Ok(Self {
            row,
            why,
            source,
            rescues,
        })
    }

    /// How many bytes of streams are lost.
    pub(super) fn lost_bytes(&self) -> u64 {
        lost_in(&self.rescues)
    }

    /// How many bytes of streams can be had.
    pub(super) fn kept_bytes(&self) -> u64 {
        let named: u64 = self.rescues.iter().map(|rescue| rescue.old.bytes()).sum();
        named - self.lost_bytes()
    }

    /// Writes what can be had into a segment of its own.
    pub(super) fn write(&self, packer: &mut Packer<'_>) -> Result<(), StoreError> {
        let Some(source) = self.source.as_ref().filter(|_| self.kept_bytes() > 0) else {
            return Ok(());
        };
        let mut writer = packer.begin()?;
        for found in self.rescues.iter().filter_map(|rescue| rescue.found) {
            Copying::new(source, found, &mut writer).run()?;
        }
        packer.finish(writer)
    }
}

fn lost_in(rescues: &[Rescue]) -> u64 {
    let lost = rescues.iter().flat_map(|rescue| &rescue.lost);
    lost.map(|range| range.end.since(range.start)).sum()
}

impl Rescue {
    fn new(old: Extent, source: Option<&Source>) -> Result<Self, StoreError> {
        let mut rescue = Self {
            old,
            found: source.and_then(|source| source.find(&old)),
            lost: Vec::new(),
        };
        let (Some(source), Some(found)) = (source, rescue.found) else {
            rescue.found = None;
            rescue.lost.push(old.from..old.until);
            return Ok(rescue);
        };
        let lost = &mut rescue.lost;
        source.parts(found, &mut |part| {
            if let Part::Lost(range) = part {
                match lost.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => lost.push(range),
                }
            }
            Ok(())
        })?;
        Ok(rescue)
    }
}
