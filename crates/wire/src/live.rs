//! Live reads of many streams on one connection (`/v1/streams/_live`): which, and the events.
//!
//! An event is a JSON object that says all of itself: which stream, what was appended, and the offset to
//! go on from. `id:` of an event holds the offsets of all streams, in the order in which the request
//! named them, so that a bare EventSource resumes each where it was; a POST, which no EventSource sends,
//! does without.
//!
//! Not here: when to send what (`millrace-server`).

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use millrace_core::{ContentKind, Offset, StreamName};
use serde::{Deserialize, Serialize};

use crate::{
    headers::{Fields, LAST_EVENT_ID, STREAM_EARLIEST_OFFSET, single_text},
    lines::one_line,
    offset::{OffsetArg, Token, parse_token},
    problem::Problem,
    query::every,
    refused::BadRequest,
};

/// The most streams that a GET names.
pub const FOLLOWED_BY_GET_MAX: usize = 64;
/// The most streams that a POST names.
pub const FOLLOWED_MAX: usize = 1000;

/// A stream to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Its name.
    pub name: StreamName,
    /// From where.
    pub offset: OffsetArg,
}

/// Reads the query of a GET; `Last-Event-ID` beats its offsets.
pub fn get(query: Option<&str>, headers: &impl Fields) -> Result<Vec<Follow>, BadRequest> {
    let given = every(query, "follow")?;
    let read = |text: &str| {
        let (name, offset) = text.rsplit_once(',').ok_or(BadRequest::Follow)?;
        follow(name, offset)
    };
    let follows = given.iter().map(|text| read(text));
    let mut follows: Vec<Follow> = follows.collect::<Result<_, _>>()?;
    check(&follows, FOLLOWED_BY_GET_MAX, "a POST")?;
    match single_text(headers, &LAST_EVENT_ID, "Last-Event-ID")? {
        None | Some("") => {}
        Some(id) => resume(&mut follows, id)?,
    }
    Ok(follows)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    follow: Vec<Given>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    stream: String,
    offset: String,
}

/// Reads the body of a POST.
pub fn post(body: &[u8]) -> Result<Vec<Follow>, BadRequest> {
    let body: Body =
        serde_json::from_slice(body).map_err(|error| BadRequest::FollowBody(error.to_string()))?;
    let given = body.follow.iter();
    let follows = given.map(|given| follow(&given.stream, &given.offset));
    let follows: Vec<Follow> = follows.collect::<Result<_, _>>()?;
    check(&follows, FOLLOWED_MAX, "more connections")?;
    Ok(follows)
}

fn follow(name: &str, offset: &str) -> Result<Follow, BadRequest> {
    Ok(Follow {
        name: StreamName::new(name)?,
        offset: OffsetArg::parse(offset).ok_or(BadRequest::Offset)?,
    })
}

fn check(follows: &[Follow], max: usize, instead: &'static str) -> Result<(), BadRequest> {
    if follows.is_empty() {
        return Err(BadRequest::FollowNothing);
    }
    if follows.len() > max {
        return Err(BadRequest::FollowTooMany(max, instead));
    }
    let mut seen = HashSet::new();
    match follows.iter().find(|follow| !seen.insert(&follow.name)) {
        Some(twice) => Err(BadRequest::FollowTwice(twice.name.to_string())),
        None => Ok(()),
    }
}

/// What stands in an event's id for a stream that nothing was said of yet.
const UNKNOWN: &str = "x";

fn resume(follows: &mut [Follow], id: &str) -> Result<(), BadRequest> {
    let offsets: Vec<&str> = id.split('.').collect();
    if offsets.len() != follows.len() {
        return Err(BadRequest::FollowEventId);
    }
    for (follow, offset) in follows.iter_mut().zip(offsets) {
        if offset != UNKNOWN {
            let offset = parse_token(offset).ok_or(BadRequest::FollowEventId)?;
            follow.offset = OffsetArg::At(offset);
        }
    }
    Ok(())
}

/// What an event says of a stream, beside its content.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Its name.
    pub stream: &'a StreamName,
    /// The offset to go on from.
    pub next: Offset,
    /// Whether everything there is has been sent.
    pub up_to_date: bool,
    /// Whether nothing more will come.
    pub closed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    stream: &'a str,
    next_offset: &'a str,
    up_to_date: bool,
    closed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lost<'a> {
    stream: &'a str,
    error: LostError<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LostError<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_offset: Option<&'a str>,
}

/// Appends an event with `wire`, which may be nothing: JSON as whole messages, text up to a code point.
/// `offsets` are those of all streams, where the event carries them.
///
/// # Panics
/// Never: texts are JSON.
pub fn event(
    out: &mut Vec<u8>,
    said: Said<'_>,
    kind: ContentKind,
    wire: &[u8],
    offsets: Option<&[Option<Offset>]>,
) {
    out.reserve(wire.len() + wire.len() / 2 + 200);
    out.extend_from_slice(b"data:");
    let next = Token::new(said.next);
    let head = Head {
        stream: said.stream.as_str(),
        next_offset: next.as_str(),
        up_to_date: said.up_to_date,
        closed: said.closed,
    };
    serde_json::to_writer(&mut *out, &head).expect("texts are JSON");
    if !wire.is_empty() {
        // In place of the brace at its end.
        out.pop();
        content(out, kind, wire);
        out.push(b'}');
    }
    end(out, offsets);
}

fn content(out: &mut Vec<u8>, kind: ContentKind, wire: &[u8]) {
    match kind {
        ContentKind::Json => {
            out.extend_from_slice(b",\"messages\":[");
            one_line(wire.strip_suffix(b",").unwrap_or(wire), out);
            out.push(b']');
        }
        ContentKind::Text => {
            out.extend_from_slice(b",\"text\":");
            let text = String::from_utf8_lossy(wire);
            serde_json::to_writer(&mut *out, &text).expect("texts are JSON");
        }
        ContentKind::Binary => {
            out.extend_from_slice(b",\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(wire).as_bytes());
            out.push(b'"');
        }
    }
}

/// Appends an event that says why a stream is followed no longer, or not at all.
///
/// # Panics
/// Never: texts are JSON.
pub fn lost(
    out: &mut Vec<u8>,
    stream: &StreamName,
    problem: &Problem,
    offsets: Option<&[Option<Offset>]>,
) {
    let headers = problem.headers();
    let earliest = headers.get(STREAM_EARLIEST_OFFSET);
    let entry = problem.code.entry();
    let lost = Lost {
        stream: stream.as_str(),
        error: LostError {
            status: entry.status,
            code: entry.code,
            message: &problem.detail,
            earliest_offset: earliest.and_then(|value| value.to_str().ok()),
        },
    };
    out.extend_from_slice(b"data:");
    serde_json::to_writer(&mut *out, &lost).expect("texts are JSON");
    end(out, offsets);
}

fn end(out: &mut Vec<u8>, offsets: Option<&[Option<Offset>]>) {
    out.push(b'\n');
    if let Some(offsets) = offsets {
        out.extend_from_slice(b"id:");
        for (place, offset) in offsets.iter().enumerate() {
            if place > 0 {
                out.push(b'.');
            }
            match offset {
                Some(offset) => out.extend_from_slice(Token::new(*offset).as_bytes()),
                None => out.extend_from_slice(UNKNOWN.as_bytes()),
            }
        }
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use millrace_core::{Generation, StreamPos};
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "0000000000007-0000000000000042";
    const AT: Offset = Offset {
        generation: Generation(7),
        position: StreamPos(42),
    };

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    fn asked(query: &str, id: Option<&str>) -> Result<Vec<(String, OffsetArg)>, BadRequest> {
        let mut headers = HeaderMap::new();
        if let Some(id) = id {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_str(id).unwrap());
        }
        let follows = get(Some(query), &headers)?;
        let pair = |follow: Follow| (follow.name.to_string(), follow.offset);
        Ok(follows.into_iter().map(pair).collect())
    }

    #[test]
    fn names_may_have_commas_and_offsets_come_last() {
        let query = format!("follow=a,-1&x=y&follow=b%2Fc,d,now&follow=e,{TOKEN}");
        let want = vec![
            ("a".to_owned(), OffsetArg::Start),
            ("b/c,d".to_owned(), OffsetArg::Now),
            ("e".to_owned(), OffsetArg::At(AT)),
        ];
        assert_eq!(asked(&query, None), Ok(want));
        for (query, want) in [
            ("", BadRequest::FollowNothing),
            ("follow=a", BadRequest::Follow),
            ("follow=a,7", BadRequest::Offset),
            ("follow=%ff,-1", BadRequest::ParameterEncoding("follow")),
            (
                "follow=a,-1&follow=a,now",
                BadRequest::FollowTwice("a".into()),
            ),
        ] {
            assert_eq!(asked(query, None), Err(want), "{query}");
        }
        let many = |count: usize| {
            let all: Vec<String> = (0..count).map(|n| format!("follow=s{n},-1")).collect();
            asked(&all.join("&"), None).map(|all| all.len())
        };
        assert_eq!(many(64), Ok(64));
        assert_eq!(many(65), Err(BadRequest::FollowTooMany(64, "a POST")));
    }

    #[test]
    fn an_event_source_resumes_every_stream_where_it_was() {
        let query = "follow=a,-1&follow=b,now";
        let id = format!("{TOKEN}.x");
        let want = vec![
            ("a".to_owned(), OffsetArg::At(AT)),
            ("b".to_owned(), OffsetArg::Now),
        ];
        assert_eq!(asked(query, Some(&id)), Ok(want));
        for id in [TOKEN, "x", "x.y", "x.x.x"] {
            assert_eq!(
                asked(query, Some(id)),
                Err(BadRequest::FollowEventId),
                "{id}"
            );
        }
    }

    #[test]
    fn a_post_names_many() {
        let body = |count: usize| {
            let all: Vec<_> = (0..count)
                .map(|n| json!({"stream": format!("s{n}"), "offset": "-1"}))
                .collect();
            post(json!({"follow": all}).to_string().as_bytes()).map(|all| all.len())
        };
        assert_eq!(body(1000), Ok(1000));
        assert_eq!(body(0), Err(BadRequest::FollowNothing));
        let more = Err(BadRequest::FollowTooMany(1000, "more connections"));
        assert_eq!(body(1001), more);
        for text in [
            "",
            "[]",
            r#"{"follow":[{"stream":"a"}]}"#,
            r#"{"follow":[],"x":1}"#,
        ] {
            let refused = post(text.as_bytes());
            assert!(matches!(refused, Err(BadRequest::FollowBody(_))), "{text}");
        }
    }

    #[test]
    fn events_say_all_of_themselves() {
        let stream = name("a/\"b\"");
        let said = Said {
            stream: &stream,
            next: AT,
            up_to_date: true,
            closed: false,
        };
        let head = format!(
            r#"data:{{"stream":"a/\"b\"","nextOffset":"{TOKEN}","upToDate":true,"closed":false"#
        );
        for (kind, wire, rest) in [
            (ContentKind::Json, &b""[..], "}"),
            (ContentKind::Json, b"1,{\n},", r#","messages":[1,{ }]}"#),
            (ContentKind::Text, b"a\nb", r#","text":"a\nb"}"#),
            (ContentKind::Binary, b"\0\xff", r#","base64":"AP8="}"#),
        ] {
            let mut out = Vec::new();
            event(&mut out, said, kind, wire, None);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, format!("{head}{rest}\n\n"));
        }
        let mut out = Vec::new();
        event(
            &mut out,
            said,
            ContentKind::Json,
            b"",
            Some(&[None, Some(AT)]),
        );
        assert!(out.ends_with(format!("}}\nid:x.{TOKEN}\n\n").as_bytes()));
        let mut out = Vec::new();
        let gone = millrace_core::Refusal::OffsetGone { earliest: AT };
        lost(&mut out, &stream, &gone.into(), None);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""code":"offset-gone""#), "{text}");
        assert!(
            text.contains(&format!(r#""earliestOffset":"{TOKEN}""#)),
            "{text}"
        );
    }
}
