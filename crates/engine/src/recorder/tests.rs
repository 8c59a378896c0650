//! Order, numbers, waiting, bounds; and that a broken stream stays closed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use futures_util::FutureExt as _;
use guard_audit::StatementPhase;
use tokio::sync::Semaphore;

use super::*;
use crate::fake::{FakeBroker, refused, session};

const LONG: Duration = Duration::from_secs(20);

fn statement(number: u64) -> Event {
    let phase = StatementPhase::Execute;
    Event::Statement {
        statement: number,
        connection: 0,
        operation: 0,
        phase,
        would_refuse: None,
        estimated_rows: None,
        text: None,
        approval: None,
    }
}

fn numbers(broker: &FakeBroker) -> Vec<u64> {
    let number = |event: &Event| {
        let Event::Statement { statement, .. } = event else { panic!("{event:?}") };
        *statement
    };
    broker.events.lock().unwrap().iter().map(number).collect()
}

fn recorder(broker: &Arc<FakeBroker>) -> (Arc<StreamRecorder>, EndSignal) {
    let end = EndSignal::default();
    let recorder = StreamRecorder::start(broker.clone(), session(), "test".into(), end.clone());
    (recorder, end)
}

#[tokio::test]
async fn order_is_kept_over_requests_and_waiters() {
    let broker = FakeBroker::new();
    let (recorder, _) = recorder(&broker);
    for number in 0..1000 {
        let durability =
            if number % 97 == 0 { Durability::Acknowledged } else { Durability::Queued };
        if number % 3 == 0 {
            recorder.note(statement(number));
        } else {
            recorder.append(vec![statement(number)], durability).await.unwrap();
        }
    }
    assert!(recorder.flush(LONG).await);
    assert_eq!(numbers(&broker), (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_acknowledged_append_waits_and_what_comes_meanwhile_goes_together() {
    let broker = FakeBroker::with_answers(0);
    let (recorder, _) = recorder(&broker);
    let first = recorder.append(vec![statement(0)], Durability::Acknowledged);
    tokio::pin!(first);
    while broker.requests.lock().unwrap().is_empty() {
        assert!(first.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (1..50)
        .map(|number| recorder.append(vec![statement(number)], Durability::Acknowledged))
        .collect();
    broker.answers.add_permits(2);
    first.await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(*broker.requests.lock().unwrap(), [(0, 1), (1, 49)]);
}

#[tokio::test]
async fn repetitions_pass_at_once_until_the_backlog_is_full() {
    let broker = FakeBroker::with_answers(0);
    let (recorder, _) = recorder(&broker);
    for number in 0..MAX_BACKLOG_EVENTS as u64 {
        let append = recorder.append(vec![statement(number)], Durability::Queued);
        assert_eq!(append.now_or_never(), Some(Ok(())));
    }
    let beyond = recorder.append(vec![statement(u64::MAX)], Durability::Queued);
    tokio::pin!(beyond);
    assert!(beyond.as_mut().now_or_never().is_none(), "the queue is full: wait");
    broker.answers.add_permits(Semaphore::MAX_PERMITS);
    beyond.await.unwrap();
}

#[tokio::test]
async fn notes_that_nobody_takes_break_the_stream() {
    let broker = FakeBroker::with_answers(0);
    let (recorder, _) = recorder(&broker);
    for number in 0..=MAX_NOTES as u64 {
        recorder.note(statement(number));
    }
    assert!(recorder.append(vec![statement(0)], Durability::Queued).await.is_err());
}

#[tokio::test]
async fn notes_of_many_bytes_that_nobody_takes_break_the_stream() {
    let broker = FakeBroker::with_answers(0);
    let (recorder, _) = recorder(&broker);
    let piece = 1 << 20;
    for _ in 0..=MAX_NOTE_BYTES / piece {
        recorder.note(Event::Traffic {
            connection: 0,
            from: guard_audit::Side::Server,
            offset: 0,
            length: 0,
            data: Some(guard_core::Sensitive::new("x".repeat(piece))),
            truncated: false,
        });
    }
    assert!(recorder.append(vec![statement(0)], Durability::Queued).await.is_err());
}

#[tokio::test]
async fn a_message_of_more_statements_than_the_backlog_holds_breaks_nothing_for_others() {
    let broker = FakeBroker::with_answers(0);
    let (recorder, _) = recorder(&broker);
    let many = (0..2 * MAX_NOTES as u64).map(statement).collect();
    let appended = recorder.append(many, Durability::Acknowledged);
    tokio::pin!(appended);
    assert!(appended.as_mut().now_or_never().is_none(), "it waits for the broker");
    recorder.note(statement(0));
    broker.answers.add_permits(Semaphore::MAX_PERMITS);
    appended.await.unwrap();
    recorder.append(vec![statement(0)], Durability::Acknowledged).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_numbers() {
    let broker = FakeBroker::new();
    let lost = || ControlError::Unreachable { broker: "b".into(), reason: "reset".into() };
    broker.failures.lock().unwrap().extend([lost(), refused(503, "busy")]);
    let (recorder, end) = recorder(&broker);
    recorder.append(vec![statement(0)], Durability::Acknowledged).await.unwrap();
    assert_eq!(*broker.requests.lock().unwrap(), [(0, 1), (0, 1), (0, 1)]);
    assert_eq!(numbers(&broker), [0]);
    assert_eq!(*end.subscribe().borrow(), None);
}

#[tokio::test]
async fn a_refusal_closes_the_stream_for_ever_and_ends_the_session() {
    let broker = FakeBroker::new();
    broker.failures.lock().unwrap().push_back(refused(409, "gap"));
    let (recorder, end) = recorder(&broker);
    let refused = recorder.append(vec![statement(0)], Durability::Acknowledged).await;
    assert!(refused.unwrap_err().reason.contains("gap"));
    assert_eq!(end.ended().await, EndReason::Unrecorded);
    for durability in [Durability::Queued, Durability::Acknowledged] {
        assert!(recorder.append(vec![statement(1)], durability).await.is_err());
    }
    recorder.note(statement(2));
    assert!(!recorder.flush(LONG).await);
    assert!(numbers(&broker).is_empty());
}

#[tokio::test]
async fn a_session_that_ended_at_the_broker_ends_here_for_its_reason() {
    let broker = FakeBroker::new();
    broker.failures.lock().unwrap().push_back(refused(410, "session-over"));
    broker.ended.send_replace(Some(EndReason::Revoked));
    let (recorder, end) = recorder(&broker);
    assert!(recorder.append(vec![statement(0)], Durability::Acknowledged).await.is_err());
    assert_eq!(end.ended().await, EndReason::Revoked);
}

#[test]
fn requests_stay_bounded_whatever_the_queue_holds() {
    let mut queue = Queue::default();
    for number in 0..MAX_BATCH_EVENTS as u64 + 1 {
        queue.push(statement(number), false);
    }
    assert!(queue.take().events.len() <= MAX_BATCH_EVENTS);
    let mut taken = 0;
    while !queue.events.is_empty() {
        let batch = queue.take();
        assert!(!batch.events.is_empty() && batch.bytes <= MAX_BATCH_BYTES);
        taken += batch.events.len();
    }
    assert!(taken > 0 && queue.since.is_none());
}

#[tokio::test]
async fn a_stream_that_nobody_takes_ends_the_session() {
    let broker = FakeBroker::with_answers(0);
    let (recorder, end) = recorder(&broker);
    for number in 0..=MAX_NOTES as u64 {
        recorder.note(statement(number));
    }
    broker.answers.add_permits(1);
    assert_eq!(end.ended().await, EndReason::Unrecorded);
}
