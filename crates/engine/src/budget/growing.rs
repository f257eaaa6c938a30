//! Memory of bodies that are still coming.
//!
//! A body that has come is appended and soon flushed; one that is still coming holds its memory for as
//! long as its client likes. So all of these together have a part of the budget only, and one of which
//! nothing came for [`STALLED`] gives way when somebody else needs the memory: who sends slowly is
//! slowed by nobody until then, and cannot keep others from writing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use millrace_core::Refusal;
use tokio::sync::Notify;

use super::{Budget, Gauge, Permit};

/// A body that brought nothing for so long gives way. Over a slow line pieces come this far apart; that
/// matters only while memory is short.
const STALLED: Duration = Duration::from_millis(100);
/// BOUND: so many bodies are looked at for one that gives way.
const LOOKS_MAX: usize = 64;

/// All bodies that are still coming.
#[derive(Debug)]
pub(super) struct Bodies {
    /// The most that they take together.
    max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What they take together.
    used: u64,
    /// Those that did not have to give way, by the order in which they began.
    coming: BTreeMap<u64, Body>,
    next: u64,
    /// Where the next look for one that gives way begins.
    hand: u64,
}

#[derive(Debug)]
struct Body {
    bytes: u64,
    signs: Arc<Signs>,
}

/// What a body and who looks for memory tell each other without a lock.
#[derive(Debug, Default)]
struct Signs {
    /// When it last brought something, in microseconds by the stopwatch.
    moved_at: AtomicU64,
    /// Rings when it has to give way.
    told: Notify,
}

/// The memory of a body that is still coming, until this is dropped or taken back.
#[derive(Debug)]
pub struct Growing {
    gauge: Arc<Gauge>,
    number: u64,
    signs: Arc<Signs>,
}

impl Budget {
    /// For a body that begins to come; nothing is taken yet.
    pub(crate) fn begin(&self, now: Duration) -> Growing {
        let signs = Arc::<Signs>::default();
        signs.move_at(now);
        let mut state = self.0.bodies.state();
        let number = state.next;
        state.next += 1;
        let body = Body {
            bytes: 0,
            signs: Arc::clone(&signs),
        };
        state.coming.insert(number, body);
        Growing {
            gauge: Arc::clone(&self.0),
            number,
            signs,
        }
    }
}

impl Growing {
    /// Something came, at `now` by the stopwatch.
    pub fn moved(&self, now: Duration) {
        self.signs.move_at(now);
    }

    /// Takes `bytes` more, before they are buffered. [`Refusal::Overloaded`] when there are none, or
    /// when this has given way.
    pub fn grow(&mut self, bytes: u64, now: Duration) -> Result<(), Refusal> {
        let bodies = &self.gauge.bodies;
        let mut state = bodies.state();
        loop {
            let Some(own) = state.coming.get(&self.number).map(|body| body.bytes) else {
                return Err(Refusal::Overloaded);
            };
            let is_room = state.used == own || state.used + bytes <= bodies.max;
            if is_room && self.gauge.take(bytes, own).is_ok() {
                state.used += bytes;
                if let Some(body) = state.coming.get_mut(&self.number) {
                    body.bytes += bytes;
                }
                return Ok(());
            }
            if !self.gauge.one_gives_way(&mut state, now, self.number) {
                return Err(Refusal::Overloaded);
            }
        }
    }

    /// Returns when its memory was taken back: it must let go of what it buffered.
    pub async fn taken_back(&self) {
        self.signs.told.notified().await;
    }

    /// The body has come as a whole: its memory is nobody else's from here on. `None` for an empty
    /// one. [`Refusal::Overloaded`] when it has given way.
    pub fn whole(self) -> Result<Option<Permit>, Refusal> {
        let mut state = self.gauge.bodies.state();
        let body = state.coming.remove(&self.number);
        let bytes = body.ok_or(Refusal::Overloaded)?.bytes;
        state.used -= bytes;
        let permit = Permit {
            gauge: Arc::clone(&self.gauge),
            bytes,
        };
        Ok((bytes > 0).then_some(permit))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let mut state = self.gauge.bodies.state();
        if let Some(body) = state.coming.remove(&self.number) {
            state.used -= body.bytes;
            self.gauge.give_back(body.bytes);
        }
    }
}

impl Gauge {
    /// Takes memory back from a body of which nothing comes. Whether there was one.
    pub(super) fn give_way(&self, now: Duration) -> bool {
        self.one_gives_way(&mut self.bodies.state(), now, u64::MAX)
    }

    /// The same, but never from body `own`.
    fn one_gives_way(&self, state: &mut State, now: Duration, own: u64) -> bool {
        let Some(number) = state.longest_stalled(now, own) else {
            return false;
        };
        let body = state.coming.remove(&number).expect("found just now");
        state.used -= body.bytes;
        self.give_back(body.bytes);
        body.signs.told.notify_one();
        true
    }
}

impl Bodies {
    pub(super) fn new(max: u64) -> Self {
        Self {
            max,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Of the next [`LOOKS_MAX`] bodies but `own` the one that has been stalled longest.
    fn longest_stalled(&mut self, now: Duration, own: u64) -> Option<u64> {
        let after = self.coming.range(self.hand..);
        let around = after.chain(self.coming.range(..self.hand));
        let mut last = None;
        let mut found = None;
        for (number, body) in around.take(LOOKS_MAX) {
            last = Some(*number);
            let idle = now.saturating_sub(body.signs.moved_at());
            let may = *number != own && body.bytes > 0 && idle >= STALLED;
            if may && found.is_none_or(|(longest, _)| idle > longest) {
                found = Some((idle, *number));
            }
        }
        self.hand = last.map_or(0, |last| last + 1);
        found.map(|(_, number)| number)
    }
}

impl Signs {
    fn move_at(&self, now: Duration) {
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.moved_at.store(micros, Ordering::Relaxed);
    }

    fn moved_at(&self) -> Duration {
        Duration::from_micros(self.moved_at.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);
    const LATER: Duration = Duration::from_secs(2);

    #[test]
    fn it_grows_while_there_is_room_and_is_given_back_once() {
        let budget = Budget::new(100, 100);
        let mut body = budget.begin(NOW);
        body.grow(10, NOW).expect("it fits");
        body.grow(20, NOW).expect("it fits");
        assert_eq!(budget.used(), 30);
        let other = budget.admit(60, NOW).expect("it fits");
        assert_eq!(body.grow(11, NOW), Err(Refusal::Overloaded));
        assert_eq!(budget.used(), 90);
        drop(other);
        body.grow(500, NOW)
            .expect("one large request alone is let in");
        let whole = body.whole().expect("it was not taken back");
        assert_eq!(budget.used(), 530);
        drop(whole);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bodies_that_are_coming_leave_half_to_those_that_have_come() {
        let budget = Budget::new(100, 0);
        let mut coming: Vec<Growing> = (0..10).map(|_| budget.begin(NOW)).collect();
        let taken = coming
            .iter_mut()
            .filter_map(|body| body.grow(10, NOW).ok())
            .count();
        assert_eq!(taken, 5);
        assert!(budget.admit(50, NOW).is_ok());
        drop(coming);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_that_stalls_gives_way_and_one_that_comes_does_not() {
        let budget = Budget::new(100, 100);
        let mut stalled = budget.begin(NOW);
        stalled.grow(60, NOW).expect("it fits");
        let mut coming = budget.begin(NOW);
        coming.grow(40, NOW).expect("it fits");
        assert!(budget.admit(1, NOW).is_err(), "nobody has stalled yet");
        coming.moved(LATER);
        let permit = budget.admit(50, LATER).expect("the stalled one gives way");
        assert_eq!(budget.used(), 90);
        assert_eq!(stalled.grow(1, LATER), Err(Refusal::Overloaded));
        assert!(stalled.whole().is_err(), "its bytes are not appended");
        assert!(
            budget.admit(50, LATER).is_err(),
            "the other one still comes"
        );
        assert!(coming.whole().is_ok());
        drop(permit);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_that_stalls_itself_does_not_give_way_to_itself() {
        let budget = Budget::new(100, 100);
        let _rest = budget.admit(50, NOW).expect("it fits");
        let mut body = budget.begin(NOW);
        body.grow(50, NOW).expect("it fits");
        assert_eq!(body.grow(1, LATER), Err(Refusal::Overloaded));
        assert_eq!(budget.used(), 100);
    }

    #[tokio::test]
    async fn who_gives_way_is_told() {
        let budget = Budget::new(100, 100);
        let mut stalled = budget.begin(NOW);
        stalled.grow(100, NOW).expect("it fits");
        let _other = budget.admit(1, LATER).expect("it gives way");
        // Even when it did not listen at that moment.
        stalled.taken_back().await;
    }

    #[test]
    fn all_that_stalled_are_found_however_many_come() {
        let budget = Budget::new(1000, 1000);
        let mut bodies: Vec<Growing> = (0..1000).map(|_| budget.begin(NOW)).collect();
        for body in &mut bodies {
            body.grow(1, NOW).expect("it fits");
        }
        bodies[997].moved(LATER);
        let freed = (0..).take_while(|_| budget.0.give_way(LATER)).count();
        assert_eq!(freed, 999);
        assert_eq!(budget.used(), 1);
    }
}
