//! Which addresses a webhook may be connected to: those of the public internet.
//!
//! Refused are private, shared, link-local and loopback addresses, with them the metadata services of
//! clouds; what is reserved, for documentation or benchmarks, or reaches many; and the forms in which
//! IPv6 carries an address of IPv4 are judged by that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match carried(address) {
            Some(carried) => is_public_v4(carried),
            None => is_public_v6(address),
        },
    }
}

/// Whether an address is this machine's own.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(carried) => carried.is_loopback(),
            None => address.is_loopback(),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // A row each, for its own reason.
    let is_own = matches!(a, 0 | 10 | 127) || (a, b) == (192, 168) || a == 172 && b & 0xf0 == 16;
    // By the clients of a provider; some clouds have services here.
    let is_shared = a == 100 && b & 0xc0 == 64;
    // And with it 169.254.169.254.
    let is_link_local = (a, b) == (169, 254);
    // Protocol assignments, documentation, relays of 6to4, benchmarks.
    let is_assigned = (a, b) == (192, 0) && matches!(c, 0 | 2)
        || matches!((a, b, c), (192, 88, 99) | (198, 18 | 19, _))
        || matches!((a, b, c), (198, 51, 100) | (203, 0, 113));
    let is_multicast_or_reserved = a >= 224;
    let refused = is_own || is_shared || is_link_local || is_assigned || is_multicast_or_reserved;
    !refused
}

/// The address of IPv4 that one of IPv6 stands for.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let bits = u32::from(high) << 16 | u32::from(low);
        Some(Ipv4Addr::from_bits(bits))
    };
    match address.segments() {
        // `::` and `::1` are no addresses of IPv4.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped and compatible; translated; NAT64; 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

/// Global unicast is 2000::/3, and not all of that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let is_unicast = s[0] & 0xe000 == 0x2000;
    // Teredo, benchmarks, ORCHID, and what else is assigned to protocols: 2001::/23.
    let is_assigned = s[0] == 0x2001 && s[1] < 0x200;
    let is_documentation = s[0] == 0x2001 && s[1] == 0xdb8 || s[0] == 0x3fff && s[1] < 0x1000;
    is_unicast && !is_assigned && !is_documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_public_are_refused_in_every_form() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "169.254.169.254",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            let address: Ipv4Addr = text.parse().unwrap();
            assert!(!is_public(address.into()), "{text}");
            let [a, b, c, d] = address.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for form in [
                address.to_ipv6_mapped(),
                address.to_ipv6_compatible(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                assert!(!is_public(form.into()), "{text} as {form}");
            }
        }
        for text in [
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2001:10::1",
            "2001:2::1",
            "3fff::1",
            "100::1",
            "64:ff9b:1::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_not_refused() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860::8888",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2400::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn this_machine_has_two_forms() {
        for (text, own) in [
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("::127.0.0.1", false),
        ] {
            assert_eq!(is_loopback(text.parse().unwrap()), own, "{text}");
        }
    }
}
