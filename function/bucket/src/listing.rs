//! `ListObjectsV2`: the keys after a point, in order, with everything up to a delimiter folded into
//! one line.

use std::collections::BTreeMap;

use s3s::dto::{
    CommonPrefix, ETag, ListObjectsV2Input, ListObjectsV2Output, Object as Line, Timestamp,
};

use crate::objects::Object;

/// One page. The token for the next one is the last line of this one.
pub(crate) fn list(
    objects: &BTreeMap<String, Object>,
    input: ListObjectsV2Input,
) -> ListObjectsV2Output {
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
    let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
    let lines_max = input.max_keys.map_or(PAGE_LINES, |max| max.clamp(0, PAGE_LINES));
    let mut page = Page::default();
    for (key, object) in
        objects.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix))
    {
        let folded = delimiter.as_deref().and_then(|delimiter| fold(key, prefix.len(), delimiter));
        let name = folded.unwrap_or(key);
        if name <= after.as_str() || page.last.as_deref() == Some(name) {
            continue;
        }
        if page.lines() == lines_max {
            page.truncated = true;
            break;
        }
        page.add(name, folded.is_none().then_some(object));
    }
    page.answer(input, lines_max)
}

/// `key` up to and with the first delimiter after its prefix.
fn fold<'a>(key: &'a str, prefix_len: usize, delimiter: &str) -> Option<&'a str> {
    let end = prefix_len + key[prefix_len..].find(delimiter)? + delimiter.len();
    Some(&key[..end])
}

#[derive(Default)]
struct Page {
    contents: Vec<Line>,
    common_prefixes: Vec<CommonPrefix>,
    last: Option<String>,
    truncated: bool,
}

impl Page {
    fn lines(&self) -> i32 {
        let lines = self.contents.len() + self.common_prefixes.len();
        i32::try_from(lines).expect("a page has at most 1000 lines")
    }

    fn add(&mut self, name: &str, object: Option<&Object>) {
        self.last = Some(name.to_owned());
        match object {
            Some(object) => self.contents.push(line(name, object)),
            None => self.common_prefixes.push(CommonPrefix { prefix: Some(name.to_owned()) }),
        }
    }

    fn answer(self, input: ListObjectsV2Input, lines_max: i32) -> ListObjectsV2Output {
        ListObjectsV2Output {
            key_count: Some(self.lines()),
            is_truncated: Some(self.truncated),
            next_continuation_token: self.last.filter(|_| self.truncated),
            contents: Some(self.contents),
            common_prefixes: Some(self.common_prefixes),
            max_keys: Some(lines_max),
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            ..Default::default()
        }
    }
}

fn line(key: &str, object: &Object) -> Line {
    Line {
        key: Some(key.to_owned()),
        size: i64::try_from(object.data.len()).ok(),
        e_tag: Some(ETag::Strong(object.etag.clone())),
        last_modified: Some(Timestamp::from(object.modified)),
        ..Line::default()
    }
}

/// S3's own limit.
const PAGE_LINES: i32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Objects;

    fn bucket(keys: &[&str]) -> BTreeMap<String, Object> {
        let objects = Objects::new();
        for key in keys {
            objects.insert("models", key, "x");
        }
        objects.list("models").unwrap()
    }

    fn names(page: &ListObjectsV2Output) -> Vec<String> {
        let keys = page.contents.iter().flatten().filter_map(|line| line.key.clone());
        let folds = page.common_prefixes.iter().flatten().filter_map(|fold| fold.prefix.clone());
        keys.chain(folds).collect()
    }

    fn input(prefix: &str, delimiter: Option<&str>) -> ListObjectsV2Input {
        ListObjectsV2Input {
            bucket: "models".to_owned(),
            prefix: Some(prefix.to_owned()),
            delimiter: delimiter.map(str::to_owned),
            ..ListObjectsV2Input::default()
        }
    }

    #[test]
    fn prefixes_select_and_delimiters_fold() {
        let objects = bucket(&["a/x", "a/y/1", "a/y/2", "b", "ab"]);
        let page = |prefix, delimiter| names(&list(&objects, input(prefix, delimiter)));
        assert_eq!(page("", None), ["a/x", "a/y/1", "a/y/2", "ab", "b"]);
        assert_eq!(page("", Some("/")), ["ab", "b", "a/"]);
        assert_eq!(page("a/", Some("/")), ["a/x", "a/y/"]);
        assert_eq!(page("none", None), [""; 0]);
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let objects = bucket(&["a/1", "a/2", "b", "c/1", "d"]);
        for delimiter in [None, Some("/")] {
            let whole = names(&list(&objects, input("", delimiter)));
            let mut paged = Vec::new();
            let mut next = ListObjectsV2Input { max_keys: Some(1), ..input("", delimiter) };
            loop {
                let page = list(&objects, next.clone());
                assert_eq!(page.key_count, Some(1));
                paged.extend(names(&page));
                next.continuation_token = page.next_continuation_token;
                if next.continuation_token.is_none() {
                    break;
                }
            }
            paged.sort();
            let mut whole = whole;
            whole.sort();
            assert_eq!(paged, whole);
        }
    }
}
