//! The table: what is run, on whom, and what is aimed at. Ratios are ours to the peer's in the same
//! runs, unless a goal says otherwise.

use std::time::Duration;

use millrace_bench::{Kind, Plan};

use crate::{figures::Figure, servers::Who, settings::Settings};

/// How a row is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// By `millrace-bench`, with this changed in the plan.
    Plan(fn(&mut Plan)),
    /// By `millrace-scale`, with so many streams.
    Scale(u64),
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Ours is at least so much of the peer's.
    PeerAtLeast(f64),
    /// Ours is at most so much of the peer's.
    PeerAtMost(f64),
    /// Ours is at least so much of the limit server's.
    LimitAtLeast(f64),
    /// Ours is at least so much of ours in another row.
    RowAtLeast(&'static str, f64),
    /// Ours is at most so much of ours in another row.
    RowAtMost(&'static str, f64),
    /// Ours is at least that.
    AtLeast(f64),
    /// Ours is at most that.
    AtMost(f64),
    /// Shown, and that is all.
    Shown,
}

/// A figure of a row, and its goal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) figure: Figure,
    pub(crate) goal: Goal,
    /// A ratio that would be better still.
    pub(crate) stretch: Option<f64>,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) load: Load,
    pub(crate) who: &'static [Who],
    pub(crate) checks: &'static [Check],
    peer_args: &'static [&'static str],
    /// It takes minutes, so it is not in a quick comparison.
    is_long: bool,
    /// Flushes come so often that the run spans at least ten.
    flushes: bool,
}

const OURS: &[Who] = &[Who::Ours];
const PEERS: &[Who] = &[Who::Ours, Who::Peer];
const ALL: &[Who] = &Who::ALL;

impl Row {
    const fn new(name: &'static str, kind: Kind, change: fn(&mut Plan)) -> Self {
        Self {
            name,
            kind,
            load: Load::Plan(change),
            who: PEERS,
            checks: &[],
            peer_args: &[],
            is_long: false,
            flushes: false,
        }
    }

    const fn who(self, who: &'static [Who]) -> Self {
        Self { who, ..self }
    }

    const fn checks(self, checks: &'static [Check]) -> Self {
        Self { checks, ..self }
    }

    const fn long(self) -> Self {
        Self {
            is_long: true,
            ..self
        }
    }

    /// Over many streams, through many flushes.
    const fn through_flushes(self) -> Self {
        Self {
            flushes: true,
            who: OURS,
            is_long: true,
            ..self
        }
    }

    const fn many_streams(name: &'static str, streams: u64) -> Self {
        let row = Self::new(name, Kind::Create, |_| {}).who(OURS).long();
        Self {
            load: Load::Scale(streams),
            ..row
        }
    }

    /// Reads are compared with the peer's quickest way.
    const fn peer_reads_inline(self) -> Self {
        Self {
            peer_args: &["--read-offload", "inline"],
            ..self
        }
    }

    /// Flags of the row for a server.
    pub(crate) fn args(&self, who: Who) -> &'static [&'static str] {
        match who {
            Who::Peer => self.peer_args,
            Who::Ours | Who::Limit => &[],
        }
    }

    /// Flags of ours that make flushes come often.
    pub(crate) fn flush_args(&self, settings: &Settings) -> Vec<String> {
        if !self.flushes {
            return Vec::new();
        }
        let interval = settings.seconds * 1000 * LONGER / FLUSHES;
        vec!["--flush-interval".to_owned(), format!("{interval}ms")]
    }
}

/// Rows through flushes run so many times as long as others...
const LONGER: u64 = 6;
/// ...in which so many flushes begin.
const FLUSHES: u64 = 12;

const fn at_least(figure: Figure, ratio: f64) -> Check {
    check(figure, Goal::PeerAtLeast(ratio))
}

const fn at_most(figure: Figure, ratio: f64) -> Check {
    check(figure, Goal::PeerAtMost(ratio))
}

const fn check(figure: Figure, goal: Goal) -> Check {
    Check {
        figure,
        goal,
        stretch: None,
    }
}

const fn stretch(figure: Figure, ratio: f64, stretch: f64) -> Check {
    Check {
        figure,
        goal: Goal::PeerAtLeast(ratio),
        stretch: Some(stretch),
    }
}

const fn shown(figure: Figure) -> Check {
    check(figure, Goal::Shown)
}

/// Of appends: throughput and p99 against the peer, and what shows where time goes.
macro_rules! append {
    ($ratio:literal, $stretch:literal, $p99:literal $(, $more:expr)*) => {
        &[
            stretch(Figure::Rate, $ratio, $stretch),
            shown(Figure::AnswerP50),
            at_most(Figure::AnswerP99, $p99),
            shown(Figure::AnswerP999),
            shown(Figure::Processor),
            shown(Figure::Peak),
            $($more,)*
        ]
    };
}

const MANY: &[Check] = &[
    check(Figure::Rate, Goal::RowAtLeast("append-flushes-1k", 0.75)),
    shown(Figure::AnswerP99),
    check(Figure::AnswerP999, Goal::AtMost(25.0)),
    shown(Figure::AnswerMax),
    shown(Figure::Anonymous),
];

/// Of appends to streams that subscriptions mean.
const MEANT: &[Check] = &[
    check(Figure::Rate, Goal::RowAtLeast("append-globs-0", 0.9)),
    shown(Figure::AnswerP50),
    shown(Figure::AnswerP99),
    shown(Figure::Processor),
];

const ROWS: &[Row] = &[
    Row::new("append-1c-1s", Kind::Append, |plan| over(plan, 1, 1))
        .who(ALL)
        .checks(append!(1.15, 1.3, 0.8)),
    Row::new("append-16c-1s", Kind::Append, |plan| over(plan, 16, 1))
        .who(ALL)
        .checks(append!(1.6, 1.6, 0.4)),
    Row::new("append-64c-1s", Kind::Append, |plan| over(plan, 64, 1))
        .who(ALL)
        .checks(append!(
            1.7,
            1.9,
            0.4,
            check(Figure::Rate, Goal::LimitAtLeast(0.75))
        )),
    Row::new("append-256c-1s", Kind::Append, |plan| over(plan, 256, 1))
        .who(ALL)
        .checks(append!(1.9, 2.3, 0.4)),
    Row::new("append-1c-1000s", Kind::Append, |plan| over(plan, 1, 1000))
        .checks(append!(1.15, 1.3, 0.8)),
    Row::new("append-16c-1000s", Kind::Append, |plan| {
        over(plan, 16, 1000);
    })
    .checks(append!(1.6, 1.6, 0.4)),
    Row::new("append-64c-1000s", Kind::Append, |plan| {
        over(plan, 64, 1000);
    })
    .checks(append!(1.7, 1.9, 0.4)),
    Row::new("append-256c-1000s", Kind::Append, |plan| {
        over(plan, 256, 1000);
    })
    .checks(append!(1.9, 2.3, 0.4)),
    Row::new("append-flushes-1k", Kind::Append, |plan| many(plan, 1000))
        .through_flushes()
        .checks(&[
            shown(Figure::Rate),
            shown(Figure::AnswerP99),
            shown(Figure::AnswerP999),
            shown(Figure::AnswerMax),
        ]),
    Row::new("append-flushes-100k", Kind::Append, |plan| {
        many(plan, 100_000);
    })
    .through_flushes()
    .checks(MANY),
    Row::new("append-flushes-1m", Kind::Append, |plan| {
        many(plan, 1_000_000);
    })
    .through_flushes()
    .checks(MANY),
    Row::new("append-globs-0", Kind::Append, |plan| meant(plan, 0))
        .who(OURS)
        .checks(&[
            shown(Figure::Rate),
            shown(Figure::AnswerP50),
            shown(Figure::AnswerP99),
            shown(Figure::Processor),
        ]),
    Row::new("append-globs-1", Kind::Append, |plan| meant(plan, 1))
        .who(OURS)
        .checks(MEANT),
    Row::new("append-globs-100", Kind::Append, |plan| meant(plan, 100))
        .who(OURS)
        .checks(MEANT),
    Row::new("json-16c", Kind::Json, |plan| over(plan, 16, 1)).checks(&[
        at_least(Figure::Rate, 1.5),
        shown(Figure::AnswerP99),
        shown(Figure::Processor),
    ]),
    Row::new("json-batch-16c", Kind::Json, |plan| plan.batch = 100).checks(&[
        at_least(Figure::Rate, 1.5),
        shown(Figure::AnswerP99),
        shown(Figure::Processor),
    ]),
    Row::new("create-16c", Kind::Create, |_| {}).checks(&[
        check(Figure::Rate, Goal::AtLeast(40_000.0)),
        shown(Figure::AnswerP99),
        shown(Figure::Processor),
    ]),
    Row::new("catch-up-1c", Kind::CatchUp, |plan| over(plan, 1, 1))
        .checks(&[stretch(Figure::Gigabytes, 0.9, 0.9), shown(Figure::Peak)]),
    Row::new("catch-up-8c", Kind::CatchUp, |plan| over(plan, 8, 1))
        .checks(&[stretch(Figure::Gigabytes, 0.6, 0.9), shown(Figure::Peak)]),
    Row::new("read-64c", Kind::Read, |plan| over(plan, 64, 1))
        .who(ALL)
        .peer_reads_inline()
        .checks(&[
            at_least(Figure::Rate, 1.3),
            shown(Figure::AnswerP99),
            shown(Figure::Processor),
        ]),
    Row::new("tail-64c", Kind::Tail, |plan| over(plan, 64, 1)).checks(&[
        at_least(Figure::Rate, 1.0),
        shown(Figure::AnswerP99),
        shown(Figure::Processor),
    ]),
    Row::new("head-64c", Kind::Head, |plan| over(plan, 64, 1))
        .who(ALL)
        .checks(&[
            shown(Figure::Rate),
            shown(Figure::AnswerP99),
            shown(Figure::Processor),
        ]),
    Row::new("sse-100-at-100", Kind::Sse, |plan| {
        live(plan, 100, Some(100.0));
    })
    .checks(&[
        at_most(Figure::ArrivalP50, 0.85),
        at_most(Figure::ArrivalP99, 0.85),
        at_most(Figure::AnswerP50, 0.4),
        shown(Figure::Processor),
    ]),
    Row::new("sse-1000-at-50", Kind::Sse, |plan| {
        live(plan, 1000, Some(50.0));
    })
    .checks(&[
        at_most(Figure::ArrivalP50, 1.0),
        at_most(Figure::ArrivalP99, 1.0),
        at_most(Figure::AnswerP50, 0.15),
        shown(Figure::Processor),
    ]),
    Row::new("sse-100-full", Kind::Sse, |plan| live(plan, 100, None)).checks(&[
        at_least(Figure::Deliveries, 3.0),
        check(Figure::Peak, Goal::AtMost(100.0)),
        shown(Figure::Rate),
        shown(Figure::Processor),
    ]),
    Row::new("sse-1000-full", Kind::Sse, |plan| live(plan, 1000, None)).checks(&[
        at_least(Figure::Deliveries, 1.3),
        check(Figure::Peak, Goal::AtMost(100.0)),
        shown(Figure::Rate),
        shown(Figure::Processor),
    ]),
    Row::new("sse-replay-4", Kind::SseReplay, |plan| plan.subscribers = 4).checks(&[
        check(Figure::Peak, Goal::AtMost(64.0)),
        shown(Figure::Gigabytes),
    ]),
    Row::new("sse-idle-9000", Kind::Sse, |plan| {
        live(plan, 9000, Some(1.0));
        plan.warmup = Duration::ZERO;
        plan.duration = Duration::from_secs(2);
    })
    .checks(&[Check {
        figure: Figure::Subscriber,
        goal: Goal::AtMost(16.0),
        stretch: Some(4.0),
    }]),
    Row::new("sse-1-at-500", Kind::Sse, |plan| {
        live(plan, 1, Some(500.0));
    })
    .who(OURS)
    .checks(&[
        shown(Figure::ArrivalP50),
        shown(Figure::ArrivalP99),
        shown(Figure::Processor),
    ]),
    Row::new("live-1000-at-500", Kind::Live, |plan| {
        live(plan, 1, Some(500.0));
        plan.streams = 1000;
    })
    .who(OURS)
    .checks(&[
        shown(Figure::ArrivalP50),
        check(Figure::ArrivalP99, Goal::RowAtMost("sse-1-at-500", 2.0)),
        shown(Figure::Processor),
    ]),
    Row::new("long-poll-100-at-100", Kind::LongPoll, |plan| {
        live(plan, 100, Some(100.0));
    })
    .checks(&[shown(Figure::ArrivalP50), at_most(Figure::ArrivalP99, 0.7)]),
    Row::new("long-poll-1000-at-20", Kind::LongPoll, |plan| {
        live(plan, 1000, Some(20.0));
    })
    .checks(&[shown(Figure::ArrivalP50), at_most(Figure::ArrivalP99, 0.7)]),
    Row::many_streams("streams-100k", 100_000).checks(&[
        shown(Figure::Rate),
        shown(Figure::Anonymous),
        check(Figure::CleanStart, Goal::AtMost(500.0)),
        check(Figure::KilledStart, Goal::AtMost(500.0)),
        check(Figure::FirstRead, Goal::AtMost(5.0)),
    ]),
    Row::many_streams("streams-1m", 1_000_000).checks(&[
        shown(Figure::Rate),
        check(Figure::Anonymous, Goal::AtMost(400.0)),
        check(Figure::Descriptors, Goal::AtMost(64.0)),
        check(Figure::CleanStart, Goal::AtMost(3000.0)),
        check(Figure::KilledStart, Goal::AtMost(3000.0)),
        check(Figure::FirstRead, Goal::AtMost(5.0)),
    ]),
];

fn over(plan: &mut Plan, connections: usize, streams: usize) {
    (plan.connections, plan.streams) = (connections, streams);
}

fn many(plan: &mut Plan, streams: usize) {
    over(plan, 256, streams);
    plan.duration *= u32::try_from(LONGER).expect("small");
}

fn meant(plan: &mut Plan, subscriptions: usize) {
    over(plan, 64, 100_000);
    plan.subscriptions = subscriptions;
}

fn live(plan: &mut Plan, subscribers: usize, rate: Option<f64>) {
    (plan.subscribers, plan.rate) = (subscribers, rate);
}

/// The rows that the settings name; all without a name, but for long ones in a quick comparison.
pub(crate) fn chosen(settings: &Settings) -> Result<Vec<Row>, String> {
    let is_named = |row: &Row, name: &String| match name.strip_suffix('*') {
        Some(beginning) => row.name.starts_with(beginning),
        None => row.name == name,
    };
    if let Some(unknown) = settings
        .rows
        .iter()
        .find(|name| !ROWS.iter().any(|row| is_named(row, name)))
    {
        return Err(format!("there is no row {unknown}; {}", names()));
    }
    let rows = ROWS.iter().filter(|row| {
        if settings.rows.is_empty() {
            !(settings.is_quick && row.is_long)
        } else {
            settings.rows.iter().any(|name| is_named(row, name))
        }
    });
    Ok(rows.copied().collect())
}

/// The names of all rows.
pub(crate) fn names() -> String {
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    format!("rows are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_rows_that_are_compared_with_come_first() {
        let mut seen = BTreeSet::new();
        for row in ROWS {
            for check in row.checks {
                if let Goal::RowAtLeast(other, _) | Goal::RowAtMost(other, _) = check.goal {
                    assert!(seen.contains(other), "{other} comes after {}", row.name);
                }
            }
            assert!(seen.insert(row.name), "{} is there twice", row.name);
        }
    }

    #[test]
    fn a_goal_is_about_someone_who_is_measured() {
        for row in ROWS {
            assert!(
                !row.checks.is_empty() && row.who.contains(&Who::Ours),
                "{}",
                row.name
            );
            for check in row.checks {
                let needed = match check.goal {
                    Goal::PeerAtLeast(_) | Goal::PeerAtMost(_) => Who::Peer,
                    Goal::LimitAtLeast(_) => Who::Limit,
                    _ => Who::Ours,
                };
                assert!(row.who.contains(&needed), "{}", row.name);
            }
        }
    }

    #[test]
    fn rows_are_chosen_by_name_and_by_beginning() {
        let chosen_by = |args: &[&str]| {
            let args = args.iter().map(ToString::to_string);
            let settings = Settings::from_args(args).expect("are flags");
            chosen(&settings).map(|rows| rows.iter().map(|row| row.name).collect::<Vec<_>>())
        };
        assert_eq!(
            chosen_by(&["--rows", "head-64c,catch-up-*"])
                .expect("are there")
                .len(),
            3
        );
        assert!(chosen_by(&["--rows", "nothing"]).is_err());
        assert_eq!(chosen_by(&[]).expect("all").len(), ROWS.len());
        let quick = chosen_by(&["--quick"]).expect("some");
        assert!(quick.contains(&"append-64c-1s") && !quick.contains(&"streams-1m"));
    }
}
