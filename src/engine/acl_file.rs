//! Users where they are kept: as lines of the configuration, or in a file of their own.
//!
//! In: the directives `user`, `role` and `aclfile`. Out: the users that the server begins with, and the file as ACL SAVE leaves it: the
//! old one or the new, whole. Mirrors `ACLLoadUsersAtStartup`, `ACLLoadFromFile` and `ACLSaveToFile` of Redis's acl.c.

use super::State;
use crate::acl::Changed;
use crate::config::secrets::PASSWORD_RULES;
use crate::config::{ConfigError, Place, Statement, StatementKind, read_file, replace_file};
use crate::system::process::os_error_text;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Permissions of a file that did not exist: hashes of passwords are nobody else's to read.
const NEW_FILE_MODE: u32 = 0o600;

/// The roles and users that the configuration gives the server. Whatever is wrong with one of them ends the start: who comes
/// in must not be left to chance.
pub fn begin(state: &mut State) -> Result<(), ConfigError> {
    let settings = state.config.settings();
    let password = settings.requirepass.clone().map(Zeroizing::new);
    state
        .users
        .set_default_password(password.as_deref().map(Vec::as_slice));
    let declared: Vec<Declaration> = state
        .config
        .statements()
        .iter()
        .filter_map(declaration)
        .collect();
    if settings.acl_file.is_some()
        && let Some(first) = declared.first()
    {
        return Err(ConfigError::at(
            &first.place,
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This \
             setup is very likely to lead to configuration errors and security holes, please define either an ACL file or \
             declare users directly in your redis.conf, but not both.",
        ));
    }
    // Users may have roles that are declared behind them.
    let (roles, users): (Vec<_>, Vec<_>) = declared.into_iter().partition(|it| it.is_role);
    let mut names = BTreeSet::new();
    for declaration in roles.into_iter().chain(users) {
        let kind = declaration.kind();
        if !names.insert((kind, declaration.name.clone())) {
            let name = String::from_utf8_lossy(&declaration.name);
            let text = format!(
                "Error in {kind} declaration '{name}': Duplicate {kind} found. A {kind} can only be defined once in config files"
            );
            return Err(ConfigError::at(&declaration.place, text));
        }
        declaration.take_in(state)?;
    }
    if state.config.settings().acl_file.is_some() {
        load(state).map_err(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            ConfigError::overall(format!(
                "Aborting Redis startup because of ACL errors: {text}"
            ))
        })?;
    }
    Ok(())
}

/// A line `user` or `role` of the configuration.
struct Declaration {
    place: Place,
    is_role: bool,
    name: Vec<u8>,
    rules: Vec<Vec<u8>>,
}

fn declaration(statement: &Statement) -> Option<Declaration> {
    let (is_role, words) = match &statement.kind {
        StatementKind::User(words) => (false, words),
        StatementKind::Role(words) => (true, words),
        _ => return None,
    };
    let (name, rules) = words.split_first()?;
    Some(Declaration {
        place: statement.place.clone(),
        is_role,
        name: name.clone(),
        rules: rules.to_vec(),
    })
}

impl Declaration {
    fn kind(&self) -> &'static str {
        if self.is_role { "role" } else { "user" }
    }

    fn take_in(&self, state: &mut State) -> Result<(), ConfigError> {
        if !crate::acl::is_valid_name(&self.name) {
            let text = format!("Spaces not allowed in ACL {}names", self.kind());
            return Err(ConfigError::at(&self.place, text));
        }
        let mut rules: Vec<&[u8]> = self.rules.iter().map(Vec::as_slice).collect();
        let taken = match self.is_role {
            true => state
                .users
                .set_role(&self.name, &rules, &state.table)
                .map(drop),
            false => {
                // What the default user is without being declared counts no more.
                rules.insert(0, b"reset");
                state.users.set(&self.name, &rules, &state.table).map(drop)
            }
        };
        taken.map_err(|error| {
            // It ends in a terminal or a log.
            let rule = error.rule();
            let is_password = rule.first().is_some_and(|it| PASSWORD_RULES.contains(it));
            let shown = rule.get(..if is_password { 1 } else { rule.len() });
            let rule = String::from_utf8_lossy(shown.unwrap_or_default()).into_owned();
            let (kind, reason) = (self.kind(), error.reason());
            let text = format!("Error in {kind} declaration '{rule}': {reason}");
            ConfigError::at(&self.place, text)
        })
    }
}

fn path(state: &State) -> Option<PathBuf> {
    let path = state.config.settings().acl_file.as_ref()?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

/// Takes the users of the file, all or none; what is wrong with it.
pub(crate) fn load(state: &mut State) -> Result<Vec<Changed>, Vec<u8>> {
    let path = path(state).unwrap_or_default();
    let shown = path.display().to_string();
    let text = read_file(&path).map_err(|error| {
        let reason = os_error_text(&error);
        format!("Error loading ACLs, opening file '{shown}': {reason}").into_bytes()
    })?;
    state.users.load(&shown, &text, &state.table)
}

/// Writes the users to the file; whether it is there, else the log says why.
pub(crate) fn save(state: &State) -> bool {
    let path = path(state).unwrap_or_default();
    match replace_file(&path, &state.users.to_file(), NEW_FILE_MODE) {
        Ok(()) => true,
        Err(error) => {
            log::warn!(
                "Writing ACL file for ACL SAVE: {}: {}",
                path.display(),
                os_error_text(&error)
            );
            false
        }
    }
}
