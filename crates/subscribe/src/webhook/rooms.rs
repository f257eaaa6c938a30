//! How many deliveries are under way: a bound for each host, and one for all. A host that is slow uses up
//! its own.
//!
//! BOUND: [`ALL_MAX`] requests, each with a body of at most one wake.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::WebhookUrl;

const HOST_MAX: usize = 32;
const ALL_MAX: usize = 1024;

/// Who is let in.
#[derive(Debug)]
pub(crate) struct Rooms {
    all: Arc<Semaphore>,
    hosts: Rc<RefCell<Hosts>>,
}

/// BOUND: those that somebody is in, or waits for.
type Hosts = BTreeMap<String, (Arc<Semaphore>, usize)>;

/// One is in, until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _host: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    _waits: Waits,
}

/// Somebody is in a host's room, or waits for it.
#[derive(Debug)]
struct Waits {
    host: String,
    hosts: Rc<RefCell<Hosts>>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut hosts = self.hosts.borrow_mut();
        if let Some((_, who)) = hosts.get_mut(&self.host) {
            *who -= 1;
            if *who == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL_MAX)),
            hosts: Rc::default(),
        }
    }
}

impl Rooms {
    /// Waits until a delivery to this URL may begin. First its host's room: who waits for that takes
    /// nothing from the others.
    pub(crate) async fn enter(&self, url: &str) -> Room {
        let host = WebhookUrl::host_of(url);
        let own = {
            let mut hosts = self.hosts.borrow_mut();
            let fresh = || (Arc::new(Semaphore::new(HOST_MAX)), 0);
            let (own, who) = hosts.entry(host.clone()).or_insert_with(fresh);
            *who += 1;
            Arc::clone(own)
        };
        let waits = Waits {
            host,
            hosts: Rc::clone(&self.hosts),
        };
        let closed = "no room is ever closed";
        Room {
            _host: own.acquire_owned().await.expect(closed),
            _all: Arc::clone(&self.all).acquire_owned().await.expect(closed),
            _waits: waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_env::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_host_uses_up_its_own_room_alone() {
        let rooms = Rooms::default();
        let mut slow = Vec::new();
        for _ in 0..HOST_MAX {
            slow.push(rooms.enter("https://slow.example/a").await);
        }
        let short = Duration::from_secs(1);
        assert!(
            timeout(short, rooms.enter("https://slow.example/b"))
                .await
                .is_none()
        );
        assert!(
            timeout(short, rooms.enter("https://other.example/"))
                .await
                .is_some()
        );
        slow.pop();
        assert!(
            timeout(short, rooms.enter("https://slow.example/b"))
                .await
                .is_some()
        );
        drop(slow);
        assert!(rooms.hosts.borrow().is_empty());
    }
}
