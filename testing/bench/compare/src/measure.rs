//! One row on one server: start, load, look at the process, end.

use std::{thread, time::Duration};

use millrace_bench::{BenchError, Kind, Phase, Plan, Progress, Report};
use millrace_harness::probe::{self, Usage};

use crate::{
    figures::{Figure, Figures, Results},
    rows::{Load, Row},
    servers::{Home, Server, Who},
    settings::Settings,
    tools::Tools,
};

/// How long subscribers are idle before memory is looked at.
const IDLE: Duration = Duration::from_secs(1);

/// Measures, and notes what came of it.
pub(crate) fn run(tools: &Tools, settings: &Settings, row: &Row, who: Who, results: &mut Results) {
    let Load::Plan(shape) = row.load else { return };
    let mut plan = Plan::new(row.kind, 0);
    plan.duration = settings.duration();
    plan.keep = true;
    shape(&mut plan);
    if who == Who::Limit {
        // It keeps nothing that could be read back.
        plan.verify = 0;
    }
    if (who, plan.kind) == (Who::Peer, Kind::Create) {
        // It has a descriptor a stream, and answers 500 beyond its limit.
        plan.streams = 15_000;
        plan.warmup = Duration::from_millis(200);
    }
    eprintln!("compare: {}, {}", row.name, who.name());
    results.add(
        row.name,
        who,
        measured(tools, settings, row, who, &mut plan),
    );
}

fn measured(
    tools: &Tools,
    settings: &Settings,
    row: &Row,
    who: Who,
    plan: &mut Plan,
) -> Result<Figures, String> {
    let home = Home::new(&settings.dir, who).map_err(|error| format!("no directory: {error}"))?;
    let mut args: Vec<String> = row.args(who).iter().map(ToString::to_string).collect();
    if who == Who::Ours {
        args.extend(row.flush_args(settings));
        args.extend(settings.serve_args.iter().cloned());
    }
    let mut server = Server::start(tools, who, &home, &args)?;
    if row.kind == Kind::SseReplay {
        // What filling took is not what reading takes: another process reads.
        let found = millrace_bench::fill(&server.target, plan);
        plan.found = Some(found.map_err(|error| error.to_string())?);
        server.stop();
        server = Server::start(tools, who, &home, &args)?;
    }
    let mut watch = Watch::new(server.pid(), row.kind == Kind::Sse);
    let report = millrace_bench::run(&server.target, plan, &mut |progress| {
        watch.look(progress).map_err(BenchError::Late)
    });
    let report = report.map_err(|error| error.to_string())?;
    if report.unsent > 0 {
        let (name, unsent) = (row.name, report.unsent);
        eprintln!("compare: {name}: {unsent} requests that were due were never sent");
    }
    let usage = probe::usage(server.pid())?;
    Ok(figures(plan, &report, &watch, &usage))
}

/// What the process is seen to use as the run goes on.
#[derive(Debug)]
struct Watch {
    pid: u32,
    looks_at_idle: bool,
    before: Usage,
    idle: Option<Usage>,
    begun: Option<Duration>,
    used: Duration,
}

impl Watch {
    fn new(pid: u32, looks_at_idle: bool) -> Self {
        Self {
            pid,
            looks_at_idle,
            before: Usage::default(),
            idle: None,
            begun: None,
            used: Duration::ZERO,
        }
    }

    fn look(&mut self, progress: Progress) -> Result<(), String> {
        match progress.phase {
            Phase::Preparing => self.before = probe::usage(self.pid)?,
            Phase::Ready if self.looks_at_idle => {
                thread::sleep(IDLE);
                self.idle = Some(probe::usage(self.pid)?);
            }
            Phase::Measuring if self.begun.is_none() => {
                self.begun = Some(probe::processor_time(self.pid)?);
            }
            Phase::Over => {
                let begun = self.begun.unwrap_or_default();
                self.used = probe::processor_time(self.pid)?.saturating_sub(begun);
            }
            _ => {}
        }
        Ok(())
    }
}

fn figures(plan: &Plan, report: &Report, watch: &Watch, usage: &Usage) -> Figures {
    let mut figures = Figures::from([
        (Figure::Gigabytes, report.per_second(report.bytes) / 1e9),
        (Figure::Resident, mega(usage.resident)),
        (Figure::Anonymous, mega(usage.anon)),
        (Figure::Peak, mega(usage.peak)),
    ]);
    let answers = &report.answers;
    if answers.count > 0 {
        figures.insert(Figure::Rate, report.per_second(report.messages));
        figures.insert(Figure::AnswerP50, millis(answers.p50));
        figures.insert(Figure::AnswerP99, millis(answers.p99));
        figures.insert(Figure::AnswerP999, millis(answers.p999));
        figures.insert(Figure::AnswerMax, millis(answers.max));
    }
    if report.arrivals.count > 0 {
        figures.insert(Figure::Deliveries, report.per_second(report.deliveries));
        figures.insert(Figure::ArrivalP50, millis(report.arrivals.p50));
        figures.insert(Figure::ArrivalP99, millis(report.arrivals.p99));
    }
    let each = report.requests.max(report.deliveries);
    if each > 0 {
        let micros = watch.used.as_secs_f64() * 1e6;
        figures.insert(Figure::Processor, micros / number(each));
    }
    if let Some(idle) = watch.idle {
        let grown = idle.resident.saturating_sub(watch.before.resident);
        let subscribers = number(plan.subscribers as u64);
        figures.insert(Figure::Subscriber, number(grown) / 1024.0 / subscribers);
    }
    figures
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mega(bytes: u64) -> f64 {
    number(bytes) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn number(count: u64) -> f64 {
    count as f64
}
