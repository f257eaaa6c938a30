//! `tail` across broken connections, restarts, and waits.

use std::{fs, process::Stdio};

use crate::support::{Server, eventually, ndjson};

#[test]
fn t64b_tail_goes_on_after_the_server_was_killed() {
    for live in ["sse", "long-poll"] {
        let mut server = Server::start();
        server.ok(&["create", "a", "-t", "json"]);
        server.ok(&["append", "a", "[1,2]"]);
        let file = server.dir.path("out");
        let out = fs::File::create(&file).expect("a file");
        let mut tail = server
            .command(&["tail", "a", "--live", live])
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let printed = |want: &str| {
            eventually(want, || {
                (fs::read_to_string(&file).ok()? == want).then_some(())
            });
        };
        printed("1\n2\n");
        server.ok(&["append", "a", "3"]);
        printed("1\n2\n3\n");
        server.kill();
        server.start_again();
        eventually("it answers again", || {
            (server.run(&["head", "a"]).code == Some(0)).then_some(())
        });
        server.ok(&["append", "a", "4"]);
        printed("1\n2\n3\n4\n");
        server.ok(&["append", "a", "[5]"]);
        server.ok(&["close", "a"]);
        assert_eq!(tail.wait().expect("ends").code(), Some(0));
        printed("1\n2\n3\n4\n5\n");
    }
}

#[test]
fn tail_from_now_prints_only_what_is_new() {
    let server = Server::start();
    server.ok(&["create", "t", "-t", "text"]);
    server.ok(&["append", "t", "old"]);
    let file = server.dir.path("out");
    let out = fs::File::create(&file).expect("a file");
    let mut command = server.command(&["tail", "t", "--offset", "now", "--json"]);
    let mut tail = command.stdout(out).spawn().expect("starts");
    eventually("it is at the tail", || {
        fs::read_to_string(&file)
            .ok()?
            .contains("\"up_to_date\":true")
            .then_some(())
    });
    server.ok(&["append", "t", "new\r\n"]);
    server.ok(&["close", "t"]);
    assert_eq!(tail.wait().expect("ends").code(), Some(0));
    let printed = fs::read_to_string(&file).expect("a file");
    assert!(
        !printed.contains("old") && printed.contains(r#""text":"new\r\n""#),
        "{printed}"
    );
}

#[test]
fn until_closed_waits_for_server_and_stream() {
    let mut server = Server::start();
    server.kill();
    let file = server.dir.path("out");
    let out = fs::File::create(&file).expect("a file");
    let mut command = server.command(&["tail", "later", "--until-closed"]);
    let mut tail = command
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    server.start_again();
    eventually("it answers", || {
        (server.run(&["ls"]).code == Some(0)).then_some(())
    });
    server.ok(&["create", "later", "-t", "json"]);
    let input = ndjson(0, 2000);
    server.with_input(&["append", "later", "--ndjson"], input.as_bytes());
    server.ok(&["close", "later"]);
    assert_eq!(tail.wait().expect("ends").code(), Some(0));
    assert!(fs::read_to_string(&file).expect("a file") == input);
}
