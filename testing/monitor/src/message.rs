//! What the writers write: messages that say of themselves who sent them, when, and whether they
//! are whole, so that a reader needs nothing else to judge them.

use std::fmt::Write as _;

use serde_json::value::RawValue;

/// The hash of no bytes: FNV-1a, folded byte by byte, so that it does not depend on how a stream
/// was cut into responses.
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Folds `bytes` into `hash`.
pub fn fold(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `application/json`: one object a message.
    Json,
    /// `application/octet-stream`: one line a message.
    Bytes,
}

impl Kind {
    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Bytes => "application/octet-stream",
        }
    }

    /// What stands before and after a message's text in the stream's wire bytes.
    fn frame(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("{\"m\":\"", "\"},"),
            Self::Bytes => ("", "\n"),
        }
    }

    /// The wire bytes that a response body or an event carried: a JSON array's messages, each with
    /// one comma, as positions count them.
    pub fn wire(self, body: &[u8]) -> Result<Vec<u8>, String> {
        if self == Self::Bytes {
            return Ok(body.to_vec());
        }
        let messages: Vec<&RawValue> = serde_json::from_slice(body)
            .map_err(|error| format!("a body is no JSON array: {error}"))?;
        Ok(messages
            .iter()
            .flat_map(|message| message.get().bytes().chain([b',']))
            .collect())
    }
}

/// Which append of whom in which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Who sent it.
    pub by: u32,
    /// The sender's epoch.
    pub epoch: u64,
    /// The sender's count within the epoch.
    pub seq: u64,
}

/// One message as it was found in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The incarnation it was written for.
    pub incarnation: u32,
    /// The append it came with.
    pub key: Key,
    /// Its place in the append.
    pub index: u32,
    /// How many messages the append has.
    pub of: u32,
}

/// The wire bytes of message `found`, with `pad` letters of filling.
pub fn encode(kind: Kind, found: Found, pad: usize) -> Vec<u8> {
    let Key { by, epoch, seq } = found.key;
    let mut text = format!(
        "{}.{by}.{epoch}.{seq}.{}.{}.",
        found.incarnation, found.index, found.of
    );
    let mut letters = fold(HASH_START, text.as_bytes());
    for _ in 0..pad {
        letters = letters
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.push(char::from(b'a' + ((letters >> 59) as u8 % 26)));
    }
    let sum = fold(HASH_START, text.as_bytes());
    write!(text, ".{sum:016x}").expect("writing to a string does not fail");
    let (before, after) = kind.frame();
    format!("{before}{text}{after}").into_bytes()
}

/// Cuts wire bytes into messages, each with the number of bytes it takes.
pub fn decode(kind: Kind, mut wire: &[u8]) -> Result<Vec<(Found, usize)>, String> {
    let mut messages = Vec::new();
    while !wire.is_empty() {
        let (found, taken) = decode_one(kind, wire)
            .ok_or_else(|| format!("no whole message at {:?}", preview(wire)))?;
        messages.push((found, taken));
        wire = &wire[taken..];
    }
    Ok(messages)
}

fn decode_one(kind: Kind, wire: &[u8]) -> Option<(Found, usize)> {
    let (before, after) = kind.frame();
    let rest = wire.strip_prefix(before.as_bytes())?;
    let end = rest
        .windows(after.len())
        .position(|window| window == after.as_bytes())?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    let (summed, sum) = text.rsplit_once('.')?;
    if u64::from_str_radix(sum, 16).ok()? != fold(HASH_START, summed.as_bytes()) {
        return None;
    }
    let mut fields = summed.split('.');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let incarnation = u32::try_from(number()?).ok()?;
    let by = u32::try_from(number()?).ok()?;
    let (epoch, seq) = (number()?, number()?);
    let (index, of) = (number()?, number()?);
    let found = Found {
        incarnation,
        key: Key { by, epoch, seq },
        index: u32::try_from(index).ok()?,
        of: u32::try_from(of).ok()?,
    };
    Some((found, before.len() + end + after.len()))
}

fn preview(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(seq: u64) -> Found {
        let key = Key {
            by: 3,
            epoch: 1,
            seq,
        };
        Found {
            incarnation: 7,
            key,
            index: 0,
            of: 1,
        }
    }

    #[test]
    fn messages_come_back_as_they_were_written() {
        for kind in [Kind::Json, Kind::Bytes] {
            let wire = [encode(kind, found(0), 0), encode(kind, found(1), 200)].concat();
            let messages = decode(kind, &wire).unwrap();
            assert_eq!(messages.len(), 2);
            assert_eq!(messages[1].0, found(1));
            assert_eq!(messages[0].1 + messages[1].1, wire.len());
        }
    }

    #[test]
    fn a_flipped_bit_and_a_cut_message_are_noticed() {
        for kind in [Kind::Json, Kind::Bytes] {
            let wire = encode(kind, found(0), 40);
            for at in 0..wire.len() {
                let mut flipped = wire.clone();
                flipped[at] ^= 1;
                assert!(decode(kind, &flipped).is_err(), "{kind:?} {at}");
                assert!(
                    at == 0 || decode(kind, &wire[..at]).is_err(),
                    "{kind:?} {at}"
                );
            }
        }
    }

    #[test]
    fn json_bodies_become_wire_bytes_whatever_stands_between_the_messages() {
        let wire = Kind::Json
            .wire(b"[\n{\"m\":\"a\"},\n{\"m\":\"b\"}\n]")
            .unwrap();
        assert_eq!(wire, b"{\"m\":\"a\"},{\"m\":\"b\"},");
        assert_eq!(Kind::Json.wire(b"[]").unwrap(), b"");
        assert!(Kind::Json.wire(b"").is_err());
    }
}
