//! The order of things: create, rest, stop, start cold, kill, start cold.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    http::Connection,
    load::{self, BODY, Work},
    probe,
    report::{Figures, Rest, Start},
    server::{Home, Server},
    settings::Settings,
};

/// How many streams are read after a start, each for the first time.
const COLD_READS: u64 = 200;
/// A killed server is killed so long after it began to create more.
const KILL_AFTER: Duration = Duration::from_secs(4);

/// Measures everything. What was measured before a failure stands in `figures`.
pub(crate) fn run(settings: &Settings, figures: &mut Figures) -> Result<(), String> {
    let mut home = Home::new(settings).map_err(|error| format!("no data directory: {error}"))?;
    figures.streams = settings.streams;
    let server = home.start()?;
    figures.first_start = server.ready_after;
    say("creating");
    figures.created = load::run(settings, server.address, Work::Create, 0..settings.streams);
    if figures.created.streams != settings.streams {
        return Err(format!(
            "only {} streams were created",
            figures.created.streams
        ));
    }
    rest(settings, &server, figures)?;
    say("stopping");
    figures.stop = server.stop()?;
    figures.disk_bytes = probe::disk_bytes(&home.data()).map_err(|error| error.to_string())?;
    let (server, clean) = start_cold(settings, &mut home)?;
    figures.clean = clean;
    kill_amid(settings, server, Work::Create)?;
    let (server, killed) = start_cold(settings, &mut home)?;
    figures.killed_creating = killed;
    kill_amid(settings, server, Work::Append)?;
    let (server, killed) = start_cold(settings, &mut home)?;
    figures.killed_appending = killed;
    server.stop()?;
    home.end();
    Ok(())
}

/// Looks at memory after every time of rest.
fn rest(settings: &Settings, server: &Server, figures: &mut Figures) -> Result<(), String> {
    let begun = Instant::now();
    figures.busy = probe::usage(server.pid())?;
    for after in &settings.rests {
        say(&format!("resting until {} s", after.as_secs()));
        thread::sleep(after.saturating_sub(begun.elapsed()));
        let usage = probe::usage(server.pid())?;
        figures.rests.push(Rest {
            after: *after,
            usage,
        });
    }
    Ok(())
}

/// Starts on a cold page cache and reads streams that nobody read before.
fn start_cold(settings: &Settings, home: &mut Home) -> Result<(Server, Start), String> {
    say("starting cold");
    probe::drop_cache(&home.data()).map_err(|error| format!("the page cache: {error}"))?;
    let all_dropped = probe::drop_all_caches();
    let server = home.start()?;
    let ready = server.ready_after;
    let mut connection = Connection::open(server.address).map_err(|error| error.to_string())?;
    let mut reads = Vec::new();
    for read in 0..COLD_READS.min(settings.streams) {
        let name = load::name(read * (settings.streams / COLD_READS).max(1));
        let begun = Instant::now();
        let (status, body) = connection
            .get(&format!("/v1/stream/{name}"))
            .map_err(|error| format!("a cold read: {error}"))?;
        reads.push(begun.elapsed());
        let whole = !body.is_empty() && body.chunks(BODY.len()).all(|append| append == BODY);
        if status != 200 || !whole {
            return Err(format!(
                "stream {name} answered {status} and {} bytes",
                body.len()
            ));
        }
    }
    let first_read = reads[0];
    reads.sort_unstable();
    let start = Start {
        ready,
        first_read,
        reads,
        all_dropped,
        usage: probe::usage(server.pid())?,
    };
    Ok((server, start))
}

/// Kills the server amid the creation of more streams, or amid appends to those that there are.
fn kill_amid(settings: &Settings, server: Server, work: Work) -> Result<(), String> {
    say("killing");
    let address = server.address;
    let more = settings.streams..settings.streams * 2 + 1_000_000;
    thread::scope(|scope| {
        let creating = scope.spawn(|| load::run(settings, address, work, more));
        thread::sleep(KILL_AFTER);
        let killed = server.kill();
        let created = creating.join().expect("creating does not panic");
        say(&format!(
            "killed after {} requests ({work:?})",
            created.streams
        ));
        killed
    })
}

/// Tells people how far it is; figures go to the standard output.
fn say(what: &str) {
    eprintln!("scale: {what}");
}
