//! What the clients of a run share: the network, the clocks, which streams live, and the judge.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use millrace_engine::Durability;
use millrace_env::{Clock as _, SimDisk};
use tokio::sync::RwLock;

use crate::{
    clients::hook::Inbox,
    clock::LoopClock,
    mishap::Mishap,
    net::{Net, UNDER_WAY_MAX},
    plan::Start,
    trace::Trace,
    witness::{Id, Kind, Monitor},
};

/// A stream that lives.
#[derive(Debug)]
pub(crate) struct Live {
    /// Its number with the judge.
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Held to read while a guest has an append to it under way, and to write while it is deleted, so
    /// that no append of one life lands in the next.
    pub(crate) gate: RwLock<()>,
}

/// What the clients of a run share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) clock: Arc<LoopClock>,
    pub(crate) trace: Trace,
    pub(crate) durability: Durability,
    /// Where webhooks are delivered to.
    pub(crate) inbox: Arc<Inbox>,
    /// The disk of the server of now.
    disk: RefCell<Arc<SimDisk>>,
    monitor: RefCell<Monitor>,
    board: RefCell<Vec<Rc<Live>>>,
    is_stopping: Cell<bool>,
    is_settled: Cell<bool>,
    /// When each server was started.
    starts: RefCell<Vec<Duration>>,
    /// When the wall clock was last set.
    jumped_at: Cell<Option<Duration>>,
    /// Whether the disk may have refused something to the server of now.
    disk_fails: Cell<bool>,
    disk_is_full: Cell<bool>,
    /// The files of which bits flipped, until the disk is mended.
    rotten: RefCell<Vec<String>>,
    /// Those of which the server of now may have read wrong bits.
    distrusted: RefCell<Vec<String>>,
    /// Answers of a life with a failing disk may come until then.
    excused_until: Cell<Duration>,
    /// How often each kind of thing happened.
    pub(crate) tally: RefCell<BTreeMap<&'static str, u64>>,
}

impl World {
    pub(crate) fn new(
        net: Net,
        clock: Arc<LoopClock>,
        trace: Trace,
        disk: Arc<SimDisk>,
        durability: Durability,
    ) -> Self {
        let monitor = Monitor::default();
        let inbox = Inbox::new(trace.clone(), monitor.watcher());
        Self {
            net,
            clock,
            trace,
            durability,
            inbox,
            disk: RefCell::new(disk),
            monitor: RefCell::new(monitor),
            board: RefCell::default(),
            is_stopping: Cell::new(false),
            is_settled: Cell::new(false),
            starts: RefCell::default(),
            jumped_at: Cell::default(),
            disk_fails: Cell::new(false),
            disk_is_full: Cell::new(false),
            rotten: RefCell::default(),
            distrusted: RefCell::default(),
            excused_until: Cell::default(),
            tally: RefCell::default(),
        }
    }

    /// The judge; not to be held across a wait.
    pub(crate) fn monitor(&self) -> RefMut<'_, Monitor> {
        self.monitor.borrow_mut()
    }

    /// One more of a kind.
    pub(crate) fn count(&self, what: &'static str) {
        *self.tally.borrow_mut().entry(what).or_default() += 1;
    }

    /// A stream becomes known to readers and guests.
    pub(crate) fn publish(&self, live: &Rc<Live>) {
        self.board.borrow_mut().push(Rc::clone(live));
    }

    /// It is hidden from them.
    pub(crate) fn withdraw(&self, id: Id) {
        self.board.borrow_mut().retain(|live| live.id != id);
    }

    /// The streams that live.
    pub(crate) fn board(&self) -> Vec<Rc<Live>> {
        self.board.borrow().clone()
    }

    /// Asks the clients to end.
    pub(crate) fn stop(&self) {
        self.is_stopping.set(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Nobody appends any more.
    pub(crate) fn settle(&self) {
        self.is_settled.set(true);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled.get()
    }

    /// A server begins on this disk.
    pub(crate) fn server_begins(&self, disk: &Arc<SimDisk>, start: Start) {
        if start == Start::Healed {
            disk.heal();
        }
        *self.disk.borrow_mut() = Arc::clone(disk);
        self.distrusted.replace(self.rotten.borrow().clone());
        let fails = self.disk_is_full.get() || disk.is_failing() || self.is_rotten();
        if self.disk_fails.replace(fails) {
            self.excused_until.set(self.clock.mono() + UNDER_WAY_MAX);
        }
        self.starts.borrow_mut().push(self.clock.mono());
    }

    /// Whether an answer that comes now may say that the disk failed.
    pub(crate) fn excuses_failures(&self) -> bool {
        self.disk_fails() || self.clock.mono() < self.excused_until.get()
    }

    /// Whether the disk may have refused something to the server of now.
    pub(crate) fn disk_fails(&self) -> bool {
        self.disk_fails.get()
    }

    /// There is room for so many bytes and no more, until `None` ends it.
    pub(crate) fn limit_disk(&self, more: Option<u64>) {
        self.disk_is_full.set(more.is_some());
        let disk = self.failing_disk();
        disk.set_capacity(more.map(|more| disk.used() + more));
    }

    /// The disk, for somebody who lets it fail.
    pub(crate) fn failing_disk(&self) -> Arc<SimDisk> {
        self.disk_fails.set(true);
        Arc::clone(&self.disk.borrow())
    }

    /// A bit of this file flipped.
    pub(crate) fn note_rot(&self, path: &str) {
        self.rotten.borrow_mut().push(path.to_owned());
        self.distrusted.borrow_mut().push(path.to_owned());
    }

    /// Whether some bit at rest may read wrong.
    pub(crate) fn is_rotten(&self) -> bool {
        !self.rotten.borrow().is_empty()
    }

    /// Whether an error names a file of which the server of now may have read a flipped bit.
    pub(crate) fn names_rot(&self, error: &str) -> bool {
        let distrusted = self.distrusted.borrow();
        let stem = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            name.split('.').next().unwrap_or(name).to_owned()
        };
        distrusted.iter().any(|path| error.contains(&stem(path)))
    }

    /// Every bit at rest reads as it was written.
    pub(crate) fn mend(&self) {
        if !self.rotten.take().is_empty() {
            self.disk.borrow().mend();
            self.trace.note(format_args!("disk is mended"));
        }
    }

    /// The wall clock is set.
    pub(crate) fn jump(&self, by_millis: i64) {
        self.trace.count(if by_millis < 0 {
            Mishap::ClockBack
        } else {
            Mishap::ClockForward
        });
        self.trace
            .note(format_args!("clock is set by {by_millis} ms"));
        self.clock.jump(by_millis);
        self.jumped_at.set(Some(self.clock.mono()));
    }

    /// Whether a lifetime of `ttl` may be over that was renewed at `touched`: in any life of the server
    /// since then, with each of which it begins again. A jump of the clock may have ended it as well.
    pub(crate) fn may_be_over(&self, touched: Duration, ttl: Duration) -> bool {
        let jumped = self.jumped_at.get().is_some_and(|at| at >= touched);
        let starts = self.starts.borrow();
        let ends = starts.iter().skip(1).copied().chain([self.clock.mono()]);
        let mut lives = starts.iter().zip(ends);
        jumped || lives.any(|(start, end)| end.saturating_sub(touched.max(*start)) >= ttl)
    }
}
