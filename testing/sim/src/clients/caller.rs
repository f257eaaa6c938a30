//! A client's way to the server, over as many connections and lives of the server as it takes.

use std::{collections::VecDeque, io, rc::Rc, time::Duration};

use millrace_env::{sleep, timeout};
use millrace_kill::schedule::Chance;
use tokio::time::Instant;

use crate::{
    http::{Head, Line, Request, Response},
    mishap::Mishap,
    net::UNDER_WAY_MAX,
    witness::{HASH_START, Id, Mark, Whole, fold},
    world::{Live, World},
};

/// How many of 100 requests that may be sent twice are, long before an answer is late.
const HURRIED: u64 = 12;
/// How long a client waits for the answer to one of these, in milliseconds, at most.
const HURRY_MILLIS: u64 = 150;
/// BOUND: how many connections with an unanswered request a client keeps.
const LEFT_MAX: usize = 4;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a request whose answer was lost may still be under way, or waiting for the disk.
const QUIET_AFTER: Duration = UNDER_WAY_MAX.saturating_add(Duration::from_millis(1700));

/// A client.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) world: Rc<World>,
    pub(crate) who: u32,
    pub(crate) chance: Chance,
    line: Option<Line>,
    /// Connections of requests whose answer was not waited for.
    left: VecDeque<Line>,
    lost_at: Option<Instant>,
}

impl Caller {
    pub(crate) fn new(world: &Rc<World>, who: u32, chance: Chance) -> Self {
        Self {
            world: Rc::clone(world),
            who,
            chance,
            line: None,
            left: VecDeque::new(),
            lost_at: None,
        }
    }

    /// Sends one request, once. `None`: no answer came, or none that settles anything, so that nobody
    /// knows whether it was carried out.
    pub(crate) async fn once(&mut self, request: &Request) -> Option<Response> {
        let mut line = self.connect().await?;
        let chunked = self.chance.percent(8);
        let is_hurried = request.is_idempotent() && self.chance.percent(HURRIED);
        let patience = if is_hurried {
            self.chance.millis(0, HURRY_MILLIS)
        } else {
            PATIENCE
        };
        match timeout(patience, line.exchange(request, chunked)).await {
            Some(Ok(response)) => {
                self.note_overtaken();
                if response.head.header("connection") != Some("close") {
                    self.line = Some(line);
                }
                self.settles(request, response).await
            }
            Some(Err(error)) => {
                self.cut(&request.target, &error).await;
                None
            }
            None if is_hurried => {
                self.leave(line);
                None
            }
            None => {
                if self.chance.percent(50) {
                    line.abort();
                }
                self.lost().await;
                None
            }
        }
    }

    /// Sends the request again at once on another connection, while the first goes on.
    fn leave(&mut self, line: Line) {
        self.world.trace.count(Mishap::Repeated);
        self.lost_at = Some(Instant::now());
        self.left.push_back(line);
        if self.left.len() > LEFT_MAX {
            self.left.pop_front();
        }
    }

    /// An answer came: to a request that was sent after those of before, some of which may not have
    /// arrived yet.
    fn note_overtaken(&mut self) {
        self.left.retain(Line::has_under_way);
        for _ in &self.left {
            self.world.trace.count(Mishap::Overtaken);
        }
    }

    /// Sends a request until an answer comes; says how many times none did before.
    pub(crate) async fn insist(&mut self, request: &Request) -> (Response, u32) {
        let mut lost = 0;
        loop {
            if !request.is_idempotent() {
                self.quiet().await;
            }
            if let Some(response) = self.once(request).await {
                return (response, lost);
            }
            lost += 1;
        }
    }

    /// Waits until none of this client's requests can be under way any more.
    pub(crate) async fn quiet(&mut self) {
        if let Some(lost_at) = self.lost_at.take() {
            let until = lost_at + QUIET_AFTER;
            sleep(until.saturating_duration_since(Instant::now())).await;
        }
    }

    /// A connection for a request that the caller drives itself.
    pub(crate) async fn connect(&mut self) -> Option<Line> {
        if let Some(line) = self.line.take() {
            return Some(line);
        }
        let Ok(conn) = self.world.net.connect(self.who).await else {
            self.lost().await;
            return None;
        };
        Some(Line::new(conn, self.world.monitor().passing()))
    }

    /// An answer may say "not now".
    pub(crate) async fn settles(
        &mut self,
        request: &Request,
        response: Response,
    ) -> Option<Response> {
        let excused = match response.head.status {
            429 | 503 | 507 => true,
            500.. => self.world.excuses_failures(),
            _ => return Some(response),
        };
        if !excused {
            self.wrong(request.method, &request.target, &response);
        }
        self.world.count("answers that say not now");
        self.lost().await;
        None
    }

    /// A connection ended before its answer did, which is what kills are for; but what came until then
    /// must be HTTP.
    pub(crate) async fn cut(&mut self, what: &str, error: &io::Error) {
        if error.kind() == io::ErrorKind::InvalidData {
            self.world.monitor().violation(format!("{what}: {error}"));
        }
        self.lost().await;
    }

    /// Whatever was asked, it is not known what became of it.
    pub(crate) async fn lost(&mut self) {
        self.world.count("answers lost");
        self.lost_at = Some(Instant::now());
        sleep(self.chance.millis(1, 60)).await;
    }

    /// An answer that must not be.
    pub(crate) fn wrong(&self, what: &str, name: &str, response: &Response) {
        let Response { head, body } = response;
        let body = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let told = format!("{what} {name} answered {}: {body}", head.status);
        self.world.monitor().violation(told);
    }

    /// Reads a stream from its start to its tail. `None` when it is gone.
    pub(crate) async fn read_whole(&mut self, live: &Live) -> Option<Whole> {
        let mut place = Mark::start();
        let mut bytes = Vec::new();
        loop {
            let query = format!("?offset={}", place.token);
            let request = Request::new("GET", &live.name, &query);
            let (response, _) = self.insist(&request).await;
            if matches!(response.head.status, 404 | 410) {
                self.gone(live, &place, &response.head);
                return None;
            }
            let (wire, next) = self.take(live, &place, &response)?;
            bytes.extend_from_slice(&wire);
            place = next;
            if response.head.header("stream-up-to-date") == Some("true") {
                return Some(Whole {
                    bytes,
                    tail: place.token,
                    closed: response.head.closed(),
                });
            }
        }
    }

    /// Tells the judge of a catch-up or long-poll response; `None` when reading cannot go on.
    pub(crate) fn take(
        &mut self,
        live: &Live,
        from: &Mark,
        response: &Response,
    ) -> Option<(Vec<u8>, Mark)> {
        let Response { head, body } = response;
        let mut monitor = self.world.monitor();
        if !monitor.lives(live.id) {
            return None;
        }
        let wire = match head.status {
            200 => live.kind.wire(body),
            204 => Ok(Vec::new()),
            status => Err(format!(
                "GET answered {status}: {}",
                String::from_utf8_lossy(body)
            )),
        };
        let next = head
            .next()
            .ok_or_else(|| "a read without an offset".to_owned());
        let told = wire.and_then(|wire| next.map(|next| (wire, next)));
        match told {
            Ok((wire, next)) => {
                let place = monitor.delivered(live.id, from, &wire, next)?;
                if head.closed() {
                    monitor.closed(live.id);
                }
                Some((wire, place))
            }
            Err(what) => {
                monitor.violation(format!("{} from {}: {what}", live.name, from.token));
                None
            }
        }
    }

    /// A stream was said to be gone: only if somebody deleted it.
    pub(crate) fn gone(&self, live: &Live, place: &Mark, head: &Head) {
        let mut monitor = self.world.monitor();
        if monitor.lives(live.id) {
            let (status, earliest) = (head.status, head.header("stream-earliest-offset"));
            monitor.violation(format!(
                "{} from {} is {status}, and nobody deleted it; earliest offset {earliest:?}",
                live.name, place.token
            ));
        }
    }

    /// Reads a stream and compares it with everything known of it.
    pub(crate) async fn verify(&mut self, live: &Live) {
        let asof = self.world.monitor().now();
        if let Some(whole) = self.read_whole(live).await {
            self.world.monitor().verify(live.id, &whole, asof);
        }
    }

    /// The mark of an offset of `live`, by reading it.
    pub(crate) async fn mark_at(&mut self, live: &Live, token: &str) -> Option<Mark> {
        let whole = self.read_whole(live).await?;
        let at = crate::witness::position(token).and_then(|at| usize::try_from(at).ok());
        let bytes = at.and_then(|at| whole.bytes.get(..at));
        if bytes.is_none() {
            let what = format!("{} was forked at {token:?}", live.name);
            self.world.monitor().violation(what);
        }
        bytes.map(|bytes| Mark {
            token: token.to_owned(),
            position: bytes.len() as u64,
            hash: fold(HASH_START, bytes),
        })
    }

    /// Whether this stream takes no more requests of ours.
    pub(crate) fn lives(&self, id: Id) -> bool {
        self.world.monitor().lives(id)
    }
}
