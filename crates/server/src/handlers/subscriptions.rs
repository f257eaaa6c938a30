//! Subscriptions: everything under `__ds` (PROTOCOL 6, 7). The same three steps as elsewhere: parse, call,
//! answer.
//!
//! Whoever makes a subscription has the server read names and tails for it, and append to its wake
//! stream: so it is asked whether the caller may do that itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use http_body::Body;
use millrace_core::{
    StreamName,
    subscription::{Delivery, SubscriptionConfig, SubscriptionId, SubscriptionRefusal},
};
use millrace_subscribe::Made;
use millrace_wire::{
    HttpFault, Problem,
    cors::READ_METHODS,
    outcome::Reply,
    subscription::{self as wire, Control, KEYS_CACHE, KEYS_TYPE, REQUEST_BYTES_MAX},
};

use super::create::origin;
use crate::{
    access::{Action, Caller, Grant, Target, bearer},
    answer::{self, Answer},
    app::App,
    body,
    router::not_allowed,
};

const SUBSCRIPTION_METHODS: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
const POST_METHODS: &str = "POST, OPTIONS";
const DELETE_METHODS: &str = "DELETE, OPTIONS";

/// Whether a path needs no credentials but those of a wake.
pub(crate) fn is_open(control: &Control) -> bool {
    match control {
        Control::Keys | Control::Callback(_) | Control::Ack(_) | Control::Release(_) => true,
        Control::Subscription(_)
        | Control::Streams(_)
        | Control::Stream(..)
        | Control::Claim(_) => false,
    }
}

/// Answers a request to a path under `__ds`.
pub(crate) async fn answer<B>(
    app: &App,
    caller: &Caller,
    control: Control,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    match (control, &head.method) {
        (Control::Keys, &Method::GET | &Method::HEAD) => keys(app).await,
        (Control::Subscription(id), &Method::PUT) => create(app, caller, id, head, body).await,
        (Control::Subscription(id), &Method::GET | &Method::HEAD) => {
            let grant = manages(caller, &id)?;
            let told = app.subscriptions(&grant)?.read(id).await?;
            Ok(answer::json(StatusCode::OK, told))
        }
        (Control::Subscription(id), &Method::DELETE) => {
            let grant = manages(caller, &id)?;
            app.subscriptions(&grant)?.delete(id).await?;
            Ok(done())
        }
        (Control::Streams(id), &Method::POST) => add(app, caller, id, body).await,
        (Control::Stream(id, name), &Method::DELETE) => {
            let grant = manages(caller, &id)?;
            app.subscriptions(&grant)?.remove(id, name).await?;
            Ok(done())
        }
        (Control::Claim(id), &Method::POST) => {
            let target = Target::Subscription(id.as_str());
            let grant = caller.may(Action::ConsumeSubscription, target)?;
            let subscriptions = app.subscriptions(&grant)?;
            let worker = wire::claim(&read(app, body).await?)?;
            let claimed = subscriptions.claim(id, worker).await?;
            Ok(answer::json(StatusCode::OK, claimed))
        }
        (
            control @ (Control::Callback(_) | Control::Ack(_) | Control::Release(_)),
            &Method::POST,
        ) => of_a_wake(app, control, head, body).await,
        (Control::Keys, _) => Err(not_allowed(READ_METHODS)),
        (Control::Subscription(_), _) => Err(not_allowed(SUBSCRIPTION_METHODS)),
        (Control::Stream(..), _) => Err(not_allowed(DELETE_METHODS)),
        (_, _) => Err(not_allowed(POST_METHODS)),
    }
}

async fn create<B>(
    app: &App,
    caller: &Caller,
    id: SubscriptionId,
    head: &Parts,
    body: B,
) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let grant = manages(caller, &id)?;
    let subscriptions = app.subscriptions(&grant)?;
    let config = wire::create(&read(app, body).await?)?;
    may_all(caller, &config)?;
    let (made, told) = subscriptions.create(id, config, origin(app, head)).await?;
    let status = match made {
        Made::New => StatusCode::CREATED,
        Made::Found => StatusCode::OK,
    };
    Ok(answer::json(status, told))
}

async fn add<B>(app: &App, caller: &Caller, id: SubscriptionId, body: B) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let grant = manages(caller, &id)?;
    let subscriptions = app.subscriptions(&grant)?;
    let names = wire::streams(&read(app, body).await?)?;
    may_look_at(caller, &names)?;
    subscriptions.add(id, names).await?;
    Ok(done())
}

/// Callbacks, acks and releases: who shows the token of the wake may.
async fn of_a_wake<B>(app: &App, control: Control, head: &Parts, body: B) -> Result<Answer, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let subscriptions = app.subscriptions_by_token()?;
    let token = bearer(&head.headers).ok_or(SubscriptionRefusal::TokenInvalid)?;
    let token = token.to_vec();
    let request = wire::ack(&read(app, body).await?)?;
    let told = match control {
        Control::Callback(id) => subscriptions.callback(id, token, request).await?,
        Control::Ack(id) => subscriptions.ack(id, token, request).await?,
        Control::Release(id) => {
            subscriptions.release(id, token, request).await?;
            return Ok(done());
        }
        _ => return Err(HttpFault::NoRoute.into()),
    };
    Ok(answer::json(StatusCode::OK, told))
}

async fn keys(app: &App) -> Result<Answer, Problem> {
    let keys = app.subscriptions_by_token()?.keys().await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(KEYS_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static(KEYS_CACHE)),
    ];
    let reply = Reply {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter(headers),
    };
    Ok(answer::full(reply, keys))
}

fn manages(caller: &Caller, id: &SubscriptionId) -> Result<Grant, Problem> {
    caller.may(
        Action::ManageSubscription,
        Target::Subscription(id.as_str()),
    )
}

fn may_all(caller: &Caller, config: &SubscriptionConfig) -> Result<(), Problem> {
    if let Some(pattern) = &config.pattern {
        caller.may(Action::List, Target::Prefix(&pattern.prefix()))?;
    }
    may_look_at(caller, &config.streams)?;
    if let Delivery::PullWake { wake_stream } = &config.delivery {
        caller.may_on(Action::Append, wake_stream)?;
    }
    Ok(())
}

fn may_look_at(caller: &Caller, names: &[StreamName]) -> Result<(), Problem> {
    for name in names {
        caller.may_on(Action::Head, name)?;
    }
    Ok(())
}

async fn read<B>(app: &App, body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let bytes_max = REQUEST_BYTES_MAX as u64;
    if body.size_hint().lower() > bytes_max {
        return Err(HttpFault::BodyTooLarge { bytes_max }.into());
    }
    let engine = app.opened().ok_or(HttpFault::NotReady {
        reason: "recovering".to_owned(),
    })?;
    let bytes = body::read(engine, &app.config.times, body).await?.bytes;
    if bytes.len() as u64 > bytes_max {
        return Err(HttpFault::BodyTooLarge { bytes_max }.into());
    }
    Ok(bytes)
}

fn done() -> Answer {
    answer::empty(Reply {
        status: StatusCode::NO_CONTENT,
        headers: HeaderMap::new(),
    })
}
