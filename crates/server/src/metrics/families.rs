//! Which figure is told under which name. `docs/operating.md` says what each means and what to do
//! about it; a test holds the two together.

use millrace_engine::{
    Figures,
    metrics::{ShardFigures, WorkFigures},
};
use millrace_env::process;
use millrace_wire::problem::Code;

use super::{
    CLASSES, KINDS, METHODS, Totals, retention, scrub,
    text::{Text, Type, Unit, seconds},
};
use crate::{
    app::App,
    refusals::{Refusals, Refused},
};

/// All figures as text.
pub(crate) fn expose(app: &App) -> String {
    let mut text = Text::default();
    process_families(&mut text, app);
    let totals = app.metrics.total();
    requests(&mut text, &totals);
    connections(&mut text, &totals, app.config.connections_max);
    refusals(&mut text, &app.refusals);
    // Until recovery is done there is no engine, and its figures would be zeros that mean nothing.
    if let Some(engine) = app.opened() {
        let figures = engine.figures();
        turns(&mut text, &figures);
        shards(&mut text, &figures.shards);
        sizes(&mut text, &figures);
        work(&mut text, &figures);
        scrub::families(&mut text, &figures.scrub);
        retention::families(&mut text, &figures.retention);
        if let Some(subscriptions) = app.opened_subscriptions() {
            super::subscriptions::families(&mut text, &subscriptions.figures());
        }
    }
    text.into_string()
}

fn process_families(text: &mut Text, app: &App) {
    let version = env!("CARGO_PKG_VERSION");
    text.family(
        "millrace_build_info",
        Type::Gauge,
        "Always 1; the version is the label.",
    )
    .of("version", version, 1);
    let is_ready = u8::from(app.problems().is_empty());
    text.family(
        "millrace_ready",
        Type::Gauge,
        "Whether the server takes work, as /ready says.",
    )
    .is(is_ready);
    let up = app.env.clock.mono().saturating_sub(app.started.mono);
    text.family(
        "millrace_uptime_seconds",
        Type::Gauge,
        "Since the server started.",
    )
    .is(up.as_secs());
    text.family(
        "process_start_time_seconds",
        Type::Gauge,
        "When the server started, in seconds since the Unix epoch.",
    )
    .is(seconds(app.started.wall.get().saturating_mul(1_000)));
    let usage = process::usage();
    let cpu = usage
        .cpu
        .and_then(|cpu| u64::try_from(cpu.as_micros()).ok());
    if let Some(micros) = cpu {
        text.family(
            "process_cpu_seconds_total",
            Type::Counter,
            "Processor time of all threads.",
        )
        .is(seconds(micros));
    }
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            usage.resident_bytes,
        ),
        ("process_open_fds", "Open descriptors.", usage.descriptors),
        (
            "process_max_fds",
            "The most descriptors that may be open.",
            usage.descriptors_max,
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            text.family(name, Type::Gauge, help).is(value);
        }
    }
}

fn requests(text: &mut Text, totals: &Totals) {
    let mut family = text.family(
        "millrace_requests_total",
        Type::Counter,
        "Requests answered, by method and class of status.",
    );
    for (method, classes) in METHODS.iter().zip(&totals.requests) {
        for (class, count) in CLASSES.iter().zip(classes) {
            family.of_two([("method", method), ("status", class)], count);
        }
    }
    let mut family = text.family(
        "millrace_problems_total",
        Type::Counter,
        "Answers that are refusals or errors, by the code of the problem.",
    );
    for (code, count) in Code::ALL.iter().zip(&totals.problems) {
        family.of("code", code.entry().code, count);
    }
    text.family(
        "millrace_append_seconds",
        Type::Histogram,
        "From the head of a POST to its answer, of those that succeeded.",
    )
    .distribution(Unit::Micros, &totals.append_time);
    text.family(
        "millrace_read_seconds",
        Type::Histogram,
        "From the head of a catch-up read to the beginning of its answer, of those that succeeded.",
    )
    .distribution(Unit::Micros, &totals.read_time);
    let mut family = text.family(
        "millrace_delivery_seconds",
        Type::Histogram,
        "From the sync of an append until a follower that waited for it was handed it.",
    );
    for (kind, read) in KINDS.iter().zip(&totals.delivery_time) {
        family.distribution_of("kind", kind, Unit::Micros, read);
    }
    let mut family = text.family("millrace_followers", Type::Gauge, "Live readers.");
    for (kind, count) in KINDS.iter().zip(totals.followers) {
        family.of("kind", kind, count);
    }
}

fn connections(text: &mut Text, totals: &Totals, max: usize) {
    text.family("millrace_connections", Type::Gauge, "Open connections.")
        .is(totals.connections);
    text.family(
        "millrace_connections_max",
        Type::Gauge,
        "The most connections; more are told 429 and end.",
    )
    .is(max);
    text.family(
        "millrace_connections_accepted_total",
        Type::Counter,
        "Connections accepted.",
    )
    .is(totals.accepted);
}

fn refusals(text: &mut Text, refusals: &Refusals) {
    let mut family = text.family(
        "millrace_clients_refused_total",
        Type::Counter,
        "Clients refused or let go for what they cost or were not allowed, by reason.",
    );
    for why in Refused::ALL {
        family.of("reason", why.label(), refusals.count(*why));
    }
}

fn turns(text: &mut Text, figures: &Figures) {
    text.family(
        "millrace_turn_commands",
        Type::Histogram,
        "Commands that one turn of a shard took: the size of a group commit.",
    )
    .distribution(Unit::Number { up_to: 10 }, &figures.turn_commands);
    text.family(
        "millrace_turn_seconds",
        Type::Histogram,
        "From the beginning of a turn until its replies are sent.",
    )
    .distribution(Unit::Micros, &figures.turn_time);
    text.family(
        "millrace_sync_seconds",
        Type::Histogram,
        "Of a sync of a shard's log.",
    )
    .distribution(Unit::Micros, &figures.sync_time);
    text.family(
        "millrace_queue_depth",
        Type::Histogram,
        "Messages that waited for a shard when a turn began.",
    )
    .distribution(Unit::Number { up_to: 14 }, &figures.queue_depth);
    let mut family = text.family(
        "millrace_syncs_total",
        Type::Counter,
        "Syncs of logs, on the shard's own thread or on a helper's.",
    );
    family.of("thread", "shard", figures.syncs_inline);
    family.of("thread", "helper", figures.syncs_helper);
}

fn shards(text: &mut Text, shards: &[ShardFigures]) {
    let mut each = |name, help, value: fn(&ShardFigures) -> u64| {
        let mut family = text.family(name, Type::Gauge, help);
        for (number, shard) in shards.iter().enumerate() {
            family.of("shard", number, value(shard));
        }
    };
    each(
        "millrace_shard_poisoned",
        "Whether a shard takes no more writes.",
        |shard| u64::from(shard.poisoned),
    );
    each(
        "millrace_shard_queue",
        "Messages that wait for a shard now.",
        |shard| shard.queue,
    );
    each(
        "millrace_streams_in_memory",
        "Streams that are in memory.",
        |shard| shard.streams_in_memory,
    );
}

fn sizes(text: &mut Text, figures: &Figures) {
    text.family(
        "millrace_streams",
        Type::Gauge,
        "Streams, soft-deleted ones included.",
    )
    .is(figures.streams);
    let sum = |of: fn(&ShardFigures) -> u64| figures.shards.iter().map(of).sum::<u64>();
    let mut family = text.family(
        "millrace_bytes",
        Type::Gauge,
        "Bytes by where they are; unflushed ones are in the log too.",
    );
    family.of("place", "wal", sum(|shard| shard.wal_bytes));
    family.of("place", "unflushed", sum(|shard| shard.unflushed_bytes));
    family.of("place", "segments", figures.segment_bytes);
    family.of("place", "catalog", figures.catalog_bytes);
    text.family(
        "millrace_segments",
        Type::Gauge,
        "Segments that hold bytes of streams.",
    )
    .is(figures.segments);
    text.family(
        "millrace_budget_used_bytes",
        Type::Gauge,
        "Memory held on behalf of clients: bodies, what waits, what is not flushed.",
    )
    .is(figures.budget_used_bytes);
    text.family(
        "millrace_budget_max_bytes",
        Type::Gauge,
        "The bound of it: beyond, appends are refused as overloaded.",
    )
    .is(figures.budget_max_bytes);
}

fn work(text: &mut Text, figures: &Figures) {
    let mut each = |names: [&'static str; 3], helps: [&str; 3], work: &WorkFigures| {
        let mut family = text.family(names[0], Type::Counter, helps[0]);
        family.of("result", "done", work.time.count());
        family.of("result", "failed", work.failed);
        text.family(names[1], Type::Histogram, helps[1])
            .distribution(Unit::Micros, &work.time);
        text.family(names[2], Type::Counter, helps[2])
            .is(work.bytes);
    };
    each(
        [
            "millrace_flushes_total",
            "millrace_flush_seconds",
            "millrace_flushed_bytes_total",
        ],
        [
            "Flushes of memory to segments and the catalog.",
            "Of a flush that was done.",
            "Bytes of streams that flushes wrote.",
        ],
        &figures.flushes,
    );
    each(
        [
            "millrace_compactions_total",
            "millrace_compaction_seconds",
            "millrace_compacted_bytes_total",
        ],
        [
            "Compactions that had something to do.",
            "Of a compaction that was done.",
            "Bytes of streams that compactions wrote anew.",
        ],
        &figures.compactions,
    );
}
