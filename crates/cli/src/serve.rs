//! `millrace serve`: from flags to a running server, and to its end.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use millrace_engine::Durability;
use millrace_env::{Disk as _, Env, FileExt as _, OpenMode, RealDisk, sleep, timeout};
use millrace_server::{Access, Server, Setup, Stopped, Tls};
use serde_json::json;

use crate::{
    args::ServeArgs,
    check::written,
    config::{File, Origins, example},
    explain,
    fail::Failure,
    log,
    settings::{Settings, Surroundings},
    signals::Signals,
    units::show_size,
    verbs::shell_word,
};

/// Serves until a signal.
pub(crate) fn serve(args: &ServeArgs, origins: &Origins) -> Result<ExitCode, Failure> {
    if args.print_config {
        return print(&example());
    }
    let settings = Settings::new(args, &Surroundings::real());
    let settings = settings.map_err(|failure| origins.blame(failure))?;
    if args.explain_config {
        return print(&explain::explain(&settings, origins, args.json));
    }
    millrace_env::process::use_small_pages();
    // Before the event loop, so that it is dropped after it: sending the last spans blocks.
    let _spans = log::start(settings.log_format)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    if let Some(warning) = origins.file.as_ref().and_then(File::warning) {
        tracing::warn!("{warning}");
    }
    runtime.block_on(run(settings, args.json))?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(settings: Settings, json: bool) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    warn(&settings);
    let mut server = start(&settings)?;
    announce(&settings, server.address(), json)?;
    tokio::select! {
        biased;
        _ = signals.next() => return stop(server, &settings, signals).await,
        opened = server.opened() => {
            opened.map_err(|error| Failure::of_open(&error, &settings.data_dir))?;
        }
    }
    tracing::info!(address = %server.address(), "ready");
    let poisoned = tokio::select! {
        biased;
        _ = signals.next() => None,
        problems = server.poisoned() => Some(problems.join("; ")),
    };
    if let Some(problems) = &poisoned {
        tracing::error!(
            problems,
            "writes are stopped; reads go on; restart to recover"
        );
        if !settings.exit_on_poison {
            signals.next().await;
        }
    }
    stop(server, &settings, signals).await?;
    match poisoned.filter(|_| settings.exit_on_poison) {
        Some(problems) => Err(Failure::failed(problems).help("start again to recover from disk")),
        None => Ok(()),
    }
}

/// What could surprise.
fn warn(settings: &Settings) {
    if settings.engine.durability == Durability::Memory {
        tracing::warn!(
            "--durability memory is UNSAFE: appends are acknowledged before they are synced, and a \
             power cut may lose everything since the last flush"
        );
    }
    if !settings.address.ip().is_loopback() && matches!(settings.server.access, Access::Open) {
        tracing::warn!(address = %settings.address, "anyone who can connect can read, write and delete");
    }
}

fn start(settings: &Settings) -> Result<Server, Failure> {
    let address = settings.address;
    let socket = millrace_server::listen(address).map_err(|error| {
        Failure::failed(format!("cannot listen on {address}: {error}"))
            .help("choose another --port (0 lets the system choose) or --host")
    })?;
    let setup = Setup {
        socket,
        env: Env::real(&settings.data_dir),
        engine: settings.engine.clone(),
        config: settings.server.clone(),
    };
    Server::start(setup).map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

/// Says where it listens: one line for programs on stdout, the port file, lines to copy on stderr.
fn announce(settings: &Settings, address: SocketAddr, json: bool) -> Result<(), Failure> {
    if let Some(file) = &settings.port_file {
        write_port(file, address.port()).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", file.display()))
                .help("choose another --port-file")
        })?;
    }
    let mut out = io::stdout().lock();
    let scheme = scheme(settings);
    let line = if json {
        json!({ "url": format!("{scheme}://{address}"), "port": address.port() }).to_string()
    } else {
        format!("listening on {scheme}://{address}")
    };
    // Nobody may be listening to stdout; that is no reason not to serve.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    if settings.log_format == crate::args::LogFormat::Text && !json {
        let _ = write!(io::stderr(), "{}", welcome(settings, address));
    }
    Ok(())
}

/// Under another name first, so that whoever waits for the file never reads half of it.
fn write_port(file: &Path, port: u16) -> io::Result<()> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let disk = RealDisk::new(file.parent().unwrap_or(Path::new("")));
    let fresh = format!("{}.new", name.to_string_lossy());
    let fresh = Path::new(&fresh);
    let out = disk.open(fresh, OpenMode::CreateOrOpen)?;
    out.set_len(0)?;
    out.write_all_at(format!("{port}\n").as_bytes(), 0)?;
    disk.rename(fresh, Path::new(name))
}

fn scheme(settings: &Settings) -> &'static str {
    if settings.server.tls.is_some() {
        "https"
    } else {
        "http"
    }
}

/// The server as a command would name it, and what curl needs to trust it. A public URL is trusted
/// by who it is for; a bare address is nobody's name, unless the certificate itself says so.
fn outside(settings: &Settings, address: SocketAddr) -> (String, String) {
    let files = settings.server.tls.as_ref().map(Tls::files);
    match (&settings.server.public_url, files) {
        (Some(url), Some(_)) => (url.clone(), String::new()),
        (None, Some(files)) => {
            let cert = shell_word(&files.cert.to_string_lossy());
            (format!("https://{address}"), format!(" --cacert {cert}"))
        }
        (_, None) => (format!("http://{address}"), String::new()),
    }
}

fn welcome(settings: &Settings, address: SocketAddr) -> String {
    let engine = &settings.engine;
    let durability = match engine.durability {
        Durability::Local => "local",
        Durability::Memory => "memory (UNSAFE)",
    };
    let key = match settings.server.access {
        Access::Key(_) => " -H \"Authorization: Bearer $API_KEY\"",
        _ => "",
    };
    let (origin, trust) = outside(settings, address);
    let stream = format!("{origin}/v1/stream/hello");
    let key = format!("{trust}{key}");
    let json = "-H 'Content-Type: application/json'";
    format!(
        "\n  data        {data}\n  durability  {durability}\n  shards      {shards}\n  \
         memory      {memory}\n  access      {access}\n\n  \
         curl -X PUT  {stream}{key} {json}\n  \
         curl -X POST {stream}{key} {json} -d '{{\"n\":1}}'\n  \
         curl {stream}{key}\n  \
         curl -N '{stream}?offset=-1&live=sse'{key}\n\n",
        data = settings.data_dir.display(),
        shards = engine.shards,
        memory = show_size(engine.memory_max),
        access = settings.access,
    )
}

/// Signals this soon after the first one say the same: a terminal and a process manager often both
/// send one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Ends the server in time; a second signal ends the process at once.
async fn stop(server: Server, settings: &Settings, mut signals: Signals) -> Result<(), Failure> {
    tracing::info!("stopping");
    let stopping = timeout(settings.shutdown_timeout, server.stop());
    let again = async {
        sleep(SAME_SIGNAL).await;
        signals.forget();
        signals.next().await;
    };
    let stopped = tokio::select! {
        biased;
        () = again => {
            return Err(Failure::failed("ended by a second signal")
                .help("nothing acknowledged is lost: the next start recovers it"));
        }
        stopped = stopping => stopped,
    };
    match stopped {
        Some(Stopped::Clean) => tracing::info!("stopped"),
        Some(Stopped::DuringRecovery) => tracing::info!("stopped during recovery"),
        Some(Stopped::NeverOpened) | None => {
            return Err(
                Failure::failed("stopping took longer than --shutdown-timeout")
                    .help("nothing acknowledged is lost: the next start recovers it"),
            );
        }
    }
    Ok(())
}
