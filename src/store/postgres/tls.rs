//! TLS to PostgreSQL, with libpq's meanings of `sslmode`.
//!
//! `prefer` and `require` without roots encrypt and do not look at the certificate, exactly as libpq does; off this machine
//! the default is `verify-full`. Handshake signatures are checked in every mode: a peer must own the key it shows.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::store::error::{ErrorClass, Result, StoreError};
use crate::store::url::SslMode;

/// The client's side of TLS for `mode`. `roots_pem` is trusted beside the built-in authorities; `named` says that the URL
/// itself named roots, which makes `require` look at the certificate as libpq does.
///
/// # Errors
/// PEM without a certificate, or one that is none.
pub fn client_config(mode: SslMode, roots_pem: &[u8], named: bool) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::new(ErrorClass::Other, format!("TLS: {error}")))?;
    let check = match mode {
        SslMode::VerifyFull => Check::Full,
        SslMode::VerifyCa => Check::Authority,
        SslMode::Require if named => Check::Authority,
        SslMode::Require | SslMode::Prefer | SslMode::Disable => Check::Nothing,
    };
    let authority = match check {
        Check::Nothing => None,
        Check::Full => {
            return Ok(builder.with_root_certificates(roots(roots_pem)?).with_no_client_auth());
        }
        Check::Authority => Some(
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots(roots_pem)?), Arc::clone(&provider))
                .build()
                .map_err(|error| StoreError::new(ErrorClass::Other, format!("TLS roots: {error}")))?,
        ),
    };
    let verifier = Arc::new(LibpqVerifier { authority, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

enum Check {
    Nothing,
    Authority,
    Full,
}

fn roots(pem: &[u8]) -> Result<RootCertStore> {
    let bad =
        |error: String| StoreError::new(ErrorClass::Other, format!("the roots for the database are no PEM: {error}"));
    let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        store.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if !pem.is_empty() && store.len() == webpki_roots::TLS_SERVER_ROOTS.len() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(store)
}

/// `verify-ca` (with an authority) or no look at the certificate at all (without one).
#[derive(Debug)]
struct LibpqVerifier {
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LibpqVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is the last thing the verifier looks at: the chain was good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_certificates_or_an_error() {
        assert!(client_config(SslMode::VerifyFull, b"", false).is_ok());
        assert!(client_config(SslMode::Require, b"", false).is_ok());
        for mode in [SslMode::VerifyFull, SslMode::VerifyCa] {
            let refused = client_config(mode, b"not a certificate", false).unwrap_err();
            assert!(refused.sentence().contains("PEM"), "{refused}");
        }
    }
}
