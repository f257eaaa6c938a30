//! Queries: what one says does not depend on how it was escaped, nor on parameters that nobody knows,
//! and no number in it overflows into another (T36).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue};
use millrace_wire::{ListQuery, ReadQuery, headers::LAST_EVENT_ID, query};

use crate::input::Input;

const KNOWN: [&str; 12] = [
    "last",
    "since",
    "before",
    "format",
    "live",
    "offset",
    "cursor",
    "timeout_ms",
    "timeout",
    "prefix",
    "after",
    "limit",
];

/// A byte of choices; a line for `Last-Event-ID`, if one follows; the rest is a query.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choices = input.u8();
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    let (id, query) = match text.split_once('\n') {
        Some((id, query)) => (Some(id), query),
        None => (None, text),
    };
    let mut headers = HeaderMap::new();
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(LAST_EVENT_ID, id);
    }
    let pairs = pairs(query);
    let again = written(&pairs, choices);
    let read = ReadQuery::parse(Some(query), &headers);
    assert_eq!(
        ReadQuery::parse(Some(&again), &headers),
        read,
        "{query:?}, {again:?}"
    );
    if let Ok(read) = read {
        let timeout = read.timeout.unwrap_or_default();
        assert!(timeout <= query::TIMEOUT_MAX, "nobody waits longer");
    }
    let listed = ListQuery::parse(Some(query));
    assert_eq!(
        ListQuery::parse(Some(&again)),
        listed,
        "{query:?}, {again:?}"
    );
    if let Ok(listed) = listed {
        assert!((1..=query::LIST_LIMIT_MAX).contains(&listed.limit));
    }
}

/// A parameter, as one without a plan would read it.
struct Pair<'a> {
    raw: &'a str,
    key: Option<String>,
    value: Option<String>,
}

fn pairs(query: &str) -> Vec<Pair<'_>> {
    let parts = query.split('&').filter(|raw| !raw.is_empty());
    let pair = |raw| {
        let (key, value) = match str::split_once(raw, '=') {
            Some((key, value)) => (key, value),
            None => (raw, ""),
        };
        Pair {
            raw,
            key: decoded(key),
            value: decoded(value),
        }
    };
    parts.map(pair).collect()
}

/// `None` where an escape is broken, or the result is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).expect("two digits")
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The same parameters, every byte escaped; those that nobody knows are left out or joined by others.
fn written(pairs: &[Pair<'_>], choices: u8) -> String {
    let mut query = Vec::new();
    for Pair { raw, key, value } in pairs {
        let is_known = key.as_ref().is_some_and(|key| KNOWN.contains(&&key[..]));
        match (key, value) {
            _ if !is_known && choices & 1 == 0 => {}
            (Some(key), Some(value)) => {
                query.push(format!("{}={}", escaped(key), escaped(value)));
            }
            _ => query.push((*raw).to_owned()),
        }
        if choices & 2 != 0 {
            query.push("of-nobody=%zz".to_owned());
        }
    }
    query.join("&")
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").expect("a text takes all");
        text
    })
}
