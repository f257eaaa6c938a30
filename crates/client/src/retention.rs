//! Retention of a whole server: how it stands, and a pass of it now.

use std::time::Duration;

use http::Method;
use millrace_core::Timestamp;
use millrace_wire::path;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    client::{Ask, Client, Repeat},
    error::Error,
};

/// A pass looks at every stream with a policy, and is answered when it is over.
const PASS_WITHIN: Duration = Duration::from_mins(30);

/// How retention stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionStatus {
    /// From the end of one pass to the beginning of the next.
    pub interval: Duration,
    /// How many streams have a policy.
    pub streams: u64,
    /// Whether a pass is under way.
    pub running: bool,
    /// How many passes were made since the server started.
    pub passes: u64,
    /// What the last one did.
    pub last: Option<RetentionPass>,
}

/// What a pass did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionPass {
    /// When it began, by the server's clock.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How many streams it looked at.
    pub streams: u64,
    /// How many of them it trimmed.
    pub trimmed: u64,
    /// How many bytes can be read no longer.
    pub bytes: u64,
    /// How many streams it could not look at or trim.
    pub failed: u64,
}

#[derive(Deserialize)]
struct StatusDocument {
    interval_ms: u64,
    streams: u64,
    running: bool,
    passes: u64,
    last: Option<PassDocument>,
}

#[derive(Deserialize)]
struct PassDocument {
    began: String,
    took_ms: u64,
    streams: u64,
    trimmed: u64,
    bytes: u64,
    failed: u64,
}

impl Client {
    /// How retention stands on this server.
    pub async fn retention(&self) -> Result<RetentionStatus, Error> {
        let status: StatusDocument = self.of_retention(Method::GET).await?;
        Ok(RetentionStatus {
            interval: Duration::from_millis(status.interval_ms),
            streams: status.streams,
            running: status.running,
            passes: status.passes,
            last: status.last.map(|last| self.pass(&last)).transpose()?,
        })
    }

    /// Makes a pass now, after the one under way, and waits for its end. Sent again after a lost
    /// answer, which may make a second pass: that trims nothing the first one left.
    pub async fn retain_now(&self) -> Result<RetentionPass, Error> {
        let pass = self.of_retention(Method::POST).await?;
        self.pass(&pass)
    }

    async fn of_retention<T: DeserializeOwned>(&self, method: Method) -> Result<T, Error> {
        let mut ask = Ask::new(method, path::RETENTION.to_owned(), Repeat::Freely);
        if ask.method == Method::POST {
            ask.within = PASS_WITHIN;
        }
        let answer = self.whole(ask).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| self.answer(format!("{}: {error}", path::RETENTION)))
    }

    fn pass(&self, pass: &PassDocument) -> Result<RetentionPass, Error> {
        let began = millrace_wire::headers::timestamp(&pass.began);
        Ok(RetentionPass {
            began: began.ok_or_else(|| self.answer("a pass that began at no time"))?,
            took: Duration::from_millis(pass.took_ms),
            streams: pass.streams,
            trimmed: pass.trimmed,
            bytes: pass.bytes,
            failed: pass.failed,
        })
    }
}
