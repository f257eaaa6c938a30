//! How the server is configured: by value, once. What the engine is given is
//! [`millrace_engine::Options`]; here is only what HTTP adds to it.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;

use crate::access::Policy;
use crate::tls::Tls;

/// A server's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a long-poll waits where the request names no time of its own.
    pub long_poll_timeout: Duration,
    /// What stands before the path in `Location`: scheme and authority, without a slash at its end.
    /// Without it, the request's own `Host` is used.
    pub public_url: Option<String>,
    /// TLS, for all connections; without it HTTP is spoken in the clear.
    pub tls: Option<Tls>,
    /// Which pages of other origins may see answers.
    pub origins: Origins,
    /// Who may use the streams.
    pub access: Access,
    /// The most connections at a time; more are told 429 and end.
    pub connections_max: usize,
    /// Whether plain requests of HTTP/1.1 are answered without hyper (see `lane`). The answers are the
    /// same; without it they cost more.
    pub short_way: bool,
    /// The most connections at a time from one address (see `addresses.rs`); more are closed at once.
    pub connections_per_address_max: Option<usize>,
    /// The most bytes of a request's line and headers, from 8 KiB to [`HEADER_BYTES_CEILING`].
    pub header_bytes_max: usize,
    /// Whether webhooks may lead to this machine itself, in the clear too: for development.
    pub allow_local_webhooks: bool,
    /// How old the key that signs deliveries to webhooks gets before another takes its place.
    pub webhook_key_age: Duration,
    /// How long things may take.
    pub times: Times,
}

/// The most headers of a request.
pub const HEADERS_MAX: usize = 100;
/// The most that [`Config::header_bytes_max`] may be: what a connection buffers.
pub const HEADER_BYTES_CEILING: usize = 128 << 10;

/// How long things may take. BOUND: nothing that a client can leave hanging is without one.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the first byte of a request to the end of its headers; and from the first byte of a
    /// connection to that of its first request, a TLS handshake in between included.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// A request's body without a further byte.
    pub body_idle: Duration,
    /// A request's body as a whole; it holds memory while it is read.
    pub body: Duration,
    /// An answer that the client does not take.
    pub write: Duration,
    /// After the server closed its side, for the client to close the other.
    pub linger: Duration,
    /// Between two signs of life on an idle event stream.
    pub keep_alive: Duration,
    /// An event stream, give or take [`Self::sse_jitter`].
    pub sse: Duration,
    /// How far the ends of event streams that began together are spread, either way.
    pub sse_jitter: Duration,
    /// Between two looks at the certificate's files.
    pub certificates: Duration,
    /// From the request to stop until connections that are still open are cut.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            long_poll_timeout: Duration::from_secs(20),
            public_url: None,
            tls: None,
            origins: Origins::Any,
            access: Access::Open,
            connections_max: 100_000,
            short_way: true,
            connections_per_address_max: None,
            // A name of 1,024 bytes may take three times that in a path.
            header_bytes_max: 64 << 10,
            allow_local_webhooks: false,
            webhook_key_age: Duration::from_hours(90 * 24),
            times: Times::default(),
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            body: Duration::from_mins(5),
            write: Duration::from_secs(30),
            linger: Duration::from_secs(1),
            keep_alive: Duration::from_secs(15),
            sse: Duration::from_mins(1),
            sse_jitter: Duration::from_secs(5),
            certificates: Duration::from_secs(2),
            drain: Duration::from_secs(4),
        }
    }
}

/// Which pages of other origins may see answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All.
    Any,
    /// These, as browsers write them.
    Listed(Vec<HeaderValue>),
}

impl Origins {
    /// What an answer to a request from `origin` names as allowed.
    pub(crate) fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Listed(listed) => origin.filter(|origin| listed.contains(origin)).cloned(),
        }
    }
}

/// Who may use the streams.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everyone who can connect.
    Open,
    /// Who shows the key.
    Key(ApiKey),
    /// Who a policy knows, as far as it says.
    Policy(Arc<dyn Policy>),
}

/// A shared secret.
#[derive(Clone)]
pub struct ApiKey(Box<[u8]>);

/// The shortest key, in bytes.
pub const API_KEY_BYTES_MIN: usize = 10;

impl ApiKey {
    /// Takes a key of at least [`API_KEY_BYTES_MIN`] visible ASCII characters; `None` otherwise.
    pub fn new(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (visible && text.len() >= API_KEY_BYTES_MIN).then(|| Self(text.as_bytes().into()))
    }

    /// Whether `shown` is the key. Takes the same time wherever they differ; a length is no secret.
    pub fn is(&self, shown: &[u8]) -> bool {
        let pairs = self.0.iter().zip(shown);
        let differing = pairs.fold(0, |differing, (own, other)| differing | (own ^ other));
        std::hint::black_box(differing) == 0 && self.0.len() == shown.len()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_long_and_visible() {
        assert!(ApiKey::new("123456789").is_none());
        assert!(ApiKey::new("1234567 90").is_none());
        let key = ApiKey::new("1234567890").unwrap();
        assert!(key.is(b"1234567890"));
        for other in ["", "1234567891", "123456789", "12345678901", "0234567890"] {
            assert!(!key.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
    }

    #[test]
    fn only_listed_origins_are_named() {
        let own = HeaderValue::from_static("https://a.example");
        let other = HeaderValue::from_static("https://b.example");
        assert_eq!(Origins::Any.allowed(None).unwrap(), "*");
        assert_eq!(Origins::Any.allowed(Some(&own)).unwrap(), "*");
        let listed = Origins::Listed(vec![own.clone()]);
        assert_eq!(listed.allowed(Some(&own)), Some(own));
        assert_eq!(listed.allowed(Some(&other)), None);
        assert_eq!(listed.allowed(None), None);
    }
}
