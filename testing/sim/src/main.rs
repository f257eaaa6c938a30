fn main() {
    let seed = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let n = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in seed..seed + n {
        let t = std::time::Instant::now();
        let o = millrace_sim::run(seed, None, n == 1);
        if let Some(t) = &o.text { std::fs::write("/tmp/sim-trace.txt", t).unwrap(); }
        println!("{seed} {:?} lives {} sim {:?} real {:?} {:?} {:?}", o.trace, o.lives, o.simulated, t.elapsed(), o.counts, o.tally);
        for v in &o.violations { println!("  VIOLATION {v}"); }
    }
}
