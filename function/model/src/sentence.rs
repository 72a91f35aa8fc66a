//! What becomes of the rows of a text: one vector, as the files of sentence-transformers say.
//!
//! `modules.json` names the steps behind the encoder, `1_Pooling/config.json` says which rows count,
//! `sentence_bert_config.json` how long a text may be. A checkpoint without them is an encoder
//! alone: of that sentence-transformers makes the mean of all rows, unnormalised, and so does this.

use serde_json::Value;

use crate::{
    EncoderSpec, Error,
    fields::{self, Fields, shorten},
    spec::MAX_POSITIONS,
};

/// How the rows of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// What is kept of the rows.
    pub pooling: Pooling,
    /// The vector is scaled to the length one.
    pub normalize: bool,
    /// The most tokens of a text that its authors had in mind; the encoder may have another limit.
    pub max_tokens: Option<usize>,
    /// A text is lower-cased before it is cut into tokens.
    pub lower_case: bool,
}

/// What is kept of the rows of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first row, that of `[CLS]`.
    Cls,
    /// The mean of all rows.
    Mean,
    /// The largest number of each column.
    Max,
}

/// The files, each where it is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct SentenceFiles<'a> {
    /// `modules.json`
    pub modules: Option<&'a [u8]>,
    /// `1_Pooling/config.json`
    pub pooling: Option<&'a [u8]>,
    /// `sentence_bert_config.json`
    pub transformer: Option<&'a [u8]>,
}

impl Sentence {
    /// Reads and checks the files.
    pub fn parse(files: SentenceFiles<'_>) -> Result<Self, Error> {
        let modules = Modules::parse(files.modules)?;
        let pooling = match files.pooling {
            Some(file) if modules.pools => {
                Pooling::parse(&Fields::of("1_Pooling/config.json", file)?)?
            }
            _ if modules.is_listed => return Err(Error::NoPooling),
            _ => Pooling::Mean,
        };
        let transformer =
            files.transformer.map(|file| Fields::of("sentence_bert_config.json", file));
        let transformer = transformer.transpose()?;
        let (mut max_tokens, mut lower_case) = (None, false);
        if let Some(fields) = transformer {
            max_tokens = fields.optional_size("max_seq_length", MAX_POSITIONS)?;
            lower_case = fields.flag("do_lower_case")?;
        }
        Ok(Self { pooling, normalize: modules.normalizes, max_tokens, lower_case })
    }

    /// The most tokens of a text.
    #[must_use]
    pub fn max_tokens(&self, spec: &EncoderSpec) -> usize {
        self.max_tokens.unwrap_or(usize::MAX).min(spec.max_tokens())
    }

    /// Whether the tokens of a text can be computed.
    pub fn check(&self, spec: &EncoderSpec, ids: &[u32]) -> Result<(), Error> {
        let (limit, vocab_size) = (self.max_tokens(spec), spec.vocab_size);
        if ids.is_empty() {
            return Err(Error::NoIds);
        }
        if ids.len() > limit {
            return Err(Error::TextTooLong { tokens: ids.len(), limit });
        }
        match ids.iter().position(|&id| id as usize >= vocab_size) {
            Some(position) => Err(Error::Id { id: ids[position], position, vocab_size }),
            None => Ok(()),
        }
    }

    /// The vector of a text, of its rows of `width` numbers.
    pub(crate) fn embedding(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut embedding = self.pooling.pool(rows, width);
        if self.normalize {
            normalize(&mut embedding);
        }
        embedding
    }
}

impl Pooling {
    fn parse(fields: &Fields) -> Result<Self, Error> {
        let mut wanted = Vec::new();
        for (field, pooling) in MODES {
            if fields.flag(field)? {
                wanted.push((field, pooling));
            }
        }
        match wanted[..] {
            [(_, Some(pooling))] => Ok(pooling),
            [(field, None)] => Err(fields.wrong(field, "`false`: this pooling is not supported")),
            [] => Err(Error::NoPooling),
            [_, (field, _), ..] => Err(fields.wrong(field, "`false`: one pooling, not several")),
        }
    }

    fn pool(self, rows: &[f32], width: usize) -> Vec<f32> {
        let (first, others) = rows.split_at(width);
        let mut pooled = first.to_vec();
        let others = others.chunks_exact(width);
        match self {
            Self::Cls => {}
            Self::Mean => {
                let count = (others.len() + 1) as f32;
                for row in others {
                    pooled.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                for sum in &mut pooled {
                    *sum /= count;
                }
            }
            Self::Max => {
                for row in others {
                    pooled.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(*x));
                }
            }
        }
        pooled
    }
}

/// What `modules.json` lists.
#[derive(Default)]
struct Modules {
    is_listed: bool,
    pools: bool,
    normalizes: bool,
}

impl Modules {
    /// Without the file, a pooling that is described is what is meant.
    fn parse(file: Option<&[u8]>) -> Result<Self, Error> {
        let Some(file) = file else {
            return Ok(Self { pools: true, ..Self::default() });
        };
        let wrong = || Error::Modules { found: "no list of modules".to_owned() };
        let Value::Array(list) = fields::parse("modules.json", file)? else { return Err(wrong()) };
        let mut modules = Self { is_listed: true, ..Self::default() };
        for module in &list {
            let text = |field| module.get(field).and_then(Value::as_str);
            let (kind, path) = text("type").zip(text("path")).ok_or_else(wrong)?;
            modules.add(kind.rsplit('.').next().unwrap_or(kind), path)?;
        }
        Ok(modules)
    }

    /// In the order in which they are computed.
    fn add(&mut self, kind: &str, path: &str) -> Result<(), Error> {
        match (kind, path) {
            ("Transformer", _) if !self.pools && !self.normalizes => {}
            ("Pooling", "1_Pooling") if !self.pools && !self.normalizes => self.pools = true,
            ("Normalize", _) if self.pools => self.normalizes = true,
            _ => {
                return Err(Error::Modules {
                    found: format!("`{}` in `{}`", shorten(kind), shorten(path)),
                });
            }
        }
        Ok(())
    }
}

/// A vector of zeros stays one.
fn normalize(x: &mut [f32]) {
    let length = x.iter().map(|x| x * x).sum::<f32>().sqrt().max(SHORTEST);
    for x in x {
        *x /= length;
    }
}

/// Every field that says how to pool, and what it means.
const MODES: [(&str, Option<Pooling>); 6] = [
    ("pooling_mode_cls_token", Some(Pooling::Cls)),
    ("pooling_mode_mean_tokens", Some(Pooling::Mean)),
    ("pooling_mode_max_tokens", Some(Pooling::Max)),
    ("pooling_mode_mean_sqrt_len_tokens", None),
    ("pooling_mode_weightedmean_tokens", None),
    ("pooling_mode_lasttoken", None),
];

/// The length that torch divides by at least.
const SHORTEST: f32 = 1e-12;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn modules(list: &[(&str, &str)]) -> Value {
        let module = |(index, (kind, path)): (usize, &(&str, &str))| {
            json!({"idx": index, "name": index.to_string(), "path": path,
                   "type": format!("sentence_transformers.models.{kind}")})
        };
        list.iter().enumerate().map(module).collect()
    }

    fn pooling(field: &str) -> Value {
        let mut config = json!({"word_embedding_dimension": 384, "pooling_mode_cls_token": false,
            "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false,
            "pooling_mode_mean_sqrt_len_tokens": false});
        config[field] = json!(true);
        config
    }

    fn parse(modules: &Value, pooling: &Value, transformer: &Value) -> Result<Sentence, Error> {
        let [modules, pooling, transformer] =
            [modules, pooling, transformer].map(|file| (!file.is_null()).then(|| file.to_string()));
        Sentence::parse(SentenceFiles {
            modules: modules.as_deref().map(str::as_bytes),
            pooling: pooling.as_deref().map(str::as_bytes),
            transformer: transformer.as_deref().map(str::as_bytes),
        })
    }

    const POOLED: [(&str, &str); 2] = [("Transformer", ""), ("Pooling", "1_Pooling")];
    const NORMALIZED: [(&str, &str); 3] = [POOLED[0], POOLED[1], ("Normalize", "2_Normalize")];

    #[test]
    fn the_files_of_published_models_are_read() {
        let transformer = json!({"max_seq_length": 256, "do_lower_case": false});
        let mini_lm =
            parse(&modules(&NORMALIZED), &pooling("pooling_mode_mean_tokens"), &transformer);
        let expected = Sentence {
            pooling: Pooling::Mean,
            normalize: true,
            max_tokens: Some(256),
            lower_case: false,
        };
        assert_eq!(mini_lm.unwrap(), expected);
        let cls = parse(&modules(&POOLED), &pooling("pooling_mode_cls_token"), &Value::Null);
        let expected = Sentence {
            pooling: Pooling::Cls,
            normalize: false,
            max_tokens: None,
            lower_case: false,
        };
        assert_eq!(cls.unwrap(), expected);
    }

    #[test]
    fn an_encoder_alone_gives_the_mean_and_a_pooling_alone_is_what_is_meant() {
        let nothing = parse(&Value::Null, &Value::Null, &Value::Null).unwrap();
        assert_eq!((nothing.pooling, nothing.normalize), (Pooling::Mean, false));
        let max = parse(&Value::Null, &pooling("pooling_mode_max_tokens"), &Value::Null).unwrap();
        assert_eq!((max.pooling, max.normalize), (Pooling::Max, false));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let refusal = |modules: &Value, pooling: &Value, transformer: &Value| {
            parse(modules, pooling, transformer).unwrap_err().to_string()
        };
        let (mean, null) = (pooling("pooling_mode_mean_tokens"), Value::Null);
        for (list, named) in [
            (modules(&[POOLED[0], POOLED[1], ("Dense", "2_Dense")]), "`Dense` in `2_Dense`"),
            (modules(&[POOLED[0], ("Pooling", "elsewhere")]), "`Pooling` in `elsewhere`"),
            (modules(&[POOLED[0], ("Normalize", "")]), "`Normalize` in ``"),
            (modules(&[POOLED[1], POOLED[0]]), "`Transformer` in ``"),
            (json!([{"idx": 0}]), "no list of modules"),
            (json!({}), "no list of modules"),
        ] {
            let error = refusal(&list, &mean, &null);
            assert!(error.starts_with("modules.json has ") && error.contains(named), "{error}");
        }
        for field in MODES.iter().filter(|mode| mode.1.is_none()).map(|mode| mode.0) {
            let error = refusal(&modules(&POOLED), &pooling(field), &null);
            assert!(error.starts_with(&format!("`{field}` of 1_Pooling/config.json is `true`")));
        }
        let mut both = mean.clone();
        both["pooling_mode_cls_token"] = json!(true);
        assert!(refusal(&modules(&POOLED), &both, &null).contains("not several"));
        assert!(refusal(&modules(&POOLED), &null, &null).starts_with("modules.json is there"));
        assert!(refusal(&modules(&POOLED[..1]), &mean, &null).starts_with("modules.json is there"));
        let error = refusal(&null, &null, &json!({"max_seq_length": 0}));
        assert!(
            error.starts_with("`max_seq_length` of sentence_bert_config.json is `0`"),
            "{error}"
        );
        let error = Sentence::parse(SentenceFiles { modules: Some(b"["), ..Default::default() });
        assert_eq!(error.unwrap_err().to_string(), "modules.json is not valid JSON");
    }

    #[test]
    fn a_vector_of_zeros_has_no_direction() {
        let mut zeros = [0.0; 3];
        normalize(&mut zeros);
        assert!(zeros.iter().all(|x| x.to_bits() == 0));
    }
}
