//! Messages that can be verified: each carries a hash over all those before it on its chain.
//!
//! A chain is what one connection appends to one stream. The text of a message is four numbers in
//! hexadecimal digits (the hash, the connection, the message's number, when it was due) and filler
//! that the hash chooses. A message that is lost, doubled, moved, changed or invented breaks its
//! chain, and a chain that is shorter than what was acknowledged shows loss at its end.

use std::collections::HashMap;

/// The four numbers.
pub(crate) const HEAD_BYTES: usize = 48;
/// The least a message can have, JSON included.
pub(crate) const MESSAGE_BYTES_MIN: usize = 64;
/// Where filler may begin.
const FILLER_STARTS: usize = 4096;

/// How far a chain is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    hash: u64,
    /// How many messages it has.
    pub(crate) length: u32,
}

impl Chain {
    /// With one message more, sent by this connection, due at this moment.
    pub(crate) fn next(self, connection: u32, due: u64) -> Self {
        let place = u64::from(connection) << 32 | u64::from(self.length);
        Self {
            hash: mixed(mixed(self.hash ^ place) ^ due),
            length: self.length + 1,
        }
    }
}

/// Makes messages.
#[derive(Debug)]
pub(crate) struct Messages {
    filler: Vec<u8>,
    size: usize,
    is_json: bool,
}

const JSON_BEFORE: &[u8] = b"{\"m\":\"";
const JSON_AFTER: &[u8] = b"\"}";

impl Messages {
    /// Of so many bytes.
    pub(crate) fn new(size: usize, is_json: bool) -> Self {
        assert!(size >= MESSAGE_BYTES_MIN, "the plan was checked");
        Self {
            filler: filler(FILLER_STARTS + size),
            size,
            is_json,
        }
    }

    /// Writes the message that brings a chain to `chain`.
    pub(crate) fn push(&self, out: &mut Vec<u8>, chain: Chain, connection: u32, due: u64) {
        if self.is_json {
            out.extend_from_slice(JSON_BEFORE);
        }
        hex(out, chain.hash, 16);
        hex(out, u64::from(connection), 8);
        hex(out, u64::from(chain.length - 1), 8);
        hex(out, due, 16);
        out.extend_from_slice(self.filler_of(chain.hash));
        if self.is_json {
            out.extend_from_slice(JSON_AFTER);
        }
    }

    fn filler_of(&self, hash: u64) -> &[u8] {
        let around = if self.is_json {
            JSON_BEFORE.len() + JSON_AFTER.len()
        } else {
            0
        };
        let start = usize::try_from(hash % FILLER_STARTS as u64).expect("small");
        &self.filler[start..start + self.size - HEAD_BYTES - around]
    }

    /// Bytes of the message that begins with `text`, or none while it is not whole.
    fn first<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        text.get(..self.size)
    }
}

/// Follows every chain of a stream, page by page.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    messages: &'a Messages,
    chains: HashMap<u32, Chain>,
    /// The beginning of a message whose end is on the next page.
    rest: Vec<u8>,
    again: Vec<u8>,
    /// How many messages there were.
    pub(crate) number: u64,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(messages: &'a Messages) -> Self {
        Self {
            messages,
            chains: HashMap::new(),
            rest: Vec::new(),
            again: Vec::new(),
            number: 0,
        }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut joined = std::mem::take(&mut self.rest);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        loop {
            if self.messages.is_json {
                let is_between = |byte: &&u8| b"[], \n\r\t".contains(byte);
                rest = &rest[rest.iter().take_while(is_between).count()..];
            }
            let Some(message) = self.messages.first(rest) else {
                self.rest = rest.to_vec();
                return Ok(());
            };
            self.message(message)?;
            rest = &rest[message.len()..];
        }
    }

    fn message(&mut self, message: &[u8]) -> Result<(), String> {
        let number = self.number;
        let before = if self.messages.is_json {
            JSON_BEFORE.len()
        } else {
            0
        };
        let part = |from, to| unhex(&message[before + from..before + to]);
        let (Some(connection), Some(due)) = (part(16, 24), part(32, 48)) else {
            return Err(format!("message {number} has no head"));
        };
        let connection = u32::try_from(connection).expect("eight digits");
        let chain = self.chains.entry(connection).or_default();
        *chain = chain.next(connection, due);
        self.again.clear();
        self.messages.push(&mut self.again, *chain, connection, due);
        if self.again != message {
            return Err(format!(
                "message {number} is not number {} of connection {connection}",
                chain.length - 1
            ));
        }
        self.number += 1;
        Ok(())
    }

    /// What is there of each connection's chain.
    pub(crate) fn end(self) -> Result<HashMap<u32, Chain>, String> {
        if self.rest.is_empty() {
            Ok(self.chains)
        } else {
            Err(format!(
                "{} bytes at the end are no message",
                self.rest.len()
            ))
        }
    }
}

/// Printable text without a period, letters and digits, the same in every run.
pub(crate) fn filler(bytes: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut filler = Vec::with_capacity(bytes + 10);
    let mut number = 1;
    while filler.len() < bytes {
        number = mixed(number);
        let letter = |part| LETTERS[usize::try_from(number >> (part * 6u64) & 63).expect("small")];
        filler.extend((0..10).map(letter));
    }
    filler.truncate(bytes);
    filler
}

/// A number that looks drawn at random; other ones for other ones.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn hex(out: &mut Vec<u8>, number: u64, digits: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |at| DIGITS[usize::try_from(number >> (at * 4) & 15).expect("small")];
    out.extend((0..digits).rev().map(digit));
}

fn unhex(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two connections' chains of three messages each, in turn.
    fn stream(messages: &Messages, is_json: bool) -> Vec<Vec<u8>> {
        let mut chains = [Chain::default(); 2];
        let mut stream = Vec::new();
        for due in 0..6 {
            let connection = u32::try_from(due % 2).expect("small");
            let chain = &mut chains[connection as usize];
            *chain = chain.next(connection, due);
            let mut message = Vec::new();
            messages.push(&mut message, *chain, connection, due);
            if is_json {
                message.push(b',');
            }
            stream.push(message);
        }
        stream
    }

    fn followed(
        messages: &Messages,
        content: &[u8],
        page: usize,
    ) -> Result<HashMap<u32, Chain>, String> {
        let mut follower = Follower::new(messages);
        for page in content.chunks(page) {
            follower.take(page)?;
        }
        follower.end()
    }

    #[test]
    fn what_was_sent_is_followed_to_its_end() {
        for is_json in [false, true] {
            let messages = Messages::new(100, is_json);
            let content = stream(&messages, is_json).concat();
            for page in [7, 100, content.len()] {
                let chains = followed(&messages, &content, page).expect("is whole");
                assert_eq!(chains.len(), 2);
                assert!(chains.values().all(|chain| chain.length == 3));
            }
        }
    }

    #[test]
    fn a_message_lost_doubled_moved_or_changed_is_seen() {
        let messages = Messages::new(64, false);
        let whole = stream(&messages, false);
        let mut lost = whole.clone();
        lost.remove(1);
        let mut doubled = whole.clone();
        doubled.insert(2, whole[2].clone());
        let mut moved = whole.clone();
        moved.swap(1, 3);
        let mut changed = whole.clone();
        changed[5][63] ^= 1;
        let mut cut = whole;
        cut[5].pop();
        for broken in [lost, doubled, moved, changed, cut] {
            assert!(followed(&messages, &broken.concat(), 1000).is_err());
        }
    }

    #[test]
    fn connections_that_are_in_another_order_are_fine() {
        let messages = Messages::new(64, false);
        let mut stream = stream(&messages, false);
        stream.swap(0, 1);
        assert!(followed(&messages, &stream.concat(), 1000).is_ok());
    }
}
