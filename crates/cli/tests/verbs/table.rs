//! What is made from the flag table, and the page that describes it.

use crate::support::{command, ran};

const VERBS: [&str; 16] = [
    "serve",
    "check",
    "dump",
    "create",
    "append",
    "read",
    "tail",
    "head",
    "close",
    "fork",
    "rm",
    "ls",
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
        assert!(page.contains(&format!("millrace\\-{verb}")), "{verb}");
        assert!(out(&["man", verb]).contains(".SH SYNOPSIS"), "{verb}");
    }
}

#[test]
fn the_page_names_every_verb_and_every_flag() {
    let page = include_str!("../../../../docs/cli.md");
    for verb in &VERBS[3..] {
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
