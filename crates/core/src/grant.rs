//! What a session may use: resources, and the grants that join one to a policy.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{PolicyName, ResourceName, Timestamp, http::ApiDocument};

/// The protocol that a resource speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResourceKind {
    /// PostgreSQL's frontend/backend protocol, version 3.
    Postgres,
    /// An API over HTTP/1.1.
    Http,
}

impl ResourceKind {
    /// The word used in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Http => "http",
        }
    }
}

/// Where the data path runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EnforceAt {
    /// In a `guard gateway` beside the resource: the credential never reaches the job's machine.
    #[default]
    Gateway,
    /// In the shim, for resources that only the runner can reach.
    Shim,
}

impl EnforceAt {
    /// The word used in configuration and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Shim => "shim",
        }
    }
}

impl fmt::Display for EnforceAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the connection to a resource is protected. Named after libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TlsMode {
    /// TLS with the chain and the name verified.
    #[default]
    VerifyFull,
    /// No TLS. The configuration accepts it for loopback addresses and Unix sockets only.
    Disable,
}

/// What the data path has to know of a resource. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceSpec {
    /// Its name in the broker's configuration.
    pub name: ResourceName,
    /// The protocol it speaks.
    pub kind: ResourceKind,
    /// `host:port`.
    pub address: String,
    /// The database that a client gets when it asks for none, and the only one it may ask for; empty where there are none.
    pub database: String,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// PEM of the certificate authorities to trust instead of the system's.
    pub tls_ca: Option<String>,
    /// Where the data path runs.
    pub enforce_at: EnforceAt,
    /// Which header shows the credential to an HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_as: Option<SendAs>,
    /// The operations of an HTTP API, by which rules can name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiDocument>,
}

impl ResourceSpec {
    /// `host:port` by which clients of an API reach it with TLS where there is no guard.
    pub fn origin(&self) -> Option<&str> {
        match (self.kind, self.tls) {
            (ResourceKind::Http, TlsMode::VerifyFull) => Some(&self.address),
            (ResourceKind::Http, TlsMode::Disable) | (ResourceKind::Postgres, _) => None,
        }
    }

    /// The service of AWS that it is, if requests to it are signed anew.
    pub fn aws(&self) -> Option<&AwsService> {
        match &self.send_as {
            Some(SendAs::AwsSigv4(service)) => Some(service),
            Some(
                SendAs::Bearer
                | SendAs::Basic
                | SendAs::Header(_)
                | SendAs::Query(_)
                | SendAs::Cookie(_)
                | SendAs::Certificate,
            )
            | None => None,
        }
    }
}

/// How a credential is shown to an HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SendAs {
    /// `Authorization: Bearer PASSWORD` (RFC 6750).
    Bearer,
    /// `Authorization: Basic …`, of user name and password (RFC 7617).
    Basic,
    /// The password as the value of this header.
    Header(String),
    /// The password as the value of this parameter of the query.
    Query(String),
    /// The password as the value of this cookie (RFC 6265).
    Cookie(String),
    /// A signature that is made with it (AWS Signature Version 4); user name and password are an access key.
    AwsSigv4(AwsService),
    /// Not at all in requests: TLS shows a certificate, of which the password is the private key.
    Certificate,
}

/// What a signature of AWS is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AwsService {
    /// The service, by its name in signatures, such as `s3`.
    pub service: String,
    /// The region.
    pub region: String,
}

/// The id of the access key that commands have where guard signs anew: AWS's tools do nothing without one. What is signed
/// with it shows that its sender has no credential.
pub const AWS_PLACEHOLDER: &str = "GUARDPLACEHOLDER0000";

/// One resource with one policy and one end, inside a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Grant {
    /// The resource.
    pub resource: ResourceName,
    /// The policy over it.
    pub policy: PolicyName,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub until: Timestamp,
}
