//! GET of the listing: streams by name, in byte order, page after page (decision 36).

use http::request::Parts;
use millrace_engine::Listed;
use millrace_wire::{ListQuery, Problem, listing};

use crate::{
    access::{Action, Caller, Target},
    answer::{self, Answer},
    app::App,
};

/// Answers GET of the listing.
pub(crate) async fn list(app: &App, caller: &Caller, head: &Parts) -> Result<Answer, Problem> {
    let query = ListQuery::parse(head.uri.query())?;
    let grant = caller.may(Action::List, Target::Prefix(&query.prefix))?;
    let engine = app.engine(&grant)?;
    // One more than asked for tells whether there are more.
    let mut listed = engine
        .list(&query.prefix, query.after.as_deref(), query.limit + 1)
        .await?;
    let has_more = listed.len() > query.limit;
    listed.truncate(query.limit);
    let last = listed.last().filter(|_| has_more);
    let reply = listing::reply(last.map(|last| &last.name));
    Ok(answer::full(reply, listing::body(listed.iter().map(row))))
}

fn row(listed: &Listed) -> listing::Listed<'_> {
    listing::Listed {
        name: &listed.name,
        content_type: &listed.content_type,
        tail: listed.tail,
        closed: listed.closed,
        lifetime: listed.lifetime,
        expires_at: listed.expires_at,
        created_at: listed.created_at,
        settings: listed.settings.as_deref(),
    }
}
