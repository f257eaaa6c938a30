//! The answer to `GET /v1/streams`: an array, and where it goes on.
//!
//! The member names are those that other servers of this listing use (`name`, `created_at`,
//! `expires_at`, `next_offset`), with what a client needs to read the stream beside them.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace_core::{ContentType, Lifetime, Offset, SettingKey, Settings, StreamName, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    cache::NO_STORE,
    headers::STREAM_LIST_NEXT,
    offset::Token,
    outcome::{Reply, rfc3339},
    path,
    settings::attributes_in,
};

/// A stream in a listing.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a StreamName,
    /// Its content type.
    pub content_type: &'a ContentType,
    /// Its tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// When it expires as things stand.
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its documents, where it has any.
    pub settings: Option<&'a Settings>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    content_type: &'a str,
    next_offset: &'a str,
    closed: bool,
    ttl_seconds: Option<u64>,
    expires_at: Option<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Map<String, Value>>,
}

/// The headers. `next` is the last name listed when there may be more; a client passes it on as
/// `after`, for which it is already encoded.
///
/// # Panics
/// Never: an encoded name is printable ASCII.
pub fn reply(next: Option<&StreamName>) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if let Some(name) = next {
        let name = path::query_encoded(name);
        let name = HeaderValue::try_from(name).expect("an encoded name is printable ASCII");
        headers.insert(STREAM_LIST_NEXT, name);
    }
    Reply {
        status: StatusCode::OK,
        headers,
    }
}

/// The body.
///
/// # Panics
/// Never: the rows hold texts and numbers.
pub fn body<'a>(listed: impl IntoIterator<Item = Listed<'a>>) -> Vec<u8> {
    let mut body = vec![b'['];
    for (i, stream) in listed.into_iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        let ttl_seconds = match stream.lifetime {
            Lifetime::Ttl(seconds) => Some(seconds),
            _ => None,
        };
        let tail = Token::new(stream.tail);
        let row = Row {
            name: stream.name.as_str(),
            content_type: stream.content_type.as_str(),
            next_offset: tail.as_str(),
            closed: stream.closed,
            ttl_seconds,
            expires_at: stream.expires_at.map(rfc3339),
            created_at: rfc3339(stream.created_at),
            attributes: stream.settings.and_then(attributes),
        };
        serde_json::to_writer(&mut body, &row).expect("texts and numbers are JSON");
    }
    body.push(b']');
    body
}

fn attributes(settings: &Settings) -> Option<Map<String, Value>> {
    let document = settings.get(SettingKey::ATTRIBUTES)?;
    Some(attributes_in(Some(document)))
}

#[cfg(test)]
mod tests {
    use millrace_core::{Generation, StreamPos};
    use serde_json::{Value, json};

    use super::*;
    use crate::query::ListQuery;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[test]
    fn rows_say_what_a_reader_needs() {
        let (a, b) = (name("a"), name("b/\"c\""));
        let content_type = ContentType::new("text/plain").unwrap();
        let plain = Listed {
            name: &a,
            content_type: &content_type,
            tail: Offset {
                generation: Generation(1),
                position: StreamPos(9),
            },
            closed: false,
            lifetime: Lifetime::Unlimited,
            expires_at: None,
            created_at: Timestamp(1_896_091_200_000),
            settings: None,
        };
        let sliding = Listed {
            name: &b,
            closed: true,
            lifetime: Lifetime::Ttl(60),
            expires_at: Some(Timestamp(1_896_091_260_000)),
            ..plain
        };
        let rows: Value = serde_json::from_slice(&body([plain, sliding])).unwrap();
        let tail = "0000000000001-0000000000000009";
        assert_eq!(
            rows,
            json!([
                {
                    "name": "a", "content_type": "text/plain", "next_offset": tail,
                    "closed": false, "ttl_seconds": null, "expires_at": null,
                    "created_at": "2030-01-31T12:00:00Z",
                },
                {
                    "name": "b/\"c\"", "content_type": "text/plain", "next_offset": tail,
                    "closed": true, "ttl_seconds": 60, "expires_at": "2030-01-31T12:01:00Z",
                    "created_at": "2030-01-31T12:00:00Z",
                },
            ])
        );
        assert_eq!(body([]), b"[]");
    }

    #[test]
    fn a_listing_goes_on_where_the_header_says() {
        for text in ["a", "a b+c&d=e%41", "\u{2713}/x"] {
            let last = name(text);
            let reply = reply(Some(&last));
            let next = reply.headers[STREAM_LIST_NEXT].to_str().unwrap();
            let query = format!("after={next}&limit=5");
            let list = ListQuery::parse(Some(&query)).unwrap();
            assert_eq!(list.after.as_deref(), Some(text));
        }
        assert!(!reply(None).headers.contains_key(STREAM_LIST_NEXT));
    }
}
