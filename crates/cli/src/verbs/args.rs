//! The flags of the verbs that speak to a server.

mod beyond;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use millrace_core::{ContentType, StreamName};
use millrace_wire::OffsetArg;

pub(crate) use self::beyond::{
    AppendAllArgs, BeginArgs, FollowArgs, PickArgs, RetentionArgs, SetArgs, SettingsArgs, TrimArgs,
};
use crate::units;

/// What to ask of a server.
#[derive(Debug, Subcommand)]
pub(crate) enum StreamVerb {
    /// Create a stream
    Create(CreateArgs),
    /// Append to a stream: an argument, a file, or standard input
    Append(AppendArgs),
    /// Append to many streams: a JSON object a line, from a file or standard input
    AppendAll(AppendAllArgs),
    /// Print what is in a stream
    Read(ReadArgs),
    /// Print what is in a stream, then everything that is appended, until it is closed
    Tail(TailArgs),
    /// Print what is in several streams, then everything that is appended, on one connection
    Follow(FollowArgs),
    /// Print what a stream is, and where its tail is
    Head(NameArgs),
    /// Change how much of a stream is kept, when it is compacted, and its attributes
    Set(SetArgs),
    /// Let nobody read the beginning of a stream any more, and give its space back
    Trim(TrimArgs),
    /// Put the latest value of each key in the place of all that was in a stream
    Compact(NameArgs),
    /// Close a stream: nothing can be appended any more
    Close(CloseArgs),
    /// Create a stream that begins with another one's content, without copying it
    Fork(ForkArgs),
    /// Delete streams
    Rm(RmArgs),
    /// List streams
    Ls(LsArgs),
    /// Print how retention stands, or make a pass of it now
    Retention(RetentionArgs),
    /// Ask whether a server takes work, as a health check does
    Ready(ReadyArgs),
    /// Put load on a server, verify what it kept, and print how fast it was
    Bench(BenchArgs),
    /// Explain an offset; asks no server
    Offset(OffsetArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, of all or of one verb
    Man(ManArgs),
}

/// Which server, and how to talk.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// The server
    #[arg(
        long,
        env = "MILLRACE_URL",
        default_value = DEFAULT_URL,
        value_name = "URL"
    )]
    pub(crate) url: String,

    /// The key that the server asks for
    #[arg(
        long,
        env = "MILLRACE_TOKEN",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub(crate) token: Option<String>,

    /// Certificates in PEM to trust with https, and no others [default: the system's]
    #[arg(long, env = "MILLRACE_CA_CERT", value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// Where `serve` listens when nothing is said.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:4437";

/// How to talk.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TalkArgs {
    /// JSON for programs: results on stdout, errors on stderr
    #[arg(long)]
    pub(crate) json: bool,

    /// No talk on stderr but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// A stream, and nothing else.
#[derive(Args, Debug)]
pub(crate) struct NameArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `close`.
#[derive(Args, Debug)]
pub(crate) struct CloseArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    /// Close it only if it ends at this offset, as the last answer told it
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, value_parser = tail)]
    pub(crate) expected_offset: Option<String>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    /// What it holds: `json`, `text`, `binary`, or a media type [default: binary]
    #[arg(long = "type", alias = "content-type", short = 't', value_name = "TYPE", value_parser = content_type)]
    pub(crate) content_type: Option<ContentType>,

    #[command(flatten)]
    pub(crate) lifetime: LifetimeArgs,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How long a new stream lives.
#[derive(Args, Debug)]
pub(crate) struct LifetimeArgs {
    /// Expire it after so long without reads and appends, as in `7d`
    #[arg(
        long,
        value_name = "TIME",
        value_parser = units::duration,
        conflicts_with = "expires_at"
    )]
    pub(crate) ttl: Option<std::time::Duration>,

    /// Expire it at this time, as in `2030-01-31T12:00:00Z`
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<String>,
}

/// The flags of `append`.
#[derive(Args, Debug)]
pub(crate) struct AppendArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    /// What to append; standard input when it is `-` or left out
    #[arg(
        value_name = "DATA",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    pub(crate) data: Option<String>,

    /// A file to append
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Every line is one JSON message; blank lines are skipped
    #[arg(long)]
    pub(crate) ndjson: bool,

    /// Append exactly once under this name: run again with the same input, it goes on where it was
    #[arg(long, value_name = "ID", value_parser = producer_id)]
    pub(crate) producer: Option<String>,

    /// The producer's epoch; other input under the same name needs a higher one
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        requires = "producer",
        value_parser = clap::value_parser!(u64).range(..=millrace_core::limits::PRODUCER_NUMBER_MAX)
    )]
    pub(crate) epoch: u64,

    /// Append only if the stream ends at this offset, as the last answer told it
    #[arg(
        long,
        value_name = "OFFSET",
        allow_hyphen_values = true,
        conflicts_with = "producer",
        value_parser = tail
    )]
    pub(crate) expected_offset: Option<String>,

    /// The most messages of one request; keep it when you run with --producer again
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) batch_messages: u64,

    /// The most bytes of one request; keep it when you run with --producer again
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = batch_bytes)]
    pub(crate) batch_bytes: usize,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `read`.
#[derive(Args, Debug)]
pub(crate) struct ReadArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    #[command(flatten)]
    pub(crate) from: FromArgs,

    #[command(flatten)]
    pub(crate) pick: PickArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Where reading begins, and how it is printed.
#[derive(Args, Debug)]
pub(crate) struct FromArgs {
    /// Where to begin: an offset, `-1` for the start, `now` for the tail
    #[arg(
        long,
        short,
        value_name = "OFFSET",
        default_value = "-1",
        allow_hyphen_values = true,
        value_parser = offset
    )]
    pub(crate) offset: String,

    /// Print bytes as the server sends them; of a JSON stream, one array a page
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

/// The flags of `tail`.
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    #[command(flatten)]
    pub(crate) from: FromArgs,

    #[command(flatten)]
    pub(crate) begin: BeginArgs,

    /// End only when the stream is closed: wait for a server and a stream that are not there yet
    #[arg(long)]
    pub(crate) until_closed: bool,

    /// How to wait for what is new
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) live: LiveArg,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LiveArg {
    /// Server-sent events; long-polls for text, whose exact bytes events do not carry
    Auto,
    /// Server-sent events
    Sse,
    /// Long-polls
    LongPoll,
}

/// The flags of `fork`.
#[derive(Args, Debug)]
pub(crate) struct ForkArgs {
    /// The stream to branch from
    #[arg(value_name = "SOURCE", value_parser = stream_name)]
    pub(crate) source: StreamName,

    /// The new stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    /// Where to branch: an offset of the source, `-1` for its start [default: its tail]
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, value_parser = offset)]
    pub(crate) at: Option<String>,

    /// How far past --at: messages of a JSON stream, bytes of any other
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "at")]
    pub(crate) sub_offset: u64,

    #[command(flatten)]
    pub(crate) lifetime: LifetimeArgs,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `rm`.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The streams
    #[arg(value_name = "STREAM", required = true, value_parser = stream_name)]
    pub(crate) names: Vec<StreamName>,

    /// A stream that is not there is no failure
    #[arg(long)]
    pub(crate) missing_ok: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only streams whose names begin so
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) prefix: String,

    /// The most streams [default: all]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) limit: Option<usize>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `ready`.
#[derive(Args, Debug)]
pub(crate) struct ReadyArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `bench`. What is left out depends on the kind.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// What to do
    #[arg(value_enum, value_name = "KIND", default_value = "append")]
    pub(crate) kind: BenchKind,

    /// Connections that send requests; `sse`, `long-poll` and `live` have one writer beside their subscribers
    #[arg(long, short, value_name = "NUMBER", default_value_t = 16)]
    pub(crate) connections: usize,

    /// Streams that they spread over [default: 1; 1000 for `live`]; for `create`, how many are made [default: as many as can be]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) streams: Option<usize>,

    /// Bytes of a message [default: 128; 1KiB where messages are read]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) size: Option<u64>,

    /// Messages of one request, `json` only
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) batch: usize,

    /// Requests a second, each measured from when it was due [default: the next when one is answered]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rate: Option<f64>,

    /// Live readers [default: 100; 1 for `live`, where each follows all streams]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) subscribers: Option<usize>,

    /// Subscriptions of which each means all the streams, `append` and `json` only
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) subscriptions: usize,

    /// What `catch-up` and `sse-replay` find there
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = units::size)]
    pub(crate) prefill: u64,

    /// How long is measured
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub(crate) duration: std::time::Duration,

    /// How long the same runs unmeasured before
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    pub(crate) warmup: std::time::Duration,

    /// The most streams that are read back and verified at the end
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    pub(crate) verify: usize,

    /// Leave the streams there
    #[arg(long)]
    pub(crate) keep: bool,

    /// The path under which the server has its streams
    #[arg(long, value_name = "PATH", default_value = "/v1/stream")]
    pub(crate) path: String,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchKind {
    /// Appends of one message of bytes
    Append,
    /// Appends of a JSON document, or of an array of --batch documents
    Json,
    /// Creations of streams
    Create,
    /// Reads of the last message of a stream
    Read,
    /// Reads at the tail, where there is nothing
    Tail,
    /// HEAD
    Head,
    /// Reads of a whole stream of --prefill
    CatchUp,
    /// --subscribers of one stream by server-sent events, and a writer
    Sse,
    /// --subscribers that read a stream of --prefill by server-sent events, once
    SseReplay,
    /// --subscribers of one stream by long-polls, and a writer
    LongPoll,
    /// --subscribers that each follow all --streams on one connection, and a writer to them in turn
    Live,
}

/// The flags of `offset`.
#[derive(Args, Debug)]
pub(crate) struct OffsetArgs {
    /// The offset
    #[arg(value_name = "OFFSET", allow_hyphen_values = true)]
    pub(crate) token: String,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// The flags of `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// The flags of `man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// One verb [default: the page of all]
    #[arg(value_name = "VERB")]
    pub(crate) verb: Option<String>,

    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

fn stream_name(text: &str) -> Result<StreamName, String> {
    StreamName::new(text).map_err(|fault| fault.to_string())
}

fn content_type(text: &str) -> Result<ContentType, String> {
    let text = match text {
        "json" => "application/json",
        "text" => "text/plain; charset=utf-8",
        "binary" => ContentType::DEFAULT,
        other => other,
    };
    ContentType::new(text).ok_or_else(|| {
        "write `json`, `text`, `binary`, or a media type as in `text/csv`".to_owned()
    })
}

fn offset(text: &str) -> Result<String, String> {
    match OffsetArg::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(
            "an offset is 13 digits, `-`, and 16 digits; `-1` is the start, `now` the tail"
                .to_owned(),
        ),
    }
}

/// An offset where a stream can end.
fn tail(text: &str) -> Result<String, String> {
    match (text, OffsetArg::parse(text)) {
        ("-1" | "now", _) | (_, None) => Err(
            "write the offset as `millrace head` prints it, or 0000000000000000_0000000000000000 for a stream that is still empty"
                .to_owned(),
        ),
        (_, Some(_)) => Ok(text.to_owned()),
    }
}

fn producer_id(text: &str) -> Result<String, String> {
    let fits = millrace_core::ProducerId::new(text).is_some();
    let printable = text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    (fits && printable)
        .then(|| text.to_owned())
        .ok_or_else(|| "use 1 to 256 printable ASCII characters without spaces".to_owned())
}

fn batch_bytes(text: &str) -> Result<usize, String> {
    let bytes = units::size(text)?;
    usize::try_from(bytes)
        .ok()
        .filter(|_| (1..=millrace_core::limits::APPEND_BYTES_CEILING).contains(&bytes))
        .ok_or_else(|| "use 1B to 1GiB; the server takes --append-bytes-max".to_owned())
}
