//! `millrace create`, `head`, `close` and `rm`.

use std::{process::ExitCode, time::Duration};

use millrace_client::{CreateOptions, Created, StreamName};
use serde_json::{Value, json};

use super::{
    Place,
    args::{CreateArgs, LifetimeArgs, NameArgs, RmArgs, TalkArgs},
    out::{self, Written},
};
use crate::{
    fail::{Failure, Kind},
    units::show_duration,
};

/// Creates a stream; prints its next offset.
pub(crate) async fn create(args: &CreateArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let options = CreateOptions {
        content_type: args.content_type.clone(),
        ..lifetime(&args.lifetime)?
    };
    let created = place.stream(&args.name).create(options).await;
    let created = created.map_err(|error| place.failure(&error, Some(&args.name)))?;
    let what = if created.is_new {
        format!("created {} ({})", args.name, created.content_type)
    } else {
        format!("{} was there already, as asked for", args.name)
    };
    tell_created(&args.name, &created, args.server.talk, &what).await
}

/// Prints what a stream is.
pub(crate) async fn head(args: &NameArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let head = place.stream(&args.name).head().await;
    let head = head.map_err(|error| place.failure(&error, Some(&args.name)))?;
    if args.server.talk.json {
        let told = json!({
            "name": args.name.as_str(),
            "content_type": head.content_type.as_str(),
            "next_offset": head.next_offset.as_str(),
            "closed": head.closed,
            "ttl_seconds": head.ttl_seconds,
            "expires_at": head.expires_at,
        });
        let _ = out::document(&told).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!(
        "name          {}\ncontent type  {}\nnext offset   {}\nclosed        {}",
        args.name,
        head.content_type,
        head.next_offset,
        if head.closed { "yes" } else { "no" }
    );
    if let Some(seconds) = head.ttl_seconds {
        text.push_str("\nttl           ");
        text.push_str(&show_duration(Duration::from_secs(seconds)));
    }
    if let Some(at) = head.expires_at {
        text.push_str("\nexpires       ");
        text.push_str(&at);
    }
    let _ = out::line(text).await?;
    Ok(ExitCode::SUCCESS)
}

/// Closes a stream; prints its final offset.
pub(crate) async fn close(args: &NameArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let closed = place.stream(&args.name).close().await;
    let closed = closed.map_err(|error| place.failure(&error, Some(&args.name)))?;
    let told = json!({
        "name": args.name.as_str(),
        "next_offset": closed.next_offset.as_str(),
        "closed": true,
    });
    args.server.talk.say(format!("closed {}", args.name));
    tell(args.server.talk, &told, closed.next_offset.as_str()).await
}

/// Deletes streams, one after the other; the first failure ends it.
pub(crate) async fn rm(args: &RmArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let talk = args.server.talk;
    for name in &args.names {
        let deleted = match place.stream(name).delete().await {
            Ok(()) => true,
            Err(error) => {
                let failure = place.failure(&error, Some(name));
                if !(args.missing_ok && failure.kind() == Kind::NotFound) {
                    let failure = if failure.kind() == Kind::NotFound {
                        failure
                            .help("look for it with `millrace ls`; --missing-ok takes it as done")
                    } else {
                        failure
                    };
                    return Err(failure);
                }
                false
            }
        };
        let told = json!({ "name": name.as_str(), "deleted": deleted });
        if talk.json && out::document(&told).await? == Written::BrokenPipe {
            return Ok(ExitCode::SUCCESS);
        }
        talk.say(if deleted {
            format!("deleted {name}")
        } else {
            format!("{name} was not there")
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// The options that say how long.
pub(crate) fn lifetime(args: &LifetimeArgs) -> Result<CreateOptions, Failure> {
    let ttl_seconds = match args.ttl {
        None => None,
        Some(ttl) if ttl.subsec_nanos() > 0 => {
            return Err(
                Failure::usage("--ttl is counted in whole seconds").help("as in `--ttl 60s`")
            );
        }
        Some(ttl) => Some(ttl.as_secs()),
    };
    Ok(CreateOptions {
        ttl_seconds,
        expires_at: args.expires_at.clone(),
        ..CreateOptions::default()
    })
}

/// Prints a stream that is there now.
pub(crate) async fn tell_created(
    name: &StreamName,
    created: &Created,
    talk: TalkArgs,
    what: &str,
) -> Result<ExitCode, Failure> {
    let told = json!({
        "name": name.as_str(),
        "created": created.is_new,
        "content_type": created.content_type.as_str(),
        "next_offset": created.next_offset.as_str(),
        "closed": created.closed,
    });
    talk.say(what);
    tell(talk, &told, created.next_offset.as_str()).await
}

/// Prints a result: the document, or its one value that a script would want.
pub(crate) async fn tell(talk: TalkArgs, told: &Value, value: &str) -> Result<ExitCode, Failure> {
    let _ = if talk.json {
        out::document(told).await?
    } else {
        out::line(value).await?
    };
    Ok(ExitCode::SUCCESS)
}
