//! The server and the verbs, as processes that are signalled by their ids.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use millrace_monitor::tee::Tee;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::settings::Settings;

/// What takes longer ends the run.
const WITHIN: Duration = Duration::from_mins(5);

/// A directory, a binary, and the port that the server keeps.
#[derive(Debug)]
pub(crate) struct Place {
    settings: Settings,
    pub(crate) directory: PathBuf,
    /// Chosen by the system for the first server.
    port: u16,
    /// Between the verbs and the server, once they are watched.
    tee: Option<Tee>,
}

/// A process, and the most memory that it was seen to take.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) peak: u64,
}

impl Place {
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let name = format!("millrace-import-{}", std::process::id());
        let directory = settings.dir.join(name);
        fs::create_dir_all(&directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Self {
            settings: settings.clone(),
            directory,
            port: 0,
            tee: None,
        })
    }

    /// From here on the monitor sees all that passes between the verbs and the server.
    pub(crate) fn watch(&mut self) -> Result<(), String> {
        let server = SocketAddr::from(([127, 0, 0, 1], self.port));
        let tee = Tee::begin(server).map_err(|error| error.to_string())?;
        self.tee = Some(tee);
        Ok(())
    }

    /// How many answers the monitor saw, all of them honest.
    pub(crate) fn watched(&self) -> Result<u64, String> {
        let Some(tee) = &self.tee else {
            return Ok(0);
        };
        let watcher = tee.watcher().lock();
        match watcher.violations() {
            [] => Ok(watcher.counts().answered),
            [first, ..] => Err(format!("the monitor found {first}")),
        }
    }

    /// Removes everything, unless it is to be kept.
    pub(crate) fn end(self) {
        if self.settings.keep {
            eprintln!("import: kept in {}", self.directory.display());
        } else if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("import: {} stays: {error}", self.directory.display());
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let port = self
            .tee
            .as_ref()
            .map_or(self.port, |tee| tee.address().port());
        let mut command = Command::new(&self.settings.binary);
        for (name, _) in std::env::vars_os() {
            // What a developer's environment may have for the binary.
            if name.as_encoded_bytes().starts_with(b"MILLRACE_") || name == "API_KEY" {
                command.env_remove(name);
            }
        }
        command
            .args(words)
            .env("MILLRACE_URL", format!("http://127.0.0.1:{port}"))
            .stdin(Stdio::null());
        command
    }

    /// Starts the server, on the port that it had, and waits until it listens.
    pub(crate) fn serve(&mut self) -> Result<Process, String> {
        let port_file = self.directory.join("port");
        let _ = fs::remove_file(&port_file);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("server.log"))
            .map_err(|error| error.to_string())?;
        let mut command = self.command(&["serve", "--port", &self.port.to_string()]);
        let started = command
            .arg("--port-file")
            .arg(&port_file)
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.settings.serve_args)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let mut server = Process::of(started)?;
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            if let Some(status) = server.ended()? {
                return Err(format!("the server ended while starting: {status}"));
            }
            let port = fs::read_to_string(&port_file);
            if let Some(port) = port.ok().and_then(|port| port.trim().parse().ok()) {
                self.port = port;
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Err("the server does not listen".into())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts a verb; what it says goes to files `out` and `err`.
    pub(crate) fn start(&self, words: &[&str]) -> Result<Process, String> {
        let file =
            |name| File::create(self.directory.join(name)).map_err(|error| error.to_string());
        let started = self
            .command(words)
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn();
        Process::of(started)
    }

    /// What the last verb said on stderr.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.directory.join("err")).unwrap_or_default()
    }

    /// Runs a verb to its end, and insists that it goes well.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command(words).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{words:?}: {}: {said}", output.status))
    }

    /// Starts a verb whose stdout is read.
    pub(crate) fn reading(&self, words: &[&str]) -> Result<(Process, ChildStdout), String> {
        let started = self.command(words).stdout(Stdio::piped()).spawn();
        let mut process = Process::of(started)?;
        let out = process.child.stdout.take().expect("piped");
        Ok((process, out))
    }

    /// How many bytes a stream has; `None` while nobody answers.
    pub(crate) fn position(&self, stream: &str) -> Option<u64> {
        let head = self.run(&["head", stream, "--json"]).ok()?;
        let head: Value = serde_json::from_str(&head).ok()?;
        position(head["next_offset"].as_str()?)
    }
}

/// The position that an offset says.
pub(crate) fn position(offset: &str) -> Option<u64> {
    offset.split_once('-')?.1.parse().ok()
}

impl Process {
    fn of(started: std::io::Result<Child>) -> Result<Self, String> {
        let child = started.map_err(|error| format!("the binary does not start: {error}"))?;
        Ok(Self { child, peak: 0 })
    }

    /// Looks at the most memory that it took so far.
    pub(crate) fn look(&mut self) {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(Path::new(&path)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        self.peak = self.peak.max(kib.unwrap_or(0) * 1024);
    }

    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| error.to_string())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, String> {
        let begun = Instant::now();
        while begun.elapsed() < WITHIN {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            self.look();
            thread::sleep(Duration::from_millis(2));
        }
        Err(format!("process {} does not end", self.child.id()))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // One that has ended by itself is noticed by who waits for it.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
