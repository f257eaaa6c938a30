//! `millrace append`: input in batches, exactly once with `--producer`, at a tail with
//! `--expected-offset`.
//!
//! INVARIANT: with `--producer` the n-th batch of the input has sequence number n. Batches depend on
//! the input and the two bounds alone, so a second run of the same command maps onto the first one:
//! what the server has is passed over, the rest is sent.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use millrace_client::{
    Batch, ContentKind, ContentType, Error, Head, Offset, Produced, Producer, Stream,
};
use millrace_env::{tasks, timeout};
use serde_json::json;

use super::{
    Place,
    args::AppendArgs,
    input::{self, Batches, Cut, Flush, Framing, Source},
    manage,
    progress::Progress,
    read::start,
};
use crate::{
    fail::{Failure, Kind},
    signals::{LastWord, Signals},
};

/// How long a request that is under way may take after a signal.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Appends the input; prints the offset after it.
pub(crate) async fn append(args: &AppendArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    let place = Place::new(&args.server)?;
    let stream = place.stream(&args.name);
    let ready = tokio::select! {
        biased;
        kind = signals.next() => {
            let help = "run the same command again";
            let word = LastWord::new("before anything was appended", help);
            return Ok(word.say(args.server.talk.json, kind));
        }
        ready = ready(args, &place, &stream) => ready?,
    };
    let cut = cut(args, &ready.head.content_type)?;
    let mut run = Run {
        args,
        place: &place,
        to: To::new(args, &stream, &ready.head.content_type),
        counts: Counts::default(),
        next_offset: ready.head.next_offset,
        in_doubt: false,
        progress: Progress::new(ready.total, args.server.talk),
    };
    let batches = input::batches(ready.source, cut)?;
    let done = run.all(batches, &mut signals).await;
    run.progress.end();
    match done {
        Ok(()) => run.finish().await,
        Err(Stop::Signal(kind)) => Ok(run.last_word().say(args.server.talk.json, kind)),
        Err(Stop::Failed(failure)) => Err(run.explain(failure)),
    }
}

/// What an append begins with.
struct Ready {
    head: Head,
    source: Source,
    total: Option<u64>,
}

async fn ready(args: &AppendArgs, place: &Place, stream: &Stream) -> Result<Ready, Failure> {
    let head = stream.head().await;
    let head = head.map_err(|error| place.failure(&error, Some(&args.name)))?;
    let (source, total) = source(args).await?;
    Ok(Ready {
        head,
        source,
        total,
    })
}

fn cut(args: &AppendArgs, content_type: &ContentType) -> Result<Cut, Failure> {
    let framing = match (args.ndjson, content_type.kind()) {
        (true, ContentKind::Json) => Framing::Lines,
        (true, _) => {
            return Err(Failure::usage(format!(
                "--ndjson is for JSON streams, and {} is {content_type}",
                args.name
            ))
            .help("leave --ndjson out: lines are appended as they are"));
        }
        (false, ContentKind::Json) => Framing::Json,
        (false, ContentKind::Text | ContentKind::Binary) => Framing::Bytes,
    };
    let flush = if args.producer.is_some() {
        Flush::WhenFull
    } else {
        Flush::WhenIdle
    };
    Ok(Cut {
        framing,
        flush,
        messages_max: args.batch_messages,
        bytes_max: args.batch_bytes,
    })
}

async fn source(args: &AppendArgs) -> Result<(Source, Option<u64>), Failure> {
    match (&args.data, &args.file) {
        (_, Some(path)) => {
            let path = path.clone();
            // A pipe with a name waits for its writer.
            tasks::blocking(move || input::file(&path)).await
        }
        (Some(text), None) if text != "-" => {
            Ok((Source::Text(text.clone()), Some(text.len() as u64)))
        }
        _ => {
            let talk = args.server.talk;
            if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
                talk.say("reading what you type; end with Ctrl-D");
            }
            Ok((Source::Stdin, None))
        }
    }
}

/// Why it did not come to its end.
enum Stop {
    Failed(Failure),
    Signal(Kind),
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    messages: u64,
    bytes: u64,
    batches: u64,
    messages_before: u64,
    batches_before: u64,
}

/// How batches are sent.
enum To<'a> {
    Plain(&'a Stream, &'a ContentType),
    /// Each where the one before it ended, the first where the stream is expected to end.
    At {
        stream: &'a Stream,
        content_type: &'a ContentType,
        tail: Offset,
    },
    Producer(Box<Producer>),
}

impl<'a> To<'a> {
    fn new(args: &AppendArgs, stream: &'a Stream, content_type: &'a ContentType) -> Self {
        match (&args.producer, &args.expected_offset) {
            (None, None) => Self::Plain(stream, content_type),
            (None, Some(tail)) => Self::At {
                stream,
                content_type,
                tail: start(tail),
            },
            (Some(id), _) => {
                let producer = stream.producer(id, args.epoch, content_type.clone());
                Self::Producer(Box::new(producer))
            }
        }
    }

    /// The offset after the batch; `None` when it had been there before.
    async fn send(&mut self, body: Bytes) -> Result<Option<Offset>, Error> {
        match self {
            Self::Plain(stream, content_type) => {
                let appended = stream.append(content_type, body).await?;
                Ok(Some(appended.next_offset))
            }
            Self::At {
                stream,
                content_type,
                tail,
            } => {
                let appended = stream.append_at(tail, content_type, body).await?;
                *tail = appended.next_offset;
                Ok(Some(tail.clone()))
            }
            Self::Producer(producer) => match producer.append(body).await? {
                Produced::Appended(appended) => Ok(Some(appended.next_offset)),
                _ => Ok(None),
            },
        }
    }
}

struct Run<'a> {
    args: &'a AppendArgs,
    place: &'a Place,
    to: To<'a>,
    counts: Counts,
    next_offset: Offset,
    /// Whether a batch was sent and its answer not heard.
    in_doubt: bool,
    progress: Progress,
}

impl Run<'_> {
    async fn all(&mut self, mut batches: Batches, signals: &mut Signals) -> Result<(), Stop> {
        loop {
            let batch = tokio::select! {
                biased;
                kind = signals.next() => return Err(Stop::Signal(kind)),
                batch = batches.recv() => batch,
            };
            match batch {
                None => return self.check_end(),
                Some(Ok(batch)) => self.one(batch, signals).await?,
                Some(Err(failure)) => return Err(Stop::Failed(failure)),
            }
        }
    }

    async fn one(&mut self, batch: Batch, signals: &mut Signals) -> Result<(), Stop> {
        let Batch {
            body,
            messages,
            input_bytes,
        } = batch;
        let bytes = body.len() as u64;
        let mut sending = Box::pin(self.to.send(body));
        let (sent, signal) = tokio::select! {
            biased;
            kind = signals.next() => (timeout(LAST_ANSWER_WITHIN, sending.as_mut()).await, Some(kind)),
            sent = sending.as_mut() => (Some(sent), None),
        };
        drop(sending);
        match (sent, signal) {
            (Some(Ok(Some(next))), _) => {
                self.next_offset = next;
                self.counts.messages += messages;
                self.counts.bytes += bytes;
                self.counts.batches += 1;
            }
            (Some(Ok(None)), _) => {
                self.counts.messages_before += messages;
                self.counts.batches_before += 1;
            }
            (Some(Err(error)), None) => {
                return Err(Stop::Failed(self.failure(&error)));
            }
            (Some(Err(_)) | None, _) => self.in_doubt = true,
        }
        self.progress.add(input_bytes);
        match signal {
            Some(kind) => Err(Stop::Signal(kind)),
            None => Ok(()),
        }
    }

    fn failure(&self, error: &Error) -> Failure {
        let tail = match &self.to {
            To::At { tail, .. } => Some(tail),
            To::Plain(..) | To::Producer(_) => None,
        };
        self.place
            .failure_at(error, &self.args.name, tail, "append")
    }

    /// An input that ends before what the server has is not the input it has.
    fn check_end(&self) -> Result<(), Stop> {
        let To::Producer(producer) = &self.to else {
            return Ok(());
        };
        let (Some(accepted), sent) = (producer.accepted(), producer.next_seq()) else {
            return Ok(());
        };
        if accepted < sent {
            return Ok(());
        }
        let had = accepted + 1;
        let failure = Failure::failed(format!(
            "the server has {had} batches of this producer and epoch, and this input makes only {sent}"
        ));
        Err(Stop::Failed(failure.help(format!(
            "is it the same input with the same --batch-messages and --batch-bytes? other input needs --epoch {}",
            self.args.epoch + 1
        ))))
    }

    async fn finish(self) -> Result<ExitCode, Failure> {
        let Counts {
            messages,
            bytes,
            batches,
            messages_before,
            batches_before,
        } = self.counts;
        let talk = self.args.server.talk;
        let name = &self.args.name;
        let next = match &self.to {
            To::Producer(producer) => producer.next_offset().unwrap_or(&self.next_offset),
            To::Plain(..) | To::At { .. } => &self.next_offset,
        };
        talk.say(match (batches, batches_before) {
            (0, 0) => "nothing to append: the input is empty".to_owned(),
            (0, _) => format!(
                "nothing to append to {name}: all {batches_before} batches were there; other input needs --epoch {}",
                self.args.epoch + 1
            ),
            (_, 0) => format!("appended {} to {name}", self.amount(messages, bytes)),
            _ => format!(
                "appended {} to {name}; {batches_before} batches were there already",
                self.amount(messages, bytes)
            ),
        });
        let told = json!({
            "name": name.as_str(),
            "next_offset": next.as_str(),
            "messages": messages,
            "bytes": bytes,
            "batches": batches,
            "messages_already_there": messages_before,
            "batches_already_there": batches_before,
        });
        manage::tell(talk, &told, next.as_str()).await
    }

    fn amount(&self, messages: u64, bytes: u64) -> String {
        let of = |count: u64, one: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {one}{plural}")
        };
        match &self.to {
            To::Plain(_, content_type) | To::At { content_type, .. }
                if content_type.kind() != ContentKind::Json =>
            {
                of(bytes, "byte")
            }
            _ => of(messages, "message"),
        }
    }

    /// A failure in the middle, with what was done before it and how to go on.
    fn explain(&self, failure: Failure) -> Failure {
        let Counts {
            messages, batches, ..
        } = self.counts;
        let says_more = !matches!(self.to, To::Plain(..));
        let has_begun = batches > 0;
        let failure = if has_begun {
            failure.after(format!("after {messages} messages in {batches} batches"))
        } else {
            failure
        };
        if failure.kind() == Kind::Unreachable && (has_begun || says_more) {
            failure.help(self.how_to_go_on())
        } else {
            failure
        }
    }

    fn how_to_go_on(&self) -> String {
        match &self.to {
            To::Producer(_) => {
                "run the same command again: it goes on where it was, without a duplicate".to_owned()
            }
            To::At { tail, .. } => {
                let head = self.place.command("head", &self.args.name, "");
                format!("look with `{head}`: if the next offset is {tail}, the last batch was not appended")
            }
            To::Plain(..) => {
                "whether the last batch was appended is unknown; --producer makes it safe to run a command again".to_owned()
            }
        }
    }

    fn last_word(&self) -> LastWord {
        let Counts {
            messages,
            batches,
            batches_before,
            ..
        } = self.counts;
        let before = match batches_before {
            0 => String::new(),
            _ => format!("; {batches_before} batches were there already"),
        };
        let mut what = format!(
            "after {messages} messages in {batches} batches, at offset {}{before}",
            self.next_offset
        );
        if self.in_doubt {
            what.push_str("; whether the batch under way was appended is not known");
        }
        let help = match (&self.to, self.in_doubt) {
            (To::Plain(..), false) => {
                "the rest of the input was not sent; --producer makes it safe to run a command again".to_owned()
            }
            (To::At { tail, .. }, false) => {
                format!("the rest of the input was not sent; append it with --expected-offset {tail}")
            }
            _ => self.how_to_go_on(),
        };
        LastWord::new(what, help)
            .fact("messages", messages)
            .fact("batches", batches)
            .fact("batches_already_there", batches_before)
            .fact("in_doubt", self.in_doubt)
            .fact("next_offset", self.next_offset.as_str())
    }
}
