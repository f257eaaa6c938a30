//! Requests, written by hand.

use std::io::Write as _;

use crate::Target;

/// Writes requests to one server.
#[derive(Debug)]
pub(crate) struct Requests {
    prefix: Vec<u8>,
    /// What every request says after its first line.
    always: Vec<u8>,
}

impl Requests {
    pub(crate) fn new(target: &Target) -> Self {
        let token = target.token.as_ref();
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let always = format!(
            " HTTP/1.1\r\nhost: {}\r\n{}",
            target.authority,
            token.unwrap_or_default()
        );
        Self {
            prefix: target.prefix.clone().into_bytes(),
            always: always.into_bytes(),
        }
    }

    /// A request without a body; `query` begins with `?` or is empty.
    pub(crate) fn bare(&self, out: &mut Vec<u8>, method: &str, name: &str, query: &[u8]) {
        self.line(out, method, name, query);
        out.extend_from_slice(b"\r\n");
    }

    /// A request with a body, which follows.
    pub(crate) fn with_body(
        &self,
        out: &mut Vec<u8>,
        method: &str,
        name: &str,
        content_type: &str,
        length: usize,
    ) {
        self.line(out, method, name, b"");
        body_follows(out, content_type, length);
    }

    /// A POST of JSON to what is no stream; the body follows.
    pub(crate) fn post_to(&self, out: &mut Vec<u8>, path: &str, length: usize) {
        out.extend_from_slice(b"POST ");
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(&self.always);
        body_follows(out, "application/json", length);
    }

    fn line(&self, out: &mut Vec<u8>, method: &str, name: &str, query: &[u8]) {
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(query);
        out.extend_from_slice(&self.always);
    }
}

fn body_follows(out: &mut Vec<u8>, content_type: &str, length: usize) {
    write!(
        out,
        "content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    )
    .expect("a vector takes all");
}
