//! Expiry.

use super::*;

#[test]
fn t44_t45_expiry_is_swept_untouched_but_never_under_a_reader_or_a_writer() {
    let mut bench = Bench::new(44);
    for text in ["idle", "read", "written"] {
        bench
            .at()
            .submit(create(&name(text), b"x", Lifetime::Ttl(60)))
            .expect("it is created");
    }
    bench.at().flush().expect("it flushes");
    let follow = bench
        .at()
        .live(&name("read"))
        .expect("it is there")
        .follow();
    for _ in 0..6 {
        bench.clock.advance(Duration::from_secs(20));
        bench
            .append("written", b"y")
            .expect("a writer keeps it alive");
        bench.at().sweep().expect("it sweeps");
    }
    assert!(
        bench.at().state(&name("idle")).is_none(),
        "nobody touched it"
    );
    assert!(bench.at().state(&name("read")).is_some());
    assert!(bench.at().state(&name("written")).is_some());
    let now = bench.at().now();
    bench
        .at()
        .live(&name("read"))
        .expect("it is there")
        .touch(now);
    drop(follow);
    bench.clock.advance(Duration::from_secs(59));
    bench.at().sweep().expect("it sweeps");
    assert!(
        bench.at().state(&name("read")).is_some(),
        "the end of the read renewed it"
    );
    bench.clock.advance(Duration::from_secs(3));
    bench.at().sweep().expect("it sweeps");
    assert!(bench.at().state(&name("read")).is_none());
}

#[test]
fn t44b_a_stream_outside_memory_expires_too() {
    let mut bench = Bench::new(144);
    bench
        .at()
        .submit(create(&name("a"), b"x", Lifetime::Ttl(60)))
        .expect("it is created");
    bench.at().flush().expect("it flushes");
    bench.at().sweep().expect("it sweeps");
    assert_eq!(bench.at().resident(), 0, "an idle stream leaves memory");
    bench.clock.advance(Duration::from_secs(200));
    for _ in 0..3 {
        bench.at().sweep().expect("it sweeps");
        bench.clock.advance(Duration::from_secs(61));
    }
    assert!(bench.at().state(&name("a")).is_none());
}

#[test]
fn t46_reads_renew_a_lifetime_without_a_write() {
    let mut bench = Bench::new(46);
    bench
        .at()
        .submit(create(&name("a"), b"x", Lifetime::Ttl(3600)))
        .expect("it is created");
    bench.at().flush().expect("it flushes");
    let before = bench.disk.io_count();
    for _ in 0..1000 {
        let now = bench.at().now();
        bench.at().live(&name("a")).expect("it is there").touch(now);
        bench.clock.advance(Duration::from_millis(10));
    }
    assert_eq!(bench.disk.io_count(), before);
}

#[test]
fn a_start_gives_every_sliding_lifetime_its_full_length_again() {
    let mut bench = Bench::new(146);
    bench
        .at()
        .submit(create(&name("a"), b"x", Lifetime::Ttl(60)))
        .expect("it is created");
    bench.machine = None;
    bench.disk = bench.disk.crash();
    bench.clock.advance(Duration::from_mins(10));
    bench.open();
    bench.at().sweep().expect("it sweeps");
    assert!(
        bench.at().state(&name("a")).is_some(),
        "renewals lost in a crash end nothing early"
    );
}
