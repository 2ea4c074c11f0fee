//! How far an IP address reaches. Embedded IPv4 addresses count as what they embed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Public,
    /// Loopback, private networks, carrier NAT: only where somebody allows it.
    Private,
    /// Never anybody's API, with the word for it.
    Never(&'static str),
}

pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // Cloud metadata services outside of link-local.
        (100, 100, 100) if address == Ipv4Addr::new(100, 100, 100, 200) => Reach::Never("metadata"),
        (192, 0, 0) if address == Ipv4Addr::new(192, 0, 0, 192) => Reach::Never("metadata"),
        (169, 254, _) => Reach::Never("link-local or metadata"),
        (0, _, _) => Reach::Never("unspecified"),
        (224..=239, _, _) => Reach::Never("multicast"),
        (240..=255, _, _) => Reach::Never("reserved"),
        (10 | 127, _, _)
        | (172, 16..=31, _)
        | (192, 168, _)
        | (100, 64..=127, _)
        | (192, 0, 0)
        | (198, 18..=19, _) => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if let Some(inner) = embedded_v4(address) {
        return reach_v4(inner);
    }
    let segments = address.segments();
    match segments[0] {
        _ if address.is_unspecified() => Reach::Never("unspecified"),
        _ if address.is_loopback() => Reach::Private,
        // fd00:ec2::254 and its neighbours: a cloud's metadata service.
        0xfd00 if segments[1] == 0x0ec2 => Reach::Never("metadata"),
        0xfe80..=0xfebf => Reach::Never("link-local"),
        0xff00..=0xffff => Reach::Never("multicast"),
        0xfc00..=0xfdff | 0xfec0..=0xfeff => Reach::Private,
        _ => Reach::Public,
    }
}

/// The IPv4 address inside of mapped, compatible, NAT64 and 6to4 addresses.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // ::1 and :: are no embedded addresses.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_near_and_what_is_never() {
        let of = |text: &str| reach(text.parse().unwrap());
        for text in [
            "8.8.8.8",
            "140.82.121.6",
            "2606:4700::1111",
            "172.32.0.1",
            "100.128.0.1",
        ] {
            assert_eq!(of(text), Reach::Public, "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.9.9",
            "100.64.0.1",
            "::1",
            "fd12::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(of(text), Reach::Private, "{text}");
        }
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "::a9fe:a9fe",
            "fd00:ec2::254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
        ] {
            assert!(matches!(of(text), Reach::Never(_)), "{text}");
        }
    }
}
