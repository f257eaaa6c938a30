//! One damaged copy of a directory: what `check`, the scrub and a start make of it.
//!
//! Whatever the damage, this holds, or the trial says what does not:
//! - nothing panics, and `check` changes nothing;
//! - a start is refused with the name of the file, and has then changed nothing but the catalog's own
//!   file (where that one is damaged, nothing but what every start changes); with the damaged file
//!   restored, all is there again;
//! - or it serves, and each answer is right or a failure; a stream is neither shorter nor gone;
//! - no segment but the damaged one is changed or deleted; what was there is there, or in `quarantine/`;
//! - the next start gives no other answers.
//!
//! What a repair makes of it goes beside [`Verdict::start`], by [`Trial::is_whole_again`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use millrace_env::{Disk as _, OpenMode, SimDisk};
use millrace_store::{
    Catalog,
    check::{self, Lock, Severity},
    scrub::{Found, Pass},
};

use super::{
    files::{self, Files},
    look::{Compared, Seens, look},
    serve,
    specimen::{Moment, Specimen},
};

/// A damage.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    /// What is hit.
    pub(super) structure: &'static str,
    /// How.
    pub(super) how: &'static str,
    /// Where exactly, for whoever looks into it.
    pub(super) place: String,
    pub(super) strokes: Vec<Stroke>,
}

/// A change of one file or directory.
#[derive(Clone, Debug)]
pub(super) enum Stroke {
    Write(String, Vec<u8>),
    /// Takes it away, with all that is in it.
    Lose(String),
}

/// What was made of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verdict {
    /// The worst finding of `check`.
    pub(super) check: Option<Severity>,
    /// Whether the scrub found it.
    pub(super) scrub: bool,
    pub(super) start: Start,
}

/// What a start made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Start {
    /// It was refused.
    Refused,
    /// It serves, and what is damaged cannot be read.
    SomeReadsFail,
    /// It serves all, and nothing is wrong any more.
    Repaired,
    /// It serves all.
    Serves,
    /// It serves all, but for the last frame of a log.
    EndLost,
}

/// What is said of a directory before it is damaged.
pub(super) struct Whole {
    seens: Seens,
    /// What `check` finds: leftovers of a crash.
    findings: Vec<(String, String)>,
}

/// One damaged copy.
pub(super) struct Trial<'a> {
    specimen: &'a Specimen,
    whole: &'a Whole,
    damage: &'a Damage,
    disk: Arc<SimDisk>,
    /// The files as they are after the damage.
    before: Files,
}

type Judged<T> = Result<T, String>;

impl<'a> Trial<'a> {
    /// Damages a copy of `specimen`, which answers `whole`, and looks what is made of it.
    pub(super) fn run(
        specimen: &'a Specimen,
        whole: &'a Whole,
        damage: &'a Damage,
    ) -> Judged<Verdict> {
        let run = || {
            let disk = specimen.disk.copy(1);
            strike(&disk, &damage.strokes);
            let before = files::read(&disk);
            let mut trial = Self {
                specimen,
                whole,
                damage,
                disk,
                before,
            };
            let check = trial.check()?;
            let scrub = trial.scrub();
            let start = trial.start(check)?;
            Ok(Verdict {
                check,
                scrub,
                start,
            })
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("panic: {}", text.unwrap_or_default()))
        })
    }

    fn check(&self) -> Judged<Option<Severity>> {
        let env = serve::env(&self.disk);
        let report = check::run(&env, Lock::Take).map_err(|error| format!("check: {error}"))?;
        if files::read(&self.disk) != self.with_lock_file() {
            return Err("check changed something".into());
        }
        let quiet = &self.whole.findings;
        let found = report.findings.iter().filter(|finding| {
            let (file, what) = (finding.file.clone(), finding.what.clone());
            !quiet.contains(&(file, what))
        });
        let mut worst = None;
        for finding in found {
            if finding.severity == Severity::Error {
                let text = format!("{}: {}", finding.file, finding.what);
                self.must_name_the_file("check", &text)?;
            }
            worst = worst.max(Some(finding.severity));
        }
        Ok(worst)
    }

    fn with_lock_file(&self) -> Files {
        let mut files = self.before.clone();
        files.entry("LOCK".into()).or_default();
        files
    }

    fn scrub(&self) -> bool {
        let env = serve::env(&self.disk);
        let Ok(catalog) = Catalog::open_read_only(&env, 1 << 20) else {
            return false;
        };
        let Ok(mut pass) = Pass::begin(&env, &catalog, 0) else {
            return false;
        };
        let mut found = false;
        while let Some(step) = pass.step() {
            let damaged = |found: &Found| matches!(found, Found::Damaged(_));
            found |= step.looked.is_some_and(|looked| damaged(&looked.found));
        }
        found
    }

    fn start(&mut self, check: Option<Severity>) -> Judged<Start> {
        let (specimen, disk) = (self.specimen, Arc::clone(&self.disk));
        let started = serve::start(&disk, async |engine| look(&engine, specimen).await);
        self.disk = self.disk.kill();
        let seen = match started {
            Err(error) => {
                self.must_name_the_file("the start", &error.to_string())?;
                self.refused_and_changed_nothing()?;
                return Ok(Start::Refused);
            }
            Ok(seen) => seen,
        };
        self.neighbours_are_there()?;
        let start = self.judge(&seen)?;
        let again = self.look_again()?;
        let restorable = self
            .damage
            .strokes
            .iter()
            .all(|stroke| files::is(stroke.path(), "seg"));
        match start {
            Start::SomeReadsFail if restorable => {
                self.restore();
                let again = self.look_again()?;
                self.must_be_whole(&again)?;
                Ok(start)
            }
            Start::SomeReadsFail => match again.compare(&self.whole.seens) {
                Compared::Wrong(what) => Err(format!("after another start {what}")),
                _ => Ok(start),
            },
            _ if again != seen => Err("another start gives other answers".into()),
            Start::Serves if check.is_some() && self.is_found_whole()? => Ok(Start::Repaired),
            _ => Ok(start),
        }
    }

    /// How a start that serves is to be called.
    fn judge(&self, seen: &Seens) -> Judged<Start> {
        match seen.compare(&self.whole.seens) {
            Compared::Same => Ok(Start::Serves),
            Compared::SomeFailed => Ok(Start::SomeReadsFail),
            Compared::Wrong(what) => match self.moment_before() {
                Some(moment) => {
                    let as_then = seen.is_as(&moment.models);
                    as_then
                        .map_err(|other| format!("{what}\n  before the end of the log {other}"))?;
                    Ok(Start::EndLost)
                }
                None => Err(what),
            },
        }
    }

    /// The one exception: where nothing that was written after it is left, a damaged frame is taken
    /// for one that was never wholly written. How things were before that frame.
    fn moment_before(&self) -> Option<Moment> {
        let [Stroke::Write(path, now)] = &self.damage.strokes[..] else {
            return None;
        };
        let shard = self
            .specimen
            .logs
            .iter()
            .position(|log| Path::new(path).starts_with(log))?;
        let lost = super::places::first_lost_frame(&self.specimen.files[path], now)?;
        let end = self.specimen.moments.last()?;
        // The frames of the other shard are all there.
        let mut moment = end.clone();
        let is_before = |moment: &&Moment| moment.frames[shard] < lost;
        let then = self.specimen.moments.iter().rev().find(is_before)?;
        moment
            .models
            .retain(|name, _| Specimen::shard(name) != shard);
        let own = then
            .models
            .iter()
            .filter(|(name, _)| Specimen::shard(name) == shard);
        moment
            .models
            .extend(own.map(|(name, model)| (name.clone(), model.clone())));
        Some(moment)
    }

    fn look_again(&mut self) -> Judged<Seens> {
        let specimen = self.specimen;
        let started = serve::start(&self.disk, async |engine| look(&engine, specimen).await);
        self.disk = self.disk.kill();
        started.map_err(|error| format!("another start: {error}"))
    }

    fn must_be_whole(&self, seen: &Seens) -> Judged<()> {
        match seen.compare(&self.whole.seens) {
            Compared::Same => Ok(()),
            other => Err(format!("with the file restored: {other:?}")),
        }
    }

    /// Puts back what is damaged, as it was.
    fn restore(&self) {
        for stroke in &self.damage.strokes {
            if self.disk.list(Path::new(stroke.path())).is_ok()
                || is_file(&self.disk, stroke.path())
            {
                self.disk.lose(stroke.path());
            }
        }
        for stroke in &self.damage.strokes {
            let below = |path: &&String| Path::new(path).starts_with(stroke.path());
            for path in self.specimen.files.keys().filter(below) {
                files::write(&self.disk, path, &self.specimen.files[path]);
            }
        }
    }

    /// Where the catalog is at fault, a start comes upon that at any step; what it did before is what
    /// every start does.
    fn refused_and_changed_nothing(&mut self) -> Judged<()> {
        if self
            .damage
            .strokes
            .iter()
            .any(|stroke| stroke.path() == "catalog.redb")
        {
            self.neighbours_are_there()?;
        } else {
            self.changed_nothing()?;
        }
        self.restore();
        let seen = self.look_again()?;
        self.must_be_whole(&seen)
    }

    fn changed_nothing(&self) -> Judged<()> {
        let is_ours = |path: &String| path != "LOCK" && path != "catalog.redb";
        let only_ours = |files: &Files| -> Files {
            let ours = files.iter().filter(|(path, _)| is_ours(path));
            ours.map(|(path, bytes)| (path.clone(), bytes.clone()))
                .collect()
        };
        let after = only_ours(&files::read(&self.disk));
        let before = only_ours(&self.before);
        if after != before {
            let changed = before.keys().chain(after.keys());
            let changed = changed.filter(|path| before.get(*path) != after.get(*path));
            let changed: Vec<_> = changed.collect();
            return Err(format!("the start was refused, and changed {changed:?}"));
        }
        Ok(())
    }

    /// Segments are as they were, or in `quarantine/`.
    fn neighbours_are_there(&self) -> Judged<()> {
        let after = files::read(&self.disk);
        for (path, bytes) in &self.before {
            let kept = files::is(path, "seg") || path.starts_with("quarantine/");
            let in_quarantine = || {
                let mut aside = after
                    .iter()
                    .filter(|(path, _)| path.starts_with("quarantine/"));
                aside.any(|(_, aside)| aside == bytes)
            };
            if kept && after.get(path) != Some(bytes) && !in_quarantine() {
                return Err(format!("{path} is gone or was changed"));
            }
        }
        Ok(())
    }

    /// Whether `check` has nothing to say any more.
    fn is_found_whole(&self) -> Judged<bool> {
        let report = check::run(&serve::env(&self.disk), Lock::Take);
        let report = report.map_err(|error| format!("check: {error}"))?;
        let quiet = &self.whole.findings;
        Ok(report.findings.iter().all(|finding| {
            finding.severity < Severity::Warning
                || quiet.contains(&(finding.file.clone(), finding.what.clone()))
        }))
    }

    fn must_name_the_file(&self, who: &str, text: &str) -> Judged<()> {
        let named = self.damage.strokes.iter().any(|stroke| {
            let path = stroke.path();
            let dir = Path::new(path).parent().expect("it is no root");
            let dir = dir.display().to_string();
            let missing = matches!(stroke, Stroke::Lose(_)) && !dir.is_empty();
            // What is older shows in what it contradicts.
            let is_older = self.damage.how == super::strikes::OLDER;
            text.contains(path) || (missing && text.contains(&dir)) || is_older
        });
        named
            .then_some(())
            .ok_or_else(|| format!("{who} does not name the file: {text}"))
    }
}

impl Whole {
    /// Of a directory that nobody damaged.
    pub(super) fn of(specimen: &Specimen) -> Self {
        let disk = specimen.disk.copy(1);
        let report = check::run(&serve::env(&disk), Lock::Take).expect("it can be looked at");
        assert!(report.is_whole(), "{:?}", report.findings);
        let findings = report.findings.into_iter();
        let findings = findings
            .map(|finding| (finding.file, finding.what))
            .collect();
        let seens = serve::start(&disk, async |engine| look(&engine, specimen).await);
        let seens = seens.expect("it starts");
        seens
            .is_as(specimen.models())
            .expect("it is as it was written");
        Self { seens, findings }
    }
}

fn is_file(disk: &SimDisk, path: &str) -> bool {
    disk.open(Path::new(path), OpenMode::Read).is_ok()
}

pub(super) fn strike(disk: &SimDisk, strokes: &[Stroke]) {
    // First all that goes: a file may be written where another one was.
    for stroke in strokes {
        if let Stroke::Lose(path) = stroke {
            disk.lose(path);
        }
    }
    for stroke in strokes {
        if let Stroke::Write(path, content) = stroke {
            files::write(disk, path, content);
        }
    }
}

impl Stroke {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Write(path, _) | Self::Lose(path) => path,
        }
    }
}
