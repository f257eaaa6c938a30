//! Pairs of files, good and bad, on the simulated disk.

use millrace_env::SimDisk;
use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Pair {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            cert: cert.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }

    pub(super) fn write_cert(&self, disk: &dyn Disk) {
        write(disk, &files().cert, &self.cert);
    }

    pub(super) fn write_key(&self, disk: &dyn Disk) {
        write(disk, &files().key, &self.key);
    }
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::CreateOrOpen).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

pub(super) fn files() -> TlsFiles {
    TlsFiles {
        cert: "tls.crt".into(),
        key: "tls.key".into(),
    }
}

pub(super) fn disk_with(pair: &Pair) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = SimDisk::new(1);
    pair.write_cert(&*disk);
    pair.write_key(&*disk);
    disk
}

fn fault(cert: &[u8], key: &[u8]) -> TlsFault {
    let pair = Pair {
        cert: cert.to_vec(),
        key: key.to_vec(),
    };
    Tls::load(disk_with(&pair), files()).unwrap_err()
}

#[test]
fn a_pair_is_taken_and_offers_both_versions_of_http() {
    let tls = Tls::load(disk_with(&Pair::new()), files()).unwrap();
    assert_eq!(tls.config().alpn_protocols, PROTOCOLS);
    let shown = format!("{tls:?}");
    assert!(
        shown.contains("tls.crt") && !shown.contains("PRIVATE"),
        "{shown}"
    );
}

#[test]
fn what_cannot_be_used_is_told_apart() {
    let (one, other) = (Pair::new(), Pair::new());
    let missing = Tls::load(SimDisk::new(1), files()).unwrap_err();
    let told = missing.to_string();
    assert!(told.starts_with("tls.crt cannot be read: "), "{told}");
    assert_eq!(fault(b"", &one.key), TlsFault::NoCertificate(files().cert));
    assert_eq!(
        fault(&one.key, &one.key),
        TlsFault::NoCertificate(files().cert)
    );
    assert_eq!(fault(&one.cert, &one.cert), TlsFault::NoKey(files().key));
    assert_eq!(fault(&one.cert, &other.key), TlsFault::Mismatch(files()));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(fault(broken, &one.key), TlsFault::Unusable { .. }));
    let huge = vec![b'#'; (1 << 20) + 1];
    assert!(matches!(
        fault(&huge, &one.key),
        TlsFault::Unreadable { .. }
    ));
}
