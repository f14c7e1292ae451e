//! Users where they are kept: as lines of the configuration, or in a file of their own.
//!
//! In: the directives `user` and `aclfile`. Out: the users that the server begins with, and the file as ACL SAVE leaves it: the
//! old one or the new, whole. Mirrors `ACLLoadUsersAtStartup`, `ACLLoadFromFile` and `ACLSaveToFile` of Redis's acl.c.

use super::State;
use crate::acl::Changed;
use crate::config::secrets::PASSWORD_RULES;
use crate::config::{ConfigError, StatementKind, read_file, replace_file};
use crate::system::process::os_error_text;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Permissions of a file that did not exist: hashes of passwords are nobody else's to read.
const NEW_FILE_MODE: u32 = 0o600;

/// The users that the configuration gives the server. Whatever is wrong with one of them ends the start: who comes in must not
/// be left to chance.
pub fn begin(state: &mut State) -> Result<(), ConfigError> {
    let settings = state.config.settings();
    let password = settings.requirepass.clone();
    state.users.set_default_password(password.as_deref());
    let statements = state.config.statements().iter();
    let declared: Vec<_> = statements
        .filter_map(|statement| match &statement.kind {
            StatementKind::User(words) => Some((statement.place.clone(), words.clone())),
            _ => None,
        })
        .collect();
    if settings.acl_file.is_some()
        && let Some((place, _)) = declared.first()
    {
        return Err(ConfigError::at(
            place,
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This \
             setup is very likely to lead to configuration errors and security holes, please define either an ACL file or \
             declare users directly in your redis.conf, but not both.",
        ));
    }
    let mut names = BTreeSet::new();
    for (place, words) in declared {
        let Some((name, rules)) = words.split_first() else {
            continue;
        };
        if !names.insert(name.clone()) {
            let name = String::from_utf8_lossy(name);
            let text = format!(
                "Error in user declaration '{name}': Duplicate user found. A user can only be defined once in config files"
            );
            return Err(ConfigError::at(&place, text));
        }
        let mut all: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        // What the default user is without being declared counts no more.
        all.insert(0, b"reset");
        if !crate::acl::is_valid_name(name) {
            return Err(ConfigError::at(
                &place,
                "Spaces not allowed in ACL usernames",
            ));
        }
        if let Err(error) = state.users.set(name, &all, &state.table) {
            // It ends in a terminal or a log.
            let is_password = error
                .rule()
                .first()
                .is_some_and(|it| PASSWORD_RULES.contains(it));
            let shown = error
                .rule()
                .get(..if is_password { 1 } else { error.rule().len() });
            let rule = String::from_utf8_lossy(shown.unwrap_or_default()).into_owned();
            let text = format!("Error in user declaration '{rule}': {}", error.reason());
            return Err(ConfigError::at(&place, text));
        }
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
