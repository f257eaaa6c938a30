//! GET with `live=long-poll` (PROTOCOL 5.7): what is there, or what comes next.
//!
//! INVARIANT: a 204 names the offset where this reader stands, never a newer tail: bytes that came
//! between the end of the wait and the answer are not skipped (T47).

use std::time::Duration;

use millrace_engine::{Changed, Reader, Stream};
use millrace_env::timeout;
use millrace_wire::{Problem, ReadQuery, cache::Mode, outcome::ReadEnd};

use super::read::{PageOf, Told, begin, page_size};
use crate::{
    access::Grant,
    answer::AnswerBody,
    app::App,
    metrics::{Following, Kind, Watch},
};

/// Answers a long-poll.
pub(crate) async fn long_poll(
    app: &App,
    watch: &Watch,
    grant: &Grant,
    stream: &Stream,
    query: ReadQuery,
) -> Result<Told, Problem> {
    let mut reader = begin(stream, query.place).await?;
    reader.follow();
    let following = Following::new(&watch.core, Kind::LongPoll);
    let wait = query.timeout.unwrap_or(app.config.long_poll_timeout);
    let wait = grant.covers(wait, app.now());
    let until = app.env.clock.mono() + wait;
    let mut is_last = false;
    let batch = loop {
        let size = page_size(query, app.engine(grant)?.options().read_bytes_max);
        let batch = reader.next_page(size).await?;
        if batch.len > 0 || batch.closed || (is_last && batch.up_to_date) {
            break batch;
        }
        // One more look when the time is over: what came last is sent rather than announced.
        is_last = !may_go_on(app, &mut reader, until).await;
    };
    let mode = if batch.len > 0 {
        Mode::LongPoll {
            cursor: query.cursor.is_some(),
        }
    } else {
        Mode::TimedOut
    };
    let page = PageOf {
        app,
        head: &stream.head(),
        query,
        mode,
        cursor: Some(app.cursor(query.cursor)),
    };
    if batch.len > 0 {
        let etag = page.etag(&batch);
        let answer = page.answer(&reader, batch, etag).await?;
        if let Some(since) = reader.take_woken_by() {
            following.delivered(app.env.clock.mono().saturating_sub(since));
        }
        return Ok(answer);
    }
    Ok(Told {
        facts: page.facts(ReadEnd::Nothing, &batch, None),
        body: AnswerBody::EMPTY,
    })
}

/// Waits; whether something happened that is worth another look, and one after that.
async fn may_go_on(app: &App, reader: &mut Reader, until: Duration) -> bool {
    let left = until.saturating_sub(app.env.clock.mono());
    match timeout(left, reader.changed()).await {
        Some(Changed::More | Changed::Closed | Changed::Gone) => true,
        Some(Changed::Stopping) | None => false,
    }
}
