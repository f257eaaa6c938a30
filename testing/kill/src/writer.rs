//! The owners of streams: each creates, fills, forks, closes, deletes and re-creates streams of its
//! own, one request after the other, and sends every request again until it knows what became of it.

mod append;
mod life;

use std::sync::Arc;

use crate::{
    schedule::Chance,
    world::{Abandoned, Caller, Live, World},
};

pub use append::{Pen, Sent};

/// How many streams (each with at most one fork) a writer keeps at a time.
const SLOTS: usize = 3;

/// A writer.
#[derive(Debug)]
pub struct Writer<'a> {
    caller: Caller<'a>,
    chance: Chance,
    number: u32,
    slots: [Slot; SLOTS],
    names: u32,
}

/// What became of one of a writer's names.
#[derive(Debug)]
enum Slot {
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
struct Mine {
    live: Arc<Live>,
    pen: Pen,
    /// How many more steps it lives.
    steps: u64,
    closed: bool,
    fork: Option<Box<Mine>>,
}

impl<'a> Writer<'a> {
    /// The writer of this number.
    pub fn new(world: &'a World, number: u32, chance: Chance) -> Self {
        Self {
            caller: Caller::new(world),
            chance,
            number,
            slots: [Slot::Empty, Slot::Empty, Slot::Empty],
            names: 0,
        }
    }

    /// Works until the run ends.
    pub fn work(mut self) {
        while !self.caller.world.is_stopping() {
            let slot = self.chance.index(SLOTS);
            if self.step(slot).is_err() {
                return;
            }
        }
    }

    fn step(&mut self, at: usize) -> Result<(), Abandoned> {
        let slot = std::mem::replace(&mut self.slots[at], Slot::Empty);
        self.slots[at] = match slot {
            Slot::Empty => self.begin(at)?,
            Slot::Mine(mine) if mine.steps == 0 => self.end(*mine)?,
            Slot::Mine(mut mine) => {
                mine.steps -= 1;
                self.use_it(&mut mine)?;
                Slot::Mine(mine)
            }
            Slot::Deleted { name, looks } => self.look_at_deleted(name, looks)?,
        };
        Ok(())
    }

    fn begin(&mut self, at: usize) -> Result<Slot, Abandoned> {
        let name = format!("kill/w{}/s{at}", self.number);
        Ok(Slot::Mine(Box::new(self.create(name)?)))
    }

    /// One step in the life of a stream.
    fn use_it(&mut self, mine: &mut Mine) -> Result<(), Abandoned> {
        match self.chance.between(0, 100) {
            0..2 if mine.fork.is_none() => self.make_fork(mine),
            0..5 => self.caller.verify(&mine.live),
            5..10 => self.ask(mine),
            10..13 if !mine.closed => self.take_over(mine),
            13..40 => match mine.fork.take() {
                Some(mut fork) => {
                    let done = self.use_it(&mut fork);
                    mine.fork = Some(fork);
                    done
                }
                None => self.write(mine),
            },
            _ => self.write(mine),
        }
    }

    /// An append; the last steps of a stream's life are spent closed.
    fn write(&mut self, mine: &mut Mine) -> Result<(), Abandoned> {
        if mine.closed {
            return self.write_to_closed(mine);
        }
        if mine.steps < 6 && self.chance.percent(40) {
            return self.close(mine);
        }
        let plain = self.chance.percent(15);
        let sent = Sent {
            close: false,
            plain,
            messages: append::messages(&mut self.chance),
        };
        mine.pen.append(&mut self.caller, &mine.live, &sent)
    }
}
