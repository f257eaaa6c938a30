//! What the answers to reads say, in all three modes, and to HEAD.

use super::{
    Told, Watcher,
    asking::{From, Verb},
    content::{Carried, Kind},
    events::Event,
    exchange::{Coming, Exchange, Place},
    life::Sight,
    token::Token,
};

/// Where a reader is before its first answer.
pub(super) fn place(from: From) -> Option<Place> {
    match from {
        From::Start => Some(Place::Start),
        From::At(token) => Some(Place::At(token)),
        From::Tail | From::Unclear => None,
    }
}

impl Watcher {
    /// The answer to a HEAD.
    pub(super) fn looked(&mut self, told: &Told<'_>) {
        let fields = &told.answer.fields;
        match (told.answer.status, told.tail()) {
            (404 | 410, _) => self.over(told),
            (200, Some(sight)) => {
                let unlimited =
                    fields.get("stream-ttl").is_none() && fields.get("stream-expires-at").is_none();
                if let Some(kind) = fields.kind() {
                    self.kinds.insert(sight.at.generation, kind);
                }
                if let Some(own) = self.see(told, None, sight)
                    && let Some(name) = self.names.get_mut(told.name)
                    && let Some(life) = name.life(own)
                {
                    life.unlimited |= unlimited;
                }
            }
            _ => {}
        }
    }

    /// The answer to a GET.
    pub(super) fn read(&mut self, told: &Told<'_>, from: From) {
        let fields = &told.answer.fields;
        if fields.get("content-type") == Some("application/x-ndjson") {
            // Messages, and not the bytes of the stream.
            return;
        }
        // Where a request names no offset, the answer does.
        let from = match (from, fields.token("stream-start-offset")) {
            (From::Unclear, Some(start)) => From::At(start),
            _ => from,
        };
        match told.answer.status {
            200 | 204 | 304 => {
                if let Some(at) = fields.token("stream-next-offset") {
                    self.page(told, from, at);
                }
            }
            404 => self.over(told),
            410 => match fields.token("stream-earliest-offset") {
                None => self.over(told),
                Some(_) if self.trimmed.contains(told.name) => {}
                Some(earliest) => self.refused(told, from, earliest),
            },
            _ => {}
        }
    }

    fn page(&mut self, told: &Told<'_>, from: From, at: Token) {
        let fields = &told.answer.fields;
        let status = told.answer.status;
        let sight = Sight {
            is_tail: fields.says("stream-up-to-date"),
            closed: fields.says("stream-closed"),
            ..told.sight(at)
        };
        let begin = match from {
            From::At(token) => Some(token),
            _ => None,
        };
        self.see(told, begin, sight);
        let Coming::Bytes(body) = &told.answer.body else {
            return;
        };
        if status == 304 {
            return;
        }
        let kind = fields.kind();
        if let (200, Some(kind)) = (status, kind) {
            self.kinds.insert(at.generation, kind);
        }
        let wire = if status == 204 {
            Some(Vec::new())
        } else {
            kind.unwrap_or(Kind::Binary).page(body)
        };
        let Some(wire) = wire else {
            return self.fault(told, ("a page of JSON is no array".into(), 0));
        };
        match place(from) {
            Some(Place::Start) => self.moved(told, at.at(0), at, &wire),
            Some(Place::At(token)) => self.moved(told, token, at, &wire),
            None if from == From::Tail => self.since_tail(told, at, &wire),
            None => {}
        }
    }

    /// A read from what was the tail: where that was follows from what it carried.
    fn since_tail(&mut self, told: &Told<'_>, at: Token, wire: &[u8]) {
        if let Some(since) = at.position.checked_sub(wire.len() as u64) {
            self.carried(told, at.at(since), at, wire);
        } else {
            let what = format!("{} bytes are said to end at {at}", wire.len());
            self.fault(told, (what, 0));
        }
    }

    /// A reader was moved: exactly past the bytes that it was given.
    pub(super) fn moved(&mut self, told: &Told<'_>, from: Token, to: Token, wire: &[u8]) {
        if self.moves(told, from, to, wire.len() as u64, wire.len() as u64) {
            self.carried(told, from, to, wire);
        }
    }

    fn moves(&mut self, told: &Told<'_>, from: Token, to: Token, least: u64, most: u64) -> bool {
        let by = to.position.checked_sub(from.position);
        if !by.is_some_and(|by| (least..=most).contains(&by)) {
            let what = format!("{least} bytes moved a reader from {from} to {to}");
            self.fault(told, (what, 0));
            return false;
        }
        if to < from || (by == Some(0) && from != to) {
            let what = format!("one position has two offsets, {from} and {to}");
            self.fault(told, (what, 0));
            return false;
        }
        true
    }

    /// An offset was refused because it is another stream's, or past the tail.
    fn refused(&mut self, told: &Told<'_>, from: From, earliest: Token) {
        let From::At(token) = from else {
            return;
        };
        if token.position < earliest.position {
            // What lay there was given up.
            return;
        }
        let sure = self.sure();
        let name = self.names.entry(told.name.to_owned()).or_default();
        let certain = name.certain(told.sent, sure);
        let shown = name.life(earliest.generation).map(|_| earliest.generation);
        let Some(life) = shown.or(certain).and_then(|own| name.life(own)) else {
            return;
        };
        if life.had(token, told.sent) {
            let what = format!("{token} is one of its offsets, and was refused");
            self.fault(told, (what, 0));
        }
    }

    /// A server-sent event passes.
    pub(super) fn event(&mut self, exchange: &mut Exchange, event: &Event) {
        let now = self.tick();
        let Some(answer) = exchange.answer.take() else {
            return;
        };
        self.counts.events += 1;
        if let (Some(name), Verb::Read(from)) = (&exchange.asking.name, &exchange.asking.verb) {
            let line = format!("{} event {} id {:?}", exchange.asking, event.kind, event.id);
            self.remember(exchange.number, line);
            let told = Told {
                name,
                sent: exchange.sent,
                now,
                by: exchange.number,
                answer: &answer,
            };
            let Coming::Events { place, .. } = &answer.body else {
                unreachable!("only an answer of events has any")
            };
            let moved = match event.kind.as_str() {
                "data" => self.data(&told, *from, *place, event),
                "control" => self.control(&told, *from, *place, event),
                _ => *place,
            };
            let mut answer = answer;
            if let Coming::Events { place, .. } = &mut answer.body {
                *place = moved;
            }
            exchange.answer = Some(answer);
        } else {
            exchange.answer = Some(answer);
        }
    }

    /// A data event: bytes, and the offset after them. Gives where the reader is now.
    fn data(
        &mut self,
        told: &Told<'_>,
        from: From,
        place: Option<Place>,
        event: &Event,
    ) -> Option<Place> {
        let at = event.id.as_deref().and_then(Token::parse)?;
        self.see(told, begin(from), told.sight(at));
        let base64 = told.answer.fields.get("stream-sse-data-encoding") == Some("base64");
        let carried = Carried::of(self.kind(at), base64, &event.data);
        let begin = match place {
            Some(Place::Start) => Some(at.at(0)),
            Some(Place::At(token)) => Some(token),
            None => None,
        };
        match (carried, begin) {
            (Some(Carried::Exactly(wire)), Some(begin)) => self.moved(told, begin, at, &wire),
            (Some(Carried::Exactly(wire)), None) if from == From::Tail => {
                self.since_tail(told, at, &wire);
            }
            (Some(Carried::About(least, most)), Some(begin)) => {
                self.moves(told, begin, at, least, most);
            }
            _ => {}
        }
        Some(Place::At(at))
    }

    /// A control event: where the reader is, which it knows, and what else is known there.
    fn control(
        &mut self,
        told: &Told<'_>,
        from: From,
        place: Option<Place>,
        event: &Event,
    ) -> Option<Place> {
        let fields: serde_json::Value = serde_json::from_str(&event.data).ok()?;
        let at = fields["streamNextOffset"].as_str().and_then(Token::parse)?;
        let sight = Sight {
            is_tail: fields["upToDate"] == true,
            closed: fields["streamClosed"] == true,
            ..told.sight(at)
        };
        self.see(told, begin(from), sight);
        match place {
            Some(Place::Start) => self.moved(told, at.at(0), at, b""),
            Some(Place::At(token)) => self.moved(told, token, at, b""),
            None => {}
        }
        Some(Place::At(at))
    }
}

fn begin(from: From) -> Option<Token> {
    match from {
        From::At(token) => Some(token),
        _ => None,
    }
}
