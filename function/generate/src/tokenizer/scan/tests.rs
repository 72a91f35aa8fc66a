//! Strings and numbers at every distance from the end, against `serde_json`.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The value, if the scanner takes all of `json` for a string.
fn string(json: &str) -> Option<String> {
    let mut scanner = Scanner::new(json.as_bytes());
    let mut text = Vec::new();
    scanner.string().ok()?.push_to(&mut text).ok()?;
    scanner.end().ok()?;
    String::from_utf8(text).ok()
}

fn number(json: &str) -> Option<u32> {
    let mut scanner = Scanner::new(json.as_bytes());
    let number = scanner.number().ok()?;
    scanner.end().ok().map(|()| number)
}

#[test]
fn numbers_are_plain_and_fit() {
    assert_eq!(number(" 0"), Some(0));
    assert_eq!(number("4294967295 \n"), Some(u32::MAX));
    for json in
        ["4294967296", "99999999999999999999999", "-1", "01", "1.0", "1e3", "", "a", "\"1\""]
    {
        assert_eq!(number(json), None, "{json}");
    }
}

#[test]
fn what_is_no_string_is_refused() {
    for json in ["\"", "\"a", "\"a\\", "\"a\\\"", "a\"", "\"\n\"", "\"\\x\"", "\"\\ud800\"", ""] {
        assert_eq!(string(json), None, "{json}");
    }
}

#[test]
fn a_value_is_read_to_its_end() {
    let mut scanner = Scanner::new(b" {\"a\": [1, null]} , null,true]");
    let value: Value = scanner.value().unwrap();
    assert_eq!(value["a"][0], 1);
    assert!(scanner.another(b']').unwrap());
    scanner.value::<()>().unwrap();
    assert!(scanner.another(b']').unwrap());
    assert!(scanner.value::<bool>().unwrap());
    assert!(!scanner.another(b']').unwrap());
    scanner.end().unwrap();
}

proptest! {
    #[test]
    fn strings_are_those_of_serde_json(json in "\"([a-z é\u{1}\"\\\\/un0-9D-F▁]|\\\\[nt\"\\\\]){0,30}\"[ \n]{0,12}") {
        prop_assert_eq!(string(&json), serde_json::from_str::<String>(&json).ok());
    }

    #[test]
    fn any_text_survives(text in "\\PC{0,40}", space in "[ \n\r\t]{0,20}") {
        let json = format!("{space}{}", serde_json::to_string(&text).unwrap());
        prop_assert_eq!(string(&json), Some(text));
    }

    #[test]
    fn numbers_are_those_of_serde_json(json in "[0-9]{1,12}[ ]{0,2}") {
        prop_assert_eq!(number(&json), serde_json::from_str::<u32>(&json).ok());
    }
}
