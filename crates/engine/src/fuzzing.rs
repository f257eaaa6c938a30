//! The engine driven step by step, for the fuzz targets in `testing/fuzz`; not a part of the API.

pub use crate::crash::driver::{Driver, Found};
