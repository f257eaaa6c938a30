//! PUT: create a stream, or find it as it was asked for (PROTOCOL 4.2, 5.1).

use bytes::Bytes;
use http::{HeaderValue, header, request::Parts, uri::Authority};
use http_body::Body;
use millrace_core::{ContentType, CreateSpec, StreamName};
use millrace_engine::{Engine, NewStream};
use millrace_wire::{CreateHead, Problem, frame, outcome};

use crate::{
    access::{Action, Caller, Grant},
    answer::{self, Answer},
    app::App,
    body::{self, Intake},
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
    let grant = permitted(caller, &name, &request.spec)?;
    let engine = app.engine(&grant)?;
    let intake = body::read(engine, &app.config.times, body).await?;
    let inherited = if request.inherits_content_type() && !intake.bytes.is_empty() {
        source_content_type(engine, &request.spec).await
    } else {
        None
    };
    let new = new_stream(name.clone(), request, inherited.as_ref(), intake);
    let outcome = engine.create(new).await?;
    let origin = origin(app, head);
    Ok(answer::empty(outcome::put(&outcome, &origin, &name)))
}

/// Making a fork is reading its source too.
pub(crate) fn permitted(
    caller: &Caller,
    name: &StreamName,
    spec: &CreateSpec,
) -> Result<Grant, Problem> {
    let grant = caller.may_on(Action::Create, name)?;
    if let Some(fork) = &spec.fork {
        caller.may_on(Action::Fork, &fork.source)?;
    }
    Ok(grant)
}

/// What is asked of the engine, once the body is there. `inherited` is the type of a fork that names
/// none.
pub(crate) fn new_stream(
    name: StreamName,
    request: CreateHead,
    inherited: Option<&ContentType>,
    intake: Intake,
) -> NewStream {
    let content_type = request.spec.content_type.as_ref().or(inherited);
    NewStream {
        name,
        framed_for: content_type.cloned().unwrap_or_default().kind(),
        body: frame(content_type, intake.bytes),
        spec: request.spec,
        settings: request.settings.documents(),
        permit: intake.permit,
    }
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
pub(crate) fn origin(app: &App, head: &Parts) -> String {
    let of_uri = head.uri.authority().map(|host| host.as_str().as_bytes());
    let of_header = || head.headers.get(header::HOST).map(HeaderValue::as_bytes);
    origin_at(app, of_uri.or_else(of_header))
}

/// The same for who was addressed as `host`; one that is no authority is not repeated.
pub(crate) fn origin_at(app: &App, host: Option<&[u8]>) -> String {
    if let Some(url) = &app.config.public_url {
        return url.clone();
    }
    let scheme = if app.config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    match host.and_then(|host| Authority::try_from(host).ok()) {
        Some(authority) => format!("{scheme}://{authority}"),
        None => String::new(),
    }
}
