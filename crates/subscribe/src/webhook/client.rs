//! The real delivery: one connection, one request, one bounded answer.
//!
//! Connections are not kept: each is made to an address that was judged just now.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use millrace_env::{net, timeout};
use millrace_wire::subscription::SIGNATURE;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{Deliver, Delivering, Post, url::WebhookUrl};

/// How long one address may take to answer a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of an answer: it says `{"done":true}`, or nothing.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Delivers over TCP and TLS.
#[derive(Debug, Default)]
pub struct Webhooks {
    /// Whom this system trusts, read with the first delivery that needs it.
    trust: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Deliver for Webhooks {
    fn post(&self, post: Post) -> Delivering<'_> {
        Box::pin(async move {
            let limit = post.limit;
            let done = timeout(limit, self.deliver(post)).await;
            done.unwrap_or_else(|| Err(format!("no answer within {} ms", limit.as_millis())))
        })
    }
}

impl Webhooks {
    async fn deliver(&self, post: Post) -> Result<Bytes, String> {
        // The rules may be stricter than when the subscription was made.
        let url = WebhookUrl::new(&post.url, post.rules)?;
        let conn = connect(&url, &post).await?;
        let request = request(&url, post)?;
        if !url.is_secure {
            return exchange(conn, request).await;
        }
        let name = ServerName::try_from(url.host.clone())
            .map_err(|_| "the host is no name of a server".to_owned())?;
        let connector = TlsConnector::from(self.trust()?);
        let conn = connector.connect(name, conn).await;
        let conn = conn.map_err(|error| format!("no secure connection: {error}"))?;
        exchange(conn, request).await
    }

    fn trust(&self) -> Result<Arc<ClientConfig>, String> {
        self.trust.get_or_init(system_trust).clone()
    }
}

/// DNS may say another thing each time it is asked: what is judged is what is connected to.
async fn connect(url: &WebhookUrl, post: &Post) -> Result<tokio::net::TcpStream, String> {
    let resolved = net::resolve(&url.host, url.port).await;
    let resolved = resolved.map_err(|error| format!("the host cannot be resolved: {error}"))?;
    let allowed = |address: &SocketAddr| url.may_connect(address.ip(), post.rules);
    let mut last = "the host resolves to no address that may be delivered to".to_owned();
    for address in resolved.into_iter().filter(allowed) {
        match timeout(CONNECT_WITHIN, net::connect(address)).await {
            Some(Ok(conn)) => return Ok(conn),
            Some(Err(error)) => last = format!("no connection: {error}"),
            None => "no connection in time".clone_into(&mut last),
        }
    }
    Err(last)
}

fn request(url: &WebhookUrl, post: Post) -> Result<Request<Full<Bytes>>, String> {
    Request::post(url.path())
        .header(header::HOST, url.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(
            header::USER_AGENT,
            concat!("millrace/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close")
        .header(SIGNATURE, post.signature)
        .body(Full::new(post.body))
        .map_err(|error| format!("no request can be made: {error}"))
}

/// The body of an answer that is success.
async fn exchange<C>(conn: C, request: Request<Full<Bytes>>) -> Result<Bytes, String>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let handshake = http1::handshake(TokioIo::new(conn)).await;
    let (mut sender, conn) = handshake.map_err(broken)?;
    let mut conn = pin!(conn);
    let mut answer = pin!(async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(format!("status {status}; redirects are not followed"));
        }
        if !status.is_success() {
            return Err(format!("status {status}"));
        }
        collect(answer.into_body()).await
    });
    tokio::select! {
        biased;
        done = &mut answer => return done,
        _ = &mut conn => {}
    }
    // What the connection brought before it ended is still to be read.
    answer.await
}

/// All of a body, as far as anybody reads it.
async fn collect(mut body: Incoming) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is over {ANSWER_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn system_trust() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // One that cannot be read vouches for nobody; the others do.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this system trusts no certificate authority; install its `ca-certificates`, or name a file of certificates with SSL_CERT_FILE".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| io::Error::other(error).to_string())?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}
