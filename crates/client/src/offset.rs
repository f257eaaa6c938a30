//! Offsets as a client has them: opaque, as the server sent them.

use std::{fmt, sync::Arc};

use http::HeaderValue;

/// A place in a stream; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offset(Arc<str>);

impl Offset {
    /// The start of any stream.
    pub fn start() -> Self {
        Self("-1".into())
    }

    /// The tail at the time of the request.
    pub fn now() -> Self {
        Self("now".into())
    }

    /// An offset that a server sent; `None` when no server can have: 1 to 256 printable ASCII
    /// characters.
    pub fn new(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        (printable && (1..=256).contains(&text.len())).then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_header(value: &HeaderValue) -> Option<Self> {
        Self::new(value.to_str().ok()?)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
