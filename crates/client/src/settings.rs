//! What a stream carries beside its bytes: how much of it is kept, when its keys are compacted, and
//! its attributes (`docs/extensions.md`, Retention, Key compaction and Attributes).
//!
//! Not here: which values are allowed. The server judges them (400 `invalid-setting`); only what no
//! header can say is refused here.

use std::{fmt::Display, time::Duration};

use http::{HeaderMap, HeaderName, header::HeaderValue};
use millrace_wire::{headers, query::duration_millis};

use crate::{
    client::Client,
    error::Error,
    stream::{text, value},
};

/// What the owner of a stream says of it: a JSON object of at most 4,096 bytes.
pub type Attributes = serde_json::Map<String, serde_json::Value>;

/// How much of a stream is kept; of several limits the most aggressive one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long ago messages may have been appended, in whole milliseconds from 1 on.
    pub age_max: Option<Duration>,
    /// How many bytes are kept at most, in whole messages, from 1 on.
    pub bytes_max: Option<u64>,
    /// How many messages are kept at most, from 1 on.
    pub messages_max: Option<u64>,
}

/// A stream's settings as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// How much is kept.
    pub retention: Retention,
    /// After how many appended bytes its keys are compacted.
    pub compact_after_bytes: Option<u64>,
    /// Its attributes; empty when it has none.
    pub attributes: Attributes,
}

/// What becomes of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewLimit<T> {
    /// It stays as it is.
    #[default]
    AsItWas,
    /// It goes.
    Unlimited,
    /// It is this from now on.
    At(T),
}

/// What becomes of attributes.
#[derive(Clone, Debug, PartialEq)]
pub enum NewAttributes {
    /// All of them go.
    None,
    /// Members that are named are set, `null` takes one away, the others stay (RFC 7396).
    Merged(Attributes),
}

/// A change of settings; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingsPatch {
    /// How long ago messages may have been appended, in whole milliseconds from 1 on.
    pub age_max: NewLimit<Duration>,
    /// How many bytes are kept at most, from 1 on.
    pub bytes_max: NewLimit<u64>,
    /// How many messages are kept at most, from 1 on.
    pub messages_max: NewLimit<u64>,
    /// After how many appended bytes its keys are compacted, from 1 on.
    pub compact_after_bytes: NewLimit<u64>,
    /// The attributes.
    pub attributes: Option<NewAttributes>,
}

impl Retention {
    /// Whether everything is kept.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

impl<T> From<Option<T>> for NewLimit<T> {
    fn from(limit: Option<T>) -> Self {
        limit.map_or(Self::AsItWas, Self::At)
    }
}

impl SettingsPatch {
    /// What a new stream begins with.
    pub(crate) fn of_new(settings: Settings) -> Self {
        let Settings {
            retention,
            compact_after_bytes,
            attributes,
        } = settings;
        let has_attributes = !attributes.is_empty();
        Self {
            age_max: retention.age_max.into(),
            bytes_max: retention.bytes_max.into(),
            messages_max: retention.messages_max.into(),
            compact_after_bytes: compact_after_bytes.into(),
            attributes: has_attributes.then_some(NewAttributes::Merged(attributes)),
        }
    }

    pub(crate) fn put(&self, asked: &mut HeaderMap) -> Result<(), Error> {
        let age = match self.age_max {
            NewLimit::AsItWas => NewLimit::AsItWas,
            NewLimit::Unlimited => NewLimit::Unlimited,
            NewLimit::At(age) => NewLimit::At(millis(age)?),
        };
        put_limit(asked, headers::STREAM_RETENTION_MAX_AGE, age);
        let (bytes, messages) = (self.bytes_max, self.messages_max);
        put_limit(asked, headers::STREAM_RETENTION_MAX_BYTES, bytes);
        put_limit(asked, headers::STREAM_RETENTION_MAX_MESSAGES, messages);
        let compact_after = self.compact_after_bytes;
        put_limit(asked, headers::STREAM_COMPACT_AFTER_BYTES, compact_after);
        let attributes = match &self.attributes {
            None => return Ok(()),
            Some(NewAttributes::None) => "null".to_owned(),
            Some(NewAttributes::Merged(attributes)) => {
                serde_json::to_string(attributes).expect("an object with names is JSON")
            }
        };
        asked.insert(headers::STREAM_ATTRIBUTES, text(&attributes)?);
        Ok(())
    }
}

fn millis(age: Duration) -> Result<String, Error> {
    if !age.subsec_nanos().is_multiple_of(1_000_000) {
        let why = "the age of messages is limited in whole milliseconds";
        return Err(Error::Setup(why.to_owned()));
    }
    Ok(format!("{}ms", age.as_millis()))
}

fn put_limit(asked: &mut HeaderMap, name: HeaderName, limit: NewLimit<impl Display>) {
    let limit = match limit {
        NewLimit::AsItWas => return,
        NewLimit::Unlimited => HeaderValue::from_static("none"),
        NewLimit::At(limit) => {
            HeaderValue::try_from(limit.to_string()).expect("numbers and units are ASCII")
        }
    };
    asked.insert(name, limit);
}

/// What an answer says of settings.
pub(crate) fn settings(client: &Client, answer: &HeaderMap) -> Result<Settings, Error> {
    let age = value(answer, &headers::STREAM_RETENTION_MAX_AGE);
    let count = |name| value(answer, name).and_then(|text| text.parse().ok());
    let attributes = match answer.get(headers::STREAM_ATTRIBUTES) {
        None => Attributes::new(),
        Some(object) => serde_json::from_slice(object.as_bytes())
            .map_err(|error| client.answer(format!("Stream-Attributes: {error}")))?,
    };
    Ok(Settings {
        retention: Retention {
            age_max: age.and_then(duration_millis).map(Duration::from_millis),
            bytes_max: count(&headers::STREAM_RETENTION_MAX_BYTES),
            messages_max: count(&headers::STREAM_RETENTION_MAX_MESSAGES),
        },
        compact_after_bytes: count(&headers::STREAM_COMPACT_AFTER_BYTES),
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use millrace_wire::SettingsHead;
    use serde_json::json;

    use super::*;

    fn attributes(value: serde_json::Value) -> Attributes {
        match value {
            serde_json::Value::Object(object) => object,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_asked_is_read_back() {
        let all = Settings {
            retention: Retention {
                age_max: Some(Duration::from_millis(90_500)),
                bytes_max: Some(7),
                messages_max: Some(u64::MAX),
            },
            compact_after_bytes: Some(9),
            attributes: attributes(json!({"title": "Gezeiten \u{2713}\n", "n": [1, null]})),
        };
        let mut asked = HeaderMap::new();
        let patch = SettingsPatch::of_new(all.clone());
        patch.put(&mut asked).expect("headers");
        assert!(SettingsHead::parse(&asked).is_ok(), "{asked:?}");
        let client = Client::new("http://h", None).expect("a URL");
        assert_eq!(settings(&client, &asked).expect("settings"), all);
    }

    #[test]
    fn what_is_not_named_is_not_sent() {
        let mut asked = HeaderMap::new();
        SettingsPatch::default().put(&mut asked).expect("headers");
        assert!(asked.is_empty());
        let patch = SettingsPatch {
            bytes_max: NewLimit::Unlimited,
            attributes: Some(NewAttributes::None),
            ..SettingsPatch::default()
        };
        patch.put(&mut asked).expect("headers");
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[headers::STREAM_RETENTION_MAX_BYTES], "none");
        assert_eq!(asked[headers::STREAM_ATTRIBUTES], "null");
    }

    #[test]
    fn an_age_that_no_header_can_say_is_refused() {
        let patch = SettingsPatch {
            age_max: NewLimit::At(Duration::from_micros(1500)),
            ..SettingsPatch::default()
        };
        assert!(patch.put(&mut HeaderMap::new()).is_err());
    }
}
