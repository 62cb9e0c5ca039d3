//! Brings Debian's LDAP server for the end-to-end tests.

use std::path::PathBuf;

use anyhow::Result;

use crate::{cache, debian};

/// The folder that it is unpacked in; `None`, with a note, where it can't be had here.
pub fn bring() -> Result<Option<PathBuf>> {
    debian::unpacked("slapd", cache::folder()?.join("slapd"), |folder| folder.join("usr/sbin/slapd").exists())
}
