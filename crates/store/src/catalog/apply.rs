//! Carries out a commit on the tables.
//!
//! Layout: this file (the order of things, segments, logs), [`streams`].

mod streams;

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{Generation, Lsn, SegmentId, SlotId, StreamId};
use redb::{ReadableTable, Table, WriteTransaction};

use self::streams::changes;
use super::{
    Manifest,
    commit::{Commit, Committed},
    fault::Fault,
    number,
    tables::{
        DOOMED, EXPIRY, EXTENTS, FORKS, GENERATIONS, LOGS, META, META_COMMIT, META_MANIFEST,
        META_NEXT_SEGMENT, NAMES, PRODUCERS, SCATTERED, SEGMENTS, SETTINGS, STREAMS,
    },
};
use crate::{
    StoreError,
    codec::{Encoder, Stored},
    wal::LogId,
};

/// All tables, open to write, and what is settled at the end of a commit.
pub(super) struct Tables<'tx> {
    names: Table<'tx, &'static [u8], u64>,
    streams: Table<'tx, u64, &'static [u8]>,
    extents: Table<'tx, (u64, u64), &'static [u8]>,
    producers: Table<'tx, (u64, &'static [u8]), &'static [u8]>,
    settings: Table<'tx, u64, &'static [u8]>,
    expiry: Table<'tx, (u64, u64), ()>,
    forks: Table<'tx, (u64, u64), ()>,
    segments: Table<'tx, u64, (u64, u64, u64)>,
    doomed: Table<'tx, u64, ()>,
    scattered: Table<'tx, u64, ()>,
    logs: Table<'tx, u64, u64>,
    generations: Table<'tx, u16, u64>,
    meta: Table<'tx, &'static str, &'static [u8]>,
    /// By segment: live bytes gained and lost.
    live: BTreeMap<SegmentId, (u64, u64)>,
    /// Names of new streams, inserted in byte order at the end.
    new_names: Vec<(Vec<u8>, StreamId)>,
    /// Places in the expiry index that are left and taken, in the index's order at the end: one
    /// walk over its pages where single changes would jump about.
    expiry_left: Vec<(u64, u64)>,
    expiry_taken: Vec<(u64, u64)>,
}

impl<'tx> Tables<'tx> {
    pub(super) fn open(tx: &'tx WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            names: tx.open_table(NAMES)?,
            streams: tx.open_table(STREAMS)?,
            extents: tx.open_table(EXTENTS)?,
            producers: tx.open_table(PRODUCERS)?,
            settings: tx.open_table(SETTINGS)?,
            expiry: tx.open_table(EXPIRY)?,
            forks: tx.open_table(FORKS)?,
            segments: tx.open_table(SEGMENTS)?,
            doomed: tx.open_table(DOOMED)?,
            scattered: tx.open_table(SCATTERED)?,
            logs: tx.open_table(LOGS)?,
            generations: tx.open_table(GENERATIONS)?,
            meta: tx.open_table(META)?,
            live: BTreeMap::new(),
            new_names: Vec::new(),
            expiry_left: Vec::new(),
            expiry_taken: Vec::new(),
        })
    }

    pub(super) fn apply(&mut self, commit: &Commit) -> Result<Committed, Fault> {
        let removed: BTreeSet<StreamId> = commit.removed.iter().copied().collect();
        for id in &removed {
            self.remove_stream(*id)?;
        }
        for meta in &commit.segments {
            self.segments
                .insert(meta.id.get(), (meta.len, 0, meta.bytes))?;
            self.live.entry(meta.id).or_default();
        }
        for (id, change) in changes(commit, &removed) {
            self.change_stream(id, &change)?;
        }
        self.insert_names()?;
        self.settle_expiry()?;
        self.put_producers(&commit.producers, &removed)?;
        for id in &commit.gathered {
            self.scattered.remove(id.get())?;
        }
        let mut replaced = Vec::with_capacity(commit.replaced.len());
        for swap in &commit.replaced {
            replaced.push(self.replace(swap)?);
        }
        let doomed = self.settle_segments()?;
        for id in &commit.forget_doomed {
            self.doomed.remove(id.get())?;
        }
        self.put_generations(&commit.generations)?;
        if let Some(manifest) = &commit.manifest {
            self.put_manifest(manifest)?;
        }
        if let Some((log, lsn)) = commit.log {
            self.advance_log(log, lsn)?;
        }
        Ok(Committed { doomed, replaced })
    }

    /// Brings the segments' live bytes up to date, and dooms those that have none any more.
    fn settle_segments(&mut self) -> Result<Vec<SegmentId>, Fault> {
        let mut doomed = Vec::new();
        for (id, (gained, lost)) in std::mem::take(&mut self.live) {
            let Some((len, live, total)) = self.segments.get(id.get())?.map(|row| row.value())
            else {
                let what = format!("the catalog does not have segment {:016x}", id.get());
                return Err(StoreError::corrupt(what).into());
            };
            let Some(live) = (live + gained)
                .checked_sub(lost)
                .filter(|live| *live <= total)
            else {
                let what = format!("the live bytes of segment {:016x} are wrong", id.get());
                return Err(StoreError::corrupt(what).into());
            };
            if live == 0 {
                self.segments.remove(id.get())?;
                self.doomed.insert(id.get(), ())?;
                doomed.push(id);
            } else {
                self.segments.insert(id.get(), (len, live, total))?;
            }
        }
        Ok(doomed)
    }

    fn put_generations(&mut self, generations: &[(SlotId, Generation)]) -> Result<(), Fault> {
        for (slot, generation) in generations {
            let known = self.generations.get(slot.get())?.map(|value| value.value());
            if known.is_none_or(|known| known < generation.get()) {
                self.generations.insert(slot.get(), generation.get())?;
            }
        }
        Ok(())
    }

    fn put_manifest(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        let mut out = Encoder::new();
        manifest.put(&mut out);
        self.meta.insert(META_MANIFEST, &out.finish()[..])?;
        self.set_next_segment(manifest.next_segment.get())?;
        let listed: BTreeMap<u64, u64> = manifest
            .logs
            .iter()
            .map(|(log, lsn)| (log.0, lsn.get()))
            .collect();
        let mut known = BTreeMap::new();
        for entry in self.logs.iter()? {
            let (log, lsn) = entry?;
            known.insert(log.value(), lsn.value());
        }
        for log in known.keys().filter(|log| !listed.contains_key(log)) {
            self.logs.remove(*log)?;
        }
        for (log, lsn) in listed {
            // A flush that came in between may know better.
            let lsn = known.get(&log).copied().unwrap_or(0).max(lsn);
            self.logs.insert(log, lsn)?;
        }
        Ok(())
    }

    fn advance_log(&mut self, log: LogId, lsn: Lsn) -> Result<(), Fault> {
        let known = self.logs.get(log.0)?.map(|value| value.value());
        let has_manifest = self.meta.get(META_MANIFEST)?.is_some();
        match known {
            Some(known) if known > lsn.get() => {
                let what = format!("log {log} is flushed to {known}, and was to go back to {lsn}");
                return Err(StoreError::corrupt(what).into());
            }
            None if has_manifest => {
                let what = format!("log {log}, which the manifest does not name,");
                return Err(StoreError::missing(what).into());
            }
            _ => {}
        }
        self.logs.insert(log.0, lsn.get())?;
        Ok(())
    }

    /// Segment ids below `next` were given out. Never falls.
    pub(super) fn set_next_segment(&mut self, next: u64) -> Result<(), Fault> {
        let known = self.meta.get(META_NEXT_SEGMENT)?;
        let known = known.and_then(|value| number(value.value())).unwrap_or(0);
        if next > known {
            self.meta
                .insert(META_NEXT_SEGMENT, &next.to_le_bytes()[..])?;
        }
        Ok(())
    }

    /// The number of this commit.
    pub(super) fn count_commit(&mut self) -> Result<u64, Fault> {
        let last = self.meta.get(META_COMMIT)?;
        let last = last.and_then(|value| number(value.value())).unwrap_or(0);
        let this = last + 1;
        self.meta.insert(META_COMMIT, &this.to_le_bytes()[..])?;
        Ok(this)
    }
}
