//! Documents that a stream carries beside its bytes: what its owner says of it, how long it keeps
//! what, what its content means.
//!
//! The rules of a stream never look into a document. Whoever understands one turns it into the next
//! with a [`Change`], judged by the stream's shard between two appends: against the document as it is
//! then, and the tail as it is then. So two changes at once never lose one, and what a document says of
//! positions is exact.
//!
//! INVARIANT: content that was judged under other documents is not appended. Those that say what content
//! is valid count their changes ([`Settings::content_revision`]), an append names the count that it was
//! judged under, and one that names another is sent back to be judged again.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    Timestamp,
    limits::{SETTING_BYTES_MAX, SETTINGS_BYTES_MAX},
    stream::StreamState,
};

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingKey(pub u8);

impl SettingKey {
    /// What the creation asked for, so that the same request finds its stream again whatever was
    /// changed since.
    pub const ASKED: Self = Self(0);
    /// The owner's attributes: a JSON object.
    pub const ATTRIBUTES: Self = Self(1);
    /// How long what is kept.
    pub const RETENTION: Self = Self(2);
    /// When values that later ones replace are dropped.
    pub const COMPACTION: Self = Self(3);
    /// The profile: what content means.
    pub const PROFILE: Self = Self(4);
    /// The schema registry: how content is built.
    pub const SCHEMA: Self = Self(5);

    /// Whether it says what content is valid, or what becomes of it on its way in.
    pub fn judges_content(self) -> bool {
        matches!(self, Self::PROFILE | Self::SCHEMA)
    }
}

/// A stream's documents; none is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    revision: u64,
    content_revision: u64,
    documents: BTreeMap<SettingKey, Arc<[u8]>>,
}

/// New documents, and with `None` those that go.
pub type NewSettings = Vec<(SettingKey, Option<Arc<[u8]>>)>;

impl Settings {
    /// Takes over what was stored; `None` when it is none.
    pub fn stored(
        revision: u64,
        content_revision: u64,
        documents: BTreeMap<SettingKey, Arc<[u8]>>,
    ) -> Option<Self> {
        let counted = content_revision <= revision && revision > 0;
        let whole = documents.values().all(|document| !document.is_empty());
        (counted && whole).then_some(Self {
            revision,
            content_revision,
            documents,
        })
    }

    /// A document, if there is one.
    pub fn get(&self, key: SettingKey) -> Option<&Arc<[u8]>> {
        self.documents.get(&key)
    }

    /// All documents, in the order of their keys.
    pub fn documents(&self) -> impl ExactSizeIterator<Item = (SettingKey, &Arc<[u8]>)> {
        self.documents
            .iter()
            .map(|(key, document)| (*key, document))
    }

    /// How many changes there were.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many changes there were of documents that judge content.
    pub fn content_revision(&self) -> u64 {
        self.content_revision
    }

    /// The bytes of all documents.
    pub fn bytes(&self) -> u64 {
        self.documents
            .values()
            .map(|document| document.len() as u64)
            .sum()
    }

    /// The next ones.
    #[must_use]
    pub fn changed(&self, changes: &[(SettingKey, Option<Arc<[u8]>>)]) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        next.content_revision += u64::from(changes.iter().any(|(key, _)| key.judges_content()));
        for (key, document) in changes {
            match document.as_ref().filter(|document| !document.is_empty()) {
                Some(document) => next.documents.insert(*key, Arc::clone(document)),
                None => next.documents.remove(key),
            };
        }
        next
    }

    /// Those of `changes` that change anything.
    fn differing(&self, mut changes: NewSettings) -> NewSettings {
        changes.retain(|(key, document)| self.documents.get(key) != document.as_ref());
        changes
    }
}

/// What a change is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'s> {
    /// The stream, which is there.
    pub stream: &'s StreamState,
    /// The time of the turn.
    pub now: Timestamp,
}

impl Standing<'_> {
    /// A document as it stands.
    pub fn document(&self, key: SettingKey) -> Option<&Arc<[u8]>> {
        self.stream.settings.as_ref()?.get(key)
    }
}

/// Turns a stream's documents into the next ones. Pure: called in the shard's turn, and at most once.
pub trait Change: fmt::Debug + Send {
    /// The documents that are new, and those that go.
    fn judge(&self, standing: Standing<'_>) -> Result<NewSettings, SettingFault>;

    /// More bytes than the new documents have.
    fn bytes_max(&self) -> u64 {
        SETTINGS_BYTES_MAX
    }
}

/// Documents as they are, whatever there was.
impl Change for NewSettings {
    fn judge(&self, _: Standing<'_>) -> Result<NewSettings, SettingFault> {
        Ok(self.clone())
    }

    fn bytes_max(&self) -> u64 {
        let documents = self.iter().filter_map(|(_, document)| document.as_ref());
        documents.map(|document| document.len() as u64).sum()
    }
}

/// Why a change of documents is not made, in the words of whoever understands them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFault {
    /// What kind of fault it is.
    pub kind: SettingFaultKind,
    /// A stable code, for programs.
    pub code: &'static str,
    /// What is wrong and what to change, for people.
    pub message: Arc<str>,
}

/// What the one who asked can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingFaultKind {
    /// Change the request.
    Invalid,
    /// Look at how things stand: the request fits another state of the stream.
    Conflict,
    /// Make it smaller.
    TooLarge,
}

impl SettingFault {
    /// One of the request itself.
    pub fn invalid(code: &'static str, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind: SettingFaultKind::Invalid,
            code,
            message: message.into(),
        }
    }

    /// One of the request for this stream.
    pub fn conflict(code: &'static str, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind: SettingFaultKind::Conflict,
            ..Self::invalid(code, message)
        }
    }

    fn too_large() -> Self {
        let limits = format!(
            "a stream's settings may have {SETTINGS_BYTES_MAX} bytes, one document {SETTING_BYTES_MAX}"
        );
        Self {
            kind: SettingFaultKind::TooLarge,
            ..Self::invalid("settings-too-large", limits)
        }
    }
}

/// What a change comes to: the documents that differ, within bounds.
pub(crate) fn judged(
    change: &dyn Change,
    standing: Standing<'_>,
) -> Result<NewSettings, SettingFault> {
    let none = Settings::default();
    let settings = standing.stream.settings.as_deref().unwrap_or(&none);
    let changes = settings.differing(change.judge(standing)?);
    let is_small = |(_, document): &(SettingKey, Option<Arc<[u8]>>)| {
        document
            .as_ref()
            .map_or(0, |document| document.len() as u64)
            <= SETTING_BYTES_MAX
    };
    let fits =
        changes.iter().all(is_small) && settings.changed(&changes).bytes() <= SETTINGS_BYTES_MAX;
    fits.then_some(changes).ok_or_else(SettingFault::too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(key: SettingKey, text: &str) -> (SettingKey, Option<Arc<[u8]>>) {
        (key, Some(text.as_bytes().into()))
    }

    #[test]
    fn only_documents_that_judge_content_count_as_such() {
        let settings = Settings::default();
        let named = settings.changed(&[new(SettingKey::ATTRIBUTES, "{}")]);
        assert_eq!((named.revision(), named.content_revision()), (1, 0));
        let judged = named.changed(&[new(SettingKey::SCHEMA, "1")]);
        assert_eq!((judged.revision(), judged.content_revision()), (2, 1));
        let gone = judged.changed(&[(SettingKey::SCHEMA, None)]);
        assert_eq!((gone.revision(), gone.content_revision()), (3, 2));
        assert_eq!(gone.documents().len(), 1);
    }

    #[test]
    fn what_is_said_again_changes_nothing() {
        let settings = Settings::default().changed(&[new(SettingKey::RETENTION, "a")]);
        let again = vec![new(SettingKey::RETENTION, "a"), (SettingKey::PROFILE, None)];
        assert_eq!(settings.differing(again), []);
    }
}
