//! Dumps of a small directory.

use millrace_env::{Rng, SimDisk};

use super::{Format, catalog, segments, wal};
use crate::{
    segment::segment_path,
    testkit::{LOG, Store, Streams, payload, sim_env},
    wal::{Wal, WalOptions},
};

#[test]
fn every_stream_extent_segment_and_frame_is_a_line() {
    let disk = SimDisk::new(1);
    let env = sim_env(&disk, 1);
    let rng = Rng::from_seed(1);
    let store = Store::open(&env).unwrap();
    let mut streams = Streams::default();
    for name in ["a", "b b", "c"] {
        let id = streams.create(name);
        streams.append(id, &payload(&rng, &[10, 20]));
    }
    store.flush(&streams.freeze()).unwrap();
    drop(store);
    let mut log = Wal::create(&env, LOG, 1, WalOptions::default()).unwrap();
    let events: Vec<_> = streams
        .live
        .values()
        .map(|model| millrace_core::Event::Touched {
            stream: model.state.id,
            deadline: millrace_core::Timestamp(7),
        })
        .collect();
    let frame = log.encode(&events);
    log.prepare(frame.bytes.len() as u64, false).unwrap();
    log.write(&frame).unwrap();
    log.sync().unwrap();
    drop(log);

    let text = |dump: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        dump(&mut out);
        String::from_utf8(out).unwrap()
    };
    let kinds = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    };
    let lines = text(&|out| catalog(&env, Format::Human, out).unwrap());
    assert_eq!(
        kinds(&lines),
        [
            "manifest", "log", "stream", "extent", "stream", "extent", "stream", "extent",
            "segment"
        ]
    );
    assert!(lines.contains("name=\"b b\""), "{lines}");
    let lines = text(&|out| segments(&env, Format::Human, out).unwrap());
    assert_eq!(kinds(&lines), ["segment", "extent", "extent", "extent"]);
    let lines = text(&|out| wal(&env, None, Format::Human, out).unwrap());
    assert!(lines.contains("event type=touched"), "{lines}");
    assert!(lines.trim_end().ends_with("type=clean"), "{lines}");
    let lines = text(&|out| wal(&env, Some(crate::wal::LogId(9)), Format::Human, out).unwrap());
    assert_eq!(lines, "");

    disk.flip_bit(segment_path(millrace_core::SegmentId(0)), 3, 1);
    let lines = text(&|out| segments(&env, Format::Json, out).unwrap());
    assert!(lines.starts_with("{\"kind\":\"damaged\""), "{lines}");
}
