//! Waiting for an end beside the work.
//!
//! A connection is polled for each message, and ends once. What tells of its end takes locks when it is polled, on each
//! of the layers that may end it; so it is polled only when it says that there is something new.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::{future::BoxFuture, task::AtomicWaker};

/// A future that is polled only when it has been woken itself. It can be polled often and beside others.
pub struct Alarm<'a, T> {
    future: BoxFuture<'a, T>,
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    rang: AtomicBool,
    sleeper: AtomicWaker,
}

impl<'a, T> Alarm<'a, T> {
    /// Watches a future.
    pub fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        // It has to be polled once to begin.
        let bell = Arc::new(Bell { rang: AtomicBool::new(true), sleeper: AtomicWaker::new() });
        Self { future: Box::pin(future), waker: bell.clone().into(), bell }
    }
}

impl<T> Future for Alarm<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Each ring takes the sleeper with it. Before the look at the bell, or a ring between the two would wake nobody.
        self.bell.sleeper.register(cx.waker());
        if !self.bell.rang.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let Self { future, waker, .. } = &mut *self;
        future.as_mut().poll(&mut Context::from_waker(waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.sleeper.wake();
    }
}

/// Does the work unless `end` is ready first, and drops it then.
pub async fn unless<T, E>(
    end: impl Future<Output = E> + Send,
    work: impl Future<Output = T>,
) -> Result<T, E> {
    let (mut alarm, mut work) = (Alarm::new(end), pin!(work));
    poll_fn(|cx| match Pin::new(&mut alarm).poll(cx) {
        Poll::Ready(end) => Poll::Ready(Err(end)),
        Poll::Pending => work.as_mut().poll(cx).map(Ok),
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::AtomicUsize;

    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test]
    async fn an_end_is_noticed_while_the_work_waits() {
        let (end, ended) = oneshot::channel::<()>();
        let waits = tokio::spawn(unless(ended, std::future::pending::<()>()));
        tokio::task::yield_now().await;
        end.send(()).unwrap();
        assert!(waits.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn an_end_that_was_there_before_comes_first() {
        assert_eq!(unless(std::future::ready(1), std::future::ready(2)).await, Err(1));
        assert_eq!(unless(std::future::pending::<u8>(), std::future::ready(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn an_end_is_polled_when_it_is_woken_and_not_for_the_work() {
        let (polls, ring) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let counted = {
            let (polls, ring) = (polls.clone(), ring.clone());
            async move {
                let mut ringing = pin!(ring.notified());
                poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    ringing.as_mut().poll(cx)
                })
                .await;
            }
        };
        let work = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            ring.notify_one();
            std::future::pending::<()>().await;
        };
        assert_eq!(unless(counted, work).await, Err(()));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn an_end_is_noticed_behind_a_ring_that_was_none() {
        let rings = Arc::new(Notify::new());
        let end = {
            let rings = rings.clone();
            async move {
                for _ in 0..3 {
                    rings.notified().await;
                }
            }
        };
        let waits = tokio::spawn(unless(end, std::future::pending::<()>()));
        for _ in 0..3 {
            tokio::task::yield_now().await;
            rings.notify_one();
        }
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), waits).await;
        assert!(ended.unwrap().unwrap().is_err());
    }

    #[tokio::test]
    async fn an_alarm_that_moves_to_another_task_wakes_that_one() {
        let (end, ended) = oneshot::channel::<u8>();
        let mut alarm = Alarm::new(ended);
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut alarm).poll(cx).is_pending())).await;
        assert!(first);
        let moved = tokio::spawn(alarm);
        tokio::task::yield_now().await;
        end.send(7).unwrap();
        assert_eq!(moved.await.unwrap(), Ok(7));
    }
}
