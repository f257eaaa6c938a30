//! The order of things: an import that nothing disturbs, then one that everything disturbs.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    lines::{self, Content},
    process::{Place, Process, position},
    report::{Figures, mega, rate},
    settings::Settings,
};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long nothing may move.
const STALLED: Duration = Duration::from_mins(1);

/// What happens on the way.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// Ctrl-C on the client.
    Interrupt,
    /// `kill -9` of the client.
    Kill,
    /// `kill -9` of the server, which is started again at once; the client bears it.
    Server,
    /// `kill` of the client.
    Terminate,
    /// `kill -9` of the server, then Ctrl-C on the client while nobody answers it.
    ServerThenInterrupt,
    /// `kill -9` of both.
    Both,
}

const BLOWS: [Blow; 9] = [
    Blow::Interrupt,
    Blow::Kill,
    Blow::Server,
    Blow::Terminate,
    Blow::Both,
    Blow::ServerThenInterrupt,
    Blow::Kill,
    Blow::Interrupt,
    Blow::Server,
];

/// Everything; the figures are there even if it fails.
pub(crate) fn run(settings: &Settings, figures: &mut Figures) -> Result<(), String> {
    let mut place = Place::new(settings)?;
    let done = all(&mut place, settings, figures);
    if done.is_err() {
        eprintln!("import: {} is left to look at", place.directory.display());
    } else {
        place.end();
    }
    done
}

fn all(place: &mut Place, settings: &Settings, figures: &mut Figures) -> Result<(), String> {
    let file = place.directory.join("input.ndjson");
    let content = lines::write(&file, settings.bytes).map_err(|error| error.to_string())?;
    figures.add("lines", content.lines.to_string());
    figures.add("bytes", content.bytes.to_string());
    let file = file.to_string_lossy().into_owned();
    let server = place.serve()?;
    let server = straight(place, server, &file, content, figures)?;
    place.run(&["rm", "straight"])?;
    // What is watched is a little slower, so that only the first import is timed.
    place.watch()?;
    let mut import = Import {
        file,
        batch_bytes: settings.batch_bytes.clone(),
        content,
        server,
        inside: 0,
        client_peak: 0,
        server_peak: 0,
    };
    import.disturbed(place, figures)?;
    let Import {
        mut server,
        server_peak,
        client_peak,
        ..
    } = import;
    read_back(place, "disturbed", content)?;
    figures.add("answers watched", place.watched()?.to_string());
    server.look();
    figures.add("client, most memory, disturbed", mega(client_peak));
    let most = server_peak.max(server.peak);
    figures.add("server, most memory, disturbed", mega(most));
    server.signal(Signal::TERM);
    let status = server.wait()?;
    if !status.success() {
        return Err(format!("the server stopped with {status}"));
    }
    let data = place.data().to_string_lossy().into_owned();
    place.run(&["check", "--data-dir", &data])?;
    Ok(())
}

/// An import that nothing disturbs, and reading it back: how fast they are.
fn straight(
    place: &Place,
    mut server: Process,
    file: &str,
    content: Content,
    figures: &mut Figures,
) -> Result<Process, String> {
    place.run(&["create", "straight", "--type", "json"])?;
    let words = [
        "append",
        "straight",
        "--ndjson",
        "--producer",
        "import",
        "--file",
        file,
    ];
    let begun = Instant::now();
    let mut client = place.start(&words)?;
    let status = client.wait()?;
    figures.add("append", rate(content.bytes, begun.elapsed()));
    if !status.success() {
        return Err(format!("append ended with {status}: {}", place.said()));
    }
    figures.add("append, most memory of the client", mega(client.peak));
    server.look();
    figures.add("append, most memory of the server", mega(server.peak));
    let begun = Instant::now();
    let mut client = place.start(&words)?;
    client.wait()?;
    figures.add("the same again", rate(content.bytes, begun.elapsed()));
    if !place.said().contains("nothing to append") {
        return Err(format!("the same again appended: {}", place.said()));
    }
    let begun = Instant::now();
    let peak = read_back(place, "straight", content)?;
    figures.add("read and checked", rate(content.bytes, begun.elapsed()));
    figures.add("read, most memory of the client", mega(peak));
    server.look();
    figures.add("server, most memory, undisturbed", mega(server.peak));
    Ok(server)
}

/// Reads a whole stream and checks it; the most memory that `read` took.
fn read_back(place: &Place, stream: &str, content: Content) -> Result<u64, String> {
    let (mut client, out) = place.reading(&["read", stream])?;
    let watched = thread::scope(|scope| {
        let checked = scope.spawn(|| lines::check(out));
        let status = client.wait();
        (checked.join().expect("does not panic"), status)
    });
    let found = watched.0?;
    let status = watched.1?;
    if !status.success() {
        return Err(format!("read ended with {status}"));
    }
    if found != content {
        return Err(format!("{stream} holds {found:?}, the file {content:?}"));
    }
    Ok(client.peak)
}

struct Import {
    file: String,
    batch_bytes: String,
    content: Content,
    server: Process,
    /// How many blows fell before the end of the input.
    inside: usize,
    client_peak: u64,
    server_peak: u64,
}

impl Import {
    fn append(&self, place: &Place) -> Result<Process, String> {
        place.start(&[
            "append",
            "disturbed",
            "--ndjson",
            "--producer",
            "import",
            "--batch-bytes",
            &self.batch_bytes,
            "--file",
            &self.file,
        ])
    }

    fn disturbed(&mut self, place: &mut Place, figures: &mut Figures) -> Result<(), String> {
        place.run(&["create", "disturbed", "--type", "json"])?;
        let mut client = self.append(place)?;
        for (i, blow) in (1..).zip(BLOWS) {
            let goal = self.content.bytes * i / (BLOWS.len() as u64 + 1);
            self.until(place, &mut client, goal)?;
            client = self.strike(place, client, blow)?;
        }
        let status = client.wait()?;
        if !status.success() {
            return Err(format!("append ended with {status}: {}", place.said()));
        }
        let blows = format!("{} of {} inside the import", self.inside, BLOWS.len());
        figures.add("interruptions and kills", blows);
        if self.inside * 2 < BLOWS.len() {
            return Err("too few blows fell inside; use more --bytes".into());
        }
        let again = self.append(place)?.wait()?;
        if !again.success() || !place.said().contains("nothing to append") {
            return Err(format!("the last run left something: {}", place.said()));
        }
        Ok(())
    }

    /// Waits until the stream has `goal` bytes, or the client is done.
    fn until(&mut self, place: &Place, client: &mut Process, goal: u64) -> Result<(), String> {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            client.look();
            self.server.look();
            let now = place.position("disturbed").unwrap_or(last);
            if now >= goal {
                break;
            }
            if let Some(status) = client.ended()?
                && !status.success()
            {
                return Err(format!("append ended with {status}: {}", place.said()));
            }
            if now > last {
                (last, moved) = (now, Instant::now());
            }
            if moved.elapsed() > STALLED {
                return Err(format!("nothing moves at {now} of {goal} bytes"));
            }
            thread::sleep(LOOK);
        }
        self.client_peak = self.client_peak.max(client.peak);
        self.server_peak = self.server_peak.max(self.server.peak);
        Ok(())
    }

    /// Strikes; the client that runs afterwards.
    fn strike(
        &mut self,
        place: &mut Place,
        mut client: Process,
        blow: Blow,
    ) -> Result<Process, String> {
        match blow {
            Blow::Interrupt => ends_with(place, &mut client, Signal::INT, 130)?,
            Blow::Terminate => ends_with(place, &mut client, Signal::TERM, 143)?,
            Blow::Kill => {
                client.signal(Signal::KILL);
                client.wait()?;
            }
            Blow::Server => {
                self.kill_server()?;
                self.server = place.serve()?;
                self.count(place);
                return Ok(client);
            }
            Blow::ServerThenInterrupt => {
                self.kill_server()?;
                // It has noticed by then, and waits for the server to come back.
                thread::sleep(Duration::from_millis(300));
                ends_with(place, &mut client, Signal::INT, 130)?;
                self.server = place.serve()?;
            }
            Blow::Both => {
                client.signal(Signal::KILL);
                self.kill_server()?;
                client.wait()?;
                self.server = place.serve()?;
            }
        }
        self.count(place);
        self.append(place)
    }

    fn kill_server(&mut self) -> Result<(), String> {
        self.server.signal(Signal::KILL);
        self.server.wait().map(drop)
    }

    fn count(&mut self, place: &Place) {
        let begun = Instant::now();
        let position = loop {
            match place.position("disturbed") {
                Some(position) => break position,
                None if begun.elapsed() > STALLED => break u64::MAX,
                None => thread::sleep(LOOK),
            }
        };
        self.inside += usize::from(position < self.content.bytes);
    }
}

/// Signals the client; it ends with `code`, and what it says of its offset is true. One that was
/// done before the signal ends with 0.
fn ends_with(place: &Place, client: &mut Process, signal: Signal, code: i32) -> Result<(), String> {
    client.signal(signal);
    let status = client.wait()?;
    let said = place.said();
    if status.success() {
        return Ok(());
    }
    if status.code() != Some(code) || !said.contains("interrupted") {
        return Err(format!(
            "{signal:?}: the client ended with {status}: {said}"
        ));
    }
    // What it says is there is there, unless nothing was said of an offset.
    let offset = said.split("at offset ").nth(1);
    let offset = offset.and_then(|rest| rest.split([';', '\n']).next());
    let (Some(told), Some(found)) = (offset.and_then(position), place.position("disturbed")) else {
        return Ok(());
    };
    let in_doubt = said.contains("is not known");
    if told > found || (told < found && !in_doubt) {
        return Err(format!(
            "it said {told}, and {found} bytes are there: {said}"
        ));
    }
    fs::remove_file(place.directory.join("err")).map_err(|error| error.to_string())
}
