//! What a store promises, whatever it lies in: each promise is one function, tried on SQLite by a test of its own and
//! on a private PostgreSQL by one test for all, each promise in a schema of its own.
//!
//! `WEIR_POSTGRES` says where PostgreSQL's programs are; without it that test is skipped with a note.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)] // tests count small numbers
#![allow(clippy::disallowed_methods, reason = "figures are measured where an environment variable says so")]

mod corrections;
mod directories;
mod key_changes;
mod keys;
pub(super) mod ledger;
mod peppers;
mod rates_tests;
mod server;
mod sums;
mod tenants;
mod together;

use super::sqlite::Create;
use super::{STORE_FILE, Store, StoreUrl};
use crate::servers::postgres::Postgres;

/// An empty store, and a data folder beside it.
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) url: StoreUrl,
    pub(super) data: tempfile::TempDir,
}

impl Place {
    async fn open(url: Option<StoreUrl>) -> Self {
        Self::beside(crate::journal::fixture::folder(), url).await
    }

    /// The same where a file is on a disk and not in memory.
    pub(super) async fn on_disk(url: Option<StoreUrl>) -> Self {
        Self::beside(tempfile::tempdir().unwrap(), url).await
    }

    async fn beside(data: tempfile::TempDir, url: Option<StoreUrl>) -> Self {
        let url = url.unwrap_or_else(|| StoreUrl::from(&data.path().join(STORE_FILE)));
        let store = Store::open(&url, Create::IfMissing).await.unwrap();
        Self { store, url, data }
    }

    /// The same store once more, as another process has it.
    pub(super) async fn again(&self) -> Store {
        Store::open(&self.url, Create::Never).await.unwrap()
    }
}

/// A schema of that name on a server's database.
pub(super) fn schema(database: &str, name: &str) -> StoreUrl {
    let url = super::url::ServerUrl::parse(&format!("{database}?schema={name}")).unwrap();
    StoreUrl::Server(url)
}

macro_rules! promises {
    ($($room:ident: $($name:ident),+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test]
                async fn $name() {
                    super::$room::$name(&super::Place::open(None).await).await;
                }
            )+)+
        }

        #[tokio::test]
        async fn a_server_of_postgresql_keeps_the_same_promises() {
            let Some(server) = Postgres::start() else { return };
            let database = server.database("weir");
            let mut numbers = 1..;
            $($({
                let name = format!("promise_{}", numbers.next().unwrap());
                let place = Place::open(Some(schema(&database, &name))).await;
                $room::$name(&place).await;
                place.store.close().await;
            })+)+
        }
    };
}

promises! {
    keys:
        a_key_comes_back_as_it_was_and_its_id_is_taken,
        revoking_moves_epoch_and_revision_once,
        a_list_holds_the_level_and_what_lies_below;
    key_changes: every_change_moves_the_revision_and_a_use_does_not;
    peppers: the_first_fingerprint_of_a_version_stays;
    tenants:
        a_tenant_comes_back_and_every_change_moves_the_revision,
        a_deletion_takes_what_lies_below_and_no_sibling,
        a_secret_is_replaced_read_and_removed;
    directories:
        a_change_is_made_to_the_version_that_was_read_or_not_at_all,
        what_is_deleted_is_gone_but_its_names_and_the_name_is_free,
        nothing_of_another_tenant_is_seen_changed_or_joined;
    ledger:
        rows_and_heads_move_together_and_a_second_time_changes_nothing,
        every_group_of_a_report_sums_the_same_rows,
        what_a_client_or_an_upstream_wrote_never_stops_the_ledger,
        a_batch_is_written_whole_across_all_sizes_of_statements;
    sums:
        sums_are_those_of_the_rows,
        a_closed_month_stays_as_it_is,
        a_sum_beyond_what_can_be_counted_stops_no_row,
        an_alert_is_given_once,
        the_rows_of_an_end_user_are_found_by_an_index;
    corrections: those_who_correct_at_once_write_one_row_and_earlier_prices_may_come_back;
    together:
        writers_wait_for_each_other_and_none_is_lost,
        a_deletion_beside_new_keys_leaves_none_alive,
        changes_are_handed_over_once_and_again_where_they_were_not_noted;
}
