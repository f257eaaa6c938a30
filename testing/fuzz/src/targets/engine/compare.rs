//! What is found under names beside what a model has there.

use millrace_engine::fuzzing::Found;
use millrace_model::Model;

use super::{NAMES, named};

/// The models between now and all that is due having been ended, in any order.
pub(super) fn between(before: &Model) -> Vec<Model> {
    let mut models = vec![before.clone()];
    for name in NAMES.map(named) {
        for nth in 0..models.len() {
            let mut model = models[nth].clone();
            let had = model.names().count();
            let _ = model.head(&name);
            if model.names().count() != had
                || model
                    .stream(&name)
                    .is_some_and(millrace_model::Stream::is_soft_deleted)
            {
                models.push(model);
            }
        }
    }
    models
}

/// Whether what is found under every name is what the model has there; where not, it says so.
pub(super) fn same(model: &Model, found: &[Option<Found>]) -> Result<(), String> {
    for (name, found) in NAMES.map(named).iter().zip(found) {
        let wanted = model.stream(name);
        let is_same = match (wanted, found) {
            (None, None) => true,
            (Some(stream), Some(found)) => {
                stream.bytes() == found.bytes
                    && stream.is_closed() == found.closed
                    && stream.is_soft_deleted() == found.soft_deleted
            }
            _ => false,
        };
        if !is_same {
            return Err(format!("{name}: {found:?} instead of {wanted:?}"));
        }
    }
    Ok(())
}
