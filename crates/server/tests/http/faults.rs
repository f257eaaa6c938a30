//! A disk that fails, as clients see it: the simulated disk below a real server.

use std::{sync::Arc, time::Duration};

use millrace_env::{Env, FaultError, FaultOp, RealClock, Rng, SimDisk, sleep};

use crate::support::{JSON, TEXT, TestServer, path, within};

fn env(disk: &Arc<SimDisk>) -> Env {
    Env {
        disk: Arc::clone(disk) as _,
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(Rng::from_seed(1)),
    }
}

#[tokio::test]
async fn t6_after_a_failed_sync_writes_are_refused_and_reads_go_on() {
    let disk = SimDisk::new(1);
    let server = TestServer::in_env(env(&disk), |_, _| {}).await;
    server.create("a", TEXT, "before").await;
    disk.fail_next(FaultOp::Sync, FaultError::Io, 0);
    let mut statuses = Vec::new();
    // Something else may have needed the sync that failed; the shard's own comes next.
    while statuses.last() != Some(&503) {
        statuses.push(server.ask("POST", &path("a"), &[TEXT], "x").await.status);
        disk.fail_next(FaultOp::Sync, FaultError::Io, 0);
    }
    disk.heal();
    let refused = server.ask("POST", &path("a"), &[TEXT], "y").await;
    assert_eq!((refused.status, refused.code()), (503, "poisoned".into()));
    let ready = server.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["ready"], false);
    assert!(
        ready.json()["reasons"][0]
            .as_str()
            .unwrap()
            .contains("shard 0")
    );
    assert_eq!(server.get("/health").await.status, 200);
    let acknowledged = "x".repeat(statuses.len() - 1);
    let read = server.get(&path("a")).await;
    assert_eq!(
        read.text(),
        format!("before{acknowledged}"),
        "T35: nothing unacknowledged"
    );
    assert_eq!(within(server.poisoned()).await.len(), 1);
}

#[tokio::test]
async fn t24_a_full_disk_refuses_appends_until_there_is_room_again() {
    let disk = SimDisk::new(2);
    let server = TestServer::in_env(env(&disk), |_, _| {}).await;
    server.create("a", TEXT, "").await;
    server.create("b", TEXT, &"b".repeat(100_000)).await;
    disk.set_capacity(Some(disk.used()));
    let block = "x".repeat(50_000);
    let mut taken = 0;
    let refused = loop {
        let answer = server.ask("POST", &path("a"), &[TEXT], &block).await;
        if answer.status != 204 {
            break answer;
        }
        taken += 1;
    };
    assert_eq!(
        (refused.status, refused.code()),
        (507, "storage-full".into())
    );
    assert!(refused.header("retry-after").is_some());
    let read = server.get(&path("a")).await;
    assert_eq!(
        read.body.len(),
        taken * block.len(),
        "T13: nothing of what was refused"
    );
    let deleted = server.ask("DELETE", &path("b"), &[], "").await;
    assert_eq!(deleted.status, 204, "room can be made on a full disk");
    disk.set_capacity(None);
    let mut again = refused;
    for _ in 0..500 {
        if again.status == 204 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
        again = server.ask("POST", &path("a"), &[TEXT], &block).await;
    }
    assert_eq!(again.status, 204);
    let read = server.get(&path("a")).await;
    assert_eq!(read.body.len(), (taken + 1) * block.len());
}

#[tokio::test]
async fn t81_bytes_that_cannot_be_read_are_no_success() {
    let disk = SimDisk::new(3);
    let server = TestServer::in_env(env(&disk), |_, _| {}).await;
    let message = format!("\"{}\"", "m".repeat(200_000));
    server.create("small", JSON, "[1]").await;
    server
        .create("large", JSON, &format!("[{}]", vec![message; 10].join(",")))
        .await;
    server.stop_and_forget().await;
    let server = TestServer::in_env(env(&disk), |_, _| {}).await;
    let names = millrace_env::Disk::list(&*disk, std::path::Path::new("segments")).unwrap();
    for segment in &names {
        // Far enough in to spare the first pieces of the large page.
        let at = segment.len / 2;
        disk.flip_bit(format!("segments/{}", segment.name), at, 3);
    }
    let mut conn = server.connect().await;
    conn.send("GET", &path("large"), &[], b"").await;
    let head = conn.head().await;
    if head.status == 200 {
        assert!(
            conn.breaks_off(&head).await,
            "a part is not taken for the whole"
        );
    } else {
        assert_eq!(head.status, 500);
    }
    // The server goes on.
    assert_eq!(server.get("/ready").await.status, 200);
    server.create("new", TEXT, "fine").await;
}
