//! Every segment file is whole, and the catalog's extents are what is in it.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use millrace_core::SegmentId;
use millrace_env::Env;

use super::{Report, catalog::Extents, files, logs::OLDER};
use crate::{
    StoreError,
    catalog::{Catalog, SegmentRow},
    segment::{
        Extent, SEGMENTS_DIR, cleanup::is_older_than, file::SegmentFile, id_in_name, segment_name,
        walk::IndexWalk,
    },
};

/// How many blocks are read at once.
const BLOCKS: u64 = 64;
const RESTORE: &str = "restore this file from a backup; without one, `millrace repair` keeps what holds of \
                       it";

/// Checks the segments that the catalog names, and looks at what else there is.
pub(super) fn check(
    env: &Env,
    catalog: &Catalog,
    extents: &Extents,
    report: &mut Report,
) -> Result<(), StoreError> {
    let rows = match catalog.segments() {
        Ok(rows) => rows,
        Err(error) => {
            report.error(super::CATALOG_FILE, error, RESTORE);
            return check_alone(env, report);
        }
    };
    let doomed: BTreeSet<SegmentId> = catalog.doomed().unwrap_or_default().into_iter().collect();
    for row in &rows {
        let named = extents.get(&row.id).map_or(&[][..], Vec::as_slice);
        check_named(env, row, named, report);
    }
    let named: BTreeSet<SegmentId> = rows.iter().map(|row| row.id).collect();
    let has_manifest = catalog.manifest().is_ok_and(|manifest| manifest.is_some());
    for entry in files::list(env, SEGMENTS_DIR)? {
        if !has_manifest && id_in_name(&entry.name, ".seg").is_some() {
            report.error(super::CATALOG_FILE, is_older_than(&entry.name), OLDER);
            continue;
        }
        look_at(&entry.name, &named, &doomed, report);
    }
    Ok(())
}

/// Without a catalog: every segment by itself.
pub(super) fn check_alone(env: &Env, report: &mut Report) -> Result<(), StoreError> {
    for id in files::segments(env)? {
        if let Err(error) = SegmentFile::open(env, id).and_then(|file| check_file(&Arc::new(file)))
        {
            report.error(&path(id), error, RESTORE);
        }
    }
    Ok(())
}

fn check_named(env: &Env, row: &SegmentRow, named: &[Extent], report: &mut Report) {
    report.segments += 1;
    report.bytes += row.live;
    let checked = SegmentFile::open(env, row.id).and_then(|file| {
        let len = file.trailer().file_len();
        let written = check_file(&Arc::new(file))?;
        Ok((len, written))
    });
    let (len, written) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let lost = format!("{error}; it holds {} bytes of streams", row.live);
            return report.error(&path(row.id), lost, RESTORE);
        }
    };
    let total: u64 = written.iter().map(Extent::bytes).sum();
    if (len, total) != (row.len, row.total) {
        let what = "its length or content is not what the catalog knows of it";
        report.error(&path(row.id), what, RESTORE);
    }
    let written: HashSet<Extent> = written.into_iter().collect();
    for extent in named {
        if !written.contains(extent) {
            let what = format!(
                "the catalog looks here for stream {} from {} to {}, which was not written here",
                extent.stream, extent.from, extent.until
            );
            report.error(&path(row.id), what, RESTORE);
        }
    }
}

/// Reads every block and every index, and gives what was written.
fn check_file(file: &Arc<SegmentFile>) -> Result<Vec<Extent>, StoreError> {
    let mut first = 0;
    while first < file.blocks() {
        let last = (first + BLOCKS).min(file.blocks()) - 1;
        file.read_blocks(first, last)?;
        first = last + 1;
    }
    let mut index = IndexWalk::new(file)?;
    while index.walk(file, u32::MAX)? {}
    Ok(index.into_extents())
}

/// What is not named: the next start deals with it.
fn look_at(
    name: &str,
    named: &BTreeSet<SegmentId>,
    doomed: &BTreeSet<SegmentId>,
    report: &mut Report,
) {
    let file = format!("{SEGMENTS_DIR}/{name}");
    match (id_in_name(name, ".seg"), id_in_name(name, ".tmp")) {
        (Some(id), _) if named.contains(&id) => {}
        (Some(id), _) if doomed.contains(&id) => {
            report.note(
                &file,
                "holds nothing that is needed",
                "nothing: the next start deletes it",
            );
        }
        (Some(_), _) => report.note(
            &file,
            "the catalog does not name this segment, as after a crash in the middle of a flush",
            "nothing: the next start moves it to quarantine",
        ),
        (_, Some(_)) => report.note(
            &file,
            "was never finished",
            "nothing: the next start deletes it",
        ),
        _ => report.warn(&file, "is no segment", "look at it, and take it away"),
    }
}

fn path(id: SegmentId) -> String {
    format!("{SEGMENTS_DIR}/{}", segment_name(id))
}
