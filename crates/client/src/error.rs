//! What can go wrong, told apart by what a caller would do about it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};
use millrace_wire::{Code, headers};
use serde::Deserialize;

use crate::{offset::Offset, trust::TlsTrouble};

/// A request that brought no success.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The base URL or the token cannot be used.
    #[error("{0}")]
    Setup(String),
    /// No connection came about: the server saw nothing of the request.
    #[error("cannot connect to {origin}: {reason}")]
    Connect {
        /// Scheme and authority.
        origin: String,
        /// What the system says.
        reason: String,
    },
    /// A server is there, and there can be no secure connection to it: it saw nothing of the request.
    #[error("no secure connection to {origin}: {reason}")]
    Tls {
        /// Scheme and authority.
        origin: String,
        /// What TLS says.
        reason: String,
        /// The same, for programs.
        trouble: TlsTrouble,
    },
    /// The connection broke, or nothing came in time: whether the request was carried out is
    /// unknown.
    #[error("the connection to {origin} broke: {reason}")]
    Broken {
        /// Scheme and authority.
        origin: String,
        /// What happened.
        reason: String,
    },
    /// The server answered, and the answer is no success.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// The answer is not what this protocol answers.
    #[error("{origin} answers as no durable streams server does: {reason}")]
    Answer {
        /// Scheme and authority.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } => true,
            Self::Refused(refused) => refused.is_retryable(),
            Self::Setup(_) | Self::Tls { .. } | Self::Answer { .. } => false,
        }
    }

    /// Whether the request certainly changed nothing, so that even one that must not be carried out
    /// twice can be sent again.
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::Setup(_) => true,
            Self::Refused(refused) => {
                refused.status.is_client_error()
                    || matches!(refused.code(), Some(Code::Unavailable | Code::StorageFull))
            }
            Self::Broken { .. } | Self::Answer { .. } => false,
        }
    }

    /// The refusal, if the server refused.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.refused()?.retry_after
    }
}

/// An answer of the server that is no success, read from its problem document where there is one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The stable code, as text; empty when the answer has none.
    pub code: String,
    /// What is wrong, in a few words.
    pub title: String,
    /// What is wrong with this request.
    pub message: String,
    /// What to do next, where the code is known.
    pub help: Option<&'static str>,
    /// How long to wait before another try.
    pub retry_after: Option<Duration>,
    /// The tail, of a stream that is closed or ends elsewhere than was expected.
    pub next_offset: Option<Offset>,
    /// The first offset that can be read.
    pub earliest_offset: Option<Offset>,
    /// The producer's current epoch.
    pub epoch: Option<u64>,
    /// The sequence number that comes next.
    pub expected_seq: Option<u64>,
    /// The sequence number that came.
    pub received_seq: Option<u64>,
    /// Whether the stream is closed, where the refusal is about that.
    pub closed: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    title: String,
    detail: String,
    error: Member,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Member {
    code: String,
    message: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let document: Document = serde_json::from_slice(body).unwrap_or_default();
        let reason = status.canonical_reason().unwrap_or("refused");
        let title = first_of([document.title, reason.to_owned()]);
        let code = document.error.code;
        let help = known(&code).map(|code| code.entry().help);
        let message = first_of([document.detail, document.error.message, title.clone()]);
        let header = |name: &HeaderName| headers.get(name)?.to_str().ok();
        let number = |name| header(name)?.parse().ok();
        let offset = |name| headers.get(name).and_then(Offset::from_header);
        Self {
            status,
            code,
            title,
            message,
            help,
            retry_after: number(&header::RETRY_AFTER).map(Duration::from_secs),
            next_offset: offset(&headers::STREAM_NEXT_OFFSET),
            earliest_offset: offset(&headers::STREAM_EARLIEST_OFFSET),
            epoch: number(&headers::PRODUCER_EPOCH),
            expected_seq: number(&headers::PRODUCER_EXPECTED_SEQ),
            received_seq: number(&headers::PRODUCER_RECEIVED_SEQ),
            closed: header(&headers::STREAM_CLOSED).is_some(),
        }
    }

    /// A refusal of one of several things that a request asked for, which came inside of the answer;
    /// `code` may be of a later version.
    pub(crate) fn within(status: u16, code: String, message: String) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let entry = known(&code).map(Code::entry);
        let reason = status.canonical_reason().unwrap_or("refused");
        let title = entry.map_or(reason, |entry| entry.title).to_owned();
        Self {
            status,
            code,
            message: first_of([message, title.clone()]),
            title,
            help: entry.map(|entry| entry.help),
            retry_after: None,
            next_offset: None,
            earliest_offset: None,
            epoch: None,
            expected_seq: None,
            received_seq: None,
            closed: false,
        }
    }

    /// The code, if this version knows it.
    pub fn code(&self) -> Option<Code> {
        known(&self.code)
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self.code() {
            Some(Code::TooManyProducers | Code::Corrupt | Code::StorageFull | Code::Poisoned) => {
                false
            }
            _ => {
                self.status.is_server_error()
                    || self.status == StatusCode::TOO_MANY_REQUESTS
                    || self.status == StatusCode::REQUEST_TIMEOUT
            }
        }
    }
}

fn known(code: &str) -> Option<Code> {
    Code::ALL
        .iter()
        .copied()
        .find(|known| known.entry().code == code)
}

fn first_of<const N: usize>(texts: [String; N]) -> String {
    let mut texts = texts.into_iter();
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_problem_document_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
        let body = br#"{"title":"Overloaded","detail":"wait","error":{"code":"overloaded"}}"#;
        let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, &headers, body);
        assert_eq!(refused.code(), Some(Code::Overloaded));
        assert_eq!(refused.to_string(), "wait");
        assert_eq!(refused.retry_after, Some(Duration::from_secs(3)));
        assert!(refused.is_retryable());
        assert!(Error::Refused(Box::new(refused)).changed_nothing());
    }

    #[test]
    fn an_answer_of_something_else_is_told_by_its_status() {
        let refused = Refused::new(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>");
        assert_eq!(refused.to_string(), "Bad Gateway");
        assert_eq!(refused.code(), None);
        assert!(refused.is_retryable());
        assert!(!Error::Refused(Box::new(refused)).changed_nothing());
    }

    #[test]
    fn what_a_person_has_to_mend_is_not_tried_again() {
        for (status, code) in [
            (404, "not-found"),
            (409, "closed"),
            (500, "corrupt"),
            (503, "poisoned"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let body = format!(r#"{{"error":{{"code":"{code}"}}}}"#);
            let refused = Refused::new(status, &HeaderMap::new(), body.as_bytes());
            assert!(!refused.is_retryable(), "{code}");
        }
    }
}
