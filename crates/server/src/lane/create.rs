//! A creation on the short way: the same steps as `handlers/create.rs`, the body being there.

use millrace_core::stream::Outcome;
use millrace_wire::Problem;

use super::{append::admitted, head::Create};
use crate::{
    access::Caller,
    app::App,
    body::Intake,
    handlers::create::{new_stream, permitted},
};

/// What a creation came to.
pub(super) async fn create(app: &App, create: Create) -> Result<Outcome, Problem> {
    let request = create.head?;
    // The shortest way is for who may do everything; it is asked all the same.
    let grant = permitted(&Caller::Master, &create.name, &request.spec)?;
    let engine = app.engine(&grant)?;
    let permit = admitted(engine, &create.body).await?;
    let intake = Intake {
        bytes: create.body,
        permit,
    };
    let new = new_stream(create.name, request, None, intake);
    Ok(engine.create(new).await?)
}
