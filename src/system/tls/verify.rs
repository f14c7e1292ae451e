//! Whether the certificate of a peer is trusted: of clients that connect, and of servers that are connected to.
//!
//! In: what a peer shows in its handshake, the certificates of those who are trusted. Out: yes, or an error that ends the
//! handshake. Paths of certificates are rustls's to follow. Two kinds of certificates it refuses that Redis's users have,
//! because they are what `openssl` makes when it is asked for no more; they are verified here:
//!
//! * one that is itself in the file of those who are trusted: the self-signed one, which is also marked as an authority's;
//! * one of version 1, which has no extensions, signed by one of those who are trusted directly.
//!
//! The name of the host that was connected to says nothing, as in Redis: only `tls-expected-peer-name` asks for one.

use super::ClientAuth;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate, X509Version};

/// Who verifies, for both directions.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The certificates of those who are trusted.
    trusted: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    /// Follows the paths of clients' certificates; none: nobody is trusted.
    of_clients: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    client_auth: ClientAuth,
    /// What the certificates of servers have to be valid for.
    expected: Option<ServerName<'static>>,
}

impl Verifier {
    pub(super) fn new(
        trusted: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
        client_auth: ClientAuth,
        expected: Option<ServerName<'static>>,
    ) -> Result<Verifier, String> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(trusted.iter().cloned());
        if added == 0 && !trusted.is_empty() {
            return Err(
                "Failed to configure CA certificate(s) file/directory: no certificate is understood"
                    .to_owned(),
            );
        }
        let roots = Arc::new(roots);
        let of_clients = match roots.is_empty() {
            true => None,
            false => {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let builder =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider);
                let built = builder.build().map_err(|error| {
                    format!("Failed to configure CA certificate(s) file/directory: {error}")
                })?;
                Some(built)
            }
        };
        Ok(Verifier {
            trusted,
            roots,
            of_clients,
            algorithms,
            client_auth,
            expected,
        })
    }

    /// Whether a certificate is of the two kinds that rustls does not know, and trusted; `None`: it is of no such kind.
    fn special(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        let is_trusted_itself = self.trusted.iter().any(|it| it == certificate);
        if !rest.is_empty() || (parsed.version() != X509Version::V1 && !is_trusted_itself) {
            return None;
        }
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let now = ASN1Time::from_timestamp(now).ok()?;
        let validity = parsed.validity();
        if now < validity.not_before {
            return Some(Err(CertificateError::NotValidYet.into()));
        }
        if now > validity.not_after {
            return Some(Err(CertificateError::Expired.into()));
        }
        let is_signed =
            is_trusted_itself || self.trusted.iter().any(|it| is_signed_by(&parsed, it));
        Some(match is_signed {
            true => Ok(()),
            false => Err(CertificateError::UnknownIssuer.into()),
        })
    }

    fn verify12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !is_version_1(certificate) {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        }
        let key = super::material::public_key(certificate).ok_or(CertificateError::BadEncoding)?;
        let key = webpki::RawPublicKeyEntity::try_from(&key)
            .map_err(|_| CertificateError::BadEncoding)?;
        let mut mapping = self.algorithms.mapping.iter();
        let (_, algorithms) = mapping
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // In TLS 1.2 the scheme does not say which curve it is.
        let is_valid = algorithms.iter().any(|algorithm| {
            key.verify_signature(*algorithm, message, signed.signature())
                .is_ok()
        });
        match is_valid {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !is_version_1(certificate) {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        }
        let key = super::material::public_key(certificate).ok_or(CertificateError::BadEncoding)?;
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

fn is_version_1(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.version() == X509Version::V1)
}

/// Whether one of those who are trusted has signed a certificate itself. One who may only sign certificates of certain names
/// signs none that has no such names in it.
fn is_signed_by(certificate: &X509Certificate<'_>, authority: &CertificateDer<'_>) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority) else {
        return false;
    };
    let algorithm = &certificate.signature_algorithm.algorithm;
    let is_broken = [OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA].contains(algorithm);
    !is_broken
        && authority.subject().as_raw() == certificate.issuer().as_raw()
        && authority.name_constraints().is_ok_and(|it| it.is_none())
        && certificate
            .verify_signature(Some(authority.public_key()))
            .is_ok()
}

/// Whether a certificate is valid for a name: by its alternative names, or, where it has none, by its common name.
fn is_named(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let has_alternatives = alternatives.is_some_and(|it| {
        let mut names = it.value.general_names.iter();
        names.any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
    });
    if has_alternatives {
        return verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
    }
    let wanted = name.to_str();
    let mut common = parsed.subject().iter_common_name();
    match common.any(|it| it.as_str().is_ok_and(|it| it.eq_ignore_ascii_case(&wanted))) {
        true => Ok(()),
        false => Err(CertificateError::NotValidForName.into()),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.special(end_entity, now) {
            Some(result) => result?,
            None => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &self.roots,
                intermediates,
                now,
                self.algorithms.all,
            )?,
        }
        if let Some(name) = &self.expected {
            is_named(end_entity, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify12(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify13(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.client_auth == ClientAuth::Yes
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        let inner = self.of_clients.as_ref();
        inner.map_or(&[], |it| it.root_hint_subjects())
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(result) = self.special(end_entity, now) {
            return result.map(|()| ClientCertVerified::assertion());
        }
        let inner = self.of_clients.as_ref();
        let inner = inner.ok_or(CertificateError::UnknownIssuer)?;
        inner.verify_client_cert(end_entity, intermediates, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify12(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify13(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
