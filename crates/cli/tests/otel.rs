//! With the feature `otel`: a request's span and its turn's reach a collector.

#![allow(
    clippy::unwrap_used,
    reason = "tests, with helpers that are no tests themselves"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use millrace_env::tasks;
use rustix::process::{Pid, Signal, kill_process};

/// Takes what is sent to `/v1/traces`, body by body.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    tasks::thread("collector", move || {
        for conn in listener.incoming() {
            let mut conn = BufReader::new(conn.unwrap());
            while let Some(body) = body_of_next(&mut conn) {
                let _ = tell.send(body);
                let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                              Content-Length: 0\r\n\r\n";
                conn.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    })
    .unwrap();
    (address, told)
}

fn body_of_next(conn: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut len = 0;
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if conn.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        lines.push(line);
    }
    assert_eq!(lines[0], "post /v1/traces http/1.1");
    let mut body = vec![0; len];
    conn.read_exact(&mut body).unwrap();
    Some(body)
}

/// A protobuf message's fields that hold bytes: their numbers and contents.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        match key & 7 {
            0 => drop(varint(&mut message)),
            1 => message = &message[8..],
            2 => {
                let len = usize::try_from(varint(&mut message)).unwrap();
                let (field, rest) = message.split_at(len);
                fields.push((key >> 3, field));
                message = rest;
            }
            5 => message = &message[4..],
            other => panic!("wire type {other}"),
        }
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first().unwrap();
        *message = rest;
        value |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The contents of all fields at `path` below a message.
fn at<'a>(message: &'a [u8], path: &[u64]) -> Vec<&'a [u8]> {
    let Some((first, rest)) = path.split_first() else {
        return vec![message];
    };
    let own = fields(message).into_iter();
    own.filter(|(number, _)| number == first)
        .flat_map(|(_, field)| at(field, rest))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Attributes that are text, as `key=value`, of a list of `KeyValue`s.
fn attributes(pairs: &[&[u8]]) -> Vec<String> {
    let pairs = pairs.iter().map(|pair| {
        let value = at(pair, &[2, 1]);
        let value = value.first().map(|value| text(value)).unwrap_or_default();
        format!("{}={value}", text(at(pair, &[1])[0]))
    });
    pairs.collect()
}

fn serve(dir: &Path, collector: &str) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    // Nothing of the developer's: settings, and proxies that would be asked for loopback.
    command.env_clear();
    command
        .args(["serve", "--port", "0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    let address = address.to_owned();
    while !ask(&address, "GET /ready").starts_with("HTTP/1.1 200") {}
    (child, address)
}

fn ask(address: &str, line: &str) -> String {
    let mut conn = TcpStream::connect(address).unwrap();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: the-one\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    );
    conn.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    conn.read_to_string(&mut answer).unwrap();
    answer
}

/// As plain as an append can be: no header that asks for anything. The client closes.
fn append(address: &str, path: &str) -> String {
    let mut conn = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    );
    conn.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 64];
    let len = conn.read(&mut first).unwrap();
    text(&first[..len])
}

#[test]
fn otel_spans_of_a_request_and_of_its_turn_reach_a_collector() {
    let dir = std::env::temp_dir().join(format!("millrace-otel-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let (collector, told) = collector();
    let (mut child, address) = serve(&dir, &collector);
    let answer = ask(&address, "PUT /v1/stream/traced");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    // A plain append goes a shorter way, unless somebody takes spans.
    let answer = append(&address, "/v1/stream/traced");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let code = child.wait().unwrap().code();
    let mut said = String::new();
    let mut err = child.stderr.take().unwrap();
    err.read_to_string(&mut said).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(code, Some(0), "{said}");
    // Lines stay what they are without spans: nobody asked for more of them.
    assert!(!said.contains("DEBUG"), "{said}");

    let mut spans = Vec::new();
    let mut services = Vec::new();
    while let Ok(body) = told.recv_timeout(Duration::from_millis(100)) {
        for resource in at(&body, &[1, 1]) {
            services.extend(attributes(&at(resource, &[1])));
        }
        for span in at(&body, &[1, 2, 2]) {
            let name = text(at(span, &[5])[0]);
            spans.push((name, attributes(&at(span, &[9]))));
        }
    }
    assert!(
        services.contains(&"service.name=millrace".to_owned()),
        "{services:?}"
    );
    let request = spans.iter().find(|(name, attributes)| {
        let has = |wanted: &str| attributes.iter().any(|attribute| attribute == wanted);
        name == "request" && has("request=the-one") && has("path=/v1/stream/traced")
    });
    assert!(request.is_some(), "{spans:?}");
    let posted = |attributes: &[String]| attributes.contains(&"method=POST".to_owned());
    assert!(
        spans
            .iter()
            .any(|(name, attributes)| name == "request" && posted(attributes)),
        "{spans:?}"
    );
    assert!(spans.iter().any(|(name, _)| name == "turn"), "{spans:?}");
    let own = ["request", "turn"];
    assert!(
        spans.iter().all(|(name, _)| own.contains(&name.as_str())),
        "{spans:?}"
    );
}
