//! BERT (Devlin et al., 2018, <https://arxiv.org/abs/1810.04805>), and what is built like it:
//! `MiniLM`, BGE, E5; `RoBERTa` and `XLM-R`, which count positions in their own way.
//!
//! ```text
//! x = norm(word + position + type)
//! x = norm(x + output(attention(query(x), key(x), value(x))))      in each layer
//! x = norm(x + output(gelu(intermediate(x))))
//! ```
//!
//! Every row sees all rows of its text. The norms stand behind the sums, as in the first
//! Transformer.

use firstlight_device::{self as device, Device, Error, Mask};

use crate::{EncoderSpec, Names};

/// The weights of what stands before the layers; the fields are named as in the checkpoint.
#[expect(clippy::struct_field_names, reason = "the names of the checkpoint")]
pub(crate) struct Embeddings<T> {
    word_embeddings: T,       // (vocab_size, hidden_size)
    position_embeddings: T,   // (max_position_embeddings, hidden_size)
    token_type_embeddings: T, // (type_vocab_size, hidden_size)
    layer_norm: Norm<T>,
}

/// The weights of one layer; the fields are named as in the checkpoint, those of the attention with
/// `attention` before them.
#[expect(clippy::struct_field_names, reason = "the names of the checkpoint")]
pub(crate) struct Layer<T> {
    query: Linear<T>,
    key: Linear<T>,
    value: Linear<T>,
    attention_output: Linear<T>,
    attention_layer_norm: Norm<T>,
    intermediate: Linear<T>,
    output: Linear<T>,
    layer_norm: Norm<T>,
}

/// `x weight^T + bias`.
struct Linear<T> {
    weight: T, // (outputs, inputs)
    bias: T,   // (outputs)
}

/// Of a layer norm.
struct Norm<T> {
    weight: T, // (hidden_size)
    bias: T,   // (hidden_size)
}

/// What the rows of a pass take through the layers, besides themselves.
pub(crate) struct Pass<'a, D: Device> {
    pub(crate) device: &'a D,
    pub(crate) spec: &'a EncoderSpec,
    /// Which texts the rows belong to.
    pub(crate) positions: &'a D::Positions,
}

/// The intermediate results of one layer: allocated once, used by all layers.
pub(crate) struct Scratch<D: Device> {
    queries: D::Activations,  // (rows, hidden_size)
    keys: D::Activations,     // (rows, hidden_size)
    values: D::Activations,   // (rows, hidden_size)
    attended: D::Activations, // (rows, hidden_size)
    inner: D::Activations,    // (rows, intermediate_size)
    /// The keys and values of the texts of a pass, which no later layer or pass looks at.
    cache: D::KvCache,
}

impl<D: Device> Scratch<D> {
    pub(crate) fn new(
        device: &D,
        spec: &EncoderSpec,
        rows: usize,
        blocks: usize,
    ) -> Result<Self, Error> {
        let wide = || device.activations(rows, spec.hidden_size);
        Ok(Self {
            queries: wide()?,
            keys: wide()?,
            values: wide()?,
            attended: wide()?,
            inner: device.activations(rows, spec.intermediate_size)?,
            cache: device.kv_cache(blocks, spec.heads, spec.head_dim())?,
        })
    }

    pub(crate) fn set_rows(&mut self, device: &D, rows: usize) {
        let Self { queries, keys, values, attended, inner, .. } = self;
        for activations in [queries, keys, values, attended, inner] {
            device.set_rows(activations, rows);
        }
    }
}

impl<T> Embeddings<T> {
    /// Asks for each tensor by name and shape.
    pub(crate) fn build<E>(
        spec: &EncoderSpec,
        names: Names,
        tensor: &mut (impl FnMut(String, Vec<usize>) -> Result<T, E> + ?Sized),
    ) -> Result<Self, E> {
        let d = spec.hidden_size;
        let mut tensor = |name: &str, shape: &[usize]| {
            tensor(format!("{}embeddings.{name}", names.prefix), shape.to_vec())
        };
        Ok(Self {
            word_embeddings: tensor("word_embeddings.weight", &[spec.vocab_size, d])?,
            position_embeddings: tensor(
                "position_embeddings.weight",
                &[spec.max_position_embeddings, d],
            )?,
            token_type_embeddings: tensor(
                "token_type_embeddings.weight",
                &[spec.type_vocab_size, d],
            )?,
            layer_norm: Norm::build("LayerNorm", d, names, &mut tensor)?,
        })
    }

    /// Makes `x` `(ids.len(), hidden_size)` of the ids, each at its position in its text.
    pub(crate) fn forward<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        ids: &[u32],
        places: &[u32],
        x: &mut D::Activations,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        let (device, more) = (pass.device, &mut scratch.attended);
        device.embed(&self.word_embeddings, ids, x)?;
        device.embed(&self.position_embeddings, places, more)?;
        device.add(x, more)?;
        // Of a pair of texts, all rows are of the first.
        device.embed(&self.token_type_embeddings, &vec![0; ids.len()], more)?;
        device.add(x, more)?;
        device.layer_norm(x, self.layer_norm.weights(), pass.spec.layer_norm_eps)
    }
}

impl<T> Layer<T> {
    /// Asks for each tensor by name and shape, in the order of use. This is the one place that
    /// names the tensors of a layer: to list them, and to take them.
    pub(crate) fn build<E>(
        spec: &EncoderSpec,
        names: Names,
        layer: usize,
        tensor: &mut (impl FnMut(String, Vec<usize>) -> Result<T, E> + ?Sized),
    ) -> Result<Self, E> {
        let (d, ff) = (spec.hidden_size, spec.intermediate_size);
        let mut tensor = |name: &str, shape: &[usize]| {
            tensor(format!("{}encoder.layer.{layer}.{name}", names.prefix), shape.to_vec())
        };
        let t = &mut tensor;
        Ok(Self {
            query: Linear::build("attention.self.query", [d, d], t)?,
            key: Linear::build("attention.self.key", [d, d], t)?,
            value: Linear::build("attention.self.value", [d, d], t)?,
            attention_output: Linear::build("attention.output.dense", [d, d], t)?,
            attention_layer_norm: Norm::build("attention.output.LayerNorm", d, names, t)?,
            intermediate: Linear::build("intermediate.dense", [ff, d], t)?,
            output: Linear::build("output.dense", [d, ff], t)?,
            layer_norm: Norm::build("output.LayerNorm", d, names, t)?,
        })
    }

    /// Makes of `x` `(rows, hidden_size)` what the next layer reads.
    pub(crate) fn forward<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        x: &mut D::Activations,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        self.attention(pass, x, scratch)?;
        self.feed_forward(pass, x, scratch)
    }

    fn attention<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        x: &mut D::Activations,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        let Pass { device, spec, positions } = pass;
        let Scratch { queries, keys, values, attended, cache, .. } = scratch;
        device.linear_all(
            x,
            &mut [
                (self.query.weights(), &mut *queries), // (rows, heads * head_dim)
                (self.key.weights(), &mut *keys),      // (rows, heads * head_dim)
                (self.value.weights(), &mut *values),  // (rows, heads * head_dim)
            ],
        )?;
        device.append(keys, values, positions, cache)?;
        let scale = 1.0 / (spec.head_dim() as f32).sqrt();
        device.attention(queries, cache, positions, scale, Mask::Full, attended)?; // (rows, heads * head_dim)
        device.linear_add(attended, self.attention_output.weights(), x)?; // (rows, hidden_size)
        device.layer_norm(x, self.attention_layer_norm.weights(), spec.layer_norm_eps)
    }

    fn feed_forward<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        x: &mut D::Activations,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        let (device, spec, inner) = (pass.device, pass.spec, &mut scratch.inner);
        device.linear_gelu(x, self.intermediate.weights(), spec.gelu, inner)?; // (rows, intermediate_size)
        device.linear_add(inner, self.output.weights(), x)?; // (rows, hidden_size)
        device.layer_norm(x, self.layer_norm.weights(), spec.layer_norm_eps)
    }
}

impl<T> Linear<T> {
    fn build<E>(
        name: &str,
        shape: [usize; 2],
        tensor: &mut impl FnMut(&str, &[usize]) -> Result<T, E>,
    ) -> Result<Self, E> {
        let weight = tensor(&format!("{name}.weight"), &shape)?;
        let bias = tensor(&format!("{name}.bias"), &shape[..1])?;
        Ok(Self { weight, bias })
    }

    fn weights(&self) -> device::Linear<'_, T> {
        device::Linear { weight: &self.weight, bias: Some(&self.bias) }
    }
}

impl<T> Norm<T> {
    fn build<E>(
        name: &str,
        columns: usize,
        names: Names,
        tensor: &mut impl FnMut(&str, &[usize]) -> Result<T, E>,
    ) -> Result<Self, E> {
        let [weight, bias] = names.norm.map(|part| format!("{name}.{part}"));
        Ok(Self { weight: tensor(&weight, &[columns])?, bias: tensor(&bias, &[columns])? })
    }

    fn weights(&self) -> device::Norm<'_, T> {
        device::Norm { weight: &self.weight, bias: &self.bias }
    }
}
