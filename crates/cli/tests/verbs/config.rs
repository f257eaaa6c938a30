//! `serve` with a config file: who beats whom, where each value is from, what is refused.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::support::{Dir, Ran, command, ran};

struct Case {
    dir: Dir,
    file: String,
}

impl Case {
    fn new(text: &str) -> Self {
        let dir = Dir::new();
        let path = dir.path("m.toml");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        let file = path.to_string_lossy().into_owned();
        Self { dir, file }
    }

    fn explain(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let flags = ["serve", "--explain-config", "--config", &self.file];
        let mut command = command(&[&flags, args].concat());
        command.envs(env.iter().copied());
        ran(command.output().expect("runs"))
    }

    /// The value of a flag, and where it is from.
    fn flag(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> (String, String) {
        let ran = self.explain(&[args, &["--json"]].concat(), env);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let told: Value = serde_json::from_str(&ran.out).expect("a document");
        let flags = told["flags"].as_array().expect("a list");
        let found = flags.iter().find(|flag| flag["name"] == name);
        let found = found.expect("the flag is there");
        let text = |key: &str| found[key].as_str().expect("text").to_owned();
        (text("value"), text("from"))
    }
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let case = Case::new("# for tests\nlong-poll-timeout = '7s'\n");
    let flag = |args: &[&str], env: &[(&str, &str)]| case.flag("--long-poll-timeout", args, env);
    let env = [("MILLRACE_LONG_POLL_TIMEOUT", "8s")];
    let pair = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    let args = ["--long-poll-timeout", "9s"];
    assert_eq!(flag(&args, &env), pair("9s", "flag"));
    let from = "environment, MILLRACE_LONG_POLL_TIMEOUT";
    assert_eq!(flag(&[], &env), pair("8s", from));
    let from = format!("file, {}:2", case.file);
    assert_eq!(flag(&[], &[]), pair("7s", &from));
    let other = Case::new("");
    assert_eq!(
        other.flag("--long-poll-timeout", &[], &[]),
        pair("20s", "default")
    );
}

#[test]
fn every_kind_of_value_comes_through() {
    let case = Case::new(
        "port = 0\nmemory-max = '512MiB'\nno-auth = true\nshards = 3\ndurability = 'memory'\n\
         cors-origin = ['https://a.example', 'https://b.example']\nread-bytes-max = 65536\n",
    );
    let value = |name: &str| case.flag(name, &[], &[]).0;
    assert_eq!(value("--port"), "0");
    assert_eq!(value("--memory-max"), "512MiB");
    assert_eq!(value("--no-auth"), "true");
    assert_eq!(value("--shards"), "3");
    assert_eq!(value("--durability"), "memory");
    assert_eq!(
        value("--cors-origin"),
        "https://a.example,https://b.example"
    );
    assert_eq!(value("--read-bytes-max"), "65536");
    // A list of the command line takes the place of the file's, and a switch can be turned off.
    let (value, _) = case.flag(
        "--cors-origin",
        &["--cors-origin", "https://c.example"],
        &[],
    );
    assert_eq!(value, "https://c.example");
    let (value, from) = case.flag("--no-auth", &[], &[("MILLRACE_NO_AUTH", "false")]);
    assert_eq!(
        (&value[..], &from[..]),
        ("false", "environment, MILLRACE_NO_AUTH")
    );
}

#[test]
fn what_is_wrong_in_a_file_refuses_the_start_and_is_named() {
    for (text, wanted) in [
        ("\nprot = 1\n", &[":2: ", "did you mean `port`?"][..]),
        ("port = 'x'\n", &[":1: `port`", "a whole number"]),
        // What only the settings know is blamed on the file as well.
        ("\n\nshards = 0\n", &[":3: --shards is 0", "1 to 256"]),
        ("public-url = 'x'\n", &[":1: --public-url", "scheme"]),
    ] {
        let case = Case::new(text);
        let refused = case.explain(&[], &[]);
        assert_eq!((refused.code, &refused.out[..]), (Some(2), ""), "{text}");
        for part in wanted {
            assert!(refused.err.contains(part), "{text}: {}", refused.err);
        }
        let refused = case.explain(&["--json"], &[]);
        let told: Value = serde_json::from_str(&refused.err).expect("a document");
        assert_eq!(told["error"]["exit_code"], 2);
    }
    let mut absent = command(&["serve"]);
    absent.env("MILLRACE_CONFIG", "/no/such/file.toml");
    let refused = ran(absent.output().expect("runs"));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.err.contains("/no/such/file.toml"),
        "{}",
        refused.err
    );
    let mut wrong = command(&["serve", "--explain-config"]);
    wrong.env("MILLRACE_SHARDS", "0");
    let refused = ran(wrong.output().expect("runs"));
    let want = "error: MILLRACE_SHARDS: --shards is 0";
    assert!(refused.err.starts_with(want), "{}", refused.err);
    let mut wrong = command(&["serve", "--explain-config"]);
    wrong.env("MILLRACE_SHARDS", "two");
    let refused = ran(wrong.output().expect("runs"));
    assert_eq!(refused.code, Some(2));
    let want = "help: the value is from the environment, MILLRACE_SHARDS\n";
    assert!(refused.err.ends_with(want), "{}", refused.err);
}

#[test]
fn a_key_is_never_printed_and_its_file_is_looked_at() {
    let case = Case::new("api-key = 'very-secret-key'\n");
    let quiet = case.explain(&[], &[]);
    assert!(quiet.out.contains("(hidden)"), "{}", quiet.out);
    assert!(!quiet.out.contains("can read"), "{}", quiet.out);
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(&case.file, mode).expect("a mode");
    let warned = case.explain(&[], &[]);
    assert!(
        warned.out.contains("can read the api-key"),
        "{}",
        warned.out
    );
    let json = case.explain(&["--json"], &[]);
    let told: Value = serde_json::from_str(&json.out).expect("a document");
    assert_eq!(told["warnings"].as_array().map(Vec::len), Some(1));
    for ran in [quiet, warned, json] {
        assert!(!(ran.out + &ran.err).contains("very-secret"));
    }
    let without = Case::new("port = 0\n");
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(&without.file, mode).expect("a mode");
    assert!(!without.explain(&[], &[]).out.contains("can read"));
}

#[test]
fn the_printed_file_can_be_used_at_once() {
    let printed = ran(command(&["serve", "--print-config"])
        .output()
        .expect("runs"));
    assert_eq!((printed.code, &printed.err[..]), (Some(0), ""));
    let case = Case::new(&printed.out);
    let own = case.explain(&[], &[]);
    assert_eq!(own.code, Some(0), "{}", own.err);
    let none = ran(command(&["serve", "--explain-config"])
        .output()
        .expect("runs"));
    let without = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("--config"));
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(without(&own.out), without(&none.out));
    assert!(!case.dir.path("millrace-data").exists());
}
