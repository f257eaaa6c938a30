//! One request for each of many streams: their creation and their deletion.

use std::time::Duration;

use super::{Ended, Tally, Work};
use crate::{BenchError, Plan, request::Requests, response::Head};

/// Creates or deletes streams in turn.
#[derive(Debug)]
pub(crate) struct Each<'a> {
    plan: &'a Plan,
    requests: &'a Requests,
    method: &'static str,
    content_type: &'static str,
    /// The streams that are to be sent again, those that the server refused.
    again: Vec<usize>,
    under_way: Vec<Option<usize>>,
    next: usize,
    limit: usize,
    done: usize,
    /// A stream that is not there is as good as deleted.
    is_missing_ok: bool,
}

impl<'a> Each<'a> {
    /// Creates streams, at most `limit`.
    pub(crate) fn create(
        plan: &'a Plan,
        requests: &'a Requests,
        content_type: &'static str,
        limit: usize,
    ) -> Self {
        Self::new(plan, requests, "PUT", content_type, limit)
    }

    /// Deletes the first `limit` streams.
    pub(crate) fn delete(plan: &'a Plan, requests: &'a Requests, limit: usize) -> Self {
        Self::new(plan, requests, "DELETE", "", limit)
    }

    /// The same when it is not known which of them are there.
    pub(crate) fn clean(plan: &'a Plan, requests: &'a Requests, limit: usize) -> Self {
        Self {
            is_missing_ok: true,
            ..Self::delete(plan, requests, limit)
        }
    }

    fn new(
        plan: &'a Plan,
        requests: &'a Requests,
        method: &'static str,
        content_type: &'static str,
        limit: usize,
    ) -> Self {
        Self {
            plan,
            requests,
            method,
            content_type,
            again: Vec::new(),
            under_way: Vec::new(),
            next: 0,
            limit,
            done: 0,
            is_missing_ok: false,
        }
    }

    fn deletes(&self) -> bool {
        self.content_type.is_empty()
    }

    /// Whether it takes streams that are not there as deleted.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_missing_ok
    }

    /// How many were begun; all of them are done once the loop has ended.
    pub(crate) fn count(&self) -> usize {
        self.next
    }
}

impl Work for Each<'_> {
    fn request(&mut self, connection: usize, _due: Duration, out: &mut Vec<u8>) -> bool {
        if self.under_way.len() <= connection {
            self.under_way.resize(connection + 1, None);
        }
        // One that is still under way was refused, and is sent again.
        let stream = self.under_way[connection].or_else(|| self.again.pop());
        let stream = match stream {
            Some(stream) => stream,
            None if self.next < self.limit => {
                self.next += 1;
                self.next - 1
            }
            None => return false,
        };
        self.under_way[connection] = Some(stream);
        let name = self.plan.name(stream);
        if self.deletes() {
            self.requests.bare(out, self.method, &name, b"");
        } else {
            self.requests
                .with_body(out, self.method, &name, self.content_type, 0);
        }
        true
    }

    fn end(
        &mut self,
        connection: usize,
        _head: &Head,
        _now: Duration,
        _tally: &mut Tally,
    ) -> Result<Ended, BenchError> {
        self.under_way[connection] = None;
        self.done += 1;
        Ok(Ended::Whole(1))
    }

    fn accepts(&self, status: u16) -> bool {
        self.is_missing_ok && matches!(status, 404 | 410)
    }

    fn streams(&self) -> Option<usize> {
        Some(if self.deletes() {
            self.limit - self.done
        } else {
            self.next
        })
    }
}
