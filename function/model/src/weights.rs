//! The stages that are resident, and the iterator that brings the others.
//!
//! Whoever needs a weight asks for it here, and [`Weights`] pulls stages, in their order, until it
//! is there. A layer, the head and the table are therefore pulled at the moment of their first use:
//! the iterator sees the computing of one stage end, and that of the next begin.

use std::{collections::HashMap, vec};

use crate::{
    Error, Spec, StageOrder,
    layer::Layer,
    stage::{FINAL_NORM, OUTPUT, Part, parts},
};

/// One stage, as the loader hands it over.
#[derive(Clone, Debug)]
pub struct Group<T> {
    /// The [`Stage::name`](crate::Stage::name).
    pub stage: String,
    /// By the names of the checkpoint. Tensors that the stage does not ask for are dropped.
    pub tensors: HashMap<String, T>,
}

impl<T> Group<T> {
    pub(crate) fn take(&mut self, tensor: &str) -> Result<T, Error> {
        let missing =
            || Error::MissingTensor { stage: self.stage.clone(), tensor: tensor.to_owned() };
        self.tensors.remove(tensor).ok_or_else(missing)
    }
}

/// The rows of the embedding table that a prompt needs, which are there before the table.
#[derive(Clone, Debug)]
pub struct PromptRows<T> {
    /// `(ids.len(), hidden_size)`: row `i` is that of token `ids[i]`.
    pub table: T,
    /// Ascending, each once.
    pub ids: Vec<u32>,
}

/// All weights of a decoder, resident or still to come.
pub(crate) struct Weights<T, I> {
    groups: I,
    awaited: vec::IntoIter<Part>,
    layers: Vec<Layer<T>>,
    norm: Option<T>,   // (hidden_size)
    output: Option<T>, // (vocab_size, hidden_size), unless tied
    table: Option<T>,  // (vocab_size, hidden_size)
    prompt_rows: Option<PromptRows<T>>,
}

impl<T, I> Weights<T, I> {
    pub(crate) fn new(spec: &Spec, order: StageOrder, groups: I) -> Self {
        Self {
            groups,
            awaited: parts(spec, order).into_iter(),
            layers: Vec::with_capacity(spec.layers),
            norm: None,
            output: None,
            table: None,
            prompt_rows: None,
        }
    }

    pub(crate) fn give_rows(&mut self, rows: PromptRows<T>) {
        assert!(rows.ids.is_sorted_by(|a, b| a < b), "the ids of prompt rows must ascend");
        self.prompt_rows = Some(rows);
    }

    /// A table with the rows of all these tokens, and the index of each in it.
    fn find_rows(&self, ids: &[u32]) -> Option<(&T, Vec<u32>)> {
        if let Some(table) = &self.table {
            return Some((table, ids.to_vec()));
        }
        let rows = self.prompt_rows.as_ref()?;
        let index = |id| u32::try_from(rows.ids.binary_search(id).ok()?).ok();
        Some((&rows.table, ids.iter().map(index).collect::<Option<_>>()?))
    }
}

impl<T, I> Weights<T, I> {
    /// Whether all layers and the head are resident: whatever is asked for, but for rows of the
    /// table.
    pub(crate) fn are_here(&self, spec: &Spec) -> bool {
        self.layers.len() == spec.layers && self.norm.is_some()
    }
}

impl<T, I, E> Weights<T, I>
where
    I: Iterator<Item = Result<Group<T>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A table with the rows of all these tokens, and the index of each in it.
    pub(crate) fn rows(&mut self, spec: &Spec, ids: &[u32]) -> Result<(&T, Vec<u32>), Error> {
        while self.find_rows(ids).is_none() {
            self.pull(spec)?;
        }
        Ok(self.find_rows(ids).expect("the loop above ends when they are there"))
    }

    pub(crate) fn layer(&mut self, spec: &Spec, layer: usize) -> Result<&Layer<T>, Error> {
        while self.layers.len() <= layer {
            self.pull(spec)?;
        }
        Ok(&self.layers[layer])
    }

    /// The last norm `(hidden_size)` and the output matrix `(vocab_size, hidden_size)`.
    pub(crate) fn head(&mut self, spec: &Spec) -> Result<(&T, &T), Error> {
        while self.norm.is_none() {
            self.pull(spec)?;
        }
        let output = if spec.tie_word_embeddings { &self.table } else { &self.output };
        Ok(self.norm.as_ref().zip(output.as_ref()).expect("the head brings both"))
    }

    /// Takes the next stage, if one is to come. Whether more are to come.
    pub(crate) fn pull_next(&mut self, spec: &Spec) -> Result<bool, Error> {
        if self.awaited.len() > 0 {
            self.pull(spec)?;
        }
        Ok(self.awaited.len() > 0)
    }

    fn pull(&mut self, spec: &Spec) -> Result<(), Error> {
        let part = self.awaited.next().expect("each weight is in one of the stages");
        let mut group = next_group(&mut self.groups, part.name())?;
        match part {
            Part::Layer(layer) => {
                let taken = Layer::build(spec, layer, &mut |name, _| group.take(&name))?;
                self.layers.push(taken);
            }
            Part::Embeddings => self.put_table(group.take(spec.embedding_name())?),
            Part::Head => {
                self.norm = Some(group.take(FINAL_NORM)?);
                if !spec.tie_word_embeddings {
                    self.output = Some(group.take(OUTPUT)?);
                } else if self.table.is_none() {
                    self.put_table(group.take(spec.embedding_name())?);
                }
            }
        }
        Ok(())
    }

    fn put_table(&mut self, table: T) {
        self.table = Some(table);
        self.prompt_rows = None;
    }
}

/// The next stage, if it is the one that is due.
pub(crate) fn next_group<T, E>(
    groups: &mut impl Iterator<Item = Result<Group<T>, E>>,
    expected: String,
) -> Result<Group<T>, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match groups.next() {
        None => Err(Error::Ended { stage: expected }),
        Some(Err(error)) => Err(Error::Load(error.into())),
        Some(Ok(group)) if group.stage == expected => Ok(group),
        Some(Ok(group)) => Err(Error::Order { expected, found: group.stage }),
    }
}
