//! The API as an OpenAPI document: served, and committed as `schemas/openapi.json`.
//!
//! The forms of bodies come from their types (`guard_core::control`); what each route takes and gives stands here. A route that
//! does not stand here fails a test.

use std::collections::BTreeMap;

use axum::Json;
use guard_core::control::{
    ApiError, AppendEvents, Appended, ApprovalStatus, AskApproval, AskEgress, AskEnforcement,
    AskLease, Audience, Authorize, CancelApproval, EgressAnswer, EgressOutcome, EndSession,
    Enforcement, EnrolGateway, ExchangeAnswer, Lease, ReachedIsolation, RegisterGateway,
    RenewSession, Renewed, SealingKeys, SessionEnded, SessionState, UseApproval,
};
use guard_core::people::{
    ApprovalView, ApprovalViews, AskPersonToken, DecideApproval, DeviceSignIn, DeviceState,
    PersonInfo,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder,
        PathItem, PathsBuilder, Ref, RefOr, Required, ResponseBuilder,
        path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{Schema, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder},
        security::{SecurityRequirement, SecurityScheme},
    },
};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const FORM: &str = "application/x-www-form-urlencoded";

/// Events have a form of their own, which `docs/record.md` describes.
#[derive(Debug, ToSchema)]
#[schema(as = Event)]
struct AnyEvent {
    /// What happened, in kebab case.
    #[expect(dead_code, reason = "only its form is of use")]
    r#type: String,
}

/// Body of `POST /oauth/token` (RFC 8693 section 2.1).
#[derive(Debug, ToSchema)]
#[schema(as = TokenExchange)]
#[expect(dead_code, reason = "only its form is of use")]
struct Exchange {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// The identity token.
    #[schema(format = Password)]
    subject_token: String,
    /// `urn:ietf:params:oauth:token-type:id_token` or `…:jwt`.
    subject_token_type: String,
    /// `urn:ietf:params:oauth:token-type:access_token`, if anything.
    requested_token_type: Option<String>,
    /// Names of resources, separated by spaces; all that the run may have if left out.
    scope: Option<String>,
}

/// An error of `POST /oauth/token` (RFC 6749 section 5.2).
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its form is of use")]
struct OauthError {
    /// The error.
    error: String,
    /// For people.
    error_description: String,
    /// Finds the reason in the broker's log.
    decision_id: String,
}

/// How the broker is.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its form is of use")]
struct Health {
    /// `ok`, or what it is instead.
    status: String,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum By {
    Anyone,
    /// Who shows a key and has no session yet.
    Key,
    Shim,
    Gateway,
    Either,
    /// Somebody who signed in on the command line.
    Person,
}

/// What a route does.
struct About {
    summary: &'static str,
    by: By,
    body: Option<(&'static str, &'static str)>,
    answer: Option<(u16, &'static str, &'static str)>,
    errors: &'static str,
    refused: &'static [u16],
    polls: bool,
    /// Numbers in the query, and whether they have to be there.
    query: &'static [(&'static str, bool)],
    /// Waits for a request of a session, which the query names.
    waits: bool,
}

const fn asks(summary: &'static str, by: By) -> About {
    About {
        summary,
        by,
        body: None,
        answer: None,
        errors: "ApiError",
        refused: &[503],
        polls: false,
        query: &[],
        waits: false,
    }
}

/// What each route takes and gives.
fn about(route: super::RouteName) -> Option<About> {
    let json = |name| Some((JSON, name));
    let gives = |name| Some((200, JSON, name));
    let done = Some((204, "", ""));
    let found = match route {
        ("GET", "/healthz") => About {
            answer: gives("Health"),
            refused: &[],
            ..asks("Whether the process answers", By::Anyone)
        },
        ("GET", "/readyz") => About {
            answer: gives("Health"),
            errors: "Health",
            ..asks("Whether requests may be sent here", By::Anyone)
        },
        ("GET", "/v1/openapi.json") => About {
            answer: Some((200, JSON, "")),
            refused: &[],
            ..asks("This document", By::Anyone)
        },
        ("GET", "/v1/audience") => About {
            answer: gives("Audience"),
            refused: &[],
            ..asks("What an identity token must be for", By::Anyone)
        },
        ("GET", "/v1/keys") => About {
            answer: gives("SealingKeys"),
            ..asks("The keys that verify the seals of records", By::Anyone)
        },
        ("GET", "/v1/log/checkpoint") => About {
            answer: Some((200, TEXT, "")),
            ..asks("The newest signed root of the log of seals (C2SP tlog-checkpoint)", By::Anyone)
        },
        ("GET", "/v1/log/proof/{session}") => About {
            answer: Some((200, TEXT, "")),
            refused: &[404, 422, 503],
            ..asks(
                "The proof that a session's seal is in the log (C2SP tlog-proof); of the newest key for `key`",
                By::Anyone,
            )
        },
        ("GET", "/v1/log/consistency") => About {
            answer: Some((200, TEXT, "")),
            refused: &[422, 503],
            query: &[("from", true), ("to", true)],
            ..asks("The proof that the log of one size holds all of a smaller one", By::Anyone)
        },
        ("GET", "/v1/log/leaves") => About {
            answer: Some((200, "application/jsonl", "")),
            query: &[("from", false)],
            ..asks("Leaves of the log, at most 1000, from a place on", By::Anyone)
        },
        ("POST", "/oauth/token") => About {
            body: Some((FORM, "TokenExchange")),
            answer: gives("ExchangeAnswer"),
            errors: "OauthError",
            refused: &[400, 403, 503],
            ..asks("Exchange an identity token for a session (RFC 8693)", By::Key)
        },
        ("GET", "/v1/session/state") => About {
            answer: gives("SessionState"),
            refused: &[401, 503],
            polls: true,
            ..asks("How the session is; counts as a sign of life", By::Shim)
        },
        ("POST", "/v1/session/enforce") => About {
            body: json("AskEnforcement"),
            answer: gives("Enforcement"),
            refused: &[401, 403, 410, 422, 503],
            ..asks("What is needed to enforce a grant in the shim", By::Shim)
        },
        ("POST", "/v1/session/isolation") => About {
            body: json("ReachedIsolation"),
            answer: done,
            refused: &[401, 403, 410, 422, 503, 507],
            ..asks("Say at which level of isolation a command is about to be run", By::Shim)
        },
        ("POST", "/v1/session/egress") => About {
            body: json("AskEgress"),
            answer: gives("EgressAnswer"),
            refused: &[401, 410, 422, 429, 503, 507],
            ..asks("Ask whether a command may go to a place that is no resource", By::Shim)
        },
        ("POST", "/v1/session/egress/{id}") => About {
            body: json("EgressOutcome"),
            answer: done,
            refused: &[401, 410, 422, 429, 503, 507],
            ..asks("Say what came of such an attempt", By::Shim)
        },
        ("POST", "/v1/session/renew") => About {
            body: json("RenewSession"),
            answer: gives("Renewed"),
            refused: &[401, 403, 410, 422, 503],
            ..asks("Keep the session alive by a fresh identity token of its job", By::Shim)
        },
        ("POST", "/v1/session/end") => About {
            body: json("EndSession"),
            answer: gives("SessionEnded"),
            refused: &[401, 422, 503],
            ..asks("End the session; answers when its record is sealed", By::Shim)
        },
        ("GET", "/v1/session/record") => About {
            answer: Some((200, "application/jsonl", "")),
            refused: &[401, 422, 503, 507],
            ..asks("The sealed record", By::Shim)
        },
        ("GET", "/v1/session/attestation") => About {
            answer: Some((200, "application/vnd.in-toto+json", "")),
            refused: &[401, 422, 503, 507],
            ..asks("An in-toto statement about the sealed record, in a DSSE envelope", By::Shim)
        },
        ("POST", "/v1/gateways/enrol") => About {
            body: json("EnrolGateway"),
            answer: done,
            refused: &[401, 403, 422, 503],
            ..asks("Let a gateway's key in by a token", By::Gateway)
        },
        ("PUT", "/v1/gateways/self") => About {
            body: json("RegisterGateway"),
            answer: done,
            refused: &[401, 422, 503],
            ..asks("Say where this gateway is", By::Gateway)
        },
        ("POST", "/v1/sessions/authorize") => About {
            body: json("Authorize"),
            answer: gives("Enforcement"),
            refused: &[401, 403, 410, 422, 503],
            ..asks("Ask whether a shim that came may come", By::Gateway)
        },
        ("GET", "/v1/sessions/{id}/state") => About {
            answer: gives("SessionState"),
            refused: &[401, 404, 410, 503],
            polls: true,
            ..asks("How a session is whose shim came to this gateway", By::Gateway)
        },
        ("POST", "/v1/leases") => About {
            body: json("AskLease"),
            answer: gives("Lease"),
            refused: &[401, 403, 404, 410, 422, 503],
            ..asks("Take a credential for a session", By::Either)
        },
        ("POST", "/v1/leases/{id}/release") => About {
            answer: done,
            refused: &[401, 403, 422, 503],
            ..asks("Give a credential back", By::Either)
        },
        ("POST", "/v1/approvals") => About {
            body: json("AskApproval"),
            answer: gives("ApprovalStatus"),
            refused: &[401, 403, 404, 409, 410, 422, 429, 503, 507],
            ..asks("Ask people about an operation", By::Either)
        },
        ("GET", "/v1/approvals/{id}/state") => About {
            answer: gives("ApprovalStatus"),
            refused: &[401, 403, 404, 410, 422, 503],
            waits: true,
            ..asks("Where a request stands", By::Either)
        },
        ("POST", "/v1/approvals/{id}/use") => About {
            body: json("UseApproval"),
            answer: gives("ApprovalStatus"),
            refused: &[401, 403, 404, 409, 410, 422, 503, 507],
            ..asks("Use a granted request up for the operation that it is for", By::Either)
        },
        ("POST", "/v1/approvals/{id}/cancel") => About {
            body: json("CancelApproval"),
            answer: gives("ApprovalStatus"),
            refused: &[401, 403, 404, 410, 422, 503],
            ..asks("Take a request back", By::Either)
        },
        ("POST", "/v1/people/device") => About {
            answer: gives("DeviceSignIn"),
            refused: &[403, 404, 422, 429, 503],
            ..asks("Begin to sign somebody in on the command line (RFC 8628)", By::Anyone)
        },
        ("POST", "/v1/people/device/token") => About {
            body: json("AskPersonToken"),
            answer: gives("DeviceState"),
            refused: &[403, 404, 422, 429, 503],
            ..asks("Whether somebody has signed in", By::Anyone)
        },
        ("GET", "/v1/people/self") => About {
            answer: gives("PersonInfo"),
            refused: &[401, 403, 404, 503],
            ..asks("Who is signed in", By::Person)
        },
        ("POST", "/v1/people/sign-out") => {
            About { answer: done, refused: &[401, 403, 404, 503], ..asks("Sign out", By::Person) }
        }
        ("GET", "/v1/people/approvals") => About {
            answer: gives("ApprovalViews"),
            refused: &[401, 403, 404, 503],
            ..asks("What waits for people", By::Person)
        },
        ("GET", "/v1/people/approvals/{id}") => About {
            answer: gives("ApprovalView"),
            refused: &[401, 403, 404, 503],
            ..asks("What people are asked", By::Person)
        },
        ("POST", "/v1/people/approvals/{id}") => About {
            body: json("DecideApproval"),
            answer: gives("ApprovalView"),
            refused: &[401, 403, 404, 422, 503],
            ..asks("Say yes or no", By::Person)
        },
        ("POST", "/v1/record") => About {
            body: json("AppendEvents"),
            answer: gives("Appended"),
            refused: &[401, 403, 404, 409, 410, 422, 503, 507],
            ..asks("Append events to a session's record", By::Either)
        },
        _ => return None,
    };
    Some(found)
}

/// The document as JSON.
pub(super) async fn serve() -> Json<OpenApi> {
    Json(document())
}

/// The document.
pub(crate) fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for route in super::route_names() {
        let Some(about) = about(route) else { continue };
        let method = match route.0 {
            "GET" => HttpMethod::Get,
            "PUT" => HttpMethod::Put,
            _ => HttpMethod::Post,
        };
        paths = paths.path(route.1, PathItem::new(method, operation(route, &about)));
    }
    let info = InfoBuilder::new()
        .title("guard-broker")
        .description(Some(
            "What shims and gateways ask of guard's broker. Proofs are described in crates/core/src/control.rs.",
        ))
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components())).build()
}

fn operation(route: super::RouteName, about: &About) -> Operation {
    let id = format!("{} {}", route.0.to_lowercase(), route.1);
    let id: Vec<_> =
        id.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let mut operation =
        OperationBuilder::new().summary(Some(about.summary)).operation_id(Some(id.join("_")));
    let text = |name: &str, kind, place, needed: bool| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(if needed { Required::True } else { Required::False })
            .schema(Some(ObjectBuilder::new().schema_type(kind)))
    };
    if route.1.contains("{id}") {
        operation = operation.parameter(text("id", Type::String, ParameterIn::Path, true));
    }
    if route.1.contains("{session}") {
        operation = operation.parameter(text("session", Type::String, ParameterIn::Path, true));
    }
    for (name, needed) in about.query {
        operation = operation.parameter(text(name, Type::Integer, ParameterIn::Query, *needed));
    }
    if about.polls {
        operation = operation
            .parameter(text("after", Type::Integer, ParameterIn::Query, false))
            .parameter(text("wait", Type::Integer, ParameterIn::Query, false));
    }
    if about.waits {
        operation = operation
            .parameter(text("session", Type::String, ParameterIn::Query, true))
            .parameter(text("wait", Type::Integer, ParameterIn::Query, false));
    }
    let empty: [&str; 0] = [];
    let session = || SecurityRequirement::new("session", empty).add("proof", empty);
    let gateway = || SecurityRequirement::new("gateway", empty);
    operation = match about.by {
        By::Anyone => operation,
        By::Key => operation.security(SecurityRequirement::new("proof", empty)),
        By::Shim => operation.security(session()),
        By::Gateway => operation.security(gateway()),
        By::Person => operation.security(SecurityRequirement::new("person", empty)),
        By::Either => operation.security(session()).security(gateway()),
    };
    let content = |name: &str| match name {
        "" => ContentBuilder::new().build(),
        name => ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build(),
    };
    if let Some((kind, name)) = about.body {
        let body = RequestBodyBuilder::new().content(kind, content(name));
        operation = operation.request_body(Some(body.required(Some(Required::True)).build()));
    }
    if let Some((status, kind, name)) = about.answer {
        let mut answer = ResponseBuilder::new().description("Done");
        if !kind.is_empty() {
            answer = answer.content(kind, content(name));
        }
        operation = operation.response(status.to_string(), answer.build());
    }
    for status in about.refused {
        let answer = ResponseBuilder::new().description("Refused");
        let answer = answer.content(JSON, content(about.errors)).build();
        operation = operation.response(status.to_string(), answer);
    }
    operation.build()
}

type Schemas = BTreeMap<String, RefOr<Schema>>;

fn add<T: ToSchema>(schemas: &mut Schemas, name: &str) {
    let mut inner = Vec::new();
    T::schemas(&mut inner);
    schemas.extend(inner);
    schemas.insert(name.to_owned(), <T as PartialSchema>::schema());
}

fn components() -> utoipa::openapi::Components {
    let mut schemas = Schemas::new();
    let all = &mut schemas;
    add::<Health>(all, "Health");
    add::<Audience>(all, "Audience");
    add::<SealingKeys>(all, "SealingKeys");
    add::<Exchange>(all, "TokenExchange");
    add::<ExchangeAnswer>(all, "ExchangeAnswer");
    add::<OauthError>(all, "OauthError");
    add::<ApiError>(all, "ApiError");
    add::<SessionState>(all, "SessionState");
    add::<AskEnforcement>(all, "AskEnforcement");
    add::<Enforcement>(all, "Enforcement");
    add::<ReachedIsolation>(all, "ReachedIsolation");
    add::<AskEgress>(all, "AskEgress");
    add::<EgressAnswer>(all, "EgressAnswer");
    add::<EgressOutcome>(all, "EgressOutcome");
    add::<RenewSession>(all, "RenewSession");
    add::<Renewed>(all, "Renewed");
    add::<EndSession>(all, "EndSession");
    add::<SessionEnded>(all, "SessionEnded");
    add::<EnrolGateway>(all, "EnrolGateway");
    add::<RegisterGateway>(all, "RegisterGateway");
    add::<Authorize>(all, "Authorize");
    add::<AskLease>(all, "AskLease");
    add::<Lease>(all, "Lease");
    add::<AskApproval>(all, "AskApproval");
    add::<ApprovalStatus>(all, "ApprovalStatus");
    add::<UseApproval>(all, "UseApproval");
    add::<CancelApproval>(all, "CancelApproval");
    add::<DeviceSignIn>(all, "DeviceSignIn");
    add::<AskPersonToken>(all, "AskPersonToken");
    add::<DeviceState>(all, "DeviceState");
    add::<PersonInfo>(all, "PersonInfo");
    add::<ApprovalView>(all, "ApprovalView");
    add::<ApprovalViews>(all, "ApprovalViews");
    add::<DecideApproval>(all, "DecideApproval");
    add::<AnyEvent>(all, "Event");
    add::<AppendEvents<AnyEvent>>(all, "AppendEvents");
    add::<Appended>(all, "Appended");
    let header = |name: &str, about: &str| {
        let value = ApiKeyValue::with_description(name, about);
        SecurityScheme::ApiKey(ApiKey::Header(value))
    };
    let dpop = "The session's token, bound to a key: `DPoP <token>` (RFC 9449)";
    let proof = "A proof of possession (RFC 9449), new for each request";
    let assertion = "A JWT that the gateway signs itself, of type `guard-gateway+jwt`";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(assertion));
    let person = "What `POST /v1/people/device/token` gave";
    let person = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(person));
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("session", header("Authorization", dpop))
        .security_scheme("proof", header("DPoP", proof))
        .security_scheme("person", SecurityScheme::Http(person.build()))
        .security_scheme("gateway", SecurityScheme::Http(bearer.build()))
        .build()
}
