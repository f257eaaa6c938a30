//! `ready`, as a health check asks it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use serde_json::json;

use crate::support::{NOWHERE, Ran, Server, command, eventually, ran};

fn ask(url: &str, more: &[&str]) -> Ran {
    let mut asked = command(&["ready", "--url", url]);
    ran(asked.args(more).output().expect("runs"))
}

/// Somebody who gives one connection this answer.
fn answering(answer: &'static str) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", socket.local_addr().expect("bound"));
    thread::spawn(move || {
        let (mut asker, _) = socket.accept().expect("somebody asks");
        let read = asker.read(&mut [0; 1024]).expect("a request");
        assert!(read > 0);
        asker.write_all(answer.as_bytes()).expect("takes it");
    });
    url
}

#[test]
fn a_server_is_ready_whatever_its_key_is() {
    let server = Server::with(&["--api-key", "correct-horse"]);
    // It listens before it is.
    let said = eventually("it is ready", || {
        let said = ask(&server.url, &[]);
        (said.code == Some(0)).then_some(said)
    });
    assert_eq!((said.out.as_str(), said.err.as_str()), ("ready\n", ""));
    assert_eq!(server.json(&["ready"]), json!({ "ready": true }));
}

#[test]
fn one_that_recovers_is_not_and_the_reasons_are_named() {
    const RECOVERING: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 57\r\n\r\n\
        {\"ready\":false,\"reasons\":[\"recovering\",\"something else\"]}";
    let said = ask(&answering(RECOVERING), &[]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert!(
        said.err.contains("not ready: recovering, something else"),
        "{}",
        said.err
    );
}

#[test]
fn one_that_is_no_millrace_is_not() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let said = ask(&answering(answer), &[]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{answer}");
        assert!(said.err.contains("/ready brought"), "{}", said.err);
    }
}

#[test]
fn nobody_is_5() {
    let said = ask(NOWHERE, &["--json"]);
    assert_eq!((said.code, said.out.as_str()), (Some(5), ""));
}
