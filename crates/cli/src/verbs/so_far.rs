//! How far printing came, and the last word of a verb that a signal ended.
//!
//! INVARIANT: the offset told at the end is that after the last page that was written whole, so
//! that going on from there repeats nothing and leaves nothing out.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    process::ExitCode,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use millrace_client::{Offset, StreamName};
use millrace_env::timeout;

use super::{
    Place,
    out::{self, Written},
};
use crate::{
    fail::Failure,
    signals::{LastWord, Signals},
};

/// How long a page that is being written may take after a signal.
const SETTLE_WITHIN: Duration = Duration::from_millis(200);

/// What is being printed, and whether more may be.
#[derive(Default)]
pub(crate) struct Printing {
    /// Whether a page is being written.
    is_writing: Cell<bool>,
    /// Whether no other page may be begun.
    is_stopping: Cell<bool>,
}

/// How far printing of a stream came. Written by the verb, read when a signal came.
pub(crate) struct SoFar {
    printing: Printing,
    /// The offset after the last page that was written whole; `None` as long as a verb that was asked
    /// for something else than an offset has printed nothing.
    at: RefCell<Option<Offset>>,
    begun_at: Option<Offset>,
}

impl Printing {
    /// Prints, unless it is to stop; `whole` notes that it was written.
    pub(crate) async fn write(
        &self,
        text: Bytes,
        whole: impl FnOnce(),
    ) -> Result<Written, Failure> {
        if self.is_stopping.get() {
            return Ok(Written::BrokenPipe);
        }
        self.is_writing.set(true);
        let written = out::write(text).await?;
        if written == Written::Whole {
            whole();
        }
        self.is_writing.set(false);
        Ok(written)
    }

    /// Does `printing` until it is done, or a signal comes and the page under way is settled.
    pub(crate) async fn until_signal(
        &self,
        printing: impl Future<Output = Result<ExitCode, Failure>>,
        json: bool,
        last_word: impl FnOnce() -> LastWord,
    ) -> Result<ExitCode, Failure> {
        let mut signals = Signals::new()?;
        let mut printing = pin!(printing);
        let kind = tokio::select! {
            biased;
            kind = signals.next() => kind,
            ended = printing.as_mut() => return ended,
        };
        self.is_stopping.set(true);
        let settled = poll_fn(|context| {
            if printing.as_mut().poll(context).is_ready() || !self.is_writing.get() {
                return Poll::Ready(());
            }
            Poll::Pending
        });
        // A page that nobody takes is not counted.
        let _ = timeout(SETTLE_WITHIN, settled).await;
        Ok(last_word().say(json, kind))
    }
}

impl SoFar {
    pub(crate) fn new(at: Option<Offset>) -> Self {
        Self {
            printing: Printing::default(),
            begun_at: at.clone(),
            at: RefCell::new(at),
        }
    }

    pub(crate) fn at(&self) -> Option<Offset> {
        self.at.borrow().clone()
    }

    /// Whether something was printed, or found to be nothing.
    pub(crate) fn has_begun(&self) -> bool {
        *self.at.borrow() != self.begun_at
    }

    /// Prints what leads to `next`, unless it is to stop.
    pub(crate) async fn write(&self, text: Bytes, next: &Offset) -> Result<Written, Failure> {
        let whole = || *self.at.borrow_mut() = Some(next.clone());
        self.printing.write(text, whole).await
    }

    /// Does `printing` until it is done, or a signal comes and the page under way is settled.
    pub(crate) async fn until_signal(
        &self,
        printing: impl Future<Output = Result<ExitCode, Failure>>,
        json: bool,
        last_word: impl FnOnce() -> LastWord,
    ) -> Result<ExitCode, Failure> {
        let printing = self.printing.until_signal(printing, json, last_word);
        printing.await
    }

    /// Where it is, and the command that goes on from there; `more` are its other flags.
    pub(crate) fn last_word(
        &self,
        place: &Place,
        verb: &str,
        name: &StreamName,
        more: &str,
    ) -> LastWord {
        let Some(at) = self.at() else {
            let again = place.command(verb, name, more);
            return LastWord::new(
                "before anything was printed",
                format!("run `{again}` again"),
            );
        };
        let resume = place.command(verb, name, &format!(" --offset {at}{more}"));
        LastWord::new(format!("at offset {at}"), format!("go on with `{resume}`"))
            .fact("next_offset", at.as_str())
    }
}
