//! Alerts that budgets have given: each once per window.

use super::either::{Cells, change, on, rows};
use super::{Store, StoreError, to_sql};
use crate::finance::budget::Alert;

/// The step of SQLite. What is kept goes on the audit log as a change does.
pub(super) const SQLITE: &str = r"
CREATE TABLE budget_alerts (
  tenant TEXT NOT NULL,
  budget TEXT NOT NULL,
  part TEXT NOT NULL,
  window_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, budget, part, window_ms, kind)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER budget_alerts_inserted_event AFTER INSERT ON budget_alerts BEGIN
  INSERT INTO key_events (event, key, tenant, at_ms)
  VALUES ('budget_alert', trim(new.budget || ' ' || new.part) || ' ' || new.kind, new.tenant, new.at_ms);
END;
";

/// The step of PostgreSQL.
pub(super) const POSTGRES: &str = r#"
CREATE TABLE budget_alerts (
  tenant TEXT COLLATE "C" NOT NULL,
  budget TEXT COLLATE "C" NOT NULL,
  part TEXT COLLATE "C" NOT NULL,
  window_ms BIGINT NOT NULL,
  kind TEXT COLLATE "C" NOT NULL,
  at_ms BIGINT NOT NULL,
  PRIMARY KEY (tenant, budget, part, window_ms, kind)
);
CREATE FUNCTION budget_alerts_inserted_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO key_events (event, key, tenant, at_ms)
  VALUES ('budget_alert', trim(new.budget || ' ' || new.part) || ' ' || new.kind, new.tenant, new.at_ms);
  RETURN NULL;
END $$;
CREATE TRIGGER budget_alerts_inserted_event AFTER INSERT ON budget_alerts
FOR EACH ROW EXECUTE FUNCTION budget_alerts_inserted_event();
"#;

impl Store {
    /// The alerts that a budget's window has given, oldest first.
    pub async fn budget_alerts(
        &self,
        tenant: &str,
        budget: &str,
        part: &str,
        window_ms: u64,
    ) -> Result<Vec<Alert>, StoreError> {
        let sql = "SELECT kind, at_ms FROM budget_alerts WHERE tenant = $1 AND budget = $2 AND part = $3 \
             AND window_ms = $4 ORDER BY at_ms, kind";
        rows!(&self.pools, alert, sql, tenant, budget, part, to_sql(window_ms))
    }

    /// Keeps that an alert is given now; false where it was given before.
    pub async fn give_budget_alert(
        &self,
        (tenant, budget, part): (&str, &str, &str),
        window_ms: u64,
        kind: &str,
        at_ms: u64,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO budget_alerts (tenant, budget, part, window_ms, kind, at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let (window_ms, at_ms) = (to_sql(window_ms), to_sql(at_ms));
        Ok(change!(&self.pools, sql, tenant, budget, part, window_ms, kind, at_ms)? == 1)
    }
}

fn alert(row: &impl Cells) -> Result<Alert, StoreError> {
    Ok(Alert { kind: row.text(0)?, at_ms: row.count(1, "budget_alerts.at_ms")? })
}
