//! What is damaged, what there is to save of it, and so what a repair will do.

use std::collections::BTreeMap;

use millrace_core::{
    Generation, Lsn, SegmentId,
    slot::{GENERATIONS_LOST_MAX, SLOTS},
};
use millrace_env::Env;

use super::{
    fold::Fold,
    plan::{Action, ActionKind, Lost, Plan},
    segments::{self, Damaged, Elsewhere},
};
use crate::{
    StoreError,
    catalog::{CATALOG_FILE, Catalog, Manifest, fault::Fault, tables},
    check::{Finding, Severity},
    segment::{Extent, segment_path},
    wal::{self, LogId, ScanEnd, salvage::Remains},
};

/// How much of the catalog is kept in memory while it is looked through.
const CACHE_BYTES: usize = 64 << 20;
const RESTORE: &str = "restore a backup of the whole directory; `millrace dump` shows what is in the files that are there";

/// A plan, and what carries it out.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) plan: Plan,
    /// No server ever used the directory.
    pub(super) is_new: bool,
    pub(super) damaged: Vec<Damaged>,
    pub(super) logs: Option<Logs>,
}

/// Logs that are to be replaced: all of them, because their order says which streams they have.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) manifest: Manifest,
    pub(super) old: Vec<LogId>,
    pub(super) fold: Fold,
    /// What no generation in use is above, where frames were lost.
    pub(super) floor: Option<Generation>,
}

/// Looks at everything.
pub(super) fn survey(env: &Env) -> Result<Survey, StoreError> {
    let catalog = match open(env) {
        Ok(catalog) => catalog,
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Missing { .. })) => {
            return Ok(Survey {
                plan: refused(CATALOG_FILE, &error),
                ..Survey::default()
            });
        }
        Err(error) => return Err(error),
    };
    let Some(catalog) = catalog else {
        return Ok(Survey {
            is_new: true,
            ..Survey::default()
        });
    };
    let mut survey = Survey::default();
    let segments = survey
        .segments(env, &catalog)
        .map_err(|error| (CATALOG_FILE, error));
    let looked = segments.and_then(|()| survey.logs(env, &catalog).map_err(|error| ("wal", error)));
    match looked {
        Ok(()) => {}
        Err((file, StoreError::Corrupt { what })) => {
            return Ok(Survey {
                plan: refused(file, &what),
                ..Survey::default()
            });
        }
        Err((_, error)) => return Err(error),
    }
    if survey.has_work() {
        survey.plan.actions.insert(
            0,
            Action {
                kind: ActionKind::Copy,
                file: CATALOG_FILE.to_owned(),
                what: "it is kept as it is now; one commit of it is the repair".to_owned(),
            },
        );
    }
    Ok(survey)
}

/// The catalog, if the directory was ever used.
fn open(env: &Env) -> Result<Option<Catalog>, StoreError> {
    let is_there = crate::check::files::list(env, "")?
        .iter()
        .any(|entry| [CATALOG_FILE, "segments", "wal"].contains(&&*entry.name));
    if !is_there {
        return Ok(None);
    }
    let catalog = Catalog::open_read_only(env, CACHE_BYTES)?;
    catalog.verify()?;
    Ok(Some(catalog))
}

fn refused(file: &str, what: &dyn std::fmt::Display) -> Plan {
    Plan {
        refused: Some(format!("{file}: {what}")),
        remains: vec![Finding {
            severity: Severity::Error,
            file: file.to_owned(),
            what: what.to_string(),
            to_do: RESTORE.to_owned(),
        }],
        ..Plan::default()
    }
}

impl Survey {
    /// Whether anything is to be done.
    pub(super) fn has_work(&self) -> bool {
        !self.damaged.is_empty() || self.logs.is_some()
    }

    fn segments(&mut self, env: &Env, catalog: &Catalog) -> Result<(), StoreError> {
        let mut extents = extents(catalog)?;
        let mut elsewhere = None;
        for row in catalog.segments()? {
            let named = extents.remove(&row.id).unwrap_or_default();
            let Some(why) = segments::fault(env, &row, &named)? else {
                continue;
            };
            let elsewhere = match &mut elsewhere {
                Some(known) => known,
                none => none.insert(Elsewhere::look(env)?),
            };
            let damaged = Damaged::new(env, row, why, &named, elsewhere)?;
            self.rewrite(env, catalog, damaged)?;
        }
        Ok(())
    }

    fn rewrite(
        &mut self,
        env: &Env,
        catalog: &Catalog,
        damaged: Damaged,
    ) -> Result<(), StoreError> {
        let path = segment_path(damaged.row.id);
        let file = path.display().to_string();
        let from = match &damaged.source {
            Some(source) if source.path == path => String::new(),
            Some(source) => format!(", found in {}", source.path.display()),
            None => String::new(),
        };
        let (kept, lost) = (damaged.kept_bytes(), damaged.lost_bytes());
        self.plan.actions.push(Action {
            kind: ActionKind::Rewrite,
            file: file.clone(),
            what: format!(
                "{}; {kept} bytes of streams{from} are written anew, {lost} are marked as lost",
                damaged.why
            ),
        });
        if env.disk.open(&path, millrace_env::OpenMode::Read).is_ok() {
            self.plan.actions.push(Action {
                kind: ActionKind::SetAside,
                file: file.clone(),
                what: "nothing will name it any more".to_owned(),
            });
        }
        for rescue in &damaged.rescues {
            let stream = rescue.old.stream;
            for lost in &rescue.lost {
                self.plan.lost.push(Lost::Bytes {
                    stream,
                    name: catalog
                        .stream(stream)?
                        .map(|state| state.config.name.clone()),
                    from: lost.start,
                    until: lost.end,
                    file: file.clone(),
                });
            }
        }
        self.damaged.push(damaged);
        Ok(())
    }

    fn logs(&mut self, env: &Env, catalog: &Catalog) -> Result<(), StoreError> {
        let Some(manifest) = catalog.manifest()? else {
            return Ok(());
        };
        let mut faults = BTreeMap::new();
        for (log, flushed) in &manifest.logs {
            if let Some(fault) = log_fault(env, *log, *flushed)? {
                faults.insert(*log, fault);
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        let remains = Remains::survey(env)?;
        let fold = Fold::read(catalog, &remains, &manifest.logs)?;
        let there = wal::logs(env)?;
        for (log, _) in &manifest.logs {
            let file = log.dir().display().to_string();
            let what = match faults.get(log) {
                Some(fault) => format!("{fault}; the frames that hold go into the catalog"),
                None => {
                    "it is whole; its frames go into the catalog with those of the others".into()
                }
            };
            self.act(ActionKind::Fold, file.clone(), what);
            if there.contains(log) {
                let what = "a new, empty log takes its place".to_owned();
                self.act(ActionKind::SetAside, file, what);
            }
        }
        let floor = if fold.lost_frames {
            Some(floor(catalog, &manifest, &fold)?)
        } else {
            None
        };
        if let Some(floor) = floor {
            let what = format!(
                "frames are lost, so any stream may have lost its end: every one takes a generation above {floor} before its next append, and what clients knew of that end is answered 410"
            );
            self.act(ActionKind::Generation, CATALOG_FILE.to_owned(), what);
        }
        self.plan.lost.extend(fold.losses());
        self.logs = Some(Logs {
            old: manifest.logs.iter().map(|(log, _)| *log).collect(),
            manifest,
            fold,
            floor,
        });
        Ok(())
    }

    fn act(&mut self, kind: ActionKind, file: String, what: String) {
        self.plan.actions.push(Action { kind, file, what });
    }
}

/// All extents by the segment that holds them; those that are lost already are in none.
fn extents(catalog: &Catalog) -> Result<BTreeMap<SegmentId, Vec<Extent>>, StoreError> {
    catalog.inspect(|tx| {
        let mut extents: BTreeMap<SegmentId, Vec<Extent>> = BTreeMap::new();
        let table = tx.open_table(tables::EXTENTS)?;
        for entry in redb::ReadableTable::iter(&table)? {
            let (key, value) = entry?;
            let extent = tables::extent_in(key.value(), value.value())?;
            if !extent.is_lost() {
                extents.entry(extent.segment).or_default().push(extent);
            }
        }
        Ok::<_, Fault>(extents)
    })
}

/// Why a start would refuse a log.
fn log_fault(env: &Env, log: LogId, flushed: Lsn) -> Result<Option<String>, StoreError> {
    match wal::scan(env, log, Some(flushed), &mut |_| {}) {
        Ok(ScanEnd::Clean | ScanEnd::Torn { .. }) => Ok(None),
        Ok(ScanEnd::Corrupt { what }) => Ok(Some(what)),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Missing { .. })) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Beyond any generation that can have been given out.
fn floor(catalog: &Catalog, manifest: &Manifest, fold: &Fold) -> Result<Generation, StoreError> {
    let stored = catalog.slot_generations()?.into_iter().max();
    let highest = stored
        .unwrap_or_default()
        .max(fold.highest_generation())
        .max(Generation(manifest.generation_floor));
    let floor = Generation(highest.get() + GENERATIONS_LOST_MAX * u64::from(SLOTS));
    if floor.get() > Generation::MAX.get() / 2 {
        return Err(StoreError::corrupt("the generations are used up"));
    }
    Ok(floor)
}
