//! `millrace read`: what is there, page after page, up to the tail, or the messages that are asked for.

use std::process::ExitCode;

use bytes::Bytes;
use millrace_client::{ContentKind, Error, MessageReader, Offset, Place as Which, Reader};

use super::{
    Place,
    args::{PickArgs, ReadArgs},
    out::Written,
    page::{self, Style},
    so_far::SoFar,
};
use crate::fail::Failure;

/// Prints a stream from where it is asked for to its tail.
pub(crate) async fn read(args: &ReadArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let so_far = SoFar::new(match which(args) {
        Which::From(offset) => Some(offset),
        _ => None,
    });
    let last_word = || {
        let more = flags(&args.pick, so_far.at().is_none());
        so_far.last_word(&place, "read", &args.name, &more)
    };
    let printing = pages(args, &place, &so_far);
    let json = args.server.talk.json;
    so_far.until_signal(printing, json, last_word).await
}

/// A page, as it is printed.
struct Printed {
    text: Bytes,
    from: Offset,
    next: Offset,
    up_to_date: bool,
    /// How many messages it holds, where that can be told.
    messages: Option<u64>,
}

async fn pages(args: &ReadArgs, place: &Place, so_far: &SoFar) -> Result<ExitCode, Failure> {
    let talk = args.server.talk;
    let stream = place.stream(&args.name);
    let mut which = which(args);
    let mut left = args.pick.limit;
    loop {
        let is_last = matches!(which, Which::Before(_));
        let printed = if args.pick.messages {
            messages(stream.messages(which), left).await
        } else {
            content(args, stream.read(which), left).await
        };
        let printed = printed.map_err(|error| failure(args, place, so_far, &error))?;
        let Some(printed) = printed else { break };
        let Printed { text, next, .. } = printed;
        if so_far.write(text, &next).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
        if is_last {
            let more = format!(" --before {}{}", printed.from, flags(&args.pick, false));
            let up = place.command("read", &args.name, &more);
            talk.hint(format!("what lies before it: `{up}`"));
            break;
        }
        if printed.up_to_date {
            talk.hint(format!("next offset: {next}"));
            break;
        }
        // A stream of bytes does not show where its messages end.
        left = left.map(|left| left.saturating_sub(printed.messages.unwrap_or(left)));
        if left == Some(0) {
            let more = format!(" --offset {next}{}", flags(&args.pick, false));
            let rest = place.command("read", &args.name, &more);
            talk.say(format!("there is more; go on with `{rest}`"));
            break;
        }
        which = Which::From(next);
    }
    Ok(ExitCode::SUCCESS)
}

/// A page of content.
async fn content(
    args: &ReadArgs,
    mut reader: Reader,
    limit: Option<u64>,
) -> Result<Option<Printed>, Error> {
    if let Some(limit) = limit {
        reader = reader.limit(limit);
    }
    let Some(page) = reader.next().await? else {
        return Ok(None);
    };
    let style = Style::new(args.from.raw, args.server.talk.json);
    let is_counted = limit.is_some() && page.kind == ContentKind::Json;
    let count = || page.messages().len() as u64;
    Ok(Some(Printed {
        text: style.print(&args.name, &page),
        messages: is_counted.then(count),
        up_to_date: page.up_to_date,
        from: page.from,
        next: page.next,
    }))
}

/// A page of messages with their offsets and times.
async fn messages(mut reader: MessageReader, limit: Option<u64>) -> Result<Option<Printed>, Error> {
    if let Some(limit) = limit {
        reader = reader.limit(limit);
    }
    let Some(page) = reader.next().await? else {
        return Ok(None);
    };
    let mut text = Vec::new();
    for message in &page.messages {
        page::message(&mut text, message);
    }
    Ok(Some(Printed {
        text: text.into(),
        messages: Some(page.messages.len() as u64),
        up_to_date: page.up_to_date,
        from: page.from,
        next: page.next,
    }))
}

/// Which messages are asked for.
fn which(args: &ReadArgs) -> Which {
    let pick = &args.pick;
    match &pick.before {
        Some(offset) => Which::Before(start(offset)),
        None => pick.begin.place(&args.from.offset),
    }
}

/// The flags of a command that goes on, or of the same command once more.
fn flags(pick: &PickArgs, with_place: bool) -> String {
    let mut flags = String::new();
    if with_place {
        flags.push_str(&pick.begin.flags());
        let before = pick.before.as_ref();
        flags.extend(before.map(|offset| format!(" --before {offset}")));
    }
    flags.extend(pick.limit.map(|limit| format!(" --limit {limit}")));
    if pick.messages {
        flags.push_str(" --messages");
    }
    flags
}

fn failure(args: &ReadArgs, place: &Place, so_far: &SoFar, error: &Error) -> Failure {
    let failure = place.failure(error, Some(&args.name));
    if let (true, Some(at)) = (error.is_retryable() && so_far.has_begun(), so_far.at()) {
        let more = format!(" --offset {at}{}", flags(&args.pick, false));
        let resume = place.command("read", &args.name, &more);
        return failure.help(format!("go on with `{resume}`"));
    }
    failure
}

/// An offset that clap has checked.
pub(crate) fn start(text: &str) -> Offset {
    Offset::new(text).expect("an offset was checked when it was parsed")
}
