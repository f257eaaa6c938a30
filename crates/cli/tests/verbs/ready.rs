//! `ready`, as a health check asks it, and in every way that it can go, as `matrix.rs` has it for
//! verbs with rows. No stream can be missing, because it names none, and no key can be wrong, because
//! `/ready` asks for none.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Stdio,
    thread,
};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    matrix::{documents, error, unread},
    stall::Stall,
    support::{NOWHERE, Ran, Server, command, eventually, ran, signal},
};

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
    let wrong = ["ready", "--token", "battery-staple"];
    assert_eq!(server.ok(&wrong), "ready\n", "it needs no key");
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
    let said = ask(&answering(RECOVERING), &["--json"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    let error = error("ready", &said);
    let message = error["message"].as_str().expect("text");
    assert_eq!(message, "not ready: recovering, something else");
    assert!(error["help"].is_string(), "{error}");
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
    let said = ask(NOWHERE, &[]);
    assert_eq!((said.code, said.out.as_str()), (Some(5), ""));
    assert!(said.err.contains("\nhelp: start a server"), "{}", said.err);
    let said = ask(NOWHERE, &["--json"]);
    assert_eq!((said.code, said.out.as_str()), (Some(5), ""));
    assert!(error("ready", &said)["help"].is_string());
}

#[test]
fn nobody_reads() {
    let server = Server::start();
    eventually("it is ready", || {
        (server.run(&["ready"]).code == Some(0)).then_some(())
    });
    for more in [&[][..], &["--json"]] {
        let said = unread(server.command(&[&["ready"], more].concat()));
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{more:?}");
    }
}

#[test]
fn an_interrupt_while_the_server_is_silent() {
    const WHAT: &str = "before the end: nothing was changed";
    let server = Server::start();
    for (json, sent, code) in [(false, Signal::INT, 130), (true, Signal::TERM, 143)] {
        let stall = Stall::after(0, &server.url);
        let more: &[&str] = if json { &["--json"] } else { &[] };
        let mut asking = command(&[&["ready"], more].concat());
        let asking = asking.env("MILLRACE_URL", &stall.url);
        let asking = asking.stdout(Stdio::piped()).stderr(Stdio::piped());
        let asking = asking.spawn().expect("starts");
        stall.holds();
        signal(&asking, sent);
        let said = ran(asking.wait_with_output().expect("ends"));
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""));
        if json {
            let document = &documents("ready", &said.err)[0];
            assert_eq!(document["interrupted"], true);
            assert_eq!(document["message"], WHAT);
            assert_eq!(document["help"], "run `millrace ready` again");
        } else {
            let last = format!("interrupted {WHAT}\nhelp: run `millrace ready` again\n");
            assert_eq!(said.err, last);
        }
    }
}
