//! Whether the certificate of a peer is trusted: of clients that connect, and of servers that are connected to.
//!
//! In: what a peer shows in its handshake, the certificates of those who are trusted. Out: yes, or an error that ends the
//! handshake. Paths of certificates are rustls's to follow. Two kinds of certificates it refuses that Redis's users have,
//! because they are what `openssl` makes when it is asked for no more; they are verified here:
//!
//! * one that is itself in the file of those who are trusted: the self-signed one, which is also marked as an authority's;
//! * one of version 1, which has no extensions, signed by one of those who are trusted directly.
//!
//! One that is in that file is an authority only if it could be one elsewhere (`authority.rs`), and only while it is valid.
//!
//! The name of the host that was connected to says nothing, as in Redis: only `tls-expected-peer-name` asks for one.

use super::ClientAuth;
use super::authority::{self, Role};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// One who may sign the certificates of peers.
#[derive(Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    validity: (i64, i64),
    signs_clients: bool,
    signs_servers: bool,
}

impl Anchor {
    /// None: a certificate that signs no others.
    fn of(certificate: &CertificateDer<'_>) -> Option<Anchor> {
        let parsed = authority::parsed(certificate)?;
        if !authority::can_sign(&parsed) {
            return None;
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
        Some(Anchor {
            anchor: anchor.to_owned(),
            validity: authority::validity(&parsed),
            signs_clients: authority::fits(&parsed, Role::Client),
            signs_servers: authority::fits(&parsed, Role::Server),
        })
    }

    fn signs(&self, role: Role, now: UnixTime) -> bool {
        let fits = match role {
            Role::Client => self.signs_clients,
            Role::Server => self.signs_servers,
        };
        fits && authority::check_time(self.validity, now).is_ok()
    }
}

/// Who verifies, for both directions.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The certificates of those who are trusted.
    trusted: Vec<CertificateDer<'static>>,
    /// Those of them who may sign others.
    anchors: Vec<Anchor>,
    /// What clients are told of whom to show a certificate of. One that is trusted itself may be its own issuer.
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
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
        let mut all = RootCertStore::empty();
        let (added, _) = all.add_parsable_certificates(trusted.iter().cloned());
        if added == 0 && !trusted.is_empty() {
            return Err(
                "Failed to configure CA certificate(s) file/directory: no certificate is understood"
                    .to_owned(),
            );
        }
        Ok(Verifier {
            anchors: trusted.iter().filter_map(Anchor::of).collect(),
            hints: all.subjects(),
            trusted,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            algorithms,
            client_auth,
            expected,
        })
    }

    /// Whether it is the same whom another one trusts.
    pub(super) fn trusts_as(&self, other: &Verifier) -> bool {
        self.trusted == other.trusted
    }

    /// Those who may sign now. They are found anew for each handshake, for their time ends while the server runs.
    fn roots(&self, role: Role, now: UnixTime) -> RootCertStore {
        let anchors = self.anchors.iter().filter(|it| it.signs(role, now));
        anchors.map(|it| it.anchor.clone()).collect()
    }

    /// Whether a certificate is of the two kinds that rustls does not know, and trusted; `None`: it is of no such kind.
    fn special(
        &self,
        certificate: &CertificateDer<'_>,
        role: Role,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let parsed = authority::parsed(certificate)?;
        let is_trusted_itself = self.trusted.iter().any(|it| it == certificate);
        if parsed.version() != X509Version::V1 && !is_trusted_itself {
            return None;
        }
        if let Err(error) = authority::check_time(authority::validity(&parsed), now) {
            return Some(Err(error.into()));
        }
        if !authority::fits(&parsed, role) {
            return Some(Err(CertificateError::InvalidPurpose.into()));
        }
        let mut trusted = self.trusted.iter();
        let is_signed = is_trusted_itself || trusted.any(|it| is_signed_by(&parsed, it, role, now));
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

/// Whether one of those who are trusted has signed a certificate itself, and may. One who may only sign certificates of
/// certain names signs none that has no such names in it.
fn is_signed_by(
    certificate: &X509Certificate<'_>,
    authority: &CertificateDer<'_>,
    role: Role,
    now: UnixTime,
) -> bool {
    authority::parsed(authority).is_some_and(|it| {
        authority::check_time(authority::validity(&it), now).is_ok()
            && authority::fits(&it, role)
            && it.name_constraints().is_ok_and(|it| it.is_none())
            && authority::has_signed(&it, certificate)
    })
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
        match self.special(end_entity, Role::Server, now) {
            Some(result) => result?,
            None => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &self.roots(Role::Server, now),
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
        &self.hints
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(result) = self.special(end_entity, Role::Client, now) {
            return result.map(|()| ClientCertVerified::assertion());
        }
        let roots = Arc::new(self.roots(Role::Client, now));
        let provider = Arc::clone(&self.provider);
        // It is not made of no roots.
        let inner = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let inner = inner.map_err(|_| CertificateError::UnknownIssuer)?;
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
