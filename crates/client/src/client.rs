//! A server, and what it holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use millrace_core::{NameFault, StreamName};
use millrace_env::{Rng, timeout};
use millrace_wire::{headers::STREAM_LIST_NEXT, path};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Refused},
    patience::{Patience, Tries},
    settings::Attributes,
    stream::Stream,
    transport::{Transport, innermost},
    trust::Trust,
};

/// For the head of an answer to anything that does not wait on purpose.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// For the answer of `/ready`, which waits for nothing.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// For each further piece of a body.
const PIECE_WITHIN: Duration = Duration::from_mins(1);
/// BOUND: the largest page a server can be told to send is below this.
const BODY_BYTES_MAX: usize = 2 << 30;

/// A server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    patience: Patience,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    /// What the base URL's path adds before `/v1`.
    prefix: String,
    authorization: Option<HeaderValue>,
    rng: Rng,
    /// Whether the server ever answered.
    has_answered: AtomicBool,
}

/// Whether a request may be carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, or the server tells a repetition.
    Freely,
    /// Only when the first one certainly changed nothing.
    IfUnchanged,
}

/// A request without what every request has.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) repeat: Repeat,
    /// How long the head of the answer may take.
    pub(crate) within: Duration,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A page of the listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The streams, in byte order of their names.
    pub rows: Vec<Row>,
    /// The `after` of the next page, encoded; `None` at the end.
    pub next: Option<String>,
}

/// A stream in a listing.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its content type.
    pub content_type: String,
    /// Its tail.
    pub next_offset: String,
    /// Whether it is closed.
    pub closed: bool,
    /// Its sliding lifetime.
    pub ttl_seconds: Option<u64>,
    /// When it expires as things stand.
    pub expires_at: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// What its owner says of it, where it has attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
}

/// What `/ready` answers.
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Ask {
    pub(crate) fn new(method: Method, target: String, repeat: Repeat) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeat,
            within: ANSWER_WITHIN,
        }
    }
}

impl Client {
    /// A client of the server at `base_url`, as in `http://127.0.0.1:4437`; `token` is shown as
    /// `Authorization: Bearer`. With `https`, whom this system trusts is trusted.
    pub fn new(base_url: &str, token: Option<&str>) -> Result<Self, Error> {
        Self::trusting(base_url, token, &Trust::System)
    }

    /// The same, with a choice of whom to trust with `https`.
    pub fn trusting(base_url: &str, token: Option<&str>, trust: &Trust) -> Result<Self, Error> {
        let (origin, prefix) = base(base_url)?;
        let authorization = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    Error::Setup("the token holds characters that no header can carry".to_owned())
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let shared = Shared {
            transport: Transport::new(origin, trust)?,
            prefix,
            authorization,
            rng: Rng::from_os(),
            has_answered: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
            patience: Patience::default(),
        })
    }

    /// The same server, with another patience.
    #[must_use]
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            patience,
        }
    }

    /// Scheme and authority.
    pub fn origin(&self) -> &str {
        self.shared.transport.origin()
    }

    /// A stream of this server; nothing is asked yet.
    pub fn stream(&self, name: StreamName) -> Stream {
        Stream::new(self.clone(), name)
    }

    /// A stream by its name's text.
    pub fn stream_named(&self, name: &str) -> Result<Stream, NameFault> {
        Ok(self.stream(StreamName::new(name)?))
    }

    /// A page of the listing: at most `limit` (1 to 1,000) streams whose names begin with `prefix`,
    /// after the page whose [`Listing::next`] is given.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let mut target = format!("{}?limit={limit}", path::LISTING);
        if !prefix.is_empty() {
            target.push_str("&prefix=");
            target.push_str(&path::query_encoded_text(prefix));
        }
        if let Some(after) = after {
            target.push_str("&after=");
            target.push_str(after);
        }
        let answer = self
            .whole(Ask::new(Method::GET, target, Repeat::Freely))
            .await?;
        let rows = serde_json::from_slice(&answer.body).map_err(|error| {
            self.shared
                .transport
                .answer(format!("the listing: {error}"))
        })?;
        let next = answer.headers.get(STREAM_LIST_NEXT);
        let next = next.and_then(|next| next.to_str().ok()).map(str::to_owned);
        Ok(Listing { rows, next })
    }

    /// Why the server takes no work at this moment, as `/ready` says it; nothing when it does. Asks
    /// once, without the patience of everything else: whoever asks wants to know about this moment.
    pub async fn unready(&self) -> Result<Vec<String>, Error> {
        let mut ask = Ask::new(Method::GET, "/ready".to_owned(), Repeat::Freely);
        ask.within = READY_WITHIN;
        let request = self.request(&ask)?;
        let response = self.shared.transport.send(request, ask.within).await?;
        let (parts, body) = response.into_parts();
        let body = self.collect(body).await?;
        match serde_json::from_slice(&body) {
            Ok(Readiness { ready: true, .. }) => Ok(Vec::new()),
            Ok(Readiness { reasons, .. }) if !reasons.is_empty() => Ok(reasons),
            _ => Err(self.answer(format!("/ready brought {}", parts.status))),
        }
    }

    /// Sends until there is an answer or patience ends, and reads it whole.
    pub(crate) async fn whole(&self, ask: Ask) -> Result<Whole, Error> {
        let mut tries = Tries::new();
        loop {
            let error = match self.once(&ask).await {
                Ok(whole) => return Ok(whole),
                Err(error) => error,
            };
            let may = ask.repeat == Repeat::Freely || error.changed_nothing();
            if !may || !error.is_retryable() {
                return Err(error);
            }
            tries.wait(error, self.patience_left(), self.rng()).await?;
        }
    }

    pub(crate) async fn once(&self, ask: &Ask) -> Result<Whole, Error> {
        let (parts, body) = self.open(ask).await?.into_parts();
        Ok(Whole {
            status: parts.status,
            headers: parts.headers,
            body: self.collect(body).await?,
        })
    }

    /// The head of a successful answer; its body follows.
    pub(crate) async fn open(&self, ask: &Ask) -> Result<Response<Incoming>, Error> {
        let request = self.request(ask)?;
        let response = self.shared.transport.send(request, ask.within).await?;
        self.shared.has_answered.store(true, Ordering::Relaxed);
        if response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = self.collect(body).await.unwrap_or_default();
        let refused = Refused::new(parts.status, &parts.headers, &body);
        Err(Error::Refused(Box::new(refused)))
    }

    /// The next piece of a body; `None` at its end.
    pub(crate) async fn piece(
        &self,
        body: &mut Incoming,
        within: Duration,
    ) -> Result<Option<Bytes>, Error> {
        loop {
            match timeout(within, body.frame()).await {
                None => {
                    return Err(self.broken(format!("nothing came for {} s", within.as_secs())));
                }
                Some(None) => return Ok(None),
                Some(Some(Err(error))) => return Err(self.broken(innermost(&error))),
                Some(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    pub(crate) fn broken(&self, reason: impl Into<String>) -> Error {
        self.shared.transport.broken(reason)
    }

    pub(crate) fn answer(&self, reason: impl Into<String>) -> Error {
        self.shared.transport.answer(reason)
    }

    pub(crate) fn rng(&self) -> &Rng {
        &self.shared.rng
    }

    /// How long to go on trying, as things stand.
    pub(crate) fn patience_left(&self) -> Duration {
        if self.shared.has_answered.load(Ordering::Relaxed) {
            self.patience.later
        } else {
            self.patience.first
        }
    }

    /// A source's path as the server sees it.
    pub(crate) fn path_of(name: &StreamName) -> String {
        path::location(name)
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Error> {
        let Shared {
            transport, prefix, ..
        } = &*self.shared;
        let uri: Uri = format!("{}{prefix}{}", transport.origin(), ask.target)
            .parse()
            .map_err(|error| Error::Setup(format!("no URL can be made of this: {error}")))?;
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = ask.headers.clone();
        if let Some(value) = &self.shared.authorization {
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        Ok(request)
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, Error> {
        // The pieces' own limit of time; a long page over a slow line is no fault.
        let mut body = Limited::new(body, BODY_BYTES_MAX);
        let mut first: Option<Bytes> = None;
        let mut rest = Vec::new();
        while let Some(frame) = timeout(PIECE_WITHIN, body.frame())
            .await
            .ok_or_else(|| self.broken("the answer stopped half-way"))?
        {
            let frame = frame.map_err(|error| self.broken(innermost(&*error)))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            match &first {
                None => first = Some(data),
                Some(first) => {
                    if rest.is_empty() {
                        rest.extend_from_slice(first);
                    }
                    rest.extend_from_slice(&data);
                }
            }
        }
        Ok(if rest.is_empty() {
            first.unwrap_or_default()
        } else {
            rest.into()
        })
    }
}

/// Origin and path prefix of a base URL.
fn base(url: &str) -> Result<(String, String), Error> {
    let wrong = |why: &str| Error::Setup(format!("`{url}` is no URL of a server: {why}"));
    let uri: Uri = url
        .parse()
        .map_err(|_| wrong("write it as in http://127.0.0.1:4437"))?;
    let Some(scheme @ ("http" | "https")) = uri.scheme_str() else {
        return Err(wrong("it begins with http:// or https://"));
    };
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("give the key as the token, not in the URL"));
    }
    if uri.query().is_some() {
        return Err(wrong("it has no query"));
    }
    let prefix = uri.path().trim_end_matches('/').to_owned();
    Ok((format!("{scheme}://{authority}"), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_origin_and_prefix() {
        let parts = |url| base(url).ok();
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(parts("http://h:1"), pair("http://h:1", ""));
        assert_eq!(parts("http://h:1/"), pair("http://h:1", ""));
        assert_eq!(parts("https://h/"), pair("https://h", ""));
        assert_eq!(parts("http://[::1]:1/a/b/"), pair("http://[::1]:1", "/a/b"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_reason() {
        for url in [
            "",
            "h:1",
            "ftp://h",
            "http://",
            "http://u:p@h",
            "http://h?x",
        ] {
            assert!(matches!(base(url), Err(Error::Setup(_))), "{url}");
        }
        assert!(Client::new("http://h", Some("a\nb")).is_err());
    }
}
