//! Comparing the model's offsets and replies with those of the system under test.
//!
//! The model's offset of a position never changes its meaning, so a real system must always answer it
//! with one and the same token, and a token that once meant one thing never comes to mean another.

use std::collections::BTreeMap;

use millrace_core::{Offset, Refusal, stream::Outcome, stream::decide::Summary};

use crate::model::Reply;

/// Which of the model's offsets is which token.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    real: BTreeMap<Offset, Offset>,
    /// The reverse.
    model: BTreeMap<Offset, Offset>,
}

impl Tokens {
    /// Notes that the system answered `real` where the model has `model`; an error says how that
    /// contradicts what was answered before.
    pub fn pair(&mut self, model: Offset, real: Offset) -> Result<(), String> {
        if model.position != real.position {
            return Err(format!("{real:?} is not at {:?}", model.position));
        }
        let known = *self.real.entry(model).or_insert(real);
        if known != real {
            return Err(format!("{real:?} was answered as {known:?} before"));
        }
        let meant = *self.model.entry(real).or_insert(model);
        if meant != model {
            return Err(format!("{real:?} meant {meant:?} and means {model:?}"));
        }
        Ok(())
    }

    /// The token of one of the model's offsets, if it was ever answered.
    pub fn real(&self, model: Offset) -> Option<Offset> {
        self.real.get(&model).copied()
    }

    /// Every pair: the model's offset and the token.
    pub fn pairs(&self) -> impl Iterator<Item = (Offset, Offset)> {
        self.real.iter().map(|(model, real)| (*model, *real))
    }

    /// Whether two replies say the same, tokens paired and words of explanation aside.
    pub fn agree(&mut self, model: &Reply, real: &Reply) -> Result<(), String> {
        let differ = || Err(format!("the model says {model:?}, the system {real:?}"));
        match (model, real) {
            (Ok(model), Ok(real)) => {
                self.pair_summaries(summary_of(model), summary_of(real))?;
                if without_generation(model) == without_generation(real) {
                    return Ok(());
                }
                differ()
            }
            (Err(Refusal::Closed { tail: model }), Err(Refusal::Closed { tail: real }))
            | (
                Err(Refusal::ExpectedOffset { tail: model }),
                Err(Refusal::ExpectedOffset { tail: real }),
            )
            | (
                Err(Refusal::OffsetGone { earliest: model }),
                Err(Refusal::OffsetGone { earliest: real }),
            ) => self.pair(*model, *real),
            (Err(Refusal::Config { .. }), Err(Refusal::Config { .. })) => Ok(()),
            (Err(model), Err(real)) if model == real => Ok(()),
            _ => differ(),
        }
    }

    fn pair_summaries(
        &mut self,
        model: Option<&Summary>,
        real: Option<&Summary>,
    ) -> Result<(), String> {
        match (model, real) {
            (Some(model), Some(real)) => self.pair(model.tail, real.tail),
            _ => Ok(()),
        }
    }
}

fn summary_of(outcome: &Outcome) -> Option<&Summary> {
    match outcome {
        Outcome::Created(summary)
        | Outcome::Exists(summary)
        | Outcome::AlreadyClosed(summary)
        | Outcome::Appended { summary, .. }
        | Outcome::Duplicate { summary, .. } => Some(summary),
        Outcome::Deleted | Outcome::Done => None,
    }
}

fn without_generation(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    match &mut outcome {
        Outcome::Created(summary)
        | Outcome::Exists(summary)
        | Outcome::AlreadyClosed(summary)
        | Outcome::Appended { summary, .. }
        | Outcome::Duplicate { summary, .. } => summary.tail.generation.0 = 0,
        Outcome::Deleted | Outcome::Done => {}
    }
    outcome
}
