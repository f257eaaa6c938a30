//! What is known of a name: its lives, and the requests that may still change them.

use std::collections::{BTreeMap, HashMap};

use super::{
    asking::Claim,
    life::{Fault, Life, Sight, Tick},
};

/// BOUND: lives of one name that are remembered; of older ones nothing is said any more.
const LIVES_MAX: usize = 64;

/// BOUND: appends without an answer that are remembered; where there are more, nobody counts any more.
const PENDING_MAX: usize = 4096;

/// A name.
#[derive(Debug, Default)]
pub(crate) struct Name {
    lives: Vec<Life>,
    /// By generation, the index of its life.
    own: HashMap<u64, usize>,
    /// Appends of which it is not known whether they were carried out, by exchange.
    pending: BTreeMap<u64, Pending>,
    /// Whether there were more of them than are remembered.
    uncounted: bool,
    /// Deletions that were sent and not answered.
    deletions: u64,
    /// When the last of those that were answered was.
    deleted: Tick,
    /// Whether a request to close it was ever sent.
    pub(crate) may_close: bool,
}

#[derive(Debug)]
struct Pending {
    bytes: u64,
    claim: Option<Claim>,
}

/// A life that is certain to be there, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sure {
    Yes,
    No,
}

impl Name {
    /// A deletion is sent.
    pub(crate) fn deleting(&mut self) {
        self.deletions += 1;
    }

    /// It was answered.
    pub(crate) fn deleted(&mut self, now: Tick) {
        self.deletions -= 1;
        self.deleted = now;
    }

    /// An append is sent.
    pub(crate) fn appending(&mut self, by: u64, bytes: u64, claim: Option<Claim>) {
        self.pending.insert(by, Pending { bytes, claim });
        if self.pending.len() > PENDING_MAX {
            self.pending.clear();
            self.uncounted = true;
        }
    }

    /// It is known what became of it.
    pub(crate) fn settled(&mut self, by: u64) {
        self.pending.remove(&by);
    }

    /// The life with this generation as its own.
    pub(crate) fn life(&mut self, generation: u64) -> Option<&mut Life> {
        let index = *self.own.get(&generation)?;
        self.lives.get_mut(index)
    }

    /// The life that must have been there all the time from before `sent` until now: nobody asked for
    /// its deletion, and it has no end of its own.
    pub(crate) fn certain(&self, sent: Tick, sure: Sure) -> Option<u64> {
        if sure == Sure::No || self.deletions > 0 {
            return None;
        }
        let stays = |life: &&Life| {
            let born = life.born.is_some_and(|born| self.deleted < born);
            born && life.unlimited && life.known < sent && life.gone.is_none()
        };
        self.lives.iter().find(stays).map(Life::newest)
    }

    /// A new life, known by this generation.
    pub(crate) fn begin(&mut self, generation: u64, now: Tick) -> &mut Life {
        for life in &mut self.lives {
            // Requests that nobody knows of may belong to the new one.
            life.loses_count();
        }
        if self.lives.len() == LIVES_MAX {
            self.forget_oldest();
        }
        self.own.insert(generation, self.lives.len());
        self.lives.push(Life::new(now));
        self.lives.last_mut().expect("just pushed")
    }

    fn forget_oldest(&mut self) {
        self.lives.remove(0);
        self.own.retain(|_, index| *index > 0);
        for index in self.own.values_mut() {
            *index -= 1;
        }
    }

    /// A generation is found to be of the same life as another.
    pub(crate) fn same(&mut self, known: u64, generation: u64) {
        let Some(keeps) = self.own.get(&known).copied() else {
            return;
        };
        match self.own.get(&generation).copied() {
            None => {
                self.own.insert(generation, keeps);
            }
            Some(goes) if goes != keeps => {
                let (keeps, goes) = (keeps.min(goes), keeps.max(goes));
                let other = self.lives.remove(goes);
                self.lives[keeps].absorb(other);
                for index in self.own.values_mut() {
                    if *index == goes {
                        *index = keeps;
                    } else if *index > goes {
                        *index -= 1;
                    }
                }
            }
            Some(_) => {}
        }
    }

    /// An answer says that nothing is there: every life that was known when it was asked for is over.
    pub(crate) fn is_gone(&mut self, sent: Tick, now: Tick, by: u64) {
        for life in &mut self.lives {
            if life.known < sent {
                life.gone.get_or_insert((now, by));
            }
        }
    }

    /// Whether a life may have as many bytes as an answer says.
    pub(crate) fn accounts(&mut self, generation: u64, sight: Sight) -> Result<(), Fault> {
        let Some(life) = self.own.get(&generation).map(|index| &self.lives[*index]) else {
            return Ok(());
        };
        let known = life.accounted().filter(|_| !self.uncounted);
        let Some(known) = known.filter(|known| *known < sight.at.position) else {
            return Ok(());
        };
        // A producer's request counts once, however often it was sent.
        let mut claimed: HashMap<&Claim, u64> = HashMap::new();
        let mut possible = 0;
        for pending in self.pending.values() {
            match &pending.claim {
                None => possible += pending.bytes,
                Some(claim) if life.has_done(claim) => {}
                Some(claim) => {
                    let most = claimed.entry(claim).or_default();
                    *most = pending.bytes.max(*most);
                }
            }
        }
        possible += claimed.values().sum::<u64>();
        if known + possible >= sight.at.position {
            return Ok(());
        }
        let what = format!(
            "it reaches {}, but no more than {known} bytes were acknowledged and {possible} more sent",
            sight.at
        );
        Err((what, 0))
    }
}
