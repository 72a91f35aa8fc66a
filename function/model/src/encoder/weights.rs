//! The stages of an encoder that are resident, and the iterator that brings the others.

use super::spec::{EMBEDDINGS, EncoderSpec, Names, layer_name};
use crate::{
    Error, Group,
    bert::{Embeddings, Layer},
    weights::next_group,
};

/// All weights of an encoder, resident or still to come.
pub(super) struct Weights<T, I> {
    names: Names,
    groups: I,
    embeddings: Option<Embeddings<T>>,
    layers: Vec<Layer<T>>,
}

impl<T, I> Weights<T, I> {
    pub(super) fn new(names: Names, groups: I) -> Self {
        Self { names, groups, embeddings: None, layers: Vec::new() }
    }
}

impl<T, I, E> Weights<T, I>
where
    I: Iterator<Item = Result<Group<T>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn embeddings(&mut self, spec: &EncoderSpec) -> Result<&Embeddings<T>, Error> {
        while self.embeddings.is_none() {
            self.pull(spec)?;
        }
        Ok(self.embeddings.as_ref().expect("the loop above ends when they are there"))
    }

    pub(super) fn layer(&mut self, spec: &EncoderSpec, layer: usize) -> Result<&Layer<T>, Error> {
        while self.layers.len() <= layer {
            self.pull(spec)?;
        }
        Ok(&self.layers[layer])
    }

    /// Takes one more stage, if there is one; whether others are to come.
    pub(super) fn pull(&mut self, spec: &EncoderSpec) -> Result<bool, Error> {
        let (names, layer) = (self.names, self.layers.len());
        if self.embeddings.is_none() {
            let mut group = next_group(&mut self.groups, EMBEDDINGS.to_owned())?;
            let taken = Embeddings::build(spec, names, &mut |name, _| group.take(&name))?;
            self.embeddings = Some(taken);
        } else if layer < spec.layers {
            let mut group = next_group(&mut self.groups, layer_name(layer))?;
            let taken = Layer::build(spec, names, layer, &mut |name, _| group.take(&name))?;
            self.layers.push(taken);
        }
        Ok(self.layers.len() < spec.layers)
    }
}
