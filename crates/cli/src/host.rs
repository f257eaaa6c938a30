//! What this machine has: memory, cores, descriptors.

use std::{num::NonZero, path::Path};

use millrace_env::{Disk, OpenMode, RealDisk};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where a memory limit came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemorySource {
    Cgroup,
    Ram,
    /// Neither could be read.
    Guess,
}

/// What is assumed where nothing can be read.
const MEMORY_GUESS: u64 = 2 << 30;

/// The memory this process may use: the smallest limit of its cgroups, else all there is.
pub(crate) fn memory() -> (u64, MemorySource) {
    let root = RealDisk::new("/");
    let ram = read(&root, "proc/meminfo").and_then(|text| ram_in(&text));
    let cgroup = read(&root, "proc/self/cgroup").and_then(|text| {
        let limits = limit_files(&text).into_iter();
        limits
            .filter_map(|file| read(&root, &file)?.trim().parse::<u64>().ok())
            .min()
    });
    match (cgroup, ram) {
        // Version 1 says "no limit" with a number larger than any machine.
        (Some(limit), ram) if ram.is_none_or(|ram| limit < ram) => (limit, MemorySource::Cgroup),
        (_, Some(ram)) => (ram, MemorySource::Ram),
        _ => (MEMORY_GUESS, MemorySource::Guess),
    }
}

fn ram_in(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The files that may hold a limit for a process with these cgroups: version 2 (`0::/path`) and
/// version 1 (`4:memory:/path`), its own group and all above it. In a container the path may be that
/// of the host; the root is what is mounted, and is always looked at.
fn limit_files(cgroups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (root, file) = if number == "0" && controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut group = path.trim_end_matches('/');
        loop {
            files.push(format!("{root}{group}/{file}"));
            let Some((above, _)) = group.rsplit_once('/') else {
                break;
            };
            group = above;
        }
    }
    files
}

/// All of a small file whose length the system does not tell.
fn read(root: &RealDisk, path: &str) -> Option<String> {
    let file = root.open(Path::new(path), OpenMode::Read).ok()?;
    let mut text = vec![0; 16 << 10];
    let mut len = 0;
    loop {
        let more = file.read_at(&mut text[len..], len as u64).ok()?;
        len += more;
        if more == 0 {
            text.truncate(len);
            return String::from_utf8(text).ok();
        }
    }
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Raises the number of descriptors to what the system allows at most; how many that is.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        // What there is serves fewer connections, and is no reason not to start.
        Err(_) => limit,
    };
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_above_is_looked_at() {
        let files = limit_files("4:memory:/a/b\n2:cpu:/x\n0::/c\nnonsense\n");
        assert_eq!(
            files,
            [
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "sys/fs/cgroup/c/memory.max",
                "sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(limit_files("0::/\n"), ["sys/fs/cgroup/memory.max"]);
    }

    #[test]
    fn ram_is_read() {
        assert_eq!(ram_in("MemTotal:  16 kB\nMemFree: 1 kB\n"), Some(16 << 10));
        assert_eq!(ram_in("nothing"), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(memory().0 > 0);
        assert!(cores() > 0);
        assert!(raise_descriptors() > 0);
    }
}
