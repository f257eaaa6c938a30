//! `millrace bench`: every kind against a server, and what it says of servers that lose or stall.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::support::{Server, command, ran};

const SHORT: [&str; 4] = ["--duration", "300ms", "--warmup", "0s"];

#[test]
fn every_kind_runs_and_verifies() {
    let server = Server::start();
    for kind in [
        "append",
        "json",
        "create",
        "read",
        "tail",
        "head",
        "catch-up",
        "sse",
        "long-poll",
        "live",
    ] {
        let more = [
            "--connections",
            "3",
            "--subscribers",
            "5",
            "--prefill",
            "9MiB",
        ];
        let args = [&["bench", kind], SHORT.as_slice(), more.as_slice()].concat();
        let report = server.json(&args);
        // What was due in time is waited for, however slow the machine is; rates may be nothing.
        let count = |what: &str| report[what]["count"].as_u64();
        assert!(count("answers") > Some(0), "{kind}: {report}");
        assert!(
            report["verified"]["streams"].as_u64() > Some(0) || kind == "head",
            "{kind}"
        );
        if matches!(kind, "sse" | "long-poll" | "live") {
            assert!(count("arrivals") > Some(0), "{kind}: {report}");
        }
    }
    assert_eq!(server.ok(&["ls"]), "", "what it made is gone");
}

/// The connection that verifies was opened before the load and used first after it: servers close one
/// that never asks anything, and a run longer than their patience failed.
#[test]
fn a_run_longer_than_the_servers_patience_is_verified() {
    let server = Server::with(&["--header-timeout", "1s", "--idle-timeout", "1s"]);
    let report = server.json(&[
        "bench",
        "append",
        "--rate",
        "20",
        "--connections",
        "1",
        "--duration",
        "2500ms",
        "--warmup",
        "0s",
    ]);
    assert!(
        report["verified"]["messages"].as_u64() > Some(0),
        "{report}"
    );
}

#[test]
fn many_streams_and_batches_are_followed_to_their_ends() {
    let server = Server::start();
    let more = [
        "--batch",
        "7",
        "--streams",
        "10",
        "--connections",
        "4",
        "--keep",
    ];
    let args = [&["bench", "json"], SHORT.as_slice(), more.as_slice()].concat();
    let report = server.json(&args);
    assert_eq!(report["verified"]["streams"].as_u64(), Some(10));
    assert!(report["verified"]["messages"].as_u64() >= report["messages"].as_u64());
    assert_eq!(server.ok(&["ls"]).lines().count(), 10, "they are kept");
}

#[test]
fn streams_that_subscriptions_mean_are_appended_to_and_the_subscriptions_are_gone_afterwards() {
    let server = Server::start();
    let more = ["--streams", "10", "--subscriptions", "3", "--keep"];
    let args = [&["bench", "append"], SHORT.as_slice(), more.as_slice()].concat();
    let report = server.json(&args);
    assert_eq!(report["verified"]["streams"].as_u64(), Some(10));
    assert_eq!(report["subscriptions"].as_u64(), Some(3));
    let kept = server.ok(&["ls"]);
    assert_eq!(kept.lines().count(), 10, "not the stream of the wakes");
    let name = kept.split_whitespace().last().expect("a name");
    let id = format!("__ds/subscriptions/{}0", &name[..name.len() - 1]);
    assert_eq!(status(&server, &id), 404);
}

/// What a GET of something under the path of streams is answered with.
fn status(server: &Server, name: &str) -> u16 {
    let address = server.url.strip_prefix("http://").expect("is one");
    let mut socket = TcpStream::connect(address).expect("connects");
    let request =
        format!("GET /v1/stream/{name} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("is sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("is read");
    let status = answer.split(' ').nth(1).expect("a status");
    status.parse().expect("a number")
}

#[test]
fn every_follower_of_many_streams_gets_what_is_appended_to_each() {
    let server = Server::start();
    let report = server.json(&[
        "bench",
        "live",
        "--streams",
        "50",
        "--subscribers",
        "2",
        "--rate",
        "200",
        "--duration",
        "500ms",
        "--warmup",
        "0ms",
    ]);
    let count = |what: &str| report[what]["count"].as_u64();
    assert_eq!(count("arrivals"), count("answers").map(|sent| sent * 2));
    assert_eq!(report["verified"]["streams"].as_u64(), Some(50));
    assert_eq!(server.ok(&["ls"]), "");
}

#[test]
fn followers_from_the_start_get_all_that_is_there() {
    let server = Server::start();
    let report = server.json(&[
        "bench",
        "sse-replay",
        "--subscribers",
        "2",
        "--prefill",
        "5MiB",
    ]);
    let bytes = report["bytes_per_s"]
        .as_f64()
        .zip(report["measured_s"].as_f64());
    let bytes = bytes.map(|(rate, seconds)| (rate * seconds).round());
    assert_eq!(bytes, Some(f64::from(2 * (5 << 20))));
}

/// A server that says yes to everything and, where asked to read, has nothing.
fn liar(stalls_at: Option<u32>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("has an address"));
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::spawn(move || lie(socket, stalls_at));
        }
    });
    url
}

fn lie(socket: TcpStream, stalls_at: Option<u32>) {
    let mut socket = BufReader::new(socket);
    for number in 0.. {
        let (mut first, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
            if first.is_empty() {
                first = line;
            }
        }
        socket.read_exact(&mut vec![0; length]).expect("a body");
        if first.starts_with("POST") && stalls_at == Some(number) {
            thread::sleep(Duration::from_millis(600));
        }
        let answer: &[u8] = if first.starts_with("GET") {
            b"HTTP/1.1 200 OK\r\nStream-Up-To-Date: true\r\ncontent-length: 0\r\n\r\n"
        } else {
            b"HTTP/1.1 204 No Content\r\n\r\n"
        };
        if socket.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

#[test]
fn a_server_that_loses_what_it_acknowledged_fails_the_run() {
    let url = liar(None);
    for kind in ["append", "json", "read", "catch-up"] {
        let more = ["--prefill", "1MiB", "--url", &url];
        let args = [&["bench", kind], SHORT.as_slice(), more.as_slice()].concat();
        let ran = ran(command(&args).output().expect("runs"));
        assert_eq!(ran.code, Some(1), "{kind}: {}", ran.out);
        assert!(
            ran.err.contains("VERIFICATION FAILED"),
            "{kind}: {}",
            ran.err
        );
    }
}

#[test]
fn at_a_rate_all_that_had_to_wait_for_a_stall_is_charged_for_it() {
    let url = liar(Some(20));
    let args = [
        "bench",
        "append",
        "--url",
        &url,
        "--rate",
        "100",
        "--connections",
        "1",
        "--duration",
        "1s",
        "--warmup",
        "0ms",
        "--verify",
        "0",
        "--json",
    ];
    let ran = ran(command(&args).output().expect("runs"));
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("a document");
    let answered = report["answers"]["count"].as_u64();
    let due = answered.zip(report["unsent"].as_u64());
    assert_eq!(
        due.map(|(sent, unsent)| sent + unsent),
        Some(100),
        "{report}"
    );
    // One request stalled; 60 were due meanwhile, half of them for 300 ms and more.
    assert!(report["answers"]["p99_s"].as_f64() > Some(0.5), "{report}");
    assert!(report["answers"]["p50_s"].as_f64() > Some(0.02), "{report}");
}

#[test]
fn what_cannot_be_done_is_wrong_usage() {
    for args in [
        ["bench", "append", "--size", "10"],
        ["bench", "append", "--connections", "0"],
        ["bench", "append", "--url", "https://127.0.0.1:1"],
        ["bench", "append", "--rate", "-1"],
        ["bench", "live", "--streams", "1001"],
        ["bench", "sse", "--subscriptions", "1"],
    ] {
        let ran = ran(command(&args).output().expect("runs"));
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.err);
    }
}
