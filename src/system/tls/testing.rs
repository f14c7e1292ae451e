//! Certificates for tests, made when they run. (The tests of whole servers use this file as well, so it knows nothing of
//! the crate.)
#![allow(dead_code)] // Each of them uses a part of it.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, SigningKey,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::path::{Path, PathBuf};

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// An authority, whose certificate is a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    name: String,
    /// Its certificate.
    pub file: PathBuf,
}

impl Authority {
    /// One whose files are in this folder.
    pub fn new(dir: &Path, name: &str) -> Authority {
        Authority::with(dir, name, |_| {})
    }

    /// One whose certificate, signed by itself, is changed before it is made.
    pub fn with(dir: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let (params, key) = Authority::params(name, change);
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority::of(dir, name, params, key, &certificate.pem())
    }

    /// One whose certificate is signed by this one.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let (params, key) = Authority::params(name, change);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let dir = self.file.parent().expect("a folder");
        Authority::of(dir, name, params, key, &certificate.pem())
    }

    /// One whose certificate, signed by itself, is of version 1.
    pub fn with_version_1(dir: &Path, name: &str) -> Authority {
        let authority = Authority::new(dir, name);
        let certificate = authority.version_1(&[(0x0c, name.as_bytes())], authority.issuer.key());
        std::fs::write(&authority.file, pem("CERTIFICATE", &certificate)).expect("a file");
        authority
    }

    fn params(
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        (params, KeyPair::generate().expect("a key"))
    }

    fn of(dir: &Path, name: &str, params: CertificateParams, key: KeyPair, pem: &str) -> Authority {
        let file = dir.join(format!("{name}.crt"));
        std::fs::write(&file, pem).expect("a file");
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
        Authority {
            issuer: Issuer::new(params, key),
            name: name.to_owned(),
            file,
        }
    }

    /// A certificate with this common name and these URIs, in files of that name.
    pub fn issue(&self, name: &str, uris: &[&str]) -> Files {
        let names = vec!["localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for uri in uris {
            let uri = (*uri).try_into().expect("a URI");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(name, &certificate.pem(), &key)
    }

    /// One whose key is of another kind.
    pub fn issue_ed25519(&self, name: &str) -> Files {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let names = vec!["localhost".to_owned()];
        let params = CertificateParams::new(names).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(name, &certificate.pem(), &key)
    }

    /// One with these common names, in their order: each a tag and its bytes.
    pub fn issue_named(&self, file: &str, names: &[(u8, &[u8])]) -> Files {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.version_1(names, &key);
        self.write(file, &pem("CERTIFICATE", &certificate), &key)
    }

    /// One of version 1, which has no extensions, as `openssl x509 -req` makes it.
    pub fn issue_version_1(&self, name: &str) -> Files {
        self.issue_named(name, &[(0x0c, name.as_bytes())])
    }

    fn version_1(&self, names: &[(u8, &[u8])], key: &KeyPair) -> Vec<u8> {
        let algorithm = der(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        let of_names = |names: &[(u8, &[u8])]| {
            let sets = names.iter().map(|(tag, bytes)| {
                let pair = der(0x30, &[&[6, 3, 0x55, 4, 3], &der(*tag, &[bytes])]);
                der(0x31, &[&pair])
            });
            der(0x30, &[&sets.collect::<Vec<_>>().concat()])
        };
        let validity = der(
            0x30,
            &[
                &der(0x17, &[b"200101000000Z"]),
                &der(0x18, &[b"21200101000000Z"]),
            ],
        );
        let public = rcgen::PublicKeyData::subject_public_key_info(key);
        let signed = der(
            0x30,
            &[
                &[2, 1, 7],
                &algorithm,
                &of_names(&[(0x0c, self.name.as_bytes())]),
                &validity,
                &of_names(names),
                &public,
            ],
        );
        let signature = self.issuer.key().sign(&signed).expect("a signature");
        let signature = der(3, &[&[0], &signature]);
        der(0x30, &[&signed, &algorithm, &signature])
    }

    fn write(&self, name: &str, pem: &str, key: &KeyPair) -> Files {
        let dir = self.file.parent().expect("a folder");
        let file = name.replace('\0', "_");
        let files = Files {
            certificate: dir.join(format!("{file}.crt")),
            key: dir.join(format!("{file}.key")),
        };
        std::fs::write(&files.certificate, pem).expect("a file");
        std::fs::write(&files.key, key.serialize_pem()).expect("a file");
        files
    }
}

/// A client's verifier that trusts everybody, and asks for signatures of these kinds.
#[derive(Debug)]
pub struct Anybody(pub Vec<SignatureScheme>);

impl Anybody {
    /// One that asks for any signature.
    pub fn new() -> Anybody {
        let provider = ring::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        Anybody(algorithms.supported_schemes())
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Bytes with a tag and their length before them.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len())
        .expect("a short one")
        .to_be_bytes();
    let length = match (high, low) {
        (0, 0..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &length[..], &content].concat()
}

/// Bytes as a PEM file has them.
pub fn pem(label: &str, bytes: &[u8]) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("letters"))
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}
