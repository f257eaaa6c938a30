//! Offset tokens: a generation and a position (`docs/format.md`).
//!
//! Read here once more rather than with the server's own code, which is what is watched.

use std::fmt;

/// An offset as the server hands it out. The order of tokens is that of their texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Who wrote the byte before it: a number that is given out once.
    pub generation: u64,
    /// How many bytes are before it.
    pub position: u64,
}

impl Token {
    /// Reads `<digits>-<digits>`; `None` for anything else, `-1` and `now` among it.
    pub fn parse(text: &str) -> Option<Self> {
        let (generation, position) = text.split_once('-')?;
        Some(Self {
            generation: number(generation)?,
            position: number(position)?,
        })
    }

    /// The same generation at another position.
    pub(crate) fn at(self, position: u64) -> Self {
        Self { position, ..self }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}-{:016}", self.generation, self.position)
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !text.is_empty()).then(|| text.parse().ok())?
}
