//! The network between the clients and the server: `link.rs` (one connection), `conn.rs` (its ends),
//! and here who reaches whom.
//!
//! Faults: connections are slow, cut messages to pieces and break at any byte; a client is parted from
//! the server for a while, in which nothing arrives; a server that dies leaves its connections broken or
//! silent; one that is out of descriptors cannot accept. Messages are not duplicated or reordered within
//! a connection, which TCP does not do; a client that sends again on another connection makes both.
//!
//! BOUND: whatever a client sent arrives within [`UNDER_WAY_MAX`], or never.

mod conn;
mod link;

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use millrace_env::{Listener, sleep};
use millrace_kill::schedule::Chance;
use tokio::{sync::Notify, time::Instant};

pub use self::conn::Conn;
use self::link::{Link, Manners};
use crate::{mishap::Mishap, power::Power, trace::Trace};

/// The longest time that a client is parted from the server.
const PARTED_MAX: Duration = Duration::from_millis(1500);
/// The longest time from a send to its arrival: parted, then slow.
pub const UNDER_WAY_MAX: Duration = Duration::from_millis(1800);

const EMFILE: i32 = 24;

/// The network; cheap to clone.
#[derive(Clone, Debug)]
pub struct Net(Rc<State>);

#[derive(Debug)]
struct State {
    trace: Trace,
    chance: RefCell<Chance>,
    /// How many of 100 connections are bad.
    rough: Cell<u64>,
    /// How many of 100 connections the server cannot accept at first.
    out_of_descriptors: Cell<u64>,
    connections: Cell<u64>,
    /// Who is parted from the server, until when.
    parted: RefCell<BTreeMap<u32, Instant>>,
    /// Where the server of now listens.
    ports: RefCell<Vec<Rc<Port>>>,
    /// The connections of the server of now.
    links: RefCell<Vec<Rc<RefCell<Link>>>>,
}

impl Net {
    /// A network without a server.
    pub fn new(trace: Trace, chance: Chance) -> Self {
        Self(Rc::new(State {
            trace,
            chance: RefCell::new(chance),
            rough: Cell::new(0),
            out_of_descriptors: Cell::new(0),
            connections: Cell::new(0),
            parted: RefCell::default(),
            ports: RefCell::default(),
            links: RefCell::default(),
        }))
    }

    /// From here on this many of 100 connections are bad.
    pub fn set_rough(&self, percent: u64) {
        self.0.rough.set(percent);
    }

    /// From here on this many of 100 attempts to accept fail.
    pub fn set_out_of_descriptors(&self, percent: u64) {
        self.0.out_of_descriptors.set(percent);
    }

    /// Nothing passes between a client and the server for a while.
    pub fn part(&self, who: u32, time: Duration) {
        let until = Instant::now() + time.min(PARTED_MAX);
        self.0.trace.note(format_args!("net {who} is parted"));
        self.0.trace.count(Mishap::Parted);
        self.0.parted.borrow_mut().insert(who, until);
    }

    /// A server begins to listen: one port for each of its cores.
    pub fn listen(&self, cores: u16, power: &Power) -> Vec<SimListener> {
        let port = |_| {
            Rc::new(Port {
                power: power.clone(),
                waiting: RefCell::default(),
                came: Notify::new(),
            })
        };
        let ports: Vec<Rc<Port>> = (0..cores).map(port).collect();
        let listener = |port: &Rc<Port>| SimListener {
            net: self.clone(),
            port: Rc::clone(port),
        };
        let listeners = ports.iter().map(listener).collect();
        *self.0.ports.borrow_mut() = ports;
        listeners
    }

    /// The server is gone. Its connections break, or stay silent for ever.
    pub fn unplug(&self) {
        self.0.ports.borrow_mut().clear();
        for link in self.0.links.take() {
            let mishap = if !self.chance().percent(70) {
                link.borrow_mut().fall_silent();
                Mishap::LeftSilent
            } else if link.borrow_mut().break_now() {
                Mishap::MessageLost
            } else {
                continue;
            };
            self.0.trace.count(mishap);
        }
    }

    /// Connects client `who`.
    pub async fn connect(&self, who: u32) -> io::Result<Conn> {
        let held_until = self.held_until(who);
        let now = Instant::now();
        if held_until > now {
            sleep(held_until - now).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let way = self.chance().millis(0, 4);
        sleep(way).await;
        let number = self.0.connections.get() + 1;
        self.0.connections.set(number);
        let ports = self.0.ports.borrow();
        if ports.is_empty() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (port, manners) = {
            let mut chance = self.chance();
            let port = &ports[chance.index(ports.len())];
            (port, Manners::draw(&mut chance, self.0.rough.get()))
        };
        let trace = &self.0.trace;
        trace.note(format_args!("net {number} of {who}: {manners:?}"));
        let link = Rc::new(RefCell::new(Link::new(manners)));
        self.0.links.borrow_mut().push(Rc::clone(&link));
        let (client, server) = Conn::pair(self, &link, (number, who), port.power.clone());
        port.waiting.borrow_mut().push_back((server, who));
        port.came.notify_one();
        Ok(client)
    }

    fn trace(&self) -> &Trace {
        &self.0.trace
    }

    fn chance(&self) -> RefMut<'_, Chance> {
        self.0.chance.borrow_mut()
    }

    /// Nothing of `who` arrives before then.
    fn held_until(&self, who: u32) -> Instant {
        let until = self.0.parted.borrow().get(&who).copied();
        until.unwrap_or_else(Instant::now)
    }
}

/// Where connections wait to be accepted.
#[derive(Debug)]
struct Port {
    power: Power,
    waiting: RefCell<VecDeque<(Conn, u32)>>,
    came: Notify,
}

/// A core's end of the network.
#[derive(Debug)]
pub struct SimListener {
    net: Net,
    port: Rc<Port>,
}

impl Listener for SimListener {
    type Conn = Conn;

    async fn accept(&self) -> io::Result<(Conn, SocketAddr)> {
        loop {
            if self.port.waiting.borrow().is_empty() {
                self.port.came.notified().await;
                continue;
            }
            let fails = self.net.0.out_of_descriptors.get();
            if self.net.chance().percent(fails) {
                self.net.0.trace.count(Mishap::NotAccepted);
                return Err(io::Error::from_raw_os_error(EMFILE));
            }
            if let Some((conn, who)) = self.port.waiting.borrow_mut().pop_front() {
                return Ok((conn, SocketAddr::from((who.to_be_bytes(), 1))));
            }
        }
    }
}

#[cfg(test)]
mod tests;
