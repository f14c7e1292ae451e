//! Begins a recording: what the server starts with, and the seam that writes down what enters it.
//!
//! In: the configuration. Out: the seam, wrapped if `record` names a file. [`super::replay`] plays what comes of it.

use super::secrets::Secrets;
use crate::config::{Config, StatementKind};
use crate::event_loop::Seam;
use crate::event_loop::recording::{Header, RecordedFile, RecordingSeam};
use crate::system::process;
use crate::system::quoting::quote;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Directives of a recorded configuration that a replay sets otherwise, or that mean nothing to it.
const LEFT_OUT: &[&str] = &[
    "record",
    "record-max-size",
    "dir",
    "logfile",
    "pidfile",
    "daemonize",
    // Users are told one by one: the file has hashes.
    "aclfile",
];

/// Wraps the seam if a recording is wanted; on error the text for the log.
pub(super) fn wrap(config: &Config, live: Box<dyn Seam>) -> Result<Box<dyn Seam>, String> {
    let Some(path) = config.settings().record.clone() else {
        return Ok(live);
    };
    begin(config, live, &path).map_err(|error| {
        format!(
            "Can't record to {}: {}",
            path.display(),
            process::os_error_text(&error)
        )
    })
}

fn begin(config: &Config, live: Box<dyn Seam>, path: &Path) -> io::Result<Box<dyn Seam>> {
    let secrets = Secrets::new(process::random_bytes()?, config);
    let header = header(config, &secrets)?;
    // Whoever can read it sees all that clients send.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    // Nor may one that was there before be open to others.
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    log::warn!("Recording all that enters the server to {}", path.display());
    let limit = config.settings().record_max_size;
    let recording = RecordingSeam::begin(live, Box::new(secrets), file, &header, limit)?;
    Ok(Box::new(recording))
}

fn header(config: &Config, secrets: &Secrets) -> io::Result<Header> {
    let mut text = Vec::new();
    for line in config
        .rewritten(b"", &[], true)
        .split(|byte| *byte == b'\n')
    {
        let line = line.trim_ascii();
        let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if line.starts_with(b"#") || LEFT_OUT.iter().any(|other| other.as_bytes() == name) {
            continue;
        }
        text.extend_from_slice(&masked(line, name, secrets));
        text.push(b'\n');
    }
    // What no value stands for, such as renamed commands.
    for statement in config.statements() {
        match &statement.kind {
            StatementKind::RenameCommand { from, to } => {
                line_into(&mut text, "rename-command", [quote(from), quote(to)]);
            }
            StatementKind::User(words) => rules_into(&mut text, "user", words, secrets),
            StatementKind::Role(words) => rules_into(&mut text, "role", words, secrets),
            StatementKind::LoadModule(_) | StatementKind::ModuleOption { .. } => {}
        }
    }
    if let Some(path) = &config.settings().acl_file {
        let file = std::fs::read(OsStr::from_bytes(path))?;
        for line in file.split(|byte| *byte == b'\n') {
            // Between spaces, as the file of users is read; within parentheses the quotes stay.
            let mut words = line.trim_ascii().split(|byte| *byte == b' ');
            let kind = match words.next() {
                Some(b"user") => "user",
                Some(b"role") => "role",
                _ => continue,
            };
            let words: Vec<Vec<u8>> = words.map(<[u8]>::to_vec).collect();
            rules_into(&mut text, kind, &words, secrets);
        }
    }
    Ok(Header {
        config: text,
        has_config_file: config.file().is_some(),
        files: files(config)?,
    })
}

fn line_into(text: &mut Vec<u8>, name: &str, words: impl IntoIterator<Item = Vec<u8>>) {
    text.extend_from_slice(name.as_bytes());
    for word in words {
        text.push(b' ');
        text.extend_from_slice(&word);
    }
    text.push(b'\n');
}

/// A user or a role as a line of the configuration, without passwords.
fn rules_into(text: &mut Vec<u8>, kind: &str, words: &[Vec<u8>], secrets: &Secrets) {
    let words = words.iter().enumerate().map(|(index, word)| match index {
        0 => quote(word),
        _ => quote(&secrets.hidden_rule(word)),
    });
    line_into(text, kind, words);
}

/// A line of the configuration without its secret.
fn masked(line: &[u8], name: &[u8], secrets: &Secrets) -> Vec<u8> {
    if !Config::is_sensitive(name) {
        return line.to_vec();
    }
    let name_text = String::from_utf8_lossy(name);
    let secret = config_value(line);
    if secret.is_empty() {
        return line.to_vec();
    }
    let hidden = secrets.hidden(secret);
    [name_text.as_bytes(), b" ", &hidden].concat()
}

/// The value of a directive's line, without quotes. One with escapes stays as it is: what it is masked to then only
/// lets nobody in.
fn config_value(line: &[u8]) -> &[u8] {
    let value = line
        .iter()
        .position(|byte| *byte == b' ')
        .map_or(&[][..], |blank| line[blank..].trim_ascii());
    match value {
        [b'"', bare @ .., b'"'] => bare,
        bare => bare,
    }
}

/// All of a regular file, if it is one, as long as it is within the bound, which it is taken from.
fn read_within(path: &Path, left: &mut u64) -> io::Result<Option<Vec<u8>>> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Ok(None);
    }
    *left = left.checked_sub(about.len()).ok_or_else(|| {
        io::Error::other("what the server begins with is larger than record-max-size")
    })?;
    std::fs::read(path).map(Some)
}

/// The files that loading will read.
fn files(config: &Config) -> io::Result<Vec<RecordedFile>> {
    let settings = config.settings();
    let mut files = Vec::new();
    let mut left = settings.record_max_size;
    let mut add = |path: &Path| match read_within(path, &mut left) {
        Ok(None) => Ok(()),
        Ok(Some(bytes)) => {
            files.push(RecordedFile {
                path: path.to_path_buf(),
                bytes,
            });
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    add(Path::new(&settings.dbfilename))?;
    if settings.appendonly {
        add(Path::new(&settings.appendfilename))?;
        match std::fs::read_dir(&settings.appenddirname) {
            Ok(entries) => {
                for entry in entries {
                    add(&entry?.path())?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}
