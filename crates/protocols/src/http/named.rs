//! The names by which clients may call a resource: its own, and where the listener is.

use std::{
    slice,
    sync::{Mutex, PoisonError},
};

use super::target::{Authority, Scheme, Served, Target, TargetError};

/// Names of the listener's place.
const LOOPBACK: [&str; 4] = ["127.0.0.1", "localhost", "::1", "[::1]"];

/// The names of one resource.
pub(super) struct Names {
    own: Vec<Authority>,
    /// The last Host header that named it, with what it is: a client sends the same one each time.
    last: Mutex<Option<(Vec<u8>, Authority)>>,
}

impl Names {
    /// Of a resource with this name of its own.
    pub(super) fn new(own: &Authority) -> Self {
        let mut names = vec![own.clone()];
        if own.port == Scheme::Https.port() {
            // A client that has TLS with guard leaves the port out, too.
            names.push(Authority { port: Scheme::Http.port(), ..own.clone() });
        }
        Self { own: names, last: Mutex::default() }
    }

    /// The one path and query that a target and its Host headers ask for.
    pub(super) fn target(&self, target: &[u8], hosts: &[&[u8]]) -> Result<Target, TargetError> {
        let named = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let (Some((host, name)), [same]) = (named, hosts)
            && host == *same
        {
            let authorities = slice::from_ref(&name);
            let served = Served { scheme: Scheme::Http, authorities };
            return Target::read_of(target, Ok(name.clone()), served);
        }
        let host = Authority::of(hosts, Scheme::Http);
        let mut authorities = self.own.clone();
        if let Ok(host) = &host
            && LOOPBACK.contains(&&*host.host.to_string())
        {
            authorities.push(host.clone());
        }
        let served = Served { scheme: Scheme::Http, authorities: &authorities };
        let target = Target::read_of(target, host.clone(), served)?;
        if let (Ok(name), [host]) = (host, hosts) {
            let last = Some((host.to_vec(), name));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn each_name_is_one_again_and_another_host_never_becomes_one() {
        let own = Authority::read(b"api.example", Scheme::Https).unwrap();
        let names = Names::new(&own);
        for _ in 0..2 {
            for host in
                ["api.example", "API.example:443", "127.0.0.1:4000", "localhost:1", "[::1]:9"]
            {
                for _ in 0..2 {
                    let target = names.target(b"/a", &[host.as_bytes()]);
                    assert_eq!(target.unwrap().path(), "/a", "{host}");
                }
                let absolute = format!("http://{host}/b");
                assert!(names.target(absolute.as_bytes(), &[host.as_bytes()]).is_ok(), "{host}");
                let elsewhere = names.target(b"http://other.example/b", &[host.as_bytes()]);
                assert_eq!(elsewhere, Err(TargetError::HostsDiffer), "{host}");
                assert!(names.target(b"/a", &[b"other.example"]).is_err());
                assert!(names.target(b"/a", &[host.as_bytes(), host.as_bytes()]).is_err());
                assert!(names.target(b"/a", &[]).is_err());
            }
        }
    }
}
