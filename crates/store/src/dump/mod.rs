//! What is in a data directory, line by line: for people at a terminal and for programs.
//!
//! Reads only, and only verified bytes; what cannot be read is a line of kind `damaged`, and the
//! rest goes on. Take the lock first ([`crate::check::lock`]): a directory in use changes under the
//! reader.
//!
//! Not here: judging what is found (`crate::check`).

pub(crate) mod record;

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    sync::Arc,
};

use millrace_core::{Event, SegmentId, SettingKey, StreamId, stream::StreamState};
use millrace_env::Env;

pub use self::record::Format;
use self::record::Record;
use crate::{
    StoreError,
    catalog::Catalog,
    check::files,
    segment::{Extent, file::SegmentFile},
    wal::{self, FrameInfo, FrameKind, LogId, ScanEnd},
};

/// How much of the catalog is kept in memory while it is printed.
const CACHE_BYTES: usize = 64 << 20;
/// How many streams are read at a time.
const PAGE: usize = 1000;

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// What was to be printed cannot be read at all.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lines cannot be written; a closed pipe too.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Prints every frame of every log, or of one: its place, and one line for every event.
pub fn wal(
    env: &Env,
    only: Option<LogId>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let logs = wal::logs(env)?;
    for log in logs
        .into_iter()
        .filter(|log| only.is_none_or(|only| only == *log))
    {
        // `scan` cannot be told to stop: the first failed write is kept, and the rest goes unseen.
        let mut written = Ok(());
        let end = wal::scan(env, log, None, &mut |frame| {
            if written.is_ok() {
                written = print_frame(log, &frame, format, out);
            }
        });
        written?;
        print_end(log, end, format, out)?;
    }
    Ok(())
}

fn print_frame(
    log: LogId,
    frame: &FrameInfo,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    Record::new("frame")
        .text("log", log)
        .number("segment", frame.segment.0)
        .number("position", frame.position)
        .number("bytes", frame.bytes)
        .number("lsn", frame.lsn.get())
        .text(
            "type",
            match frame.kind {
                FrameKind::Data => "turn",
                FrameKind::Seal => "seal",
                FrameKind::Continued => "continued",
            },
        )
        .number("events", frame.events.len() as u64)
        .write(format, out)?;
    for event in &frame.events {
        event_record(event).write(format, out)?;
    }
    Ok(())
}

fn event_record(event: &Event) -> Record {
    let (kind, stream) = (event_kind(event), event.stream());
    let record = Record::new("event")
        .text("type", kind)
        .text("stream", stream);
    match event {
        Event::Created(created) => record
            .text("name", &created.name)
            .text("content_type", &created.content_type)
            .number("bytes", created.payload.len())
            .maybe_text("source", created.origin.map(|origin| origin.source))
            .number("at", created.at.get()),
        Event::Appended(appended) => {
            let producer = appended.producer.as_ref();
            record
                .number("from", appended.from.get())
                .number("bytes", appended.payload.len())
                .number("messages", appended.payload.message_count())
                .maybe_text("producer", producer.map(|claim| &claim.id))
                .maybe_number("epoch", producer.map(|claim| claim.epoch))
                .maybe_number("seq", producer.map(|claim| claim.seq))
                .flag("closes", appended.closes)
                .number("at", appended.at.get())
        }
        Event::Deleted { reason, .. } => {
            record.text("reason", format!("{reason:?}").to_lowercase())
        }
        Event::Touched { deadline, .. } => record.number("deadline", deadline.get()),
        Event::ForkAdded { fork, .. } | Event::ForkDropped { fork, .. } => {
            record.text("fork", fork)
        }
        Event::Trimmed { to, .. } => record.number("to", to.get()),
        Event::Configured { changes, .. } => configured(record, changes),
        Event::GenerationRaised { generation, .. } => record.number("generation", generation.get()),
    }
}

/// Which documents changed, and how long each is now.
fn configured(record: Record, changes: &[(SettingKey, Option<Arc<[u8]>>)]) -> Record {
    let lengths = changes.iter().map(|(key, document)| {
        let bytes = document.as_ref().map_or(0, |document| document.len());
        format!("{}:{bytes}", key.0)
    });
    record.text("documents", lengths.collect::<Vec<_>>().join(","))
}

fn event_kind(event: &Event) -> &'static str {
    match event {
        Event::Created(_) => "created",
        Event::Appended(_) => "appended",
        Event::Deleted { .. } => "deleted",
        Event::Touched { .. } => "touched",
        Event::ForkAdded { .. } => "fork-added",
        Event::ForkDropped { .. } => "fork-dropped",
        Event::Trimmed { .. } => "trimmed",
        Event::Configured { .. } => "configured",
        Event::GenerationRaised { .. } => "generation-raised",
    }
}

fn print_end(
    log: LogId,
    end: Result<ScanEnd, StoreError>,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    let record = Record::new("end").text("log", log);
    let record = match end {
        Ok(ScanEnd::Clean) => record.text("type", "clean"),
        Ok(ScanEnd::Torn {
            position,
            bytes,
            segment,
        }) => record
            .text("type", "torn")
            .number("segment", segment.0)
            .number("position", position)
            .number("bytes", bytes),
        Ok(ScanEnd::Corrupt { what }) => record.text("type", "corrupt").text("what", what),
        Err(error) => record.text("type", "unreadable").text("what", error),
    };
    record.write(format, out)
}

/// Prints every segment file and its extents, whether or not the catalog names them.
pub fn segments(env: &Env, format: Format, out: &mut dyn Write) -> Result<(), DumpError> {
    for id in files::segments(env)? {
        match SegmentFile::open(env, id).and_then(|file| Ok((file.extents()?, file))) {
            Ok((extents, file)) => print_segment(id, &file, &extents, format, out)?,
            Err(error) => damaged(format!("{:016x}", id.get()), &error).write(format, out)?,
        }
    }
    Ok(())
}

fn print_segment(
    id: SegmentId,
    file: &SegmentFile,
    extents: &[Extent],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    Record::new("segment")
        .text("id", format!("{:016x}", id.get()))
        .number("len", file.trailer().file_len())
        .number("bytes", extents.iter().map(Extent::bytes).sum())
        .number("extents", extents.len() as u64)
        .number("blocks", file.blocks())
        .write(format, out)?;
    for extent in extents {
        extent_record(extent).write(format, out)?;
    }
    Ok(())
}

fn extent_record(extent: &Extent) -> Record {
    Record::new("extent")
        .text("stream", extent.stream)
        .number("from", extent.from.get())
        .number("until", extent.until.get())
        .text("segment", holder(extent))
        .number("data", extent.data.get())
        .number("index", extent.index.get())
        .number("index_pages", u64::from(extent.index_pages))
        .number("messages", extent.messages)
}

/// The segment that holds an extent, or that none does.
fn holder(extent: &Extent) -> String {
    if extent.is_lost() {
        return "lost".to_owned();
    }
    format!("{:016x}", extent.segment.get())
}

/// Prints the catalog: the manifest, every stream with its extents and producers, every segment.
pub fn catalog(env: &Env, format: Format, out: &mut dyn Write) -> Result<(), DumpError> {
    let catalog = Catalog::open_read_only(env, CACHE_BYTES)?;
    if let Some(manifest) = catalog.manifest()? {
        Record::new("manifest")
            .number("version", u64::from(manifest.version))
            .number("boot_epoch", manifest.boot_epoch)
            .number("mode", u64::from(manifest.mode))
            .flag("clean", manifest.clean)
            .number("next_segment", manifest.next_segment.get())
            .text("next_log", manifest.next_log)
            .number("generation_floor", manifest.generation_floor)
            .write(format, out)?;
        for (log, lsn) in manifest.logs {
            let record = Record::new("log").text("id", log);
            record.number("flushed", lsn.get()).write(format, out)?;
        }
    }
    let mut after = None;
    loop {
        let states = catalog.streams(after, PAGE)?;
        let Some(last) = states.last() else { break };
        after = Some(last.id);
        for state in &states {
            print_stream(&catalog, state, format, out)?;
        }
    }
    print_segment_rows(&catalog, format, out)
}

fn print_stream(
    catalog: &Catalog,
    state: &StreamState,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    stream_record(state).write(format, out)?;
    match catalog.extents(state.id) {
        Ok(extents) => {
            for extent in extents {
                extent_record(&extent).write(format, out)?;
            }
        }
        Err(error) => damaged(format!("stream {}", state.id), &error).write(format, out)?,
    }
    for (id, producer) in catalog.producers(state.id)? {
        Record::new("producer")
            .text("stream", state.id)
            .text("id", id)
            .number("epoch", producer.epoch)
            .number("seq", producer.seq)
            .number("used_at", producer.used_at.get())
            .write(format, out)?;
    }
    Ok(())
}

fn stream_record(state: &StreamState) -> Record {
    let config = &state.config;
    let forks: Vec<String> = state.forks.iter().map(StreamId::to_string).collect();
    Record::new("stream")
        .text("id", state.id)
        .text("name", &config.name)
        .text("content_type", &config.content_type)
        .number("own_from", state.own_from().get())
        .number("tail", state.tail.get())
        .number("generation", state.generations.current().get())
        .flag("closed", state.is_closed())
        .flag("soft_deleted", state.soft_deleted)
        .maybe_text("source", config.origin.map(|origin| origin.source))
        .maybe_text("forks", (!forks.is_empty()).then(|| forks.join(",")))
        .maybe_number(
            "deadline",
            state.deadline.map(millrace_core::Timestamp::get),
        )
        .maybe_text("last_seq", state.last_seq.as_ref())
        .number("producers", u64::from(state.producer_count))
        .number("created_at", config.created_at.get())
        .number("written_at", state.written_at.get())
        .number("trimmed", state.trimmed.get())
}

fn print_segment_rows(
    catalog: &Catalog,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    for row in catalog.segments()? {
        Record::new("segment")
            .text("id", format!("{:016x}", row.id.get()))
            .number("len", row.len)
            .number("live", row.live)
            .number("total", row.total)
            .write(format, out)?;
    }
    for id in catalog.doomed()? {
        let record = Record::new("doomed").text("segment", format!("{:016x}", id.get()));
        record.write(format, out)?;
    }
    Ok(())
}

fn damaged(what: String, error: &StoreError) -> Record {
    Record::new("damaged")
        .text("what", what)
        .text("error", error)
}
