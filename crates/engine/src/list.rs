//! Lists streams by name: the catalog's names, corrected by the changes that are not flushed yet.

use std::collections::BTreeMap;

use millrace_core::{
    ContentType, Lifetime, Offset, Refusal, StreamId, StreamName, Timestamp, stream::StreamState,
};
use millrace_env::tasks;
use millrace_store::StoreError;

use crate::engine::{Engine, Shared};

/// A stream in a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its identity.
    pub id: StreamId,
    /// Its name.
    pub name: StreamName,
    /// Its content type.
    pub content_type: ContentType,
    /// The offset of its first byte.
    pub start: Offset,
    /// The offset after its last byte.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// Its lifetime.
    pub lifetime: Lifetime,
    /// When it expires as things stand.
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Engine {
    /// Streams whose names begin with `prefix`, after `after`, in byte order, at most `limit`.
    /// Expired and soft-deleted streams are not in it, nor are the server's own.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, Refusal> {
        self.list_some(prefix, after, limit, false).await
    }

    /// The same for the server's own streams, and only those.
    pub async fn list_internal(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, Refusal> {
        self.list_some(prefix, after, limit, true).await
    }

    async fn list_some(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        internal: bool,
    ) -> Result<Vec<Listed>, Refusal> {
        let shared = std::sync::Arc::clone(&self.shared);
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let listed =
            tasks::blocking(move || collect(&shared, &prefix, after, limit, internal)).await;
        listed.map_err(|error| {
            tracing::error!(%error, "streams cannot be listed");
            Refusal::Corrupt
        })
    }
}

/// A text that sorts after every name of the server's own, which are ASCII up to an id of a client's.
const AFTER_INTERNAL: &str = "__ds/\u{10ffff}";

fn collect(
    shared: &Shared,
    prefix: &str,
    after: Option<String>,
    limit: usize,
    internal: bool,
) -> Result<Vec<Listed>, StoreError> {
    let mut listed = Vec::new();
    let mut cursor = after;
    while listed.len() < limit {
        let page = page(shared, prefix, cursor.as_deref(), limit)?;
        for (name, stream) in page.names {
            if listed.len() == limit {
                break;
            }
            if name.is_internal() == internal {
                listed.extend(visible(shared, name, stream)?);
            }
        }
        match page.horizon {
            // The server's own names are passed over all at once, however many they are.
            Some(horizon) if horizon.is_internal() && !internal => {
                cursor = Some(AFTER_INTERNAL.to_owned());
            }
            Some(horizon) => cursor = Some(horizon.as_str().to_owned()),
            None => break,
        }
    }
    Ok(listed)
}

/// Names in order, complete up to the horizon; without a horizon, complete.
struct Page {
    names: BTreeMap<StreamName, StreamId>,
    horizon: Option<StreamName>,
}

fn page(
    shared: &Shared,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, StoreError> {
    // Changes first, then the catalog: a change that is flushed in between is in both, not in none.
    let changes: Vec<_> = shared
        .shards
        .iter()
        .map(|shard| shard.directory.unflushed_from(prefix, after, limit))
        .collect();
    let stored = shared.catalog.names(prefix, after, limit)?;
    let last_of_full =
        |len: usize, last: Option<&StreamName>| last.filter(|_| len == limit).cloned();
    let ends = changes
        .iter()
        .map(|page| last_of_full(page.len(), page.last().map(|(n, _)| n)));
    let stored_end = last_of_full(stored.len(), stored.last().map(|(name, _)| name));
    let horizon = ends.chain([stored_end]).flatten().min();
    let mut names: BTreeMap<StreamName, StreamId> = stored.into_iter().collect();
    for (name, change) in changes.into_iter().flatten() {
        match change {
            Some(stream) => names.insert(name, stream),
            None => names.remove(&name),
        };
    }
    if let Some(horizon) = &horizon {
        names.retain(|name, _| name <= horizon);
    }
    Ok(Page { names, horizon })
}

fn visible(
    shared: &Shared,
    name: StreamName,
    stream: StreamId,
) -> Result<Option<Listed>, StoreError> {
    let now = shared.now();
    let shard = shared.shard_of_stream(stream);
    if let Some(live) = shared.handle(shard).directory.by_id(stream) {
        let view = live.view();
        let hidden = view.gone || live.is_expired(&view.state, now);
        let deadline = live.deadline(&view.state);
        return Ok(if hidden {
            None
        } else {
            describe(name, &view.state, deadline)
        });
    }
    let Some(state) = shared.catalog.stream(stream)? else {
        return Ok(None);
    };
    // Outside memory nobody has read it since the start, which renewed every sliding lifetime.
    let granted = match state.config.lifetime {
        sliding @ Lifetime::Ttl(_) => sliding.deadline(shared.booted_at),
        _ => None,
    };
    let deadline = state.deadline.max(granted);
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Ok(None);
    }
    Ok(describe(name, &state, deadline))
}

fn describe(
    name: StreamName,
    state: &StreamState,
    expires_at: Option<Timestamp>,
) -> Option<Listed> {
    (!state.soft_deleted).then(|| Listed {
        id: state.id,
        name,
        content_type: state.config.content_type.clone(),
        start: state.start_offset(),
        tail: state.tail_offset(),
        closed: state.is_closed(),
        lifetime: state.config.lifetime,
        expires_at,
        created_at: state.config.created_at,
    })
}
