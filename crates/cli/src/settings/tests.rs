use clap::Parser as _;

use super::*;
use crate::args::{Cli, Verb};

fn around() -> Surroundings {
    Surroundings {
        memory: 8 << 30,
        cores: 8,
        descriptors: 4096,
        api_key: None,
    }
}

fn args(flags: &[&str]) -> Box<ServeArgs> {
    let all = ["millrace", "serve"]
        .into_iter()
        .chain(flags.iter().copied());
    match Cli::try_parse_from(all).unwrap().verb {
        Verb::Serve(args) => args,
        other => panic!("{other:?}"),
    }
}

fn settings(flags: &[&str]) -> Result<Settings, String> {
    Settings::new(&args(flags), &around()).map_err(|failure| failure.to_string())
}

#[test]
fn defaults_need_no_flag() {
    let settings = settings(&[]).unwrap();
    assert_eq!(settings.address, "127.0.0.1:4437".parse().unwrap());
    assert_eq!(settings.engine.durability, Durability::Local);
    assert_eq!(settings.engine.memory_max, 4 << 30);
    assert_eq!(settings.engine.shards, 4);
    assert_eq!(settings.server.long_poll_timeout, Duration::from_secs(20));
    assert_eq!(settings.server.times.drain, Duration::from_secs(4));
    assert_eq!(settings.server.connections_max, 4096 - 1024);
    assert!(matches!(settings.server.access, Access::Open));
}

#[test]
fn a_scrub_has_a_rate_or_is_off() {
    let rate = |flags: &[&str]| settings(flags).unwrap().engine.scrub_rate;
    assert_eq!(rate(&[]), 8 << 20);
    assert_eq!(rate(&["--scrub-rate", "1MiB"]), 1 << 20);
    assert_eq!(rate(&["--scrub-rate", "0"]), 0);
    let week = settings(&[]).unwrap().engine.scrub_interval;
    assert_eq!(week, Duration::from_hours(7 * 24));
}

#[test]
fn one_core_makes_one_shard() {
    let around = Surroundings {
        cores: 1,
        ..around()
    };
    let settings = Settings::new(&args(&[]), &around).unwrap();
    assert_eq!(settings.engine.shards, 1);
}

#[test]
fn t100_values_out_of_bounds_refuse_the_start() {
    for flags in [
        ["--shards", "0"],
        ["--shards", "257"],
        ["--memory-max", "1MiB"],
        ["--append-bytes-max", "0"],
        ["--append-bytes-max", "2GiB"],
        ["--read-bytes-max", "0"],
        ["--wal-segment-bytes", "1KiB"],
        ["--flush-bytes", "0"],
        ["--flush-bytes", "4GiB"],
        ["--flush-interval", "0s"],
        ["--compaction-interval", "0ms"],
        ["--scrub-rate", "1KiB"],
        ["--scrub-rate", "2TiB"],
        ["--scrub-interval", "0s"],
        ["--scrub-interval", "366d"],
        ["--long-poll-timeout", "0"],
        ["--long-poll-timeout", "1d"],
        ["--shutdown-timeout", "0s"],
        ["--public-url", "streams.example"],
        ["--public-url", "https://streams.example/base"],
        ["--public-url", "ftp://streams.example"],
        ["--cors-origin", "app.example"],
        ["--cors-origin", "https://app.example/"],
        ["--api-key", "too short"],
        ["--api-key", "has a blank in it"],
        ["--auth-strategy", "api-key"],
        ["--auth", "api-key"],
        ["--connections-max", "0"],
        ["--connections-max", "3073"],
        ["--connections-max", "100000000"],
        ["--connections-per-address-max", "0"],
        ["--header-bytes-max", "1KiB"],
        ["--header-bytes-max", "1MiB"],
        ["--header-timeout", "0s"],
        ["--header-timeout", "2h"],
        ["--idle-timeout", "10ms"],
        ["--body-timeout", "0s"],
        ["--body-idle-timeout", "2h"],
        ["--write-timeout", "0s"],
    ] {
        let refused = settings(&flags).err();
        assert!(
            refused
                .as_ref()
                .is_some_and(|text| text.contains("\nhelp: ")),
            "{flags:?}: {refused:?}"
        );
    }
}

#[test]
fn t100_what_is_no_value_is_refused_by_the_table() {
    for flags in [
        ["--port", "65536"],
        ["--port", "NaN"],
        ["--port", ""],
        ["--host", "localhost:1"],
        ["--shards", "two"],
        ["--durability", "maybe"],
        ["--memory-max", "lots"],
        ["--long-poll-timeout", "soon"],
        ["--log-format", "xml"],
    ] {
        let all = ["millrace", "serve"].into_iter().chain(flags);
        let refused = Cli::try_parse_from(all).expect_err("is refused");
        assert_eq!(refused.exit_code(), 2, "{flags:?}");
    }
}

#[test]
fn beyond_this_machine_there_is_a_key_or_a_word() {
    let refused = settings(&["--host", "0.0.0.0"]).unwrap_err();
    assert!(refused.contains("--api-key") && refused.contains("--no-auth"));
    assert!(settings(&["--host", "::"]).is_err());
    assert!(settings(&["--host", "0.0.0.0", "--no-auth"]).is_ok());
    assert!(settings(&["--host", "0.0.0.0", "--auth-strategy", "none"]).is_ok());
    assert!(settings(&["--host", "0.0.0.0", "--auth", "none"]).is_ok());
    let keyed = settings(&["--host", "0.0.0.0", "--api-key", "0123456789"]).unwrap();
    assert!(matches!(keyed.server.access, Access::Key(key) if key.is(b"0123456789")));
    assert!(settings(&["--host", "::1"]).is_ok());
}

#[test]
fn a_key_in_the_environment_is_used_unless_a_flag_says_otherwise() {
    let around = Surroundings {
        api_key: Some("from-the-environment".into()),
        ..around()
    };
    let access = |flags: &[&str]| Settings::new(&args(flags), &around).unwrap().server.access;
    assert!(matches!(access(&[]), Access::Key(key) if key.is(b"from-the-environment")));
    assert!(matches!(access(&["--no-auth"]), Access::Open));
    let own = access(&["--api-key", "the-flag-beats-it"]);
    assert!(matches!(own, Access::Key(key) if key.is(b"the-flag-beats-it")));
}

#[test]
fn two_names_of_one_setting_agree() {
    let refused = settings(&["--auth", "api-key", "--auth-strategy", "none"]).unwrap_err();
    assert!(refused.contains("--auth-strategy"), "{refused}");
    assert!(settings(&["--auth", "none", "--auth-strategy", "none"]).is_ok());
}

#[test]
fn a_key_and_no_key_exclude_each_other() {
    assert!(settings(&["--api-key", "0123456789", "--no-auth"]).is_err());
    assert!(settings(&["--auth-strategy", "api-key", "--no-auth"]).is_err());
    assert!(settings(&["--auth", "api-key", "--no-auth"]).is_err());
    assert!(settings(&["--auth", "none", "--api-key", "0123456789"]).is_err());
}

#[test]
fn addresses_and_origins_are_kept_as_browsers_write_them() {
    let settings = settings(&[
        "--public-url",
        "https://streams.example:8443/",
        "--cors-origin",
        "https://a.example,http://localhost:3000",
    ])
    .unwrap();
    let url = settings.server.public_url.as_deref();
    assert_eq!(url, Some("https://streams.example:8443"));
    let listed = ["https://a.example", "http://localhost:3000"].map(HeaderValue::from_static);
    assert_eq!(settings.server.origins, Origins::Listed(listed.into()));
}

#[test]
fn limits_are_taken_as_given() {
    let given = settings(&[
        "--connections-max",
        "2000",
        "--connections-per-address-max",
        "20",
        "--header-bytes-max",
        "16KiB",
        "--header-timeout",
        "2s",
        "--idle-timeout",
        "3s",
        "--body-idle-timeout",
        "4s",
        "--body-timeout",
        "5s",
        "--write-timeout",
        "6s",
    ])
    .unwrap()
    .server;
    assert_eq!(given.connections_max, 2000);
    assert_eq!(given.connections_per_address_max, Some(20));
    assert_eq!(given.header_bytes_max, 16 << 10);
    let times = given.times;
    let seconds = [
        times.head,
        times.idle,
        times.body_idle,
        times.body,
        times.write,
    ];
    assert_eq!(seconds.map(|time| time.as_secs()), [2, 3, 4, 5, 6]);
    let server = settings(&[]).unwrap().server;
    assert_eq!(server.connections_per_address_max, None);
    assert_eq!(server.header_bytes_max, Config::default().header_bytes_max);
    assert_eq!(server.times.write, Times::default().write);
}
