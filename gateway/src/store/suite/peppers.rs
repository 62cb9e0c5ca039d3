//! Peppers.

use super::Place;

pub(super) async fn the_first_fingerprint_of_a_version_stays(at: &Place) {
    let store = &at.store;
    assert_eq!(store.pepper_fingerprints().await.unwrap(), []);
    for (version, byte) in [(2, 1), (1, 2), (2, 3)] {
        store.pepper_record(version, &[byte; 32]).await.unwrap();
    }
    assert_eq!(store.pepper_fingerprints().await.unwrap(), [(1, [2; 32]), (2, [1; 32])]);
}
