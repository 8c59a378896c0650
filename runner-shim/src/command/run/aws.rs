//! Variables by which AWS's command line and SDKs call a service that is a resource of the run, without a key of their own.
//!
//! They send nothing without a key, so they get one that is none: what is signed with it is signed anew behind guard. A job
//! that has keys of its own for something else keeps them, and gets none of these.

use guard_core::AWS_PLACEHOLDER;

use super::listener::Endpoint;

/// Where AWS's tools find who they are.
const IDENTITY: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// Where they find a region.
const REGION: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Services by their names in signatures and in variables:
/// <https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html>.
const SERVICES: [(&str, &str); 24] = [
    ("cloudformation", "CLOUDFORMATION"),
    ("cloudfront", "CLOUDFRONT"),
    ("codeartifact", "CODEARTIFACT"),
    ("dynamodb", "DYNAMODB"),
    ("ec2", "EC2"),
    ("ecr", "ECR"),
    ("ecs", "ECS"),
    ("eks", "EKS"),
    ("events", "EVENTBRIDGE"),
    ("iam", "IAM"),
    ("kinesis", "KINESIS"),
    ("kms", "KMS"),
    ("lambda", "LAMBDA"),
    ("logs", "CLOUDWATCH_LOGS"),
    ("monitoring", "CLOUDWATCH"),
    ("rds", "RDS"),
    ("route53", "ROUTE_53"),
    ("s3", "S3"),
    ("secretsmanager", "SECRETS_MANAGER"),
    ("sns", "SNS"),
    ("sqs", "SQS"),
    ("ssm", "SSM"),
    ("states", "SFN"),
    ("sts", "STS"),
];

/// What is set for these resources, where `has` says which variables the command has of its own.
pub(super) fn variables(
    endpoints: &[Endpoint<'_>],
    has: impl Fn(&str) -> bool,
) -> Vec<(String, String)> {
    let services = || endpoints.iter().filter_map(|it| Some((it, it.grant.aws.as_ref()?)));
    let Some((_, first)) = services().next() else { return Vec::new() };
    if IDENTITY.iter().any(|name| has(name)) {
        return Vec::new();
    }
    let mut set: Vec<(String, String)> = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .map(|name| (name.to_owned(), AWS_PLACEHOLDER.to_owned()))
        .into();
    if !REGION.iter().any(|name| has(name)) {
        set.extend(REGION.map(|name| (name.to_owned(), first.region.clone())));
    }
    for (endpoint, service) in services() {
        let Some((_, id)) = SERVICES.iter().find(|(name, _)| *name == service.service) else {
            continue;
        };
        let name = format!("AWS_ENDPOINT_URL_{id}");
        if !has(&name) && !set.iter().any(|(set, _)| *set == name) {
            set.push((name, format!("http://127.0.0.1:{}", endpoint.port)));
        }
    }
    set
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use guard_core::{
        AwsService, EnforceAt, Grant, Mode, PolicyName, ResourceKind, ResourceName, Secret,
        Timestamp, control::GrantInfo,
    };

    use super::*;

    fn grant(name: &str, service: Option<&str>) -> GrantInfo {
        GrantInfo {
            grant: Grant {
                resource: ResourceName::new(name).unwrap(),
                policy: PolicyName::new("nightly").unwrap(),
                until: Timestamp::MAX,
            },
            database: String::new(),
            kind: ResourceKind::Http,
            enforce_at: EnforceAt::Gateway,
            mode: Mode::Enforce,
            gateway: None,
            origin: None,
            aws: service.map(|it| AwsService { service: it.into(), region: "eu-central-1".into() }),
        }
    }

    #[test]
    fn tools_of_aws_find_services_of_the_run_unless_the_job_has_keys() {
        let grants = [
            grant("issues", None),
            grant("files", Some("s3")),
            grant("more-files", Some("s3")),
            grant("odd", Some("execute-api")),
            grant("secrets", Some("secretsmanager")),
        ];
        let endpoints: Vec<_> = (5000..)
            .zip(&grants)
            .map(|(port, grant)| Endpoint { grant, folder: None, port, password: Secret::new("") })
            .collect();
        let set = |own: &'static str| variables(&endpoints, |name| name == own);
        let key = |name: &str| (name.to_owned(), AWS_PLACEHOLDER.to_owned());
        let keys = [key("AWS_ACCESS_KEY_ID"), key("AWS_SECRET_ACCESS_KEY")];
        let region = REGION.map(|name| (name.to_owned(), "eu-central-1".to_owned()));
        let address = |name: &str, port: u16| {
            (format!("AWS_ENDPOINT_URL_{name}"), format!("http://127.0.0.1:{port}"))
        };
        let addresses = [address("S3", 5001), address("SECRETS_MANAGER", 5004)];
        assert_eq!(set(""), [&keys[..], &region, &addresses].concat());
        assert_eq!(set("AWS_REGION"), [&keys[..], &addresses].concat());
        assert_eq!(set("AWS_ENDPOINT_URL_S3"), [&keys[..], &region, &addresses[1..]].concat());
        assert_eq!(set("AWS_PROFILE"), []);
        let plain: Vec<_> = endpoints.into_iter().take(1).collect();
        assert_eq!(variables(&plain, |_| false), []);
    }
}
