//! Damage at rest: it is always noticed, or it changed nothing.

use millrace_env::{Disk as _, FileExt as _, OpenMode};

use super::*;
use crate::wal::FrameKind;

/// Two sealed segments and an open one, and what they hold.
fn small_log(recycled: bool) -> (Arc<SimDisk>, Frames) {
    let (disk, env) = disk_and_env();
    let options = WalOptions {
        segment_bytes: 4096 + 1024,
        reserve: false,
    };
    let mut wal = Wal::create(&env, LOG, 1, options).unwrap();
    if recycled {
        turns(&mut wal, 40, 300);
    }
    let mut written = Frames::new();
    for fill in 1..=6 {
        if recycled {
            // One spare at a time, so that each segment is an old one.
            wal.recycle(Lsn(u64::from(fill) * 4)).unwrap();
        }
        let events = vec![append(fill, 250)];
        written.push((turn(&mut wal, &events).unwrap(), events));
    }
    let (_, infos) = scanned(&env, None).unwrap();
    let last = infos.last().unwrap();
    let in_last = infos.iter().filter(|info| info.segment == last.segment);
    assert_eq!(in_last.count(), 2);
    let zeroed = disk.content(path(last.segment.0))[12];
    assert_eq!(zeroed, u8::from(!recycled));
    (disk, written)
}

/// What a scan of damaged files says, held against what was written.
fn check(disk: &Arc<SimDisk>, written: &Frames, what: &str) -> Verdict {
    let env = env_on(disk, 1);
    let after = Lsn(written[0].0.get() - 1);
    let mut frames = Frames::new();
    let end = scan(&env, LOG, Some(after), &mut |frame| {
        if frame.kind == FrameKind::Data && frame.lsn > after {
            frames.push((frame.lsn, frame.events));
        }
    });
    assert!(written.starts_with(&frames), "{what}: other events");
    match end {
        Ok(ScanEnd::Clean) if frames.len() == written.len() => Verdict::Unharmed,
        Ok(ScanEnd::Clean) => panic!("{what}: frames are missing and nobody noticed"),
        Ok(ScanEnd::Torn { .. }) => {
            assert!(
                frames.len() + 1 >= written.len(),
                "{what}: only the last frame may be torn"
            );
            Verdict::Torn
        }
        Ok(ScanEnd::Corrupt { .. }) => Verdict::Corrupt,
        Err(StoreError::Missing { .. } | StoreError::Newer { .. }) => Verdict::Refused,
        Err(other) => panic!("{what}: {other}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unharmed,
    Torn,
    Corrupt,
    Refused,
}

#[test]
fn t26_no_flipped_byte_changes_what_is_replayed() {
    for recycled in [false, true] {
        let (disk, written) = small_log(recycled);
        let env = env_on(&disk, 1);
        let (_, infos) = scanned(&env, None).unwrap();
        let first = infos
            .iter()
            .find(|info| info.lsn == written[0].0)
            .unwrap()
            .segment;
        let last = infos.last().unwrap();
        for number in first.0..=last.segment.0 {
            let len = disk.content(path(number)).len() as u64;
            // Of the header's zeros a few are enough.
            for at in (0..len).filter(|at| !(68..4092).contains(at) || at % 16 == 0) {
                let bit = u8::try_from(at % 8).unwrap();
                disk.flip_bit(path(number), at, bit);
                let what = format!("segment {number} byte {at} bit {bit}");
                let verdict = check(&disk, &written, &what);
                disk.flip_bit(path(number), at, bit);
                let of = |info: &&FrameInfo| {
                    info.segment.0 == number
                        && (info.position..info.position + info.bytes).contains(&at)
                };
                let in_last = number == last.segment.0 && at >= last.position;
                match infos.iter().find(of) {
                    _ if at < 4096 => assert_eq!(verdict, Verdict::Corrupt, "{what}"),
                    // No frame is at stake: `check` warns of it.
                    Some(info) if info.kind == FrameKind::Continued => {
                        assert_eq!(verdict, Verdict::Unharmed, "{what}");
                    }
                    Some(_) if in_last => assert_eq!(verdict, Verdict::Torn, "{what}"),
                    Some(_) => assert_eq!(verdict, Verdict::Corrupt, "{what}"),
                    None => assert!(
                        matches!(verdict, Verdict::Unharmed | Verdict::Torn),
                        "{what}: {verdict:?} behind the end"
                    ),
                }
            }
        }
        assert_eq!(check(&disk, &written, "undamaged"), Verdict::Unharmed);
    }
}

#[test]
fn t26_a_damaged_log_is_refused_and_left_as_it_was() {
    let (disk, _) = small_log(false);
    let (_, infos) = scanned(&env_on(&disk, 1), None).unwrap();
    let frame = &infos[1];
    disk.flip_bit(path(frame.segment.0), frame.position + 60, 3);
    let before: Vec<Vec<u8>> = (1..=2).map(|n| disk.content(path(n))).collect();
    let io = disk.io_count();
    for _ in 0..3 {
        assert!(is_corrupt(&open(&env_on(&disk, 1), Lsn(0))));
    }
    assert_eq!(
        disk.io_count(),
        io,
        "nothing was written, renamed or removed"
    );
    let after: Vec<Vec<u8>> = (1..=2).map(|n| disk.content(path(n))).collect();
    assert!(before == after);
}

#[test]
fn t26_truncated_and_grown_segments_are_corrupt() {
    let (disk, written) = small_log(false);
    let numbers = 1..=u64::try_from(names(&env_on(&disk, 1)).len()).unwrap();
    for number in numbers {
        let len = disk.content(path(number)).len() as u64;
        for new in (0..len).step_by(97).chain([len - 1, len + 1, len + 4096]) {
            let copy = disk.copy(1);
            let file = copy.open(&path(number), OpenMode::ReadWrite).unwrap();
            file.set_len(new).unwrap();
            let what = format!("segment {number} of {new} bytes");
            assert_eq!(check(&copy, &written, &what), Verdict::Corrupt, "{what}");
        }
    }
}

#[test]
fn t21_a_zeroed_sector_is_noticed_wherever_a_later_frame_proves_it() {
    let (disk, written) = small_log(false);
    let (_, infos) = scanned(&env_on(&disk, 1), None).unwrap();
    let last = infos.last().unwrap();
    for number in 1..=last.segment.0 {
        let content = disk.content(path(number));
        for sector in (0..content.len()).step_by(512) {
            let copy = disk.copy(1);
            let file = copy.open(&path(number), OpenMode::ReadWrite).unwrap();
            file.write_all_at(&[0; 512], sector as u64).unwrap();
            let harmless = copy.content(path(number)) == content;
            let hides_the_end = number == last.segment.0
                && sector as u64 + 512 > last.position
                && sector as u64 <= last.position;
            if hides_the_end {
                // A disk that silently zeroes the last acknowledged frame: cannot be told.
                continue;
            }
            let what = format!("segment {number} sector {sector}");
            let verdict = check(&copy, &written, &what);
            assert_eq!(
                verdict == Verdict::Unharmed,
                harmless || unused(&infos, number, sector),
                "{what}"
            );
        }
    }
}

/// Whether no frame lies in a sector.
fn unused(infos: &[FrameInfo], number: u64, sector: usize) -> bool {
    let sector = sector as u64;
    sector >= 4096
        && !infos.iter().any(|info| {
            let ends = info.position + info.bytes;
            info.segment.0 == number && info.position < sector + 512 && sector < ends
        })
}

#[test]
fn segments_in_each_others_place_are_corrupt() {
    let (disk, written) = small_log(false);
    for (from, to) in [(1, 2), (2, 1)] {
        let copy = disk.copy(1);
        let source = copy.content(path(from));
        let file = copy.open(&path(to), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&source, 0).unwrap();
        assert_eq!(check(&copy, &written, "swapped"), Verdict::Corrupt);
    }
    let copy = disk.copy(1);
    let odd = LOG.dir().join("2.wal");
    copy.rename(&path(2), &odd).unwrap();
    assert!(
        is_corrupt(&open(&env_on(&copy, 1), Lsn(0))),
        "no name of a segment"
    );
}

#[test]
fn a_segment_of_another_history_is_corrupt() {
    let (disk, env) = disk_and_env();
    drop(Wal::create(&env, LOG, 1, SMALL).unwrap());
    let other = disk.copy(1);
    // As many frames of the same lengths, so that all numbers agree.
    for (disk, fill) in [(&disk, 1), (&other, 2)] {
        let (mut wal, ..) = open(&env_on(disk, 1), Lsn(0)).unwrap();
        for _ in 0..8 {
            turn(&mut wal, &[append(fill, 700)]).unwrap();
        }
    }
    let theirs = other.content(path(2));
    assert_ne!(theirs, disk.content(path(2)));
    let file = disk.open(&path(2), OpenMode::ReadWrite).unwrap();
    file.write_all_at(&theirs, 0).unwrap();
    assert!(is_corrupt(&open(&env, Lsn(0))));
}

#[test]
fn a_frame_out_of_a_payload_is_no_frame_of_the_log() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    let written = turns(&mut wal, 2, 100);
    // A client appends a copy of the log's own segment, and the power fails while it is written.
    let copied = disk.content(path(1))[4096..4096 + 700].to_vec();
    let Event::Appended(mut event) = append(1, 1) else {
        unreachable!()
    };
    event.payload = Payload::single(Bytes::from(copied));
    let event = Event::Appended(event);
    wal.prepare(Wal::frame_bytes_max(std::slice::from_ref(&event)), false)
        .unwrap();
    let frame = wal.encode(&[event]);
    let at = wal.bytes_retained();
    drop(wal);
    let file = env.disk.open(&path(1), OpenMode::ReadWrite).unwrap();
    let mut torn = frame.bytes.to_vec();
    torn[..40].fill(0);
    for shift in 0..8 {
        file.write_all_at(&torn[shift..], at).unwrap();
        let (end, frames) = scanned(&env, None).unwrap();
        assert!(matches!(end, ScanEnd::Torn { .. }), "{end:?}");
        assert_eq!(frames.len(), written.len());
    }
}

#[test]
fn damage_to_frames_behind_a_seal_is_corruption_though_they_were_not_synced_one_by_one() {
    let (disk, env) = disk_and_env();
    let mut wal = Wal::create(&env, LOG, 1, SMALL).unwrap();
    for fill in 1..=3 {
        write(&mut wal, &[append(fill, 300)]).unwrap();
    }
    wal.close().unwrap();
    let (_, infos) = scanned(&env, None).unwrap();
    for info in infos.iter().filter(|info| info.kind == FrameKind::Data) {
        let copy = disk.copy(1);
        copy.flip_bit(path(1), info.position + 100, 0);
        assert!(is_corrupt(&open(&env_on(&copy, 1), Lsn(0))), "{info:?}");
    }
}

#[test]
fn unsynced_frames_that_a_power_cut_took_are_torn_and_not_corruption() {
    let mut torn = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut wal = Wal::create(&env_on(&disk, seed), LOG, 1, SMALL).unwrap();
        let synced = turns(&mut wal, 1, 100);
        for fill in 2..=4 {
            write(&mut wal, &[append(fill, 700)]).unwrap();
        }
        let disk = disk.crash();
        let (_, recovery, frames) = open(&env_on(&disk, seed), Lsn(0)).unwrap();
        assert!(frames.starts_with(&synced), "seed {seed}");
        torn += u64::from(recovery.torn_bytes > 0);
    }
    assert!(torn > 20, "only {torn} cuts tore a frame");
}

#[test]
fn a_frame_in_the_place_of_another_is_corruption_where_a_later_one_proves_it() {
    for synced in [true, false] {
        let (disk, env) = disk_and_env();
        drop(Wal::create(&env, LOG, 1, SMALL).unwrap());
        // The same segment, gone on in twice: two histories under one salt.
        let other = disk.copy(1);
        let (mut theirs, ..) = open(&env_on(&other, 1), Lsn(0)).unwrap();
        turn(&mut theirs, &[append(2, 100)]).unwrap();
        let (mut ours, ..) = open(&env, Lsn(0)).unwrap();
        for fill in [1, 3] {
            write(&mut ours, &[append(fill, 100)]).unwrap();
            if synced {
                ours.sync().unwrap();
            }
        }
        let (_, infos) = scanned(&env, None).unwrap();
        let first = usize::try_from(infos[0].bytes).unwrap();
        let stale = &other.content(path(1))[4096..4096 + first];
        let file = disk.open(&path(1), OpenMode::ReadWrite).unwrap();
        file.write_all_at(stale, 4096).unwrap();
        let (end, frames) = scanned(&env, None).unwrap();
        assert_eq!(frames.len(), 1);
        match end {
            ScanEnd::Corrupt { .. } => assert!(synced),
            // Without a sync in between a power cut may do this.
            end => assert!(!synced && matches!(end, ScanEnd::Torn { .. }), "{end:?}"),
        }
    }
}
