//! Which addresses are public, by the registries of special-purpose addresses (IANA, RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 addresses that are nobody's on the public Internet.
const SPECIAL_4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// All of IPv6 that is given to anybody on the public Internet.
const GLOBAL_6: Ipv6Net = v6(0x2000, 0, 3);
/// What of it stands for something else: protocols' own and Teredo, documentation, 6to4.
const SPECIAL_6: [Ipv6Net; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];
/// An IPv4 address behind a translator (RFC 6052).
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 96);

/// Where clouds tell a machine who it is, and give it credentials: never meant, whatever networks a policy names.
const METADATA_4: [Ipv4Net; 4] = [
    v4(169, 254, 0, 0, 16),
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    v4(192, 0, 0, 192, 32),
];
/// The same: what is local to a link, and Amazon's.
const METADATA_6: [Ipv6Net; 2] =
    [v6(0xfe80, 0, 10), Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32)];

/// Whether a connection may go to this address: it is public, or in one of these networks, and it is no cloud's metadata.
pub fn is_reachable(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = plain(address);
    let metadata = match address {
        IpAddr::V4(address) => METADATA_4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => METADATA_6.iter().any(|net| net.contains(&address)),
    };
    !metadata && (is_public(address) || networks.iter().any(|net| net.contains(&address)))
}

/// An address by what is reached with it.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    if let Some(four) = six.to_ipv4_mapped() {
        return four.into();
    }
    if NAT64.contains(&six) {
        let [.., a, b, c, d] = six.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_6.contains(&address) && !SPECIAL_6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn public_addresses_are_reachable() {
        for text in
            ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
        {
            assert!(is_reachable(text.parse().unwrap(), &[]), "{text}");
        }
    }

    #[test]
    fn private_addresses_and_metadata_are_not_in_whatever_form() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "100::1",
        ] {
            assert!(!is_reachable(text.parse().unwrap(), &[]), "{text}");
        }
    }

    #[test]
    fn a_network_that_is_named_is_reachable_but_for_metadata() {
        let networks: Vec<IpNet> = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap()).into();
        for (text, reachable) in [
            ("10.1.2.3", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("fd12::1", true),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("100.100.100.200", false),
            ("168.63.129.16", false),
            ("fd00:ec2::254", false),
            ("fe80::a9fe:a9fe", false),
        ] {
            assert_eq!(is_reachable(text.parse().unwrap(), &networks), reachable, "{text}");
        }
        let networks = ["10.0.0.0/8".parse().unwrap()];
        assert!(!is_reachable("192.168.0.1".parse().unwrap(), &networks));
    }
}
