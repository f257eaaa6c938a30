//! What a run came to: a table for people, a document for programs.

use std::time::Duration;

use millrace_bench::{Kind, Latency, Plan, Report};
use serde_json::{Value, json};

/// For people.
pub(super) fn table(plan: &Plan, report: &Report) -> String {
    let mut rows = vec![
        (plan.kind.name().to_owned(), shape(plan)),
        ("requests".to_owned(), rate(report, report.requests)),
    ];
    let mut row = |name: &str, figure: String| rows.push((name.to_owned(), figure));
    if report.messages != report.requests {
        row("messages", rate(report, report.messages));
    }
    if report.deliveries > 0 {
        row("deliveries", rate(report, report.deliveries));
    }
    if report.bytes > 0 {
        let megabytes = report.per_second(report.bytes) / 1e6;
        row("bytes", format!("{megabytes:.1} MB/s"));
    }
    if report.answers.count > 0 {
        row("answered after", spread(&report.answers));
    }
    if report.arrivals.count > 0 {
        row("delivered after", spread(&report.arrivals));
    }
    for (name, count) in [
        ("refused and sent again", report.refused),
        ("connected again", report.reconnects),
        ("due and never sent", report.unsent),
    ] {
        if count > 0 {
            row(name, count.to_string());
        }
    }
    row("verified", verified(report));
    let lines = rows.iter();
    let lines: Vec<String> = lines
        .map(|(name, figure)| format!("{name:<24}{figure}\n"))
        .collect();
    lines.concat()
}

fn shape(plan: &Plan) -> String {
    let mut parts = if plan.kind.is_live() || plan.kind == Kind::SseReplay {
        vec![format!("{} subscribers", plan.subscribers)]
    } else {
        vec![format!("{} connections", plan.connections)]
    };
    if !matches!(plan.kind, Kind::Create | Kind::CatchUp) {
        parts.push(format!("{} streams", plan.streams));
    }
    if matches!(plan.kind, Kind::CatchUp | Kind::SseReplay) {
        parts.push(format!("{} bytes there", plan.prefill));
    } else if plan.kind != Kind::Create {
        parts.push(format!("messages of {} bytes", plan.size));
    }
    if plan.subscriptions > 0 {
        parts.push(format!("{} subscriptions", plan.subscriptions));
    }
    if plan.batch > 1 {
        parts.push(format!("{} a request", plan.batch));
    }
    if let Some(rate) = plan.rate {
        parts.push(format!("{rate} requests a second"));
    }
    parts.join(", ")
}

fn rate(report: &Report, count: u64) -> String {
    let seconds = report.measured.as_secs_f64();
    let rate = report.per_second(count);
    format!("{rate:.0}/s ({count} in {seconds:.1} s)")
}

fn spread(latency: &Latency) -> String {
    let Latency {
        p50,
        p99,
        p999,
        max,
        ..
    } = *latency;
    format!("p50 {p50:.2?}, p99 {p99:.2?}, p99.9 {p999:.2?}, longest {max:.2?}")
}

fn verified(report: &Report) -> String {
    match (report.kind, report.verified.streams) {
        (_, 0) => "nothing".to_owned(),
        (Kind::Append | Kind::Json, streams) => format!(
            "{} messages of {streams} streams, by their chains: all that was acknowledged is there, once",
            report.verified.messages
        ),
        (Kind::Create, streams) => format!("{streams} streams are there"),
        _ => "everything that was read, as it came".to_owned(),
    }
}

/// For programs: times in seconds.
pub(super) fn document(plan: &Plan, report: &Report) -> Value {
    json!({
        "kind": plan.kind.name(),
        "connections": plan.connections,
        "streams": plan.streams,
        "subscribers": plan.subscribers,
        "subscriptions": plan.subscriptions,
        "size": plan.size,
        "batch": plan.batch,
        "rate": plan.rate,
        "measured_s": report.measured.as_secs_f64(),
        "requests": report.requests,
        "requests_per_s": report.per_second(report.requests),
        "messages": report.messages,
        "messages_per_s": report.per_second(report.messages),
        "deliveries": report.deliveries,
        "deliveries_per_s": report.per_second(report.deliveries),
        "bytes_per_s": report.per_second(report.bytes),
        "answers": latency(&report.answers),
        "arrivals": latency(&report.arrivals),
        "refused": report.refused,
        "reconnects": report.reconnects,
        "unsent": report.unsent,
        "verified": {
            "streams": report.verified.streams,
            "messages": report.verified.messages,
        },
    })
}

fn latency(latency: &Latency) -> Value {
    let seconds = |time: Duration| time.as_secs_f64();
    json!({
        "count": latency.count,
        "p50_s": seconds(latency.p50),
        "p99_s": seconds(latency.p99),
        "p999_s": seconds(latency.p999),
        "max_s": seconds(latency.max),
    })
}
