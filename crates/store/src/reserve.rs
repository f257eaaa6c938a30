//! Space kept back, so that space can be freed on a full disk (decision 7).
//!
//! Deleting a stream gives its bytes back only once a flush commits the deletion, and a commit
//! needs some space itself. So a file of plain bytes is kept; a flush or a compaction that finds the
//! disk full removes it and tries once more. [`keep`] makes it again when there is room.
//!
//! Not here: the log's own reserve (`crate::wal`).

use std::{io, path::Path};

use millrace_env::{Env, FileExt, OpenMode};

use crate::StoreError;

/// The file's name, below the data directory.
pub const RESERVE_FILE: &str = "reserve";
/// A good size: what the commit of a large flush may take.
pub const RESERVE_BYTES: u64 = 16 << 20;

/// How much more room there must be than the reserve takes.
const ROOM: u64 = 4;

/// Makes the reserve, unless it is there or space is scarce, and says whether it is there. Cheap when
/// it is: call it at a start, and after a flush.
pub fn keep(env: &Env, bytes: u64) -> Result<bool, StoreError> {
    match make(env, bytes) {
        Ok(there) => Ok(there),
        Err(error) => match StoreError::io("make the reserve", &error) {
            StoreError::Full => {
                release(env);
                Ok(false)
            }
            error => Err(error),
        },
    }
}

fn make(env: &Env, bytes: u64) -> io::Result<bool> {
    let file = env
        .disk
        .open(Path::new(RESERVE_FILE), OpenMode::CreateOrOpen)?;
    let len = file.len()?;
    if len >= bytes {
        return Ok(true);
    }
    if env.disk.available()? / ROOM < bytes {
        return Ok(false);
    }
    // Written, because a length alone takes no space; and not with zeros, which some systems elide.
    let block = vec![0xA5; 1 << 20];
    let mut at = len;
    while at < bytes {
        let part = usize::try_from(bytes - at).map_or(block.len(), |left| left.min(block.len()));
        file.write_all_at(&block[..part], at)?;
        at += part as u64;
    }
    file.sync()?;
    Ok(true)
}

/// Gives the reserve up; says whether that freed anything.
pub(crate) fn release(env: &Env) -> bool {
    let path = Path::new(RESERVE_FILE);
    let held = env
        .disk
        .open(path, OpenMode::Read)
        .and_then(|file| file.len());
    let freed = held.is_ok_and(|len| len > 0) && env.disk.remove(path).is_ok();
    if freed {
        tracing::warn!("the disk is full: the reserve is used to free space");
    }
    freed
}

#[cfg(test)]
mod tests {
    use millrace_env::{Disk, Rng, SimDisk};

    use super::*;
    use crate::testkit::{Store, Streams, payload, sim_env};

    #[test]
    fn a_full_disk_can_be_freed_by_deleting_streams() {
        let disk = SimDisk::new(1);
        let env = sim_env(&disk, 1);
        let rng = Rng::from_seed(1);
        let store = Store::open(&env).unwrap();
        let mut streams = Streams::default();
        let ids: Vec<_> = (0..40).map(|n| streams.create(&format!("{n}"))).collect();
        for id in &ids {
            streams.append(*id, &payload(&rng, &[20_000]));
        }
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
        assert!(keep(&env, 300_000).unwrap());
        for id in &ids {
            streams.append(*id, &payload(&rng, &[1000]));
        }
        disk.set_capacity(Some(disk.used()));
        let before = disk.used();
        for id in &ids[..30] {
            streams.remove(*id);
        }
        store.flush(&streams.freeze()).unwrap();
        streams.flushed();
        store.assert_holds(&streams);
        while store.compact().unwrap().did_something() {}
        store.assert_holds(&streams);
        assert!(
            disk.used() < before - 300_000,
            "{} of {before}",
            disk.used()
        );
        disk.set_capacity(Some(disk.used() + 2_000_000));
        assert!(keep(&env, 300_000).unwrap());
        assert!(keep(&env, 300_000).unwrap());
    }

    #[test]
    fn no_reserve_is_made_where_space_is_scarce() {
        let disk = SimDisk::new(2);
        let env = sim_env(&disk, 2);
        disk.set_capacity(Some(300_000));
        assert!(!keep(&env, 100_000).unwrap());
        assert!(disk.used() < 100_000);
        assert!(!release(&env));
        assert!(disk.list(Path::new("")).unwrap().len() <= 1);
    }
}
