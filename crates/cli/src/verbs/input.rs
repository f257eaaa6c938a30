//! From input to batches, on a thread of its own.
//!
//! INVARIANT: with [`Flush::WhenFull`] batches depend on the input and the two bounds alone, so that
//! the same input makes the same batches in every run (see `millrace_client::batch`).
//!
//! BOUND: two batches wait to be sent; reading stops meanwhile.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use millrace_client::{Batch, JsonBatcher};
use millrace_core::{BodyFault, limits::APPEND_BYTES_CEILING};
use millrace_env::tasks;
use millrace_wire::json;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use super::asks::AskBatcher;
use crate::fail::Failure;

const READ_BYTES: usize = 256 << 10;
const WAITING: usize = 2;
/// How long input may pause before what there is of it is sent.
const PAUSE: Duration = Duration::from_millis(10);

/// What is read.
#[derive(Debug)]
pub(crate) enum Source {
    Text(String),
    Stdin,
    File(File),
}

/// How it becomes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One JSON document; an array is its elements.
    Json,
    /// A JSON message a line.
    Lines,
    /// Bytes, cut where a batch is full.
    Bytes,
    /// Lines as they are, one append each.
    Asks,
}

/// When a batch is sent that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// At the end of the input.
    WhenFull,
    /// When the input pauses.
    WhenIdle,
}

/// How to cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) framing: Framing,
    pub(crate) flush: Flush,
    pub(crate) messages_max: u64,
    pub(crate) bytes_max: usize,
}

/// Batches as they become ready; the end of the channel is the end of the input.
pub(crate) type Batches = mpsc::Receiver<Result<Batch, Failure>>;

/// Opens a file; and how long it is, when that is known.
#[expect(
    clippy::disallowed_methods,
    reason = "a file of the user's, no part of a data directory"
)]
pub(crate) fn file(path: &Path) -> Result<(Source, Option<u64>), Failure> {
    let failed = |error| {
        Failure::failed(format!("cannot read {}: {error}", path.display())).help("check --file")
    };
    let file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if facts.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let len = facts.is_file().then_some(facts.len());
    Ok((Source::File(file), len))
}

/// Starts reading.
pub(crate) fn batches(source: Source, cut: Cut) -> Result<Batches, Failure> {
    let (tell, told) = mpsc::channel(WAITING);
    let work = move || {
        let done = match source {
            Source::Text(text) => run(text.as_bytes(), cut, &tell, || true),
            Source::File(file) => run(file, cut, &tell, || true),
            Source::Stdin => {
                let stdin = io::stdin();
                run(stdin.lock(), cut, &tell, || is_readable(&io::stdin()))
            }
        };
        if let Err(Stop::Failed(failure)) = done {
            // Whoever waited is gone: then nobody wants to know.
            let _ = tell.blocking_send(Err(failure));
        }
    };
    tasks::thread("input", work)
        .map_err(|error| Failure::failed(format!("no thread for the input: {error}")))?;
    Ok(told)
}

/// Whether there is something to read, or the end, before [`PAUSE`] is over.
fn is_readable(stdin: &io::Stdin) -> bool {
    let fd = stdin.as_fd();
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(PAUSE.as_nanos()).unwrap_or(0),
    };
    // What cannot be polled is never idle.
    !matches!(
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&pause)),
        Ok(0)
    )
}

/// Why reading ends early.
enum Stop {
    Failed(Failure),
    /// Nobody takes batches any more.
    Unwanted,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

type Sender = mpsc::Sender<Result<Batch, Failure>>;

fn send(tell: &Sender, batch: Option<Batch>) -> Result<(), Stop> {
    match batch {
        None => Ok(()),
        Some(batch) => tell.blocking_send(Ok(batch)).map_err(|_| Stop::Unwanted),
    }
}

fn run(
    mut input: impl Read,
    cut: Cut,
    tell: &Sender,
    is_readable: impl Fn() -> bool,
) -> Result<(), Stop> {
    let mut framer = Framer::new(cut);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if cut.flush == Flush::WhenIdle && framer.can_flush() && !is_readable() {
            send(tell, framer.flush())?;
        }
        let len = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::failed(format!("the input cannot be read: {error}")).into());
            }
        };
        framer.push(&buffer[..len], &mut |batch| send(tell, Some(batch)))?;
    }
    framer.end(&mut |batch| send(tell, Some(batch)))
}

type Give<'a> = &'a mut dyn FnMut(Batch) -> Result<(), Stop>;

/// Cuts input that comes in pieces.
struct Framer {
    cut: Cut,
    json: JsonBatcher,
    asks: AskBatcher,
    /// A line, a document or a batch of bytes that is not whole yet.
    held: Vec<u8>,
    line_number: u64,
}

impl Framer {
    fn new(cut: Cut) -> Self {
        Self {
            cut,
            json: JsonBatcher::new(cut.messages_max, cut.bytes_max),
            asks: AskBatcher::new(cut.messages_max, cut.bytes_max),
            held: Vec::new(),
            line_number: 0,
        }
    }

    fn push(&mut self, piece: &[u8], give: Give<'_>) -> Result<(), Stop> {
        match self.cut.framing {
            Framing::Lines | Framing::Asks => self.lines(piece, give)?,
            Framing::Json => self.held.extend_from_slice(piece),
            Framing::Bytes => return self.bytes(piece, give),
        }
        if self.held.len() as u64 > APPEND_BYTES_CEILING {
            let what = match self.cut.framing {
                Framing::Lines | Framing::Asks => "a line of the input is over 1 GiB",
                _ => "the input is one JSON document of over 1 GiB",
            };
            return Err(Failure::failed(what)
                .help("put one message a line, and use --ndjson")
                .into());
        }
        Ok(())
    }

    fn lines(&mut self, mut piece: &[u8], give: Give<'_>) -> Result<(), Stop> {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(end + 1);
            piece = rest;
            if self.held.is_empty() {
                self.line(line, give)?;
            } else {
                self.held.extend_from_slice(line);
                let line = std::mem::take(&mut self.held);
                self.line(&line, give)?;
            }
        }
        self.held.extend_from_slice(piece);
        Ok(())
    }

    fn line(&mut self, line: &[u8], give: Give<'_>) -> Result<(), Stop> {
        if self.cut.framing == Framing::Asks {
            return self.asks.push(line).map_or(Ok(()), give);
        }
        self.line_number += 1;
        let len = line.len() as u64;
        let message = line.trim_ascii();
        if message.is_empty() {
            self.json.skip(len);
            return Ok(());
        }
        check_one(message).map_err(|fault| {
            Failure::failed(format!(
                "line {} is no JSON message: {fault}",
                self.line_number
            ))
            .help("every line is one JSON value; nothing of this line's batch was appended")
        })?;
        match self.json.push(message, len) {
            Some(batch) => give(batch),
            None => Ok(()),
        }
    }

    fn bytes(&mut self, mut piece: &[u8], give: Give<'_>) -> Result<(), Stop> {
        while !piece.is_empty() {
            let room = self.cut.bytes_max - self.held.len();
            let (now, rest) = piece.split_at(room.min(piece.len()));
            self.held.extend_from_slice(now);
            piece = rest;
            if self.held.len() == self.cut.bytes_max {
                let batch = self.held_bytes();
                batch.map_or(Ok(()), &mut *give)?;
            }
        }
        Ok(())
    }

    fn held_bytes(&mut self) -> Option<Batch> {
        if self.held.is_empty() {
            return None;
        }
        let body = Bytes::from(std::mem::take(&mut self.held));
        Some(Batch {
            messages: 1,
            input_bytes: body.len() as u64,
            body,
        })
    }

    /// Whether something could be sent before more comes.
    fn can_flush(&self) -> bool {
        match self.cut.framing {
            Framing::Lines => !self.json.is_empty(),
            Framing::Json => false,
            Framing::Bytes => !self.held.is_empty(),
            Framing::Asks => !self.asks.is_empty(),
        }
    }

    fn flush(&mut self) -> Option<Batch> {
        match self.cut.framing {
            Framing::Lines => self.json.finish(),
            Framing::Json => None,
            Framing::Bytes => self.held_bytes(),
            Framing::Asks => self.asks.finish(),
        }
    }

    fn end(mut self, give: Give<'_>) -> Result<(), Stop> {
        match self.cut.framing {
            Framing::Lines | Framing::Asks => {
                let line = std::mem::take(&mut self.held);
                if !line.is_empty() {
                    self.line(&line, give)?;
                }
            }
            Framing::Json => self.document(give)?,
            Framing::Bytes => {}
        }
        self.flush_last().map_or(Ok(()), give)
    }

    fn flush_last(&mut self) -> Option<Batch> {
        match self.cut.framing {
            Framing::Bytes => self.held_bytes(),
            Framing::Lines | Framing::Json => self.json.finish(),
            Framing::Asks => self.asks.finish(),
        }
    }

    fn document(&mut self, give: Give<'_>) -> Result<(), Stop> {
        let document = std::mem::take(&mut self.held);
        if document.trim_ascii().is_empty() {
            return Ok(());
        }
        let payload = json::split(&document).map_err(|fault| {
            Failure::failed(fault)
                .help("an array is its elements; one message a line needs --ndjson")
        })?;
        let mut rest = &payload.bytes()[..];
        for len in payload.lengths() {
            let (message, after) = rest.split_at(len as usize);
            rest = after;
            // Without the comma that stored messages end with.
            let message = &message[..message.len() - 1];
            if let Some(batch) = self.json.push(message, u64::from(len)) {
                give(batch)?;
            }
        }
        Ok(())
    }
}

/// One JSON value, whatever it is. Checked here because lines are put together to arrays: `1,2` must
/// not become two messages.
fn check_one(message: &[u8]) -> Result<(), BodyFault> {
    match json::split(message) {
        Ok(_) | Err(BodyFault::EmptyArray) => Ok(()),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_up(framing: Framing, pieces: &[&str], bytes_max: usize) -> Result<Vec<String>, String> {
        let mut framer = Framer::new(Cut {
            framing,
            flush: Flush::WhenFull,
            messages_max: 3,
            bytes_max,
        });
        let mut out = Vec::new();
        let mut give = |batch: Batch| {
            out.push(String::from_utf8_lossy(&batch.body).into_owned());
            Ok(())
        };
        let mut done = Ok(());
        for piece in pieces {
            done = done.and_then(|()| framer.push(piece.as_bytes(), &mut give));
        }
        match done.and_then(|()| framer.end(&mut give)) {
            Ok(()) => Ok(out),
            Err(Stop::Failed(failure)) => Err(failure.to_string()),
            Err(Stop::Unwanted) => panic!("wanted"),
        }
    }

    #[test]
    fn batches_are_the_same_however_the_input_comes() {
        let text = "{\"n\":1}\n\n [2] \r\n\"three\"\n4\n[]\nnull";
        let want = ["[{\"n\":1},[2],\"three\"]", "[4,[],null]"];
        for size in 1..text.len() {
            let pieces: Vec<&str> = text
                .as_bytes()
                .chunks(size)
                .map(|piece| std::str::from_utf8(piece).expect("ASCII"))
                .collect();
            assert_eq!(cut_up(Framing::Lines, &pieces, 100).expect("lines"), want);
            let bytes = cut_up(Framing::Bytes, &pieces, 7).expect("bytes");
            assert_eq!(bytes.concat(), text);
            assert!(
                bytes[..bytes.len() - 1]
                    .iter()
                    .all(|batch| batch.len() == 7)
            );
        }
    }

    #[test]
    fn a_line_that_is_more_or_less_than_a_message_is_named() {
        for bad in ["1,2", "1 2", "{", "],["] {
            let failed = cut_up(Framing::Lines, &["1\n", bad], 100).expect_err("no message");
            assert!(failed.contains("line 2"), "{failed}");
        }
    }

    #[test]
    fn a_document_is_its_elements() {
        let document = "[1, 2,\n 3, [4]]";
        let batches = cut_up(Framing::Json, &[document], 100).expect("JSON");
        assert_eq!(batches, ["[1,2,3]", "[[4]]"]);
        assert_eq!(cut_up(Framing::Json, &["{}"], 100).expect("JSON"), ["[{}]"]);
        assert!(cut_up(Framing::Json, &["{}\n{}"], 100).is_err());
        assert!(
            cut_up(Framing::Json, &[" "], 100)
                .expect("nothing")
                .is_empty()
        );
    }
}
