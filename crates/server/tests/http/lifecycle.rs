//! Starting, stopping, starting again.

use std::time::Duration;

use millrace_engine::{Durability, OpenError, Options};
use millrace_env::Env;
use millrace_server::{Config, Server, Setup, listen};

use crate::support::{JSON, TEXT, TestServer, path, within};

#[tokio::test]
async fn t62_live_readers_end_with_an_offset_that_goes_on_after_a_restart() {
    const READERS: usize = 50;
    let server = TestServer::start().await;
    server.create("a", JSON, "[1]").await;
    let tail = server.tail("a").await;
    let mut followers = Vec::new();
    let mut polls = Vec::new();
    for _ in 0..READERS {
        let mut follower = server.follow("a", "-1").await;
        assert_eq!(follower.data().await, "[1]");
        follower.control().await;
        followers.push(follower);
        let mut conn = server.connect().await;
        let target = path(&format!("a?offset={tail}&live=long-poll"));
        conn.send("GET", &target, &[], b"").await;
        polls.push(conn);
    }
    // The polls wait once the server has answered who came after them.
    server.get(&path("a")).await;
    millrace_env::sleep(Duration::from_millis(300)).await;
    let stop = server.stop();
    let ends = async {
        for follower in &mut followers {
            assert_eq!(follower.rest().await, [], "nothing but the end");
        }
        for conn in &mut polls {
            let answer = conn.answer().await;
            assert_eq!((answer.status, answer.next_offset()), (204, tail.as_str()));
            assert_eq!(answer.header("stream-closed"), None);
        }
    };
    let (directory, ()) = tokio::join!(stop, ends);
    let server = TestServer::on(directory, |_, _| {}).await;
    // T64d: what is on disk alone is sent, and then what comes.
    let mut follower = server.follow("a", "-1").await;
    assert_eq!(follower.data().await, "[1]");
    follower.control().await;
    server.append("a", JSON, "[2]").await;
    assert_eq!(follower.data().await, "[2]");
    let read = server.get(&path(&format!("a?offset={tail}"))).await;
    assert_eq!(read.text(), "[2]");
    server.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_with_other_shards() {
    let mut directory = None;
    for shards in [1, 4, 2] {
        let start = directory
            .take()
            .unwrap_or_else(crate::support::Directory::new);
        let server = TestServer::on(start, |engine, _| engine.shards = shards).await;
        for name in 0..8 {
            let target = path(&format!("s{name}"));
            server.ask("PUT", &target, &[TEXT], "").await;
            server
                .append(&format!("s{name}"), TEXT, format!("{shards};"))
                .await;
        }
        directory = Some(server.stop().await);
    }
    let server = TestServer::on(directory.unwrap(), |_, _| {}).await;
    for name in 0..8 {
        assert_eq!(
            server.get(&path(&format!("s{name}"))).await.text(),
            "1;4;2;"
        );
    }
}

#[tokio::test]
async fn an_append_that_is_under_way_is_finished() {
    let server = TestServer::start().await;
    server.create("a", TEXT, "").await;
    let mut conn = server.connect().await;
    conn.send(
        "POST",
        &path("a"),
        &[TEXT, ("Content-Length", "8")],
        b"half",
    )
    .await;
    server.get(&path("a")).await;
    let finish = async {
        millrace_env::sleep(Duration::from_millis(200)).await;
        conn.write(b"half").await;
        conn.answer().await
    };
    let (directory, answer) = tokio::join!(server.stop(), finish);
    assert_eq!(answer.status, 204);
    let server = TestServer::on(directory, |_, _| {}).await;
    assert_eq!(server.get(&path("a")).await.text(), "halfhalf");
}

#[tokio::test]
async fn who_does_not_end_is_cut_at_the_deadline() {
    let server = TestServer::with(|_, config| {
        config.times.drain = Duration::from_millis(300);
    })
    .await;
    server.create("a", TEXT, "").await;
    let mut conn = server.connect().await;
    conn.send(
        "POST",
        &path("a"),
        &[TEXT, ("Content-Length", "8")],
        b"half",
    )
    .await;
    server.get(&path("a")).await;
    let directory = within(server.stop()).await;
    let server = TestServer::on(directory, |_, _| {}).await;
    assert_eq!(server.get(&path("a")).await.text(), "");
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() {
    let server = TestServer::start().await;
    let setup = Setup {
        socket: listen("127.0.0.1:0".parse().unwrap()).unwrap(),
        env: Env::real(&server.directory.0),
        engine: Options::for_memory(64 << 20),
        config: Config::default(),
    };
    let mut second = Server::start(setup).unwrap();
    let refused = second.opened().await;
    assert!(matches!(refused, Err(OpenError::InUse)), "{refused:?}");
    assert_eq!(server.get("/ready").await.status, 200);
}

#[tokio::test]
async fn the_unsafe_mode_serves_the_same() {
    let server = TestServer::with(|engine, _| engine.durability = Durability::Memory).await;
    server.create("a", TEXT, "one;").await;
    server.append("a", TEXT, "two;").await;
    let directory = server.stop().await;
    let server = TestServer::on(directory, |_, _| {}).await;
    assert_eq!(server.get(&path("a")).await.text(), "one;two;");
    assert_eq!(server.engine().options().durability, Durability::Local);
}
