//! Delivery by HTTP, and where it must not go (PROTOCOL 7.1, 12.8).
//!
//! Whoever may create a subscription chooses a URL that this server then sends requests to: from inside
//! of a network that the client may not be in. So a URL is judged twice: `url` looks at its text when
//! a subscription is made, `address` at what its host resolves to, at the moment of connecting, and the
//! connection is made to the very address that was judged. Redirects are not followed, what comes back
//! is bounded, and nothing of it is told to anybody.
//!
//! [`Deliver`] is the seam: tests and simulations bring their own.

mod address;
mod client;
mod rooms;
mod url;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use millrace_core::subscription::WakeId;

pub use client::Webhooks;
pub(crate) use rooms::Rooms;
pub(crate) use url::WebhookUrl;

/// Where webhooks may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether they may lead to this machine itself, in the clear too: for development.
    pub allow_local: bool,
}

/// A request to a webhook.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// `Webhook-Signature`.
    pub signature: String,
    /// The body.
    pub body: Bytes,
    /// How long it may take, from resolving the name to the last byte of the answer.
    pub limit: Duration,
    /// Where it may lead.
    pub rules: Rules,
    /// The wake that it tells of.
    pub wake_id: WakeId,
}

/// What delivering gives: the body of an answer that is success, or why there is none.
pub type Delivering<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + 'a>>;

/// Delivers.
pub trait Deliver: fmt::Debug + Send + Sync {
    /// Sends one request. Runs on the driver's event loop, beside others.
    fn post(&self, post: Post) -> Delivering<'_>;
}
