//! `millrace create`, `head` and `close`.

use std::{process::ExitCode, time::Duration};

use millrace_client::{CreateOptions, Created, StreamName};
use serde_json::{Value, json};

use super::{
    Place,
    args::{CreateArgs, LifetimeArgs, NameArgs, TalkArgs},
    out,
};
use crate::{fail::Failure, units::show_duration};

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
