//! Readers: each follows one stream for a while, by catch-up, long-poll or SSE, over as many lives of
//! the server as come, and tells the judge of every byte and every offset.

use std::{io, rc::Rc, time::Duration};

use millrace_env::{sleep, timeout};

use super::Caller;
use crate::{
    http::Request,
    sse::{Event, Events},
    witness::{Kind, Mark},
    world::Live,
};

/// A connection on which not even a sign of life comes for so long is given up. The server gives one
/// every second.
const SILENCE: Duration = Duration::from_secs(4);

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Page after page, and again when it is at the tail.
    CatchUp,
    /// `live=long-poll`.
    LongPoll,
    /// `live=sse`.
    Sse,
}

/// Works until the run ends.
pub(crate) async fn work(mut caller: Caller, mode: Mode) {
    while !caller.world.is_stopping() {
        // Time passes only while everyone waits.
        let pause = caller.chance.millis(1, 20);
        sleep(pause).await;
        let board = caller.world.board();
        if board.is_empty() {
            continue;
        }
        let live = Rc::clone(&board[caller.chance.index(board.len())]);
        let place = if caller.chance.percent(50) {
            Mark::start()
        } else {
            let which = caller.chance.index(1 << 20);
            caller.world.monitor().pick(live.id, which)
        };
        match mode {
            Mode::Sse => follow_events(&mut caller, &live, place).await,
            Mode::CatchUp => follow_pages(&mut caller, &live, place, "").await,
            Mode::LongPoll => follow_pages(&mut caller, &live, place, "&live=long-poll").await,
        }
    }
}

async fn follow_pages(caller: &mut Caller, live: &Live, mut place: Mark, mode: &str) {
    let mut cursor = String::new();
    for _ in 0..caller.chance.between(2, 30) {
        if caller.world.is_stopping() {
            return;
        }
        let query = format!("?offset={}{mode}{cursor}", place.token);
        let request = Request::new("GET", &live.name, &query);
        let (response, _) = caller.insist(&request).await;
        if matches!(response.head.status, 404 | 410) {
            return caller.gone(live, &place, &response.head);
        }
        let Some((_, next)) = caller.take(live, &place, &response) else {
            return;
        };
        place = next;
        if response.head.closed() {
            return;
        }
        if let Some(value) = response.head.header("stream-cursor") {
            cursor = format!("&cursor={value}");
        }
        if mode.is_empty() && response.head.header("stream-up-to-date").is_some() {
            let pause = caller.chance.millis(1, 80);
            sleep(pause).await;
        }
    }
}

/// Follows by SSE, over as many connections as it takes.
async fn follow_events(caller: &mut Caller, live: &Live, mut place: Mark) {
    let mut left = caller.chance.between(2, 40);
    while left > 0 && !caller.world.is_stopping() {
        let Some(mut line) = caller.connect().await else {
            continue;
        };
        let query = format!("?offset={}&live=sse", place.token);
        let request = Request::new("GET", &live.name, &query);
        let head = match timeout(SILENCE, line.begin(&request, false)).await {
            Some(Ok(head)) => head,
            Some(Err(error)) => {
                caller.cut(&request.target, &error).await;
                continue;
            }
            None => {
                caller.lost().await;
                continue;
            }
        };
        match head.status {
            200 => {}
            404 | 410 => return caller.gone(live, &place, &head),
            status if status == 429 || status == 503 || caller.world.excuses_failures() => {
                caller.lost().await;
                continue;
            }
            status => {
                let what = format!("{} by SSE from {} is {status}", live.name, place.token);
                return caller.world.monitor().violation(what);
            }
        }
        let mut session = Session {
            caller,
            live,
            place,
            pending: None,
        };
        let followed = session.follow(Events::new(line), &mut left).await;
        place = session.place;
        match followed {
            Ok(End::Over) => return,
            Ok(End::Goes) => {}
            Err(error) => caller.cut(&request.target, &error).await,
        }
    }
}

/// How an SSE response ended for its reader.
enum End {
    /// There is nothing more to come, or to say.
    Over,
    /// It goes on with another response.
    Goes,
}

/// One SSE response.
struct Session<'a> {
    caller: &'a Caller,
    live: &'a Live,
    place: Mark,
    /// The bytes of a data event, until its control event says where they end.
    pending: Option<(Vec<u8>, Option<String>)>,
}

impl Session<'_> {
    /// Takes events until the response ends, or `left` have come.
    async fn follow(&mut self, mut events: Events, left: &mut u64) -> io::Result<End> {
        while *left > 0 && !self.caller.world.is_stopping() {
            match timeout(SILENCE, events.next()).await {
                Some(Ok(Some(event))) => {
                    *left -= 1;
                    if self.took(&event).is_none() {
                        return Ok(End::Over);
                    }
                }
                Some(Ok(None)) => {}
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(End::Goes)
    }

    /// Takes an event; `None` when there is nothing more to come or to say.
    fn took(&mut self, event: &Event) -> Option<()> {
        match event.name.as_str() {
            "data" => match self.wire(event) {
                Ok(_) if self.pending.is_some() => {
                    self.wrong("two data events without a control event between them")
                }
                Ok(wire) => {
                    self.pending = Some((wire, event.id.clone()));
                    Some(())
                }
                Err(what) => self.wrong(&what),
            },
            "control" => self.control(event),
            other => self.wrong(&format!("an event named {other}")),
        }
    }

    fn wire(&self, event: &Event) -> Result<Vec<u8>, String> {
        match self.live.kind {
            Kind::Json => Kind::Json.wire(event.data.as_bytes()),
            Kind::Bytes => event.base64(),
        }
    }

    fn control(&mut self, event: &Event) -> Option<()> {
        let Ok(fields) = serde_json::from_str::<serde_json::Value>(&event.data) else {
            return self.wrong("a control event that is no JSON");
        };
        let Some(next) = fields["streamNextOffset"].as_str() else {
            return self.wrong("a control event without an offset");
        };
        let (wire, id) = self.pending.take().unwrap_or_default();
        if id.is_some_and(|id| id != next) {
            return self.wrong("a data event whose id is not its control event's offset");
        }
        let mut monitor = self.caller.world.monitor();
        self.place = monitor.delivered(self.live.id, &self.place, &wire, next)?;
        if fields["streamClosed"] == true {
            monitor.closed(self.live.id);
            return None;
        }
        drop(monitor);
        if fields["streamCursor"].is_string() {
            return Some(());
        }
        self.wrong("a control event of an open stream without a cursor")
    }

    fn wrong(&self, what: &str) -> Option<()> {
        let place = &self.place.token;
        let what = format!("{} by SSE from {place}: {what}", self.live.name);
        if self.caller.lives(self.live.id) {
            self.caller.world.monitor().violation(what);
        }
        None
    }
}
