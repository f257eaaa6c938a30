//! How often clients were refused for what they cost or were not allowed, by reason.
//!
//! One atomic counter a reason, shared by all threads; `/metrics` prints them as they are. Each is
//! also a line of the log at level debug with the client's address, where one is known.
//!
//! Not here: refusals of the protocol (409, 410, …), which are answers like others.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use millrace_wire::Code;

macro_rules! reasons {
    ($($name:ident $label:literal $what:literal;)*) => {
        /// Why a client was refused, or let go.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refused {
            $(#[doc = $what] $name,)*
        }

        impl Refused {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name, as metrics and logs say it; stable.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What it counts.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

reasons! {
    ConnectionLimit "connection_limit" "Connections refused, because `--connections-max` were open";
    AddressLimit "address_limit" "Connections closed, because their address had `--connections-per-address-max`";
    HeaderTimeout "header_timeout" "Connections closed, because a request's headers did not come in time";
    HeaderTooLarge "header_too_large" "Requests refused, because their headers were too large or too many";
    Idle "idle" "Connections closed, because they carried no request for too long";
    BodyTimeout "body_timeout" "Requests refused, because their body did not come in time";
    BodyTooLarge "body_too_large" "Requests refused, because their body was too large";
    SlowReader "slow_reader" "Connections closed, because the client took nothing of an answer";
    NotAccepted "not_accepted" "Connections that the system gave no descriptor for";
    Drained "drained" "Connections cut, because they were open when the server had to stop";
    StalledStream "stalled_stream" "HTTP/2 streams reset, because the client took nothing of an answer";
    Overloaded "overloaded" "Requests refused, because memory for bodies was used up";
    Unauthorized "unauthorized" "Requests refused, because they showed no key, or a wrong one";
    Forbidden "forbidden" "Requests refused, because what they showed does not allow it";
}

/// The counters.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Refused::ALL.len()]);

impl Refusals {
    /// How often so far.
    pub fn count(&self, why: Refused) -> u64 {
        self.0[why as usize].load(Ordering::Relaxed)
    }

    /// Counts one.
    pub(crate) fn add(&self, why: Refused) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that is one of them.
    pub(crate) fn add_answer(&self, code: Code) {
        let why = match code {
            Code::Unauthorized => Refused::Unauthorized,
            Code::Forbidden => Refused::Forbidden,
            Code::BodyTimeout => Refused::BodyTimeout,
            Code::BodyTooLarge => Refused::BodyTooLarge,
            Code::Overloaded => Refused::Overloaded,
            _ => return,
        };
        self.add(why);
    }
}

/// The client at the other end of a connection, for who refuses it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: SocketAddr,
    refusals: Arc<Refusals>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, refusals: Arc<Refusals>) -> Self {
        Self { address, refusals }
    }

    /// Counts it and says so.
    pub(crate) fn refused(&self, why: Refused) {
        self.refusals.add(why);
        let (peer, reason) = (self.address, why.label());
        tracing::debug!(%peer, reason, "a client was refused");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let refusals = Refusals::default();
        for (number, why) in Refused::ALL.iter().enumerate() {
            for _ in 0..=number {
                refusals.add(*why);
            }
        }
        for (number, why) in Refused::ALL.iter().enumerate() {
            assert_eq!(refusals.count(*why), number as u64 + 1, "{}", why.label());
        }
        let labels: HashSet<_> = Refused::ALL.iter().map(|why| why.label()).collect();
        assert_eq!(labels.len(), Refused::ALL.len());
    }

    #[test]
    fn answers_of_the_protocol_are_no_refusals() {
        let refusals = Refusals::default();
        for code in Code::ALL {
            refusals.add_answer(*code);
        }
        let all: u64 = Refused::ALL.iter().map(|why| refusals.count(*why)).sum();
        assert_eq!(all, 5);
    }
}
