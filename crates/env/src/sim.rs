//! A simulated disk.

/// Placeholder, replaced by the real simulated disk.
#[derive(Debug)]
pub struct SimDisk;
