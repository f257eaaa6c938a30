//! `serve --explain-config`: every value, where it came from, and what follows from it.

use clap::Arg;
use millrace_core::limits;
use serde_json::{Value, json};

use crate::{
    args::is_setting,
    config::{File, Origin, Origins, serve},
    host::{self, MemorySource},
    settings::{API_KEY, Settings},
    units::{show_duration, show_size},
};

/// A name, a value, and where it is from.
struct Row {
    name: String,
    value: String,
    from: String,
}

impl Row {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "value": self.value, "from": self.from })
    }
}

/// The text, or one JSON document.
pub(crate) fn explain(settings: &Settings, origins: &Origins, json: bool) -> String {
    let flags: Vec<(Row, Origin)> = flags(settings, origins);
    let (derived, limits) = (derived(settings), limits());
    let warning = origins.file.as_ref().and_then(File::warning);
    if json {
        let rows = |rows: &[Row]| rows.iter().map(Row::to_json).collect::<Vec<_>>();
        let told = json!({
            "flags": flags.iter().map(|(row, origin)| flag(row, origin)).collect::<Vec<_>>(),
            "derived": rows(&derived),
            "limits": rows(&limits),
            "warnings": warning.as_slice(),
        });
        return format!("{told}\n");
    }
    let mut text = String::new();
    let flags: Vec<Row> = flags.into_iter().map(|(row, _)| row).collect();
    section(&mut text, "flags", &flags);
    section(&mut text, "derived", &derived);
    section(&mut text, "limits", &limits);
    if let Some(warning) = warning {
        text.push_str("warning\n  ");
        text.push_str(&warning);
        text.push('\n');
    }
    text
}

/// A flag for programs: where it is from in parts, too.
fn flag(row: &Row, origin: &Origin) -> Value {
    let mut told = row.to_json();
    let source = match origin {
        Origin::Flag => json!({ "source": "flag" }),
        Origin::Environment(name) => json!({ "source": "environment", "environment": name }),
        Origin::File { path, line } => {
            json!({ "source": "file", "file": path.to_string_lossy(), "line": line })
        }
        Origin::Default => json!({ "source": "default" }),
    };
    let parts = told.as_object_mut().zip(source.as_object());
    if let Some((told, source)) = parts {
        told.extend(source.clone());
    }
    told
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

fn flags(settings: &Settings, origins: &Origins) -> Vec<(Row, Origin)> {
    let serve = serve();
    let shown = serve.get_arguments().filter(|arg| is_shown(arg));
    shown
        .map(|arg| {
            let id = arg.get_id().as_str();
            let origin = origins.of(arg);
            let from = match &origin {
                Origin::Flag => "flag".to_owned(),
                Origin::Environment(name) => format!("environment, {name}"),
                Origin::File { path, line } => format!("file, {}:{line}", path.display()),
                Origin::Default => fallback(id, settings).to_owned(),
            };
            let row = Row {
                name: format!("--{}", arg.get_long().unwrap_or(id)),
                value: value(arg, settings, origins),
                from,
            };
            (row, origin)
        })
        .collect()
}

fn is_shown(arg: &Arg) -> bool {
    is_setting(arg) || arg.get_id() == "config"
}

/// Where the value of a flag comes from that nobody gave.
fn fallback(id: &str, settings: &Settings) -> &'static str {
    match id {
        "api_key" if settings.access == API_KEY => "environment, API_KEY",
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

fn value(arg: &Arg, settings: &Settings, origins: &Origins) -> String {
    match arg.get_id().as_str() {
        "memory_max" => show_size(settings.engine.memory_max),
        "shards" => settings.engine.shards.to_string(),
        "flush_bytes" => show_size(settings.engine.flush_bytes),
        "connections_max" => settings.server.connections_max.to_string(),
        "api_key" => match settings.server.access {
            millrace_server::Access::Key(_) => "(hidden)".to_owned(),
            _ => "(none)".to_owned(),
        },
        id => match origins.written(id) {
            Some(_) if arg.is_hide_env_values_set() => "(hidden)".to_owned(),
            Some(written) => written,
            None => "(none)".to_owned(),
        },
    }
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
            match settings.server.access {
                millrace_server::Access::Key(_) => "the key is compared in constant time",
                _ => "there is no key",
            },
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
        time(
            "certificate looked at every",
            times.certificates,
            "with TLS; a new one is taken up when two looks agree",
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
