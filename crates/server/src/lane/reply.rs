//! Answers as bytes.
//!
//! What all answers have in common is written once a core; the date once a second.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts};
use millrace_core::stream::Outcome;
use millrace_env::Env;
use millrace_wire::outcome;

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
    pub(super) fn append(&self, outcome: &Outcome, brought: bool, id: &[u8], out: &mut Vec<u8>) {
        let line = out.len();
        // Most are this; the true one is known when the headers are written.
        status_line(out, StatusCode::NO_CONTENT);
        let head = out.len();
        let status = outcome::post_with(outcome, brought, |name, value| {
            put(out, &name, value.as_bytes());
        });
        if status != StatusCode::NO_CONTENT {
            let headers = out.split_off(head);
            out.truncate(line);
            status_line(out, status);
            out.extend_from_slice(&headers);
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        out.extend_from_slice(&self.common);
        out.extend_from_slice(b"x-request-id: ");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\r\n");
        self.end(out);
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
        let bodiless = matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        match body_bytes {
            // HEAD without a body to speak of says nothing of its length.
            Some(bytes) if !bodiless && (!is_head || bytes > 0) => put(
                out,
                &header::CONTENT_LENGTH,
                HeaderValue::from(bytes).as_bytes(),
            ),
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

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    let reason = status.canonical_reason().unwrap_or("Unknown");
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn put(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
