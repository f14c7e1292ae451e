//! TLS for tests: an authority with certificates made for one test, servers that have them, and a client that speaks it.
#![allow(dead_code)] // Each test file uses a part of it.

#[path = "../../src/system/tls/testing.rs"]
mod certificates;

pub use certificates::{Authority, Files};

use crate::common::Server;
use gyre::resp::reader::{ReadError, Value, read_value};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An authority and certificates of a server and a client.
pub struct Certificates {
    pub dir: tempfile::TempDir,
    pub authority: Authority,
    pub server: Files,
    pub client: Files,
}

impl Certificates {
    pub fn new() -> Certificates {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(dir.path(), "authority");
        let (server, client) = (
            authority.issue("server", &[]),
            authority.issue("client", &[]),
        );
        Certificates {
            dir,
            authority,
            server,
            client,
        }
    }

    /// The directives of a server with these certificates, which asks clients for one.
    pub fn directives(&self, port: u16) -> Vec<String> {
        let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
        [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path(&self.server.certificate)),
            ("--tls-key-file", path(&self.server.key)),
            ("--tls-ca-cert-file", path(&self.authority.file)),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    /// A server that listens with and without TLS; both ports.
    pub fn start(&self, more: &[&str]) -> (Server, u16) {
        let port = free_port();
        let directives = self.directives(port);
        let mut all: Vec<&str> = directives.iter().map(String::as_str).collect();
        all.extend(more);
        (Server::with(&all), port)
    }

    /// What a client connects with that shows its certificate.
    pub fn config(&self) -> ClientConfig {
        client_config(Some(&self.authority.file), Some(&self.client))
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A client that trusts this authority (none: everybody), and shows this certificate.
pub fn client_config(authority: Option<&Path>, own: Option<&Files>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocols");
    let builder = match authority {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(path).expect("a certificate"))
                .expect("an authority");
            builder.with_root_certificates(roots)
        }
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(certificates::Anybody::new())),
    };
    let mut config = match own {
        Some(files) => {
            let certificate =
                CertificateDer::from_pem_file(&files.certificate).expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
            let key = ring::sign::any_supported_type(&key).expect("a key");
            // Without a look at the certificate, which may be one that rustls itself does not know.
            let pair = CertifiedKey::new(vec![certificate], key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config
}

/// A client that speaks TLS.
#[derive(Debug)]
pub struct Secure {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl Secure {
    /// Connects, and does not wait for the handshake.
    pub fn begin(port: u16, config: impl Into<Arc<ClientConfig>>) -> Secure {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let patience = Some(Duration::from_secs(60));
        socket.set_read_timeout(patience).expect("a time limit");
        socket.set_write_timeout(patience).expect("a time limit");
        socket.set_nodelay(true).expect("no delay");
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(config.into(), name).expect("a client");
        Secure {
            stream: StreamOwned::new(session, socket),
            unread: Vec::new(),
        }
    }

    /// Connects, and has PING answered; else why not.
    pub fn connect(port: u16, config: impl Into<Arc<ClientConfig>>) -> Result<Secure, String> {
        let mut secure = Secure::begin(port, config);
        match secure.try_line("PING") {
            Ok(Value::Simple(text)) if text == "PONG" => Ok(secure),
            // It is connected and may do nothing yet.
            Ok(Value::Error(text)) if text.starts_with(b"NOAUTH") => Ok(secure),
            other => Err(format!("{other:?}")),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
        self.stream.flush().expect("the server reads");
    }

    fn try_line(&mut self, line: &str) -> Result<Value, String> {
        let line = format!("{line}\r\n");
        let sent = self.stream.write_all(line.as_bytes());
        sent.and_then(|()| self.stream.flush())
            .map_err(|error| error.to_string())?;
        self.try_read()
    }

    /// Reads one value; else why there is none.
    pub fn try_read(&mut self) -> Result<Value, String> {
        loop {
            match read_value(&self.unread) {
                Ok((value, len)) => {
                    self.unread.drain(..len);
                    return Ok(value);
                }
                Err(ReadError::Incomplete) => {}
                Err(error) => panic!("{error:?}"),
            }
            let mut buffer = vec![0; 1024 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the end".to_owned()),
                Ok(len) => self.unread.extend(&buffer[..len]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    pub fn read(&mut self) -> Value {
        self.try_read().expect("an answer")
    }

    /// Sends a line and reads its answer.
    pub fn line(&mut self, line: &str) -> Value {
        self.send(format!("{line}\r\n").as_bytes());
        self.read()
    }

    /// Sends a command as an array of bulks and reads its answer.
    pub fn run(&mut self, words: &[&[u8]]) -> Value {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).bytes());
            bytes.extend(*word);
            bytes.extend(b"\r\n");
        }
        self.send(&bytes);
        self.read()
    }

    /// Says that nothing more comes, and goes on reading.
    pub fn end_sending(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().expect("the server reads");
        let socket = &self.stream.sock;
        socket.shutdown(Shutdown::Write).expect("half an end");
    }

    /// The certificate that the server has shown.
    pub fn certificate(&self) -> Vec<u8> {
        let certificates = self.stream.conn.peer_certificates();
        certificates.expect("one")[0].as_ref().to_vec()
    }
}
