//! Whether somebody who decides about a run started it: then their word does not count.
//!
//! Platforms and the provider name people in their own ways. `same_person` in the configuration says which claims are the same
//! person's, and where it speaks of a run, it alone can say that somebody else started it. Names of accounts and mail addresses
//! are compared besides. Whatever is equal is the same person, and where there is nothing to compare, it might be.

use std::collections::BTreeSet;

use guard_core::{Identity, Platform};

use super::{Person, oidc::COMPARED};

/// Claims of runs that name who started them.
const STARTED_BY: [&str; 6] =
    ["actor", "user_login", "user_email", "user_name", "build_creator", "triggering_actor"];
/// Ends the names of programs that act on GitHub.
const BOT: &str = "[bot]";
/// Runs of the clock.
const BY_ITSELF: [&str; 3] = ["schedule", "scheduled", "cron"];

/// Who started a run, as far as one person goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Starter {
    /// This person.
    Same,
    /// Somebody else, or nobody.
    Another,
    /// Nothing says that it was somebody else. What is missing.
    Unknown(String),
}

impl Starter {
    /// Compares a person with what a run says of who started it.
    pub(crate) fn of(person: &Person, run: &Identity) -> Self {
        let mut settled = false;
        let mut missing = None;
        for pair in &person.same_person {
            if pair.issuer.as_ref().is_some_and(|issuer| *issuer != run.issuer_name) {
                continue;
            }
            let Some(started_by) = run.claims.get(&pair.run).filter(|t| !t.trim().is_empty())
            else {
                continue;
            };
            match person.claims.get(&pair.person) {
                Some(own) if is_same(own, started_by) => return Self::Same,
                Some(_) => settled = true,
                None => {
                    missing = Some(format!(
                        "`same_person` compares the run's `{}` with your `{}`, which the provider does not say",
                        pair.run, pair.person
                    ));
                }
            }
        }
        let started_by = names(started_by(run));
        let own = COMPARED.iter().filter_map(|name| person.claims.get(*name)).map(String::as_str);
        let own = names(own);
        if !own.is_disjoint(&started_by) {
            return Self::Same;
        }
        let alike = own.iter().any(|own| started_by.iter().any(|other| looks_like(own, other)));
        if alike && !settled {
            return Self::Unknown(
                "your name is written almost like that of who started the run; `same_person` can name a claim that tells you apart"
                    .into(),
            );
        }
        if let Some(missing) = missing {
            return Self::Unknown(missing);
        }
        let comparable =
            COMPARED.iter().any(|name| *name != "sub" && person.claims.contains_key(*name));
        if settled || comparable || !is_started_by_somebody(run) {
            return Self::Another;
        }
        Self::Unknown(
            "the provider says neither your account's name nor your address; \
             `same_person` can name a claim that it says, such as `{ run: actor, person: sub }`"
                .into(),
        )
    }
}

fn started_by(run: &Identity) -> impl Iterator<Item = &str> {
    // A service account's name is no person's.
    let actor = (run.platform != Platform::Kubernetes).then_some(run.actor.as_str());
    STARTED_BY.iter().filter_map(|name| run.claims.get(*name)).map(String::as_str).chain(actor)
}

/// Whether a person stands behind a run, as far as it says.
fn is_started_by_somebody(run: &Identity) -> bool {
    let by_itself = BY_ITSELF.iter().any(|word| run.event.eq_ignore_ascii_case(word));
    !by_itself && started_by(run).any(|name| !name.trim().is_empty() && !name.ends_with(BOT))
}

/// All that stands for somebody: names, and of an address also what is before the `@`.
fn names<'a>(values: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for value in values {
        let value = plain(value);
        if let Some((local, _)) = value.split_once('@') {
            let local = local.split('+').next().unwrap_or(local);
            names.insert(local.to_owned());
        }
        names.insert(value);
    }
    names.remove("");
    names
}

fn is_same(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

/// A name without regard to case, and without marks that cannot be seen or only stand at letters.
fn plain(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    lower.chars().filter(|c| c.is_ascii() || c.is_alphanumeric()).collect()
}

/// Whether two names differ by letters only of which one is another alphabet's (`аnn` with a Cyrillic first letter, `ａｎｎ`): whoever
/// chooses a name may choose one that looks like another.
fn looks_like(one: &str, other: &str) -> bool {
    let alike = |(one, other): (char, char)| {
        let foreign = |c: char, own: char| !c.is_ascii() && c.is_lowercase() && own.is_lowercase();
        one == other || foreign(one, other) || foreign(other, one)
    };
    one.chars().count() == other.chars().count() && one.chars().zip(other.chars()).all(alike)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use guard_core::{Identity, Timestamp};

    use super::*;
    use crate::{config::SamePerson, people::oidc::word};

    fn person(claims: &[(&str, &str)]) -> Person {
        let claims = claims.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Person {
            issuer: "https://people.example".into(),
            subject: "1".into(),
            name: "Ann".into(),
            groups: BTreeSet::new(),
            claims: claims.collect(),
            same_person: Vec::new(),
            roles: BTreeSet::new(),
            until: Timestamp::MAX,
        }
    }

    fn run(event: &str, actor: &str, claims: &[(&str, &str)]) -> Identity {
        let claims = claims.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let claims: BTreeMap<String, String> = claims.collect();
        Identity { event: event.into(), actor: actor.into(), claims, ..Identity::example() }
    }

    #[test]
    fn who_started_a_run_is_known_by_name_and_address_however_they_are_written() {
        for (own, actor, claims) in [
            (("preferred_username", "ann"), "ann", &[][..]),
            (("preferred_username", " ANN "), "Ann", &[]),
            (("nickname", "ann"), "ann", &[]),
            (("email", "ann@acme.example"), "ann", &[]),
            (("email", "Ann+work@acme.example"), "ann", &[]),
            (("preferred_username", "ann@acme.example"), "ann", &[]),
            (("email", "ann@acme.example"), "x", &[("user_email", "ANN@acme.example")]),
            (("preferred_username", "ann"), "", &[("triggering_actor", "ann")]),
            (("sub", "ann"), "ann", &[]),
        ] {
            let found = Starter::of(&person(&[own]), &run("push", actor, claims));
            assert_eq!(found, Starter::Same, "{own:?} {actor} {claims:?}");
        }
        let ben = person(&[("preferred_username", "ben"), ("email", "ben@acme.example")]);
        assert_eq!(Starter::of(&ben, &run("push", "ann", &[])), Starter::Another);
    }

    #[test]
    fn who_cannot_be_compared_may_have_started_the_run() {
        let unnamed = person(&[("sub", "0192")]);
        let found = Starter::of(&unnamed, &run("push", "ann", &[]));
        assert!(matches!(found, Starter::Unknown(_)), "{found:?}");
        // The clock and programs are nobody.
        assert_eq!(Starter::of(&unnamed, &run("schedule", "ann", &[])), Starter::Another);
        assert_eq!(Starter::of(&unnamed, &run("push", "renovate[bot]", &[])), Starter::Another);
        assert_eq!(Starter::of(&unnamed, &run("push", "", &[])), Starter::Another);
        // But whoever the clock's run names is known.
        let ann = person(&[("preferred_username", "ann")]);
        assert_eq!(Starter::of(&ann, &run("schedule", "ann", &[])), Starter::Same);
    }

    /// Somebody by the claims of an ID token, as it names what `pair` compares.
    fn vouched(claims: &serde_json::Value, pair: &SamePerson) -> Person {
        let all = claims.as_object().unwrap();
        let named = [pair.person.as_str()].into_iter().chain(COMPARED);
        let found = named.filter_map(|name| Some((name.to_owned(), word(all, name)?)));
        Person { claims: found.collect(), same_person: vec![pair.clone()], ..person(&[]) }
    }

    #[test]
    fn whatever_stands_where_a_pair_looks_nobody_decides_about_their_own_run() {
        use serde_json::json;
        let run = run("push", "octocat", &[("actor_id", "77")]);
        let found = |name: &str, claims: serde_json::Value| {
            let pair = SamePerson { run: "actor_id".into(), person: name.into(), issuer: None };
            Starter::of(&vouched(&claims, &pair), &run)
        };
        for (name, claims) in [
            ("id", json!({ "id": "77" })),
            ("id", json!({ "id": 77 })),
            ("id", json!({ "id": " 77\u{200b}" })),
            ("/id", json!({ "id": 77 })),
            ("/ids/github", json!({ "ids": { "github": 77 } })),
            ("/ids/1", json!({ "ids": [5, "77"] })),
            ("/a~1b/~0c", json!({ "a/b": { "~c": "77" } })),
            ("https://acme.example/id", json!({ "https://acme.example/id": "77" })),
        ] {
            assert_eq!(found(name, claims.clone()), Starter::Same, "{name} {claims}");
        }
        // What is no word, or stands elsewhere, settles nothing, whatever else is known of the person.
        for (name, value) in [
            ("id", json!(null)),
            ("id", json!(true)),
            ("id", json!(77.0)),
            ("id", json!(77.5)),
            ("id", json!("")),
            ("id", json!("  ")),
            ("id", json!(["77"])),
            ("id", json!({ "value": "77" })),
            ("ID", json!("77")),
            ("Id", json!(77)),
            ("/id/", json!("77")),
            ("/id/0", json!("77")),
            ("//id", json!("77")),
            ("id/0", json!(["77"])),
            ("id", json!({ "id": "78" })),
        ] {
            let claims = json!({ "id": value, "preferred_username": "ben" });
            let starter = found(name, claims.clone());
            assert!(matches!(starter, Starter::Unknown(_)), "{name} {claims}: {starter:?}");
        }
        for claims in [json!({ "id": 78 }), json!({ "id": "078" }), json!({ "id": "7 7" })] {
            assert_eq!(found("id", claims.clone()), Starter::Another, "{claims}");
        }
    }

    #[test]
    fn a_name_that_looks_like_the_starters_is_not_somebody_elses() {
        let is = |own: &str, actor: &str| {
            Starter::of(&person(&[("preferred_username", own)]), &run("push", actor, &[]))
        };
        for (own, actor) in [
            ("ann\u{200b}", "ann"),
            ("\u{2060}a\u{ad}nn", "Ann"),
            ("a\u{301}nn", "ann"),
            ("\u{130}da", "ida"),
            ("ANN+ci@acme.example", "ann"),
        ] {
            assert_eq!(is(own, actor), Starter::Same, "{own:?} {actor:?}");
        }
        for (own, actor) in [
            ("\u{430}nn", "ann"),
            ("\u{ff41}\u{ff4e}\u{ff4e}", "ann"),
            ("\u{e1}nn", "ann"),
            ("ann", "\u{430}nn"),
            ("\u{430}nn@acme.example", "ann"),
        ] {
            assert!(matches!(is(own, actor), Starter::Unknown(_)), "{own:?} {actor:?}");
        }
        for (own, actor) in [
            ("ben", "ann"),
            ("j\u{fc}rgen", "ann"),
            ("\u{5f20}\u{4e09}\u{674e}", "ann"),
            ("ann1", "ann"),
        ] {
            assert_eq!(is(own, actor), Starter::Another, "{own:?} {actor:?}");
        }
        // What does not change tells them apart.
        let pair = SamePerson { run: "actor_id".into(), person: "id".into(), issuer: None };
        let claims = [("preferred_username", "\u{430}nn"), ("id", "78")];
        let other = Person { same_person: vec![pair], ..person(&claims) };
        assert_eq!(
            Starter::of(&other, &run("push", "ann", &[("actor_id", "77")])),
            Starter::Another
        );
    }

    #[test]
    fn a_configured_pair_must_be_comparable_where_the_run_has_its_claim() {
        let pair = SamePerson {
            run: "actor_id".into(),
            person: "/github_id".into(),
            issuer: Some("github".into()),
        };
        let with =
            |claims: &[(&str, &str)]| Person { same_person: vec![pair.clone()], ..person(claims) };
        let run = run("push", "ann", &[("actor_id", "77")]);
        let same = with(&[("preferred_username", "somebody"), ("/github_id", "77")]);
        assert_eq!(Starter::of(&same, &run), Starter::Same);
        let another = with(&[("/github_id", "78")]);
        assert_eq!(Starter::of(&another, &run), Starter::Another);
        let unknown = Starter::of(&with(&[("preferred_username", "ben")]), &run);
        assert!(matches!(unknown, Starter::Unknown(_)), "{unknown:?}");
        // Of another issuer's runs it says nothing.
        let elsewhere = Identity { issuer_name: "gitlab".into(), ..run };
        let ben = with(&[("preferred_username", "ben")]);
        assert_eq!(Starter::of(&ben, &elsewhere), Starter::Another);
    }
}
