//! What writers append, and the look at all of it in the end.
//!
//! Every append is one record that says who wrote it and as which, and whose other bytes follow from
//! that: a record that is missing, there twice, out of order or changed shows.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{STREAMS, path, writers::Written};
use crate::http::Connection;

const MAGIC: [u8; 4] = *b"MRec";
const HEAD_BYTES: usize = 16;
const SMALL_BYTES: usize = 1 << 10;
const LARGE_BYTES: usize = 256 << 10;
/// One record in so many is a large one.
const LARGE_EVERY: u32 = 256;

/// A writer's record with this number.
pub(super) fn record(writer: u32, number: u32) -> Vec<u8> {
    let large = number % LARGE_EVERY == writer % LARGE_EVERY;
    let len = if large { LARGE_BYTES } else { SMALL_BYTES };
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&MAGIC);
    for field in [writer, number, u32::try_from(len).expect("small")] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    let mut state = (u64::from(writer) << 32 | u64::from(number)) ^ 0x9e37_79b9_7f4a_7c15;
    while bytes.len() < len {
        // xorshift: any sequence does that differs from record to record.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = state.to_le_bytes();
        bytes.extend_from_slice(&word[..word.len().min(len - bytes.len())]);
    }
    bytes
}

/// Reads every stream from its start. How many bytes and records there were.
pub(super) async fn look(address: SocketAddr, written: &[Written]) -> Result<(u64, u64), String> {
    let (mut bytes, mut records) = (0, 0);
    for stream in 0..STREAMS {
        let path = path(stream);
        let of_it = written
            .iter()
            .filter(|written| written.writer % STREAMS == stream);
        let mut looker = Looker::default();
        let read = read_all(address, &path, &mut looker).await;
        bytes += read.map_err(|what| format!("{path}: {what}"))?;
        for writer in of_it {
            let found = looker.next.get(&writer.writer).copied().unwrap_or(0);
            records += u64::from(found);
            if found != writer.acknowledged {
                let (who, told) = (writer.writer, writer.acknowledged);
                return Err(format!(
                    "{path}: writer {who} was acknowledged {told} appends; {found} are there"
                ));
            }
        }
    }
    Ok((bytes, records))
}

async fn read_all(address: SocketAddr, path: &str, looker: &mut Looker) -> Result<u64, String> {
    let mut connection = Connection::open(address)
        .await
        .map_err(|error| error.to_string())?;
    let mut offset = "-1".to_owned();
    let mut bytes = 0;
    loop {
        let target = format!("{path}?offset={offset}");
        let answer = connection.exchange("GET", &target, "", b"").await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("a read is answered {}", answer.status));
        }
        bytes += answer.body.len() as u64;
        looker.take(&answer.body)?;
        let next = answer
            .header("stream-next-offset")
            .ok_or("a read names no offset")?;
        let is_done = answer.header("stream-up-to-date").is_some();
        next.clone_into(&mut offset);
        if is_done {
            break;
        }
    }
    if !looker.rest.is_empty() {
        return Err(format!(
            "{} bytes at the end are no record",
            looker.rest.len()
        ));
    }
    Ok(bytes)
}

/// Goes through a stream's records.
#[derive(Default)]
struct Looker {
    /// The beginning of a record that the last page cut.
    rest: Vec<u8>,
    /// The number that each writer's next record must have.
    next: BTreeMap<u32, u32>,
}

impl Looker {
    fn take(&mut self, page: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(page);
        let mut at = 0;
        while let Some(len) = self.one(at)? {
            at += len;
        }
        self.rest.drain(..at);
        Ok(())
    }

    /// The length of the record at `at`; `None` when it is not whole yet.
    fn one(&mut self, at: usize) -> Result<Option<usize>, String> {
        let Some(head) = self.rest.get(at..at + HEAD_BYTES) else {
            return Ok(None);
        };
        let field = |index: usize| {
            let bytes = head[index * 4..][..4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes)
        };
        let (writer, number, len) = (field(1), field(2), field(3) as usize);
        if !head.starts_with(&MAGIC) || !(HEAD_BYTES..=LARGE_BYTES).contains(&len) {
            return Err("bytes that nobody appended".into());
        }
        let Some(bytes) = self.rest.get(at..at + len) else {
            return Ok(None);
        };
        if bytes != record(writer, number) {
            return Err(format!("record {number} of writer {writer} is changed"));
        }
        let next = self.next.entry(writer).or_default();
        if number != *next {
            return Err(format!(
                "after record {next} was due, writer {writer}'s record {number} comes"
            ));
        }
        *next += 1;
        Ok(Some(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(records: &[(u32, u32)], spoil: impl Fn(&mut Vec<u8>)) -> Result<(), String> {
        let mut bytes: Vec<u8> = records
            .iter()
            .flat_map(|(writer, number)| record(*writer, *number))
            .collect();
        spoil(&mut bytes);
        let mut looker = Looker::default();
        for page in bytes.chunks(700) {
            looker.take(page)?;
        }
        Ok(())
    }

    #[test]
    fn a_lost_repeated_or_changed_record_shows() {
        let keep = |_: &mut Vec<u8>| {};
        assert_eq!(taken(&[(1, 0), (2, 0), (1, 1), (1, 2)], keep), Ok(()));
        assert!(taken(&[(1, 0), (1, 2)], keep).is_err(), "one is lost");
        assert!(taken(&[(1, 0), (1, 0)], keep).is_err(), "one is repeated");
        assert!(taken(&[(1, 1), (1, 0)], keep).is_err(), "out of order");
        let flipped = |bytes: &mut Vec<u8>| bytes[1500] ^= 1;
        assert!(
            taken(&[(1, 0), (1, 1)], flipped).is_err(),
            "a bit is changed"
        );
    }
}
