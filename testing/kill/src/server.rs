//! The process under test: started on one data directory again and again, and killed by its own
//! process id.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use millrace_harness::probe::disk_bytes;
use rustix::process::{Pid, Signal, kill_process};

use crate::{http::Connection, schedule::Settings};

/// Recovery may take this long.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// A graceful end may take this long.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// More of its log than this is not kept.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// More of what starts put aside than this is not kept.
const QUARANTINE_BYTES_MAX: u64 = 64 << 20;

/// Small enough that every kill falls among flushes, rolls of the log and compactions.
const THRESHOLDS: [&str; 11] = [
    "--flush-bytes=64KiB",
    "--flush-interval=100ms",
    "--wal-segment-bytes=256KiB",
    "--compaction-interval=200ms",
    // Always under way, amid files that come and go.
    "--scrub-interval=20ms",
    "--scrub-rate=64MiB",
    "--read-bytes-max=32KiB",
    "--long-poll-timeout=300ms",
    "--host=127.0.0.1",
    "--port=0",
    "--memory-max=256MiB",
];

/// What the scrub logs of bytes that are not as they were written.
const DAMAGED: &str = "stored bytes are damaged";

/// What a killed server left of its segments: shows that kills fall among flushes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remains {
    /// How many segments there are.
    pub segments: usize,
    /// Whether one was being written.
    pub half_written: bool,
    /// The number of the newest; they count up and are never used again.
    pub newest: u64,
}

/// Where the runs of one server live.
#[derive(Debug)]
pub struct Home {
    binary: PathBuf,
    durability: String,
    directory: PathBuf,
}

impl Home {
    /// A fresh directory below the system's temporary one.
    pub fn new(settings: &Settings) -> io::Result<Self> {
        let name = format!("millrace-kill-{}-{:x}", std::process::id(), settings.seed);
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory)?;
        Ok(Self {
            binary: settings.binary.clone(),
            durability: settings.durability.clone(),
            directory,
        })
    }

    /// The directory of data and log, kept when a run fails.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes the directory.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(self.directory)
    }

    /// What the last lines of the server's log say.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let from = log.len().saturating_sub(4000);
        String::from_utf8_lossy(&log[from..]).into_owned()
    }

    /// The binary, without the settings that a developer's environment may have for it.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            // But for the defect that a mutant is to have.
            if name.as_encoded_bytes().starts_with(b"MILLRACE_") && name != "MILLRACE_MUTANT" {
                command.env_remove(name);
            }
        }
        command
    }

    fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What a kill left behind.
    pub fn remains(&self) -> Remains {
        let names: Vec<String> = fs::read_dir(self.data().join("segments"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let having = |end| names.iter().filter(move |name| name.ends_with(end)).count();
        let number = |name: &String| u64::from_str_radix(name.split('.').next()?, 16).ok();
        Remains {
            segments: having(".seg"),
            half_written: having(".tmp") > 0,
            newest: names.iter().filter_map(number).max().unwrap_or(0),
        }
    }

    /// Lets go of what thousands of lives would leave behind: their log, and segments that were half
    /// written when they ended, which the next start put aside.
    fn tidy(&self) -> io::Result<()> {
        let log = fs::metadata(self.log()).map_or(0, |log| log.len());
        if log > LOG_BYTES_MAX {
            fs::remove_file(self.log())?;
        }
        let quarantine = self.data().join("quarantine");
        if quarantine.exists() && disk_bytes(&quarantine)? > QUARANTINE_BYTES_MAX {
            fs::remove_dir_all(quarantine)?;
        }
        Ok(())
    }

    /// How many bytes data and log take.
    pub fn bytes(&self) -> u64 {
        disk_bytes(&self.directory).unwrap_or(0)
    }

    /// Starts the server with `shards` shards. It is not ready yet.
    pub fn start(&mut self, shards: u64) -> io::Result<Server> {
        self.tidy()?;
        let port_file = self.directory.join("port");
        match fs::remove_file(&port_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = self
            .command()
            .arg("serve")
            .args(THRESHOLDS)
            .arg(format!("--durability={}", self.durability))
            .arg(format!("--shards={shards}"))
            .arg("--data-dir")
            .arg(self.data())
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Server { child, port_file })
    }

    /// Runs `millrace check` on the data directory of a server that is not running. Nor may its scrub
    /// have found anything while it ran.
    pub fn check(&self) -> Result<(), String> {
        let log = fs::read(self.log()).unwrap_or_default();
        if let Some(line) = String::from_utf8_lossy(&log)
            .lines()
            .find(|line| line.contains(DAMAGED))
        {
            return Err(format!("the scrub found damage: {line}"));
        }
        let output = self
            .command()
            .arg("check")
            .arg("--data-dir")
            .arg(self.data())
            .output()
            .map_err(|error| format!("`check` did not run: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Err(format!("`check` ended with {}: {said}", output.status))
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port_file: PathBuf,
}

impl Server {
    /// Waits until `/ready` answers 200.
    pub fn ready(&mut self) -> Result<SocketAddr, String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.ended() {
                return Err(format!("the server ended while starting: {status}"));
            }
            if let Some(address) = self.listening()
                && is_ready(address)
            {
                return Ok(address);
            }
            if Instant::now() > deadline {
                return Err(format!("the server was not ready within {READY_WITHIN:?}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn listening(&self) -> Option<SocketAddr> {
        let port: u16 = fs::read_to_string(&self.port_file)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// How the process ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// Asks the server to end.
    pub fn ask_to_stop(&self) -> Result<(), String> {
        self.signal(Signal::TERM)
    }

    /// Lets the server do nothing from now on.
    pub fn pause(&self) -> Result<(), String> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused server go on.
    pub fn go_on(&self) -> Result<(), String> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).map_err(|error| format!("no {signal:?}: {error}"))
    }

    /// Asks the server to end and waits for it.
    pub fn stop(&mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        self.ask_to_stop()?;
        while begun.elapsed() < STOP_WITHIN {
            match self.ended() {
                Some(status) if status.success() => return Ok(begun.elapsed()),
                Some(status) => return Err(format!("the server stopped with {status}")),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
        self.kill().map_err(|error| error.to_string())?;
        Err(format!("the server did not stop within {STOP_WITHIN:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A harness that gives up leaves no server behind; one that is gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    Connection::open(address)
        .and_then(|mut connection| connection.get("/ready"))
        .is_ok_and(|response| response.head.status == 200)
}
