//! What the system says of a process and of files.

use std::{fs, io, path::Path, time::Duration};

use rustix::fs::{Advice, fadvise};

/// The unit of `/proc/PID/stat`, the same on every Linux that there is.
const TICKS_PER_SECOND: u32 = 100;

/// A process's use of memory and descriptors at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Anonymous memory that is resident, in bytes.
    pub anon: u64,
    /// All that is resident, in bytes.
    pub resident: u64,
    /// The most that ever was, in bytes.
    pub peak: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Looks at a process.
pub fn usage(pid: u32) -> Result<Usage, String> {
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

/// The processor time that a process has used, all its threads together.
pub fn processor_time(pid: u32) -> Result<Duration, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The name, in parentheses, may hold blanks; user and system time are fields 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs(1) * u32::try_from(ticks).unwrap_or(u32::MAX) / TICKS_PER_SECOND)
}

/// A field of `/proc/PID/status`, which counts in kibibytes; 0 where the system does not tell.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0) * 1024
}

/// Lets the page cache forget the files below `dir`, as far as this process may.
pub fn drop_cache(dir: &Path) -> io::Result<()> {
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
pub fn drop_all_caches() -> bool {
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// How many bytes the files below `dir` take.
pub fn disk_bytes(dir: &Path) -> io::Result<u64> {
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
