//! The bucket over HTTPS, with the certificate that it publishes.
#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use firstlight_bucket::{
    Bucket, Objects,
    tls::{LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn a_client_that_trusts_the_certificate_reads_a_range() {
    let objects = Objects::new();
    objects.insert("models", "a", "0123456789");
    let server = Bucket::builder()
        .objects(objects)
        .allow_anonymous(true)
        .tls(LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM)
        .unwrap()
        .start_on_own_thread("127.0.0.1:0")
        .unwrap();
    assert!(server.endpoint().starts_with("https://"));

    let tcp = TcpStream::connect(server.addr()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(trusting())).connect(name, tcp).await.unwrap();
    let request =
        "GET /models/a HTTP/1.1\r\nHost: x\r\nRange: bytes=2-4\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 206"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n234"), "{answer}");
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let error = Bucket::builder().tls(LOCALHOST_CERTIFICATE_PEM, "no key").unwrap_err();
    assert_eq!(error.to_string(), "the certificate or its key cannot be read as PEM");
    let error = Bucket::builder().tls("", LOCALHOST_KEY_PEM).unwrap_err();
    assert_eq!(error.to_string(), "the certificate and its key cannot be used together");
}

fn trusting() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(LOCALHOST_CERTIFICATE_PEM.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
