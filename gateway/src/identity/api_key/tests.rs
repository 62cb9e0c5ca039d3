//! Shape, checksum, hash and place of the credential.

use proptest::prelude::*;

use super::*;

#[test]
fn a_new_key_has_the_documented_shape_and_parses() {
    let key = NewKey::generate().unwrap();
    assert_eq!((key.reveal().len(), KEY_LEN), (62, 62));
    let presented = parse(key.reveal()).unwrap();
    assert_eq!(presented.id(), &*key.id.0);
    assert_eq!(format!("{presented:?} {key:?}"), format!("Presented({0}) NewKey({0})", key.id));
    assert_ne!(NewKey::generate().unwrap().reveal(), key.reveal());
}

/// Fixed for good: a change here locks every caller out.
#[test]
fn a_known_key_has_its_known_checksum() {
    let signed = format!("wr_Ab3dEf9h_{}", "0123456789".repeat(5).split_at(43).0);
    let text = format!("{signed}_{}", String::from_utf8(checksum(&signed).to_vec()).unwrap());
    assert_eq!(text, "wr_Ab3dEf9h_0123456789012345678901234567890123456789012_1UENHL");
}

#[test]
fn what_is_no_key_is_refused_without_a_look_at_the_store() {
    let key = NewKey::generate().unwrap().reveal().to_owned();
    let long = format!("{key}0");
    let table =
        ["", "wr_", "sk-1234", &key[1..], &key[..61], &long, &key.replace('_', "-"), &"ü".repeat(31), &"_".repeat(62)];
    for text in table {
        assert_eq!(parse(text), Err(KeyFault::Shape), "{text}");
    }
}

proptest! {
    #[test]
    fn any_single_changed_character_is_refused(at in 0..KEY_LEN, into in any::<char>()) {
        let key = NewKey::generate().unwrap();
        let mut chars: Vec<char> = key.reveal().chars().collect();
        prop_assume!(chars[at] != into);
        chars[at] = into;
        let text: String = chars.into_iter().collect();
        prop_assert!(parse(&text).is_err(), "{}", text);
    }

    #[test]
    fn any_two_swapped_neighbours_are_refused(at in 1..KEY_LEN) {
        let key = NewKey::generate().unwrap();
        let mut chars: Vec<char> = key.reveal().chars().collect();
        let before = at.saturating_sub(1);
        prop_assume!(chars[before] != chars[at]);
        chars.swap(before, at);
        prop_assert!(parse(&chars.into_iter().collect::<String>()).is_err());
    }

    #[test]
    fn any_text_is_parsed_without_a_panic(text in "(wr_)?\\PC{0,70}") {
        prop_assert!(parse(&text).is_err());
    }
}

#[test]
fn every_base62_character_is_drawn_about_as_often() {
    let text = random_base62(62_000).unwrap();
    for digit in BASE62 {
        let count = text.bytes().filter(|byte| byte == digit).count();
        assert!((800..1200).contains(&count), "{} came {count} times", char::from(*digit));
    }
}
