//! People who sign in at the broker: who they are, and what they may see.
//!
//! They come from one OpenID provider (`people` in the configuration). The provider says who somebody is and in which groups;
//! the configuration says which groups have which role, and is asked at each request, so that a change counts at once.

mod device;
mod oidc;
mod sign_in;
mod signed_in;
mod starter;

use std::collections::{BTreeMap, BTreeSet};

use guard_core::{Identity, PersonRef, Timestamp};

use crate::{
    config::{PeopleConfig, SamePerson},
    sessions::approvals::Decider,
    store::SignedInRow,
};

pub(crate) use crate::config::Role;
pub(crate) use device::{ByToken, poll, start};
pub(crate) use oidc::Provider;
pub(crate) use sign_in::{callback, sign_in, sign_out};
pub(crate) use signed_in::SignedIn;
pub(crate) use starter::Starter;

/// Somebody, as the provider vouched for them.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// The provider.
    pub(crate) issuer: String,
    /// Who it is there.
    pub(crate) subject: String,
    /// The name, for people.
    pub(crate) name: String,
    /// Their groups.
    pub(crate) groups: BTreeSet<String>,
    /// What they are compared with a run's starter by.
    pub(crate) claims: BTreeMap<String, String>,
    /// What else names the same person, by the configuration as it is now.
    pub(crate) same_person: Vec<SamePerson>,
    /// Their roles by the configuration as it is now.
    pub(crate) roles: BTreeSet<Role>,
    /// Until when they are signed in.
    pub(crate) until: Timestamp,
}

impl Person {
    /// Whether they may do what a role allows.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.roles.iter().any(|own| own.includes(role))
    }

    /// Somebody who is signed in, by the configuration as it is now. Nobody, where it takes people of another provider.
    fn of(row: SignedInRow, config: &PeopleConfig) -> Option<Self> {
        let roles = roles(config, &row.groups);
        (row.issuer == config.issuer.url).then(|| Self {
            issuer: row.issuer,
            subject: row.subject,
            name: row.name,
            groups: row.groups,
            claims: row.claims,
            same_person: config.same_person.clone(),
            roles,
            until: row.until,
        })
    }

    /// By what they are told from others.
    pub(crate) fn key(&self) -> String {
        format!("{} {}", self.issuer, self.subject)
    }
}

impl Decider for Person {
    fn decides(&self) -> bool {
        self.may(Role::Approver)
    }

    fn person(&self) -> PersonRef {
        PersonRef {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            name: self.name.clone(),
        }
    }

    fn groups(&self) -> &BTreeSet<String> {
        &self.groups
    }

    fn started(&self, run: &Identity) -> bool {
        is_starter(self, run)
    }
}

/// Whether somebody started a run, or may have.
pub(crate) fn is_starter(person: &Person, run: &Identity) -> bool {
    Starter::of(person, run) != Starter::Another
}

/// The roles of somebody in these groups.
fn roles(config: &PeopleConfig, groups: &BTreeSet<String>) -> BTreeSet<Role> {
    let given = config.roles.iter().filter(|(_, of)| !of.is_disjoint(groups));
    given.map(|(role, _)| *role).collect()
}
