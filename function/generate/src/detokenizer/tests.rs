//! Pieces together are the whole, for any sequence of tokens.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::tokenizer::tests::{demo_references, demo_tokenizer, sentencepiece_tokenizer};

/// The pieces of `ids`, the last of them what `finish` gives.
fn pieces(mut detokenizer: Detokenizer, ids: &[u32]) -> Vec<String> {
    let mut pieces: Vec<String> = ids.iter().map(|&id| detokenizer.push(id).unwrap()).collect();
    pieces.push(detokenizer.finish().unwrap());
    pieces
}

fn joined(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    pieces(Detokenizer::new(tokenizer), ids).concat()
}

/// Ids of the demo model, half of them single bytes: the bytes of UTF-8 beyond ASCII have the ids
/// 96 to 191, 192 to 257.
fn demo_ids() -> impl Strategy<Value = Vec<u32>> {
    vec(prop_oneof![0u32..2100, 96u32..258], 0..60)
}

/// The byte tokens of a valid text, `<0x00>` being token 3.
fn byte_tokens(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| 3 + u32::from(byte)).collect()
}

#[test]
fn the_reference_continuations_come_out_token_by_token() {
    let tokenizer = demo_tokenizer();
    for reference in demo_references() {
        let detokenizer = Detokenizer::after(&tokenizer, &reference.ids).unwrap();
        assert_eq!(pieces(detokenizer, &reference.greedy_ids).concat(), reference.greedy_text);
    }
}

#[test]
fn a_character_waits_for_its_last_byte() {
    let tokenizer = demo_tokenizer();
    let ids = tokenizer.encode("é😀!", false).unwrap();
    assert_eq!(ids.len(), 2 + 4 + 1);
    let pieces = pieces(Detokenizer::new(&tokenizer), &ids);
    assert_eq!(pieces, ["", "é", "", "", "", "😀", "!", ""]);
}

#[test]
fn half_a_character_at_the_end_is_flushed_as_a_replacement() {
    let tokenizer = demo_tokenizer();
    let ids = tokenizer.encode("a😀", false).unwrap();
    let pieces = pieces(Detokenizer::new(&tokenizer), &ids[..3]);
    assert_eq!(pieces, ["a", "", "", "\u{FFFD}"]);
}

#[test]
fn special_tokens_and_ids_beyond_the_tokenizer_are_not_shown() {
    let tokenizer = demo_tokenizer();
    assert_eq!(joined(&tokenizer, &[0, 66, 1, 5000, 67]), "ab");
}

#[test]
fn after_a_prompt_the_first_word_keeps_its_space() {
    let tokenizer = sentencepiece_tokenizer();
    let prompt = tokenizer.encode("ab", false).unwrap();
    let answer = [tokenizer.token_id("▁ab").unwrap()];
    assert_eq!(pieces(Detokenizer::after(&tokenizer, &prompt).unwrap(), &answer).concat(), " ab");
    assert_eq!(joined(&tokenizer, &answer), "ab");
    assert_eq!(joined(&tokenizer, &[2, answer[0], 2, answer[0]]), "ab ab");
}

#[test]
fn a_wrong_byte_does_not_take_back_what_was_handed_out() {
    let tokenizer = sentencepiece_tokenizer();
    let mut ids = byte_tokens("€");
    ids.push(3 + 0xFF);
    ids.extend(tokenizer.encode("a", false).unwrap());
    assert_eq!(joined(&tokenizer, &ids), "€\u{FFFD} a");
}

#[test]
fn endless_wrong_bytes_come_out_while_they_come() {
    let tokenizer = sentencepiece_tokenizer();
    let mut ids = vec![3 + 0xFF; 100];
    ids.extend(byte_tokens("😀"));
    ids.extend(tokenizer.encode("a", false).unwrap());
    let pieces = pieces(Detokenizer::new(&tokenizer), &ids);
    assert!(pieces[..40].concat().chars().count() > 20);
    assert_eq!(pieces.concat(), tokenizer.decode(&ids).unwrap());
}

/// Wherever the window is cut, it is not inside the character that follows.
#[test]
fn a_good_character_survives_any_number_of_wrong_bytes_before_it() {
    let tokenizer = demo_tokenizer();
    let wrong = tokenizer.token_id("ÿ").unwrap(); // the byte 0xFF in the alphabet of byte-level BPE
    for count in 0..40 {
        let ids = [vec![wrong; count], tokenizer.encode("😀!", false).unwrap()].concat();
        let text = joined(&tokenizer, &ids);
        assert_eq!(text, "\u{FFFD}".repeat(count) + "😀!");
    }
}

proptest! {
    #[test]
    fn byte_level_pieces_are_the_whole(ids in demo_ids()) {
        let tokenizer = demo_tokenizer_once();
        prop_assert_eq!(joined(tokenizer, &ids), tokenizer.decode(&ids).unwrap());
    }

    #[test]
    fn no_piece_but_the_last_ends_inside_a_character(text in "[aé€😀 ]{0,20}") {
        let tokenizer = demo_tokenizer_once();
        let ids = tokenizer.encode(&text, false).unwrap();
        let pieces = pieces(Detokenizer::new(tokenizer), &ids);
        prop_assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)));
        prop_assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn byte_level_pieces_follow_any_prompt(
        prompt in "[ -~é€😀]{1,20}", ids in demo_ids(),
    ) {
        let tokenizer = demo_tokenizer_once();
        let mut all = tokenizer.encode(&prompt, true).unwrap();
        let answer = pieces(Detokenizer::after(tokenizer, &all).unwrap(), &ids).concat();
        all.extend(&ids);
        prop_assert_eq!(prompt + &answer, tokenizer.decode(&all).unwrap());
    }

    /// Runs of byte tokens that are valid, between whole words, double spaces, specials and genuine
    /// U+FFFD.
    #[test]
    fn byte_fallback_pieces_are_the_whole(
        parts in vec(prop_oneof![
            (0u32..3).prop_map(|id| vec![id]),
            (259u32..268).prop_map(|id| vec![id]),
            "[aé€😀 ]{1,4}".prop_map(|text| byte_tokens(&text)),
        ], 0..30),
    ) {
        let tokenizer = sentencepiece_tokenizer_once();
        let ids = parts.concat();
        prop_assert_eq!(joined(tokenizer, &ids), tokenizer.decode(&ids).unwrap());
    }

    #[test]
    fn no_sequence_of_byte_fallback_tokens_is_too_wrong(ids in vec(0u32..300, 0..60)) {
        let tokenizer = sentencepiece_tokenizer_once();
        let text = joined(tokenizer, &ids);
        let whole_words = ids.iter().filter(|&&id| id == 260).count();
        prop_assert!(text.matches('a').count() >= whole_words);
    }
}

/// Parsing takes milliseconds, and a property hundreds of cases.
fn demo_tokenizer_once() -> &'static Tokenizer {
    static TOKENIZER: std::sync::LazyLock<Tokenizer> = std::sync::LazyLock::new(demo_tokenizer);
    &TOKENIZER
}

fn sentencepiece_tokenizer_once() -> &'static Tokenizer {
    static TOKENIZER: std::sync::LazyLock<Tokenizer> =
        std::sync::LazyLock::new(sentencepiece_tokenizer);
    &TOKENIZER
}
