//! The table in `docs/isolation.md`, made from what was tried.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use super::LEVELS;

/// Each attempt, with its words.
const ATTEMPTS: [(&str, &str); 27] = [
    ("tcp", "TCP to the database itself"),
    ("tcp6", "TCP over IPv6"),
    ("metadata", "TCP to the cloud's metadata address"),
    ("fast_open", "TCP Fast Open, which connects by sending"),
    ("mptcp", "MPTCP"),
    ("udp", "UDP"),
    ("udp6", "UDP over IPv6"),
    ("dns", "DNS, by UDP or TCP"),
    ("raw", "a raw socket"),
    ("netlink", "a netlink socket"),
    ("vsock", "a vsock to the hypervisor"),
    ("io_uring", "`io_uring`"),
    ("unix", "a Unix socket of another process, like Docker's or D-Bus"),
    ("abstract", "an abstract Unix socket of another process"),
    ("listen", "a server that others connect to"),
    ("memory", "the shim's memory (`/proc/<pid>/mem`)"),
    ("environment", "the platform's token in the shim's environment"),
    ("descriptors", "the shim's open files (`/proc/<pid>/fd`)"),
    ("ptrace", "`ptrace` of the shim"),
    ("pidfd", "`pidfd_getfd` from the shim"),
    ("signal", "a signal to the shim"),
    ("group", "a signal to the shim by its process group"),
    ("own", "the platform's token in the command's own environment"),
    ("setuid", "privileges of a program with the set-user-ID bit (`sudo`)"),
    ("elsewhere", "writing outside the job's folders"),
    ("temporary", "temporary files of other processes"),
    ("daemon", "a process that outlives the job (`setsid`)"),
];

const BEGIN: &str = "<!-- the table is made by a test: GUARD_UPDATE_DOCS=1 cargo nextest run -p guard-tests --test isolation -->\n";
const END: &str = "<!-- its end -->\n";

type Found = BTreeMap<(bool, &'static str), BTreeMap<String, String>>;

/// Compares the table with what was found; with `GUARD_UPDATE_DOCS` it is written anew.
pub(super) fn check(found: &Found) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/isolation.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's begin");
    let (committed, after) = rest.split_once(END).expect("the table's end");
    let now = table(found);
    if std::env::var_os("GUARD_UPDATE_DOCS").is_some() {
        fs::write(&file, format!("{before}{BEGIN}{now}{END}{after}")).unwrap();
        return;
    }
    assert!(
        committed == now,
        "docs/isolation.md says\n{committed}\nand what was found is\n{now}\n{found:#?}\n\
         write it anew: GUARD_UPDATE_DOCS=1 with this test"
    );
}

fn table(found: &Found) -> String {
    let mut out = String::from("| tried |");
    for who in ["a user", "root"] {
        for level in LEVELS {
            write!(out, " {who}, `{level}` |").unwrap();
        }
    }
    out.push_str("\n| --- |");
    out.push_str(&" --- |".repeat(2 * LEVELS.len()));
    out.push('\n');
    for (name, words) in ATTEMPTS {
        write!(out, "| {words} |").unwrap();
        for root in [false, true] {
            for level in LEVELS {
                let open = found[&(root, level)][name] == "open";
                out.push_str(if open { " **open** |" } else { " stopped |" });
            }
        }
        out.push('\n');
    }
    out
}
