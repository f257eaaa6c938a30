//! Patterns over stream names: `*` is one path segment, `**` any number of them, none included
//! (PROTOCOL 6.2). Inside of a segment, `*` is any run of characters; `%2A` is a star that means itself.
//!
//! Matching takes no more than the product of both lengths, whatever the pattern: a star goes back to
//! itself alone, never to the one before it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::limits::PATTERN_BYTES_MAX;

/// A pattern; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: Arc<str>,
    segments: Arc<[Segment]>,
}

/// A name in segments: split once, held against many patterns.
#[derive(Clone, Debug)]
pub struct Path<'n> {
    name: &'n str,
    segments: Vec<&'n str>,
}

impl<'n> Path<'n> {
    /// Of a stream's name.
    pub fn new(name: &'n str) -> Self {
        Self {
            name,
            segments: name.split('/').collect(),
        }
    }

    /// The name.
    pub fn name(&self) -> &'n str {
        self.name
    }
}

/// What a segment of a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`.
    Many,
    /// One segment with all of its text.
    Exactly(Box<str>),
    /// One segment with these texts in order, the first at its beginning and the last at its end;
    /// `*` alone is two empty ones.
    Parts(Box<[Box<str>]>),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// No segment.
    #[error("the pattern is empty")]
    Empty,
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("the pattern is longer than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    /// A segment is empty, `.` or `..`, or there is a control character: no stream has such a name.
    #[error(
        "the pattern matches no stream name: it has an empty, `.` or `..` segment, or a control character"
    )]
    MatchesNothing,
}

impl Pattern {
    /// Reads a pattern. One slash before and after it counts for nothing.
    pub fn new(text: &str) -> Result<Self, PatternFault> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Err(PatternFault::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternFault::TooLong);
        }
        let matches_nothing = |segment: &str| matches!(segment, "" | "." | "..");
        if text.chars().any(char::is_control) || text.split('/').any(matches_nothing) {
            return Err(PatternFault::MatchesNothing);
        }
        Ok(Self {
            segments: text.split('/').map(Segment::new).collect(),
            text: text.into(),
        })
    }

    /// The text, without slashes around it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a stream of this name is meant.
    pub fn matches(&self, name: &Path<'_>) -> bool {
        let names = &name.segments[..];
        let (mut at, mut pos) = (0, 0);
        // The last `**`, and up to where it has eaten.
        let mut many: Option<(usize, usize)> = None;
        while pos < names.len() {
            match self.segments.get(at) {
                Some(Segment::Many) => {
                    many = Some((at, pos));
                    at += 1;
                }
                Some(segment) if segment.matches(names[pos]) => {
                    at += 1;
                    pos += 1;
                }
                _ => {
                    let Some((star, eaten)) = many else {
                        return false;
                    };
                    many = Some((star, eaten + 1));
                    (at, pos) = (star + 1, eaten + 1);
                }
            }
        }
        self.segments[at..]
            .iter()
            .all(|segment| *segment == Segment::Many)
    }

    /// What every name begins with that it matches: for who has to look for them all.
    pub fn prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in self.segments.iter() {
            match segment {
                Segment::Exactly(text) => {
                    prefix.push_str(text);
                    prefix.push('/');
                }
                Segment::Parts(parts) => {
                    prefix.push_str(&parts[0]);
                    return prefix;
                }
                // The slash before it counts for nothing when it stands for no segment.
                Segment::Many => break,
            }
        }
        prefix.pop();
        prefix
    }
}

impl Segment {
    fn new(text: &str) -> Self {
        if text == "**" {
            return Self::Many;
        }
        let parts = text.split('*').map(|part| {
            let star = part.replace("%2A", "*").replace("%2a", "*");
            star.into_boxed_str()
        });
        let mut parts: Vec<_> = parts.collect();
        if parts.len() == 1 {
            return Self::Exactly(parts.remove(0));
        }
        Self::Parts(parts.into())
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Many => true,
            Self::Exactly(text) => **text == *name,
            Self::Parts(parts) => {
                let (first, last) = (&*parts[0], &*parts[parts.len() - 1]);
                let Some(rest) = name.strip_prefix(first) else {
                    return false;
                };
                let Some(mut rest) = rest.strip_suffix(last) else {
                    return false;
                };
                // The first place where a part stands leaves the most for those after it.
                for part in &parts[1..parts.len() - 1] {
                    let Some(found) = rest.find(&**part) else {
                        return false;
                    };
                    rest = &rest[found + part.len()..];
                }
                true
            }
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternFault;

    fn try_from(text: String) -> Result<Self, PatternFault> {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text.as_ref().into()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(&Path::new(name))
    }

    #[test]
    fn stars_match_segments() {
        for (pattern, yes, no) in [
            (
                "events/*",
                &["events/a", "events/*"][..],
                &["events", "events/a/b", "event/a"][..],
            ),
            ("/events/*/", &["events/a"], &["events"]),
            ("*", &["a"], &["a/b"]),
            ("**", &["a", "a/b/c"], &[]),
            ("a/**", &["a", "a/b", "a/b/c"], &["b", "ab"]),
            ("**/z", &["z", "a/z", "a/b/z"], &["z/a", "az"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/z/z"], &["a", "z", "a/b"]),
            ("a/*/c", &["a/b/c"], &["a/c", "a/b/b/c"]),
            ("**/b/**", &["b", "a/b", "b/c", "a/b/b/c"], &["a", "a/c"]),
            ("user-*", &["user-", "user-7"], &["user", "user-7/x"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc"], &["ab", "abcd", "ac"]),
            ("ab*ba", &["abba"], &["aba"]),
            ("a%2Ab", &["a*b"], &["axb", "a%2Ab"]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} matches {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} does not match {name}");
            }
        }
    }

    #[test]
    fn what_no_name_can_match_is_no_pattern() {
        for (text, fault) in [
            ("", PatternFault::Empty),
            ("/", PatternFault::Empty),
            ("a//b", PatternFault::MatchesNothing),
            ("a/../b", PatternFault::MatchesNothing),
            ("a\n", PatternFault::MatchesNothing),
        ] {
            assert_eq!(Pattern::new(text), Err(fault), "{text:?}");
        }
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        assert_eq!(Pattern::new(&long), Err(PatternFault::TooLong));
    }

    #[test]
    fn many_stars_take_no_long_time() {
        let name = "a/".repeat(400) + "b";
        assert!(!matches(&("**/".repeat(300) + "c"), &name));
        let name = "a".repeat(1000);
        assert!(!matches(&("a*".repeat(500) + "b"), &name));
    }

    /// The plain definition, exponential as it is.
    fn naive(pattern: &[&str], name: &[&str]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ["**", rest @ ..] => (0..=name.len()).any(|skip| naive(rest, &name[skip..])),
            [first, rest @ ..] => name.split_first().is_some_and(|(own, others)| {
                (*first == "*" || first == own) && naive(rest, others)
            }),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(
            pattern in proptest::collection::vec("a|b|\\*|\\*\\*", 1..7),
            name in proptest::collection::vec("a|b", 1..8),
        ) {
            let text = pattern.join("/");
            let own: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let parts: Vec<&str> = name.iter().map(String::as_str).collect();
            let name = name.join("/");
            let compiled = Pattern::new(&text).unwrap();
            prop_assert_eq!(compiled.matches(&Path::new(&name)), naive(&own, &parts));
            if compiled.matches(&Path::new(&name)) {
                prop_assert!(name.starts_with(&compiled.prefix()));
            }
        }
    }
}
