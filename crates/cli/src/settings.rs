//! From flags to configurations: everything is looked at together, and what makes no sense refuses
//! the start (T100).

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::HeaderValue;
use millrace_core::limits::APPEND_BYTES_CEILING;
use millrace_engine::{Durability, Options};
use millrace_env::RealDisk;
use millrace_server::{
    Access, ApiKey, Config, Origins, Times, Tls, TlsFiles,
    config::{API_KEY_BYTES_MIN, HEADER_BYTES_CEILING},
};

use crate::{
    args::{AuthStrategy, DurabilityArg, LogFormat, ServeArgs},
    fail::Failure,
    host,
    units::{show_duration, show_size},
};

/// Descriptors that are not for connections: logs, segments, the catalog, what runtimes need.
const DESCRIPTORS_KEPT: u64 = 1024;
/// The fewest connections that are worth serving.
const CONNECTIONS_MIN: u64 = 64;
/// The most: a semaphore counts on, but no machine has more.
const CONNECTIONS_CEILING: u64 = 1 << 24;

/// What access rests on when it rests on the environment's `API_KEY`.
pub(crate) const API_KEY: &str = "the key of API_KEY";

/// Everything that `serve` needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) address: SocketAddr,
    pub(crate) port_file: Option<PathBuf>,
    pub(crate) data_dir: PathBuf,
    pub(crate) engine: Options,
    pub(crate) server: Config,
    pub(crate) exit_on_poison: bool,
    pub(crate) log_format: LogFormat,
    pub(crate) shutdown_timeout: Duration,
    /// What access rests on, in words.
    pub(crate) access: &'static str,
}

/// What the machine and the environment say, where flags are silent.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) memory: u64,
    pub(crate) cores: usize,
    pub(crate) descriptors: u64,
    /// The environment's `API_KEY`.
    pub(crate) api_key: Option<String>,
}

impl Surroundings {
    /// As they are.
    pub(crate) fn real() -> Self {
        Self {
            memory: host::memory().0,
            cores: host::cores(),
            descriptors: host::raise_descriptors(),
            api_key: std::env::var("API_KEY").ok(),
        }
    }
}

impl Settings {
    pub(crate) fn new(args: &ServeArgs, around: &Surroundings) -> Result<Self, Failure> {
        let engine = engine(args, around)?;
        let (access, how) = access(args, around)?;
        if !args.host.is_loopback() && matches!(access, Access::Open) && !is_open_on_purpose(args) {
            return Err(Failure::usage(format!(
                "{} can be reached from other machines, and there is no key",
                args.host
            ))
            .help("set --api-key (or MILLRACE_API_KEY), or say --no-auth"));
        }
        let server = Config {
            long_poll_timeout: time(
                "--long-poll-timeout",
                args.long_poll_timeout,
                Duration::from_millis(1),
                Duration::from_mins(10),
            )?,
            public_url: args.public_url.as_deref().map(public_url).transpose()?,
            tls: tls(args)?,
            origins: origins(&args.cors_origins)?,
            access,
            connections_max: connections_max(args, around)?,
            short_way: !args.no_short_way,
            connections_per_address_max: connections_per_address_max(args)?,
            header_bytes_max: header_bytes_max(args)?,
            allow_local_webhooks: args.allow_local_webhooks,
            webhook_key_age: time(
                "--webhook-key-age",
                args.webhook_key_age,
                Duration::from_hours(1),
                Duration::from_hours(10 * 365 * 24),
            )?,
            times: times(args)?,
        };
        Ok(Self {
            address: SocketAddr::new(args.host, args.port),
            port_file: args.port_file.clone(),
            data_dir: args.data_dir.clone(),
            engine,
            server,
            exit_on_poison: args.exit_on_poison,
            log_format: args.log_format,
            shutdown_timeout: shutdown(args)?,
            access: how,
        })
    }
}

fn times(args: &ServeArgs) -> Result<Times, Failure> {
    let within = |flag, value, max| time(flag, value, Duration::from_millis(100), max);
    let hour = Duration::from_hours(1);
    Ok(Times {
        head: within("--header-timeout", args.header_timeout, hour)?,
        idle: within("--idle-timeout", args.idle_timeout, hour * 24)?,
        body_idle: within("--body-idle-timeout", args.body_idle_timeout, hour)?,
        body: within("--body-timeout", args.body_timeout, hour * 24)?,
        write: within("--write-timeout", args.write_timeout, hour)?,
        drain: shutdown(args)? / 5 * 4,
        ..Times::default()
    })
}

fn shutdown(args: &ServeArgs) -> Result<Duration, Failure> {
    let (min, max) = (Duration::from_millis(100), Duration::from_hours(1));
    time("--shutdown-timeout", args.shutdown_timeout, min, max)
}

fn engine(args: &ServeArgs, around: &Surroundings) -> Result<Options, Failure> {
    // Whole mebibytes, which are easier to read.
    let half = (around.memory / 2) & !((1 << 20) - 1);
    let memory_max = args.memory_max.unwrap_or(half);
    let memory_max = bytes("--memory-max", memory_max, 32 << 20, 1 << 50)?;
    let shards = match args.shards {
        Some(shards @ 1..=256) => shards,
        Some(other) => {
            return Err(Failure::usage(format!("--shards is {other}")).help("write 1 to 256"));
        }
        None => u16::try_from((around.cores / 2).clamp(1, 256)).expect("at most 256"),
    };
    let defaults = Options::for_memory(memory_max);
    let interval = |flag, value| {
        time(
            flag,
            value,
            Duration::from_millis(10),
            Duration::from_hours(24),
        )
    };
    Ok(Options {
        durability: match args.durability {
            DurabilityArg::Local => Durability::Local,
            DurabilityArg::Memory => Durability::Memory,
        },
        shards,
        append_bytes_max: bytes(
            "--append-bytes-max",
            args.append_bytes_max,
            1,
            APPEND_BYTES_CEILING,
        )?,
        read_bytes_max: bytes("--read-bytes-max", args.read_bytes_max, 1, 1 << 30)?,
        wal_segment_bytes: bytes(
            "--wal-segment-bytes",
            args.wal_segment_bytes,
            64 << 10,
            4 << 30,
        )?,
        flush_bytes: bytes(
            "--flush-bytes",
            args.flush_bytes.unwrap_or(defaults.flush_bytes),
            1 << 10,
            memory_max / 4,
        )?,
        flush_interval: interval("--flush-interval", args.flush_interval)?,
        compaction_interval: interval("--compaction-interval", args.compaction_interval)?,
        retention_interval: interval("--retention-interval", args.retention_interval)?,
        scrub_rate: scrub_rate(args)?,
        scrub_interval: time(
            "--scrub-interval",
            args.scrub_interval,
            Duration::from_millis(10),
            Duration::from_hours(365 * 24),
        )?,
        ..defaults
    })
}

/// None at all, or enough to get somewhere.
fn scrub_rate(args: &ServeArgs) -> Result<u64, Failure> {
    match args.scrub_rate {
        0 => Ok(0),
        rate => bytes("--scrub-rate", rate, 64 << 10, 1 << 40),
    }
}

fn bytes(flag: &str, value: u64, min: u64, max: u64) -> Result<u64, Failure> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let (min, max) = (show_size(min), show_size(max));
    Err(Failure::usage(format!("{flag} is {}", show_size(value)))
        .help(format!("write {min} to {max}")))
}

fn time(flag: &str, value: Duration, min: Duration, max: Duration) -> Result<Duration, Failure> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let (min, max) = (show_duration(min), show_duration(max));
    Err(
        Failure::usage(format!("{flag} is {}", show_duration(value)))
            .help(format!("write {min} to {max}")),
    )
}

/// By either name.
fn auth(args: &ServeArgs) -> Option<AuthStrategy> {
    args.auth.or(args.auth_strategy)
}

fn is_open_on_purpose(args: &ServeArgs) -> bool {
    args.no_auth || auth(args) == Some(AuthStrategy::None)
}

/// Who may use the streams, and why. A key that is there is used: only a flag that says otherwise
/// leaves the door open.
fn access(args: &ServeArgs, around: &Surroundings) -> Result<(Access, &'static str), Failure> {
    if args.auth.is_some() && args.auth_strategy.is_some() && args.auth != args.auth_strategy {
        return Err(
            Failure::usage("--auth and --auth-strategy say different things")
                .help("leave out --auth-strategy"),
        );
    }
    let open = is_open_on_purpose(args);
    let (key, how) = match (&args.api_key, &around.api_key) {
        (Some(key), _) => (Some(key), "the key of --api-key"),
        (None, Some(key)) if !open => (Some(key), API_KEY),
        _ => (None, "everyone who can connect"),
    };
    if open && (key.is_some() || auth(args) == Some(AuthStrategy::ApiKey)) {
        return Err(Failure::usage("a key and no access control at a time")
            .help("leave out the key, or --no-auth"));
    }
    let Some(key) = key else {
        if auth(args) == Some(AuthStrategy::ApiKey) {
            return Err(Failure::usage("--auth api-key without a key")
                .help("set --api-key, MILLRACE_API_KEY or API_KEY"));
        }
        return Ok((Access::Open, how));
    };
    let key = ApiKey::new(key).ok_or_else(|| {
        Failure::usage("the API key is too short, or holds blanks or other odd characters").help(
            format!("use at least {API_KEY_BYTES_MIN} visible ASCII characters, as from `openssl rand -hex 16`"),
        )
    })?;
    Ok((Access::Key(key), how))
}

/// Certificate and key, read and found to belong together.
fn tls(args: &ServeArgs) -> Result<Option<Tls>, Failure> {
    let files = match (&args.tls_cert, &args.tls_key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
        },
        (Some(_), None) => {
            return Err(Failure::usage("--tls-cert without --tls-key")
                .help("name the certificate's private key with --tls-key (or MILLRACE_TLS_KEY)"));
        }
        (None, Some(_)) => {
            return Err(Failure::usage("--tls-key without --tls-cert")
                .help("name the key's certificate with --tls-cert (or MILLRACE_TLS_CERT)"));
        }
    };
    let disk = Arc::new(RealDisk::new(""));
    Tls::load(disk, files).map(Some).map_err(|fault| {
        Failure::usage(fault)
            .help("set --tls-cert to the chain and --tls-key to its key, both in PEM")
    })
}

/// As asked, but never more than there are descriptors for.
fn connections_max(args: &ServeArgs, around: &Surroundings) -> Result<usize, Failure> {
    let most = around
        .descriptors
        .saturating_sub(DESCRIPTORS_KEPT)
        .clamp(CONNECTIONS_MIN, CONNECTIONS_CEILING);
    let asked = args.connections_max.unwrap_or(most);
    if asked > most && asked <= CONNECTIONS_CEILING {
        return Err(
            Failure::usage(format!("--connections-max is {asked}")).help(format!(
                "the descriptor limit leaves {most}; raise it (`ulimit -n`), or write less"
            )),
        );
    }
    connections("--connections-max", asked)
}

fn connections_per_address_max(args: &ServeArgs) -> Result<Option<usize>, Failure> {
    let flag = "--connections-per-address-max";
    let asked = args.connections_per_address_max;
    asked.map(|asked| connections(flag, asked)).transpose()
}

fn connections(flag: &str, asked: u64) -> Result<usize, Failure> {
    let fits = usize::try_from(asked)
        .ok()
        .filter(|_| (1..=CONNECTIONS_CEILING).contains(&asked));
    fits.ok_or_else(|| {
        Failure::usage(format!("{flag} is {asked}"))
            .help(format!("write 1 to {CONNECTIONS_CEILING}"))
    })
}

fn header_bytes_max(args: &ServeArgs) -> Result<usize, Failure> {
    let asked = args.header_bytes_max;
    let asked = bytes(
        "--header-bytes-max",
        asked,
        8 << 10,
        HEADER_BYTES_CEILING as u64,
    )?;
    Ok(usize::try_from(asked).expect("bounded"))
}

/// Scheme and authority, without anything after them.
fn public_url(text: &str) -> Result<String, Failure> {
    let url = text.trim_end_matches('/');
    let fits = http::Uri::try_from(url).is_ok_and(|uri| {
        let scheme = uri.scheme_str();
        let is_web = scheme == Some("http") || scheme == Some("https");
        is_web && uri.host().is_some_and(|host| !host.is_empty()) && uri.path() == "/"
    });
    if fits && !url.contains(['?', '#', '@']) {
        return Ok(url.to_owned());
    }
    Err(Failure::usage(format!("--public-url is `{text}`"))
        .help("write scheme and authority, as in `https://streams.example:8443`"))
}

fn origins(listed: &[String]) -> Result<Origins, Failure> {
    if listed.is_empty() || listed.iter().all(|origin| origin == "*") {
        return Ok(Origins::Any);
    }
    let origins: Result<Vec<HeaderValue>, Failure> =
        listed.iter().map(|text| origin(text)).collect();
    origins.map(Origins::Listed)
}

/// As a browser writes it: no path, no slash at its end.
fn origin(text: &str) -> Result<HeaderValue, Failure> {
    let is_origin = text == "null" || (!text.ends_with('/') && public_url(text).is_ok());
    HeaderValue::try_from(text)
        .ok()
        .filter(|_| is_origin)
        .ok_or_else(|| {
            Failure::usage(format!("--cors-origin is `{text}`"))
                .help("write it as browsers do, as in `https://app.example`; `*` allows all")
        })
}

#[cfg(test)]
mod tests;
