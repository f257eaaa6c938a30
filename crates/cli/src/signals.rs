//! What asks a process to end, and the last word of a verb that was.

use std::{
    future::Future,
    io::{self, Write as _},
    process::ExitCode,
    task::{Context, Waker},
};

use millrace_env::tasks;
use serde_json::{Map, Value};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fail::{Failure, Kind};

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("no signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// What came and was not asked for yet is as if it had not come.
    pub(crate) fn forget(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while self.terminate.poll_recv(&mut context).is_ready() {}
        while self.interrupt.poll_recv(&mut context).is_ready() {}
    }

    /// Waits for one; what the process is to end with.
    pub(crate) async fn next(&mut self) -> Kind {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Kind::Terminated,
            _ = self.interrupt.recv() => Kind::Interrupted,
        }
    }
}

/// What a verb that was interrupted leaves behind, and how to go on.
#[derive(Debug)]
pub(crate) struct LastWord {
    pub(crate) what: String,
    pub(crate) help: String,
    /// More for programs.
    pub(crate) facts: Map<String, Value>,
}

impl LastWord {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
            facts: Map::new(),
        }
    }

    /// Adds a fact for programs.
    pub(crate) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Says it on stderr, always: whoever interrupts wants to know. The exit code.
    pub(crate) fn say(mut self, json: bool, kind: Kind) -> ExitCode {
        let text = if json {
            self.facts.insert("interrupted".into(), true.into());
            self.facts.insert("message".into(), self.what.into());
            self.facts.insert("help".into(), self.help.into());
            Value::Object(self.facts).to_string()
        } else {
            format!("interrupted {}\nhelp: {}", self.what, self.help)
        };
        // Nobody may be listening; the exit code says it too.
        let _ = writeln!(io::stderr(), "{text}");
        kind.exit()
    }
}

/// An event loop of one thread, for one verb.
pub(crate) fn event_loop() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))
}

/// Does `work` until it is done or a signal comes, after which it is left alone.
pub(crate) async fn until_signal(
    work: impl Future<Output = Result<ExitCode, Failure>>,
    json: bool,
    last_word: impl FnOnce() -> LastWord,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    tokio::select! {
        biased;
        kind = signals.next() => Ok(last_word().say(json, kind)),
        done = work => done,
    }
}

/// The same for work that blocks and changes nothing. It ends with the process.
pub(crate) fn blocking_until_signal(
    work: impl FnOnce() -> Result<ExitCode, Failure> + Send + 'static,
    json: bool,
    last_word: LastWord,
) -> Result<ExitCode, Failure> {
    let runtime = event_loop()?;
    let work = async { tasks::blocking(work).await };
    let done = runtime.block_on(until_signal(work, json, || last_word));
    runtime.shutdown_background();
    done
}
