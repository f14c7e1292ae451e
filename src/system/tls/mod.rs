//! What TLS connections are made with: certificates, keys, whom to trust, protocols and ciphers.
//!
//! In: the values of the `tls-*` directives ([`TlsOptions`]). Out: [`TlsContext`], the configurations that the seam makes
//! its connections with, or a line for the log. No connection is made here, and none is changed: one that was made keeps
//! the context that it was made with, so that a reload drops nobody.
//!
//! | file | what |
//! | --- | --- |
//! | `material.rs` | certificates and keys from files, and whether those have changed |
//! | `authority.rs` | which of the certificates that are trusted may sign others |
//! | `encrypted_key.rs` | keys under a passphrase |
//! | `choice.rs` | which of two certificates a client is shown |
//! | `ciphers.rs` | OpenSSL's names of cipher suites and groups |
//! | `verify.rs` | whether a peer's certificate is trusted |
//! | `names.rs` | the names in a certificate |
//! | `sessions.rs` | sessions that may be resumed |
//!
//! Invariants:
//! * A context is whole or it is not: what cannot be read or does not fit leaves the one before in force.
//! * No passphrase and no key is in a message, and copies of them that were made on the way from a file are wiped. (What
//!   ring signs with stays, and the file's text is the administrator's.)
//!
//! Mirrors `tlsConfigure` and `createSSLContext` of Redis's tls.c.

mod authority;
mod choice;
mod ciphers;
mod encrypted_key;
mod material;
mod names;
mod sessions;
mod verify;

pub use names::names_of_user;

use material::Material;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion, version};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    No,
    /// They have to.
    #[default]
    Yes,
    /// They need not, but one that is shown has to be trusted.
    Optional,
}

/// Which field of a client's certificate names its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserField {
    /// None.
    #[default]
    Off,
    /// The subject's common name.
    CommonName,
    /// A URI among the alternative names.
    Uri,
}

/// The files of a certificate and its key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// The certificate, and those between it and the authority.
    pub certificate: Option<PathBuf>,
    /// The private key.
    pub key: Option<PathBuf>,
    /// What the key is encrypted with. Copies are wiped; the directive itself keeps what it was set to.
    pub passphrase: Option<Zeroizing<Vec<u8>>>,
}

// The passphrase stays out of whatever prints the settings.
impl std::fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths = (&self.certificate, &self.key);
        f.debug_tuple("KeyFiles").field(&paths).finish()
    }
}

/// What the directives ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// `tls-cert-file`, `tls-key-file`, `tls-key-file-pass`.
    pub own: KeyFiles,
    /// `tls-alt-cert-file` and its sisters: what is shown to clients that cannot verify `own`.
    pub alternative: KeyFiles,
    /// `tls-client-cert-file` and its sisters: what is shown to other servers; else `own` is.
    pub outgoing: KeyFiles,
    /// `tls-ca-cert-file`.
    pub authorities_file: Option<PathBuf>,
    /// `tls-ca-cert-dir`.
    pub authorities_folder: Option<PathBuf>,
    /// `tls-dh-params-file`: must be readable, and has no effect, since no suite here takes such parameters.
    pub dh_params_file: Option<PathBuf>,
    /// `tls-auth-clients`.
    pub client_auth: ClientAuth,
    /// `tls-auth-clients-user`.
    pub user_field: UserField,
    /// `tls-protocols`; empty: those that are safe.
    pub protocols: String,
    /// `tls-ciphers`: the suites of TLS 1.2.
    pub ciphers: String,
    /// `tls-ciphersuites`: those of TLS 1.3.
    pub ciphersuites: String,
    /// `tls-groups`: those in which keys are agreed upon.
    pub groups: String,
    /// `tls-prefer-server-ciphers`.
    pub prefers_own_ciphers: bool,
    /// `tls-session-caching`.
    pub caches_sessions: bool,
    /// `tls-session-cache-size`; 0: no limit.
    pub sessions: usize,
    /// `tls-session-cache-timeout`, s.
    pub session_timeout_s: u64,
    /// `tls-expected-peer-name`: what the certificates of other servers have to be valid for.
    pub expected_peer_name: Option<String>,
    /// Another server is connected to over TLS, and has to be trusted.
    pub connects: bool,
    /// `max-new-tls-connections-per-cycle`.
    pub accepts_per_turn: usize,
}

impl TlsOptions {
    /// A context with all that the options ask for. The error is a line for the log.
    pub fn build(&self) -> Result<TlsContext, String> {
        self.try_build().map_err(|rejected| rejected.reason)
    }

    /// The same; where it fails it is known later whether it may be different now.
    pub fn try_build(&self) -> Result<TlsContext, Rejected> {
        let mut material = Material::default();
        match self.build_of(&mut material) {
            Ok(made) => Ok(TlsContext {
                server: Arc::new(made.server),
                client: Arc::new(made.client),
                user_field: self.user_field,
                accepts_per_turn: self.accepts_per_turn.max(1),
                rules: self.rules(),
                verifier: made.verifier,
                material,
            }),
            Err(reason) => Err(Rejected { reason, material }),
        }
    }

    /// What a context is made of; files that are read are remembered in `material`, the one that it fails at as well.
    fn build_of(&self, material: &mut Material) -> Result<Made, String> {
        let own = &self.own;
        let certificate = own.certificate.as_ref();
        let certificate = certificate.ok_or("No tls-cert-file configured!")?;
        let key = own.key.as_ref().ok_or("No tls-key-file configured!")?;
        let trusts_nobody = self.authorities_file.is_none() && self.authorities_folder.is_none();
        if trusts_nobody && (self.client_auth != ClientAuth::No || self.connects) {
            return Err(
                "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
                 tls-auth-clients are enabled!"
                    .to_owned(),
            );
        }
        let (versions, provider) = (self.versions()?, Arc::new(self.provider()?));
        let mut own_key = material.certified_key(certificate, key, passphrase(own))?;
        let mut alternative = match (&self.alternative.certificate, &self.alternative.key) {
            (Some(certificate), Some(key)) => {
                let passphrase = passphrase(&self.alternative);
                Some(material.certified_key(certificate, key, passphrase)?)
            }
            _ => None,
        };
        let mut outgoing = match (&self.outgoing.certificate, &self.outgoing.key) {
            (Some(certificate), Some(key)) => {
                material.certified_key(certificate, key, passphrase(&self.outgoing))?
            }
            _ => own_key.clone(),
        };
        let authorities = material.authorities(
            self.authorities_file.as_deref(),
            self.authorities_folder.as_deref(),
        )?;
        let keys = [&mut own_key, &mut outgoing].into_iter();
        for key in keys.chain(&mut alternative) {
            material::complete_chain(key, &authorities);
        }
        if let Some(path) = &self.dh_params_file {
            let read = material.read(path);
            read.map_err(|reason| format!("Failed to load {}: {reason}", path.display()))?;
        }
        let expected = match &self.expected_peer_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| format!("Invalid tls-expected-peer-name: {name}"))?,
            ),
        };
        let verifier = verify::Verifier::new(
            authorities,
            provider.signature_verification_algorithms,
            self.client_auth,
            expected,
        )?;
        let verifier = Arc::new(verifier);
        let keys = [own_key].into_iter().chain(alternative);
        let server = self.server_config(&provider, &versions, &verifier, keys.collect())?;
        let client = client_config(&provider, &versions, Arc::clone(&verifier), outgoing)?;
        Ok(Made {
            server,
            client,
            verifier,
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            client_auth: self.client_auth,
            user_field: self.user_field,
            expected_peer_name: self.expected_peer_name.clone(),
            speaks: [
                &self.protocols,
                &self.ciphers,
                &self.ciphersuites,
                &self.groups,
            ]
            .map(String::clone),
        }
    }

    fn server_config(
        &self,
        provider: &Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
        verifier: &Arc<verify::Verifier>,
        keys: Vec<CertifiedKey>,
    ) -> Result<ServerConfig, String> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)
            .map_err(|error| format!("Failed to configure protocols: {error}"))?;
        let builder = match self.client_auth {
            ClientAuth::No => builder.with_no_client_auth(),
            _ => builder.with_client_cert_verifier(Arc::<verify::Verifier>::clone(verifier)),
        };
        let spoken = provider.cipher_suites.iter();
        let spoken = spoken.filter(|it| versions.contains(&it.version()));
        let choice = choice::Choice {
            keys: keys.into_iter().map(Arc::new).collect(),
            suites: spoken.copied().collect(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(choice));
        config.ignore_client_order = self.prefers_own_ciphers;
        // Sessions are remembered here, by a number that the client brings back, and not encrypted into what it brings:
        // so that the directives on how many there are and for how long mean what they say.
        if self.caches_sessions {
            let timeout = Duration::from_secs(self.session_timeout_s);
            config.session_storage = Arc::new(sessions::Sessions::new(self.sessions, timeout));
            // One is enough for a client that comes back, and half the work of two.
            config.send_tls13_tickets = 1;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    /// The protocols, of which there must be one that can be spoken.
    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
        if self.protocols.is_empty() {
            return Ok(vec![&version::TLS13, &version::TLS12]);
        }
        let mut versions = Vec::new();
        for word in self.protocols.split(' ').filter(|word| !word.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                // Broken ones, which rustls does not have: whoever allows them beside others does without.
                "tlsv1" | "tlsv1.1" => {}
                "tlsv1.2" => versions.push(&version::TLS12),
                "tlsv1.3" => versions.push(&version::TLS13),
                _ => {
                    return Err(
                        "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and \
                         'TLSv1.3'."
                            .to_owned(),
                    );
                }
            }
        }
        if versions.is_empty() {
            return Err(
                "tls-protocols must have TLSv1.2 or TLSv1.3 in it: gyre does not speak older protocols"
                    .to_owned(),
            );
        }
        Ok(versions)
    }

    fn provider(&self) -> Result<CryptoProvider, String> {
        let provider = ring::default_provider();
        let known = &provider.cipher_suites;
        let tls13 = ciphers::tls13_suites(&self.ciphersuites, known)
            .ok_or_else(|| format!("Failed to configure ciphersuites: {}", self.ciphersuites))?;
        let tls12 = ciphers::tls12_suites(&self.ciphers, known)
            .ok_or_else(|| format!("Failed to configure ciphers: {}", self.ciphers))?;
        let groups = ciphers::groups(&self.groups, &provider.kx_groups)
            .ok_or_else(|| format!("Failed to configure groups: {}", self.groups))?;
        Ok(CryptoProvider {
            cipher_suites: tls13.into_iter().chain(tls12).collect(),
            kx_groups: groups,
            ..provider
        })
    }
}

fn passphrase(of: &KeyFiles) -> Option<&[u8]> {
    of.passphrase.as_ref().map(|it| it.as_slice())
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    verifier: Arc<verify::Verifier>,
    key: CertifiedKey,
) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(|error| format!("Failed to configure protocols: {error}"))?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    // Links last long and are few. Without it the other server is verified each time.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What options say of who may connect, and how.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    client_auth: ClientAuth,
    user_field: UserField,
    expected_peer_name: Option<String>,
    /// Protocols, ciphers and groups.
    speaks: [String; 4],
}

/// What a context is made of.
struct Made {
    server: ServerConfig,
    client: ClientConfig,
    verifier: Arc<verify::Verifier>,
}

/// Why there is no context, and the files that were read until that was found.
#[derive(Debug)]
pub struct Rejected {
    /// A line for the log.
    pub reason: String,
    material: Material,
}

impl Rejected {
    /// Whether a file is another one than when it was rejected: the same files are rejected again.
    pub fn is_outdated(&self) -> bool {
        self.material.has_changed()
    }
}

/// What connections are made with.
#[derive(Debug)]
pub struct TlsContext {
    /// For those that are accepted.
    pub server: Arc<ServerConfig>,
    /// For those that are made.
    pub client: Arc<ClientConfig>,
    /// Which field of a client's certificate names its user.
    pub user_field: UserField,
    /// Connections that are taken from a listener in one turn.
    pub accepts_per_turn: usize,
    rules: Rules,
    verifier: Arc<verify::Verifier>,
    material: Material,
}

impl TlsContext {
    /// Whether a file is another one than when the context was made.
    pub fn is_outdated(&self) -> bool {
        self.material.has_changed()
    }

    /// Whether it is the same whom another context lets in, and how: another certificate of our own changes nothing in that.
    pub fn admits_as(&self, other: &TlsContext) -> bool {
        self.rules == other.rules && self.verifier.trusts_as(&other.verifier)
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
