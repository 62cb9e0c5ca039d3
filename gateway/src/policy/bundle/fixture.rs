//! Bundles for tests, signed as `opa sign` does it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::archive::Files;
use super::roots::Root;
use super::rule::{BundleRule, Mode, OnStale, Signer, Source};
use crate::config::settings::{PolicyEngine, Secret};

/// A bundle of a folder that nobody reads, for all calls, unsigned.
pub fn rule(name: &str) -> BundleRule {
    BundleRule {
        name: name.into(),
        source: Source::Path("/nowhere".into()),
        token: None,
        tenant: None,
        entrypoint: "data.rules.decision".to_owned(),
        roots: vec![Root::parse("").unwrap()],
        signer: None,
        poll: (Duration::from_secs(1), Duration::from_secs(1)),
        long_poll: Duration::ZERO,
        staleness_max: None,
        on_stale: OnStale::Deny,
        mode: Mode::Enforce,
        percent: 100,
        keep: 3,
        timeout: Duration::from_secs(5),
        engine: PolicyEngine::Interpreter,
    }
}

/// Files of these texts.
pub fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

/// A good bundle: its decision names the revision, from the module and from the data.
pub fn good(revision: &str) -> Files {
    let module = format!(
        "package rules\n\n\
         decision := {{\"allow\": allow, \"rule\": data.rules.lists.marker, \"reason\": \"{revision}\"}}\n\n\
         default allow := false\n\nallow if input.request.model in data.rules.lists.models\n"
    );
    let data = json!({"marker": revision, "models": ["mock", "other"]}).to_string();
    let test =
        "package rules_test\n\ntest_mock if data.rules.allow with input as {\"request\": {\"model\": \"mock\"}}\n";
    files(&[
        ("rules.rego", &module),
        ("rules/lists/data.json", &data),
        ("rules_test.rego", test),
        (".manifest", &json!({"revision": revision, "roots": ["rules"]}).to_string()),
    ])
}

/// Signs bundles.
pub struct Pair {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Pair {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
        Self { pair: EcdsaKeyPair::from_pkcs8(how, document.as_ref(), &random).unwrap(), random }
    }

    pub fn signer(&self) -> Signer {
        let point = self.pair.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": part(&point[1..33]), "y": part(&point[33..])});
        let key = Secret::new(jwk.to_string().as_bytes());
        Signer { key, algorithm: Algorithm::ES256, key_id: None, scope: None }
    }

    /// A token with this header and these claims.
    pub fn token(&self, header: &Json, claims: &Json) -> String {
        let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&self.random, message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The same files with a signature of these claims in the place of a right one, where some are given.
    pub fn sign_as(&self, mut files: Files, claims: &Json) -> Files {
        let token = self.token(&json!({"alg": "ES256"}), claims);
        files.insert(super::signature::FILE.to_owned(), json!({"signatures": [token]}).to_string().into_bytes());
        files
    }

    pub fn sign(&self, files: Files) -> Files {
        let list = listed(&files);
        self.sign_as(files, &json!({"files": list}))
    }
}

/// The list of files that a signature holds. The fixtures' JSON is in its one form already.
pub fn listed(files: &Files) -> Json {
    let hash = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let file = |(name, bytes): (&String, &Vec<u8>)| json!({"name": name, "hash": hash(bytes), "algorithm": "SHA-256"});
    files.iter().map(file).collect()
}
