//! Which of a server's certificates a client is shown.
//!
//! In: a client's first message, in which it says what signatures it can verify. Out: the certificate whose key makes the first
//! of them that any of the keys makes, so that a server may have one for new clients and one for old ones.
//!
//! Mirrors `tls_choose_sigalg` of OpenSSL, where each kind of key has a certificate of its own.

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, SupportedCipherSuite};
use std::sync::Arc;

/// The certificates.
#[derive(Debug)]
pub(super) struct Choice {
    /// The first one is shown where none does, so that it is said why.
    pub(super) keys: Vec<Arc<CertifiedKey>>,
    /// The cipher suites that are spoken.
    pub(super) suites: Vec<SupportedCipherSuite>,
}

impl Choice {
    /// Whether a suite that the client knows goes with a signature: in TLS 1.2 it says of which kind that is.
    fn has_suite(&self, hello: &ClientHello<'_>, scheme: SignatureScheme) -> bool {
        self.suites.iter().any(|suite| {
            hello.cipher_suites().contains(&suite.suite())
                && match suite {
                    SupportedCipherSuite::Tls13(_) => true,
                    SupportedCipherSuite::Tls12(suite) => suite.sign.contains(&scheme),
                }
        })
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes().iter();
        let mut schemes = schemes.filter(|it| self.has_suite(&hello, **it));
        let signs = |scheme| {
            let mut keys = self.keys.iter();
            keys.find(|it| it.key.choose_scheme(&[scheme]).is_some())
        };
        let chosen = schemes.find_map(|scheme| signs(*scheme));
        chosen.or(self.keys.first()).cloned()
    }
}
