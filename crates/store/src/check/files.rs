//! What is in the directories, without judging it.

use std::{io, path::Path};

use millrace_core::SegmentId;
use millrace_env::{DirEntry, Env};

use crate::{
    StoreError,
    segment::{SEGMENTS_DIR, id_in_name},
};

/// What is in a directory; nothing where there is none.
pub(crate) fn list(env: &Env, dir: &str) -> Result<Vec<DirEntry>, StoreError> {
    match env.disk.list(Path::new(dir)) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io(format!("list {dir}"), &error)),
    }
}

/// The segment files there are, in the order of their ids.
pub(crate) fn segments(env: &Env) -> Result<Vec<SegmentId>, StoreError> {
    let entries = list(env, SEGMENTS_DIR)?;
    let ids = entries
        .iter()
        .filter_map(|entry| id_in_name(&entry.name, ".seg"));
    Ok(ids.collect())
}
