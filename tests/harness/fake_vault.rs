//! A stand-in for HashiCorp Vault, of which there is no server in any package registry: the endpoints that the broker uses
//! and nothing else, written from <https://developer.hashicorp.com/vault/api-docs>. Tokens have accessors and children, leases
//! belong to the token that asked for them, and revoking a token revokes what it has.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The AppRole that may log in, and its secret.
pub const ROLE_ID: &str = "role-of-the-broker";
/// The secret of the AppRole.
pub const SECRET_ID: &str = "secret-of-the-broker-71c2";
/// A JSON web token that may log in, to the method `jwt` or `kubernetes`.
pub const JWT: &str = "eyJ.service-account.sig";
/// A token that may do everything, and make children.
pub const ROOT: &str = "hvs.root-of-the-test";
/// The password at `secret/db/orders`.
pub const KV_PASSWORD: &str = "password-in-the-vault";
/// Requests are small.
const MAX_BODY: u64 = 64 * 1024;

/// A server at work.
#[derive(Debug)]
pub struct FakeVault {
    /// Its address.
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    tokens: BTreeMap<String, Token>,
    leases: BTreeMap<String, Lease>,
    ttl: u64,
    max_ttl: u64,
    sealed: bool,
    paths: Vec<String>,
}

#[derive(Debug)]
struct Token {
    accessor: String,
    parent: Option<String>,
}

#[derive(Debug)]
struct Lease {
    token: String,
    username: String,
    renewed: u64,
}

impl FakeVault {
    /// Starts one whose tokens and leases last for `ttl` seconds, and can be renewed up to `max_ttl`.
    pub fn start(ttl: u64, max_ttl: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State { ttl, max_ttl, ..State::default() }));
        state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tokens
            .insert(ROOT.into(), Token { accessor: "accessor-of-root".into(), parent: None });
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                drop(answer(&serving, &stream));
            }
        });
        Ok(Self { url, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users that it made and that are not revoked.
    pub fn users(&self) -> Vec<String> {
        self.state().leases.values().map(|lease| lease.username.clone()).collect()
    }

    /// Tokens that are not revoked, but for the root's.
    pub fn tokens(&self) -> usize {
        self.state().tokens.len() - 1
    }

    /// How often leases that are out were renewed.
    pub fn renewals(&self) -> u64 {
        self.state().leases.values().map(|lease| lease.renewed).sum()
    }

    /// What was asked for, in order.
    pub fn paths(&self) -> Vec<String> {
        self.state().paths.clone()
    }

    /// Answers everything with 503, or no more.
    pub fn seal(&self, sealed: bool) {
        self.state().sealed = sealed;
    }
}

fn answer(state: &Mutex<State>, stream: &TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().context("a method")?, words.next().context("a path")?);
    let (method, path) = (method.to_owned(), path.trim_start_matches("/v1/").to_owned());
    let (mut token, mut length) = (String::new(), 0_u64);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "x-vault-token" => value.trim().clone_into(&mut token),
            "content-length" => length = value.trim().parse()?,
            _ => {}
        }
    }
    let mut body = Vec::new();
    reader.take(length.min(MAX_BODY)).read_to_end(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, answer) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.paths.push(path.clone());
        state.handle(&method, &path, &token, &body)
    };
    let text = if answer.is_null() { String::new() } else { answer.to_string() };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )?;
    Ok(())
}

fn errors(status: u16, text: &str) -> (u16, Value) {
    (status, json!({ "errors": [text] }))
}

impl State {
    fn handle(&mut self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        if self.sealed {
            return errors(503, "Vault is sealed");
        }
        match (method, path) {
            ("POST", "auth/approle/login")
                if body["role_id"] == ROLE_ID && body["secret_id"] == SECRET_ID =>
            {
                return (200, self.token(None));
            }
            ("POST", "auth/approle/login") => return errors(400, "invalid role or secret ID"),
            ("POST", "auth/jwt/login" | "auth/kubernetes/login")
                if body["jwt"] == JWT && body["role"] == "guard" =>
            {
                return (200, self.token(None));
            }
            ("POST", "auth/jwt/login" | "auth/kubernetes/login") => {
                return errors(403, "permission denied");
            }
            _ => {}
        }
        if !self.tokens.contains_key(token) {
            return errors(403, "permission denied");
        }
        match (method, path) {
            ("POST", "auth/token/create") => (200, self.token(Some(token.to_owned()))),
            ("POST", "auth/token/revoke-self") => {
                self.revoke(token);
                (204, Value::Null)
            }
            ("POST", "auth/token/revoke-accessor") => match self.of_accessor(&body["accessor"]) {
                Some(found) => {
                    self.revoke(&found);
                    (204, Value::Null)
                }
                None => errors(400, "1 error occurred:\n\t* invalid accessor\n\n"),
            },
            ("POST", "auth/token/renew-accessor") => match self.of_accessor(&body["accessor"]) {
                Some(_) => {
                    let lasts = self.lasts(body["increment"].as_str().unwrap_or_default());
                    let auth = json!({ "accessor": body["accessor"], "lease_duration": lasts, "renewable": true });
                    (200, json!({ "auth": auth }))
                }
                None => errors(400, "invalid accessor"),
            },
            ("POST", "sys/leases/renew") => {
                let id = body["lease_id"].as_str().unwrap_or_default().to_owned();
                let lasts = self.lasts(&body["increment"].to_string());
                match self.leases.get_mut(&id) {
                    Some(lease) => {
                        lease.renewed += 1;
                        (200, json!({ "lease_id": id, "lease_duration": lasts, "renewable": true }))
                    }
                    None => errors(400, "lease not found"),
                }
            }
            ("POST", "sys/leases/revoke") => {
                // What is not there is revoked without a word, as by Vault.
                self.leases.remove(body["lease_id"].as_str().unwrap_or_default());
                (204, Value::Null)
            }
            ("GET", "database/creds/orders") => {
                let number = self.next();
                let (id, username) =
                    (format!("database/creds/orders/{number}"), format!("v-guard-orders-{number}"));
                let lease = Lease { token: token.into(), username: username.clone(), renewed: 0 };
                self.leases.insert(id.clone(), lease);
                let data = json!({ "username": username, "password": format!("made-{number}-in-the-vault") });
                (
                    200,
                    json!({ "lease_id": id, "lease_duration": self.ttl, "renewable": true, "data": data }),
                )
            }
            ("GET", "secret/data/db/orders") => {
                let data = json!({ "user": "app", "password": KV_PASSWORD });
                (
                    200,
                    json!({ "lease_id": "", "lease_duration": 0, "renewable": false, "data": { "data": data, "metadata": {
                        "created_time": "2026-11-28T02:00:00.000000000Z", "custom_metadata": null, "deletion_time": "",
                        "destroyed": false, "version": 1,
                    } } }),
                )
            }
            _ => errors(404, "no handler for route"),
        }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn lasts(&self, increment: &str) -> u64 {
        let asked: u64 = increment.trim_end_matches('s').parse().unwrap_or(self.ttl);
        asked.min(self.max_ttl)
    }

    fn token(&mut self, parent: Option<String>) -> Value {
        let number = self.next();
        let (token, accessor) = (format!("hvs.token-{number}"), format!("accessor-{number}"));
        self.tokens.insert(token.clone(), Token { accessor: accessor.clone(), parent });
        json!({ "auth": {
            "client_token": token, "accessor": accessor, "lease_duration": self.ttl, "renewable": true,
        } })
    }

    fn of_accessor(&self, accessor: &Value) -> Option<String> {
        let found = self.tokens.iter().find(|(_, token)| *accessor == *token.accessor);
        found.map(|(token, _)| token.clone())
    }

    /// Revokes a token, its children and what all of them asked for.
    fn revoke(&mut self, token: &str) {
        self.tokens.remove(token);
        self.leases.retain(|_, lease| lease.token != token);
        let children: Vec<_> = self
            .tokens
            .iter()
            .filter(|(_, child)| child.parent.as_deref() == Some(token))
            .map(|(name, _)| name.clone())
            .collect();
        for child in children {
            self.revoke(&child);
        }
    }
}
