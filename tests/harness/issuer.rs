//! A local issuer that signs GitHub-shaped identity tokens, and anything else that a test asks for.
//!
//! It signs with the `openssl` program: whatever guard uses to check a token was made without it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

/// The bearer that GitHub calls `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
const REQUEST_TOKEN: &str = "the-runner-may-ask-for-tokens";
/// Azure's tokens have no other.
const AZURE_AUDIENCE: &str = "api://AzureADTokenExchange";
/// A request of the runner has a handful of headers.
const MAX_HEADERS: usize = 64;

/// An issuer at work.
#[derive(Debug)]
pub struct Issuer {
    /// Its `iss`.
    pub url: String,
    signer: Arc<Signer>,
    stop: Arc<AtomicBool>,
    address: String,
}

/// What makes tokens.
#[derive(Debug)]
struct Signer {
    url: String,
    key: PathBuf,
    modulus: String,
    claims: Mutex<Map<String, Value>>,
    count: AtomicU64,
    /// The job is over, as far as the runner is concerned.
    silent: AtomicBool,
}

impl Issuer {
    /// Starts one with a key in `dir`; `claims` replace or extend the usual ones.
    pub fn start(dir: &Path, claims: &BTreeMap<String, String>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let url = format!("http://{address}");
        let key = dir.join("issuer.key");
        openssl(&["genrsa", "-out", &key.display().to_string(), "2048"], b"")?;
        let modulus =
            openssl(&["rsa", "-noout", "-modulus", "-in", &key.display().to_string()], b"")?;
        let modulus = String::from_utf8_lossy(&modulus);
        let modulus = modulus.trim().trim_start_matches("Modulus=");
        let mut all = usual_claims();
        all.extend(claims.iter().map(|(name, value)| (name.clone(), json!(value))));
        let signer = Arc::new(Signer {
            url: url.clone(),
            key,
            modulus: base64url(&unhex(modulus)),
            claims: Mutex::new(all),
            count: AtomicU64::new(0),
            silent: AtomicBool::new(false),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (at_work, over) = (Arc::clone(&signer), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                drop(at_work.answer(stream));
            }
        });
        Ok(Self { url, signer, stop, address })
    }

    /// The variables that GitHub's runner sets for a job that may ask for tokens.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?api-version=2.0", self.url)),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN.to_owned()),
        ]
    }

    /// The variables that Azure's agent sets, with the token that a pipeline has to map.
    pub fn azure_variables(&self) -> [(&'static str, String); 2] {
        [
            ("SYSTEM_OIDCREQUESTURI", format!("{}/azure", self.url)),
            ("SYSTEM_ACCESSTOKEN", REQUEST_TOKEN.to_owned()),
        ]
    }

    /// A token for an audience, as the runner would get it.
    pub fn token(&self, audience: &str) -> Result<String> {
        self.signer.sign(&self.signer.header(), &self.signer.payload(audience))
    }

    /// A token whose header and claims a test changed before it was signed.
    pub fn token_with(
        &self,
        audience: &str,
        change: impl FnOnce(&mut Value, &mut Map<String, Value>),
    ) -> Result<String> {
        let mut header = self.signer.header();
        let mut payload = self.signer.payload(audience);
        change(&mut header, &mut payload);
        self.signer.sign(&header, &payload)
    }

    /// Signs tokens with these claims from now on, as another platform writes them; `null` leaves one of the usual out.
    pub fn shape(&self, claims: Map<String, Value>) {
        *self.signer.claims.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }

    /// Its public keys, for a broker that takes them from a file.
    pub fn keys(&self) -> Value {
        self.signer.keys()
    }

    /// Gives the job no more tokens, as a platform does when the job is over.
    pub fn end_job(&self) {
        self.signer.silent.store(true, Ordering::Relaxed);
    }

    /// How many tokens were made.
    pub fn made(&self) -> u64 {
        self.signer.count.load(Ordering::Relaxed)
    }

    /// The public key as PEM: what an attacker takes as an HMAC secret.
    pub fn public_pem(&self) -> Result<Vec<u8>> {
        openssl(&["rsa", "-pubout", "-in", &self.signer.key.display().to_string()], b"")
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread, so that it sees the flag.
        drop(TcpStream::connect(&self.address));
    }
}

impl Signer {
    fn header(&self) -> Value {
        json!({ "alg": "RS256", "typ": "JWT", "kid": "stage" })
    }

    /// Claims and times as GitHub sets them: five minutes to use it, ten of tolerance before.
    fn payload(&self, audience: &str) -> Map<String, Value> {
        let shape = self.claims.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut payload = Map::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        payload.insert("iss".into(), json!(self.url));
        payload.insert("aud".into(), json!(audience));
        // Each token is another job's, unless the test says whose.
        payload.insert("check_run_id".into(), json!((90_000_001 + count).to_string()));
        payload.insert("iat".into(), json!(now.as_secs()));
        payload.insert("nbf".into(), json!(now.as_secs() - 600));
        payload.insert("exp".into(), json!(now.as_secs() + 300));
        payload.insert("jti".into(), json!(format!("{}-{count}", now.as_nanos())));
        payload.extend(shape);
        payload.retain(|_, value| !value.is_null());
        payload
    }

    fn sign(&self, header: &Value, payload: &Map<String, Value>) -> Result<String> {
        let payload = serde_json::to_vec(payload)?;
        let signed =
            format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(&payload));
        let key = self.key.display().to_string();
        let signature = openssl(&["dgst", "-sha256", "-sign", &key], signed.as_bytes())?;
        Ok(format!("{signed}.{}", base64url(&signature)))
    }

    fn answer(&self, stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut bearer = false;
        for _ in 0..MAX_HEADERS {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            bearer |= name.eq_ignore_ascii_case("authorization")
                && value.trim() == format!("Bearer {REQUEST_TOKEN}");
        }
        let target = request.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, body) = match path {
            "/.well-known/openid-configuration" => ("200 OK", self.discovery()),
            "/jwks" => ("200 OK", self.keys()),
            "/token" if bearer && !self.silent.load(Ordering::Relaxed) => {
                let audience = query.split('&').find_map(|pair| pair.strip_prefix("audience="));
                let audience = unescape(audience.unwrap_or_default());
                let token = self.sign(&self.header(), &self.payload(&audience))?;
                ("200 OK", json!({ "value": token }))
            }
            "/azure" if bearer && request.starts_with("POST ") => {
                let token = self.sign(&self.header(), &self.payload(AZURE_AUDIENCE))?;
                ("200 OK", json!({ "oidcToken": token }))
            }
            "/token" | "/azure" => ("401 Unauthorized", json!({})),
            _ => ("404 Not Found", json!({})),
        };
        let body = body.to_string();
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )?;
        Ok(())
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/jwks", self.url),
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
        })
    }

    fn keys(&self) -> Value {
        json!({ "keys": [{
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "stage", "n": self.modulus, "e": "AQAB",
        }] })
    }
}

/// The claims of a scheduled run on the main branch, as GitHub writes them: all texts.
fn usual_claims() -> Map<String, Value> {
    let claims = [
        ("sub", "repo:acme/shop:ref:refs/heads/main"),
        ("repository", "acme/shop"),
        ("repository_id", "456789"),
        ("repository_owner", "acme"),
        ("repository_owner_id", "123456"),
        ("repository_visibility", "private"),
        ("ref", "refs/heads/main"),
        ("ref_type", "branch"),
        ("ref_protected", "true"),
        ("head_ref", ""),
        ("base_ref", ""),
        ("sha", "c040cae7f0d3a2a5b6f4b1c0c3c1b0c040cae7f0"),
        ("event_name", "schedule"),
        ("actor", "octocat"),
        ("actor_id", "1001"),
        ("workflow", "nightly"),
        ("workflow_ref", "acme/shop/.github/workflows/nightly.yml@refs/heads/main"),
        ("workflow_sha", "c040cae7f0d3a2a5b6f4b1c0c3c1b0c040cae7f0"),
        ("job_workflow_ref", "acme/shop/.github/workflows/nightly.yml@refs/heads/main"),
        ("job_workflow_sha", "c040cae7f0d3a2a5b6f4b1c0c3c1b0c040cae7f0"),
        ("runner_environment", "github-hosted"),
        ("run_id", "22259804324"),
        ("run_number", "42"),
        ("run_attempt", "1"),
    ];
    claims.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn openssl(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start openssl; `cargo xtask install` installs it")?;
    // A program that takes no input may be gone already.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input)));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// Base64 for URLs, without padding (RFC 4648 section 5).
pub fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=chunk.len() {
            let index = (group >> (18 - 6 * at)) & 63;
            let letter = LETTERS.get(index as usize).copied().unwrap_or(b'A');
            text.push(char::from(letter));
        }
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|pair| unhex(std::str::from_utf8(pair).ok()?).pop());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            (byte, _) => {
                bytes.push(byte);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
