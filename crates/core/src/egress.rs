//! Where a run's command may go besides its resources: names and ports that a policy lists, and which addresses
//! behind a name are never meant.

mod address;

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::address::is_reachable;

/// Longest name of a host, in characters (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// A host as clients write it and guard compares it: a name in lower case or an IP address, in the one form that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct Host(Arc<str>);

/// A host that is none, or one that could be read in two ways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host: write a name in ASCII (`xn--…` for others), or an IP address, IPv6 in brackets"
)]
pub struct InvalidHost(String);

impl Host {
    /// Reads a host. Whatever a resolver or a client could take for another host (`127.1`, `0x7f.0.0.1`, `%31`, a name
    /// that is not ASCII) is refused, not guessed at. A dot at the end says nothing and is left out.
    pub fn new(text: &str) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost(text.chars().take(MAX_HOST).collect());
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        if name.len() > MAX_HOST {
            return Err(invalid());
        }
        let read = url::Host::parse(name).map_err(|_| invalid())?;
        let is_right = match &read {
            url::Host::Domain(name) => name.split('.').all(is_label),
            url::Host::Ipv4(_) | url::Host::Ipv6(_) => name == lower,
        };
        if !is_right {
            return Err(invalid());
        }
        if read.to_string() == name { Ok(Self(name.into())) } else { Err(invalid()) }
    }

    /// The host, IPv6 in brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if it is one and not a name.
    pub fn address(&self) -> Option<IpAddr> {
        match url::Host::parse(&self.0) {
            Ok(url::Host::Ipv4(address)) => Some(address.into()),
            Ok(url::Host::Ipv6(address)) => Some(address.into()),
            Ok(url::Host::Domain(_)) | Err(_) => None,
        }
    }
}

fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Host {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0.as_ref().to_owned()
    }
}

/// A place that a policy's `egress` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The host, or the part behind `*.`.
    host: Host,
    /// Whether one label stands before it.
    below: bool,
    port: u16,
    /// What counts for connections there.
    pub terms: EgressTerms,
}

/// What counts for connections to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EgressTerms {
    /// Whether only TLS passes, for the very name that was asked for.
    pub tls: bool,
    /// Networks that are not public and are meant nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub networks: Vec<IpNet>,
}

/// A place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestination {
    /// There is no port.
    #[error("`{0}` has no port: write `host:port`, as in `registry.example.com:443`")]
    Port(String),
    /// A `*` stands where it means nothing.
    #[error(
        "`{0}`: a `*` stands for one whole label at the beginning, with at least two more behind it, as in `*.example.com:443`"
    )]
    Star(String),
    /// The host is none.
    #[error(transparent)]
    Host(#[from] InvalidHost),
}

impl Destination {
    /// The address, if it names one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.address()
    }

    /// Whether it is the place that somebody wants to go to.
    pub fn is(&self, host: &Host, port: u16) -> bool {
        let host = if self.below {
            host.as_str().split_once('.').filter(|_| host.address().is_none()).map(|(_, rest)| rest)
        } else {
            Some(host.as_str())
        };
        self.port == port && host == Some(self.host.as_str())
    }
}

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = || InvalidDestination::Port(text.to_owned());
        let (host, number) = text.rsplit_once(':').ok_or_else(port)?;
        let number = number.parse().ok().filter(|number| *number != 0).ok_or_else(port)?;
        let (below, host) = match host.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, host),
        };
        let star = || InvalidDestination::Star(text.to_owned());
        if host.contains('*') {
            return Err(star());
        }
        let host = Host::new(host)?;
        if below && (host.address().is_some() || !host.as_str().contains('.')) {
            return Err(star());
        }
        let terms = EgressTerms { tls: true, networks: Vec::new() };
        Ok(Self { host, below, port: number, terms })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        write!(f, "{star}{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_host_has_one_form() {
        for (text, host) in [
            ("Registry.Example.COM", "registry.example.com"),
            ("registry.example.com.", "registry.example.com"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(Host::new(text).unwrap().as_str(), host, "{text}");
        }
    }

    #[test]
    fn a_host_that_somebody_could_read_otherwise_is_refused() {
        let long = "a.".repeat(150);
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "127.1",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "2130706433",
            "1.2.3.4.5",
            "127.0.0.1.",
            "%31.example.com",
            "bücher.example",
            "ｅxample.com",
            "a b",
            "a\tb",
            "a\0b",
            "a\nb",
            "user@example.com",
            "example.com/x",
            "example.com:443",
            "example.com#",
            "example.com?",
            "-a.example",
            "a-.example",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:0:0:1]",
            "::1",
            "[::1",
            "[::1%lo]",
            "[fe80::1%25eth0]",
            "*.example.com",
            &long,
        ] {
            assert!(Host::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_matches_itself_and_one_label_where_it_says_so() {
        let is = |place: &str, host: &str, port: u16| {
            place.parse::<Destination>().unwrap().is(&Host::new(host).unwrap(), port)
        };
        assert!(is("registry.example.com:443", "REGISTRY.example.com.", 443));
        assert!(!is("registry.example.com:443", "registry.example.com", 80));
        assert!(!is("registry.example.com:443", "registry.example.com.evil.test", 443));
        assert!(is("*.example.com:443", "a.example.com", 443));
        assert!(!is("*.example.com:443", "example.com", 443));
        assert!(!is("*.example.com:443", "a.b.example.com", 443));
        assert!(is("192.0.2.1:443", "192.0.2.1", 443));
        assert!(!is("*.0.2.com:443", "192.0.2.1", 443));
        assert!(is("[2001:db8::1]:443", "[2001:db8::1]", 443));
    }

    #[test]
    fn a_place_that_says_too_little_is_refused() {
        for text in [
            "example.com",
            "example.com:0",
            "example.com:70000",
            "example.com:x",
            "*:443",
            "*.com:443",
            "a.*.com:443",
            "a*.example.com:443",
            "*.1.2.3.4:443",
            ":443",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }
}
