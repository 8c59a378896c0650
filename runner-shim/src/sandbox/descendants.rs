//! The command's processes after its end: none outlives it.
//!
//! A daemon leaves its session and loses its parent; the kernel then gives it to the nearest ancestor that adopts, which is the
//! shim. (At `strict` the kernel ends all of them with their process 1.)

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

/// Processes that make others faster than they are ended are given up on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Has the kernel give this process whatever of its descendants loses its parent.
pub(crate) fn adopt_descendants() -> io::Result<()> {
    // Any process id but none switches it on.
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Ends all of this process's descendants. `false`: some are left.
pub(crate) fn end_descendants() -> bool {
    let started = Instant::now();
    while has_children() {
        let found = descendants();
        if found.is_empty() {
            return true;
        }
        for process in found {
            let _ = kill_process(process, Signal::KILL);
            // Only children can be waited for: the others become that when their parents are gone.
            let _ = waitpid(Some(process), WaitOptions::NOHANG);
        }
        if started.elapsed() > PATIENCE {
            return false;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing tells when another's child is gone"
        )]
        std::thread::sleep(PAUSE);
    }
    true
}

/// Whether there are children at all, which is told faster than which. Where the kernel does not tell, there may be.
fn has_children() -> bool {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return true };
    tasks.flatten().any(|task| {
        fs::read_to_string(task.path().join("children"))
            .map_or(true, |list| !list.trim().is_empty())
    })
}

fn descendants() -> Vec<Pid> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(number) = number else { continue };
        let Ok(status) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = parent(&status) {
            parents.insert(number, parent);
        }
    }
    let own = getpid().as_raw_nonzero().get();
    let mut found = Vec::new();
    for number in parents.keys() {
        let (mut at, mut seen) = (*number, HashSet::new());
        while let Some(parent) = parents.get(&at).copied().filter(|_| seen.insert(at)) {
            if parent == own {
                found.extend(Pid::from_raw(*number));
                break;
            }
            at = parent;
        }
    }
    found
}

/// The parent in a line of `/proc/<pid>/stat`: the second field behind the name, which is in brackets and may hold any.
pub(crate) fn parent(status: &str) -> Option<i32> {
    status.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_a_process() {
        assert_eq!(parent("12 (a) b) S 1 (c)) R 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (sh) S 34 12 12 0"), Some(34));
        assert_eq!(parent("12"), None);
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        assert!(descendants().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
