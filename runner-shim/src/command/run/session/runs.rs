//! The runs of a session, as its agent knows them.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::OwnedFd,
};

use guard_core::{
    EndReason, Isolation, ResourceName, StepName,
    control::{Notice, RunStep, StepCounts},
};
use rustix::net::{RecvFlags, recv};
use tokio::sync::mpsc;

use super::{
    super::{FAILED, PARKED, watch::is_parked},
    wire::{RunState, RunStatus, Said},
};

/// Runs of a session: as many as a record tells of.
const MAX_RUNS: u32 = 1_000;

/// All runs, by number.
#[derive(Default)]
pub(super) struct Runs {
    runs: BTreeMap<u32, Run>,
    counts: BTreeMap<u32, StepCounts>,
    over: Option<EndReason>,
}

struct Run {
    name: Option<StepName>,
    process: i32,
    resources: HashSet<ResourceName>,
    isolation: Option<Isolation>,
    state: RunState,
    exit_code: Option<u8>,
    parked: bool,
    /// To the run, while it is there.
    to: Option<mpsc::UnboundedSender<Said>>,
    /// Its connection, to see whether it is still there.
    line: OwnedFd,
}

impl Runs {
    /// Takes a run, and gives its number.
    pub(super) fn attach(
        &mut self,
        name: Option<StepName>,
        process: i32,
        resources: HashSet<ResourceName>,
        line: OwnedFd,
        to: mpsc::UnboundedSender<Said>,
    ) -> Result<u32, String> {
        if let Some(reason) = self.over {
            return Err(format!("the session is over: {reason}"));
        }
        let number = u32::try_from(self.runs.len()).unwrap_or(u32::MAX).saturating_add(1);
        if number > MAX_RUNS {
            return Err(format!("a session has {MAX_RUNS} runs at most"));
        }
        let run = Run {
            name,
            process,
            resources,
            isolation: None,
            state: RunState::Attached,
            exit_code: None,
            parked: false,
            to: Some(to),
            line,
        };
        self.runs.insert(number, run);
        Ok(number)
    }

    /// The processes of the runs that are attached.
    pub(super) fn processes(&self) -> HashSet<i32> {
        self.attached().map(|run| run.process).collect()
    }

    /// Whether a run has gone that nobody noticed yet, and left a command that only its ancestors kept from the agent. A process's
    /// connections end before the kernel gives its children to others.
    pub(super) fn one_is_gone(&self) -> bool {
        self.attached().filter(|run| run.isolation == Some(Isolation::Env)).any(|run| {
            let mut byte = [0_u8];
            match recv(&run.line, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((_, length)) => length == 0,
                Err(error) => error != rustix::io::Errno::AGAIN,
            }
        })
    }

    /// Whether a process is an attached run whose command's isolation is recorded, and that may use a resource.
    pub(super) fn may(&self, number: u32, process: i32, resource: Option<&ResourceName>) -> bool {
        self.runs.get(&number).is_some_and(|run| {
            run.state == RunState::Attached
                && run.isolation.is_some()
                && run.process == process
                && resource.is_none_or(|resource| run.resources.contains(resource))
        })
    }

    /// How the record names a run.
    pub(super) fn step(&self, number: u32) -> Option<RunStep> {
        let run = self.runs.get(&number)?;
        Some(RunStep { number, name: run.name.clone() })
    }

    /// It is recorded that a run's command is about to be run at this level.
    pub(super) fn isolated(&mut self, number: u32, level: Isolation) {
        if let Some(run) = self.runs.get_mut(&number) {
            // The weakest counts, should it say so twice.
            run.isolation = Some(run.isolation.map_or(level, |known| known.min(level)));
        }
    }

    /// A run has gone: with its exit code, or without a word. `true`: what it left behind may be out of its hands, because its command
    /// was not kept from the agent by anything but its ancestors.
    pub(super) fn gone(&mut self, number: u32, exit_code: Option<u8>) -> bool {
        let Some(run) = self.runs.get_mut(&number) else { return false };
        run.to = None;
        run.exit_code = exit_code;
        run.state = if exit_code.is_some() { RunState::Finished } else { RunState::Lost };
        exit_code.is_none() && run.isolation == Some(Isolation::Env)
    }

    /// Tells a run, or all where it is nobody's in particular.
    pub(super) fn notice(&mut self, notice: &Notice) {
        for (number, run) in &mut self.runs {
            if notice.step.is_some_and(|step| step != *number) {
                continue;
            }
            run.parked |= is_parked(notice) && notice.step.is_some();
            if let Some(to) = &run.to {
                // One that goes does not hear it any more.
                drop(to.send(Said::Notice(notice.clone())));
            }
        }
    }

    /// Tells all that the session is over.
    pub(super) fn over(&mut self, reason: EndReason) {
        self.over.get_or_insert(reason);
        for to in self.runs.values().filter_map(|run| run.to.as_ref()) {
            drop(to.send(Said::Over(reason)));
        }
    }

    pub(super) fn count(&mut self, counts: &BTreeMap<u32, StepCounts>) {
        if !counts.is_empty() {
            self.counts.clone_from(counts);
        }
    }

    pub(super) fn counts(&self, number: u32) -> StepCounts {
        self.counts.get(&number).copied().unwrap_or_default()
    }

    pub(super) fn status(&self) -> Vec<RunStatus> {
        let status = |(number, run): (&u32, &Run)| RunStatus {
            number: *number,
            name: run.name.clone(),
            state: run.state,
            exit_code: run.exit_code,
            isolation: run.isolation,
            counts: self.counts(*number),
        };
        self.runs.iter().map(status).collect()
    }

    /// The exit code of the whole: the first run's that did not succeed.
    pub(super) fn exit_code(&self) -> u8 {
        if self.runs.values().any(|run| run.parked) {
            return PARKED;
        }
        let codes = self.runs.values().map(|run| match run.state {
            RunState::Attached | RunState::Lost => FAILED,
            RunState::Finished => run.exit_code.unwrap_or(FAILED),
        });
        codes.into_iter().find(|code| *code != 0).unwrap_or(0)
    }

    fn attached(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().filter(|run| run.state == RunState::Attached)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn attach(runs: &mut Runs, process: i32) -> (u32, std::os::unix::net::UnixStream) {
        let (own, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let resources = HashSet::from([ResourceName::new("orders").unwrap()]);
        let (to, _) = mpsc::unbounded_channel();
        (runs.attach(None, process, resources, own.into(), to).unwrap(), theirs)
    }

    #[test]
    fn a_run_uses_its_own_resources_as_itself_and_while_it_is_there() {
        let mut runs = Runs::default();
        let (first, line) = attach(&mut runs, 70);
        let (second, _other) = attach(&mut runs, 71);
        let (orders, archive) =
            (ResourceName::new("orders").unwrap(), ResourceName::new("archive").unwrap());
        assert!(!runs.may(first, 70, Some(&orders)), "nobody knows how its command is kept");
        runs.isolated(first, Isolation::Env);
        runs.isolated(second, Isolation::Landlock);
        assert!(runs.may(first, 70, Some(&orders)));
        assert!(!runs.may(first, 70, Some(&archive)));
        assert!(!runs.may(second, 70, Some(&orders)));
        assert!(!runs.may(3, 70, None));
        assert!(!runs.one_is_gone());
        drop(line);
        assert!(runs.one_is_gone());
        assert!(runs.gone(first, None));
        assert!(!runs.one_is_gone());
        assert!(!runs.may(first, 70, Some(&orders)));
        assert_eq!(runs.exit_code(), FAILED);
    }

    #[test]
    fn what_a_run_at_env_leaves_behind_may_be_free_when_it_was_killed() {
        for (level, said, expected) in [
            (Isolation::Env, None, true),
            (Isolation::Env, Some(0), false),
            (Isolation::Landlock, None, false),
            (Isolation::Strict, None, false),
        ] {
            let mut runs = Runs::default();
            let (number, _line) = attach(&mut runs, 70);
            runs.isolated(number, level);
            assert_eq!(runs.gone(number, said), expected, "{level} {said:?}");
        }
    }
}
