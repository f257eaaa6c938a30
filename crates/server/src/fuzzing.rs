//! What the short way makes of bytes, for the fuzz targets in `testing/fuzz`; not a part of the API.

pub use crate::lane::fuzzing::{Asks, Look, Memory, look};
