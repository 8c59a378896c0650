//! The gate's order, and that it fails closed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::future::{BoxFuture, FutureExt as _};
use guard_audit::{Event, Outcome, StatementPhase};
use guard_core::{
    ApprovalId, ApprovalState, ApprovalWait, Certainty, DenialCode, Digest, Effect, EndReason,
    EnforceAt, Identity, Object, ObjectKind, ObjectName, Operation, Outputs, Protocol,
    ResourceName, Sensitive, SessionId, SessionView, Timestamp, Verb, control::ApprovalStatus,
};
use guard_policy::Policy;
use tokio::sync::watch;

use crate::{
    Approvals, Ask, CannotAsk, ConnectionInfo, Context, Durability, Estimate, Gate, Question,
    RecordUnavailable, Recorder, SessionGate, Verdict,
};

const POLICY: &str = "
policy: test
rules:
  - name: reads
    sql: { effects: [read, insert] }
    decide: allow
";

#[derive(Default)]
struct Memory {
    events: Mutex<Vec<(Event, Option<Durability>)>>,
    full: AtomicBool,
    silent: AtomicBool,
}

impl Memory {
    fn names(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let name = |event: &Event| {
            serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned()
        };
        events.iter().map(|(event, _)| name(event)).collect()
    }

    fn last_durability(&self) -> Option<Durability> {
        self.events.lock().unwrap().iter().rev().find_map(|(_, durability)| *durability)
    }
}

impl Recorder for Memory {
    fn append(
        &self,
        events: Vec<Event>,
        durability: Durability,
    ) -> BoxFuture<'_, Result<(), RecordUnavailable>> {
        let result = if self.full.load(Ordering::Relaxed) {
            Err(RecordUnavailable { reason: "no space left on device".into() })
        } else {
            let events = events.into_iter().map(|event| (event, Some(durability)));
            self.events.lock().unwrap().extend(events);
            Ok(())
        };
        if self.silent.load(Ordering::Relaxed) {
            return std::future::pending().boxed();
        }
        async move { result }.boxed()
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push((event, None));
    }
}

/// Nobody can be asked.
struct Nobody;

impl Approvals for Nobody {
    fn ask(&self, _: Question) -> BoxFuture<'_, Result<ApprovalStatus, CannotAsk>> {
        async { Err(CannotAsk { reason: "nobody is there".into() }) }.boxed()
    }

    fn decided(
        self: Arc<Self>,
        _: ApprovalId,
    ) -> BoxFuture<'static, Result<ApprovalStatus, CannotAsk>> {
        async { Err(CannotAsk { reason: "nobody is there".into() }) }.boxed()
    }

    fn spend<'a>(
        &'a self,
        _: ApprovalId,
        _: &'a Question,
    ) -> BoxFuture<'a, Result<ApprovalStatus, CannotAsk>> {
        async { Err(CannotAsk { reason: "nobody is there".into() }) }.boxed()
    }

    fn cancel(&self, _: ApprovalId) {}
}

/// Somebody says yes, as soon as that is waited for.
#[derive(Default)]
struct Willing {
    used: AtomicUsize,
    taken_back: AtomicUsize,
}

fn status(id: ApprovalId, state: ApprovalState) -> ApprovalStatus {
    ApprovalStatus {
        id,
        state,
        wait: ApprovalWait::Hold,
        until: Timestamp::from_second(2_000).unwrap(),
        address: "https://guard.example/approvals/1".into(),
        by: Vec::new(),
        reason: None,
    }
}

impl Approvals for Willing {
    fn ask(&self, _: Question) -> BoxFuture<'_, Result<ApprovalStatus, CannotAsk>> {
        let id = ApprovalId::from_uuid(uuid::Uuid::nil());
        async move { Ok(status(id, ApprovalState::Waiting)) }.boxed()
    }

    fn decided(
        self: Arc<Self>,
        id: ApprovalId,
    ) -> BoxFuture<'static, Result<ApprovalStatus, CannotAsk>> {
        async move { Ok(status(id, ApprovalState::Granted)) }.boxed()
    }

    fn spend<'a>(
        &'a self,
        id: ApprovalId,
        _: &'a Question,
    ) -> BoxFuture<'a, Result<ApprovalStatus, CannotAsk>> {
        self.used.fetch_add(1, Ordering::Relaxed);
        async move { Ok(status(id, ApprovalState::Used)) }.boxed()
    }

    fn cancel(&self, _: ApprovalId) {
        self.taken_back.fetch_add(1, Ordering::Relaxed);
    }
}

struct Fixture {
    memory: Arc<Memory>,
    gate: Gate,
    end: watch::Sender<Option<EndReason>>,
    _policy: watch::Sender<Arc<Policy>>,
}

fn clock() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

async fn fixture(until: i64) -> Fixture {
    fixture_with(until, POLICY).await
}

async fn fixture_with(until: i64, policy: &str) -> Fixture {
    fixture_of(until, policy, Arc::new(Nobody)).await
}

async fn fixture_of(until: i64, policy: &str, approvals: Arc<dyn Approvals>) -> Fixture {
    let policy = Policy::parse("test.yaml", policy).expect("the policy parses");
    let (policy, policies) = watch::channel(Arc::new(policy));
    let (end, ended) = watch::channel(None);
    let memory = Arc::new(Memory::default());
    let view = SessionView {
        id: SessionId::from_uuid(uuid::Uuid::nil()),
        identity: Identity::example(),
        resource: ResourceName::new("orders").unwrap(),
        until: Timestamp::from_second(until).unwrap(),
    };
    let session = SessionGate::new(
        view,
        policies,
        ended,
        memory.clone(),
        approvals,
        clock,
        EnforceAt::Gateway,
        "gw".into(),
    );
    let info = ConnectionInfo { client: "psql".into(), database: "orders".into(), step: None };
    let gate = session.connection(info).await.unwrap();
    Fixture { memory, gate, end, _policy: policy }
}

fn operation(verb: Verb, text: &str) -> Arc<Operation> {
    let object = Object::named(ObjectKind::Table, ObjectName::qualified("public", "orders"));
    Arc::new(Operation {
        protocol: Protocol::Postgres,
        label: "TEST".into(),
        effects: vec![Effect::new(verb, object)],
        certainty: Certainty::Exact,
        outputs: Outputs::None,
        stores: Vec::new(),
        tested: Vec::new(),
        lifts_read_only: false,
        request: None,
        text: Sensitive::new(text.into()),
        fingerprint: Digest::of(verb.as_str()),
    })
}

fn ask(operation: &Arc<Operation>) -> Ask {
    Ask {
        operation: operation.clone(),
        phase: StatementPhase::Execute,
        text: None,
        estimate: Estimate::NotAsked,
        context: Context::default(),
    }
}

#[tokio::test]
async fn an_operation_is_recorded_before_its_permit_exists() {
    let f = fixture(2_000).await;
    let read = operation(Verb::Read, "SELECT 1");
    let Verdict::Forward(permits) = f.gate.judge(&[ask(&read)]).await else { panic!("refused") };
    assert_eq!(f.memory.names(), ["connected", "operation", "statement"]);
    for permit in permits {
        permit.spend().finish(Outcome::default());
    }
    assert_eq!(f.memory.names().last().unwrap(), "finished");
}

#[tokio::test]
async fn a_session_that_only_reads_cannot_be_made_to_write() {
    let f = fixture_with(2_000, &POLICY.replace("read, insert", "read, transaction")).await;
    assert!(f.gate.reads_only());
    let begin =
        Operation { lifts_read_only: true, ..(*operation(Verb::Transaction, "BEGIN")).clone() };
    let verdict = f.gate.judge(&[ask(&Arc::new(begin.clone()))]).await;
    let Verdict::Refuse { denial, .. } = verdict else { panic!("forwarded") };
    assert_eq!(denial.rule, guard_core::RuleId::built_in());

    let f = fixture_with(2_000, &POLICY.replace("read, insert", "read, transaction, insert")).await;
    assert!(!f.gate.reads_only());
    assert!(matches!(f.gate.judge(&[ask(&Arc::new(begin))]).await, Verdict::Forward(_)));
}

#[tokio::test]
async fn a_statement_whose_outcome_nobody_tells_is_recorded_as_lost() {
    let f = fixture(2_000).await;
    let read = operation(Verb::Read, "SELECT 1");
    drop(f.gate.judge(&[ask(&read)]).await);
    let events = f.memory.events.lock().unwrap();
    let Some((Event::Finished { outcome, .. }, None)) = events.last() else { panic!("no outcome") };
    assert_eq!(outcome.error.as_deref(), Some("lost"));
}

#[tokio::test]
async fn one_refusal_refuses_the_message_and_is_recorded() {
    let f = fixture(2_000).await;
    let (read, drop) = (operation(Verb::Read, "SELECT 1"), operation(Verb::Drop, "DROP TABLE t"));
    let verdict = f.gate.judge(&[ask(&read), ask(&drop)]).await;
    let Verdict::Refuse { index, denial } = verdict else { panic!("forwarded") };
    assert_eq!((index, denial.code), (1, DenialCode::DefaultDeny));
    assert_eq!(f.memory.names(), ["connected", "operation", "operation", "refused"]);
}

#[tokio::test]
async fn without_a_record_nothing_goes_on() {
    let f = fixture(2_000).await;
    f.memory.full.store(true, Ordering::Relaxed);
    let read = operation(Verb::Read, "SELECT 1");
    let Verdict::Refuse { denial, .. } = f.gate.judge(&[ask(&read)]).await else {
        panic!("forwarded")
    };
    assert_eq!(denial.code, DenialCode::Unrecorded);
}

#[tokio::test]
async fn a_session_that_is_over_gets_no_permit() {
    let expired = fixture(1_000).await;
    let read = operation(Verb::Read, "SELECT 1");
    let verdict = expired.gate.judge(&[ask(&read)]).await;
    assert!(
        matches!(verdict, Verdict::Refuse { ref denial, .. } if denial.code == DenialCode::SessionOver)
    );

    let revoked = fixture(2_000).await;
    revoked.end.send(Some(EndReason::Revoked)).unwrap();
    let verdict = revoked.gate.judge(&[ask(&read)]).await;
    assert!(
        matches!(verdict, Verdict::Refuse { ref denial, .. } if denial.code == DenialCode::SessionOver)
    );
    assert_eq!(revoked.gate.ended().await, EndReason::Revoked);
}

#[tokio::test]
async fn only_repetitions_that_change_nothing_do_not_wait_for_the_broker() {
    let f = fixture(2_000).await;
    let first = operation(Verb::Read, "SELECT 1");
    let write = operation(Verb::Insert, "INSERT 1");
    let cases = [
        (&first, Durability::Acknowledged),
        (&first, Durability::Queued),
        (&operation(Verb::Read, "SELECT 2"), Durability::Queued),
        (&write, Durability::Acknowledged),
        (&write, Durability::Acknowledged),
    ];
    for (index, (operation, expected)) in cases.into_iter().enumerate() {
        drop(f.gate.judge(&[ask(operation)]).await);
        assert_eq!(f.memory.last_durability(), Some(expected), "case {index}");
    }
}

#[tokio::test]
async fn an_end_does_not_wait_for_the_record() {
    let f = fixture(2_000).await;
    f.memory.silent.store(true, Ordering::Relaxed);
    let read = operation(Verb::Read, "SELECT 1");
    let asks = [ask(&read)];
    let (verdict, ()) = tokio::join!(f.gate.judge(&asks), async {
        tokio::task::yield_now().await;
        f.end.send(Some(EndReason::Revoked)).unwrap();
    });
    let Verdict::Refuse { denial, .. } = verdict else { panic!("forwarded") };
    assert_eq!(denial.code, DenialCode::SessionOver);
}

#[tokio::test]
async fn what_an_observing_policy_blocks_goes_on_and_is_recorded() {
    let f = fixture_with(2_000, &format!("{POLICY}mode: observe\n")).await;
    let (read, drop) = (operation(Verb::Read, "SELECT 1"), operation(Verb::Drop, "DROP TABLE t"));
    let Verdict::Forward(permits) = f.gate.judge(&[ask(&read), ask(&drop)]).await else {
        panic!("refused")
    };
    assert_eq!(permits.len(), 2);
    let events = f.memory.events.lock().unwrap();
    let would_refuse = |(event, _): &(Event, _)| {
        let Event::Statement { would_refuse, .. } = event else { return None };
        Some(would_refuse.as_deref().map(|denial| denial.code))
    };
    let found: Vec<_> = events.iter().filter_map(would_refuse).collect();
    assert_eq!(found, [None, Some(DenialCode::DefaultDeny)]);
}

#[tokio::test]
async fn an_observing_policy_does_not_loosen_what_guard_itself_refuses() {
    let f = fixture_with(2_000, &format!("{POLICY}mode: observe\n")).await;
    f.memory.full.store(true, Ordering::Relaxed);
    let read = operation(Verb::Read, "SELECT 1");
    let Verdict::Refuse { denial, .. } = f.gate.judge(&[ask(&read)]).await else {
        panic!("forwarded")
    };
    assert_eq!(denial.code, DenialCode::Unrecorded);
}

#[tokio::test]
async fn more_statements_than_a_minute_has_are_refused_and_refusals_count() {
    let f =
        fixture_with(2_000, &format!("{POLICY}budgets: {{ statements_per_minute: 3 }}\n")).await;
    let (read, drop) = (operation(Verb::Read, "SELECT 1"), operation(Verb::Drop, "DROP TABLE t"));
    let prepare = Ask { phase: StatementPhase::Prepare, ..ask(&read) };
    let mut codes = Vec::new();
    for one in [prepare.clone(), ask(&read), ask(&drop), prepare, ask(&read), ask(&read)] {
        codes.push(match f.gate.judge(&[one]).await {
            Verdict::Forward(_) => None,
            Verdict::Refuse { denial, .. } => Some(denial.code),
            Verdict::Held(held) => panic!("{held:?}"),
            Verdict::Estimate(_) => panic!("no rule bounds rows"),
        });
    }
    let refused = [Some(DenialCode::DefaultDeny), Some(DenialCode::BudgetOfRate)];
    assert_eq!(codes, [None, None, refused[0], None, None, refused[1]]);
}

#[tokio::test]
async fn a_statement_whose_operation_has_no_literals_is_recorded_with_its_own_text() {
    let f = fixture(2_000).await;
    let read = operation(Verb::Read, "SELECT * FROM orders WHERE id = $1");
    assert!(f.gate.would_allow(&read));
    assert_eq!(f.memory.names(), ["connected"], "only asked");
    let drop = operation(Verb::Drop, "DROP TABLE t");
    assert!(!f.gate.would_allow(&drop));
    for (operation, text) in [(&read, "id = 1"), (&read, "id = 2"), (&drop, "t")] {
        let ask = Ask { text: Some(text.into()), ..ask(operation) };
        std::mem::drop(f.gate.judge(&[ask]).await);
    }
    let events = f.memory.events.lock().unwrap();
    let texts: Vec<_> = events
        .iter()
        .filter_map(|(event, _)| serde_json::to_value(event).ok())
        .filter(|event| event["type"] == "statement" || event["type"] == "refused")
        .map(|event| event["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(texts, ["id = 1", "id = 2", "t"]);
}

#[tokio::test]
async fn what_is_only_observed_is_not_simply_allowed() {
    let f = fixture_with(2_000, &format!("{POLICY}mode: observe\n")).await;
    assert!(f.gate.would_allow(&operation(Verb::Read, "SELECT 1")));
    let drop = operation(Verb::Drop, "DROP TABLE t");
    assert!(!f.gate.would_allow(&drop));
    let _ = f.gate.judge(&[ask(&drop)]).await;
    assert!(!f.gate.would_allow(&drop), "nor once it has gone on");
}

#[tokio::test]
async fn a_refusal_for_a_budget_has_the_statements_own_text() {
    let policy = format!("{POLICY}budgets: {{ statements_per_minute: 1 }}\n");
    let f = fixture_with(2_000, &policy).await;
    let read = operation(Verb::Read, "SELECT * FROM orders WHERE id = $1");
    let mut codes = Vec::new();
    for text in ["id = 1", "id = 2"] {
        let ask = Ask { text: Some(text.into()), ..ask(&read) };
        codes.push(match f.gate.judge(&[ask]).await {
            Verdict::Forward(_) => None,
            Verdict::Refuse { denial, .. } => Some(denial.code),
            Verdict::Held(held) => panic!("{held:?}"),
            Verdict::Estimate(_) => panic!("no rule bounds rows"),
        });
    }
    assert_eq!(codes, [None, Some(DenialCode::BudgetOfRate)]);
    let events = f.memory.events.lock().unwrap();
    let refused = events.iter().find_map(|(event, _)| {
        let Event::Refused { text, .. } = event else { return None };
        text.as_ref().map(|text| text.reveal().to_string())
    });
    assert_eq!(refused.as_deref(), Some("id = 2"));
}

const FEW: &str = "
policy: test
mode: MODE
rules:
  - name: few
    sql: { effects: [delete], rows: 10 }
    decide: allow
  - name: some
    sql: { effects: [delete], rows: 1000 }
    decide: allow
  - name: reads
    sql: { effects: [read] }
    decide: allow
";

fn estimated(operation: &Arc<Operation>, estimate: Estimate) -> Ask {
    Ask { estimate, ..ask(operation) }
}

#[tokio::test]
async fn what_depends_on_an_estimate_is_neither_decided_nor_recorded_without_one() {
    let f = fixture_with(2_000, &FEW.replace("MODE", "enforce")).await;
    let (delete, read) =
        (operation(Verb::Delete, "DELETE FROM orders"), operation(Verb::Read, "SELECT"));
    assert!(!f.gate.would_allow(&delete) && f.gate.would_allow(&read));
    let before = f.memory.names();
    let verdict = f.gate.judge(&[ask(&read), ask(&delete)]).await;
    assert!(matches!(verdict, Verdict::Estimate(needed) if needed == [1]));
    assert_eq!(f.memory.names(), before);

    // Each time anew, whatever the last one was.
    for (estimate, expected) in [
        (Estimate::Rows(11), None),
        (Estimate::Rows(10), None),
        (Estimate::Rows(1001), Some("the server's planner expects 1001 rows")),
        (Estimate::Unknown("why"), Some("how many rows it is about is not known: why")),
        (Estimate::Rows(11), None),
    ] {
        let found = match f.gate.judge(&[ask(&read), estimated(&delete, estimate)]).await {
            Verdict::Forward(_) => None,
            Verdict::Refuse { index, denial } => {
                assert_eq!(index, 1);
                denial.detail
            }
            Verdict::Held(held) => panic!("{held:?}"),
            Verdict::Estimate(_) => panic!("asked twice"),
        };
        assert_eq!(found.as_deref(), expected);
    }
    assert!(matches!(f.gate.judge(&[ask(&delete)]).await, Verdict::Estimate(_)));

    let events = f.memory.events.lock().unwrap();
    let rules = events.iter().filter_map(|(event, _)| {
        let Event::Operation { rule, effects, .. } = event else { return None };
        effects.iter().any(|effect| effect.verb == Verb::Delete).then(|| rule.to_string())
    });
    assert_eq!(rules.collect::<Vec<_>>(), ["some", "few", "default-deny"]);
    let rows = events.iter().filter_map(|(event, _)| {
        let event = serde_json::to_value(event).unwrap();
        event["estimated_rows"].as_u64()
    });
    assert_eq!(rows.collect::<Vec<_>>(), [11, 10, 1001, 11]);
}

#[tokio::test]
async fn nothing_is_estimated_for_a_message_that_is_refused_anyway() {
    let f = fixture_with(2_000, &FEW.replace("MODE", "enforce")).await;
    let (delete, drop) =
        (operation(Verb::Delete, "DELETE FROM orders"), operation(Verb::Drop, "DROP"));
    for asks in [[ask(&drop), ask(&delete)], [ask(&delete), ask(&drop)]] {
        assert!(matches!(f.gate.judge(&asks).await, Verdict::Refuse { .. }));
    }
}

#[tokio::test]
async fn what_is_made_ready_is_asked_for_when_it_is_executed() {
    let f = fixture_with(2_000, &FEW.replace("MODE", "enforce")).await;
    let delete = operation(Verb::Delete, "DELETE FROM orders WHERE id < $1");
    let prepare = Ask { phase: StatementPhase::Prepare, ..ask(&delete) };
    assert!(matches!(f.gate.judge(&[prepare]).await, Verdict::Forward(_)));
    assert!(matches!(f.gate.judge(&[ask(&delete)]).await, Verdict::Estimate(_)));
}

#[tokio::test]
async fn an_observing_policy_says_what_an_estimate_would_have_refused() {
    let f = fixture_with(2_000, &FEW.replace("MODE", "observe")).await;
    let delete = operation(Verb::Delete, "DELETE FROM orders");
    assert!(matches!(f.gate.judge(&[ask(&delete)]).await, Verdict::Estimate(_)));
    for estimate in [Estimate::Rows(5), Estimate::Rows(5_000), Estimate::Unknown("why")] {
        let verdict = f.gate.judge(&[estimated(&delete, estimate)]).await;
        assert!(matches!(verdict, Verdict::Forward(_)));
    }
    let events = f.memory.events.lock().unwrap();
    let would = events.iter().filter_map(|(event, _)| {
        let Event::Statement { would_refuse, estimated_rows, .. } = event else { return None };
        Some((would_refuse.is_some(), *estimated_rows))
    });
    let would: Vec<_> = would.collect();
    assert_eq!(would, [(false, Some(5)), (true, Some(5_000)), (true, None)]);
}

const ASKS: &str = "
policy: test
rules:
  - { name: deletes, sql: { effects: [delete] }, decide: approve, approvers: [dba], within: 5m }
";

#[tokio::test]
async fn what_people_must_decide_on_is_recorded_and_refused_where_nobody_can_be_asked() {
    let fixture = fixture_with(2_000, ASKS).await;
    let delete = operation(Verb::Delete, "DELETE FROM orders");
    // It may be made ready: nothing is executed by that.
    let prepare = Ask { phase: StatementPhase::Prepare, ..ask(&delete) };
    assert!(matches!(fixture.gate.judge(&[prepare]).await, Verdict::Forward(_)));
    // People are told how many rows it is about, as far as that can be known.
    let verdict = fixture.gate.judge(&[ask(&delete)]).await;
    assert!(matches!(verdict, Verdict::Estimate(needed) if needed == [0]));
    let asked = [estimated(&delete, Estimate::Unknown("why"))];
    let Verdict::Refuse { denial, .. } = fixture.gate.judge(&asked).await else {
        panic!("it went on")
    };
    assert_eq!(denial.code, DenialCode::ApprovalUnavailable);
    assert_eq!(fixture.memory.names().last().map(String::as_str), Some("refused"));
}

#[tokio::test]
async fn a_policy_that_observes_asks_nobody_and_says_so() {
    let fixture =
        fixture_with(2_000, &ASKS.replace("policy: test", "policy: test\nmode: observe")).await;
    let delete = operation(Verb::Delete, "DELETE FROM orders");
    assert!(matches!(fixture.gate.judge(&[ask(&delete)]).await, Verdict::Forward(_)));
    let events = fixture.memory.events.lock().unwrap();
    let would = events.iter().find_map(|(event, _)| {
        let Event::Statement { would_refuse, .. } = event else { return None };
        would_refuse.clone()
    });
    assert_eq!(would.map(|denial| denial.code), Some(DenialCode::ApprovalNeeded));
}

#[tokio::test]
async fn a_yes_that_comes_when_the_sessions_budget_is_used_up_is_no_budget() {
    let policy = format!("{ASKS}budgets: {{ rows_per_session: 2 }}\n");
    for (rows, goes_on) in [(1, true), (2, true), (3, false)] {
        let willing = Arc::new(Willing::default());
        let fixture = fixture_of(2_000, &policy, willing.clone()).await;
        let delete = operation(Verb::Delete, "DELETE FROM orders");
        let delete = [estimated(&delete, Estimate::Rows(3))];
        let Verdict::Held(held) = fixture.gate.judge(&delete).await else {
            panic!("it does not wait")
        };
        // While it waits, another statement of the session reads.
        let mut meter = fixture.gate.meter(Arc::default).unwrap();
        let _ = meter.admit(std::iter::repeat_n((1, 1), rows));
        let held = held.decided(std::future::pending()).await;
        let verdict = fixture.gate.go_on(held, &delete).await;
        let used = willing.used.load(Ordering::Relaxed);
        if goes_on {
            assert!(matches!(verdict, Verdict::Forward(_)), "{rows} rows: {verdict:?}");
            assert_eq!(used, 1);
            continue;
        }
        let Verdict::Refuse { denial, .. } = verdict else { panic!("it went on") };
        assert_eq!(denial.code, DenialCode::BudgetOfSession);
        assert_eq!(fixture.memory.names().last().map(String::as_str), Some("refused"));
        // The yes is not used up by what does not happen, and nobody else may use it.
        assert_eq!((used, willing.taken_back.load(Ordering::Relaxed)), (0, 1));
    }
}
