//! What the gate needs of people: asked before the act, waited for, used up by one statement.

use std::{pin::pin, sync::Arc};

use futures_util::future::{BoxFuture, Either, select, try_join_all};
use guard_core::{
    ApprovalId, ApprovalSpec, ApprovalState, ApprovalSubject, ApprovalWait, Certainty, Denial,
    DenialCode, Digest, MAX_SHOWN_EFFECTS, MAX_SHOWN_TEXT, Operation, PersonRef, RuleId,
    ShownParameter,
    control::{ApprovalStatus, SoFar},
};

use crate::Ask;

/// Longest label of an operation that is passed on, in characters.
const MAX_LABEL: usize = 60;

/// What else decides what an operation does, besides its own text. Only asked for where the policy asks people.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The whole text of the message: what came before in it may change what the operation means.
    pub message: Option<Arc<str>>,
    /// Texts that names in it stand for, such as prepared statements.
    pub behind: Vec<Arc<str>>,
    /// Values of its parameters.
    pub parameters: Parameters,
}

/// Values of an operation's parameters.
#[derive(Debug, Clone, Default)]
pub enum Parameters {
    /// It has none.
    #[default]
    None,
    /// They were not looked at when they came.
    Unknown,
    /// These.
    Bound(Arc<BoundParameters>),
}

/// Parameters as people see them, with a digest over all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundParameters {
    /// SHA-256 over types, forms and values.
    pub digest: Digest,
    /// How many there are.
    pub count: u64,
    /// The first of them, each or its beginning.
    pub shown: Vec<ShownParameter>,
}

/// What people are asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// SHA-256 of the policy by which it was judged.
    pub policy: Digest,
    /// The rules that ask.
    pub rules: Vec<RuleId>,
    /// The operation's number in the writer's stream.
    pub operation: u64,
    /// What does not go on, in words.
    pub what: String,
    /// The operation.
    pub subject: ApprovalSubject,
    /// What the run did before.
    pub so_far: SoFar,
}

/// People cannot be asked, or their answer not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("people cannot be asked: {reason}")]
pub struct CannotAsk {
    /// Why.
    pub reason: String,
}

/// The way to the people who decide.
pub trait Approvals: Send + Sync {
    /// Asks.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<ApprovalStatus, CannotAsk>>;

    /// Waits until a request does not wait any more.
    fn decided(
        self: Arc<Self>,
        id: ApprovalId,
    ) -> BoxFuture<'static, Result<ApprovalStatus, CannotAsk>>;

    /// Uses a granted request up for exactly this operation.
    fn spend<'a>(
        &'a self,
        id: ApprovalId,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<ApprovalStatus, CannotAsk>>;

    /// Takes a request back. Must not wait.
    fn cancel(&self, id: ApprovalId);
}

/// A message whose statements wait for people. Dropped, its requests are taken back.
#[must_use]
pub struct Held {
    approvals: Arc<dyn Approvals>,
    requests: Vec<Request>,
    pub(crate) outcome: Outcome,
}

/// One request of a message.
pub(crate) struct Request {
    /// Which of the message's operations, counted from 0.
    pub(crate) index: usize,
    pub(crate) status: ApprovalStatus,
    pub(crate) spec: Arc<ApprovalSpec>,
    /// What was asked: the operation must be the same when it goes on.
    pub(crate) subject: ApprovalSubject,
    /// It is used, or over: there is nothing to be taken back.
    pub(crate) settled: bool,
}

/// What came of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody has decided.
    Waiting,
    /// All is granted.
    Granted,
    /// The operation at this place is refused.
    Refused(usize, Box<Denial>),
}

// === impl Held ===

impl Held {
    pub(crate) fn new(approvals: Arc<dyn Approvals>) -> Self {
        Self { approvals, requests: Vec::new(), outcome: Outcome::Waiting }
    }

    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub(crate) fn push(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// Notes that a request needs nothing more.
    pub(crate) fn settle(&mut self, index: usize) {
        if let Some(request) = self.requests.get_mut(index) {
            request.settled = true;
        }
    }

    /// The pages where people decide, with what waits for it.
    pub fn pages(&self) -> impl Iterator<Item = (&Denial, &str)> {
        let waiting = |request: &&Request| request.status.state == ApprovalState::Waiting;
        self.requests
            .iter()
            .filter(waiting)
            .map(|request| (&request.spec.ask, request.status.address.as_str()))
    }

    /// Waits until all is granted or one is refused, or the client takes it back.
    ///
    /// Cancel-safe: dropped, the requests are taken back.
    pub async fn decided(mut self, withdrawn: impl Future<Output = ()>) -> Self {
        let waits = self.requests.iter().enumerate().map(|(place, request)| {
            let approvals = self.approvals.clone();
            let (id, state) = (request.status.id, request.status.state);
            let spec = request.spec.clone();
            let index = request.index;
            async move {
                if state == ApprovalState::Granted {
                    return Ok(());
                }
                match approvals.decided(id).await {
                    Ok(status) => match refusal(&spec, &status) {
                        None => Ok(()),
                        Some(denial) => Err((Some(place), index, denial)),
                    },
                    Err(error) => Err((None, index, unavailable(&spec, &error.reason))),
                }
            }
        });
        let waits = pin!(try_join_all(waits.collect::<Vec<_>>()));
        let outcome = match select(waits, pin!(withdrawn)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), _)) => return self.withdrawn(),
        };
        self.outcome = match outcome {
            Ok(_) => Outcome::Granted,
            Err((place, index, denial)) => {
                if let Some(place) = place {
                    self.settle(place);
                }
                Outcome::Refused(index, Box::new(denial))
            }
        };
        self
    }

    /// The client does not want it any more.
    fn withdrawn(mut self) -> Self {
        let first = self.requests.first();
        if let Some(request) = first {
            let detail = "the client took it back while it waited";
            let denial = void(&request.spec, detail, "send it again to ask again");
            self.outcome = Outcome::Refused(request.index, Box::new(denial));
        }
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for request in self.requests.iter().filter(|request| !request.settled) {
            // What is parked waits for another run.
            if request.status.wait == ApprovalWait::Hold {
                self.approvals.cancel(request.status.id);
            }
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.requests.iter().map(|request| request.status.id).collect();
        f.debug_struct("Held").field("requests", &ids).finish_non_exhaustive()
    }
}

/// What people see of an operation, with digests over all that decides what it does. `None` if that is not known.
pub(crate) fn subject(ask: &Ask) -> Option<ApprovalSubject> {
    let operation: &Operation = &ask.operation;
    let context = &ask.context;
    let (count, shown, bound) = match &context.parameters {
        Parameters::None => (0, Vec::new(), Digest::ZERO),
        Parameters::Unknown => return None,
        Parameters::Bound(bound) => (bound.count, bound.shown.clone(), bound.digest),
    };
    let own: &str = ask.text.as_deref().unwrap_or(operation.text.reveal());
    let mut whole = context.message.as_deref().unwrap_or(own).to_owned();
    for text in &context.behind {
        whole.push_str("\n\n-- prepared before:\n");
        whole.push_str(text);
    }
    // What it does can change while its text does not: by a view, a function, a name.
    let details = serde_json::to_vec(&(
        &operation.label,
        own,
        &operation.effects,
        &operation.certainty,
        bound,
    ));
    let cut = |text: &str| text.chars().take(MAX_LABEL).collect::<String>();
    Some(ApprovalSubject {
        label: cut(&operation.label),
        text: beginning(&whole, MAX_SHOWN_TEXT).to_owned(),
        text_bytes: whole.len() as u64,
        text_digest: Digest::of(&whole),
        parameters: shown,
        parameter_count: count,
        details_digest: Digest::of(details.ok()?),
        effects: operation.effects.iter().take(MAX_SHOWN_EFFECTS).cloned().collect(),
        certainty: match &operation.certainty {
            Certainty::Exact => Certainty::Exact,
            Certainty::Partial(why) => Certainty::Partial(why.clone()),
            Certainty::Unparsed(why) => Certainty::Unparsed(why.clone()),
        },
        estimated_rows: ask.estimate.rows(),
    })
}

/// The beginning of a text that is not longer than so many bytes.
fn beginning(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Why an operation does not go on by what was decided; `None` if it may.
pub(crate) fn refusal(spec: &ApprovalSpec, status: &ApprovalStatus) -> Option<Denial> {
    let address = &status.address;
    match status.state {
        ApprovalState::Granted => None,
        ApprovalState::Waiting => Some(Denial {
            hint: Some(format!(
                "the job does not wait: have it approved at {address}, and run it again before {}",
                status.until
            )),
            ..of(spec, DenialCode::ApprovalNeeded, spec.ask.detail.clone())
        }),
        ApprovalState::Refused => {
            let who = status.by.last().map_or("somebody", |PersonRef { name, .. }| name);
            let detail = match &status.reason {
                Some(reason) => format!("{who} refused it: {reason}"),
                None => format!("{who} refused it"),
            };
            Some(Denial {
                hint: Some(format!("leave it out of the job, or settle it with them: {address}")),
                ..of(spec, DenialCode::ApprovalRefused, Some(detail))
            })
        }
        ApprovalState::Expired => Some(Denial {
            hint: Some("run it again when somebody is there to decide".into()),
            ..of(spec, DenialCode::ApprovalExpired, Some("its time was over".into()))
        }),
        ApprovalState::Used => Some(void(spec, "the approval was used", "ask again")),
        ApprovalState::Cancelled => Some(void(spec, "the request was taken back", "ask again")),
    }
}

/// People cannot be asked.
pub(crate) fn unavailable(spec: &ApprovalSpec, reason: &str) -> Denial {
    Denial {
        hint: Some(
            "nothing of it is sent while people cannot be asked: see that the broker is up".into(),
        ),
        ..of(spec, DenialCode::ApprovalUnavailable, Some(reason.to_owned()))
    }
}

/// What was asked is not to be had any more.
pub(crate) fn void(spec: &ApprovalSpec, detail: &str, hint: &str) -> Denial {
    Denial {
        hint: Some(hint.to_owned()),
        ..of(spec, DenialCode::ApprovalVoid, Some(detail.to_owned()))
    }
}

fn of(spec: &ApprovalSpec, code: DenialCode, detail: Option<String>) -> Denial {
    let what = match spec.ask.what.strip_prefix("held ") {
        Some(rest) => format!("blocked {rest}"),
        None => spec.ask.what.clone(),
    };
    Denial { code, what, detail, ..spec.ask.clone() }
}
