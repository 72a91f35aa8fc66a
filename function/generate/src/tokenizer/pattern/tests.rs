//! What is written out by hand against the expression that it stands for.

use onig::Regex;
use proptest::prelude::*;

use super::*;

fn by_hand(pattern: Pattern, mut text: &str) -> Vec<&str> {
    let mut matches = Vec::new();
    while !text.is_empty() {
        let (first, rest) = text.split_at(pattern.first(text));
        matches.push(first);
        text = rest;
    }
    matches
}

fn engine(pattern: Pattern) -> Regex {
    Regex::new(pattern.regex()).unwrap()
}

fn by_engine<'t>(regex: &Regex, text: &'t str) -> Vec<&'t str> {
    regex.find_iter(text).map(|(start, end)| &text[start..end]).collect()
}

const ALL: [Pattern; 3] = [Pattern::Gpt2, Pattern::Llama3, Pattern::Qwen2];

#[test]
fn an_expression_is_known_by_its_spelling_alone() {
    for pattern in ALL {
        assert_eq!(Pattern::written(pattern.regex()), Some(pattern));
        assert_eq!(Pattern::written(&format!("{} ", pattern.regex())), None);
    }
}

/// No letter but those that are written, their capitals and the long s make a contraction.
#[test]
fn contractions_ignore_case_as_the_engine_does() {
    let regex = engine(Pattern::Qwen2);
    for character in ('\0'..=char::MAX).filter(|character| character.is_alphabetic()) {
        let around = [
            format!("'{character}x"),
            format!("'r{character}"),
            format!("'{character}e"),
            format!("'{character}l"),
        ];
        for text in around {
            assert_eq!(by_hand(Pattern::Qwen2, &text), by_engine(&regex, &text));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn matches_are_those_of_the_regex_engine(
        text in "([ '\n\r\tsStTſrRvVeEmMlLdD1²٣aé中!_.\u{301}\u{a0}\u{2028}\u{200d}]|\\PC){0,30}",
    ) {
        for pattern in ALL {
            prop_assert_eq!(by_hand(pattern, &text), by_engine(&engine(pattern), &text), "{:?}", pattern);
        }
    }
}
