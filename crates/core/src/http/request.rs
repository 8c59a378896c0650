//! A request as rules look at it, and what a rule says of requests.

use super::{
    BodyCondition, Called, Condition, GraphqlPattern, GraphqlRequest, Method, MethodSet,
    PathPattern, RequestBody, ValuePattern,
};

/// A request, understood: every text is decoded and stands for exactly one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method that was sent, and the one that it asks its server to take instead, if it does. A server may do either, so
    /// each must be allowed.
    pub methods: Vec<Method>,
    /// The path's segments: none for the root, an empty one at the end for a slash there.
    pub path: Vec<String>,
    /// The parameters of the query, in order.
    pub query: Vec<(String, String)>,
    /// The headers, in order, with names in lower case and `-` for `_`.
    pub headers: Vec<(String, String)>,
    /// The body, where a rule looks at it.
    pub body: RequestBody,
    /// For each method the operations of the API's document that it is; `None` where there is no document.
    pub called: Option<Vec<Called>>,
    /// What it asks of a GraphQL server, where a rule looks at that.
    pub graphql: Option<GraphqlRequest>,
}

impl HttpRequest {
    fn called(&self, method: &Method) -> Option<&Called> {
        let index = self.methods.iter().position(|own| own == method)?;
        self.called.as_ref()?.get(index)
    }
}

/// What a rule says of requests. An empty list of paths fits none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPattern {
    /// The methods.
    pub methods: MethodSet,
    /// One of these must fit.
    pub paths: Vec<PathPattern>,
    /// One of these must fit the id of the operation that the API's document has for it.
    pub operations: Option<Vec<ValuePattern>>,
    /// All of these must hold for the query.
    pub query: Vec<Condition>,
    /// All of these must hold for the headers.
    pub headers: Vec<Condition>,
    /// All of these must hold for the body.
    pub body: Vec<BodyCondition>,
    /// What it must ask of a GraphQL server.
    pub graphql: Option<GraphqlPattern>,
}

impl RequestPattern {
    /// Whether a request by one of its methods is what the rule says, however a server reads it.
    pub fn matches(&self, method: &Method, request: &HttpRequest) -> bool {
        self.methods.contains(method)
            && self.paths.iter().any(|path| path.matches(&request.path))
            && self.operations.as_ref().is_none_or(|patterns| {
                let called = request.called(method).and_then(|it| it.surely.as_deref());
                called.is_some_and(|id| patterns.iter().any(|pattern| pattern.matches(id)))
            })
            && self.query.iter().all(|it| it.holds(named(&request.query, it.name(), str::eq)))
            && self
                .headers
                .iter()
                .all(|it| it.holds(named(&request.headers, it.name(), same_header)))
            && self.body.iter().all(|it| it.holds(&request.body))
            && self.graphql.as_ref().is_none_or(|it| it.matches(request.graphql.as_ref()))
    }

    /// Whether it depends on a header, whatever a server takes its name for.
    pub fn looks_at_header(&self, name: &str) -> bool {
        self.headers.iter().any(|condition| same_header(condition.name(), name))
    }

    /// Whether a server could take it for what the rule says.
    pub fn may_match(&self, method: &Method, request: &HttpRequest) -> bool {
        self.methods.contains(method)
            && self.paths.iter().any(|path| path.may_match(&request.path))
            && self.operations.as_ref().is_none_or(|patterns| {
                request.called(method).is_none_or(|called| {
                    let fits = |id: &str| patterns.iter().any(|pattern| pattern.matches(id));
                    called.possibly.iter().any(|id| fits(id))
                })
            })
            && self
                .query
                .iter()
                .all(|it| it.may_hold(named(&request.query, it.name(), str::eq_ignore_ascii_case)))
            && self
                .headers
                .iter()
                .all(|it| it.may_hold(named(&request.headers, it.name(), same_header)))
            && self.body.iter().all(|it| it.may_hold(&request.body))
            && self.graphql.as_ref().is_none_or(|it| it.may_match(request.graphql.as_ref()))
    }

    /// Whether it may be about a request and looks at more of it than method, path and query.
    pub fn looks_beyond_line(&self, request: &HttpRequest) -> bool {
        let looks = !self.headers.is_empty()
            || !self.body.is_empty()
            || self.graphql.is_some()
            || self.operations.is_some();
        looks && self.is_near(request)
    }

    /// Whether it looks into the body of requests like this one, whose body was not looked at yet.
    pub fn looks_into(&self, request: &HttpRequest) -> bool {
        (!self.body.is_empty() || self.graphql.is_some()) && self.is_near(request)
    }

    /// Whether methods and path could be those of a request.
    fn is_near(&self, request: &HttpRequest) -> bool {
        request.methods.iter().any(|method| self.methods.contains(method))
            && self.paths.iter().any(|path| path.may_match(&request.path))
    }
}

fn named<'a>(
    pairs: &'a [(String, String)],
    name: &'a str,
    same: impl Fn(&str, &str) -> bool + 'a,
) -> impl Iterator<Item = &'a str> {
    pairs.iter().filter(move |(found, _)| same(found, name)).map(|(_, value)| value.as_str())
}

/// Whether a server could take two names for the same: CGI knows neither case nor `-`.
fn same_header(one: &str, other: &str) -> bool {
    let bare = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.bytes().map(bare).eq(other.bytes().map(bare))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_request_fits_in_all_parts_or_not_at_all() {
        let pattern = RequestPattern {
            methods: MethodSet::new(["GET"]).unwrap(),
            paths: vec!["/a/**".parse().unwrap(), "/b".parse().unwrap()],
            query: vec![Condition::one_of("state", ["open".parse().unwrap()]).unwrap()],
            headers: vec![Condition::absent("X-Admin").unwrap()],
            body: Vec::new(),
            graphql: None,
            operations: None,
        };
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let request = |path: &str, query: &[(&str, &str)], headers: &[(&str, &str)]| HttpRequest {
            methods: vec![Method::new("GET").unwrap()],
            path: path.split('/').skip(1).map(str::to_owned).collect(),
            query: pairs(query),
            headers: pairs(headers),
            body: RequestBody::Empty,
            graphql: None,
            called: None,
        };
        let open = [("state", "open")];
        for (request, fits, may) in [
            (request("/a/x", &open, &[]), true, true),
            (request("/b", &open, &[("accept", "*/*")]), true, true),
            (request("/B", &open, &[]), false, true),
            (request("/c", &open, &[]), false, false),
            (request("/b", &[], &[]), false, false),
            (request("/b", &[("State", "open")], &[]), false, true),
            (request("/b", &[("state", "open"), ("state", "all")], &[]), false, true),
            (request("/b", &open, &[("x_admin", "1")]), false, false),
        ] {
            let get = Method::new("GET").unwrap();
            assert_eq!(pattern.matches(&get, &request), fits, "{request:?}");
            assert_eq!(pattern.may_match(&get, &request), may, "{request:?}");
            assert!(!pattern.may_match(&Method::new("PUT").unwrap(), &request));
        }
    }
}
