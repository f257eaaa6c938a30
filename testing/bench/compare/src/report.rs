//! The table, for people, for docs/performance.md and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    figures::Results,
    rows::{Check, Goal, Row},
    servers::Who,
    settings::Settings,
    tools::PEER,
};

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    row: &'static str,
    what: &'static str,
    figures: [Option<f64>; 3],
    /// Ours to what the goal names; none where it names nobody.
    ratio: Option<f64>,
    target: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Hit,
    Stretch,
    Miss,
    /// Something is not measured.
    Unknown,
    /// There is no goal.
    None,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stretch => "hit, stretch too",
            Self::Miss => "MISS",
            Self::Unknown => "not measured",
            Self::None => "",
        }
    }
}

fn line(row: &Row, check: &Check, results: &Results) -> Line {
    let of = |who| results.median(row.name, who, check.figure);
    let figures = Who::ALL.map(of);
    let ours = figures[0];
    let against = |other: Option<f64>| Some(ours? / other.filter(|other| *other > 0.0)?);
    let (ratio, value, bound, is_floor, target) = match check.goal {
        Goal::PeerAtLeast(bound) => {
            let ratio = against(figures[1]);
            (ratio, ratio, bound, true, format!(">= {bound} of the peer"))
        }
        Goal::PeerAtMost(bound) => {
            let ratio = against(figures[1]);
            (
                ratio,
                ratio,
                bound,
                false,
                format!("<= {bound} of the peer"),
            )
        }
        Goal::LimitAtLeast(bound) => {
            let ratio = against(figures[2]);
            (
                ratio,
                ratio,
                bound,
                true,
                format!(">= {bound} of the limit"),
            )
        }
        Goal::RowAtLeast(other, bound) => {
            let ratio = against(results.median(other, Who::Ours, check.figure));
            (ratio, ratio, bound, true, format!(">= {bound} of {other}"))
        }
        Goal::RowAtMost(other, bound) => {
            let ratio = against(results.median(other, Who::Ours, check.figure));
            (ratio, ratio, bound, false, format!("<= {bound} of {other}"))
        }
        Goal::AtLeast(bound) => (
            against(figures[1]),
            ours,
            bound,
            true,
            format!(">= {bound}"),
        ),
        Goal::AtMost(bound) => (
            against(figures[1]),
            ours,
            bound,
            false,
            format!("<= {bound}"),
        ),
        Goal::Shown => (against(figures[1]), ours, 0.0, true, String::new()),
    };
    let target = match check.stretch {
        Some(stretch) if (stretch - bound).abs() > f64::EPSILON => {
            format!("{target}, stretch {stretch}")
        }
        _ => target,
    };
    let reaches = |value: f64, bound: f64| {
        if is_floor {
            value >= bound
        } else {
            value <= bound
        }
    };
    let verdict = match (check.goal, value) {
        (Goal::Shown, _) => Verdict::None,
        (_, None) => Verdict::Unknown,
        (_, Some(value)) if !reaches(value, bound) => Verdict::Miss,
        (_, Some(value)) if check.stretch.is_some_and(|more| reaches(value, more)) => {
            Verdict::Stretch
        }
        _ => Verdict::Hit,
    };
    Line {
        row: row.name,
        what: check.figure.name(),
        figures,
        ratio,
        target,
        verdict,
    }
}

fn all(rows: &[Row], results: &Results) -> Vec<Line> {
    let of_row = |row: &'_ Row| -> Vec<Line> {
        let checks = row.checks.iter();
        checks.map(|check| line(row, check, results)).collect()
    };
    rows.iter().flat_map(of_row).collect()
}

/// For people.
pub(crate) fn lines(rows: &[Row], results: &Results) -> String {
    let mut out = String::new();
    let head = ["row", "", "ours", "peer", "limit", "ratio", "target", ""];
    let mut put = |cells: [&str; 8]| {
        let [row, what, ours, peer, limit, ratio, target, verdict] = cells;
        writeln!(
            out,
            "{row:<21} {what:<24} {ours:>10} {peer:>10} {limit:>10} {ratio:>6}  {target:<36} {verdict}"
        )
        .expect("a string takes all");
    };
    put(head);
    for line in all(rows, results) {
        let [ours, peer, limit] = line.figures.map(shown);
        let ratio = line
            .ratio
            .map_or(String::new(), |ratio| format!("{ratio:.2}"));
        put([
            line.row,
            line.what,
            &ours,
            &peer,
            &limit,
            &ratio,
            &line.target,
            line.verdict.name(),
        ]);
    }
    out
}

/// For docs/performance.md.
pub(crate) fn markdown(settings: &Settings, rows: &[Row], results: &Results) -> String {
    let mut out = format!(
        "Medians of {} runs of {} s, both orders; peer: `{} {}`.\n\n\
         | row | figure | ours | peer | limit | ratio | target | |\n|---|---|---|---|---|---|---|---|\n",
        settings.runs, settings.seconds, PEER.0, PEER.1
    );
    let mut last = "";
    for line in all(rows, results) {
        let [ours, peer, limit] = line.figures.map(shown);
        let ratio = line
            .ratio
            .map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let row = if line.row == last {
            String::new()
        } else {
            format!("`{}`", line.row)
        };
        last = line.row;
        writeln!(
            out,
            "| {row} | {} | {ours} | {peer} | {limit} | {ratio} | {} | {} |",
            line.what,
            line.target,
            line.verdict.name()
        )
        .expect("a string takes all");
    }
    out
}

/// For programs: every run, and the lines of the table.
pub(crate) fn json(settings: &Settings, rows: &[Row], results: &Results) -> Value {
    let runs = rows.iter().flat_map(|row| {
        Who::ALL.into_iter().flat_map(move |who| {
            results.of(row.name, who).map(move |run| match run {
                Ok(figures) => {
                    let named = figures
                        .iter()
                        .map(|(figure, value)| (figure.name(), *value));
                    let named: serde_json::Map<String, Value> = named
                        .map(|(name, value)| (name.to_owned(), json!(value)))
                        .collect();
                    json!({"row": row.name, "who": who.name(), "figures": named})
                }
                Err(what) => json!({"row": row.name, "who": who.name(), "failed": what}),
            })
        })
    });
    let lines = all(rows, results).into_iter().map(|line| {
        json!({
            "row": line.row,
            "figure": line.what,
            "ours": line.figures[0],
            "peer": line.figures[1],
            "limit": line.figures[2],
            "ratio": line.ratio,
            "target": line.target,
            "verdict": line.verdict.name(),
        })
    });
    json!({
        "runs_each": settings.runs,
        "seconds": settings.seconds,
        "peer": format!("{} {}", PEER.0, PEER.1),
        "lines": lines.collect::<Vec<_>>(),
        "runs": runs.collect::<Vec<_>>(),
    })
}

/// With as many digits as mean something.
fn shown(figure: Option<f64>) -> String {
    match figure {
        None => "-".to_owned(),
        Some(value) if value >= 1000.0 => format!("{value:.0}"),
        Some(value) if value >= 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        figures::{Figure, Figures},
        rows,
    };

    fn results(ours: f64, peer: f64, limit: f64) -> Results {
        let mut results = Results::default();
        for (who, value) in [(Who::Ours, ours), (Who::Peer, peer), (Who::Limit, limit)] {
            let figures = Figures::from([(Figure::Rate, value)]);
            results.add("append-64c-1s", who, Ok(figures));
        }
        results
    }

    fn judged(goal: Goal, stretch: Option<f64>, results: &Results) -> (Option<f64>, Verdict) {
        let args = ["--rows", "append-64c-1s"].map(str::to_owned);
        let settings = Settings::from_args(args.into_iter()).expect("are flags");
        let row = rows::chosen(&settings).expect("is there")[0];
        let check = Check {
            figure: Figure::Rate,
            goal,
            stretch,
        };
        let line = line(&row, &check, results);
        (line.ratio, line.verdict)
    }

    #[test]
    fn a_goal_is_hit_or_missed_by_the_ratio_it_names() {
        let results = results(150.0, 100.0, 200.0);
        let judge = |goal, stretch| judged(goal, stretch, &results);
        assert_eq!(
            judge(Goal::PeerAtLeast(1.5), None),
            (Some(1.5), Verdict::Hit)
        );
        assert_eq!(judge(Goal::PeerAtLeast(1.6), None).1, Verdict::Miss);
        assert_eq!(judge(Goal::PeerAtMost(1.4), None).1, Verdict::Miss);
        assert_eq!(judge(Goal::PeerAtMost(1.5), None).1, Verdict::Hit);
        assert_eq!(
            judge(Goal::LimitAtLeast(0.75), None),
            (Some(0.75), Verdict::Hit)
        );
        assert_eq!(judge(Goal::AtLeast(151.0), None).1, Verdict::Miss);
        assert_eq!(judge(Goal::AtMost(150.0), None).1, Verdict::Hit);
        assert_eq!(judge(Goal::PeerAtLeast(1.1), Some(1.5)).1, Verdict::Stretch);
        assert_eq!(judge(Goal::PeerAtLeast(1.1), Some(1.6)).1, Verdict::Hit);
        assert_eq!(judge(Goal::Shown, None).1, Verdict::None);
    }

    #[test]
    fn a_goal_may_be_about_ours_in_another_row() {
        let mut results = results(150.0, 300.0, 300.0);
        let figures = Figures::from([(Figure::Rate, 100.0)]);
        results.add("read-64c", Who::Ours, Ok(figures));
        let judge = |goal| judged(goal, None, &results);
        let hit = (Some(1.5), Verdict::Hit);
        assert_eq!(judge(Goal::RowAtMost("read-64c", 1.5)), hit);
        assert_eq!(judge(Goal::RowAtMost("read-64c", 1.4)).1, Verdict::Miss);
        assert_eq!(judge(Goal::RowAtLeast("read-64c", 1.5)), hit);
        assert_eq!(judge(Goal::RowAtLeast("read-64c", 1.6)).1, Verdict::Miss);
        let unknown = judge(Goal::RowAtMost("head-64c", 1.5));
        assert_eq!(unknown, (None, Verdict::Unknown));
    }

    #[test]
    fn what_was_not_measured_is_neither_hit_nor_missed() {
        let nothing = Results::default();
        assert_eq!(
            judged(Goal::AtMost(1.0), None, &nothing).1,
            Verdict::Unknown
        );
        assert_eq!(
            judged(Goal::PeerAtMost(1.0), None, &nothing).1,
            Verdict::Unknown
        );
    }
}
