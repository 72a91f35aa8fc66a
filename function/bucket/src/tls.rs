//! The bucket over HTTPS: for tests of clients, with a certificate that is no secret.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, TlsAcceptor};

/// A certificate for `localhost` and 127.0.0.1, its own issuer, valid until 2046: what a test
/// client is to trust.
pub const LOCALHOST_CERTIFICATE_PEM: &str = include_str!("tls/localhost.pem");

/// The key of [`LOCALHOST_CERTIFICATE_PEM`], published on purpose.
pub const LOCALHOST_KEY_PEM: &str = include_str!("tls/localhost.key.pem");

/// Why a certificate and a key make no server.
#[derive(Debug, Error)]
pub enum TlsError {
    /// One of them is no PEM.
    #[error("the certificate or its key cannot be read as PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// They do not fit each other, or are of a kind that is not supported.
    #[error("the certificate and its key cannot be used together")]
    Unusable(#[from] rustls::Error),
}

/// What turns an accepted connection into a TLS stream.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

impl Acceptor {
    pub(crate) fn new(certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        self.0.accept(stream)
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
