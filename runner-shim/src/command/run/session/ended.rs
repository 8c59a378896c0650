//! How a session ended, left beside its agent's log for a `stop` that comes later.

use std::{fs, io, path::Path};

use super::wire::Ended;

/// The file's name.
const ENDED: &str = "ended.json";

/// Leaves it.
pub(super) fn leave(folder: &Path, ended: &Ended) -> io::Result<()> {
    fs::write(folder.join(ENDED), serde_json::to_vec(ended)?)
}

/// How the session of a socket ended, if its agent lived to say it.
pub(super) fn found(socket: &Path) -> Option<Ended> {
    let bytes = fs::read(socket.parent()?.join(ENDED)).ok()?;
    serde_json::from_slice(&bytes).ok()
}
