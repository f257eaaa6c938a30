//! Subscriptions: durable cursors over streams that wake workers (PROTOCOL 6 and 7).
//!
//! The same shape as [`crate::stream`]: a request is judged by a function of [`state::Subscription`]
//! that answers with events or a refusal; events are logged, and change the state only through
//! [`state::Subscription::apply`], when they are durable and again at every start.
//!
//! Layout: [`config`] (what is asked for), [`glob`] (which streams a pattern means), [`event`] (what
//! is kept), [`state`] (what it comes to), [`rules`] (who may do what and when), [`retry`] (when a
//! delivery is tried again).
//!
//! Not here: which streams changed, tokens and their signatures, delivery (`millrace-subscribe`).

pub mod config;
pub mod event;
pub mod glob;
pub mod refusal;
pub mod retry;
pub mod rules;
pub mod state;

pub use config::{Delivery, SubscriptionConfig, SubscriptionId};
pub use event::{Ending, SubscriptionEvent};
pub use glob::{Path, Pattern, PatternFault};
pub use refusal::SubscriptionRefusal;
pub use rules::{Ack, Claimed, WakeId};
pub use state::{Phase, Retry, Subscription};

#[cfg(test)]
mod tests;
