//! One layer: its tensors by the names of the checkpoint, and its arithmetic.
//!
//! ```text
//! x += o_proj(attention(rope(q_proj(norm(x))), rope(k_proj(norm(x))), v_proj(norm(x))))
//! x += down_proj(silu(gate_proj(norm(x))) * up_proj(norm(x)))
//! ```
//!
//! The keys and values of earlier positions come from the cache of the layer.

use firstlight_device::{self as device, Device, Error};

use crate::Spec;

/// The weights of one layer; the fields are named as in the checkpoint.
pub(crate) struct Layer<T> {
    input_layernorm: T,
    q_proj: Linear<T>,
    k_proj: Linear<T>,
    v_proj: Linear<T>,
    q_norm: Option<T>,
    k_norm: Option<T>,
    o_proj: Linear<T>,
    post_attention_layernorm: T,
    gate_proj: Linear<T>,
    up_proj: Linear<T>,
    down_proj: Linear<T>,
}

/// `x weight^T + bias`.
struct Linear<T> {
    weight: T,       // (outputs, inputs)
    bias: Option<T>, // (outputs)
}

/// What a chunk of rows takes through the layers, besides itself.
pub(crate) struct Pass<'a, D: Device> {
    pub(crate) device: &'a D,
    pub(crate) spec: &'a Spec,
    /// Of the rows of the chunk.
    pub(crate) positions: &'a D::Positions,
    /// Of the layer that the chunk is in.
    pub(crate) window: Option<usize>,
}

/// The intermediate results of one layer on one chunk: allocated once, used by all layers.
///
/// They take `4 * chunk_rows * (hidden_size + 2 * (query_size + kv_size) + intermediate_size)`
/// bytes: 31 MB for 512 rows of Llama 3.2 1B.
pub(crate) struct Scratch<D: Device> {
    /// What a branch reads of the residual stream.
    normed: D::Activations, // (rows, hidden_size)
    queries: D::Activations,  // (rows, heads * head_dim)
    keys: D::Activations,     // (rows, kv_heads * head_dim)
    values: D::Activations,   // (rows, kv_heads * head_dim)
    attended: D::Activations, // (rows, heads * head_dim)
    gated: D::Activations,    // (rows, intermediate_size)
}

impl<D: Device> Scratch<D> {
    pub(crate) fn new(device: &D, spec: &Spec, rows: usize) -> Result<Self, Error> {
        Ok(Self {
            normed: device.activations(rows, spec.hidden_size)?,
            queries: device.activations(rows, spec.query_size())?,
            keys: device.activations(rows, spec.kv_size())?,
            values: device.activations(rows, spec.kv_size())?,
            attended: device.activations(rows, spec.query_size())?,
            gated: device.activations(rows, spec.intermediate_size)?,
        })
    }

    pub(crate) fn set_rows(&mut self, device: &D, rows: usize) {
        let Self { normed, queries, keys, values, attended, gated } = self;
        for activations in [normed, queries, keys, values, attended, gated] {
            device.set_rows(activations, rows);
        }
    }
}

impl<T> Layer<T> {
    /// Asks for each tensor by name and shape, in the order of use. This is the one place that
    /// names the tensors of a layer: to list them, and to take them.
    pub(crate) fn build<E>(
        spec: &Spec,
        layer: usize,
        tensor: &mut impl FnMut(String, Vec<usize>) -> Result<T, E>,
    ) -> Result<Self, E> {
        let (d, ff) = (spec.hidden_size, spec.intermediate_size);
        let (q, kv, biases) = (spec.query_size(), spec.kv_size(), spec.biases);
        let mut tensor = |name: &str, shape: &[usize]| {
            tensor(format!("model.layers.{layer}.{name}"), shape.to_vec())
        };
        Ok(Self {
            input_layernorm: tensor("input_layernorm.weight", &[d])?,
            q_proj: Linear::build("self_attn.q_proj", [q, d], biases.qkv, &mut tensor)?,
            k_proj: Linear::build("self_attn.k_proj", [kv, d], biases.qkv, &mut tensor)?,
            v_proj: Linear::build("self_attn.v_proj", [kv, d], biases.qkv, &mut tensor)?,
            q_norm: if_any(spec.qk_norm, || tensor("self_attn.q_norm.weight", &[spec.head_dim]))?,
            k_norm: if_any(spec.qk_norm, || tensor("self_attn.k_norm.weight", &[spec.head_dim]))?,
            o_proj: Linear::build("self_attn.o_proj", [d, q], biases.output, &mut tensor)?,
            post_attention_layernorm: tensor("post_attention_layernorm.weight", &[d])?,
            gate_proj: Linear::build("mlp.gate_proj", [ff, d], biases.mlp, &mut tensor)?,
            up_proj: Linear::build("mlp.up_proj", [ff, d], biases.mlp, &mut tensor)?,
            down_proj: Linear::build("mlp.down_proj", [d, ff], biases.mlp, &mut tensor)?,
        })
    }

    /// Adds to `x` `(rows, hidden_size)` what this layer has to say, and to the cache its rows.
    pub(crate) fn forward<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        x: &mut D::Activations,
        cache: &mut D::KvCache,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        self.attention(pass, x, cache, scratch)?;
        self.feed_forward(pass, x, scratch)
    }

    fn attention<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        x: &mut D::Activations,
        cache: &mut D::KvCache,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        let (device, eps) = (pass.device, pass.spec.rms_norm_eps);
        let Scratch { normed, queries, keys, values, attended, .. } = scratch;
        device.rms_norm(x, &self.input_layernorm, eps, normed)?; // (rows, hidden_size)
        device.linear_all(
            normed,
            &mut [
                (self.q_proj.weights(), &mut *queries), // (rows, heads * head_dim)
                (self.k_proj.weights(), &mut *keys),    // (rows, kv_heads * head_dim)
                (self.v_proj.weights(), &mut *values),  // (rows, kv_heads * head_dim)
            ],
        )?;
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            device.rms_norm_in_place(queries, q_norm, eps)?; // each (head_dim) of (rows, heads)
            device.rms_norm_in_place(keys, k_norm, eps)?; // each (head_dim) of (rows, kv_heads)
        }
        let positions = pass.positions;
        device.rope(queries, positions)?;
        device.rope(keys, positions)?;
        device.append(keys, values, positions, cache)?; // each (rows, kv_heads, head_dim)
        let scale = 1.0 / (pass.spec.head_dim as f32).sqrt();
        device.attention(queries, cache, positions, scale, pass.window.into(), attended)?; // (rows, heads * head_dim)
        device.linear_add(attended, self.o_proj.weights(), x) // (rows, hidden_size)
    }

    fn feed_forward<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        x: &mut D::Activations,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        let (device, eps) = (pass.device, pass.spec.rms_norm_eps);
        let Scratch { normed, gated, .. } = scratch;
        device.rms_norm(x, &self.post_attention_layernorm, eps, normed)?; // (rows, hidden_size)
        let (gate, up) = (self.gate_proj.weights(), self.up_proj.weights());
        device.gated(normed, gate, up, gated)?; // (rows, intermediate_size)
        device.linear_add(gated, self.down_proj.weights(), x) // (rows, hidden_size)
    }
}

impl<T> Linear<T> {
    fn build<E>(
        name: &str,
        shape: [usize; 2],
        has_bias: bool,
        tensor: &mut impl FnMut(&str, &[usize]) -> Result<T, E>,
    ) -> Result<Self, E> {
        let weight = tensor(&format!("{name}.weight"), &shape)?;
        let bias = if_any(has_bias, || tensor(&format!("{name}.bias"), &shape[..1]))?;
        Ok(Self { weight, bias })
    }

    fn weights(&self) -> device::Linear<'_, T> {
        device::Linear { weight: &self.weight, bias: self.bias.as_ref() }
    }
}

/// A tensor that some families do not have.
fn if_any<T, E>(there: bool, tensor: impl FnOnce() -> Result<T, E>) -> Result<Option<T>, E> {
    there.then(tensor).transpose()
}
