//! A whole stream against everything that is known of it.

use std::collections::{HashMap, HashSet};

use super::{
    Tick, Whole,
    incarnation::{Closing, Fate, Incarnation},
    position,
};
use crate::message::{Found, HASH_START, Key, decode, fold};

/// Everything about `whole` that cannot be, given what was known at `asof`.
pub(super) fn verify(known: &Incarnation, whole: &Whole, asof: Tick) -> Vec<String> {
    let mut faults = Vec::new();
    frame(known, whole, asof, &mut faults);
    marks(known, whole, asof, &mut faults);
    let own = usize::try_from(known.inherited).unwrap_or(usize::MAX);
    match whole.bytes.get(own..) {
        Some(own) => match appends(known, own) {
            Ok(found) => contents(known, &found, asof, &mut faults),
            Err(what) => faults.push(what),
        },
        None => faults.push("it ends before the place where it was forked".into()),
    }
    faults.iter().map(|what| known.says(what)).collect()
}

/// Length, tail and closure.
fn frame(known: &Incarnation, whole: &Whole, asof: Tick, faults: &mut Vec<String>) {
    if position(&whole.tail) != Some(whole.bytes.len() as u64) {
        faults.push(format!(
            "{} bytes were read up to the tail {}",
            whole.bytes.len(),
            whole.tail
        ));
    }
    if known.closing == Closing::Open && whole.closed {
        faults.push("it is closed, and nobody closed it".into());
    }
    let was_closed = matches!(known.closing, Closing::Closed(at) if at <= asof);
    if was_closed && !whole.closed {
        faults.push("it was closed, and is open".into());
    }
}

/// What readers saw is still there.
fn marks(known: &Incarnation, whole: &Whole, asof: Tick, faults: &mut Vec<String>) {
    let (mut at, mut hash) = (0, HASH_START);
    for (seen, mark) in known.marks.values() {
        let until = usize::try_from(mark.position).unwrap_or(usize::MAX);
        let Some(bytes) = whole.bytes.get(at..until) else {
            // One that was seen while the stream was being read may well lie past what was read.
            if *seen <= asof {
                faults.push(format!(
                    "a reader was at {}, and the stream ends at {}",
                    mark.token, whole.tail
                ));
            }
            continue;
        };
        (at, hash) = (until, fold(hash, bytes));
        if hash != mark.hash {
            faults.push(format!(
                "the bytes before {} are not those a reader saw",
                mark.token
            ));
            return;
        }
    }
}

/// An append as it stands in the stream.
struct Stored {
    key: Key,
    messages: u32,
    hash: u64,
    end: u64,
}

/// Cuts the stream's own bytes into appends.
fn appends(known: &Incarnation, own: &[u8]) -> Result<Vec<Stored>, String> {
    let mut stored: Vec<Stored> = Vec::new();
    let mut at = 0;
    for (message, taken) in decode(known.kind, own)? {
        let Found { key, index, of, .. } = message;
        if message.incarnation != known.number {
            return Err(format!("{message:?} belongs to another incarnation"));
        }
        if index == 0 {
            stored.push(Stored {
                key,
                messages: 0,
                hash: HASH_START,
                end: 0,
            });
        }
        match stored.last_mut() {
            Some(last) if last.key == key && last.messages == index && index < of => {
                last.messages += 1;
                last.hash = fold(last.hash, &own[at..at + taken]);
                last.end = known.inherited + (at + taken) as u64;
            }
            _ => return Err(format!("{message:?} stands outside its append")),
        }
        at += taken;
    }
    Ok(stored)
}

/// Each append once, unchanged, in order; none that was acknowledged is missing.
fn contents(known: &Incarnation, stored: &[Stored], asof: Tick, faults: &mut Vec<String>) {
    let mut seen = HashSet::new();
    let mut last_of: HashMap<u32, Key> = HashMap::new();
    // The latest moment at which an append so far was sent: one that was acknowledged before that
    // may not come after it.
    let mut latest_sent = 0;
    for append in stored {
        let key = append.key;
        if !seen.insert(key) {
            faults.push(format!("{key:?} is there twice"));
            continue;
        }
        if let Some(last) = last_of.insert(key.by, key)
            && (last.epoch, last.seq) > (key.epoch, key.seq)
        {
            faults.push(format!("{key:?} stands after {last:?}"));
        }
        let Some(sent) = known.appends.get(&key) else {
            faults.push(format!("{key:?} was never sent"));
            continue;
        };
        if append.messages != sent.of || append.hash != sent.hash {
            faults.push(format!("{key:?} is not what was sent"));
        }
        match sent.fate {
            Fate::Refused => faults.push(format!("{key:?} was refused, and is there")),
            Fate::Acked { at, end } => {
                if at < latest_sent {
                    faults.push(format!(
                        "{key:?} was acknowledged before something that stands before it was sent"
                    ));
                }
                if end.is_some_and(|end| end != append.end) {
                    faults.push(format!(
                        "{key:?} was acknowledged at {end:?} and ends at {}",
                        append.end
                    ));
                }
            }
            Fate::Open | Fate::Unknown => {}
        }
        latest_sent = latest_sent.max(sent.sent);
    }
    missing(known, &seen, asof, faults);
}

fn missing(known: &Incarnation, seen: &HashSet<Key>, asof: Tick, faults: &mut Vec<String>) {
    let mut lost: Vec<Key> = known
        .appends
        .iter()
        .filter(|(key, append)| {
            matches!(append.fate, Fate::Acked { at, .. } if at <= asof) && !seen.contains(key)
        })
        .map(|(key, _)| *key)
        .collect();
    lost.sort_unstable();
    if let Some(first) = lost.first() {
        faults.push(format!(
            "{} acknowledged appends are missing, the first is {first:?}",
            lost.len()
        ));
    }
}
