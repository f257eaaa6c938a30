//! Answers as bytes.
//!
//! What all answers have in common is written once a core; the date once a second.

use std::{cell::RefCell, io::Write as _};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};
use millrace_core::{StreamName, stream::Outcome};
use millrace_env::Env;
use millrace_wire::outcome::{self, HeadFacts, ReadFacts};

use crate::{
    answer,
    app::{App, REQUEST_ID},
    router,
};

/// Writes the answers of one core.
#[derive(Debug)]
pub(super) struct Writer {
    env: Env,
    /// The headers of an answer to a request without any, but for its id.
    common: Vec<u8>,
    date: RefCell<Date>,
}

/// The second that was last written as a date, and how.
#[derive(Debug, Default)]
struct Date {
    second: u64,
    text: String,
}

impl Writer {
    pub(super) fn new(app: &App) -> Self {
        let mut answer = answer::empty(outcome::Reply {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::new(),
        });
        let no_id = HeaderValue::from_static("");
        router::finish(app, &HeaderMap::new(), &mut answer, no_id);
        answer.headers_mut().remove(REQUEST_ID);
        let mut common = Vec::new();
        for (name, value) in answer.headers() {
            put(&mut common, name, value.as_bytes());
        }
        Self {
            env: app.env.clone(),
            common,
            date: RefCell::default(),
        }
    }

    /// Writes the answer to an append that was carried out.
    pub(super) fn append(
        &self,
        outcome: &Outcome,
        brought: bool,
        id: &[u8],
        out: &mut Vec<u8>,
    ) -> StatusCode {
        let line = StatusLine::begin(out, StatusCode::NO_CONTENT);
        let status = outcome::post_with(outcome, brought, |name, value| put(out, &name, value));
        line.correct(out, status);
        self.end_with(status, 0, id, out);
        status
    }

    /// Writes the answer to a creation that was carried out.
    pub(super) fn create(
        &self,
        outcome: &Outcome,
        origin: &str,
        name: &StreamName,
        id: &[u8],
        out: &mut Vec<u8>,
    ) -> StatusCode {
        let line = StatusLine::begin(out, StatusCode::CREATED);
        let status = outcome::put_with(outcome, origin, name, |name, value| put(out, &name, value));
        line.correct(out, status);
        self.end_with(status, 0, id, out);
        status
    }

    /// Writes the head of the answer to a read, whose body has `bytes`.
    pub(super) fn read(
        &self,
        facts: &ReadFacts,
        bytes: u64,
        id: &[u8],
        out: &mut Vec<u8>,
    ) -> StatusCode {
        let line = StatusLine::begin(out, StatusCode::OK);
        let status = outcome::read_with(facts, |name, value| put(out, &name, value));
        line.correct(out, status);
        self.end_with(status, bytes, id, out);
        status
    }

    /// Writes the answer to HEAD of a stream, which says nothing of the length of its body.
    pub(super) fn stream_head(
        &self,
        facts: &HeadFacts,
        id: &[u8],
        out: &mut Vec<u8>,
    ) -> StatusCode {
        status_line(out, StatusCode::OK);
        let status = outcome::head_with(facts, |name, value| put(out, &name, value));
        self.common(id, out);
        self.end(out);
        status
    }

    /// Writes what an answer to a request without headers of interest ends with.
    fn end_with(&self, status: StatusCode, body_bytes: u64, id: &[u8], out: &mut Vec<u8>) {
        self.common(id, out);
        if !is_bodiless(status) {
            content_length(out, body_bytes);
        }
        self.end(out);
    }

    fn common(&self, id: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.common);
        put(out, &REQUEST_ID, id);
    }

    /// Writes the head of any answer whose body has `body_bytes`; of unknown length it goes out in
    /// chunks.
    pub(super) fn head(
        &self,
        head: &Parts,
        body_bytes: Option<u64>,
        is_head: bool,
        out: &mut Vec<u8>,
    ) {
        status_line(out, head.status);
        for (name, value) in &head.headers {
            put(out, name, value.as_bytes());
        }
        match body_bytes {
            // HEAD without a body to speak of says nothing of its length.
            Some(bytes) if !is_bodiless(head.status) && (!is_head || bytes > 0) => {
                content_length(out, bytes);
            }
            Some(_) => {}
            None => put(out, &header::TRANSFER_ENCODING, b"chunked"),
        }
        self.end(out);
    }

    fn end(&self, out: &mut Vec<u8>) {
        let second = self.env.clock.wall() / 1000;
        let mut date = self.date.borrow_mut();
        if date.second != second {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
            date.text = httpdate::fmt_http_date(time);
            date.second = second;
        }
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date.text.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// A first line whose status is known for sure when the headers are written.
struct StatusLine {
    at: usize,
    len: usize,
    status: StatusCode,
}

impl StatusLine {
    /// Writes the line of the status that most have.
    fn begin(out: &mut Vec<u8>, status: StatusCode) -> Self {
        let at = out.len();
        status_line(out, status);
        let len = out.len() - at;
        Self { at, len, status }
    }

    fn correct(self, out: &mut Vec<u8>, status: StatusCode) {
        if status != self.status {
            let mut line = Vec::new();
            status_line(&mut line, status);
            out.splice(self.at..self.at + self.len, line);
        }
    }
}

fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let reason = status.canonical_reason().unwrap_or("Unknown");
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn content_length(out: &mut Vec<u8>, bytes: u64) {
    write!(out, "content-length: {bytes}\r\n").expect("memory takes all");
}

fn put(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
