//! Long answers take turns.
//!
//! An event loop also takes the turns of its shard, so a piece of a long answer, which costs as much
//! as many appends, must not be followed by the pieces of hundreds of other readers before the next
//! commit. Whoever wants to read a piece of a page, or of a stream's past, waits for one of a few
//! places, and in it lets the loop go round once.
//!
//! BOUND: [`AT_A_TIME`] pieces between two rounds of a loop.

use std::sync::Arc;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Pieces that are read at a time.
const AT_A_TIME: usize = 4;

/// The places; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bulk(Arc<Semaphore>);

impl Default for Bulk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Bulk {
    /// Waits for a place, held until it is dropped. Never across a write to a client, who may be
    /// slow.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        let place = self.0.acquire().await;
        tokio::task::yield_now().await;
        place
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    #[tokio::test]
    async fn between_two_rounds_of_the_loop_only_a_few_pieces_are_read() {
        let bulk = Bulk::default();
        let pieces = Rc::new(Cell::new(0));
        let local = tokio::task::LocalSet::new();
        for _ in 0..100 {
            let (bulk, pieces) = (bulk.clone(), Rc::clone(&pieces));
            local.spawn_local(async move {
                for _ in 0..10 {
                    let _place = bulk.turn().await.expect("never closed");
                    pieces.set(pieces.get() + 1);
                }
            });
        }
        local
            .run_until(async {
                let mut before = 0;
                while pieces.get() < 1000 {
                    tokio::task::yield_now().await;
                    let now = pieces.get();
                    assert!(now - before <= 2 * AT_A_TIME, "{before} to {now}");
                    before = now;
                }
            })
            .await;
    }
}
