//! What every answer carries for browsers: cross-origin access and security headers (PROTOCOL 12.7).
//!
//! Which origins are allowed is the server's configuration; here is what they may send and see.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The methods of a stream's path, for `Allow` and preflights.
pub const STREAM_METHODS: &str = "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS";
/// The methods of the path of live reads of many streams.
pub const LIVE_METHODS: &str = "GET, POST, OPTIONS";
/// The methods of the path of appends to many streams.
pub const BATCH_METHODS: &str = "POST, OPTIONS";
/// The methods of the path of retention.
pub const RETENTION_METHODS: &str = "GET, HEAD, POST, OPTIONS";
/// The methods of a path that can only be read.
pub const READ_METHODS: &str = "GET, HEAD, OPTIONS";

/// The request headers that a page of another origin may send. The `*` allows all others to
/// requests without credentials; `Authorization` has to be named beside it.
pub const ALLOWED_HEADERS: &str = "accept, authorization, cache-control, content-type, \
     if-none-match, last-event-id, producer-epoch, producer-id, producer-seq, stream-attributes, stream-closed, \
     stream-compact-after-bytes, stream-expected-offset, stream-expires-at, stream-fork-offset, stream-fork-sub-offset, stream-forked-from, \
     stream-retention-max-age, stream-retention-max-bytes, stream-retention-max-messages, \
     stream-seq, stream-ttl, *";

/// The answer headers that a page of another origin may see: all that a client acts on.
pub const EXPOSED_HEADERS: &str = "content-length, content-type, etag, location, \
     producer-epoch, producer-expected-seq, producer-received-seq, producer-seq, retry-after, \
     stream-attributes, stream-closed, stream-compact-after-bytes, stream-cursor, stream-earliest-offset, stream-expires-at, \
     stream-list-next, stream-next-offset, stream-retention-max-age, stream-retention-max-bytes, \
     stream-retention-max-messages, stream-sse-data-encoding, stream-start-offset, stream-ttl, stream-up-to-date";

/// How long a browser may remember a preflight: a day.
pub const PREFLIGHT_SECONDS: &str = "86400";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Adds the headers that every answer has, errors included.
pub fn add_security(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        CROSS_ORIGIN_RESOURCE_POLICY,
        HeaderValue::from_static("cross-origin"),
    );
}

/// Adds what lets the page of an allowed origin see the answer. `origin` is `*`, or the one origin
/// of this request; then caches are told that the answer depends on it.
pub fn add_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    if origin != "*" {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED_HEADERS),
    );
}

/// Adds the answer to a preflight, beside [`add_origin`]. `methods` is one of [`STREAM_METHODS`] and
/// [`READ_METHODS`].
pub fn add_preflight(headers: &mut HeaderMap, methods: &'static str) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
        (header::ALLOW, methods),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers as names;

    fn lists(list: &str, name: &str) -> bool {
        list.split(", ").any(|listed| listed == name)
    }

    #[test]
    fn clients_may_send_what_they_send() {
        for name in [
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            header::AUTHORIZATION,
            names::STREAM_CLOSED,
            names::STREAM_SEQ,
            names::STREAM_TTL,
            names::STREAM_EXPIRES_AT,
            names::STREAM_FORKED_FROM,
            names::STREAM_FORK_OFFSET,
            names::STREAM_FORK_SUB_OFFSET,
            names::PRODUCER_ID,
            names::PRODUCER_EPOCH,
            names::PRODUCER_SEQ,
            names::LAST_EVENT_ID,
        ] {
            assert!(lists(ALLOWED_HEADERS, name.as_str()), "{name}");
        }
        assert!(lists(ALLOWED_HEADERS, "*"));
    }

    #[test]
    fn clients_may_see_what_they_act_on() {
        for name in [
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            names::STREAM_NEXT_OFFSET,
            names::STREAM_UP_TO_DATE,
            names::STREAM_CLOSED,
            names::STREAM_CURSOR,
            names::STREAM_TTL,
            names::STREAM_EXPIRES_AT,
            names::STREAM_SSE_DATA_ENCODING,
            names::STREAM_EARLIEST_OFFSET,
            names::STREAM_LIST_NEXT,
            names::PRODUCER_EPOCH,
            names::PRODUCER_SEQ,
            names::PRODUCER_EXPECTED_SEQ,
            names::PRODUCER_RECEIVED_SEQ,
        ] {
            assert!(lists(EXPOSED_HEADERS, name.as_str()), "{name}");
        }
    }

    #[test]
    fn one_origin_makes_the_answer_vary() {
        let mut any = HeaderMap::new();
        add_origin(&mut any, HeaderValue::from_static("*"));
        assert!(!any.contains_key(header::VARY));
        let mut one = HeaderMap::new();
        add_origin(&mut one, HeaderValue::from_static("https://example.com"));
        assert_eq!(one[header::VARY], "origin");
        assert_eq!(
            one[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://example.com"
        );
    }

    #[test]
    fn every_answer_is_safe_to_embed() {
        let mut headers = HeaderMap::new();
        add_security(&mut headers);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
    }
}
