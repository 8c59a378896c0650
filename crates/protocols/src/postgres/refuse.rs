//! Refusals in PostgreSQL's own words (<https://www.postgresql.org/docs/current/protocol-error-fields.html>).

use bytes::{BufMut as _, BytesMut};
use guard_core::{Denial, DenialCode, EndReason};

use super::frame::{put, put_text};

/// `insufficient_privilege`: what scripts and drivers already know as "you may not".
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// `statement_too_complex`.
const STATEMENT_TOO_COMPLEX: &str = "54001";
/// `configuration_limit_exceeded`: nobody takes it for a cancel or tries again because of it.
const LIMIT_EXCEEDED: &str = "53400";
/// `query_canceled`: what a server says when a statement has run out of time.
pub(super) const QUERY_CANCELED: &str = "57014";
/// `admin_shutdown`: what a server says when somebody ends a connection.
const ADMIN_SHUTDOWN: &str = "57P01";

/// `protocol_violation`.
pub(super) const PROTOCOL_VIOLATION: &str = "08P01";
/// `connection_failure`.
pub(super) const CONNECTION_FAILURE: &str = "08006";
/// `invalid_catalog_name`.
pub(super) const INVALID_CATALOG_NAME: &str = "3D000";

/// Appends the ErrorResponse of a refused statement.
pub(super) fn denied(out: &mut BytesMut, denial: &Denial) {
    respond(out, "ERROR", denial);
}

/// Appends the ErrorResponse of a refused connection.
pub(super) fn denied_connection(out: &mut BytesMut, denial: &Denial) {
    respond(out, "FATAL", denial);
}

/// Appends the ErrorResponse that a session's end is to its connections.
pub(super) fn ended(out: &mut BytesMut, reason: EndReason) {
    let message = format!("terminating connection: {reason}");
    error(out, "FATAL", ADMIN_SHUTDOWN, &message, None, None);
}

/// Appends an ErrorResponse after which the connection is closed.
pub(super) fn fatal(out: &mut BytesMut, code: &str, message: &str) {
    error(out, "FATAL", code, message, None, None);
}

/// The SQLSTATE of a refusal.
pub(super) fn sqlstate(denial: &Denial) -> &'static str {
    match denial.code {
        DenialCode::Rule
        | DenialCode::DefaultDeny
        | DenialCode::NotUnderstood
        | DenialCode::Mask
        | DenialCode::Protocol
        | DenialCode::Unlisted
        | DenialCode::BudgetUncounted
        | DenialCode::Unrecorded
        | DenialCode::ApprovalNeeded
        | DenialCode::ApprovalRefused
        | DenialCode::ApprovalExpired
        | DenialCode::ApprovalUnavailable => INSUFFICIENT_PRIVILEGE,
        DenialCode::BudgetOfStatement | DenialCode::BudgetOfSession | DenialCode::BudgetOfRate => {
            LIMIT_EXCEEDED
        }
        DenialCode::BudgetOfTime | DenialCode::ApprovalVoid => QUERY_CANCELED,
        DenialCode::TooLarge => STATEMENT_TOO_COMPLEX,
        DenialCode::SessionOver => ADMIN_SHUTDOWN,
    }
}

fn respond(out: &mut BytesMut, severity: &str, denial: &Denial) {
    let code = sqlstate(denial);
    let message = format!("{} ({})", denial.what, denial.code.number());
    let mut detail = format!("rule `{}` of policy `{}`", denial.rule, denial.policy);
    if let Some(more) = &denial.detail {
        detail.push_str(": ");
        detail.push_str(more);
    }
    error(out, severity, code, &message, Some(&detail), denial.hint.as_deref());
}

fn error(
    out: &mut BytesMut,
    severity: &str,
    code: &str,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) {
    put(out, b'E', |out| {
        let fields = [
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(code)),
            (b'M', Some(message)),
            (b'D', detail),
            (b'H', hint),
        ];
        for (kind, value) in fields {
            if let Some(value) = value {
                out.put_u8(kind);
                put_text(out, value.as_bytes());
            }
        }
        out.put_u8(0);
    });
}
