//! `millrace-monitor`: stands between clients and servers, and says what cannot be (see the library).
//!
//! `millrace-monitor --to 127.0.0.1:4437 [--listen 127.0.0.1:0] [--report FILE]` watches one server until
//! its standard input ends. Without `--to` it takes orders, a line each, and answers each with a line:
//!
//! - `watch KEY PORT [LISTEN]`: KEY's server is at PORT. `watching KEY` and the port to use instead, which
//!   is LISTEN where that is said. A KEY that was watched before goes on with all that was learned.
//! - `rest KEY`: KEY's server has ended. `resting KEY`.
//! - `report KEY`: `report KEY` and what was seen, as JSON.
//!
//! It ends with its standard input, and fails where anything was wrong.
#![allow(
    clippy::disallowed_methods,
    reason = "it stands beside the real binary: real sockets, tasks and files"
)]

use std::{
    collections::HashMap,
    io::{self, BufRead as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use millrace_monitor::{
    report,
    tee::{Shared, serve},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};

/// A port that another process has just left may take a moment to be free.
const LISTEN_ATTEMPTS: u32 = 100;

#[derive(Default)]
struct Settings {
    to: Option<SocketAddr>,
    listen: Option<SocketAddr>,
    report: Option<PathBuf>,
}

/// A server that is watched, or was.
struct Place {
    watcher: Shared,
    /// Dropping it closes the port.
    open: Option<watch::Sender<SocketAddr>>,
}

fn main() -> ExitCode {
    match settings(std::env::args().skip(1)).and_then(|settings| run(&settings)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("millrace-monitor: {what}");
            ExitCode::from(2)
        }
    }
}

fn settings(mut args: impl Iterator<Item = String>) -> Result<Settings, String> {
    let mut settings = Settings::default();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let address = || {
            value
                .parse()
                .map_err(|_| format!("{flag}: {value} is no address"))
        };
        match flag.as_str() {
            "--to" => settings.to = Some(address()?),
            "--listen" => settings.listen = Some(address()?),
            "--report" => settings.report = Some(value.into()),
            _ => {
                return Err(format!(
                    "{flag} is no flag; there are --to, --listen and --report"
                ));
            }
        }
    }
    Ok(settings)
}

/// Whether nothing was wrong.
fn run(settings: &Settings) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (send, orders) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    runtime.block_on(obey(settings, orders))
}

async fn obey(
    settings: &Settings,
    mut orders: tokio::sync::mpsc::Receiver<String>,
) -> Result<bool, String> {
    let mut places: HashMap<String, Place> = HashMap::new();
    if let Some(to) = settings.to {
        let listen = settings
            .listen
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = open(&mut places, "server", to, listen).await?;
        say(&format!("http://{address} leads to {to}"));
    }
    while let Some(order) = orders.recv().await {
        let words: Vec<&str> = order.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["watch", key, to, listen @ ..] => {
                watched(&mut places, key, to, listen.first()).await?
            }
            ["rest", key] => {
                if let Some(place) = places.get_mut(*key) {
                    place.open = None;
                }
                format!("resting {key}")
            }
            ["report", key] => format!("report {key} {}", told(&places, key)),
            _ => return Err(format!("{order:?} is no order")),
        };
        say(&answer);
    }
    end(settings, &places)
}

async fn watched(
    places: &mut HashMap<String, Place>,
    key: &str,
    to: &str,
    listen: Option<&&str>,
) -> Result<String, String> {
    let port = |text: &str| text.parse().map_err(|_| format!("{text} is no port"));
    let [to, listen] = [port(to)?, listen.map_or(Ok(0), |listen| port(listen))?]
        .map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
    let address = open(places, key, to, listen).await?;
    Ok(format!("watching {key} {}", address.port()))
}

async fn open(
    places: &mut HashMap<String, Place>,
    key: &str,
    to: SocketAddr,
    listen: SocketAddr,
) -> Result<SocketAddr, String> {
    let place = places.entry(key.to_owned()).or_insert_with(|| Place {
        watcher: Shared::default(),
        open: None,
    });
    place.open = None;
    let listener = listener(listen)
        .await
        .map_err(|error| format!("{listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let (sender, receiver) = watch::channel(to);
    place.open = Some(sender);
    tokio::spawn(serve(listener, receiver, place.watcher.clone()));
    Ok(address)
}

async fn listener(listen: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(listen).await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && attempts < LISTEN_ATTEMPTS =>
            {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
}

fn told(places: &HashMap<String, Place>, key: &str) -> Value {
    let place = places.get(key);
    place.map_or(Value::Null, |place| report::json(&place.watcher.lock()))
}

fn say(line: &str) {
    // Who reads no more gives no more orders either.
    let _ = writeln!(io::stdout(), "{line}");
}

fn end(settings: &Settings, places: &HashMap<String, Place>) -> Result<bool, String> {
    let wrong: u64 = places
        .values()
        .map(|place| place.watcher.lock().counts().violations)
        .sum();
    if let Some(place) = places.get("server").filter(|_| settings.to.is_some()) {
        // Who gives orders asks for reports.
        eprint!("{}", report::lines(&place.watcher.lock()));
    }
    if let (Some(file), Some(place)) = (&settings.report, places.get("server")) {
        let report = report::json(&place.watcher.lock());
        std::fs::write(file, format!("{report:#}\n"))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(wrong == 0)
}
