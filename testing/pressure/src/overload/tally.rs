//! What happened to clients, counted where all can see it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::http::Answer;

/// At most so many sentences about what went wrong are kept.
const SENTENCES_MAX: usize = 10;

/// What happened to one kind of client.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Requests that were let in: a stream of events that began, a body that is being taken.
    pub(super) begun: AtomicU64,
    /// Answers of 429 with `Retry-After`.
    pub(super) refused: AtomicU64,
    /// Connections and bodies that the server ended, as its times say.
    pub(super) let_go: AtomicU64,
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) readers: Fate,
    pub(super) uploads: Fate,
    pub(super) writers: Fate,
    /// Bytes of events that readers took.
    pub(super) taken: AtomicU64,
    /// What may not happen.
    wrong: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns once it was over for so long.
    pub(super) async fn long_over(&self, long: Duration) {
        while !self.is_over() {
            sleep(Duration::from_millis(50)).await;
        }
        sleep(long).await;
    }

    /// Notes what may not happen.
    pub(super) fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() < SENTENCES_MAX {
            wrong.push(what);
        }
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.clone()
    }

    /// How long to stay away after `answer`, which is a refusal: it must say so itself.
    pub(super) fn refused(&self, fate: &Fate, who: &str, answer: &Answer) -> Duration {
        let after = answer
            .header("retry-after")
            .and_then(|text| text.parse().ok());
        match (answer.status, after) {
            (429, Some(seconds)) => {
                Self::add(&fate.refused);
                Duration::from_secs(seconds)
            }
            (status, _) => {
                self.wrong(format!("{who} is answered {status}: {}", answer.head));
                Duration::from_secs(1)
            }
        }
    }
}
