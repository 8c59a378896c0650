//! The vocabulary of guard as types: identities, sessions, operations, decisions.
//!
//! Every other crate speaks in these words. Nothing here does I/O, reads a clock or draws
//! randomness, so that everything built on it can be a pure function of its inputs.

mod approval;
mod budget;
pub mod control;
mod detect;
pub mod document;
pub mod egress;
mod grant;
pub mod http;
mod identity;
mod ids;
mod isolation;
pub mod lock;
mod mask;
mod operation;
mod pattern;
pub mod people;
mod recording;
mod ruling;
mod sensitive;
mod session;

pub use approval::{
    ApprovalKey, ApprovalScope, ApprovalSpec, ApprovalState, ApprovalSubject, ApprovalTerms,
    ApprovalWait, MAX_SHOWN_EFFECTS, MAX_SHOWN_PARAMETER, MAX_SHOWN_PARAMETERS, MAX_SHOWN_TEXT,
    PersonRef, ShownParameter, shortest_within, strictest_wait,
};
pub use budget::{Budget, Budgets, Exceeded, Mode};
pub use detect::{Detector, Detectors};
pub use grant::{
    AWS_PLACEHOLDER, AwsService, EnforceAt, Grant, ResourceKind, ResourceSpec, SendAs, TlsMode,
};
pub use identity::{Identity, Platform, RunKey};
pub use ids::{
    ApprovalId, Digest, EgressId, InvalidName, LeaseId, PolicyName, ResourceName, RuleId,
    SessionId, StepName,
};
pub use isolation::{Isolation, NoIsolation};
pub use jiff::Timestamp;
pub use lock::{Locked, RowRange};
pub use mask::{
    ColumnMask, DerivedFlow, FieldMask, Mask, MaskPlan, MaskedField, Masking, Predicates, Side,
    Stability,
};
pub use operation::{
    Bounded, Certainty, ColumnName, Effect, Flow, Object, ObjectKind, ObjectName, Operation,
    Output, Outputs, Protocol, Source, Test, Tested, Verb,
};
pub use pattern::{ColumnPattern, InvalidPattern, NamePattern, TablePattern};
pub use recording::{Literals, RecordLevel, Recording};
pub use ruling::{Decision, DecisionKind, Denial, DenialCode, Ruling, Step};
pub use sensitive::{Secret, Sensitive};
pub use session::{EndReason, SessionView};
