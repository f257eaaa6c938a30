//! The order of things: streams are made and filled, load runs, what is there is verified.

use std::time::Duration;

use crate::{
    BenchError, Kind, Plan, Report, Target,
    chain::{Messages, filler},
    drive::{Moment, Seen, Shape, drive},
    plain::Plain,
    report::Verified,
    request::Requests,
    verify::{self, GoOn},
    work::{
        Appends, CatchUp, Content, Each, Follow, Live, Poll, Reads, Sent, Small, TEXT, Tally,
        Wanted, Work,
    },
};

/// Streams are filled with appends of so many bytes.
const FILL_BYTES: usize = 256 << 10;
/// Messages of a stream of which the last is read.
const MESSAGES_BEFORE: usize = 63;
/// Connections that create and delete streams beside the run.
const HANDS: usize = 16;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was done yet.
    Preparing,
    /// Streams are made and filled, subscribers connect.
    Filling,
    /// Connections are there, subscribers listen.
    Ready,
    /// It runs, but is not measured yet.
    Warming,
    /// It is measured.
    Measuring,
    /// Time is over.
    Over,
    /// What was under way arrives.
    Settling,
    /// What is there is verified.
    Verifying,
    /// Streams are deleted.
    Deleting,
}

/// What an observer is told, at every change of phase and about every 100 ms.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Where the run is.
    pub phase: Phase,
    /// Time since the load began.
    pub elapsed: Duration,
    /// Requests that were answered while it was measured.
    pub requests: u64,
    /// Messages that reached subscribers meanwhile.
    pub deliveries: u64,
    /// How many streams of the run there may be.
    pub streams: usize,
    /// How many subscriptions of the run there may be.
    pub subscriptions: usize,
}

/// Called with every [`Progress`]; an error ends the run. After [`BenchError::Stopped`] the streams
/// and subscriptions are deleted as at the end of a run, and the last progress tells how many are left.
pub type Observer<'a> = dyn FnMut(Progress) -> Result<(), BenchError> + 'a;

/// Carries out a plan.
pub fn run(
    target: &Target,
    plan: &Plan,
    observer: &mut Observer<'_>,
) -> Result<Report, BenchError> {
    plan.check()?;
    let requests = Requests::new(target);
    let mut run = Run {
        target,
        plan,
        requests: &requests,
        plain: Plain::open(target, &requests)?,
        made: Made::default(),
        observer,
    };
    let done = run.whole();
    if matches!(done, Err(BenchError::Stopped)) {
        // What is left was told last.
        let _ = run.unsubscribe(true);
        if !plan.keep && run.made.streams > 0 {
            run.clean();
        }
    }
    done
}

/// What there may be of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    streams: usize,
    subscriptions: usize,
}

/// What was counted, what was verified, how many streams there are.
type Done = (Tally, Verified, usize);

struct Run<'a, 'o> {
    target: &'a Target,
    plan: &'a Plan,
    requests: &'a Requests,
    plain: Plain<'a>,
    made: Made,
    observer: &'a mut Observer<'o>,
}

impl Run<'_, '_> {
    fn whole(&mut self) -> Result<Report, BenchError> {
        self.phase(Phase::Preparing)?;
        let (tally, verified, streams) = match self.plan.kind {
            Kind::Append | Kind::Json => self.appends()?,
            Kind::Create => self.creations()?,
            Kind::Read | Kind::Tail | Kind::Head => self.reads()?,
            Kind::CatchUp => self.catch_up()?,
            Kind::Sse | Kind::SseReplay => self.follow()?,
            Kind::LongPoll => self.poll()?,
            Kind::Live => self.live()?,
        };
        self.unsubscribe(false)?;
        if !self.plan.keep {
            self.delete(streams)?;
        }
        Ok(Report::of(self.plan, &tally, verified))
    }

    fn phase(&mut self, phase: Phase) -> Result<(), BenchError> {
        (self.observer)(beside(phase, self.made))
    }

    /// Drives work, as the plan wants it paced, and tells the observer.
    fn load<W: Work>(&mut self, shape: Shape, work: &mut W) -> Result<Tally, BenchError> {
        let Self { observer, made, .. } = self;
        drive(self.target, shape, work, &mut |seen: Seen<'_>| {
            made.streams = seen.streams.unwrap_or(made.streams);
            observer(Progress {
                phase: match seen.moment {
                    Moment::Joining => Phase::Filling,
                    Moment::Ready => Phase::Ready,
                    Moment::Warming => Phase::Warming,
                    Moment::Measuring => Phase::Measuring,
                    Moment::Over => Phase::Over,
                    Moment::Settling => Phase::Settling,
                },
                elapsed: seen.elapsed,
                requests: seen.tally.requests,
                deliveries: seen.tally.deliveries,
                streams: made.streams,
                subscriptions: made.subscriptions,
            })
        })
    }

    /// So many connections and subscribers, paced as the plan says.
    fn shape(&self, paced: usize, subscribers: usize) -> Shape {
        Shape {
            paced,
            subscribers,
            rate: self.plan.rate,
            warmup: self.plan.warmup,
            duration: Some(self.plan.duration),
            is_bodyless: false,
        }
    }

    /// Does something to every stream, beside what is measured.
    fn each(&mut self, phase: Phase, mut work: Each<'_>) -> Result<(), BenchError> {
        let shape = Shape {
            rate: None,
            warmup: Duration::ZERO,
            duration: None,
            ..self.shape(HANDS, 0)
        };
        let Self { observer, made, .. } = self;
        // Once it is stopped and cleans up, it is told of that and stopped no more.
        let is_clean = work.is_clean();
        drive(self.target, shape, &mut work, &mut |seen: Seen<'_>| {
            made.streams = seen.streams.unwrap_or(made.streams);
            let told = observer(beside(phase, *made));
            if is_clean { Ok(()) } else { told }
        })?;
        Ok(())
    }

    fn create(&mut self, content_type: &'static str) -> Result<(), BenchError> {
        let streams = self.plan.streams;
        let work = Each::create(self.plan, self.requests, content_type, streams);
        self.each(Phase::Filling, work)
    }

    fn delete(&mut self, streams: usize) -> Result<(), BenchError> {
        self.phase(Phase::Deleting)?;
        let work = Each::delete(self.plan, self.requests, streams);
        self.each(Phase::Deleting, work)
    }

    /// Deletes what it can after a stop; what is left was told last.
    fn clean(&mut self) {
        let _ = self.phase(Phase::Deleting);
        let work = Each::clean(self.plan, self.requests, self.made.streams);
        let _ = self.each(Phase::Deleting, work);
    }

    fn appends(&mut self) -> Result<Done, BenchError> {
        let is_json = self.plan.kind == Kind::Json;
        let messages = Messages::new(self.plan.size, is_json);
        self.subscribe()?;
        self.create(if is_json {
            "application/json"
        } else {
            "application/octet-stream"
        })?;
        let mut work = Appends::new(self.plan, self.requests, &messages);
        let tally = self.load(self.shape(self.plan.connections, 0), &mut work)?;
        self.phase(Phase::Verifying)?;
        let Self { observer, made, .. } = self;
        let go_on: &mut GoOn<'_> = &mut || observer(beside(Phase::Verifying, *made));
        let verified = verify::appends(self.plan, &mut self.plain, &messages, &work, go_on)?;
        Ok((tally, verified, self.plan.streams))
    }

    /// Makes the subscriptions, before there are streams: to be told of each that is linked would take
    /// longer than the load.
    fn subscribe(&mut self) -> Result<(), BenchError> {
        if self.plan.subscriptions == 0 {
            return Ok(());
        }
        let (pattern, wakes) = (self.plan.pattern(), self.plan.wakes());
        let body =
            format!(r#"{{"type":"pull-wake","pattern":"{pattern}","wake_stream":"{wakes}"}}"#);
        for number in 0..self.plan.subscriptions {
            self.made.subscriptions = number + 1;
            self.phase(Phase::Filling)?;
            if number == 0 {
                self.plain.create(&wakes, "application/json")?;
            }
            self.plain
                .describe(&self.plan.subscription(number), &body)?;
        }
        Ok(())
    }

    /// Deletes the subscriptions and the stream of their wakes, in every case: they are no streams that
    /// could be kept to be looked at, and cost the server something as long as they are there.
    fn unsubscribe(&mut self, is_stopped: bool) -> Result<(), BenchError> {
        while let Some(number) = self.made.subscriptions.checked_sub(1) {
            let told = self.phase(Phase::Deleting);
            if !is_stopped {
                told?;
            }
            // The one that was being made may not be there.
            let gone = self.plain.delete(&self.plan.subscription(number));
            missing_is_fine(gone, is_stopped)?;
            if number == 0 {
                missing_is_fine(self.plain.delete(&self.plan.wakes()), is_stopped)?;
            }
            self.made.subscriptions = number;
        }
        Ok(())
    }

    fn creations(&mut self) -> Result<Done, BenchError> {
        let mut work = Each::create(self.plan, self.requests, TEXT, self.plan.streams);
        let tally = self.load(self.shape(self.plan.connections, 0), &mut work)?;
        self.phase(Phase::Verifying)?;
        let Self { observer, made, .. } = self;
        let go_on: &mut GoOn<'_> = &mut || observer(beside(Phase::Verifying, *made));
        let verified = verify::created(self.plan, &mut self.plain, work.count(), go_on)?;
        Ok((tally, verified, work.count()))
    }

    fn reads(&mut self) -> Result<Done, BenchError> {
        self.create(TEXT)?;
        let streams = 0..self.plan.streams;
        let streams: Result<Vec<Small>, BenchError> =
            streams.map(|stream| self.small(stream)).collect();
        let streams = streams?;
        let checked = streams.iter().filter(|small| small.checksum.is_some());
        let verified = Verified {
            streams: checked.count() as u64,
            messages: 0,
        };
        let is_bodyless = self.plan.kind == Kind::Head;
        let method = if is_bodyless { "HEAD" } else { "GET" };
        let mut work = Reads::new(self.plan, self.requests, method, streams);
        let shape = Shape {
            is_bodyless,
            ..self.shape(self.plan.connections, 0)
        };
        let tally = self.load(shape, &mut work)?;
        Ok((tally, verified, self.plan.streams))
    }

    /// Fills a stream with messages; how its last one, or its tail, is read.
    fn small(&mut self, stream: usize) -> Result<Small, BenchError> {
        self.phase(Phase::Filling)?;
        let name = self.plan.name(stream);
        let content = filler(self.plan.size + MESSAGES_BEFORE);
        let mut offsets = Vec::new();
        for number in 0..=MESSAGES_BEFORE {
            let message = &content[number..number + self.plan.size];
            offsets.push(self.plain.append(&name, TEXT, message)?.next_offset);
        }
        let (at, wanted): (_, &[u8]) = match self.plan.kind {
            Kind::Read => (MESSAGES_BEFORE - 1, &content[MESSAGES_BEFORE..]),
            _ => (MESSAGES_BEFORE, b""),
        };
        let is_looked_at = self.plan.verify > 0 && self.plan.kind != Kind::Head;
        let query = match (self.plan.kind, offsets[at].as_slice()) {
            (Kind::Head, _) => Vec::new(),
            // A server that names no offset is no server of streams; its answer is all the same.
            (_, []) => b"?offset=-1".to_vec(),
            (_, offset) => [b"?offset=", offset].concat(),
        };
        Ok(Small {
            query,
            checksum: is_looked_at.then(|| crc32c::crc32c(wanted)),
        })
    }

    fn catch_up(&mut self) -> Result<Done, BenchError> {
        let wanted = self.fill()?;
        let mut work = CatchUp::new(self.plan, self.requests, wanted);
        let tally = self.load(self.shape(self.plan.connections, 0), &mut work)?;
        Ok((tally, compared(1), 1))
    }

    /// There may be one stream from here on, and the observer knows it before the server does.
    fn make_one(&mut self) -> Result<(), BenchError> {
        self.made.streams = 1;
        self.phase(Phase::Filling)
    }

    /// Fills the one stream, unless that was done before.
    fn fill(&mut self) -> Result<Content, BenchError> {
        self.make_one()?;
        let Self { observer, made, .. } = self;
        match self.plan.found {
            Some(content) => Ok(content),
            None => filled(self.plan, &mut self.plain, &mut || {
                observer(beside(Phase::Filling, *made))
            }),
        }
    }

    fn follow(&mut self) -> Result<Done, BenchError> {
        let is_live = self.plan.kind == Kind::Sse;
        self.make_one()?;
        let wanted = if is_live {
            self.plain.create(&self.plan.name(0), TEXT)?;
            Wanted::Live(Box::new(Sent::new(self.plan)))
        } else {
            Wanted::There(self.fill()?)
        };
        let mut work = Follow::new(self.plan, self.requests, wanted);
        let shape = self.shape(usize::from(is_live), self.plan.subscribers);
        let shape = if is_live {
            shape
        } else {
            Shape {
                rate: None,
                warmup: Duration::ZERO,
                duration: None,
                ..shape
            }
        };
        let tally = self.load(shape, &mut work)?;
        Ok((tally, compared(1), 1))
    }

    fn poll(&mut self) -> Result<Done, BenchError> {
        self.make_one()?;
        let name = self.plan.name(0);
        let made = self.plain.create(&name, TEXT)?;
        let start: &[u8] = match made.next_offset.as_slice() {
            [] => b"-1",
            offset => offset,
        };
        let mut work = Poll::new(self.plan, self.requests, start);
        let tally = self.load(self.shape(1, self.plan.subscribers), &mut work)?;
        Ok((tally, compared(1), 1))
    }

    fn live(&mut self) -> Result<Done, BenchError> {
        self.create(TEXT)?;
        let mut work = Live::new(self.plan, self.requests);
        let tally = self.load(self.shape(1, self.plan.subscribers), &mut work)?;
        let streams = self.plan.streams;
        Ok((tally, compared(streams), streams))
    }
}

fn missing_is_fine(done: Result<(), BenchError>, is_fine: bool) -> Result<(), BenchError> {
    match done {
        Err(BenchError::Refused {
            status: 404 | 410, ..
        }) if is_fine => Ok(()),
        done => done,
    }
}

/// Makes the stream that a run of this plan reads, to be named in [`Plan::found`]: for what happens
/// to the server between the two.
pub fn fill(target: &Target, plan: &Plan) -> Result<Content, BenchError> {
    plan.check()?;
    let requests = Requests::new(target);
    filled(plan, &mut Plain::open(target, &requests)?, &mut || Ok(()))
}

fn filled(plan: &Plan, plain: &mut Plain<'_>, go_on: &mut GoOn<'_>) -> Result<Content, BenchError> {
    let name = plan.name(0);
    plain.create(&name, TEXT)?;
    let text = filler(FILL_BYTES * 2);
    let mut content = Content::default();
    while content.bytes < plan.prefill {
        go_on()?;
        let left = plan.prefill - content.bytes;
        let bytes = usize::try_from(left).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
        // Every append begins elsewhere in the text, so that two that change places are seen.
        let start = usize::try_from(content.bytes % 251).expect("small");
        let start = start * (FILL_BYTES / 251);
        let body = &text[start..start + bytes];
        plain.append(&name, TEXT, body)?;
        content = content.and(body);
    }
    Ok(content)
}

/// Progress beside the load.
fn beside(phase: Phase, made: Made) -> Progress {
    Progress {
        phase,
        elapsed: Duration::ZERO,
        requests: 0,
        deliveries: 0,
        streams: made.streams,
        subscriptions: made.subscriptions,
    }
}

/// Every byte of so many streams was compared as it came.
fn compared(streams: usize) -> Verified {
    Verified {
        streams: streams as u64,
        messages: 0,
    }
}
