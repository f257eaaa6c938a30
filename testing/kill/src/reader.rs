//! Readers: each follows one stream for a while, by catch-up, long-poll or SSE, over as many kills
//! as come, and tells the judge of every byte and every offset.

use std::{io, sync::Arc, time::Duration};

use millrace_monitor::{
    judge::{Mark, position},
    message::Kind,
};

use crate::{
    http::Request,
    schedule::Chance,
    sse::{Event, Events, Taken},
    world::{Abandoned, Caller, Live, World},
};

/// What is in a stream is sent to its followers well within this time (T64d).
const WITHIN: Duration = Duration::from_secs(2);

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Page after page, and again when it is at the tail.
    CatchUp,
    /// `live=long-poll`.
    LongPoll,
    /// `live=sse`.
    Sse,
}

/// Works until the run ends.
pub fn work(world: &World, mode: Mode, mut chance: Chance) {
    let mut caller = Caller::new(world);
    while !world.is_stopping() {
        let board = world.board();
        if board.is_empty() {
            std::thread::sleep(chance.millis(1, 10));
            continue;
        }
        let live = Arc::clone(&board[chance.index(board.len())]);
        let place = if chance.percent(50) {
            Mark::start()
        } else {
            world.judge().pick(live.id, chance.index(1 << 20))
        };
        let followed = match mode {
            Mode::Sse => follow_events(&mut caller, &live, place, &mut chance),
            Mode::CatchUp => follow_pages(&mut caller, &live, place, "", &mut chance),
            Mode::LongPoll => {
                follow_pages(&mut caller, &live, place, "&live=long-poll", &mut chance)
            }
        };
        if followed.is_err() {
            return;
        }
    }
}

fn follow_pages(
    caller: &mut Caller<'_>,
    live: &Live,
    mut place: Mark,
    mode: &str,
    chance: &mut Chance,
) -> Result<(), Abandoned> {
    let mut cursor = String::new();
    for _ in 0..chance.between(2, 40) {
        if caller.world.is_stopping() {
            return Ok(());
        }
        let query = format!("?offset={}{mode}{cursor}", place.token);
        let (response, _) = caller.insist(&Request::new("GET", &live.name, &query))?;
        if matches!(response.head.status, 404 | 410) {
            caller.gone(live, &place, &response.head);
            return Ok(());
        }
        let Some((_, next)) = caller.take(live, &place, &response) else {
            return Ok(());
        };
        place = next;
        if response.head.closed() {
            return Ok(());
        }
        if let Some(value) = response.head.header("stream-cursor") {
            cursor = format!("&cursor={value}");
        }
        if mode.is_empty() && response.head.header("stream-up-to-date").is_some() {
            std::thread::sleep(chance.millis(1, 30));
        }
    }
    Ok(())
}

/// Follows by SSE, over as many connections as it takes.
fn follow_events(
    caller: &mut Caller<'_>,
    live: &Live,
    mut place: Mark,
    chance: &mut Chance,
) -> Result<(), Abandoned> {
    let mut left = chance.between(2, 60);
    while left > 0 && !caller.world.is_stopping() {
        let Some((mut connection, generation)) = caller.connect()? else {
            continue;
        };
        let query = format!("?offset={}&live=sse", place.token);
        let request = Request::new("GET", &live.name, &query);
        let head = match connection.begin(&request) {
            Ok(head) => head,
            Err(error) => {
                caller.cut(&error, generation, &request.target);
                continue;
            }
        };
        match head.status {
            200 => {}
            404 | 410 => {
                caller.gone(live, &place, &head);
                return Ok(());
            }
            429 | 503 => continue,
            status => {
                let what = format!("{} by SSE from {} is {status}", live.name, place.token);
                caller.world.judge().violation(what);
                return Ok(());
            }
        }
        let mut session = Session {
            live,
            place,
            pending: None,
        };
        let mut events = Events::new(connection, &head);
        let finished = match session.follow(caller, &mut events, &mut left) {
            Ok(finished) => finished?,
            Err(error) => {
                caller.cut(&error, generation, &request.target);
                false
            }
        };
        place = session.place;
        if finished {
            return Ok(());
        }
    }
    Ok(())
}

/// One SSE response.
struct Session<'a> {
    live: &'a Live,
    place: Mark,
    /// The bytes of a data event, until its control event says where they end.
    pending: Option<(Vec<u8>, Option<String>)>,
}

impl Session<'_> {
    /// Takes events until the response ends, or `left` have come, or nothing more can be said, which
    /// is answered `true`.
    fn follow(
        &mut self,
        caller: &mut Caller<'_>,
        events: &mut Events,
        left: &mut u64,
    ) -> io::Result<Result<bool, Abandoned>> {
        let mut overdue = 0;
        while *left > 0 && !caller.world.is_stopping() {
            match events.take(WITHIN)? {
                Taken::Event(event) => {
                    *left -= 1;
                    if self.took(caller.world, &event).is_none() {
                        return Ok(Ok(true));
                    }
                }
                Taken::End => break,
                Taken::Nothing if overdue > self.place.position => {
                    let what = format!("nothing comes, and the tail is at {overdue}");
                    self.wrong(caller.world, &what);
                    return Ok(Ok(true));
                }
                Taken::Nothing => match caller.insist(&Request::new("HEAD", &self.live.name, "")) {
                    Ok((response, _)) => {
                        overdue = response.head.next().and_then(position).unwrap_or_default();
                    }
                    Err(abandoned) => return Ok(Err(abandoned)),
                },
            }
        }
        Ok(Ok(false))
    }

    /// Takes an event; `None` when there is nothing more to come or to say.
    fn took(&mut self, world: &World, event: &Event) -> Option<()> {
        match event.name.as_str() {
            "data" => match self.wire(event) {
                Ok(_) if self.pending.is_some() => self.wrong(
                    world,
                    "two data events without a control event between them",
                ),
                Ok(wire) => {
                    self.pending = Some((wire, event.id.clone()));
                    Some(())
                }
                Err(what) => self.wrong(world, &what),
            },
            "control" => self.control(world, event),
            other => self.wrong(world, &format!("an event named {other}")),
        }
    }

    fn wire(&self, event: &Event) -> Result<Vec<u8>, String> {
        match self.live.kind {
            Kind::Json => Kind::Json.wire(event.data.as_bytes()),
            Kind::Bytes => event.base64(),
        }
    }

    fn control(&mut self, world: &World, event: &Event) -> Option<()> {
        let Ok(fields) = serde_json::from_str::<serde_json::Value>(&event.data) else {
            return self.wrong(world, "a control event that is no JSON");
        };
        let Some(next) = fields["streamNextOffset"].as_str() else {
            return self.wrong(world, "a control event without an offset");
        };
        let (wire, id) = self.pending.take().unwrap_or_default();
        if id.is_some_and(|id| id != next) {
            return self.wrong(
                world,
                "a data event whose id is not its control event's offset",
            );
        }
        let mut judge = world.judge();
        self.place = judge.delivered(self.live.id, &self.place, &wire, next)?;
        if fields["streamClosed"] == true {
            judge.closed(self.live.id);
            return None;
        }
        let open = fields["streamCursor"].is_string();
        drop(judge);
        if open {
            return Some(());
        }
        self.wrong(world, "a control event of an open stream without a cursor")
    }

    fn wrong(&self, world: &World, what: &str) -> Option<()> {
        let what = format!(
            "{} by SSE from {}: {what}",
            self.live.name, self.place.token
        );
        let mut judge = world.judge();
        if judge.lives(self.live.id) {
            judge.violation(what);
        }
        None
    }
}
