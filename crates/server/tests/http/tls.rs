//! TLS: what is negotiated, who is let go, and that nothing is lost on the way to a core.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use millrace_env::{Disk, FileExt as _, OpenMode, SimDisk, sleep, timeout};
use millrace_server::{Config, Tls, TlsFiles};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Directory, TEXT, TestServer, path, within};

/// The name on all certificates.
const NAME: &str = "test.example";

/// A server's certificate, where it lies, and who trusts it.
pub(crate) struct Secret {
    disk: Arc<dyn Disk>,
    cert: CertificateDer<'static>,
}

impl Secret {
    pub(crate) fn new() -> Self {
        let disk: Arc<dyn Disk> = SimDisk::new(1);
        let cert = issue(&*disk);
        Self { disk, cert }
    }

    /// Speaks TLS, and looks at the files often.
    pub(crate) fn apply(&self, config: &mut Config) {
        let files = TlsFiles {
            cert: "tls.crt".into(),
            key: "tls.key".into(),
        };
        config.tls = Some(Tls::load(Arc::clone(&self.disk), files).unwrap());
        config.times.certificates = Duration::from_millis(10);
    }

    pub(crate) async fn server(&self) -> TestServer {
        TestServer::with(|_, config| self.apply(config)).await
    }

    /// A connection that offers `protocol`.
    pub(crate) async fn connect(
        &self,
        server: &TestServer,
        protocol: &str,
    ) -> TlsStream<TcpStream> {
        let conn = server.connect().await.stream;
        within(self.handshake(conn, protocol)).await.unwrap()
    }

    async fn handshake(
        &self,
        conn: TcpStream,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, conn)
            .await
    }

    /// One request of HTTP/1.1 on a connection of its own, and all that comes back.
    async fn ask(&self, server: &TestServer, request: &str) -> String {
        let mut conn = self.connect(server, "http/1.1").await;
        let request = format!("{request}\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        conn.write_all(request.as_bytes()).await.unwrap();
        rest(&mut conn).await
    }

    /// The status of a GET by HTTP/2.
    pub(crate) async fn http2_status(&self, server: &TestServer, path: &str) -> u16 {
        let conn = self.connect(server, "h2").await;
        assert_eq!(conn.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(conn))
            .await
            .unwrap();
        tokio::spawn(driver);
        let request = Request::builder()
            .uri(format!("https://{NAME}{path}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = within(sender.send_request(request)).await.unwrap();
        let status = answer.status().as_u16();
        within(answer.into_body().collect()).await.unwrap();
        status
    }

    /// The first line of the answer to a GET by HTTP/1.1.
    pub(crate) async fn http1_status(&self, server: &TestServer, path: &str) -> String {
        let answer = self.ask(server, &format!("GET {path} HTTP/1.1")).await;
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

/// Makes a pair and puts it where the server looks.
fn issue(disk: &dyn Disk) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([NAME.to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap();
    for (name, text) in [("tls.crt", cert.pem()), ("tls.key", key.serialize_pem())] {
        let file = disk.open(Path::new(name), OpenMode::CreateOrOpen).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
    }
    cert.der().clone()
}

/// All that comes until the server says that it is all: an end without that is an error.
async fn rest(conn: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    within(conn.read_to_end(&mut all))
        .await
        .expect("an end that TLS tells");
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_and_location_says_https() {
    let secret = Secret::new();
    let server = secret.server().await;
    let created = secret
        .ask(
            &server,
            &format!(
                "PUT {} HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 0",
                path("a")
            ),
        )
        .await;
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    assert!(
        created.contains("location: https://test.example/v1/stream/a\r\n"),
        "{created}"
    );
    assert_eq!(secret.http2_status(&server, &path("a")).await, 200);
    assert_eq!(secret.http2_status(&server, &path("b")).await, 404);
    server.stop().await;
}

/// The short way once left answers in the buffers of TLS, until the connection wrote again.
#[tokio::test]
async fn an_answer_comes_while_its_connection_stays_open() {
    let secret = Secret::new();
    let server = secret.server().await;
    for round in 0..20 {
        let mut conn = secret.connect(&server, "http/1.1").await;
        for _ in 0..2 {
            let get = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path("none"));
            within(conn.write_all(get.as_bytes())).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") {
                let mut piece = [0; 1024];
                let len = within(conn.read(&mut piece)).await.unwrap();
                assert!(len > 0, "round {round}");
                answer.extend_from_slice(&piece[..len]);
            }
            assert!(answer.starts_with(b"HTTP/1.1 404"), "round {round}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_sent_and_read_is_whole() {
    let secret = Secret::new();
    let server = secret.server().await;
    let content: String = (0..300_000).map(|number| format!("{number:06} ")).collect();
    let put = format!(
        "PUT {} HTTP/1.1\r\nContent-Type: text/plain\r\nHost: x\r\nContent-Length: {}\r\n\r\n{content}",
        path("a"),
        content.len()
    );
    let mut conn = secret.connect(&server, "http/1.1").await;
    within(conn.write_all(put.as_bytes())).await.unwrap();
    let get = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        path("a")
    );
    within(conn.write_all(get.as_bytes())).await.unwrap();
    let answers = rest(&mut conn).await;
    assert!(answers.starts_with("HTTP/1.1 201"));
    assert!(answers.contains("HTTP/1.1 200") && answers.contains(&content));
}

#[tokio::test]
async fn events_end_as_tls_ends_a_connection() {
    let secret = Secret::new();
    let server = secret.server().await;
    let create = format!(
        "PUT {} HTTP/1.1\r\nContent-Type: text/plain\r\nStream-Closed: true\r\nContent-Length: 0",
        path("a")
    );
    assert!(
        secret
            .ask(&server, &create)
            .await
            .starts_with("HTTP/1.1 201")
    );
    let mut conn = secret.connect(&server, "http/1.1").await;
    let follow = format!(
        "GET {}?offset=-1&live=sse HTTP/1.1\r\nHost: x\r\n\r\n",
        path("a")
    );
    conn.write_all(follow.as_bytes()).await.unwrap();
    let events = rest(&mut conn).await;
    assert!(events.contains("\"streamClosed\":true"), "{events}");
    assert!(events.ends_with("0\r\n\r\n"), "{events}");
}

#[tokio::test]
async fn a_client_that_closed_its_half_is_served_whatever_it_said() {
    let secret = Secret::new();
    let server = secret.server().await;
    let get = b"GET /v1/streams HTTP/1.1\r\nHost: x\r\n\r\n";
    // With a word in TLS…
    let mut conn = secret.connect(&server, "http/1.1").await;
    conn.write_all(get).await.unwrap();
    conn.shutdown().await.unwrap();
    assert!(rest(&mut conn).await.starts_with("HTTP/1.1 200"));
    // … and without.
    let mut conn = secret.connect(&server, "http/1.1").await;
    conn.write_all(get).await.unwrap();
    conn.flush().await.unwrap();
    conn.get_mut().0.shutdown().await.unwrap();
    assert!(rest(&mut conn).await.starts_with("HTTP/1.1 200"));
}

/// Twenty clients stop in the middle of a handshake, and are let go in time; nobody waits for them.
#[tokio::test]
async fn t94_a_handshake_that_stalls_delays_nobody_and_is_let_go() {
    let secret = Secret::new();
    let patience = Duration::from_millis(800);
    let server = TestServer::with(|_, config| {
        secret.apply(config);
        config.times.head = patience;
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut conn = server.connect().await.stream;
        conn.write_all(b"\x16\x03\x01\x02").await.unwrap();
        slow.push(conn);
    }
    let status = secret.http1_status(&server, "/v1/streams").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    for mut conn in slow {
        let mut byte = [0];
        let ended = within(conn.read(&mut byte)).await;
        assert!(ended.is_err() || ended.is_ok_and(|read| read == 0));
    }
    assert_eq!(secret.http2_status(&server, "/ready").await, 200);
}

#[tokio::test]
async fn plain_http_is_told_to_use_tls_and_the_connection_ends() {
    let secret = Secret::new();
    let server = secret.server().await;
    let mut conn = server.connect().await;
    conn.send("POST", &path("a"), &[TEXT], &vec![b'x'; 200_000])
        .await;
    let answer = conn.answer().await;
    assert_eq!((answer.status, answer.code()), (400, "tls-required".into()));
    assert!(conn.is_ended().await);
    let mut odd = server.connect().await;
    odd.write(b"\x00\x01\x02 no HTTP and no TLS\r\n\r\n").await;
    let mut rest = Vec::new();
    // It may be told by an alert of TLS or by a reset; it ends.
    let _ = within(odd.stream.read_to_end(&mut rest)).await;
    assert_eq!(
        secret.http1_status(&server, "/health").await,
        "HTTP/1.1 200 OK"
    );
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let mut secret = Secret::new();
    let server = secret.server().await;
    let mut before = secret.connect(&server, "http/1.1").await;
    secret.cert = issue(&*secret.disk);
    let replaced = async {
        loop {
            let conn = server.connect().await.stream;
            if secret.handshake(conn, "http/1.1").await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    within(replaced).await;
    let get = b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    before.write_all(get).await.unwrap();
    assert!(rest(&mut before).await.starts_with("HTTP/1.1 200"));
}

/// A client of HTTP/2 that says nothing after its preface is handed to a core, and served there.
#[tokio::test]
async fn http2_that_waits_for_the_servers_settings_is_served() {
    let secret = Secret::new();
    let server = secret.server().await;
    let mut conn = secret.connect(&server, "h2").await;
    conn.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut header = [0; 9];
    within(conn.read_exact(&mut header)).await.unwrap();
    assert_eq!(header[3], 4, "settings: {header:?}");
}

#[tokio::test]
async fn a_stop_ends_connections_with_tls_too() {
    let secret = Secret::new();
    let server = secret.server().await;
    let mut idle = secret.connect(&server, "http/1.1").await;
    let get = b"GET /v1/streams HTTP/1.1\r\nHost: x\r\n\r\n";
    idle.write_all(get).await.unwrap();
    let mut some = [0; 12];
    within(idle.read_exact(&mut some)).await.unwrap();
    let mut stalled = server.connect().await.stream;
    stalled.write_all(b"\x16").await.unwrap();
    let _: Directory = server.stop().await;
    assert!(
        timeout(Duration::from_secs(5), idle.read_to_end(&mut Vec::new()))
            .await
            .is_some()
    );
}
