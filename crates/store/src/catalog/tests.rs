//! Commits, and what can be asked afterwards.
