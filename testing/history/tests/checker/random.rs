//! Random histories of an honest server, and of servers that are broken in one way.

use millrace_history::{
    check::check,
    history::{Answer, Append, Claim, Item, Moment, Offset, Operation, Record, Verdict},
};
use millrace_kill::schedule::Chance;

use crate::oracle::Oracle;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// How far the moments of two operations are apart.
const STEP: u64 = 1000;

/// What a broken server does once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It forgets an append that it acknowledged.
    Lose,
    /// It answers a read from before the last append.
    ReadStale,
    /// It has a deleted stream again.
    Resurrect,
    /// It appends to a closed stream, opening it.
    Reopen,
    /// It takes a producer's request a second time.
    Repeat,
    /// It gives a stream that is created again the offsets of the one before.
    ReuseOffsets,
    /// It takes an append whose `Stream-Seq` did not grow.
    TakeLateSeq,
    /// It takes an append that expected another tail.
    TakeElsewhere,
}

/// What a run made: what clients were told, and how often the server broke its word.
struct Made {
    history: Vec<Record>,
    broken: u32,
}

struct Run {
    chance: Chance,
    oracle: Oracle,
    /// What the server held before the last change, for one that is to go back to it.
    before: Oracle,
    fault: Option<Fault>,
    made: Made,
    tokens: Vec<Offset>,
    sent: Vec<Append>,
    items: u32,
}

/// A history of `count` operations and a last look at every name. Neighbours overlap by up to `overlap`
/// operations, and of `unknown` in 100 nobody knows what became.
fn history(seed: u64, count: u64, overlap: u64, unknown: u64, fault: Option<Fault>) -> Made {
    let mut run = Run {
        chance: Chance::new(seed, 0),
        oracle: Oracle::default(),
        before: Oracle::default(),
        fault,
        made: Made {
            history: Vec::new(),
            broken: 0,
        },
        tokens: Vec::new(),
        sent: Vec::new(),
        items: 0,
    };
    for index in 0..count {
        let name = NAMES[run.chance.index(NAMES.len())];
        let operation = run.invent(name);
        run.carry_out(name, operation, STEP * (index + 100), overlap, unknown);
    }
    for (index, name) in (count..).zip(NAMES) {
        run.carry_out(name, Operation::Read(None), STEP * (index + 300), 0, 0);
    }
    run.made
}

impl Run {
    fn invent(&mut self, name: &str) -> Operation {
        let chance = &mut self.chance;
        match chance.between(0, 100) {
            0..12 => Operation::Create(chance.percent(50).then(|| {
                self.items += 1;
                Item::new(self.items)
            })),
            12..18 => {
                let at = self.token();
                let source = NAMES[self.chance.index(NAMES.len())];
                // Nothing is its own source.
                if source == name {
                    return Operation::Head;
                }
                Operation::Fork {
                    source: source.into(),
                    at,
                }
            }
            18..24 => Operation::Delete,
            24..34 => Operation::Head,
            34..48 => Operation::Read(None),
            48..56 => Operation::Read(Some(self.token())),
            _ => Operation::Append(self.append()),
        }
    }

    fn token(&mut self) -> Offset {
        if self.tokens.is_empty() {
            return Offset {
                generation: 1,
                position: 0,
            };
        }
        self.tokens[self.chance.index(self.tokens.len())]
    }

    fn append(&mut self) -> Append {
        if let (1.., true) = (self.sent.len(), self.chance.percent(15)) {
            return self.sent[self.chance.index(self.sent.len())];
        }
        let close = self.chance.percent(6);
        let bare = close && self.chance.percent(50);
        self.items += 1;
        let expected = (!self.tokens.is_empty() && self.chance.percent(15)).then(|| self.token());
        let append = Append {
            expected,
            item: (!bare).then(|| Item::new(self.items)),
            seq: self.chance.percent(30).then(|| self.chance.between(0, 40)),
            producer: self.chance.percent(50).then(|| Claim {
                id: u32::try_from(self.chance.between(0, 2)).expect("small"),
                epoch: self.chance.between(0, 2),
                seq: self.chance.between(0, 5),
            }),
            close,
        };
        self.sent.push(append);
        append
    }

    fn carry_out(
        &mut self,
        name: &str,
        operation: Operation,
        at: Moment,
        overlap: u64,
        unknown: u64,
    ) {
        let is_unknown = self.chance.percent(unknown);
        let lost = is_unknown && self.chance.percent(50);
        let answer = if lost {
            None
        } else {
            Some(self.answer(name, &operation))
        };
        let answer = answer.filter(|_| !is_unknown);
        // A broken server's tokens are not for an honest one.
        let honest = answer.as_ref().filter(|_| self.made.broken == 0);
        self.tokens.extend(honest.and_then(|answer| answer.tail));
        let reach = overlap * STEP + STEP / 2;
        let (early, late) = (self.chance.between(0, reach), self.chance.between(0, reach));
        let until = match (is_unknown, self.chance.percent(30)) {
            (true, true) => Moment::MAX,
            (true, false) => at + 10 * late,
            (false, _) => at + late,
        };
        self.made.history.push(Record {
            client: 0,
            name: name.into(),
            operation,
            invoked: at - early,
            until,
            answer,
        });
    }

    /// The oracle's answer, or what a broken server makes of it.
    fn answer(&mut self, name: &str, operation: &Operation) -> Answer {
        let was = self.oracle.clone();
        let honest = self.oracle.answer(name, operation);
        let broken = self.broken(name, operation, &honest, &was);
        let changed = !matches!(operation, Operation::Read(_) | Operation::Head);
        if changed && !matches!(honest.verdict, Verdict::Refused(_)) {
            self.before = was;
        }
        if broken.is_some() {
            self.made.broken += 1;
        }
        broken.unwrap_or(honest)
    }

    fn broken(
        &mut self,
        name: &str,
        operation: &Operation,
        honest: &Answer,
        was: &Oracle,
    ) -> Option<Answer> {
        let fault = self
            .fault
            .filter(|_| self.made.broken == 0 && self.chance.percent(30))?;
        match (fault, operation, &honest.verdict) {
            (Fault::Lose, Operation::Append(_), Verdict::Appended)
            | (Fault::Resurrect, Operation::Delete, Verdict::Gone) => {
                self.oracle = was.clone();
                Some(honest.clone())
            }
            (Fault::ReadStale, Operation::Read(None), Verdict::Content(_)) => {
                let stale = self.before.clone().answer(name, operation);
                (stale != *honest).then_some(stale)
            }
            (
                Fault::Reopen | Fault::Repeat | Fault::TakeLateSeq | Fault::TakeElsewhere,
                Operation::Append(append),
                _,
            ) => self.taken(name, append, honest),
            (Fault::ReuseOffsets, Operation::Read(None) | Operation::Head, _) => {
                let tail = honest.tail.filter(|tail| tail.generation > 1)?;
                let other = self
                    .tokens
                    .iter()
                    .find(|other| other.generation < tail.generation)?;
                let mut reused = honest.clone();
                reused.tail = Some(Offset {
                    generation: other.generation,
                    ..tail
                });
                Some(reused)
            }
            _ => None,
        }
    }

    /// An append that had to be refused, or was a duplicate, is taken.
    fn taken(&mut self, name: &str, append: &Append, honest: &Answer) -> Option<Answer> {
        use millrace_history::history::Refusal as R;
        let wrong = matches!(
            (self.fault?, &honest.verdict),
            (Fault::Reopen, Verdict::Refused(R::Closed))
                | (Fault::Repeat, Verdict::Duplicate { .. })
                | (Fault::TakeLateSeq, Verdict::Refused(R::SeqRegression))
                | (Fault::TakeElsewhere, Verdict::Refused(R::ExpectedOffset))
        );
        let item = append.item.filter(|_| wrong)?;
        let tail = self.oracle.answer(name, &Operation::Head).tail?;
        // Where it cannot be seen any more, the answer alone says that it was taken.
        Some(Answer {
            verdict: Verdict::Appended,
            tail: Some(Offset {
                position: tail.position + u64::from(item.len),
                ..tail
            }),
            closed: Some(append.close),
        })
    }
}

#[test]
fn what_an_honest_server_answers_is_explained() {
    for seed in 0..400 {
        let (overlap, unknown) = (seed % 5, [0, 5, 12][(seed % 3) as usize]);
        let Made { history, .. } = history(seed, 120, overlap, unknown, None);
        match check(&history) {
            Ok(checked) => assert_eq!(checked.undecided, 0, "seed {seed}"),
            Err(why) => panic!("seed {seed}: {}", why.explain()),
        }
    }
}

/// How many of the runs in which a server was broken are found to be.
fn found(fault: Fault, overlap: u64, unknown: u64) -> (u32, u32) {
    let (mut broken, mut found) = (0, 0);
    for seed in 0..200 {
        let made = history(seed, 120, overlap, unknown, Some(fault));
        if made.broken > 0 {
            broken += 1;
            found += u32::from(check(&made.history).is_err());
        }
    }
    (broken, found)
}

/// Where nothing overlaps and everything is known, nothing excuses a server but that nobody looked.
#[test]
fn what_a_broken_server_answers_is_not_explained() {
    for (fault, percent) in [
        (Fault::Lose, 90),
        (Fault::ReadStale, 100),
        (Fault::Resurrect, 90),
        (Fault::Reopen, 100),
        (Fault::Repeat, 100),
        (Fault::TakeLateSeq, 100),
        (Fault::TakeElsewhere, 100),
        (Fault::ReuseOffsets, 100),
    ] {
        let (broken, found) = found(fault, 0, 0);
        assert!(broken >= 10, "{fault:?} happened in {broken} runs");
        assert!(
            found * 100 >= broken * percent,
            "{fault:?}: {found} of {broken} were found"
        );
    }
}

/// Overlapping and unanswered operations excuse some faults, and must not excuse most.
#[test]
fn a_broken_server_is_found_amid_overlapping_and_unanswered_operations() {
    for fault in [Fault::Lose, Fault::Resurrect, Fault::ReuseOffsets] {
        let (broken, found) = found(fault, 2, 5);
        assert!(
            found * 2 >= broken,
            "{fault:?}: {found} of {broken} were found"
        );
    }
}
