//! Connections: one pool of HTTP/1.1 connections, kept alive, with TLS where the URL says `https`.
//! Whom those are trusted with is `trust.rs`'s.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use millrace_env::timeout;

use crate::{
    error::Error,
    trust::{Trust, trouble},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A server closes connections that are idle for longer; better not to find out by using one.
const IDLE_FOR: Duration = Duration::from_secs(20);

/// Sends requests to one origin.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    origin: String,
    pools: Pools,
}

/// One pool, whether with TLS or without, so that nothing above has to care.
#[derive(Clone, Debug)]
enum Pools {
    Plain(Pool<HttpConnector, Full<Bytes>>),
    Tls(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Transport {
    pub(crate) fn new(origin: String, trust: &Trust) -> Result<Self, Error> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let mut builder = Pool::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR);
        let pools = if origin.starts_with("https:") {
            connector.enforce_http(false);
            let secure = HttpsConnectorBuilder::new()
                .with_tls_config(trust.config()?)
                .https_only()
                .enable_http1()
                .wrap_connector(connector);
            Pools::Tls(builder.build(secure))
        } else {
            Pools::Plain(builder.build(connector))
        };
        Ok(Self { origin, pools })
    }

    /// Scheme and authority.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The head of the answer, if it comes within `limit`.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let answer = async {
            match &self.pools {
                Pools::Plain(pool) => pool.request(request).await,
                Pools::Tls(pool) => pool.request(request).await,
            }
        };
        match timeout(limit, answer).await {
            None => Err(self.broken(format!("no answer within {} s", limit.as_secs()))),
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) if error.is_connect() => Err(self.unconnected(&error)),
            Some(Err(error)) => Err(self.broken(innermost(&error))),
        }
    }

    fn unconnected(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let (origin, reason) = (self.origin.clone(), innermost(error));
        match trouble(error) {
            Some(trouble) => Error::Tls {
                origin,
                reason,
                trouble,
            },
            None => Error::Connect { origin, reason },
        }
    }

    pub(crate) fn broken(&self, reason: impl Into<String>) -> Error {
        Error::Broken {
            origin: self.origin.clone(),
            reason: reason.into(),
        }
    }

    pub(crate) fn answer(&self, reason: impl Into<String>) -> Error {
        Error::Answer {
            origin: self.origin.clone(),
            reason: reason.into(),
        }
    }
}

/// What the system said, below what the layers above say of it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
