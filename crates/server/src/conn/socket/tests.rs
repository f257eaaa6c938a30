use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::conn::tests::{elapsed, peer};

fn socket(buffer: usize) -> (Socket<DuplexStream>, DuplexStream, Rc<Activity>) {
    let (server, client) = duplex(buffer);
    let activity = Rc::new(Activity::default());
    let peer = peer(&Arc::default());
    let socket = Socket::new(server, peer, Times::default(), Rc::clone(&activity));
    (socket, client, activity)
}

#[tokio::test(start_paused = true)]
async fn t94_a_head_that_trickles_is_cut() {
    let (mut socket, mut client, _activity) = socket(64);
    let trickle = async {
        while client.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(3)).await;
        }
    };
    let read = async {
        let mut byte = [0];
        loop {
            if let Err(error) = socket.read_exact(&mut byte).await {
                drop(socket);
                return error.kind();
            }
        }
    };
    let (((), kind), took) = elapsed(async { tokio::join!(trickle, read) }).await;
    assert_eq!(kind, io::ErrorKind::TimedOut);
    let head = Times::default().head;
    assert!(
        took >= head && took < head + Duration::from_secs(6),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_may_take_its_time() {
    let (mut socket, mut client, activity) = socket(64);
    client.write_all(b"h").await.unwrap();
    let mut byte = [0];
    socket.read_exact(&mut byte).await.unwrap();
    activity.request_began(false);
    let late = async {
        sleep(Times::default().head * 3).await;
        client.write_all(b"b").await.unwrap();
    };
    let (read, ()) = tokio::join!(socket.read_exact(&mut byte), late);
    assert_eq!((read.unwrap(), byte), (1, *b"b"));
}

#[tokio::test(start_paused = true)]
async fn t58_who_takes_nothing_is_cut_and_who_is_slow_is_not() {
    let (mut socket, mut client, _activity) = socket(16);
    let slow = async {
        let mut piece = [0; 16];
        for _ in 0..8 {
            sleep(Times::default().write / 2).await;
            client.read_exact(&mut piece).await.unwrap();
        }
        client
    };
    let content = [7; 16 * 8];
    let (written, client) = tokio::join!(socket.write_all(&content), slow);
    written.unwrap();
    let (failed, took) = elapsed(socket.write_all(&content)).await;
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(took >= Times::default().write);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn t49_a_close_waits_for_the_client_but_not_for_ever() {
    let (mut socket, mut client, _activity) = socket(64);
    let leaves = async {
        client.write_all(b"still talking").await.unwrap();
        sleep(Times::default().linger / 2).await;
        drop(client);
    };
    let ((closed, ()), took) = elapsed(async { tokio::join!(socket.shutdown(), leaves) }).await;
    closed.unwrap();
    assert_eq!(took, Times::default().linger / 2);

    let (mut socket, client, _activity) = self::socket(64);
    let (closed, took) = elapsed(socket.shutdown()).await;
    closed.unwrap();
    assert!(took >= Times::default().linger);
    drop(client);
}
