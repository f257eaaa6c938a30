//! `serve --explain-config`: every value, where it came from, and what follows from it.

use clap::{ArgMatches, CommandFactory as _, parser::ValueSource};
use millrace_core::limits;

use crate::{
    args::Cli,
    host::{self, MemorySource},
    settings::Settings,
    units::{show_duration, show_size},
};

/// A name, a value, and where it is from.
struct Row {
    name: String,
    value: String,
    from: String,
}

/// The text.
pub(crate) fn explain(settings: &Settings, matches: &ArgMatches) -> String {
    let mut text = String::new();
    section(&mut text, "flags", &flags(settings, matches));
    section(&mut text, "derived", &derived(settings));
    section(&mut text, "limits", &limits());
    text
}

fn section(text: &mut String, title: &str, rows: &[Row]) {
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or_default();
    let (names, values) = (width(|row| row.name.len()), width(|row| row.value.len()));
    text.push_str(title);
    text.push('\n');
    for Row { name, value, from } in rows {
        let line = format!("  {name:names$}  {value:values$}  {from}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn flags(settings: &Settings, matches: &ArgMatches) -> Vec<Row> {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("the verb is there");
    let shown = serve
        .get_arguments()
        .filter(|arg| arg.get_id() != "explain_config");
    shown
        .map(|arg| {
            let id = arg.get_id().as_str();
            let env = arg.get_env().and_then(|env| env.to_str());
            let from = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => "command line".to_owned(),
                Some(ValueSource::EnvVariable) => format!("environment, {}", env.unwrap_or("?")),
                _ => fallback(id).to_owned(),
            };
            Row {
                name: format!("--{}", arg.get_long().unwrap_or(id)),
                value: value(id, settings, matches),
                from,
            }
        })
        .collect()
}

/// Where the value of a flag comes from that nobody gave.
fn fallback(id: &str) -> &'static str {
    match id {
        "memory_max" => match host::memory().1 {
            MemorySource::Cgroup => "default: half of the cgroup's limit",
            MemorySource::Ram => "default: half of RAM",
            MemorySource::Guess => "default: half of 2GiB, because nothing can be read",
        },
        "shards" => "default: half of the cores",
        "flush_bytes" => "default: an eighth of --memory-max",
        "connections_max" => "default: the descriptor limit, less what files need",
        _ => "default",
    }
}

fn value(id: &str, settings: &Settings, matches: &ArgMatches) -> String {
    match id {
        "memory_max" => show_size(settings.engine.memory_max),
        "shards" => settings.engine.shards.to_string(),
        "flush_bytes" => show_size(settings.engine.flush_bytes),
        "connections_max" => settings.server.connections_max.to_string(),
        "api_key" => match settings.server.access {
            millrace_server::Access::Key(_) => "(hidden)".to_owned(),
            _ => "(none)".to_owned(),
        },
        _ => given(id, matches),
    }
}

fn given(id: &str, matches: &ArgMatches) -> String {
    let Some(raw) = matches.try_get_raw(id).ok().flatten() else {
        return "(none)".to_owned();
    };
    let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
    values.join(",")
}

fn derived(settings: &Settings) -> Vec<Row> {
    let engine = &settings.engine;
    let times = &settings.server.times;
    let row = |name: &str, value: String, from: &str| Row {
        name: name.into(),
        value,
        from: from.into(),
    };
    let time = |name, value, from| row(name, show_duration(value), from);
    vec![
        row(
            "access",
            settings.access.to_owned(),
            "the key is compared in constant time",
        ),
        row(
            "admission bytes",
            show_size(engine.admission_bytes()),
            "a quarter of --memory-max: beyond it appends are answered 429",
        ),
        row(
            "catalog cache bytes",
            show_size(engine.catalog_cache_bytes()),
            "an eighth of --memory-max",
        ),
        row(
            "flush streams",
            engine.flush_streams.to_string(),
            "changed streams that start a flush",
        ),
        time(
            "idle after",
            engine.idle_after,
            "then a stream leaves memory",
        ),
        time("drain", times.drain, "four fifths of --shutdown-timeout"),
        time("event stream", times.sse, "then the client reconnects"),
        time(
            "event stream, sign of life",
            times.keep_alive,
            "while nothing happens",
        ),
    ]
}

fn limits() -> Vec<Row> {
    let row = |name: &str, value: String| Row {
        name: name.into(),
        value,
        from: String::new(),
    };
    vec![
        row(
            "stream name bytes",
            limits::STREAM_NAME_BYTES_MAX.to_string(),
        ),
        row(
            "content type bytes",
            limits::CONTENT_TYPE_BYTES_MAX.to_string(),
        ),
        row(
            "producer id bytes",
            limits::PRODUCER_ID_BYTES_MAX.to_string(),
        ),
        row("stream seq bytes", limits::STREAM_SEQ_BYTES_MAX.to_string()),
        row(
            "producers of a stream",
            limits::PRODUCERS_PER_STREAM_MAX.to_string(),
        ),
        row(
            "producer idle milliseconds before it may be forgotten",
            limits::PRODUCER_IDLE_MILLIS_MIN.to_string(),
        ),
        row("producer number", limits::PRODUCER_NUMBER_MAX.to_string()),
        row(
            "headers of a request",
            millrace_server::config::HEADERS_MAX.to_string(),
        ),
        row("JSON depth", limits::JSON_DEPTH_MAX.to_string()),
        row(
            "append bytes that can be configured",
            show_size(limits::APPEND_BYTES_CEILING),
        ),
        row("commands of a turn", limits::TURN_COMMANDS_MAX.to_string()),
        row("bytes of a turn", show_size(limits::TURN_BYTES_MAX)),
        row("TTL seconds", limits::TTL_SECONDS_MAX.to_string()),
        row("fork depth", limits::FORK_DEPTH_MAX.to_string()),
    ]
}
