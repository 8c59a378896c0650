//! The process itself, by the names that Prometheus' own clients use: read from `/proc` at each scrape.

use guard_core::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Clock ticks a second as `/proc` counts them: part of Linux's interface to programs.
const TICKS: f64 = 100.0;

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    started: i64,
}

impl Process {
    pub(super) fn new(started: Timestamp) -> Self {
        Self { started: started.as_second() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        gauge("process_start_time_seconds", "When the process started", self.started)?;
        gauge("process_resident_memory_bytes", "Memory in use", resident().unwrap_or(0))?;
        gauge("process_open_fds", "Open files and connections", i64::try_from(files).unwrap_or(0))?;
        let seconds = ConstCounter::new(processor_seconds().unwrap_or(0.0));
        let kind = seconds.metric_type();
        let help = "Processors' time taken";
        seconds.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)
    }
}

/// Bytes.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// User's and system's time, fields 14 and 15: counted behind the name, which may hold anything.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11);
    let (user, system): (f64, f64) = (ticks.next()?.parse().ok()?, ticks.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}
