//! What holds of an extent, into a new segment.

use std::ops::Range;

use millrace_core::{FilePos, StreamPos};

use super::source::{Part, Source};
use crate::{
    StoreError,
    segment::{Extent, MessageMark, writer::SegmentWriter},
};

/// How many bytes of messages are copied at once.
const COPY_BYTES: u64 = 1 << 20;

/// Copies what holds of an extent, message by message, into as many extents as that takes.
pub(super) struct Copying<'a> {
    source: &'a Source,
    extent: Extent,
    writer: &'a mut SegmentWriter,
    /// Messages that are in the new index, and whose bytes are not copied yet.
    pending: Option<Range<StreamPos>>,
    begun: bool,
}

impl<'a> Copying<'a> {
    pub(super) fn new(source: &'a Source, extent: Extent, writer: &'a mut SegmentWriter) -> Self {
        Self {
            source,
            extent,
            writer,
            pending: None,
            begun: false,
        }
    }

    pub(super) fn run(mut self) -> Result<(), StoreError> {
        let source = self.source;
        source.parts(self.extent, &mut |part| match part {
            Part::Message { from, mark } => self.message(from, mark),
            Part::Lost(_) => self.end(),
        })?;
        self.end()
    }

    fn message(&mut self, from: StreamPos, mark: MessageMark) -> Result<(), StoreError> {
        let len = u32::try_from(mark.end.since(from))
            .map_err(|_| StoreError::corrupt("a message of 4 GiB or more"))?;
        if !self.begun {
            self.writer.begin(self.extent.stream, from);
            self.begun = true;
        }
        self.writer.message(len, mark.starts_append, mark.at);
        let start = self.pending.as_ref().map_or(from, |pending| pending.start);
        self.pending = Some(start..mark.end);
        if mark.end.since(start) >= COPY_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let offset = pending.start.since(self.extent.from);
        let at = FilePos(self.extent.data.get() + offset);
        let bytes = self
            .source
            .file
            .read(at, pending.end.since(pending.start))?;
        self.writer.data(&bytes)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if std::mem::take(&mut self.begun) {
            self.writer.end();
        }
        Ok(())
    }
}
