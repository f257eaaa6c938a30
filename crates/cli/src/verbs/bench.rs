//! `millrace bench`: load for a server, whose figures and verdict are printed. The load itself is
//! made by `millrace-bench`, on a thread of its own, so that signals are heard whatever the server does.
//!
//! Layout: `bar.rs` (progress), `watch.rs` (how far it is, and the last word of a run that was
//! interrupted), `report.rs` (what it came to).

mod bar;
mod report;
mod watch;

use std::{pin::pin, process::ExitCode, sync::Arc, time::Duration};

use millrace_bench::{BenchError, Kind, Plan, Report, Target};
use millrace_env::{Clock as _, RealClock, tasks, timeout};
use serde_json::Value;

use self::{bar::Bar, watch::Watch};
use super::{
    args::{BenchArgs, BenchKind},
    out::{self, Written},
};
use crate::{
    fail::{Failure, Kind as FailureKind},
    host,
    signals::{Signals, event_loop},
};

/// A run that is stopped is left alone when nothing comes of it for so long.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// Runs the load and prints what came of it.
pub(crate) fn bench(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let runtime = event_loop()?;
    let done = runtime.block_on(run(args));
    // A run that did not stop ends with the process.
    runtime.shutdown_background();
    done
}

async fn run(args: &BenchArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let plan = plan(args)?;
    let watch = Arc::new(Watch::new(Bar::new(args, &plan)));
    let mut load = pin!(tasks::blocking(load(args, &plan, &watch)));
    let report = tokio::select! {
        biased;
        kind = signals.next() => Err(kind),
        report = load.as_mut() => Ok(report),
    };
    let report = match report {
        Ok(report) => report,
        Err(kind) => {
            watch.stop();
            if !plan.keep {
                args.server
                    .talk
                    .hint("deleting its streams; Ctrl-C again leaves them there");
            }
            tokio::select! {
                biased;
                _ = signals.next() => {}
                () = stopped(load, &watch) => {}
            }
            watch.end();
            let word = watch.last_word(args, &plan);
            return Ok(word.say(args.server.talk.json, kind));
        }
    };
    watch.end();
    let report = report.map_err(|error| failure(&error))?;
    print(args, &plan, &report, &mut signals).await
}

/// The load, for a thread of its own.
fn load(
    args: &BenchArgs,
    plan: &Plan,
    watch: &Arc<Watch>,
) -> impl FnOnce() -> Result<Report, BenchError> + Send + 'static {
    let (url, path) = (args.server.url.clone(), args.path.clone());
    let token = args.server.token.clone().filter(|token| !token.is_empty());
    let (plan, watch) = (plan.clone(), Arc::clone(watch));
    move || {
        let target = Target::parse(&url, &path, token.as_deref())?;
        // Every connection is a descriptor.
        let _ = host::raise_descriptors();
        millrace_bench::run(&target, &plan, &mut |progress| watch.look(progress))
    }
}

/// Waits until the load has ended, or nothing comes of it any more.
async fn stopped(
    mut load: impl Future<Output = Result<Report, BenchError>> + Unpin,
    watch: &Watch,
) {
    let mut before = watch.looks();
    while timeout(SILENT_FOR, &mut load).await.is_none() {
        let now = watch.looks();
        if now == before {
            return;
        }
        before = now;
    }
}

async fn print(
    args: &BenchArgs,
    plan: &Plan,
    report: &Report,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let text = if args.server.talk.json {
        format!("{}\n", report::document(plan, report))
    } else {
        report::table(plan, report)
    };
    let json = args.server.talk.json;
    tokio::select! {
        biased;
        kind = signals.next() => Ok(watch::unread().say(json, kind)),
        written = out::write(text.into()) => {
            let (Written::Whole | Written::BrokenPipe) = written?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
        subscribers: args.subscribers.unwrap_or(defaults.subscribers),
        subscriptions: args.subscriptions,
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
        BenchKind::Live => Kind::Live,
    }
}

fn failure(error: &BenchError) -> Failure {
    match error {
        BenchError::Plan(_) => Failure::usage(error),
        BenchError::Connect { .. } => Failure::new(FailureKind::Unreachable, error)
            .help("start a server with `millrace serve`, or name one with --url"),
        BenchError::Broken(_) => Failure::new(FailureKind::Unreachable, error)
            .help("what the server printed last may say why"),
        BenchError::Refused { status, what, text } => refused(*status, what, text),
        _ => Failure::failed(error),
    }
}

/// With the code and in the words of the server, where it is one of ours.
fn refused(status: u16, what: &str, text: &str) -> Failure {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let own = |member: &str| document["error"][member].as_str();
    let text = own("message").unwrap_or(text);
    let what = format!("the server answered {status} to {what}: {text}");
    let failure = if status == 401 {
        Failure::new(FailureKind::Unauthorized, what)
            .help("set MILLRACE_TOKEN (or --token) to the key that the server was started with")
    } else {
        Failure::failed(what)
    };
    failure.code_text(own("code").unwrap_or_default())
}
