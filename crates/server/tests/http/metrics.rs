//! `/metrics`: that figures move by what happened, and only by that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use millrace_env::{Env, FaultError, FaultOp, RealClock, Rng, SimDisk, sleep};
use millrace_server::{Access, ApiKey};

use crate::support::{JSON, TEXT, TestServer, path, within};

/// Samples by name and labels, as they are written.
type Figures = BTreeMap<String, f64>;

async fn figures(server: &TestServer) -> Figures {
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    let figures: Figures = samples.collect();
    assert!(!figures.is_empty(), "{text}");
    figures
}

/// How much each figure grew, of those that did.
fn grown(before: &Figures, after: &Figures) -> Figures {
    let grown = after
        .iter()
        .map(|(name, value)| (name.clone(), value - before[name]));
    grown.filter(|(_, by)| *by != 0.0).collect()
}

fn request(method: &str, class: &str) -> String {
    format!("millrace_requests_total{{method=\"{method}\",status=\"{class}\"}}")
}

fn problem(code: &str) -> String {
    format!("millrace_problems_total{{code=\"{code}\"}}")
}

/// Of `grown`, what begins with one of these, as whole numbers.
fn only(grown: &Figures, prefixes: &[&str]) -> BTreeMap<String, i64> {
    let wanted = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let of = grown.iter().filter(|(name, _)| wanted(name));
    #[expect(clippy::cast_possible_truncation, reason = "counts are whole")]
    of.map(|(name, by)| (name.clone(), *by as i64)).collect()
}

/// Waits until a figure is what it should be: connections end a little after their client sees it.
async fn becomes(server: &TestServer, name: &str, value: f64) {
    within(async {
        while figures(server).await[name].to_bits() != value.to_bits() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_and_refusals_are_counted_once_each() {
    let server = TestServer::start().await;
    server.create("a", JSON, "").await;
    let before = figures(&server).await;
    for _ in 0..5 {
        server.append("a", JSON, "[1,2]").await;
    }
    for _ in 0..3 {
        server.get(&path("a")).await;
    }
    server.ask("HEAD", &path("a"), &[], "").await;
    server.ask("POST", &path("a"), &[JSON], "no json").await;
    server.ask("POST", &path("a"), &[TEXT], "x").await;
    server.get(&path("nowhere")).await;
    server.get("/elsewhere").await;
    server.ask("PROPFIND", &path("a"), &[], "").await;
    let grown = grown(&before, &figures(&server).await);
    let counted = only(
        &grown,
        &[
            "millrace_requests_total",
            "millrace_problems_total",
            "millrace_append_seconds_count",
            "millrace_read_seconds_count",
            "millrace_turn_commands_sum",
        ],
    );
    let want = [
        // With the first look at the figures.
        (request("GET", "2xx"), 4),
        (request("GET", "4xx"), 2),
        (request("HEAD", "2xx"), 1),
        (request("POST", "2xx"), 5),
        (request("POST", "4xx"), 2),
        (request("other", "4xx"), 1),
        (problem("invalid-json"), 1),
        (problem("content-type-mismatch"), 1),
        (problem("not-found"), 1),
        (problem("no-route"), 1),
        (problem("method-not-allowed"), 1),
        ("millrace_append_seconds_count".into(), 5),
        ("millrace_read_seconds_count".into(), 3),
        // What is refused by the shard was a command too.
        ("millrace_turn_commands_sum".into(), 7),
    ];
    assert_eq!(counted, want.into_iter().collect());
}

#[tokio::test]
async fn every_turn_and_every_sync_is_in_its_histogram() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let before = figures(&server).await;
    for _ in 0..20 {
        server.append("a", TEXT, "x").await;
    }
    let after = figures(&server).await;
    let by = |name: &str| after[name] - before[name];
    // Each came alone.
    assert!(by("millrace_turn_seconds_count") >= 20.0);
    let turns = by("millrace_turn_commands_count");
    assert!(turns >= 20.0);
    assert_eq!(turns, by("millrace_turn_seconds_count"));
    let syncs = by("millrace_syncs_total{thread=\"shard\"}")
        + by("millrace_syncs_total{thread=\"helper\"}");
    assert_eq!(syncs, by("millrace_sync_seconds_count"));
    assert_eq!(syncs, 20.0);
    assert!(by("millrace_sync_seconds_sum") <= by("millrace_turn_seconds_sum"));
    assert!(by("millrace_queue_depth_count") >= 20.0);
    assert!(by("millrace_bytes{place=\"wal\"}") >= 0.0);
    assert!(after["millrace_budget_used_bytes"] > 0.0);
    assert!(after["millrace_budget_used_bytes"] < after["millrace_budget_max_bytes"]);
}

#[tokio::test]
async fn streams_come_and_go_and_a_restart_counts_the_same() {
    let server = TestServer::start().await;
    for name in ["a", "b", "c"] {
        server.create(name, TEXT, "").await;
    }
    let fork = [("Stream-Forked-From", "/v1/stream/a")];
    assert_eq!(server.ask("PUT", &path("f"), &fork, "").await.status, 201);
    server.ask("DELETE", &path("a"), &[], "").await;
    server.ask("DELETE", &path("b"), &[], "").await;
    // The fork still needs the one it came from.
    assert_eq!(figures(&server).await["millrace_streams"], 3.0);
    assert_eq!(
        figures(&server).await["millrace_streams_in_memory{shard=\"0\"}"],
        3.0
    );
    let directory = server.stop().await;
    let server = TestServer::on(directory, |options, _| options.shards = 2).await;
    let after = figures(&server).await;
    assert_eq!(after["millrace_streams"], 3.0);
    assert!(after["millrace_bytes{place=\"catalog\"}"] > 0.0);
    assert_eq!(after["millrace_streams_in_memory{shard=\"1\"}"], 0.0);
    server.ask("DELETE", &path("c"), &[], "").await;
    assert_eq!(figures(&server).await["millrace_streams"], 2.0);
}

#[tokio::test]
async fn flushes_and_what_they_wrote_are_counted() {
    let server = TestServer::with(|options, _| options.flush_bytes = 1).await;
    server.create("a", TEXT, "0123456789").await;
    becomes(&server, "millrace_flushed_bytes_total", 10.0).await;
    let after = figures(&server).await;
    let flushes = after["millrace_flushes_total{result=\"done\"}"];
    assert!(flushes >= 1.0);
    assert_eq!(flushes, after["millrace_flush_seconds_count"]);
    assert_eq!(after["millrace_flushes_total{result=\"failed\"}"], 0.0);
    becomes(&server, "millrace_segments", 1.0).await;
    assert!(figures(&server).await["millrace_bytes{place=\"segments\"}"] > 10.0);
    becomes(&server, "millrace_bytes{place=\"unflushed\"}", 0.0).await;
}

#[tokio::test]
async fn followers_are_counted_while_they_follow_and_each_delivery_once() {
    // Who left is noticed when it is sent something.
    let keep_alive = Duration::from_millis(400);
    let server = TestServer::with(|_, config| config.times.keep_alive = keep_alive).await;
    let tail = server.create("a", JSON, "[0]").await;
    let (sse, poll) = (
        "millrace_followers{kind=\"sse\"}",
        "millrace_followers{kind=\"long-poll\"}",
    );
    let mut first = server.follow("a", "-1").await;
    let mut second = server.follow("a", "now").await;
    assert_eq!(first.data().await, "[0]");
    first.control().await;
    second.control().await;
    let mut polling = server.connect().await;
    let target = format!("a?offset={}&live=long-poll", tail.next_offset());
    polling.send("GET", &path(&target), &[], b"").await;
    becomes(&server, poll, 1.0).await;
    assert_eq!(figures(&server).await[sse], 2.0);
    // Whoever follows is in its wait once others have been answered after it.
    sleep(Duration::from_millis(200)).await;
    server.append("a", JSON, "[1]").await;
    assert_eq!(polling.answer().await.text(), "[1]");
    for follower in [&mut first, &mut second] {
        let data = loop {
            // Signs of life may come before it.
            let event = follower.event().await.unwrap();
            if event.kind == "data" {
                break event.data;
            }
        };
        assert_eq!(data, "[1]");
    }
    let after = figures(&server).await;
    let delivered = |kind| after[&format!("millrace_delivery_seconds_count{{kind=\"{kind}\"}}")];
    // What was there before is no delivery.
    assert_eq!(delivered("sse"), 2.0);
    assert_eq!(delivered("long-poll"), 1.0);
    assert_eq!(after[poll], 0.0);
    // Neither wait is a read, nor its time a read's.
    assert_eq!(after["millrace_read_seconds_count"], 0.0);
    drop((first, second));
    becomes(&server, sse, 0.0).await;
}

#[tokio::test]
async fn connections_are_counted_where_they_are() {
    let server = TestServer::start().await;
    let open = "millrace_connections";
    // The one that asks.
    becomes(&server, open, 1.0).await;
    let mut served = server.connect().await;
    served.send("GET", &path("a"), &[], b"").await;
    served.answer().await;
    let silent = server.connect().await;
    becomes(&server, open, 3.0).await;
    drop((served, silent));
    becomes(&server, open, 1.0).await;
    let after = figures(&server).await;
    assert!(after["millrace_connections_accepted_total"] >= 4.0);
    assert!(after["millrace_connections_max"] > 0.0);
}

#[tokio::test]
async fn connections_that_are_cut_are_counted_by_cause() {
    let server = TestServer::with(|_, config| {
        config.times.head = Duration::from_millis(50);
        config.times.idle = Duration::from_millis(50);
    })
    .await;
    let cut = |cause: &str| format!("millrace_clients_refused_total{{reason=\"{cause}\"}}");
    let mut silent = server.connect().await;
    assert!(silent.is_ended().await);
    becomes(&server, &cut("header_timeout"), 1.0).await;
    let mut half = server.connect().await;
    half.write(b"POST /v1/stream/a HTTP/1.1\r\nHost: x\r\n")
        .await;
    assert!(half.is_ended().await);
    becomes(&server, &cut("header_timeout"), 2.0).await;
    let mut idle = server.connect().await;
    idle.send("GET", &path("a"), &[], b"").await;
    idle.answer().await;
    assert!(idle.is_ended().await);
    within(async {
        while figures(&server).await[&cut("idle")] < 1.0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(figures(&server).await[&cut("slow_reader")], 0.0);
}

#[tokio::test]
async fn a_poisoned_shard_shows() {
    let disk = SimDisk::new(1);
    let env = Env {
        disk: Arc::clone(&disk) as _,
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(Rng::from_seed(1)),
    };
    let server = TestServer::in_env(env, |_, _| {}).await;
    server.create("a", TEXT, "").await;
    let before = figures(&server).await;
    assert_eq!(before["millrace_ready"], 1.0);
    assert_eq!(before["millrace_shard_poisoned{shard=\"0\"}"], 0.0);
    let mut refused = 0.0;
    while refused < 1.0 {
        disk.fail_next(FaultOp::Sync, FaultError::Io, 0);
        server.ask("POST", &path("a"), &[TEXT], "x").await;
        refused = figures(&server).await[&problem("poisoned")];
    }
    disk.heal();
    let after = figures(&server).await;
    assert_eq!(after["millrace_ready"], 0.0);
    assert_eq!(after["millrace_shard_poisoned{shard=\"0\"}"], 1.0);
    assert_eq!(after[&request("POST", "5xx")], refused);
}

#[tokio::test]
async fn it_is_asked_for_like_any_page_and_needs_the_key() {
    let key = ApiKey::new("0123456789abcdef").unwrap();
    let server = TestServer::with(|_, config| config.access = Access::Key(key)).await;
    let refused = server.get("/metrics").await;
    assert_eq!(
        (refused.status, refused.code()),
        (401, "unauthorized".into())
    );
    let shown = [("Authorization", "Bearer 0123456789abcdef")];
    let full = server.ask("GET", "/metrics", &shown, "").await;
    assert_eq!(full.status, 200);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(full.header("content-type"), Some(kind));
    assert_eq!(full.header("cache-control"), Some("no-store"));
    assert!(
        full.text()
            .contains("\nmillrace_problems_total{code=\"unauthorized\"} 1\n")
    );
    let head = server.ask("HEAD", "/metrics", &shown, "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-type"), Some(kind));
    let wrong = server.ask("POST", "/metrics", &shown, "").await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    for open in ["/health", "/ready"] {
        assert_eq!(server.get(open).await.status, 200);
    }
}

/// However many names, methods and codes clients come up with, there are as many samples as before.
#[tokio::test]
async fn clients_make_no_labels() {
    let server = TestServer::start().await;
    let before = figures(&server).await;
    for number in 0..50 {
        let name = format!("stream-{number}");
        server.create(&name, TEXT, "x").await;
        let method = format!("M{number}");
        server.ask(&method, &path(&name), &[], "").await;
        server.get(&format!("/odd/{number}?x={number}")).await;
    }
    let after = figures(&server).await;
    let names = |figures: &Figures| figures.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert_eq!(after[&request("other", "4xx")], 50.0);
}
