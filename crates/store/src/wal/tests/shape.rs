//! What a log is when nothing goes wrong.

use millrace_env::OpenMode;

use super::*;
use crate::{
    codec::samples,
    wal::{
        FrameKind,
        format::{Chain, FRAME_HEADER_LEN, FrameHeader, SEGMENT_HEADER_LEN, SegmentHeader},
        frame, logs,
        scan::Listing,
    },
};

#[test]
fn an_empty_log_opens_to_nothing_and_leaves_nothing_behind() {
    let (_, env) = disk_and_env();
    let wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    assert_eq!(wal.next_lsn(), Lsn(1));
    drop(wal);
    for _ in 0..5 {
        let (wal, recovery, frames) = open(&env, Lsn(0)).unwrap();
        assert_eq!((recovery.last, frames.len()), (Lsn(0), 0));
        assert_eq!(wal.next_lsn(), Lsn(1));
    }
    assert_eq!(names(&env), ["0000000000000001.wal"]);
    assert_eq!(logs(&env).unwrap(), [LOG]);
}

#[test]
fn frames_come_back_in_order_over_many_segments() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let mut written = turns(&mut wal, 40, 700);
    drop(wal);
    let (mut wal, recovery, frames) = open(&env, Lsn(0)).unwrap();
    assert_eq!(frames, written);
    assert_eq!((recovery.last, recovery.torn_bytes), (Lsn(40), 0));
    assert!(recovery.segments > 5);
    written.extend(turns(&mut wal, 1, 10));
    drop(wal);
    let (_, _, frames) = open(&env, Lsn(30)).unwrap();
    assert_eq!(frames, written[30..]);
}

#[test]
fn a_frame_of_any_size_finds_room() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let mut written = Frames::new();
    let edge = usize::try_from(SMALL.segment_bytes).unwrap() - SEGMENT_HEADER_LEN;
    let sizes = (edge - 300..edge + 10)
        .step_by(3)
        .chain([0, 1, 7, 8, 9, 600_000]);
    for len in sizes {
        let events = vec![append(1, len)];
        written.push((turn(&mut wal, &events).unwrap(), events));
    }
    drop(wal);
    let (_, _, frames) = open(&env, Lsn(0)).unwrap();
    assert!(frames == written);
}

#[test]
fn payloads_are_slices_of_the_frame() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let events = [
        append(1, 20),
        samples::event(&Rng::from_seed(5), 30),
        append(2, 33),
    ];
    wal.prepare(Wal::frame_bytes_max(&events), false).unwrap();
    let frame = wal.encode(&events);
    for (event, range) in events.iter().zip(&frame.payloads) {
        let content = event.payload().map(|payload| payload.bytes().clone());
        assert_eq!(
            frame.bytes.slice(range.clone()),
            content.unwrap_or_default()
        );
    }
    let back = frame::decode(&frame.bytes, 3).unwrap();
    let first = back[0].payload().unwrap().bytes();
    assert_eq!(
        first.as_ptr(),
        frame.bytes[frame.payloads[0].clone()].as_ptr()
    );
}

#[test]
fn what_was_flushed_is_given_back_and_used_again() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let mut written = turns(&mut wal, 30, 700);
    let segments = segment_count(&env);
    wal.recycle(Lsn(20)).unwrap();
    let given_back = segments - segment_count(&env);
    assert!(given_back > 1);
    assert_eq!(spares(&env), given_back, "the log will need as many again");
    let mut more = 0;
    while spares(&env) > 0 {
        written.extend(turns(&mut wal, 1, 700));
        more += 1;
    }
    assert!(more < 30, "they were used");
    wal.recycle(Lsn(20)).unwrap();
    drop(wal);
    let (_, _, frames) = open(&env, Lsn(20)).unwrap();
    assert!(frames == written[20..]);
}

#[test]
fn spares_that_only_save_work_are_given_up_where_space_is_scarce() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    turns(&mut wal, 30, 700);
    wal.recycle(Lsn(20)).unwrap();
    assert!(spares(&env) > 1);
    let full = disk.used();
    wal.give_up_spares();
    assert_eq!(spares(&env), 1);
    assert!(disk.used() < full);

    disk.set_capacity(Some(disk.used() + 2 * SMALL.segment_bytes));
    wal.recycle(Lsn(30)).unwrap();
    assert_eq!(spares(&env), 1, "there is no room for more");
    assert!(turn(&mut wal, &[append(1, 700)]).is_ok());
}

#[test]
fn a_log_that_uses_less_keeps_fewer_spares() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    turns(&mut wal, 30, 700);
    wal.recycle(Lsn(28)).unwrap();
    let many = spares(&env);
    turns(&mut wal, 1, 700);
    wal.recycle(Lsn(31)).unwrap();
    assert!(spares(&env) < many, "{} of {many}", spares(&env));
}

fn segment_count(env: &Env) -> usize {
    Listing::read(env, LOG).unwrap().segments.len()
}

fn spares(env: &Env) -> usize {
    Listing::read(env, LOG).unwrap().spares.len()
}

#[test]
fn a_spare_made_elsewhere_is_used() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let job = wal.spare_job().unwrap();
    assert!(wal.spare_job().is_none(), "one at a time");
    wal.add_spare(job.run());
    assert!(wal.spare_job().is_none(), "one is enough");
    let written = turns(&mut wal, 6, 1000);
    assert!(wal.spare_job().is_some());
    drop(wal);
    assert_eq!(open(&env, Lsn(0)).unwrap().2, written);
}

#[test]
fn a_closed_log_ends_with_its_seal() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let written = turns(&mut wal, 2, 10);
    wal.close().unwrap();
    let (end, frames) = scanned(&env, Some(Lsn(0))).unwrap();
    assert_eq!(end, ScanEnd::Clean);
    assert_eq!(frames.last().unwrap().kind, FrameKind::Seal);
    assert_eq!(frames.last().unwrap().lsn, Lsn(3));
    assert_eq!(open(&env, Lsn(0)).unwrap().2, written);
}

#[test]
fn a_removed_log_is_gone_and_removing_it_again_is_fine() {
    let (_, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    turns(&mut wal, 20, 700);
    drop(wal);
    Wal::remove(&env, LOG).unwrap();
    Wal::remove(&env, LOG).unwrap();
    assert_eq!(logs(&env).unwrap(), []);
}

#[test]
fn it_works_on_a_real_disk() {
    let name = format!("millrace-wal-{}", std::process::id());
    let root = std::env::temp_dir().join(name);
    let env = Env::real(&root);
    env.disk.create_dir("".as_ref()).unwrap();
    let options = WalOptions {
        reserve: true,
        ..SMALL
    };
    let mut wal = Wal::create(&env, LOG, 1, options).unwrap();
    let written = turns(&mut wal, 40, 700);
    wal.recycle(Lsn(10)).unwrap();
    drop(wal);
    let (wal, _, frames) = open_with(&env, Lsn(10), options).unwrap();
    assert!(frames == written[10..]);
    drop(wal);
    Wal::remove(&env, LOG).unwrap();
    env.disk.remove_dir("wal".as_ref()).unwrap();
    env.disk.remove_dir("".as_ref()).unwrap();
}

#[test]
fn headers_have_the_bytes_of_the_format_document() {
    let header = SegmentHeader {
        log: LogId(1),
        number: SegmentNumber(2),
        boot_epoch: 3,
        salt: 4,
        first: Lsn(5),
        file_bytes: 8192,
        previous_seal: Chain(0x0606_0606),
        zeroed: true,
    };
    let (block, chain) = header.encode();
    assert_eq!(&block[..16], b"MRWALSEG\x01\0\0\0\x01\0\0\0");
    let numbers: Vec<u64> = block[16..64]
        .chunks(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 8192]);
    assert_eq!(block[64..68], [6; 4]);
    assert!(block[68..4092].iter().all(|byte| *byte == 0));
    assert_eq!(crc32c::crc32c(&block[..4092]).to_le_bytes(), block[4092..]);
    assert_eq!(SegmentHeader::decode(&block).unwrap(), (header, chain));

    let header = FrameHeader {
        len: 56,
        lsn: Lsn(5),
        segment: SegmentNumber(2),
        previous: Chain(0x0707_0707),
        records: 1,
        kind: FrameKind::Data,
        after_unsynced: true,
        body_crc: 0x0808_0808,
    };
    let (bytes, chain) = header.encode(4);
    assert_eq!(bytes.len(), FRAME_HEADER_LEN);
    assert_eq!(&bytes[..8], b"MRWF\x38\0\0\0");
    assert_eq!(
        bytes[8..24],
        [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        bytes[24..40],
        [7, 7, 7, 7, 1, 0, 0, 0, 1, 1, 0, 0, 8, 8, 8, 8]
    );
    let seeded = [&4u64.to_le_bytes()[..], &bytes[..44]].concat();
    assert_eq!(crc32c::crc32c(&seeded).to_le_bytes(), bytes[44..]);
    assert_eq!(FrameHeader::decode(&bytes, 4), Some((header, chain)));
    assert_eq!(FrameHeader::decode(&bytes, 5), None, "of another salt");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (_, env) = disk_and_env();
    drop(Wal::create(&env, LOG, 1, SMALL).unwrap());
    let file = env.disk.open(&path(1), OpenMode::ReadWrite).unwrap();
    let mut block = vec![0; 4092];
    file.read_at(&mut block, 0).unwrap();
    block[8] = 2;
    let crc = crc32c::crc32c(&block);
    block.extend(crc.to_le_bytes());
    file.write_at(&block, 0).unwrap();
    let refused = open(&env, Lsn(0)).err();
    assert!(matches!(
        refused,
        Some(StoreError::Newer { found: 2, known: 1 })
    ));
}
