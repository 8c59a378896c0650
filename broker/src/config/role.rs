//! What people may do: the words of `people.roles`.

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Sees runs, without the values in statements.
    Viewer,
    /// Decides about what policies ask people for, and sees what a viewer does.
    Approver,
    /// Sees and downloads everything.
    Auditor,
    /// May do everything.
    Admin,
}

impl Role {
    /// All roles.
    pub(crate) const ALL: [Self; 4] = [Self::Viewer, Self::Approver, Self::Auditor, Self::Admin];

    /// The word of the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// Whether who has this role may do what another allows.
    pub(crate) const fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Admin, _)
            | (Self::Viewer | Self::Approver | Self::Auditor, Self::Viewer)
            | (Self::Approver, Self::Approver)
            | (Self::Auditor, Self::Auditor) => true,
            (Self::Viewer | Self::Auditor, Self::Approver)
            | (Self::Viewer | Self::Approver, Self::Auditor)
            | (Self::Viewer | Self::Approver | Self::Auditor, Self::Admin) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn each_role_includes_what_it_should_and_no_more() {
        let included = |role: Role| Role::ALL.map(|other| role.includes(other));
        assert_eq!(included(Role::Viewer), [true, false, false, false]);
        assert_eq!(included(Role::Approver), [true, true, false, false]);
        assert_eq!(included(Role::Auditor), [true, false, true, false]);
        assert_eq!(included(Role::Admin), [true; 4]);
    }
}
