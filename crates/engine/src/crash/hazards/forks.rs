//! Forks.

use super::*;

#[test]
fn t72_a_fork_that_was_refused_does_not_pin_its_source() {
    let mut bench = Bench::new(72);
    bench.create("source", b"0123");
    let resolved = bench.at().fork_source(&name("source"), StreamPos(2));
    bench.create("taken", b"");
    let refused = bench
        .at()
        .submit(fork(&name("taken"), &name("source"), resolved));
    assert!(
        matches!(refused, Err(Refusal::Config { .. })),
        "{refused:?}"
    );
    bench.delete("source").expect("it is deleted");
    assert!(
        bench.at().state(&name("source")).is_none(),
        "nothing holds it"
    );
}

#[test]
fn t77_deep_forks_read_through_and_are_given_back_after_a_crash_anywhere() {
    for ios in 0..40 {
        let mut bench = Bench::with(77 + ios, small_options(2));
        bench.create("f0", b"0");
        for depth in 1..12u64 {
            let (text, source) = (format!("f{depth}"), format!("f{}", depth - 1));
            bench.fork(&text, &source, depth).expect("it is forked");
            bench
                .append(&text, &depth.to_string().as_bytes()[..1])
                .expect("it is appended");
        }
        if ios % 2 == 0 {
            bench.at().flush().expect("it flushes");
        }
        for depth in 0..11 {
            bench.delete(&format!("f{depth}")).expect("it is deleted");
        }
        assert_eq!(bench.bytes("f11").map(|bytes| bytes.len()), Some(12));
        bench.disk.crash_after(ios);
        let deleted = bench.delete("f11");
        bench.crash();
        if deleted.is_ok() || bench.bytes("f11").is_none() {
            for depth in 0..12 {
                let left = bench.at().state(&name(&format!("f{depth}")));
                assert!(left.is_none(), "f{depth} after {ios} I/Os");
            }
        } else {
            assert_eq!(bench.bytes("f11").map(|bytes| bytes.len()), Some(12));
        }
    }
}

#[test]
fn t78_closed_and_flushed_sources_fork_and_a_fork_outlives_them() {
    let mut bench = Bench::new(78);
    bench.create("source", b"0123456789");
    bench
        .at()
        .submit(append(&name("source"), b"", None, true))
        .expect("it is closed");
    bench.at().flush().expect("it flushes");
    bench.fork("fork", "source", 4).expect("it is forked");
    bench.append("fork", b"+").expect("a fork starts open");
    bench.delete("source").expect("it is deleted");
    bench.at().flush().expect("it flushes");
    bench.at().compact().expect("it compacts");
    bench.crash();
    assert_eq!(bench.bytes("fork").as_deref(), Some(&b"0123+"[..]));
}

#[test]
fn t76_a_fork_is_there_with_all_it_inherits_or_not_at_all() {
    for ios in 0..8 {
        let mut bench = Bench::with(76 + ios, small_options(2));
        bench.create("source", b"0123456789");
        bench.disk.crash_after(ios);
        let forked = bench.fork("fork", "source", 7);
        bench.crash();
        match bench.bytes("fork") {
            Some(bytes) => assert_eq!(bytes, b"0123456", "after {ios} I/Os"),
            None => assert!(forked.is_err(), "after {ios} I/Os"),
        }
        if bench.bytes("fork").is_none() {
            bench.delete("source").expect("it is deleted");
            assert!(
                bench.at().state(&name("source")).is_none(),
                "nothing pins it"
            );
        }
    }
}
