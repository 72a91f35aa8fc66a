//! The search for stop strings in text that comes in pieces.
//!
//! Text that could be the beginning of a stop string is held back until it is known to be one or
//! not. The first stop string to *end* wins, and of those that end together the longest: so the
//! answer does not depend on how the text was cut into pieces. Neither the stop string nor what
//! follows it is given out.

/// Looks for the first of several strings in a stream of text.
#[derive(Debug)]
pub struct StopStrings {
    strings: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

/// What a piece of text gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No stop string yet: this much of the text is certain.
    Nothing(String),
    /// A stop string: this is the text before it.
    Stop(String),
}

impl StopStrings {
    /// Looks for `strings`, none of them empty.
    #[must_use]
    pub fn new(strings: &[String]) -> Self {
        assert!(strings.iter().all(|string| !string.is_empty()), "stop strings are checked before");
        Self { strings: strings.to_vec(), held: String::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) -> Found {
        self.held.push_str(piece);
        if let Some(start) = self.first_to_end() {
            let mut before = std::mem::take(&mut self.held);
            before.truncate(start);
            return Found::Stop(before);
        }
        let maybe = self.held.split_off(self.held.len() - self.longest_beginning());
        Found::Nothing(std::mem::replace(&mut self.held, maybe))
    }

    /// The text that is held back: nothing follows, so it is no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop string begins that ends first in the held text.
    fn first_to_end(&self) -> Option<usize> {
        let spans = self.strings.iter().filter_map(|string| {
            let start = self.held.find(string.as_str())?;
            Some((start + string.len(), start))
        });
        spans.min().map(|(_, start)| start)
    }

    /// The length in bytes of the longest end of the held text with which a stop string begins.
    /// Both are UTF-8, so an end that equals a beginning is one of whole characters.
    fn longest_beginning(&self) -> usize {
        let of_one = |string: &String| {
            let longest = (string.len() - 1).min(self.held.len());
            (1..=longest)
                .rev()
                .find(|&len| self.held.as_bytes().ends_with(&string.as_bytes()[..len]))
        };
        self.strings.iter().filter_map(of_one).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What is given out piece by piece, and whether a stop string was found.
    fn streamed(strings: &[String], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut stop = StopStrings::new(strings);
        let mut given = Vec::new();
        for piece in pieces {
            match stop.push(piece) {
                Found::Nothing(text) => given.push(text),
                Found::Stop(text) => {
                    given.push(text);
                    return (given, true);
                }
            }
        }
        given.push(stop.finish());
        (given, false)
    }

    /// The definition: of all places where a stop string ends the first, and there the longest
    /// string.
    fn searched(strings: &[String], text: &str) -> (String, bool) {
        for end in 0..=text.len() {
            let ended = strings.iter().filter(|s| text.as_bytes()[..end].ends_with(s.as_bytes()));
            if let Some(longest) = ended.map(String::len).max() {
                return (text[..end - longest].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&string| string.to_owned()).collect()
    }

    #[test]
    fn a_stop_string_over_several_tokens_is_held_back_and_not_shown() {
        let (given, stopped) = streamed(&strings(&["</end>"]), &["Hi", " <", "/e", "nd> more"]);
        assert_eq!((given, stopped), (strings(&["Hi", " ", "", ""]), true));
    }

    #[test]
    fn a_beginning_that_leads_nowhere_is_shown_after_all() {
        let (given, stopped) = streamed(&strings(&["</end>"]), &["a <", "/em", "> <"]);
        assert_eq!((given, stopped), (strings(&["a ", "</em", "> ", "<"]), false));
    }

    #[test]
    fn the_first_to_end_wins_and_then_the_longest() {
        assert_eq!(streamed(&strings(&["abcd", "bc"]), &["abcd"]).0, ["a"]);
        assert_eq!(streamed(&strings(&["bc", "abc"]), &["abc"]).0, [""]);
    }

    #[test]
    fn a_repeated_beginning_does_not_hide_the_stop() {
        let (given, stopped) = streamed(&strings(&["aab"]), &["a", "a", "a", "b"]);
        assert_eq!((given.concat().as_str(), stopped), ("a", true));
    }

    #[test]
    fn no_character_is_cut() {
        let (given, stopped) = streamed(&strings(&["éé"]), &["è", "é", "x"]);
        assert_eq!((given, stopped), (strings(&["è", "", "éx", ""]), false));
    }

    proptest! {
        #[test]
        fn any_cut_of_a_text_gives_what_a_search_of_the_whole_gives(
            stops in vec("[abé]{1,4}", 0..4), pieces in vec("[abé]{0,3}", 0..12),
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (given, stopped) = streamed(&stops, &pieces);
            prop_assert_eq!((given.concat(), stopped), searched(&stops, &pieces.concat()));
        }

        #[test]
        fn nothing_is_held_back_that_cannot_become_a_stop_string(
            stops in vec("[ab]{1,4}", 1..4), text in "[ab]{0,8}",
        ) {
            let mut stop = StopStrings::new(&stops);
            if let Found::Nothing(_) = stop.push(&text) {
                let held = stop.finish();
                prop_assert!(held.is_empty() || stops.iter().any(|s| s.starts_with(&held)));
            }
        }
    }
}
