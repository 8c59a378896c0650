//! The place where people of tests sign in: a real OpenID Provider, with people and their groups.

use anyhow::Result;
use serde_json::{Value, json};

use super::provider::Provider;

/// The broker's secret there.
pub const CLIENT_SECRET: &str = "the-broker-is-who-it-says";

/// A provider at work.
#[derive(Debug)]
pub struct People {
    provider: Provider,
}

impl People {
    /// Starts one for a broker that takes its answers at `back`, with somebody for each role and somebody with none.
    pub fn start(back: &str) -> Result<Self> {
        let mut people = Self { provider: Provider::start("people_provider.js")? };
        let person = |name: &str, group: &str| json!({ "name": name, "email": format!("{group}@example.com"), "groups": [group] });
        people.tell(&json!({ "people": {
            "vera": person("Vera Viewer", "engineering"),
            "ann": person("Ann Approver", "dba"),
            "bob": person("Bob Approver", "dba"),
            "olga": person("Olga Auditor", "security"),
            "adam": person("Adam Admin", "admins"),
            "nils": person("Nils Nobody", "sales"),
        } }))?;
        people.tell(&json!({ "client": { "back": back, "secret": CLIENT_SECRET } }))?;
        Ok(people)
    }

    /// Its issuer.
    pub fn url(&self) -> &str {
        &self.provider.url
    }

    /// Has it do something.
    pub fn tell(&mut self, command: &Value) -> Result<()> {
        self.provider.tell(command).map(drop)
    }
}
