//! Reading the configuration at start-up: the command line, a file with its includes, standard input.
//!
//! Words of the command line come in, a [`Config`] or a [`ConfigError`] goes out, whose text is
//! Redis's. The order decides: file, then standard input, then the options of the command line, and
//! a later line overrides an earlier one. The only things touched are files that are read; the
//! `dir` directive moves where relative includes are looked for, not the process.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::Config;
use super::table::{self, Kind, Missing};
use super::value::{self, Value};
use crate::system::quoting;
use crate::system::{glob, process};

/// How deep files may include each other. Redis has no bound and dies of a file that includes itself.
const MAX_INCLUDE_DEPTH: usize = 16;

/// The option that lets a server start without what its configuration asks for in vain.
const IGNORE_UNSUPPORTED: &[u8] = b"--ignore-unsupported";

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What was read: a file, standard input or the command line.
    pub source: Source,
    /// The line's number, from 1.
    pub line: usize,
    /// The line without white space around it.
    pub text: Vec<u8>,
}

impl Place {
    /// The line without what it may tell of passwords: it ends in a terminal, or in the log of whoever starts the server.
    pub fn shown(&self) -> Cow<'_, [u8]> {
        let end = self.text.iter().position(u8::is_ascii_whitespace);
        let (name, rest) = self.text.split_at(end.unwrap_or(self.text.len()));
        let is_secret = Config::is_sensitive(name)
            || [&b"user"[..], b"role"]
                .iter()
                .any(|it| name.eq_ignore_ascii_case(it));
        match is_secret && !rest.is_empty() {
            true => Cow::Owned([name, b" (redacted)"].concat()),
            false => Cow::Borrowed(&self.text),
        }
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// Options of the command line, one line for each.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(out, "{}", path.display()),
            Source::Stdin => out.write_str("standard input"),
            Source::CommandLine => out.write_str("the command line"),
        }
    }
}

/// Why the server cannot start with this configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A line is wrong, or the whole is where there is no place.
    Directive {
        /// Where.
        place: Option<Box<Place>>,
        /// Why.
        reason: String,
    },
    /// A file cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why, in the system's words.
        reason: String,
    },
}

impl ConfigError {
    /// A line that only the caller could find wrong, such as the renaming of an unknown command.
    pub fn at(place: &Place, reason: impl Into<String>) -> ConfigError {
        ConfigError::Directive {
            place: Some(Box::new(place.clone())),
            reason: reason.into(),
        }
    }

    /// Wrong as a whole, such as a log file that cannot be opened.
    pub fn overall(reason: impl Into<String>) -> ConfigError {
        ConfigError::Directive {
            place: None,
            reason: reason.into(),
        }
    }
}

/// Redis's text, several lines without a line break at the end.
impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, reason } => {
                write!(
                    out,
                    "Fatal error, can't open config file '{}': {reason}",
                    path.display()
                )
            }
            ConfigError::Directive { place, reason } => {
                writeln!(
                    out,
                    "\n*** FATAL CONFIG FILE ERROR (Redis {}) ***",
                    crate::REDIS_VERSION
                )?;
                if let Some(place) = place {
                    writeln!(
                        out,
                        "Reading the configuration file, at line {} of {}",
                        place.line, place.source
                    )?;
                    writeln!(out, ">>> '{}'", String::from_utf8_lossy(&place.shown()))?;
                }
                out.write_str(reason)
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// A line that is no value but an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Where it stands, for an error about it.
    pub place: Place,
    /// What it asks for.
    pub kind: StatementKind,
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// `rename-command from to`; an empty `to` removes the command. Redis's complaints are "No such
    /// command in rename-command" and "Target command name already exists".
    RenameCommand {
        /// The command's name.
        from: Vec<u8>,
        /// Its new name.
        to: Vec<u8>,
    },
    /// `user name rules...`
    User(Vec<Vec<u8>>),
    /// `role name rules...`
    Role(Vec<Vec<u8>>),
    /// `loadmodule path arguments...`
    LoadModule(Vec<Vec<u8>>),
    /// `module.option value`
    ModuleOption {
        /// The option's name, with the module's before a dot.
        name: Vec<u8>,
        /// Its value, words joined by blanks.
        value: Vec<u8>,
    },
}

impl StatementKind {
    /// The directive's name.
    pub fn name(&self) -> &'static str {
        match self {
            StatementKind::RenameCommand { .. } => "rename-command",
            StatementKind::User(_) => "user",
            StatementKind::Role(_) => "role",
            StatementKind::LoadModule(_) => "loadmodule",
            StatementKind::ModuleOption { .. } => "module options",
        }
    }

    /// What it asks for that does not exist yet, where the server must not start without it.
    pub(super) fn missing(&self) -> Option<Missing> {
        match self {
            StatementKind::LoadModule(_) => Some(Missing::Modules),
            StatementKind::RenameCommand { .. }
            | StatementKind::User(_)
            | StatementKind::Role(_)
            | StatementKind::ModuleOption { .. } => None,
        }
    }

    /// True if gyre does what it asks for.
    pub(super) fn is_acted(&self) -> bool {
        match self {
            StatementKind::RenameCommand { .. }
            | StatementKind::User(_)
            | StatementKind::Role(_) => true,
            StatementKind::LoadModule(_) | StatementKind::ModuleOption { .. } => false,
        }
    }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct CommandLine {
    file: Option<PathBuf>,
    stdin: bool,
    /// What is not supported is no reason not to start.
    ignore_unsupported: bool,
    /// Options as lines of a configuration file.
    options: Vec<u8>,
}

/// Takes the command line apart as redis-server does: `--name` starts a line, all else is a quoted
/// word of it, except that what follows a name is its value even with dashes in front.
fn parse_command_line(args: &[OsString]) -> CommandLine {
    let mut line = CommandLine::default();
    let mut rest = args;
    if let [first, tail @ ..] = args
        && !first.as_bytes().starts_with(b"-")
    {
        line.file = Some(PathBuf::from(first));
        rest = tail;
    }
    let options = &mut line.options;
    let mut name_has_value = true;
    for (index, arg) in rest.iter().enumerate() {
        let arg = arg.as_bytes();
        let next = rest.get(index.saturating_add(1));
        let is_first = index == 0 && line.file.is_none();
        if arg == b"-" && (is_first || next.is_none()) {
            line.stdin = true;
        } else if name_has_value && arg == IGNORE_UNSUPPORTED {
            line.ignore_unsupported = true;
        } else if let (true, Some(option)) = (name_has_value, arg.strip_prefix(b"--")) {
            if !options.is_empty() {
                options.push(b'\n');
            }
            options.extend_from_slice(option);
            options.push(b' ');
            // The value may stand in the same argument: "--port 6380".
            name_has_value = quoting::split(arg).map_or(true, |words| words.len() != 1);
            let option_follows = next.is_some_and(|next| next.as_bytes().starts_with(b"--"));
            // `--save` alone means `--save ""`, for scripts that build it from an empty list.
            if !name_has_value
                && option.eq_ignore_ascii_case(b"save")
                && (option_follows || next.is_none())
            {
                options.extend_from_slice(b"\"\"");
                name_has_value = true;
            }
            // `--sentinel` takes no value.
            if option.eq_ignore_ascii_case(b"sentinel") {
                name_has_value = true;
            }
        } else {
            quoting::quote_into(options, arg);
            options.push(b' ');
            name_has_value = true;
        }
    }
    line
}

impl Config {
    /// Reads the configuration that a command line asks for. `args` are the words after the
    /// program's name, without `--version`, `--help` and the like, which are the caller's.
    /// `stdin` is called at most once, when a lone `-` is the first or the last word.
    ///
    /// What is left to the caller: changing to `settings().dir`, opening the log file, renaming
    /// commands ([`Config::statements`]).
    pub fn load(
        args: &[OsString],
        stdin: &mut dyn FnMut() -> io::Result<Vec<u8>>,
    ) -> Result<Config, ConfigError> {
        let dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Config::load_in(&dir, args, stdin)
    }

    /// Loads a configuration ([`Config::load`]) as a process would that starts in a given directory.
    pub fn load_in(
        dir: &Path,
        args: &[OsString],
        stdin: &mut dyn FnMut() -> io::Result<Vec<u8>>,
    ) -> Result<Config, ConfigError> {
        let line = parse_command_line(args);
        let mut loader = Loader {
            config: Config::with_dir(dir),
            save_seen: false,
            reads: None,
        };
        loader.config.ignore_unsupported = line.ignore_unsupported;
        if let Some(file) = &line.file {
            loader.config.file = Some(absolute(dir, file));
            loader.read_path(file, 0)?;
        }
        if line.stdin {
            let text = stdin().map_err(|error| ConfigError::Unreadable {
                path: PathBuf::from("-"),
                reason: process::os_error_text(&error),
            })?;
            loader.read_text(&text, &Source::Stdin, 0)?;
        }
        loader.read_text(&line.options, &Source::CommandLine, 0)?;
        loader.finish()
    }
}

/// A path without `..`, starting at `dir`, whether or not it exists.
fn absolute(dir: &Path, path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in dir.join(path).components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

struct Loader {
    config: Config,
    /// The first `save` of all replaces the default, those after it add to it.
    save_seen: bool,
    /// Which of the configuration's files is being read.
    reads: Option<usize>,
}

impl Loader {
    /// Reads a file, or all files that a pattern matches; a pattern that matches none is no error.
    fn read_path(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        let dir = self.config.settings.dir.clone();
        if !path
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|byte| b"*?[".contains(byte))
        {
            return self.read_file(&dir.join(path), path, depth);
        }
        let found = expand(&dir, path).map_err(|(path, error)| ConfigError::Unreadable {
            path,
            reason: process::os_error_text(&error),
        })?;
        for path in found {
            self.read_file(&path, &path, depth)?;
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, called: &Path, depth: usize) -> Result<(), ConfigError> {
        let unreadable = |error: io::Error| ConfigError::Unreadable {
            path: called.to_path_buf(),
            reason: process::os_error_text(&error),
        };
        let text = std::fs::read(path).map_err(unreadable)?;
        let index = self.config.files.len();
        self.config.files.push((path.to_path_buf(), false));
        let before = self.reads.replace(index);
        let read = self.read_text(&text, &Source::File(called.to_path_buf()), depth);
        self.reads = before;
        read
    }

    /// Notes that the file which is being read has a password, if this line of it has one.
    fn note_secret(&mut self, name: &[u8], values: &[Vec<u8>]) {
        let is_set = values.iter().any(|value| !value.is_empty());
        let is_password = Config::is_sensitive(name) && name != b"masteruser";
        let file = self.reads.and_then(|at| self.config.files.get_mut(at));
        if let Some((_, has_secret)) = file {
            *has_secret |= name == b"user" || (is_password && is_set);
        }
    }

    fn read_text(&mut self, text: &[u8], source: &Source, depth: usize) -> Result<(), ConfigError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = Place {
                source: source.clone(),
                line: index.saturating_add(1),
                text: line.to_vec(),
            };
            self.read_line(&place, depth)?;
        }
        Ok(())
    }

    fn read_line(&mut self, place: &Place, depth: usize) -> Result<(), ConfigError> {
        let wrong = |reason: &str| Err(ConfigError::at(place, reason));
        let Ok(words) = quoting::split(&place.text) else {
            return wrong("Unbalanced quotes in configuration line");
        };
        let Some((name, values)) = words.split_first() else {
            return Ok(());
        };
        let name = name.to_ascii_lowercase();
        self.note_secret(&name, values);
        if let Some(found) = table::find(&name) {
            return self
                .set(&found, values)
                .map_err(|reason| ConfigError::at(place, reason));
        }
        let keep = |kind: StatementKind| Statement {
            place: place.clone(),
            kind,
        };
        let statement = match (name.as_slice(), values) {
            (b"include", [path]) => {
                if depth >= MAX_INCLUDE_DEPTH {
                    return wrong("Too many levels of include");
                }
                return self.read_path(Path::new(OsStr::from_bytes(path)), depth.saturating_add(1));
            }
            (b"rename-command", [from, to]) => keep(StatementKind::RenameCommand {
                from: from.clone(),
                to: to.clone(),
            }),
            (b"user", [_, ..]) => keep(StatementKind::User(values.to_vec())),
            (b"role", [_, ..]) => keep(StatementKind::Role(values.to_vec())),
            (b"loadmodule", [_, ..]) => keep(StatementKind::LoadModule(values.to_vec())),
            (b"sentinel", []) => return wrong("gyre has no sentinel mode"),
            (b"sentinel", _) => return wrong("sentinel directive while not in sentinel mode"),
            (name, [_]) if table::DEPRECATED.iter().any(|old| old.as_bytes() == name) => {
                return Ok(());
            }
            (name, []) if name.contains(&b'.') => {
                return wrong("Module config specified without value");
            }
            (name, values) if name.contains(&b'.') => keep(StatementKind::ModuleOption {
                name: name.to_vec(),
                value: values.join(&b' '),
            }),
            _ => return wrong("Bad directive or wrong number of arguments"),
        };
        self.config.statements.push(statement);
        Ok(())
    }

    fn set(&mut self, found: &table::Found, words: &[Vec<u8>]) -> Result<(), value::Reason> {
        let directive = found.directive;
        // One argument may hold several words: --bind "a b".
        let split = match words {
            [word] if directive.multi && !word.is_empty() => {
                quoting::split(word).unwrap_or_default()
            }
            _ => words.to_vec(),
        };
        let words: Vec<&[u8]> = split.iter().map(Vec::as_slice).collect();
        let slot = self.config.slot(found);
        let new = value::parse(directive, &words, slot)?;
        let adds = matches!(directive.kind, Kind::Save) && self.save_seen && words != [b""];
        match (slot, new) {
            (Value::Save(points), Value::Save(more)) if adds => points.extend(more),
            (slot, new) => *slot = new,
        }
        match directive.kind {
            Kind::Save => self.save_seen = true,
            // Includes that follow start there.
            Kind::Dir => self.config.derive(),
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        self.config.derive();
        let is = |name: &str, value: Value| {
            table::find(name.as_bytes())
                .is_some_and(|found| self.config.values.get(found.index) == Some(&value))
        };
        if is("cluster-enabled", Value::Bool(true)) && !is("replicaof", Value::ReplicaOf(None)) {
            return Err(ConfigError::overall(
                "replicaof directive not allowed in cluster mode",
            ));
        }
        if is("cluster-enabled", Value::Bool(true))
            && !is("databases", Value::Number(1))
            && let Some(found) = table::find(b"databases")
        {
            let databases = self.config.settings.databases;
            log::warn!(
                "WARNING: Changing databases number from {databases} to 1 since we are in cluster mode"
            );
            *self.config.slot(&found) = Value::Number(1);
            self.config.derive();
        }
        if !self.config.ignore_unsupported {
            self.refuse_missing()?;
        }
        Ok(self.config)
    }

    /// Ends the start if what is asked for in the end, whatever stood in earlier lines, does not exist.
    fn refuse_missing(&self) -> Result<(), ConfigError> {
        let mut by_statement = self
            .config
            .statements
            .iter()
            .filter_map(|statement| Some((&statement.place, statement.kind.missing()?)));
        match by_statement.next() {
            Some((place, missing)) => Err(ConfigError::at(
                place,
                format!(
                    "{}, or start with --ignore-unsupported to do without.",
                    missing.advice()
                ),
            )),
            None => Ok(()),
        }
    }
}

/// The existing paths that a pattern matches, sorted, as the shell expands them. A folder that is there and cannot be read
/// is an error: the file that sets the password may be in it.
fn expand(dir: &Path, pattern: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let mut paths = vec![dir.to_path_buf()];
    for component in pattern.components() {
        let name = component.as_os_str();
        if !name.as_bytes().iter().any(|byte| b"*?[".contains(byte)) {
            paths.iter_mut().for_each(|path| path.push(name));
            continue;
        }
        let mut next = Vec::new();
        for path in &paths {
            let unreadable = |error: io::Error| (path.clone(), error);
            let entries = match std::fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if matches!(error.kind(), NotFound | NotADirectory) => continue,
                Err(error) => return Err(unreadable(error)),
            };
            for entry in entries {
                let entry = entry.map_err(unreadable)?.file_name().into_vec();
                let hidden = entry.starts_with(b".") && !name.as_bytes().starts_with(b".");
                if !hidden && glob::matches(name.as_bytes(), &entry) {
                    next.push(path.join(OsStr::from_bytes(&entry)));
                }
            }
        }
        paths = next;
    }
    // What cannot be looked at stays: reading it says why.
    paths.retain(|path| path.try_exists().unwrap_or(true));
    paths.sort();
    Ok(paths)
}
