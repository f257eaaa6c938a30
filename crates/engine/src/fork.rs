//! Resolves the source of a fork: which stream, and exactly where.
//!
//! Done by the request, before any shard is asked: bytes below a tail never change, so what is found
//! here stays true. Whether the source still exists is judged by its own shard, which logs the
//! reference before the fork is created.

use std::sync::Arc;

use millrace_core::{
    ContentKind, ForkAnchor, ForkRequest, ForkSource, Refusal, StreamPos, stream::StreamState,
};

use crate::{engine::Engine, read::Holder, stream::Stream};

/// Finds the source that `request` names and the position it means.
pub(crate) async fn resolve(engine: &Engine, request: &ForkRequest) -> Result<ForkSource, Refusal> {
    let source = engine
        .open(&request.source)
        .await
        .map_err(|refusal| match refusal {
            Refusal::NotFound => Refusal::SourceNotFound,
            Refusal::SoftDeleted => Refusal::SourceSoftDeleted,
            other => other,
        })?;
    let state = source.state();
    let holders = source.holders().await?;
    let anchor = resolve_anchor(&source, &state, &holders, request.anchor).await?;
    let at = resolve_sub_offset(&source, &state, &holders, anchor, request.sub_offset).await?;
    Ok(ForkSource {
        stream: state.id,
        anchor,
        at,
        content_type: state.config.content_type.clone(),
        lifetime: state.config.lifetime,
        trimmed: state.trimmed,
        generations: state.generations.clone(),
        lineage: state.lineage_until(at),
    })
}

async fn resolve_anchor(
    source: &Stream,
    state: &StreamState,
    holders: &Arc<[Holder]>,
    anchor: ForkAnchor,
) -> Result<StreamPos, Refusal> {
    let offset = match anchor {
        ForkAnchor::Tail => return Ok(state.tail),
        ForkAnchor::Start => return Ok(state.trimmed),
        ForkAnchor::At(offset) => offset,
    };
    let position = offset.position;
    if !state.reads_from(offset) {
        return Err(Refusal::ForkPosition);
    }
    if state.kind() == ContentKind::Json && position != state.tail {
        let segments = &source.shared.segments;
        if !holder_of(holders, position)
            .is_boundary(segments, position)
            .await?
        {
            return Err(Refusal::ForkPosition);
        }
    }
    Ok(position)
}

/// PROTOCOL 4.2: messages for JSON, bytes for all else, within the append at the anchor.
async fn resolve_sub_offset(
    source: &Stream,
    state: &StreamState,
    holders: &Arc<[Holder]>,
    anchor: StreamPos,
    sub_offset: u64,
) -> Result<StreamPos, Refusal> {
    if sub_offset == 0 {
        return Ok(anchor);
    }
    if anchor == state.tail {
        return Err(Refusal::ForkPosition);
    }
    let segments = &source.shared.segments;
    let holder = holder_of(holders, anchor);
    if state.kind() == ContentKind::Json {
        let nth = usize::try_from(sub_offset).map_err(|_| Refusal::ForkPosition)?;
        let ends = holder.append_after(segments, anchor, nth).await?;
        return ends.get(nth - 1).copied().ok_or(Refusal::ForkPosition);
    }
    let ends = holder.append_after(segments, anchor, usize::MAX).await?;
    let end = ends.last().copied().ok_or(Refusal::ForkPosition)?;
    let room = end.since(anchor);
    if sub_offset > room {
        Err(Refusal::ForkPosition)
    } else {
        Ok(anchor.advance(sub_offset))
    }
}

/// Who holds the byte at `pos`.
fn holder_of(holders: &Arc<[Holder]>, pos: StreamPos) -> &Holder {
    let at = holders.partition_point(|holder| holder.until <= pos);
    &holders[at.min(holders.len() - 1)]
}
