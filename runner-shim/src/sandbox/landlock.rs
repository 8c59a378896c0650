//! What Landlock (landlock(7)) keeps the child from: writing outside the places where a job writes, reading the file that holds
//! the run's identity token, TCP connections to other ports than guard's, and signals to processes that are not its own.
//! Processes outside are out of reach for `ptrace` and all that is ruled like it (`/proc/<pid>/mem`, `environ`, `fd`), for root, too.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, Scope,
};
use serde::{Deserialize, Serialize};

/// The rights to files that are ruled. Newer kernels know more; what they rule besides was never refused here.
const FILES: ABI = ABI::V5;

/// Devices that programs write to. Others (disks, memory) are only for root, and not for a job.
const DEVICES: [&str; 10] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
    "/dev/fd",
];

/// Where the child may write, and what it may not read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Files {
    /// Folders and files that it may write to.
    pub(crate) writable: BTreeSet<PathBuf>,
    /// Files that it may not even read.
    pub(crate) hidden: BTreeSet<PathBuf>,
}

impl Files {
    /// What Landlock can hide: a folder that the command writes to is granted as a whole, or it could make nothing there.
    pub(crate) fn hideable(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let hidden = self.hidden.iter().filter_map(|path| fs::canonicalize(path).ok());
        let writable: Vec<_> =
            self.writable.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        hidden.partition(|path| !writable.iter().any(|folder| path.starts_with(folder)))
    }
}

/// How much of Landlock the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// None, or not for TCP.
    Missing(&'static str),
    /// All but that signals stay inside.
    WithoutSignals,
    /// All that is used.
    Whole,
}

/// Asks the kernel.
pub(crate) fn support() -> Support {
    let has = |ask: fn(Ruleset) -> Result<Ruleset, RulesetError>| {
        ask(Ruleset::default().set_compatibility(CompatLevel::HardRequirement))
            .and_then(Ruleset::create)
            .is_ok()
    };
    if !has(|rules| rules.handle_access(AccessFs::Execute)) {
        return Support::Missing(
            "this kernel has no Landlock, or it is not among its active modules",
        );
    }
    if !has(|rules| rules.handle_access(AccessNet::ConnectTcp)) {
        return Support::Missing("this kernel's Landlock has no rules for TCP (Linux 6.7 has)");
    }
    if !has(|rules| rules.scope(Scope::Signal)) {
        return Support::WithoutSignals;
    }
    Support::Whole
}

/// Rules for these files, and for TCP to these ports of whatever machine (Landlock knows no addresses); `None`: the network is
/// the child's own.
pub(super) fn ruleset(files: &Files, ports: Option<&[u16]>) -> io::Result<Option<OwnedFd>> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(FILES))
        .and_then(|rules| rules.scope(Scope::Signal | Scope::AbstractUnixSocket))
        .map_err(io::Error::other)?;
    if ports.is_some() {
        let all = AccessNet::BindTcp | AccessNet::ConnectTcp;
        rules = rules.handle_access(all).map_err(io::Error::other)?;
    }
    let mut rules = rules.create().map_err(io::Error::other)?;
    for port in ports.into_iter().flatten() {
        let rule = NetPort::new(*port, AccessNet::ConnectTcp);
        rules = rules.add_rule(rule).map_err(io::Error::other)?;
    }
    let (hidden, _) = files.hideable();
    rules = grant(rules, Path::new("/"), AccessFs::from_read(FILES), &hidden)?;
    let devices = DEVICES.into_iter().map(Path::new);
    // A process writes about itself there (`oom_score_adj`), and may list its own files.
    let own = [Path::new("/proc/self"), Path::new("/proc/thread-self")];
    for path in files.writable.iter().map(PathBuf::as_path).chain(devices).chain(own) {
        // What is not there now is nobody's.
        if let Ok(path) = fs::canonicalize(path) {
            rules = grant(rules, &path, AccessFs::from_all(FILES), &hidden)?;
        }
    }
    Ok(rules.into())
}

/// Grants rights to all beneath a path but what is hidden: Landlock has no rule that takes something away, so the
/// neighbours on the way to it are granted one by one. What is made there later is then not granted.
fn grant(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
    hidden: &[PathBuf],
) -> io::Result<RulesetCreated> {
    if hidden.iter().any(|hidden| hidden == path) {
        return Ok(rules);
    }
    if !hidden.iter().any(|hidden| hidden.starts_with(path)) {
        return add(rules, path, rights);
    }
    let mut rules = add(rules, path, rights & AccessFs::ReadDir)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // Where a link leads to is granted there, or not.
        if !entry.file_type()?.is_symlink() {
            rules = grant(rules, &entry.path(), rights, hidden)?;
        }
    }
    Ok(rules)
}

fn add(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    // Whoever cannot open it now will not be able to later.
    let Ok(place) = PathFd::new(path) else { return Ok(rules) };
    let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(FILES) };
    if rights.is_empty() {
        return Ok(rules);
    }
    rules.add_rule(PathBeneath::new(place, rights)).map_err(io::Error::other)
}
