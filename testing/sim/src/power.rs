//! How long a life of the server is, and its end: from one moment to the next nothing that it does
//! reaches the disk or the network.
//!
//! The moment is counted in what the outside can tell apart: I/Os of the disk, bytes handed to the
//! network, rounds of the event loop, time. What of the last I/O was carried out, the disk draws.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use millrace_env::SimDisk;

use crate::{mishap::Mishap, trace::Trace};

/// When a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// In this mutating I/O, counted from the start of the life; from 1.
    AtIo(u64),
    /// Instead of this hand-over of bytes to the network.
    AtSend(u64),
    /// After this round of the event loop.
    AtRound(u64),
    /// At this time since the start of the life.
    AtTime(Duration),
    /// Not at all.
    Never,
}

/// How far a life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// It opens its data directory.
    Starting,
    Serving,
    /// It was asked to end.
    Ending,
}

/// Whether the server lives; cheap to clone.
#[derive(Clone, Debug)]
pub struct Power(Arc<Life>);

#[derive(Debug)]
struct Life {
    disk: Arc<SimDisk>,
    trace: Trace,
    is_off: AtomicBool,
    /// A [`Stage`].
    stage: AtomicU8,
    sends_left: AtomicU64,
    rounds_left: AtomicU64,
}

impl Power {
    /// A life that begins now, with `disk` as it is.
    pub fn on(disk: Arc<SimDisk>, trace: Trace, death: Death) -> Self {
        let (mut sends_left, mut rounds_left) = (u64::MAX, u64::MAX);
        match death {
            Death::AtIo(io) => disk.crash_after(io),
            Death::AtSend(send) => sends_left = send,
            Death::AtRound(round) => rounds_left = round,
            Death::AtTime(_) | Death::Never => {}
        }
        Self(Arc::new(Life {
            disk,
            trace,
            is_off: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::Starting as u8),
            sends_left: AtomicU64::new(sends_left),
            rounds_left: AtomicU64::new(rounds_left),
        }))
    }

    /// Whether the life is over.
    pub fn is_off(&self) -> bool {
        self.0.is_off.load(Ordering::SeqCst)
    }

    /// It has come so far.
    pub(crate) fn reached(&self, stage: Stage) {
        self.0.stage.store(stage as u8, Ordering::SeqCst);
    }

    /// Whether it has come so far and no further.
    pub(crate) fn is_in(&self, stage: Stage) -> bool {
        self.0.stage.load(Ordering::SeqCst) == stage as u8
    }

    /// Ends it, whatever it is at.
    pub fn cut(&self, how: Mishap) {
        if self.is_off() {
            return;
        }
        let trace = &self.0.trace;
        trace.note(format_args!("the server dies: {}", how.name()));
        trace.count(how);
        if self.is_in(Stage::Starting) {
            trace.count(Mishap::KilledWhileStarting);
        } else if self.is_in(Stage::Ending) {
            trace.count(Mishap::KilledWhileEnding);
        }
        self.end();
    }

    /// Nothing of it is left to die.
    pub(crate) fn end(&self) {
        if !self.0.is_off.swap(true, Ordering::SeqCst) {
            self.0.disk.crash_after(0);
        }
    }

    /// The disk says that its power is off.
    pub(crate) fn disk_died(&self) {
        self.cut(Mishap::KilledInIo);
    }

    /// Whether the bytes that are handed over get out.
    pub(crate) fn sends(&self) -> bool {
        if counted_down(&self.0.sends_left) {
            self.cut(Mishap::KilledBeforeSend);
        }
        !self.is_off()
    }

    /// A round of the event loop is done.
    pub(crate) fn went_round(&self) {
        if counted_down(&self.0.rounds_left) {
            self.cut(Mishap::KilledBetweenRounds);
        }
    }
}

/// Whether this was the last one.
fn counted_down(left: &AtomicU64) -> bool {
    left.fetch_sub(1, Ordering::SeqCst) == 1
}
