//! From messages to the bodies of appends.
//!
//! INVARIANT: where batches end depends only on the messages and the two bounds, never on time: the
//! same input gives the same batches, so that the n-th batch can carry sequence number n, and a
//! second run of the same input maps onto what the first one sent.

use bytes::Bytes;

/// The body of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The bytes to send.
    pub body: Bytes,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes of the input it covers.
    pub input_bytes: u64,
}

/// Gathers JSON messages into arrays.
#[derive(Debug)]
pub struct JsonBatcher {
    messages_max: u64,
    bytes_max: usize,
    body: Vec<u8>,
    messages: u64,
    input_bytes: u64,
}

impl JsonBatcher {
    /// Batches of at most so many messages and bytes; a single larger message is a batch of its own.
    ///
    /// # Panics
    /// When a bound is 0.
    pub fn new(messages_max: u64, bytes_max: usize) -> Self {
        assert!(messages_max > 0 && bytes_max > 0, "a batch holds something");
        Self {
            messages_max,
            bytes_max,
            body: Vec::new(),
            messages: 0,
            input_bytes: 0,
        }
    }

    /// Adds a message (valid JSON, checked by the caller) that `input_bytes` of the input were used
    /// for; the batch that is full because of it, if one is.
    pub fn push(&mut self, message: &[u8], input_bytes: u64) -> Option<Batch> {
        // The comma or bracket before it, and the bracket at the end.
        let is_full = self.messages > 0
            && (self.messages == self.messages_max
                || self.body.len() + message.len() + 2 > self.bytes_max);
        let full = if is_full { self.finish() } else { None };
        self.body.push(if self.messages == 0 { b'[' } else { b',' });
        self.body.extend_from_slice(message);
        self.messages += 1;
        self.input_bytes += input_bytes;
        full
    }

    /// Counts input that belongs to no message, such as blank lines.
    pub fn skip(&mut self, input_bytes: u64) {
        self.input_bytes += input_bytes;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// What is gathered, if anything is.
    pub fn finish(&mut self) -> Option<Batch> {
        if self.messages == 0 {
            return None;
        }
        self.body.push(b']');
        let batch = Batch {
            body: Bytes::from(std::mem::take(&mut self.body)),
            messages: self.messages,
            input_bytes: self.input_bytes,
        };
        self.messages = 0;
        self.input_bytes = 0;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(messages: &[&str], messages_max: u64, bytes_max: usize) -> Vec<Bytes> {
        let mut batcher = JsonBatcher::new(messages_max, bytes_max);
        let mut all = Vec::new();
        for message in messages {
            all.extend(batcher.push(message.as_bytes(), 1));
        }
        all.extend(batcher.finish());
        let counted: u64 = all.iter().map(|batch| batch.input_bytes).sum();
        assert_eq!(counted, messages.len() as u64);
        all.into_iter().map(|batch| batch.body).collect()
    }

    #[test]
    fn batches_end_at_the_bounds() {
        assert_eq!(batches(&["1", "2", "3"], 2, 100), ["[1,2]", "[3]"]);
        assert_eq!(batches(&["11", "22", "33"], 9, 7), ["[11,22]", "[33]"]);
        assert_eq!(
            batches(&["1", "22222222", "3"], 9, 4),
            ["[1]", "[22222222]", "[3]"]
        );
        assert!(batches(&[], 1, 1).is_empty());
    }
}
