//! The short pass: every kept input, and the same few mutations of each every time.

use millrace_env::Rng;
use millrace_fuzz::{
    TARGETS, Target,
    corpus::{self, Kept},
    mutate::mutated,
};
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
    for input in &kept {
        tell(name, input, 0, &input.bytes, check);
        for mutation in 1..=mutations {
            let other = usize::try_from(rng.below(kept.len() as u64)).expect("it is a length");
            let bytes = mutated(&rng, &input.bytes, &kept[other].bytes);
            tell(name, input, mutation, &bytes, check);
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
fn tell(target: &str, kept: &Kept, mutation: u32, bytes: &[u8], check: fn(&[u8])) {
    let failed = std::panic::catch_unwind(|| check(bytes)).is_err();
    assert!(
        !failed,
        "{target}: mutation {mutation} of {} fails: {}",
        kept.name,
        bytes.escape_ascii()
    );
}

#[test]
fn the_corpus_stays_small() {
    let kept = TARGETS.iter().flat_map(|target| corpus::of(target.name));
    let bytes: usize = kept.map(|kept| kept.bytes.len()).sum();
    assert!(bytes < CORPUS_BYTES_MAX, "{bytes} bytes are kept");
}

macro_rules! passes {
    ($($name:ident)*) => {
        $(
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
