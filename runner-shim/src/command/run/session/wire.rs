//! What runs and an agent say to each other: frames of JSON, each behind its length.
//!
//! A connection begins with an [`Ask`]. Of `open` nothing but bytes follow the answer; of `attach` the connection stays as long as
//! the run does, and says by its end that the run is gone. Nothing here carries the session's token, its key or a lease.

use std::{collections::BTreeMap, io, path::PathBuf};

use guard_core::{
    EgressId, EndReason, Isolation, PolicyName, ResourceName, Secret, SessionId, StepName,
    Timestamp,
    control::{
        AskEgress, EgressAnswer, EgressOutcome, Notice, ReachedIsolation, SessionInfo, StepCounts,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The variable that names the agent's socket. It is no secret: who may connect, the kernel says.
pub(in crate::command::run) const AGENT: &str = "GUARD_SESSION";

/// Largest frame: a session's claims and grants, or the report's last lines, are a few kilobytes.
const MAX_FRAME: usize = 512 * 1024;

/// What somebody wants of an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    /// A run joins the session.
    Attach { resources: Vec<ResourceName>, step: Option<StepName>, broker: Option<String> },
    /// A client of a run wants to a resource.
    Open { run: u32, resource: ResourceName, auth: Auth },
    /// A command of a run asks to go elsewhere.
    Egress { run: u32, ask: AskEgress },
    /// What came of that.
    EgressEnded { run: u32, id: EgressId, outcome: EgressOutcome },
    /// What the session is.
    Status,
    /// The session is to end. The folder is where its report goes.
    Stop { report: Option<PathBuf> },
}

/// How a client of a run shows that it belongs to it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Auth {
    Proven,
    Password(Secret),
}

/// What an agent answers, and says to runs unasked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    Attached(Box<Attachment>),
    /// From here on there are bytes.
    Opened,
    /// The client is to be sent away.
    TurnedAway {
        over: bool,
        message: String,
    },
    Egress(EgressAnswer),
    Done,
    Refused(String),
    Notice(Notice),
    Over(EndReason),
    /// What was counted of a run that goes.
    Farewell {
        counts: StepCounts,
    },
    Status(Box<Status>),
    Ended(Box<Ended>),
}

/// What a run gets to know of the session that it joins.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Attachment {
    /// Its number.
    pub(super) run: u32,
    /// The session, with the resources of the run only.
    pub(super) info: SessionInfo,
    /// Files that the run's command must not read.
    pub(super) hidden: Vec<PathBuf>,
    /// The variable that the run's command must not have.
    pub(super) token_env: Option<String>,
}

/// What a run says after it joined.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FromRun {
    /// Its command is about to be run at this level.
    Isolated(ReachedIsolation),
    /// Its command and all of its processes have ended.
    Bye { exit_code: u8 },
}

/// The session as `guard session status` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) session: SessionId,
    pub(super) broker: String,
    pub(super) until: Timestamp,
    /// The level of isolation that the trust rule asks for.
    pub(super) isolation: Option<Isolation>,
    pub(super) resources: BTreeMap<ResourceName, PolicyName>,
    pub(super) runs: Vec<RunStatus>,
    /// What `start` was asked for: another `start` that asks for the same takes this session.
    pub(super) asked: Vec<String>,
}

/// One run of the session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RunStatus {
    pub(super) number: u32,
    pub(super) name: Option<StepName>,
    pub(super) state: RunState,
    pub(super) exit_code: Option<u8>,
    pub(super) isolation: Option<Isolation>,
    #[serde(flatten)]
    pub(super) counts: StepCounts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RunState {
    Attached,
    Finished,
    /// It went without a word.
    Lost,
}

/// How a session ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ended {
    /// What to say, a line each.
    pub(super) lines: Vec<String>,
    /// Why the record is not sealed or its report not written.
    pub(super) problem: Option<String>,
    pub(super) refused: u64,
    /// Where the record is, if it could be fetched.
    pub(super) record: Option<PathBuf>,
    /// For the job's page.
    pub(super) markdown: String,
}

/// Writes a frame.
pub(super) async fn send<T: Serialize + Sync>(
    to: &mut (impl AsyncWrite + Unpin),
    what: &T,
) -> io::Result<()> {
    let body = serde_json::to_vec(what).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let frame = [&length.to_be_bytes()[..], &body].concat();
    to.write_all(&frame).await?;
    to.flush().await
}

/// Reads a frame; `None` at the end. Not cancel-safe.
pub(super) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("a frame of {length} bytes is too large")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    serde_json::from_slice(&body).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_frame_comes_as_it_was_sent_and_no_peer_makes_it_large() {
        let mut bytes = Vec::new();
        send(&mut bytes, &Ask::Stop { report: Some("reports".into()) }).await.unwrap();
        let mut rest = &bytes[..];
        let Some(Ask::Stop { report }) = receive(&mut rest).await.unwrap() else {
            panic!("another frame")
        };
        assert_eq!(report, Some("reports".into()));
        assert!(receive::<Ask>(&mut rest).await.unwrap().is_none());
        assert!(receive::<Ask>(&mut &[0xff, 0xff, 0xff, 0xff, b'{'][..]).await.is_err());
        assert!(receive::<Ask>(&mut &[0, 0, 0, 9, b'"'][..]).await.is_err());
        assert!(receive::<Ask>(&mut &b"\0\0\0\x05\"run\""[..]).await.is_err());
    }
}
