//! `head.rs` for the fuzz targets in `testing/fuzz`, in public types.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use millrace_core::StreamName;
use millrace_wire::{AppendHead, BadRequest, CreateHead, ReadQuery};

use super::head::{self, Append, Create, Head, Memo, Read};
use crate::config::Access;

/// What a connection remembers of its last request.
#[derive(Debug, Default)]
pub struct Memory(Memo);

/// What lies in a buffer.
#[derive(Debug)]
pub enum Look {
    /// Not a whole request yet; `in_body`: its head is there.
    Partial {
        /// Whether its head is there.
        in_body: bool,
    },
    /// Nothing for the short way.
    Other,
    /// A request.
    Request {
        /// What it asks.
        asks: Box<Asks>,
        /// Bytes of the buffer that it took.
        length: usize,
    },
}

/// What a request asks.
#[derive(Debug)]
pub enum Asks {
    /// POST.
    Append {
        /// The stream.
        name: StreamName,
        /// What its headers say.
        head: Result<AppendHead, BadRequest>,
        /// Its body.
        body: Bytes,
    },
    /// PUT.
    Create {
        /// The stream.
        name: StreamName,
        /// What its headers say.
        head: Result<CreateHead, BadRequest>,
        /// `Host`.
        host: Option<Vec<u8>>,
        /// Its body.
        body: Bytes,
    },
    /// GET.
    Read {
        /// The stream.
        name: StreamName,
        /// What its query and headers say.
        query: Result<ReadQuery, BadRequest>,
        /// `If-None-Match`.
        known: Option<Arc<[u8]>>,
    },
    /// HEAD.
    Head {
        /// The stream.
        name: StreamName,
    },
    /// Anything else, for the router.
    Plain(Request<Full<Bytes>>),
}

/// Looks at `input` as a connection does that remembers `memory`.
pub fn look(input: &[u8], access: &Access, memory: Option<&mut Memory>) -> Look {
    let memo = memory.map(|Memory(memo)| memo);
    let (asks, length) = match head::look(input, access, memo) {
        head::Look::Partial { in_body } => return Look::Partial { in_body },
        head::Look::Other => return Look::Other,
        head::Look::Append(Append {
            name,
            head,
            body,
            length,
        }) => (Asks::Append { name, head, body }, length),
        head::Look::Create(Create {
            name,
            head,
            host,
            body,
            length,
        }) => {
            let asks = Asks::Create {
                name,
                head,
                host,
                body,
            };
            (asks, length)
        }
        head::Look::Read(Read {
            name,
            query,
            known,
            length,
        }) => (Asks::Read { name, query, known }, length),
        head::Look::Head(Head { name, length }) => (Asks::Head { name }, length),
        head::Look::Plain { request, length } => (Asks::Plain(request), length),
    };
    Look::Request {
        asks: Box::new(asks),
        length,
    }
}
