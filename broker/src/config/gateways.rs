//! The `gateways` section, and the labels by which resources choose among them.

use std::{collections::BTreeMap, fmt};

use guard_core::{
    ResourceName,
    document::{Node, Problems},
};
use guard_policy::{TrustIssuer, Who};
use serde::{Deserialize, Serialize};

/// Length of a label's name or value at most.
const MAX_LABEL: usize = 63;
/// Labels of one gateway at most.
const MAX_LABELS: usize = 32;

/// What a gateway is, as the operator says; never the gateway itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Labels(BTreeMap<String, String>);

/// A gateway that stands in the configuration.
#[derive(Debug, Clone)]
pub(crate) struct GatewayConfig {
    /// By what it is known.
    pub(crate) known_by: KnownBy,
    /// What it is.
    pub(crate) labels: Labels,
}

/// By what a gateway is known.
#[derive(Debug, Clone)]
pub(crate) enum KnownBy {
    /// The RFC 7638 thumbprint of its key.
    Key(String),
    /// An identity token, which lets a key in.
    Identity(Who),
}

impl Labels {
    /// Whether all that is wanted is here.
    pub(crate) fn have(&self, wanted: &Self) -> bool {
        wanted.0.iter().all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// Reads `name=value` texts.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let mut labels = BTreeMap::new();
        for text in texts {
            let label = text.split_once('=').filter(|(name, value)| fits(name) && fits(value));
            let Some((name, value)) = label else { return Err(no_label(text)) };
            if labels.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(format!("the label `{name}` is there twice"));
            }
        }
        if labels.len() > MAX_LABELS {
            return Err(format!("there are more than {MAX_LABELS} labels"));
        }
        Ok(Self(labels))
    }

    /// Reads a mapping.
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut labels = BTreeMap::new();
        for (name, _, node) in node.fields(problems)?.all() {
            let value = node.text(problems)?;
            if !fits(name) || !fits(value) || labels.len() >= MAX_LABELS {
                node.problem(problems, no_label(&format!("{name}: {value}")));
            }
            labels.insert(name.to_owned(), value.to_owned());
        }
        Some(Self(labels))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&labels.join(","))
    }
}

fn no_label(text: &str) -> String {
    format!(
        "`{text}` is no label: name and value have 1 to {MAX_LABEL} letters, digits, `-`, `_`, `.` or `/`"
    )
}

fn fits(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
}

/// Whether a name can be a gateway's: `shim` is how records call the other enforcement point, `broker` how it calls
/// itself.
pub(crate) fn is_own_name(name: &ResourceName) -> bool {
    matches!(name.as_str(), "shim" | "broker")
}

/// Reads the section. Without the issuers, what is wrong with them is said elsewhere.
pub(super) fn read(
    node: &Node,
    issuers: Option<&BTreeMap<String, TrustIssuer>>,
    problems: &mut Problems,
) -> BTreeMap<String, GatewayConfig> {
    let mut gateways = BTreeMap::new();
    for item in node.list(problems).unwrap_or_default() {
        let Some(fields) = item.fields(problems) else { continue };
        let name = fields.required("name", problems).and_then(|node| {
            // The same form as every other name.
            let name: ResourceName = node.parsed(problems)?;
            if is_own_name(&name) {
                node.problem(problems, format!("`{name}` is a name of guard's own"));
            }
            Some(name.as_str().to_owned())
        });
        let known_by = match (fields.optional("key"), fields.optional("identity")) {
            (Some(node), None) => key(node, problems).map(KnownBy::Key),
            (None, Some(node)) => Who::read(node, issuers, problems).map(KnownBy::Identity),
            (Some(_), Some(_)) | (None, None) => {
                item.problem(problems, "expected either `key` or `identity`");
                None
            }
        };
        let labels = match fields.optional("labels") {
            Some(node) => Labels::read(node, problems),
            None => Some(Labels::default()),
        };
        fields.finish(&["name", "key", "identity", "labels"], problems);
        if let (Some(name), Some(known_by), Some(labels)) = (name, known_by, labels)
            && gateways.insert(name.clone(), GatewayConfig { known_by, labels }).is_some()
        {
            item.problem(problems, format!("a gateway `{name}` stands here twice"));
        }
    }
    gateways
}

fn key(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let fits = text.len() == 43
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !fits {
        node.problem_with_help(
            problems,
            format!("`{text}` is no thumbprint of a gateway's key"),
            "`guard gateway … --print-key` prints it: 43 characters",
        );
    }
    Some(text.to_owned())
}
