//! A server in a directory of its own, and commands to it.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_millrace");
/// Nobody listens there.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";
const LONG: Duration = Duration::from_secs(30);

/// A directory that goes with its test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("millrace-verbs-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server; ends with its test.
pub(crate) struct Server {
    child: Child,
    flags: Vec<String>,
    pub(crate) dir: Dir,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(flags: &[&str]) -> Self {
        let dir = Dir::new();
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let (child, port) = serve(&dir, &flags, "0");
        Self {
            child,
            flags,
            dir,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("can be killed");
        self.child.wait().expect("ends");
    }

    /// On the same port and directory.
    pub(crate) fn start_again(&mut self) {
        let port = self.url.rsplit(':').next().expect("a port").to_owned();
        self.child = serve(&self.dir, &self.flags, &port).0;
    }

    /// A command to this server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("MILLRACE_URL", &self.url);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("runs"))
    }

    /// Runs it, and insists that it goes well; its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
        ran.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("one document: {out}"))
    }

    pub(crate) fn with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        // A command that fails early does not read its input.
        let _ = child.stdin.take().expect("piped").write_all(input);
        ran(child.wait_with_output().expect("ends"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command said and ended with.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A command without what the developer's environment says.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("MILLRACE_") || name == "API_KEY" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn serve(dir: &Dir, flags: &[String], port: &str) -> (Child, u16) {
    let port_file = dir.path("port");
    let _ = fs::remove_file(&port_file);
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let log = fs::File::create(dir.path("log")).expect("a log");
    let mut command = command(&["serve", "--port", port, "--shards", "1"]);
    command
        .args([
            "--memory-max",
            "256MiB",
            "--data-dir",
            &text(&dir.path("data")),
        ])
        .args(["--port-file", &text(&port_file)])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(log);
    let child = command.spawn().expect("starts");
    let port = eventually("the server listens", || {
        fs::read_to_string(&port_file).ok()?.trim().parse().ok()
    });
    (child, port)
}

/// What `look` finds, as soon as it does.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("is there");
}

/// `from..until` as NDJSON of about 60 bytes a line.
pub(crate) fn ndjson(from: u64, until: u64) -> String {
    let mut lines = String::new();
    for n in from..until {
        let padding = n.wrapping_mul(0x9e37);
        writeln!(lines, "{{\"n\":{n},\"padding\":\"{padding:040x}\"}}").expect("a string");
    }
    lines
}
