//! The ways to the database, and one measurement by each of them.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use guard_tests::{
    Stage,
    postgres::{PASSWORD, SUPERUSER},
    process::{Process, wait_for},
    script,
};

use super::bouncer;

/// A way that something is measured by.
pub(super) trait Route {
    fn name(&self) -> &'static str;
    /// The programs between client and server, with their processes.
    fn between(&self) -> &[(&'static str, u32)];
}

/// A way to the database.
pub(crate) struct Way {
    pub(super) name: &'static str,
    url: String,
    programs: PathBuf,
    pub(super) between: Vec<(&'static str, u32)>,
}

impl Route for Way {
    fn name(&self) -> &'static str {
        self.name
    }

    fn between(&self) -> &[(&'static str, u32)] {
        &self.between
    }
}

/// A client program at the end of a way.
pub(super) struct Client {
    pub(super) way: &'static str,
    program: PathBuf,
    url: String,
}

impl Way {
    pub(super) fn client(&self, program: &str) -> Client {
        Client { way: self.name, program: self.programs.join(program), url: self.url.clone() }
    }

    /// Kilobytes of memory that each program between has now of its own (`RssAnon`, proc(5)).
    pub(super) fn resident(&self) -> Vec<f64> {
        let of = |pid: u32| -> Option<f64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
            line.split_whitespace().next()?.parse().ok()
        };
        self.between.iter().map(|(_, pid)| of(*pid).unwrap_or(f64::NAN)).collect()
    }
}

impl Client {
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.url);
        command
    }
}

/// All ways, and what keeps them open.
pub(super) struct Ways {
    pub(super) all: Vec<Way>,
    _bouncer: Process,
    _run: Process,
}

impl Ways {
    /// Opens them: a bouncer, and a run that lasts as long as the bench.
    pub(super) fn open(stage: &Stage) -> Result<Self> {
        let (bouncer, port) = bouncer::start(stage)?;
        let run = hold(stage)?;
        let variable = |wanted: &str| variable(stage, wanted);
        let programs = stage.postgres.programs().to_path_buf();
        let at = |port: u16| {
            format!("postgres://{SUPERUSER}:{PASSWORD}@127.0.0.1:{port}/shop?sslmode=disable")
        };
        let way = |name, url, between| Way { name, url, programs: programs.clone(), between };
        let gateway = stage.gateway.as_ref().context("the stage has no gateway")?.pid();
        let gateway = ("gateway", gateway);
        let (shim, broker) = (("shim", run.pid()), ("broker", stage.broker.pid()));
        let all = vec![
            way("direct", at(stage.postgres.port), Vec::new()),
            way("pgbouncer", at(port), vec![("pgbouncer", bouncer.pid())]),
            way("gateway", variable("GUARD_SHOP_URL")?, vec![shim, gateway, broker]),
            way("shim", variable("GUARD_SHOP_AT_SHIM_URL")?, vec![shim, broker]),
        ];
        Ok(Self { all, _bouncer: bouncer, _run: run })
    }
}

/// A run that lasts as long as what is given is kept; its command's environment is in the stage's file `variables`.
pub(super) fn hold(stage: &Stage) -> Result<Process> {
    let file = stage.dir().join("variables");
    // Another run may have left some.
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let text =
        format!("env > {0}.part && mv {0}.part {0} && while :; do sleep 5; done", file.display());
    let run = stage.spawn("held", &script(&text))?;
    wait_for("run", || file.exists().then_some(()))
        .with_context(|| format!("the run said: {}", run.log()))?;
    Ok(run)
}

/// What a run that is held has in its environment.
pub(super) fn variable(stage: &Stage, wanted: &str) -> Result<String> {
    let variables = fs::read_to_string(stage.dir().join("variables"))?;
    let found = variables.lines().find_map(|line| line.strip_prefix(wanted));
    let value = found.and_then(|rest| rest.strip_prefix('='));
    Ok(value.with_context(|| format!("the run has no {wanted}"))?.to_owned())
}

/// What one measurement gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// The figure of the table.
    pub(super) value: f64,
    /// How many transactions or megabytes it took, for the time of the processors.
    pub(super) units: f64,
}

/// What was measured at one way.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(super) values: Vec<f64>,
    /// Microseconds of processor that each program between took for each unit.
    pub(super) cpu: Vec<(&'static str, Vec<f64>)>,
}

/// How a cell is measured at a way.
type Measure<R> = Box<dyn Fn(&R) -> Result<Sample>>;

/// One line of the table.
pub(crate) struct Cell<R = Way> {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) figures: Vec<(&'static str, Figures)>,
    measure: Measure<R>,
}

impl<R: Route> Cell<R> {
    pub(super) fn new(
        name: &str,
        unit: &'static str,
        measure: impl Fn(&R) -> Result<Sample> + 'static,
    ) -> Self {
        Self { name: name.into(), unit, figures: Vec::new(), measure: Box::new(measure) }
    }

    /// Measures at every way; each round begins with another one.
    pub(super) fn measure(&mut self, ways: &[R], round: usize) -> Result<()> {
        let count = ways.len();
        for way in ways.iter().cycle().skip(round % count).take(count) {
            let between = way.between();
            let before = cpu_time(between);
            let sample = (self.measure)(way)?;
            let after = cpu_time(between);
            if !self.figures.iter().any(|(name, _)| *name == way.name()) {
                self.figures.push((way.name(), Figures::default()));
            }
            for (_, figures) in self.figures.iter_mut().filter(|(name, _)| *name == way.name()) {
                figures.values.push(sample.value);
                if figures.cpu.is_empty() {
                    figures.cpu = between.iter().map(|(name, _)| (*name, vec![])).collect();
                }
                let taken = before.iter().zip(&after).map(|(before, after)| after - before);
                for ((_, cpu), taken) in figures.cpu.iter_mut().zip(taken) {
                    cpu.push(taken / sample.units.max(1.0));
                }
            }
        }
        Ok(())
    }

    /// The median at a way.
    pub(super) fn median(&self, way: &str) -> Option<f64> {
        self.of(way).and_then(|figures| median(&figures.values))
    }

    /// The medians of the processors' time for each unit at a way, by program.
    pub(super) fn cpu(&self, way: &str) -> Vec<(&'static str, f64)> {
        let programs = self.of(way).map(|figures| figures.cpu.as_slice()).unwrap_or_default();
        programs.iter().filter_map(|(name, cpu)| Some((*name, median(cpu)?))).collect()
    }

    fn of(&self, way: &str) -> Option<&Figures> {
        self.figures.iter().find(|(name, _)| *name == way).map(|(_, figures)| figures)
    }
}

/// The middle of some numbers.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn cpu_time(programs: &[(&'static str, u32)]) -> Vec<f64> {
    programs.iter().map(|(_, pid)| cpu_time_of(*pid).unwrap_or(f64::NAN)).collect()
}

/// Microseconds of processor that a program has taken so far.
pub(super) fn cpu_time_of(pid: u32) -> Option<f64> {
    /// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that Rust runs on.
    const TICK: f64 = 10_000.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything, `utime` and `stime` are the 12th and 13th (proc(5)).
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK)
}
