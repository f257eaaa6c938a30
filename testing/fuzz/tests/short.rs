//! The short pass: every kept input, and the same few mutations of each every time.

use millrace_env::Rng;
use millrace_fuzz::{TARGETS, Target, corpus, mutate::mutated};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Room for what a reader may ask for, and far less than a number read from damaged bytes may name:
/// who makes room for such a number is ended.
const ADDRESSES_MAX: u64 = 8 << 30;
/// What all kept inputs may take together.
const CORPUS_BYTES_MAX: usize = 1 << 20;

fn pass(name: &str) {
    bound_memory();
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

fn bound_memory() {
    let limit = Rlimit {
        current: Some(ADDRESSES_MAX),
        maximum: getrlimit(Resource::As).maximum,
    };
    setrlimit(Resource::As, limit).expect("less is always granted");
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

#[test]
fn the_corpus_stays_small() {
    let kept = TARGETS.iter().flat_map(|target| corpus::of(target.name));
    let bytes: usize = kept.map(|kept| kept.bytes.len()).sum();
    assert!(bytes < CORPUS_BYTES_MAX, "{bytes} bytes are kept");
}

passes! { catalog engine head json offset query records segment sse wal }
