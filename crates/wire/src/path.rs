//! Paths and stream names: `/v1/stream/{name}`.
//!
//! A name is percent-decoded once, so `%2F` is `/` and `%252F` is `%2F` (T99). `+` in a path is a
//! plus. Names are written back with everything encoded that a browser would encode.
//!
//! Not here: which names are allowed (`millrace-core`), the other routes (`millrace-server`).

use millrace_core::{NameFault, StreamName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::refused::BadRequest;

/// What a stream's path begins with.
pub const STREAM_PREFIX: &str = "/v1/stream/";
/// The path of appends to many streams.
pub const BATCH: &str = "/v1/streams/_append";
/// The path of live reads of many streams.
pub const LIVE: &str = "/v1/streams/_live";
/// The path of retention: how it stands, and a pass of it now.
pub const RETENTION: &str = "/v1/server/_retention";
/// The sub-resource that compacts a stream's keys.
pub const COMPACT: &str = "_compact";
/// The sub-resource that trims a stream.
pub const TRIM: &str = "_trim";
/// The path of the listing.
pub const LISTING: &str = "/v1/streams";

/// RFC 3986 `pchar` and `/`: the bytes a path holds as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// The stream that a request's path names; `None` when it is no path of a stream.
pub fn stream_name(path: &str) -> Option<Result<StreamName, NameFault>> {
    let encoded = path.strip_prefix(STREAM_PREFIX)?;
    let name = match percent_decoded(encoded) {
        Some(name) => StreamName::new(&name),
        None => Err(NameFault::Encoding),
    };
    Some(name)
}

/// The stream that `Stream-Forked-From` names: read exactly as a request's path, and no query or
/// fragment may follow, because a request's path has none.
pub fn fork_source(path: &str) -> Result<StreamName, BadRequest> {
    if path.contains(['?', '#']) {
        return Err(BadRequest::ForkSourcePath);
    }
    match stream_name(path) {
        Some(name) => name.map_err(BadRequest::ForkSource),
        None => Err(BadRequest::ForkSourcePath),
    }
}

/// The path of a stream, for `Location`.
pub fn location(name: &StreamName) -> String {
    let name = utf8_percent_encode(name.as_str(), ESCAPED);
    format!("{STREAM_PREFIX}{name}")
}

/// A text as one segment of a path.
pub fn segment_encoded(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b':')
        .remove(b'@');
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A name as the value of a query parameter.
pub fn query_encoded(name: &StreamName) -> String {
    query_encoded_text(name.as_str())
}

/// A text, such as the prefix of names, as the value of a query parameter.
pub fn query_encoded_text(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Decodes percent escapes; `None` when one is broken or the result is not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else {
            return None;
        };
        bytes.push(hex(*high)? << 4 | hex(*low)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(path: &str) -> Option<Result<String, NameFault>> {
        stream_name(path).map(|name| name.map(|name| name.as_str().to_owned()))
    }

    #[test]
    fn t99_names_are_decoded_once_and_checked() {
        for (path, want) in [
            ("/v1/stream/a", Ok("a")),
            ("/v1/stream/a/b", Ok("a/b")),
            ("/v1/stream/a%2Fb", Ok("a/b")),
            ("/v1/stream/a%2fb", Ok("a/b")),
            ("/v1/stream/a%252Fb", Ok("a%2Fb")),
            ("/v1/stream/%E2%9C%93", Ok("\u{2713}")),
            ("/v1/stream/a+b", Ok("a+b")),
            ("/v1/stream/a%20b", Ok("a b")),
            ("/v1/stream/", Err(NameFault::Empty)),
            ("/v1/stream/a/", Err(NameFault::Segment)),
            ("/v1/stream//a", Err(NameFault::Segment)),
            ("/v1/stream/%2e%2e/a", Err(NameFault::Segment)),
            ("/v1/stream/a/..%2f..%2fetc", Err(NameFault::Segment)),
            ("/v1/stream/a%00", Err(NameFault::Control)),
            ("/v1/stream/a%0d%0ab", Err(NameFault::Control)),
            ("/v1/stream/__ds/x", Err(NameFault::Reserved)),
            ("/v1/stream/%5f_ds/x", Err(NameFault::Reserved)),
            ("/v1/stream/a%", Err(NameFault::Encoding)),
            ("/v1/stream/a%2", Err(NameFault::Encoding)),
            ("/v1/stream/a%zz", Err(NameFault::Encoding)),
            ("/v1/stream/a%+f", Err(NameFault::Encoding)),
            ("/v1/stream/%ff", Err(NameFault::Encoding)),
            ("/v1/stream/%ED%A0%80", Err(NameFault::Encoding)),
        ] {
            assert_eq!(name(path), Some(want.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn other_paths_are_no_streams() {
        for path in [
            "/v1/stream",
            "/v1/streams",
            "/",
            "",
            "/v2/stream/a",
            "v1/stream/a",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }

    #[test]
    fn a_fork_source_is_a_path_of_a_stream() {
        let source = |path| fork_source(path).map(|name| name.as_str().to_owned());
        assert_eq!(source("/v1/stream/a%2Fb"), Ok("a/b".to_owned()));
        assert_eq!(source("/v1/stream/a?x=1"), Err(BadRequest::ForkSourcePath));
        assert_eq!(source("/v1/stream/a#x"), Err(BadRequest::ForkSourcePath));
        assert_eq!(source("a"), Err(BadRequest::ForkSourcePath));
        assert_eq!(
            source("http://other/v1/stream/a"),
            Err(BadRequest::ForkSourcePath)
        );
        assert_eq!(
            source("/v1/stream/../a"),
            Err(BadRequest::ForkSource(NameFault::Segment))
        );
    }

    #[test]
    fn a_location_keeps_what_a_browser_keeps() {
        let location = |text| location(&StreamName::new(text).unwrap());
        assert_eq!(location("a/b-c_d.e~f"), "/v1/stream/a/b-c_d.e~f");
        assert_eq!(location("user:1@x,y;z=(1)"), "/v1/stream/user:1@x,y;z=(1)");
        assert_eq!(location("a b%{c}?#"), "/v1/stream/a%20b%25%7Bc%7D%3F%23");
    }

    proptest! {
        #[test]
        fn a_location_leads_back(text in "\\PC{1,30}") {
            if let Ok(name) = StreamName::new(&text) {
                prop_assert_eq!(stream_name(&location(&name)), Some(Ok(name)));
            }
        }

        #[test]
        fn no_path_makes_it_panic(text in ".{0,40}") {
            let _ = stream_name(&format!("{STREAM_PREFIX}{text}"));
            let _ = fork_source(&text);
        }
    }
}
