//! Segments, written and read.
