//! A disk that stalls in the middle of a sync, and who notices.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use millrace_env::{DirEntry, Disk, Env, File, OpenMode, RealClock, Rng, SimDisk, sleep};
use millrace_server::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    support::{TEXT, TestServer, path, within},
    tls::Secret,
};

/// A disk whose syncs wait while the gate is shut.
#[derive(Debug)]
struct StallingDisk {
    disk: Arc<SimDisk>,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
    somebody_waits: AtomicBool,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.is_shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut shut = self.is_shut.lock().unwrap();
        while *shut {
            self.somebody_waits.store(true, Ordering::SeqCst);
            shut = self.opened.wait(shut).unwrap();
        }
    }
}

#[derive(Debug)]
struct StallingFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl File for StallingFile {
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        self.file.read_at(buf, pos)
    }

    fn write_at(&self, buf: &[u8], pos: u64) -> io::Result<usize> {
        self.file.write_at(buf, pos)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

impl Disk for StallingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode)?;
        let gate = Arc::clone(&self.gate);
        Ok(Arc::new(StallingFile { file, gate }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn available(&self) -> io::Result<u64> {
        self.disk.available()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
}

/// A server whose only core stalls in a sync, a connection that waits for it, and the way out.
async fn stalled(change: impl FnOnce(&mut Config)) -> (TestServer, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let disk = StallingDisk {
        disk: SimDisk::new(1),
        gate: Arc::clone(&gate),
    };
    let env = Env {
        disk: Arc::new(disk),
        clock: Arc::new(RealClock::new()),
        rng: Arc::new(Rng::from_seed(1)),
    };
    let server = TestServer::in_env(env, |_, config| change(config)).await;
    (server, gate)
}

async fn until_somebody_waits(gate: &Gate) {
    within(async {
        while !gate.somebody_waits.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The sync that stalls runs on the core's own loop: nothing on that core goes on, and still the
/// process can say that it lives.
#[tokio::test]
async fn health_is_told_while_the_disk_stalls() {
    let (server, gate) = stalled(|_| {}).await;
    server.create("a", TEXT, "").await;
    gate.set(true);
    let mut conn = server.connect().await;
    conn.send("POST", &path("a"), &[TEXT], b"x").await;
    until_somebody_waits(&gate).await;
    for _ in 0..3 {
        assert_eq!(server.get("/health").await.status, 200);
        assert_eq!(server.get("/ready").await.status, 200);
    }
    gate.set(false);
    assert_eq!(conn.answer().await.status, 204);
    assert_eq!(server.get(&path("a")).await.text(), "x");
    server.stop().await;
}

/// The same with TLS, and with HTTP/2 in it, as probes speak it.
#[tokio::test]
async fn health_is_told_with_tls_while_the_disk_stalls() {
    let secret = Secret::new();
    let (server, gate) = stalled(|config| secret.apply(config)).await;
    gate.set(true);
    let mut conn = secret.connect(&server, "http/1.1").await;
    let put = format!(
        "PUT {} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
        path("a")
    );
    conn.write_all(put.as_bytes()).await.unwrap();
    until_somebody_waits(&gate).await;
    for target in ["/health", "/ready"] {
        let told = secret.http1_status(&server, target).await;
        assert_eq!(told, "HTTP/1.1 200 OK", "{target}");
        assert_eq!(secret.http2_status(&server, target).await, 200, "{target}");
    }
    gate.set(false);
    let mut answer = [0; 12];
    within(conn.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
    server.stop().await;
}
