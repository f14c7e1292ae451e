//! Configuration: the table of directives, the values that they have, and what those values mean.
//!
//! What comes in: a command line with perhaps a file and standard input ([`Config::load`]), or the
//! arguments of CONFIG SET ([`Config::set_many`]). What goes out: [`Settings`], plain fields that
//! the rest of the server reads; the reported values of CONFIG GET; a rewritten file; or an error in
//! Redis's words. It mirrors Redis's `config.c`.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`table`] | the rows: name, kind, default, what may be done at run time |
//! | [`value`] | reading a value |
//! | [`spelling`] | reporting a value, and the lines of a file that stand for it |
//! | [`settings`] | the typed fields; those of TLS in `tls.rs` |
//! | [`load`] | the command line, files, includes, errors at start-up |
//! | [`rewrite`] | CONFIG REWRITE |
//! | [`secrets`] | which arguments of commands are secrets |
//!
//! Invariants: there is one value for each row, of the row's kind and within its bounds; the
//! settings are derived from the values after every change, so the two never disagree; a CONFIG
//! SET that fails changes nothing. Nothing here opens sockets, logs, or changes directory: the
//! caller applies a change, and calls [`Config::restore`] when it cannot.

mod cluster;
pub mod load;
pub mod rewrite;
pub mod secrets;
pub mod settings;
pub mod spelling;
pub mod table;
mod tls;
pub mod value;

use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use cluster::{ClusterDirectives, PreferredEndpoint};
pub use load::{ConfigError, Place, Statement, StatementKind};
pub use rewrite::{RewriteError, read_file, replace_file};
pub use settings::{
    BindAddress, DisklessLoad, Fsync, LogLevel, MaxmemoryPolicy, ProtectedAction, Settings,
    ShutdownOptions, Supervised, events,
};
pub use spelling::spell_events;
pub use tls::TlsSettings;
pub use value::{OutputLimit, expand_title};

use crate::system::glob;
use table::{DIRECTIVES, Directive, Effect, Found};
use value::Value;
use zeroize::Zeroize;

/// The bounds that `hz` is brought within, whatever was asked for.
const HZ: std::ops::RangeInclusive<i128> = 1..=500;

/// The value of every directive.
#[derive(Clone, Debug)]
pub struct Config {
    /// One for each row of the table, in its order.
    values: Values,
    settings: Settings,
    /// The directory that stands for whatever `dir` says.
    home: Option<PathBuf>,
    file: Option<PathBuf>,
    /// All files that were read, and whether a password stands in each.
    files: Vec<(PathBuf, bool)>,
    statements: Vec<Statement>,
    /// The server was told to go on without what its configuration asks for in vain.
    ignore_unsupported: bool,
    /// How the program was called, for the process title.
    program: Vec<u8>,
}

/// Values of the directives, in the order of the table. Passwords are overwritten before their memory is given back.
#[derive(Clone, Debug)]
struct Values(Vec<Value>);

impl Deref for Values {
    type Target = [Value];
    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [Value] {
        &mut self.0
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        for (directive, value) in DIRECTIVES.iter().zip(&mut self.0) {
            if directive.sensitive {
                value.wipe();
            }
        }
    }
}

/// All values at one moment, to return to.
#[derive(Clone, Debug)]
pub struct Snapshot(Values);

/// What CONFIG SET changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The directive's primary name.
    pub name: &'static str,
    /// The name that it was called by, for an error of applying it.
    pub called: &'static str,
    /// Its value before, as CONFIG GET reported it; empty for a secret.
    pub old: Vec<u8>,
    /// Its value now; empty for a secret.
    pub new: Vec<u8>,
    /// gyre acts on the new value. When not, it is still remembered and reported, and the log
    /// should say so.
    pub has_effect: bool,
}

/// What CONFIG SET must know of who calls it, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetContext {
    /// The client is connected over loopback or a Unix socket.
    pub is_local: bool,
    /// A data set is being loaded.
    pub is_loading: bool,
}

/// Why CONFIG SET failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSetError {
    /// A directive that cannot be set while a data set is being loaded.
    Loading,
    /// There is no such directive.
    Unknown(Vec<u8>),
    /// A value or the directive itself was refused, or applying it failed.
    Failed {
        /// The directive as it was named.
        argument: Vec<u8>,
        /// Why.
        reason: String,
    },
}

impl ConfigSetError {
    /// Applying a change failed. The caller restores the snapshot taken before.
    pub fn failed(argument: &str, reason: impl Into<String>) -> ConfigSetError {
        ConfigSetError::Failed {
            argument: argument.as_bytes().to_vec(),
            reason: reason.into(),
        }
    }

    /// Redis's text, without the `ERR` before it. `None` for [`ConfigSetError::Loading`], whose
    /// error has its own prefix.
    pub fn message(&self) -> Option<Vec<u8>> {
        match self {
            ConfigSetError::Loading => None,
            ConfigSetError::Unknown(name) => {
                // As a C string prints: up to the first zero byte.
                let end = memchr::memchr(0, name).unwrap_or(name.len());
                let start = b"Unknown option or number of arguments for CONFIG SET - '".as_slice();
                Some([start, name.get(..end).unwrap_or(name), b"'"].concat())
            }
            ConfigSetError::Failed { argument, reason } => {
                let start = b"CONFIG SET failed (possibly related to argument '".as_slice();
                Some([start, argument, b"') - ", reason.as_bytes()].concat())
            }
        }
    }
}

impl Config {
    /// Every directive at its default, with `dir` as the working directory.
    pub fn with_dir(dir: &Path) -> Config {
        let values = DIRECTIVES
            .iter()
            .map(|directive| value::default(directive, dir));
        let values = Values(values.collect());
        let settings = Settings::derive(&values);
        Config {
            values,
            settings,
            home: None,
            file: None,
            files: Vec::new(),
            statements: Vec::new(),
            ignore_unsupported: false,
            program: b"gyre".to_vec(),
        }
    }

    /// The settings as plain fields.
    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The file that was read at start-up, as an absolute path: `config_file` of INFO and the
    /// target of CONFIG REWRITE.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The files that were read at start-up, those included in others too, with whether a password stands in each.
    pub fn files(&self) -> &[(PathBuf, bool)] {
        &self.files
    }

    /// The lines that stand for something other than a value: `rename-command`, `user`, `role`,
    /// `loadmodule`, and options of modules, in their order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Remembers how the program was called (the first word of its command line).
    pub fn set_program(&mut self, program: &[u8]) {
        self.program = program.to_vec();
    }

    /// The process title that the template asks for.
    pub fn process_title(&self) -> Vec<u8> {
        let settings = &self.settings;
        let text = |name: &str| self.get_one(name).unwrap_or_default();
        let (port, tls_port) = (text("port"), text("tls-port"));
        let unix_socket = text("unixsocket");
        let any_port = if settings.port != 0 { &port } else { &tls_port };
        let bind = text("bind");
        let first = bind.split(|byte| *byte == b' ').next().unwrap_or_default();
        let host = if first.is_empty() { b"*" } else { first };
        let address = match any_port.as_slice() {
            b"0" => [b"unixsocket:", unix_socket.as_slice()].concat(),
            port => [host, b":", port].concat(),
        };
        let cluster = text("cluster-enabled") == b"yes";
        let file = self
            .file
            .as_ref()
            .map_or(b"-".as_slice(), |file| file.as_os_str().as_bytes());
        let title = expand_title(&settings.proc_title_template, |name| match name {
            "title" => Some(self.program.as_slice()),
            "listen-addr" => Some(&address),
            "server-mode" => Some(if cluster { b"[cluster]" } else { b"" }),
            "port" => Some(&port),
            "tls-port" => Some(&tls_port),
            "config-file" => Some(file),
            "unixsocket" => Some(&unix_socket),
            _ => None,
        });
        // The template was checked when it was set.
        title.unwrap_or_default()
    }

    /// From now on `settings().dir` is this directory, whatever CONFIG SET makes of `dir`: a replay never leaves its
    /// folder. CONFIG GET still tells what was set.
    pub fn confine(&mut self, home: &Path) {
        self.home = Some(home.to_path_buf());
        self.settings.dir = home.to_path_buf();
    }

    /// Whether the value of this directive must be kept out of the slow log and of MONITOR.
    pub fn is_sensitive(name: &[u8]) -> bool {
        table::find(name).is_some_and(|found| found.directive.sensitive)
    }

    /// CONFIG GET: names and values of all directives that a pattern matches, each once. A name
    /// without wildcards finds hidden directives too, and comes back as the client spelled it.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, usize)> = Vec::new();
        let mut add = |name: &[u8], index: usize| {
            if !found
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                found.push((name.to_vec(), index));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some(known) = table::find(pattern) {
                    add(pattern, known.index);
                }
                continue;
            }
            for (index, directive) in DIRECTIVES
                .iter()
                .enumerate()
                .filter(|(_, directive)| !directive.hidden)
            {
                for name in [Some(directive.name), directive.alias]
                    .into_iter()
                    .flatten()
                {
                    if glob::matches_nocase(pattern, name.as_bytes()) {
                        add(name.as_bytes(), index);
                    }
                }
            }
        }
        let spelled = found.into_iter().map(|(name, index)| {
            (
                name,
                spelling::spell(&DIRECTIVES[index], &self.values[index]),
            )
        });
        spelled.collect()
    }

    /// One value as CONFIG GET reports it.
    pub fn get_one(&self, name: &str) -> Option<Vec<u8>> {
        let found = table::find(name.as_bytes())?;
        Some(spelling::spell(
            found.directive,
            self.values.get(found.index)?,
        ))
    }

    /// CONFIG SET: all of it or nothing. The changes come back for the caller to apply; those that
    /// leave a value as it was are left out. To undo them, take a [`Config::snapshot`] before.
    pub fn set_many(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        context: SetContext,
    ) -> Result<Vec<Change>, ConfigSetError> {
        let found = self.check_names(pairs, context)?;
        let before = self.values.clone();
        for (found, (_, text)) in found.iter().zip(pairs) {
            if let Err(reason) = self.set_one(found, text) {
                self.values = before;
                return Err(ConfigSetError::failed(found.spelled(), reason));
            }
        }
        self.derive();
        let mut changes = Vec::new();
        for found in &found {
            let (old, new) = (&before[found.index], &self.values[found.index]);
            let seen = changes
                .iter()
                .any(|change: &Change| change.name == found.directive.name);
            if !seen && (old != new || found.directive.volatile) {
                let has_effect = has_effect(found.directive, new);
                let [old, new] = [old, new].map(|value| match found.directive.sensitive {
                    true => Vec::new(),
                    false => spelling::spell(found.directive, value),
                });
                changes.push(Change {
                    name: found.directive.name,
                    called: found.spelled(),
                    old,
                    new,
                    has_effect,
                });
            }
        }
        Ok(changes)
    }

    /// Sets `replicaof`, which CONFIG SET refuses: it is set by REPLICAOF.
    pub fn set_replica_of(&mut self, primary: Option<(&[u8], u16)>) {
        let value = Value::ReplicaOf(primary.map(|(host, port)| (host.to_vec(), port)));
        if let Some(found) = table::find(b"replicaof")
            && let Some(place) = self.values.get_mut(found.index)
        {
            *place = value;
            self.derive();
        }
    }

    /// Finds each directive and whether it may be set at all. Which of several complaints is
    /// reported follows Redis: loading first, then whatever came first.
    fn check_names(
        &self,
        pairs: &[(&[u8], &[u8])],
        context: SetContext,
    ) -> Result<Vec<Found>, ConfigSetError> {
        let mut list: Vec<Found> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let refuse = |reason: &str| {
                Err(ConfigSetError::Failed {
                    argument: name.to_vec(),
                    reason: reason.to_string(),
                })
            };
            let Some(found) = table::find(name) else {
                return Err(ConfigSetError::Unknown(name.to_vec()));
            };
            if found.directive.immutable {
                return refuse("can't set immutable config");
            }
            let allowed = self
                .settings
                .enable_protected_configs
                .allows(context.is_local);
            if found.directive.protected && !allowed {
                return refuse("can't set protected config");
            }
            if found.directive.deny_loading && context.is_loading {
                return Err(ConfigSetError::Loading);
            }
            // A directive and its alias count as two, and the later one wins.
            if list
                .iter()
                .any(|earlier| earlier.index == found.index && earlier.by == found.by)
            {
                return refuse("duplicate parameter");
            }
            list.push(found);
        }
        Ok(list)
    }

    fn set_one(&mut self, found: &Found, text: &[u8]) -> Result<(), value::Reason> {
        let words: Vec<&[u8]> = match (found.directive.multi, text.is_empty()) {
            (false, _) => vec![text],
            (true, true) => Vec::new(),
            (true, false) => text.split(|byte| *byte == b' ').collect(),
        };
        if found.directive.name == "activedefrag" && text.eq_ignore_ascii_case(b"yes") {
            return Err("Active defragmentation cannot be enabled: it requires a Redis server compiled with a \
                        modified Jemalloc like the one shipped by default with the Redis source distribution"
                .into());
        }
        let slot = self.slot(found);
        let new = value::parse(found.directive, &words, slot)?;
        let mut old = std::mem::replace(slot, new);
        if found.directive.sensitive {
            old.wipe();
        }
        Ok(())
    }

    /// The value of a directive, which has one because both are found by the same table.
    fn slot(&mut self, found: &Found) -> &mut Value {
        &mut self.values[found.index]
    }

    /// All values as they are now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.values.clone())
    }

    /// Returns to earlier values.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.values = snapshot.0;
        self.derive();
    }

    fn derive(&mut self) {
        if let Some(found) = table::find(b"hz")
            && let Some(Value::Number(hz)) = self.values.get_mut(found.index)
        {
            *hz = (*hz).clamp(*HZ.start(), *HZ.end());
        }
        wipe(&mut self.settings);
        self.settings = Settings::derive(&self.values);
        if let Some(home) = &self.home {
            self.settings.dir.clone_from(home);
        }
    }

    /// The one warning at start-up: which directives were set to something that has no effect yet.
    pub fn warnings(&self) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        for (directive, value) in DIRECTIVES.iter().zip(self.values.iter()) {
            if !has_effect(directive, value) {
                names.push(directive.name);
            }
        }
        for statement in &self.statements {
            let name = statement.kind.name();
            if !statement.kind.is_acted() && !names.contains(&name) {
                names.push(name);
            }
        }
        match names.as_slice() {
            [] => None,
            [name] => Some(format!(
                "This directive is accepted but has no effect in gyre yet: {name}"
            )),
            names => Some(format!(
                "These directives are accepted but have no effect in gyre yet: {}",
                names.join(", ")
            )),
        }
    }
}

/// Overwrites the passwords of settings that are about to be derived anew. (Passphrases of keys do that by themselves.)
fn wipe(settings: &mut Settings) {
    for secret in [
        &mut settings.requirepass,
        &mut settings.primary_auth,
        &mut settings.primary_user,
    ] {
        secret.zeroize();
    }
}

/// Whether gyre does what this value says. It does when the value is the default, also of a directive
/// that is not acted on yet.
fn has_effect(directive: &Directive, value: &Value) -> bool {
    directive.effect == Effect::Acted || *value == value::default(directive, Path::new("/"))
}

/// Names of the directives that are accepted and reported back without an effect yet.
pub fn not_yet_directives() -> Vec<&'static str> {
    let later = DIRECTIVES
        .iter()
        .filter(|directive| directive.effect == Effect::NotYet);
    later.map(|directive| directive.name).collect()
}

/// Names of the directives that end the start, unless they have their default.
pub fn refused_directives() -> Vec<&'static str> {
    vec!["loadmodule"]
}

/// All rows of the table, for documentation.
#[cfg(test)]
pub fn directives() -> &'static [Directive] {
    DIRECTIVES
}

#[cfg(test)]
mod reported;
#[cfg(test)]
mod tests;
