//! `millrace bench`: load for a server, whose figures and verdict are printed. The load itself is
//! made by `millrace-bench`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millrace_bench::{BenchError, Kind, Latency, Phase, Plan, Progress, Report, Target};
use millrace_env::{Clock as _, RealClock};
use serde_json::{Value, json};

use super::{
    args::{BenchArgs, BenchKind},
    out,
};
use crate::{
    fail::{Failure, Kind as FailureKind},
    host,
};

/// Runs the load and prints what came of it.
pub(crate) fn bench(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let token = args.server.token.as_deref();
    let token = token.filter(|token| !token.is_empty());
    let target =
        Target::parse(&args.server.url, &args.path, token).map_err(|error| failure(&error))?;
    let plan = plan(args)?;
    // Every connection is a descriptor.
    let _ = host::raise_descriptors();
    let mut bar = Bar::new(args, &plan);
    let report = millrace_bench::run(&target, &plan, &mut |progress| {
        bar.show(progress);
        Ok(())
    });
    bar.end();
    let report = report.map_err(|error| failure(&error))?;
    let text = if args.server.talk.json {
        format!("{}\n", document(&plan, &report))
    } else {
        table(&plan, &report)
    };
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    let _ = out::of(written)?;
    Ok(ExitCode::SUCCESS)
}

fn plan(args: &BenchArgs) -> Result<Plan, Failure> {
    let defaults = Plan::new(kind(args.kind), RealClock::new().wall());
    let size = match args.size {
        Some(size) => usize::try_from(size).map_err(Failure::usage)?,
        None => defaults.size,
    };
    Ok(Plan {
        connections: args.connections,
        streams: args.streams.unwrap_or(defaults.streams),
        size,
        batch: args.batch,
        rate: args.rate,
        subscribers: args.subscribers,
        prefill: args.prefill,
        warmup: args.warmup,
        duration: args.duration,
        verify: args.verify,
        keep: args.keep,
        ..defaults
    })
}

fn kind(kind: BenchKind) -> Kind {
    match kind {
        BenchKind::Append => Kind::Append,
        BenchKind::Json => Kind::Json,
        BenchKind::Create => Kind::Create,
        BenchKind::Read => Kind::Read,
        BenchKind::Tail => Kind::Tail,
        BenchKind::Head => Kind::Head,
        BenchKind::CatchUp => Kind::CatchUp,
        BenchKind::Sse => Kind::Sse,
        BenchKind::SseReplay => Kind::SseReplay,
        BenchKind::LongPoll => Kind::LongPoll,
    }
}

fn failure(error: &BenchError) -> Failure {
    match error {
        BenchError::Plan(_) => Failure::usage(error),
        BenchError::Connect { .. } => Failure::new(FailureKind::Unreachable, error)
            .help("start a server with `millrace serve`, or name one with --url"),
        BenchError::Broken(_) => Failure::new(FailureKind::Unreachable, error)
            .help("what the server printed last may say why"),
        BenchError::Refused { status: 401, .. } => Failure::new(FailureKind::Unauthorized, error)
            .help("set MILLRACE_TOKEN (or --token) to the key that the server was started with"),
        _ => Failure::failed(error),
    }
}

/// For people.
fn table(plan: &Plan, report: &Report) -> String {
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
fn document(plan: &Plan, report: &Report) -> Value {
    json!({
        "kind": plan.kind.name(),
        "connections": plan.connections,
        "streams": plan.streams,
        "subscribers": plan.subscribers,
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

/// How far it is, where a person watches.
struct Bar {
    bar: Option<ProgressBar>,
    warmup: Duration,
}

impl Bar {
    fn new(args: &BenchArgs, plan: &Plan) -> Self {
        let talk = args.server.talk;
        let is_wanted = !talk.json && !talk.quiet && io::stderr().is_terminal();
        let bar = is_wanted.then(|| {
            let whole = plan.warmup + plan.duration;
            let bar = ProgressBar::new(millis(whole));
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            warmup: plan.warmup,
        }
    }

    fn show(&mut self, progress: Progress) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(millis(progress.elapsed));
        bar.set_message(match progress.phase {
            Phase::Preparing => "making streams".to_owned(),
            Phase::Ready | Phase::Warming => "warming up".to_owned(),
            Phase::Measuring | Phase::Over => {
                let since = progress.elapsed.saturating_sub(self.warmup);
                let seconds = since.as_secs_f64().max(0.1);
                #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
                let rate = progress.requests.max(progress.deliveries) as f64 / seconds;
                format!("{rate:.0}/s")
            }
            Phase::Verifying => "verifying".to_owned(),
            Phase::Deleting => "deleting streams".to_owned(),
        });
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
