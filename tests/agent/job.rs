//! A job with a session: what its steps do.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use guard_tests::{Builder, Finished, Stage, process::Process};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A stage whose job has opened a session.
pub(super) struct Job {
    pub(super) stage: Stage,
    pub(super) socket: PathBuf,
}

impl Job {
    pub(super) fn start(builder: Builder) -> Self {
        let stage = builder.start().unwrap();
        let socket = socket_of(&start(&stage, &[]).ok().text());
        Self { stage, socket }
    }

    /// `guard session …`, as a step of the job.
    pub(super) fn session(&self, arguments: &[&str]) -> Finished {
        let arguments = [&["session"], arguments].concat();
        let mut command = self.stage.step(&arguments);
        command.env("GUARD_SESSION", &self.socket).output().unwrap().into()
    }

    pub(super) fn status(&self) -> Value {
        serde_json::from_str(&self.session(&["status", "--json"]).ok().text()).unwrap()
    }

    /// `guard run … -- sh -c TEXT`, as a step of the job.
    pub(super) fn run_with(&self, options: &[&str], text: &str) -> Command {
        let arguments = [&["run"], options, &["--", "sh", "-c", text]].concat();
        let mut command = self.stage.step(&arguments);
        if !options.contains(&"--isolation") {
            command.env("GUARD_ISOLATION", "env");
        }
        command.env("GUARD_SESSION", &self.socket);
        command
    }

    pub(super) fn run(&self, options: &[&str], text: &str) -> Finished {
        self.run_with(options, text).output().unwrap().into()
    }

    pub(super) fn spawn(&self, name: &str, options: &[&str], text: &str) -> Process {
        let log = self.stage.dir().join(format!("{name}.log"));
        Process::start(name, &mut self.run_with(options, text), &log).unwrap()
    }

    pub(super) fn agent(&self) -> Pid {
        agent_of(&self.stage).expect("no agent")
    }

    pub(super) fn log(&self) -> String {
        let log = self.socket.parent().unwrap().join("log");
        std::fs::read_to_string(log).unwrap_or_default()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.stage.dir().join(name)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // It outlives the step that started it, and must not outlive the test.
        if let Some(agent) = agent_of(&self.stage) {
            let _gone = kill_process(agent, Signal::KILL);
        }
        drop(std::fs::remove_dir_all(self.socket.parent().unwrap()));
    }
}

/// `guard session start`.
pub(super) fn start(stage: &Stage, options: &[&str]) -> Finished {
    let reports = stage.reports().display().to_string();
    let arguments =
        [&["session", "start", "--broker", &stage.url, "--report", &reports], options].concat();
    stage.step(&arguments).output().unwrap().into()
}

pub(super) fn socket_of(printed: &str) -> PathBuf {
    let (_, path) = printed.trim().split_once("GUARD_SESSION=").unwrap();
    Path::new(path.trim_matches('\'')).to_owned()
}

/// The agent of a stage's broker, by its arguments, which everybody may see.
pub(super) fn agent_of(stage: &Stage) -> Option<Pid> {
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        (arguments.contains("\0session\0agent\0") && arguments.contains(&stage.url))
            .then(|| Pid::from_raw(number))?
    })
}
