//! From a request's bytes to a framed body.

use bytes::Bytes;
use millrace_core::{Body, ContentKind, ContentType, Payload};

use crate::json;

/// Frames `bytes` for a stream of this content type (`None`: the default one). JSON is split into
/// its messages, or the body carries the fault; anything else is one message.
pub fn frame(content_type: Option<&ContentType>, bytes: Bytes) -> Body {
    if bytes.is_empty() {
        return Body::Empty;
    }
    let kind = content_type.map_or(ContentKind::Binary, ContentType::kind);
    if kind != ContentKind::Json {
        return Body::Framed(Payload::single(bytes));
    }
    match json::split(&bytes) {
        Ok(payload) => Body::Framed(payload),
        Err(fault) => Body::Invalid(fault),
    }
}

#[cfg(test)]
mod tests {
    use millrace_core::BodyFault;

    use super::*;

    fn framed(content_type: Option<&str>, text: &'static str) -> Body {
        let content_type = content_type.map(|text| ContentType::new(text).unwrap());
        frame(content_type.as_ref(), Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn no_bytes_are_an_empty_body_for_any_type() {
        assert_eq!(framed(None, ""), Body::Empty);
        assert_eq!(framed(Some("application/json"), ""), Body::Empty);
    }

    #[test]
    fn json_is_split_whatever_the_parameters() {
        let Body::Framed(payload) = framed(Some("Application/JSON; charset=utf-8"), "[1, 2]")
        else {
            panic!("framed");
        };
        assert_eq!(&payload.bytes()[..], b"1,2,");
        assert_eq!(payload.message_count(), 2);
    }

    #[test]
    fn all_else_is_one_message() {
        for content_type in [None, Some("text/plain"), Some("application/ndjson")] {
            let Body::Framed(payload) = framed(content_type, "[1, 2]") else {
                panic!("framed");
            };
            assert_eq!(&payload.bytes()[..], b"[1, 2]");
            assert_eq!(payload.message_count(), 1);
        }
    }

    #[test]
    fn a_fault_travels_with_the_body() {
        let json = Some("application/json");
        assert_eq!(framed(json, "[]"), Body::Invalid(BodyFault::EmptyArray));
        assert_eq!(framed(json, "[1"), Body::Invalid(BodyFault::Syntax(2)));
    }
}
