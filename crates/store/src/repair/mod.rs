//! Puts a damaged data directory right, as far as that goes without making anything up.
//!
//! [`plan`] looks and changes nothing; [`apply`] does what a plan says. What can be read and verified
//! stays readable under the offsets it had; what cannot is marked as lost, for ever: reads of it fail,
//! and its positions are never given to other bytes. ADR 19 has the reasons, `docs/reliability.md` the
//! order of the steps.
//!
//! INVARIANTS:
//! - Nothing is deleted. What is replaced or no longer named goes to `quarantine/repair-<n>/`, the
//!   catalog as a copy; the rest of the directory is not touched.
//! - One commit of the catalog is the repair. Before it the directory is as damaged as it was, with a
//!   few files more that nothing names; after it the directory starts. So it may be interrupted
//!   anywhere, and run again (`crash_tests`).
//! - No offset that a client may have ever means other bytes: positions of lost bytes stay lost, and
//!   where the end of a log is not known all streams take a new generation before their next append.
//! - A directory without damage is left as it is.
//!
//! Layout: this file (what is asked), `plan` (what it says), `survey` (what is damaged, and what there
//! is to save), `segments` (of a segment file), `fold` (of the logs; `crate::wal::salvage` reads them),
//! `apply` (the steps), `aside` (quarantine).
//!
//! Not here: finding all that is wrong (`crate::check`).

mod apply;
mod aside;
mod fold;
mod plan;
mod segments;
mod survey;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use millrace_env::Env;

pub use self::plan::{Action, ActionKind, Lost, Outcome, Plan};
use crate::{
    StoreError,
    catalog::CATALOG_FILE,
    check::{self, Finding, Lock, Severity},
};

/// Looks for damage, and says what can be done about it. Changes nothing.
///
/// An error means that the directory could not be looked at, or that a device failed to read: copy it
/// to one that works first.
pub fn plan(env: &Env, lock_is: Lock) -> Result<Plan, StoreError> {
    let _lock = lock(env, lock_is)?;
    let survey::Survey {
        mut plan, is_new, ..
    } = survey::survey(env)?;
    if plan.refused.is_none() && !is_new {
        // Damage that nobody has thought of here is not to go unsaid.
        let report = check::run(env, Lock::Held)?;
        plan.remains = report
            .findings
            .into_iter()
            .filter(|finding| finding.severity == Severity::Error && !plan.mends(&finding.file))
            .collect();
    }
    Ok(trusted(plan))
}

/// All that a repair does rests on the catalog: with one that contradicts itself, or what else there is,
/// nothing is done.
fn trusted(plan: Plan) -> Plan {
    let wrong = |finding: &&Finding| finding.file == CATALOG_FILE;
    match plan.remains.iter().find(wrong) {
        Some(finding) if plan.refused.is_none() => Plan {
            refused: Some(format!("{CATALOG_FILE}: {}", finding.what)),
            remains: plan.remains,
            ..Plan::default()
        },
        _ => plan,
    }
}

/// Does what `plan` says; nothing, where that is nothing. When it fails before the commit nothing but
/// files that nothing names has changed; it may be planned and run again at any time.
///
/// [`StoreError::Corrupt`] when the directory is not any more what the plan was made for, or when
/// [`Plan::refused`] says that there is nothing to be done.
pub fn apply(env: &Env, lock_is: Lock, plan: &Plan) -> Result<Outcome, StoreError> {
    let _lock = lock(env, lock_is)?;
    if let Some(why) = &plan.refused {
        return Err(StoreError::corrupt(why));
    }
    let survey = survey::survey(env)?;
    if !survey.plan.does_the_same(plan) {
        return Err(StoreError::corrupt(
            "the directory has changed since the plan was made: plan again",
        ));
    }
    apply::apply(env, &survey)
}

fn lock(env: &Env, lock_is: Lock) -> Result<Option<Box<dyn Send + Sync>>, StoreError> {
    match lock_is {
        Lock::Take => check::lock(env).map(Some),
        Lock::Held => Ok(None),
    }
}
