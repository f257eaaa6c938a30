//! PUT: create a stream, or find it as it was asked for (PROTOCOL 4.2, 5.1).

use bytes::Bytes;
use http::{HeaderMap, header, request::Parts, uri::Authority};
use http_body::Body;
use millrace_core::{ContentType, CreateSpec, StreamName};
use millrace_engine::{Engine, NewStream};
use millrace_wire::{CreateHead, Problem, frame, outcome};

use crate::{
    access::{Action, Caller},
    answer::{self, Answer},
    app::App,
    body,
};

/// Answers PUT.
pub(crate) async fn create<B>(
    app: &App,
    caller: &Caller,
    name: StreamName,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let request = CreateHead::parse(&head.headers)?;
    let grant = caller.may_on(Action::Create, &name)?;
    if let Some(fork) = &request.spec.fork {
        caller.may_on(Action::Fork, &fork.source)?;
    }
    let engine = app.engine(&grant)?;
    let intake = body::read(engine, &app.config.times, body).await?;
    let inherited = if request.inherits_content_type() && !intake.bytes.is_empty() {
        source_content_type(engine, &request.spec).await
    } else {
        None
    };
    let content_type = request.spec.content_type.as_ref().or(inherited.as_ref());
    let new = NewStream {
        name: name.clone(),
        framed_for: content_type.cloned().unwrap_or_default().kind(),
        body: frame(content_type, intake.bytes),
        spec: request.spec,
        permit: intake.permit,
    };
    let outcome = engine.create(new).await?;
    let origin = origin(app, head);
    Ok(answer::empty(outcome::put(&outcome, &origin, &name)))
}

/// The type that a fork's first content has to be framed for. Where there is no source, the engine
/// says so; the framing is then of no account.
async fn source_content_type(engine: &Engine, spec: &CreateSpec) -> Option<ContentType> {
    let source = &spec.fork.as_ref()?.source;
    let source = engine.open(source).await.ok()?;
    Some(source.head().content_type)
}

/// What stands before the path in `Location`: as configured, else as the client addressed the
/// server; nothing when neither is known, so that the path stands alone.
fn origin(app: &App, head: &Parts) -> String {
    if let Some(url) = &app.config.public_url {
        return url.clone();
    }
    let scheme = if app.config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    match authority(head.uri.authority(), &head.headers) {
        Some(authority) => format!("{scheme}://{authority}"),
        None => String::new(),
    }
}

/// A `Host` that is no authority is not repeated.
fn authority(of_uri: Option<&Authority>, headers: &HeaderMap) -> Option<Authority> {
    let of_header = || {
        let host = headers.get(header::HOST)?;
        Authority::try_from(host.as_bytes()).ok()
    };
    of_uri.cloned().or_else(of_header)
}
