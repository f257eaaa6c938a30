//! Subscriptions over live streams (PROTOCOL 6 and 7): durable cursors that wake workers.
//!
//! The rules are `millrace-core`'s; here is what they need: where state is kept, which streams changed
//! for whom, who is told, and when.
//!
//! - [`subscriptions`]: what clients may ask; usable from every thread.
//! - [`run`]: the driver, one task that watches the feed of changed streams and the clock, and has
//!   subscriptions looked after. Everything that nobody asks for happens from there.
//! - `journal`: state on disk. Every fact is appended to a stream of the server's own, under `__ds/`,
//!   with the engine's ordinary append, before anything is answered or delivered: log, flush, recovery
//!   and checks of streams are those of subscriptions.
//! - `index`: which streams changed since a subscription looked, once for all subscriptions, so that
//!   a pattern over 100,000 streams costs an append nothing.
//! - `keys` and `token`: what signs deliveries, and what shows that a request belongs to a wake.
//! - [`webhook`]: delivery by HTTP, and where it must not go.
//!
//! INVARIANT: what is not in the journal did not happen: a generation is kept before it is told, an ack
//! before it is answered.
//!
//! Not here: HTTP of requests (`millrace-server`), documents (`millrace-wire`).

mod book;
mod create;
mod driver;
mod index;
mod journal;
mod keys;
mod look;
mod metrics;
pub mod subscriptions;
mod token;
pub mod webhook;

pub use driver::{Driver, run};
pub use metrics::SubscriptionFigures;
pub use subscriptions::{Fault, Made, Subscriptions};
pub use webhook::{Deliver, Post, Rules, Webhooks};

use std::{sync::Arc, time::Duration};

/// How subscriptions are configured.
#[derive(Clone, Debug)]
pub struct SubscriptionOptions {
    /// Scheme and authority at which clients reach the server; without it, as the creator of a
    /// subscription reached it.
    pub public_url: Option<String>,
    /// Where webhooks may lead.
    pub rules: Rules,
    /// How deliveries are made.
    pub deliver: Arc<dyn Deliver>,
    /// How old the key that signs deliveries gets before another takes its place.
    pub key_age_max: Duration,
}
