//! PUT: making a stream, plain or as a copy of another's beginning, and finding it again.

use std::collections::BTreeMap;

use millrace_core::{
    Body, ContentKind, ContentType, CreateSpec, ForkAnchor, ForkRequest, Lifetime, Refusal,
    StreamName, Timestamp, stream::Outcome,
};

use crate::{
    model::{Model, Reply, first_messages},
    stream::{Branch, Closed, Message, Stream},
};

impl Model {
    pub(crate) fn make(&mut self, name: &StreamName, spec: &CreateSpec, body: &Body) -> Reply {
        let copy = match &spec.fork {
            None => None,
            Some(fork) => Some(self.copy_source(fork)?),
        };
        if name.is_sub_resource() {
            return Err(Refusal::ReservedName);
        }
        let first = first_messages(body)?;
        let (content_type, lifetime) = match &copy {
            None => (spec.content_type.clone().unwrap_or_default(), spec.lifetime),
            Some(copy) => inherited(spec, &copy.content_type, copy.lifetime)?,
        };
        let deadline = match lifetime {
            Lifetime::Until(Timestamp(at)) if at <= self.now => {
                return Err(Refusal::ExpiresInThePast);
            }
            Lifetime::Until(Timestamp(at)) => Some(at),
            Lifetime::Ttl(seconds) => Some(self.now + seconds * 1000),
            Lifetime::Unlimited => None,
        };
        let writer = self.new_writer();
        let inherited = copy.as_ref().filter(|copy| !copy.messages.is_empty());
        let trimmed = copy.as_ref().map_or(0, |copy| copy.trimmed);
        let mut stream = Stream {
            starter: inherited.map_or(writer, |copy| copy.starter),
            spec: spec.clone(),
            content_type,
            lifetime,
            branch: copy.as_ref().map(|copy| copy.branch.clone()),
            messages: copy.map(|copy| copy.messages).unwrap_or_default(),
            writer,
            closed: Closed::No,
            last_seq: None,
            producers: BTreeMap::new(),
            soft_deleted: false,
            deadline,
            live_readers: 0,
            trimmed,
        };
        stream.write(first);
        if spec.closed {
            stream.closed = Closed::Yes { by: None };
        }
        let summary = stream.summary();
        self.streams.insert(name.clone(), stream);
        Ok(Outcome::Created(summary))
    }

    fn copy_source(&mut self, fork: &ForkRequest) -> Result<Copy, Refusal> {
        self.settle(&fork.source);
        let source = match self.streams.get(&fork.source) {
            None => return Err(Refusal::SourceNotFound),
            Some(source) if source.soft_deleted => return Err(Refusal::SourceSoftDeleted),
            Some(source) => source,
        };
        let anchor = source.anchor(fork.anchor)?;
        let until = source.past_anchor(anchor, fork.sub_offset)?;
        Ok(Copy {
            starter: source.starter,
            content_type: source.content_type.clone(),
            lifetime: source.lifetime,
            branch: Branch {
                source: fork.source.clone(),
                anchor,
            },
            messages: source.first(until),
            trimmed: source.trimmed,
        })
    }
}

struct Copy {
    starter: u64,
    content_type: ContentType,
    lifetime: Lifetime,
    branch: Branch,
    messages: Vec<Message>,
    trimmed: u64,
}

/// PROTOCOL 4.2: what is named wins, but the content type may not differ.
fn inherited(
    spec: &CreateSpec,
    content_type: &ContentType,
    lifetime: Lifetime,
) -> Result<(ContentType, Lifetime), Refusal> {
    if spec
        .content_type
        .as_ref()
        .is_some_and(|asked| asked != content_type)
    {
        return Err(Refusal::ForkContentType);
    }
    let lifetime = match spec.lifetime {
        Lifetime::Unlimited => lifetime,
        named => named,
    };
    Ok((content_type.clone(), lifetime))
}

impl Stream {
    /// PUT of a name that is there: fine if it asks for what is there.
    pub(crate) fn found_by(&self, asked: &CreateSpec) -> Reply {
        let differs = |differs| Err(Refusal::Config { differs });
        if !self.branched_as(asked.fork.as_ref()) {
            return differs("branch");
        }
        let is_fork = asked.fork.is_some();
        let content_type = match &asked.content_type {
            Some(content_type) => content_type.clone(),
            None if is_fork => self.content_type.clone(),
            None => ContentType::default(),
        };
        if content_type != self.content_type {
            return differs("content type");
        }
        let has_inherited = is_fork && asked.lifetime == self.lifetime;
        if asked.lifetime != self.spec.lifetime && !has_inherited {
            return differs("lifetime");
        }
        if asked.closed != self.is_closed() {
            return differs("closure");
        }
        Ok(Outcome::Exists(self.summary()))
    }

    fn branched_as(&self, asked: Option<&ForkRequest>) -> bool {
        let (branch, asked) = match (&self.branch, asked) {
            (None, None) => return true,
            (Some(branch), Some(asked)) => (branch, asked),
            _ => return false,
        };
        let sub_offset = self.spec.fork.as_ref().map(|fork| fork.sub_offset);
        let was = self.spec.fork.as_ref().map(|fork| fork.anchor);
        let same_anchor = match asked.anchor {
            _ if was == Some(asked.anchor) => true,
            ForkAnchor::Tail => true,
            ForkAnchor::Start => branch.anchor == 0 || was == Some(ForkAnchor::Start),
            // There is one start, whoever wrote the first byte of it.
            ForkAnchor::At(offset) if branch.anchor == 0 => offset.position.get() == 0,
            ForkAnchor::At(offset) => self.offset_at(branch.anchor) == offset,
        };
        branch.source == asked.source && sub_offset == Some(asked.sub_offset) && same_anchor
    }

    fn anchor(&self, anchor: ForkAnchor) -> Result<u64, Refusal> {
        match anchor {
            ForkAnchor::Tail => Ok(self.len()),
            ForkAnchor::Start => Ok(self.trimmed),
            ForkAnchor::At(offset) if offset.position.get() < self.trimmed => {
                Err(Refusal::ForkPosition)
            }
            ForkAnchor::At(offset) if self.owns(offset) && self.can_be_read_from(offset) => {
                Ok(offset.position.get())
            }
            ForkAnchor::At(_) => Err(Refusal::ForkPosition),
        }
    }

    /// The position `sub_offset` bytes (JSON: messages) past `anchor`, within the append that lies
    /// there.
    fn past_anchor(&self, anchor: u64, sub_offset: u64) -> Result<u64, Refusal> {
        if sub_offset == 0 {
            return Ok(anchor);
        }
        let ends = self.ends();
        let here = ends.iter().position(|end| *end > anchor);
        let here = here.ok_or(Refusal::ForkPosition)?;
        let next_append = |index: &usize| self.messages[*index].starts_append;
        let after = (here + 1..self.messages.len()).find(next_append);
        let ends = &ends[here..after.unwrap_or(self.messages.len())];
        if self.content_type.kind() == ContentKind::Json {
            let nth = usize::try_from(sub_offset - 1).expect("in memory");
            return ends.get(nth).copied().ok_or(Refusal::ForkPosition);
        }
        let last = *ends.last().expect("the message at the anchor");
        let until = anchor.saturating_add(sub_offset);
        if until <= last {
            Ok(until)
        } else {
            Err(Refusal::ForkPosition)
        }
    }

    /// A copy of the first `until` bytes; the last message may be cut.
    fn first(&self, until: u64) -> Vec<Message> {
        let mut left = usize::try_from(until).expect("in memory");
        let mut copy = Vec::new();
        for message in &self.messages {
            let mut message = message.clone();
            message.bytes.truncate(left);
            left -= message.bytes.len();
            if !message.bytes.is_empty() {
                copy.push(message);
            }
        }
        copy
    }
}
