//! Judges a whole history: name by name, because a history is linearizable when every object's part
//! of it is.
//!
//! A fork touches two names. It is no single moment in both: its source is resolved, refers to it,
//! and then the fork is created. So it is an operation of its own in either.

use std::collections::{BTreeMap, HashMap};

use crate::{
    explain::Contradiction,
    history::{Answer, Item, Operation, Record, Verdict},
    search::{Found, NODES_MAX, search},
    state::{Known, OF_SOURCE, State},
};

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Names.
    pub names: u64,
    /// Operations, each of one name.
    pub operations: u64,
    /// Of these, those of which nobody knows whether they were carried out.
    pub unknown: u64,
    /// Names with more possibilities than were looked at.
    pub undecided: u64,
}

impl Checked {
    /// Counts more.
    pub fn add(&mut self, more: Self) {
        self.names += more.names;
        self.operations += more.operations;
        self.unknown += more.unknown;
        self.undecided += more.undecided;
    }
}

/// Looks for an order of every name's operations that explains what clients were told.
pub fn check(history: &[Record]) -> Result<Checked, Box<Contradiction>> {
    let known = known(history)?;
    let mut checked = Checked::default();
    for (name, records) in by_name(history) {
        let unknown = records.iter().filter(|record| record.answer.is_none());
        checked.names += 1;
        checked.operations += records.len() as u64;
        checked.unknown += unknown.count() as u64;
        match search(&records, State::new(&name, &known), &known, NODES_MAX) {
            Found::Order => {}
            Found::TooLarge => checked.undecided += 1,
            Found::None(_) => {
                return Err(Box::new(Contradiction::NoOrder {
                    name,
                    records,
                    known,
                }));
            }
        }
    }
    Ok(checked)
}

/// Every name's operations, in the order of their calls.
fn by_name(history: &[Record]) -> BTreeMap<String, Vec<Record>> {
    let mut names: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in history {
        let lent = lent(record);
        for part in lent.into_iter().chain([record.clone()]) {
            names.entry(part.name.clone()).or_default().push(part);
        }
    }
    for records in names.values_mut() {
        records.sort_by_key(|record| record.invoked);
    }
    names
}

/// What a fork's answer says of its source.
fn lent(record: &Record) -> Option<Record> {
    let Operation::Fork { source, at } = &record.operation else {
        return None;
    };
    let verdict = match record.answer.as_ref()?.verdict {
        Verdict::Created => Verdict::Found,
        Verdict::Refused(refusal) if OF_SOURCE.contains(&refusal) => Verdict::Refused(refusal),
        _ => return None,
    };
    Some(Record {
        name: source.clone(),
        operation: Operation::Lend { at: *at },
        answer: Some(Answer {
            verdict,
            tail: None,
            closed: None,
        }),
        ..record.clone()
    })
}

/// What was read under each generation: all of it must agree, whoever read it under whatever name.
fn known(history: &[Record]) -> Result<Known, Box<Contradiction>> {
    let mut longest: HashMap<u64, (&Record, &[Item])> = HashMap::new();
    let mut known = Known::default();
    for record in history {
        if let Operation::Fork { source, .. } = &record.operation {
            known.sources.insert(source.clone());
        }
        let (Operation::Read(None), Some(answer)) = (&record.operation, &record.answer) else {
            continue;
        };
        let (Verdict::Content(items), Some(tail)) = (&answer.verdict, answer.tail) else {
            continue;
        };
        let (other, best) = longest.entry(tail.generation).or_insert((record, items));
        let common = best.len().min(items.len());
        if best[..common] != items[..common] {
            let reads = vec![(*other).clone(), record.clone()];
            return Err(Box::new(Contradiction::Reads(tail.generation, reads)));
        }
        if items.len() > best.len() {
            (*other, *best) = (record, items);
        }
    }
    let contents = longest
        .into_iter()
        .map(|(generation, (_, items))| (generation, items.to_vec()));
    known.contents = contents.collect();
    Ok(known)
}
