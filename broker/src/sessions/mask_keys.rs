//! The key of masks that are the same in every session (`stable: always`).
//!
//! It stands where the resource's `mask_key` says, is read when a session needs it, and goes to gateways
//! only: who has it can undo such masks for as long as it is in use.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use guard_core::{Secret, control::PolicySource};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::policy::parsed;
use crate::{config::ResourceConfig, credentials::read_secret, error::Refusal};

/// A key of fewer bytes could be found by trying.
const MIN_KEY: usize = 32;
/// Stands before the key when it is hashed, so that the same text is of no use anywhere else.
const PURPOSE: &[u8] = b"guard-lasting-mask-key-v1\n";

/// The lasting key for a policy over a resource, base64; `None` if the policy asks for none.
pub(super) async fn lasting(
    policy: &PolicySource,
    resource: &ResourceConfig,
) -> Result<Option<Secret>, Refusal> {
    let parsed = parsed(policy)
        .ok_or_else(|| Refusal::Internal(format!("policy `{}` does not parse", policy.name)))?;
    if !parsed.needs_lasting_key() {
        return Ok(None);
    }
    let missing = |why: &str| {
        let name = &resource.spec.name;
        let message = format!(
            "policy `{}` masks with `stable: always`, and the `mask_key` of resource `{name}` {why}",
            policy.name
        );
        tracing::error!(message, "no session without its keys");
        Refusal::Forbidden(message)
    };
    let Some(source) = &resource.mask_key else {
        return Err(missing("is not configured"));
    };
    let secret = read_secret(source).await.map_err(|error| {
        tracing::error!(reason = error.0, "the key of lasting masks cannot be had");
        missing("cannot be read")
    })?;
    if secret.expose().len() < MIN_KEY {
        return Err(missing("is shorter than 32 bytes"));
    }
    let mut hash = Sha256::new();
    hash.update(PURPOSE);
    hash.update(secret.expose());
    let key: Zeroizing<[u8; 32]> = Zeroizing::new(hash.finalize().into());
    Ok(Some(Secret::new(Zeroizing::new(STANDARD.encode(*key)).as_str())))
}
