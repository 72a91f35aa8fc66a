//! The `{% generation %}` block of transformers, which marks the assistant's words for training.
//!
//! For a prompt it means nothing, and the engine does not know it. `{% with %}` is a block of the
//! same extent and scope that does nothing either, so the tags are renamed before the template is
//! parsed.

/// `template` with its generation tags renamed.
pub(super) fn replace(template: &str) -> String {
    let mut renamed = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open + 2);
        renamed.push_str(before);
        rest = match tag.find("%}").map(|close| tag.split_at(close)) {
            Some((inside, after)) if rename(inside, &mut renamed) => after,
            _ => tag,
        };
    }
    renamed + rest
}

/// Writes what stands for the inside of a tag, if it is one of the two.
fn rename(inside: &str, renamed: &mut String) -> bool {
    let signs = |c: char| c == '-' || c == '+' || c.is_whitespace();
    let with = match inside.trim_matches(signs) {
        "generation" => "with",
        "endgeneration" => "endwith",
        _ => return false,
    };
    let name_start = inside.len() - inside.trim_start_matches(signs).len();
    let name_end = inside.trim_end_matches(signs).len();
    renamed.push_str(&inside[..name_start]);
    renamed.push_str(with);
    renamed.push_str(&inside[name_end..]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_are_renamed_and_keep_their_whitespace_control() {
        let template = "{%- generation -%}a{% if x %}{% endif %}{%endgeneration+%} {% generation";
        let renamed = "{%- with -%}a{% if x %}{% endif %}{%endwith+%} {% generation";
        assert_eq!(replace(template), renamed);
    }

    #[test]
    fn other_uses_of_the_word_are_left_alone() {
        let template = "{% if add_generation_prompt %}generation{{ generation }}{% endif %}";
        assert_eq!(replace(template), template);
    }
}
