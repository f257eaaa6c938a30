//! The disk as the server sees it: the simulated disk of `millrace-env`, with every call in the trace,
//! slow where the seed says so, and dead as soon as the server is.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use millrace_env::{Clock as _, DirEntry, Disk, File, OpenMode, SimDisk, is_power_loss};
use millrace_kill::schedule::Chance;

use crate::{
    clock::LoopClock,
    power::Power,
    trace::{Content, Trace},
};

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
    /// The longest sync, in microseconds; 0 while the disk is quick.
    slow_micros: AtomicU64,
    /// Syncs of logs say that they are done and do nothing: a server on such a disk acknowledges
    /// before it syncs.
    lies: AtomicBool,
}

impl Temper {
    /// A quick and honest disk.
    pub fn new(chance: Chance) -> Self {
        Self {
            chance: Mutex::new(chance),
            slow_micros: AtomicU64::new(0),
            lies: AtomicBool::new(false),
        }
    }

    /// From here on a sync takes up to this long.
    pub fn set_slow(&self, longest: Duration) {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        self.slow_micros.store(micros, Ordering::SeqCst);
    }

    /// From here on syncs lie, or do not.
    pub fn set_lies(&self, lies: bool) {
        self.lies.store(lies, Ordering::SeqCst);
    }

    /// How long a call takes.
    pub(crate) fn takes(&self) -> Duration {
        let longest = self.slow_micros.load(Ordering::SeqCst);
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(chance.between(0, longest + 1))
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
            Err(_) => " fails",
        };
        let path = path.display();
        self.0
            .trace
            .note(format_args!("disk {what} {path}{result}"));
        done
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
        self.call("sync_dir", path, |disk| disk.sync_dir(path))
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
        self.call(&what, |file| file.write_at(buf, pos))
    }

    fn sync(&self) -> io::Result<()> {
        let Shared { temper, clock, .. } = &*self.medium.0;
        if temper.lies.load(Ordering::SeqCst) && self.path.starts_with("wal") {
            return self.call("pretended sync", |_| Ok(()));
        }
        let before = clock.mono();
        clock.stall(temper.takes());
        let took = clock.mono().saturating_sub(before).as_micros();
        self.call(&format!("sync in {took} us"), |file| file.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.call("len", |file| file.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(&format!("set_len {len}"), |file| file.set_len(len))
    }
}
