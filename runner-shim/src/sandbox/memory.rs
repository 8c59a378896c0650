//! The shim's own memory: nobody else reads it, and it is not written to a disk.

use std::{fs, io};

use rustix::{
    process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior},
    thread::{CapabilitySet, capabilities},
};

/// Hides this process from others of the same user: `/proc/<pid>/{mem,environ,fd}`, `ptrace` and
/// `pidfd_getfd` are then for root only, and no core is ever written (prctl(2), `PR_SET_DUMPABLE`).
pub(crate) fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// How much of the memory stays out of the swap space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locked {
    /// All of it.
    Whole,
    /// The heap of the main thread, where the session's key and token were made.
    Heap,
    /// Nothing: the user's limit is too small.
    Nothing,
}

/// Keeps keys out of the swap space, as far as this user may. To be called when they are made.
pub(crate) fn lock_memory() -> Locked {
    let limit = getrlimit(Resource::Memlock).current;
    let privileged =
        capabilities(None).is_ok_and(|has| has.effective.contains(CapabilitySet::IPC_LOCK));
    // With a limit, a later allocation would fail instead of staying unlocked.
    if (privileged || limit.is_none()) && lock_everything() {
        return Locked::Whole;
    }
    match heap() {
        Some((start, length))
            if limit.is_none_or(|limit| length as u64 <= limit) && lock_range(start, length) =>
        {
            Locked::Heap
        }
        Some(_) | None => Locked::Nothing,
    }
}

/// Pages are locked when they are first touched, so that address space which is only reserved costs nothing.
#[expect(unsafe_code, reason = "only the C library has mlockall")]
fn lock_everything() -> bool {
    // SAFETY: the call takes flags only, and changes no memory.
    unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) == 0 }
}

#[expect(unsafe_code, reason = "only the C library has mlock")]
fn lock_range(start: usize, length: usize) -> bool {
    // SAFETY: mlock reads and writes nothing; for addresses that are not mapped it fails.
    unsafe { libc::mlock(std::ptr::without_provenance(start), length) == 0 }
}

/// Where the heap is: address and length.
fn heap() -> Option<(usize, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[heap]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_found() {
        assert!(heap().is_some_and(|(start, length)| start > 0 && length > 0));
    }

    #[test]
    fn a_page_can_be_locked_by_anybody() {
        let (start, _) = heap().expect("there is a heap");
        assert!(lock_range(start, 4096));
    }
}
