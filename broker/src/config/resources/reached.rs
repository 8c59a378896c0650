//! How a resource is reached: of a server its address, of an HTTP API its base URL and the header of its credential.

use guard_core::{
    AwsService, ResourceKind, SendAs, TlsMode,
    document::{Fields, Node, Problems},
};
use url::Url;

use super::super::is_loopback_host;

/// What only one kind of resource has.
const OF_SERVERS: [&str; 3] = ["address", "database", "tls"];
const OF_APIS: [&str; 3] = ["url", "send_as", "openapi"];

/// Headers that say something else than who asks.
const TAKEN: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "accept-encoding",
    "upgrade",
    "expect",
];

/// Where a resource is.
pub(super) struct Reached {
    /// `host:port`.
    pub(super) address: String,
    /// Empty where there are none.
    pub(super) database: String,
    pub(super) tls: TlsMode,
    /// Where it is written.
    pub(super) send_as: Option<SendAs>,
}

/// Reads what a kind of resource has.
pub(super) fn read(
    kind: ResourceKind,
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<Reached> {
    let (others, instead): (&[&str], _) = match kind {
        ResourceKind::Postgres => (&OF_APIS, "write `address` and `database`"),
        ResourceKind::Http => (&OF_SERVERS, "write `url`, and `send_as` where it is not `bearer`"),
    };
    let mut right = true;
    for key in others {
        if let Some(node) = fields.optional(key) {
            let message = format!("`{key}` says nothing of a resource of kind `{}`", kind.as_str());
            node.problem_with_help(problems, message, instead);
            right = false;
        }
    }
    let reached = match kind {
        ResourceKind::Postgres => server(fields, problems),
        ResourceKind::Http => api(fields, problems),
    };
    reached.filter(|_| right)
}

fn server(fields: &Fields<'_>, problems: &mut Problems) -> Option<Reached> {
    let address = fields.required("address", problems).and_then(|n| address(n, problems));
    let database =
        fields.required("database", problems).and_then(|n| n.text(problems)).map(str::to_owned);
    let tls = match fields.optional("tls") {
        Some(node) => {
            let words = [("verify-full", TlsMode::VerifyFull), ("disable", TlsMode::Disable)];
            let mode = node.one_of(&words, problems);
            let host = address.as_deref().and_then(|a| a.rsplit_once(':')).map(|(host, _)| host);
            if mode == Some(TlsMode::Disable) && !host.is_some_and(is_loopback_host) {
                node.problem_with_help(
                    problems,
                    "`disable` would send the credential and the data in the clear",
                    "use `verify-full`; `disable` is for loopback addresses",
                );
            }
            mode
        }
        None => Some(TlsMode::VerifyFull),
    };
    Some(Reached { address: address?, database: database?, tls: tls?, send_as: None })
}

fn address(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if !fits {
        let message = format!("`{text}` is no address of a server");
        node.problem_with_help(problems, message, "write `host:port`");
    }
    fits.then(|| text.to_owned())
}

fn api(fields: &Fields<'_>, problems: &mut Problems) -> Option<Reached> {
    let send_as = match fields.optional("send_as") {
        Some(node) => Some(send_as(node, problems)?),
        None => None,
    };
    let (address, tls) = fields.required("url", problems).and_then(|node| base(node, problems))?;
    Some(Reached { address, database: String::new(), tls, send_as })
}

/// A base URL: where the API is, and nothing else.
fn base(node: &Node, problems: &mut Problems) -> Option<(String, TlsMode)> {
    let text = node.text(problems)?;
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let place = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let (Some(url), Some((host, port))) = (&url, place) else {
        node.problem_with_help(
            problems,
            format!("`{text}` is no base URL of an API"),
            "write `https://host` or `https://host:port`; rules name the paths",
        );
        return None;
    };
    let tls = match url.scheme() {
        "https" => TlsMode::VerifyFull,
        _ => TlsMode::Disable,
    };
    if tls == TlsMode::Disable && !is_loopback_host(host) {
        node.problem_with_help(
            problems,
            "`http` would send the credential and the data in the clear",
            "use `https`; `http` is for loopback addresses",
        );
        return None;
    }
    Some((format!("{host}:{port}"), tls))
}

fn send_as(node: &Node, problems: &mut Problems) -> Option<SendAs> {
    if node.is_scalar() {
        return match node.text(problems)? {
            "bearer" => Some(SendAs::Bearer),
            "basic" => Some(SendAs::Basic),
            other => {
                node.problem_with_help(
                    problems,
                    format!("`{other}` is no way to send a credential"),
                    "write `bearer`, `basic`, `{ header: NAME }`, `{ query: NAME }`, `{ cookie: NAME }`, or `{ aws_sigv4: … }`",
                );
                None
            }
        };
    }
    let fields = node.fields(problems)?;
    let given = WAYS.iter().find_map(|(word, way)| Some((word, way, fields.optional(word)?)));
    let Some((word, way, given)) = given else {
        fields.finish(&WAYS.map(|(word, _)| word), problems);
        node.problem(problems, "expected one of `header`, `query`, `cookie` and `aws_sigv4`");
        return None;
    };
    fields.finish(&[word], problems);
    way(given, problems)
}

type Way = fn(&Node, &mut Problems) -> Option<SendAs>;

const WAYS: [(&str, Way); 4] = [
    ("header", header),
    ("query", |node, problems| named(node, "parameter", problems).map(SendAs::Query)),
    ("cookie", |node, problems| named(node, "cookie", problems).map(SendAs::Cookie)),
    ("aws_sigv4", |node, problems| aws_service(node, problems).map(SendAs::AwsSigv4)),
];

/// A name that needs no escape anywhere.
fn named(node: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
    if !fits {
        node.problem(problems, format!("`{text}` is no name of a {what} that guard takes"));
    }
    fits.then(|| text.to_owned())
}

fn aws_service(node: &Node, problems: &mut Problems) -> Option<AwsService> {
    let fields = node.fields(problems)?;
    let mut word = |name: &str| {
        let node = fields.required(name, problems)?;
        let text = node.text(problems)?;
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
        if !fits {
            node.problem(problems, format!("`{text}` is no {name} of AWS"));
        }
        fits.then(|| text.to_owned())
    };
    let (service, region) = (word("service"), word("region"));
    fields.finish(&["service", "region"], problems);
    Some(AwsService { service: service?, region: region? })
}

fn header(name: &Node, problems: &mut Problems) -> Option<SendAs> {
    let text = name.text(problems)?;
    let lower = text.to_ascii_lowercase();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty()
        || !text.bytes().all(is_plain)
        || TAKEN.contains(&lower.as_str())
        || lower.starts_with("x-forwarded")
        || lower.starts_with("proxy-")
    {
        let message = format!("`{text}` is no header that could show a credential");
        name.problem_with_help(problems, message, "name one such as `X-Api-Key`");
        return None;
    }
    Some(SendAs::Header(text.to_owned()))
}
