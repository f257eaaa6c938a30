//! One end of a connection, as sockets look from inside a program.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use millrace_env::sleep;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    Net,
    link::{Arrived, Link, Sent, Side},
};
use crate::{mishap::Mishap, power::Power, trace::Content};

/// When the next bytes arrive.
type Timer = (Instant, Pin<Box<dyn Future<Output = ()>>>);

/// One end of a connection.
pub struct Conn {
    net: Net,
    link: Rc<RefCell<Link>>,
    number: u64,
    who: u32,
    side: Side,
    /// The server's life; clients have none.
    power: Option<Power>,
    timer: Option<Timer>,
}

impl Conn {
    pub(super) fn pair(
        net: &Net,
        link: &Rc<RefCell<Link>>,
        (number, who): (u64, u32),
        power: Power,
    ) -> (Self, Self) {
        let end = |side, power| Self {
            net: net.clone(),
            link: Rc::clone(link),
            number,
            who,
            side,
            power,
            timer: None,
        };
        (end(Side::Client, None), end(Side::Server, Some(power)))
    }

    /// Gives the connection up, and all that is still under way on it.
    pub fn abort(self) {
        self.note("is aborted");
        let is_lost = self.link.borrow_mut().break_now();
        if is_lost {
            self.net.trace().count(Mishap::MessageLost);
        }
    }

    /// Whether something that was sent here has not arrived yet, and still may.
    pub(crate) fn has_under_way(&self) -> bool {
        self.link.borrow_mut().has_under_way(self.side)
    }

    fn is_dead(&self) -> bool {
        self.power.as_ref().is_some_and(Power::is_off)
    }

    fn count(&self, sent: Sent, of: usize) {
        let trace = self.net.trace();
        for (mishap, has_happened) in [
            (Mishap::Delayed, sent.is_late),
            (Mishap::CutUp, sent.bytes < of),
            (Mishap::Broken, sent.is_last),
            (Mishap::MessageLost, sent.is_last),
        ] {
            if has_happened {
                trace.count(mishap);
            }
        }
    }

    fn note(&self, what: &str) {
        let (number, who, side) = (self.number, self.who, self.side);
        let trace = self.net.trace();
        trace.note(format_args!("net {number} of {who}: {side:?} {what}"));
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_dead() {
            return Poll::Pending;
        }
        loop {
            let arrived = this
                .link
                .borrow_mut()
                .read(this.side, buf.remaining(), cx.waker());
            match arrived? {
                Arrived::Bytes(bytes) => {
                    this.note(&format!("reads {}", Content(&bytes)));
                    buf.put_slice(&bytes);
                    return Poll::Ready(Ok(()));
                }
                Arrived::End => return Poll::Ready(Ok(())),
                Arrived::Nothing => return Poll::Pending,
                Arrived::Later(at) => {
                    if this.timer.as_ref().is_none_or(|(set, _)| *set != at) {
                        let wait = at.saturating_duration_since(Instant::now());
                        this.timer = Some((at, Box::pin(sleep(wait))));
                    }
                    let Some((_, timer)) = &mut this.timer else {
                        return Poll::Pending;
                    };
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    this.timer = None;
                }
            }
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sends = this.power.as_ref().is_none_or(Power::sends);
        if !sends {
            return Poll::Pending;
        }
        let held_until = this.net.held_until(this.who);
        let sent = {
            let mut chance = this.net.chance();
            let mut link = this.link.borrow_mut();
            link.write(this.side, buf, held_until, &mut chance, cx.waker())
        };
        match sent {
            Ok(None) => Poll::Pending,
            Ok(Some(sent)) => {
                this.note(&format!("sends {}", Content(&buf[..sent.bytes])));
                this.count(sent, buf.len());
                Poll::Ready(Ok(sent.bytes))
            }
            Err(error) => {
                this.note("cannot send");
                Poll::Ready(Err(error))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_dead() {
            self.note("ends");
            self.link.borrow_mut().end(self.side);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // What becomes of the connections of a dead server, the network decides.
        if !self.is_dead() {
            self.link.borrow_mut().leave(self.side);
        }
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("number", &self.number)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}
