//! What the system says of a process and of files.

use std::{fs, io, path::Path};

use rustix::fs::{Advice, fadvise};

/// A process's use of memory and descriptors at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Anonymous memory that is resident, in bytes.
    pub(crate) anon: u64,
    /// All that is resident, in bytes.
    pub(crate) resident: u64,
    /// The most that ever was, in bytes.
    pub(crate) peak: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
}

/// Looks at a process.
pub(crate) fn usage(pid: u32) -> Result<Usage, String> {
    let read = || -> io::Result<Usage> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Usage {
            anon: field(&status, "RssAnon:"),
            resident: field(&status, "VmRSS:"),
            peak: field(&status, "VmHWM:"),
            descriptors,
        })
    };
    read().map_err(|error| format!("/proc/{pid}: {error}"))
}

/// A field of `/proc/PID/status`, which counts in kibibytes; 0 where the system does not tell.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0) * 1024
}

/// Lets the page cache forget the files below `dir`, as far as this process may.
pub(crate) fn drop_cache(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_cache(&entry.path())?;
        } else {
            let file = fs::File::open(entry.path())?;
            // Dirty pages are not forgotten.
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Lets the page cache forget everything, directories and inodes too; whether this process may.
pub(crate) fn drop_all_caches() -> bool {
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// How many bytes the files below `dir` take.
pub(crate) fn disk_bytes(dir: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            entry.metadata()?.blocks() * 512
        };
    }
    Ok(bytes)
}
