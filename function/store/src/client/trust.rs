//! Whom TLS trusts: the root certificates of the system, or those that the environment names. They are loaded on a thread
//! of their own while names are looked up and connections made, and not at all where no TLS is spoken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::misconfigured;

/// Where systems keep all of their roots in one file.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, distroless
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, Amazon Linux
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
    "/etc/ssl/cert.pem",                  // macOS, the BSDs
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// A configuration of TLS that is made once, when it is first needed.
pub(crate) struct Trust {
    /// Files and folders of certificates; the system's, where there are none.
    places: Vec<PathBuf>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Trust {
    /// The roots that the first of `variables` in the environment names, each a file or (where it ends in `_DIR`) a list
    /// of folders; the system's where there is none.
    pub(crate) fn from_environment(variables: &[&str]) -> Self {
        let named = variables
            .iter()
            .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        Self::in_places(named.iter().flat_map(std::env::split_paths).collect())
    }

    /// The roots in these files and folders, or the system's.
    pub(super) fn in_places(places: Vec<PathBuf>) -> Self {
        Self { places, config: OnceCell::new() }
    }

    pub(super) async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let load = || async {
            let places = self.places.clone();
            tokio::task::spawn_blocking(move || config(&places)).await.map_err(io::Error::other)?
        };
        self.config.get_or_try_init(load).await.cloned()
    }
}

fn config(places: &[PathBuf]) -> io::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(places)?)
        .with_no_client_auth();
    // HTTP/2 would put all ranges on one connection.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// ring's, with the cipher in front that processors are fastest at: ten rounds a block, not fourteen.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

fn roots(places: &[PathBuf]) -> io::Result<RootCertStore> {
    let system = BUNDLES.iter().map(PathBuf::from).find(|path| places.is_empty() && path.exists());
    let mut roots = RootCertStore::empty();
    for file in places.iter().chain(&system).flat_map(|place| files(place)) {
        let name = file.display();
        let unreadable = |error| misconfigured(format!("root certificates: `{name}`: {error}"));
        let pem = fs::read(&file).map_err(unreadable)?;
        // What is no certificate, or one of a kind that is not understood, vouches for nobody.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    if roots.is_empty() {
        let reason = "there are no root certificates: SSL_CERT_FILE names a file of them";
        return Err(misconfigured(reason));
    }
    Ok(roots)
}

/// A file, or the files of a folder.
fn files(place: &Path) -> Vec<PathBuf> {
    match fs::read_dir(place) {
        Ok(entries) => {
            entries.flatten().map(|entry| entry.path()).filter(|p| p.is_file()).collect()
        }
        Err(_) => vec![place.to_owned()],
    }
}
