//! How many rows a second a store takes: figures, not a promise. `WEIR_RATES` says what is measured: `file`, or a
//! database's URL such as `postgres://weir@localhost/weir`, where a schema of its own is made and stays.

use std::time::Instant;

use super::ledger::to;
use super::{Place, schema};
use crate::journal::Closing;
use crate::journal::fixture::{call, closing};
use crate::store::projection::Projection;

/// Rows of one measurement, where a batch is one row and where it is more.
const ROWS: [(usize, usize); 3] = [(1, 2_000), (100, 100_000), (1_000, 200_000)];

#[tokio::test]
async fn rows_a_second() {
    let Some(what) = std::env::var_os("WEIR_RATES").and_then(|what| what.into_string().ok()) else {
        println!("WEIR_RATES names nothing: nothing is measured");
        return;
    };
    for writers in [1, 4] {
        for (batch, rows) in ROWS {
            let url = (what != "file").then(|| schema(&what, &format!("rates_{writers}_{batch}")));
            if url.is_none() && writers > 1 {
                continue;
            }
            let place = Place::on_disk(url).await;
            let mut tasks = tokio::task::JoinSet::new();
            let begun = Instant::now();
            for writer in 0..writers {
                let url = place.url.clone();
                tasks.spawn(async move { write(&url, writer, batch, rows / writers).await });
            }
            tasks.join_all().await;
            let rate = rows as f64 / begun.elapsed().as_secs_f64();
            println!("{writers} writers, {batch} rows a commit: {rate:.0} rows/s");
        }
    }
}

async fn write(url: &crate::store::StoreUrl, writer: usize, batch: usize, rows: usize) {
    let data = tempfile::tempdir().unwrap();
    let mut projection = Projection::connect(url, data.path()).await.unwrap();
    for at in 0..rows.div_ceil(batch) {
        let first = writer * 100_000_000 + at * batch;
        let closings: Vec<Closing> = (first..first + batch).map(|number| closing(call(number as u128), 1)).collect();
        projection.commit(closings.iter(), &to(at as u64 + 1)).await.unwrap();
    }
}
