//! Who somebody else than a run is: a gateway that shows an identity token instead of a key that stands in the configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use guard_core::{
    Digest, Platform,
    document::{Node, Problems},
};

use super::{
    TrustIssuer, claims,
    condition::{Conditions, Gate},
    lints, strangers,
};

/// Claims that say who somebody is: as narrow as those of a trust rule, of which none may be broad here.
#[derive(Debug, Clone)]
pub struct Who {
    issuer: String,
    platform: Platform,
    event: Option<String>,
    claims: Conditions,
}

impl Who {
    /// Reads `{ issuer, claims }`. Without the issuers nothing is known of claims: that is said elsewhere.
    pub fn read(
        node: &Node,
        issuers: Option<&BTreeMap<String, TrustIssuer>>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let fields = node.fields(problems)?;
        let named = fields.required("issuer", problems).and_then(|node| {
            let name = node.text(problems)?;
            let known = issuers?.get(name);
            if known.is_none() {
                node.problem(problems, format!("there is no issuer `{name}`"));
            }
            Some((name.to_owned(), known?.clone()))
        });
        let issuer = named.as_ref().map(|(_, issuer)| issuer);
        let claims_node = fields.required("claims", problems);
        let conditions = claims_node.and_then(|node| Conditions::read(node, issuer, problems));
        fields.finish(&["issuer", "claims"], problems);
        let ((name, issuer), conditions) = (named?, conditions?);
        lints::narrow(node, &issuer, &conditions, "", problems);
        Some(Self {
            issuer: name,
            platform: issuer.platform,
            event: claims::event(&issuer).map(str::to_owned),
            claims: conditions,
        })
    }

    /// The name of the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The first thing about a token of the issuer that is not as it must be.
    pub fn mismatch(&self, claims: &BTreeMap<String, String>) -> Option<Gate> {
        strangers::refused(self.platform, self.event.as_deref(), &self.claims, claims)
            .or_else(|| self.claims.first_failed(claims))
    }

    /// The same for what is written in another order: it changes when who is meant does.
    pub fn digest(&self) -> Digest {
        let mut text = format!("{:?}", self.issuer);
        for line in self.claims.lines().into_iter().collect::<BTreeSet<_>>() {
            // Writing to a text cannot fail.
            let _ = write!(text, "\n{line}");
        }
        Digest::of(text)
    }
}
