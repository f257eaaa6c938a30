//! What is known of one life of a name: a stream from its creation to its deletion.
//!
//! A life is known by its *own* generations: those of bytes that were appended to it. A generation is
//! given out once, so that an answer that shows an own generation is about this life, whatever else
//! was done to the name at that time. Generations that it inherited as a fork are not its own: another
//! fork under the same name may have them, too.
//!
//! INVARIANT: what is noted here is true whatever the order in which things happened between a request
//! and its answer. A *sight* says that something was so at one moment between the two; it is compared
//! only with what was answered before its request was sent.

use std::collections::{BTreeMap, HashMap};

use super::{asking::Claim, spans::Spans, token::Token};

/// A moment in the order in which the watcher was told of things.
pub(crate) type Tick = u64;

/// BOUND: moments of a stream's growth that are remembered; some in between are forgotten beyond that.
const HEIGHTS_MAX: usize = 512;

/// What an answer said of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// When it was asked, and answered.
    pub(crate) sent: Tick,
    pub(crate) now: Tick,
    /// The exchange.
    pub(crate) by: u64,
    /// An offset of the stream.
    pub(crate) at: Token,
    /// Whether this was its tail.
    pub(crate) is_tail: bool,
    /// Whether it was said to be closed there.
    pub(crate) closed: bool,
}

/// One life.
#[derive(Debug)]
pub(crate) struct Life {
    /// When the creation was asked for that made it.
    pub(crate) born: Option<Tick>,
    /// When an answer showed it first.
    pub(crate) known: Tick,
    /// Whether it is known to have no end of its own.
    pub(crate) unlimited: bool,
    /// Since when it is known to be gone, and by which exchange.
    pub(crate) gone: Option<(Tick, u64)>,
    closed: Option<Closed>,
    /// By generation: the first and the last position with it that somebody was told.
    sections: BTreeMap<u64, (u64, u64)>,
    heights: Vec<Height>,
    /// What acknowledged appends take.
    taken: Spans,
    /// By producer and epoch: the requests that were carried out.
    done: HashMap<(String, u64), Spans>,
    /// How many bytes it began with that are another's, where its creation was seen.
    inherited: Option<u64>,
    /// Whether more may have been appended to it than anybody can count.
    uncounted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    since: Tick,
    at: Token,
    by: u64,
}

#[derive(Clone, Copy, Debug)]
struct Height {
    since: Tick,
    position: u64,
    by: u64,
}

/// What cannot be, and the exchange that said otherwise.
pub(crate) type Fault = (String, u64);

impl Life {
    pub(crate) fn new(known: Tick) -> Self {
        Self {
            born: None,
            known,
            unlimited: false,
            gone: None,
            closed: None,
            sections: BTreeMap::new(),
            heights: Vec::new(),
            taken: Spans::default(),
            done: HashMap::new(),
            inherited: None,
            uncounted: false,
        }
    }

    /// It was created by a request that was sent then, with so many bytes that are another's.
    pub(crate) fn is_born(&mut self, sent: Tick, inherited: u64) {
        self.born = Some(sent);
        self.inherited = Some(inherited);
    }

    /// No more is known of how many bytes it may have.
    pub(crate) fn loses_count(&mut self) {
        self.uncounted = true;
    }

    /// Its newest generation.
    pub(crate) fn newest(&self) -> u64 {
        self.sections
            .last_key_value()
            .map_or(0, |(generation, _)| *generation)
    }

    /// Whether it had this offset at a moment.
    pub(crate) fn had(&self, token: Token, moment: Tick) -> bool {
        let section = self.sections.get(&token.generation);
        let inside =
            section.is_some_and(|(first, last)| (*first..=*last).contains(&token.position));
        inside && token.position <= self.reached(moment).0
    }

    /// How far it had come at a moment, as far as anybody knew, and by which exchange.
    pub(crate) fn reached(&self, moment: Tick) -> (u64, u64) {
        let later = self.heights.partition_point(|height| height.since < moment);
        let last = later.checked_sub(1).map(|index| self.heights[index]);
        last.map_or((0, 0), |height| (height.position, height.by))
    }

    /// An answer said something of it.
    pub(crate) fn see(&mut self, sight: Sight) -> Result<(), Fault> {
        if let Some((since, by)) = self.gone
            && since < sight.sent
        {
            return Err((
                format!("it was gone, and {} is one of its offsets", sight.at),
                by,
            ));
        }
        self.order(sight)?;
        self.ends(sight)?;
        let (reached, by) = self.reached(sight.sent);
        if sight.is_tail && sight.at.position < reached {
            let what = format!("its tail is {}, after it had reached {reached}", sight.at);
            return Err((what, by));
        }
        self.grow(sight);
        Ok(())
    }

    /// One position has one token, and their order is that of positions.
    fn order(&mut self, sight: Sight) -> Result<(), Fault> {
        let Token {
            generation,
            position,
        } = sight.at;
        let before = self.sections.range(..generation).next_back();
        let after = self.sections.range(generation + 1..).next();
        let is_past = before.is_none_or(|(_, (_, last))| position > *last);
        let is_before = after.is_none_or(|(_, (first, _))| position < *first);
        if !(is_past && is_before) {
            let other = before.filter(|_| !is_past).or(after);
            let other = other.map(|(generation, (first, last))| {
                let position = if is_past { *first } else { *last };
                Token {
                    generation: *generation,
                    position,
                }
            });
            let other = other.map_or_else(String::new, |other| other.to_string());
            let what = format!("{} and {other} are not in the order of positions", sight.at);
            return Err((what, 0));
        }
        let section = self
            .sections
            .entry(generation)
            .or_insert((position, position));
        *section = (section.0.min(position), section.1.max(position));
        Ok(())
    }

    /// Closed is final, and so is the offset it was closed at.
    fn ends(&mut self, sight: Sight) -> Result<(), Fault> {
        match self.closed {
            Some(end) => {
                if sight.at > end.at {
                    return Err((
                        format!("it was closed at {}, and reaches {}", end.at, sight.at),
                        end.by,
                    ));
                }
                if sight.closed && sight.at != end.at {
                    return Err((
                        format!("it was closed at {}, and at {}", end.at, sight.at),
                        end.by,
                    ));
                }
                if sight.is_tail && !sight.closed && end.since < sight.sent {
                    return Err((format!("it was closed at {}, and is open", end.at), end.by));
                }
            }
            None if sight.closed => {
                let last = self.sections.last_key_value();
                let farthest = last.map(|(generation, (_, position))| Token {
                    generation: *generation,
                    position: *position,
                });
                if let Some(farthest) = farthest.filter(|farthest| *farthest > sight.at) {
                    let what = format!("it is closed at {}, and reached {farthest}", sight.at);
                    return Err((what, 0));
                }
                self.closed = Some(Closed {
                    since: sight.now,
                    at: sight.at,
                    by: sight.by,
                });
            }
            None => {}
        }
        Ok(())
    }

    fn grow(&mut self, sight: Sight) {
        let position = sight.at.position;
        if self
            .heights
            .last()
            .is_some_and(|last| last.position >= position)
        {
            return;
        }
        self.heights.push(Height {
            since: sight.now,
            position,
            by: sight.by,
        });
        if self.heights.len() > HEIGHTS_MAX {
            let mut index = 0;
            let newest = self.heights.len() - 1;
            self.heights.retain(|_| {
                index += 1;
                index % 2 == 0 || index > newest
            });
        }
    }

    /// An append was acknowledged that takes `from..to`, sent at `sent`.
    pub(crate) fn takes(&mut self, from: u64, to: u64, sent: Tick) -> Result<(), Fault> {
        if !self.taken.insert(from, to) {
            let what = format!("two acknowledged appends take bytes of {from} to {to}");
            self.uncounted = true;
            return Err((what, 0));
        }
        let (reached, by) = self.reached(sent);
        if from < reached {
            let what = format!("an append begins at {from}, sent after {reached} was reached");
            return Err((what, by));
        }
        Ok(())
    }

    /// A producer's request was carried out, as its answer says.
    pub(crate) fn does(&mut self, claim: &Claim) -> Result<(), Fault> {
        let done = self
            .done
            .entry((claim.id.clone(), claim.epoch))
            .or_default();
        if done.insert(claim.seq, claim.seq + 1) {
            return Ok(());
        }
        let Claim { id, epoch, seq } = claim;
        let what = format!("producer {id}'s request {seq} of epoch {epoch} was carried out twice");
        Err((what, 0))
    }

    /// Whether a producer's request was carried out.
    pub(crate) fn has_done(&self, claim: &Claim) -> bool {
        let done = self.done.get(&(claim.id.clone(), claim.epoch));
        done.is_some_and(|done| done.has(claim.seq))
    }

    /// How long it may be with nothing but what it began with and what was acknowledged.
    pub(crate) fn accounted(&self) -> Option<u64> {
        let inherited = self.inherited.filter(|_| !self.uncounted)?;
        Some(inherited + self.taken.total())
    }

    /// Another one turns out to be the same.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.born = self.born.or(other.born);
        self.known = self.known.min(other.known);
        self.unlimited |= other.unlimited;
        self.gone = self.gone.or(other.gone);
        self.closed = self.closed.or(other.closed);
        self.sections.extend(other.sections);
        self.heights.extend(other.heights);
        self.heights
            .sort_by_key(|height| (height.since, height.position));
        let mut highest = 0;
        self.heights.retain(|height| {
            let rises = height.position > highest;
            highest = highest.max(height.position);
            rises
        });
        // Appends in both may not be told from each other any more.
        self.uncounted = true;
    }
}
