//! What is asked of a subscription at its creation, normalised, so that the same request finds it again.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Path, Pattern};
use crate::{
    limits::{
        DESCRIPTION_BYTES_MAX, EXPLICIT_STREAMS_MAX, LEASE_MILLIS_MAX, LEASE_MILLIS_MIN,
        SUBSCRIPTION_ID_BYTES_MAX,
    },
    name::StreamName,
};

/// A subscription's id, as clients choose it; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// Checks `text` (already percent-decoded): one path segment of at most
    /// [`SUBSCRIPTION_ID_BYTES_MAX`] bytes without control characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=SUBSCRIPTION_ID_BYTES_MAX).contains(&text.len());
        let is_segment = !text.contains('/') && !matches!(text, "." | "..");
        (fits && is_segment && !text.chars().any(char::is_control)).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SubscriptionId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or("not an id of a subscription")
    }
}

impl From<SubscriptionId> for String {
    fn from(id: SubscriptionId) -> Self {
        id.0.as_ref().into()
    }
}

impl Borrow<str> for SubscriptionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How workers are woken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// By a request to a URL.
    Webhook {
        /// The URL.
        url: String,
    },
    /// By an event on a stream that they follow.
    PullWake {
        /// The stream.
        wake_stream: StreamName,
    },
}

/// A subscription as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionConfig {
    /// How workers are woken.
    pub delivery: Delivery,
    /// Which streams, by pattern.
    pub pattern: Option<Pattern>,
    /// Which streams, by name: sorted, each once.
    pub streams: Vec<StreamName>,
    /// How long a worker may be silent, in milliseconds.
    pub lease_ttl_ms: u64,
    /// For people.
    pub description: Option<String>,
}

/// Why a configuration is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// Nothing is subscribed to.
    #[error("send `pattern`, `streams` or both")]
    NoStreams,
    /// More names than are taken.
    #[error("`streams` has more than {EXPLICIT_STREAMS_MAX} names; use a `pattern`")]
    TooManyStreams,
    /// A lease that is too short or too long.
    #[error("`lease_ttl_ms` must be {LEASE_MILLIS_MIN} to {LEASE_MILLIS_MAX}")]
    Lease,
    /// A description that is too long.
    #[error("`description` is longer than {DESCRIPTION_BYTES_MAX} bytes")]
    Description,
}

impl SubscriptionConfig {
    /// Brings it into the form in which it is kept and compared, and checks its bounds.
    pub fn normalised(mut self) -> Result<Self, ConfigFault> {
        self.streams.sort_unstable();
        self.streams.dedup();
        if self.pattern.is_none() && self.streams.is_empty() {
            return Err(ConfigFault::NoStreams);
        }
        if self.streams.len() > EXPLICIT_STREAMS_MAX {
            return Err(ConfigFault::TooManyStreams);
        }
        if !(LEASE_MILLIS_MIN..=LEASE_MILLIS_MAX).contains(&self.lease_ttl_ms) {
            return Err(ConfigFault::Lease);
        }
        let described = self.description.as_ref().map_or(0, String::len);
        if described > DESCRIPTION_BYTES_MAX {
            return Err(ConfigFault::Description);
        }
        Ok(self)
    }

    /// The bytes that its hash is taken of: equal for equal configurations, different for others.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |tag: u8, text: &str| {
            bytes.push(tag);
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        match &self.delivery {
            Delivery::Webhook { url } => put(b'w', url),
            Delivery::PullWake { wake_stream } => put(b'p', wake_stream.as_str()),
        }
        if let Some(pattern) = &self.pattern {
            put(b'g', pattern.as_str());
        }
        for stream in &self.streams {
            put(b's', stream.as_str());
        }
        put(b'l', &self.lease_ttl_ms.to_string());
        if let Some(description) = &self.description {
            put(b'd', description);
        }
        bytes
    }

    /// Whether a stream of this name is meant by the pattern. A subscription never watches the stream
    /// that it wakes its workers with: each wake would give rise to the next.
    pub fn globs(&self, path: &Path<'_>) -> bool {
        let is_own = match &self.delivery {
            Delivery::PullWake { wake_stream } => wake_stream.as_str() == path.name(),
            Delivery::Webhook { .. } => false,
        };
        !is_own && self.pattern.as_ref().is_some_and(|p| p.matches(path))
    }
}
