//! A server to test, and a client that hides nothing.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use millrace_engine::{Engine, Options};
use millrace_env::{Env, timeout};
use millrace_server::{Config, Refusals, Server, Setup, Stopped, listen};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TEXT: (&str, &str) = ("Content-Type", "text/plain");
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");
pub(crate) const CLOSE: (&str, &str) = ("Stream-Closed", "true");

/// A data directory that is removed at the end.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace-http-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A test that fails half way may leave it in use.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server.
pub(crate) struct TestServer {
    server: Server,
    pub(crate) directory: Directory,
}

impl TestServer {
    /// With small logs, and everything else as it comes.
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// With what `change` makes of the configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Options, &mut Config)) -> Self {
        Self::on(Directory::new(), change).await
    }

    /// On a data directory.
    pub(crate) async fn on(
        directory: Directory,
        change: impl FnOnce(&mut Options, &mut Config),
    ) -> Self {
        let env = Env::real(&directory.0);
        Self::assemble(env, directory, change).await
    }

    /// On a simulated disk, say.
    pub(crate) async fn in_env(env: Env, change: impl FnOnce(&mut Options, &mut Config)) -> Self {
        // It stays empty, and is not even made.
        Self::assemble(env, Directory::new(), change).await
    }

    async fn assemble(
        env: Env,
        directory: Directory,
        change: impl FnOnce(&mut Options, &mut Config),
    ) -> Self {
        let mut engine = Options::for_memory(256 << 20);
        engine.wal_segment_bytes = 1 << 20;
        let mut config = Config::default();
        config.times.drain = Duration::from_secs(2);
        change(&mut engine, &mut config);
        let setup = Setup {
            socket: listen("127.0.0.1:0".parse().unwrap()).unwrap(),
            env,
            engine,
            config,
        };
        let mut server = Server::start(setup).unwrap();
        server.opened().await.unwrap();
        Self { server, directory }
    }

    pub(crate) fn engine(&self) -> Engine {
        self.server.engine().unwrap()
    }

    /// Ends it well and hands back its data directory.
    pub(crate) async fn stop(self) -> Directory {
        let stopped = within(self.server.stop()).await;
        assert_eq!(stopped, Stopped::Clean);
        self.directory
    }

    /// Ends it well, for those who hold its disk themselves.
    pub(crate) async fn stop_and_forget(self) {
        self.stop().await;
    }

    pub(crate) async fn poisoned(&self) -> Vec<String> {
        self.server.poisoned().await
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        self.server.refusals()
    }

    pub(crate) async fn connect(&self) -> Conn {
        let stream = TcpStream::connect(self.server.address()).await.unwrap();
        Conn {
            stream,
            buffer: Vec::new(),
        }
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let mut conn = self.connect().await;
        conn.send(method, path, headers, body.as_ref()).await;
        conn.answer_to(method).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Creates a stream with a first content.
    pub(crate) async fn create(&self, name: &str, kind: (&str, &str), body: &str) -> Answer {
        let answer = self.ask("PUT", &path(name), &[kind], body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer
    }

    /// Appends; where the tail is then.
    pub(crate) async fn append(
        &self,
        name: &str,
        kind: (&str, &str),
        body: impl AsRef<[u8]>,
    ) -> String {
        let answer = self.ask("POST", &path(name), &[kind], body).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        answer.next_offset().to_owned()
    }

    pub(crate) async fn close(&self, name: &str) {
        let answer = self.ask("POST", &path(name), &[CLOSE], "").await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    pub(crate) async fn tail(&self, name: &str) -> String {
        let head = self.ask("HEAD", &path(name), &[], "").await;
        head.next_offset().to_owned()
    }

    /// A follower from `offset`.
    pub(crate) async fn follow(&self, name: &str, offset: &str) -> Follower {
        let target = format!("{}?offset={offset}&live=sse", path(name));
        self.follow_with(&target, &[]).await
    }

    pub(crate) async fn follow_with(&self, target: &str, headers: &[(&str, &str)]) -> Follower {
        self.follow_asking("GET", target, headers, "").await
    }

    pub(crate) async fn follow_posting(&self, target: &str, body: &str) -> Follower {
        self.follow_asking("POST", target, &[JSON], body).await
    }

    async fn follow_asking(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Follower {
        let mut conn = self.connect().await;
        conn.send(method, target, headers, body.as_bytes()).await;
        let head = conn.head().await;
        assert_eq!(head.status, 200, "{head:?}");
        Follower {
            conn,
            head,
            text: Vec::new(),
            is_ended: false,
        }
    }
}

/// The path of a stream.
pub(crate) fn path(name: &str) -> String {
    format!("/v1/stream/{name}")
}

/// Nothing hangs for ever.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it does not hang")
}

/// A connection.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    /// What was received and not looked at.
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn next_offset(&self) -> &str {
        self.header("stream-next-offset").expect("an offset")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Conn {
    /// Sends a request with its length, unless the headers say how it is framed.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test.example\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let is_framed = |(name, _): &(&str, &str)| {
            ["content-length", "transfer-encoding"].contains(&name.to_lowercase().as_str())
        };
        let needs_none = ["GET", "HEAD"].contains(&method) && body.is_empty();
        if !needs_none && !headers.iter().any(is_framed) {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.write(&bytes).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Reads more; whether there was more.
    async fn read_more(&mut self) -> bool {
        let read = within(self.stream.read_buf(&mut self.buffer)).await;
        read.expect("the connection is not reset") > 0
    }

    /// Whether the server ended the connection, with nothing left to read.
    pub(crate) async fn is_ended(&mut self) -> bool {
        self.buffer.is_empty() && !self.read_more().await
    }

    pub(crate) async fn head(&mut self) -> Answer {
        loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else {
                assert!(self.read_more().await, "the connection ended in a head");
                continue;
            };
            let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
            let head = String::from_utf8(head).unwrap();
            let mut lines = head.trim_end().lines();
            let status = lines.next().unwrap().split(' ').nth(1).unwrap();
            let header = |line: &str| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_lowercase(), value.trim().to_owned())
            };
            return Answer {
                status: status.parse().unwrap(),
                headers: lines.map(header).collect(),
                body: Vec::new(),
            };
        }
    }

    /// Whether the connection ends before the body that `head` announced is whole.
    pub(crate) async fn breaks_off(&mut self, head: &Answer) -> bool {
        let len: usize = head.header("content-length").unwrap().parse().unwrap();
        while self.buffer.len() < len {
            let read = within(self.stream.read_buf(&mut self.buffer)).await;
            if read.is_err() || read.is_ok_and(|read| read == 0) {
                return true;
            }
        }
        false
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub(crate) async fn answer_to(&mut self, method: &str) -> Answer {
        let mut answer = self.head().await;
        if method == "HEAD" || [100, 204, 304].contains(&answer.status) {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
            return answer;
        }
        let len = answer.header("content-length").expect("a length");
        let len: usize = len.parse().unwrap();
        while self.buffer.len() < len {
            assert!(self.read_more().await, "the connection ended in a body");
        }
        answer.body = self.buffer.drain(..len).collect();
        answer
    }

    /// The next chunk; `None` after the last.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line_end = loop {
            match self.buffer.windows(2).position(|two| two == b"\r\n") {
                Some(end) => break end,
                None => assert!(self.read_more().await, "the connection ended in a chunk"),
            }
        };
        let line: Vec<u8> = self.buffer.drain(..line_end + 2).collect();
        let len = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        while self.buffer.len() < len + 2 {
            assert!(self.read_more().await, "the connection ended in a chunk");
        }
        let chunk: Vec<u8> = self.buffer.drain(..len).collect();
        self.buffer.drain(..2);
        (len > 0).then_some(chunk)
    }
}

/// A connection that receives events.
pub(crate) struct Follower {
    conn: Conn,
    pub(crate) head: Answer,
    text: Vec<u8>,
    is_ended: bool,
}

/// An event as a browser would see it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `data`, `control`, or empty for a comment.
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) id: String,
}

impl Event {
    pub(crate) fn control(&self) -> serde_json::Value {
        assert_eq!(self.kind, "control", "{self:?}");
        serde_json::from_str(&self.data).unwrap()
    }
}

impl Follower {
    /// The next event or comment; `None` when the answer ended as it should.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(parsed(std::str::from_utf8(&event).unwrap()));
            }
            if self.is_ended {
                assert!(self.text.is_empty(), "half an event: {:?}", self.text);
                return None;
            }
            match self.conn.chunk().await {
                Some(chunk) => self.text.extend(chunk),
                None => self.is_ended = true,
            }
        }
    }

    pub(crate) async fn data(&mut self) -> String {
        let event = self.event().await.expect("an event");
        assert_eq!(event.kind, "data", "{event:?}");
        event.data
    }

    pub(crate) async fn control(&mut self) -> serde_json::Value {
        self.event().await.expect("an event").control()
    }

    /// All events to the end.
    pub(crate) async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }

    pub(crate) async fn connection_is_ended(&mut self) -> bool {
        self.conn.is_ended().await
    }
}

/// HTML's rules for event streams, as far as they are used.
fn parsed(text: &str) -> Event {
    let (mut kind, mut id) = (String::new(), String::new());
    let mut data: Vec<&str> = Vec::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => kind = value.to_owned(),
            "id" => id = value.to_owned(),
            "data" => data.push(value),
            "" => {}
            other => panic!("an unknown field: {other}"),
        }
    }
    let data = data.join("\n");
    Event { kind, data, id }
}
