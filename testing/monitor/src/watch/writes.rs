//! What the answers to creations, appends and deletions say.

use super::{
    Told, Watcher,
    asking::{Append, Create, Verb},
    content::Kind,
    exchange::{Body, Exchange},
    life::Sight,
    token::Token,
};

impl Watcher {
    /// An append is on its way: from here on it may have been carried out.
    pub(super) fn appending(&mut self, exchange: &Exchange) {
        let (Some(name), Verb::Append(append)) = (&exchange.asking.name, &exchange.asking.verb)
        else {
            return;
        };
        let bytes = match (&exchange.request, append.kind) {
            _ if append.condenses => u64::from(u32::MAX),
            (Body::Whole(body), Some(kind)) => match kind.sent(body) {
                Some(wire) => wire.len() as u64,
                // It will be refused, or is more than was understood.
                None => u64::from(u32::MAX),
            },
            (Body::Whole(body), None) if body.is_empty() => 0,
            _ => u64::from(u32::MAX),
        };
        if bytes > 0 {
            let name = self.names.entry(name.clone()).or_default();
            name.appending(exchange.number, bytes, append.producer.clone());
        }
    }

    /// The answer to a PUT.
    pub(super) fn created(&mut self, told: &Told<'_>, create: &Create, body: &Body) {
        match told.answer.status {
            200 => {
                if let Some(sight) = told.tail() {
                    self.see(told, None, sight);
                }
            }
            201 => {
                self.over(told);
                if let Some(sight) = told.tail() {
                    self.begins(told, create, body, sight);
                }
            }
            _ => {}
        }
    }

    /// A stream is new.
    fn begins(&mut self, told: &Told<'_>, create: &Create, body: &Body, sight: Sight) {
        let at = sight.at;
        let kind = told.answer.fields.kind();
        let wire = match (body, kind) {
            (Body::Whole(body), Some(kind)) => kind.sent(body),
            (Body::Whole(body), None) if body.is_empty() => Some(Vec::new()),
            _ => None,
        };
        if let Some(kind) = kind {
            self.kinds.insert(at.generation, kind);
        }
        let Some(wire) = wire else {
            return;
        };
        let len = wire.len() as u64;
        let Some(since) = at.position.checked_sub(len) else {
            let what = format!("{len} bytes were its first, and it reaches only {at}");
            return self.fault(told, (what, 0));
        };
        match create.fork {
            None if since > 0 => {
                let what = format!("it is new, and {since} bytes are before its first");
                self.fault(told, (what, 0));
            }
            None => self.carried(told, at.at(0), at, &wire),
            Some(fork) => {
                let anchor = fork.at.filter(|_| fork.exactly);
                if let Some(anchor) = anchor {
                    // Its start is its own, whoever's it is a copy of.
                    let anchor = match anchor.position {
                        0 => at.at(0),
                        _ => anchor,
                    };
                    self.moved(told, anchor, at, &wire);
                } else {
                    self.carried(told, at.at(since), at, &wire);
                }
                if let Some(anchor) = fork.at {
                    let shared = self.prefixes.shares(at.generation, anchor, told.by);
                    self.joined(told, &shared);
                }
            }
        }
        // A fork without bytes of its own shows no generation of its own.
        if create.fork.is_none() || len > 0 || at.position == 0 {
            self.is_born(told, create, sight, since);
        }
    }

    fn is_born(&mut self, told: &Told<'_>, create: &Create, sight: Sight, since: u64) {
        let own = sight.at.generation;
        let name = self.names.entry(told.name.to_owned()).or_default();
        if name.life(own).is_none() {
            name.begin(own, told.now);
        }
        let life = name.life(own).expect("it has just begun");
        life.is_born(told.sent, since);
        life.unlimited |= create.unlimited && create.fork.is_none();
        let taken = life.takes(since, sight.at.position, told.sent);
        if let Err(fault) = taken {
            self.fault(told, fault);
        }
        self.see(told, None, sight);
    }

    /// The answer to a POST.
    pub(super) fn appended(&mut self, told: &Told<'_>, append: &Append, body: &Body) {
        let status = told.answer.status;
        let is_known = status < 500 && status != 408;
        let name = self.names.entry(told.name.to_owned()).or_default();
        if is_known {
            name.settled(told.by);
        }
        match (status, told.tail()) {
            (404 | 410, _) => self.over(told),
            (200 | 204, Some(sight)) => {
                let says_nothing = matches!(body, Body::Whole(body) if body.is_empty());
                let brought = append.condenses || !says_nothing;
                let is_repeated = append.producer.is_some() && status == 204;
                if brought && !is_repeated {
                    self.counts.appends += 1;
                    self.acknowledged(told, append, body, sight);
                } else {
                    self.see(told, None, sight);
                }
            }
            (409, Some(sight)) if sight.closed => {
                self.see(told, None, sight);
            }
            _ => {}
        }
    }

    /// An append is in the stream, and ends where its answer says.
    fn acknowledged(&mut self, told: &Told<'_>, append: &Append, body: &Body, sight: Sight) {
        let at = sight.at;
        let sure = self.sure();
        let name = self.names.entry(told.name.to_owned()).or_default();
        if name.life(at.generation).is_none() {
            match name.certain(told.sent, sure) {
                Some(known) => name.same(known, at.generation),
                None => {
                    name.begin(at.generation, told.now);
                }
            }
        }
        // Without a kind it is not known what it brought.
        let wire = match (body, append.kind) {
            (Body::Whole(body), Some(kind)) => kind.sent(body),
            _ => None,
        };
        let Some(life) = name.life(at.generation) else {
            return;
        };
        let mut faults = Vec::new();
        if let Some(claim) = &append.producer {
            faults.extend(life.does(claim).err());
        }
        match wire
            .as_ref()
            .map(|wire| at.position.checked_sub(wire.len() as u64))
        {
            None => life.loses_count(),
            Some(Some(from)) => faults.extend(life.takes(from, at.position, told.sent).err()),
            Some(None) => {
                faults.push((format!("an append ends at {at}, before its first byte"), 0));
            }
        }
        for fault in faults {
            self.fault(told, fault);
        }
        if let Some(kind) = append.kind {
            self.kinds.insert(at.generation, kind);
        }
        if let Some(wire) = wire
            && let Some(from) = at.position.checked_sub(wire.len() as u64)
        {
            self.carried(told, at.at(from), at, &wire);
        }
        self.see(told, None, sight);
    }

    /// The answer to a DELETE.
    pub(super) fn deleted(&mut self, told: &Told<'_>) {
        let sent = told.answer.status;
        let name = self.names.entry(told.name.to_owned()).or_default();
        match sent {
            // It was carried out, or not: it may still be what ends a life.
            500.. => return,
            _ => name.deleted(told.now),
        }
        match sent {
            200..300 => name.is_gone(told.sent, told.now, told.by),
            404 | 410 => self.over(told),
            _ => {}
        }
    }

    /// There was nothing at a moment between the request and its answer, though nobody may have asked
    /// for that.
    pub(super) fn over(&mut self, told: &Told<'_>) {
        let sure = self.sure();
        let name = self.names.entry(told.name.to_owned()).or_default();
        let lost = name.certain(told.sent, sure);
        name.is_gone(told.sent, told.now, told.by);
        if lost.is_some() {
            let what = "it is gone, and nobody deleted it".to_owned();
            self.fault(told, (what, 0));
        }
    }

    /// How the bytes of a stream with this offset are framed.
    pub(super) fn kind(&self, at: Token) -> Option<Kind> {
        self.kinds.get(&at.generation).copied()
    }
}
