//! The schema, as the steps that led to it. A step that was shipped is never edited; a change is a new one.

/// Step `n` brings a database from `user_version` n to n+1.
pub(super) const STEPS: &[&str] = &[
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    super::rollup_schema::SQLITE,
    super::statement::SQLITE,
    super::budget::SQLITE,
    super::stored_response::SQLITE,
    super::spent::END_USERS,
];

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

/// Scopes and kinds of keys, when they were last used, tenants below those of the configuration, and their secrets.
/// The use of a key is no change: nobody waits for it and no gateway reads the keys again.
const V4: &str = r"
ALTER TABLE keys ADD COLUMN kind TEXT NOT NULL DEFAULT 'user';
ALTER TABLE keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE keys ADD COLUMN replaces TEXT;
CREATE TABLE key_uses (key TEXT PRIMARY KEY, used_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER keys_deleted_use AFTER DELETE ON keys BEGIN DELETE FROM key_uses WHERE key = old.id; END;

CREATE TABLE tenants (
  path TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  disabled INTEGER NOT NULL,
  settings TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER tenants_inserted AFTER INSERT ON tenants BEGIN
  UPDATE revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('tenant_created', '', new.path, new.created_ms);
END;
CREATE TRIGGER tenants_updated AFTER UPDATE ON tenants BEGIN
  UPDATE revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms) VALUES (
    CASE WHEN new.disabled > old.disabled THEN 'tenant_disabled' WHEN new.disabled < old.disabled THEN 'tenant_enabled'
    ELSE 'tenant_changed' END, '', new.path, new.changed_ms);
END;
CREATE TRIGGER tenants_deleted AFTER DELETE ON tenants BEGIN
  UPDATE revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant) VALUES ('tenant_deleted', '', old.path);
END;

-- Sealed with the master key of that version; tenant and name are sealed in, so that no row can be moved.
CREATE TABLE tenant_secrets (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  changed_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER secrets_inserted AFTER INSERT ON tenant_secrets BEGIN
  UPDATE revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('secret_set', '', new.tenant, new.changed_ms);
END;
CREATE TRIGGER secrets_updated AFTER UPDATE ON tenant_secrets BEGIN
  UPDATE revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('secret_set', '', new.tenant, new.changed_ms);
END;
CREATE TRIGGER secrets_deleted AFTER DELETE ON tenant_secrets BEGIN
  UPDATE revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant) VALUES ('secret_removed', '', old.tenant);
END;
";

/// Users and groups that identity providers tell of. A user that was deleted stays by its names alone, so that what the
/// user held isn't served again. The directories have a revision of their own: a user more is no reason to read all
/// keys again.
const V5: &str = r"
CREATE TABLE directory_users (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  user_name TEXT NOT NULL,
  external_id TEXT,
  active INTEGER NOT NULL,
  names TEXT NOT NULL,
  facts TEXT NOT NULL,
  document TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL,
  deleted_ms INTEGER,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX directory_users_name ON directory_users (tenant, user_name) WHERE deleted_ms IS NULL;
CREATE INDEX directory_users_external ON directory_users (tenant, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE directory_groups (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  external_id TEXT,
  document TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX directory_groups_name ON directory_groups (tenant, name);
CREATE INDEX directory_groups_external ON directory_groups (tenant, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE directory_members (
  tenant TEXT NOT NULL,
  parent TEXT NOT NULL,
  member TEXT NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (tenant, parent, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX directory_members_member ON directory_members (tenant, member);

CREATE TABLE directory_revision (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL) STRICT;
INSERT INTO directory_revision VALUES (1, 0);
CREATE TRIGGER directory_users_inserted AFTER INSERT ON directory_users BEGIN
  UPDATE directory_revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms)
  VALUES ('directory_user_created', new.id, new.tenant, new.created_ms);
END;
CREATE TRIGGER directory_users_updated AFTER UPDATE ON directory_users BEGIN
  UPDATE directory_revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms) VALUES (
    CASE WHEN new.deleted_ms IS NOT NULL THEN 'directory_user_deleted'
    WHEN new.active < old.active THEN 'directory_user_deactivated'
    WHEN new.active > old.active THEN 'directory_user_activated'
    ELSE 'directory_user_changed' END, new.id, new.tenant, new.changed_ms);
END;
CREATE TRIGGER directory_groups_inserted AFTER INSERT ON directory_groups BEGIN
  UPDATE directory_revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms)
  VALUES ('directory_group_created', new.id, new.tenant, new.created_ms);
END;
CREATE TRIGGER directory_groups_updated AFTER UPDATE ON directory_groups BEGIN
  UPDATE directory_revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant, at_ms)
  VALUES ('directory_group_changed', new.id, new.tenant, new.changed_ms);
END;
CREATE TRIGGER directory_groups_deleted AFTER DELETE ON directory_groups BEGIN
  UPDATE directory_revision SET revision = revision + 1;
  INSERT INTO key_events (event, key, tenant) VALUES ('directory_group_deleted', old.id, old.tenant);
END;
";

/// What a row is charged by, beside its two sums of tokens; and corrections, which point at the row that they re-rate.
const V6: &str = r"
ALTER TABLE usage ADD COLUMN end_user TEXT;
ALTER TABLE usage ADD COLUMN tier TEXT NOT NULL DEFAULT 'standard';
ALTER TABLE usage ADD COLUMN buckets TEXT NOT NULL DEFAULT '{}';
ALTER TABLE usage ADD COLUMN cache_read_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN list_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN provider_cost_nano INTEGER;
ALTER TABLE usage ADD COLUMN arm TEXT;
ALTER TABLE usage ADD COLUMN queue_ms INTEGER;
ALTER TABLE usage ADD COLUMN kind TEXT NOT NULL DEFAULT 'usage';
ALTER TABLE usage ADD COLUMN pricing TEXT NOT NULL DEFAULT 'priced';
ALTER TABLE usage ADD COLUMN region TEXT;
ALTER TABLE usage ADD COLUMN corrects TEXT;
UPDATE usage SET list_nano = cost_nano,
  pricing = CASE WHEN source = 'none' THEN 'none' ELSE 'priced' END,
  buckets = CASE WHEN input_tokens > 0 OR output_tokens > 0
    THEN json_object('input_text', input_tokens, 'output_text', output_tokens) ELSE '{}' END;
";
