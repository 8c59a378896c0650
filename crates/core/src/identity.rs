//! Who a run is: the verified claims of its identity token in one shape for all platforms.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// The kind of pipeline platform behind an issuer: it says how claims map to an [`Identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Platform {
    /// GitHub Actions, <https://docs.github.com/en/actions/reference/security/oidc>.
    Github,
    /// GitLab CI/CD, <https://docs.gitlab.com/ci/secrets/id_token_authentication/>.
    Gitlab,
    /// Buildkite, <https://buildkite.com/docs/agent/v3/cli-oidc>.
    Buildkite,
    /// CircleCI, <https://circleci.com/docs/openid-connect-tokens/>.
    Circleci,
    /// Azure Pipelines, <https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create>.
    AzureDevops,
    /// Bitbucket Pipelines, <https://support.atlassian.com/bitbucket-cloud/docs/integrate-pipelines-with-resource-servers-using-oidc/>.
    Bitbucket,
    /// A Kubernetes cluster's service accounts, <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>.
    Kubernetes,
    /// Any other issuer; its configuration says which claims name a run.
    Oidc,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 8] = [
        Self::Github,
        Self::Gitlab,
        Self::Buildkite,
        Self::Circleci,
        Self::AzureDevops,
        Self::Bitbucket,
        Self::Kubernetes,
        Self::Oidc,
    ];

    /// The word used in configuration and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Buildkite => "buildkite",
            Self::Circleci => "circleci",
            Self::AzureDevops => "azure-devops",
            Self::Bitbucket => "bitbucket",
            Self::Kubernetes => "kubernetes",
            Self::Oidc => "oidc",
        }
    }
}

/// What names a run and never another: a rename, a retry or a sibling job has another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunKey {
    /// The issuer's URL, exactly as in the token.
    pub issuer: String,
    /// The platform's immutable id of the repository (`repository_id`, `project_id`).
    pub repository_id: String,
    /// The run or pipeline id.
    pub run_id: String,
    /// Which attempt of the run, counted from 1.
    pub attempt: String,
    /// The job inside the run.
    pub job: String,
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} repository {} run {} attempt {} job {}",
            self.issuer, self.repository_id, self.run_id, self.attempt, self.job
        )
    }
}

/// The verified claims of a run. Made only by the broker, from a token whose signature held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Identity {
    /// The platform that the issuer is configured as.
    pub platform: Platform,
    /// The issuer's name in the broker's configuration.
    pub issuer_name: String,
    /// What names this run.
    pub run: RunKey,
    /// The token's `sub`.
    pub subject: String,
    /// Owner and name of the repository, for people; names can be recycled, ids cannot.
    pub repository: String,
    /// The full git ref (`refs/heads/main`).
    pub git_ref: String,
    /// What started the run (`schedule`, `push`, …).
    pub event: String,
    /// The workflow or CI configuration file, with its ref.
    pub workflow: String,
    /// Who or what triggered the run, for people.
    pub actor: String,
    /// The address of the run's page.
    pub run_url: Option<String>,
    /// Every claim of the token with its value as text: what trust rules match on and reports show.
    pub claims: BTreeMap<String, String>,
}

impl Identity {
    /// A nightly job of nobody's, for what asks a policy without a run, and for tests. No token stands behind it.
    #[doc(hidden)]
    pub fn example() -> Self {
        Self {
            platform: Platform::Github,
            issuer_name: "github".into(),
            run: RunKey {
                issuer: "https://issuer".into(),
                repository_id: "1".into(),
                run_id: "2".into(),
                attempt: "1".into(),
                job: "3".into(),
            },
            subject: "s".into(),
            repository: "acme/shop".into(),
            git_ref: "refs/heads/main".into(),
            event: "schedule".into(),
            workflow: "w".into(),
            actor: "a".into(),
            run_url: None,
            claims: BTreeMap::new(),
        }
    }
}
