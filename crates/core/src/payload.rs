//! The bytes of one append, as they will be stored and sent, and where its messages end.
//!
//! For JSON streams each message is its own bytes plus one `,` that counts as a position; a page is
//! `[`, a range without its last byte, `]`. For all other streams an append is one message.

use std::sync::Arc;

use bytes::Bytes;

/// Wire bytes and the lengths of the messages they consist of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Bytes,
    messages: Messages,
}

/// The lengths of an append's messages, in wire bytes; they add up to the payload's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Messages {
    /// No message: an empty payload.
    None,
    /// One message that is the whole payload.
    One,
    /// Two or more.
    Many(Arc<[u32]>),
}

impl Payload {
    /// A payload without bytes.
    pub const EMPTY: Self = Self {
        bytes: Bytes::new(),
        messages: Messages::None,
    };

    /// One message.
    pub fn single(bytes: Bytes) -> Self {
        let messages = if bytes.is_empty() {
            Messages::None
        } else {
            Messages::One
        };
        Self { bytes, messages }
    }

    /// Messages of the given lengths, in wire bytes.
    ///
    /// # Panics
    /// When the lengths do not add up to the number of bytes, or one of them is 0.
    pub fn from_lengths(bytes: Bytes, lengths: &[u32]) -> Self {
        let total: u64 = lengths.iter().map(|len| u64::from(*len)).sum();
        assert_eq!(
            total,
            bytes.len() as u64,
            "message lengths add up to the payload"
        );
        assert!(lengths.iter().all(|len| *len > 0), "no message is empty");
        let messages = match lengths {
            [] => Messages::None,
            [_] => Messages::One,
            many => Messages::Many(many.into()),
        };
        Self { bytes, messages }
    }

    /// The bytes as they are stored and sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The number of wire bytes.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether there are no bytes, and so no messages.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where its messages end.
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// The same messages over `bytes`, which hold the same content elsewhere in memory.
    ///
    /// # Panics
    /// When the lengths differ.
    #[must_use]
    pub fn rebased(&self, bytes: Bytes) -> Self {
        assert_eq!(bytes.len(), self.bytes.len(), "the same content");
        Self {
            bytes,
            messages: self.messages.clone(),
        }
    }

    /// The lengths of the messages in order, in wire bytes.
    pub fn lengths(&self) -> impl Iterator<Item = u32> + '_ {
        let (one, many): (Option<u32>, &[u32]) = match &self.messages {
            Messages::None => (None, &[]),
            Messages::One => (u32::try_from(self.bytes.len()).ok(), &[]),
            Messages::Many(lengths) => (None, lengths),
        };
        one.into_iter().chain(many.iter().copied())
    }

    /// How many messages there are.
    pub fn message_count(&self) -> u64 {
        match &self.messages {
            Messages::None => 0,
            Messages::One => 1,
            Messages::Many(lengths) => lengths.len() as u64,
        }
    }
}
