//! Headers of PUT and PATCH that say what a stream carries beside its bytes and how much of it is kept,
//! and the same headers in the answer to HEAD.
//!
//! A PUT names them as they are to be; what it names is kept as [`SettingKey::ASKED`], so that the same
//! PUT finds its stream again whatever PATCH has changed since. A PATCH names what changes: a limit that is
//! `none` goes, an attribute that is `null` goes (RFC 7396), all else stays.

use std::{fmt::Write as _, num::NonZeroU64, sync::Arc};

use http::HeaderName;
use millrace_core::{
    Change, Condensing, NewLimit, NewSettings, Retention, RetentionChange, SettingFault,
    SettingKey, Settings, Standing, StreamPos,
};
use serde_json::{Map, Value};

use crate::{
    headers::{
        Fields, STREAM_ATTRIBUTES, STREAM_COMPACT_AFTER_BYTES, STREAM_RETENTION_MAX_AGE,
        STREAM_RETENTION_MAX_BYTES, STREAM_RETENTION_MAX_MESSAGES, single_text,
    },
    query::duration_millis,
    refused::BadRequest,
};

/// The longest `Stream-Attributes`, in bytes, as sent and as kept.
pub const ATTRIBUTES_BYTES_MAX: usize = 4096;

/// What the headers of a PUT or a PATCH say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingsHead {
    retention: RetentionChange,
    compact_after_bytes: NewLimit,
    attributes: Option<Attributes>,
}

/// The value of `Stream-Attributes`.
#[derive(Clone, Debug, PartialEq)]
enum Attributes {
    /// `null`: without any.
    None,
    /// An object.
    Object(Map<String, Value>),
}

impl SettingsHead {
    /// Reads the headers.
    pub fn parse(headers: &impl Fields) -> Result<Self, BadRequest> {
        Ok(Self {
            retention: RetentionChange {
                age_millis_max: limit(headers, &STREAM_RETENTION_MAX_AGE, AGE, age)?,
                bytes_max: limit(headers, &STREAM_RETENTION_MAX_BYTES, BYTES, count)?,
                messages_max: limit(headers, &STREAM_RETENTION_MAX_MESSAGES, MESSAGES, count)?,
            },
            compact_after_bytes: limit(headers, &STREAM_COMPACT_AFTER_BYTES, COMPACT, count)?,
            attributes: single_text(headers, &STREAM_ATTRIBUTES, "Stream-Attributes")?
                .map(attributes)
                .transpose()?,
        })
    }

    /// Whether they say nothing.
    pub fn is_nothing(&self) -> bool {
        let keeps = self.retention.is_nothing() && self.compact_after_bytes == NewLimit::AsItWas;
        keeps && self.attributes.is_none()
    }

    /// The documents that a stream begins with.
    pub fn documents(&self) -> NewSettings {
        let mut documents = NewSettings::new();
        if let Some(Attributes::Object(object)) = &self.attributes {
            let document = attributes_document(object);
            documents.extend(document.map(|document| (SettingKey::ATTRIBUTES, Some(document))));
        }
        if let Some(retention) = self.retention.on(Retention::default()).document() {
            documents.push((SettingKey::RETENTION, Some(retention.into())));
        }
        if let NewLimit::At(after_bytes) = self.compact_after_bytes {
            let policy = Condensing {
                after_bytes,
                folded_until: StreamPos::ZERO,
                folded_bytes: 0,
            };
            documents.push((SettingKey::COMPACTION, Some(policy.document().into())));
        }
        if let Some(asked) = asked(&documents) {
            documents.insert(0, (SettingKey::ASKED, Some(asked)));
        }
        documents
    }
}

/// What was asked for, as one document; `None` where nothing was.
fn asked(documents: &NewSettings) -> Option<Arc<[u8]>> {
    let mut asked = Vec::new();
    for (key, document) in documents {
        let document = document.as_deref().unwrap_or_default();
        let length = u32::try_from(document.len()).expect("a document has at most 512 KiB");
        asked.push(key.0);
        asked.extend_from_slice(&length.to_le_bytes());
        asked.extend_from_slice(document);
    }
    (!asked.is_empty()).then(|| asked.into())
}

/// A PATCH, judged against what there is.
impl Change for SettingsHead {
    fn judge(&self, standing: Standing<'_>) -> Result<NewSettings, SettingFault> {
        let mut changes = self.retention.judge(standing)?;
        changes.extend(Condensing::changed(self.compact_after_bytes, standing)?);
        let document = match &self.attributes {
            None => return Ok(changes),
            Some(Attributes::None) => None,
            Some(Attributes::Object(patch)) => {
                let mut object = attributes_in(standing.document(SettingKey::ATTRIBUTES));
                merge(&mut object, patch);
                attributes_document(&object)
            }
        };
        if document
            .as_ref()
            .is_some_and(|document| document.len() > ATTRIBUTES_BYTES_MAX)
        {
            let message = format!(
                "the attributes would have over {ATTRIBUTES_BYTES_MAX} bytes; take some away with `null`"
            );
            return Err(SettingFault::invalid("attributes-too-large", message));
        }
        changes.push((SettingKey::ATTRIBUTES, document));
        Ok(changes)
    }

    fn bytes_max(&self) -> u64 {
        2 * ATTRIBUTES_BYTES_MAX as u64
    }
}

/// What HEAD says of a stream's settings.
pub fn head_with(settings: &Settings, mut put: impl FnMut(HeaderName, &[u8])) {
    if let Some(attributes) = settings.get(SettingKey::ATTRIBUTES) {
        put(STREAM_ATTRIBUTES, attributes);
    }
    let condensing = settings.get(SettingKey::COMPACTION);
    if let Some(policy) = condensing.and_then(|document| Condensing::parse(document)) {
        let after = policy.after_bytes.to_string();
        put(STREAM_COMPACT_AFTER_BYTES, after.as_bytes());
    }
    let retention = settings.get(SettingKey::RETENTION);
    let retention = retention.and_then(|document| Retention::parse(document));
    let Some(retention) = retention else { return };
    if let Some(age) = retention.age_millis_max {
        put(STREAM_RETENTION_MAX_AGE, shown_age(age.get()).as_bytes());
    }
    if let Some(bytes) = retention.bytes_max {
        put(STREAM_RETENTION_MAX_BYTES, bytes.to_string().as_bytes());
    }
    if let Some(messages) = retention.messages_max {
        put(
            STREAM_RETENTION_MAX_MESSAGES,
            messages.to_string().as_bytes(),
        );
    }
}

/// Seconds, as they are sent without a unit, where they are whole.
fn shown_age(millis: u64) -> String {
    match millis % 1000 {
        0 => (millis / 1000).to_string(),
        _ => format!("{millis}ms"),
    }
}

const AGE: &str = "Stream-Retention-Max-Age";
const BYTES: &str = "Stream-Retention-Max-Bytes";
const MESSAGES: &str = "Stream-Retention-Max-Messages";
const COMPACT: &str = "Stream-Compact-After-Bytes";

fn limit(
    headers: &impl Fields,
    name: &HeaderName,
    shown: &'static str,
    read: impl FnOnce(&str) -> Option<u64>,
) -> Result<NewLimit, BadRequest> {
    match single_text(headers, name, shown)? {
        None => Ok(NewLimit::AsItWas),
        Some("none") => Ok(NewLimit::Unlimited),
        Some(text) => {
            let limit = read(text).and_then(NonZeroU64::new);
            limit.map(NewLimit::At).ok_or(match shown {
                AGE => BadRequest::RetentionAge,
                _ => BadRequest::RetentionCount(shown),
            })
        }
    }
}

/// As many days as a stream lives at most are within 64 bits.
fn age(text: &str) -> Option<u64> {
    duration_millis(text).filter(|millis| *millis < u64::MAX / 2)
}

fn count(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn attributes(text: &str) -> Result<Attributes, BadRequest> {
    if text.len() > ATTRIBUTES_BYTES_MAX {
        return Err(BadRequest::AttributesTooLarge);
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(Attributes::Object(object)),
        Ok(Value::Null) => Ok(Attributes::None),
        Ok(_) | Err(_) => Err(BadRequest::Attributes),
    }
}

/// The attributes in a stream's document.
pub fn attributes_in(document: Option<&Arc<[u8]>>) -> Map<String, Value> {
    document
        .and_then(|document| serde_json::from_slice(document).ok())
        .unwrap_or_default()
}

/// JSON in ASCII, names in order: it stands in a header, and is compared as bytes.
fn attributes_document(object: &Map<String, Value>) -> Option<Arc<[u8]>> {
    let mut out = String::new();
    put_object(object, &mut out);
    (!object.is_empty()).then(|| out.into_bytes().into())
}

fn put_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => put_object(object, out),
        Value::Array(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                put_value(value, out);
            }
            out.push(']');
        }
        Value::String(text) => put_text(text, out),
        plain => write!(out, "{plain}").expect("a text takes all"),
    }
}

fn put_object(object: &Map<String, Value>, out: &mut String) {
    let mut members: Vec<_> = object.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    out.push('{');
    for (i, (name, value)) in members.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        put_text(name, out);
        out.push(':');
        put_value(value, out);
    }
    out.push('}');
}

fn put_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            ' '..='~' => out.push(letter),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}").expect("a text takes all");
                }
            }
        }
    }
    out.push('"');
}

/// RFC 7396.
fn merge(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                into.remove(name);
            }
            Value::Object(inner) => {
                let mut object = match into.remove(name) {
                    Some(Value::Object(object)) => object,
                    _ => Map::new(),
                };
                merge(&mut object, inner);
                into.insert(name.clone(), Value::Object(object));
            }
            value => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
