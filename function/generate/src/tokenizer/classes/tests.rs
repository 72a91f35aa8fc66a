//! Every code point, against the engine.

use onig::Regex;

use super::*;

#[test]
fn classes_are_those_of_the_regex_engine() {
    let classes = [
        (Class::Letter, r"\p{L}"),
        (Class::Number, r"\p{N}"),
        (Class::Space, r"\s"),
        (Class::Other, r"[^\s\p{L}\p{N}]"),
    ];
    for (class, pattern) in classes {
        let regex = Regex::new(pattern).unwrap();
        for character in '\0'..=char::MAX {
            let matches = regex.is_match(character.encode_utf8(&mut [0; 4]));
            assert_eq!(Class::of(character) == class, matches, "{character:?} and {pattern}");
        }
    }
}
