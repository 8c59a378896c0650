//! What a policy says of HTTP APIs, and what a request is to it: methods, paths, conditions, and where in a JSON text
//! masked values are.
//!
//! Whatever allows matches exactly; whatever forbids looks at what a server could take a request for, too. So each
//! pattern answers two questions: `matches` and `may_match`.

mod api;
mod body;
mod condition;
mod field_name;
mod graphql;
mod json_path;
mod method;
mod path;
mod request;

pub use self::{
    api::{Api, ApiDocument, ApiOperation, Called, MAX_OPERATIONS},
    body::{BodyCondition, BodyValue, Json, JsonType, Readings, RequestBody},
    condition::{Condition, InvalidCondition, ValuePattern},
    field_name::{FieldName, InvalidFieldName},
    graphql::{GraphqlKind, GraphqlOperation, GraphqlPattern, GraphqlRequest},
    json_path::{InvalidJsonPath, JsonPath, JsonStep, MAX_JSON_KEY},
    method::{InvalidMethod, Method, MethodSet},
    path::{InvalidPath, PathPattern},
    request::{HttpRequest, RequestPattern},
};
