//! Connections: one pool of HTTP/1.1 connections, kept alive. The seam for TLS: whoever adds it
//! makes another connector here, and nothing else changes.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use millrace_env::timeout;

use crate::error::Error;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A server closes connections that are idle for longer; better not to find out by using one.
const IDLE_FOR: Duration = Duration::from_secs(20);

/// Sends requests to one origin.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    origin: String,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Transport {
    pub(crate) fn new(origin: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .build(connector);
        Self { origin, pool }
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
        match timeout(limit, self.pool.request(request)).await {
            None => Err(self.broken(format!("no answer within {} s", limit.as_secs()))),
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) if error.is_connect() => Err(Error::Connect {
                origin: self.origin.clone(),
                reason: innermost(&error),
            }),
            Some(Err(error)) => Err(self.broken(innermost(&error))),
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
