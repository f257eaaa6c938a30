//! What passes is read whatever pieces it comes in; what cannot be read is given up.

use super::{Shared, passing::Passing};
use crate::watch::Counts;

const END: &str = "0000000000005-0000000000000003";

/// Tells a connection of requests and answers, in turn, each in pieces of `size`.
fn pass(turns: &[(&str, &str)], size: usize) -> Shared {
    let shared = Shared::default();
    let mut passing = Passing::new(shared.clone());
    for (request, answer) in turns {
        request
            .as_bytes()
            .chunks(size)
            .for_each(|part| passing.request(part));
        answer
            .as_bytes()
            .chunks(size)
            .for_each(|part| passing.answer(part));
    }
    passing.server_ended();
    shared
}

fn counts(shared: &Shared) -> (u64, u64, u64, u64) {
    let Counts {
        answered,
        appends,
        unwatched,
        violations,
        ..
    } = shared.lock().counts();
    (answered, appends, unwatched, violations)
}

fn created() -> (String, String) {
    let asked = "PUT /v1/stream/s HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\r\n";
    let at = END.replace('3', "0");
    let told = format!(
        "HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\nstream-next-offset: {at}\r\ncontent-length: 0\r\n\r\n"
    );
    (asked.into(), told)
}

#[test]
fn exchanges_are_read_in_any_pieces() {
    let (put, made) = created();
    let post = "POST /v1/stream/s HTTP/1.1\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: t\r\n\r\n";
    let done = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nstream-next-offset: {END}\r\n\r\n"
    );
    let head = "HEAD /v1/stream/s HTTP/1.1\r\n\r\n";
    let looked =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 99\r\nstream-next-offset: {END}\r\n\r\n");
    let get = "GET /v1/stream/s?offset=-1 HTTP/1.1\r\n\r\n";
    let read = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nstream-next-offset: {END}\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    let open = read.replace(
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc",
    );
    let other = read.replace("abc", "abd");
    // One after the other, and as a pipeline.
    let turns = [
        (put.as_str(), made.as_str()),
        (post, &done),
        (head, &looked),
        (get, &read),
        (get, &open),
    ];
    let asked: String = turns.iter().map(|(asked, _)| *asked).collect();
    let told: String = turns.iter().map(|(_, told)| *told).collect();
    for size in [1, 2, 3, 7, 100, 10_000] {
        assert_eq!(
            counts(&pass(&turns, size)),
            (5, 1, 0, 0),
            "in pieces of {size}"
        );
        assert_eq!(
            counts(&pass(&[(&asked, &told)], size)),
            (5, 1, 0, 0),
            "in pieces of {size}"
        );
        let wrong = [(put.as_str(), made.as_str()), (post, &done), (get, &other)];
        assert_eq!(
            counts(&pass(&wrong, size)),
            (3, 1, 0, 1),
            "in pieces of {size}"
        );
    }
}

#[test]
fn an_answer_that_is_cut_off_says_nothing() {
    let (put, made) = created();
    let get = "GET /v1/stream/s?offset=-1 HTTP/1.1\r\n\r\n";
    let cut = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nstream-next-offset: {END}\r\ncontent-length: 3\r\n\r\nab"
    );
    assert_eq!(
        counts(&pass(&[(&put, &made), (get, &cut)], 100)),
        (1, 0, 0, 0)
    );
}

#[test]
fn an_answer_may_come_before_its_request_is_whole() {
    let (put, made) = created();
    let begun =
        "POST /v1/stream/s HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nabc";
    let refused = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
    let rest = "defghi";
    let again = format!("{rest}{put}");
    let made_again = made.replace("201 Created", "200 OK");
    assert_eq!(
        counts(&pass(
            &[(&put, &made), (begun, refused), (&again, &made_again)],
            5
        )),
        (3, 0, 0, 0)
    );
}

#[test]
fn what_cannot_be_read_is_given_up() {
    let (put, made) = created();
    let twice = "POST /v1/stream/s HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let both = "POST /v1/stream/s HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let bare = "POST /v1/stream/s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n";
    for broken in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02",
        twice,
        both,
        bare,
    ] {
        let shared = pass(
            &[
                (&put, &made),
                (broken, "HTTP/1.1 200 OK\r\n\r\n"),
                (&put, &made),
            ],
            100,
        );
        assert_eq!(counts(&shared), (1, 0, 1, 0), "{broken:?}");
    }
    let upgrade = "GET /v1/stream/s HTTP/1.1\r\nUpgrade: h2c\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\n\r\n\x00\x00";
    assert_eq!(counts(&pass(&[(upgrade, switched)], 100)), (0, 0, 1, 0));
}

#[test]
fn a_request_that_never_became_whole_is_refused_without_a_word() {
    let begun = "GET /v1/stream/s HTTP/1.1\r\nHost: ";
    let refused = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(counts(&pass(&[(begun, refused)], 100)), (0, 0, 0, 0));
    let strange = refused.replace("408", "200");
    assert_eq!(counts(&pass(&[(begun, &strange)], 100)), (0, 0, 1, 0));
}
