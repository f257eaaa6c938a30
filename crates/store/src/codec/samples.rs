//! Events of every shape, drawn from a seed.

use std::sync::Arc;

use bytes::Bytes;
use millrace_core::{
    Appended, ContentType, CreateSpec, Created, DeleteReason, Event, ForkAnchor, ForkPoint,
    ForkRequest, Generation, Lifetime, NewSettings, Offset, Payload, ProducerClaim, ProducerId,
    SettingKey, StreamId, StreamName, StreamPos, Timestamp,
    stream::{Ancestor, GenerationStart},
};
use millrace_env::Rng;

/// Any event whose payload has fewer than `payload_max` bytes.
pub(crate) fn event(rng: &Rng, payload_max: u64) -> Event {
    let stream = StreamId::from_raw(rng.next());
    match rng.below(12) {
        0 => Event::Created(Box::new(created(rng, stream, payload_max))),
        1..=4 => Event::Appended(appended(rng, stream, payload_max)),
        5 => Event::Deleted {
            stream,
            reason: if rng.below(2) == 0 {
                DeleteReason::Request
            } else {
                DeleteReason::Expiry
            },
        },
        6 => Event::Touched {
            stream,
            deadline: Timestamp(number(rng)),
        },
        7 => Event::ForkAdded {
            stream,
            fork: StreamId::from_raw(rng.next()),
        },
        8 => Event::ForkDropped {
            stream,
            fork: StreamId::from_raw(rng.next()),
        },
        9 => Event::Trimmed {
            stream,
            to: position(rng),
        },
        10 => Event::Configured {
            stream,
            changes: changes(rng),
        },
        _ => Event::GenerationRaised {
            stream,
            generation: generation(rng),
        },
    }
}

fn changes(rng: &Rng) -> NewSettings {
    let documents = (0..=rng.below(4)).map(|key| {
        let key = SettingKey(u8::try_from(key).unwrap() * 9);
        (key, maybe(rng, |rng| text(rng, 300).as_bytes().into()))
    });
    documents.collect()
}

/// A number of any magnitude, the extremes included.
fn number(rng: &Rng) -> u64 {
    match rng.below(8) {
        0 => 0,
        1 => u64::MAX,
        _ => rng.next() >> rng.below(64),
    }
}

fn generation(rng: &Rng) -> Generation {
    Generation(number(rng).min(Generation::MAX.get()))
}

fn text(rng: &Rng, max: u64) -> String {
    let alphabet = ['a', 'z', '0', '-', 'é', '✓', '𝄞'];
    let mut text = String::from("x");
    for _ in 0..rng.below(max) {
        let letter = alphabet[usize::try_from(rng.below(7)).unwrap()];
        if text.len() + letter.len_utf8() <= 256 {
            text.push(letter);
        }
    }
    text
}

fn name(rng: &Rng) -> StreamName {
    StreamName::new(&format!("a/{}", text(rng, 80))).unwrap()
}

fn content_type(rng: &Rng) -> ContentType {
    let types = ["text/plain", "application/json; charset=UTF-8", "X-y/Z"];
    ContentType::new(types[usize::try_from(rng.below(3)).unwrap()]).unwrap()
}

fn lifetime(rng: &Rng) -> Lifetime {
    match rng.below(3) {
        0 => Lifetime::Unlimited,
        1 => Lifetime::Ttl(number(rng)),
        _ => Lifetime::Until(Timestamp(number(rng))),
    }
}

fn maybe<T>(rng: &Rng, make: impl FnOnce(&Rng) -> T) -> Option<T> {
    (rng.below(2) == 0).then(|| make(rng))
}

fn position(rng: &Rng) -> StreamPos {
    StreamPos(number(rng) >> 1)
}

fn fork_request(rng: &Rng) -> ForkRequest {
    ForkRequest {
        source: name(rng),
        anchor: match rng.below(3) {
            0 => ForkAnchor::Tail,
            1 => ForkAnchor::Start,
            _ => ForkAnchor::At(Offset {
                generation: generation(rng),
                position: position(rng),
            }),
        },
        sub_offset: number(rng),
    }
}

fn created(rng: &Rng, stream: StreamId, payload_max: u64) -> Created {
    let lineage = (0..rng.below(4)).map(|n| Ancestor {
        stream: StreamId::from_raw(rng.next()),
        until: StreamPos((n + 1) * 1000),
    });
    let generations = (0..=rng.below(4)).map(|n| GenerationStart {
        generation: Generation(n * 7 + 1),
        from: StreamPos(n * 500),
    });
    Created {
        stream,
        name: name(rng),
        spec: CreateSpec {
            content_type: maybe(rng, content_type),
            lifetime: lifetime(rng),
            closed: rng.below(2) == 0,
            fork: maybe(rng, fork_request),
        },
        content_type: content_type(rng),
        lifetime: lifetime(rng),
        origin: maybe(rng, |rng| ForkPoint {
            source: StreamId::from_raw(rng.next()),
            anchor: position(rng),
            at: position(rng),
        }),
        lineage: lineage.collect(),
        generations: generations.collect(),
        payload: payload(rng, payload_max),
        at: Timestamp(number(rng)),
    }
}

fn appended(rng: &Rng, stream: StreamId, payload_max: u64) -> Appended {
    Appended {
        stream,
        from: position(rng),
        payload: payload(rng, payload_max),
        producer: maybe(rng, |rng| ProducerClaim {
            id: ProducerId::new(&text(rng, 80)).unwrap(),
            epoch: number(rng),
            seq: number(rng),
        }),
        introduces_producer: rng.below(2) == 0,
        forgets: maybe(rng, |rng| ProducerId::new(&text(rng, 80)).unwrap()),
        seq: maybe(rng, |rng| Arc::from(text(rng, 80))),
        closes: rng.below(2) == 0,
        at: Timestamp(number(rng)),
    }
}

fn payload(rng: &Rng, max: u64) -> Payload {
    let mut lengths = Vec::new();
    let mut left = rng.below(max.max(1));
    while left > 0 {
        let length = 1 + rng.below(left);
        lengths.push(u32::try_from(length).unwrap());
        left -= length;
        if rng.below(4) == 0 {
            break;
        }
    }
    let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let fill = rng.next().to_le_bytes();
    let bytes: Vec<u8> = fill
        .iter()
        .copied()
        .cycle()
        .take(usize::try_from(total).unwrap())
        .collect();
    Payload::from_lengths(Bytes::from(bytes), &lengths)
}
