//! A connection on the short way: its bytes in and out, its patience, its end.
//!
//! `conn/socket.rs` below keeps the deadlines of heads, of answers that nobody takes and of the end;
//! here is what hyper keeps for its connections: a connection without a request.
//!
//! BOUND: input is at most one request of the short way and what one read brought behind it; output
//! is what the requests of that input are answered, page by page.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt as _;
use millrace_env::{Watcher, sleep};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::{Next, head::Memo};
use crate::{
    answer::AnswerBody,
    bodies::Events,
    config::Times,
    conn::{Activity, Prefixed, Socket},
    refusals::{Peer, Refused},
};

/// What one read takes at most.
const READ_BYTES: usize = 16 << 10;
/// Buffers that are larger give their memory back when they are empty.
const KEPT_BYTES: usize = 4 << 10;
/// How long the rest of a body may take to come. Who is slower is served by hyper, which asks for
/// memory step by step.
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// A connection.
pub(super) struct Line<C> {
    socket: Socket<C>,
    activity: Rc<Activity>,
    peer: Peer,
    times: Times,
    draining: Draining,
    input: Vec<u8>,
    /// How much of the input is answered.
    taken: usize,
    memo: Memo,
    output: Vec<u8>,
    patience: Option<Patience>,
    /// What its last answer goes on with.
    events: Option<Box<Events>>,
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// More bytes are there.
    More,
    /// The rest of a body is slow to come, or does not come.
    Slow,
    /// The connection is over.
    Ended,
}

type Timer = Pin<Box<dyn Future<Output = ()>>>;

/// A timer that runs while a connection waits. The one of a connection without requests is set anew
/// only when it rang, so that requests cost nothing: it rings a few times, and is not heeded before
/// the last.
struct Patience {
    timer: Timer,
    in_body: bool,
    /// How often it rang since the last request.
    rang: u32,
}

/// How often the timer of an idle connection rings: one that did nothing for so many times ends
/// within a quarter more than its time.
const RINGS: u32 = 4;

/// Whether the server drains. Asks only once to be woken: a connection's task stays the same.
struct Draining {
    watcher: Watcher,
    told: Timer,
    is_registered: bool,
}

impl Draining {
    fn new(watcher: Watcher) -> Self {
        let waiting = watcher.clone();
        Self {
            watcher,
            told: Box::pin(async move { waiting.wait().await }),
            is_registered: false,
        }
    }

    fn is_told(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_registered {
            self.is_registered = true;
            return self.told.as_mut().poll(cx).is_ready();
        }
        self.is_so()
    }

    fn is_so(&self) -> bool {
        self.watcher.is_on()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Line<C> {
    pub(super) fn new(conn: C, peer: Peer, times: Times, draining: Watcher) -> Self {
        let activity = Rc::new(Activity::default());
        Self {
            socket: Socket::new(conn, peer.clone(), times, Rc::clone(&activity)),
            activity,
            peer,
            times,
            draining: Draining::new(draining),
            input: Vec::new(),
            taken: 0,
            memo: Memo::default(),
            output: Vec::new(),
            patience: None,
            events: None,
        }
    }

    /// What came and is not answered.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// The same, with what is remembered of the request before.
    pub(super) fn input_and_memo(&mut self) -> (&[u8], &mut Memo) {
        (&self.input[self.taken..], &mut self.memo)
    }

    /// Where answers are written.
    pub(super) fn output_mut(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether the server drains: hyper ends a connection in order.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_so()
    }

    /// The first `length` bytes of the input are a request that is answered now.
    pub(super) fn began(&mut self, length: usize) {
        self.activity.request_began(false);
        match &mut self.patience {
            Some(patience) if !patience.in_body => patience.rang = 0,
            body => *body = None,
        }
        self.taken += length;
        if self.taken == self.input.len() {
            self.taken = 0;
            if self.input.capacity() > KEPT_BYTES {
                self.input = Vec::new();
            } else {
                self.input.clear();
            }
        }
    }

    /// Waits for more input, once all answers are on their way.
    pub(super) async fn wait(&mut self, in_body: bool) -> Waited {
        if self.flush().await == Next::End {
            return Waited::Ended;
        }
        if in_body {
            // The deadline of heads is not for bodies.
            self.activity.request_began(false);
        }
        self.input.drain(..self.taken);
        self.taken = 0;
        poll_fn(|cx| self.poll_wait(cx, in_body)).await
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>, in_body: bool) -> Poll<Waited> {
        let mut scratch = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        match Pin::new(&mut self.socket).poll_read(cx, &mut scratch) {
            Poll::Ready(Ok(())) if !scratch.filled().is_empty() => {
                self.input.extend_from_slice(scratch.filled());
                return Poll::Ready(Waited::More);
            }
            // A body that breaks off is answered, by hyper.
            Poll::Ready(_) if in_body => return Poll::Ready(Waited::Slow),
            Poll::Ready(_) => return Poll::Ready(Waited::Ended),
            Poll::Pending => {}
        }
        if self.draining.is_told(cx) && self.input.is_empty() {
            return Poll::Ready(Waited::Ended);
        }
        self.poll_patience(cx, in_body)
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>, in_body: bool) -> Poll<Waited> {
        let ring = self.times.idle / RINGS;
        let after = if in_body { BODY_PATIENCE } else { ring };
        if self
            .patience
            .as_ref()
            .is_some_and(|set| set.in_body != in_body)
        {
            self.patience = None;
        }
        let patience = self.patience.get_or_insert_with(|| Patience {
            timer: Box::pin(sleep(after)),
            in_body,
            rang: 0,
        });
        while patience.timer.as_mut().poll(cx).is_ready() {
            if in_body {
                return Poll::Ready(Waited::Slow);
            }
            patience.rang += 1;
            if patience.rang > RINGS {
                self.peer.refused(Refused::Idle);
                return Poll::Ready(Waited::Ended);
            }
            patience.timer = Box::pin(sleep(after));
        }
        Poll::Pending
    }

    /// Sends what is answered so far.
    pub(super) async fn flush(&mut self) -> Next {
        if self.output.is_empty() {
            return Next::Go;
        }
        let sent = send(&mut self.socket, &self.output).await;
        if self.output.capacity() > KEPT_BYTES {
            self.output = Vec::new();
        } else {
            self.output.clear();
        }
        self.activity.request_ended();
        next(&sent)
    }

    /// Sends what is answered so far once it is much; else it waits for the end of the input.
    pub(super) async fn flush_if_large(&mut self) -> Next {
        if self.output.len() < READ_BYTES {
            return Next::Go;
        }
        self.flush().await
    }

    /// Sends a body behind its head, piece by piece where it is not in memory.
    pub(super) async fn send_body(&mut self, body: AnswerBody) -> Next {
        let body = match body {
            AnswerBody::Memory(None) => return self.flush_if_large().await,
            AnswerBody::Memory(Some(bytes)) if self.output.len() + bytes.len() <= READ_BYTES => {
                self.output.extend_from_slice(&bytes);
                return self.flush_if_large().await;
            }
            body => body,
        };
        // Boxed: what a long answer needs on its way is more than a short one does.
        Box::pin(self.send_pieces(body)).await
    }

    async fn send_pieces(&mut self, mut body: AnswerBody) -> Next {
        while let Some(piece) = body.frame().await {
            let Ok(piece) = piece else {
                // What was read goes out first: the client sees an answer that breaks off.
                self.flush().await;
                return Next::End;
            };
            let Ok(piece) = piece.into_data() else {
                continue;
            };
            if self.output.len() + piece.len() <= READ_BYTES {
                self.output.extend_from_slice(&piece);
                continue;
            }
            if self.flush().await == Next::End {
                return Next::End;
            }
            if next(&send(&mut self.socket, &piece).await) == Next::End {
                return Next::End;
            }
        }
        self.flush().await
    }

    /// Sends `parts`, a short one first, behind what is answered so far, and keeps no memory for more:
    /// events come now and then, and thousands wait for them.
    pub(super) async fn send_parts(&mut self, parts: [&[u8]; 3]) -> Next {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.output.len() + len <= READ_BYTES {
            for part in parts {
                self.output.extend_from_slice(part);
            }
            let out = std::mem::take(&mut self.output);
            return next(&send(&mut self.socket, &out).await);
        }
        let [first, rest @ ..] = parts;
        self.output.extend_from_slice(first);
        if self.flush().await == Next::End {
            return Next::End;
        }
        for part in rest {
            let sent = self.socket.write_all(part).await;
            if next(&sent) == Next::End {
                return Next::End;
            }
        }
        next(&self.socket.flush().await)
    }

    /// Its last answer goes on with `events`. Gives back what only requests need: none comes any more.
    pub(super) fn follow(&mut self, events: Events) -> Next {
        self.events = Some(Box::new(events));
        self.input = Vec::new();
        self.memo = Memo::default();
        self.taken = 0;
        self.patience = None;
        Next::Follow
    }

    /// The events that its last answer goes on with.
    pub(super) fn take_events(&mut self) -> Option<Box<Events>> {
        self.events.take()
    }

    /// Ends the connection so that the client gets all that was sent.
    pub(super) async fn close(&mut self) {
        // The client may be gone already.
        let _ = self.socket.shutdown().await;
    }

    /// The connection and what came on it unanswered, for hyper.
    pub(super) fn hand_over(self) -> Prefixed<C> {
        let mut unread = self.input;
        unread.drain(..self.taken);
        Prefixed::new(self.socket.into_conn(), unread.into())
    }
}

/// Flushed, because with TLS what is written may still lie in its buffers.
async fn send<W: AsyncWrite + Unpin>(socket: &mut W, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes).await?;
    socket.flush().await
}

fn next(sent: &io::Result<()>) -> Next {
    match sent {
        Ok(()) => Next::Go,
        Err(_) => Next::End,
    }
}
