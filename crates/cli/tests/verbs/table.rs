//! What is made from the flag table, and the page that describes it.

use std::path::Path;

use crate::support::{BINARY, Server, command, ran};

const VERBS: [&str; 23] = [
    "serve",
    "check",
    "repair",
    "dump",
    "create",
    "append",
    "append-all",
    "read",
    "tail",
    "follow",
    "head",
    "set",
    "trim",
    "compact",
    "close",
    "fork",
    "rm",
    "ls",
    "retention",
    "ready",
    "offset",
    "completions",
    "man",
];

fn out(args: &[&str]) -> String {
    let ran = ran(command(args).output().expect("runs"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{args:?}");
    ran.out
}

#[test]
fn completions_and_manual_name_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&["completions", shell]);
        assert!(VERBS.iter().all(|verb| script.contains(verb)), "{shell}");
    }
    let page = out(&["man"]);
    for verb in VERBS {
        let shown = format!("millrace-{verb}").replace('-', "\\-");
        assert!(page.contains(&shown), "{verb}");
        assert!(out(&["man", verb]).contains(".SH SYNOPSIS"), "{verb}");
    }
}

#[test]
fn the_page_names_every_verb_and_every_flag() {
    let page = include_str!("../../../../docs/cli.md");
    for verb in &VERBS[4..] {
        assert!(page.contains(&format!("millrace {verb}")), "{verb}");
        let help = out(&[verb, "--help"]);
        let flags = help
            .split_whitespace()
            .filter(|word| word.starts_with("--"));
        for flag in flags {
            let flag = flag.trim_end_matches([',', '.', ':', ';', '`']);
            assert!(page.contains(flag), "{verb} {flag}");
        }
    }
}

#[test]
fn the_session_of_the_page_goes_as_it_says() {
    let page = include_str!("../../../../docs/cli.md");
    let (_, session) = page
        .split_once("## A session\n\n```console\n")
        .expect("is there");
    let (session, _) = session.split_once("```").expect("ends");
    let server = Server::start();
    let bin = Path::new(BINARY).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", bin.display());
    let mut steps = 0;
    for step in session.split("$ ").skip(1) {
        let (typed, want) = step.split_once('\n').expect("a line");
        let mut shell = std::process::Command::new("sh");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MILLRACE_") {
                shell.env_remove(name);
            }
        }
        let output = shell
            .args(["-c", &format!("{{ {typed}; }} 2>&1")])
            .env("PATH", &path)
            .env("MILLRACE_URL", &server.url)
            .output();
        assert_eq!(ran(output.expect("runs")).out, want, "{typed}");
        steps += 1;
    }
    assert!(steps > 9, "{steps}");
}
