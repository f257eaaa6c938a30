//! The owners of streams: each creates, fills, forks, closes, deletes and re-creates streams of its
//! own, one request after the other, and sends every request again until it knows what became of it.
//!
//! Next: `life.rs` (the steps in the life of a stream).

use std::rc::Rc;

use super::{
    Caller,
    pen::{self, How, Pen, Sent},
};
use crate::world::Live;

/// How many streams (each with at most one fork) an owner keeps at a time.
const SLOTS: usize = 2;

/// An owner.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(super) caller: Caller,
    slots: [Slot; SLOTS],
    pub(super) forks: u32,
}

/// What became of one of an owner's names.
#[derive(Debug)]
pub(super) enum Slot {
    Empty,
    Mine(Box<Mine>),
    /// Deleted: it has to stay so for this many more looks.
    Deleted {
        name: String,
        looks: u64,
    },
}

/// A stream of one's own.
#[derive(Debug)]
pub(super) struct Mine {
    pub(super) live: Rc<Live>,
    pub(super) pen: Pen,
    /// How many more steps it lives.
    pub(super) steps: u64,
    pub(super) closed: bool,
    pub(super) fork: Option<Box<Mine>>,
}

impl Owner {
    pub(crate) fn new(caller: Caller) -> Self {
        Self {
            caller,
            slots: [Slot::Empty, Slot::Empty],
            forks: 0,
        }
    }

    /// Works until the run ends.
    pub(crate) async fn work(mut self) {
        while !self.caller.world.is_stopping() {
            let at = self.caller.chance.index(SLOTS);
            self.step(at).await;
            let pause = self.caller.chance.millis(0, 30);
            millrace_env::sleep(pause).await;
        }
    }

    async fn step(&mut self, at: usize) {
        let slot = std::mem::replace(&mut self.slots[at], Slot::Empty);
        self.slots[at] = match slot {
            Slot::Empty => {
                let name = format!("sim/w{}/s{at}", self.caller.who);
                Slot::Mine(Box::new(self.create(name).await))
            }
            Slot::Mine(mine) if mine.steps == 0 => self.end(*mine).await,
            Slot::Mine(mut mine) => {
                mine.steps -= 1;
                match mine.fork.take() {
                    Some(mut fork) if self.caller.chance.percent(35) => {
                        self.use_it(&mut fork).await;
                        mine.fork = Some(fork);
                    }
                    fork => {
                        mine.fork = fork;
                        self.use_it(&mut mine).await;
                    }
                }
                Slot::Mine(mine)
            }
            Slot::Deleted { name, looks } => self.look_at_deleted(name, looks).await,
        };
    }

    /// One step in the life of a stream.
    async fn use_it(&mut self, mine: &mut Mine) {
        match self.caller.chance.between(0, 100) {
            0..4 if mine.fork.is_none() => self.make_fork(mine).await,
            0..8 => self.caller.verify(&mine.live).await,
            8..14 => self.ask(mine).await,
            14..18 if !mine.closed => self.take_over(mine).await,
            18..22 => self.repeat_seq(mine).await,
            _ => self.write(mine).await,
        }
    }

    /// An append; the last steps of a stream's life are spent closed.
    pub(super) async fn write(&mut self, mine: &mut Mine) {
        if mine.closed {
            return self.write_to_closed(mine).await;
        }
        if mine.steps < 5 && self.caller.chance.percent(40) {
            return self.close(mine).await;
        }
        let how = match self.caller.chance.between(0, 100) {
            0..12 => How::Plain,
            12..30 => How::Seq,
            _ => How::Producer,
        };
        let sent = Sent {
            close: false,
            how,
            messages: pen::messages(&mut self.caller.chance),
        };
        mine.pen.append(&mut self.caller, &mine.live, &sent).await;
    }
}
