//! OPTIONS: preflights, for any path (PROTOCOL 12.7).

use http::{Response, StatusCode};
use millrace_wire::cors;

use crate::answer::{Answer, AnswerBody};

/// Answers OPTIONS. `methods` are those of the path.
pub(crate) fn options(methods: &'static str) -> Answer {
    let mut answer = Response::new(AnswerBody::EMPTY);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    cors::add_preflight(answer.headers_mut(), methods);
    answer
}
