//! What clients ask for, and its effect on the model.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use millrace_core::{
    Append, Body, ContentType, Create, CreateSpec, Lifetime, Payload, StreamPos, stream::Outcome,
};

use super::{
    super::{Model, claim, named, options},
    Builder,
};
use crate::{
    crash::machine::{self, Machine},
    shard::Command,
};

const JSON: &str = "application/json";

impl Builder {
    pub(super) fn open(&mut self, shards: u16) {
        self.machine = None;
        self.disk = self.disk.kill();
        let opened = Machine::open(&self.disk, &self.clock, options(shards), 1);
        self.machine = Some(opened.expect("it opens"));
    }

    pub(super) fn at(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("it is open")
    }

    pub(super) fn flush(&mut self) {
        self.clock.advance(Duration::from_secs(1));
        self.at().flush().expect("it flushes");
    }

    pub(super) fn create(&mut self, name: &str, json: bool, lifetime: Lifetime) {
        let spec = CreateSpec {
            content_type: json.then(|| ContentType::new(JSON).expect("a type")),
            lifetime,
            closed: false,
            fork: None,
        };
        let create = Create {
            name: named(name),
            spec,
            settings: Vec::new(),
            body: Body::Empty,
            source: None,
        };
        self.done(Command::Create(Box::new(create)));
        let model = Model {
            json,
            ..Model::default()
        };
        self.known(name, model);
    }

    pub(super) fn fork(&mut self, name: &str, source: &str) {
        let model = self.models[source].clone();
        let at = StreamPos(model.bytes.len() as u64);
        let resolved = self.at().fork_source(&named(source), at);
        self.done(machine::fork(&named(name), &named(source), resolved));
        let fork = Model {
            producers: BTreeMap::new(),
            ..model
        };
        self.known(name, fork);
    }

    fn known(&mut self, name: &str, model: Model) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
        self.models.insert(name.to_owned(), model);
    }

    /// One message of about `len` bytes.
    pub(super) fn append(&mut self, name: &str, len: u64) {
        self.post(name, &[len], None, false);
    }

    pub(super) fn messages(&mut self, name: &str, count: usize) {
        self.post(name, &vec![12; count], None, false);
    }

    pub(super) fn close(&mut self, name: &str) {
        self.post(name, &[], None, true);
    }

    pub(super) fn post(
        &mut self,
        name: &str,
        lens: &[u64],
        producer: Option<(String, u64)>,
        close: bool,
    ) {
        let json = self.models[name].json;
        let mut bytes = Vec::new();
        let mut lengths = Vec::new();
        for len in lens {
            let message = self.message(json, *len);
            lengths.push(u32::try_from(message.len()).expect("short"));
            bytes.extend(message);
        }
        let payload = Payload::from_lengths(Bytes::from(bytes.clone()), &lengths);
        let content_type = if json {
            ContentType::new(JSON)
        } else {
            Some(ContentType::default())
        };
        let append = Append {
            body: if lens.is_empty() {
                Body::Empty
            } else {
                Body::Framed(payload)
            },
            content_type,
            producer: producer.as_ref().map(|(id, seq)| claim(id, *seq)),
            close,
            ..Append::default()
        };
        let name = named(name);
        self.done(Command::Append {
            name: name.clone(),
            append,
        });
        let model = self.models.get_mut(name.as_str()).expect("is there");
        model.bytes.extend(bytes);
        model.closed |= close;
        model.producers.extend(producer);
    }

    /// A message like no other; JSON with the comma that follows it.
    fn message(&mut self, json: bool, len: u64) -> Vec<u8> {
        self.bodies += 1;
        let filler = usize::try_from(len).expect("short");
        let text = format!("{:05}-", self.bodies).repeat(filler / 6 + 1);
        let text = &text[..filler.max(6)];
        let message = if json {
            format!("\"{text}\",")
        } else {
            text.to_owned()
        };
        message.into_bytes()
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.done(Command::Delete { name: named(name) });
        let soft_deleted = self.at().state(&named(name)).is_some();
        if soft_deleted {
            self.models.get_mut(name).expect("is there").soft_deleted = true;
        } else {
            self.models.remove(name);
        }
    }

    fn done(&mut self, command: Command) {
        let what = format!("{command:?}");
        let answer = self.at().submit(command);
        let done = matches!(
            answer,
            Ok(Outcome::Created(_) | Outcome::Appended { .. } | Outcome::Deleted)
        );
        assert!(done, "{what}: {answer:?}");
    }
}
