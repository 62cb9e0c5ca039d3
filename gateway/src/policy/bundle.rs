//! Bundles: policies with their data that come from elsewhere, signed, tested and swapped in whole, or not at all.
//!
//! A bundle that can't be taken, for whatever reason, leaves the one before it in place. Each is compiled by itself:
//! it sees its own data and nobody else's. [`content`] checks one, [`Bundles`] holds them, [`poll`] brings them,
//! [`keep`] remembers them on the disk. What they decide together is the business of [`super::active`].

pub mod archive;
pub mod content;
pub mod keep;
pub mod poll;
pub mod roots;
pub mod rule;
pub mod set;
pub mod signature;

#[cfg(test)]
pub(super) mod fixture;

use super::PolicyFault;
use keep::KeepFault;
pub use set::Bundles;
use signature::SignatureFault;

/// Why a bundle is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    /// No whole archive, or a folder that can't be read.
    #[error("it can't be read: {0}")]
    Broken(String),
    /// Over a bound.
    #[error("{what} is over its bound of {most}")]
    Large {
        /// What is.
        what: &'static str,
        /// The bound: bytes, or files.
        most: u64,
    },
    /// A name that leads elsewhere.
    #[error("the file name `{0}` is none within a bundle")]
    Name(String),
    /// Neither file nor folder.
    #[error("`{0}` is a link or a device")]
    Link(String),
    /// One name twice.
    #[error("the file `{0}` stands twice")]
    Twice(String),
    /// Not proven.
    #[error(transparent)]
    Signature(#[from] SignatureFault),
    /// What it says of itself is malformed.
    #[error("its manifest: {0}")]
    Manifest(String),
    /// It claims what isn't its own.
    #[error("its root `{root}` is not within {allowed}, which is all that the configuration gives it")]
    Roots {
        /// What it claims.
        root: String,
        /// What it may.
        allowed: String,
    },
    /// It brings what lies outside of what it claims.
    #[error("`{file}` has `{path}`, which is outside of its roots {roots}")]
    Outside {
        /// The file.
        file: String,
        /// The place in `data`.
        path: String,
        /// The roots.
        roots: String,
    },
    /// Another bundle owns a part of it.
    #[error("its roots overlap with those of the bundle `{other}`")]
    Overlap {
        /// The other one.
        other: String,
    },
    /// No Rego in it.
    #[error("it holds no policy")]
    Empty,
    /// A data file that is none.
    #[error("`{file}`: {text}")]
    Data {
        /// The file.
        file: String,
        /// What is wrong.
        text: String,
    },
    /// A kind of bundle that isn't taken.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It doesn't compile, or lacks the entry point.
    #[error(transparent)]
    Policy(#[from] PolicyFault),
    /// It can't be kept for the next start, so it is not taken.
    #[error(transparent)]
    Keep(#[from] KeepFault),
    /// Its own tests fail.
    #[error("{failed} of its {ran} tests failed; the first is `{name}`")]
    Tests {
        /// Tests that failed.
        failed: usize,
        /// Tests that ran.
        ran: usize,
        /// The first that failed.
        name: String,
    },
}

impl BundleFault {
    /// Reason code for the audit record and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Broken(_) => "bundle_broken",
            Self::Large { .. } => "bundle_too_large",
            Self::Name(_) | Self::Link(_) | Self::Twice(_) => "bundle_file_name",
            Self::Signature(_) => "bundle_signature",
            Self::Manifest(_) => "bundle_manifest",
            Self::Roots { .. } | Self::Outside { .. } => "bundle_outside_roots",
            Self::Overlap { .. } => "bundle_overlap",
            Self::Empty => "bundle_empty",
            Self::Data { .. } => "bundle_data",
            Self::Unsupported(_) => "bundle_unsupported",
            Self::Policy(PolicyFault::Entrypoint { .. }) => "bundle_entrypoint",
            Self::Policy(_) => "bundle_policy",
            Self::Keep(_) => "bundle_not_kept",
            Self::Tests { .. } => "bundle_tests",
        }
    }
}
