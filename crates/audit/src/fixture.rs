//! A record as a nightly backup leaves it, for tests.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use guard_core::{
    Certainty, ColumnName, DecisionKind, Denial, DenialCode, Detector, Digest, Effect, EndReason,
    EnforceAt, Grant, Identity, LeaseId, Mask, Object, ObjectKind, ObjectName, Platform,
    PolicyName, ResourceKind, ResourceName, RuleId, RunKey, Sensitive, SessionId, Step, Timestamp,
    Verb,
};

use crate::{
    ChainWriter, Event, GrantRecord, MaskedColumn, Outcome, Seal, SealingKey, StatementPhase,
};

/// The broker's own stream.
const BROKER: &str = "broker";
/// The gateway's stream.
const GATEWAY: &str = "eu-1-5f3c";

/// Builds a record, a second an entry.
pub(crate) struct Builder {
    pub(crate) lines: Vec<u8>,
    chain: ChainWriter,
    at: Timestamp,
    operations: u64,
    statements: u64,
}

pub(crate) fn session() -> SessionId {
    "0192a1b2-0000-7000-8000-000000000001".parse().unwrap()
}

pub(crate) fn resource() -> ResourceName {
    ResourceName::new("shop").unwrap()
}

pub(crate) fn identity() -> Identity {
    let claims = [
        ("actor", "octocat"),
        ("environment", "prod"),
        ("event_name", "schedule"),
        ("ref", "refs/heads/main"),
        ("repository", "octo-org/octo-repo"),
        ("repository_id", "456789"),
        ("run_attempt", "1"),
        ("run_id", "22259804324"),
        ("runner_environment", "github-hosted"),
        ("sha", "c040cae5bd9c9b3a3e2b7a5c4d1e0f9a8b7c6d5e"),
    ];
    Identity {
        platform: Platform::Github,
        issuer_name: "github".into(),
        run: RunKey {
            issuer: "https://token.actions.githubusercontent.com".into(),
            repository_id: "456789".into(),
            run_id: "22259804324".into(),
            attempt: "1".into(),
            job: "backup".into(),
        },
        subject: "repo:octo-org/octo-repo:environment:prod".into(),
        repository: "octo-org/octo-repo".into(),
        git_ref: "refs/heads/main".into(),
        event: "schedule".into(),
        workflow: "octo-org/octo-repo/.github/workflows/nightly.yml@refs/heads/main".into(),
        actor: "octocat".into(),
        run_url: Some("https://github.com/octo-org/octo-repo/actions/runs/22259804324".into()),
        claims: claims.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    }
}

/// What an operation in a fixture is.
pub(crate) struct Op<'a> {
    pub(crate) label: &'a str,
    pub(crate) text: &'a str,
    pub(crate) effects: Vec<Effect>,
    pub(crate) rule: &'a str,
    pub(crate) decision: DecisionKind,
    pub(crate) masks: Vec<Option<Mask>>,
    pub(crate) masked_columns: Vec<MaskedColumn>,
    /// Operations with the same are the same but for literals.
    pub(crate) fingerprint: &'a str,
}

pub(crate) fn effect(verb: Verb, table: &str) -> Effect {
    Effect::new(verb, Object::named(ObjectKind::Table, ObjectName::qualified("public", table)))
}

pub(crate) fn read<'a>(text: &'a str, table: &str) -> Op<'a> {
    Op {
        label: "SELECT",
        text,
        effects: vec![effect(Verb::Read, table)],
        rule: "reads",
        decision: DecisionKind::Allow,
        masks: Vec::new(),
        masked_columns: Vec::new(),
        fingerprint: text,
    }
}

pub(crate) fn denial(what: &str) -> Denial {
    Denial {
        code: DenialCode::Rule,
        what: what.into(),
        rule: RuleId::new("destructive").unwrap(),
        policy: PolicyName::new("nightly-backup").unwrap(),
        detail: Some("schema changes go through migrations".into()),
        hint: Some("ask the owner of policy `nightly-backup`".into()),
    }
}

/// The outcome of a statement that was ended at a budget.
pub(crate) fn over_budget() -> Outcome {
    let exceeded = guard_core::Exceeded {
        budget: guard_core::Budget::RowsPerStatement,
        limit: 1000,
        ended: true,
    };
    Outcome { budget: Some(exceeded), error: Some("53400".into()), ..outcome(1000, 10, 0, 1) }
}

pub(crate) fn outcome(rows: u64, bytes: u64, masked: u64, micros: u64) -> Outcome {
    Outcome { rows, bytes, masked, micros, ..Outcome::default() }
}

impl Builder {
    pub(crate) fn new(identity: Identity, enforce_at: EnforceAt) -> Self {
        Self::admitted(identity, enforce_at, None)
    }

    /// With the reason for which the trust rule may be broad.
    pub(crate) fn admitted(
        identity: Identity,
        enforce_at: EnforceAt,
        trust_broad: Option<String>,
    ) -> Self {
        let at: Timestamp = "2026-11-21T02:00:00Z".parse().unwrap();
        let until: Timestamp = "2026-11-21T02:45:00Z".parse().unwrap();
        let mut builder =
            Self { lines: Vec::new(), chain: ChainWriter::new(), at, operations: 0, statements: 0 };
        let grant = Grant {
            resource: resource(),
            policy: PolicyName::new("nightly-backup").unwrap(),
            until,
        };
        builder.broker(Event::SessionOpened {
            session: session(),
            identity: Box::new(identity),
            trust_rule: "nightly-backup".into(),
            trust_digest: Digest::of("trust"),
            trust_broad,
            grants: vec![GrantRecord {
                grant,
                kind: ResourceKind::Postgres,
                enforce_at,
                policy_digest: Digest::of("policy"),
                mode: guard_core::Mode::Enforce,
            }],
            key_thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into(),
            until,
            broker_version: "0.1.0".into(),
        });
        builder.broker(Event::LeaseTaken {
            lease: lease(),
            resource: resource(),
            username: "backup_ro".into(),
            holder: "gateway eu-1".into(),
        });
        builder.gateway(Event::Connected {
            step: None,
            connection: 0,
            resource: resource(),
            enforced_at: enforce_at,
            point: "eu-1".into(),
            client: Sensitive::new("pg_dump".into()),
            database: "shop".into(),
        });
        builder
    }

    pub(crate) fn broker(&mut self, event: Event) {
        self.event(BROKER, &event);
    }

    pub(crate) fn gateway(&mut self, event: Event) {
        self.event(GATEWAY, &event);
    }

    fn event(&mut self, writer: &str, event: &Event) {
        self.at += jiff::SignedDuration::from_millis(137);
        self.chain.append_into(&mut self.lines, self.at, writer, event).unwrap();
    }

    /// Describes an operation and gives its number.
    pub(crate) fn operation(&mut self, op: Op<'_>) -> u64 {
        let number = self.operations;
        self.operations += 1;
        let rule = RuleId::new(op.rule).unwrap();
        let trace = op.effects.iter().map(|effect| Step {
            effect: Some(effect.clone()),
            rule: rule.clone(),
            decision: op.decision,
            why: Arc::from("the rule names this effect"),
        });
        let trace = trace.collect();
        self.gateway(Event::Operation {
            operation: number,
            resource: resource(),
            label: op.label.into(),
            text: Sensitive::new(op.text.into()),
            fingerprint: Digest::of(op.fingerprint),
            effects: op.effects,
            certainty: Certainty::Exact,
            decision: op.decision,
            rule,
            trace,
            masks: op.masks,
            masked_columns: op.masked_columns,
            details: None,
            unlisted: false,
            rows_learned: None,
        });
        number
    }

    /// A statement that goes on although it would be refused.
    pub(crate) fn observed(&mut self, operation: u64, denial: Denial) {
        let statement = self.statements;
        self.statements += 1;
        self.gateway(Event::Statement {
            statement,
            connection: 0,
            operation,
            phase: StatementPhase::Execute,
            would_refuse: Some(Box::new(denial)),
            estimated_rows: None,
            text: None,
            approval: None,
        });
        self.gateway(Event::Finished { statement, outcome: Outcome::default() });
    }

    /// A statement that goes on; its outcome, if it has one.
    pub(crate) fn statement(&mut self, operation: u64, outcome: Option<Outcome>) {
        let statement = self.statements;
        self.statements += 1;
        let phase = StatementPhase::Execute;
        self.gateway(Event::Statement {
            statement,
            connection: 0,
            operation,
            phase,
            would_refuse: None,
            estimated_rows: None,
            text: None,
            approval: None,
        });
        if let Some(outcome) = outcome {
            self.gateway(Event::Finished { statement, outcome });
        }
    }

    /// A statement that goes on, with rows of its answer.
    pub(crate) fn answered(&mut self, operation: u64, columns: &[&str], rows: Vec<crate::Row>) {
        let statement = self.statements;
        let kept = crate::Kept { rows: rows.len() as u64, truncated: true };
        self.statement(operation, None);
        self.gateway(Event::Rows {
            statement,
            columns: Some(Sensitive::new(columns.iter().map(|&name| name.to_owned()).collect())),
            rows: Sensitive::new(rows),
        });
        let outcome = Outcome { kept: Some(kept), ..outcome(1_000, 10, 0, 1) };
        self.gateway(Event::Finished { statement, outcome });
    }

    /// A statement whose operation has no literals, with its own text. It is not answered.
    pub(crate) fn statement_with(&mut self, operation: u64, text: &str) {
        let statement = self.statements;
        self.statements += 1;
        let phase = StatementPhase::Execute;
        let text = Some(Sensitive::new(text.into()));
        self.gateway(Event::Statement {
            statement,
            connection: 0,
            operation,
            phase,
            would_refuse: None,
            estimated_rows: None,
            text,
            approval: None,
        });
    }

    pub(crate) fn refuse(&mut self, operation: u64, denial: Denial) {
        let statement = self.statements;
        self.statements += 1;
        self.gateway(Event::Refused {
            statement,
            connection: 0,
            operation,
            denial,
            estimated_rows: None,
            text: None,
            approval: None,
        });
    }

    pub(crate) fn end(&mut self) {
        self.gateway(Event::Disconnected { connection: 0, reason: None });
        self.broker(Event::LeaseReleased { lease: lease(), problem: None });
        self.broker(Event::SessionEnded {
            reason: EndReason::Finished,
            exit_code: Some(3),
            note: None,
        });
    }

    pub(crate) fn seal(&self, key: &SealingKey) -> Vec<u8> {
        Seal::line(session(), &self.chain, self.at, key).unwrap()
    }

    pub(crate) fn sealed(mut self, key: &SealingKey) -> Vec<u8> {
        self.end();
        let seal = self.seal(key);
        self.lines.extend_from_slice(&seal);
        self.lines
    }
}

fn lease() -> LeaseId {
    "0192a1b2-0000-7000-8000-00000000000a".parse().unwrap()
}

/// A backup that reads two tables, one of them masked, and then tries to drop one.
pub(crate) fn backup() -> Builder {
    let mut builder = Builder::new(identity(), EnforceAt::Gateway);
    let orders = builder.operation(read("SELECT * FROM public.orders", "orders"));
    builder.statement(orders, Some(outcome(250_000, 19_400_000, 0, 812_345)));
    let customers = builder.operation(Op {
        label: "COPY",
        masks: vec![None, Some(Mask::Partial), Some(Mask::Hash)],
        masked_columns: vec![masked(1, "full_name", Mask::Partial), masked(2, "email", Mask::Hash)],
        ..read("COPY public.customers (id, full_name, email) TO stdout;", "customers")
    });
    let detected = BTreeMap::from([(Detector::Card, 2)]);
    let left = Outcome { detected, ..outcome(120_000, 8_600_000, 240_000, 403_120) };
    builder.statement(customers, Some(left));
    let drop = builder.operation(Op {
        label: "DROP TABLE",
        rule: "destructive",
        decision: DecisionKind::Block,
        effects: vec![effect(Verb::Drop, "customers")],
        ..read("DROP TABLE public.customers CASCADE", "customers")
    });
    builder.refuse(drop, denial("blocked DROP on `public.customers`"));
    builder
}

fn masked(output: u32, column: &str, mask: Mask) -> MaskedColumn {
    let table = ObjectName::qualified("public", "customers");
    MaskedColumn { output, column: ColumnName { table, column: column.into() }, mask }
}

/// No claims but one, to keep a record short.
pub(crate) fn short_identity() -> Identity {
    Identity { claims: BTreeMap::from([("sub".into(), "s".into())]), ..identity() }
}
