//! JSON splitting. Whatever is accepted reads back: the page of what is stored holds the same values as
//! the body did, byte for byte, and is accepted again as it is (T23). Whatever is refused is no JSON
//! for another reader either, or breaks a limit that is written down.

use bytes::Bytes;
use millrace_core::{BodyFault, ContentKind, Payload, limits::JSON_DEPTH_MAX};
use millrace_wire::{json, page::Page};
use serde_json::value::{RawValue, Value};

/// The input is a body.
pub fn check(body: &[u8]) {
    match json::split(body) {
        Ok(payload) => reads_back(body, &payload),
        Err(fault) => is_refused_rightly(body, fault),
    }
}

fn reads_back(body: &[u8], payload: &Payload) {
    let stored = messages(payload);
    let page = page(payload);
    let wanted = values(body);
    assert_eq!(stored, wanted, "a message is its value's own bytes");
    assert_eq!(values(&page), wanted, "a page reads back");
    assert_eq!(
        json::split(&page).as_ref(),
        Ok(payload),
        "a page is accepted as it is"
    );
    assert!(nesting(body) <= JSON_DEPTH_MAX, "this is too deep");
    let whole: Result<Vec<Value>, _> = serde_json::from_slice(&page);
    // A number may be too large for this reader; nothing else is.
    if let Err(error) = &whole {
        assert!(
            error.to_string().starts_with("number out of range"),
            "{error}"
        );
    }
    let parts: Result<Vec<Value>, _> = wanted
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect();
    assert_eq!(whole.ok(), parts.ok(), "values are the same");
}

/// What the sum of a body's values is: its elements, if it is an array.
fn values(body: &[u8]) -> Vec<String> {
    let raw = |value: Box<RawValue>| value.get().to_owned();
    if body.trim_ascii_start().starts_with(b"[") {
        let elements: Vec<Box<RawValue>> = serde_json::from_slice(body).expect("it is JSON");
        return elements.into_iter().map(raw).collect();
    }
    vec![raw(serde_json::from_slice(body).expect("it is JSON"))]
}

fn messages(payload: &Payload) -> Vec<String> {
    let mut rest = payload.bytes().as_ref();
    let mut messages = Vec::new();
    for len in payload.lengths() {
        let (message, after) = rest.split_at(usize::try_from(len).expect("in memory"));
        let message = message
            .strip_suffix(b",")
            .expect("a message ends in a comma");
        messages.push(String::from_utf8(message.to_vec()).expect("JSON is UTF-8"));
        rest = after;
    }
    assert!(rest.is_empty(), "lengths add up");
    messages
}

/// A page of all of it, as a read sends it.
pub(super) fn page(payload: &Payload) -> Vec<u8> {
    let mut page = Page::new(ContentKind::Json, payload.len());
    let len = page.content_length();
    let inside: Bytes = page.pass(payload.bytes().clone());
    let sent = [page.opening(), inside, page.closing()].concat();
    assert_eq!(sent.len() as u64, len, "a page is as long as it says");
    sent
}

fn is_refused_rightly(body: &[u8], fault: BodyFault) {
    let raw: Result<Box<RawValue>, _> = serde_json::from_slice(body);
    match fault {
        BodyFault::Syntax(at) => {
            assert!(raw.is_err(), "this is JSON");
            assert!(at <= body.len() as u64);
        }
        BodyFault::Unicode(at) => {
            let value: Result<Value, _> = serde_json::from_slice(body);
            assert!(value.is_err(), "this is JSON of valid Unicode");
            assert!(at <= body.len() as u64);
        }
        BodyFault::Depth => assert!(nesting(body) > JSON_DEPTH_MAX, "this is not deep"),
        BodyFault::EmptyArray => {
            let elements: Vec<Value> = serde_json::from_slice(body).expect("an array");
            assert!(elements.is_empty());
        }
    }
}

/// How deep a body's messages are nested: its own array is taken off.
fn nesting(body: &[u8]) -> usize {
    let is_array = body.trim_ascii_start().starts_with(b"[");
    depth(body).saturating_sub(usize::from(is_array))
}

/// How deep brackets are nested, those in strings left out.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut in_string = false;
    let mut escaped = false;
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
