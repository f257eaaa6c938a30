//! Every verb, in every way that it can go: a table, and what each row must do. A verb without a row
//! fails `every_verb_has_a_row`.
//!
//! Not here: what single verbs do beyond that (the other files).

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    lines::fed,
    stall::{Stall, full_pipe, hears_interrupts},
    support::{Dir, NOWHERE, Ran, Server, command, eventually, ran, signal},
};

/// A verb that speaks to a server.
struct Asking {
    /// On the streams of [`stage`]; `*` stands for a fresh name.
    args: &'static [&'static str],
    /// What comes on stdin.
    input: &'static str,
    /// What stdout holds when it goes well.
    says: &'static str,
    /// What is in each of its JSON documents.
    key: &'static str,
    /// The same about a stream that is not there, or why there is no such thing.
    missing: Result<&'static [&'static str], &'static str>,
    /// How its last word begins when its first request is never answered.
    last: &'static str,
}

const ASKING: [Asking; 15] = [
    Asking {
        args: &["create", "*", "-t", "json"],
        input: "",
        says: "-0000000000000000\n",
        key: "created",
        missing: Err("it is what makes one"),
        last: "before the end: whether * was created is not known",
    },
    Asking {
        args: &["append", "a", "4"],
        input: "",
        says: "-0000000000000008\n",
        key: "messages",
        missing: Ok(&["append", "nope", "4"]),
        last: "before anything was appended",
    },
    Asking {
        args: &["append-all"],
        input: "{\"stream\":\"a\",\"messages\":[5]}\n",
        says: "-0000000000000010  appended   a\n",
        key: "outcome",
        missing: Err("each line is answered on its own"),
        last: "after 0 lines; whether the request under way was carried out is not known\nhelp: send",
    },
    Asking {
        args: &["read", "a"],
        input: "",
        says: "1\n2\n3\n",
        key: "messages",
        missing: Ok(&["read", "nope"]),
        last: "at offset -1\nhelp: go on with `millrace read a --offset -1`",
    },
    Asking {
        args: &["tail", "done"],
        input: "",
        says: "1\n2\n3\n",
        key: "messages",
        missing: Ok(&["tail", "nope"]),
        last: "at offset -1\nhelp: go on with `millrace tail done --offset -1`",
    },
    Asking {
        args: &["follow", "done"],
        input: "",
        says: "done: 1\ndone: 2\ndone: 3\n",
        key: "next_offset",
        missing: Ok(&["follow", "nope"]),
        last: "with 1 of 1 streams open\nhelp: go on with `millrace follow done,-1`",
    },
    Asking {
        args: &["head", "a"],
        input: "",
        says: "content type  application/json\n",
        key: "next_offset",
        missing: Ok(&["head", "nope"]),
        last: "before the end: nothing was changed\nhelp: run `millrace head a` again",
    },
    Asking {
        args: &[
            "set",
            "a",
            "--retention-max-age",
            "7d",
            "--attributes",
            "{\"n\":1}",
        ],
        input: "",
        says: "keeps         168h at most\nattributes    {\"n\":1}\n",
        key: "retention",
        missing: Ok(&["set", "nope", "--retention-max-age", "none"]),
        last: "before the end: whether a was changed is not known",
    },
    Asking {
        args: &["trim", "a", "-1"],
        input: "",
        says: "-0000000000000000\n",
        key: "earliest_offset",
        missing: Ok(&["trim", "nope", "now"]),
        last: "before the end: whether a was trimmed is not known",
    },
    Asking {
        args: &["compact", "rows"],
        input: "",
        says: "-00000000000000",
        key: "keys",
        missing: Ok(&["compact", "nope"]),
        last: "before the end: whether rows was compacted is not known",
    },
    Asking {
        args: &["retention"],
        input: "",
        says: "interval   30s\nstreams    ",
        key: "interval_ms",
        missing: Err("it names none"),
        last: "before the end: nothing was changed\nhelp: run `millrace retention` again",
    },
    Asking {
        args: &["close", "done"],
        input: "",
        says: "-0000000000000006\n",
        key: "closed",
        missing: Ok(&["close", "nope"]),
        last: "before the end: whether done was closed is not known",
    },
    Asking {
        args: &["fork", "done", "*"],
        input: "",
        says: "-0000000000000006\n",
        key: "created",
        missing: Ok(&["fork", "nope", "other"]),
        last: "before the end: whether * was created is not known",
    },
    Asking {
        args: &["rm", "*", "--missing-ok"],
        input: "",
        says: "",
        key: "deleted",
        missing: Ok(&["rm", "nope"]),
        last: "after 0 of 1: whether * was deleted is not known",
    },
    Asking {
        args: &["ls", "--prefix", "done"],
        input: "",
        says: "  done\n",
        key: "next_offset",
        missing: Err("it lists none"),
        last: "before the end: nothing was changed\nhelp: run `millrace ls` again",
    },
];

/// Verbs that look at a data directory; one of them would change it, were it damaged.
const LOOKING: [(&str, &str); 3] = [
    ("check", "whole=true"),
    ("repair", "plan needed=false"),
    ("dump", "done"),
];

/// Verbs that ask nobody, and what they print.
const ALONE: [(&[&str], &str); 3] = [
    (&["offset", "-1"], "start"),
    (&["completions", "bash"], "complete"),
    (&["man"], ".SH SYNOPSIS"),
];

/// Verbs that go through the same in files of their own, `bench_matrix.rs` and `ready.rs`: what one
/// says is never twice the same, and the other asks for no stream and needs no key.
const ELSEWHERE: [&str; 2] = ["bench", "ready"];

/// A message of the State Protocol.
const ROW: &str = r#"{"type":"row","key":"1","value":1,"headers":{"operation":"insert"}}"#;

/// `a` holds 1, 2, 3; `done` the same, and is closed; `rows` holds what can be compacted.
fn stage(flags: &[&str], key: &[&str]) -> Server {
    let server = Server::with(flags);
    for name in ["a", "done"] {
        server.ok(&[&["create", name, "-t", "json"], key].concat());
        server.ok(&[&["append", name, "[1,2,3]"], key].concat());
    }
    server.ok(&[&["close", "done"], key].concat());
    server.ok(&[&["create", "rows", "-t", "json"], key].concat());
    server.ok(&[&["append", "rows", ROW], key].concat());
    server
}

impl Asking {
    fn verb(&self) -> &'static str {
        self.args[0]
    }

    /// The command, with what comes on its stdin.
    fn fed(&self, command: Command) -> Command {
        fed(command, self.input)
    }

    /// With `fresh` for `*`.
    fn args<'a>(&'a self, fresh: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let args = self.args.iter();
        let args = args.map(|&arg| if arg == "*" { fresh } else { arg });
        args.chain(more.iter().copied()).collect()
    }
}

pub(crate) fn documents(verb: &str, text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    let lines: Result<Vec<Value>, _> = lines.collect();
    lines.unwrap_or_else(|error| panic!("{verb}: {error}: {text}"))
}

pub(crate) fn error(verb: &str, ran: &Ran) -> Value {
    let documents = documents(verb, &ran.err);
    assert_eq!(documents.len(), 1, "{verb}: {}", ran.err);
    let error = documents[0]["error"].clone();
    assert_eq!(error["exit_code"].as_i64(), ran.code.map(i64::from));
    assert!(error["message"].is_string(), "{verb}: {error}");
    error
}

#[test]
fn every_verb_has_a_row() {
    let table = ran(command(&["man", "--json"]).output().expect("runs"));
    let table: Value = serde_json::from_str(&table.out).expect("a document");
    let verbs = table["verbs"].as_array().expect("a list");
    let verbs: BTreeSet<&str> = verbs
        .iter()
        .map(|verb| verb["name"].as_str().expect("a name"))
        .collect();
    let asking = ASKING.iter().map(Asking::verb);
    let others = LOOKING
        .iter()
        .map(|row| row.0)
        .chain(["serve"])
        .chain(ELSEWHERE);
    let alone = ALONE.iter().map(|row| row.0[0]);
    let rows: BTreeSet<&str> = asking.chain(others).chain(alone).collect();
    assert_eq!(verbs, rows);
    for verb in &verbs {
        let help = ran(command(&[verb, "--help"]).output().expect("runs"));
        assert!(help.out.contains("--json"), "{verb}");
    }
}

#[test]
fn all_goes_well() {
    let server = stage(&[], &[]);
    for row in &ASKING {
        let fresh = format!("fresh-{}", row.verb());
        let command = server.command(&row.args(&fresh, &[]));
        let ran = ran(row.fed(command).output().expect("runs"));
        assert_eq!(ran.code, Some(0), "{}: {}", row.verb(), ran.err);
        assert!(ran.out.contains(row.says), "{}: {}", row.verb(), ran.out);
    }
}

#[test]
fn all_goes_well_for_programs() {
    let server = stage(&[], &[]);
    for row in &ASKING {
        let fresh = format!("fresh-{}", row.verb());
        let command = server.command(&row.args(&fresh, &["--json"]));
        let ran = ran(row.fed(command).output().expect("runs"));
        assert_eq!((ran.code, &ran.err[..]), (Some(0), ""), "{}", row.verb());
        let documents = documents(row.verb(), &ran.out);
        assert!(!documents.is_empty(), "{}", row.verb());
        for document in documents {
            assert!(!document[row.key].is_null(), "{}: {document}", row.verb());
        }
    }
}

#[test]
fn nobody_listens() {
    for row in &ASKING {
        let ask = |more: &[&str]| {
            let mut command = row.fed(command(&row.args("x", more)));
            ran(command.output().expect("runs"))
        };
        let told = ask(&["--url", NOWHERE]);
        assert_eq!((told.code, &told.out[..]), (Some(5), ""), "{}", row.verb());
        assert!(told.err.contains("\nhelp: start a server"), "{}", told.err);
        let told = ask(&["--url", NOWHERE, "--json"]);
        assert_eq!((told.code, &told.out[..]), (Some(5), ""), "{}", row.verb());
        let error = error(row.verb(), &told);
        assert!(error["help"].is_string(), "{error}");
    }
}

#[test]
fn the_key_is_wrong() {
    let server = stage(
        &["--api-key", "correct-horse"],
        &["--token", "correct-horse"],
    );
    for row in &ASKING {
        for key in [&[][..], &["--token", "battery-staple"]] {
            let ask = |more: &[&str]| {
                let args = row.args("x", &[key, more].concat());
                ran(row.fed(server.command(&args)).output().expect("runs"))
            };
            let told = ask(&[]);
            assert_eq!((told.code, &told.out[..]), (Some(6), ""), "{}", row.verb());
            assert!(
                told.err.contains("\nhelp: set MILLRACE_TOKEN"),
                "{}",
                told.err
            );
            assert!(!told.err.contains("battery"), "{}", told.err);
            let told = ask(&["--json"]);
            assert_eq!(error(row.verb(), &told)["code"], "unauthorized");
        }
    }
}

#[test]
fn the_stream_is_missing() {
    let server = stage(&[], &[]);
    for row in &ASKING {
        let Ok(args) = row.missing else { continue };
        let told = server.run(args);
        assert_eq!((told.code, &told.out[..]), (Some(4), ""), "{}", row.verb());
        assert!(told.err.contains("nope"), "{}", told.err);
        assert!(told.err.contains("`millrace "), "{}", told.err);
        let told = server.run(&[args, &["--json"]].concat());
        assert!(error(row.verb(), &told)["code"].is_string());
    }
}

/// Runs it with a stdout that nobody reads.
pub(crate) fn unread(mut command: Command) -> Ran {
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    ran(command.stdout(write).output().expect("runs"))
}

#[test]
fn nobody_reads() {
    let server = stage(&[], &[]);
    for row in &ASKING {
        for more in [&["--quiet"][..], &["--json"]] {
            let fresh = format!("fresh-{}", row.verb());
            let ran = unread(row.fed(server.command(&row.args(&fresh, more))));
            assert_eq!((ran.code, &ran.err[..]), (Some(0), ""), "{}", row.verb());
        }
    }
    for (args, _) in ALONE {
        for more in [&[][..], &["--json"]] {
            let ran = unread(command(&[args, more].concat()));
            assert_eq!((ran.code, &ran.err[..]), (Some(0), ""), "{args:?}");
        }
    }
}

#[test]
fn an_interrupt_while_the_server_is_silent() {
    let server = stage(&[], &[]);
    for row in &ASKING {
        for (json, sent, code) in [(false, Signal::INT, 130), (true, Signal::TERM, 143)] {
            let stall = Stall::after(0, &server.url);
            let more: &[&str] = if json { &["--json"] } else { &[] };
            let mut command = row.fed(command(&row.args("fresh", more)));
            let child = command
                .env("MILLRACE_URL", &stall.url)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts");
            stall.holds();
            signal(&child, sent);
            let told = ran(child.wait_with_output().expect("ends"));
            assert_eq!(
                (told.code, &told.out[..]),
                (Some(code), ""),
                "{}",
                row.verb()
            );
            let last = row.last.replace('*', "fresh");
            if json {
                let document = &documents(row.verb(), &told.err)[0];
                assert_eq!(document["interrupted"], true, "{}", row.verb());
                let what = document["message"].as_str().expect("text");
                assert!(last.starts_with(what), "{what}");
                assert!(document["help"].is_string(), "{document}");
            } else {
                let want = format!("interrupted {last}");
                assert!(told.err.starts_with(&want), "{}: {}", row.verb(), told.err);
                assert!(told.err.contains("\nhelp: "), "{}", told.err);
            }
        }
    }
}

/// Lets `through` requests pass, interrupts at the next.
fn in_the_middle(server: &Server, through: usize, args: &[&str]) -> Ran {
    let stall = Stall::after(through, &server.url);
    let mut command = command(args);
    let child = command
        .env("MILLRACE_URL", &stall.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    stall.holds();
    signal(&child, Signal::INT);
    let told = ran(child.wait_with_output().expect("ends"));
    assert_eq!(told.code, Some(130), "{args:?}: {}", told.err);
    told
}

#[test]
fn what_was_printed_before_an_interrupt_and_what_comes_after_it_is_all() {
    let server = Server::with(&["--read-bytes-max", "100"]);
    server.ok(&["create", "a", "-t", "json"]);
    let input = crate::support::ndjson(0, 20);
    server.with_input(&["append", "a", "--ndjson"], input.as_bytes());
    server.ok(&["close", "a"]);
    for args in [&["read", "a"][..], &["tail", "a", "--live", "long-poll"]] {
        let verb = args[0];
        let told = in_the_middle(&server, 3, args);
        let (_, offset) = told.err.split_once("--offset ").expect("how to go on");
        let offset = offset.trim_end().trim_end_matches('`');
        let rest = server.ok(&[verb, "a", "--offset", offset]);
        assert!(!told.out.is_empty() && !rest.is_empty(), "{verb}");
        assert_eq!(told.out + &rest, input, "{verb}");
    }
}

#[test]
fn an_append_whose_answer_never_came_says_so() {
    let server = stage(&[], &[]);
    let plain = in_the_middle(&server, 1, &["append", "a", "4"]);
    assert!(plain.err.contains("after 0 messages"), "{}", plain.err);
    assert!(plain.err.contains("is not known"), "{}", plain.err);
    assert!(
        plain.err.contains("help: whether the last batch"),
        "{}",
        plain.err
    );
    let args = ["append", "a", "4", "--producer", "p", "--json"];
    let exact = in_the_middle(&server, 1, &args);
    let told = &documents("append", &exact.err)[0];
    assert_eq!(told["in_doubt"], true);
    let help = told["help"].as_str().expect("text");
    assert!(help.contains("run the same command again"), "{help}");
}

#[test]
fn an_rm_says_how_far_it_came() {
    let server = stage(&[], &[]);
    let told = in_the_middle(&server, 1, &["rm", "a", "done"]);
    assert!(told.err.contains("deleted a\n"), "{}", told.err);
    let last = "interrupted after 1 of 2: whether done was deleted is not known";
    assert!(told.err.contains(last), "{}", told.err);
}

#[test]
fn verbs_that_ask_nobody_do_what_they_say() {
    for (args, says) in ALONE {
        let told = ran(command(args).output().expect("runs"));
        assert_eq!((told.code, &told.err[..]), (Some(0), ""), "{args:?}");
        assert!(told.out.contains(says), "{args:?}");
        let told = ran(command(&[args, &["--json"]].concat())
            .output()
            .expect("runs"));
        assert_eq!(documents(args[0], &told.out).len(), 1, "{args:?}");
    }
    let wrong = ran(command(&["offset", "12", "--json"]).output().expect("runs"));
    assert_eq!(wrong.code, Some(2));
    assert!(error("offset", &wrong)["help"].is_string());
}

#[test]
fn verbs_that_look_at_a_directory() {
    let mut server = stage(&[], &[]);
    let data = server.dir.path("data").to_string_lossy().into_owned();
    let nowhere = server.dir.path("none").to_string_lossy().into_owned();
    let look = |args: &[&str]| ran(command(args).output().expect("runs"));
    for (verb, _) in LOOKING {
        for (dir, code) in [(&data, 3), (&nowhere, 1)] {
            let told = look(&[verb, "--data-dir", dir]);
            assert_eq!((told.code, &told.out[..]), (Some(code), ""), "{verb}");
            assert!(told.err.starts_with("error: "), "{}", told.err);
            let told = look(&[verb, "--data-dir", dir, "--json"]);
            assert_eq!(told.code, Some(code));
            error(verb, &told);
        }
    }
    server.kill();
    for (verb, says) in LOOKING {
        let told = look(&[verb, "--data-dir", &data]);
        assert_eq!((told.code, &told.err[..]), (Some(0), ""), "{verb}");
        assert!(told.out.contains(says), "{verb}: {}", told.out);
        let told = look(&[verb, "--data-dir", &data, "--json"]);
        assert!(!documents(verb, &told.out).is_empty());
        let told = unread(command(&[verb, "--data-dir", &data]));
        assert_eq!((told.code, &told.err[..]), (Some(0), ""), "{verb}");
        let (reader, writer) = full_pipe();
        let mut command = command(&[verb, "--data-dir", &data]);
        let child = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        hears_interrupts(&child);
        signal(&child, Signal::INT);
        let told = ran(child.wait_with_output().expect("ends"));
        assert_eq!(told.code, Some(130), "{verb}: {}", told.err);
        let last = "nothing was changed\nhelp: millrace ";
        assert!(told.err.contains(last), "{verb}: {}", told.err);
        drop(reader);
    }
}

#[test]
fn serve_speaks_json_and_needs_no_reader() {
    let dir = Dir::new();
    let data = dir.path("data").to_string_lossy().into_owned();
    let args = ["serve", "--port", "0", "--data-dir", &data, "--json"];
    let mut child = command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    let told: Value = serde_json::from_str(&line).expect("a document");
    let url = told["url"].as_str().expect("a URL").to_owned();
    assert!(url.ends_with(&format!(":{}", told["port"])));
    let second = ran(command(&args).output().expect("runs"));
    assert_eq!(second.code, Some(3), "{}", second.err);
    let last = second.err.lines().last().expect("an error");
    let refused: Value = serde_json::from_str(last).expect("a document");
    assert_eq!(refused["error"]["exit_code"], 3);
    drop(out);
    let asked = ran(command(&["create", "a", "--url", &url])
        .output()
        .expect("runs"));
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    // Ctrl-C is how a server is stopped: its end is a good one.
    signal(&child, Signal::INT);
    let ended = ran(child.wait_with_output().expect("ends"));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("stopped"), "{}", ended.err);
}

/// Neither stdout nor stderr is read by anyone, and nothing comes of it.
#[test]
fn a_server_whose_talk_nobody_hears_serves() {
    let dir = Dir::new();
    let port_file = dir.path("port");
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    let mut child = command(&["serve", "--port", "0", "--data-dir"])
        .arg(dir.path("data"))
        .arg("--port-file")
        .arg(&port_file)
        .stdout(write.try_clone().expect("a pipe"))
        .stderr(write)
        .spawn()
        .expect("starts");
    let port: u16 = eventually("it listens", || {
        std::fs::read_to_string(&port_file)
            .ok()?
            .trim()
            .parse()
            .ok()
    });
    let url = format!("http://127.0.0.1:{port}");
    let asked = ran(command(&["create", "a", "--url", &url])
        .output()
        .expect("runs"));
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn wrong_words_are_json_too() {
    for args in [
        &["nonsense", "--json"][..],
        &["append", "--json"],
        &["ls", "--json", "--what"],
    ] {
        let told = ran(command(args).output().expect("runs"));
        assert_eq!((told.code, &told.out[..]), (Some(2), ""), "{args:?}");
        error(args[0], &told);
    }
}
