//! Who may do what on which stream.
//!
//! A request is decided in two steps. Its headers tell who sends it ([`Policy::identify`]: 401 when
//! nobody known); then every handler says what it is about to do and to what (`Caller::may`: 403
//! when that is not allowed), a fork's source included. What comes of a decision is a `Grant`, and
//! `App::engine` takes one: a handler that did not ask cannot reach a stream.
//!
//! A grant may end. Live reads end with it, like those of a server that stops: with an offset to go
//! on from.
//!
//! Not here: how a key is compared (`config.rs`), which routes are open to everyone (`router.rs`).

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use millrace_core::{StreamName, Timestamp};
use millrace_wire::{HttpFault, Problem};

use crate::config::Access;

/// What a request is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Create a stream, with or without a first content, or find it as it was asked for.
    Create,
    /// Append bytes.
    Append,
    /// Close a stream.
    Close,
    /// Read bytes: catch-up, long-poll or events.
    Read,
    /// Ask for a stream's tail and properties.
    Head,
    /// Delete a stream.
    Delete,
    /// Trim a stream: let nobody read its beginning any more.
    Trim,
    /// Change what a stream carries beside its bytes, or how much of it is kept.
    Configure,
    /// Make another stream of this one's bytes; asked of the source.
    Fork,
    /// List names.
    List,
    /// Create, read, change or delete a subscription. What it leads to is asked for as well: its
    /// streams ([`Self::Head`]), its pattern ([`Self::List`]), and the stream that wakes its workers
    /// ([`Self::Append`]).
    ManageSubscription,
    /// Work for a subscription: claim its wakes.
    ConsumeSubscription,
    /// Read the server's figures.
    Metrics,
    /// Have the server do now what it does now and then.
    Maintain,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 14] = [
        Self::Create,
        Self::Append,
        Self::Close,
        Self::Read,
        Self::Head,
        Self::Delete,
        Self::Trim,
        Self::Configure,
        Self::Fork,
        Self::List,
        Self::ManageSubscription,
        Self::ConsumeSubscription,
        Self::Metrics,
        Self::Maintain,
    ];

    /// As a noun, for an answer.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Create => "creating",
            Self::Append => "appending",
            Self::Close => "closing",
            Self::Read => "reading",
            Self::Head => "looking at a stream's properties",
            Self::Delete => "deleting",
            Self::Trim => "trimming",
            Self::Configure => "changing a stream's settings",
            Self::Fork => "forking",
            Self::List => "listing",
            Self::ManageSubscription => "managing a subscription",
            Self::ConsumeSubscription => "working for a subscription",
            Self::Metrics => "reading metrics",
            Self::Maintain => "maintaining the server",
        }
    }
}

/// What it does it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One stream, which need not exist.
    Stream(&'a StreamName),
    /// All streams whose names begin so; empty for all.
    Prefix(&'a str),
    /// One subscription, by its id; it need not exist.
    Subscription(&'a str),
    /// The server itself.
    Server,
}

/// What a principal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed,
    /// It may, until then; a live read ends there.
    AllowedUntil(Timestamp),
    /// It may not.
    Denied,
}

/// Tells who sends a request.
pub trait Policy: fmt::Debug + Send + Sync {
    /// Who shows these headers; `None` when nobody known does, or no longer.
    fn identify(&self, headers: &HeaderMap) -> Option<Arc<dyn Principal>>;
}

/// Somebody known.
pub trait Principal: fmt::Debug + Send + Sync {
    /// Whether it may. Asked once a request and action, a live read at its beginning; it must not
    /// wait for anything.
    fn may(&self, action: Action, target: Target<'_>) -> Decision;
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Nobody who was asked for; may do nothing.
    Unknown,
    /// Somebody who may do everything.
    Master,
    /// Somebody who may do what a policy says.
    Principal(Arc<dyn Principal>),
}

/// That somebody may do something; made by `Caller::may` alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    until: Option<Timestamp>,
}

impl Access {
    /// Who shows these headers.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        match self {
            Self::Open | Self::Key(_) => {
                let shown = headers.get(header::AUTHORIZATION);
                self.identify_by(shown.map(HeaderValue::as_bytes))
            }
            Self::Policy(policy) => {
                let known = policy.identify(headers).map(Caller::Principal);
                known.ok_or_else(|| HttpFault::Unauthorized.into())
            }
        }
    }

    /// Who shows this `Authorization`, where that alone tells: nobody, under a policy.
    pub(crate) fn identify_by(&self, shown: Option<&[u8]>) -> Result<Caller, Problem> {
        let is_master = match self {
            Self::Open => true,
            Self::Key(key) => shown.and_then(token).is_some_and(|shown| key.is(shown)),
            Self::Policy(_) => false,
        };
        if is_master {
            Ok(Caller::Master)
        } else {
            Err(HttpFault::Unauthorized.into())
        }
    }

    /// Whether what is answered to one must not be kept for another.
    pub(crate) fn is_private(&self) -> bool {
        !matches!(self, Self::Open)
    }
}

impl Caller {
    /// Whether it may do this. Nothing that needs a `Grant` happens otherwise.
    pub(crate) fn may(&self, action: Action, target: Target<'_>) -> Result<Grant, Problem> {
        let decision = match self {
            Self::Unknown => return Err(HttpFault::Unauthorized.into()),
            Self::Master => Decision::Allowed,
            Self::Principal(principal) => principal.may(action, target),
        };
        match decision {
            Decision::Allowed => Ok(Grant { until: None }),
            Decision::AllowedUntil(until) => Ok(Grant { until: Some(until) }),
            Decision::Denied => {
                let action = action.noun();
                Err(HttpFault::Forbidden { action }.into())
            }
        }
    }

    /// That somebody known sends several requests in one, each of which is decided on its own before
    /// it reaches a stream.
    pub(crate) fn sends_several(&self) -> Result<Grant, Problem> {
        match self {
            Self::Unknown => Err(HttpFault::Unauthorized.into()),
            Self::Master | Self::Principal(_) => Ok(Grant { until: None }),
        }
    }

    /// [`Self::may`], for one stream.
    pub(crate) fn may_on(&self, action: Action, name: &StreamName) -> Result<Grant, Problem> {
        self.may(action, Target::Stream(name))
    }
}

impl Grant {
    /// How much of `wait` it covers.
    pub(crate) fn covers(&self, wait: Duration, now: Timestamp) -> Duration {
        self.until.map_or(wait, |until| {
            wait.min(Duration::from_millis(until.get().saturating_sub(now.get())))
        })
    }
}

/// The token of `Authorization: Bearer <token>`, whatever the case of the scheme.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    token(headers.get(header::AUTHORIZATION)?.as_bytes())
}

fn token(shown: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = shown.split_at_checked(SCHEME.len())?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests;
