//! Somebody between client and server who cuts connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};

/// Passes on everything that clients send, and of what the server sends, over a connection, so many
/// bytes.
pub(crate) struct Cutter {
    pub(crate) url: String,
    /// How many connections it has cut.
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    /// In front of the server at `url`; `lets_through` says how many bytes of the n-th connection.
    pub(crate) async fn new(url: &str, lets_through: fn(usize) -> usize) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&target).await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(pass(client, server, lets_through(number), counted));
            }
        });
        Self { url, cuts }
    }

    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Both sockets close when it returns.
async fn pass(client: TcpStream, server: TcpStream, mut left: usize, cuts: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let room = left.min(buffer.len());
        match from_server.read(&mut buffer[..room]).await {
            Ok(len @ 1..) if to_client.write_all(&buffer[..len]).await.is_ok() => left -= len,
            _ => break,
        }
    }
    if left == 0 {
        cuts.fetch_add(1, Ordering::Relaxed);
    }
    requests.abort();
}
