//! PostgreSQL's schema, as the steps that led to it: what the steps of SQLite's say, in this dialect. A step that was
//! shipped is never edited; a change is a new one, beside its twin for SQLite.
//!
//! Three things are written differently. Text is compared and sorted by its bytes, as SQLite does. Triggers are
//! functions; before a statement changes a key, a tenant or a secret they lock the row of `revision`, so that one
//! writer follows the other and no two wait for each other. Usage is partitioned by month, and its rows name their
//! node by themselves, from the setting `weir.node` of the connection that wrote them.

/// Step `n` brings a schema from version n to n+1.
pub(super) const STEPS: &[&str] = &[
    P1,
    P2,
    super::rollup_schema::POSTGRES,
    super::statement::POSTGRES,
    super::budget::POSTGRES,
    super::stored_response::POSTGRES,
    super::spent::END_USERS,
];

const P1: &str = r#"
CREATE TABLE weir_version (one BIGINT PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL);
INSERT INTO weir_version VALUES (1, 0);

CREATE TABLE keys (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT NOT NULL,
  pepper_version BIGINT NOT NULL,
  hash BYTEA NOT NULL CHECK (length(hash) = 32),
  roles TEXT NOT NULL,
  models TEXT,
  created_ms BIGINT NOT NULL,
  expires_ms BIGINT,
  revoked_ms BIGINT,
  epoch BIGINT NOT NULL,
  kind TEXT NOT NULL DEFAULT 'user',
  scopes TEXT NOT NULL DEFAULT '{}',
  replaces TEXT
);
CREATE TABLE key_uses (key TEXT COLLATE "C" PRIMARY KEY, used_ms BIGINT NOT NULL);
CREATE TABLE revision (one BIGINT PRIMARY KEY CHECK (one = 1), revision BIGINT NOT NULL);
INSERT INTO revision VALUES (1, 0);
CREATE TABLE key_events (
  number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event TEXT NOT NULL,
  key TEXT NOT NULL,
  tenant TEXT NOT NULL,
  at_ms BIGINT
);
CREATE TABLE peppers (
  version BIGINT PRIMARY KEY,
  fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32)
);
CREATE TABLE tenants (
  path TEXT COLLATE "C" PRIMARY KEY,
  name TEXT NOT NULL,
  disabled BIGINT NOT NULL,
  settings TEXT NOT NULL,
  created_ms BIGINT NOT NULL,
  changed_ms BIGINT NOT NULL
);
CREATE TABLE tenant_secrets (
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  sealed BYTEA NOT NULL,
  changed_ms BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);

CREATE FUNCTION weir_lock() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
  PERFORM 1 FROM revision FOR UPDATE;
  RETURN NULL;
END $$;
CREATE FUNCTION weir_key() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
  UPDATE revision SET revision = revision + 1;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('key_created', NEW.id, NEW.tenant, NEW.created_ms);
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO key_events (event, key, tenant) VALUES ('key_deleted', OLD.id, OLD.tenant);
    DELETE FROM key_uses WHERE key = OLD.id;
  ELSIF OLD.revoked_ms IS NULL AND NEW.revoked_ms IS NOT NULL THEN
    INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('key_revoked', NEW.id, NEW.tenant, NEW.revoked_ms);
  ELSE
    INSERT INTO key_events (event, key, tenant) VALUES ('key_changed', NEW.id, NEW.tenant);
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION weir_tenant() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
  UPDATE revision SET revision = revision + 1;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('tenant_created', '', NEW.path, NEW.created_ms);
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO key_events (event, key, tenant) VALUES ('tenant_deleted', '', OLD.path);
  ELSE
    INSERT INTO key_events (event, key, tenant, at_ms) VALUES (
      CASE WHEN NEW.disabled > OLD.disabled THEN 'tenant_disabled'
      WHEN NEW.disabled < OLD.disabled THEN 'tenant_enabled' ELSE 'tenant_changed' END, '', NEW.path, NEW.changed_ms);
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION weir_secret() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
  UPDATE revision SET revision = revision + 1;
  IF TG_OP = 'DELETE' THEN
    INSERT INTO key_events (event, key, tenant) VALUES ('secret_removed', '', OLD.tenant);
  ELSE
    INSERT INTO key_events (event, key, tenant, at_ms) VALUES ('secret_set', '', NEW.tenant, NEW.changed_ms);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER weir_lock BEFORE INSERT OR UPDATE OR DELETE ON keys FOR EACH STATEMENT EXECUTE FUNCTION weir_lock();
CREATE TRIGGER weir_lock BEFORE INSERT OR UPDATE OR DELETE ON tenants FOR EACH STATEMENT EXECUTE FUNCTION weir_lock();
CREATE TRIGGER weir_lock BEFORE INSERT OR UPDATE OR DELETE ON tenant_secrets
  FOR EACH STATEMENT EXECUTE FUNCTION weir_lock();
CREATE TRIGGER weir_key AFTER INSERT OR UPDATE OR DELETE ON keys FOR EACH ROW EXECUTE FUNCTION weir_key();
CREATE TRIGGER weir_tenant AFTER INSERT OR UPDATE OR DELETE ON tenants FOR EACH ROW EXECUTE FUNCTION weir_tenant();
CREATE TRIGGER weir_secret AFTER INSERT OR UPDATE OR DELETE ON tenant_secrets
  FOR EACH ROW EXECUTE FUNCTION weir_secret();

CREATE TABLE directory_users (
  tenant TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  user_name TEXT COLLATE "C" NOT NULL,
  external_id TEXT COLLATE "C",
  active BIGINT NOT NULL,
  names TEXT NOT NULL,
  facts TEXT NOT NULL,
  document TEXT NOT NULL,
  version BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  changed_ms BIGINT NOT NULL,
  deleted_ms BIGINT,
  PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX directory_users_name ON directory_users (tenant, user_name) WHERE deleted_ms IS NULL;
CREATE INDEX directory_users_external ON directory_users (tenant, external_id) WHERE external_id IS NOT NULL;
CREATE TABLE directory_groups (
  tenant TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  external_id TEXT COLLATE "C",
  document TEXT NOT NULL,
  version BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  changed_ms BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX directory_groups_name ON directory_groups (tenant, name);
CREATE INDEX directory_groups_external ON directory_groups (tenant, external_id) WHERE external_id IS NOT NULL;
CREATE TABLE directory_members (
  tenant TEXT COLLATE "C" NOT NULL,
  parent TEXT COLLATE "C" NOT NULL,
  member TEXT COLLATE "C" NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (tenant, parent, member)
);
CREATE INDEX directory_members_member ON directory_members (tenant, member);
CREATE TABLE directory_revision (one BIGINT PRIMARY KEY CHECK (one = 1), revision BIGINT NOT NULL);
INSERT INTO directory_revision VALUES (1, 0);

CREATE FUNCTION weir_directory_lock() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
  PERFORM 1 FROM directory_revision FOR UPDATE;
  RETURN NULL;
END $$;
CREATE FUNCTION weir_user() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
  UPDATE directory_revision SET revision = revision + 1;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO key_events (event, key, tenant, at_ms)
    VALUES ('directory_user_created', NEW.id, NEW.tenant, NEW.created_ms);
  ELSE
    INSERT INTO key_events (event, key, tenant, at_ms) VALUES (
      CASE WHEN NEW.deleted_ms IS NOT NULL THEN 'directory_user_deleted'
      WHEN NEW.active < OLD.active THEN 'directory_user_deactivated'
      WHEN NEW.active > OLD.active THEN 'directory_user_activated'
      ELSE 'directory_user_changed' END, NEW.id, NEW.tenant, NEW.changed_ms);
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION weir_group() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
  UPDATE directory_revision SET revision = revision + 1;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO key_events (event, key, tenant, at_ms)
    VALUES ('directory_group_created', NEW.id, NEW.tenant, NEW.created_ms);
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO key_events (event, key, tenant) VALUES ('directory_group_deleted', OLD.id, OLD.tenant);
  ELSE
    INSERT INTO key_events (event, key, tenant, at_ms)
    VALUES ('directory_group_changed', NEW.id, NEW.tenant, NEW.changed_ms);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER weir_lock BEFORE INSERT OR UPDATE OR DELETE ON directory_users
  FOR EACH STATEMENT EXECUTE FUNCTION weir_directory_lock();
CREATE TRIGGER weir_lock BEFORE INSERT OR UPDATE OR DELETE ON directory_groups
  FOR EACH STATEMENT EXECUTE FUNCTION weir_directory_lock();
CREATE TRIGGER weir_user AFTER INSERT OR UPDATE ON directory_users FOR EACH ROW EXECUTE FUNCTION weir_user();
CREATE TRIGGER weir_group AFTER INSERT OR UPDATE OR DELETE ON directory_groups
  FOR EACH ROW EXECUTE FUNCTION weir_group();

-- The time of a call is part of its id and never changes, so it can be part of the key that makes a row unique.
CREATE TABLE usage (
  call BYTEA NOT NULL CHECK (length(call) = 16),
  attempt BIGINT NOT NULL,
  at_ms BIGINT NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  deployment TEXT COLLATE "C" NOT NULL,
  provider TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  status BIGINT NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  source TEXT NOT NULL,
  cost_nano BIGINT NOT NULL,
  price_version TEXT NOT NULL,
  first_token_ms BIGINT,
  total_ms BIGINT NOT NULL,
  finish_reason TEXT,
  node TEXT COLLATE "C" NOT NULL DEFAULT coalesce(current_setting('weir.node', true), ''),
  PRIMARY KEY (call, attempt, at_ms)
) PARTITION BY RANGE (at_ms);
-- The net: what no month's partition takes. Months are made ahead by whoever writes.
CREATE TABLE usage_default PARTITION OF usage DEFAULT;

-- The gateways that share this schema, each with its present run: whoever started last under a name has it.
CREATE TABLE nodes (node TEXT COLLATE "C" PRIMARY KEY, run TEXT NOT NULL);
-- How far each node's journal and audit log have been projected; moves with the usage rows or not at all.
CREATE TABLE projection (
  node TEXT COLLATE "C" PRIMARY KEY,
  segment BIGINT NOT NULL,
  "offset" BIGINT NOT NULL,
  audit_seq BIGINT NOT NULL,
  audit_hash TEXT NOT NULL,
  audit_file BIGINT NOT NULL,
  audit_offset BIGINT NOT NULL
);
"#;

/// What SQLite's sixth step says; there were no rows before it.
const P2: &str = r#"
ALTER TABLE usage
  ADD COLUMN end_user TEXT,
  ADD COLUMN tier TEXT NOT NULL DEFAULT 'standard',
  ADD COLUMN buckets TEXT NOT NULL DEFAULT '{}',
  ADD COLUMN cache_read_tokens BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN cache_write_tokens BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN reasoning_tokens BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN list_nano BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN provider_cost_nano BIGINT,
  ADD COLUMN arm TEXT,
  ADD COLUMN queue_ms BIGINT,
  ADD COLUMN kind TEXT NOT NULL DEFAULT 'usage',
  ADD COLUMN pricing TEXT NOT NULL DEFAULT 'priced',
  ADD COLUMN region TEXT,
  ADD COLUMN corrects TEXT;
"#;
