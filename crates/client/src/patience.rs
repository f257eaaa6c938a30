//! When and how often to try again: growing waits with jitter, within a bound of time.

use std::{fmt, time::Duration};

use millrace_env::{Clock as _, RealClock, Rng};

use crate::error::Error;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long a client goes on trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Before the server has answered for the first time: nothing at all may be there.
    pub first: Duration,
    /// After that: it is there, and comes back.
    pub later: Duration,
}

impl Patience {
    /// Tries once.
    pub const NONE: Self = Self {
        first: Duration::ZERO,
        later: Duration::ZERO,
    };
    /// Never gives up.
    pub const ENDLESS: Self = Self {
        first: Duration::MAX,
        later: Duration::MAX,
    };
}

impl Default for Patience {
    /// A server that was never there is told at once; one that was there has half a minute.
    fn default() -> Self {
        Self {
            first: Duration::ZERO,
            later: Duration::from_secs(30),
        }
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Tries {
    clock: RealClock,
    count: u32,
}

impl Tries {
    pub(crate) fn new() -> Self {
        Self {
            clock: RealClock::new(),
            count: 0,
        }
    }

    /// Begins anew, because something went well.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Waits before another try; the error, when it is time to give up.
    pub(crate) async fn wait(
        &mut self,
        error: Error,
        patience: Duration,
        rng: &Rng,
    ) -> Result<(), Error> {
        let wait = wait_before(self.count, error.retry_after(), rng);
        if self.clock.mono().saturating_add(wait) > patience {
            return Err(error);
        }
        self.count += 1;
        millrace_env::sleep(wait).await;
        Ok(())
    }
}

type Tell = Box<dyn FnMut(&Error) + Send>;

/// Who is told that something broke and is being tried again.
#[derive(Default)]
pub(crate) struct Trouble {
    told: Option<Tell>,
    is_under_way: bool,
}

impl Trouble {
    pub(crate) fn told_to(tell: impl FnMut(&Error) + Send + 'static) -> Self {
        Self {
            told: Some(Box::new(tell)),
            is_under_way: false,
        }
    }

    /// Tells it once, unless nothing is tried again.
    pub(crate) fn tell(&mut self, error: &Error, patience: Duration) {
        if let (false, Some(told)) = (self.is_under_way || patience.is_zero(), &mut self.told) {
            told(error);
            self.is_under_way = true;
        }
    }

    pub(crate) fn is_over(&mut self) {
        self.is_under_way = false;
    }
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trouble")
    }
}

/// Half to all of a doubling time; what the server asks for is the least.
fn wait_before(tries: u32, asked: Option<Duration>, rng: &Rng) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << tries.min(10));
    let ceiling = doubled.min(LONGEST_WAIT).max(asked.unwrap_or_default());
    let floor = (ceiling / 2).max(asked.unwrap_or_default());
    let room = ceiling.saturating_sub(floor).as_millis();
    let room = u64::try_from(room).unwrap_or(u64::MAX);
    floor + Duration::from_millis(rng.below(room.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let rng = Rng::from_seed(1);
        for tries in 0..20 {
            let wait = wait_before(tries, None, &rng);
            assert!(wait >= FIRST_WAIT / 2 && wait <= LONGEST_WAIT, "{wait:?}");
        }
        assert!(wait_before(10, None, &rng) >= LONGEST_WAIT / 2);
    }

    #[test]
    fn the_server_is_not_asked_before_it_said() {
        let rng = Rng::from_seed(1);
        let asked = Duration::from_secs(7);
        assert_eq!(wait_before(0, Some(asked), &rng), asked);
    }
}
