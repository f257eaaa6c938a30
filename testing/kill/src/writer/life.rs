//! A stream's life apart from its appends: creation, forks, questions, closing, deletion, and the
//! name's next life.

use std::sync::{Arc, RwLock};

use millrace_monitor::{
    judge::{Closing, Deleting, Incarnation, Mark, Settled, position},
    message::{HASH_START, Kind, fold},
};

use super::{Mine, Pen, Sent, Slot, Writer, append};
use crate::{
    http::{Request, Response},
    world::{Abandoned, Live},
};

/// A deleted source is gone this many looks after its last fork, at the latest.
const LOOKS_UNTIL_RECLAIMED: u32 = 400;

impl Writer<'_> {
    /// Creates a stream, half of the time with its first content.
    pub(super) fn create(&mut self, name: String) -> Result<Mine, Abandoned> {
        let kind = if self.chance.percent(60) {
            Kind::Json
        } else {
            Kind::Bytes
        };
        let live = self.new_live(name, kind);
        let mut request = Request::new("PUT", &live.name, "");
        if self.chance.percent(25) {
            request = request.with("Stream-TTL", 3600);
        }
        let mut first = None;
        if self.chance.percent(50) {
            let pad = self.chance.index(300);
            let (key, wire, body) = append::first_content(&live, self.number, pad);
            self.caller.world.judge().sending(live.id, key, 1, &wire);
            request = request.carrying(kind.content_type(), body);
            first = Some(key);
        } else {
            request = request.with("Content-Type", kind.content_type());
        }
        let (response, lost) = self.caller.insist(&request)?;
        self.created(&live, &response, lost);
        if let Some(key) = first {
            let mut judge = self.caller.world.judge();
            judge.settle(live.id, key, Settled::Acked, response.head.next());
        }
        Ok(self.own(live))
    }

    fn new_live(&mut self, name: String, kind: Kind) -> Arc<Live> {
        let id = self.caller.world.judge().open(name.clone(), kind);
        Arc::new(Live {
            id,
            name,
            kind,
            gate: RwLock::new(()),
        })
    }

    fn own(&mut self, live: Arc<Live>) -> Mine {
        self.caller.world.publish(&live);
        Mine {
            pen: Pen::new(self.number),
            steps: self.chance.between(10, 90),
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
            self.wrong("PUT", live, response);
        }
    }

    fn wrong(&self, what: &str, live: &Live, response: &Response) {
        let what = format!(
            "{what} {} answered {}: {}",
            live.name,
            response.head.status,
            String::from_utf8_lossy(&response.body)
        );
        self.caller.world.judge().violation(what);
    }

    /// Forks a stream, at its tail or at an offset that some reader had.
    pub(super) fn make_fork(&mut self, mine: &mut Mine) -> Result<(), Abandoned> {
        self.names += 1;
        let name = format!("{}-fork{}", mine.live.name, self.names);
        let at = self.chance.percent(60).then(|| {
            let which = self.chance.index(1 << 20);
            self.caller.world.judge().pick(mine.live.id, which)
        });
        let fork = self.new_live(name, mine.live.kind);
        let source = format!("/v1/stream/{}", mine.live.name);
        let mut request = Request::new("PUT", &fork.name, "").with("Stream-Forked-From", source);
        if let Some(mark) = &at {
            request = request.with("Stream-Fork-Offset", &mark.token);
        }
        let (response, lost) = self.caller.insist(&request)?;
        self.created(&fork, &response, lost);
        let token = response.head.next().unwrap_or_default().to_owned();
        let Some(mark) = self.mark_at(mine, &token)? else {
            return Ok(());
        };
        if at.is_some_and(|at| at.position != mark.position) {
            self.wrong("the fork's place of PUT", &fork, &response);
        }
        self.caller.world.judge().inherits(fork.id, &mark);
        mine.fork = Some(Box::new(self.own(fork)));
        Ok(())
    }

    /// The mark of a source's offset, by reading the source.
    fn mark_at(&mut self, mine: &Mine, token: &str) -> Result<Option<Mark>, Abandoned> {
        let whole = self.caller.read_whole(&mine.live)?;
        let at = position(token).and_then(|at| usize::try_from(at).ok());
        let bytes = whole.as_ref().and_then(|whole| whole.bytes.get(..at?));
        if bytes.is_none() {
            let what = format!("{} was forked at {token:?}", mine.live.name);
            self.caller.world.judge().violation(what);
        }
        Ok(bytes.map(|bytes| Mark {
            token: token.to_owned(),
            position: bytes.len() as u64,
            hash: fold(HASH_START, bytes),
        }))
    }

    /// HEAD: the tail is not before anything that was acknowledged, and closure is as it was.
    pub(super) fn ask(&mut self, mine: &Mine) -> Result<(), Abandoned> {
        let (closing, far) = {
            let judge = self.caller.world.judge();
            let found = judge.get(mine.live.id);
            (
                found.map(|found| found.closing),
                found.map_or(0, Incarnation::farthest),
            )
        };
        let (response, _) = self
            .caller
            .insist(&Request::new("HEAD", &mine.live.name, ""))?;
        let tail = response.head.next().and_then(position);
        let closed_stays = !matches!(closing, Some(Closing::Closed(_))) || response.head.closed();
        if response.head.status != 200 || tail.is_none_or(|tail| tail < far) || !closed_stays {
            let what = format!("HEAD, where {far} and {closing:?} were known, of");
            self.wrong(&what, &mine.live, &response);
        }
        Ok(())
    }

    /// The producer begins a new epoch; what it would send under the old one is refused.
    pub(super) fn take_over(&mut self, mine: &mut Mine) -> Result<(), Abandoned> {
        let old = mine.pen.clone();
        mine.pen.epoch += 1;
        mine.pen.seq = 0;
        let sent = Sent {
            close: false,
            plain: false,
            messages: append::messages(&mut self.chance),
        };
        mine.pen.append(&mut self.caller, &mine.live, &sent)?;
        let zombie = Request::new("POST", &mine.live.name, "")
            .with("Producer-Id", old.producer())
            .with("Producer-Epoch", old.epoch)
            .with("Producer-Seq", old.seq)
            .carrying(mine.live.kind.content_type(), b"[\"zombie\"]".to_vec());
        let (response, _) = self.caller.insist(&zombie)?;
        let closed = response.head.status == 409 && response.head.closed();
        if response.head.status != 403 && !closed {
            self.wrong("POST of an old epoch to", &mine.live, &response);
        }
        Ok(())
    }

    /// Closes a stream, alone or with a last append.
    pub(super) fn close(&mut self, mine: &mut Mine) -> Result<(), Abandoned> {
        let messages = if self.chance.percent(50) {
            append::messages(&mut self.chance)
        } else {
            Vec::new()
        };
        let sent = Sent {
            close: true,
            plain: messages.is_empty(),
            messages,
        };
        mine.pen.append(&mut self.caller, &mine.live, &sent)?;
        mine.closed = true;
        Ok(())
    }

    /// An append to a closed stream is refused, and says where the stream ends.
    pub(super) fn write_to_closed(&mut self, mine: &Mine) -> Result<(), Abandoned> {
        let request = Request::new("POST", &mine.live.name, "")
            .carrying(mine.live.kind.content_type(), b"[\"late\"]".to_vec());
        let (response, _) = self.caller.insist(&request)?;
        let head = &response.head;
        if head.status != 409 || !head.closed() || head.next().is_none() {
            self.wrong("POST after the close of", &mine.live, &response);
        }
        Ok(())
    }

    /// The end of a stream, before or after that of its fork.
    pub(super) fn end(&mut self, mine: Mine) -> Result<Slot, Abandoned> {
        self.caller.verify(&mine.live)?;
        let name = mine.live.name.clone();
        let tail = self.tail(&mine.live)?;
        self.end_family(mine)?;
        if self.chance.percent(50) {
            let looks = self.chance.between(3, 30);
            return Ok(Slot::Deleted { name, looks });
        }
        let again = self.create(name)?;
        self.ask_for_old(&again.live, &tail)?;
        Ok(Slot::Mine(Box::new(again)))
    }

    fn tail(&mut self, live: &Live) -> Result<String, Abandoned> {
        let (response, _) = self.caller.insist(&Request::new("HEAD", &live.name, ""))?;
        Ok(response.head.next().unwrap_or_default().to_owned())
    }

    /// Deletes a stream and its forks, in either order.
    fn end_family(&mut self, mut mine: Mine) -> Result<(), Abandoned> {
        let Some(mut fork) = mine.fork.take() else {
            return self.delete(&mine.live);
        };
        if self.chance.percent(50) {
            self.end_family(*fork)?;
            self.delete(&mine.live)?;
            // PROTOCOL 4.2: what a fork held may be given back a little after it was deleted.
            return self.await_reclaim(&mine.live);
        }
        self.delete(&mine.live)?;
        for _ in 0..self.chance.between(2, 10) {
            self.write(&mut fork)?;
            self.expect_status(&mine.live.name, &[410])?;
        }
        let again = Request::new("PUT", &mine.live.name, "")
            .with("Content-Type", mine.live.kind.content_type());
        let (response, _) = self.caller.insist(&again)?;
        if response.head.status != 409 {
            self.wrong("PUT on a deleted source", &mine.live, &response);
        }
        self.caller.verify(&fork.live)?;
        self.end_family(*fork)?;
        self.await_reclaim(&mine.live)
    }

    fn await_reclaim(&mut self, source: &Live) -> Result<(), Abandoned> {
        for _ in 0..LOOKS_UNTIL_RECLAIMED {
            let status = self.expect_status(&source.name, &[404, 410])?;
            if status == 404 {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let what = format!("{} has no fork any more and is still held", source.name);
        self.caller.world.judge().violation(what);
        Ok(())
    }

    /// Deletes a stream for good: once answered, it stays deleted.
    fn delete(&mut self, live: &Live) -> Result<(), Abandoned> {
        let world = self.caller.world;
        let alone = live.gate.write();
        world.withdraw(live.id);
        world.judge().deleting(live.id, Deleting::Asked);
        let (response, lost) = self
            .caller
            .insist(&Request::new("DELETE", &live.name, ""))?;
        let fine = match response.head.status {
            204 => true,
            404 | 410 => lost > 0,
            _ => false,
        };
        if !fine {
            self.wrong("DELETE", live, &response);
        }
        let mut judge = world.judge();
        judge.deleting(live.id, Deleting::Done);
        judge.forget(live.id);
        drop(judge);
        drop(alone);
        Ok(())
    }

    pub(super) fn look_at_deleted(&mut self, name: String, looks: u64) -> Result<Slot, Abandoned> {
        self.expect_status(&name, &[404])?;
        Ok(match looks.checked_sub(1) {
            Some(looks) => Slot::Deleted { name, looks },
            None => Slot::Mine(Box::new(self.create(name)?)),
        })
    }

    fn expect_status(&mut self, name: &str, wanted: &[u16]) -> Result<u16, Abandoned> {
        let method = if self.chance.percent(50) {
            "GET"
        } else {
            "HEAD"
        };
        let (response, _) = self.caller.insist(&Request::new(method, name, ""))?;
        let status = response.head.status;
        if !wanted.contains(&status) {
            let what = format!("{method} {name} answered {status}, expected {wanted:?}");
            self.caller.world.judge().violation(what);
        }
        Ok(status)
    }

    /// T41: an offset of a deleted stream names nothing in the stream that has its name now.
    fn ask_for_old(&mut self, live: &Live, token: &str) -> Result<(), Abandoned> {
        let query = format!("?offset={token}");
        let (response, _) = self
            .caller
            .insist(&Request::new("GET", &live.name, &query))?;
        let head = &response.head;
        if head.status != 410 || head.header("stream-earliest-offset").is_none() {
            let what = format!("GET with the offset {token} of an earlier life of");
            self.wrong(&what, live, &response);
        }
        Ok(())
    }
}
