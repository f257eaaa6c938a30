//! The process under test, and what the system says of it.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

use crate::settings::Settings;

/// A start or a stop that takes longer ends the run.
const WITHIN: Duration = Duration::from_mins(1);

/// A running server and its data directory, which stays when the run fails.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    directory: PathBuf,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// A process's memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident, pages of files that it maps included: what a cgroup or an operator sees of it.
    pub(crate) now: u64,
    /// The most that was ever resident. The system keeps it, so that no peak falls between two looks.
    pub(crate) peak: u64,
    /// Resident, without pages of files.
    pub(crate) anonymous: u64,
}

impl Server {
    /// Starts one on a fresh directory and waits until it listens.
    pub(crate) fn start(settings: &Settings) -> Result<Self, String> {
        let name = format!("millrace-pressure-{}", std::process::id());
        let directory = settings.dir.join(name);
        fs::create_dir_all(&directory).map_err(|error| format!("no data directory: {error}"))?;
        let port_file = directory.join("port");
        let child = spawn(settings, &directory, &port_file)
            .map_err(|error| format!("{}: {error}", settings.binary.display()))?;
        let mut server = Self {
            child,
            directory,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            let text = fs::read_to_string(&port_file).unwrap_or_default();
            if let Ok(port) = text.trim().parse() {
                server.address.set_port(port);
                if TcpStream::connect(server.address).is_ok() {
                    return Ok(server);
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err("the server did not listen in time".into())
    }

    /// Its memory, as the system counts it.
    pub(crate) fn memory(&self) -> Result<Memory, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Ok(Memory {
            now: field(&status, "VmRSS:"),
            peak: field(&status, "VmHWM:"),
            anonymous: field(&status, "RssAnon:"),
        })
    }

    /// Asks it to end, and removes its directory.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(|error| format!("no SIGTERM: {error}"))?;
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => {
                    return fs::remove_dir_all(&self.directory).map_err(|error| error.to_string());
                }
                Ok(Some(status)) => return Err(format!("the server stopped with {status}")),
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the server did not stop in time".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Leaves no process behind; one that is gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(settings: &Settings, directory: &Path, port_file: &Path) -> io::Result<Child> {
    let log = File::create(directory.join("server.log"))?;
    let mut command = Command::new(&settings.binary);
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
        .arg(directory.join("data"))
        .arg("--memory-max")
        .arg(settings.memory_max.to_string())
        .args(&settings.serve_args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// A field of `/proc/PID/status`, which counts in kibibytes; 0 where the system does not tell.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0) * 1024
}

/// Lets this process have as many descriptors as it may.
pub(crate) fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With too few, clients are missing, and that is said.
    let _ = setrlimit(Resource::Nofile, limit);
}
