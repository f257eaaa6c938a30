//! One small history for each thing that cannot be.

use millrace_history::{
    check::check,
    history::{Answer, Append, Claim, Item, Moment, Offset, Operation, Record, Refusal, Verdict},
};

/// Eight bytes each, so that positions do not tell one from the other.
fn item(id: u32) -> Item {
    Item { id, len: 8 }
}

fn at(generation: u64, items: u64) -> Offset {
    Offset {
        generation,
        position: 8 * items,
    }
}

fn told(verdict: Verdict, tail: Offset) -> Answer {
    Answer {
        verdict,
        tail: Some(tail),
        closed: Some(false),
    }
}

fn append(id: u32) -> Operation {
    Operation::Append(Append {
        item: Some(item(id)),
        ..Append::default()
    })
}

fn content(ids: &[u32], generation: u64) -> Answer {
    let items: Vec<Item> = ids.iter().map(|id| item(*id)).collect();
    let tail = at(generation, items.len() as u64);
    told(Verdict::Content(items), tail)
}

fn gone() -> Answer {
    Answer {
        verdict: Verdict::Gone,
        tail: None,
        closed: None,
    }
}

/// A history of one name: each operation with when it was called and answered.
struct Told(Vec<Record>);

impl Told {
    /// A stream of generation 1.
    fn new() -> Self {
        let created = told(Verdict::Created, at(1, 0));
        Self(Vec::new()).then(0, 1, Operation::Create(None), created)
    }

    fn then(self, from: Moment, to: Moment, operation: Operation, answer: Answer) -> Self {
        self.maybe(from, to, operation, Some(answer))
    }

    /// `None`: nobody knows.
    fn maybe(
        mut self,
        invoked: Moment,
        until: Moment,
        operation: Operation,
        answer: Option<Answer>,
    ) -> Self {
        self.0.push(Record {
            client: 0,
            name: "s".into(),
            operation,
            invoked,
            until,
            answer,
        });
        self
    }

    /// An append that is answered.
    fn appended(self, from: Moment, to: Moment, id: u32, tail: u64) -> Self {
        self.then(from, to, append(id), told(Verdict::Appended, at(1, tail)))
    }

    fn read(self, from: Moment, to: Moment, ids: &[u32]) -> Self {
        self.then(from, to, Operation::Read(None), content(ids, 1))
    }

    /// A fork of the stream after its first append.
    fn forked(self, from: Moment, to: Moment) -> Self {
        let source = "s".into();
        let fork = Operation::Fork {
            source,
            at: at(1, 1),
        };
        self.then(from, to, fork, told(Verdict::Created, at(1, 1)))
    }

    /// What `more` adds is of the fork.
    fn in_fork(self, more: impl FnOnce(Self) -> Self) -> Self {
        let own = self.0.len();
        let mut all = more(self);
        for record in all.0.iter_mut().skip(own) {
            record.name = "f".into();
        }
        all
    }

    fn deleted(self, from: Moment, to: Moment) -> Self {
        self.then(from, to, Operation::Delete, gone())
    }

    #[track_caller]
    fn fine(self) {
        if let Err(why) = check(&self.0) {
            panic!("{}", why.explain());
        }
    }

    /// Cannot be, and the explanation needs `records` operations and says `word`.
    #[track_caller]
    fn broken(self, records: usize, word: &str) {
        let why = check(&self.0).expect_err("it cannot be").explain();
        assert_eq!(why.records.len(), records, "{why}");
        assert!(why.to_string().contains(word), "{word:?} is not in: {why}");
    }
}

#[test]
fn an_acknowledged_append_that_is_missing() {
    let told = Told::new().appended(10, 20, 1, 1).read(15, 25, &[]);
    told.fine();
    let told = Told::new().appended(10, 20, 1, 1).read(21, 25, &[]);
    told.broken(3, "<1>");
}

#[test]
fn a_read_that_goes_back() {
    let overlapping = Told::new().maybe(10, 99, append(1), None);
    let forth = overlapping.read(20, 30, &[]).read(31, 40, &[1]);
    forth.fine();
    let overlapping = Told::new().maybe(10, 99, append(1), None);
    let back = overlapping.read(20, 30, &[1]).read(31, 40, &[]);
    back.broken(4, "client 0");
}

#[test]
fn what_nobody_knows_of_happens_before_it_no_longer_can_or_never() {
    let unknown = || Told::new().maybe(10, 50, append(1), None);
    unknown().read(60, 70, &[1]).fine();
    unknown().read(60, 70, &[]).read(71, 80, &[]).fine();
    // The server was dead by then.
    unknown()
        .read(60, 70, &[])
        .read(71, 80, &[1])
        .broken(4, "#2");
}

#[test]
fn an_append_that_is_there_twice() {
    let told = Told::new().appended(10, 20, 1, 1);
    told.read(30, 40, &[1, 1]).broken(3, "<1><1>");
}

#[test]
fn two_appends_with_one_offset() {
    let told = Told::new().appended(10, 20, 1, 1).appended(10, 20, 2, 1);
    told.broken(3, "1-8");
}

#[test]
fn two_orders_of_the_same_appends() {
    let appends = || Told::new().appended(10, 20, 1, 1).appended(10, 20, 2, 2);
    appends().read(30, 40, &[1, 2]).fine();
    appends().read(30, 40, &[2, 1]).broken(4, "<2><1>");
    let differing = appends().read(30, 40, &[1, 2]).read(30, 40, &[2, 1]);
    differing.broken(2, "different bytes");
}

#[test]
fn a_deleted_stream_that_is_there_again() {
    let told = Told::new().appended(10, 20, 1, 1).deleted(30, 40);
    told.read(50, 60, &[1]).broken(4, "no stream");
}

#[test]
fn a_stream_that_was_made_again_with_the_offsets_of_the_one_before() {
    let again = |generation| {
        let created = told(Verdict::Created, at(generation, 0));
        Told::new()
            .deleted(10, 20)
            .then(30, 40, Operation::Create(None), created)
    };
    again(2).fine();
    again(1).broken(3, "1-0");
}

#[test]
fn an_offset_of_the_stream_before_that_is_read() {
    let again = |answer| {
        let created = told(Verdict::Created, at(2, 0));
        Told::new()
            .appended(5, 6, 1, 1)
            .deleted(10, 20)
            .then(30, 40, Operation::Create(Some(item(2))), {
                Answer {
                    tail: Some(at(2, 1)),
                    ..created
                }
            })
            .then(50, 60, Operation::Read(Some(at(1, 1))), answer)
    };
    again(Answer::refused(Refusal::OffsetGone)).fine();
    again(content(&[], 2)).broken(5, "OffsetGone");
}

#[test]
fn an_append_after_a_close() {
    let close = Operation::Append(Append {
        close: true,
        ..Append::default()
    });
    let done = Answer {
        closed: Some(true),
        ..told(Verdict::Done, at(1, 0))
    };
    let closed = || Told::new().then(10, 20, close.clone(), done.clone());
    closed().appended(15, 40, 1, 1).broken(3, "closed");
    closed().appended(30, 40, 1, 1).broken(3, "Closed");
    closed().read(30, 40, &[]).broken(3, "closed");
    let read = Answer {
        closed: Some(true),
        ..content(&[], 1)
    };
    closed().then(30, 40, Operation::Read(None), read).fine();
}

#[test]
fn a_producer_whose_request_is_taken_twice() {
    let by = |id| {
        Operation::Append(Append {
            item: Some(item(id)),
            producer: Some(Claim {
                id: 1,
                epoch: 0,
                seq: 0,
            }),
            ..Append::default()
        })
    };
    let first = || Told::new().maybe(10, Moment::MAX, by(1), None);
    let again = |verdict, tail| told(verdict, at(1, tail));
    // The retry of a lost answer.
    let duplicate = Verdict::Duplicate { highest: 0 };
    first().then(20, 30, by(1), again(duplicate, 1)).fine();
    first()
        .then(20, 30, by(1), again(Verdict::Appended, 1))
        .fine();
    first()
        .then(20, 30, by(1), again(Verdict::Appended, 2))
        .broken(3, "1-16");
}

#[test]
fn a_stream_seq_that_did_not_grow() {
    let with = |id, seq| {
        Operation::Append(Append {
            item: Some(item(id)),
            seq: Some(seq),
            ..Append::default()
        })
    };
    let appended = |tail| told(Verdict::Appended, at(1, tail));
    let both = |second| {
        Told::new()
            .then(10, 20, with(1, 5), appended(1))
            .then(30, 40, with(2, second), appended(2))
    };
    both(6).fine();
    both(5).broken(3, "SeqRegression");
}

#[test]
fn an_append_to_another_tail_than_it_expected() {
    let at_start_of = |second: Offset| {
        let second = Operation::Append(Append {
            item: Some(item(2)),
            expected: Some(second),
            ..Append::default()
        });
        Told::new()
            .appended(10, 20, 1, 1)
            .then(30, 40, second, told(Verdict::Appended, at(1, 2)))
    };
    at_start_of(at(1, 1)).fine();
    at_start_of(at(1, 0)).broken(3, "ExpectedOffset");
}

#[test]
fn a_fork_that_is_not_what_its_source_was() {
    let history = |ids: &[u32]| {
        let source = Told::new().appended(10, 20, 1, 1).appended(30, 40, 2, 2);
        let source = source.read(50, 60, &[1, 2]);
        source.in_fork(|fork| fork.forked(70, 80).read(90, 95, ids))
    };
    history(&[1]).fine();
    history(&[1, 2]).broken(2, "1-16");
    history(&[2]).broken(2, "different bytes");
}

#[test]
fn a_fork_of_a_stream_that_was_gone() {
    let source = || Told::new().appended(10, 20, 1, 1).deleted(30, 40);
    source().in_fork(|fork| fork.forked(25, 35)).fine();
    let late = source().in_fork(|fork| fork.forked(50, 60));
    late.broken(4, "SourceNotFound");
}
