//! How many connections each address has, where that is limited.
//!
//! A connection beyond the limit is closed at once and without an answer: to answer, its request would
//! have to be read first, and below TLS its handshake done, which is the work that the limit is there
//! to save. It is counted and logged.
//!
//! An IPv6 client usually has 2^64 addresses, so those of one /64 count as one; IPv4 addresses count as
//! the same written either way. Whoever comes through a proxy has the proxy's address: behind one,
//! leave the limit off and let the proxy count.
//!
//! BOUND: one entry an address with open connections.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Connections by address; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    max: usize,
    /// Written by the front when a connection comes and by its core when it goes.
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place among those of its address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// At most `max` connections for each.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            open: Arc::default(),
        }
    }

    /// A place for one more connection from `address`; `None` when it has its number.
    pub(crate) fn place(&self, address: IpAddr) -> Option<Place> {
        let address = counted_as(address);
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        let addresses = self.clone();
        Some(Place { addresses, address })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing that holds it can panic half way through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.open();
        let Some(count) = open.get_mut(&self.address) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.address);
        }
    }
}

/// What stands for `address` when connections are counted.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_number_and_gets_it_back() {
        let addresses = Addresses::new(2);
        let own: IpAddr = "192.0.2.1".parse().unwrap();
        let first = addresses.place(own).unwrap();
        let _second = addresses.place(own).unwrap();
        assert!(addresses.place(own).is_none());
        assert!(addresses.place("192.0.2.2".parse().unwrap()).is_some());
        drop(first);
        assert!(addresses.place(own).is_some());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let addresses = Addresses::new(1);
        drop(addresses.place("192.0.2.1".parse().unwrap()));
        assert!(addresses.open().is_empty());
    }

    #[test]
    fn one_host_counts_as_one() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:0:0:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let addresses = Addresses::new(1);
            let _first = addresses.place(one.parse().unwrap()).unwrap();
            let second = addresses.place(other.parse().unwrap());
            assert_eq!(second.is_none(), same, "{one} {other}");
        }
    }
}
