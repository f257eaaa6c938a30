//! `millrace follow`: several streams on one connection, until all are closed or lost, or a signal.

use std::{
    cell::RefCell, collections::BTreeMap, fmt::Write as _, process::ExitCode, time::Duration,
};

use millrace_client::{Error, Followed, Offset, Page, StreamName};
use serde_json::{Map, Value};

use super::{
    Place,
    args::FollowArgs,
    out::Written,
    page,
    place::{command, shell_word},
    read::start,
    so_far::Printing,
};
use crate::{fail::Failure, signals::LastWord};

/// How far each stream is. Written by the verb, read when a signal came.
struct SoFar {
    printing: Printing,
    /// Of those that are still followed, the offsets after the last pages that were written whole.
    at: RefCell<BTreeMap<StreamName, Offset>>,
}

/// Prints what comes of any of the streams.
pub(crate) async fn follow(args: &FollowArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?.patient(Duration::ZERO);
    let streams = args.streams.iter().map(|arg| {
        let offset = arg.offset.as_ref().unwrap_or(&args.offset);
        (arg.name.clone(), start(offset))
    });
    let so_far = SoFar {
        printing: Printing::default(),
        at: RefCell::new(streams.collect()),
    };
    let last_word = || so_far.last_word(args);
    let printing = events(args, &place, &so_far);
    let json = args.server.talk.json;
    so_far
        .printing
        .until_signal(printing, json, last_word)
        .await
}

async fn events(args: &FollowArgs, place: &Place, so_far: &SoFar) -> Result<ExitCode, Failure> {
    let talk = args.server.talk;
    let streams = args.streams.iter().map(|arg| {
        let offset = arg.offset.as_ref().unwrap_or(&args.offset);
        (arg.name.clone(), start(offset))
    });
    let follower = place.client.follow_many(streams);
    let follower = follower.map_err(|error| {
        let failure = place.failure(&error, None);
        failure.help("name each stream once, and at most 1,000 of them")
    })?;
    let mut follower = follower.on_trouble(move |error| talk.say(format!("{error}; trying again")));
    let mut code = ExitCode::SUCCESS;
    loop {
        let followed = follower.next().await;
        match followed.map_err(|error| place.failure(&error, None))? {
            None => return Ok(code),
            Some(Followed::Page { stream, page }) => {
                if so_far.write(&stream, &page, talk.json).await? == Written::BrokenPipe {
                    return Ok(ExitCode::SUCCESS);
                }
                if page.closed {
                    talk.hint(format!("{stream} is closed"));
                }
            }
            Some(Followed::Lost { stream, refused }) => {
                so_far.at.borrow_mut().remove(&stream);
                let failure = place.failure(&Error::Refused(refused), Some(&stream));
                let told = failure.tell(talk.json);
                // The first one decides; the others were told as well.
                if code == ExitCode::SUCCESS {
                    code = told;
                }
            }
        }
    }
}

impl SoFar {
    async fn write(
        &self,
        stream: &StreamName,
        page: &Page,
        json: bool,
    ) -> Result<Written, Failure> {
        let text = if json {
            page::event(stream, page)
        } else {
            page::prefixed(stream, page)
        };
        let whole = || {
            let mut at = self.at.borrow_mut();
            if page.closed {
                at.remove(stream);
            } else {
                at.insert(stream.clone(), page.next.clone());
            }
        };
        self.printing.write(text, whole).await
    }

    fn last_word(&self, args: &FollowArgs) -> LastWord {
        let at = self.at.borrow();
        let mut words = String::new();
        let mut offsets = Map::new();
        for (name, offset) in at.iter() {
            let word = shell_word(&format!("{name},{offset}"));
            write!(words, " {word}").expect("a string takes everything");
            offsets.insert(name.to_string(), Value::from(offset.as_str()));
        }
        let resume = command(&args.server, "follow", words.trim_start());
        LastWord::new(
            format!("with {} of {} streams open", at.len(), args.streams.len()),
            format!("go on with `{resume}`"),
        )
        .fact("next_offsets", offsets)
    }
}
