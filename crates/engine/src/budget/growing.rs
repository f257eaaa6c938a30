//! Memory of bodies that are still coming.
//!
//! A body that has come is appended and soon flushed; one that is still coming holds its memory for as
//! long as its client likes. So all of these together have a part of the budget only, and one of which
//! nothing came for [`STALLED`] gives way when somebody else needs the memory: who sends slowly is
//! slowed by nobody until then, and cannot keep others from writing. Whoever needs it waits until it was
//! let go of, so that nothing is counted as free that is not.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use millrace_core::Refusal;
use millrace_env::{Clock, timeout};
use tokio::sync::Notify;

use super::{Budget, Gauge, Permit};

/// A body that brought nothing for so long gives way. Over a slow line pieces come this far apart; that
/// matters only while memory is short.
const STALLED: Duration = Duration::from_millis(100);
/// BOUND: so many bodies are looked at for one that gives way.
const LOOKS_MAX: usize = 64;
/// Who gives way lets go at once; a client that waits longer for that is better told to come again.
const PATIENCE: Duration = Duration::from_secs(1);

/// All bodies that are still coming.
#[derive(Debug)]
pub(super) struct Bodies {
    /// The most that they take together.
    max: u64,
    state: Mutex<State>,
    /// Rings when one that gave way has let go, for all who wait.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What they take together.
    used: u64,
    /// What those of them hold that give way.
    leaving: u64,
    /// By the order in which they began.
    coming: BTreeMap<u64, Body>,
    next: u64,
    /// Where the next look for one that gives way begins.
    hand: u64,
}

#[derive(Debug)]
struct Body {
    bytes: u64,
    gives_way: bool,
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
            gives_way: false,
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
    /// when this has to give way.
    pub async fn grow(&mut self, bytes: u64, clock: &dyn Clock) -> Result<(), Refusal> {
        let take = || self.gauge.take_for(self.number, bytes);
        if take().is_ok() {
            return Ok(());
        }
        tokio::select! {
            biased;
            // Two that wait for each other must not.
            () = self.gives_way() => Err(Refusal::Overloaded),
            taken = self.gauge.wait_for(bytes, self.number, clock, take) => taken,
        }
    }

    /// Returns when this has to give way: let go of what was buffered, and drop this.
    pub async fn gives_way(&self) {
        self.signs.told.notified().await;
    }

    /// The body has come as a whole: its memory is nobody else's from here on. `None` for an empty one.
    pub fn whole(self) -> Option<Permit> {
        let bytes = self.gauge.bodies.remove(self.number);
        let permit = Permit {
            gauge: Arc::clone(&self.gauge),
            bytes,
        };
        (bytes > 0).then_some(permit)
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let bytes = self.gauge.bodies.remove(self.number);
        if bytes > 0 {
            self.gauge.give_back(bytes);
            self.gauge.bodies.freed.notify_waiters();
        }
    }
}

impl Gauge {
    /// Takes `bytes` for body `number`, or refuses.
    fn take_for(&self, number: u64, bytes: u64) -> Result<(), Refusal> {
        let mut state = self.bodies.state();
        let used = state.used;
        let body = state.coming.get_mut(&number);
        let body = body.filter(|body| !body.gives_way);
        let body = body.ok_or(Refusal::Overloaded)?;
        if used != body.bytes && used + bytes > self.bodies.max {
            return Err(Refusal::Overloaded);
        }
        self.take(bytes, body.bytes)?;
        body.bytes += bytes;
        state.used += bytes;
        Ok(())
    }

    /// Has bodies that stall give way, but never `own`, until `take` is granted `bytes`.
    pub(super) async fn wait_for<T>(
        &self,
        bytes: u64,
        own: u64,
        clock: &dyn Clock,
        take: impl Fn() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let until = clock.mono() + PATIENCE;
        loop {
            let freed = self.bodies.freed.notified();
            tokio::pin!(freed);
            // Registered before looking, so that nothing is let go of in between.
            freed.as_mut().enable();
            if let Ok(taken) = take() {
                return Ok(taken);
            }
            let left = until.saturating_sub(clock.mono());
            if left.is_zero() || !self.bodies.some_give_way(bytes, own, clock.mono()) {
                return Err(Refusal::Overloaded);
            }
            if timeout(left, freed).await.is_none() {
                return take();
            }
        }
    }
}

impl Bodies {
    pub(super) fn new(max: u64) -> Self {
        Self {
            max,
            state: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Forgets a body; what it held, once.
    fn remove(&self, number: u64) -> u64 {
        let mut state = self.state();
        let Some(body) = state.coming.remove(&number) else {
            return 0;
        };
        state.used -= body.bytes;
        if body.gives_way {
            state.leaving -= body.bytes;
        }
        body.bytes
    }

    /// Tells bodies that stall to give way until `bytes` are about to be free. Whether any are.
    fn some_give_way(&self, bytes: u64, own: u64, now: Duration) -> bool {
        let mut state = self.state();
        while state.leaving < bytes {
            let Some(number) = state.longest_stalled(now, own) else {
                break;
            };
            let body = state.coming.get_mut(&number).expect("found just now");
            body.gives_way = true;
            body.signs.told.notify_one();
            let held = body.bytes;
            state.leaving += held;
        }
        state.leaving > 0
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
            let may = *number != own && body.bytes > 0 && !body.gives_way && idle >= STALLED;
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
    use millrace_env::SimClock;

    use super::*;

    const EARLY: Duration = Duration::from_millis(10);

    fn at(time: Duration) -> SimClock {
        let clock = SimClock::new(1_800_000_000_000);
        clock.advance(time);
        clock
    }

    /// A body that has taken `bytes` and nothing since the start.
    async fn coming(budget: &Budget, bytes: u64) -> Growing {
        let mut body = budget.begin(Duration::ZERO);
        body.grow(bytes, &at(EARLY)).await.expect("it fits");
        body
    }

    #[tokio::test]
    async fn it_grows_while_there_is_room_and_is_given_back_once() {
        let budget = Budget::new(100, 100);
        let early = at(EARLY);
        let mut body = coming(&budget, 10).await;
        body.grow(20, &early).await.expect("it fits");
        assert_eq!(budget.used(), 30);
        let other = budget.admit(60, &early).await.expect("it fits");
        assert_eq!(body.grow(11, &early).await, Err(Refusal::Overloaded));
        assert_eq!(budget.used(), 90);
        drop(other);
        let grown = body.grow(500, &early).await;
        grown.expect("one large request alone is let in");
        let whole = body.whole();
        assert_eq!(budget.used(), 530);
        drop(whole);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn bodies_that_are_coming_leave_half_to_those_that_have_come() {
        let budget = Budget::new(100, 0);
        let early = at(EARLY);
        let mut coming: Vec<Growing> = (0..10).map(|_| budget.begin(Duration::ZERO)).collect();
        let mut taken = 0;
        for body in &mut coming {
            taken += u32::from(body.grow(10, &early).await.is_ok());
        }
        assert_eq!(taken, 5);
        assert!(budget.admit(50, &early).await.is_ok());
        drop(coming);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn one_that_stalls_gives_way_and_one_that_comes_does_not() {
        let budget = Budget::new(100, 100);
        let (early, late) = (at(EARLY), at(Duration::from_secs(1)));
        let stalled = coming(&budget, 60).await;
        let moving = coming(&budget, 40).await;
        assert!(budget.admit(1, &early).await.is_err(), "nobody stalls yet");
        moving.moved(late.mono());
        let (permit, ()) = tokio::join!(budget.admit(50, &late), async {
            stalled.gives_way().await;
            assert_eq!(budget.used(), 100, "nothing is free before it lets go");
            drop(stalled);
        });
        let permit = permit.expect("the stalled one gives way");
        assert_eq!(budget.used(), 90);
        assert!(
            budget.admit(50, &late).await.is_err(),
            "the other one comes"
        );
        drop((moving.whole(), permit));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn who_gives_way_grows_no_more_but_may_end() {
        let budget = Budget::new(100, 100);
        let late = at(Duration::from_secs(1));
        let mut stalled = coming(&budget, 50).await;
        assert!(budget.0.bodies.some_give_way(1, u64::MAX, late.mono()));
        assert_eq!(stalled.grow(1, &late).await, Err(Refusal::Overloaded));
        // Even when it did not listen at that moment.
        stalled.gives_way().await;
        assert!(stalled.whole().is_some(), "the last of it came meanwhile");
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn one_that_stalls_itself_does_not_give_way_to_itself() {
        let budget = Budget::new(100, 100);
        let late = at(Duration::from_secs(1));
        let _rest = budget.admit(50, &late).await.expect("it fits");
        let mut body = coming(&budget, 50).await;
        assert_eq!(body.grow(1, &late).await, Err(Refusal::Overloaded));
        assert_eq!(budget.used(), 100);
    }

    #[tokio::test]
    async fn all_that_stall_are_found_however_many_come() {
        let budget = Budget::new(1000, 1000);
        let late = at(Duration::from_secs(1));
        let mut bodies = Vec::new();
        for _ in 0..1000 {
            bodies.push(coming(&budget, 1).await);
        }
        bodies[997].moved(late.mono());
        // Each call goes on where the last one stopped.
        for _ in 0..2 * 1000 / LOOKS_MAX {
            budget.0.bodies.some_give_way(1000, u64::MAX, late.mono());
        }
        assert_eq!(budget.0.bodies.state().leaving, 999);
    }
}
