//! The process under test: started on one data directory again and again, ended by its process id.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{http::Connection, settings::Settings};

/// A start that takes longer ends the run.
const READY_WITHIN: Duration = Duration::from_mins(5);
/// A stop that takes longer ends the run.
const STOP_WITHIN: Duration = Duration::from_mins(1);

/// The data directory and what belongs to it; stays when the run fails.
#[derive(Debug)]
pub(crate) struct Home {
    settings: Settings,
    directory: PathBuf,
    starts: u32,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From its start to the first 200 of `/ready`.
    pub(crate) ready_after: Duration,
}

impl Home {
    /// A fresh one.
    pub(crate) fn new(settings: &Settings) -> io::Result<Self> {
        let name = format!("millrace-scale-{}", std::process::id());
        let directory = settings.dir.join(name);
        fs::create_dir_all(&directory)?;
        Ok(Self {
            settings: settings.clone(),
            directory,
            starts: 0,
        })
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Removes it, unless it is to be kept.
    pub(crate) fn end(self) {
        if self.settings.keep {
            eprintln!("scale: kept in {}", self.directory.display());
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("scale: {} stays: {error}", self.directory.display());
        }
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn start(&mut self) -> Result<Server, String> {
        self.starts += 1;
        let port_file = self.directory.join(format!("port-{}", self.starts));
        let begun = Instant::now();
        let child = self
            .spawn(&port_file)
            .map_err(|error| format!("{}: {error}", self.settings.binary.display()))?;
        let mut child = Guard(Some(child));
        while begun.elapsed() < READY_WITHIN {
            if let Ok(Some(status)) = child.get().try_wait() {
                return Err(format!("the server ended while starting: {status}"));
            }
            if let Some(address) = listening(&port_file)
                && is_ready(address)
            {
                let ready_after = begun.elapsed();
                let child = child.0.take().expect("kept until here");
                return Ok(Server {
                    child,
                    address,
                    ready_after,
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(format!("the server was not ready within {READY_WITHIN:?}"))
    }

    fn spawn(&self, port_file: &Path) -> io::Result<Child> {
        let log = self.directory.join("server.log");
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.settings.binary);
        for (name, _) in std::env::vars_os() {
            // Settings that a developer's environment may have for the server.
            if name.as_encoded_bytes().starts_with(b"MILLRACE_") {
                command.env_remove(name);
            }
        }
        command
            .args(["serve", "--port", "0", "--port-file"])
            .arg(port_file)
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.settings.serve_args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

impl Server {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) -> Result<(), String> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed
            .map(drop)
            .map_err(|error| format!("not killed: {error}"))
    }

    /// Asks it to end and waits for that; how long it took.
    pub(crate) fn stop(mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| format!("no SIGTERM: {error}"))?;
        while begun.elapsed() < STOP_WITHIN {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(begun.elapsed()),
                Ok(Some(status)) => return Err(format!("the server stopped with {status}")),
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("the server did not stop within {STOP_WITHIN:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is not ready yet.
struct Guard(Option<Child>);

impl Guard {
    fn get(&mut self) -> &mut Child {
        self.0.as_mut().expect("kept until it is ready")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Leaves no process behind; one that is gone already is fine.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn listening(port_file: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(port_file).ok()?;
    let port: u16 = text.trim().parse().ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn is_ready(address: SocketAddr) -> bool {
    Connection::open(address)
        .and_then(|mut connection| connection.get("/ready"))
        .is_ok_and(|(status, _)| status == 200)
}
