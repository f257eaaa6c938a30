//! The flag table: what can be asked, its names in the environment, its help. Everything else
//! (parsing, `--help`, the config file, `--explain-config`, `--print-config`) is made from this.
//!
//! INVARIANT: no setting of `serve` requires or excludes another one here: what a config file says
//! comes in as defaults, which such rules do not see. `settings.rs` judges them together.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Arg, Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use crate::{units, verbs::args::StreamVerb};

/// Durable event streams over HTTP, in one binary with one data directory.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    propagate_version = true,
    after_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What ends a process means; also in `docs/cli.md`.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed or refused, or `check` found damage, or `repair` leaves some
  2    wrong usage, or a wrong config file
  3    the data directory is in use
  4    no such stream
  5    no server can be reached, or the connection broke
  6    the key is missing or wrong
  130  interrupted (of `serve`, that is a good end: 0)
  143  terminated (the same)";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Serve streams over HTTP
    Serve(Box<ServeArgs>),
    /// Verify a data directory that no server uses: every checksum, and that all of it agrees
    Check(CheckArgs),
    /// Put a damaged data directory right that no server uses, keeping all that is replaced
    Repair(RepairArgs),
    /// Print what is in a data directory that no server uses
    Dump(DumpArgs),
    #[command(flatten)]
    Stream(Box<StreamVerb>),
}

impl Verb {
    /// Whether stdout and errors are for programs.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Serve(args) => args.json,
            Self::Check(args) => args.directory.json,
            Self::Repair(args) => args.directory.json,
            Self::Dump(args) => args.directory.json,
            Self::Stream(verb) => verb.json(),
        }
    }
}

/// Whether a flag of `serve` says how to serve, and may stand in a config file.
pub(crate) fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some() && arg.get_id() != "config"
}

/// The flags of `serve`.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a flag without a value is one"
)]
pub(crate) struct ServeArgs {
    /// TOML file with any of these flags, as in `port = 4437`; a flag and the environment beat it
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Address to listen on; beyond this machine only with a key, or with --no-auth
    #[arg(
        long,
        env = "MILLRACE_HOST",
        default_value = "127.0.0.1",
        value_name = "IP"
    )]
    pub(crate) host: IpAddr,

    /// Port to listen on; 0 lets the system choose
    #[arg(long, env = "MILLRACE_PORT", default_value_t = 4437)]
    pub(crate) port: u16,

    /// File to write the port to, once it listens
    #[arg(long, env = "MILLRACE_PORT_FILE", value_name = "FILE")]
    pub(crate) port_file: Option<PathBuf>,

    /// Directory that holds everything; made when it is not there
    #[arg(
        long,
        env = "MILLRACE_DATA_DIR",
        default_value = "./millrace-data",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// What an acknowledgement means
    #[arg(long, env = "MILLRACE_DURABILITY", default_value = "local", value_enum)]
    pub(crate) durability: DurabilityArg,

    /// How long a long-poll waits
    #[arg(
        long,
        env = "MILLRACE_LONG_POLL_TIMEOUT",
        default_value = "20s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) long_poll_timeout: Duration,

    /// Largest page of a read; a page holds at least one message
    #[arg(
        long,
        env = "MILLRACE_READ_BYTES_MAX",
        default_value = "4MiB",
        value_name = "SIZE",
        value_parser = units::size
    )]
    pub(crate) read_bytes_max: u64,

    /// Largest body of one append
    #[arg(
        long,
        env = "MILLRACE_APPEND_BYTES_MAX",
        default_value = "16MiB",
        value_name = "SIZE",
        value_parser = units::size
    )]
    pub(crate) append_bytes_max: u64,

    /// Memory for all caches, buffers and gates together [default: half of the cgroup's limit, or of RAM]
    #[arg(
        long,
        env = "MILLRACE_MEMORY_MAX",
        value_name = "SIZE",
        value_parser = units::size
    )]
    pub(crate) memory_max: Option<u64>,

    /// Shards, each with a thread, an event loop and a log of its own [default: half of the cores]
    #[arg(long, env = "MILLRACE_SHARDS", value_name = "NUMBER")]
    pub(crate) shards: Option<u16>,

    /// Bytes in a shard's log and memory that start a flush [default: an eighth of --memory-max]
    #[arg(
        long,
        env = "MILLRACE_FLUSH_BYTES",
        value_name = "SIZE",
        value_parser = units::size
    )]
    pub(crate) flush_bytes: Option<u64>,

    /// How long a change waits for its flush
    #[arg(
        long,
        env = "MILLRACE_FLUSH_INTERVAL",
        default_value = "30s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) flush_interval: Duration,

    /// Size of a segment of a shard's log
    #[arg(
        long,
        env = "MILLRACE_WAL_SEGMENT_BYTES",
        default_value = "64MiB",
        value_name = "SIZE",
        value_parser = units::size
    )]
    pub(crate) wal_segment_bytes: u64,

    /// How often compaction looks for work
    #[arg(
        long,
        env = "MILLRACE_COMPACTION_INTERVAL",
        default_value = "10s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) compaction_interval: Duration,

    /// Bytes a second that are read to look for damage at rest; 0 never looks
    #[arg(
        long,
        env = "MILLRACE_SCRUB_RATE",
        default_value = "8MiB",
        value_name = "SIZE",
        value_parser = units::size
    )]
    pub(crate) scrub_rate: u64,

    /// From the end of one look at everything to the beginning of the next
    #[arg(
        long,
        env = "MILLRACE_SCRUB_INTERVAL",
        default_value = "7d",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) scrub_interval: Duration,

    /// How often streams are trimmed to what they keep
    #[arg(
        long,
        env = "MILLRACE_RETENTION_INTERVAL",
        default_value = "30s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) retention_interval: Duration,

    /// Certificate chain in PEM, the server's own first: speak TLS; taken up anew when it changes
    #[arg(long, env = "MILLRACE_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key in PEM that belongs to the certificate
    #[arg(long, env = "MILLRACE_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Scheme and authority for `Location`, as in `https://streams.example`
    #[arg(long, env = "MILLRACE_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,

    /// Origin whose pages may use the streams, as in `https://app.example`; repeat for more [default: any]
    #[arg(
        long = "cors-origin",
        env = "MILLRACE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) cors_origins: Vec<String>,

    /// Key that clients show as `Authorization: Bearer <key>`; at least 10 characters (`API_KEY` is read too)
    #[arg(
        long,
        env = "MILLRACE_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub(crate) api_key: Option<String>,

    /// How clients are told apart; `api-key` insists on a key
    #[arg(long, env = "MILLRACE_AUTH", value_enum, value_name = "HOW")]
    pub(crate) auth: Option<AuthStrategy>,

    /// Another name of --auth, which other servers of the protocol have
    #[arg(long, env = "MILLRACE_AUTH_STRATEGY", value_enum, value_name = "HOW")]
    pub(crate) auth_strategy: Option<AuthStrategy>,

    /// Serve everyone who can connect, even beyond this machine
    #[arg(long, env = "MILLRACE_NO_AUTH", value_parser = BoolishValueParser::new())]
    pub(crate) no_auth: bool,

    /// Connections at a time; more are told 429 and end [default: the descriptor limit, less what files need]
    #[arg(long, env = "MILLRACE_CONNECTIONS_MAX", value_name = "NUMBER")]
    pub(crate) connections_max: Option<u64>,

    /// Connections at a time from one address, or one IPv6 /64; more are closed at once [default: no limit]
    #[arg(
        long,
        env = "MILLRACE_CONNECTIONS_PER_ADDRESS_MAX",
        value_name = "NUMBER"
    )]
    pub(crate) connections_per_address_max: Option<u64>,

    /// Largest line and headers of a request
    #[arg(
        long,
        env = "MILLRACE_HEADER_BYTES_MAX",
        default_value = "64KiB",
        value_name = "SIZE",
        value_parser = units::size
    )]
    pub(crate) header_bytes_max: u64,

    /// How long a request's headers may take from their first byte, and the first byte of a connection
    #[arg(
        long,
        env = "MILLRACE_HEADER_TIMEOUT",
        default_value = "10s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) header_timeout: Duration,

    /// How long a connection may carry no request
    #[arg(
        long,
        env = "MILLRACE_IDLE_TIMEOUT",
        default_value = "75s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) idle_timeout: Duration,

    /// How long a request's body may bring nothing
    #[arg(
        long,
        env = "MILLRACE_BODY_IDLE_TIMEOUT",
        default_value = "30s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) body_idle_timeout: Duration,

    /// How long a request's body may take as a whole
    #[arg(
        long,
        env = "MILLRACE_BODY_TIMEOUT",
        default_value = "5m",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) body_timeout: Duration,

    /// How long a client may take nothing of an answer
    #[arg(
        long,
        env = "MILLRACE_WRITE_TIMEOUT",
        default_value = "30s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) write_timeout: Duration,

    /// UNSAFE: let webhooks lead to this machine itself, in the clear too; for development
    #[arg(long, env = "MILLRACE_ALLOW_LOCAL_WEBHOOKS", value_parser = BoolishValueParser::new())]
    pub(crate) allow_local_webhooks: bool,

    /// How old the key that signs deliveries to webhooks gets before another takes its place
    #[arg(
        long,
        env = "MILLRACE_WEBHOOK_KEY_AGE",
        default_value = "90d",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) webhook_key_age: Duration,

    /// End the process when a shard takes no more writes, so that a supervisor restarts it
    #[arg(long, env = "MILLRACE_EXIT_ON_POISON", value_parser = BoolishValueParser::new())]
    pub(crate) exit_on_poison: bool,

    /// Serve all of HTTP/1.1 by the general path; for comparison and should the short one misbehave
    #[arg(long, env = "MILLRACE_NO_SHORT_WAY", value_parser = BoolishValueParser::new())]
    pub(crate) no_short_way: bool,

    /// How log lines are written to stderr; RUST_LOG chooses which
    #[arg(long, env = "MILLRACE_LOG_FORMAT", default_value = "text", value_enum)]
    pub(crate) log_format: LogFormat,

    /// How long a stop may take; connections still open at four fifths of it are cut
    #[arg(
        long,
        env = "MILLRACE_SHUTDOWN_TIMEOUT",
        default_value = "5s",
        value_name = "TIME",
        value_parser = units::duration
    )]
    pub(crate) shutdown_timeout: Duration,

    /// Print every value, where it came from, and the bounds that follow from it; then end
    #[arg(long)]
    pub(crate) explain_config: bool,

    /// Print a config file with every setting, its default and what it means; then end
    #[arg(long, conflicts_with = "explain_config")]
    pub(crate) print_config: bool,

    /// JSON for programs: where it listens on stdout, an error on stderr, --explain-config
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Synced to this machine's disk
    Local,
    /// UNSAFE: written but not synced; a power cut may lose everything since the last flush
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthStrategy {
    /// The same as --no-auth
    None,
    /// By one shared key
    ApiKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Json,
}

/// The flags of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) directory: DirectoryArgs,
}

/// The flags of `repair`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) directory: DirectoryArgs,

    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The flags of `dump`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) directory: DirectoryArgs,

    /// What to print [default: all of it]
    #[arg(value_enum, value_name = "PART")]
    pub(crate) parts: Vec<Part>,
}

/// The flags of verbs that look at a data directory.
#[derive(Args, Clone, Debug)]
pub(crate) struct DirectoryArgs {
    /// The data directory
    #[arg(
        long,
        env = "MILLRACE_DATA_DIR",
        default_value = "./millrace-data",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Streams, extents, producers, the manifest
    Catalog,
    /// Segment files
    Segments,
    /// The logs, event by event
    Wal,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_serve_has_a_help_line_and_a_name_in_the_environment() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("is there");
        for arg in serve.get_arguments() {
            let id = arg.get_id().as_str();
            assert!(arg.get_help().is_some(), "{id}");
            if !["explain_config", "print_config", "json"].contains(&id) {
                let env = arg.get_env().and_then(|env| env.to_str());
                let want = match id {
                    "cors_origins" => "MILLRACE_CORS_ORIGIN".to_owned(),
                    _ => format!("MILLRACE_{}", id.to_uppercase()),
                };
                assert_eq!(env, Some(want.as_str()), "{id}");
            }
        }
    }

    #[test]
    fn no_setting_requires_or_excludes_another() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("is there");
        for arg in serve.get_arguments().filter(|arg| is_setting(arg)) {
            let id = arg.get_id();
            assert_eq!(serve.get_arg_conflicts_with(arg).len(), 0, "{id}");
            let flag = format!("--{}=?", arg.get_long().expect("has one"));
            let alone = Cli::try_parse_from(["millrace", "serve", &flag]);
            let kind = alone.err().map(|error| error.kind());
            assert_ne!(
                kind,
                Some(clap::error::ErrorKind::MissingRequiredArgument),
                "{id}"
            );
        }
    }

    #[test]
    fn the_unsafe_mode_says_so_in_its_help() {
        let help = DurabilityArg::Memory
            .to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string));
        assert!(help.is_some_and(|help| help.starts_with("UNSAFE")));
    }
}
