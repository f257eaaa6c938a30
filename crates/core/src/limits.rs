//! Every bound of the rules, in one place; `millrace serve --explain-config` prints them.

/// The longest stream name, in bytes after percent-decoding.
pub const STREAM_NAME_BYTES_MAX: usize = 1024;
/// The longest content type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// The longest `Producer-Id`, in bytes.
pub const PRODUCER_ID_BYTES_MAX: usize = 256;
/// The longest `Stream-Seq`, in bytes.
pub const STREAM_SEQ_BYTES_MAX: usize = 256;
/// How many producers a stream remembers; beyond it those idle for
/// [`PRODUCER_IDLE_MILLIS_MIN`] are forgotten, and if none is, the new one is refused.
pub const PRODUCERS_PER_STREAM_MAX: u32 = 65_536;
/// How long a producer must have been idle before it may be forgotten: 7 days, in milliseconds.
pub const PRODUCER_IDLE_MILLIS_MIN: u64 = 7 * 24 * 60 * 60 * 1000;
/// The largest integer of a producer header: 2^53 - 1, for JavaScript clients.
pub const PRODUCER_NUMBER_MAX: u64 = (1 << 53) - 1;
/// The deepest nesting of an appended JSON value. A page puts an array around it, and common readers
/// stop at 127 levels; the rest is room for what a client puts around a page.
pub const JSON_DEPTH_MAX: usize = 120;
/// The largest `--append-bytes-max` that may be configured, in bytes: a payload's message lengths
/// are 32-bit numbers.
pub const APPEND_BYTES_CEILING: u64 = 1 << 30;
/// The default of `--append-bytes-max`, in bytes.
pub const APPEND_BYTES_MAX_DEFAULT: u64 = 16 << 20;
/// The default of `--read-bytes-max`, in bytes.
pub const READ_BYTES_MAX_DEFAULT: u64 = 4 << 20;
/// The most commands one turn of a shard takes.
pub const TURN_COMMANDS_MAX: usize = 1024;
/// The most payload bytes after which a turn takes no further command.
pub const TURN_BYTES_MAX: u64 = 4 << 20;
/// The longest sliding lifetime, in seconds (about 31,700 years): keeps deadlines inside `u64`
/// milliseconds.
pub const TTL_SECONDS_MAX: u64 = 1_000_000_000_000;
/// The longest document of a stream's settings, in bytes.
pub const SETTING_BYTES_MAX: u64 = 512 << 10;
/// All documents of a stream's settings together, in bytes.
pub const SETTINGS_BYTES_MAX: u64 = 1 << 20;
/// The longest chain of forks: a fork's reads look at one list this long, never deeper.
pub const FORK_DEPTH_MAX: usize = 1024;
/// The longest id of a subscription, in bytes after percent-decoding.
pub const SUBSCRIPTION_ID_BYTES_MAX: usize = 200;
/// The longest pattern of a subscription, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// The longest description of a subscription, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 1024;
/// The longest webhook URL, in bytes.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;
/// The longest name of a worker, in bytes.
pub const WORKER_BYTES_MAX: usize = 256;
/// How many streams a subscription may name, beside its pattern.
pub const EXPLICIT_STREAMS_MAX: usize = 10_000;
/// How many subscriptions there may be.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// The shortest lease of a subscription, in milliseconds.
pub const LEASE_MILLIS_MIN: u64 = 1_000;
/// The longest lease of a subscription, in milliseconds.
pub const LEASE_MILLIS_MAX: u64 = 600_000;
/// The lease of a subscription that names none, in milliseconds.
pub const LEASE_MILLIS_DEFAULT: u64 = 30_000;
/// How many streams one wake of a subscription tells of; the others come with the next.
pub const WAKE_STREAMS_MAX: usize = 1000;
