//! The agent's socket, and who is at its other end.
//!
//! Its folder is for this user only, and the kernel tells the user and the process of each peer. Commands of runs are of the same
//! user. At `landlock` and `strict` they have no Unix sockets; at `env` they are known by their ancestors: a run adopts whatever its
//! command leaves behind, so each of these processes has a run above it for as long as the run lives.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::AgentError;

/// The socket's name in its folder.
pub(super) const SOCKET: &str = "agent.sock";
/// The log's.
pub(super) const LOG: &str = "log";
/// Ancestors of a process that are looked at: more than there are.
const MAX_ANCESTORS: usize = 100_000;

/// Opens the socket in its folder.
pub(super) fn bind(folder: &Path) -> io::Result<(UnixListener, PathBuf)> {
    let path = folder.join(SOCKET);
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok((listener, path))
}

/// Connects to an agent of the same user.
pub(super) async fn connect(path: &Path) -> Result<UnixStream, AgentError> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(|error| AgentError::Gone(path.to_owned(), error))?;
    if is_own(&stream) { Ok(stream) } else { Err(AgentError::Foreign(path.to_owned())) }
}

/// Whether the peer is of the same user. Root is another one.
pub(super) fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

/// The peer's process, where the kernel can name it here: not if it is in another container.
pub(super) fn process(stream: &UnixStream) -> Option<i32> {
    stream.peer_cred().ok()?.pid().filter(|pid| *pid > 0)
}

/// Whether a process or one of its ancestors is one of these. `None`: that cannot be told, because one of them is gone or hidden.
pub(super) fn is_below(process: i32, runs: &HashSet<i32>) -> Option<bool> {
    let mut at = process;
    for _ in 0..MAX_ANCESTORS {
        if runs.contains(&at) {
            return Some(true);
        }
        if at <= 1 {
            return Some(false);
        }
        let status = fs::read_to_string(format!("/proc/{at}/stat")).ok()?;
        at = crate::sandbox::parent_of(&status)?;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_process_is_below_itself_and_its_parent_and_below_nobody_else() {
        let own = std::process::id().cast_signed();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let of = child.id().cast_signed();
        assert_eq!(is_below(of, &HashSet::from([own])), Some(true));
        assert_eq!(is_below(of, &HashSet::from([of])), Some(true));
        assert_eq!(is_below(own, &HashSet::from([of])), Some(false));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(is_below(of, &HashSet::from([own])), None);
    }
}
