//! What the forward pass needs, in order, by the names of the checkpoint.
//!
//! ```text
//! LayersFirst     layer 0  layer 1 ..  head              embeddings (if untied)
//! EmbeddingFirst  embeddings  layer 0  layer 1 ..  head
//! ```
//!
//! The embedding table is the largest tensor of many models, and a prompt needs a few of its rows.
//! Where those can be fetched singly, the table waits: a tied one until it is the output matrix,
//! an untied one until the first token is out.

use std::convert::Infallible;

use crate::{Spec, layer::Layer};

/// Tensors that are needed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `layer 0`, `layer 1`, …, `head` or `embeddings`.
    pub name: String,
    /// In the order of their use.
    pub tensors: Vec<TensorSpec>,
}

/// A tensor that the checkpoint must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the checkpoint.
    pub name: String,
    /// Row-major; a matrix is `(outputs, inputs)`.
    pub shape: Vec<usize>,
}

/// Where the first layer's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageOrder {
    /// From the prompt's rows of the embedding, which are given apart from the stages.
    LayersFirst,
    /// From the whole table, which is the first stage: where the prompt has too many different
    /// tokens to fetch their rows singly, or where the weights are near.
    EmbeddingFirst,
}

impl Spec {
    /// What the forward pass needs, in the order in which it needs it. Each tensor is in one stage.
    #[must_use]
    pub fn stages(&self, order: StageOrder) -> Vec<Stage> {
        let stage = |part: Part| Stage { name: part.name(), tensors: part.tensors(self, order) };
        parts(self, order).into_iter().map(stage).collect()
    }
}

/// A stage, before it is a list of names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Layer(usize),
    /// The last norm and the output matrix, which of a tied model is the embedding.
    Head,
    Embeddings,
}

pub(crate) fn parts(spec: &Spec, order: StageOrder) -> Vec<Part> {
    let layers = (0..spec.layers).map(Part::Layer);
    match order {
        StageOrder::EmbeddingFirst => {
            [Part::Embeddings].into_iter().chain(layers).chain([Part::Head]).collect()
        }
        StageOrder::LayersFirst => {
            let embeddings = (!spec.tie_word_embeddings).then_some(Part::Embeddings);
            layers.chain([Part::Head]).chain(embeddings).collect()
        }
    }
}

impl Part {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Layer(layer) => format!("layer {layer}"),
            Self::Head => "head".to_owned(),
            Self::Embeddings => "embeddings".to_owned(),
        }
    }

    fn tensors(self, spec: &Spec, order: StageOrder) -> Vec<TensorSpec> {
        let norm = || TensorSpec::new(FINAL_NORM, &[spec.hidden_size]);
        let output = || TensorSpec::new(OUTPUT, &spec.embedding_shape());
        let embedding = || TensorSpec::new(spec.embedding_name(), &spec.embedding_shape());
        match (self, spec.tie_word_embeddings, order) {
            (Self::Layer(layer), ..) => layer_tensors(spec, layer),
            (Self::Embeddings, ..) => vec![embedding()],
            (Self::Head, false, _) => vec![norm(), output()],
            (Self::Head, true, StageOrder::LayersFirst) => vec![norm(), embedding()],
            (Self::Head, true, StageOrder::EmbeddingFirst) => vec![norm()],
        }
    }
}

impl TensorSpec {
    fn new(name: &str, shape: &[usize]) -> Self {
        Self { name: name.to_owned(), shape: shape.to_vec() }
    }
}

fn layer_tensors(spec: &Spec, layer: usize) -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    let listed = Layer::build(spec, layer, &mut |name, shape| {
        tensors.push(TensorSpec { name, shape });
        Ok::<(), Infallible>(())
    });
    match listed {
        Ok(_) => tensors,
    }
}

/// The norm after the last layer.
pub(crate) const FINAL_NORM: &str = "model.norm.weight";

/// The output matrix of an untied model.
pub(crate) const OUTPUT: &str = "lm_head.weight";
