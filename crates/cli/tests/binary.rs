//! The binary itself: what it prints, what it refuses, how it ends.

#![allow(
    clippy::unwrap_used,
    reason = "tests, with helpers that are no tests themselves"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use millrace_env::{Disk as _, FileExt as _, OpenMode, RealDisk};
use rustix::process::{Pid, Signal, kill_process};

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn millrace(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let named = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("MILLRACE_") || name == "API_KEY" || name == "RUST_LOG"
    });
    for (name, _) in named {
        command.env_remove(name);
    }
    command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(args: &[&str], dir: &Path) -> Output {
    millrace(args, dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server that listens.
struct Running {
    child: Child,
    /// Kept open, so that the server can go on talking.
    out: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Running {
    fn start(args: &[&str], dir: &Path) -> Self {
        let all: Vec<&str> = ["serve", "--port", "0"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        let mut child = millrace(&all, dir).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        let running = Self {
            child,
            out,
            address,
        };
        while !running.ask("GET /ready", "").starts_with("HTTP/1.1 200") {}
        running
    }

    fn ask(&self, line: &str, body: &str) -> String {
        let mut conn = TcpStream::connect(&self.address).unwrap();
        let len = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {len}\r\n\r\n{body}",
            self.address
        );
        conn.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end; its exit code, and what it said on stderr.
    fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let code = self.child.wait().unwrap().code();
        let mut said = String::new();
        let mut err = self.child.stderr.take().unwrap();
        err.read_to_string(&mut said).unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "stdout has one line");
        (code, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that fails leaves no server behind; one that has ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_prints_lines_to_copy_and_ends_well() {
    let dir = Directory::new();
    let server = Running::start(&["--port-file", "port"], &dir.0);
    let port = std::fs::read_to_string(dir.0.join("port")).unwrap();
    assert!(server.address.ends_with(&format!(":{}", port.trim())));
    assert!(
        server
            .ask("PUT /v1/stream/a", "x")
            .starts_with("HTTP/1.1 201")
    );
    let address = server.address.clone();
    let (code, said) = server.stop();
    assert_eq!(code, Some(0), "{said}");
    for line in [
        format!("curl -X PUT  http://{address}/v1/stream/hello"),
        format!("curl -N 'http://{address}/v1/stream/hello?offset=-1&live=sse'"),
        "millrace-data".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}: {said}");
    }
}

#[test]
fn check_and_dump_look_at_what_a_server_left() {
    let dir = Directory::new();
    let server = Running::start(&["--data-dir", "d"], &dir.0);
    server.ask("PUT /v1/stream/some/name", "content");
    let (code, _) = server.stop();
    assert_eq!(code, Some(0));
    let check = run(&["check", "--data-dir", "d"], &dir.0);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).starts_with("checked whole=true streams=1"));
    let dump = run(&["dump", "--data-dir", "d", "--json"], &dir.0);
    assert_eq!(dump.status.code(), Some(0), "{}", text(&dump.stderr));
    let lines: Vec<serde_json::Value> = text(&dump.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let is = |kind: &str| lines.iter().find(|line| line["kind"] == kind);
    assert_eq!(is("stream").unwrap()["name"], "some/name");
    assert!(is("manifest").is_some() && is("end").is_some());
    let wal = run(&["dump", "wal", "--data-dir", "d"], &dir.0);
    assert!(!text(&wal.stdout).contains("manifest"));
}

#[test]
fn damage_is_found_and_told() {
    let dir = Directory::new();
    let server = Running::start(&["--data-dir", "d"], &dir.0);
    server.ask("PUT /v1/stream/a", "content");
    server.stop();
    let disk = RealDisk::new(dir.0.join("d/segments"));
    let segment = disk.list(Path::new("")).unwrap().remove(0).name;
    let file = disk.open(Path::new(&segment), OpenMode::ReadWrite).unwrap();
    file.write_all_at(b"#", 40).unwrap();
    let check = run(&["check", "--data-dir", "d"], &dir.0);
    assert_eq!(check.status.code(), Some(1));
    assert!(
        text(&check.stdout).contains("finding severity=error"),
        "{}",
        text(&check.stdout)
    );
}

#[test]
fn damage_is_repaired_after_it_was_said_what_will_be_done() {
    let dir = Directory::new();
    let server = Running::start(&["--data-dir", "d"], &dir.0);
    server.ask("PUT /v1/stream/a", "content");
    server.stop();
    let disk = RealDisk::new(dir.0.join("d/segments"));
    let segment = disk.list(Path::new("")).unwrap().remove(0).name;
    let file = disk.open(Path::new(&segment), OpenMode::ReadWrite).unwrap();
    file.write_all_at(b"#", 34).unwrap();
    let planned = run(&["repair", "--dry-run", "--data-dir", "d"], &dir.0);
    assert_eq!(planned.status.code(), Some(1));
    let said = text(&planned.stdout);
    assert!(said.contains("lost type=bytes stream="), "{said}");
    assert!(said.contains("name=a from=0 until=7 bytes=7"), "{said}");
    assert!(said.ends_with("lost_bytes=7\n"), "{said}");
    let again = run(&["repair", "--dry-run", "--data-dir", "d"], &dir.0);
    assert_eq!(text(&again.stdout), said, "nothing was changed");
    let done = run(&["repair", "--data-dir", "d", "--json"], &dir.0);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let lines: Vec<serde_json::Value> = text(&done.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.last().unwrap();
    assert_eq!(last["kind"], "repaired");
    assert_eq!(last["quarantine"], "quarantine/repair-1");
    let kept = RealDisk::new(dir.0.join("d/quarantine/repair-1/segments"));
    assert_eq!(kept.list(Path::new("")).unwrap()[0].name, segment);
    let check = run(&["check", "--data-dir", "d"], &dir.0);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
    let server = Running::start(&["--data-dir", "d"], &dir.0);
    assert!(server.ask("GET /v1/stream/a", "").contains("500"));
    server.ask("PUT /v1/stream/b", "more");
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_repair_without_a_catalog_is_refused() {
    let dir = Directory::new();
    let server = Running::start(&["--data-dir", "d"], &dir.0);
    server.ask("PUT /v1/stream/a", "content");
    server.stop();
    let disk = RealDisk::new(dir.0.join("d"));
    disk.remove(Path::new("catalog.redb")).unwrap();
    let refused = run(&["repair", "--data-dir", "d"], &dir.0);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stdout);
    assert!(said.contains("possible=false"), "{said}");
    assert!(disk.list(Path::new("quarantine")).is_err());
}

#[test]
fn a_directory_in_use_is_refused_by_every_verb() {
    let dir = Directory::new();
    let server = Running::start(&["--data-dir", "d"], &dir.0);
    for args in [
        &["serve", "--port", "0", "--data-dir", "d"][..],
        &["check", "--data-dir", "d"],
        &["repair", "--data-dir", "d"],
        &["dump", "--data-dir", "d"],
    ] {
        let refused = run(args, &dir.0);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{args:?}: {said}");
        assert!(
            said.contains("is in use by another process\nhelp: "),
            "{said}"
        );
    }
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_directory_that_is_not_there_is_not_made_by_looking() {
    let dir = Directory::new();
    for verb in ["check", "repair", "dump"] {
        let failed = run(&[verb, "--data-dir", "none"], &dir.0);
        assert_eq!(failed.status.code(), Some(1));
        assert!(text(&failed.stderr).starts_with("error: "));
    }
    assert!(!dir.0.join("none").exists());
}

#[test]
fn a_port_that_is_taken_is_told() {
    let dir = Directory::new();
    let server = Running::start(&["--data-dir", "one"], &dir.0);
    let port = server.address.rsplit(':').next().unwrap();
    let refused = run(&["serve", "--port", port, "--data-dir", "two"], &dir.0);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot listen on") && said.contains("help: "),
        "{said}"
    );
}

#[test]
fn t100_hostile_values_refuse_the_start() {
    let dir = Directory::new();
    for (name, value) in [
        ("MILLRACE_PORT", "NaN"),
        ("MILLRACE_PORT", "-1"),
        ("MILLRACE_PORT", ""),
        ("MILLRACE_SHARDS", "0"),
        ("MILLRACE_SHARDS", "1e3"),
        ("MILLRACE_MEMORY_MAX", "Infinity"),
        ("MILLRACE_LONG_POLL_TIMEOUT", "-5s"),
        ("MILLRACE_NO_AUTH", "maybe"),
        ("API_KEY", "short"),
    ] {
        // A flag beats the environment: the port is left to it.
        let args: &[&str] = if name == "MILLRACE_PORT" {
            &["serve"]
        } else {
            &["serve", "--port", "0"]
        };
        let refused = millrace(args, &dir.0).env(name, value).output().unwrap();
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{name}={value}: {said}");
        assert!(said.starts_with("error: "), "{name}={value}: {said}");
    }
    assert!(!dir.0.join("millrace-data").exists(), "nothing was made");
}

#[test]
fn beyond_this_machine_there_is_a_key_or_a_word() {
    let dir = Directory::new();
    let refused = run(&["serve", "--host", "0.0.0.0", "--port", "0"], &dir.0);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--no-auth"));
}

#[test]
fn the_unsafe_mode_warns() {
    let dir = Directory::new();
    let server = Running::start(&["--durability", "memory"], &dir.0);
    let (code, said) = server.stop();
    assert_eq!(code, Some(0));
    assert!(said.contains("UNSAFE"), "{said}");
}

#[test]
fn explain_config_tells_every_value_and_where_it_is_from() {
    let dir = Directory::new();
    let explained = millrace(&["serve", "--explain-config", "--port", "0"], &dir.0)
        .env("MILLRACE_MEMORY_MAX", "512MiB")
        .env("MILLRACE_API_KEY", "very-secret-key")
        .output()
        .unwrap();
    assert_eq!(explained.status.code(), Some(0));
    let said = text(&explained.stdout);
    let line = |start: &str| {
        let found = said
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start}: {said}"))
            .to_owned()
    };
    assert!(line("--port ").ends_with("flag"));
    assert!(line("--memory-max").contains("512MiB"));
    assert!(line("--memory-max").ends_with("environment, MILLRACE_MEMORY_MAX"));
    assert!(line("--host").ends_with("default"));
    assert!(line("admission bytes").contains("128MiB"));
    assert!(line("stream name bytes").contains("1024"));
    assert!(!said.contains("very-secret-key"));
    assert!(!dir.0.join("millrace-data").exists(), "nothing was made");
}

#[test]
fn log_lines_can_be_json() {
    let dir = Directory::new();
    let server = Running::start(&["--log-format", "json"], &dir.0);
    let (_, said) = server.stop();
    for line in said.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
}
