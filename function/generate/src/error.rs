//! What can be wrong with a model's text files, a user's options, a prompt or a row of logits.

/// Why a prompt could not become tokens, or tokens text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes of a JSON file do not parse, or a field has the wrong type.
    #[error("`{file}` does not parse: {source}")]
    Json {
        /// The name of the file in the model's folder.
        file: &'static str,
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },

    /// The tokenizer's algorithm is none of those that are known.
    #[error("`tokenizer.json` asks for a model of type `{found}`, known are {}", known.join(", "))]
    TokenizerModel {
        /// The type in the file.
        found: String,
        /// The types that can be read.
        known: &'static [&'static str],
    },

    /// The file is JSON, yet no tokenizer.
    #[error("`tokenizer.json` does not describe a tokenizer: {source}")]
    Tokenizer {
        /// What the tokenizer library said.
        source: tokenizers::Error,
    },

    /// A text is too long to be encoded.
    #[error("the text is {bytes} bytes long, the limit is {limit_bytes}")]
    TextTooLong {
        /// The length of the text.
        bytes: usize,
        /// The longest that is encoded.
        limit_bytes: usize,
    },

    /// The tokenizer refused a text.
    #[error("the text could not be encoded: {source}")]
    Encode {
        /// What the tokenizer library said.
        source: tokenizers::Error,
    },

    /// The tokenizer could not make text of token ids.
    #[error("the tokens could not be decoded: {source}")]
    Decode {
        /// What the tokenizer library said.
        source: tokenizers::Error,
    },

    /// The model brings no chat template.
    #[error(
        "the model has no chat template: neither a `chat_template.jinja` nor a `chat_template` in \
         `tokenizer_config.json`\nhint: it may be a base model; prompt it without chat"
    )]
    NoChatTemplate,

    /// The model brings several templates and none is the default.
    #[error(
        "`tokenizer_config.json` has no chat template called `default`, only {}",
        names.join(", ")
    )]
    NoDefaultTemplate {
        /// The names it has.
        names: Vec<String>,
    },

    /// The template's bytes are not text.
    #[error("the chat template is not UTF-8: {source}")]
    TemplateNotUtf8 {
        /// Where the text breaks.
        source: std::str::Utf8Error,
    },

    /// The template is larger than any honest one.
    #[error("the chat template is {bytes} bytes long, the limit is {limit_bytes}")]
    TemplateTooLong {
        /// The length of the template.
        bytes: usize,
        /// The longest that is read.
        limit_bytes: usize,
    },

    /// The template does not parse.
    #[error("the chat template does not parse: {source}")]
    TemplateSyntax {
        /// What the template engine said, with the line.
        source: minijinja::Error,
    },

    /// The template called `raise_exception`: it does not accept these messages.
    #[error("the model's chat template refuses these messages: {reason}")]
    TemplateRefuses {
        /// The words of the template.
        reason: String,
    },

    /// The template failed while it ran.
    #[error("the chat template failed: {source}")]
    TemplateFails {
        /// What the template engine said, with the line.
        source: minijinja::Error,
    },

    /// The template did more work than any honest one.
    #[error("the chat template did not end within {steps} steps")]
    TemplateEndless {
        /// The steps it was given.
        steps: u64,
    },

    /// The template wrote more than fits into any context.
    #[error("the chat template wrote more than {limit_bytes} bytes")]
    TemplateOutput {
        /// The most that it may write.
        limit_bytes: usize,
    },

    /// An option's value lies outside of its range.
    #[error("`{option}` is `{value}`, allowed is {allowed}")]
    OptionRange {
        /// The option, as the flags and `generation_config.json` call it.
        option: &'static str,
        /// The value that was given.
        value: f64,
        /// The values that are allowed.
        allowed: &'static str,
    },

    /// A number that the model's authors recommend lies outside of its range.
    #[error("`{file}`: {source}")]
    Recommendation {
        /// The name of the file in the model's folder.
        file: &'static str,
        /// Which number.
        source: Box<Self>,
    },

    /// An empty stop string would stop before the first token.
    #[error("stop string {position} is empty")]
    EmptyStopString {
        /// Its place in the list, from 1.
        position: usize,
    },

    /// A stop string that is longer than the text that is worth holding back for it.
    #[error("stop string {position} is {bytes} bytes long, the limit is {limit_bytes}")]
    StopStringTooLong {
        /// Its place in the list, from 1.
        position: usize,
        /// Its length.
        bytes: usize,
        /// The longest that is allowed.
        limit_bytes: usize,
    },

    /// More stop strings than are worth searching for after every token.
    #[error("{count} stop strings were given, the limit is {limit}")]
    TooManyStopStrings {
        /// How many there are.
        count: usize,
        /// The most that are allowed.
        limit: usize,
    },

    /// There is nothing to go on from.
    #[error("the prompt has no tokens\nhint: give at least one character of text")]
    EmptyPrompt,

    /// The prompt leaves no place for even one token.
    #[error(
        "the prompt has {prompt_tokens} tokens, the model's context holds {context_length} and one \
         is needed for the answer\nhint: shorten the prompt by {} tokens or more, or choose a \
         model with a longer context",
        prompt_tokens - context_length + 1
    )]
    PromptTooLong {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens that the model can attend to.
        context_length: usize,
    },

    /// The tokenizer made an id that the model has no row for.
    #[error(
        "token {position} of the prompt has the id {id}, the model's vocabulary ends before \
         {vocabulary_size}\nhint: the tokenizer and the weights may belong to different models"
    )]
    IdOutOfRange {
        /// Its place in the prompt, from 0.
        position: usize,
        /// The id.
        id: u32,
        /// The first id that the model does not have.
        vocabulary_size: usize,
    },

    /// The prompt fits into the model's context, but not into the memory that its keys and values
    /// have.
    #[error(
        "the prompt has {prompt_tokens} tokens, the cache of keys and values holds \
         {cache_positions} and one is needed for the answer\nhint: give the cache more memory, or \
         shorten the prompt"
    )]
    PromptBeyondCache {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens that the whole cache holds.
        cache_positions: usize,
    },

    /// A bias for a token that the model does not have.
    #[error("`logit_bias` names token {id}, the vocabulary ends before {vocabulary_size}")]
    BiasId {
        /// The id.
        id: u32,
        /// The first id that the model does not have.
        vocabulary_size: usize,
    },

    /// A row of logits that is not as long as the vocabulary.
    #[error("the model gave {found} logits for a vocabulary of {expected}")]
    LogitsLength {
        /// Logits in the row.
        found: usize,
        /// Tokens in the vocabulary.
        expected: usize,
    },

    /// Logits that no arithmetic on good weights gives.
    #[error(
        "{count} of {total} logits are not a number or infinite, the first is that of token \
         {first_id}\nhint: the weights may be damaged, or overflow in this precision"
    )]
    BadLogits {
        /// How many are bad.
        count: usize,
        /// How many there are.
        total: usize,
        /// The id of the first.
        first_id: u32,
    },

    /// An embedding that no arithmetic on good weights gives.
    #[error(
        "the embedding of text {text} has values that are not a number or infinite\nhint: the weights \
         may be damaged, or overflow in this precision"
    )]
    BadEmbedding {
        /// Which of the job's, from 0 on.
        text: usize,
    },

    /// A text that says nothing.
    #[error("the text is empty\nhint: give at least one character")]
    EmptyText,

    /// A text is longer than an encoder takes.
    #[error(
        "the text has {tokens} tokens, and the model takes {limit}\nhint: shorten the text, or have \
         it cut: `truncate_prompt_tokens: -1`, or on the command line `--truncate`"
    )]
    TextBeyondModel {
        /// Of the text, with those that the model expects around it.
        tokens: usize,
        /// The most that the model takes.
        limit: usize,
    },

    /// The model could not be loaded, or failed while it computed.
    #[error(transparent)]
    Model(Box<dyn std::error::Error + Send + Sync>),

    /// The thread that computes has a bug.
    #[error("the engine panicked: {message}")]
    EnginePanicked {
        /// What the panic said.
        message: String,
    },

    /// The thread that computes ended before it ran.
    #[error("the engine ended before it served")]
    EngineGone,

    /// The time to finish what was running is over.
    #[error("the engine stopped before the answer was complete")]
    EngineStopped,

    /// A row in which every token is ruled out.
    #[error(
        "none of {total} logits is above minus infinity: there is no token to choose\nhint: the \
         weights may be damaged, or overflow in this precision"
    )]
    NoFiniteLogit {
        /// How many there are.
        total: usize,
    },
}
