//! Key compaction: the latest value of each key in the place of all that was.

use std::time::Duration;

use http::Method;
use millrace_wire::path;
use serde::Deserialize;

use crate::{
    client::Repeat,
    error::Error,
    offset::Offset,
    stream::{Stream, Trimmed},
};

/// A compaction reads all of a stream, and is answered when it is over.
const COMPACTED_WITHIN: Duration = Duration::from_mins(30);

/// What a compaction left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// The first offset that can be read: the snapshot begins there.
    pub earliest_offset: Offset,
    /// The tail.
    pub next_offset: Offset,
    /// How many keys have a value.
    pub keys: u64,
    /// How many bytes could be read before.
    pub bytes_before: u64,
    /// How many bytes the snapshot has.
    pub bytes_after: u64,
}

#[derive(Deserialize)]
struct Document {
    keys: u64,
    bytes_before: u64,
    bytes_after: u64,
}

impl Stream {
    /// Puts a snapshot of the latest value of each key in the place of all that was, in one step for
    /// readers and across any crash. Only of a stream of the State Protocol that is not closed.
    ///
    /// Sent again only when the server certainly did not take it: readers of a snapshot would be
    /// told 410 when another takes its place. Doing so again loses nothing.
    pub async fn compact(&self) -> Result<Compacted, Error> {
        let mut ask = self.ask(Method::POST, Repeat::IfUnchanged);
        ask.target = format!("{}/{}", ask.target, path::COMPACT);
        ask.within = COMPACTED_WITHIN;
        let client = self.client();
        let answer = client.whole(ask).await?;
        let Trimmed {
            earliest_offset,
            next_offset,
        } = self.trimmed(&answer)?;
        let Document {
            keys,
            bytes_before,
            bytes_after,
        } = serde_json::from_slice(&answer.body)
            .map_err(|error| client.answer(format!("a compaction: {error}")))?;
        Ok(Compacted {
            earliest_offset,
            next_offset,
            keys,
            bytes_before,
            bytes_after,
        })
    }
}
