//! How much of a stream is kept: a document of its settings.
//!
//! Pure: which limits there are, and their text. Where each of them lies in a stream is found out by
//! the engine (`millrace-engine`'s `retention`), which trims there.

use std::{fmt::Write as _, num::NonZeroU64};

use crate::{
    Timestamp,
    settings::{NewSettings, SettingFault, SettingKey, Standing},
    stream::StreamState,
};

/// What is kept at most; of several limits the most aggressive one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Messages younger than so many milliseconds.
    pub age_millis_max: Option<NonZeroU64>,
    /// So many bytes. A message is kept or goes as a whole.
    pub bytes_max: Option<NonZeroU64>,
    /// So many messages.
    pub messages_max: Option<NonZeroU64>,
}

const AGE: &str = "age-ms";
const BYTES: &str = "bytes";
const MESSAGES: &str = "messages";

impl Retention {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// What a stream keeps, where its settings say so. A document that is not understood, of a newer
    /// version say, limits nothing: what it keeps is kept.
    pub fn of(state: &StreamState) -> Option<Self> {
        Self::parse(state.setting(SettingKey::RETENTION)?)
    }

    /// The document; `None` where nothing is limited.
    pub fn document(&self) -> Option<Vec<u8>> {
        let mut text = String::new();
        let limits = [
            (AGE, self.age_millis_max),
            (BYTES, self.bytes_max),
            (MESSAGES, self.messages_max),
        ];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                writeln!(text, "{name} {limit}").expect("a text takes all");
            }
        }
        (!text.is_empty()).then(|| text.into_bytes())
    }

    /// Reads a document.
    pub fn parse(document: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        for line in std::str::from_utf8(document).ok()?.lines() {
            let (name, limit) = line.split_once(' ')?;
            let limit = Some(limit.parse().ok()?);
            match name {
                AGE => found.age_millis_max = limit,
                BYTES => found.bytes_max = limit,
                MESSAGES => found.messages_max = limit,
                _ => return None,
            }
        }
        Some(found)
    }

    /// The time before which nothing is kept at `now`.
    pub fn keeps_since(&self, now: Timestamp) -> Option<Timestamp> {
        let age = self.age_millis_max?.get();
        Some(Timestamp(now.get().saturating_sub(age)))
    }
}

/// What becomes of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewLimit {
    /// It stays.
    #[default]
    AsItWas,
    /// It goes.
    Unlimited,
    /// It is this.
    At(NonZeroU64),
}

impl NewLimit {
    /// A limit, or none.
    pub fn new(limit: Option<NonZeroU64>) -> Self {
        limit.map_or(Self::Unlimited, Self::At)
    }

    fn on(self, was: Option<NonZeroU64>) -> Option<NonZeroU64> {
        match self {
            Self::AsItWas => was,
            Self::Unlimited => None,
            Self::At(limit) => Some(limit),
        }
    }
}

/// A change of some limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionChange {
    /// Of [`Retention::age_millis_max`].
    pub age_millis_max: NewLimit,
    /// Of [`Retention::bytes_max`].
    pub bytes_max: NewLimit,
    /// Of [`Retention::messages_max`].
    pub messages_max: NewLimit,
}

impl RetentionChange {
    /// Whether it names nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// `was`, changed.
    pub fn on(&self, was: Retention) -> Retention {
        Retention {
            age_millis_max: self.age_millis_max.on(was.age_millis_max),
            bytes_max: self.bytes_max.on(was.bytes_max),
            messages_max: self.messages_max.on(was.messages_max),
        }
    }

    /// The document after it, of a stream as it stands.
    pub fn judge(&self, standing: Standing<'_>) -> Result<NewSettings, SettingFault> {
        if self.is_nothing() {
            return Ok(NewSettings::new());
        }
        let was = match standing.document(SettingKey::RETENTION) {
            None => Retention::default(),
            Some(document) => Retention::parse(document).ok_or_else(|| {
                SettingFault::conflict(
                    "retention-unknown",
                    "the stream's retention was set by a newer version; change it with that one",
                )
            })?,
        };
        let document = self.on(was).document().map(Into::into);
        Ok(vec![(SettingKey::RETENTION, document)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_back() {
        let some = |n| NonZeroU64::new(n);
        for (age, bytes, messages) in [(0, 0, 0), (1, 0, 0), (0, u64::MAX, 3), (5, 6, 7)] {
            let retention = Retention {
                age_millis_max: some(age),
                bytes_max: some(bytes),
                messages_max: some(messages),
            };
            let document = retention.document();
            assert_eq!(document.is_none(), retention.is_unlimited());
            assert_eq!(
                Retention::parse(&document.unwrap_or_default()),
                Some(retention)
            );
        }
    }

    #[test]
    fn what_is_not_understood_limits_nothing() {
        for document in [
            "bytes",
            "bytes 0",
            "bytes -1",
            "colour 3",
            "bytes 1\n\n",
            "\u{fffd}",
        ] {
            assert_eq!(Retention::parse(document.as_bytes()), None, "{document}");
        }
    }
}
