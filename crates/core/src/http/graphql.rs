//! What a request asks of a GraphQL server, and what a rule says of that.

use super::ValuePattern;

/// What an operation of GraphQL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GraphqlKind {
    /// Reads.
    Query,
    /// Changes something.
    Mutation,
    /// Reads what comes as time goes by.
    Subscription,
}

impl GraphqlKind {
    /// The words of policies, which are those of GraphQL.
    pub const WORDS: [(&str, Self); 3] = [
        ("query", Self::Query),
        ("mutation", Self::Mutation),
        ("subscription", Self::Subscription),
    ];
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphqlOperation {
    /// What it is.
    pub kind: GraphqlKind,
    /// The fields of its root, by their own names: aliases, fragments and directives change nothing of it.
    pub fields: Vec<String>,
}

/// What a request asks of a GraphQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphqlRequest {
    /// The operations that every server would carry out; `None` if that is not certain.
    pub surely: Option<Vec<GraphqlOperation>>,
    /// All that some server could; `None` if it could be any.
    pub possibly: Option<Vec<GraphqlOperation>>,
}

impl GraphqlRequest {
    /// What cannot be told.
    pub const UNKNOWN: Self = Self { surely: None, possibly: None };
}

/// What a rule says of operations of GraphQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphqlPattern {
    /// What they may be; `None`: anything.
    pub kinds: Option<Vec<GraphqlKind>>,
    /// The fields of the root; `None`: any.
    pub fields: Option<Vec<ValuePattern>>,
}

impl GraphqlPattern {
    /// Whether all that a request asks is what the rule says. `None` is a request that was not looked at.
    pub fn matches(&self, request: Option<&GraphqlRequest>) -> bool {
        let surely = request.and_then(|it| it.surely.as_ref());
        surely.is_some_and(|all| {
            !all.is_empty()
                && all.iter().all(|operation| {
                    self.is_kind(operation.kind)
                        && !operation.fields.is_empty()
                        && operation.fields.iter().all(|it| self.names(it))
                })
        })
    }

    /// Whether something that it could ask is.
    pub fn may_match(&self, request: Option<&GraphqlRequest>) -> bool {
        let possibly = request.and_then(|it| it.possibly.as_ref());
        possibly.is_none_or(|all| {
            all.iter().any(|operation| {
                self.is_kind(operation.kind)
                    && (self.fields.is_none() || operation.fields.iter().any(|it| self.names(it)))
            })
        })
    }

    fn is_kind(&self, kind: GraphqlKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    fn names(&self, field: &str) -> bool {
        let fits = |patterns: &Vec<ValuePattern>| patterns.iter().any(|it| it.matches(field));
        self.fields.as_ref().is_none_or(fits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn all_must_be_what_a_rule_says_and_one_may() {
        let pattern = GraphqlPattern {
            kinds: Some(vec![GraphqlKind::Query]),
            fields: Some(vec!["viewer".parse().unwrap(), "repo*".parse().unwrap()]),
        };
        let operation = |kind, fields: &[&str]| GraphqlOperation {
            kind,
            fields: fields.iter().map(|it| (*it).to_owned()).collect(),
        };
        let query = |fields: &[&str]| operation(GraphqlKind::Query, fields);
        let mutation = operation(GraphqlKind::Mutation, &["viewer"]);
        for (operations, matches, may) in [
            (vec![query(&["viewer"])], true, true),
            (vec![query(&["viewer", "repository"])], true, true),
            (vec![query(&["viewer", "users"])], false, true),
            (vec![query(&["viewer"]), mutation.clone()], false, true),
            (vec![mutation], false, false),
            (vec![query(&[])], false, false),
            (vec![], false, false),
        ] {
            let request = GraphqlRequest {
                surely: Some(operations.clone()),
                possibly: Some(operations.clone()),
            };
            assert_eq!(pattern.matches(Some(&request)), matches, "{operations:?}");
            assert_eq!(pattern.may_match(Some(&request)), may, "{operations:?}");
        }
        for unknown in [None, Some(&GraphqlRequest::UNKNOWN)] {
            assert!(!pattern.matches(unknown) && pattern.may_match(unknown));
        }
    }
}
