//! The short pass: every kept input, and the same few mutations of each every time.

use millrace_env::Rng;
use millrace_fuzz::{TARGETS, Target, corpus, mutate::mutated};

fn pass(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let Target {
        check, mutations, ..
    } = *target.expect("the target is there");
    let kept = corpus::of(name);
    assert!(!kept.is_empty(), "{name} has a corpus");
    let rng = Rng::from_seed(1);
    for nth in 0..kept.len() {
        tell(name, &kept[nth].name, 0, &kept[nth].bytes, check);
        for mutation in 1..=mutations {
            let other = usize::try_from(rng.below(kept.len() as u64)).expect("it is a length");
            let input = mutated(&rng, &kept[nth].bytes, &kept[other].bytes);
            tell(name, &kept[nth].name, mutation, &input, check);
        }
    }
    println!("{name}: {} kept inputs", kept.len());
}

/// Says which input it was that failed.
fn tell(target: &str, kept: &str, mutation: u32, input: &[u8], check: fn(&[u8])) {
    let failed = std::panic::catch_unwind(|| check(input)).is_err();
    assert!(
        !failed,
        "{target}: mutation {mutation} of {kept} fails: {:?} ({})",
        String::from_utf8_lossy(input),
        hex(input)
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! passes {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            pass(stringify!($name));
        }
    )*
        #[test]
        fn every_target_is_here() {
            let here = [$(stringify!($name)),*];
            assert!(TARGETS.iter().map(|target| target.name).eq(here));
        }
    };
}

passes! { catalog engine head json offset query records segment sse wal }
