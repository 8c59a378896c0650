//! Which tables a row source holds as a whole, so that to be among its rows says nothing.

use std::collections::BTreeSet;

use guard_core::ObjectName;

/// Where the rows of a row source come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Tables of which every row may be there.
    pub(crate) whole: BTreeSet<ObjectName>,
    /// Rows may be there that come from no table and from no list: made by a function, or taken from
    /// around the query.
    pub(crate) open: bool,
    /// It is a table itself, whose rows have a `ctid`.
    pub(crate) table: bool,
}

impl Origin {
    /// What one or the other may hold.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.whole.extend(other.whole.iter().cloned());
        self.open |= other.open;
        self.table &= other.table;
    }

    /// Whether to be among these rows says something of a row of these tables.
    pub(crate) fn is_apart(&self, family: &BTreeSet<ObjectName>) -> bool {
        !self.open && self.whole.is_disjoint(family)
    }
}
