//! A handle on one stream, as found by name.

use std::sync::Arc;

use millrace_core::{
    ContentType, Lifetime, Offset, Refusal, Settings, StreamId, StreamName, StreamPos, Timestamp,
    stream::StreamState,
};

use crate::{
    engine::Shared,
    frames::FrameCache,
    live::Live,
    read::{From, Holder, Reader},
};

/// A stream that was there when it was opened; cheap to clone.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Arc<Live>,
}

/// What is known of a stream without reading it.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its identity: another one after deletion and re-creation.
    pub id: StreamId,
    /// Its content type.
    pub content_type: ContentType,
    /// The offset after its last byte.
    pub tail: Offset,
    /// The first offset that can be read.
    pub start: Offset,
    /// Whether what lies before that was trimmed.
    pub is_trimmed: bool,
    /// Whether it takes no more appends.
    pub closed: bool,
    /// The lifetime it was created with or inherited.
    pub lifetime: Lifetime,
    /// When it expires as things stand.
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its documents, where it has any.
    pub settings: Option<Arc<Settings>>,
}

impl Stream {
    /// What is known of it now.
    pub fn head(&self) -> Head {
        let view = self.live.view();
        let state = &view.state;
        Head {
            id: state.id,
            content_type: state.config.content_type.clone(),
            tail: state.tail_offset(),
            start: state.start_offset(),
            is_trimmed: state.trimmed > StreamPos::ZERO,
            closed: state.is_closed(),
            lifetime: state.config.lifetime,
            expires_at: self.live.deadline(state),
            created_at: state.config.created_at,
            settings: state.settings.clone(),
        }
    }

    /// Its documents; `None` where there never were any.
    pub fn settings(&self) -> Option<Arc<Settings>> {
        self.live.view().state.settings.clone()
    }

    /// Its name.
    pub fn name(&self) -> StreamName {
        self.live.view().state.config.name.clone()
    }

    /// Whether `offset` is one of this stream's: it exists, and names bytes that were never lost.
    pub fn owns(&self, offset: Offset) -> bool {
        self.live.view().state.owns(offset)
    }

    /// Renews a sliding lifetime, as a read does. Costs no write.
    pub fn touch(&self) {
        self.live.touch(self.shared.now());
    }

    /// A reader at `from`. [`Refusal::OffsetGone`] when the offset is not one of this stream's,
    /// [`Refusal::OffsetNotABoundary`] when it is inside a JSON message.
    pub async fn read_from(&self, from: From) -> Result<Reader, Refusal> {
        let holders = self.holders().await?;
        Reader::new(Arc::clone(&self.shared), self.clone(), holders, from).await
    }

    /// Encoded events that its followers share.
    pub fn frames(&self) -> &FrameCache {
        self.live.frames()
    }

    pub(crate) fn state(&self) -> StreamState {
        self.live.view().state.clone()
    }

    /// Who holds its bytes, in order.
    pub(crate) async fn holders(&self) -> Result<Arc<[Holder]>, Refusal> {
        let (lineage, generations) = {
            let view = self.live.view();
            let state = &view.state;
            (Arc::clone(&state.config.lineage), state.generations.clone())
        };
        if lineage.is_empty() {
            // Most are no forks.
            let live = Arc::clone(&self.live);
            return Ok(Arc::new([Holder::whole(live)]));
        }
        let mut holders = Vec::with_capacity(lineage.len() + 1);
        let mut from = StreamPos::ZERO;
        for ancestor in lineage.iter() {
            let live = self.shared.load(ancestor.stream).await?.ok_or_else(|| {
                tracing::error!(fork = %self.live.id, ancestor = %ancestor.stream, "a fork's ancestor is missing");
                Refusal::Corrupt
            })?;
            // In unsafe mode a source can lose what a fork of it has inherited, and grow again.
            let is_whole = {
                let view = live.view();
                let (tail, own) = (view.state.tail, &view.state.generations);
                tail >= ancestor.until
                    && own.offset_at(ancestor.until) == generations.offset_at(ancestor.until)
            };
            if !is_whole {
                tracing::error!(fork = %self.live.id, ancestor = %ancestor.stream, "what a fork inherited is lost");
                return Err(Refusal::Corrupt);
            }
            holders.push(Holder {
                live,
                from,
                until: ancestor.until,
            });
            from = ancestor.until;
        }
        let live = Arc::clone(&self.live);
        holders.push(Holder {
            live,
            from,
            until: StreamPos(u64::MAX),
        });
        Ok(holders.into())
    }
}
