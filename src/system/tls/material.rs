//! Certificates and keys from files.
//!
//! In: paths. Out: what is in them, or a line for the log that names the file. Whatever was read is remembered by its
//! size and times, so that it can be asked later whether it has changed.

use super::{authority, encrypted_key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::fs::{self, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// A file longer than this holds no certificates, bytes.
const LONGEST_FILE: u64 = 16 * 1024 * 1024;

/// What tells a file from another one under the same name.
type Fingerprint = Option<(u64, u64, i64, i64, u64)>;

/// What was read, and as it was then.
#[derive(Debug, Default)]
pub(super) struct Material {
    read: Vec<(PathBuf, Fingerprint)>,
}

impl Material {
    /// Whether a file or folder is another one by now.
    pub(super) fn has_changed(&self) -> bool {
        let mut read = self.read.iter();
        read.any(|(path, before)| fingerprint(path) != *before)
    }

    /// A whole file, or why it cannot be read. What was read is wiped behind its use: it may have a key in it.
    pub(super) fn read(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        // Before it is read: one that changes meanwhile is found changed later.
        self.read.push((path.to_path_buf(), fingerprint(path)));
        let of_error = |error| crate::system::process::os_error_text(&error);
        // What is opened is asked what it is, not its name: that may be another's by now. A pipe would have the server wait
        // for whoever writes to it, a device may have no end.
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path).map_err(of_error)?;
        let metadata = file.metadata().map_err(of_error)?;
        if !metadata.is_file() {
            return Err("Not a regular file".to_owned());
        }
        // Room for all of it: what grows leaves copies behind.
        let len = metadata.len().min(LONGEST_FILE) as usize;
        let mut text = Zeroizing::new(Vec::with_capacity(len + 64));
        let mut limited = file.take(LONGEST_FILE + 1);
        limited.read_to_end(&mut text).map_err(of_error)?;
        match text.len() as u64 > LONGEST_FILE {
            true => Err("File too large".to_owned()),
            false => Ok(text),
        }
    }

    /// A certificate with its chain, and the key to it.
    pub(super) fn certified_key(
        &mut self,
        certificate_path: &Path,
        key_path: &Path,
        passphrase: Option<&[u8]>,
    ) -> Result<CertifiedKey, String> {
        let of_certificate = |reason: &str| {
            format!(
                "Failed to load certificate: {}: {reason}",
                certificate_path.display()
            )
        };
        let text = self
            .read(certificate_path)
            .map_err(|it| of_certificate(&it))?;
        let chain = certificates(&text).map_err(|it| of_certificate(&it))?;
        let first = chain
            .first()
            .ok_or_else(|| of_certificate("no certificate in it"))?;
        let of_key = |reason: &str| {
            format!(
                "Failed to load private key: {}: {reason}",
                key_path.display()
            )
        };
        let text = self.read(key_path).map_err(|it| of_key(&it))?;
        let key = private_key(&text, passphrase).map_err(|it| of_key(&it))?;
        let key = key
            .signing_key()
            .map_err(|error| of_key(&error.to_string()))?;
        let public = public_key(first).ok_or_else(|| of_certificate("it cannot be understood"))?;
        if key.public_key().is_some_and(|of_key| of_key != public) {
            return Err(of_key("key values mismatch"));
        }
        Ok(CertifiedKey::new(chain, key))
    }

    /// The certificates of those who are trusted. In a folder those count that are named by a hash of the subject, as
    /// OpenSSL looks for them. Where none is, all do that may sign others, whatever their files are called: the rest (the
    /// server's own, a client's) only lies there.
    pub(super) fn authorities(
        &mut self,
        file: Option<&Path>,
        folder: Option<&Path>,
    ) -> Result<Vec<CertificateDer<'static>>, String> {
        let failed = |reason: &str| {
            format!("Failed to configure CA certificate(s) file/directory: {reason}")
        };
        let mut found: Vec<CertificateDer<'static>> = Vec::new();
        if let Some(file) = file {
            let text = self.read(file).map_err(|it| failed(&it))?;
            found = certificates(&text).map_err(|it| failed(&it))?;
            if found.is_empty() {
                return Err(failed(&format!("no certificate in {}", file.display())));
            }
        }
        if let Some(folder) = folder {
            self.read.push((folder.to_path_buf(), fingerprint(folder)));
            let of_error = |error| {
                let reason = crate::system::process::os_error_text(&error);
                failed(&format!("{}: {reason}", folder.display()))
            };
            let mut paths: Vec<PathBuf> = fs::read_dir(folder)
                .map_err(of_error)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.is_file())
                .collect();
            paths.sort();
            let has_hashes = paths.iter().any(|path| is_named_by_hash(path));
            if has_hashes {
                paths.retain(|path| is_named_by_hash(path));
            }
            let counts = |it: &CertificateDer<'_>| {
                has_hashes || authority::parsed(it).is_some_and(|it| authority::can_sign(&it))
            };
            for path in paths {
                // A file that is no certificate (a key, a list of serial numbers) is none of those who are trusted.
                if let Ok(text) = self.read(&path)
                    && let Ok(more) = certificates(&text)
                {
                    found.extend(more.into_iter().filter(counts));
                }
            }
        }
        // The links of a folder name its files again.
        found.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        found.dedup();
        Ok(found)
    }
}

/// Whether a file is called as `openssl rehash` calls it: eight hexadecimal digits and a number.
fn is_named_by_hash(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str());
    let parts = name.and_then(|it| it.split_once('.'));
    parts.is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|it| it.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|it| it.is_ascii_digit())
    })
}

/// Puts behind a certificate that came alone those between it and its root, as OpenSSL does where it finds them.
pub(super) fn complete_chain(key: &mut CertifiedKey, trusted: &[CertificateDer<'static>]) {
    if let [alone] = key.cert.as_slice() {
        let above = authority::chain_above(alone, trusted);
        key.cert.extend(above);
    }
}

fn fingerprint(path: &Path) -> Fingerprint {
    let of = |it: Metadata| (it.dev(), it.ino(), it.mtime(), it.mtime_nsec(), it.size());
    fs::metadata(path).ok().map(of)
}

/// A part of a PEM file.
pub(super) struct Section {
    /// What the lines around it call it.
    pub(super) label: String,
    /// `Name: value` before the bytes.
    pub(super) headers: Vec<(String, String)>,
    /// The bytes.
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// The parts of a PEM file, in their order. Whatever is between them is a comment.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section>, String> {
    // A key's text is borrowed here: nothing in it asks for a copy.
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = line
            .trim()
            .strip_prefix("-----BEGIN ")
            .and_then(|it| it.strip_suffix("-----"))
        else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut headers = Vec::new();
        let mut encoded = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            let line = lines.next().ok_or("the end of a part is missing")?.trim();
            if line == end {
                break;
            }
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => encoded.push_str(line),
            }
        }
        let bytes = STANDARD.decode(encoded.as_str());
        found.push(Section {
            label: label.to_owned(),
            headers,
            bytes: Zeroizing::new(bytes.map_err(|_| "it is no base64")?),
        });
    }
    Ok(found)
}

/// The certificates of a PEM file.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let labels = ["CERTIFICATE", "X509 CERTIFICATE"];
    let of_kind = sections(text)?
        .into_iter()
        .filter(|it| labels.contains(&it.label.as_str()));
    let bytes = of_kind.map(|mut it| std::mem::take(&mut *it.bytes));
    Ok(bytes.map(CertificateDer::from).collect())
}

/// The first private key of a PEM file.
pub(super) fn private_key(text: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKey, String> {
    for section in sections(text)? {
        let bytes = match section.label.as_str() {
            "ENCRYPTED PRIVATE KEY" => {
                let passphrase = passphrase.ok_or("it needs a passphrase")?;
                encrypted_key::of_pkcs8(&section.bytes, passphrase)?
            }
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                encrypted_key::of_traditional(&section, passphrase)?
            }
            _ => continue,
        };
        return Ok(PrivateKey {
            label: section.label.clone(),
            bytes,
        });
    }
    Err("no private key in it".to_owned())
}

/// A private key's bytes, which are wiped behind their use.
pub(super) struct PrivateKey {
    label: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// The same as rustls has it.
    pub(super) fn signing_key(&self) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        let bytes = self.bytes.as_slice();
        let der = match self.label.as_str() {
            "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(bytes.into()),
            "EC PRIVATE KEY" => PrivateKeyDer::Sec1(bytes.into()),
            _ => PrivateKeyDer::Pkcs8(bytes.into()),
        };
        any_supported_type(&der)
    }
}

/// The public key of a certificate, of whatever version that is.
pub(super) fn public_key(
    certificate: &CertificateDer<'_>,
) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(SubjectPublicKeyInfoDer::from(
        parsed.tbs_certificate.subject_pki.raw.to_vec(),
    ))
}
