//! GET: what is there (PROTOCOL 5.6). Live reads begin here and go on in `long_poll.rs` and `sse.rs`.

use std::sync::Arc;

use http::Version;
use millrace_core::{ContentKind, Lifetime, Offset, Refusal, StreamName};
use millrace_engine::{Batch, From, Head, Page, Reader, Stream};
use millrace_wire::{
    Format, Live, OffsetArg, Place, Problem, ReadQuery,
    cache::{self, CacheFacts, Mode, Remaining},
    etag::{self, ETag, PageEnd},
    outcome::{self, ReadEnd, ReadFacts},
};

use super::{long_poll, sse};
use crate::{
    access::{Action, Caller, Grant},
    answer::{self, Answer, AnswerBody},
    app::App,
    bodies,
    metrics::{Timed, Watch},
};

/// What of a request a read looks at.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) query: ReadQuery,
    /// `If-None-Match`: what the client has already.
    pub(crate) known: &'a [&'a [u8]],
    pub(crate) version: Version,
}

/// The answer to a read, with its headers still as facts: not every connection needs a map of them.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) facts: ReadFacts,
    pub(crate) body: AnswerBody,
}

/// What a read came to.
#[derive(Debug)]
pub(crate) enum ReadAnswer {
    /// A page, or nothing.
    Told(Told),
    /// Events.
    Events(Answer),
}

impl ReadAnswer {
    pub(crate) fn into_answer(self) -> Answer {
        match self {
            Self::Told(told) => answer::with_body(outcome::read(&told.facts), told.body),
            Self::Events(answer) => answer,
        }
    }
}

/// Answers GET.
pub(crate) async fn read(
    app: &Arc<App>,
    watch: &Watch,
    caller: &Caller,
    name: &StreamName,
    asked: Asked<'_>,
) -> Result<ReadAnswer, Problem> {
    let query = asked.query;
    let grant = caller.may_on(Action::Read, name)?;
    let engine = app.engine(&grant)?;
    let stream = engine.open(name).await?;
    if query.live == Live::CatchUp {
        watch.timed.set(Timed::Read);
    }
    let told = match query.live {
        Live::CatchUp if query.place == Place::From(OffsetArg::Now) => tail(app, &stream, query),
        Live::CatchUp => catch_up(app, &grant, &stream, query, asked.known).await?,
        // Boxed: what they need on their way is more than all the rest, and would be moved with it.
        Live::LongPoll => {
            Box::pin(long_poll::long_poll(app, watch, &grant, &stream, query)).await?
        }
        Live::Sse => {
            return Box::pin(sse::sse(app, watch, &grant, &stream, query, asked.version)).await;
        }
    };
    Ok(ReadAnswer::Told(told))
}

/// A reader where the request asks for it. Whoever gets one has read: that renews the lifetime.
pub(super) async fn begin(stream: &Stream, place: Place) -> Result<Reader, Refusal> {
    let from = match place {
        Place::From(offset) | Place::Before(offset) => match offset {
            OffsetArg::Start => From::Start,
            OffsetArg::Now => From::Tail,
            OffsetArg::At(offset) => From::At(offset),
        },
        Place::Last(count) => From::Last(count),
        Place::Since(at) => From::Since(at),
    };
    let reader = stream.read_from(from).await?;
    stream.touch();
    Ok(reader)
}

async fn catch_up(
    app: &App,
    grant: &Grant,
    stream: &Stream,
    query: ReadQuery,
    known: &[&[u8]],
) -> Result<Told, Problem> {
    let mut reader = begin(stream, query.place).await?;
    let size = page_size(query, app.engine(grant)?.options().read_bytes_max);
    let batch = match query.place {
        Place::Before(_) => reader.page_before(size).await?,
        _ => reader.next_page(size).await?,
    };
    let mode = Mode::CatchUp {
        now: false,
        short: !batch.up_to_date,
    };
    let page = PageOf {
        app,
        head: &stream.head(),
        query,
        mode,
        cursor: None,
    };
    let etag = page.etag(&batch);
    if etag::is_not_modified(known, &etag) {
        return Ok(Told {
            facts: page.facts(ReadEnd::NotModified, &batch, Some(etag)),
            body: AnswerBody::EMPTY,
        });
    }
    Ok(page.answer(&reader, batch, etag).await?)
}

/// The most bytes of messages in a page of lines, which are made at once.
const LINES_BYTES_MAX: u64 = 256 << 10;
/// The most messages in one.
const LINES_MAX: u64 = 4096;

/// How much a page may hold.
pub(super) fn page_size(query: ReadQuery, bytes_max: u64) -> Page {
    match query.format {
        Format::Content => Page {
            bytes_max,
            messages_max: query.limit,
            whole: false,
        },
        Format::Messages => Page {
            bytes_max: bytes_max.min(LINES_BYTES_MAX),
            messages_max: query.limit.min(LINES_MAX),
            whole: true,
        },
    }
}

/// `offset=now`: where the tail is, and never a byte of what came meanwhile (PROTOCOL 8).
fn tail(app: &App, stream: &Stream, query: ReadQuery) -> Told {
    stream.touch();
    let head = stream.head();
    let kind = head.content_type.kind();
    let facts = ReadFacts {
        end: ReadEnd::Page,
        start: start(query, head.tail),
        format: query.format,
        next: head.tail,
        up_to_date: true,
        closed: head.closed,
        cursor: None,
        etag: None,
        cache_control: cache::cache_control(CacheFacts {
            mode: Mode::CatchUp {
                now: true,
                short: false,
            },
            concrete: false,
            private: app.config.access.is_private(),
            remaining: remaining(app, &head),
        }),
        content_type: head.content_type,
    };
    let body = match (query.format, kind) {
        (Format::Content, ContentKind::Json) => AnswerBody::from("[]"),
        _ => AnswerBody::EMPTY,
    };
    Told { facts, body }
}

/// Where a page starts, for who asked for more than to read on from an offset.
fn start(query: ReadQuery, start: Offset) -> Option<Offset> {
    let plain = matches!(query.place, Place::From(_))
        && query.limit == u64::MAX
        && query.format == Format::Content;
    (!plain).then_some(start)
}

/// What the headers of a page are made from, beside the page.
pub(super) struct PageOf<'a> {
    pub(super) app: &'a App,
    pub(super) head: &'a Head,
    pub(super) query: ReadQuery,
    pub(super) mode: Mode,
    pub(super) cursor: Option<u64>,
}

impl PageOf<'_> {
    pub(super) fn etag(&self, batch: &Batch) -> ETag {
        let end = PageEnd::new(batch.up_to_date, batch.closed);
        ETag::new(self.head.id, batch.from, batch.next, end, self.query.format)
    }

    pub(super) fn facts(&self, end: ReadEnd, batch: &Batch, etag: Option<ETag>) -> ReadFacts {
        ReadFacts {
            end,
            content_type: self.head.content_type.clone(),
            start: start(self.query, batch.from),
            format: self.query.format,
            next: batch.next,
            up_to_date: batch.up_to_date,
            closed: batch.closed,
            cursor: self.cursor.filter(|_| !batch.closed),
            etag,
            cache_control: cache::cache_control(CacheFacts {
                mode: self.mode,
                concrete: self.query.place.is_concrete(),
                private: self.app.config.access.is_private(),
                remaining: remaining(self.app, self.head),
            }),
        }
    }

    /// 200 with the page.
    pub(super) async fn answer(
        &self,
        reader: &Reader,
        batch: Batch,
        etag: ETag,
    ) -> Result<Told, Refusal> {
        let facts = self.facts(ReadEnd::Page, &batch, Some(etag));
        let (kind, bulk) = (self.head.content_type.kind(), &self.app.bulk);
        let body = match self.query.format {
            Format::Content => bodies::page(kind, batch, bulk).await?,
            Format::Messages => bodies::lines(kind, reader, batch, bulk).await?,
        };
        Ok(Told { facts, body })
    }
}

/// How long an answer may be kept: never beyond the stream's life.
fn remaining(app: &App, head: &Head) -> Remaining {
    let left = |at: millrace_core::Timestamp| at.get().saturating_sub(app.now().get()) / 1000;
    match (head.lifetime, head.expires_at) {
        (Lifetime::Ttl(seconds), None) => Remaining::Sliding(seconds),
        (Lifetime::Ttl(_), Some(at)) => Remaining::Sliding(left(at)),
        (_, Some(at)) => Remaining::Until(left(at)),
        (_, None) => Remaining::Unlimited,
    }
}
