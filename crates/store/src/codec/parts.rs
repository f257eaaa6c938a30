//! The protocol's nouns as bytes, shared by the log's events and the catalog's rows.
//!
//! Their layouts carry no version: what contains them does. Decoders check every rule of the noun,
//! so that what they give out is as good as what was put in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use millrace_core::{
    ContentType, CreateSpec, DeleteReason, ForkAnchor, ForkPoint, ForkRequest, Generation,
    Lifetime, NewSettings, Offset, ProducerClaim, ProducerId, SettingKey, Settings, StreamId,
    StreamName, StreamPos, Timestamp,
    limits::STREAM_SEQ_BYTES_MAX,
    stream::{Ancestor, Closure, GenerationStart, Generations, ProducerState},
};

use super::{Decoder, Encoder, Malformed, Stored};

/// Numbers that are stored as a varint.
macro_rules! varint {
    ($($name:ident, $what:literal);*) => { $(
        impl Stored for $name {
            fn put(&self, out: &mut Encoder) {
                out.varint(self.0);
            }

            fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
                from.varint($what).map(Self)
            }
        }
    )* };
}

varint! {
    StreamPos, "a stream position";
    Timestamp, "a time"
}

/// At most what an offset token can carry.
impl Stored for Generation {
    fn put(&self, out: &mut Encoder) {
        out.varint(self.0);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a generation");
        let generation = from.varint("a generation").map(Self)?;
        (generation <= Self::MAX).then_some(generation).ok_or(fault)
    }
}

/// Eight bytes: its slot sits in the high bits, so that a varint would be longer.
impl Stored for StreamId {
    fn put(&self, out: &mut Encoder) {
        out.u64(self.get());
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        from.u64("a stream id").map(Self::from_raw)
    }
}

impl Stored for StreamName {
    fn put(&self, out: &mut Encoder) {
        out.text(self.as_str());
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a stream name");
        Self::stored(from.text("a stream name")?).map_err(|_| fault)
    }
}

impl Stored for ContentType {
    fn put(&self, out: &mut Encoder) {
        out.text(self.as_str());
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a content type");
        let text = from.text("a content type")?;
        // It trims what a client sends; what is stored was trimmed before.
        Self::new(text)
            .filter(|made| made.as_str() == text)
            .ok_or(fault)
    }
}

impl Stored for ProducerId {
    fn put(&self, out: &mut Encoder) {
        out.text(self.as_str());
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a producer id");
        Self::new(from.text("a producer id")?).ok_or(fault)
    }
}

impl Stored for ProducerClaim {
    fn put(&self, out: &mut Encoder) {
        self.id.put(out);
        out.varint(self.epoch);
        out.varint(self.seq);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: Stored::take(from)?,
            epoch: from.varint("a producer epoch")?,
            seq: from.varint("a producer sequence number")?,
        })
    }
}

impl Stored for ProducerState {
    fn put(&self, out: &mut Encoder) {
        out.varint(self.epoch);
        out.varint(self.seq);
        self.used_at.put(out);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            epoch: from.varint("a producer epoch")?,
            seq: from.varint("a producer sequence number")?,
            used_at: Stored::take(from)?,
        })
    }
}

/// Appends changes of settings.
pub fn put_changes(changes: &[(SettingKey, Option<Arc<[u8]>>)], out: &mut Encoder) {
    out.varint(changes.len() as u64);
    for (key, document) in changes {
        out.u8(key.0);
        document.is_some().put(out);
        if let Some(document) = document {
            out.bytes(document);
        }
    }
}

/// Reads what [`put_changes`] wrote: each key once, in no order that means anything; a document is
/// never empty.
pub fn take_changes(from: &mut Decoder<'_>) -> Result<NewSettings, Malformed> {
    let fault = from.malformed("changes of settings");
    let count = from.count(2, "changes of settings")?;
    let mut changes = NewSettings::with_capacity(count);
    for _ in 0..count {
        let key = SettingKey(from.u8("the key of a document")?);
        let document = if bool::take(from)? {
            Some(Arc::from(from.bytes("a document")?))
        } else {
            None
        };
        let is_empty = document
            .as_ref()
            .is_some_and(|document: &Arc<[u8]>| document.is_empty());
        if is_empty || changes.iter().any(|(known, _)| *known == key) {
            return Err(fault);
        }
        changes.push((key, document));
    }
    if changes.is_empty() {
        Err(fault)
    } else {
        Ok(changes)
    }
}

/// All of a stream's settings, as the catalog has them.
impl Stored for Settings {
    fn put(&self, out: &mut Encoder) {
        out.varint(self.revision());
        out.varint(self.content_revision());
        out.varint(self.documents().len() as u64);
        for (key, document) in self.documents() {
            out.u8(key.0);
            out.bytes(document);
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("settings");
        let revision = from.varint("a revision")?;
        let content_revision = from.varint("a revision")?;
        let count = from.count(3, "settings")?;
        let mut documents = BTreeMap::new();
        for _ in 0..count {
            let key = SettingKey(from.u8("the key of a document")?);
            let document: Arc<[u8]> = from.bytes("a document")?.into();
            let is_last = documents
                .last_key_value()
                .is_none_or(|(last, _)| *last < key);
            if !is_last || documents.insert(key, document).is_some() {
                return Err(fault);
            }
        }
        Self::stored(revision, content_revision, documents).ok_or(fault)
    }
}

/// Appends a `Stream-Seq`, if there is one.
pub fn put_seq(seq: Option<&Arc<str>>, out: &mut Encoder) {
    seq.is_some().put(out);
    if let Some(seq) = seq {
        out.text(seq);
    }
}

/// Reads what [`put_seq`] wrote.
pub fn take_seq(from: &mut Decoder<'_>) -> Result<Option<Arc<str>>, Malformed> {
    if !bool::take(from)? {
        return Ok(None);
    }
    let fault = from.malformed("a stream-seq");
    let seq = from.text("a stream-seq")?;
    let fits = seq.len() <= STREAM_SEQ_BYTES_MAX;
    fits.then(|| Some(seq.into())).ok_or(fault)
}

impl Stored for Lifetime {
    fn put(&self, out: &mut Encoder) {
        match self {
            Self::Unlimited => out.u8(0),
            Self::Ttl(seconds) => {
                out.u8(1);
                out.varint(*seconds);
            }
            Self::Until(at) => {
                out.u8(2);
                at.put(out);
            }
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a lifetime");
        match from.u8("a lifetime")? {
            0 => Ok(Self::Unlimited),
            1 => from.varint("a lifetime").map(Self::Ttl),
            2 => Timestamp::take(from).map(Self::Until),
            _ => Err(fault),
        }
    }
}

impl Stored for Offset {
    fn put(&self, out: &mut Encoder) {
        self.generation.put(out);
        self.position.put(out);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            generation: Stored::take(from)?,
            position: Stored::take(from)?,
        })
    }
}

impl Stored for ForkAnchor {
    fn put(&self, out: &mut Encoder) {
        match self {
            Self::Tail => out.u8(0),
            Self::Start => out.u8(1),
            Self::At(offset) => {
                out.u8(2);
                offset.put(out);
            }
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a fork anchor");
        match from.u8("a fork anchor")? {
            0 => Ok(Self::Tail),
            1 => Ok(Self::Start),
            2 => Offset::take(from).map(Self::At),
            _ => Err(fault),
        }
    }
}

impl Stored for ForkRequest {
    fn put(&self, out: &mut Encoder) {
        self.source.put(out);
        self.anchor.put(out);
        out.varint(self.sub_offset);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            source: Stored::take(from)?,
            anchor: Stored::take(from)?,
            sub_offset: from.varint("a sub-offset")?,
        })
    }
}

impl Stored for CreateSpec {
    fn put(&self, out: &mut Encoder) {
        self.content_type.put(out);
        self.lifetime.put(out);
        self.closed.put(out);
        self.fork.put(out);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            content_type: Stored::take(from)?,
            lifetime: Stored::take(from)?,
            closed: Stored::take(from)?,
            fork: Stored::take(from)?,
        })
    }
}

impl Stored for ForkPoint {
    fn put(&self, out: &mut Encoder) {
        self.source.put(out);
        self.anchor.put(out);
        self.at.put(out);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            source: Stored::take(from)?,
            anchor: Stored::take(from)?,
            at: Stored::take(from)?,
        })
    }
}

impl Stored for Ancestor {
    fn put(&self, out: &mut Encoder) {
        self.stream.put(out);
        self.until.put(out);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            stream: Stored::take(from)?,
            until: Stored::take(from)?,
        })
    }
}

/// Appends who holds a fork's inherited bytes.
pub fn put_lineage(lineage: &[Ancestor], out: &mut Encoder) {
    out.list(lineage.iter());
}

/// Reads what [`put_lineage`] wrote: positions strictly increasing, none of them 0.
pub fn take_lineage(from: &mut Decoder<'_>) -> Result<Arc<[Ancestor]>, Malformed> {
    let fault = from.malformed("a lineage");
    let lineage: Vec<Ancestor> = from.list("a lineage")?;
    let starts = lineage
        .first()
        .is_none_or(|first| first.until > StreamPos::ZERO);
    let rises = lineage.is_sorted_by(|a, b| a.until < b.until);
    (starts && rises).then(|| lineage.into()).ok_or(fault)
}

impl Stored for GenerationStart {
    fn put(&self, out: &mut Encoder) {
        self.generation.put(out);
        self.from.put(out);
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            generation: Stored::take(from)?,
            from: Stored::take(from)?,
        })
    }
}

/// Appends which generation wrote which positions.
pub fn put_generations(generations: &[GenerationStart], out: &mut Encoder) {
    out.list(generations.iter());
}

/// Reads what [`put_generations`] wrote: a list that may stand in a stream.
pub fn take_generations(from: &mut Decoder<'_>) -> Result<Arc<[GenerationStart]>, Malformed> {
    let fault = from.malformed("the generations");
    let list: Vec<GenerationStart> = from.list("the generations")?;
    let valid = Generations::is_valid(&list);
    valid.then(|| list.into()).ok_or(fault)
}

/// Appends the forks that refer to a stream, in order.
pub fn put_forks(forks: &BTreeSet<StreamId>, out: &mut Encoder) {
    out.list(forks.iter());
}

/// Reads what [`put_forks`] wrote: strictly increasing.
pub fn take_forks(from: &mut Decoder<'_>) -> Result<BTreeSet<StreamId>, Malformed> {
    let fault = from.malformed("the forks");
    let forks: Vec<StreamId> = from.list("the forks")?;
    let rises = forks.is_sorted_by(|a, b| a < b);
    rises.then(|| forks.into_iter().collect()).ok_or(fault)
}

impl Stored for Closure {
    fn put(&self, out: &mut Encoder) {
        match self {
            Self::Open => out.u8(0),
            Self::Closed(None) => out.u8(1),
            Self::Closed(Some(by)) => {
                out.u8(2);
                by.put(out);
            }
        }
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a closure");
        match from.u8("a closure")? {
            0 => Ok(Self::Open),
            1 => Ok(Self::Closed(None)),
            2 => ProducerClaim::take(from).map(|by| Self::Closed(Some(Arc::new(by)))),
            _ => Err(fault),
        }
    }
}

impl Stored for DeleteReason {
    fn put(&self, out: &mut Encoder) {
        out.u8(match self {
            Self::Request => 0,
            Self::Expiry => 1,
        });
    }

    fn take(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let fault = from.malformed("a reason");
        match from.u8("a reason")? {
            0 => Ok(Self::Request),
            1 => Ok(Self::Expiry),
            _ => Err(fault),
        }
    }
}
