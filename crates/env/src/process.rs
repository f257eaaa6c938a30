//! What this process uses, as the system counts it, and what it asks of the system for itself. What a
//! system does not tell is left out.
#![allow(clippy::disallowed_methods, reason = "this is the door")]

use std::{fs, time::Duration};

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// What this process uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is resident, in bytes.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// The most descriptors it may open; `None` also where there is no limit.
    pub descriptors_max: Option<u64>,
    /// Processor time of all its threads so far.
    pub cpu: Option<Duration>,
}

/// Asks the system. Touches no disk.
pub fn usage() -> Usage {
    let status = fs::read_to_string("/proc/self/status").ok();
    Usage {
        resident_bytes: status.as_deref().and_then(resident_in),
        descriptors: descriptors(),
        descriptors_max: getrlimit(Resource::Nofile).current,
        cpu: cpu(),
    }
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn descriptors() -> Option<u64> {
    const OWN: &str = "/proc/self/fd";
    // Newer systems tell the number as the directory's length; counting 100,000 names takes a while.
    let told = fs::metadata(OWN).ok().map(|directory| directory.len());
    match told {
        Some(0) => {
            let names = fs::read_dir(OWN).ok()?.count();
            // One of them is the directory that is being read.
            Some((names as u64).saturating_sub(1))
        }
        told => told,
    }
}

fn cpu() -> Option<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let secs = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(secs, nanos))
}

/// Takes memory from the system in small pages from now on. A huge page is filled with zeros at the
/// moment somebody touches it first, which holds up whoever that is: for 8 ms on a virtual machine
/// whose host has to find the memory. Systems without huge pages, or that refuse, are left as they are.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_in("VmPeak: 9 kB\nVmRSS:\t  3 kB\n"), Some(3 << 10));
        assert_eq!(resident_in("Name: x\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn small_pages_can_be_asked_for() {
        use_small_pages();
        assert_eq!(
            rustix::thread::transparent_huge_pages_are_disabled(),
            Ok(true)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something_and_open_files_show() {
        let before = usage();
        assert!(before.resident_bytes > Some(1 << 20));
        assert!(before.cpu.is_some());
        // Tests of other threads open and close files too: many more than they do.
        let held: Vec<_> = (0..200)
            .map(|_| fs::File::open("/proc/self/status").expect("opens"))
            .collect();
        let after = usage();
        drop(held);
        assert!(after.descriptors >= before.descriptors.map(|open| open + 100));
    }
}
