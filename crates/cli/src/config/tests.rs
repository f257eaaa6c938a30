use std::path::Path;

use super::{file::entries, *};
use crate::args::is_setting;

/// What a text says, as `key=value`, in its order.
fn said(text: &str) -> Result<Vec<String>, String> {
    let entries =
        entries(text, &serve()).map_err(|fault| fault.of(Path::new("m.toml")).to_string())?;
    let said = entries
        .iter()
        .map(|entry| format!("{}={}@{}", entry.id, entry.values.join("|"), entry.line));
    Ok(said.collect())
}

#[test]
fn keys_are_the_names_of_flags() {
    let text = "# a comment\nport = 0\n\nhost = '::1'\nmemory-max = \"64MiB\"\nread-bytes-max = 1_024\n\
                long-poll-timeout = 5\nno-auth = true\ncors-origin = [\n  'https://a.example',\n  'https://b.example',\n]\n\
                public-url = 'https://c.example'\n";
    let want = [
        "port=0@2",
        "host=::1@4",
        "memory_max=64MiB@5",
        "read_bytes_max=1024@6",
        "long_poll_timeout=5@7",
        "no_auth=true@8",
        "cors_origins=https://a.example|https://b.example@9",
        "public_url=https://c.example@13",
    ];
    assert_eq!(said(text).unwrap(), want);
    assert_eq!(
        said("cors-origin = 'https://a.example'").unwrap(),
        ["cors_origins=https://a.example@1"]
    );
    assert!(said("").unwrap().is_empty());
}

#[test]
fn t100_what_is_not_understood_is_refused_with_line_key_and_what_to_write() {
    for (text, parts) in [
        ("prot = 1", &["there is no setting `prot`", "`port`"][..]),
        ("data_dir = 'x'", &["`data_dir`", "did you mean `data-dir`"]),
        ("Port = 1", &["`Port`", "did you mean `port`"]),
        ("something-else = 1", &["no setting", "--print-config"]),
        ("config = 'x'", &["no setting `config`"]),
        ("explain-config = true", &["no setting `explain-config`"]),
        ("[server]\nport = 1", &["`server` is a table", "by itself"]),
        ("port = '4437'", &["`port`", "whole number, without quotes"]),
        ("port = 65536", &["`port`", "65536 is not in 0..=65535"]),
        ("port = 1.5", &["`port`", "whole number"]),
        ("no-auth = 'true'", &["`no-auth`", "true or false"]),
        ("no-auth = 1", &["`no-auth`", "true or false"]),
        ("host = 1", &["`host`", "text in quotes"]),
        ("host = 'here'", &["`host`: invalid IP address"]),
        ("memory-max = true", &["`memory-max`", "\"64MiB\""]),
        ("memory-max = 'lots'", &["`memory-max`", "as in `4MiB`"]),
        (
            "flush-interval = 'soon'",
            &["`flush-interval`", "as in `20s`"],
        ),
        ("shards = -1", &["`shards`", "not in 0..=65535"]),
        ("durability = 'maybe'", &["\"local\" or \"memory\""]),
        ("cors-origin = [1]", &["`cors-origin`", "list of texts"]),
        ("data-dir = ['a']", &["`data-dir`", "text in quotes"]),
        ("port = 1\nport = 2", &["no TOML", "duplicate key"]),
        ("port 1", &["no TOML"]),
        ("port = ", &["no TOML"]),
    ] {
        // Two lines above it, so that the line is worth something.
        let refused = said(&format!("# one\n# two\n{text}\n")).unwrap_err();
        let line = if text.contains("\nport = 2") { 4 } else { 3 };
        let place = format!("error: m.toml:{line}: ");
        assert!(refused.starts_with(&place), "{text}: {refused}");
        for part in parts {
            assert!(refused.contains(part), "{text}: {part}: {refused}");
        }
    }
}

#[test]
fn a_key_is_never_repeated() {
    for text in [
        "api-key = 'very-secret",
        "api-key = ['very-secret']",
        "api-key = very-secret",
        "apikey = 'very-secret'",
        "api-key = 'very-secret'\n]",
    ] {
        let refused = said(text).unwrap_err();
        assert!(!refused.contains("very-secret"), "{refused}");
    }
}

#[test]
fn the_printed_example_sets_every_default_and_changes_nothing() {
    let example = example();
    assert!(said(&example).unwrap().is_empty(), "all is commented out");
    let keys: Vec<String> = example
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains(" = ") && !line.contains("as in `"))
        .map(str::to_owned)
        .collect();
    let entries = entries(&keys.join("\n"), &serve());
    let entries = entries.map_err(|fault| fault.of(Path::new("example")).to_string());
    let entries = entries.unwrap_or_else(|error| panic!("{error}\n{example}"));
    let serve = serve();
    for arg in serve.get_arguments().filter(|arg| is_setting(arg)) {
        let key = arg.get_long().unwrap();
        assert!(
            example.contains(&format!("\n# {key} = ")) || example.contains(&format!("\n# {key}: ")),
            "{key}"
        );
        let entry = entries.iter().find(|entry| entry.id == *arg.get_id());
        let default: Vec<_> = arg.get_default_values().iter().collect();
        if let ([default], Some(entry)) = (&default[..], entry) {
            assert_eq!(entry.values, [default.to_string_lossy()], "{key}");
        } else {
            assert_eq!(default.len(), 0, "{key} is not in the example");
        }
    }
}
