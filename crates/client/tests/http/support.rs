//! A server to talk to.

use std::{
    future::Future,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use millrace_client::{Client, ContentType, CreateOptions, Error, Patience, Stream, StreamName};
use millrace_engine::Options;
use millrace_env::{Env, timeout};
use millrace_server::{Config, Server, Setup, Stopped, listen};
use millrace_wire::Code;

/// Nothing in these tests takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(20);

/// A data directory that goes with its test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace-client-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A test that fails half way may leave it in use.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server, and a client of it.
pub(crate) struct TestServer {
    server: Server,
    directory: Directory,
    pub(crate) client: Client,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With what `change` makes of the configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(Directory::new(), "127.0.0.1:0", change).await
    }

    async fn on(directory: Directory, at: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.times.drain = Duration::from_secs(2);
        change(&mut config);
        let setup = Setup {
            socket: listen(at.parse().unwrap()).unwrap(),
            env: Env::real(&directory.0),
            engine: Options::for_memory(256 << 20),
            config,
        };
        let mut server = Server::start(setup).unwrap();
        server.opened().await.unwrap();
        let client = Client::new(&format!("http://{}", server.address()), None).unwrap();
        Self {
            server,
            directory,
            client: client.with_patience(Patience {
                first: Duration::ZERO,
                later: LONG,
            }),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Ends it well, and starts it on the same port and directory.
    pub(crate) async fn restarted(self) -> Self {
        let at = self.server.address().to_string();
        let stopped = within(self.server.stop()).await;
        assert_eq!(stopped, Stopped::Clean);
        Self::on(self.directory, &at, |_| {}).await
    }

    /// A new stream of this type.
    pub(crate) async fn stream(&self, name: &str, content_type: &str) -> Stream {
        let stream = self.client.stream(self::name(name));
        let options = CreateOptions {
            content_type: ContentType::new(content_type),
            ..CreateOptions::default()
        };
        assert!(stream.create(options).await.unwrap().is_new);
        stream
    }

    /// A new JSON stream with a message for each text.
    pub(crate) async fn json(&self, name: &str, messages: &[&str]) -> Stream {
        let stream = self.stream(name, "application/json").await;
        for message in messages {
            append(&stream, message).await;
        }
        stream
    }
}

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

/// Appends JSON.
pub(crate) async fn append(stream: &Stream, json: &str) -> millrace_client::Offset {
    let json_type = ContentType::new("application/json").unwrap();
    let body = json.to_owned().into();
    stream.append(&json_type, body).await.unwrap().next_offset
}

/// What `work` comes to, which does not hang.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(LONG, work).await.expect("it hangs")
}

/// Why the server refused.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Option<Code> {
    let error = result.expect_err("a refusal");
    error.refused().expect("a refusal").code()
}
