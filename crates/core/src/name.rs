//! Stream names: what follows `/v1/stream/`, percent-decoded once.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::limits::STREAM_NAME_BYTES_MAX;

/// The first segment that the protocol reserves.
const RESERVED: &str = "__ds";
/// What the names of the server's own streams begin with.
pub const INTERNAL_PREFIX: &str = "__ds/";

/// A checked stream name; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

/// Why a text is no stream name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing follows the prefix.
    #[error("the stream name is empty")]
    Empty,
    /// Longer than [`STREAM_NAME_BYTES_MAX`].
    #[error("the stream name is longer than {STREAM_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// A segment between slashes is empty, `.` or `..`.
    #[error("a path segment of the stream name is empty, `.` or `..`")]
    Segment,
    /// It holds a control character.
    #[error("the stream name holds a control character")]
    Control,
    /// Its first segment is `__ds`.
    #[error("names under `__ds` are reserved by the protocol")]
    Reserved,
    /// Not UTF-8 or not valid percent-encoding; found by the wire before a name is made.
    #[error("the stream name is not valid percent-encoded UTF-8")]
    Encoding,
}

impl StreamName {
    /// Checks `text` (already percent-decoded) and makes a name of it.
    pub fn new(text: &str) -> Result<Self, NameFault> {
        let name = Self::stored(text)?;
        if name.is_internal() {
            return Err(NameFault::Reserved);
        }
        Ok(name)
    }

    /// The same for a name that may be the server's own: one that was stored, or that the server makes
    /// for itself under `__ds/`.
    pub fn stored(text: &str) -> Result<Self, NameFault> {
        if text.is_empty() {
            return Err(NameFault::Empty);
        }
        if text.len() > STREAM_NAME_BYTES_MAX {
            return Err(NameFault::TooLong);
        }
        // ASCII is told by its bytes; only other texts are decoded for it.
        let control = text.bytes().any(|byte| byte.is_ascii_control())
            || !text.is_ascii() && text.chars().any(char::is_control);
        if control {
            return Err(NameFault::Control);
        }
        let mut segments = text.as_bytes().split(|byte| *byte == b'/');
        if segments.any(|segment| matches!(segment, b"" | b"." | b"..")) {
            return Err(NameFault::Segment);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The stream that a sub-resource is of, and the sub-resource's name with its `_`.
    pub fn of_sub_resource(&self) -> Option<(Self, &str)> {
        let (stream, last) = self.0.rsplit_once('/')?;
        let stream = self.is_sub_resource().then(|| Self(stream.into()))?;
        Some((stream, last))
    }

    /// Whether it is under `__ds`: a stream of the server's own, which no client can reach.
    pub fn is_internal(&self) -> bool {
        &*self.0 == RESERVED || self.0.starts_with(INTERNAL_PREFIX)
    }

    /// Whether the last segment begins with exactly one `_`: reserved for sub-resources, so that no
    /// stream may be created under it (`__stream_metrics__` begins with two and is free).
    pub fn is_sub_resource(&self) -> bool {
        let last = self.0.rsplit('/').next().unwrap_or_default();
        last.starts_with('_') && !last.starts_with("__")
    }
}

impl Serialize for StreamName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Reads names that were stored.
impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::stored(&text).map_err(D::Error::custom)
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for (text, want) in [
            ("a", None),
            ("a/b/c", None),
            ("ünï/✓", None),
            ("__stream_metrics__", None),
            ("", Some(NameFault::Empty)),
            ("a//b", Some(NameFault::Segment)),
            ("/a", Some(NameFault::Segment)),
            ("a/", Some(NameFault::Segment)),
            ("a/./b", Some(NameFault::Segment)),
            ("..", Some(NameFault::Segment)),
            ("a\nb", Some(NameFault::Control)),
            ("__ds/x", Some(NameFault::Reserved)),
            ("__ds", Some(NameFault::Reserved)),
        ] {
            assert_eq!(StreamName::new(text).err(), want, "{text:?}");
        }
        assert_eq!(StreamName::new(&"x".repeat(1024)).err(), None);
        assert_eq!(
            StreamName::new(&"x".repeat(1025)).err(),
            Some(NameFault::TooLong)
        );
    }

    #[test]
    fn the_servers_own_names_are_stored_and_not_asked_for() {
        for (text, internal) in [("__ds", true), ("__ds/keys/1", true), ("__dsx", false)] {
            let name = StreamName::stored(text).unwrap();
            assert_eq!(name.is_internal(), internal, "{text}");
            assert_eq!(StreamName::new(text).is_err(), internal, "{text}");
        }
        assert_eq!(StreamName::stored("__ds/../a"), Err(NameFault::Segment));
    }

    #[test]
    fn exactly_one_leading_underscore_is_a_sub_resource() {
        let is = |text| StreamName::new(text).map(|name| name.is_sub_resource());
        assert_eq!(is("a/_details"), Ok(true));
        assert_eq!(is("_x"), Ok(true));
        assert_eq!(is("a/__x"), Ok(false));
        assert_eq!(is("_a/b"), Ok(false));
    }
}
