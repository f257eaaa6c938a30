//! Whom an `https` connection is trusted with.

use std::{error::Error as StdError, io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::error::Error;

/// Who may vouch for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whom this system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are heeded).
    #[default]
    System,
    /// Only these certificates, in PEM: those of authorities, or that of a server that signed
    /// its own.
    Only(Vec<u8>),
}

/// Why no secure connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsTrouble {
    /// Nobody who is trusted vouches for the server.
    Untrusted,
    /// The certificate is for another name.
    WrongName,
    /// The certificate has expired, or is not valid yet.
    Expired,
    /// The certificate is that of an authority, which is none for a server.
    Authority,
    /// The server answers, but not with TLS.
    NotTls,
    /// Anything else.
    Other,
}

impl Trust {
    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        let roots = match self {
            Self::System => system_roots()?,
            Self::Only(pem) => roots_in(pem)?,
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Setup(format!("TLS cannot be set up: {error}")))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn system_roots() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // One that cannot be read vouches for nobody; the others do.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Error::Setup(
            "this system trusts no certificate authority; install its `ca-certificates`, or name a file of certificates".to_owned(),
        ));
    }
    Ok(roots)
}

fn roots_in(pem: &[u8]) -> Result<RootCertStore, Error> {
    let wrong = |why: String| Error::Setup(format!("the certificates to trust: {why}"));
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem) {
        let cert = cert.map_err(|error| wrong(error.to_string()))?;
        roots.add(cert).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("the file holds none in PEM".to_owned()));
    }
    Ok(roots)
}

/// What TLS had against a connection, if it was TLS.
pub(crate) fn trouble(error: &(dyn StdError + 'static)) -> Option<TlsTrouble> {
    if let Some(own) = error.downcast_ref::<rustls::Error>() {
        return Some(told_apart(own));
    }
    // An error of the system's kind hides what it was made from; its source is one further down.
    let hidden = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    hidden
        .and_then(|hidden| trouble(hidden))
        .or_else(|| trouble(error.source()?))
}

fn told_apart(error: &rustls::Error) -> TlsTrouble {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(fault) => match fault {
            C::UnknownIssuer | C::BadSignature => TlsTrouble::Untrusted,
            C::NotValidForName | C::NotValidForNameContext { .. } => TlsTrouble::WrongName,
            C::Expired
            | C::ExpiredContext { .. }
            | C::NotValidYet
            | C::NotValidYetContext { .. } => TlsTrouble::Expired,
            // The library has no name for this one.
            other if other.to_string().contains("CaUsedAsEndEntity") => TlsTrouble::Authority,
            _ => TlsTrouble::Other,
        },
        rustls::Error::InvalidMessage(_) => TlsTrouble::NotTls,
        _ => TlsTrouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_trusts_nobody() {
        for pem in [
            "",
            "no certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        ] {
            let trust = Trust::Only(pem.as_bytes().to_vec());
            assert!(matches!(trust.config(), Err(Error::Setup(_))), "{pem}");
        }
    }

    #[test]
    fn trouble_is_found_below_an_error_of_the_system() {
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::other(expired));
        assert_eq!(trouble(&wrapped), Some(TlsTrouble::Expired));
        assert_eq!(trouble(&io::Error::other("refused")), None);
    }
}
