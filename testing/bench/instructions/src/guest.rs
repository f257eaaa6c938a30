//! The server under valgrind, ended by its process id.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use millrace_harness::http::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// Under valgrind a start and a stop take seconds.
const WITHIN: Duration = Duration::from_mins(2);

/// What would happen by the clock must not happen while it is counted.
const QUIET: [&str; 9] = [
    "--host=127.0.0.1",
    "--port=0",
    "--shards=1",
    "--memory-max=256MiB",
    "--wal-segment-bytes=4MiB",
    "--flush-interval=1h",
    "--compaction-interval=1h",
    "--scrub-rate=0",
    "--shutdown-timeout=1m",
];

/// A server, and the directory of all it writes.
pub(crate) struct Guest {
    child: Child,
    dir: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Guest {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(binary: &Path) -> Result<Self, String> {
        let dir =
            std::env::temp_dir().join(format!("millrace-instructions-{}", std::process::id()));
        let begun = || -> io::Result<Child> {
            if dir.exists() {
                fs::remove_dir_all(&dir)?;
            }
            fs::create_dir_all(&dir)?;
            spawn(binary, &dir)
        };
        let child = begun().map_err(|error| {
            format!("valgrind: {error}; testing/run instructions installs it where it is missing")
        })?;
        let mut guest = Self {
            child,
            dir,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let deadline = Instant::now() + WITHIN;
        while Instant::now() < deadline {
            if guest.is_ready() {
                return Ok(guest);
            }
            if let Ok(Some(status)) = guest.child.try_wait() {
                return Err(format!("the server ended: {status}\n{}", guest.log()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!("the server was not ready within {WITHIN:?}"))
    }

    fn is_ready(&mut self) -> bool {
        let Some(port) = fs::read_to_string(self.dir.join("port"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
        else {
            return false;
        };
        self.address.set_port(port);
        Connection::open(self.address)
            .and_then(|mut connection| connection.get("/ready"))
            .is_ok_and(|(status, _)| status == 200)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Ends it; how many instructions all its threads took.
    pub(crate) fn stop(mut self) -> Result<u64, String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| format!("no SIGTERM: {error}"))?;
        let deadline = Instant::now() + WITHIN;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                let counted = fs::read_to_string(self.dir.join("callgrind"));
                let counted = counted.map_err(|error| format!("no counts: {error}"))?;
                return total(&counted).ok_or_else(|| "valgrind wrote no total".to_owned());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(format!("the server did not stop within {WITHIN:?}"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // One that is gone already is fine; the directory is a temporary one.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn spawn(binary: &Path, dir: &Path) -> io::Result<Child> {
    let log = File::create(dir.join("log"))?;
    let mut command = Command::new("valgrind");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"MILLRACE_") {
            command.env_remove(name);
        }
    }
    command
        .args(["--tool=callgrind", "--quiet", "--fair-sched=yes"])
        .arg(format!(
            "--callgrind-out-file={}",
            dir.join("callgrind").display()
        ))
        .arg(binary)
        .arg("serve")
        .args(QUIET)
        .arg("--port-file")
        .arg(dir.join("port"))
        .arg("--data-dir")
        .arg(dir.join("data"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// The number after `totals:`, or after `summary:` where there is none.
fn total(counted: &str) -> Option<u64> {
    let after = |key| {
        let line = counted
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(key));
        line?.split_whitespace().next()?.parse().ok()
    };
    after("totals:").or_else(|| after("summary:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(
            total("version: 1\nsummary: 12\n\nfn=(1)\n1 2\n\ntotals: 34\n"),
            Some(34)
        );
        assert_eq!(total("summary: 12\n"), Some(12));
        assert_eq!(total("fn=(1)\n"), None);
    }
}
