//! Reading by message: the last few, a few before an offset, those since a moment, pages of a few, each
//! with its offset and time; over bytes in memory, in segments and in a fork's sources, against a list.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, CreateSpec, ForkAnchor, ForkRequest, Payload, Refusal, StreamName,
    StreamPos, Timestamp,
};
use millrace_engine::{
    Batch, Engine, From, MessageEnd, NewStream, Opened, Options, Page, Reader, Stream, open,
};
use millrace_env::{Env, Rng, SimClock, SimDisk, sleep};

const BEGUN: u64 = 1_800_000_000_000;

/// A message as it must be found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    end: u64,
    at: u64,
    bytes: Vec<u8>,
}

fn size(count: u64) -> usize {
    usize::try_from(count).expect("a test's stream")
}

/// Writes to an engine, and keeps the list.
struct Writer {
    engine: Engine,
    clock: Arc<SimClock>,
    rng: Rng,
    content_type: ContentType,
    name: StreamName,
    messages: Vec<Message>,
}

impl Writer {
    fn is_json(&self) -> bool {
        self.content_type.as_str() == "application/json"
    }

    fn tail(&self) -> u64 {
        self.messages.last().map_or(0, |message| message.end)
    }

    fn note(&mut self, bytes: Vec<u8>, at: u64) {
        self.messages.push(Message {
            end: self.tail() + bytes.len() as u64,
            at,
            bytes,
        });
    }

    async fn create(&mut self) {
        let spec = CreateSpec {
            content_type: Some(self.content_type.clone()),
            ..CreateSpec::default()
        };
        let new = NewStream::new(self.name.clone(), spec, Body::Empty);
        self.engine.create(new).await.expect("is new");
    }

    async fn append(&mut self) {
        let text = |rng: &Rng| "x".repeat(1 + size(rng.below(40)));
        let count = if self.is_json() {
            1 + self.rng.below(400) / 100 * self.rng.below(200)
        } else {
            1
        };
        let values: Vec<String> = (0..count)
            .map(|_| {
                let text = text(&self.rng);
                if self.is_json() {
                    format!("\"{text}\",")
                } else {
                    text
                }
            })
            .collect();
        let lengths: Vec<u32> = values
            .iter()
            .map(|value| u32::try_from(value.len()).expect("short"))
            .collect();
        let payload = Payload::from_lengths(Bytes::from(values.concat()), &lengths);
        let append = Append {
            body: Body::Framed(payload),
            content_type: Some(self.content_type.clone()),
            ..Append::default()
        };
        let appended = self.engine.append(&self.name, append, None).await;
        appended.expect("is there");
        let at = self.now();
        for value in values {
            self.note(value.into_bytes(), at);
        }
        // Half of the appends share a moment with another, and some wait for a flush.
        if self.rng.below(2) == 0 {
            self.clock
                .advance(Duration::from_millis(self.rng.below(50)));
        }
        if self.rng.below(6) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn now(&self) -> u64 {
        use millrace_env::Clock as _;
        self.clock.wall()
    }

    /// Goes on in a fork, which may cut a message of bytes.
    async fn fork(&mut self, number: u32) {
        let boundary = size(self.rng.below(self.messages.len() as u64 + 1));
        let rest = self.messages.split_off(boundary);
        let (anchor, mut sub_offset) = (self.tail(), 0);
        if let Some(cut) = rest.first().filter(|_| self.rng.below(2) == 0) {
            if self.is_json() {
                sub_offset = 1;
                self.messages.push(cut.clone());
            } else if cut.bytes.len() > 1 {
                sub_offset = 1 + self.rng.below(cut.bytes.len() as u64 - 1);
                let bytes = cut.bytes[..size(sub_offset)].to_vec();
                self.note(bytes, cut.at);
            }
        }
        let stream = self.engine.open(&self.name).await.expect("is there");
        let offset = self.offset(&stream, anchor).await;
        let fork = StreamName::new(&format!("fork/{number}")).expect("a name");
        let request = ForkRequest {
            source: self.name.clone(),
            anchor: ForkAnchor::At(offset),
            sub_offset,
        };
        let spec = CreateSpec {
            fork: Some(request),
            ..CreateSpec::default()
        };
        let new = NewStream::new(fork.clone(), spec, Body::Empty);
        self.engine.create(new).await.expect("is new");
        self.name = fork;
    }

    /// The offset of a position, by reading up to there.
    async fn offset(&self, stream: &Stream, position: u64) -> millrace_core::Offset {
        let mut reader = stream.read_from(From::Start).await.expect("a start");
        let mut offset = reader.offset();
        while offset.position.get() < position {
            let left = position - offset.position.get();
            offset = reader.next(left).await.expect("a page").next;
        }
        assert_eq!(offset.position, StreamPos(position));
        offset
    }

    /// The messages' ends, and the start before them.
    fn ends(&self) -> Vec<u64> {
        let ends = self.messages.iter().map(|message| message.end);
        [0].into_iter().chain(ends).collect()
    }

    /// Everything that can be asked, a few times.
    async fn check(&self) {
        let stream = self.engine.open(&self.name).await.expect("is there");
        for _ in 0..6 {
            self.check_last(&stream).await;
            self.check_before(&stream).await;
            self.check_since(&stream).await;
        }
    }

    /// The last few, and from there page by page.
    async fn check_last(&self, stream: &Stream) {
        let count = self.messages.len();
        let asked = 1 + self.rng.below(count as u64 + 3);
        let first = count.saturating_sub(size(asked));
        let mut reader = stream.read_from(From::Last(asked)).await.expect("a place");
        assert_eq!(reader.offset().position.get(), self.ends()[first]);
        let mut found = Vec::new();
        let limit = 1 + self.rng.below(300);
        loop {
            let batch = reader.next_page(self.page(limit)).await.expect("a page");
            let is_last = batch.up_to_date;
            let page = content(&reader, batch).await;
            assert!(page.len() as u64 <= limit);
            found.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(found, self.messages[first..], "{limit} a page");
    }

    /// Backward from a boundary.
    async fn check_before(&self, stream: &Stream) {
        let ends = self.ends();
        let place = size(self.rng.below(ends.len() as u64));
        let offset = self.offset(stream, ends[place]).await;
        let mut reader = stream.read_from(From::At(offset)).await.expect("a place");
        let page = self.page(1 + self.rng.below(300));
        let batch = reader.page_before(page).await.expect("a page");
        assert_eq!(batch.next, offset);
        let from = batch.from.position.get();
        let at = ends.iter().position(|end| *end == from);
        let at = at.expect("a boundary");
        let count = (place - at) as u64;
        assert!(count <= page.messages_max, "{count} messages");
        let fits = |at: usize| ends[place] - ends[at] <= page.bytes_max;
        assert!(fits(at) || count == 1, "bytes, or one message");
        let is_all = at == 0 || count == page.messages_max || !fits(at - 1);
        assert!(is_all, "as many as fit");
        let found = content(&reader, batch).await;
        assert_eq!(found, self.messages[at..place]);
    }

    async fn check_since(&self, stream: &Stream) {
        let moment = BEGUN + self.rng.below(self.now() - BEGUN + 2);
        let first = self
            .messages
            .iter()
            .position(|message| message.at >= moment);
        let want = self.ends()[first.unwrap_or(self.messages.len())];
        let since = From::Since(Timestamp(moment));
        let reader = stream.read_from(since).await.expect("a place");
        assert_eq!(reader.offset().position.get(), want, "since {moment}");
    }

    fn page(&self, messages_max: u64) -> Page {
        Page {
            bytes_max: 1 + self.rng.below(20_000),
            messages_max,
            whole: true,
        }
    }
}

/// The messages of a batch.
async fn content(reader: &Reader, batch: Batch) -> Vec<Message> {
    let messages = reader.messages(&batch).await.expect("its messages");
    let base = batch.from.position;
    let bytes = batch.collect().await.expect("its bytes");
    let mut start = 0;
    let message = |found: MessageEnd| {
        let end = size(found.next.position.since(base));
        let own = bytes[start..end].to_vec();
        start = end;
        Message {
            end: found.next.position.get(),
            at: found.at.get(),
            bytes: own,
        }
    };
    let found = messages.into_iter().map(message).collect();
    assert_eq!(start, bytes.len(), "messages add up to their batch");
    found
}

fn with_writer<F: Future<Output = ()>>(
    seed: u64,
    flush_bytes: u64,
    content_type: &str,
    test: impl FnOnce(Writer) -> F,
) {
    let clock = Arc::new(SimClock::new(BEGUN));
    let env = Env {
        disk: SimDisk::new(seed),
        clock: Arc::<SimClock>::clone(&clock),
        rng: Arc::new(Rng::from_seed(seed)),
    };
    let options = Options {
        shards: 2,
        wal_segment_bytes: 256 << 10,
        flush_bytes,
        compaction_interval: Duration::from_millis(20),
        ..Options::for_memory(64 << 20)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let Opened { engine, shards } = open(env, options).expect("it opens");
        for shard in shards {
            tokio::task::spawn_local(shard.run());
        }
        let writer = Writer {
            engine,
            clock,
            rng: Rng::from_seed(seed),
            content_type: ContentType::new(content_type).expect("a type"),
            name: StreamName::new("source").expect("a name"),
            messages: Vec::new(),
        };
        test(writer).await;
    });
}

#[test]
fn every_question_about_messages_is_answered_as_from_a_list() {
    for seed in 0..2 {
        for flush_bytes in [1, 20_000, u64::MAX] {
            for content_type in ["application/json", "text/plain"] {
                with_writer(seed, flush_bytes, content_type, async |mut writer| {
                    writer.create().await;
                    writer.check().await;
                    for fork in 0..3 {
                        for _ in 0..30 {
                            writer.append().await;
                        }
                        writer.check().await;
                        writer.fork(fork).await;
                        writer.check().await;
                    }
                });
            }
        }
    }
}

#[test]
fn whole_messages_are_not_read_from_inside_of_one() {
    with_writer(1, u64::MAX, "text/plain", async |mut writer| {
        writer.create().await;
        for _ in 0..20 {
            writer.append().await;
        }
        let long = writer
            .messages
            .iter()
            .find(|message| message.bytes.len() > 1);
        let inside = long.expect("one of many").end - 1;
        let stream = writer.engine.open(&writer.name).await.expect("is there");
        let offset = writer.offset(&stream, inside).await;
        let mut reader = stream.read_from(From::At(offset)).await.expect("bytes can");
        let page = writer.page(1);
        for read in [reader.next_page(page).await, reader.page_before(page).await] {
            assert_eq!(read.err(), Some(Refusal::OffsetNotABoundary));
        }
        // Bytes are read up to and from anywhere.
        let bytes = Page::of_bytes(1);
        let before = reader.page_before(bytes).await.expect("a page");
        assert_eq!((before.len, before.next), (1, offset));
    });
}
