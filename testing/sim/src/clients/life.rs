//! A stream's life apart from its appends: creation, forks, questions, closing, deletion, and the
//! name's next life.

use std::{rc::Rc, time::Duration};

use millrace_env::sleep;
use tokio::sync::RwLock;

use super::{
    owner::{Mine, Owner, Slot},
    pen::{self, How, Pen, Sent},
};
use crate::{
    http::{Request, Response},
    witness::{Closing, Deleting, Incarnation, Kind, Settled, position},
    world::Live,
};

/// A deleted source is gone this many looks after its last fork, at the latest.
const LOOKS_UNTIL_RECLAIMED: u32 = 400;
/// Lifetimes longer than any run, all jumps of the wall clock included.
const LONG_SECS: u64 = 1_000_000;

impl Owner {
    /// Creates a stream, half of the time with its first content.
    pub(super) async fn create(&mut self, name: String) -> Mine {
        let kind = if self.caller.chance.percent(60) {
            Kind::Json
        } else {
            Kind::Bytes
        };
        let live = self.new_live(name, kind);
        let mut request = Request::new("PUT", &live.name, "");
        if self.caller.chance.percent(25) {
            request = request.with("Stream-TTL", LONG_SECS);
        }
        let mut first = None;
        if self.caller.chance.percent(50) {
            let pad = self.caller.chance.index(300);
            let (key, wire, body) = pen::first_content(&live, self.caller.who, pad);
            self.caller.world.monitor().sending(live.id, key, 1, &wire);
            request = request.carrying(kind.content_type(), body);
            first = Some(key);
        } else {
            request = request.with("Content-Type", kind.content_type());
        }
        let (response, lost) = self.caller.insist(&request).await;
        self.created(&live, &response, lost);
        if let Some(key) = first {
            let mut monitor = self.caller.world.monitor();
            monitor.settle(live.id, key, Settled::Acked, response.head.next());
        }
        self.own(live)
    }

    fn new_live(&mut self, name: String, kind: Kind) -> Rc<Live> {
        let id = self.caller.world.monitor().open(name.clone(), kind);
        Rc::new(Live {
            id,
            name,
            kind,
            gate: RwLock::new(()),
        })
    }

    fn own(&mut self, live: Rc<Live>) -> Mine {
        self.caller.world.publish(&live);
        self.caller.world.count("streams made");
        Mine {
            pen: Pen::new(self.caller.who),
            steps: self.caller.chance.between(6, 40),
            closed: false,
            fork: None,
            live,
        }
    }

    fn created(&self, live: &Live, response: &Response, lost: u32) {
        let fine = match response.head.status {
            201 => true,
            200 => lost > 0,
            _ => false,
        };
        if !fine || response.head.next().is_none() {
            self.caller.wrong("PUT", &live.name, response);
        }
    }

    /// Forks a stream, at its tail or at an offset that some reader had.
    pub(super) async fn make_fork(&mut self, mine: &mut Mine) {
        self.forks += 1;
        let name = format!("{}-fork{}", mine.live.name, self.forks);
        let at = self.caller.chance.percent(60).then(|| {
            let which = self.caller.chance.index(1 << 20);
            self.caller.world.monitor().pick(mine.live.id, which)
        });
        let fork = self.new_live(name, mine.live.kind);
        let source = format!("/v1/stream/{}", mine.live.name);
        let mut request = Request::new("PUT", &fork.name, "").with("Stream-Forked-From", source);
        if let Some(mark) = &at {
            request = request.with("Stream-Fork-Offset", &mark.token);
        }
        let (response, lost) = self.caller.insist(&request).await;
        self.created(&fork, &response, lost);
        let token = response.head.next().unwrap_or_default().to_owned();
        let Some(mark) = self.caller.mark_at(&mine.live, &token).await else {
            return;
        };
        if at.is_some_and(|at| at.position != mark.position) {
            self.caller
                .wrong("PUT at another place", &fork.name, &response);
        }
        self.caller.world.monitor().inherits(fork.id, &mark);
        mine.fork = Some(Box::new(self.own(fork)));
    }

    /// HEAD: the tail is not before anything that was acknowledged or read, and closure is as it was.
    pub(super) async fn ask(&mut self, mine: &Mine) {
        let (closing, far) = {
            let monitor = self.caller.world.monitor();
            let found = monitor.get(mine.live.id);
            let far = found.map_or(0, Incarnation::farthest);
            (found.map(|found| found.closing), far)
        };
        let request = Request::new("HEAD", &mine.live.name, "");
        let (response, _) = self.caller.insist(&request).await;
        let tail = response.head.next().and_then(position);
        let closed_stays = !matches!(closing, Some(Closing::Closed(_))) || response.head.closed();
        if response.head.status != 200 || tail.is_none_or(|tail| tail < far) || !closed_stays {
            let what = format!("HEAD, where {far} and {closing:?} were known, with {tail:?}");
            self.caller.wrong(&what, &mine.live.name, &response);
        }
    }

    /// The producer begins a new epoch; what it would send under the old one is refused.
    pub(super) async fn take_over(&mut self, mine: &mut Mine) {
        let old = mine.pen.clone();
        mine.pen.epoch += 1;
        mine.pen.seq = 0;
        let sent = Sent {
            close: false,
            how: How::Producer,
            messages: pen::messages(&mut self.caller.chance),
        };
        mine.pen.append(&mut self.caller, &mine.live, &sent).await;
        let zombie = Request::new("POST", &mine.live.name, "")
            .with("Producer-Id", old.producer())
            .with("Producer-Epoch", old.epoch)
            .with("Producer-Seq", old.seq)
            .carrying(mine.live.kind.content_type(), b"[\"zombie\"]".to_vec());
        let (response, _) = self.caller.insist(&zombie).await;
        let closed = response.head.status == 409 && response.head.closed();
        if response.head.status != 403 && !closed {
            self.caller
                .wrong("POST of an old epoch to", &mine.live.name, &response);
        }
    }

    /// An append whose `Stream-Seq` the stream has is refused.
    pub(super) async fn repeat_seq(&mut self, mine: &Mine) {
        let Some(seq) = &mine.pen.stream_seq else {
            return;
        };
        let again = Request::new("POST", &mine.live.name, "")
            .with("Stream-Seq", seq)
            .carrying(mine.live.kind.content_type(), b"[\"again\"]".to_vec());
        let (response, _) = self.caller.insist(&again).await;
        if response.head.status != 409 {
            let what = format!("POST with the old Stream-Seq {seq} to");
            self.caller.wrong(&what, &mine.live.name, &response);
        }
    }

    /// Closes a stream, alone or with a last append.
    pub(super) async fn close(&mut self, mine: &mut Mine) {
        let messages = if self.caller.chance.percent(50) {
            pen::messages(&mut self.caller.chance)
        } else {
            Vec::new()
        };
        let how = if messages.is_empty() {
            How::Plain
        } else {
            How::Producer
        };
        let sent = Sent {
            close: true,
            how,
            messages,
        };
        mine.pen.append(&mut self.caller, &mine.live, &sent).await;
        mine.closed = true;
    }

    /// An append to a closed stream is refused, and says where the stream ends.
    pub(super) async fn write_to_closed(&mut self, mine: &Mine) {
        let request = Request::new("POST", &mine.live.name, "")
            .carrying(mine.live.kind.content_type(), b"[\"late\"]".to_vec());
        let (response, _) = self.caller.insist(&request).await;
        let head = &response.head;
        if head.status != 409 || !head.closed() || head.next().is_none() {
            self.caller
                .wrong("POST after the close of", &mine.live.name, &response);
        }
    }

    /// The end of a stream, before or after that of its fork.
    pub(super) async fn end(&mut self, mine: Mine) -> Slot {
        self.caller.verify(&mine.live).await;
        let name = mine.live.name.clone();
        let request = Request::new("HEAD", &name, "");
        let (response, _) = self.caller.insist(&request).await;
        let tail = response.head.next().unwrap_or_default().to_owned();
        self.end_family(mine).await;
        if self.caller.chance.percent(50) {
            let looks = self.caller.chance.between(3, 15);
            return Slot::Deleted { name, looks };
        }
        let again = self.create(name).await;
        self.ask_for_old(&again.live, &tail).await;
        Slot::Mine(Box::new(again))
    }

    /// Deletes a stream and its forks, in either order. What a fork held may be given back a little
    /// after it was deleted (PROTOCOL 4.2).
    async fn end_family(&mut self, mut mine: Mine) {
        let Some(mut fork) = mine.fork.take() else {
            return self.delete(&mine.live).await;
        };
        if self.caller.chance.percent(50) {
            Box::pin(self.end_family(*fork)).await;
            self.delete(&mine.live).await;
            return self.await_reclaim(&mine.live).await;
        }
        self.delete(&mine.live).await;
        for _ in 0..self.caller.chance.between(2, 6) {
            self.write(&mut fork).await;
            self.expect_status(&mine.live.name, &[410]).await;
        }
        let again = Request::new("PUT", &mine.live.name, "")
            .with("Content-Type", mine.live.kind.content_type());
        let (response, _) = self.caller.insist(&again).await;
        if response.head.status != 409 {
            let name = &mine.live.name;
            self.caller
                .wrong("PUT on a deleted source", name, &response);
        }
        self.caller.verify(&fork.live).await;
        Box::pin(self.end_family(*fork)).await;
        self.await_reclaim(&mine.live).await;
    }

    async fn await_reclaim(&mut self, source: &Live) {
        for _ in 0..LOOKS_UNTIL_RECLAIMED {
            let status = self.expect_status(&source.name, &[404, 410]).await;
            if status == 404 {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let what = format!("{} has no fork any more and is still held", source.name);
        self.caller.world.monitor().violation(what);
    }

    /// Deletes a stream for good: once answered, it stays deleted.
    async fn delete(&mut self, live: &Live) {
        // Late duplicates of earlier requests would find the name's next life.
        self.caller.quiet().await;
        let world = Rc::clone(&self.caller.world);
        world.withdraw(live.id);
        let alone = live.gate.write().await;
        world.monitor().deleting(live.id, Deleting::Asked);
        let request = Request::new("DELETE", &live.name, "");
        let (response, lost) = self.caller.insist(&request).await;
        let fine = match response.head.status {
            204 => true,
            404 | 410 => lost > 0,
            _ => false,
        };
        if !fine {
            self.caller.wrong("DELETE", &live.name, &response);
        }
        let mut monitor = world.monitor();
        monitor.deleting(live.id, Deleting::Done);
        monitor.forget(live.id);
        drop(monitor);
        drop(alone);
    }

    pub(super) async fn look_at_deleted(&mut self, name: String, looks: u64) -> Slot {
        self.expect_status(&name, &[404]).await;
        match looks.checked_sub(1) {
            Some(looks) => Slot::Deleted { name, looks },
            None => Slot::Mine(Box::new(self.create(name).await)),
        }
    }

    async fn expect_status(&mut self, name: &str, wanted: &[u16]) -> u16 {
        let method = if self.caller.chance.percent(50) {
            "GET"
        } else {
            "HEAD"
        };
        let (response, _) = self.caller.insist(&Request::new(method, name, "")).await;
        let status = response.head.status;
        if !wanted.contains(&status) {
            let what = format!("{method} {name} answered {status}, expected {wanted:?}");
            self.caller.world.monitor().violation(what);
        }
        status
    }

    /// T41: an offset of a deleted stream names nothing in the stream that has its name now.
    async fn ask_for_old(&mut self, live: &Live, token: &str) {
        let query = format!("?offset={token}");
        let request = Request::new("GET", &live.name, &query);
        let (response, _) = self.caller.insist(&request).await;
        let head = &response.head;
        if head.status != 410 || head.header("stream-earliest-offset").is_none() {
            let what = format!("GET with the offset {token} of an earlier life of");
            self.caller.wrong(&what, &live.name, &response);
        }
    }
}
