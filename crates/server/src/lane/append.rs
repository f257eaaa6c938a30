//! An append on the short way: the same steps as `handlers/append.rs`, the body being there.
//!
//! Next on the append walk: `millrace-engine`'s `engine.rs`.

use bytes::Bytes;
use millrace_core::{Body, stream::Outcome};
use millrace_engine::{Engine, Permit};
use millrace_wire::{HttpFault, Problem};

use super::head::Append;
use crate::{access::Caller, app::App, handlers::append::permitted};

/// What an append came to, and whether it brought bytes.
pub(super) async fn append(app: &App, append: Append) -> Result<(Outcome, bool), Problem> {
    let head = append.head?;
    // The shortest way is for who may do everything; it is asked all the same.
    let is_empty = append.body.is_empty();
    let grant = permitted(&Caller::Master, &append.name, head.close, is_empty)?;
    let engine = app.engine(&grant)?;
    let permit = admitted(engine, &append.body).await?;
    let command = head.with_body(append.body)?;
    let brings_bytes = command.body != Body::Empty;
    let outcome = engine.append(&append.name, command, permit).await?;
    Ok((outcome, brings_bytes))
}

/// Takes memory for a body that is there.
pub(super) async fn admitted(engine: &Engine, body: &Bytes) -> Result<Option<Permit>, Problem> {
    let bytes = body.len() as u64;
    let bytes_max = engine.options().append_bytes_max;
    if bytes > bytes_max {
        return Err(HttpFault::BodyTooLarge { bytes_max }.into());
    }
    Ok(match bytes {
        0 => None,
        bytes => Some(engine.admit(bytes).await?),
    })
}
