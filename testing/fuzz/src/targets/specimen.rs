//! A small data directory, made by the engine once and copied by whoever damages it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, CreateSpec, ForkAnchor, ForkRequest, Lifetime, Payload,
    ProducerClaim, ProducerId, StreamName,
};
use millrace_engine::fuzzing::Driver;
use millrace_env::{Disk as _, SimClock, SimDisk};

const NAMES: [&str; 4] = ["text", "json", "fork", "short-lived"];

/// The disk with the directory on it. Its segments, but not its log, hold all there is.
pub(super) fn disk() -> &'static SimDisk {
    static DISK: OnceLock<Arc<SimDisk>> = OnceLock::new();
    DISK.get_or_init(make)
}

pub(super) fn named(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

pub(super) fn names() -> [StreamName; 4] {
    NAMES.map(named)
}

fn make() -> Arc<SimDisk> {
    let disk = SimDisk::new(1);
    let clock = Arc::new(SimClock::new(1_800_000_000_000));
    let mut engine = Driver::open(&disk, &clock, 1, 1).expect("it opens");
    let [text, json, fork, short] = names();
    let plain = CreateSpec::default();
    let of_json = CreateSpec {
        content_type: ContentType::new("application/json"),
        ..plain.clone()
    };
    let mortal = CreateSpec {
        lifetime: Lifetime::Ttl(60),
        ..plain.clone()
    };
    for (name, spec) in [(&text, &plain), (&json, &of_json), (&short, &mortal)] {
        let made = engine.create(name, spec, &Body::Empty);
        made.expect("it is created");
    }
    for (turn, len) in (0_u64..).zip([3, 300, 20_000, 7]) {
        append(
            &mut engine,
            &text,
            None,
            turn,
            Payload::single(Bytes::from(vec![b'a'; len])),
        );
        append(
            &mut engine,
            &short,
            None,
            turn,
            Payload::single(Bytes::from_static(b"x")),
        );
        // Several pages of messages.
        let messages: Vec<String> = (0..200).map(|n| format!("{},", n * n * turn)).collect();
        let lengths: Vec<u32> = messages
            .iter()
            .map(|text| u32::try_from(text.len()).expect("short"))
            .collect();
        let payload = Payload::from_lengths(Bytes::from(messages.concat()), &lengths);
        append(
            &mut engine,
            &json,
            of_json.content_type.clone(),
            turn,
            payload,
        );
    }
    let branch = CreateSpec {
        fork: Some(ForkRequest {
            source: text,
            anchor: ForkAnchor::Tail,
            sub_offset: 0,
        }),
        ..plain
    };
    let forked = engine.create(&fork, &branch, &Body::Empty);
    forked.expect("it is forked");
    append(
        &mut engine,
        &fork,
        None,
        0,
        Payload::single(Bytes::from_static(b"own")),
    );
    engine.flush().expect("it is flushed");
    drop(engine);
    let disk = disk.kill();
    disk.remove("reserve".as_ref()).expect("it is there");
    disk
}

fn append(
    engine: &mut Driver,
    name: &StreamName,
    content_type: Option<ContentType>,
    seq: u64,
    payload: Payload,
) {
    let id = ProducerId::new("p").expect("an id");
    let append = Append {
        body: Body::Framed(payload),
        content_type: Some(content_type.unwrap_or_default()),
        producer: Some(ProducerClaim { id, epoch: 0, seq }),
        ..Append::default()
    };
    for reply in engine.append(name, &[append]) {
        reply.expect("it is appended");
    }
}
