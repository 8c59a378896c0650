//! Credentials from AWS: tokens by which RDS and Aurora let a database user in whose login is IAM's, and keys that requests to
//! other services are signed with.
//!
//! The keys are of a session of a role, which is assumed for the lease, and go to the enforcement point. A token is a presigned request that the broker makes itself, good for 15 minutes to connect, with credentials of AWS that
//! never leave this file: from a role that is assumed for the lease, with tags that name the run and a policy that allows
//! no more than to connect as this user. Nothing of it can be taken back; all of it ends by itself.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::ProvideCredentials as _};
use aws_sdk_sts::{
    config::Builder,
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::Tag,
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use guard_core::{ResourceSpec, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::{Ask, CredentialError, CredentialSource, Handle, More, NoteHandle, Taken, secrets};
use crate::config::{AwsConfig, AwsIdentity};

/// RDS takes no token that is older:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>.
const TOKEN_LASTS: Duration = Duration::from_secs(900);
/// What a token is asked for anew before its end, so that none ends on its way.
const SLACK: Duration = Duration::from_secs(60);
/// STS gives nothing that lasts less.
const SESSION_SECONDS: i32 = 900;
/// One question to STS.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Attempts, the first included.
const ATTEMPTS: u32 = 2;
/// The longest value of a tag.
const MAX_TAG: usize = 256;

/// The source.
#[derive(Debug)]
pub(super) struct Aws<'a> {
    pub(super) spec: &'a ResourceSpec,
    pub(super) config: &'a AwsConfig,
}

/// What was made: nothing that could be taken back, but what CloudTrail calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AwsHandle {
    /// The name of the role's session.
    pub(crate) session_name: String,
}

impl CredentialSource for Aws<'_> {
    fn plan(&self, ask: &Ask<'_>) -> Result<Handle, CredentialError> {
        Ok(Handle::Aws(AwsHandle { session_name: format!("guard-{}", ask.session) }))
    }

    fn take<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        handle: &'a Handle,
        _: &'a dyn NoteHandle,
    ) -> BoxFuture<'a, Result<Taken, CredentialError>> {
        async {
            let Handle::Aws(planned) = handle else { return Err(super::foreign()) };
            let credentials = self.credentials(ask, &planned.session_name).await?;
            let until = Timestamp::now() + (TOKEN_LASTS - SLACK);
            let (username, password, more) = match &self.config.username {
                Some(user) => {
                    let token = self.token(user, credentials, SystemTime::now())?;
                    (user.clone(), token, More::default())
                }
                None => {
                    let token = credentials.session_token().ok_or_else(nothing_found)?;
                    let more = More { session_token: Some(Secret::new(token)), certificate: None };
                    let secret = Secret::new(credentials.secret_access_key());
                    (credentials.access_key_id().to_owned(), secret, more)
                }
            };
            Ok(Taken {
                username,
                password,
                more,
                handle: handle.clone(),
                until: until.min(ask.until),
                renewable: false,
                warnings: Vec::new(),
            })
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, Result<(), CredentialError>> {
        async { Ok(()) }.boxed()
    }
}

impl Aws<'_> {
    /// What the token is signed with.
    async fn credentials(
        &self,
        ask: &Ask<'_>,
        session_name: &str,
    ) -> Result<Credentials, CredentialError> {
        let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.config.region.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        let loader = match &self.config.identity {
            AwsIdentity::Found => loader,
            AwsIdentity::WebIdentity(_) => loader.no_credentials(),
            AwsIdentity::Keys { id, secret } => {
                let secret = secrets::read(secret).await?;
                let keys = Credentials::new(id, secret.expose(), None, None, "guard.yaml");
                loader.credentials_provider(keys)
            }
        };
        let shared = loader.load().await;
        let Some(role) = &self.config.role else {
            let found = shared.credentials_provider().ok_or_else(nothing_found)?;
            return found.provide_credentials().await.map_err(|error| {
                CredentialError(format!("no credentials of AWS: {}", DisplayErrorContext(&error)))
            });
        };
        let mut sts = Builder::from(&shared);
        if let Some(endpoint) = &self.config.sts_endpoint {
            sts = sts.endpoint_url(endpoint);
        }
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        let policy = match (&self.config.session_policy, &self.config.username) {
            (Some(policy), _) => Some(policy.clone()),
            (None, Some(user)) => Some(self.narrow(role, user).to_string()),
            (None, None) => None,
        };
        let given = match &self.config.identity {
            AwsIdentity::WebIdentity(token) => {
                // The run cannot be in tags here: they would have to stand in the token.
                let token = secrets::read(token).await?;
                let given = sts
                    .assume_role_with_web_identity()
                    .role_arn(role)
                    .role_session_name(session_name)
                    .web_identity_token(token.expose())
                    .duration_seconds(SESSION_SECONDS)
                    .set_policy(policy)
                    .send()
                    .await;
                given.map_err(|error| refused(&error))?.credentials
            }
            AwsIdentity::Found | AwsIdentity::Keys { .. } => {
                let given = sts
                    .assume_role()
                    .role_arn(role)
                    .role_session_name(session_name)
                    .set_external_id(self.config.external_id.clone())
                    .set_tags(self.config.tags.then(|| tags(ask, &self.spec.name)))
                    .duration_seconds(SESSION_SECONDS)
                    .set_policy(policy)
                    .send()
                    .await;
                given.map_err(|error| refused(&error))?.credentials
            }
        };
        let given = given.ok_or_else(|| CredentialError("STS gave no credentials".into()))?;
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            None,
            "sts",
        ))
    }

    /// To connect as this user, and nothing else, whatever the role may do.
    fn narrow(&self, role: &str, username: &str) -> serde_json::Value {
        let region = &self.config.region;
        // `aws`, or what AWS is called in China and for governments.
        let partition = role.split(':').nth(1).unwrap_or("aws");
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": "rds-db:connect",
                "Resource": format!("arn:{partition}:rds-db:{region}:*:dbuser:*/{username}"),
            }],
        })
    }

    /// The presigned request that RDS takes as a password.
    fn token(
        &self,
        username: &str,
        credentials: Credentials,
        now: SystemTime,
    ) -> Result<Secret, CredentialError> {
        let failed = |what: &dyn std::fmt::Display| {
            CredentialError(format!("cannot sign a token for RDS: {what}"))
        };
        let base = format!("https://{}/", self.spec.address);
        let mut url = Url::parse(&base).map_err(|error| failed(&error))?;
        url.query_pairs_mut().append_pair("Action", "connect").append_pair("DBUser", username);
        // The standard port of https would be left out, and RDS would see another address.
        let text = match url.query() {
            Some(query) => format!("{base}?{query}"),
            None => base,
        };
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(TOKEN_LASTS);
        settings.signature_location = SignatureLocation::QueryParams;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.config.region)
            .name("rds-db")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| failed(&error))?;
        let request =
            SignableRequest::new("GET", &text, std::iter::empty(), SignableBody::Bytes(&[]))
                .map_err(|error| failed(&error))?;
        let (signed, _) =
            sign(request, &params.into()).map_err(|error| failed(&error))?.into_parts();
        let mut more = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in signed.params() {
            more.append_pair(name, value);
        }
        let token = format!("{text}&{}", more.finish());
        Ok(Secret::new(token.strip_prefix("https://").unwrap_or(&token)))
    }
}

/// Whose session it is, for CloudTrail and for conditions of policies (`aws:PrincipalTag/guard-repository`).
fn tags(ask: &Ask<'_>, resource: &guard_core::ResourceName) -> Vec<Tag> {
    let mut tags = vec![
        ("guard-session", ask.session.to_string()),
        ("guard-resource", resource.to_string()),
        ("guard-policy", ask.policy.name().to_string()),
    ];
    if let Some(run) = ask.run {
        tags.extend([
            ("guard-repository", run.repository.to_string()),
            ("guard-repository-id", run.run.repository_id.to_string()),
            ("guard-ref", run.git_ref.to_string()),
            ("guard-run", format!("{}.{}", run.run.run_id, run.run.attempt)),
        ]);
    }
    let tag = |(name, value): (&str, String)| Tag::builder().key(name).value(plain(&value)).build();
    tags.into_iter().filter_map(|one| tag(one).ok()).collect()
}

/// A value as AWS takes it: what it does not know becomes `_`, so that no run is refused for its name.
fn plain(value: &str) -> String {
    let known = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    value.chars().map(|c| if known(c) { c } else { '_' }).take(MAX_TAG).collect()
}

/// STS says why, without a secret; the rest of the error is how it was asked.
fn refused<E>(error: &aws_sdk_sts::error::SdkError<E>) -> CredentialError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let said = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => DisplayErrorContext(error).to_string().chars().take(300).collect(),
    };
    CredentialError(format!("STS refuses: {said}"))
}

fn nothing_found() -> CredentialError {
    CredentialError("the broker has no credentials of AWS".into())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_tags_value_is_one_that_aws_takes() {
        assert_eq!(plain("acme/shop"), "acme/shop");
        assert_eq!(plain("refs/heads/a,b;\n'c'"), "refs/heads/a_b___c_");
        assert_eq!(plain(&"x".repeat(1000)).len(), 256);
    }
}
