//! The bearer secret of the TCP door: where it comes from and how it is compared.

use super::fault::Fault;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

/// The shortest secret that is taken.
pub const SECRET_BYTES_MIN: usize = 16;

/// A secret could not be had: the operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Neither `file:` nor `env:`.
    #[error("the secret must be given as file:PATH or env:NAME, never itself")]
    Reference,
    /// The file can't be read.
    #[error("the secret's file `{path}` can't be read")]
    File {
        /// As given.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The variable is not set.
    #[error("the secret's environment variable `{0}` is not set")]
    Variable(String),
    /// Too short to be a secret.
    #[error("the secret has less than {SECRET_BYTES_MIN} bytes")]
    Short,
}

/// The hash of a secret; the secret itself is not kept.
#[derive(Debug, Clone, Copy)]
pub struct Secret {
    hash: [u8; 32],
}

impl Secret {
    /// Reads a secret by its reference; white space around it doesn't count.
    ///
    /// # Errors
    /// [`SecretError`] when it is missing or too short.
    #[allow(clippy::disallowed_methods)] // the engine's one setting that may come from the environment, by reference
    pub fn read(reference: &str) -> Result<Self, SecretError> {
        let text = match reference.split_once(':') {
            Some(("file", path)) => {
                std::fs::read_to_string(path).map_err(|source| SecretError::File { path: path.to_owned(), source })?
            }
            Some(("env", name)) => std::env::var(name).map_err(|_| SecretError::Variable(name.to_owned()))?,
            Some(_) | None => return Err(SecretError::Reference),
        };
        Self::new(text.trim())
    }

    fn new(text: &str) -> Result<Self, SecretError> {
        if text.len() < SECRET_BYTES_MIN {
            return Err(SecretError::Short);
        }
        Ok(Self { hash: *blake3::hash(text.as_bytes()).as_bytes() })
    }

    /// Compares hashes in constant time, so neither content nor length shows.
    pub fn matches(&self, text: &str) -> bool {
        self.hash.ct_eq(blake3::hash(text.as_bytes()).as_bytes()).into()
    }
}

/// Lets only requests with the secret pass.
pub(super) async fn guard(State(secret): State<Secret>, request: Request, next: Next) -> Result<Response, Fault> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer =
        given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match bearer {
        Some((_, token)) if secret.matches(token.trim()) => Ok(next.run(request).await),
        Some(_) | None => Err(Fault::unauthenticated()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_had_only_by_reference_and_only_if_long() {
        assert!(matches!(Secret::read("hunter2hunter2hunter2"), Err(SecretError::Reference)));
        assert!(matches!(Secret::read("env:WEIR_ENGINE_NO_SUCH_VARIABLE"), Err(SecretError::Variable(_))));
        assert!(matches!(Secret::read("file:/no/such/file"), Err(SecretError::File { .. })));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "short\n").unwrap();
        assert!(matches!(Secret::read(&format!("file:{}", file.display())), Err(SecretError::Short)));
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let secret = Secret::read(&format!("file:{}", file.display())).unwrap();
        assert!(secret.matches("0123456789abcdef"));
        assert!(!secret.matches("0123456789abcdeg") && !secret.matches(""));
    }
}
