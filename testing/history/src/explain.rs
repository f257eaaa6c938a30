//! Says why a history cannot be: as few of its operations as still contradict each other, and how far
//! the best attempt to order them came.
//!
//! Every step only forgets something: what was called after the contradiction, an answer that changed
//! nothing, what else an operation was answered. So what is left contradicts itself for the same
//! reason.

use std::fmt;

use crate::{
    history::{Moment, Record, Verdict},
    search::{Found, Stuck, search},
    state::{Known, State},
};

/// A part of a history with more possibilities than this is not taken for a smaller explanation.
const NODES_MAX: usize = 20_000;

/// A history that cannot be. Making it small takes many searches, and so is asked for.
#[derive(Clone, Debug)]
pub enum Contradiction {
    /// Two reads saw different bytes under one generation.
    Reads(u64, Vec<Record>),
    /// No order of these operations of one name explains what was told of it.
    NoOrder {
        /// The name.
        name: String,
        /// All its operations, in the order of their calls.
        records: Vec<Record>,
        /// What the whole history tells.
        known: Known,
    },
}

impl Contradiction {
    /// The smallest part of it that is as impossible as all of it.
    pub fn explain(&self) -> Explanation {
        match self {
            Self::Reads(generation, reads) => Explanation {
                name: reads[0].name.clone(),
                records: reads.clone(),
                is_part: vec![true; 2],
                why: format!("two reads saw different bytes under generation {generation}"),
            },
            Self::NoOrder {
                name,
                records,
                known,
            } => smallest(name, records, known),
        }
    }
}

/// Operations that no order explains.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Of which name.
    pub name: String,
    /// The operations, in the order of their calls.
    pub records: Vec<Record>,
    /// For each whether its answer is part of the contradiction; the others only lead there.
    pub is_part: Vec<bool>,
    /// Why not.
    pub why: String,
}

fn smallest(name: &str, records: &[Record], known: &Known) -> Explanation {
    let start = State::new(name, known);
    let stuck = |records: &[Record]| match search(records, start.clone(), known, NODES_MAX) {
        Found::None(stuck) => Some(*stuck),
        Found::Order | Found::TooLarge => None,
    };
    let mut left = shortest(records, &stuck);
    // From the end, because what went wrong did so after most of it.
    for index in (0..left.len()).rev() {
        if changes_nothing(&left[index]) {
            let mut fewer = left.clone();
            fewer.remove(index);
            if stuck(&fewer).is_some() {
                left = fewer;
            }
        }
    }
    let why = stuck(&left).map_or_else(String::new, |stuck| reason(&left, &stuck));
    let is_part = parts(&left, &stuck);
    Explanation {
        name: name.into(),
        records: left,
        is_part,
        why,
    }
}

/// Which answers the contradiction needs: without the others it is still one.
fn parts(records: &[Record], stuck: &dyn Fn(&[Record]) -> Option<Stuck>) -> Vec<bool> {
    let mut vague = records.to_vec();
    let mut is_part = vec![false; records.len()];
    for index in (0..records.len()).rev() {
        let record = vague[index].clone();
        if record.answer.is_none() {
            continue;
        }
        vague[index].answer = None;
        vague[index].until = Moment::MAX;
        if stuck(&vague).is_none() {
            vague[index] = record;
            is_part[index] = true;
        }
    }
    is_part
}

/// The history up to the first answer that cannot be: what was called later is left out, and what was
/// answered later is taken to be unanswered.
fn shortest(records: &[Record], stuck: &dyn Fn(&[Record]) -> Option<Stuck>) -> Vec<Record> {
    let answered = records.iter().filter(|record| record.answer.is_some());
    let mut ends: Vec<Moment> = answered.map(|record| record.until).collect();
    ends.sort_unstable();
    let fails = |end: &Moment| stuck(&until(records, *end)).is_some();
    // A longer history of one that fails fails too.
    let first = ends.partition_point(|end| !fails(end));
    ends.get(first)
        .map_or_else(|| records.to_vec(), |end| until(records, *end))
}

fn until(records: &[Record], end: Moment) -> Vec<Record> {
    let called = records
        .iter()
        .filter(|record| record.invoked <= end)
        .cloned();
    let cut = called.map(|mut record| {
        if record.until > end {
            record.answer = None;
            record.until = Moment::MAX;
        }
        record
    });
    cut.collect()
}

fn changes_nothing(record: &Record) -> bool {
    let verdict = record.answer.as_ref().map(|answer| &answer.verdict);
    let changing = [
        Verdict::Created,
        Verdict::Appended,
        Verdict::Done,
        Verdict::Gone,
    ];
    verdict.is_some_and(|verdict| !changing.contains(verdict))
}

fn reason(records: &[Record], stuck: &Stuck) -> String {
    let next = &records[stuck.next];
    let order: Vec<String> = stuck
        .order
        .iter()
        .map(|index| format!("#{index}"))
        .collect();
    let order = if order.is_empty() {
        "none".into()
    } else {
        order.join(" ")
    };
    let mut would_be: Vec<String> = stuck
        .would_be
        .iter()
        .map(|verdict| format!("{verdict:?}"))
        .collect();
    would_be.dedup();
    format!(
        "The longest order that can be: {order}. It leaves {}; then #{}, {}, would be answered {}.",
        stuck.state,
        stuck.next,
        next.operation,
        would_be.join(" or ")
    )
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "no order explains what was told of {}; answers with * contradict each other:",
            self.name
        )?;
        let begin = self.records.iter().map(|record| record.invoked).min();
        let millis = |at: Moment| {
            let micros = at.saturating_sub(begin.unwrap_or_default()) / 1000;
            format!("{}.{:03}", micros / 1000, micros % 1000)
        };
        for (index, record) in self.records.iter().enumerate() {
            let end = match record.until {
                Moment::MAX => "?".into(),
                until => millis(until),
            };
            let mark = if self.is_part[index] { '*' } else { ' ' };
            write!(
                f,
                "{mark} #{index:<3} {:>10} to {end:>10} ms  client {}  {}",
                millis(record.invoked),
                record.client,
                record.operation
            )?;
            match &record.answer {
                Some(answer) => writeln!(f, ": {answer}")?,
                None => writeln!(f, ": carried out or not")?,
            }
        }
        write!(f, "{}", self.why)
    }
}
