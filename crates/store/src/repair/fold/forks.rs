//! What forks need of their sources, where frames were lost.

use std::{collections::BTreeSet, sync::Arc};

use millrace_core::{
    CreateSpec, Lifetime, StreamId, StreamName, StreamPos,
    slot::slot_of,
    stream::{Ancestor, Closure, Generations, StreamConfig, StreamState},
};

use super::{Fold, Folded};
use crate::{StoreError, repair::plan::Lost};

/// How many rows of the catalog are read at a time.
const PAGE: usize = 1000;

impl Fold {
    /// Every fork that there is keeps the source it inherits from, and the positions that it inherits.
    pub(super) fn hold_what_forks_need(&mut self) -> Result<(), StoreError> {
        let forks = self.forks()?;
        for fork in &forks {
            for ancestor in fork.config.lineage.iter() {
                if !self.is_gone(fork.id) && self.known(ancestor.stream)?.is_unheard_of() {
                    let state = self.stand_in(ancestor, fork)?;
                    self.known(ancestor.stream)?.state = Some(state);
                }
            }
        }
        // A source that is held may be a fork itself, and then holds its own.
        while self.hold_sources(&forks)? {}
        for fork in &forks {
            if self.is_gone(fork.id) {
                continue;
            }
            let lineage = fork.config.lineage.iter();
            let mut missing = None;
            for ancestor in lineage {
                let known = self.known(ancestor.stream)?;
                known.lose_up_to(ancestor.until);
                if known.state.is_none() {
                    missing = Some(ancestor.stream);
                }
            }
            if let Some(missing) = missing {
                let name = &fork.config.name;
                let what = format!(
                    "{name} inherits bytes of stream {missing}, which is lost: reads of it fail"
                );
                let stream = fork.id;
                self.lost.push(Lost::Stream { stream, what });
            }
        }
        Ok(())
    }

    /// A stream in the place of one whose creation is lost, so that a fork's own bytes can be read: deleted,
    /// and with none of its bytes.
    fn stand_in(
        &mut self,
        ancestor: &Ancestor,
        fork: &StreamState,
    ) -> Result<StreamState, StoreError> {
        let stream = ancestor.stream;
        let mut name = None;
        for number in 0..u32::MAX {
            let text = format!("lost/{stream}/{number}");
            let one = StreamName::new(&text).expect("such a name is one");
            if slot_of(&text) == stream.slot() && self.holder(&one)?.is_none() {
                name = Some(one);
                break;
            }
        }
        let mut generations = fork.generations.as_slice().to_vec();
        generations.retain(|start| start.from == StreamPos::ZERO || start.from < ancestor.until);
        let config = StreamConfig {
            name: name.expect("one name in a thousand is of a slot"),
            spec: CreateSpec {
                content_type: None,
                lifetime: Lifetime::Unlimited,
                closed: false,
                fork: None,
            },
            content_type: fork.config.content_type.clone(),
            lifetime: Lifetime::Unlimited,
            origin: None,
            lineage: Arc::new([]),
            created_at: fork.config.created_at,
        };
        Ok(StreamState {
            id: stream,
            config: Arc::new(config),
            generations: Generations::new(generations.into()),
            tail: StreamPos::ZERO,
            closure: Closure::Open,
            last_seq: None,
            soft_deleted: true,
            forks: Arc::new(BTreeSet::new()),
            deadline: None,
            producer_count: 0,
            written_at: fork.config.created_at,
            trimmed: StreamPos::ZERO,
            settings: None,
        })
    }

    /// Whether any source has come to know a fork.
    fn hold_sources(&mut self, forks: &[StreamState]) -> Result<bool, StoreError> {
        let mut changed = false;
        for fork in forks {
            let origin = fork.config.origin.filter(|_| !self.is_gone(fork.id));
            let Some(origin) = origin else { continue };
            if let Some(source) = &mut self.known(origin.source)?.state {
                changed |= Arc::make_mut(&mut source.forks).insert(fork.id);
            }
        }
        Ok(changed)
    }

    /// Whether a stream is gone, as far as is known so far.
    fn is_gone(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(Folded::is_gone)
    }

    /// All forks that there are, as they are so far.
    fn forks(&self) -> Result<Vec<StreamState>, StoreError> {
        let mut forks: Vec<StreamState> = self
            .streams
            .values()
            .filter_map(|folded| folded.state.clone())
            .collect();
        let mut after = None;
        loop {
            let states = self.catalog.streams(after, PAGE)?;
            let Some(last) = states.last() else { break };
            after = Some(last.id);
            let stored = states.into_iter();
            forks.extend(stored.filter(|state| !self.streams.contains_key(&state.id)));
            forks.retain(|state| state.config.origin.is_some());
        }
        forks.retain(|state| state.config.origin.is_some());
        Ok(forks)
    }
}
