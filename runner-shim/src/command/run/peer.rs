//! Whose socket is at the other end of a connection on this machine: the kernel's tables of connections say it.

use std::{
    fs,
    net::{SocketAddr, SocketAddrV4, TcpStream},
};

/// Sockets of IPv4, and of IPv6 that speak IPv4.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
/// What stands before an IPv4 address in the second one.
const MAPPED: &str = "0000000000000000FFFF0000";
/// `TCP_ESTABLISHED`.
const ESTABLISHED: &str = "01";

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends(Option<[SocketAddrV4; 2]>);

impl Ends {
    pub(super) fn of(stream: &TcpStream) -> Self {
        match (stream.peer_addr(), stream.local_addr()) {
            (Ok(SocketAddr::V4(peer)), Ok(SocketAddr::V4(local))) => Self(Some([peer, local])),
            _ => Self(None),
        }
    }

    /// Whether the other one is a user's. What cannot be found out is somebody else's.
    pub(super) fn are_of(self, user: u32) -> bool {
        let Self(Some([peer, local])) = self else { return false };
        let texts = TABLES.iter().filter_map(|table| fs::read_to_string(table).ok());
        let mut owners = texts.filter_map(|text| owner(&text, peer, local));
        owners.next() == Some(user)
    }
}

/// The user of the socket that goes from one place to another.
fn owner(table: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    let (from, to) = (shown(from), shown(to));
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (columns.next()?, columns.next()?);
        let is_it = |column: &str, place: &str| {
            column == place || column.strip_prefix(MAPPED) == Some(place)
        };
        if !is_it(local, &from) || !is_it(remote, &to) || columns.next()? != ESTABLISHED {
            return None;
        }
        columns.nth(3)?.parse().ok()
    })
}

/// An address as the tables have it: the number as it lies in memory.
fn shown(place: SocketAddrV4) -> String {
    let number = u32::from_ne_bytes(place.ip().octets());
    format!("{number:08X}:{:04X}", place.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_own_connection_is_known_also_by_ipv6() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::ffff:127.0.0.1"] {
            let client = TcpStream::connect((host, port));
            // A machine may have no IPv6.
            let Ok(_client) = client else { continue };
            let (server, _) = listener.accept().unwrap();
            let own = rustix::process::geteuid().as_raw();
            let ends = Ends::of(&server);
            assert!(ends.are_of(own) && !ends.are_of(own + 1), "{host}");
        }
    }

    #[test]
    fn a_connection_of_somebody_else_or_of_nobody_is_not() {
        let line = "   0: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 5 1";
        let place = |port| SocketAddrV4::new([127, 0, 0, 1].into(), port);
        let (from, to) = (place(0x9c40), place(0x1f90));
        if cfg!(target_endian = "little") {
            assert_eq!(owner(line, from, to), Some(1001));
            assert_eq!(owner(line, to, from), None);
            assert_eq!(owner(&line.replace(" 01 ", " 06 "), from, to), None);
        }
        assert_eq!(owner("", from, to), None);
    }
}
