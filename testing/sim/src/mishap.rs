//! The kinds of things that go wrong in a run, each counted when it happens and not when it is planned.
//!
//! The seeds of the test command have every one of them (`--every-fault`), so that no kind can fall silent.

use std::collections::BTreeMap;

use millrace_env::Harm;

/// How often each kind of thing went wrong.
pub type Mishaps = BTreeMap<Mishap, u64>;

macro_rules! mishaps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mishap {
            $($(#[$doc])* $name,)*
        }

        impl Mishap {
            /// All kinds, in the order in which they are told.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

mishaps! {
    /// Bytes arrive later than they were sent.
    Delayed = "network: messages delayed",
    /// A message arrives in pieces.
    CutUp = "network: messages cut to pieces",
    /// What was under way on a connection never arrives.
    MessageLost = "network: messages lost",
    /// A connection breaks by itself.
    Broken = "network: connections broken amid a message",
    /// A client and the server cannot reach each other.
    Parted = "network: partitions",
    /// A request is sent again while the first may still be under way.
    Repeated = "network: requests duplicated",
    /// The second of the two is answered before the first has arrived.
    Overtaken = "network: requests overtaken by their duplicate",
    /// Nobody hears that the server died.
    LeftSilent = "network: connections left silent by a dead server",
    /// There is no descriptor for a connection.
    NotAccepted = "network: connections not accepted (EMFILE)",
    /// The process dies in a call of the disk.
    KilledInIo = "process: killed in an I/O",
    /// The process dies before it hands bytes to the network.
    KilledBeforeSend = "process: killed before a send",
    /// The process dies where all its tasks wait or are ready.
    KilledBetweenRounds = "process: killed between two rounds of its loop",
    /// The process dies at some time.
    KilledAtTime = "process: killed at a time",
    /// Any of these while it starts.
    KilledWhileStarting = "process: killed while starting",
    /// Any of these while it ends in order.
    KilledWhileEnding = "process: killed while ending",
    /// The machine dies with the process.
    PowerLost = "disk: power lost",
    /// What was not synced is gone.
    BytesLost = "disk: unsynced bytes lost",
    /// Of one write a part is there.
    BytesTorn = "disk: unsynced writes torn",
    /// Where bytes were written there are zeros.
    BytesZeroed = "disk: unsynced bytes zeroed",
    /// A later write is there and an earlier one is not.
    BytesReordered = "disk: unsynced writes reordered",
    /// A new, changed or removed name is as before.
    NamesLost = "disk: unsynced names lost",
    /// A write takes less than it was given.
    ShortWrite = "disk: short writes",
    /// A call fails with `EIO`.
    Eio = "disk: calls failed with EIO",
    /// A call fails with `ENOSPC`.
    Enospc = "disk: calls failed with ENOSPC",
    /// A call fails with `EMFILE`.
    Emfile = "disk: calls failed with EMFILE",
    /// A sync of a file fails.
    SyncFailed = "disk: failed syncs of files",
    /// A sync of a directory fails.
    DirSyncFailed = "disk: failed syncs of directories",
    /// Any call fails before the server has opened its data directory.
    FailedWhileStarting = "disk: calls failed while starting",
    /// A write takes less than it was given, before the server has opened its data directory.
    ShortWhileStarting = "disk: short writes while starting",
    /// There is no more room for a while.
    FullDisk = "disk: full for a while",
    /// A sync takes a millisecond or more.
    SlowSync = "disk: slow syncs",
    /// A sync is so slow that the server moved it off its loop.
    SyncMoved = "disk: slow syncs on a helper thread",
    /// Syncs are slow all the time.
    SlowRun = "disk: slow for a whole run",
    /// A bit of a stored segment flips.
    SegmentFlip = "disk: bits flipped in segments",
    /// A bit of a log flips.
    LogFlip = "disk: bits flipped in logs",
    /// A bit of the catalog flips.
    CatalogFlip = "disk: bits flipped in the catalog",
    /// Somebody reads such a bit.
    WrongRead = "disk: reads of a flipped bit",
    /// A server does not start on a disk that fails.
    StartFailed = "start: refused because the disk failed",
    /// A server does not start on stored bytes that are wrong.
    StartRefused = "start: refused because of a flipped bit",
    /// The wall clock is set forward.
    ClockForward = "clock: set forward",
    /// The wall clock is set back.
    ClockBack = "clock: set back",
}

/// What the disk counted itself.
pub(crate) fn of_disk(harm: Harm) -> [(Mishap, u64); 7] {
    let Harm {
        lost,
        torn,
        zeroed,
        reordered,
        names_lost,
        short_writes,
        wrong_reads,
    } = harm;
    [
        (Mishap::BytesLost, lost),
        (Mishap::BytesTorn, torn),
        (Mishap::BytesZeroed, zeroed),
        (Mishap::BytesReordered, reordered),
        (Mishap::NamesLost, names_lost),
        (Mishap::ShortWrite, short_writes),
        (Mishap::WrongRead, wrong_reads),
    ]
}
