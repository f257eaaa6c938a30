//! Requests on the short way against hyper. Whatever the short way takes, it reads as the long way
//! does: the same requests, with the same headers and bodies, and the next one begins at the same byte,
//! so nothing can be smuggled between the two (T94). What a connection remembers of an earlier request
//! changes nothing; and a request that hyper could answer is not waited for.

mod long_way;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use millrace_server::{
    Access, ApiKey,
    fuzzing::{Asks, Look, Memory, look},
};
use millrace_wire::{AppendHead, CreateHead, ReadQuery, path};

use self::long_way::{Arrived, serve};

/// Comes behind what the short way took: hyper must find it there.
const SENTINEL: &[u8] = b"GET /sentinel HTTP/1.1\r\n\r\n";
const KEY: &str = "0123456789";

/// The input is what a client sends. It is read by a server for everyone and by one with a key.
pub fn check(bytes: &[u8]) {
    let key = ApiKey::new(KEY).expect("long enough");
    let mut served = Served::default();
    for access in [Access::Open, Access::Key(key)] {
        for shortest in [true, false] {
            check_with(bytes, &access, shortest, &mut served);
        }
    }
}

/// What hyper made of beginnings of the input: mostly the same one every time.
#[derive(Default)]
struct Served(BTreeMap<usize, Vec<Arrived>>);

impl Served {
    /// The requests in the first `at` bytes, with the sentinel behind them.
    fn up_to(&mut self, at: usize, bytes: &[u8]) -> &[Arrived] {
        let arrived = || serve(&[&bytes[..at], SENTINEL].concat());
        self.0.entry(at).or_insert_with(arrived)
    }
}

fn check_with(bytes: &[u8], access: &Access, shortest: bool, served: &mut Served) {
    let mut memory = Memory::default();
    let mut taken = Vec::new();
    let mut at = 0;
    let end = loop {
        let seen = look(&bytes[at..], access, shortest.then_some(&mut memory));
        let fresh = look(
            &bytes[at..],
            access,
            shortest.then(Memory::default).as_mut(),
        );
        assert_eq!(
            format!("{seen:?}"),
            format!("{fresh:?}"),
            "memory changes nothing"
        );
        match seen {
            Look::Request { asks, length } => {
                assert!(length > 0 && length <= bytes.len() - at);
                taken.push(asks);
                at += length;
            }
            end => break end,
        }
    };
    let arrived = served.up_to(at, bytes);
    assert_eq!(arrived.len(), taken.len() + 1, "as many requests");
    for (asks, request) in taken.iter().zip(arrived) {
        assert_same(asks, request, access);
    }
    let sentinel = arrived.last().expect("counted above");
    assert_eq!(
        sentinel.head.uri.path(),
        "/sentinel",
        "the next begins at the same byte"
    );
    if let Look::Partial { in_body } = end {
        assert_waits(&bytes[at..], in_body);
    }
}

fn assert_same(asks: &Asks, request: &Arrived, access: &Access) {
    let Arrived { head, body } = request;
    let body = body.as_ref().expect("the body arrives whole");
    let headers = &head.headers;
    let named = path::stream_name(head.uri.path());
    let named = named.and_then(Result::ok);
    match asks {
        Asks::Append {
            name,
            head: asked,
            body: sent,
        } => {
            assert_eq!((&head.method, named.as_ref()), (&Method::POST, Some(name)));
            assert_eq!(
                format!("{:?}", AppendHead::parse(headers)),
                format!("{asked:?}")
            );
            assert_eq!(sent, body);
        }
        Asks::Create {
            name,
            head: asked,
            host,
            body: sent,
        } => {
            assert_eq!((&head.method, named.as_ref()), (&Method::PUT, Some(name)));
            assert_eq!(CreateHead::parse(headers), *asked);
            let shown = headers.get(header::HOST).map(HeaderValue::as_bytes);
            assert_eq!(host.as_deref(), shown);
            assert_eq!(head.uri.authority(), None);
            assert_eq!(sent, body);
        }
        Asks::Read { name, query, known } => {
            assert_eq!((&head.method, named.as_ref()), (&Method::GET, Some(name)));
            assert_eq!(ReadQuery::parse(head.uri.query(), headers), *query);
            assert_eq!(
                all(headers, &header::IF_NONE_MATCH),
                known.as_deref().as_slice()
            );
        }
        Asks::Head { name } => {
            assert_eq!((&head.method, named.as_ref()), (&Method::HEAD, Some(name)));
        }
        Asks::Plain(request) => assert_plain(request, head, body),
    }
    if !matches!(asks, Asks::Plain(_)) {
        assert_is_the_masters(headers, access);
    }
}

fn assert_plain(
    request: &Request<http_body_util::Full<Bytes>>,
    head: &http::request::Parts,
    body: &Bytes,
) {
    assert_eq!(request.method(), head.method);
    assert_eq!(request.uri(), &head.uri);
    assert_eq!(request.version(), head.version);
    assert_eq!(request.headers(), &head.headers);
    let sent = long_way::collected(request.body().clone());
    assert_eq!(sent.as_ref(), Some(body));
}

/// The shortest way is for who may do everything, and answers without these.
fn assert_is_the_masters(headers: &HeaderMap, access: &Access) {
    assert!(!headers.contains_key(header::ORIGIN));
    assert!(!headers.contains_key("x-request-id"));
    if let Access::Key(key) = access {
        let shown = millrace_server::access::bearer(headers);
        assert!(shown.is_some_and(|shown| key.is(shown)), "{headers:?}");
    }
}

fn all<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Vec<&'a [u8]> {
    let values = headers.get_all(name).iter();
    values.map(HeaderValue::as_bytes).collect()
}

/// Hyper has no whole request in what the short way waits with.
fn assert_waits(bytes: &[u8], in_body: bool) {
    let arrived = serve(bytes);
    match arrived.first() {
        None => assert!(!in_body, "hyper sees no head"),
        Some(request) => {
            assert!(in_body, "hyper sees a head");
            assert_eq!(request.body, None, "hyper sees a whole body");
        }
    }
}
