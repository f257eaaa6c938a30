//! When a stream's messages are folded by themselves: a document of its settings.

use std::num::NonZeroU64;

use crate::{
    ids::StreamPos,
    retention::NewLimit,
    settings::{NewSettings, SettingFault, SettingKey, Standing},
    stream::StreamState,
};

/// The policy, and what the last folding left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condensing {
    /// Fold when so many bytes were appended since the last time, and at least as many as that left.
    pub after_bytes: NonZeroU64,
    /// Where what the last folding left ends; the stream's start before the first.
    pub folded_until: StreamPos,
    /// How many bytes that was.
    pub folded_bytes: u64,
}

impl Condensing {
    /// A stream's, where its settings say so and can be read.
    pub fn of(state: &StreamState) -> Option<Self> {
        Self::parse(state.setting(SettingKey::COMPACTION)?)
    }

    /// Whether enough has gathered.
    pub fn is_due(&self, state: &StreamState) -> bool {
        let from = self.folded_until.max(state.trimmed);
        let gathered = state.tail.get().saturating_sub(from.get());
        gathered >= self.after_bytes.get().max(self.folded_bytes)
    }

    /// The document.
    pub fn document(&self) -> Vec<u8> {
        let (until, bytes) = (self.folded_until.get(), self.folded_bytes);
        format!("{} {until} {bytes}", self.after_bytes).into_bytes()
    }

    /// Reads a document.
    pub fn parse(document: &[u8]) -> Option<Self> {
        let mut numbers = std::str::from_utf8(document).ok()?.split(' ');
        let mut next = || numbers.next()?.parse().ok();
        let policy = Self {
            after_bytes: NonZeroU64::new(next()?)?,
            folded_until: StreamPos(next()?),
            folded_bytes: next()?,
        };
        numbers.next().is_none().then_some(policy)
    }

    /// The document after a change of the policy, of a stream as it stands.
    pub fn changed(
        after_bytes: NewLimit,
        standing: Standing<'_>,
    ) -> Result<NewSettings, SettingFault> {
        let document = match after_bytes {
            NewLimit::AsItWas => return Ok(NewSettings::new()),
            NewLimit::Unlimited => None,
            NewLimit::At(after_bytes) => {
                let was = Self::of(standing.stream);
                let policy = Self {
                    after_bytes,
                    folded_until: was.map_or(StreamPos::ZERO, |was| was.folded_until),
                    folded_bytes: was.map_or(0, |was| was.folded_bytes),
                };
                Some(policy.document().into())
            }
        };
        Ok(vec![(SettingKey::COMPACTION, document)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_back() {
        let policy = Condensing {
            after_bytes: NonZeroU64::MIN,
            folded_until: StreamPos(u64::MAX),
            folded_bytes: 7,
        };
        assert_eq!(Condensing::parse(&policy.document()), Some(policy));
        for document in ["", "1", "1 2", "0 1 2", "1 2 3 4", "1 2 -3", "x 2 3"] {
            assert_eq!(Condensing::parse(document.as_bytes()), None, "{document}");
        }
    }
}
