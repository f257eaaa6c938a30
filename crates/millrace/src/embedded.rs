//! A data directory and the threads that run its shards.

use std::{io, ops::Deref, path::Path, thread::JoinHandle};

use millrace_engine::{Engine, OpenError, Opened, Options, Shard};
use millrace_env::{Env, tasks};
use tokio::{runtime, task::LocalSet};

/// An open data directory. Derefs to its [`Engine`].
///
/// Closing it with [`Self::close`] flushes and marks it as whole; dropping it does not, which costs
/// the next start some replay and loses nothing that was acknowledged.
#[derive(Debug)]
pub struct Millrace {
    engine: Engine,
    threads: Vec<JoinHandle<()>>,
}

impl Millrace {
    /// Opens a data directory, or makes one; recovers what a crash left. Blocks meanwhile.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::open_in(Env::real(dir.as_ref()), options)
    }

    /// The same in any environment, a simulated one for example.
    pub fn open_in(env: Env, options: Options) -> Result<Self, OpenError> {
        let Opened { engine, shards } = millrace_engine::open(env, options)?;
        let threads: io::Result<Vec<_>> = shards.into_iter().enumerate().map(start).collect();
        let threads = threads.map_err(millrace_store::StoreError::from)?;
        Ok(Self { engine, threads })
    }

    /// The engine; cheap to clone, usable from every thread and every tokio runtime.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs `work` on this thread to its end: for programs without a runtime of their own.
    pub fn block_on<F: Future>(&self, work: F) -> io::Result<F::Output> {
        Ok(event_loop()?.block_on(work))
    }

    /// Ends live reads, finishes what is under way, flushes, and waits for the threads. Not to be
    /// called on a thread that runs a tokio runtime.
    pub fn close(self) -> io::Result<()> {
        event_loop()?.block_on(self.engine.shutdown());
        for thread in self.threads {
            // A panic of a shard was told by the panic hook, and its streams refuse since.
            let _ = thread.join();
        }
        Ok(())
    }
}

impl Deref for Millrace {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

fn start((number, shard): (usize, Shard)) -> io::Result<JoinHandle<()>> {
    let runtime = event_loop()?;
    tasks::thread(&format!("millrace-{number}"), move || {
        LocalSet::new().block_on(&runtime, shard.run());
    })
}

fn event_loop() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}
