//! `millrace create`, `head` and `close`.

use std::{process::ExitCode, time::Duration};

use millrace_client::{CreateOptions, Created, Offset, Settings, StreamName};
use serde_json::{Value, json};

use super::{
    Place,
    args::{CloseArgs, CreateArgs, LifetimeArgs, NameArgs, SettingsArgs, TalkArgs},
    out,
    read::start,
    shown,
};
use crate::{fail::Failure, units::show_duration};

/// Creates a stream; prints its next offset.
pub(crate) async fn create(args: &CreateArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let options = CreateOptions {
        content_type: args.content_type.clone(),
        ..options(&args.lifetime, &args.settings)?
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
            "earliest_offset": head.earliest_offset.as_ref().map(Offset::as_str),
            "retention": shown::retention(&head.retention),
            "compact_after_bytes": head.compact_after_bytes,
            "attributes": head.attributes,
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
    if let Some(earliest) = head.earliest_offset {
        text.push_str("\nearliest      ");
        text.push_str(earliest.as_str());
    }
    let settings = Settings {
        retention: head.retention,
        compact_after_bytes: head.compact_after_bytes,
        attributes: head.attributes,
    };
    for line in shown::lines(&settings) {
        text.push('\n');
        text.push_str(&line);
    }
    let _ = out::line(text).await?;
    Ok(ExitCode::SUCCESS)
}

/// Closes a stream; prints its final offset.
pub(crate) async fn close(args: &CloseArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let stream = place.stream(&args.name);
    let expected = args.expected_offset.as_deref().map(start);
    let closed = match &expected {
        None => stream.close().await,
        Some(tail) => stream.close_at(tail).await,
    };
    let closed = closed
        .map_err(|error| place.failure_at(&error, &args.name, expected.as_ref(), "close it"))?;
    let told = json!({
        "name": args.name.as_str(),
        "next_offset": closed.next_offset.as_str(),
        "closed": true,
    });
    args.server.talk.say(format!("closed {}", args.name));
    tell(args.server.talk, &told, closed.next_offset.as_str()).await
}

/// The options that say how long it lives and what it carries.
pub(crate) fn options(
    lifetime: &LifetimeArgs,
    settings: &SettingsArgs,
) -> Result<CreateOptions, Failure> {
    let ttl_seconds = match lifetime.ttl {
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
        expires_at: lifetime.expires_at.clone(),
        retention: settings.retention(),
        compact_after_bytes: settings.compact_after_bytes(),
        attributes: settings.new_attributes(),
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
