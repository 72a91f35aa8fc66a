//! What is told of a model by its kind: a decoder, or an encoder.

use firstlight_device::DType;
use firstlight_generate::{ChatTemplate, Error as TextError};
use firstlight_load::Checkpoint;
use firstlight_model::{EncoderSpec, Kind, Names, Pooling, Scaling, Sentence, Spec, StageOrder};
use firstlight_plan::Plan;
use firstlight_store::{Error as StoreError, Reader};
use firstlight_timeline::Timeline;
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::embed;
use crate::failure::Failure;
use crate::processor;
use crate::start::{self, Foreseen, Known};

/// What was read of a model.
pub(crate) struct Found {
    pub(crate) known: Known<Kind>,
    /// The size of tokenizer.json, where it is there.
    pub(crate) tokenizer_bytes: Option<u64>,
    texts: Texts,
}

/// What the small files say.
enum Texts {
    Answers(Box<Result<ChatTemplate, TextError>>),
    Embeddings(Sentence),
}

/// What depends on the kind.
pub(crate) struct Subject {
    /// For a reader, row by row.
    pub(crate) rows: Vec<(&'static str, String)>,
    /// The same as numbers.
    pub(crate) facts: Value,
    pub(crate) device: String,
    pub(crate) cache: Option<Cache>,
    pub(crate) plan: Plan,
    pub(crate) order: &'static str,
    /// What the first token, or the first embedding, needs.
    pub(crate) needed_bytes: u64,
}

/// Where a decoder keeps keys and values.
pub(crate) struct Cache {
    pub(crate) dtype: DType,
    pub(crate) bytes_per_position: u64,
}

/// Reads what a start reads before the weights, but of tokenizer.json only whether it is there.
pub(crate) async fn find(args: &InspectArgs, timeline: &Timeline) -> Result<Found, Failure> {
    let (location, reader) = start::open_store(&args.model, &args.store, timeline).await?;
    let extras = tokio::spawn(start::read_extras(reader.clone()));
    let known = start::read_model(location, reader.clone(), Kind::parse, timeline).await?;
    let texts = match known.spec {
        Kind::Decoder(_) => {
            Texts::Answers(Box::new(start::texts(extras, None, &known.config).await?.template))
        }
        Kind::Encoder(_) => Texts::Embeddings(embed::read_sentence(reader.clone()).await?),
    };
    Ok(Found { known, tokenizer_bytes: tokenizer_bytes(&reader).await?, texts })
}

async fn tokenizer_bytes(reader: &Reader) -> Result<Option<u64>, Failure> {
    match reader.open("tokenizer.json", 1).await {
        Ok((object, _)) => Ok(Some(object.size)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Found {
    pub(crate) fn subject(&self, args: &InspectArgs) -> Result<Subject, Failure> {
        match (&self.known.spec, &self.texts) {
            (Kind::Decoder(spec), Texts::Answers(template)) => {
                decoder(args, &self.known, spec, template)
            }
            (Kind::Encoder(spec), Texts::Embeddings(sentence)) => {
                encoder(args, &self.known.checkpoint, spec, *sentence)
            }
            _ => unreachable!("`find` reads the texts of the kind"),
        }
    }
}

fn decoder(
    args: &InspectArgs,
    known: &Known<Kind>,
    spec: &Spec,
    template: &Result<ChatTemplate, TextError>,
) -> Result<Subject, Failure> {
    let checkpoint = &known.checkpoint;
    // That of a short prompt, which most starts use.
    let foreseen = Foreseen::Answer { prompt_bytes: 0, tokens: 0 };
    let order = start::order(&known.location, spec, checkpoint, foreseen);
    let limits = start::plan_limits(&args.store);
    let plan = Plan::new(&checkpoint.manifest, &start::stages(spec, order), &limits)?;
    spec.leftover(start::unused(&plan, checkpoint))?;
    let dtype = start::dtype(spec, checkpoint);
    let outlook = processor::foreseen(&args.processor, dtype)?;
    let mut rows = spec.summary();
    rows.push(("chat template", shown(template)));
    let bytes_per_position = spec.kv_bytes_per_position(outlook.cache);
    Ok(Subject {
        rows,
        facts: decoder_facts(spec, template.is_ok()),
        device: outlook.device,
        cache: Some(Cache { dtype: outlook.cache, bytes_per_position }),
        needed_bytes: start::needed_bytes(&plan, order),
        plan,
        order: match order {
            StageOrder::LayersFirst => "the prompt's embedding rows, layers, head",
            StageOrder::EmbeddingFirst => "embeddings, layers, head",
        },
    })
}

fn shown(template: &Result<ChatTemplate, TextError>) -> String {
    match template {
        Ok(_) => "there".to_owned(),
        Err(TextError::NoChatTemplate) => "none: texts are gone on with".to_owned(),
        Err(error) => error.to_string().lines().collect::<Vec<_>>().join(" "),
    }
}

fn decoder_facts(spec: &Spec, has_template: bool) -> Value {
    let scaling = Some(&spec.rope.scaling).filter(|scaling| **scaling != Scaling::Default);
    json!({
        "architecture": spec.architecture,
        "parameters": spec.parameters(),
        "layers": spec.layers,
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "heads": spec.heads,
        "head_dim": spec.head_dim,
        "kv_heads": spec.kv_heads,
        "vocabulary": spec.vocab_size,
        "tied": spec.tie_word_embeddings,
        "context": spec.max_position_embeddings,
        "rope_theta": spec.rope.theta,
        "rope_scaling": scaling.map(ToString::to_string),
        "sliding_window": spec.windows.iter().flatten().next(),
        "windowed_layers": spec.windows.iter().flatten().count(),
        "chat_template": has_template,
    })
}

fn encoder(
    args: &InspectArgs,
    checkpoint: &Checkpoint,
    spec: &EncoderSpec,
    sentence: Sentence,
) -> Result<Subject, Failure> {
    let names = Names::find(|name| checkpoint.manifest.get(name).is_some());
    let limits = start::plan_limits(&args.store);
    let plan = Plan::new(&checkpoint.manifest, &start::wanted(spec.stages(names)), &limits)?;
    spec.leftover(names, start::unused(&plan, checkpoint))?;
    Ok(Subject {
        rows: encoder_rows(spec, sentence),
        facts: encoder_facts(spec, sentence),
        device: processor::foreseen(&args.processor, DType::F32)?.device,
        cache: None,
        needed_bytes: plan.weight_bytes(),
        plan,
        order: "embeddings, layers",
    })
}

fn encoder_rows(spec: &EncoderSpec, sentence: Sentence) -> Vec<(&'static str, String)> {
    let normalized = if sentence.normalize { ", normalised" } else { "" };
    vec![
        ("architecture", spec.architecture.to_owned()),
        ("parameters", format!("{:.1} M", spec.parameters() as f64 / 1e6)),
        ("layers", spec.layers.to_string()),
        ("hidden size", spec.hidden_size.to_string()),
        ("feed-forward size", spec.intermediate_size.to_string()),
        ("heads", format!("{} of {}", spec.heads, spec.head_dim())),
        ("vocabulary", spec.vocab_size.to_string()),
        ("longest text", format!("{} tokens", sentence.max_tokens(spec))),
        ("pooling", format!("{}{normalized}", pooling(sentence))),
    ]
}

fn encoder_facts(spec: &EncoderSpec, sentence: Sentence) -> Value {
    json!({
        "architecture": spec.architecture,
        "parameters": spec.parameters(),
        "layers": spec.layers,
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "heads": spec.heads,
        "head_dim": spec.head_dim(),
        "vocabulary": spec.vocab_size,
        "context": sentence.max_tokens(spec),
        "pooling": pooling(sentence),
        "normalize": sentence.normalize,
    })
}

fn pooling(sentence: Sentence) -> &'static str {
    match sentence.pooling {
        Pooling::Cls => "cls",
        Pooling::Mean => "mean",
        Pooling::Max => "max",
    }
}
