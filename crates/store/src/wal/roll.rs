//! Room for the next frame: from one segment to the next, spares, and giving segments back.
//!
//! DURABILITY: the old segment's seal is synced before the new segment gets its name; the new
//! header is synced before that too, and the name before the first frame. A segment that is given
//! back loses its name durably before anything is written into it again. Each order is what
//! recovery's rules rest on (T1, T2, T11).

use millrace_core::Lsn;
use millrace_env::{FileExt as _, OpenMode};

use super::{
    format::{END_BYTES, FrameKind, SEGMENT_HEADER_BYTES, SegmentHeader},
    frame,
    scan::Closed,
    spare::{Spare, SpareJob, spare_path},
    writer::{Active, Note, Wal},
};
use crate::error::StoreError;

/// Lengths of segments that hold one large frame are multiples of this.
const OWN_LENGTH_ALIGN: u64 = 4096;
/// How many times more space there must be than spares that are kept to save work take.
const SPARE_ROOM: u64 = 4;
/// How long to wait after a spare could not be made.
const SPARE_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

impl Wal {
    /// Makes room for a frame of at most `bytes`; comes before deciding and, where the decision
    /// turned out longer, again before encoding. `urgent` commands, those that free space, may use
    /// the reserve. After [`StoreError::Full`] nothing has changed and a later call may succeed;
    /// after other errors [`Wal::is_poisoned`] says whether the log goes on.
    pub fn prepare(&mut self, bytes: u64, urgent: bool) -> Result<(), StoreError> {
        self.check()?;
        if self.options.reserve && !urgent {
            self.keep_reserve()?;
        }
        if self.active.is_some() {
            self.write_note()?;
        }
        let fits = |active: &Active| active.has_room(bytes);
        if self.active.as_ref().is_some_and(fits) {
            return Ok(());
        }
        let spare = self.take_spare(bytes, urgent)?;
        if let Err(error) = self.seal_active() {
            self.give_back(spare);
            return Err(error);
        }
        self.begin(spare)
    }

    /// Ends the log for a clean stop: behind a seal, damage to the last frame cannot pass for a frame
    /// that was never acknowledged.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.check()?;
        match &self.active {
            Some(active) if active.at > SEGMENT_HEADER_BYTES => self.seal_active(),
            _ => Ok(()),
        }
    }

    /// A spare that should be made in the background, if one is missing. Its result goes to
    /// [`Wal::add_spare`].
    pub fn spare_job(&mut self) -> Option<SpareJob> {
        let wanted = self.spares.len() < self.spares_wanted();
        let rested = self.env.clock.mono() >= self.spare_not_before;
        if self.making_spare || !wanted || !rested || self.is_poisoned() {
            return None;
        }
        self.making_spare = true;
        Some(self.new_spare(self.options.segment_bytes))
    }

    /// Whether a turn finds a segment to roll to, or to keep in reserve, without making one first.
    pub fn has_spare(&self) -> bool {
        !self.spares.is_empty()
    }

    /// Takes the result of a [`SpareJob`]. When it failed, the next is given out a little later.
    pub fn add_spare(&mut self, made: Result<Spare, StoreError>) {
        self.making_spare = false;
        match made {
            Ok(spare) => self.spares.push(spare),
            Err(error) => {
                tracing::warn!(log = %self.log, %error, "a log segment could not be made ahead");
                self.spare_not_before = self.env.clock.mono() + SPARE_RETRY;
            }
        }
    }

    /// Gives back the segments whose every frame is at most `flushed`: the catalog has them. They
    /// become spares, as many as the log has used since the last time: it will need them again, and
    /// filling new files costs as much as what is written into them. Where space is scarce their space
    /// is given back instead.
    pub fn recycle(&mut self, flushed: Lsn) -> Result<(), StoreError> {
        self.check()?;
        let kept = self.spares_wanted() + self.spares_worth_keeping(flushed);
        let mut freed = Vec::new();
        let mut changed = self.keep_spares(kept);
        let mut result = Ok(());
        while let Some(segment) = self.recyclable(flushed) {
            let room = self.spares.len() + freed.len() < kept;
            let reuse = room && segment.file_bytes == self.options.segment_bytes;
            match self.retire(segment, reuse) {
                Ok(spare) => freed.extend(spare),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            self.closed.pop_front();
            changed = true;
        }
        if changed {
            self.sync_dir()?;
            // Only a name that is durably gone leaves a file that may be written.
            self.spares.extend(freed);
        }
        result
    }

    /// Gives back the space of spares that are only kept to save work: the disk is full.
    pub fn give_up_spares(&mut self) {
        self.keep_spares(self.spares_wanted());
    }

    /// How many segments `flushed` gives back, where there is plenty of space; else none.
    fn spares_worth_keeping(&self, flushed: Lsn) -> usize {
        let is_done = |segment: &&Closed| is_flushed(segment, flushed);
        let used = self.closed.iter().take_while(is_done).count();
        let bytes = self.options.segment_bytes.saturating_mul(used as u64);
        let is_roomy = |available: u64| available / SPARE_ROOM >= bytes;
        let has_room = used > 0 && self.env.disk.available().is_ok_and(is_roomy);
        if has_room { used } else { 0 }
    }

    /// Removes spares beyond `kept`; whether there were any.
    fn keep_spares(&mut self, kept: usize) -> bool {
        let surplus = self.spares.split_off(self.spares.len().min(kept));
        for spare in &surplus {
            if let Err(error) = self.env.disk.remove(&spare.path) {
                // The next start finds it and removes it.
                tracing::warn!(log = %self.log, %error, "a log segment kept ahead stays behind");
            }
        }
        !surplus.is_empty()
    }

    /// The oldest segment, if nobody needs it. The last name in the directory always stays, it is
    /// what the log goes on from, and so does a segment that is still to be written into.
    fn recyclable(&self, flushed: Lsn) -> Option<Closed> {
        let spared = usize::from(self.active.is_none() || self.note.is_some());
        let oldest = self.closed.front().filter(|_| self.closed.len() > spared)?;
        is_flushed(oldest, flushed).then_some(*oldest)
    }

    fn retire(&mut self, segment: Closed, reuse: bool) -> Result<Option<Spare>, StoreError> {
        let old = segment.number.path(self.log);
        if !reuse {
            self.env.disk.remove(&old)?;
            return Ok(None);
        }
        let file = self.env.disk.open(&old, OpenMode::ReadWrite)?;
        let path = spare_path(self.log, self.spare_id());
        self.env.disk.rename(&old, &path)?;
        Ok(Some(Spare {
            file,
            path,
            bytes: segment.file_bytes,
            zeroed: false,
        }))
    }

    /// BOUND: one to roll to, and the reserve; after a flush also as many as it gave back.
    pub(super) fn spares_wanted(&self) -> usize {
        1 + usize::from(self.options.reserve)
    }

    fn keep_reserve(&mut self) -> Result<(), StoreError> {
        if self.spares.is_empty() {
            let spare = self.new_spare(self.options.segment_bytes).run()?;
            self.spares.push(spare);
        }
        Ok(())
    }

    fn take_spare(&mut self, bytes: u64, urgent: bool) -> Result<Spare, StoreError> {
        let needed = SEGMENT_HEADER_BYTES
            .saturating_add(bytes)
            .saturating_add(END_BYTES);
        if needed > self.options.segment_bytes {
            let own_length = needed.checked_next_multiple_of(OWN_LENGTH_ALIGN);
            return self.new_spare(own_length.ok_or(StoreError::Full)?).run();
        }
        let kept = usize::from(self.options.reserve && !urgent);
        if self.spares.len() > kept {
            return Ok(self.spares.remove(0));
        }
        self.new_spare(self.options.segment_bytes).run()
    }

    fn new_spare(&mut self, bytes: u64) -> SpareJob {
        let id = self.spare_id();
        SpareJob::new(self.env.clone(), self.log, id, bytes)
    }

    fn spare_id(&mut self) -> u64 {
        let id = self.next_spare;
        self.next_spare += 1;
        id
    }

    /// Takes back a spare that was not used.
    fn give_back(&mut self, spare: Spare) {
        if spare.bytes == self.options.segment_bytes {
            self.spares.push(spare);
        } else if let Err(error) = self.env.disk.remove(&spare.path) {
            // The next start finds it and removes it.
            tracing::warn!(log = %self.log, %error, "a log segment made ahead stays behind");
        }
    }

    /// Ends the active segment, if there is one. When that fails for lack of space it goes on.
    fn seal_active(&mut self) -> Result<(), StoreError> {
        if self.active.is_none() {
            return Ok(());
        }
        if self.synced_below < self.next {
            // The seal is to prove what lies before it.
            self.sync()?;
        }
        let place = self.place();
        let (seal, chain) = frame::marker(place, FrameKind::Seal);
        self.put(&seal, chain)?;
        self.sync()?;
        if let Some(active) = self.active.take() {
            self.closed.push_back(Closed {
                number: active.number,
                salt: active.salt,
                next: self.next,
                file_bytes: active.file_bytes,
                used_bytes: active.at,
            });
            self.last_seal = (active.number, chain);
            self.note = Some(Note::new(active.file, active.at, place, chain));
        }
        Ok(())
    }

    /// Makes `spare` the next segment.
    pub(super) fn begin(&mut self, mut spare: Spare) -> Result<(), StoreError> {
        let (before, previous_seal) = self.last_seal;
        let header = SegmentHeader {
            log: self.log,
            number: before.next(),
            boot_epoch: self.boot_epoch,
            salt: self.env.rng.next(),
            first: self.next,
            file_bytes: spare.bytes,
            previous_seal,
            zeroed: spare.zeroed,
        };
        let (block, chain) = header.encode();
        // A header without a name is nothing: the file can be used again.
        spare.zeroed = false;
        if let Err(error) = spare.file.write_all_at(&block, 0) {
            return Err(self.begin_failed(spare, error.into()));
        }
        if let Err(error) = spare.file.sync() {
            let failure = StoreError::Io(error);
            self.poison(&failure);
            return Err(failure);
        }
        let path = header.number.path(self.log);
        if let Err(error) = self.env.disk.rename(&spare.path, &path) {
            return Err(self.begin_failed(spare, error.into()));
        }
        self.sync_dir()?;
        self.active = Some(Active::empty(spare.file, &header, chain));
        self.write_note()
    }

    /// Says in the sealed segment that it has a successor; before a frame goes into that, so that
    /// its loss is noticed. For lack of space this can be tried again.
    fn write_note(&mut self) -> Result<(), StoreError> {
        let Some(note) = &self.note else {
            return Ok(());
        };
        let written = note.file.write_all_at(&note.bytes, note.at);
        let result = match written.map_err(StoreError::from) {
            Ok(()) => note.file.sync().map_err(StoreError::Io),
            Err(error) => Err(error),
        };
        match &result {
            Ok(()) => self.note = None,
            Err(StoreError::Full) => {}
            Err(error) => self.poisoned = Some(error.to_string()),
        }
        result
    }

    fn begin_failed(&mut self, spare: Spare, error: StoreError) -> StoreError {
        match error {
            StoreError::Full => self.give_back(spare),
            _ => self.poison(&error),
        }
        error
    }

    /// Makes the names in the log's directory durable; when that fails nobody knows them.
    pub(super) fn sync_dir(&mut self) -> Result<(), StoreError> {
        self.env.disk.sync_dir(&self.log.dir()).map_err(|error| {
            let failure = StoreError::Io(error);
            self.poison(&failure);
            failure
        })
    }
}

/// Whether the catalog has all frames of `segment`.
fn is_flushed(segment: &Closed, flushed: Lsn) -> bool {
    segment.next.get() <= flushed.get().saturating_add(1)
}
