//! What a page of docs/pipelines shows, put into a broker: so that the page and what was tried cannot differ.

use std::{fs, time::SystemTime};

use guard_tests::{Stage, policies};
use serde_json::{Map, Value, json};

use crate::root;

/// A broker that runs by the issuer and the trust rule of a page.
pub(crate) struct Page {
    pub(crate) stage: Stage,
    /// The issuer's `url`.
    pub(crate) issuer: String,
}

impl Page {
    pub(crate) fn open(name: &str) -> Self {
        Self::open_nth(name, 0)
    }

    /// Of a page that shows several, one after the other.
    pub(crate) fn open_nth(name: &str, nth: usize) -> Self {
        let text = fs::read_to_string(root().join(format!("docs/pipelines/{name}.md"))).unwrap();
        let (issuers, trust) = (block(&text, "issuers:", nth), block(&text, "- name:", nth));
        let url = issuers.lines().find_map(|line| line.trim().strip_prefix("url: "));
        let url = url.expect("an issuer's url").to_owned();

        let mut stage =
            Stage::builder().shop(10).policy(policies::READ_ONLY).lost_after("3s").start().unwrap();
        let _status = stage.broker.stop().unwrap();
        let dir = stage.dir().to_path_buf();
        fs::write(dir.join("jwks.json"), stage.issuer.keys().to_string()).unwrap();
        // Where the keys come from is the only thing that is not the page's.
        let line = format!("    url: {url}\n");
        let issuers = issuers.replace(&line, &format!("{line}    jwks_file: jwks.json\n"));
        let config = fs::read_to_string(dir.join("guard.yaml")).unwrap();
        let (before, rest) = config.split_once("issuers:\n").unwrap();
        let (_, after) = rest.split_once("resources:\n").unwrap();
        fs::write(dir.join("guard.yaml"), format!("{before}{issuers}resources:\n{after}")).unwrap();
        fs::write(dir.join("trust/stage.yaml"), trust).unwrap();
        let policy = policies::READ_ONLY.replace("policy: stage", "policy: nightly-count");
        fs::write(dir.join("policies/stage.yaml"), policy).unwrap();
        let _check = stage.broker_tool(&["check"]).unwrap().ok();
        stage.restart_broker().unwrap();
        stage.restart_gateway().unwrap();
        Self { stage, issuer: url }
    }

    /// Has the issuer sign tokens of this platform's shape.
    pub(crate) fn shape(&self, claims: Value) {
        let Value::Object(mut claims) = claims else { panic!("claims are an object") };
        claims.entry("iss").or_insert_with(|| self.issuer.clone().into());
        // GitHub's.
        claims.insert("check_run_id".into(), Value::Null);
        self.stage.issuer.shape(claims);
    }
}

/// A block of a page that begins with `start`.
fn block(text: &str, start: &str, nth: usize) -> String {
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut blocks = blocks.filter(|block| block.starts_with(start));
    blocks.nth(nth).unwrap_or_else(|| panic!("no block `{start}`")).to_owned()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The claims with some of them changed.
pub(crate) fn with(claims: &Value, changes: &[(&str, Value)]) -> Value {
    let mut all: Map<String, Value> = claims.as_object().unwrap().clone();
    all.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    json!(all)
}
