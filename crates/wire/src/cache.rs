//! `Cache-Control`, as one pure table.
//!
//! Only what can never change is stored by shared caches: bytes from a named position that stop
//! short of the tail, and live bytes under a cursor. Nothing is kept longer than the stream lives,
//! and for a sliding lifetime only half of what remains, so that a stream which is read through a
//! cache is still read at its origin before it expires.

use http::HeaderValue;

/// What `no-store` is said of: errors, HEAD, 204, and `now`.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// What must be asked for again, by its tag.
pub const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// What is written of a stream that does not expire.
const STORED: HeaderValue =
    HeaderValue::from_static("public, max-age=60, stale-while-revalidate=300");
const STORED_PRIVATELY: HeaderValue =
    HeaderValue::from_static("private, max-age=60, stale-while-revalidate=300");
const FRESH_SECONDS: u64 = 60;
const STALE_SECONDS: u64 = 300;

/// How a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Catch-up. What it read and where it ended.
    CatchUp {
        /// Whether the request named `now`.
        now: bool,
        /// Whether the answer stops short of the tail.
        short: bool,
    },
    /// Long-poll that has bytes.
    LongPoll {
        /// Whether the client sent a cursor.
        cursor: bool,
    },
    /// Long-poll without bytes: 204.
    TimedOut,
    /// Server-sent events.
    Sse,
}

/// How much of a stream's life is left, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// It does not expire.
    Unlimited,
    /// It expires then, whatever happens.
    Until(u64),
    /// It expires then unless it is used.
    Sliding(u64),
}

/// What the table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheFacts {
    /// How the stream was read.
    pub mode: Mode,
    /// Whether the request named one position for ever ([`crate::OffsetArg::is_concrete`]).
    pub concrete: bool,
    /// Whether access is controlled, so that no shared cache may keep the answer.
    pub private: bool,
    /// How long it may be kept.
    pub remaining: Remaining,
}

/// The header of a read that succeeded (200, 204 or 304).
///
/// # Panics
/// Never: the text is printable ASCII.
pub fn cache_control(facts: CacheFacts) -> HeaderValue {
    let CacheFacts { mode, concrete, .. } = facts;
    match mode {
        Mode::CatchUp { now: true, .. } | Mode::TimedOut => NO_STORE,
        Mode::CatchUp { short: true, .. } | Mode::LongPoll { cursor: true } if concrete => {
            stored(facts)
        }
        Mode::CatchUp { .. } | Mode::Sse => NO_CACHE,
        Mode::LongPoll { .. } => NO_STORE,
    }
}

fn stored(facts: CacheFacts) -> HeaderValue {
    let seconds = match facts.remaining {
        Remaining::Unlimited => u64::MAX,
        Remaining::Until(seconds) => seconds,
        Remaining::Sliding(seconds) => seconds / 2,
    };
    let fresh = seconds.min(FRESH_SECONDS);
    let stale = (seconds - fresh).min(STALE_SECONDS);
    if fresh == 0 {
        return NO_STORE;
    }
    if facts.remaining == Remaining::Unlimited {
        return if facts.private {
            STORED_PRIVATELY
        } else {
            STORED
        };
    }
    let scope = if facts.private { "private" } else { "public" };
    let text = if stale == 0 {
        format!("{scope}, max-age={fresh}")
    } else {
        format!("{scope}, max-age={fresh}, stale-while-revalidate={stale}")
    };
    HeaderValue::try_from(text).expect("printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Mode = Mode::CatchUp {
        now: false,
        short: true,
    };
    const AT_TAIL: Mode = Mode::CatchUp {
        now: false,
        short: false,
    };

    fn facts(mode: Mode, concrete: bool) -> CacheFacts {
        CacheFacts {
            mode,
            concrete,
            private: false,
            remaining: Remaining::Unlimited,
        }
    }

    fn said(facts: CacheFacts) -> String {
        cache_control(facts).to_str().unwrap().to_owned()
    }

    #[test]
    fn t53_t54_only_what_cannot_change_is_stored() {
        const STORED: &str = "public, max-age=60, stale-while-revalidate=300";
        let now = |short| Mode::CatchUp { now: true, short };
        let polled = |cursor| Mode::LongPoll { cursor };
        for (mode, concrete, want) in [
            (SHORT, true, STORED),
            (SHORT, false, "no-cache"),
            (AT_TAIL, true, "no-cache"),
            (AT_TAIL, false, "no-cache"),
            (now(false), false, "no-store"),
            (now(true), false, "no-store"),
            (polled(true), true, STORED),
            (polled(false), true, "no-store"),
            (polled(true), false, "no-store"),
            (polled(false), false, "no-store"),
            (Mode::TimedOut, true, "no-store"),
            (Mode::TimedOut, false, "no-store"),
            (Mode::Sse, true, "no-cache"),
            (Mode::Sse, false, "no-cache"),
        ] {
            assert_eq!(said(facts(mode, concrete)), want, "{mode:?} {concrete}");
        }
    }

    #[test]
    fn controlled_access_keeps_shared_caches_out() {
        let private = CacheFacts {
            private: true,
            ..facts(SHORT, true)
        };
        assert_eq!(
            said(private),
            "private, max-age=60, stale-while-revalidate=300"
        );
    }

    #[test]
    fn nothing_is_kept_beyond_the_streams_life() {
        for (remaining, want) in [
            (Remaining::Until(0), "no-store"),
            (Remaining::Until(1), "public, max-age=1"),
            (Remaining::Until(60), "public, max-age=60"),
            (
                Remaining::Until(100),
                "public, max-age=60, stale-while-revalidate=40",
            ),
            (Remaining::Sliding(1), "no-store"),
            (Remaining::Sliding(100), "public, max-age=50"),
            (
                Remaining::Sliding(140),
                "public, max-age=60, stale-while-revalidate=10",
            ),
            (
                Remaining::Sliding(u64::MAX),
                "public, max-age=60, stale-while-revalidate=300",
            ),
        ] {
            let facts = CacheFacts {
                remaining,
                ..facts(SHORT, true)
            };
            assert_eq!(said(facts), want, "{remaining:?}");
        }
    }
}
