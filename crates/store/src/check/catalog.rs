//! The tables of the catalog agree with each other.
//!
//! What is not flushed yet cannot be judged: a fork's row may be here before its source's, because
//! they are of different shards. Such things are errors only after a clean end.

use std::collections::{BTreeMap, BTreeSet};

use millrace_core::{SegmentId, StreamId, StreamPos, stream::ProducerState};
use redb::{ReadTransaction, ReadableTable};

use super::{Report, Severity};
use crate::{
    catalog::{
        CATALOG_FILE, Catalog,
        fault::Fault,
        reads::{decoded_settings, name_in, settings_table},
        row::{self, Head},
        tables::{self, DOOMED, EXPIRY, EXTENTS, FORKS, META, NAMES, PRODUCERS, SEGMENTS, STREAMS},
    },
    codec::{Decoder, Stored},
    segment::Extent,
};

const REPORT: &str = "keep a copy of the data directory and report a defect";
const RESTORE: &str = "restore the catalog from a backup";
const LIVE_WITH_IT: &str =
    "nothing: reads of them fail and all others go on; a backup may have them";

/// Extents by the segment that holds them.
pub(super) type Extents = BTreeMap<SegmentId, Vec<Extent>>;

/// Checks the tables, and gives what the segments have to hold.
pub(super) fn check(catalog: &Catalog, report: &mut Report) -> Extents {
    let looked = catalog.inspect(|tx| {
        let mut look = Look::new(tx)?;
        look.all()?;
        Ok((look.report, look.by_segment))
    });
    match looked {
        Ok((found, by_segment)) => {
            report.findings.extend(found.findings);
            report.streams = found.streams;
            by_segment
        }
        Err(error) => {
            report.error(CATALOG_FILE, error, RESTORE);
            BTreeMap::new()
        }
    }
}

/// What a stream's row says, for the other tables to be held against.
struct Seen {
    own_from: StreamPos,
    /// What lies before may have been given back.
    begins_by: StreamPos,
    head: Head,
    name: String,
    forks: BTreeSet<StreamId>,
    source: Option<StreamId>,
}

struct Look<'tx> {
    tx: &'tx ReadTransaction,
    report: Report,
    streams: BTreeMap<StreamId, Seen>,
    by_segment: Extents,
    clean: bool,
}

impl<'tx> Look<'tx> {
    fn new(tx: &'tx ReadTransaction) -> Result<Self, Fault> {
        let meta = tx.open_table(META)?;
        let clean = match meta.get(tables::META_MANIFEST)? {
            Some(value) => crate::catalog::Manifest::take(&mut Decoder::new(value.value()))?.clean,
            None => false,
        };
        Ok(Self {
            tx,
            report: Report::default(),
            streams: BTreeMap::new(),
            by_segment: BTreeMap::new(),
            clean,
        })
    }

    fn all(&mut self) -> Result<(), Fault> {
        self.rows()?;
        self.names()?;
        self.extents()?;
        self.expiry()?;
        self.forks()?;
        self.producers()?;
        self.settings()?;
        self.live_bytes()
    }

    fn wrong(&mut self, what: String) {
        self.report.error(CATALOG_FILE, what, REPORT);
    }

    /// Every row decodes, and its head says of its state what is so.
    fn rows(&mut self) -> Result<(), Fault> {
        for entry in self.tx.open_table(STREAMS)?.iter()? {
            let (id, value) = entry?;
            let id = StreamId::from_raw(id.value());
            self.report.streams += 1;
            let state = Head::take(value.value())
                .and_then(|head| Ok((head, row::state_in(value.value(), id)?)));
            let (head, state) = match state {
                Ok(decoded) => decoded,
                Err(fault) => {
                    self.report.error(
                        CATALOG_FILE,
                        tables::malformed("streams", id, fault),
                        RESTORE,
                    );
                    continue;
                }
            };
            if head.deadline != row::deadline_of(&state) || head.forks != row::forks_of(&state) {
                self.wrong(format!("the head of stream {id} is not that of its state"));
            }
            if head.sealed < state.own_from() || state.tail < head.sealed {
                self.wrong(format!(
                    "stream {id} is sealed up to {}, and holds {} to {}",
                    head.sealed,
                    state.own_from(),
                    state.tail
                ));
            }
            let seen = Seen {
                own_from: state.own_from(),
                begins_by: state.trimmed.max(state.own_from()),
                head,
                name: state.config.name.as_str().to_owned(),
                forks: (*state.forks).clone(),
                source: state.config.origin.map(|origin| origin.source),
            };
            self.streams.insert(id, seen);
        }
        Ok(())
    }

    /// Every name leads to a stream of that name, and every stream is found by its own.
    fn names(&mut self) -> Result<(), Fault> {
        let table = self.tx.open_table(NAMES)?;
        let mut named = BTreeSet::new();
        for entry in table.iter()? {
            let (name, id) = entry?;
            let name = name_in(name.value())?;
            let id = StreamId::from_raw(id.value());
            named.insert(id);
            match self.streams.get(&id) {
                Some(seen) if seen.name == name.as_str() => {}
                Some(_) => self.wrong(format!(
                    "the name {name} leads to stream {id} of another name"
                )),
                None => self.wrong(format!(
                    "the name {name} leads to stream {id}, which is not there"
                )),
            }
        }
        let lost: Vec<StreamId> = self
            .streams
            .keys()
            .filter(|id| !named.contains(id))
            .copied()
            .collect();
        for id in lost {
            let name = self.streams[&id].name.clone();
            self.wrong(format!("stream {id} is not found by its name, {name}"));
        }
        Ok(())
    }

    /// Extents are contiguous from a stream's own first position to where it is sealed.
    fn extents(&mut self) -> Result<(), Fault> {
        let mut ends: BTreeMap<StreamId, (StreamPos, u32)> = BTreeMap::new();
        for entry in self.tx.open_table(EXTENTS)?.iter()? {
            let (key, value) = entry?;
            let extent = tables::extent_in(key.value(), value.value())?;
            let id = extent.stream;
            let Some(seen) = self.streams.get(&id) else {
                self.wrong(format!(
                    "there are extents of stream {id}, which is not there"
                ));
                continue;
            };
            let (end, count) = ends.get(&id).copied().unwrap_or((seen.own_from, 0));
            let begins_later = count == 0 && extent.from <= seen.begins_by;
            if extent.from != end && !begins_later {
                let from = extent.from;
                self.wrong(format!(
                    "the extents of stream {id} end at {end} and go on at {from}"
                ));
            }
            ends.insert(id, (extent.until, count + 1));
            if extent.is_lost() {
                let (from, until) = (extent.from, extent.until);
                let what = format!(
                    "the bytes of stream {id} from {from} to {until} were lost, and a repair marked them"
                );
                self.report.warn(CATALOG_FILE, what, LIVE_WITH_IT);
                continue;
            }
            self.by_segment
                .entry(extent.segment)
                .or_default()
                .push(extent);
        }
        let mut wrong = Vec::new();
        for (id, seen) in &self.streams {
            let (end, count) = ends.get(id).copied().unwrap_or((seen.own_from, 0));
            let given_back = count == 0 && seen.head.sealed <= seen.begins_by;
            let is_whole = end == seen.head.sealed || given_back;
            if !is_whole || count != seen.head.extents {
                wrong.push(format!(
                    "stream {id} has not the extents that its row counts"
                ));
            }
        }
        for what in wrong {
            self.wrong(what);
        }
        Ok(())
    }

    fn expiry(&mut self) -> Result<(), Fault> {
        let mut found = BTreeSet::new();
        for entry in self.tx.open_table(EXPIRY)?.iter()? {
            let (at, id) = entry?.0.value();
            found.insert((StreamId::from_raw(id), at));
        }
        let deadline = |(id, seen): (&StreamId, &Seen)| Some((*id, seen.head.deadline?.get()));
        let want: BTreeSet<_> = self.streams.iter().filter_map(deadline).collect();
        for (id, at) in want.symmetric_difference(&found) {
            self.report.error(
                CATALOG_FILE,
                format!("stream {id} and the expiry index do not agree on {at}"),
                REPORT,
            );
        }
        Ok(())
    }

    fn forks(&mut self) -> Result<(), Fault> {
        let mut found = BTreeSet::new();
        for entry in self.tx.open_table(FORKS)?.iter()? {
            let (source, fork) = entry?.0.value();
            found.insert((StreamId::from_raw(source), StreamId::from_raw(fork)));
        }
        let want: BTreeSet<_> = self
            .streams
            .iter()
            .flat_map(|(id, seen)| seen.forks.iter().map(|fork| (*id, *fork)))
            .collect();
        for (source, fork) in want.symmetric_difference(&found) {
            let what = format!("stream {source} and the fork index do not agree on fork {fork}");
            self.report.error(CATALOG_FILE, what, REPORT);
        }
        // Between shards the logs may know more than the catalog.
        let severity = if self.clean {
            Severity::Error
        } else {
            Severity::Note
        };
        let to_do = if self.clean {
            REPORT
        } else {
            "nothing: the next start looks at the logs too"
        };
        for (source, fork) in &want {
            if self
                .streams
                .get(fork)
                .is_none_or(|seen| seen.source != Some(*source))
            {
                let what = format!("stream {source} is held for fork {fork}, which is not there");
                self.report.find(severity, CATALOG_FILE, what, to_do);
            }
        }
        for (id, seen) in &self.streams {
            let Some(source) = seen.source else { continue };
            if !want.contains(&(source, *id)) {
                let what = format!("stream {id} is a fork of {source}, which does not know it");
                self.report.find(severity, CATALOG_FILE, what, to_do);
            }
        }
        Ok(())
    }

    fn producers(&mut self) -> Result<(), Fault> {
        for entry in self.tx.open_table(PRODUCERS)?.iter()? {
            let (key, value) = entry?;
            let id = StreamId::from_raw(key.value().0);
            let mut from = Decoder::new(value.value());
            if ProducerState::take(&mut from)
                .and_then(|_| from.finish())
                .is_err()
            {
                self.wrong(format!("a producer of stream {id} is malformed"));
            }
            if !self.streams.contains_key(&id) {
                self.wrong(format!(
                    "there are producers of stream {id}, which is not there"
                ));
            }
        }
        Ok(())
    }

    /// Every stream whose row says so has settings of that revision, and no other has any.
    fn settings(&mut self) -> Result<(), Fault> {
        let mut found = BTreeMap::new();
        let table = settings_table(self.tx)?;
        let entries = table.as_ref().map(ReadableTable::iter).transpose()?;
        for entry in entries.into_iter().flatten() {
            let (id, value) = entry?;
            let id = StreamId::from_raw(id.value());
            match decoded_settings(value.value()) {
                Ok(settings) => {
                    found.insert(id, settings.revision());
                }
                Err(fault) => {
                    let what = tables::malformed("settings", id, fault);
                    self.report.error(CATALOG_FILE, what, RESTORE);
                }
            }
        }
        let rows = self.streams.iter();
        let rows = rows.filter(|(_, seen)| seen.head.settings > 0);
        let want: BTreeMap<StreamId, u64> =
            rows.map(|(id, seen)| (*id, seen.head.settings)).collect();
        let ids: BTreeSet<StreamId> = want.keys().chain(found.keys()).copied().collect();
        for id in ids.into_iter().filter(|id| want.get(id) != found.get(id)) {
            self.wrong(format!(
                "stream {id} has not the settings that its row says"
            ));
        }
        Ok(())
    }

    /// Every segment is counted as live as it is, and none is both named and doomed.
    fn live_bytes(&mut self) -> Result<(), Fault> {
        let mut named = BTreeSet::new();
        for entry in self.tx.open_table(SEGMENTS)?.iter()? {
            let (id, value) = entry?;
            let id = SegmentId(id.value());
            named.insert(id);
            let (_, live, total) = value.value();
            let extents = self.by_segment.get(&id).map_or(&[][..], Vec::as_slice);
            let found: u64 = extents.iter().map(Extent::bytes).sum();
            if found != live || live > total || live == 0 {
                self.wrong(format!(
                    "segment {:016x} counts {live} of {total} bytes as live, and extents name {found}",
                    id.get()
                ));
            }
        }
        let unnamed: Vec<_> = self
            .by_segment
            .keys()
            .filter(|id| !named.contains(id))
            .copied()
            .collect();
        for id in unnamed {
            self.wrong(format!(
                "extents lie in segment {:016x}, which is not named",
                id.get()
            ));
        }
        for entry in self.tx.open_table(DOOMED)?.iter()? {
            let id = SegmentId(entry?.0.value());
            if named.contains(&id) {
                self.wrong(format!(
                    "segment {:016x} is both named and doomed",
                    id.get()
                ));
            }
        }
        Ok(())
    }
}
