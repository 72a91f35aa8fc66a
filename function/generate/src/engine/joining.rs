//! The pass that loads, which whoever asks meanwhile joins.
//!
//! It goes layer by layer, and may wait for each. Between two layers it lets in who has come: their
//! prompts are run through the layers that are there, and from then on go with the others, so that
//! the first tokens of all come when the last layer does. There the stop deadline is looked at as
//! well, and whether anybody still listens.

use firstlight_model::Passes;

use super::schedule::Part;
use super::worker::{Running, rows};
use crate::Error;
use crate::serving::failed;

impl<M: Passes> Running<'_, M> {
    /// Computes `parts` and those of whoever joins them: all that were computed, or nothing where
    /// nobody waits for them any more.
    pub(super) fn forward_joined(&mut self, mut parts: Vec<Part>) -> Result<Vec<Part>, Error> {
        let opened: Vec<_> = parts.iter().map(|part| rows(&self.schedule, part)).collect();
        self.model.open(&opened).map_err(failed)?;
        let mut room = self.shared.limits.step_rows;
        while self.model.advance().map_err(failed)? {
            let joining = self.newcomers(&mut room);
            if self.is_in_vain(&parts) {
                return Ok(Vec::new());
            }
            if !joining.is_empty() {
                let joined: Vec<_> =
                    joining.iter().map(|part| rows(&self.schedule, part)).collect();
                self.model.join(&joined).map_err(failed)?;
                parts.extend(joining);
            }
        }
        Ok(parts)
    }

    /// Whether the engine's time is over, or nobody listens to any of the answers.
    fn is_in_vain(&self, parts: &[Part]) -> bool {
        let is_cancelled = |part: &Part| self.schedule.get(part.sequence).is_cancelled();
        parts.iter().all(is_cancelled) || self.publish().phase.is_over(false)
    }

    /// Who begins now, with all of the prompt: as many as have `room` rows together, which is what
    /// an answer waits for at most in any other pass, too. Those whose prompts are scored take the
    /// next one.
    fn newcomers(&mut self, room: &mut usize) -> Vec<Part> {
        let first = self.schedule.len();
        self.let_go_waiting();
        *room -= self.let_in(*room);
        let parts = (first..self.schedule.len()).map(|sequence| self.schedule.whole(sequence));
        parts.filter(|part| !self.is_scored(part)).collect()
    }

    pub(super) fn is_scored(&self, part: &Part) -> bool {
        self.schedule.get(part.sequence).scores(&part.positions)
    }
}
