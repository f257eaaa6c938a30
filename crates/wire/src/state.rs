//! Messages of the State Protocol (`docs/extensions.md`), and folding them into a snapshot: the latest value
//! of each key.
//!
//! A change message names a type, a key and an operation; an insert, an update and an upsert store the
//! whole value, a delete takes the key away. A control message names no key: `reset` begins anew, and the
//! marks of a snapshot are hints.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use millrace_core::fold::Fold;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

/// The latest value of each key.
#[derive(Debug, Default)]
pub struct Latest {
    /// By type and key: when the key came to be, and the message that sets it.
    values: BTreeMap<(String, String), (u64, Bytes)>,
    bytes: u64,
    taken: u64,
}

impl Latest {
    /// Nothing yet.
    pub fn fold() -> Box<dyn Fold> {
        Box::new(Self::default())
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    headers: Map<String, Value>,
}

#[derive(Serialize)]
struct Inserted<'a> {
    r#type: &'a str,
    key: &'a str,
    value: &'a RawValue,
    headers: &'a Map<String, Value>,
}

const SNAPSHOT_START: &[u8] = br#"{"headers":{"control":"snapshot-start"}}"#;
const SNAPSHOT_END: &[u8] = br#"{"headers":{"control":"snapshot-end"}}"#;

impl Fold for Latest {
    fn take(&mut self, message: &[u8]) -> Result<(), String> {
        let message: Message<'_> = serde_json::from_slice(message)
            .map_err(|error| format!("it is no message of the State Protocol: {error}"))?;
        self.taken += 1;
        let named = |name: &str| message.headers.get(name).and_then(Value::as_str);
        match (named("control"), named("operation")) {
            (Some(control), None) => self.control(control),
            (None, Some(operation)) => self.change(&message, operation),
            _ => Err("its headers need either `operation` or `control`".into()),
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes + (SNAPSHOT_START.len() + SNAPSHOT_END.len()) as u64
    }

    fn keys(&self) -> u64 {
        self.values.len() as u64
    }

    fn messages(&self) -> Vec<Bytes> {
        let mut values: Vec<_> = self.values.values().collect();
        values.sort_unstable_by_key(|(since, _)| *since);
        let values = values.into_iter().map(|(_, message)| message.clone());
        let start = [Bytes::from_static(SNAPSHOT_START)];
        let end = [Bytes::from_static(SNAPSHOT_END)];
        start.into_iter().chain(values).chain(end).collect()
    }
}

impl Latest {
    fn control(&mut self, control: &str) -> Result<(), String> {
        match control {
            "snapshot-start" | "snapshot-end" => Ok(()),
            "reset" => {
                self.values.clear();
                self.bytes = 0;
                Ok(())
            }
            other => Err(format!("`control` is `{other}`")),
        }
    }

    fn change(&mut self, message: &Message<'_>, operation: &str) -> Result<(), String> {
        let (Some(kind), Some(key)) = (&message.r#type, &message.key) else {
            return Err("a change needs `type` and `key`".into());
        };
        let place = (kind.to_string(), key.to_string());
        match (operation, message.value) {
            ("insert" | "update" | "upsert", Some(value)) => {
                let inserted = inserted(&place, value, &message.headers);
                let since = self.forget(&place).unwrap_or(self.taken);
                self.bytes += inserted.len() as u64;
                self.values.insert(place, (since, inserted));
                Ok(())
            }
            ("delete", _) => {
                self.forget(&place);
                Ok(())
            }
            ("insert" | "update" | "upsert", None) => Err(format!("an {operation} needs `value`")),
            (other, _) => Err(format!("`operation` is `{other}`")),
        }
    }

    /// Takes a key's value away, and says since when it had one.
    fn forget(&mut self, place: &(String, String)) -> Option<u64> {
        let (since, message) = self.values.remove(place)?;
        self.bytes -= message.len() as u64;
        Some(since)
    }
}

/// An insert, whatever set the value: to a snapshot's readers the key is new. What was before is dropped.
fn inserted(
    (kind, key): &(String, String),
    value: &RawValue,
    headers: &Map<String, Value>,
) -> Bytes {
    let mut headers = headers.clone();
    headers.insert("operation".into(), "insert".into());
    let message = Inserted {
        r#type: kind,
        key,
        value,
        headers: &headers,
    };
    let message = serde_json::to_vec(&message).expect("what was JSON is JSON");
    message.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(messages: &[&str]) -> Result<Vec<String>, String> {
        let mut latest = Latest::default();
        for message in messages {
            latest.take(message.as_bytes())?;
        }
        let told = latest.messages();
        let whole: usize = told.iter().map(Bytes::len).sum();
        assert_eq!(latest.bytes(), whole as u64, "the bytes are counted");
        assert_eq!(latest.keys() + 2, told.len() as u64);
        let text = |message: Bytes| String::from_utf8(message.to_vec()).unwrap();
        let mut told: Vec<String> = told.into_iter().map(text).collect();
        assert_eq!(told.remove(0).as_bytes(), SNAPSHOT_START);
        assert_eq!(told.pop().unwrap().as_bytes(), SNAPSHOT_END);
        Ok(told)
    }

    #[test]
    fn of_each_key_the_latest_value_stays_in_the_order_of_their_beginnings() {
        let told = folded(&[
            r#"{"type":"a","key":"1","value":{"n":1},"headers":{"operation":"insert"}}"#,
            r#"{"type":"a","key":"2","value":2,"headers":{"operation":"upsert","txid":"t"}}"#,
            r#"{"type":"b","key":"1","value":3,"headers":{"operation":"insert"}}"#,
            r#"{"type":"a","key":"1","value":{ "n" : 1.50 },"old_value":{"n":1},"headers":{"operation":"update","timestamp":"x"}}"#,
            r#"{"headers":{"control":"snapshot-start"}}"#,
            r#"{"type":"b","key":"1","headers":{"operation":"delete"}}"#,
            r#"{"type":"b","key":"none","value":null,"headers":{"operation":"delete"}}"#,
        ]);
        let want = [
            r#"{"type":"a","key":"1","value":{ "n" : 1.50 },"headers":{"operation":"insert","timestamp":"x"}}"#,
            r#"{"type":"a","key":"2","value":2,"headers":{"operation":"insert","txid":"t"}}"#,
        ];
        assert_eq!(told.unwrap(), want);
    }

    #[test]
    fn a_reset_begins_anew_and_a_fold_of_a_fold_is_the_same() {
        let told = folded(&[
            r#"{"type":"a","key":"1","value":1,"headers":{"operation":"insert"}}"#,
            r#"{"headers":{"control":"reset","offset":"-1"}}"#,
            r#"{"type":"a","key":"2","value":2,"headers":{"operation":"insert"}}"#,
        ])
        .unwrap();
        assert_eq!(told.len(), 1);
        let again: Vec<&str> = told.iter().map(String::as_str).collect();
        assert_eq!(folded(&again).unwrap(), told);
    }

    #[test]
    fn what_is_no_state_is_not_folded() {
        for message in [
            "1",
            "{}",
            r#"{"headers":{}}"#,
            r#"{"type":"a","key":"1","value":1,"headers":{"operation":"merge"}}"#,
            r#"{"type":"a","key":"1","headers":{"operation":"insert"}}"#,
            r#"{"type":"a","value":1,"headers":{"operation":"insert"}}"#,
            r#"{"key":"1","value":1,"headers":{"operation":"insert"}}"#,
            r#"{"type":"a","key":1,"value":1,"headers":{"operation":"insert"}}"#,
            r#"{"headers":{"control":"start"}}"#,
            r#"{"type":"a","key":"1","value":1,"headers":{"operation":"insert","control":"reset"}}"#,
        ] {
            assert!(folded(&[message]).is_err(), "{message}");
        }
    }
}
