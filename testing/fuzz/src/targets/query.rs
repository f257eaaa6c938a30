//! Queries: what one says does not depend on how it was escaped, nor on parameters that nobody knows,
//! and no number in it overflows into another (T36).

use std::{fmt::Write as _, time::Duration};

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
    let count = |key: &str| {
        pairs
            .iter()
            .filter(|pair| pair.key.as_deref() == Some(key))
            .count()
    };
    let again = written(&pairs, choices);
    let read = ReadQuery::parse(Some(query), &headers);
    assert_eq!(
        ReadQuery::parse(Some(&again), &headers),
        read,
        "{query:?}, {again:?}"
    );
    if let Ok(read) = read {
        for key in ["live", "offset", "timeout_ms", "timeout"] {
            assert!(count(key) <= 1, "{key} has one meaning: {query:?}");
        }
        assert_eq!(read.timeout, timeout(&pairs), "{query:?}");
    }
    let listed = ListQuery::parse(Some(query));
    assert_eq!(
        ListQuery::parse(Some(&again)),
        listed,
        "{query:?}, {again:?}"
    );
    if let Ok(listed) = listed {
        for key in ["prefix", "after", "limit"] {
            assert!(count(key) <= 1, "{key} has one meaning: {query:?}");
        }
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

/// How long to wait, as one with more digits than 64 bits have would read it.
fn timeout(pairs: &[Pair<'_>]) -> Option<Duration> {
    let mut found = pairs.iter().filter_map(|pair| {
        let key = pair.key.as_deref()?;
        let scale: fn(&str) -> u128 = match key {
            "timeout_ms" => |_| 1,
            "timeout" => |unit| match unit {
                "ms" => 1,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => 1000,
            },
            _ => return None,
        };
        let text = pair.value.as_deref()?;
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = text[..text.len() - unit.len()].trim_start_matches('0');
        // Beyond this many any number is more than the most.
        let number = if digits.len() > 20 {
            u128::from(u64::MAX)
        } else {
            digits.parse().unwrap_or(0)
        };
        let most = query::TIMEOUT_MAX.as_millis();
        let millis = (number * scale(unit)).min(most);
        Some(Duration::from_millis(
            u64::try_from(millis).expect("a minute"),
        ))
    });
    found.next()
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
