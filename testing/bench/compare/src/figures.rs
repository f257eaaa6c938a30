//! What is measured, and everything that was.

use std::collections::BTreeMap;

use crate::servers::Who;

/// A figure; its unit is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    /// Messages or reads a second.
    Rate,
    /// Gigabytes a second.
    Gigabytes,
    /// Deliveries to subscribers a second.
    Deliveries,
    /// Milliseconds, as all times here but one.
    AnswerP50,
    AnswerP99,
    AnswerP999,
    AnswerMax,
    ArrivalP50,
    ArrivalP99,
    /// Microseconds of the server's processor time for each request, or each delivery.
    Processor,
    /// Megabytes, at the end.
    Resident,
    Anonymous,
    /// Megabytes, the most there was.
    Peak,
    /// Kibibytes a subscriber that is idle.
    Subscriber,
    Descriptors,
    CleanStart,
    KilledStart,
    FirstRead,
}

impl Figure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "per second",
            Self::Gigabytes => "GB/s",
            Self::Deliveries => "deliveries per second",
            Self::AnswerP50 => "answer p50, ms",
            Self::AnswerP99 => "answer p99, ms",
            Self::AnswerP999 => "answer p99.9, ms",
            Self::AnswerMax => "answer max, ms",
            Self::ArrivalP50 => "delivery p50, ms",
            Self::ArrivalP99 => "delivery p99, ms",
            Self::Processor => "server CPU, us each",
            Self::Resident => "RSS, MB",
            Self::Anonymous => "RssAnon, MB",
            Self::Peak => "peak RSS, MB",
            Self::Subscriber => "KiB a subscriber",
            Self::Descriptors => "descriptors",
            Self::CleanStart => "start after a stop, ms",
            Self::KilledStart => "start after kill -9, ms",
            Self::FirstRead => "first cold read, ms",
        }
    }
}

/// The figures of one run.
pub(crate) type Figures = BTreeMap<Figure, f64>;

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Results {
    runs: BTreeMap<(&'static str, Who), Vec<Result<Figures, String>>>,
}

impl Results {
    pub(crate) fn add(&mut self, row: &'static str, who: Who, figures: Result<Figures, String>) {
        if let Err(what) = &figures {
            eprintln!("compare: {row}, {}: {what}", who.name());
        }
        self.runs.entry((row, who)).or_default().push(figures);
    }

    /// The median over the runs that succeeded.
    pub(crate) fn median(&self, row: &str, who: Who, figure: Figure) -> Option<f64> {
        let runs = self.of(row, who).filter_map(|run| run.as_ref().ok());
        median(runs.filter_map(|run| run.get(&figure).copied()).collect())
    }

    /// Every run of a row on a server.
    pub(crate) fn of(&self, row: &str, who: Who) -> impl Iterator<Item = &Result<Figures, String>> {
        let all = self.runs.iter();
        all.filter(move |((name, of), _)| *name == row && *of == who)
            .flat_map(|(_, runs)| runs)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    let low = values[(values.len() - 1) / 2];
    Some(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_run_that_failed_is_no_figure() {
        let mut results = Results::default();
        results.add("row", Who::Ours, Err("broke".to_owned()));
        assert_eq!(results.median("row", Who::Ours, Figure::Rate), None);
        results.add("row", Who::Ours, Ok(Figures::from([(Figure::Rate, 7.0)])));
        assert_eq!(results.median("row", Who::Ours, Figure::Rate), Some(7.0));
        assert_eq!(results.median("row", Who::Peer, Figure::Rate), None);
    }
}
