//! What is told of damage at rest that nobody has read yet.

use std::{path::Path, sync::Arc, time::Duration};

use millrace_env::{Disk as _, Env, RealClock, Rng, SimDisk, sleep};

use crate::support::{TEXT, TestServer, path, within};

async fn figure(server: &TestServer, name: &str) -> f64 {
    let text = server.get("/metrics").await.text();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .parse()
        .unwrap()
}

async fn until(server: &TestServer, name: &str, holds: impl Fn(f64) -> bool) {
    within(async {
        while !holds(figure(server, name).await) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn t26_a_damaged_byte_shows_before_anyone_reads_it_and_the_server_stays_ready() {
    let disk = SimDisk::new(1);
    let env = Env {
        disk: Arc::clone(&disk) as _,
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(Rng::from_seed(1)),
    };
    let server = TestServer::in_env(env, |options, _| {
        options.flush_bytes = 1;
        // A deletion waits for it.
        options.flush_interval = Duration::from_millis(50);
        options.scrub_rate = 1 << 30;
        options.scrub_interval = Duration::from_millis(50);
    })
    .await;
    server.create("secret", TEXT, &"x".repeat(40_000)).await;
    until(&server, "millrace_segments", |count| count >= 1.0).await;
    let segments = disk.list(Path::new("segments")).unwrap();
    let file = format!("segments/{}", segments[0].name);
    server.create("other", TEXT, "0123456789").await;
    until(
        &server,
        "millrace_scrub_files_total{kind=\"segment\"}",
        |count| count >= 1.0,
    )
    .await;
    assert_eq!(figure(&server, "millrace_scrub_damaged_files").await, 0.0);
    assert!(server.get("/ready").await.json()["warnings"].is_null());

    disk.flip_bit(&file, 20_000, 5);
    until(&server, "millrace_scrub_damaged_files", |count| {
        count == 1.0
    })
    .await;
    assert!(figure(&server, "millrace_scrub_damaged_blocks_total").await >= 1.0);
    assert!(figure(&server, "millrace_scrub_bytes_total").await > 40_000.0);
    assert!(figure(&server, "millrace_scrub_last_start_timestamp_seconds").await > 1e9);
    assert!(figure(&server, "millrace_scrub_last_end_timestamp_seconds").await > 1e9);
    let progress = figure(&server, "millrace_scrub_progress_ratio").await;
    assert!((0.0..=1.0).contains(&progress));
    let ready = server.get("/ready").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &true.into()));
    let warning = format!("{file} is damaged: see the log");
    assert_eq!(ready.json()["warnings"], serde_json::json!([warning]));
    // Everyone may ask whether it is ready.
    assert!(!ready.text().contains("secret"));
    assert_eq!(server.get(&path("other")).await.text(), "0123456789");

    server.ask("DELETE", &path("secret"), &[], "").await;
    until(&server, "millrace_scrub_damaged_files", |count| {
        count == 0.0
    })
    .await;
    assert!(server.get("/ready").await.json()["warnings"].is_null());
}
