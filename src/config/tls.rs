//! What the `tls-*` directives mean, as plain fields.

use super::settings::Reader;
use crate::system::tls::{ClientAuth, KeyFiles, TlsOptions, UserField};
use zeroize::Zeroizing;

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `tls-port`; 0: TLS is not listened for.
    pub port: u16,
    /// `tls-cluster`: nodes of a cluster speak TLS with each other, and keys go to other servers over it.
    pub cluster: bool,
    /// `tls-replication`: the primary is connected to over TLS.
    pub replication: bool,
    /// `tls-auto-reload-interval`: how often files are looked at, s; 0: never.
    pub auto_reload_s: u64,
    /// What connections are made with.
    pub options: TlsOptions,
}

impl TlsSettings {
    /// Whether anything speaks TLS.
    pub fn is_used(&self) -> bool {
        self.port != 0 || self.cluster || self.replication
    }

    pub(super) fn read(read: &Reader<'_>) -> TlsSettings {
        let keys = |certificate: &str, key: &str, passphrase: &str| KeyFiles {
            certificate: read.path(certificate),
            key: read.path(key),
            passphrase: read.text(passphrase).map(Zeroizing::new),
        };
        let (cluster, replication) = (read.yes("tls-cluster"), read.yes("tls-replication"));
        TlsSettings {
            port: read.number("tls-port"),
            cluster,
            replication,
            auto_reload_s: read.number("tls-auto-reload-interval"),
            options: TlsOptions {
                own: keys("tls-cert-file", "tls-key-file", "tls-key-file-pass"),
                alternative: keys(
                    "tls-alt-cert-file",
                    "tls-alt-key-file",
                    "tls-alt-key-file-pass",
                ),
                outgoing: keys(
                    "tls-client-cert-file",
                    "tls-client-key-file",
                    "tls-client-key-file-pass",
                ),
                authorities_file: read.path("tls-ca-cert-file"),
                authorities_folder: read.path("tls-ca-cert-dir"),
                dh_params_file: read.path("tls-dh-params-file"),
                client_auth: read.choice(
                    "tls-auth-clients",
                    &[ClientAuth::No, ClientAuth::Yes, ClientAuth::Optional],
                ),
                user_field: read.choice(
                    "tls-auth-clients-user",
                    &[UserField::Off, UserField::CommonName, UserField::Uri],
                ),
                protocols: read.string("tls-protocols"),
                ciphers: read.string("tls-ciphers"),
                ciphersuites: read.string("tls-ciphersuites"),
                groups: read.string("tls-groups"),
                prefers_own_ciphers: read.yes("tls-prefer-server-ciphers"),
                caches_sessions: read.yes("tls-session-caching"),
                sessions: read.number("tls-session-cache-size"),
                session_timeout_s: read.number("tls-session-cache-timeout"),
                expected_peer_name: Some(read.string("tls-expected-peer-name"))
                    .filter(|name| !name.is_empty()),
                connects: cluster || replication,
                accepts_per_turn: read.number("max-new-tls-connections-per-cycle"),
            },
        }
    }
}
