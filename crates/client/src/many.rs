//! Live reads of many streams on one connection (`/v1/streams/_live`).
//!
//! INVARIANT: a stream's offset moves only with an event that is handed out, so whatever happens to a
//! connection, the next one begins, for each stream, where the caller is. An event counts only whole:
//! it names the offset after what it brought.
//!
//! Not here: how often to try again (`patience.rs`, as for `follower.rs`).

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
};

use http::{HeaderValue, Method, header};
use hyper::body::Incoming;
use millrace_core::{ContentKind, StreamName};
use millrace_wire::{live::FOLLOWED_MAX, path};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    client::{Ask, Client, Repeat},
    error::{Error, Refused},
    events::{Decoder, Raw, base64},
    follower::SILENCE_MAX,
    offset::Offset,
    page::Page,
    patience::{Tries, Trouble},
};

/// Follows streams on one connection, and goes on after it breaks.
#[derive(Debug)]
pub struct ManyFollower {
    client: Client,
    /// Those that are neither closed nor lost.
    streams: BTreeMap<StreamName, At>,
    connection: Option<Connection>,
    tries: Tries,
    trouble: Trouble,
}

/// What became of one of the streams.
#[derive(Clone, Debug)]
pub enum Followed {
    /// It grew, reached its tail, or was closed, after which it is followed no longer.
    Page {
        /// Which.
        stream: StreamName,
        /// What was appended, and the offset to go on from. Its kind is `Binary` as long as nothing
        /// has come of this stream. Text has U+FFFD for bytes that are no UTF-8.
        page: Page,
    },
    /// It is followed no longer, or never was; the others go on.
    Lost {
        /// Which.
        stream: StreamName,
        /// Why. Where it was trimmed past the offset, the refusal names the earliest one.
        refused: Box<Refused>,
    },
}

/// How far the caller is.
#[derive(Debug)]
struct At {
    offset: Offset,
    /// Known from the first content on.
    kind: Option<ContentKind>,
    /// Whether its last page reached the tail.
    has_all: bool,
}

#[derive(Debug)]
struct Connection {
    body: Incoming,
    decoder: Decoder,
    /// Decoded and not looked at yet.
    ready: VecDeque<Raw>,
    has_spoken: bool,
}

/// An event, as it comes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    next_offset: Option<&'a str>,
    #[serde(default)]
    up_to_date: bool,
    #[serde(default)]
    closed: bool,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    text: Option<String>,
    #[serde(borrow)]
    base64: Option<&'a str>,
    error: Option<ToldError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldError {
    status: u16,
    code: String,
    message: String,
    earliest_offset: Option<String>,
}

impl Client {
    /// Follows up to 1,000 streams on one connection, each from an offset. Nothing is asked yet; a
    /// stream that is not there is told by [`ManyFollower::next`].
    pub fn follow_many(
        &self,
        streams: impl IntoIterator<Item = (StreamName, Offset)>,
    ) -> Result<ManyFollower, Error> {
        let mut followed = BTreeMap::new();
        for (name, offset) in streams {
            let at = At {
                offset,
                kind: None,
                has_all: false,
            };
            if followed.insert(name.clone(), at).is_some() {
                return Err(Error::Setup(format!("{name} is named twice")));
            }
        }
        match followed.len() {
            0 => Err(Error::Setup("no stream to follow".to_owned())),
            count if count > FOLLOWED_MAX => Err(Error::Setup(format!(
                "{count} streams; one connection follows at most {FOLLOWED_MAX}"
            ))),
            _ => Ok(ManyFollower {
                client: self.clone(),
                streams: followed,
                connection: None,
                tries: Tries::new(),
                trouble: Trouble::default(),
            }),
        }
    }
}

impl ManyFollower {
    /// Tells `tell` when something broke and is being tried again; once until it goes well again.
    #[must_use]
    pub fn on_trouble(mut self, tell: impl FnMut(&Error) + Send + 'static) -> Self {
        self.trouble = Trouble::told_to(tell);
        self
    }

    /// The streams that are still followed, by name, and where the next page of each begins.
    pub fn offsets(&self) -> impl Iterator<Item = (&StreamName, &Offset)> {
        self.streams.iter().map(|(name, at)| (name, &at.offset))
    }

    /// What happens next to any of them; `None` when all are closed or lost.
    ///
    /// Safe to drop: the next call goes on where this one was. Errors are those that trying again does
    /// not mend, or that outlasted the client's patience; they are about the connection, and a next
    /// call makes another.
    pub async fn next(&mut self) -> Result<Option<Followed>, Error> {
        while !self.streams.is_empty() {
            let error = match self.attempt().await {
                Ok(followed) => {
                    self.tries.reset();
                    self.trouble.is_over();
                    match followed {
                        None => continue,
                        followed => return Ok(followed),
                    }
                }
                Err(error) => error,
            };
            self.connection = None;
            if !error.is_retryable() {
                return Err(error);
            }
            let patience = self.client.patience_left();
            self.trouble.tell(&error, patience);
            self.tries.wait(error, patience, self.client.rng()).await?;
        }
        self.connection = None;
        Ok(None)
    }

    /// One event; `None` when it said nothing new, or a connection ended in good order.
    async fn attempt(&mut self) -> Result<Option<Followed>, Error> {
        let connection = if let Some(connection) = &mut self.connection {
            connection
        } else {
            let body = self.client.open(&self.asked()).await?.into_body();
            self.connection.insert(Connection::new(body))
        };
        loop {
            if let Some(raw) = connection.ready.pop_front() {
                connection.has_spoken = true;
                return self.event(&raw);
            }
            let Some(bytes) = self.client.piece(&mut connection.body, SILENCE_MAX).await? else {
                if !connection.has_spoken {
                    return Err(self.client.broken("it ended before the first event"));
                }
                // The server ends connections from time to time; the next one goes on.
                self.connection = None;
                return Ok(None);
            };
            let decoded = connection.decoder.push(&bytes).into_iter();
            connection.ready.extend(decoded.filter(Raw::is_unnamed));
        }
    }

    fn asked(&self) -> Ask {
        let follow = self.streams.iter();
        let follow: Vec<_> = follow
            .map(|(name, at)| json!({ "stream": name.as_str(), "offset": at.offset.as_str() }))
            .collect();
        let mut ask = Ask::new(Method::POST, path::LIVE.to_owned(), Repeat::Freely);
        let json = HeaderValue::from_static("application/json");
        ask.headers.insert(header::CONTENT_TYPE, json);
        ask.body = json!({ "follow": follow }).to_string().into();
        ask
    }

    fn event(&mut self, raw: &Raw) -> Result<Option<Followed>, Error> {
        let told: Told<'_> = serde_json::from_slice(&raw.data).map_err(|error| {
            self.client
                .broken(format!("an event that is none: {error}"))
        })?;
        let name = StreamName::new(&told.stream).ok();
        let name = name.filter(|name| self.streams.contains_key(name));
        let Some(name) = name else {
            return Err(self
                .client
                .answer("an event of a stream that is not followed"));
        };
        match told.error {
            Some(error) => self.lost(name, error).map(Some),
            None => self.page(name, &told),
        }
    }

    /// What passes is tried again, with all streams; what stays is told.
    fn lost(&mut self, stream: StreamName, error: ToldError) -> Result<Followed, Error> {
        let mut refused = Refused::within(error.status, error.code, error.message);
        let earliest = error.earliest_offset;
        refused.earliest_offset = earliest.and_then(|text| Offset::new(&text));
        let refused = Box::new(refused);
        if refused.is_retryable() {
            return Err(Error::Refused(refused));
        }
        self.streams.remove(&stream);
        Ok(Followed::Lost { stream, refused })
    }

    fn page(&mut self, stream: StreamName, told: &Told<'_>) -> Result<Option<Followed>, Error> {
        let next = told.next_offset.and_then(Offset::new);
        let next = next.ok_or_else(|| self.client.broken("an event without an offset"))?;
        let (kind, body) = match (told.messages, &told.text, told.base64) {
            (Some(messages), None, None) => {
                let array = messages.get().as_bytes().to_vec();
                (Some(ContentKind::Json), array.into())
            }
            (None, Some(text), None) => (Some(ContentKind::Text), text.clone().into()),
            (None, None, Some(text)) => {
                let bytes = base64(text.as_bytes());
                let bytes = bytes.ok_or_else(|| self.client.broken("an event is no base64"))?;
                (Some(ContentKind::Binary), bytes.into())
            }
            _ => (None, bytes::Bytes::new()),
        };
        let at = self.streams.get_mut(&stream).expect("it is followed");
        let has_news =
            kind.is_some() || told.closed || next != at.offset || told.up_to_date != at.has_all;
        at.kind = kind.or(at.kind);
        at.has_all = told.up_to_date;
        let page = Page {
            from: std::mem::replace(&mut at.offset, next.clone()),
            next,
            kind: at.kind.unwrap_or(ContentKind::Binary),
            body,
            up_to_date: told.up_to_date || told.closed,
            closed: told.closed,
        };
        if told.closed {
            self.streams.remove(&stream);
        }
        Ok(has_news.then_some(Followed::Page { stream, page }))
    }
}

impl Connection {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            has_spoken: false,
        }
    }
}
