//! What the broker counts, for Prometheus. The list stands in `docs/operations.md`, and a test compares the two.
//!
//! INVARIANT: no label has a value that a caller chooses. Each family is there from the start with all its labels, so that
//! a rate is known from the first event on, and what a label may hold stands in this file.

mod process;

use std::time::Duration;

use guard_core::{ApprovalState, EndReason, Timestamp};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{
    error::Refusal,
    store::{LeaseState, Store},
};

/// What came of exchanges: `granted`, or the error that was answered.
pub(crate) const EXCHANGES: [&str; 8] = [
    GRANTED,
    "invalid_request",
    "invalid_scope",
    "unsupported_grant_type",
    "invalid_dpop_proof",
    "invalid_grant",
    "access_denied",
    "temporarily_unavailable",
];
const GRANTED: &str = "granted";
/// What stands for an error that is not in the list.
const SERVER_ERROR: &str = "server_error";
/// A scrape waits no longer for the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);
const END_REASONS: [EndReason; 5] = [
    EndReason::Finished,
    EndReason::Expired,
    EndReason::Revoked,
    EndReason::Lost,
    EndReason::Unrecorded,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct One {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    what: &'static str,
    outcome: &'static str,
}

/// What is read again while the broker runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reloaded {
    /// The configuration, its trust rules and policies.
    Configuration,
    /// Certificate and key.
    Tls,
}

/// The counters of this process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    exchanges: Family<One, Counter>,
    exchange_seconds: Histogram,
    requests: Family<Answer, Counter>,
    request_seconds: Family<Route, Histogram>,
    connections: Gauge,
    connections_refused: Counter,
    sessions_ended: Family<Reason, Counter>,
    sessions: Family<State, Gauge>,
    leases: Family<State, Gauge>,
    approvals: Family<State, Counter>,
    gateways: Family<State, Gauge>,
    record_events: Counter,
    record_failures: Counter,
    store_up: Gauge,
    store_connections: Family<State, Gauge>,
    reloads: Family<Reload, Counter>,
    configuration_current: Gauge,
    certificate_expires: Gauge,
}

impl Metrics {
    /// All of them, at nought.
    pub(crate) fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let mut registry = Registry::default();
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let metrics = Self {
            exchanges: Family::default(),
            exchange_seconds: seconds(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 8))
            }),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            sessions_ended: Family::default(),
            sessions: Family::default(),
            leases: Family::default(),
            approvals: Family::default(),
            gateways: Family::default(),
            record_events: Counter::default(),
            record_failures: Counter::default(),
            store_up: Gauge::default(),
            store_connections: Family::default(),
            reloads: Family::default(),
            configuration_current: Gauge::default(),
            certificate_expires: Gauge::default(),
            registry: Registry::default(),
        };
        metrics.name(&mut registry);
        metrics.begin(routes);
        registry.register_collector(Box::new(process::Process::new(Timestamp::now())));
        Self { registry, ..metrics }
    }

    fn name(&self, to: &mut Registry) {
        let version = Family::<Vec<(&str, &str)>, Gauge>::default();
        version.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
        to.register("guard_build_info", "The broker's version", version);
        let (exchanges, seconds) = (self.exchanges.clone(), self.exchange_seconds.clone());
        to.register(
            "guard_exchanges",
            "Exchanges of identity tokens, by what came of them",
            exchanges,
        );
        to.register("guard_exchange_seconds", "Time that exchanges took", seconds);
        let (requests, seconds) = (self.requests.clone(), self.request_seconds.clone());
        to.register("guard_requests", "Requests, by route and class of status", requests);
        to.register("guard_request_seconds", "Time that requests took; polls wait", seconds);
        let (open, refused) = (self.connections.clone(), self.connections_refused.clone());
        to.register("guard_connections", "Open connections to this broker", open);
        to.register("guard_connections_refused", "Connections that were one too many", refused);
        let ended = self.sessions_ended.clone();
        to.register("guard_sessions_ended", "Sessions that this broker took to their end", ended);
        let sessions = self.sessions.clone();
        to.register("guard_sessions", "Sessions of the store that are not over and done", sessions);
        let help = "Requests for people's approval, by what they came to";
        to.register("guard_approvals", help, self.approvals.clone());
        to.register("guard_leases", "Leases of the store, by state", self.leases.clone());
        to.register("guard_gateways", "Gateways of the store, by state", self.gateways.clone());
        let (events, failures) = (self.record_events.clone(), self.record_failures.clone());
        to.register("guard_record_events", "Events that were appended to records", events);
        to.register(
            "guard_record_failures",
            "Appends that failed, and with them statements",
            failures,
        );
        to.register(
            "guard_store_up",
            "Whether the store answered this scrape",
            self.store_up.clone(),
        );
        let connections = self.store_connections.clone();
        to.register(
            "guard_store_connections",
            "This broker's connections to the store",
            connections,
        );
        let reloads = self.reloads.clone();
        to.register("guard_reloads", "Files that were read again, by what came of it", reloads);
        let current = self.configuration_current.clone();
        let help = "Whether the broker runs by the files as they are; 0 when it refused them";
        to.register("guard_configuration_current", help, current);
        let expires = self.certificate_expires.clone();
        let help = "When the certificate that is shown expires, in seconds; 0 without TLS";
        to.register("guard_certificate_expires_timestamp_seconds", help, expires);
    }

    /// Each label is there before the first event.
    fn begin(&self, routes: impl Iterator<Item = (&'static str, &'static str)>) {
        for outcome in EXCHANGES.into_iter().chain([SERVER_ERROR]) {
            drop(self.exchanges.get_or_create(&One { outcome }));
        }
        for (method, route) in routes {
            for status in CLASSES {
                drop(self.requests.get_or_create(&Answer { method, route, status }));
            }
            drop(self.request_seconds.get_or_create(&Route { method, route }));
        }
        for reason in END_REASONS.map(EndReason::as_str) {
            drop(self.sessions_ended.get_or_create(&Reason { reason }));
        }
        for state in ["live", "ending"] {
            drop(self.sessions.get_or_create(&State { state }));
        }
        for (state, _) in LeaseState::WORDS {
            drop(self.leases.get_or_create(&State { state }));
        }
        for state in ApprovalState::ALL.map(ApprovalState::as_str) {
            drop(self.approvals.get_or_create(&State { state }));
        }
        for state in ["ready", "draining", "silent", "invited"] {
            drop(self.gateways.get_or_create(&State { state }));
        }
        for state in ["idle", "busy"] {
            drop(self.store_connections.get_or_create(&State { state }));
        }
        for what in [Reloaded::Configuration, Reloaded::Tls].map(Reloaded::as_str) {
            for outcome in ["applied", "refused"] {
                drop(self.reloads.get_or_create(&Reload { what, outcome }));
            }
        }
        self.configuration_current.set(1);
    }

    /// An exchange came to its end: `None` where a session was given.
    pub(crate) fn exchanged(&self, error: Option<&'static str>, took: Duration) {
        let outcome = match error {
            None => GRANTED,
            Some(error) if EXCHANGES.contains(&error) => error,
            Some(_) => SERVER_ERROR,
        };
        self.exchanges.get_or_create(&One { outcome }).inc();
        self.exchange_seconds.observe(took.as_secs_f64());
    }

    /// A request was answered. `route` is one of the router's.
    pub(crate) fn answered(
        &self,
        (method, route): (&'static str, &'static str),
        status: u16,
        took: Duration,
    ) {
        let status = match status {
            0..=299 => "2xx",
            300..=499 => "4xx",
            500.. => "5xx",
        };
        self.requests.get_or_create(&Answer { method, route, status }).inc();
        self.request_seconds.get_or_create(&Route { method, route }).observe(took.as_secs_f64());
    }

    /// A connection is open, until what this gives is dropped.
    pub(crate) fn connected(&self) -> impl Drop + use<> {
        struct Open(Gauge);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.connections.inc();
        Open(self.connections.clone())
    }

    /// A connection was one too many.
    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// A session was taken to its end.
    pub(crate) fn ended(&self, reason: EndReason) {
        self.sessions_ended.get_or_create(&Reason { reason: reason.as_str() }).inc();
    }

    /// A request for people's approval came to this state.
    pub(crate) fn approval(&self, state: ApprovalState) {
        self.approvals.get_or_create(&State { state: state.as_str() }).inc();
    }

    /// Events were appended to a record.
    pub(crate) fn appended(&self, events: usize) {
        self.record_events.inc_by(events as u64);
    }

    /// Events could not be appended to a record.
    pub(crate) fn append_failed(&self) {
        self.record_failures.inc();
    }

    /// Files were read again.
    pub(crate) fn reloaded(&self, what: Reloaded, applied: bool) {
        let outcome = if applied { "applied" } else { "refused" };
        self.reloads.get_or_create(&Reload { what: what.as_str(), outcome }).inc();
    }

    /// Whether the broker runs by the files as they are.
    pub(crate) fn set_current(&self, current: bool) {
        self.configuration_current.set(i64::from(current));
    }

    /// When the certificate that is shown expires, in seconds.
    pub(crate) fn set_certificate_expires(&self, at: i64) {
        self.certificate_expires.set(at);
    }

    /// All of them as text (OpenMetrics), with what the store says now. `gateways`: how many there are, by state.
    pub(crate) async fn text(
        &self,
        store: &Store,
        gateways: impl Future<Output = Result<Vec<(&'static str, i64)>, Refusal>>,
    ) -> Result<String, std::fmt::Error> {
        let counted = tokio::time::timeout(STORE_TIMEOUT, self.count(store, gateways)).await;
        self.store_up.set(i64::from(matches!(counted, Ok(Ok(())))));
        let (idle, busy) = store.connections();
        for (state, number) in [("idle", idle), ("busy", busy)] {
            self.store_connections.get_or_create(&State { state }).set(number);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    async fn count(
        &self,
        store: &Store,
        gateways: impl Future<Output = Result<Vec<(&'static str, i64)>, Refusal>>,
    ) -> Result<(), Refusal> {
        let counts = store.counts().await?;
        for (state, number) in [("live", counts.live), ("ending", counts.ending)] {
            self.sessions.get_or_create(&State { state }).set(number);
        }
        for (state, _) in LeaseState::WORDS {
            let count = counts.leases.iter().find(|(found, _)| found == state);
            self.leases.get_or_create(&State { state }).set(count.map_or(0, |(_, count)| *count));
        }
        for (state, number) in gateways.await? {
            self.gateways.get_or_create(&State { state }).set(number);
        }
        Ok(())
    }
}

const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

impl Reloaded {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Tls => "tls",
        }
    }
}
