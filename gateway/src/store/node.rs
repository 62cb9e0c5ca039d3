//! Which gateway this is, where several share one store: a name kept in the data folder, like the audit log whose
//! records and rows it stands beside.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// File name in the data folder.
pub const NODE_FILE: &str = "node";
/// File name of the name that a gateway counts limits under, in its data folder. Another than [`NODE_FILE`], which says
/// that the store is shared.
pub const COUNTING_FILE: &str = "counting";

/// A gateway's name: a UUID, drawn when its data folder was first used with a shared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node(Arc<str>);

impl Node {
    /// The name kept in a data folder; `None` where no gateway used it with a shared store yet.
    pub fn of(data: &Path) -> io::Result<Option<Self>> {
        Self::read(data, NODE_FILE)
    }

    fn read(data: &Path, name: &str) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(data.join(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match uuid::Uuid::parse_str(text.trim()) {
            Ok(id) => Ok(Some(Self(id.hyphenated().to_string().into()))),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{name}` holds no UUID"))),
        }
    }

    /// The name kept in a data folder, drawn now where there is none. Call it under the folder's lock.
    pub fn keep(data: &Path) -> io::Result<Self> {
        Self::keep_as(data, NODE_FILE)
    }

    /// The same for the name that limits are counted under.
    pub fn counting(data: &Path) -> io::Result<Self> {
        Self::keep_as(data, COUNTING_FILE)
    }

    fn keep_as(data: &Path, name: &str) -> io::Result<Self> {
        if let Some(node) = Self::read(data, name)? {
            return Ok(node);
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string();
        // Whole or not at all: a name that was cut off would keep the gateway from starting.
        let new = data.join(name).with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{id}")?;
        file.sync_all()?;
        std::fs::rename(&new, data.join(name))?;
        Ok(Self(id.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Node::of(folder.path()).unwrap(), None);
        let node = Node::keep(folder.path()).unwrap();
        assert_eq!(Node::keep(folder.path()).unwrap(), node);
        assert_eq!(Node::of(folder.path()).unwrap(), Some(node));
        std::fs::write(folder.path().join(NODE_FILE), "").unwrap();
        assert!(Node::keep(folder.path()).is_err(), "a broken name is not replaced");
    }
}
