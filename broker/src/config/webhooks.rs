//! The `webhooks` section: who is told of requests for people's approval.

use std::{collections::BTreeSet, path::Path};

use guard_core::{
    ResourceName,
    document::{Node, Problems},
};
use url::Url;

use super::{SecretSource, credentials::secret, is_safe_url};

/// Receivers at most: each is told of each request.
const MAX_WEBHOOKS: usize = 16;

const FORMS: [(&str, Form); 2] = [("json", Form::Json), ("slack", Form::Slack)];
const EVENTS: [(&str, Told); 3] =
    [("asked", Told::Asked), ("decided", Told::Decided), ("expired", Told::Expired)];

/// One receiver.
#[derive(Debug, Clone)]
pub(crate) struct WebhookConfig {
    /// Its name, by which deliveries find it.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) url: Address,
    /// What bodies are signed with, if anything.
    pub(crate) secret: Option<SecretSource>,
    /// The form of bodies.
    pub(crate) form: Form,
    /// What it is told of.
    pub(crate) events: BTreeSet<Told>,
    /// Whether it gets statements' texts, with what they hold.
    pub(crate) include_text: bool,
}

/// Where a receiver is. For some the address is what lets one in.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// Here.
    Plain(Url),
    /// Where this says.
    Secret(SecretSource),
}

/// The form of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// guard's own.
    Json,
    /// Blocks as Slack's incoming webhooks take them.
    Slack,
}

/// What a receiver is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// People are asked.
    Asked,
    /// They said yes or no.
    Decided,
    /// Its time was over.
    Expired,
}

impl Told {
    /// Its word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Decided => "decided",
            Self::Expired => "expired",
        }
    }
}

/// Whether an address may be a receiver's.
pub(crate) fn address(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(is_safe_url)
}

/// Reads `webhooks`.
pub(super) fn read(
    node: &Node,
    base: &Path,
    problems: &mut Problems,
) -> Option<Vec<WebhookConfig>> {
    let nodes = node.list(problems)?;
    let mut names = BTreeSet::new();
    let mut all = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(webhook) = one(node, base, problems) else { continue };
        if !names.insert(webhook.name.clone()) {
            node.problem(problems, format!("a webhook `{}` stands above, too", webhook.name));
        }
        all.push(webhook);
    }
    if nodes.len() > MAX_WEBHOOKS {
        node.problem(problems, format!("there are more than {MAX_WEBHOOKS} webhooks"));
        return None;
    }
    (all.len() == nodes.len()).then_some(all)
}

fn one(node: &Node, base: &Path, problems: &mut Problems) -> Option<WebhookConfig> {
    let fields = node.fields(problems)?;
    let name: Option<ResourceName> =
        fields.required("name", problems).and_then(|node| node.parsed(problems));
    let url = fields.required("url", problems).and_then(|node| {
        if !node.is_scalar() {
            return secret(node, "url", base, problems).map(Address::Secret);
        }
        let text = node.text(problems)?;
        let url = address(text);
        if url.is_none() {
            node.problem_with_help(
                problems,
                format!("`{text}` is no address of a receiver"),
                "write `https://…`; without TLS a receiver can be on this machine only",
            );
        }
        url.map(Address::Plain)
    });
    let key = match fields.optional("secret") {
        Some(node) => secret(node, "secret", base, problems).map(Some),
        None => Some(None),
    };
    let form = match fields.optional("form") {
        Some(node) => node.one_of(&FORMS, problems),
        None => Some(Form::Json),
    };
    if let (Some(Form::Json), Some(None)) = (form, &key) {
        node.problem_with_help(
            problems,
            "`secret` is missing",
            "name what bodies are signed with: without it nobody can tell guard's from another's",
        );
        return None;
    }
    let events = match fields.optional("events") {
        Some(node) => node.one_or_more(problems).and_then(|items| {
            items.iter().map(|item| item.one_of(&EVENTS, problems)).collect::<Option<_>>()
        }),
        None => Some(EVENTS.into_iter().map(|(_, event)| event).collect()),
    };
    let include_text = match fields.optional("include_text") {
        Some(node) => node.boolean(problems),
        None => Some(false),
    };
    fields.finish(&["name", "url", "secret", "form", "events", "include_text"], problems);
    Some(WebhookConfig {
        name: name?.as_str().to_owned(),
        url: url?,
        secret: key?,
        form: form?,
        events: events?,
        include_text: include_text?,
    })
}
