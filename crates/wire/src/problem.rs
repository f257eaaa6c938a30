//! Everything that is not success: the one table from a cause to a status, a stable code, a title,
//! what to do next, and the headers that clients act on.
//!
//! The body is a problem document (RFC 9457) that also carries `error: {code, message}`, which other
//! servers of the protocol answer with. Codes never change their meaning; `docs/protocol.md` lists
//! them, and a test compares it with [`Code::ALL`].
//!
//! Not here: why something is refused (`millrace-core`, [`crate::refused`]).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use millrace_core::{
    BodyFault, NameFault, Refusal, SettingFault, SettingFaultKind,
    subscription::SubscriptionRefusal,
};
use serde::Serialize;

use crate::{
    cache::NO_STORE,
    headers::{
        PRODUCER_EPOCH, PRODUCER_EXPECTED_SEQ, PRODUCER_RECEIVED_SEQ, STREAM_CLOSED,
        STREAM_EARLIEST_OFFSET, STREAM_NEXT_OFFSET,
    },
    offset::Token,
    refused::{BadRequest, HttpFault},
};

/// What the table says of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The HTTP status.
    pub status: u16,
    /// The code as clients see it.
    pub code: &'static str,
    /// What is wrong, in a few words; the same for every occurrence.
    pub title: &'static str,
    /// What to do next, where the occurrence itself says nothing better.
    pub help: &'static str,
}

macro_rules! codes {
    ($($name:ident $status:literal $code:literal $title:literal $help:literal;)*) => {
        /// Why a request failed; stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its row of the table.
            pub const fn entry(self) -> Entry {
                match self {
                    $(Self::$name => Entry {
                        status: $status,
                        code: $code,
                        title: $title,
                        help: $help,
                    },)*
                }
            }
        }
    };
}

codes! {
    InvalidName 400 "invalid-name" "Invalid stream name"
        "use at most 1,024 bytes of UTF-8 without control characters, and no empty, `.` or `..` segment";
    ReservedName 400 "reserved-name" "Reserved stream name"
        "choose a name outside `__ds/` whose last segment does not begin with exactly one `_`";
    InvalidHeader 400 "invalid-header" "Invalid header"
        "send the header once, as text";
    InvalidContentType 400 "invalid-content-type" "Missing or invalid content type"
        "send `Content-Type`, equal to the stream's";
    InvalidLifetime 400 "invalid-lifetime" "Invalid lifetime"
        "send `Stream-TTL` in seconds, or `Stream-Expires-At` as an RFC 3339 time";
    ExpiresInThePast 400 "expires-in-the-past" "Expiry in the past"
        "send a `Stream-Expires-At` that is still to come";
    InvalidFork 400 "invalid-fork" "Invalid fork headers"
        "send `Stream-Forked-From` with the source's path, and an offset this server returned";
    ForkPosition 400 "fork-position" "No such fork position"
        "send an offset of the source at or below its tail, and a sub-offset within the append that follows it";
    ForkTooDeep 400 "fork-too-deep" "Chain of forks too long"
        "fork an earlier stream of the chain, or copy the stream";
    InvalidProducer 400 "invalid-producer" "Invalid producer headers"
        "send `Producer-Id`, `Producer-Epoch` and `Producer-Seq` together";
    NewEpochNotAtZero 400 "new-epoch-not-at-zero" "New producer epoch does not start at 0"
        "send the first request of a new epoch with `Producer-Seq: 0`";
    InvalidSeq 400 "invalid-seq" "Invalid Stream-Seq"
        "send 1 to 256 bytes, or leave `Stream-Seq` out";
    InvalidExpectedOffset 400 "invalid-expected-offset" "Invalid expected offset"
        "send the `Stream-Next-Offset` of the last answer";
    HashTags 400 "hash-tags" "Streams of different hash tags"
        "give all streams of an atomic batch the same part in braces, as in `{order-7}/lines` and `{order-7}/log`, or leave `atomic` out";
    InvalidLine 400 "invalid-line" "Invalid line"
        "send a JSON object with `stream`, and with `messages`, `text`, `base64` or `close`";
    InvalidSetting 400 "invalid-setting" "Invalid setting"
        "change the header or document as the message says";
    EmptyBody 400 "empty-body" "Empty body"
        "send the bytes to append, or `Stream-Closed: true` to close the stream";
    InvalidJson 400 "invalid-json" "Invalid JSON"
        "send one JSON value, or an array of them";
    JsonTooDeep 400 "json-too-deep" "JSON nested too deeply"
        "nest each message at most 120 levels deep";
    InvalidUnicode 400 "invalid-unicode" "Invalid Unicode in JSON"
        "send UTF-8, and surrogate escapes only in pairs";
    EmptyArray 400 "empty-array" "Empty JSON array"
        "send at least one message";
    InvalidQuery 400 "invalid-query" "Invalid query"
        "send each parameter once, percent-encoded";
    OffsetRequired 400 "offset-required" "Offset required"
        "send `offset` with a live read";
    InvalidOffset 400 "invalid-offset" "Invalid offset"
        "send an offset this server returned, `-1` or `now`";
    OffsetNotABoundary 400 "offset-not-a-boundary" "Offset inside a message"
        "send an offset this server returned for this stream";
    InvalidRequest 400 "invalid-request" "Invalid request"
        "send a JSON object as docs/subscriptions.md describes it";
    WebhookUrlRejected 400 "webhook-url-rejected" "Webhook URL rejected"
        "send an `https://` URL of a host that the public can reach";
    TlsRequired 400 "tls-required" "Plain HTTP to a port that speaks TLS"
        "use `https://`; this port speaks TLS";
    BodyBroken 400 "body-broken" "Body broke off"
        "send the request again";
    Unauthorized 401 "unauthorized" "Unauthorized"
        "send the API key as `Authorization: Bearer <key>`";
    TokenInvalid 401 "token-invalid" "Invalid token"
        "send the token of the wake as `Authorization: Bearer <token>`";
    TokenExpired 401 "token-expired" "Token expired"
        "wait for the next wake, or claim again";
    Forbidden 403 "forbidden" "Not allowed"
        "show a key or token that allows this action on this stream";
    StaleEpoch 403 "stale-epoch" "Stale producer epoch"
        "another session of this producer took over; to take over in turn, start an epoch above `Producer-Epoch` at `Producer-Seq: 0`";
    NotFound 404 "not-found" "Stream not found"
        "check the name, or create the stream with PUT";
    SourceNotFound 404 "source-not-found" "Fork source not found"
        "check `Stream-Forked-From`";
    SubscriptionNotFound 404 "subscription-not-found" "Subscription not found"
        "check the id, or create the subscription with PUT";
    NoRoute 404 "no-route" "No such path"
        "streams live at `/v1/stream/{name}`";
    MethodNotAllowed 405 "method-not-allowed" "Method not allowed"
        "use a method of the header `Allow`";
    BodyTimeout 408 "body-timeout" "Body too slow"
        "send the request again";
    Closed 409 "closed" "Stream closed"
        "nothing can be appended any more; `Stream-Next-Offset` is the final offset";
    SettingConflict 409 "setting-conflict" "The stream stands otherwise"
        "look at the stream as it is now, and decide again";
    ContentTypeMismatch 409 "content-type-mismatch" "Content type mismatch"
        "send the stream's own content type; HEAD tells it";
    SeqRegression 409 "seq-regression" "Stream-Seq regression"
        "send a `Stream-Seq` that sorts after the last one, byte by byte";
    ExpectedOffset 409 "expected-offset" "Expected offset mismatch"
        "read from the offset you know to `Stream-Next-Offset`, decide again, and send that as `Stream-Expected-Offset`";
    SubscriptionExists 409 "subscription-already-exists" "Subscription exists with another configuration"
        "use it as it is, delete it first, or take another id";
    Fenced 409 "fenced" "Not the current wake"
        "stop: the lease ended, and what comes next belongs to another wake";
    AlreadyClaimed 409 "already-claimed" "Claimed by another worker"
        "wait for the next wake event";
    NoPendingWork 409 "no-pending-work" "No pending work"
        "wait for the next wake event";
    SeqGap 409 "producer-seq-gap" "Producer sequence gap"
        "send the requests from `Producer-Expected-Seq` on first";
    ConfigMismatch 409 "config-mismatch" "Stream exists with another configuration"
        "use the stream as it is, or another name";
    NameHeld 409 "name-held" "Name held by a deleted stream"
        "use another name, or delete the forks that still need the deleted stream";
    SourceDeleted 409 "source-deleted" "Fork source deleted"
        "fork one of its forks, or another stream";
    ForkContentType 409 "fork-content-type" "Fork content type mismatch"
        "leave `Content-Type` out to inherit the source's";
    Deleted 410 "deleted" "Stream deleted"
        "its forks can still be read; the name is free again when they are deleted";
    OffsetGone 410 "offset-gone" "Offset gone"
        "the stream was made anew or lost its tail; read again from `Stream-Earliest-Offset`";
    BodyTooLarge 413 "body-too-large" "Body too large"
        "split the body";
    SettingTooLarge 413 "settings-too-large" "Settings too large"
        "make the document smaller";
    BatchRefused 424 "batch-refused" "Another line was refused"
        "nothing of an atomic batch was appended; see the lines with other errors";
    Overloaded 429 "overloaded" "Overloaded"
        "nothing was written; send the request again after `Retry-After` seconds";
    TooManyProducers 429 "too-many-producers" "Too many producers"
        "the stream remembers as many producers as it may, and none has been idle for 7 days; reuse a `Producer-Id`";
    TooManySubscriptions 429 "too-many-subscriptions" "Too many subscriptions"
        "delete one that is not needed";
    Corrupt 500 "corrupt" "Stored bytes are damaged"
        "nothing wrong was sent; run `millrace check` on the data directory";
    Internal 500 "internal" "Internal error"
        "nothing was changed; send the request again, and report it if it stays";
    Poisoned 503 "poisoned" "Writes are stopped"
        "the log failed, so the request may or may not have been carried out; reads go on, writes need a restart of the server";
    JudgedUnderOther 503 "settings-changed" "Schema or profile changed meanwhile"
        "nothing was written; send the request again";
    Unavailable 503 "unavailable" "Not ready"
        "the server starts or stops; send the request again after `Retry-After` seconds";
    StorageFull 507 "storage-full" "Storage full"
        "nothing was written; free space (deleting streams still works) and send the request again";
}

/// An answer that is not success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub code: Code,
    /// What is wrong with this request, and what to do.
    pub detail: Cow<'static, str>,
    /// What clients act on, beside content type and caching. A list, because results carry this and
    /// a map is large.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What programs are told in place of the row's code: documents of settings have codes of their own.
    own_code: Option<&'static str>,
    /// Who has what was asked for.
    holder: Option<Box<Holder>>,
}

/// A worker that holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    name: String,
    generation: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    error: ErrorMember<'a>,
}

#[derive(Serialize)]
struct ErrorMember<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

impl Code {
    /// Its name in the member `error`: for what is of subscriptions, as the protocol and its other
    /// servers write it.
    pub fn member(self) -> Cow<'static, str> {
        let code = self.entry().code;
        match self {
            Self::InvalidRequest
            | Self::WebhookUrlRejected
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::SubscriptionNotFound
            | Self::SubscriptionExists
            | Self::Fenced
            | Self::AlreadyClaimed
            | Self::NoPendingWork
            | Self::TooManySubscriptions => code.to_ascii_uppercase().replace('-', "_").into(),
            _ => code.into(),
        }
    }
}

impl Problem {
    fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.entry().help),
            headers: Vec::new(),
            own_code: None,
            holder: None,
        }
    }

    fn detailed(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            detail: detail.into(),
            ..Self::new(code)
        }
    }

    fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The status.
    ///
    /// # Panics
    /// Never: a test builds every row.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.entry().status).expect("the table holds statuses")
    }

    /// The headers, content type and caching included.
    pub fn headers(&self) -> HeaderMap {
        let mut headers: HeaderMap = self.headers.iter().cloned().collect();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        headers
    }

    /// The body. An answer to HEAD leaves it out.
    ///
    /// # Panics
    /// Never: the document holds texts and a number.
    pub fn body(&self) -> Vec<u8> {
        let Entry {
            status,
            code,
            title,
            ..
        } = self.code.entry();
        let code = self.own_code.unwrap_or(code);
        let document = Document {
            r#type: format!("urn:millrace:problem:{code}"),
            title,
            status,
            detail: &self.detail,
            error: ErrorMember {
                code: &self
                    .own_code
                    .map_or_else(|| self.code.member(), Cow::Borrowed),
                message: &self.detail,
                current_holder: self.holder.as_ref().map(|holder| &*holder.name),
                generation: self.holder.as_ref().map(|holder| holder.generation),
            },
        };
        serde_json::to_vec(&document).expect("texts and a number are JSON")
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let of = Self::new;
        match refusal {
            Refusal::NotFound => of(Code::NotFound),
            Refusal::SoftDeleted => of(Code::Deleted),
            Refusal::Closed { tail } => of(Code::Closed)
                .with(STREAM_CLOSED, HeaderValue::from_static("true"))
                .with(STREAM_NEXT_OFFSET, Token::new(*tail)),
            Refusal::ContentType => of(Code::ContentTypeMismatch),
            Refusal::SeqRegression => of(Code::SeqRegression),
            Refusal::ExpectedOffset { tail } => {
                of(Code::ExpectedOffset).with(STREAM_NEXT_OFFSET, Token::new(*tail))
            }
            Refusal::StaleEpoch { current } => of(Code::StaleEpoch).with(PRODUCER_EPOCH, *current),
            Refusal::SeqGap { expected, received } => of(Code::SeqGap)
                .with(PRODUCER_EXPECTED_SEQ, *expected)
                .with(PRODUCER_RECEIVED_SEQ, *received),
            Refusal::NewEpochNotAtZero => of(Code::NewEpochNotAtZero),
            Refusal::TooManyProducers => of(Code::TooManyProducers).with(header::RETRY_AFTER, 60),
            Refusal::NotAlone => of(Code::BatchRefused),
            Refusal::HashTags => of(Code::HashTags),
            Refusal::Body(fault) => body_fault(*fault),
            Refusal::Config { differs } => Self::detailed(
                Code::ConfigMismatch,
                format!(
                    "the stream exists and differs in its {differs}; use it as it is, or another name"
                ),
            ),
            Refusal::NameHeld => of(Code::NameHeld),
            Refusal::ReservedName => of(Code::ReservedName),
            Refusal::ExpiresInThePast => of(Code::ExpiresInThePast),
            Refusal::SourceNotFound => of(Code::SourceNotFound),
            Refusal::SourceSoftDeleted => of(Code::SourceDeleted),
            Refusal::ForkContentType => of(Code::ForkContentType),
            Refusal::ForkPosition => of(Code::ForkPosition),
            Refusal::ForkDepth => of(Code::ForkTooDeep),
            Refusal::OffsetGone { earliest } => {
                of(Code::OffsetGone).with(STREAM_EARLIEST_OFFSET, Token::new(*earliest))
            }
            Refusal::Setting(fault) => setting_fault(fault),
            Refusal::JudgedUnderOther => of(Code::JudgedUnderOther).with(header::RETRY_AFTER, 0),
            Refusal::OffsetNotABoundary => of(Code::OffsetNotABoundary),
            Refusal::Overloaded => of(Code::Overloaded).with(header::RETRY_AFTER, 1),
            Refusal::StorageFull => of(Code::StorageFull).with(header::RETRY_AFTER, 5),
            Refusal::Poisoned => of(Code::Poisoned).with(header::RETRY_AFTER, 5),
            Refusal::Unavailable => of(Code::Unavailable).with(header::RETRY_AFTER, 1),
            Refusal::Corrupt => of(Code::Corrupt),
            Refusal::Internal => of(Code::Internal),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::from(&refusal)
    }
}

fn setting_fault(fault: &SettingFault) -> Problem {
    let code = match fault.kind {
        SettingFaultKind::Invalid => Code::InvalidSetting,
        SettingFaultKind::Conflict => Code::SettingConflict,
        SettingFaultKind::TooLarge => Code::SettingTooLarge,
    };
    Problem {
        own_code: Some(fault.code),
        ..Problem::detailed(code, fault.message.to_string())
    }
}

impl From<SubscriptionRefusal> for Problem {
    fn from(refusal: SubscriptionRefusal) -> Self {
        use SubscriptionRefusal as S;
        let of = Self::new;
        match refusal {
            S::NotFound => of(Code::SubscriptionNotFound),
            S::Exists => of(Code::SubscriptionExists),
            S::TooMany => of(Code::TooManySubscriptions).with(header::RETRY_AFTER, 60),
            S::Fenced => of(Code::Fenced),
            S::AlreadyClaimed { holder, generation } => Self {
                holder: Some(Box::new(Holder {
                    name: holder,
                    generation,
                })),
                ..of(Code::AlreadyClaimed)
            },
            S::NoPendingWork => of(Code::NoPendingWork),
            S::OtherDelivery => Self::detailed(
                Code::InvalidRequest,
                "the subscription wakes its workers in the other way: `claim`, `ack` and `release` are for `pull-wake`, `callback` is for `webhook`",
            ),
            S::TokenInvalid => bearer(of(Code::TokenInvalid)),
            S::TokenExpired => bearer(of(Code::TokenExpired)),
            S::WebhookUrl(why) => Self::detailed(Code::WebhookUrlRejected, why),
            S::Offset(stream) => Self::detailed(
                Code::InvalidRequest,
                format!("the offset for `{stream}` is not one of that stream's"),
            ),
        }
    }
}

fn bearer(problem: Problem) -> Problem {
    let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
    problem.with(header::WWW_AUTHENTICATE, challenge)
}

fn body_fault(fault: BodyFault) -> Problem {
    let code = match fault {
        BodyFault::Syntax(_) => Code::InvalidJson,
        BodyFault::Depth => Code::JsonTooDeep,
        BodyFault::Unicode(_) => Code::InvalidUnicode,
        BodyFault::EmptyArray => Code::EmptyArray,
    };
    Problem::detailed(code, format!("{fault}; {}", code.entry().help))
}

impl From<&BadRequest> for Problem {
    fn from(refused: &BadRequest) -> Self {
        use BadRequest as B;
        let code = match refused {
            B::Name(fault) => return name_fault(*fault),
            B::RepeatedHeader(_) | B::HeaderText(_) => Code::InvalidHeader,
            B::ContentTypeMissing | B::ContentType | B::LinesType => Code::InvalidContentType,
            B::Ttl | B::TtlTooLong | B::ExpiresAt | B::TtlAndExpiresAt => Code::InvalidLifetime,
            B::ForkWithoutSource(_)
            | B::ForkSourcePath
            | B::ForkSource(_)
            | B::ForkOffset
            | B::ForkSubOffset
            | B::SubOffsetWithoutOffset => Code::InvalidFork,
            B::ProducerIncomplete(_) | B::ProducerId | B::ProducerNumber(_) => {
                Code::InvalidProducer
            }
            B::StreamSeq => Code::InvalidSeq,
            B::Line(_) | B::TooManyLines => Code::InvalidLine,
            B::Subscription(_) => Code::InvalidRequest,
            B::ExpectedOffset => Code::InvalidExpectedOffset,
            B::RetentionAge
            | B::RetentionCount(_)
            | B::Attributes
            | B::AttributesTooLarge
            | B::NothingToChange => Code::InvalidSetting,
            B::EmptyBody => Code::EmptyBody,
            B::Offset | B::Before | B::LastEventId | B::FollowEventId | B::Trim => {
                Code::InvalidOffset
            }
            B::OffsetRequired => Code::OffsetRequired,
            B::RepeatedParameter(_)
            | B::ParameterEncoding(_)
            | B::Live
            | B::Timeout(_)
            | B::TimeoutTwice
            | B::BeforeLive
            | B::TwoPlaces
            | B::Count(_)
            | B::Since
            | B::Format
            | B::PagesOnly
            | B::Flag(_)
            | B::Follow
            | B::FollowNothing
            | B::FollowTooMany(..)
            | B::FollowTwice(_)
            | B::FollowBody(_)
            | B::Limit => Code::InvalidQuery,
        };
        Self::detailed(code, refused.to_string())
    }
}

impl From<BadRequest> for Problem {
    fn from(refused: BadRequest) -> Self {
        Self::from(&refused)
    }
}

impl From<NameFault> for Problem {
    fn from(fault: NameFault) -> Self {
        name_fault(fault)
    }
}

fn name_fault(fault: NameFault) -> Problem {
    let code = match fault {
        NameFault::Reserved => Code::ReservedName,
        _ => Code::InvalidName,
    };
    Problem::detailed(code, format!("{fault}; {}", code.entry().help))
}

impl From<&HttpFault> for Problem {
    fn from(fault: &HttpFault) -> Self {
        let code = match fault {
            HttpFault::NoRoute => Code::NoRoute,
            HttpFault::Method { .. } => Code::MethodNotAllowed,
            HttpFault::BodyTooLarge { .. } => Code::BodyTooLarge,
            HttpFault::BodyBroken => Code::BodyBroken,
            HttpFault::BodyTimeout => Code::BodyTimeout,
            HttpFault::TlsRequired => Code::TlsRequired,
            HttpFault::Unauthorized => Code::Unauthorized,
            HttpFault::Forbidden { .. } => Code::Forbidden,
            HttpFault::NotReady { .. } => Code::Unavailable,
            HttpFault::Internal => Code::Internal,
        };
        let problem = Self::detailed(code, fault.to_string());
        match fault {
            HttpFault::Method { allow } => {
                problem.with(header::ALLOW, HeaderValue::from_static(allow))
            }
            HttpFault::Unauthorized => {
                problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            HttpFault::Forbidden { .. } => problem.with(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(r#"Bearer error="insufficient_scope""#),
            ),
            HttpFault::NotReady { .. } => problem.with(header::RETRY_AFTER, 1),
            _ => problem,
        }
    }
}

impl From<HttpFault> for Problem {
    fn from(fault: HttpFault) -> Self {
        Self::from(&fault)
    }
}

#[cfg(test)]
mod tests;
