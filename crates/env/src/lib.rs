//! The only door to disk, clock, randomness, tasks and network.
//!
//! Everything above this crate takes an [`Env`] and asks it, never the operating system, so that
//! the same engine runs on real disks and in a seeded simulation. Clippy's `disallowed-methods`
//! (see `clippy.toml`) keeps it so.
//!
//! Layout: [`disk`] (the seam and the real one), [`sim`] (the simulated disk, with its faults),
//! [`clock`], [`rng`], [`tasks`], [`switch`], [`net`], [`process`], [`mutant`] (defects on purpose, for
//! tests).
//!
//! Not here: what is written to the disk (`millrace-store`).

pub mod clock;
pub mod disk;
pub mod mutant;
pub mod net;
pub mod process;
pub mod rng;
pub mod sim;
pub mod switch;
pub mod tasks;

use std::sync::Arc;

pub use clock::{Clock, RealClock, SimClock, sleep, timeout};
pub use disk::{DirEntry, Disk, File, FileExt, OpenMode, RealDisk};
pub use net::{Listener, TcpListener};
pub use rng::Rng;
pub use sim::{Fault, FaultError, FaultOp, Harm, SimDisk, is_power_loss};
pub use switch::{Switch, Watcher};

/// All of the outside world that the engine may use.
#[derive(Clone, Debug)]
pub struct Env {
    /// Files below the data directory.
    pub disk: Arc<dyn Disk>,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub rng: Arc<Rng>,
}

impl Env {
    /// The real world, with files below `root`.
    pub fn real(root: impl Into<std::path::PathBuf>) -> Self {
        Self {
            disk: Arc::new(RealDisk::new(root)),
            clock: Arc::new(RealClock::new()),
            rng: Arc::new(Rng::from_os()),
        }
    }
}
