//! Logits to tokens: four bytes a row come back, and not a vocabulary.

use firstlight_kernels::cuda::sampling::{self as kernels, Draw as Words, NO_TOKEN};

use super::launch::Arguments;
use super::{Activations, Cuda, SCRATCH_BYTES, number};
use crate::{Draw, Error};

impl Cuda {
    /// What is drawn of each row that has a draw. None of one whose logits are unfit.
    pub(super) fn tokens(
        &self,
        logits: &Activations,
        draws: &[Option<Draw>],
    ) -> Result<Vec<Option<u32>>, Error> {
        let rows: Vec<_> = (0..).zip(draws).filter_map(|(row, draw)| words(row, *draw)).collect();
        if rows.is_empty() {
            return Ok(vec![None; draws.len()]);
        }
        let mut tokens = self.sample(logits, &rows)?.into_iter();
        let token = |draw: &Option<Draw>| draw.and_then(|_| tokens.next().flatten());
        Ok(draws.iter().map(token).collect())
    }

    fn sample(&self, logits: &Activations, draws: &[Words]) -> Result<Vec<Option<u32>>, Error> {
        let mut bytes = vec![0; draws.len() * size_of::<u32>()];
        assert!(bytes.len() as u64 <= SCRATCH_BYTES, "{} rows to draw from", draws.len());
        let words: Vec<_> = draws.iter().flat_map(|draw| draw.words()).collect();
        let mut staging = self.staging();
        let (from, to) = (staging.stage(&words)?, self.scratch.start());
        let columns = number(logits.shape().1);
        let arguments = Arguments::new().with(logits.values()).with(columns).with(from).with(to);
        self.launch(kernels::sample(number(draws.len())), arguments)?;
        staging.receive(to, &mut bytes)?;
        let token = |bytes: &[u8; 4]| Some(u32::from_ne_bytes(*bytes)).filter(|&id| id != NO_TOKEN);
        Ok(bytes.as_chunks().0.iter().map(token).collect())
    }
}

fn words(row: usize, draw: Option<Draw>) -> Option<Words> {
    let Draw { uniform, temperature, top_k, top_p } = draw?;
    Some(Words { uniform, temperature, top_k, top_p, row: number(row) })
}
