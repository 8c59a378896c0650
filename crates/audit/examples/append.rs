//! What appending costs: two entries a statement, as the broker writes them, to a file, with and without the seals of segments.
//!
//! ```text
//! cargo run --release -p guard-audit --example append
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::{
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use guard_audit::{AtRest, ChainWriter, Event, Outcome, SealingKey, StatementPhase};
use guard_core::Timestamp;

/// Statements of a round.
const STATEMENTS: u64 = 50_000;
/// Statements of a request.
const TOGETHER: u64 = 64;

fn events(statement: u64) -> [Event; 2] {
    let phase = StatementPhase::Execute;
    let text = Some(format!("SELECT * FROM public.orders WHERE id = {statement}"));
    let text = text.map(|text| serde_json::from_value(text.into()).unwrap());
    [
        Event::Statement {
            statement,
            connection: 0,
            operation: 7,
            phase,
            would_refuse: None,
            text,
            estimated_rows: None,
            approval: None,
        },
        Event::Finished {
            statement,
            outcome: Outcome { rows: 1, bytes: 120, micros: 85, ..Outcome::default() },
        },
    ]
}

/// Microseconds a statement without and for `fdatasync`, and the bytes.
fn round(seals: bool, key: &SealingKey) -> (f64, f64, Vec<u8>) {
    let path = std::env::temp_dir().join(format!("guard-append-{}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    let session = "0192a1b2-0000-7000-8000-000000000001".parse().unwrap();
    let mut chain = ChainWriter::new();
    let made: Vec<_> = (0..STATEMENTS).flat_map(events).collect();
    let started = Instant::now();
    let mut syncing = Duration::ZERO;
    for batch in made.chunks(TOGETHER as usize * 2) {
        let now = Timestamp::now();
        let mut lines = Vec::with_capacity(batch.len() * 512);
        for event in batch {
            chain.append_into(&mut lines, now, "shim-1", event).unwrap();
        }
        if seals && chain.is_due(now) {
            chain.seal_segment_into(&mut lines, session, now, key).unwrap();
        }
        file.write_all(&lines).unwrap();
        let written = Instant::now();
        file.sync_data().unwrap();
        syncing += written.elapsed();
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / STATEMENTS as f64;
    let took = started.elapsed() - syncing;
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (each(took), each(syncing), bytes)
}

fn main() {
    let key = SealingKey::generate().unwrap();
    let (mut plain, mut sealed, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    let mut record = Vec::new();
    for _ in 0..5 {
        plain.push(round(false, &key).0);
        let (took, syncing, bytes) = round(true, &key);
        sealed.push(took);
        syncs.push(syncing);
        record = bytes;
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let (plain, sealed, syncs) = (median(plain), median(sealed), median(syncs));
    println!("appending, µs a statement: {plain:.2} without seals of segments, {sealed:.2} with");
    println!("fdatasync, one for {TOGETHER} statements: {syncs:.2} µs a statement more");
    let started = Instant::now();
    let mut rest = AtRest::new().unwrap();
    let mut at_rest = 0;
    for piece in record.chunks(1 << 17) {
        at_rest += rest.push(piece).unwrap().len();
    }
    at_rest += rest.finish().unwrap().len();
    let took = started.elapsed().as_secs_f64() * 1e6 / STATEMENTS as f64;
    println!("at rest: {} of {} bytes, {took:.2} µs a statement", at_rest, record.len());
}
