//! The schema of the ledger's sums, in both dialects: their tables, and the sums of rows that are there already.

/// The step of SQLite.
pub(super) const SQLITE: &str = r"
CREATE INDEX usage_at ON usage (at_ms);

CREATE TABLE usage_hour (
  hour_ms INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  model TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  provider TEXT NOT NULL,
  deployment TEXT NOT NULL,
  tier TEXT NOT NULL,
  calls INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  estimated INTEGER NOT NULL,
  inconsistent INTEGER NOT NULL,
  corrections INTEGER NOT NULL,
  list_nano INTEGER NOT NULL,
  cost_nano INTEGER NOT NULL,
  PRIMARY KEY (hour_ms, tenant, key, model, upstream_model, provider, deployment, tier)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_day (
  day_ms INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  model TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  provider TEXT NOT NULL,
  deployment TEXT NOT NULL,
  tier TEXT NOT NULL,
  calls INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  estimated INTEGER NOT NULL,
  inconsistent INTEGER NOT NULL,
  corrections INTEGER NOT NULL,
  list_nano INTEGER NOT NULL,
  cost_nano INTEGER NOT NULL,
  PRIMARY KEY (day_ms, tenant, key, model, upstream_model, provider, deployment, tier)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_day_bucket (
  day_ms INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  model TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  provider TEXT NOT NULL,
  deployment TEXT NOT NULL,
  tier TEXT NOT NULL,
  bucket TEXT NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (day_ms, tenant, key, model, upstream_model, provider, deployment, tier, bucket)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_hour
SELECT at_ms - at_ms % 3600000 AS hour_ms, tenant, key, model, upstream_model, provider, deployment, tier,
  sum(attempt = 0 AND kind = 'usage'), sum(kind = 'usage'), sum(input_tokens), sum(output_tokens),
  sum(cache_read_tokens), sum(cache_write_tokens), sum(reasoning_tokens), sum(source = 'estimated'),
  sum(pricing = 'inconsistent'), sum(kind = 'correction'), sum(list_nano), sum(cost_nano)
FROM usage GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

INSERT INTO usage_day
SELECT hour_ms - hour_ms % 86400000, tenant, key, model, upstream_model, provider, deployment, tier,
  sum(calls), sum(attempts), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
  sum(reasoning_tokens), sum(estimated), sum(inconsistent), sum(corrections), sum(list_nano), sum(cost_nano)
FROM usage_hour GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

INSERT INTO usage_day_bucket
SELECT at_ms - at_ms % 86400000, tenant, usage.key, model, upstream_model, provider, deployment, tier,
  counted.key, sum(counted.value)
FROM usage, json_each(usage.buckets) AS counted GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
";

/// The step of PostgreSQL.
pub(super) const POSTGRES: &str = r#"
CREATE INDEX usage_at ON usage (at_ms);

CREATE TABLE usage_hour (
  hour_ms BIGINT NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  upstream_model TEXT COLLATE "C" NOT NULL,
  provider TEXT COLLATE "C" NOT NULL,
  deployment TEXT COLLATE "C" NOT NULL,
  tier TEXT COLLATE "C" NOT NULL,
  calls BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  cache_read_tokens BIGINT NOT NULL,
  cache_write_tokens BIGINT NOT NULL,
  reasoning_tokens BIGINT NOT NULL,
  estimated BIGINT NOT NULL,
  inconsistent BIGINT NOT NULL,
  corrections BIGINT NOT NULL,
  list_nano BIGINT NOT NULL,
  cost_nano BIGINT NOT NULL,
  PRIMARY KEY (hour_ms, tenant, key, model, upstream_model, provider, deployment, tier)
);

CREATE TABLE usage_day (
  day_ms BIGINT NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  upstream_model TEXT COLLATE "C" NOT NULL,
  provider TEXT COLLATE "C" NOT NULL,
  deployment TEXT COLLATE "C" NOT NULL,
  tier TEXT COLLATE "C" NOT NULL,
  calls BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  cache_read_tokens BIGINT NOT NULL,
  cache_write_tokens BIGINT NOT NULL,
  reasoning_tokens BIGINT NOT NULL,
  estimated BIGINT NOT NULL,
  inconsistent BIGINT NOT NULL,
  corrections BIGINT NOT NULL,
  list_nano BIGINT NOT NULL,
  cost_nano BIGINT NOT NULL,
  PRIMARY KEY (day_ms, tenant, key, model, upstream_model, provider, deployment, tier)
);

CREATE TABLE usage_day_bucket (
  day_ms BIGINT NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  upstream_model TEXT COLLATE "C" NOT NULL,
  provider TEXT COLLATE "C" NOT NULL,
  deployment TEXT COLLATE "C" NOT NULL,
  tier TEXT COLLATE "C" NOT NULL,
  bucket TEXT COLLATE "C" NOT NULL,
  amount BIGINT NOT NULL,
  PRIMARY KEY (day_ms, tenant, key, model, upstream_model, provider, deployment, tier, bucket)
);

INSERT INTO usage_hour
SELECT at_ms - at_ms % 3600000 AS hour_ms, tenant, key, model, upstream_model, provider, deployment, tier,
  count(*) FILTER (WHERE attempt = 0 AND kind = 'usage'), count(*) FILTER (WHERE kind = 'usage'),
  sum(input_tokens), sum(output_tokens),
  sum(cache_read_tokens), sum(cache_write_tokens), sum(reasoning_tokens), count(*) FILTER (WHERE source = 'estimated'),
  count(*) FILTER (WHERE pricing = 'inconsistent'), count(*) FILTER (WHERE kind = 'correction'),
  sum(list_nano), sum(cost_nano)
FROM usage GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

INSERT INTO usage_day
SELECT hour_ms - hour_ms % 86400000, tenant, key, model, upstream_model, provider, deployment, tier,
  sum(calls), sum(attempts), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
  sum(reasoning_tokens), sum(estimated), sum(inconsistent), sum(corrections), sum(list_nano), sum(cost_nano)
FROM usage_hour GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

INSERT INTO usage_day_bucket
SELECT at_ms - at_ms % 86400000, tenant, usage.key, model, upstream_model, provider, deployment, tier,
  counted.key, sum(CAST(counted.value AS BIGINT))
FROM usage, jsonb_each_text(CAST(usage.buckets AS jsonb)) AS counted GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
"#;
