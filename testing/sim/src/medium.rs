//! The disk as the server sees it: the simulated disk of `millrace-env`, with every call in the trace,
//! slow where the seed says so, and dead as soon as the server is.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use millrace_env::{DirEntry, Disk, File, OpenMode, SimDisk, is_power_loss, tasks};
use millrace_kill::schedule::Chance;

use crate::{
    clock::LoopClock,
    mishap::Mishap,
    power::{Power, Stage},
    trace::{Content, Trace},
};

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// A sync that takes longer is slow.
const SLOW: Duration = Duration::from_millis(1);

/// A disk for one life of the server.
#[derive(Debug, Clone)]
pub struct Medium(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    disk: Arc<SimDisk>,
    power: Power,
    clock: Arc<LoopClock>,
    trace: Trace,
    temper: Arc<Temper>,
}

/// How the disk behaves, over all lives.
#[derive(Debug)]
pub struct Temper {
    chance: Mutex<Chance>,
    /// The shortest and the longest sync, in microseconds; 0 while the disk is quick.
    slow_micros: [AtomicU64; 2],
    /// Syncs of logs say that they are done and do nothing: a server on such a disk acknowledges
    /// before it syncs.
    lies: AtomicBool,
    /// The same of syncs of directories.
    forgets_names: AtomicBool,
}

impl Temper {
    /// A quick and honest disk.
    pub fn new(chance: Chance) -> Self {
        Self {
            chance: Mutex::new(chance),
            slow_micros: Default::default(),
            lies: AtomicBool::new(false),
            forgets_names: AtomicBool::new(false),
        }
    }

    /// From here on a sync takes so long.
    pub fn set_slow(&self, times: Range<Duration>) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let [shortest, longest] = &self.slow_micros;
        shortest.store(micros(times.start), Ordering::SeqCst);
        longest.store(micros(times.end), Ordering::SeqCst);
    }

    /// From here on syncs lie, or do not.
    pub fn set_lies(&self, lies: bool) {
        self.lies.store(lies, Ordering::SeqCst);
    }

    /// From here on syncs of directories lie, or do not.
    pub fn set_forgets_names(&self, forgets: bool) {
        self.forgets_names.store(forgets, Ordering::SeqCst);
    }

    /// How long a call takes.
    pub(crate) fn takes(&self) -> Duration {
        let micros = |time: &AtomicU64| time.load(Ordering::SeqCst);
        let [shortest, longest] = self.slow_micros.each_ref().map(micros);
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(chance.between(shortest, longest.max(shortest) + 1))
    }
}

impl Medium {
    /// The disk of one life.
    pub fn new(
        disk: Arc<SimDisk>,
        power: Power,
        clock: Arc<LoopClock>,
        trace: Trace,
        temper: Arc<Temper>,
    ) -> Self {
        Self(Arc::new(Shared {
            disk,
            power,
            clock,
            trace,
            temper,
        }))
    }

    /// Does a call, and tells of it.
    fn call<T>(
        &self,
        what: &str,
        path: &Path,
        done: impl FnOnce(&SimDisk) -> io::Result<T>,
    ) -> io::Result<T> {
        let done = done(&self.0.disk);
        let result = match &done {
            Ok(_) => "",
            Err(error) if is_power_loss(error) => {
                self.0.power.disk_died();
                return done;
            }
            Err(error) => {
                self.count(error);
                " fails"
            }
        };
        let path = path.display();
        self.0
            .trace
            .note(format_args!("disk {what} {path}{result}"));
        done
    }
}

impl Medium {
    /// A call failed, as calls of a disk do.
    fn count(&self, error: &io::Error) {
        let mishap = match error.raw_os_error() {
            Some(EIO) => Mishap::Eio,
            Some(ENOSPC) => Mishap::Enospc,
            Some(EMFILE) => Mishap::Emfile,
            _ => return,
        };
        self.0.trace.count(mishap);
        if self.0.power.is_in(Stage::Starting) {
            self.0.trace.count(Mishap::FailedWhileStarting);
        }
    }

    /// Counts a sync that failed.
    fn synced(&self, mishap: Mishap, synced: io::Result<()>) -> io::Result<()> {
        if synced.as_ref().is_err_and(|error| !is_power_loss(error)) {
            self.0.trace.count(mishap);
        }
        synced
    }
}

impl Disk for Medium {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.call(&format!("open {mode:?}"), path, |disk| {
            disk.open(path, mode)
        })?;
        Ok(Arc::new(MediumFile {
            file,
            path: path.to_owned(),
            medium: self.clone(),
            written_on_loop: AtomicBool::new(false),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let what = format!("rename to {} of", to.display());
        self.call(&what, from, |disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", path, |disk| disk.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call("remove_dir", path, |disk| disk.remove_dir(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call("create_dir", path, |disk| disk.create_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call("list", path, |disk| disk.list(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.0.temper.forgets_names.load(Ordering::SeqCst) {
            return self.call("pretended sync_dir", path, |_| Ok(()));
        }
        let synced = self.call("sync_dir", path, |disk| disk.sync_dir(path));
        self.synced(Mishap::DirSyncFailed, synced)
    }

    fn available(&self) -> io::Result<u64> {
        self.call("available", Path::new(""), Disk::available)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.call("lock", path, |disk| disk.lock(path))
    }
}

#[derive(Debug)]
struct MediumFile {
    file: Arc<dyn File>,
    path: PathBuf,
    medium: Medium,
    /// Something was written on the event loop, and not synced since.
    written_on_loop: AtomicBool,
}

impl MediumFile {
    fn call<T>(&self, what: &str, done: impl FnOnce(&dyn File) -> io::Result<T>) -> io::Result<T> {
        self.medium.call(what, &self.path, |_| done(&*self.file))
    }
}

impl File for MediumFile {
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        let what = format!("read {} at {pos}", buf.len());
        self.call(&what, |file| file.read_at(buf, pos))
    }

    fn write_at(&self, buf: &[u8], pos: u64) -> io::Result<usize> {
        let what = format!("write {} at {pos}", Content(buf));
        let written = self.call(&what, |file| file.write_at(buf, pos));
        if !tasks::is_beside() {
            self.written_on_loop.store(true, Ordering::SeqCst);
        }
        let Shared { power, trace, .. } = &*self.medium.0;
        let is_short = written.as_ref().is_ok_and(|written| *written < buf.len());
        if is_short && power.is_in(Stage::Starting) {
            trace.count(Mishap::ShortWhileStarting);
        }
        written
    }

    fn sync(&self) -> io::Result<()> {
        let Shared {
            temper,
            clock,
            trace,
            ..
        } = &*self.medium.0;
        if temper.lies.load(Ordering::SeqCst) && self.path.starts_with("wal") {
            return self.call("pretended sync", |_| Ok(()));
        }
        let was_written_on_loop = self.written_on_loop.swap(false, Ordering::SeqCst);
        let took = if tasks::is_beside() {
            if was_written_on_loop {
                trace.count(Mishap::SyncMoved);
            }
            // Whoever waits for it waits beside the loop, for as long as that work takes as a whole.
            Duration::ZERO
        } else {
            temper.takes()
        };
        if took >= SLOW {
            trace.count(Mishap::SlowSync);
        }
        clock.stall(took);
        let what = format!("sync in {} us", took.as_micros());
        let synced = self.call(&what, |file| file.sync());
        self.medium.synced(Mishap::SyncFailed, synced)
    }

    fn len(&self) -> io::Result<u64> {
        self.call("len", |file| file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(&format!("set_len {len}"), |file| file.set_len(len))
    }
}
