//! `millrace append-all`: lines for many streams, each answered on its own.
//!
//! Lines are sent as they came: what is wrong with one is the server's to say, in its place.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use millrace_client::{Batch, LineAnswer, LineOutcome, Offset, Together};
use millrace_core::limits::APPEND_BYTES_CEILING;
use millrace_env::{tasks, timeout};
use millrace_wire::batch::LINES_MAX;
use serde_json::{Value, json};

use super::{
    Place,
    args::AppendAllArgs,
    input::{self, Batches, Cut, Flush, Framing, Source},
    out::{self, Written},
};
use crate::{
    fail::{Failure, Kind},
    signals::{LastWord, Signals},
};

/// How long a request that is under way may take after a signal.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The most bytes of lines of one request, where they may be in several.
const REQUEST_BYTES: usize = 1 << 20;

/// Sends the lines; prints a line for each.
pub(crate) async fn append_all(args: &AppendAllArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let place = Place::new(&args.server)?;
    let json = args.server.talk.json;
    let mut run = Run {
        args,
        place: &place,
        lines: 0,
        counts: Counts::default(),
        in_doubt: false,
    };
    let source = tokio::select! {
        biased;
        kind = signals.next() => return Ok(run.last_word().say(json, kind)),
        source = source(args) => source?,
    };
    let batches = input::batches(source, cut(args))?;
    match run.all(batches, &mut signals).await {
        Ok(()) => run.finish(),
        Err(Stop::Unread) => Ok(ExitCode::SUCCESS),
        Err(Stop::Signal(kind)) => Ok(run.last_word().say(json, kind)),
        Err(Stop::Failed(failure)) => Err(run.explain(failure)),
    }
}

async fn source(args: &AppendAllArgs) -> Result<Source, Failure> {
    match &args.file {
        Some(path) if path.as_os_str() != "-" => {
            let path = path.clone();
            // A pipe with a name waits for its writer.
            let opened = tasks::blocking(move || input::file(&path)).await;
            opened
                .map(|(source, _)| source)
                .map_err(|failure| failure.help("name a file of lines, or `-` for standard input"))
        }
        _ => {
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                let talk = args.server.talk;
                talk.say("reading what you type, a JSON object a line; end with Ctrl-D");
            }
            Ok(Source::Stdin)
        }
    }
}

/// All of an atomic input is one request.
fn cut(args: &AppendAllArgs) -> Cut {
    let (flush, bytes_max) = if args.atomic {
        let ceiling = usize::try_from(APPEND_BYTES_CEILING).unwrap_or(usize::MAX);
        (Flush::WhenFull, ceiling)
    } else {
        (Flush::WhenIdle, REQUEST_BYTES)
    };
    Cut {
        framing: Framing::Asks,
        flush,
        messages_max: LINES_MAX as u64,
        bytes_max,
    }
}

/// Why it did not come to its end.
enum Stop {
    Failed(Failure),
    Signal(Kind),
    /// Nobody reads the answers.
    Unread,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What became of lines so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    appended: u64,
    duplicate: u64,
    refused: u64,
}

struct Run<'a> {
    args: &'a AppendAllArgs,
    place: &'a Place,
    /// Lines of the input that were answered or passed over.
    lines: u64,
    counts: Counts,
    /// Whether a request was sent and its answer not heard.
    in_doubt: bool,
}

impl Run<'_> {
    async fn all(&mut self, mut batches: Batches, signals: &mut Signals) -> Result<(), Stop> {
        let mut held = None;
        loop {
            let next = tokio::select! {
                biased;
                kind = signals.next() => return Err(Stop::Signal(kind)),
                next = batches.recv() => next.transpose()?,
            };
            match (held.take(), next) {
                // What is to be one request is sent when nothing follows it.
                (None, Some(batch)) if self.args.atomic => held = Some(batch),
                (Some(_), Some(_)) => return Err(too_many().into()),
                (Some(batch), None) | (None, Some(batch)) => self.one(batch, signals).await?,
                (None, None) => return Ok(()),
            }
        }
    }

    async fn one(&mut self, batch: Batch, signals: &mut Signals) -> Result<(), Stop> {
        let together = if self.args.atomic {
            Together::AllOrNothing
        } else {
            Together::Each
        };
        let client = self.place.client.clone();
        let mut sending = Box::pin(client.append_lines(batch.body.clone(), together));
        let (sent, signal) = tokio::select! {
            biased;
            kind = signals.next() => (timeout(LAST_ANSWER_WITHIN, sending.as_mut()).await, Some(kind)),
            sent = sending.as_mut() => (Some(sent), None),
        };
        match (sent, signal) {
            (Some(Ok(answers)), _) => {
                if self.print(&batch.body, &answers).await? == Written::BrokenPipe {
                    return Err(Stop::Unread);
                }
            }
            (Some(Err(error)), None) => {
                return Err(self.place.failure(&error, None).into());
            }
            (Some(Err(_)) | None, _) => self.in_doubt = true,
        }
        match signal {
            Some(kind) => Err(Stop::Signal(kind)),
            None => Ok(()),
        }
    }

    async fn print(&mut self, body: &Bytes, answers: &[LineAnswer]) -> Result<Written, Failure> {
        let body = body.strip_suffix(b"\n").unwrap_or(body);
        let mut text = String::new();
        let mut answers = answers.iter();
        for line in body.split(|byte| *byte == b'\n') {
            self.lines += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let answer = answers.next().expect("as many answers as lines");
            match &answer.outcome {
                LineOutcome::Appended(_) => self.counts.appended += 1,
                LineOutcome::Duplicate(_) => self.counts.duplicate += 1,
                LineOutcome::Refused(_) => self.counts.refused += 1,
            }
            text.push_str(&if self.args.server.talk.json {
                document(self.lines, answer).to_string()
            } else {
                shown(self.lines, answer)
            });
            text.push('\n');
        }
        out::write(text.into()).await
    }

    fn finish(self) -> Result<ExitCode, Failure> {
        let Counts {
            appended,
            duplicate,
            refused,
        } = self.counts;
        let all = appended + duplicate + refused;
        if refused > 0 {
            return Err(
                Failure::failed(format!("{refused} of {all} lines were refused"))
                    .help("their answers say why; mend them, and send them again"),
            );
        }
        self.args.server.talk.say(match (appended, duplicate) {
            (0, 0) => "nothing to append: the input is empty".to_owned(),
            (_, 0) => format!("{appended} lines were carried out"),
            _ => format!("{appended} lines were carried out, {duplicate} had been before"),
        });
        Ok(ExitCode::SUCCESS)
    }

    /// A failure in the middle, with what was done before it.
    fn explain(&self, failure: Failure) -> Failure {
        let failure = match self.lines {
            0 => failure,
            lines => failure.after(format!("after {lines} lines")),
        };
        match failure.kind() {
            Kind::Unreachable if self.lines > 0 => failure.help(WHAT_IS_SAFE),
            _ => failure,
        }
    }

    fn last_word(&self) -> LastWord {
        let mut what = format!("after {} lines", self.lines);
        if self.in_doubt {
            what.push_str("; whether the request under way was carried out is not known");
        }
        LastWord::new(what, WHAT_IS_SAFE)
            .fact("lines", self.lines)
            .fact("in_doubt", self.in_doubt)
    }
}

const WHAT_IS_SAFE: &str = "send the lines after those again; lines with `producer` count once, however often they are sent";

fn too_many() -> Failure {
    Failure::failed(format!(
        "an atomic request has at most {LINES_MAX} lines; nothing was sent"
    ))
    .help("send fewer lines, or leave --atomic out")
}

/// For people: line number, next offset, what became of it, the stream, and why it was refused.
fn shown(line: u64, answer: &LineAnswer) -> String {
    let stream = answer.stream.as_deref().unwrap_or("-");
    let (outcome, next) = parts(&answer.outcome);
    let next = next.map_or("-", Offset::as_str);
    let why = match answer.outcome.refused() {
        None => String::new(),
        Some(refused) => format!("  {}: {refused}", refused.code),
    };
    format!("{line:<5}  {next:30}  {outcome:9}  {stream}{why}")
}

fn document(line: u64, answer: &LineAnswer) -> Value {
    let (outcome, next) = parts(&answer.outcome);
    let mut told = json!({
        "line": line,
        "stream": answer.stream,
        "outcome": outcome,
        "next_offset": next.map(Offset::as_str),
    });
    match &answer.outcome {
        LineOutcome::Appended(appended) | LineOutcome::Duplicate(appended) => {
            told["closed"] = appended.closed.into();
            told["producer_seq"] = appended.producer_seq.into();
        }
        LineOutcome::Refused(refused) => {
            told["closed"] = refused.closed.into();
            told["error"] = json!({
                "status": refused.status.as_u16(),
                "code": refused.code,
                "message": refused.message,
                "current_epoch": refused.epoch,
                "expected_seq": refused.expected_seq,
                "received_seq": refused.received_seq,
            });
        }
    }
    told
}

fn parts(outcome: &LineOutcome) -> (&'static str, Option<&Offset>) {
    match outcome {
        LineOutcome::Appended(appended) => ("appended", Some(&appended.next_offset)),
        LineOutcome::Duplicate(appended) => ("duplicate", Some(&appended.next_offset)),
        LineOutcome::Refused(refused) => ("refused", refused.next_offset.as_ref()),
    }
}
