//! One layer: its tensors by the names of the checkpoint, and its arithmetic.
//!
//! ```text
//! x += o_proj(attention(rope(q_proj(norm(x))), rope(k_proj(norm(x))), v_proj(norm(x))))
//! x += down_proj(silu(gate_proj(norm(x))) * up_proj(norm(x)))
//! ```
//!
//! The keys and values of earlier positions come from the cache of the layer.

use firstlight_device::{Device, Error};

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
pub(crate) struct Pass<'a, D> {
    pub(crate) device: &'a D,
    pub(crate) spec: &'a Spec,
    pub(crate) inverse_frequencies: &'a [f32], // (head_dim / 2)
    /// Of the layer that the chunk is in.
    pub(crate) window: Option<usize>,
    /// Of the first row.
    pub(crate) position: usize,
}

/// The intermediate results of one layer on one chunk: allocated once, used by all layers.
///
/// They take `4 * chunk_rows * (hidden_size + 2 * (query_size + kv_size + intermediate_size))`
/// bytes: 48 MB for 512 rows of Llama 3.2 1B.
pub(crate) struct Scratch<D: Device> {
    /// What a branch reads of the residual stream, and what it adds to it.
    branch: D::Activations, // (rows, hidden_size)
    queries: D::Activations,  // (rows, heads * head_dim)
    keys: D::Activations,     // (rows, kv_heads * head_dim)
    values: D::Activations,   // (rows, kv_heads * head_dim)
    attended: D::Activations, // (rows, heads * head_dim)
    gate: D::Activations,     // (rows, intermediate_size)
    up: D::Activations,       // (rows, intermediate_size)
}

impl<D: Device> Scratch<D> {
    pub(crate) fn new(device: &D, spec: &Spec, rows: usize) -> Result<Self, Error> {
        Ok(Self {
            branch: device.activations(rows, spec.hidden_size)?,
            queries: device.activations(rows, spec.query_size())?,
            keys: device.activations(rows, spec.kv_size())?,
            values: device.activations(rows, spec.kv_size())?,
            attended: device.activations(rows, spec.query_size())?,
            gate: device.activations(rows, spec.intermediate_size)?,
            up: device.activations(rows, spec.intermediate_size)?,
        })
    }

    pub(crate) fn set_rows(&mut self, device: &D, rows: usize) {
        let Self { branch, queries, keys, values, attended, gate, up } = self;
        for activations in [branch, queries, keys, values, attended, gate, up] {
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
        let (device, eps) = (pass.device, pass.spec.rms_norm_eps);
        device.rms_norm(x, &self.input_layernorm, eps, &mut scratch.branch)?;
        self.attention(pass, cache, scratch)?;
        device.add(x, &scratch.branch)?; // (rows, hidden_size)
        device.rms_norm(x, &self.post_attention_layernorm, eps, &mut scratch.branch)?;
        self.feed_forward(device, scratch)?;
        device.add(x, &scratch.branch)?; // (rows, hidden_size)
        Ok(())
    }

    fn attention<D: Device<Tensor = T>>(
        &self,
        pass: &Pass<'_, D>,
        cache: &mut D::KvCache,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        let (device, eps) = (pass.device, pass.spec.rms_norm_eps);
        let Scratch { branch, queries, keys, values, attended, .. } = scratch;
        self.q_proj.forward(device, branch, queries)?; // (rows, heads * head_dim)
        self.k_proj.forward(device, branch, keys)?; // (rows, kv_heads * head_dim)
        self.v_proj.forward(device, branch, values)?; // (rows, kv_heads * head_dim)
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            device.rms_norm_in_place(queries, q_norm, eps)?; // each (head_dim) of (rows, heads)
            device.rms_norm_in_place(keys, k_norm, eps)?; // each (head_dim) of (rows, kv_heads)
        }
        device.rope(queries, pass.inverse_frequencies, pass.position)?;
        device.rope(keys, pass.inverse_frequencies, pass.position)?;
        device.append(keys, values, cache)?; // (position + rows, kv_heads, head_dim)
        let scale = 1.0 / (pass.spec.head_dim as f32).sqrt();
        device.attention(queries, cache, scale, pass.window, attended)?; // (rows, heads * head_dim)
        self.o_proj.forward(device, attended, branch) // (rows, hidden_size)
    }

    fn feed_forward<D: Device<Tensor = T>>(
        &self,
        device: &D,
        scratch: &mut Scratch<D>,
    ) -> Result<(), Error> {
        let Scratch { branch, gate, up, .. } = scratch;
        self.gate_proj.forward(device, branch, gate)?; // (rows, intermediate_size)
        self.up_proj.forward(device, branch, up)?; // (rows, intermediate_size)
        device.silu_mul(gate, up)?; // (rows, intermediate_size)
        self.down_proj.forward(device, gate, branch) // (rows, hidden_size)
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

    fn forward<D: Device<Tensor = T>>(
        &self,
        device: &D,
        x: &D::Activations,
        out: &mut D::Activations,
    ) -> Result<(), Error> {
        device.linear(x, &self.weight, self.bias.as_ref(), out)
    }
}

/// A tensor that some families do not have.
fn if_any<T, E>(there: bool, tensor: impl FnOnce() -> Result<T, E>) -> Result<Option<T>, E> {
    there.then(tensor).transpose()
}
