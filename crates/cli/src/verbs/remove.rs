//! `millrace rm`: deletes streams, one after the other; the first failure ends it.

use std::{cell::Cell, process::ExitCode};

use millrace_client::StreamName;
use serde_json::json;

use super::{
    Place,
    args::RmArgs,
    out::{self, Written},
};
use crate::{
    fail::{Failure, Kind},
    signals::{LastWord, until_signal},
};

/// Deletes, and says how many when a signal ends it.
pub(crate) async fn rm(args: &RmArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let gone = Cell::new(0);
    let last_word = || {
        let (done, all) = (gone.get(), args.names.len());
        let next = args.names.get(done).or(args.names.last());
        let next = next.expect("the table asks for one");
        LastWord::new(
            format!("after {done} of {all}: whether {next} was deleted is not known"),
            format!("look with `{}`", place.command("head", next, "")),
        )
        .fact("done", done)
    };
    until_signal(all(args, &place, &gone), args.server.talk.json, last_word).await
}

async fn all(args: &RmArgs, place: &Place, gone: &Cell<usize>) -> Result<ExitCode, Failure> {
    let talk = args.server.talk;
    for name in &args.names {
        let deleted = one(args, place, name).await?;
        let told = json!({ "name": name.as_str(), "deleted": deleted });
        if talk.json && out::document(&told).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
        talk.say(if deleted {
            format!("deleted {name}")
        } else {
            format!("{name} was not there")
        });
        gone.set(gone.get() + 1);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it was there.
async fn one(args: &RmArgs, place: &Place, name: &StreamName) -> Result<bool, Failure> {
    let Err(error) = place.stream(name).delete().await else {
        return Ok(true);
    };
    let failure = place.failure(&error, Some(name));
    match (failure.kind(), args.missing_ok) {
        (Kind::NotFound, true) => Ok(false),
        (Kind::NotFound, false) => {
            Err(failure.help("look for it with `millrace ls`; --missing-ok takes it as done"))
        }
        _ => Err(failure),
    }
}
