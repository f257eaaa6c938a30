//! After a run: what can be read is what was acknowledged.

use std::collections::HashMap;

use crate::{
    BenchError, Plan,
    chain::{Chain, Follower, Messages},
    plain::Plain,
    report::Verified,
    work::Appends,
};

/// Asked again and again; an error ends it.
pub(crate) type GoOn<'a> = dyn FnMut() -> Result<(), BenchError> + 'a;

/// Reads streams back and follows their chains; evenly spread ones where there are too many.
pub(crate) fn appends(
    plan: &Plan,
    plain: &mut Plain<'_>,
    messages: &Messages,
    appends: &Appends<'_>,
    go_on: &mut GoOn<'_>,
) -> Result<Verified, BenchError> {
    let mut verified = Verified::default();
    for stream in sample(plan.streams, plan.verify) {
        let name = plan.name(stream);
        let mismatch = |what: String| BenchError::Mismatch(format!("stream {name}: {what}"));
        let mut follower = Follower::new(messages);
        plain.read(&name, |page| {
            go_on()?;
            follower.take(page).map_err(mismatch)
        })?;
        verified.streams += 1;
        verified.messages += follower.number;
        let there = follower.end().map_err(mismatch)?;
        same(&appends.acknowledged(stream), &there).map_err(mismatch)?;
    }
    Ok(verified)
}

/// Every chain ends where it was acknowledged, and there is no other.
fn same(acknowledged: &[(u32, Chain)], there: &HashMap<u32, Chain>) -> Result<(), String> {
    for (connection, chain) in acknowledged {
        let found = there.get(connection).copied().unwrap_or_default();
        if found != *chain {
            return Err(format!(
                "{} messages of connection {connection} were acknowledged, {} are there",
                chain.length, found.length
            ));
        }
    }
    if there.len() != acknowledged.len() {
        return Err("messages are there that were not acknowledged".to_owned());
    }
    Ok(())
}

/// Looks for streams that were created.
pub(crate) fn created(
    plan: &Plan,
    plain: &mut Plain<'_>,
    count: usize,
    go_on: &mut GoOn<'_>,
) -> Result<Verified, BenchError> {
    let mut verified = Verified::default();
    for stream in sample(count, plan.verify) {
        go_on()?;
        plain.head(&plan.name(stream))?;
        verified.streams += 1;
    }
    Ok(verified)
}

/// At most so many of so many, evenly spread.
fn sample(of: usize, at_most: usize) -> impl Iterator<Item = usize> {
    let count = of.min(at_most);
    (0..count).map(move |number| number * of / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_and_bounded() {
        let taken = |of, at_most| sample(of, at_most).collect::<Vec<_>>();
        assert_eq!(taken(3, 10), [0, 1, 2]);
        assert_eq!(taken(10, 3), [0, 3, 6]);
        assert_eq!(taken(10, 0), [0; 0]);
        assert_eq!(taken(0, 10), [0; 0]);
    }

    #[test]
    fn a_chain_that_is_shorter_longer_or_unknown_is_a_mismatch() {
        let one = Chain::default().next(0, 5);
        let two = one.next(0, 6);
        let there = HashMap::from([(0, one)]);
        assert!(same(&[(0, one)], &there).is_ok());
        assert!(same(&[(0, two)], &there).is_err(), "one is lost");
        assert!(
            same(&[(0, one), (1, one)], &there).is_err(),
            "a chain is lost"
        );
        assert!(same(&[], &there).is_err(), "one was never sent");
    }
}
