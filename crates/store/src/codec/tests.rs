use bytes::Bytes;
use millrace_core::{
    ContentType, Event, Generation, Payload, StreamId, StreamName, StreamPos, Timestamp,
    stream::{Ancestor, Closure, GenerationStart},
};
use millrace_env::Rng;
use proptest::prelude::*;

use super::{
    Decoder, Encoder, Stored,
    event::{event_bytes_max, put_event, take_event},
    parts::{take_forks, take_generations, take_lineage, take_seq},
    samples,
};

fn encoded(event: &Event) -> (Bytes, std::ops::Range<usize>) {
    let mut out = Encoder::new();
    let payload = put_event(event, &mut out);
    (Bytes::from(out.finish()), payload)
}

fn decoded(bytes: &Bytes) -> Result<Event, super::Malformed> {
    let mut from = Decoder::new(bytes);
    let event = take_event(bytes, &mut from)?;
    from.finish()?;
    Ok(event)
}

#[test]
fn every_event_comes_back_as_it_was() {
    for seed in 0..4000 {
        let event = samples::event(&Rng::from_seed(seed), 300);
        let (bytes, payload) = encoded(&event);
        let back = decoded(&bytes).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        assert_eq!(back, event, "seed {seed}");
        // Content types are equal by their essence; their bytes are kept too.
        assert_eq!(encoded(&back).0, bytes, "seed {seed}");
        let content = event.payload().map(|payload| payload.bytes().clone());
        assert_eq!(
            bytes.slice(payload),
            content.unwrap_or_default(),
            "seed {seed}"
        );
        assert!(bytes.len() as u64 <= event_bytes_max(&event), "seed {seed}");
    }
}

#[test]
fn a_decoded_payload_is_a_slice_of_what_was_decoded() {
    let payload = Payload::from_lengths(Bytes::from_static(b"1,22,"), &[2, 3]);
    let mut event = samples::event(&Rng::from_seed(1), 10);
    for seed in 2.. {
        if let Event::Appended(appended) = &mut event {
            appended.payload = payload;
            break;
        }
        event = samples::event(&Rng::from_seed(seed), 10);
    }
    let (bytes, range) = encoded(&event);
    let back = decoded(&bytes).unwrap();
    let slice = back.payload().unwrap().bytes();
    assert_eq!(slice.as_ptr(), bytes[range].as_ptr());
}

/// The bytes of one event of each kind, for good: older logs stay readable.
#[test]
fn t26_bytes_of_the_format_document() {
    let stream = StreamId::from_raw(0x0102_0000_0000_0003);
    let cases = [
        (
            Event::Touched {
                stream,
                deadline: Timestamp(300),
            },
            vec![4, 3, 0, 0, 0, 0, 0, 2, 1, 0xac, 0x02],
        ),
        (
            Event::GenerationRaised {
                stream,
                generation: Generation(5),
            },
            vec![7, 3, 0, 0, 0, 0, 0, 2, 1, 5],
        ),
        (
            Event::Appended(millrace_core::Appended {
                stream,
                from: StreamPos(128),
                payload: Payload::from_lengths(Bytes::from_static(b"1,22,"), &[2, 3]),
                producer: None,
                introduces_producer: false,
                forgets: None,
                seq: Some("s".into()),
                closes: true,
                at: Timestamp(1),
            }),
            [
                &[2, 3, 0, 0, 0, 0, 0, 2, 1, 0x80, 1, 1][..],
                &[0, 0, 0, 1, 1, b's', 1, 2, 2, 3],
                b"1,22,",
            ]
            .concat(),
        ),
    ];
    for (event, bytes) in cases {
        assert_eq!(encoded(&event).0, bytes, "{event:?}");
        assert_eq!(decoded(&Bytes::from(bytes)).unwrap(), event);
    }
}

#[test]
fn varints_have_one_form() {
    for (bytes, value) in [
        (&[0][..], Some(0)),
        (&[0x7f], Some(127)),
        (&[0x80, 1], Some(128)),
        (&[0x80, 0], None),
        (&[0x80], None),
        (&[], None),
        (&[0xff; 11], None),
        (
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            Some(u64::MAX),
        ),
        (&[255, 255, 255, 255, 255, 255, 255, 255, 255, 2], None),
    ] {
        let mut from = Decoder::new(bytes);
        assert_eq!(from.varint("").ok(), value, "{bytes:?}");
    }
}

#[test]
fn lists_that_no_stream_may_have_are_malformed() {
    let ancestor = |until| Ancestor {
        stream: StreamId::from_raw(1),
        until: StreamPos(until),
    };
    let start = |generation, from| GenerationStart {
        generation: Generation(generation),
        from: StreamPos(from),
    };
    let list = |put: &dyn Fn(&mut Encoder)| {
        let mut out = Encoder::new();
        put(&mut out);
        out.finish()
    };
    for bad in [vec![ancestor(0)], vec![ancestor(2), ancestor(2)]] {
        let bytes = list(&|out| out.list(bad.iter()));
        assert!(take_lineage(&mut Decoder::new(&bytes)).is_err(), "{bad:?}");
    }
    for bad in [vec![], vec![start(1, 1)], vec![start(2, 0), start(1, 5)]] {
        let bytes = list(&|out| out.list(bad.iter()));
        assert!(
            take_generations(&mut Decoder::new(&bytes)).is_err(),
            "{bad:?}"
        );
    }
    let twice = [StreamId::from_raw(1), StreamId::from_raw(1)];
    let bytes = list(&|out| out.list(twice.iter()));
    assert!(take_forks(&mut Decoder::new(&bytes)).is_err());
}

#[test]
fn a_count_beyond_the_input_makes_no_room() {
    let mut out = Encoder::new();
    out.varint(u64::MAX);
    let bytes = out.finish();
    assert!(Decoder::new(&bytes).bytes("").is_err());
    assert!(Decoder::new(&bytes).list::<StreamId>("").is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = decoded(&bytes);
        let _ = StreamName::take(&mut Decoder::new(&bytes));
        let _ = ContentType::take(&mut Decoder::new(&bytes));
        let _ = Closure::take(&mut Decoder::new(&bytes));
        let _ = take_lineage(&mut Decoder::new(&bytes));
        let _ = take_generations(&mut Decoder::new(&bytes));
        let _ = take_forks(&mut Decoder::new(&bytes));
        let _ = take_seq(&mut Decoder::new(&bytes));
    }

    #[test]
    fn a_damaged_event_is_malformed_or_another_event(
        seed: u64, at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let (bytes, _) = encoded(&samples::event(&Rng::from_seed(seed), 100));
        let mut damaged = bytes.to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        if let Ok(event) = decoded(&Bytes::from(damaged.clone())) {
            // One thing has one form, so nothing decodes that would not be written so.
            prop_assert_eq!(encoded(&event).0, damaged);
        }
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert!(decoded(&cut).is_err());
    }
}
