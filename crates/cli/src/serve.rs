//! `millrace serve`: from flags to a running server, and to its end.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    task::{Context, Waker},
    time::Duration,
};

use clap::ArgMatches;
use millrace_engine::Durability;
use millrace_env::{Disk as _, Env, FileExt as _, OpenMode, RealDisk, sleep, timeout};
use millrace_server::{Access, Server, Setup, Stopped};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::ServeArgs,
    explain::explain,
    fail::Failure,
    log,
    settings::{Settings, Surroundings},
    units::show_size,
};

/// Serves until a signal.
pub(crate) fn serve(args: &ServeArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let settings = Settings::new(args, &Surroundings::real())?;
    if args.explain_config {
        let mut out = io::stdout().lock();
        crate::check::written(out.write_all(explain(&settings, matches).as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Before the event loop, so that it is dropped after it: sending the last spans blocks.
    let _spans = log::start(settings.log_format)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
    runtime.block_on(run(settings))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    warn(&settings);
    let mut server = start(&settings)?;
    announce(&settings, server.address())?;
    tokio::select! {
        biased;
        () = signals.next() => return stop(server, &settings, signals).await,
        opened = server.opened() => {
            opened.map_err(|error| Failure::of_open(&error, &settings.data_dir))?;
        }
    }
    tracing::info!(address = %server.address(), "ready");
    let poisoned = tokio::select! {
        biased;
        () = signals.next() => None,
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
fn announce(settings: &Settings, address: SocketAddr) -> Result<(), Failure> {
    if let Some(file) = &settings.port_file {
        write_port(file, address.port()).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", file.display()))
                .help("choose another --port-file")
        })?;
    }
    let mut out = io::stdout().lock();
    // Nobody may be listening to stdout; that is no reason not to serve.
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
    if settings.log_format == crate::args::LogFormat::Text {
        eprint!("{}", welcome(settings, address));
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

fn welcome(settings: &Settings, address: SocketAddr) -> String {
    let engine = &settings.engine;
    let durability = match engine.durability {
        Durability::Local => "local",
        Durability::Memory => "memory (UNSAFE)",
    };
    let key = match settings.server.access {
        Access::Key(_) => " -H \"Authorization: Bearer $API_KEY\"",
        Access::Open => "",
    };
    let stream = format!("http://{address}/v1/stream/hello");
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

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("no signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// What came and was not asked for yet is as if it had not come.
    fn forget(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while self.terminate.poll_recv(&mut context).is_ready() {}
        while self.interrupt.poll_recv(&mut context).is_ready() {}
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
