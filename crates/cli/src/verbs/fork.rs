//! `millrace fork`: a stream that begins with another one's content.

use std::process::ExitCode;

use millrace_client::ForkAt;
use millrace_wire::Code;

use super::{Place, args::ForkArgs, manage, read::start};
use crate::fail::Failure;

/// Forks; prints the new stream's next offset.
pub(crate) async fn fork(args: &ForkArgs) -> Result<ExitCode, Failure> {
    let place = Place::new(&args.server)?;
    let at = ForkAt {
        offset: args.at.as_deref().map(start),
        sub_offset: args.sub_offset,
    };
    let options = manage::options(&args.lifetime, &args.settings)?;
    let forked = place
        .stream(&args.name)
        .fork_from(&args.source, &at, options)
        .await;
    let forked = forked.map_err(|error| {
        let of_source = error.refused().and_then(millrace_client::Refused::code);
        let about_source = matches!(of_source, Some(Code::SourceNotFound | Code::SourceDeleted));
        let name = if about_source {
            &args.source
        } else {
            &args.name
        };
        place.failure(&error, Some(name))
    })?;
    let what = if forked.is_new {
        format!("forked {} from {}", args.name, args.source)
    } else {
        format!("{} was there already, as asked for", args.name)
    };
    manage::tell_created(&args.name, &forked, args.server.talk, &what).await
}
