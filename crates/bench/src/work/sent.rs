//! What the writer of a live kind sent: subscribers are compared with it, byte for byte.

use std::time::Duration;

use super::Tally;
use crate::{
    BenchError, Plan,
    chain::{Chain, Messages},
    request::Requests,
};

/// The content type of what live readers read: text passes through events as it is.
pub(crate) const TEXT: &str = "text/plain";

/// The writer's messages, from the first on.
#[derive(Debug)]
pub(crate) struct Sent {
    messages: Messages,
    size: usize,
    chain: Chain,
    /// What readers may see.
    content: Vec<u8>,
    /// When each message of it was due.
    dues: Vec<Duration>,
}

impl Sent {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            messages: Messages::new(plan.size, false),
            size: plan.size,
            chain: Chain::default(),
            content: Vec::new(),
            dues: Vec::new(),
        }
    }

    /// Writes the next append; what the server refused comes again, with the time it was first due.
    pub(crate) fn append(
        &mut self,
        requests: &Requests,
        name: &str,
        due: Duration,
        out: &mut Vec<u8>,
    ) {
        // Readers may see a message before its writer is answered, so it is known from here on.
        if self.dues.len() == self.chain.length as usize {
            let nanos = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
            let next = self.chain.next(0, nanos);
            self.messages.push(&mut self.content, next, 0, nanos);
            self.dues.push(due);
        }
        requests.with_body(out, "POST", name, TEXT, self.size);
        out.extend_from_slice(&self.content[self.content.len() - self.size..]);
    }

    /// The message under way is acknowledged.
    pub(crate) fn acknowledged(&mut self) {
        let due = self.dues[self.chain.length as usize];
        let nanos = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
        self.chain = self.chain.next(0, nanos);
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// Compares what a reader at `position` got; counts the messages that are whole with it.
    pub(crate) fn compare(
        &self,
        position: usize,
        bytes: &[u8],
        now: Duration,
        tally: &mut Tally,
    ) -> Result<usize, BenchError> {
        let end = position + bytes.len();
        if self.content.get(position..end) != Some(bytes) {
            return Err(BenchError::Mismatch(format!(
                "at byte {position} a subscriber got {:?}, which is not what was appended there",
                String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
            )));
        }
        for message in position / self.size..end / self.size {
            tally.arrived(self.dues[message], now);
        }
        tally.count_bytes(now, bytes.len());
        Ok(end)
    }
}
