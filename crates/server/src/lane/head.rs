//! What lies in a connection's buffer, and whether it is for the short way.

use std::{mem::MaybeUninit, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use http_body_util::Full;
use httparse::Header;
use millrace_core::StreamName;
use millrace_wire::{
    AppendHead, BadRequest, CreateHead, Fields, Found, ReadQuery, headers::STREAM_FORKED_FROM, path,
};

use crate::{access::Caller, app::REQUEST_ID, config::Access};

/// The most headers of a request that goes the short way; clients send about ten.
const HEADERS_MAX: usize = 32;
/// The most bytes of its first line and headers.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// The longest head that is remembered.
const MEMO_BYTES_MAX: usize = 1 << 10;
/// The most bytes of its body. BOUND: what a connection buffers before memory is asked for.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What lies in a buffer.
#[derive(Debug)]
pub(super) enum Look {
    /// Not a whole request yet; `in_body`: its head is there, and is for the short way.
    Partial { in_body: bool },
    /// Nothing for the short way.
    Other,
    /// An append, the hottest request.
    Append(Append),
    /// A creation.
    Create(Create),
    /// A read.
    Read(Read),
    /// A look at a stream's properties.
    Head(Head),
    /// A request for the router, and its length.
    Plain {
        request: Request<Full<Bytes>>,
        length: usize,
    },
}

/// An append that needs no map of headers.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) name: StreamName,
    pub(super) head: Result<AppendHead, BadRequest>,
    pub(super) body: Bytes,
    /// Bytes of the buffer that it took.
    pub(super) length: usize,
}

/// A creation that needs no map of headers.
#[derive(Debug)]
pub(super) struct Create {
    pub(super) name: StreamName,
    pub(super) head: Result<CreateHead, BadRequest>,
    /// `Host`, for the address of what is created.
    pub(super) host: Option<Vec<u8>>,
    pub(super) body: Bytes,
    /// Bytes of the buffer that it took.
    pub(super) length: usize,
}

/// A read that needs no map of headers.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) name: StreamName,
    pub(super) query: Result<ReadQuery, BadRequest>,
    /// `If-None-Match`.
    pub(super) known: Option<Arc<[u8]>>,
    /// Bytes of the buffer that it took.
    pub(super) length: usize,
}

/// A HEAD that needs no map of headers.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: StreamName,
    /// Bytes of the buffer that it took.
    pub(super) length: usize,
}

/// Header fields as they lie in the buffer.
struct Raw<'a> {
    fields: &'a [Header<'a>],
    /// Which lengths their names have, a bit each: most of what is looked for is not there.
    lengths: u64,
}

impl<'a> Raw<'a> {
    fn new(fields: &'a [Header<'a>]) -> Self {
        let lengths = fields
            .iter()
            .fold(0, |lengths, field| lengths | length_bit(field.name));
        Self { fields, lengths }
    }

    /// The first value of a field, as a map of headers gives it.
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        let named = |field: &&Header<'_>| field.name.eq_ignore_ascii_case(name.as_str());
        self.fields.iter().find(named).map(|field| field.value)
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.find(name) != Found::Nothing
    }
}

/// Names of 63 bytes and more share a bit.
fn length_bit(name: &str) -> u64 {
    1 << name.len().min(63)
}

impl Fields for Raw<'_> {
    fn find(&self, name: &HeaderName) -> Found<'_> {
        let name = name.as_str();
        if self.lengths & length_bit(name) == 0 {
            return Found::Nothing;
        }
        let named = self
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        Found::of(named.map(|field| field.value))
    }
}

/// The last head of a connection that went the shortest way, and what it says. Clients send the same
/// one again and again: finding it the same is a comparison, reading it costs as much as half of the
/// rest of an append. A head ends with its empty line, so the same bytes are the same head.
#[derive(Debug, Default)]
pub(super) struct Memo {
    bytes: Vec<u8>,
    meaning: Option<Meaning>,
}

/// What a head says that goes the shortest way. Cheap to clone.
#[derive(Clone, Debug)]
struct Meaning {
    name: StreamName,
    asks: Asks,
    /// How long its body is.
    body: usize,
}

#[derive(Clone, Debug)]
enum Asks {
    Append(Result<AppendHead, BadRequest>),
    Create(Result<CreateHead, BadRequest>, Option<Vec<u8>>),
    Read(Result<ReadQuery, BadRequest>, Option<Arc<[u8]>>),
    Head,
}

impl Memo {
    /// What the head at the start of `input` says, if it is the last one again, and its length.
    fn find(&self, input: &[u8]) -> Option<(Meaning, usize)> {
        let meaning = self.meaning.as_ref()?;
        let is_same = input.starts_with(&self.bytes);
        is_same.then(|| (meaning.clone(), self.bytes.len()))
    }

    /// BOUND: [`MEMO_BYTES_MAX`] a connection.
    fn keep(&mut self, head: &[u8], meaning: &Meaning) {
        self.meaning = None;
        if head.len() <= MEMO_BYTES_MAX {
            self.bytes.clear();
            self.bytes.extend_from_slice(head);
            self.meaning = Some(meaning.clone());
        }
    }
}

impl Meaning {
    /// The request with its body, once that is there.
    fn look(self, input: &[u8], head: usize) -> Look {
        let Self { name, asks, body } = self;
        let Some(body) = input[head..].get(..body) else {
            return Look::Partial { in_body: true };
        };
        let length = head + body.len();
        match asks {
            Asks::Append(head) => Look::Append(Append {
                name,
                head,
                body: Bytes::copy_from_slice(body),
                length,
            }),
            Asks::Create(head, host) => Look::Create(Create {
                name,
                head,
                host,
                body: Bytes::copy_from_slice(body),
                length,
            }),
            Asks::Read(query, known) => Look::Read(Read {
                name,
                query,
                known,
                length,
            }),
            Asks::Head => Look::Head(Head { name, length }),
        }
    }
}

/// Looks at `input`. Appends and reads go the shortest way only with a `memo`: without it, the router
/// answers them like all else.
pub(super) fn look(input: &[u8], access: &Access, memo: Option<&mut Memo>) -> Look {
    if input.is_empty() {
        return Look::Partial { in_body: false };
    }
    if let Some((meaning, head)) = memo.as_ref().and_then(|memo| memo.find(input)) {
        return meaning.look(input, head);
    }
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let head = match parsed.parse_with_uninit_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(bytes)) if bytes <= HEAD_BYTES_MAX => bytes,
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => {
            return Look::Partial { in_body: false };
        }
        // Too long, too many, or broken: hyper says so.
        _ => return Look::Other,
    };
    let (Some(method), Some(target), Some(1)) = (parsed.method, parsed.path, parsed.version) else {
        return Look::Other;
    };
    let fields = Raw::new(parsed.headers);
    let Some(length) = body_bytes(&fields) else {
        return Look::Other;
    };
    let Some(method) = method_of(method, target) else {
        return Look::Other;
    };
    if let Some(memo) = memo
        && let Some(meaning) = meaning(&method, target, &fields, access, length)
    {
        // Each creation names another stream.
        if method != Method::PUT {
            memo.keep(&input[..head], &meaning);
        }
        return meaning.look(input, head);
    }
    let Some(body) = input[head..].get(..length) else {
        // Hyper refuses a broken target without its body.
        let is_request = plain(method, target, &fields, &[]).is_some();
        return if is_request {
            Look::Partial { in_body: true }
        } else {
            Look::Other
        };
    };
    let length = head + length;
    match plain(method, target, &fields, body) {
        Some(request) => Look::Plain { request, length },
        None => Look::Other,
    }
}

/// How long the body is; `None` when that is for hyper to say, or the short way is not for it.
fn body_bytes(fields: &Raw<'_>) -> Option<usize> {
    // Every one of these changes how the connection goes on.
    let left_to_hyper = [
        header::TRANSFER_ENCODING,
        header::EXPECT,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
    ];
    if left_to_hyper.iter().any(|name| fields.has(name)) {
        return None;
    }
    match fields.find(&header::CONNECTION) {
        Found::Nothing => {}
        Found::Value(value) if value.eq_ignore_ascii_case(b"keep-alive") => {}
        Found::Value(_) | Found::Repeated => return None,
    }
    match fields.find(&header::CONTENT_LENGTH) {
        Found::Nothing => Some(0),
        Found::Value(digits) => decimal(digits).filter(|bytes| *bytes <= BODY_BYTES_MAX),
        Found::Repeated => None,
    }
}

/// Digits alone, and few enough to be no overflow.
fn decimal(digits: &[u8]) -> Option<usize> {
    let plain = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| {
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    })
}

/// The method, where a request with it goes the short way: HEAD of what is no stream has a body that is
/// not sent.
fn method_of(method: &str, target: &str) -> Option<Method> {
    let is_stream = target.starts_with(path::STREAM_PREFIX);
    match method {
        "POST" => Some(Method::POST),
        "GET" => Some(Method::GET),
        "PUT" => Some(Method::PUT),
        "HEAD" if is_stream => Some(Method::HEAD),
        "DELETE" => Some(Method::DELETE),
        "OPTIONS" => Some(Method::OPTIONS),
        _ => None,
    }
}

/// The bytes of a path that stand for themselves.
const IN_PATHS: [bool; 256] = letters_digits_and(b"/-._~");
/// The bytes of a query that no one else would read in another way.
const IN_QUERIES: [bool; 256] = letters_digits_and(b"/-._~=&%+:,@!$'()*;?");

const fn letters_digits_and(marks: &[u8]) -> [bool; 256] {
    let mut is_in = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        is_in[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        is_in[marks[at] as usize] = true;
        at += 1;
    }
    is_in
}

/// What the head of a request says that nothing but its own headers has a say in, sent by who may do
/// everything.
fn meaning(
    method: &Method,
    target: &str,
    fields: &Raw<'_>,
    access: &Access,
    body: usize,
) -> Option<Meaning> {
    let (path, query) = match target.bytes().position(|byte| byte == b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    let mut path_bytes = path.bytes();
    let mut query_bytes = query.unwrap_or_default().bytes();
    let is_plain = path_bytes.all(|byte| IN_PATHS[usize::from(byte)])
        && query_bytes.all(|byte| IN_QUERIES[usize::from(byte)]);
    if !is_plain {
        return None;
    }
    if fields.has(&header::ORIGIN) || fields.has(&REQUEST_ID) {
        return None;
    }
    // Whoever needs more than one look to be known is looked at by the router.
    let Ok(Caller::Master) = access.identify_by(fields.first(&header::AUTHORIZATION)) else {
        return None;
    };
    let asks = match *method {
        Method::POST if query.is_none() => Asks::Append(AppendHead::parse(fields)),
        // Forks are few, and have a say in more than themselves.
        Method::PUT if query.is_none() && !fields.has(&STREAM_FORKED_FROM) => {
            let host = fields.first(&header::HOST).map(<[u8]>::to_vec);
            Asks::Create(CreateHead::parse(fields), host)
        }
        Method::GET => {
            let known = match fields.find(&header::IF_NONE_MATCH) {
                Found::Nothing => None,
                Found::Value(list) => Some(list.into()),
                Found::Repeated => return None,
            };
            Asks::Read(ReadQuery::parse(query, fields), known)
        }
        Method::HEAD => Asks::Head,
        _ => return None,
    };
    // What is asked of a part of a stream is for the router.
    let name = path::stream_name(path)?.ok();
    let name = name.filter(|name| !name.is_sub_resource())?;
    Some(Meaning { name, asks, body })
}

/// The request as the router takes it; `None` when it is none.
fn plain(
    method: Method,
    target: &str,
    fields: &Raw<'_>,
    body: &[u8],
) -> Option<Request<Full<Bytes>>> {
    let mut headers = HeaderMap::with_capacity(fields.fields.len());
    for field in fields.fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests;
