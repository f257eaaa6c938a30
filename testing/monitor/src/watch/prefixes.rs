//! What is known of the bytes before each offset.
//!
//! A token names the bytes before it, for ever and wherever it is met: the same in a stream, in its
//! forks, and after every restart. So each answer that carried bytes from one offset to another is an
//! equation between the sums of two prefixes, and all of them together must have a solution. They are
//! kept as a forest whose edges hold differences (a union-find with weights): whatever two readers or
//! writers have in common is compared, in whatever pieces they saw it.
//!
//! A generation's first bytes may be those of another one: a fork goes on from its source, and a stream
//! goes on under a new generation where it may have lost its tail.

use std::collections::{BTreeMap, HashMap};

use super::{
    sum::{Adder, Sum},
    token::Token,
};

/// BOUND: how many places are remembered; every second one is forgotten where there are more.
const PLACES_MAX: usize = 1 << 18;

/// Before the first byte of anything.
const START: Token = Token {
    generation: 0,
    position: 0,
};

/// All prefixes.
#[derive(Debug)]
pub(crate) struct Prefixes {
    places: BTreeMap<Token, usize>,
    nodes: Vec<Node>,
    /// Up to which place a generation has the bytes of an older one.
    origins: HashMap<u64, Token>,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: usize,
    /// The sum of this prefix, less that of the parent.
    more: Sum,
    /// The exchange that it was learned from.
    by: u64,
}

/// Two that cannot both be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// The bytes before it are told in two ways.
    pub(crate) at: Token,
    /// The exchange that told it first, or 0.
    pub(crate) by: u64,
}

impl Default for Prefixes {
    fn default() -> Self {
        let root = Node {
            parent: 0,
            more: Sum::NOTHING,
            by: 0,
        };
        Self {
            places: BTreeMap::from([(START, 0)]),
            nodes: vec![root],
            origins: HashMap::new(),
            limit: PLACES_MAX,
        }
    }
}

impl Prefixes {
    /// Exchange `by` had `bytes` between `from` and `to`, which lie so far apart.
    pub(crate) fn carried(
        &mut self,
        from: Token,
        to: Token,
        bytes: &[u8],
        by: u64,
    ) -> Result<(), Contradiction> {
        if from.generation != to.generation {
            self.shares(to.generation, from, by)?;
        }
        let first = self.place(from, by);
        self.place(to, by);
        let mut adder = Adder::at(from.position);
        let mut done = 0;
        for (position, node) in self.between(from.position, to) {
            let until = usize::try_from(position - from.position).expect("bytes that are here");
            adder.add(&bytes[done..until]);
            done = until;
            let by = self.nodes[node].by;
            self.join(first, node, adder.sum())
                .map_err(|()| Contradiction {
                    at: to.at(position),
                    by,
                })?;
        }
        if self.nodes.len() > self.limit {
            self.thin();
        }
        Ok(())
    }

    /// The bytes before `origin` are also the first of `generation`'s.
    pub(crate) fn shares(
        &mut self,
        generation: u64,
        origin: Token,
        by: u64,
    ) -> Result<(), Contradiction> {
        if generation <= origin.generation || origin.position == 0 {
            return Ok(());
        }
        match self.origins.get(&generation).copied() {
            Some(known) if known.position >= origin.position => {
                // What lies closer to the start is older.
                return self.shares(known.generation, origin, by);
            }
            Some(known) => self.shares(origin.generation, known, by)?,
            None => {}
        }
        self.origins.insert(generation, origin);
        let own = Token {
            generation,
            position: 0,
        };
        let moved: Vec<(Token, usize)> = self
            .places
            .range(own..=own.at(origin.position))
            .map(|(place, node)| (*place, *node))
            .collect();
        for (place, node) in moved {
            self.places.remove(&place);
            let there = self.place(place, by);
            let by = self.nodes[there].by;
            self.join(there, node, Sum::NOTHING)
                .map_err(|()| Contradiction { at: place, by })?;
        }
        Ok(())
    }

    /// The places that are known on the way to `to`, after `from`: position and node.
    fn between(&self, from: u64, to: Token) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        let mut end = to;
        loop {
            let origin = self.origins.get(&end.generation).copied();
            let since = origin.map_or(0, |origin| origin.position);
            if end.position > since.max(from) {
                let part = end.at(since.max(from) + 1)..=end;
                let places = self.places.range(part).rev();
                found.extend(places.map(|(place, node)| (place.position, *node)));
            }
            match origin {
                Some(origin) if since > from => end = origin.at(since.min(end.position)),
                _ => break,
            }
        }
        found.reverse();
        found
    }

    /// The node of a place, under the oldest generation that has it.
    fn place(&mut self, mut place: Token, by: u64) -> usize {
        while let Some(origin) = self.origins.get(&place.generation)
            && place.position <= origin.position
        {
            place.generation = origin.generation;
        }
        if place.position == 0 {
            place = START;
        }
        let next = self.nodes.len();
        let node = *self.places.entry(place).or_insert(next);
        if node == next {
            self.nodes.push(Node {
                parent: next,
                more: Sum::NOTHING,
                by,
            });
        }
        node
    }

    /// The prefix of `two` has `more` than that of `one`.
    fn join(&mut self, one: usize, two: usize, more: Sum) -> Result<(), ()> {
        let (one_root, one_more) = self.root(one);
        let (two_root, two_more) = self.root(two);
        let between = one_more.plus(more).minus(two_more);
        if one_root == two_root {
            return if between == Sum::NOTHING {
                Ok(())
            } else {
                Err(())
            };
        }
        self.nodes[two_root].parent = one_root;
        self.nodes[two_root].more = between;
        Ok(())
    }

    /// The root of a node's tree, and the node's sum less that of the root.
    fn root(&mut self, node: usize) -> (usize, Sum) {
        let mut path = Vec::new();
        let mut at = node;
        while self.nodes[at].parent != at {
            path.push(at);
            at = self.nodes[at].parent;
        }
        let mut more = Sum::NOTHING;
        for step in path.into_iter().rev() {
            more = self.nodes[step].more.plus(more);
            self.nodes[step].parent = at;
            self.nodes[step].more = more;
        }
        (at, more)
    }

    /// Forgets every second place. What remains still says the same of each other.
    fn thin(&mut self) {
        let all: Vec<(Token, usize)> = self.places.iter().map(|(at, node)| (*at, *node)).collect();
        let kept: Vec<_> = all.into_iter().step_by(2).collect();
        let mut roots: HashMap<usize, (usize, Sum)> = HashMap::new();
        let mut nodes = Vec::with_capacity(kept.len());
        let mut places = BTreeMap::new();
        for (index, (place, node)) in kept.into_iter().enumerate() {
            let (root, more) = self.root(node);
            // The first of a tree that remains is the root of the others.
            let (parent, less) = *roots.entry(root).or_insert((index, more));
            nodes.push(Node {
                parent,
                more: more.minus(less),
                by: self.nodes[node].by,
            });
            places.insert(place, index);
        }
        (self.nodes, self.places) = (nodes, places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(generation: u64, position: u64) -> Token {
        Token {
            generation,
            position,
        }
    }

    /// Reads of one text, cut anywhere, and by whom: each is `(generation, from, to)`.
    fn agrees(text: &[u8], reads: &[(u64, usize, usize)]) -> Prefixes {
        let mut prefixes = Prefixes::default();
        for (generation, from, to) in reads {
            read(&mut prefixes, text, *generation, *from, *to).expect("the same bytes");
        }
        prefixes
    }

    fn read(
        prefixes: &mut Prefixes,
        text: &[u8],
        generation: u64,
        from: usize,
        to: usize,
    ) -> Result<(), Contradiction> {
        let [begin, end] = [from, to].map(|at| token(generation, at as u64));
        prefixes.carried(begin, end, &text[from..to], 1)
    }

    #[test]
    fn reads_in_any_pieces_agree_and_a_changed_byte_in_any_of_them_does_not() {
        let text = b"the quick brown fox jumps over the lazy dog";
        let mut other = *text;
        other[12] ^= 1;
        let mut prefixes = agrees(
            text,
            &[(5, 0, 10), (5, 10, 20), (5, 20, 43), (5, 4, 30), (5, 0, 43)],
        );
        for (from, to) in [(0, 43), (10, 20), (4, 20), (0, 30)] {
            assert!(
                read(&mut prefixes, &other, 5, from, to).is_err(),
                "{from}..{to}"
            );
            assert!(
                read(&mut prefixes, text, 5, from, to).is_ok(),
                "{from}..{to}"
            );
        }
    }

    #[test]
    fn pieces_from_the_middle_are_compared_once_something_joins_them() {
        let text = b"0123456789";
        let mut prefixes = agrees(text, &[(5, 2, 8), (5, 5, 10), (5, 2, 5)]);
        assert!(read(&mut prefixes, b"0123456x89", 5, 5, 8).is_err());
    }

    #[test]
    fn a_fork_has_its_sources_bytes_whoever_is_read_first() {
        let text = b"0123456789";
        let mut prefixes = agrees(text, &[(7, 0, 4), (7, 4, 8), (5, 0, 4)]);
        // The source has other bytes past 4 than the fork, and that is fine.
        read(&mut prefixes, b"0123xxxxxx", 5, 4, 8).unwrap();
        prefixes.shares(7, token(5, 4), 2).unwrap();
        read(&mut prefixes, text, 5, 0, 3).unwrap();
        assert!(read(&mut prefixes, b"01x3456789", 7, 0, 3).is_err());
        let crossing = prefixes.carried(token(5, 3), token(7, 8), b"x4567", 3);
        assert_eq!(crossing.unwrap_err().at, token(7, 4));
    }

    #[test]
    fn a_chain_of_forks_is_learned_in_any_order() {
        let text = b"0123456789";
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let mut prefixes = agrees(text, &[(5, 0, 2), (9, 0, 2), (9, 2, 6), (9, 6, 10)]);
            for step in order {
                let (generation, origin) =
                    [(7, token(5, 3)), (9, token(7, 6)), (9, token(5, 2))][step];
                prefixes.shares(generation, origin, 2).unwrap();
            }
            read(&mut prefixes, text, 9, 0, 10).unwrap();
            assert!(
                read(&mut prefixes, b"x123456789", 5, 0, 2).is_err(),
                "{order:?}"
            );
            assert!(
                read(&mut prefixes, b"012345x789", 9, 0, 10).is_err(),
                "{order:?}"
            );
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_still_true() {
        let text: Vec<u8> = (0..=255).cycle().take(4000).collect();
        let mut prefixes = Prefixes {
            limit: 100,
            ..Prefixes::default()
        };
        for at in 0..3999 {
            read(&mut prefixes, &text, 5, at, at + 1).unwrap();
        }
        assert!(prefixes.nodes.len() <= 101, "{}", prefixes.nodes.len());
        read(&mut prefixes, &text, 5, 0, 3999).unwrap();
        let mut other = text.clone();
        other[1000] ^= 1;
        assert!(read(&mut prefixes, &other, 5, 0, 3999).is_err());
    }
}
