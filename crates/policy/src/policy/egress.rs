//! The `egress` of a policy: where a command may go besides its resources.

use guard_core::{
    document::{Node, Problems},
    egress::{Destination, is_reachable},
};
use ipnet::IpNet;

const KEYS: [&str; 3] = ["to", "tls", "networks"];

/// Reads `egress`: a list of `host:port`, or of mappings that say more of one.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Vec<Destination>> {
    let nodes = node.list(problems)?;
    let places: Vec<_> = nodes.iter().filter_map(|node| place(node, problems)).collect();
    (places.len() == nodes.len()).then_some(places)
}

fn place(node: &Node, problems: &mut Problems) -> Option<Destination> {
    if !node.is_mapping() {
        let place: Destination = node.parsed(problems)?;
        return can_be_reached(node, &place, problems).then_some(place);
    }
    let fields = node.fields(problems)?;
    let place: Option<Destination> =
        fields.required("to", problems).and_then(|node| node.parsed(problems));
    let tls = match fields.optional("tls") {
        Some(node) => node.boolean(problems),
        None => Some(true),
    };
    let networks = match fields.optional("networks") {
        Some(node) => networks(node, problems),
        None => Some(Vec::new()),
    };
    fields.finish(&KEYS, problems);
    let mut place = place?;
    place.terms.tls = tls?;
    place.terms.networks = networks?;
    can_be_reached(node, &place, problems).then_some(place)
}

fn networks(node: &Node, problems: &mut Problems) -> Option<Vec<IpNet>> {
    let nodes = node.list(problems)?;
    let networks: Vec<IpNet> = nodes
        .iter()
        .filter_map(|node| {
            let text = node.text(problems)?;
            let network = text.parse().ok().filter(|net: &IpNet| net.trunc() == *net);
            if network.is_none() {
                let message = format!("expected a network like `10.20.0.0/16`, found `{text}`");
                node.problem(problems, message);
            }
            network
        })
        .collect();
    (networks.len() == nodes.len()).then_some(networks)
}

/// An address that no connection would go to is a mistake.
fn can_be_reached(node: &Node, place: &Destination, problems: &mut Problems) -> bool {
    let reached =
        place.address().is_none_or(|address| is_reachable(address, &place.terms.networks));
    if !reached {
        node.problem_with_help(
            problems,
            format!("`{place}` is no public address"),
            "name its network: `{ to: 10.1.2.3:443, networks: [10.1.0.0/16] }`; metadata services are never reached",
        );
    }
    reached
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use guard_core::egress::Host;

    use crate::Policy;

    const RULES: &str =
        "policy: p\nrules:\n  - { name: r, sql: { effects: [read] }, decide: allow }\n";

    fn policy(egress: &str) -> Result<Policy, String> {
        Policy::parse("p.yaml", &format!("{RULES}egress: {egress}\n")).map_err(|p| p.to_string())
    }

    #[test]
    fn places_are_read_with_what_counts_there() {
        let policy = policy(
            "[ registry.example.com:443, '*.example.org:443', { to: git.example.com:22, tls: false }, { to: 10.1.2.3:443, networks: [10.1.0.0/16] } ]",
        )
        .unwrap();
        let terms = |host: &str, port| policy.egress(&Host::new(host).unwrap(), port);
        assert!(terms("registry.example.com", 443).unwrap().tls);
        assert!(terms("cdn.example.org", 443).is_some());
        assert!(!terms("git.example.com", 22).unwrap().tls);
        assert_eq!(terms("10.1.2.3", 443).unwrap().networks.len(), 1);
        for (host, port) in [("registry.example.com", 80), ("example.org", 443), ("evil.test", 443)]
        {
            assert!(terms(host, port).is_none(), "{host}");
        }
        assert!(policy.has_egress());
        assert!(!Policy::parse("p.yaml", RULES).unwrap().has_egress());
    }

    #[test]
    fn what_says_too_little_or_nothing_does_not_load() {
        for (egress, problem) in [
            ("[]", "the list is empty"),
            ("'*'", "expected a list"),
            ("['*']", "has no port"),
            ("['*:443']", "stands for one whole label"),
            ("['*.com:443']", "stands for one whole label"),
            ("[example.com]", "has no port"),
            ("[10.1.2.3:443]", "no public address"),
            ("[169.254.169.254:80]", "no public address"),
            ("[{ to: 169.254.169.254:80, networks: [169.254.0.0/16] }]", "no public address"),
            ("[{ to: a.example:443, networks: [10.1.2.3/8] }]", "expected a network"),
            ("[{ to: a.example:443, networks: [] }]", "the list is empty"),
            ("[{ tls: true }]", "to"),
            ("[{ to: a.example:443, port: 1 }]", "port"),
        ] {
            let found = policy(egress).unwrap_err();
            assert!(found.contains(problem), "{egress}: {found}");
        }
    }
}
