//! How the directory comes about: step by step, with what it holds noted beside it.

mod commands;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use millrace_core::{Lifetime, Timestamp};
use millrace_env::{Disk as _, SimClock, SimDisk};

use super::{super::files, LOGS, Models, Moment, NOW, OLD_LOG, SHARDS, Specimen, options};
use crate::crash::machine::Machine;

/// Fills a data directory step by step, and notes what it holds.
pub(super) struct Builder {
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    machine: Option<Machine>,
    models: Models,
    names: Vec<String>,
    moments: Vec<Moment>,
    older_catalogs: Vec<(&'static str, Vec<u8>)>,
    bodies: u64,
}

impl Builder {
    pub(super) fn new() -> Self {
        let disk = SimDisk::new(26);
        Self {
            disk,
            clock: Arc::new(SimClock::new(NOW - 3_600_000)),
            machine: None,
            models: Models::new(),
            names: Vec::new(),
            moments: Vec::new(),
            older_catalogs: Vec::new(),
            bodies: 0,
        }
    }

    pub(super) fn build(mut self) -> Specimen {
        self.empty();
        self.in_one_shard();
        let old_log = self.first_of_log(OLD_LOG);
        self.older("of before the shards were counted anew");
        self.open(SHARDS);
        let compacted = self.in_two_shards();
        let flushed_log = self.last_flush();
        let flushed = self.at().last_frames();
        self.not_flushed();
        self.machine = None;
        let disk = self.disk.kill();
        // What a crash between two steps leaves behind, each of which a start deals with.
        let unnamed = compacted.0.clone();
        let leftovers = [
            ("segments/00000000000000f0.tmp", vec![7; 3000]),
            ("wal/0000000000000002/00000000000000f0.tmp", vec![0; 3000]),
            ("catalog.tmp", vec![7; 3000]),
            ("quarantine/00000000000000e0.seg", vec![7; 3000]),
        ];
        let leftovers = leftovers.map(|(path, content)| (path.to_owned(), content));
        let given_back = [old_log, compacted, flushed_log];
        for (path, content) in given_back.iter().chain(&leftovers) {
            files::write(&disk, path, content);
        }
        let logs = LOGS;
        Specimen {
            files: files::read(&disk),
            disk,
            names: self.names,
            moments: self.moments,
            logs: logs.iter().map(PathBuf::from).collect(),
            flushed,
            unnamed,
            older_catalogs: self.older_catalogs,
        }
    }

    /// A catalog in which nothing stands yet.
    fn empty(&mut self) {
        let disk = SimDisk::new(1);
        // Far enough for the catalog to have its name, and not for its manifest.
        let mut ios = 1;
        let content = loop {
            let disk = disk.copy(ios);
            disk.crash_after(ios);
            let _ = Machine::open(&disk, &self.clock, options(1), 1);
            let disk = disk.crash();
            let names = disk.list(Path::new("")).expect("a directory");
            if names.iter().any(|entry| entry.name == "catalog.redb") {
                break disk.content("catalog.redb");
            }
            ios += 1;
        };
        self.older_catalogs
            .push(("of before the first stream", content));
    }

    fn in_one_shard(&mut self) {
        self.open(1);
        for n in 0..6 {
            self.create(&format!("old/{n}"), n % 2 == 0, Lifetime::Unlimited);
            self.append(&format!("old/{n}"), 40);
        }
        self.flush();
    }

    /// Everything that there is; answers a segment that was compacted away.
    fn in_two_shards(&mut self) -> (String, Vec<u8>) {
        for n in 0..40 {
            let name = format!("many/{n:02}");
            let lifetime = match n % 4 {
                0 => Lifetime::Ttl(86_400),
                1 => Lifetime::Until(Timestamp(NOW + 86_400_000)),
                _ => Lifetime::Unlimited,
            };
            self.create(&name, n % 2 == 0, lifetime);
            for k in 0..3 {
                let producer = (n % 3 == 0).then(|| (format!("p{}", n % 2), k));
                self.post(&name, &[30 + 10 * (n % 7)], producer, false);
            }
        }
        // Rows enough for tables of more than one page.
        for n in 0..50 {
            let name = format!("wide/{n:02}/{}", "x".repeat(200));
            self.create(&name, false, Lifetime::Unlimited);
        }
        self.flush();
        // More than one page of index, and more than one block of data.
        for name in ["big/json", "big/bytes", "big/too"] {
            self.create(name, name.ends_with("json"), Lifetime::Unlimited);
        }
        for _ in 0..3 {
            self.messages("big/json", 200);
            self.append("big/bytes", 9_000);
            self.append("big/too", 7_000);
        }
        self.flush();
        self.older("of before the last flushes");
        self.fork("fork/near", "big/json");
        self.fork("fork/far", "many/03");
        self.append("fork/near", 50);
        self.fork("fork/twice", "fork/near");
        self.delete("many/03");
        self.delete("many/05");
        for n in 10..30 {
            self.delete(&format!("many/{n:02}"));
        }
        self.create("many/05", false, Lifetime::Unlimited);
        self.close("many/06");
        self.close("old/1");
        self.flush();
        let before = files::read(&self.disk);
        self.at().compact().expect("it compacts");
        let after = files::read(&self.disk);
        let gone = before
            .into_iter()
            .find(|(path, _)| !after.contains_key(path));
        let gone = gone.expect("something was compacted");
        assert!(files::is(&gone.0, "seg"), "{}", gone.0);
        self.open(SHARDS);
        for name in self.open_names() {
            if name.starts_with("many/") {
                self.append(&name, 100);
            }
        }
        self.flush();
        gone
    }

    /// The last flush; answers the last log segment that it gave back.
    fn last_flush(&mut self) -> (String, Vec<u8>) {
        for _ in 0..4 {
            self.append("big/bytes", 5_000);
            self.append("big/too", 5_000);
        }
        let before = files::read(&self.disk);
        self.flush();
        let after = files::read(&self.disk);
        let given_back = before.into_iter().rfind(|(path, _)| {
            path.starts_with(LOGS[0]) && files::is(path, "wal") && !after.contains_key(path)
        });
        given_back.expect("one went")
    }

    fn first_of_log(&self, log: &str) -> (String, Vec<u8>) {
        let mut files = files::read(&self.disk).into_iter();
        let first = files.find(|(path, _)| path.starts_with(log) && files::is(path, "wal"));
        first.expect("a log has a segment")
    }

    /// What only the logs have: several segments, of two processes, and some frames of each.
    fn not_flushed(&mut self) {
        self.note();
        let sizes = [3_000, 200, 4_000, 60, 5_000, 300, 3_000, 40, 4_000, 700, 80];
        for (n, size) in (0u64..).zip(sizes) {
            for shard in 0..usize::from(SHARDS) {
                let name = self.open_in(shard, n);
                let producer = (n % 2 == 0).then(|| ("late".to_owned(), n / 2));
                let producer = producer.filter(|_| name == self.open_in(shard, 0));
                self.post(&name, &[size], producer, false);
                self.note();
            }
        }
        self.older("of the start before, since which the logs lost nothing");
        // The first segment of a process was used before; those that it makes itself are zeros.
        self.open(SHARDS);
        for size in [5_000, 5_000, 5_000] {
            self.append(&self.open_in(1, 0), size);
            self.note();
        }
        let [a, b] = ["new/a", "new/b"];
        self.create(a, false, Lifetime::Unlimited);
        self.note();
        self.create(b, true, Lifetime::Unlimited);
        self.note();
        self.delete("many/07");
        self.note();
        self.close("many/08");
        self.note();
        for (name, size) in [("big/bytes", 90), ("big/too", 150), (a, 20), (b, 60)] {
            self.append(name, size);
            self.note();
        }
        for shard in 0..usize::from(SHARDS) {
            for size in [700, 30, 400] {
                self.append(&self.open_in(shard, 1), size);
                self.note();
            }
        }
    }

    /// The name of a stream of a shard that takes appends.
    fn open_in(&self, shard: usize, n: u64) -> String {
        let mut open = self.open_names();
        open.retain(|name| Specimen::shard(name) == shard && !name.starts_with("wide/"));
        let n = usize::try_from(n).expect("few") % open.len();
        open.swap_remove(n)
    }

    fn open_names(&self) -> Vec<String> {
        let open = self
            .models
            .iter()
            .filter(|(_, model)| !model.closed && !model.soft_deleted);
        open.map(|(name, _)| name.clone()).collect()
    }

    /// Remembers this moment.
    fn note(&mut self) {
        let frames = self.at().last_frames();
        let models = self.models.clone();
        self.moments.push(Moment { frames, models });
    }

    fn older(&mut self, when: &'static str) {
        let content = self.file("catalog.redb");
        self.older_catalogs.push((when, content));
    }

    fn file(&self, path: &str) -> Vec<u8> {
        self.disk.content(path)
    }
}
