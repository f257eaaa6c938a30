//! The verbs of one stream.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use millrace_core::{ContentType, StreamName};
use millrace_wire::{headers, path};

use crate::{
    client::{Ask, Client, Repeat, Whole},
    error::Error,
    follower::{Follower, Live},
    messages::MessageReader,
    offset::Offset,
    producer::Producer,
    reader::{Place, Reader},
    settings::{Attributes, Retention, Settings, SettingsPatch, settings},
};

/// A stream of a server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Stream {
    client: Client,
    name: StreamName,
}

/// What a new stream is to be.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Its content type; the server's default when there is none, a fork's source's in a fork.
    pub content_type: Option<ContentType>,
    /// Seconds without use after which it expires.
    pub ttl_seconds: Option<u64>,
    /// When it expires, RFC 3339.
    pub expires_at: Option<String>,
    /// Whether it is closed from the start.
    pub closed: bool,
    /// How much of it is kept.
    pub retention: Retention,
    /// After how many appended bytes its keys are compacted, from 1 on; never by itself when there is
    /// no number.
    pub compact_after_bytes: Option<u64>,
    /// What its owner says of it: at most 4,096 bytes of JSON. A fork does not inherit them.
    pub attributes: Attributes,
    /// Its first content.
    pub body: Bytes,
}

/// Where a fork branches from its source.
#[derive(Clone, Debug, Default)]
pub struct ForkAt {
    /// The offset; the tail when there is none.
    pub offset: Option<Offset>,
    /// How far past that: messages of a JSON stream, bytes of any other.
    pub sub_offset: u64,
}

/// A stream that is there now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Created {
    /// Whether it was not there before.
    pub is_new: bool,
    /// Its tail.
    pub next_offset: Offset,
    /// Its content type.
    pub content_type: ContentType,
    /// Whether it is closed.
    pub closed: bool,
}

/// An append or a close that was carried out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Appended {
    /// The offset after it.
    pub next_offset: Offset,
    /// Whether the stream is closed.
    pub closed: bool,
    /// The highest sequence number accepted from the producer, if the request named one.
    pub producer_seq: Option<u64>,
    /// Whether the request had been carried out before.
    pub is_duplicate: bool,
}

/// What HEAD tells.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Head {
    /// Its content type.
    pub content_type: ContentType,
    /// Its tail.
    pub next_offset: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// Its sliding lifetime.
    pub ttl_seconds: Option<u64>,
    /// When it expires, RFC 3339.
    pub expires_at: Option<String>,
    /// The first offset that can be read, where it was trimmed.
    pub earliest_offset: Option<Offset>,
    /// How much of it is kept.
    pub retention: Retention,
    /// After how many appended bytes its keys are compacted.
    pub compact_after_bytes: Option<u64>,
    /// What its owner says of it.
    pub attributes: Attributes,
}

/// What a trim left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// The first offset that can be read. It lies past the one asked for where an earlier trim went
    /// further.
    pub earliest_offset: Offset,
    /// The tail.
    pub next_offset: Offset,
}

/// The producer headers of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) id: &'a str,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl Stream {
    pub(crate) fn new(client: Client, name: StreamName) -> Self {
        Self { client, name }
    }

    /// Its name.
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// Its server.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates it, or finds it as asked for.
    pub async fn create(&self, options: CreateOptions) -> Result<Created, Error> {
        self.put(options, HeaderMap::new()).await
    }

    /// Creates it as a fork of `source`.
    pub async fn fork_from(
        &self,
        source: &StreamName,
        at: &ForkAt,
        options: CreateOptions,
    ) -> Result<Created, Error> {
        let mut extra = HeaderMap::new();
        let path = Client::path_of(source);
        extra.insert(headers::STREAM_FORKED_FROM, text(&path)?);
        if let Some(offset) = &at.offset {
            extra.insert(headers::STREAM_FORK_OFFSET, text(offset.as_str())?);
        }
        if at.sub_offset > 0 {
            extra.insert(headers::STREAM_FORK_SUB_OFFSET, at.sub_offset.into());
        }
        self.put(options, extra).await
    }

    /// Appends `body`. Sent again only when the server certainly did not take it; a connection that
    /// breaks meanwhile is an error. A [`Producer`] knows no such doubt.
    pub async fn append(&self, content_type: &ContentType, body: Bytes) -> Result<Appended, Error> {
        let ask = self.post(Some(content_type), body, None, Repeat::IfUnchanged)?;
        let answer = self.client.whole(ask).await?;
        self.appended(&answer, None)
    }

    /// Appends `body` if the stream still ends at `tail`, and changes nothing otherwise: then the
    /// refusal has the code [`millrace_wire::Code::ExpectedOffset`] and says where it ends now. Read
    /// on to there, decide again, and try that.
    ///
    /// After an error that leaves it open whether the server took it, the tail tells: what lies
    /// behind `tail` was appended by this request or by somebody else.
    pub async fn append_at(
        &self,
        tail: &Offset,
        content_type: &ContentType,
        body: Bytes,
    ) -> Result<Appended, Error> {
        let mut ask = self.post(Some(content_type), body, None, Repeat::IfUnchanged)?;
        let tail = text(tail.as_str())?;
        ask.headers.insert(headers::STREAM_EXPECTED_OFFSET, tail);
        let answer = self.client.whole(ask).await?;
        self.appended(&answer, None)
    }

    /// Closes it: nothing can be appended any more. Doing so again changes nothing.
    pub async fn close(&self) -> Result<Appended, Error> {
        self.closing(HeaderMap::new()).await
    }

    /// Closes it if it still ends at `tail`, as in [`Stream::append_at`]. One that is closed already
    /// stays so, wherever it ends.
    pub async fn close_at(&self, tail: &Offset) -> Result<Appended, Error> {
        let mut extra = HeaderMap::new();
        extra.insert(headers::STREAM_EXPECTED_OFFSET, text(tail.as_str())?);
        self.closing(extra).await
    }

    async fn closing(&self, extra: HeaderMap) -> Result<Appended, Error> {
        let mut ask = self.post(None, Bytes::new(), None, Repeat::Freely)?;
        ask.headers = extra;
        ask.headers
            .insert(headers::STREAM_CLOSED, HeaderValue::from_static("true"));
        let answer = self.client.whole(ask).await?;
        self.appended(&answer, None)
    }

    /// What it is, and where its tail is.
    pub async fn head(&self) -> Result<Head, Error> {
        let ask = self.ask(Method::HEAD, Repeat::Freely);
        let answer = self.client.whole(ask).await.map_err(with_a_code)?;
        let text = |name| value(&answer.headers, name);
        let earliest = answer.headers.get(&headers::STREAM_EARLIEST_OFFSET);
        let Settings {
            retention,
            compact_after_bytes,
            attributes,
        } = settings(&self.client, &answer.headers)?;
        Ok(Head {
            content_type: self.content_type(&answer.headers)?,
            next_offset: self.next_offset(&answer.headers)?,
            closed: is_true(&answer.headers, &headers::STREAM_CLOSED),
            ttl_seconds: text(&headers::STREAM_TTL).and_then(|text| text.parse().ok()),
            expires_at: text(&headers::STREAM_EXPIRES_AT).map(str::to_owned),
            earliest_offset: earliest.and_then(Offset::from_header),
            retention,
            compact_after_bytes,
            attributes,
        })
    }

    /// Changes how much of it is kept, when its keys are compacted, and its attributes; how they are
    /// now. Sent again only when the
    /// server certainly did not take it, because somebody else may have changed them since.
    pub async fn patch(&self, patch: &SettingsPatch) -> Result<Settings, Error> {
        let mut ask = self.ask(Method::PATCH, Repeat::IfUnchanged);
        patch.put(&mut ask.headers)?;
        let answer = self.client.whole(ask).await?;
        settings(&self.client, &answer.headers)
    }

    /// Lets nobody read what lies before `offset` any more, and gives its space back. Cannot be
    /// undone. [`Offset::now`] trims all there is; an offset at or before the last trim changes
    /// nothing. In a JSON stream, one inside of a message is refused.
    pub async fn trim(&self, offset: &Offset) -> Result<Trimmed, Error> {
        // All there is may be more when it is asked again.
        let repeat = if *offset == Offset::now() {
            Repeat::IfUnchanged
        } else {
            Repeat::Freely
        };
        let mut ask = self.ask(Method::POST, repeat);
        ask.target = format!("{}/{}", ask.target, path::TRIM);
        ask.body = serde_json::json!({ "offset": offset.as_str() })
            .to_string()
            .into();
        let answer = self.client.whole(ask).await?;
        self.trimmed(&answer)
    }

    /// Deletes it.
    pub async fn delete(&self) -> Result<(), Error> {
        let ask = self.ask(Method::DELETE, Repeat::IfUnchanged);
        self.client.whole(ask).await.map(drop)
    }

    /// Reads from `offset` to the tail.
    pub fn read_from(&self, offset: Offset) -> Reader {
        self.read(Place::From(offset))
    }

    /// Reads what is chosen by messages, to the tail or, with [`Place::Before`], one page.
    pub fn read(&self, place: Place) -> Reader {
        Reader::new(self.clone(), place)
    }

    /// The same, message by message, each with the offset after it and the time of its append.
    pub fn messages(&self, place: Place) -> MessageReader {
        MessageReader::new(self.read(place))
    }

    /// Reads from `offset`, and goes on as it grows.
    pub fn follow_from(&self, offset: Offset, live: Live) -> Follower {
        Follower::new(self.clone(), offset, live)
    }

    /// Appends exactly once under the name `id`.
    pub fn producer(&self, id: &str, epoch: u64, content_type: ContentType) -> Producer {
        Producer::new(self.clone(), id.to_owned(), epoch, content_type)
    }

    /// A request to this stream's path.
    pub(crate) fn ask(&self, method: Method, repeat: Repeat) -> Ask {
        Ask::new(method, Client::path_of(&self.name), repeat)
    }

    pub(crate) fn post(
        &self,
        content_type: Option<&ContentType>,
        body: Bytes,
        claim: Option<Claim<'_>>,
        repeat: Repeat,
    ) -> Result<Ask, Error> {
        let mut ask = self.ask(Method::POST, repeat);
        ask.body = body;
        if let Some(content_type) = content_type {
            let value = text(content_type.as_str())?;
            ask.headers.insert(header::CONTENT_TYPE, value);
        }
        if let Some(Claim { id, epoch, seq }) = claim {
            ask.headers.insert(headers::PRODUCER_ID, text(id)?);
            ask.headers.insert(headers::PRODUCER_EPOCH, epoch.into());
            ask.headers.insert(headers::PRODUCER_SEQ, seq.into());
        }
        Ok(ask)
    }

    pub(crate) fn appended(&self, answer: &Whole, seq: Option<u64>) -> Result<Appended, Error> {
        let producer_seq = value(&answer.headers, &headers::PRODUCER_SEQ);
        Ok(Appended {
            next_offset: self.next_offset(&answer.headers)?,
            closed: is_true(&answer.headers, &headers::STREAM_CLOSED),
            producer_seq: producer_seq.and_then(|seq| seq.parse().ok()),
            // PROTOCOL 5.2.1: 200 brought bytes, 204 had been there.
            is_duplicate: seq.is_some() && answer.status == StatusCode::NO_CONTENT,
        })
    }

    pub(crate) fn trimmed(&self, answer: &Whole) -> Result<Trimmed, Error> {
        let earliest = answer.headers.get(&headers::STREAM_EARLIEST_OFFSET);
        let earliest = earliest.and_then(Offset::from_header);
        Ok(Trimmed {
            earliest_offset: earliest
                .ok_or_else(|| self.client.answer("no Stream-Earliest-Offset"))?,
            next_offset: self.next_offset(&answer.headers)?,
        })
    }

    pub(crate) fn next_offset(&self, headers: &HeaderMap) -> Result<Offset, Error> {
        let next = headers.get(&headers::STREAM_NEXT_OFFSET);
        next.and_then(Offset::from_header)
            .ok_or_else(|| self.client.answer("no Stream-Next-Offset"))
    }

    pub(crate) fn content_type(&self, headers: &HeaderMap) -> Result<ContentType, Error> {
        value(headers, &header::CONTENT_TYPE)
            .and_then(ContentType::new)
            .ok_or_else(|| self.client.answer("no Content-Type"))
    }

    async fn put(&self, options: CreateOptions, extra: HeaderMap) -> Result<Created, Error> {
        let mut ask = self.ask(Method::PUT, Repeat::Freely);
        ask.headers = extra;
        let asked = &mut ask.headers;
        if let Some(content_type) = &options.content_type {
            asked.insert(header::CONTENT_TYPE, text(content_type.as_str())?);
        }
        if let Some(seconds) = options.ttl_seconds {
            asked.insert(headers::STREAM_TTL, seconds.into());
        }
        if let Some(at) = &options.expires_at {
            asked.insert(headers::STREAM_EXPIRES_AT, text(at)?);
        }
        let settings = Settings {
            retention: options.retention,
            compact_after_bytes: options.compact_after_bytes,
            attributes: options.attributes,
        };
        SettingsPatch::of_new(settings).put(asked)?;
        if options.closed {
            asked.insert(headers::STREAM_CLOSED, HeaderValue::from_static("true"));
        }
        ask.body = options.body;
        let answer = self.client.whole(ask).await?;
        Ok(Created {
            is_new: answer.status == StatusCode::CREATED,
            next_offset: self.next_offset(&answer.headers)?,
            content_type: self.content_type(&answer.headers)?,
            closed: is_true(&answer.headers, &headers::STREAM_CLOSED),
        })
    }
}

/// An answer to HEAD has no problem document; its status says what the document would.
fn with_a_code(error: Error) -> Error {
    let Error::Refused(mut refused) = error else {
        return error;
    };
    let code = match refused.status {
        StatusCode::NOT_FOUND => millrace_wire::Code::NotFound,
        StatusCode::GONE => millrace_wire::Code::Deleted,
        StatusCode::UNAUTHORIZED => millrace_wire::Code::Unauthorized,
        _ => return Error::Refused(refused),
    };
    let entry = code.entry();
    if refused.code.is_empty() {
        entry.code.clone_into(&mut refused.code);
        entry.title.clone_into(&mut refused.title);
        entry.help.clone_into(&mut refused.message);
        refused.help = Some(entry.help);
    }
    Error::Refused(refused)
}

pub(crate) fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// PROTOCOL 4.1: presence with `true`.
pub(crate) fn is_true(headers: &HeaderMap, name: &HeaderName) -> bool {
    value(headers, name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

pub(crate) fn text(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
        Error::Setup(format!(
            "`{}` cannot stand in a header",
            text.escape_debug()
        ))
    })
}
