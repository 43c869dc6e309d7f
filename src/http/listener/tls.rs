//! The certificate of the listener: PEM files to a TLS acceptor that offers `h2` and `http/1.1`.
//!
//! TLS 1.2 and 1.3 by rustls over aws-lc; the provider is named here, so no process-wide default is needed.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// ALPN name of HTTP/2 over TLS.
pub(super) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The listener's certificate chain, leaf first, and its private key (PKCS#8, PKCS#1 or SEC1), both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Path of the certificate chain.
    pub cert: PathBuf,
    /// Path of the private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used. A person has to look at the files; no message quotes their content.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate file is missing, unreadable or not PEM.
    #[error("certificate file cannot be read")]
    Certificate(#[source] pem::Error),
    /// The certificate file holds no certificate.
    #[error("certificate file holds no certificate")]
    Empty,
    /// The key file is missing, unreadable, not PEM, or holds no private key.
    #[error("private key file cannot be read")]
    Key(#[source] pem::Error),
    /// The two do not belong together, or the key's kind is not supported.
    #[error("certificate and private key cannot be used together")]
    Pair(#[source] rustls::Error),
}

/// Reads the files once. A renewed certificate takes effect at the next start.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, CertificateError> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(CertificateError::Certificate)?;
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(CertificateError::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(CertificateError::Pair)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
