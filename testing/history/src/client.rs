//! A client: random operations on the few names of a round, each recorded with when it was sent, when
//! it was answered, and what.
//!
//! Some requests are cut off: some half way, which must do nothing, and is recorded as nothing; some
//! when they are whole, which may do anything. A client that waited long enough gives up, too.

use std::{io, net::SocketAddr, sync::atomic::Ordering, time::Duration};

use millrace_kill::{
    http::{Connection, PATIENCE, Request, Response},
    schedule::Chance,
};

use crate::{
    answers::{Meaning, meaning, request},
    history::{Append, Claim, Offset, Operation, Record},
    round::{Open, Round},
};

/// Producers that all clients of a round share.
const PRODUCERS: u32 = 3;

/// One client.
pub struct Client<'a> {
    round: &'a Round<'a>,
    number: u32,
    chance: Chance,
    connection: Option<(Connection, usize)>,
    records: Vec<Open>,
}

/// How a request is sent.
enum Care {
    /// Wait for its answer so long.
    Wait(Duration),
    /// Close when this many bytes of it are sent.
    Part(usize),
    /// Close when it is sent.
    Leave,
}

impl<'a> Client<'a> {
    /// Client `number` of a round.
    pub fn new(round: &'a Round<'a>, number: u32, chance: Chance) -> Self {
        Self {
            round,
            number,
            chance,
            connection: None,
            records: Vec::new(),
        }
    }

    /// Does `count` operations.
    pub fn work(mut self, count: u32) -> Vec<Open> {
        for _ in 0..count {
            let name = self.round.names[self.chance.index(self.round.names.len())].clone();
            let operation = self.invent(&name);
            if self.insist(&name, &operation).is_none() {
                break;
            }
            std::thread::sleep(self.chance.millis(0, 5));
        }
        self.records
    }

    /// Reads every name to its end. Nothing disturbs the server any more: it has to answer.
    pub fn look(mut self) -> Vec<Open> {
        for name in self.round.names.clone() {
            for operation in [Operation::Read(None), Operation::Head] {
                let answered = self.send(&name, &operation, &Care::Wait(PATIENCE));
                if answered != Some(true) {
                    self.round.broken(format!("{name}: {operation}: no answer"));
                }
            }
        }
        self.records
    }

    fn invent(&mut self, name: &str) -> Operation {
        match self.chance.between(0, 100) {
            0..10 => Operation::Create(self.chance.percent(50).then(|| self.round.item())),
            10..16 => self.fork(name),
            16..20 => Operation::Delete,
            20..28 => Operation::Head,
            28..44 => Operation::Read(None),
            44..50 => Operation::Read(self.offset(name)),
            _ => Operation::Append(self.append(name)),
        }
    }

    fn fork(&mut self, name: &str) -> Operation {
        let source = self.round.names[self.chance.index(self.round.names.len())].clone();
        match self.offset(&source) {
            Some(at) if source != name => Operation::Fork { source, at },
            _ => Operation::Head,
        }
    }

    /// One that somebody was told: mostly of this name, and mostly a late one.
    fn offset(&mut self, name: &str) -> Option<Offset> {
        let of_any = self.chance.percent(15);
        let heard = self.round.heard();
        let fitting = heard
            .offsets
            .iter()
            .rev()
            .filter(|(of, _)| of_any || of == name);
        let count = if self.chance.percent(60) { 5 } else { 100 };
        let some: Vec<Offset> = fitting.take(count).map(|(_, at)| *at).collect();
        (!some.is_empty()).then(|| some[self.chance.index(some.len())])
    }

    fn append(&mut self, name: &str) -> Append {
        let close = self.chance.percent(4);
        let bare = close && self.chance.percent(50);
        let producer = self.chance.percent(45).then(|| self.claim(name));
        let seq = self.chance.percent(30).then(|| {
            let mut heard = self.round.heard();
            heard.seq += 1;
            heard.seq.saturating_sub(self.chance.between(0, 4))
        });
        let expected = self.chance.percent(20).then(|| self.offset(name)).flatten();
        Append {
            item: (!bare).then(|| self.round.item()),
            seq,
            producer,
            expected,
            close,
        }
    }

    /// A producer's next request as far as anybody knows; sometimes the last once more, sometimes
    /// another epoch.
    fn claim(&mut self, name: &str) -> Claim {
        let id = u32::try_from(self.chance.index(PRODUCERS as usize)).expect("a few");
        let mut heard = self.round.heard();
        let next = heard.producers.entry((name.into(), id)).or_default();
        let (epoch, seq) = *next;
        match self.chance.between(0, 100) {
            0..15 => Claim {
                id,
                epoch,
                seq: seq.saturating_sub(1),
            },
            15..20 => {
                *next = (epoch + 1, 1);
                Claim {
                    id,
                    epoch: epoch + 1,
                    seq: 0,
                }
            }
            _ => {
                *next = (epoch, seq + 1);
                Claim { id, epoch, seq }
            }
        }
    }

    /// Sends an operation, and a producer's again until it is answered, as producers do. `None`: there
    /// is no server any more.
    fn insist(&mut self, name: &str, operation: &Operation) -> Option<()> {
        let again = matches!(
            operation,
            Operation::Append(Append {
                producer: Some(_),
                ..
            })
        );
        for _ in 0..3 {
            let care = self.care(name, operation);
            let answered = self.send(name, operation, &care)?;
            if answered || !again || self.chance.percent(20) {
                break;
            }
        }
        Some(())
    }

    fn care(&mut self, name: &str, operation: &Operation) -> Care {
        match self.chance.between(0, 100) {
            0..3 => {
                let len = request(name, operation).bytes().len();
                Care::Part(self.chance.index(len))
            }
            3..6 => Care::Leave,
            6..16 => Care::Wait(self.chance.millis(1, 20)),
            _ => Care::Wait(self.chance.millis(100, 400)),
        }
    }

    /// Sends an operation once; whether it was answered.
    fn send(&mut self, name: &str, operation: &Operation, care: &Care) -> Option<bool> {
        let request = request(name, operation);
        let (address, life) = self.round.place.server()?;
        let Some(mut connection) = self.connection(address, life) else {
            return Some(false);
        };
        let invoked = self.round.place.now();
        if let Care::Part(len) = care {
            self.round.shared.cut.fetch_add(1, Ordering::Relaxed);
            // What breaks off does nothing, and so does what does not even arrive.
            let _ = connection.write(&request.bytes()[..*len]);
            return Some(false);
        }
        let response = exchange(&mut connection, &request, care);
        let until = self.round.place.now();
        if response
            .as_ref()
            .is_ok_and(|response| response.head.header("connection") != Some("close"))
        {
            self.connection = Some((connection, life));
        }
        let answer = match self.understood(name, operation, response) {
            Meaning::NotDone => return Some(false),
            Meaning::Unknown => None,
            Meaning::Told(answer) => Some(answer),
        };
        let answered = answer.is_some();
        let record = Record {
            client: self.number,
            name: name.into(),
            operation: operation.clone(),
            invoked,
            until,
            answer,
        };
        self.round.heard().take(&record);
        self.records.push(Open { record, life });
        Some(answered)
    }

    fn understood(
        &self,
        name: &str,
        operation: &Operation,
        response: io::Result<Response>,
    ) -> Meaning {
        let wrong = match response.map(|response| meaning(operation, &response)) {
            Ok(Ok(meaning)) => return meaning,
            Ok(Err(what)) => what,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
            // Cut off, or too late.
            Err(_) => return Meaning::Unknown,
        };
        self.round.broken(format!("{name}: {operation}: {wrong}"));
        Meaning::Unknown
    }

    /// The one that is open, if it is to this life of the server; else another, if it takes one.
    fn connection(&mut self, address: SocketAddr, life: usize) -> Option<Connection> {
        match self.connection.take() {
            Some((connection, of)) if of == life => Some(connection),
            _ => Connection::overheard(address, &self.round.shared.watcher).ok(),
        }
    }
}

fn exchange(connection: &mut Connection, request: &Request, care: &Care) -> io::Result<Response> {
    connection.write(&request.bytes())?;
    let Care::Wait(patience) = care else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    if connection.wait(*patience)? {
        connection.answer(request)
    } else {
        Err(io::ErrorKind::TimedOut.into())
    }
}
