//! TLS: the certificate, its key, and what is made of them.
//!
//! Handshakes are made by the front (`front/arrive.rs`); a connection then moves to a core with all
//! of its state (`tls/conn.rs`). Files that change are taken up while the server runs
//! (`tls/renew.rs`).
//!
//! Not here: trust in clients. Nobody is asked for a certificate; who may do what is decided by keys.

mod conn;
mod renew;

use std::{fmt, io, path::Path, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use millrace_env::{Disk, FileExt as _, OpenMode};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

pub(crate) use self::conn::{Parked, Seat, TlsConn};

/// The larger of the files that make sense is a long chain, some ten thousand bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What is spoken inside, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key in PEM, not encrypted.
    pub key: PathBuf,
}

/// Why the files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// One of them cannot be read.
    #[error("{} cannot be read: {reason}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// There is no certificate where one should be.
    #[error("{} holds no certificate; it begins with `-----BEGIN CERTIFICATE-----`", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key where one should be.
    #[error(
        "{} holds no private key that can be used; if it is encrypted, `openssl pkey` writes it in the clear",
        .0.display()
    )]
    NoKey(PathBuf),
    /// They do not belong together.
    #[error(
        "the key in {} is not that of the first certificate in {}; the server's own certificate comes first",
        .0.key.display(),
        .0.cert.display()
    )]
    Mismatch(TlsFiles),
    /// What is in them is no good.
    #[error("{} and its key cannot be used: {reason}", cert.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A certificate and its key, taken from two files, and again when they change; cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    files: TlsFiles,
    /// Read by every new connection, written by `renew.rs`.
    current: ArcSwap<Made>,
}

/// What a connection is accepted with, and what it was made from.
struct Made {
    config: Arc<ServerConfig>,
    contents: Contents,
}

/// What is in the files.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads the files. Blocks meanwhile.
    pub fn load(disk: Arc<dyn Disk>, files: TlsFiles) -> Result<Self, TlsFault> {
        let contents = Contents::read(&*disk, &files)?;
        let made = Made::new(contents, &files)?;
        let current = ArcSwap::from_pointee(made);
        Ok(Self(Arc::new(Shared {
            disk,
            files,
            current,
        })))
    }

    /// Where they are.
    pub fn files(&self) -> &TlsFiles {
        &self.0.files
    }

    /// What the next connection is accepted with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current.load().config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

impl Made {
    fn new(contents: Contents, files: &TlsFiles) -> Result<Self, TlsFault> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents.cert).collect();
        let no_certificate = || TlsFault::NoCertificate(files.cert.clone());
        let chain = chain.map_err(|_| no_certificate())?;
        if chain.is_empty() {
            return Err(no_certificate());
        }
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| TlsFault::NoKey(files.key.clone()))?;
        let config = server_config(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsFault::Mismatch(files.clone()),
            other => TlsFault::Unusable {
                cert: files.cert.clone(),
                reason: other.to_string(),
            },
        })?;
        Ok(Self {
            config: Arc::new(config),
            contents,
        })
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    // Clients carry their sessions themselves: nothing to keep for each. A new certificate comes
    // with a new ticketer, so that it is shown to clients that return, too.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

impl Contents {
    fn read(disk: &dyn Disk, files: &TlsFiles) -> Result<Self, TlsFault> {
        let read = |file: &Path| {
            whole(disk, file).map_err(|error| TlsFault::Unreadable {
                file: file.to_owned(),
                reason: error.to_string(),
            })
        };
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
        })
    }
}

/// All of a small file.
fn whole(disk: &dyn Disk, file: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(file, OpenMode::Read)?;
    let len = file.len()?;
    if len > FILE_BYTES_MAX {
        return Err(io::Error::other("it is over 1 MiB long"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
