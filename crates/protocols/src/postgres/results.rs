//! What comes back: which columns a result has, and which of them are rewritten.
//!
//! Masks come from the plan of the permit. The server's own word, which base column a field is, stands
//! behind it: a field that is a masked column is masked, whatever was understood of the statement.

use std::sync::Arc;

use guard_core::{Flow, Mask, MaskPlan, Masking, Operation, Outputs};
use guard_sql::{CopyOptions, Relation};

use super::{
    catalog::Snapshot,
    frame::{Broken, Fields},
    mask::{ColumnMasker, ColumnType, CopyMasker, Format, RowMasker},
};
use crate::mask::MaskKeys;

/// Inheritance is followed so far; PostgreSQL has no limit, and nobody has this many.
const MAX_ANCESTORS: usize = 64;

/// A field of a RowDescription.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    table: u32,
    number: i16,
    type_oid: u32,
    modifier: i32,
    format: Format,
}

/// What happens to the rows of a result.
pub(super) enum Rows {
    /// The server has not said yet what they are.
    Undescribed,
    /// They pass as they are.
    Pass,
    /// Some columns are rewritten.
    Masked(Box<RowMasker>),
}

/// The server's result does not fit what was understood: nothing of it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a result has {found} columns and its statement was understood to have {expected}")]
pub(super) struct Misunderstood {
    found: usize,
    expected: usize,
}

/// Reads a RowDescription.
pub(super) fn fields(body: &[u8]) -> Result<Vec<Field>, Broken> {
    let mut input = Fields::new(body);
    let count = input.count()?;
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        input.text()?;
        let table = input.int32()?.cast_unsigned();
        let number = input.int16()?;
        let type_oid = input.int32()?.cast_unsigned();
        input.int16()?;
        let modifier = input.int32()?;
        let format = Format::from_code(input.int16()?);
        let format = format.ok_or(Broken::Malformed("a format that nobody knows"))?;
        fields.push(Field { table, number, type_oid, modifier, format });
    }
    input.end()?;
    Ok(fields)
}

/// Names of the columns in a RowDescription.
pub(super) fn names(body: &[u8]) -> Result<Vec<String>, Broken> {
    const BEHIND_NAME: usize = 18;
    let mut input = Fields::new(body);
    let mut names = Vec::new();
    for _ in 0..input.count()? {
        names.push(String::from_utf8_lossy(input.text()?).into_owned());
        input.bytes(BEHIND_NAME)?;
    }
    Ok(names)
}

/// How values of these fields are written.
pub(super) fn formats(fields: &[Field]) -> Vec<Format> {
    fields.iter().map(|field| field.format).collect()
}

/// What happens to the rows of a result with these fields, which this operation asks for.
pub(super) fn rows(
    fields: &[Field],
    operation: &Operation,
    plan: &MaskPlan,
    snapshot: Option<&Snapshot>,
    keys: &MaskKeys,
) -> Result<Rows, Misunderstood> {
    if plan.rewrites() && plan.outputs.len() != fields.len() {
        return Err(Misunderstood { found: fields.len(), expected: plan.outputs.len() });
    }
    if plan.is_empty() {
        return Ok(Rows::Pass);
    }
    let mut any = false;
    let columns: Vec<_> = fields
        .iter()
        .enumerate()
        .map(|(place, field)| {
            let planned = plan.outputs.get(place).copied().flatten();
            let planned = planned.map(|mask| of_text(mask, operation, place, snapshot));
            let found = snapshot.and_then(|snapshot| mask_of_base_column(field, plan, snapshot));
            let mask = match (planned, found) {
                (Some(planned), Some(found)) => Some(planned.stricter(found)),
                (planned, found) => planned.or(found),
            };
            let oid = snapshot.map_or(field.type_oid, |s| s.type_for_mask(field.type_oid));
            let column = snapshot.and_then(|s| s.column(field.table, field.number));
            let not_null = column.is_some_and(|(_, column)| column.not_null);
            let column = ColumnType { oid, modifier: field.modifier, not_null };
            let masker = match mask {
                Some(mask) => Some(masker(mask, column, snapshot, keys)),
                None => ColumnMasker::detecting(plan.detect, column, keys),
            };
            any |= masker.is_some();
            Some((masker?, field.format))
        })
        .collect();
    Ok(if any { Rows::Masked(Box::new(RowMasker::new(columns))) } else { Rows::Pass })
}

/// Part of a value is shown of a column of texts only: a number that is cast to a text is none.
fn of_text(
    masking: Masking,
    operation: &Operation,
    place: usize,
    snapshot: Option<&Snapshot>,
) -> Masking {
    match masking.mask {
        Mask::Partial => {
            let own = output_type(operation, place, snapshot);
            let oid = snapshot.map_or(own.oid, |snapshot| snapshot.type_for_mask(own.oid));
            let is_text = ColumnType { oid, ..own }.is_text();
            if is_text { masking } else { masking.stricter(Mask::Redact.into()) }
        }
        Mask::Redact | Mask::Null | Mask::Hash | Mask::Format => masking,
    }
}

fn masker(
    mask: Masking,
    column: ColumnType,
    snapshot: Option<&Snapshot>,
    keys: &MaskKeys,
) -> ColumnMasker {
    let masker = ColumnMasker::new(mask, column, keys);
    match snapshot.and_then(|snapshot| snapshot.user_type(column.oid)) {
        Some(user_type) => masker.of_user_type(user_type),
        None => masker,
    }
}

fn mask_of_base_column(field: &Field, plan: &MaskPlan, snapshot: &Snapshot) -> Option<Masking> {
    if field.table == 0 || plan.columns.is_empty() {
        return None;
    }
    let (relation, column) = snapshot.column(field.table, field.number)?;
    let name = column.name.clone();
    let mask_in = |relation: &Relation| {
        let schema = relation.name.schema.as_deref().unwrap_or_default();
        plan.mask_for(schema, &relation.name.name, &name)
    };
    let mut mask = mask_in(relation);
    let mut waiting = relation.parents.clone();
    for _ in 0..MAX_ANCESTORS {
        let Some(parent) = waiting.pop().and_then(|oid| snapshot.catalog.relation(oid)) else {
            break;
        };
        mask = [mask, mask_in(parent)].into_iter().flatten().reduce(Masking::stricter);
        waiting.extend(&parent.parents);
    }
    mask
}

/// What happens to the data of a COPY to the client with so many columns; `None` if it passes as it is.
pub(super) fn copy(
    count: usize,
    options: &CopyOptions,
    operation: &Operation,
    plan: &MaskPlan,
    snapshot: Option<&Snapshot>,
    keys: &MaskKeys,
) -> Result<Option<Box<CopyMasker>>, Misunderstood> {
    if !plan.rewrites() && plan.detect.is_empty() {
        return Ok(None);
    }
    if plan.rewrites() && plan.outputs.len() != count {
        return Err(Misunderstood { found: count, expected: plan.outputs.len() });
    }
    let columns = (0..count).map(|place| {
        let column = output_type(operation, place, snapshot);
        match plan.outputs.get(place).copied().flatten() {
            Some(mask) => Some(masker(mask, column, snapshot, keys)),
            None => ColumnMasker::detecting(plan.detect, column, keys),
        }
    });
    let columns: Vec<_> = columns.collect();
    let any = columns.iter().any(Option::is_some);
    Ok(any.then(|| Box::new(CopyMasker::new(options, columns))))
}

/// COPY says nothing of types: an output that is a column has the column's, others none that is known.
fn output_type(operation: &Operation, place: usize, snapshot: Option<&Snapshot>) -> ColumnType {
    const UNKNOWN: ColumnType = ColumnType { oid: 0, modifier: -1, not_null: false };
    let output = match &operation.outputs {
        Outputs::Columns(outputs) => outputs.get(place),
        Outputs::None | Outputs::Unknown(_) => None,
    };
    let Some(output) = output else { return UNKNOWN };
    let mut found: Option<ColumnType> = None;
    for source in &output.sources {
        match source.flow {
            Flow::Plain | Flow::Either | Flow::Given => {}
            Flow::Derived => return UNKNOWN,
        }
        let column = snapshot.and_then(|s| s.named(&source.column.table, &source.column.column));
        let Some(column) = column else { return UNKNOWN };
        let own = ColumnType {
            oid: column.type_oid,
            modifier: column.type_modifier,
            not_null: column.not_null,
        };
        match found {
            Some(other) if other.oid != own.oid => return UNKNOWN,
            Some(_) => {}
            None => found = Some(own),
        }
    }
    found.unwrap_or(UNKNOWN)
}

/// What a portal returns.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) fields: Vec<Field>,
    /// Names of its columns; kept where the policy may record its rows.
    pub(super) names: Vec<String>,
}

/// Shared with the place where a portal is described.
pub(super) type Columns = Arc<std::sync::OnceLock<Described>>;
