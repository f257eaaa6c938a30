//! The servers: each a process of its own, ended by its process id.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use millrace_bench::Target;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::tools::Tools;

/// A start that takes longer ends the run.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// A stop that takes longer is a kill.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Ours,
    Peer,
    Limit,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Peer, Self::Limit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Limit => "limit",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|who| who.name() == name)
    }
}

/// A data directory; goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new(below: &Path, who: Who) -> io::Result<Self> {
        let name = format!("{}-{}", who.name(), std::process::id());
        let path = below.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("compare: {} stays: {error}", self.0.display());
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) target: Target,
}

impl Server {
    /// Starts it on a directory and waits until it takes connections. Nothing of it is asked for
    /// that would weaken what an acknowledgement means: all three sync before they answer.
    pub(crate) fn start(
        tools: &Tools,
        who: Who,
        home: &Home,
        args: &[String],
    ) -> Result<Self, String> {
        let begun = || -> io::Result<Self> {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let url = format!("http://{address}");
            let target = Target::parse(&url, "/v1/stream", None).map_err(io::Error::other)?;
            let child = spawn(tools, who, home, port, args)?;
            Ok(Self { child, target })
        };
        let mut server = begun().map_err(|error| format!("{}: {error}", who.name()))?;
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if TcpStream::connect(server.target.address).is_ok() {
                return Ok(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                let log = fs::read_to_string(home.0.join("log")).unwrap_or_default();
                return Err(format!(
                    "{} ended at its start: {status}\n{log}",
                    who.name()
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!(
            "{} did not listen within {READY_WITHIN:?}",
            who.name()
        ))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits for that.
    pub(crate) fn stop(mut self) {
        let pid = Pid::from_child(&self.child);
        let deadline = Instant::now() + STOP_WITHIN;
        if kill_process(pid, Signal::TERM).is_err() {
            return;
        }
        while Instant::now() < deadline {
            if let Ok(Some(_)) | Err(_) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(tools: &Tools, who: Who, home: &Home, port: u16, args: &[String]) -> io::Result<Child> {
    let (binary, data) = match who {
        Who::Ours => (&tools.ours, home.0.join("data")),
        Who::Peer => (&tools.peer, home.0.join("data")),
        Who::Limit => (&tools.limit, home.0.join("file")),
    };
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.0.join("log"))?;
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let name_bytes = name.as_encoded_bytes();
        // Settings that a developer's environment may have for the servers.
        if name_bytes.starts_with(b"MILLRACE_") || name_bytes.starts_with(b"DS_") {
            command.env_remove(name);
        }
    }
    if who == Who::Ours {
        command.args(["serve", "--durability", "local"]);
    }
    if who == Who::Peer {
        command.args(["--host", "127.0.0.1", "--durability", "wal"]);
    }
    let data_flag = if who == Who::Limit {
        "--file"
    } else {
        "--data-dir"
    };
    command
        .args(["--port", &port.to_string(), data_flag])
        .arg(data)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// Thousands of subscribers are thousands of descriptors, here and in the servers.
pub(crate) fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("compare: the limit of descriptors stays: {error}");
    }
}
