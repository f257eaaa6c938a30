//! Where the server is, which of its lives this is, and when each ended.

use std::{
    net::SocketAddr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::history::Moment;

/// What clients and the one who kills share.
#[derive(Debug)]
pub struct Place {
    begun: Instant,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    address: Option<SocketAddr>,
    /// When each of its lives was over.
    ends: Vec<Option<Moment>>,
    abandoned: bool,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            state: Mutex::default(),
            moved: Condvar::new(),
        }
    }
}

impl Place {
    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment::try_from(self.begun.elapsed().as_nanos()).expect("no run takes centuries")
    }

    /// Another life has begun.
    pub fn up(&self, address: SocketAddr) {
        let mut state = self.lock();
        state.address = Some(address);
        state.ends.push(None);
        self.moved.notify_all();
    }

    /// This life is about to end.
    pub fn going_down(&self) {
        self.lock().address = None;
    }

    /// The process is gone: what it did not do by now it never does.
    pub fn dead(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.address = None;
        if let Some(end) = state.ends.last_mut() {
            *end = Some(now);
        }
    }

    /// There will be no server any more.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.moved.notify_all();
    }

    /// Waits for a server: where it is, and which life it is in. `None` when there will be none.
    pub fn server(&self) -> Option<(SocketAddr, usize)> {
        let mut state = self.lock();
        loop {
            if state.abandoned {
                return None;
            }
            if let Some(address) = state.address {
                return Some((address, state.ends.len() - 1));
            }
            let waited = self.moved.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// When a life was over; the end of time for the present one.
    pub fn end_of(&self, life: usize) -> Moment {
        self.lock().ends[life].unwrap_or(Moment::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
