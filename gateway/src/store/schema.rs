//! The schema, as the steps that led to it. A step that was shipped is never edited; a change is a new one.

/// Step `n` brings a database from `user_version` n to n+1.
pub(super) const STEPS: &[&str] = &[V1, V2, V3];

const V1: &str = r"
CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  pepper_version INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  roles TEXT NOT NULL,
  models TEXT,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER,
  epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row. The triggers move it with every change of a key, so that gateways poll one integer.
CREATE TABLE revision (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (1, 0);
CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN UPDATE revision SET revision = revision + 1; END;
CREATE TRIGGER keys_updated AFTER UPDATE ON keys BEGIN UPDATE revision SET revision = revision + 1; END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN UPDATE revision SET revision = revision + 1; END;

-- One row per upstream attempt. Call ids are UUIDv7, as bytes, so the key is short and grows at its end.
CREATE TABLE usage (
  call BLOB NOT NULL CHECK (length(call) = 16),
  attempt INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT NOT NULL,
  deployment TEXT NOT NULL,
  provider TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  status INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  source TEXT NOT NULL,
  cost_nano INTEGER NOT NULL,
  price_version TEXT NOT NULL,
  first_token_ms INTEGER,
  total_ms INTEGER NOT NULL,
  finish_reason TEXT,
  PRIMARY KEY (call, attempt)
) STRICT, WITHOUT ROWID;

-- How far the journal and the audit log have been projected. One row; moves with the usage rows or not at all.
CREATE TABLE projection (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  segment INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  audit_seq INTEGER NOT NULL,
  audit_hash TEXT NOT NULL,
  audit_file INTEGER NOT NULL,
  audit_offset INTEGER NOT NULL
) STRICT;
";

/// From the first key of a pepper version on, its fingerprint: a wrong pepper is then told from wrong keys.
const V2: &str = r"
CREATE TABLE peppers (
  version INTEGER PRIMARY KEY,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32)
) STRICT;
";

/// Changes of keys that are not on the audit log yet, whoever made them: a gateway notes them and takes them out.
const V3: &str = r"
CREATE TABLE key_events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  event TEXT NOT NULL,
  key TEXT NOT NULL,
  tenant TEXT NOT NULL,
  at_ms INTEGER
) STRICT;
CREATE TRIGGER keys_inserted_event AFTER INSERT ON keys BEGIN
  INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('key_created', new.id, new.tenant, new.created_ms);
END;
CREATE TRIGGER keys_revoked_event AFTER UPDATE ON keys
WHEN old.revoked_ms IS NULL AND new.revoked_ms IS NOT NULL BEGIN
  INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('key_revoked', new.id, new.tenant, new.revoked_ms);
END;
CREATE TRIGGER keys_changed_event AFTER UPDATE ON keys
WHEN old.revoked_ms IS new.revoked_ms OR new.revoked_ms IS NULL BEGIN
  INSERT INTO key_events (event, key, tenant) VALUES ('key_changed', new.id, new.tenant);
END;
CREATE TRIGGER keys_deleted_event AFTER DELETE ON keys BEGIN
  INSERT INTO key_events (event, key, tenant) VALUES ('key_deleted', old.id, old.tenant);
END;
";
