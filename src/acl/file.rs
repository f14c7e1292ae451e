//! The file of users.
//!
//! In: its text, a line for each user or role. Out: the users that it says, or all that is wrong with it; and the text
//! again. Lines that are empty or begin with `#` say nothing; roles are taken in before users, wherever they stand.
//!
//! What is wrong is reported as by `ACLLoadFromFile` of Redis, with the spaces that stand between its sentences.

use super::rule::{Fault, has_spaces, merge};
use super::users::role_name_fault;
use super::{Catalogue, Changed, Role, User, Users};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const NOT_LOADED: &[u8] =
    b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// What is wrong with a file, by the number of the line.
struct Faults<'a> {
    file_name: &'a str,
    texts: BTreeMap<usize, Vec<u8>>,
}

impl Faults<'_> {
    /// Adds what is wrong with a line, behind the file's name and the line's number.
    fn add(&mut self, line: usize, parts: &[&[u8]]) {
        let place = format!("{}:{line}", self.file_name);
        self.add_bare(line, &[&[place.as_bytes()], parts].concat());
    }
    fn add_bare(&mut self, line: usize, parts: &[&[u8]]) {
        self.texts.entry(line).or_default().extend(parts.concat());
    }

    /// Adds what is wrong with the rules of a line: each command that is unknown, which is no secret, but of all else only
    /// the first and without the rule, which may hold a password.
    fn add_rules(
        &mut self,
        line: usize,
        rules: &[Cow<'_, [u8]>],
        mut apply: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) {
        let mut has_other = false;
        for rule in rules {
            let rule = trim(rule, b"\t\r\n");
            let Err(fault) = apply(rule) else { continue };
            let text = fault.text().as_bytes();
            match fault {
                Fault::UnknownCommand | Fault::UnknownRole => {
                    self.add(
                        line,
                        &[
                            b": Error in applying operation '",
                            rule,
                            b"': ",
                            text,
                            b". ",
                        ],
                    );
                }
                _ if has_other => {}
                _ => {
                    has_other = true;
                    self.add(line, &[b": ", text, b". "]);
                }
            }
        }
    }
}

/// A line that defines a user or a role.
struct Definition<'a> {
    line: usize,
    is_role: bool,
    name: &'a [u8],
    rules: Vec<Cow<'a, [u8]>>,
}

impl Users {
    /// Replaces all users and roles by those of a file's text. If something is wrong with it, nothing is changed.
    ///
    /// Those who stay as they were stay the same, and are not among the changed.
    pub fn load(
        &mut self,
        file_name: &str,
        text: &[u8],
        catalogue: &dyn Catalogue,
    ) -> Result<Vec<Changed>, Vec<u8>> {
        let mut faults = Faults {
            file_name,
            texts: BTreeMap::new(),
        };
        let definitions = definitions(text, &mut faults);
        let (roles, users): (Vec<_>, Vec<_>) = definitions.into_iter().partition(|it| it.is_role);
        let mut loaded = self.emptied(catalogue);
        for role in &roles {
            loaded.load_role(role, catalogue, &mut faults);
        }
        let mut seen = BTreeSet::new();
        for user in &users {
            if seen.insert(user.name) {
                loaded.load_user(user, catalogue, &mut faults);
            } else {
                faults.add_duplicate(b"user", user);
            }
        }
        if !faults.texts.is_empty() {
            let mut text: Vec<u8> = faults.texts.into_values().flatten().collect();
            text.extend_from_slice(NOT_LOADED);
            return Err(text);
        }
        Ok(self.become_loaded(loaded))
    }

    fn load_role(
        &mut self,
        role: &Definition<'_>,
        catalogue: &dyn Catalogue,
        faults: &mut Faults<'_>,
    ) {
        if self.find_role(role.name).is_some() {
            return faults.add_duplicate(b"role", role);
        }
        if let Err(fault) = role_name_fault(role.name, catalogue) {
            return faults.add(role.line, &[b": ", fault.text().as_bytes(), b". "]);
        }
        let all_channels = self.known(catalogue).all_channels;
        let mut made = Role::new(role.name, all_channels, catalogue);
        faults.add_rules(role.line, &role.rules, |rule| {
            made.apply(rule, all_channels, catalogue)
        });
        self.put_role(made);
    }

    fn load_user(
        &mut self,
        user: &Definition<'_>,
        catalogue: &dyn Catalogue,
        faults: &mut Faults<'_>,
    ) {
        let known = self.known(catalogue);
        let mut made = User::new(user.name, &known);
        faults.add_rules(user.line, &user.rules, |rule| made.apply(rule, &known));
        self.put(made);
    }

    /// Becomes what was loaded, but for users who are the same.
    fn become_loaded(&mut self, mut loaded: Users) -> Vec<Changed> {
        let names: BTreeSet<Vec<u8>> = [&*self, &loaded]
            .into_iter()
            .flat_map(|users| users.iter().map(|user| user.name().to_vec()))
            .collect();
        let mut changed = Vec::new();
        for name in names {
            let (before, after) = (self.find(&name).cloned(), loaded.find(&name).cloned());
            match &before {
                Some(user) if before == after => {
                    loaded.put_shared(Rc::clone(user));
                }
                _ => {
                    // Whoever is still there owes what it owed.
                    if let (Some(before), Some(after)) = (&before, &after) {
                        let user = User::clone(after).with_usage_of(before);
                        loaded.put_shared(Rc::new(user));
                    }
                    let after = loaded.find(&name).cloned();
                    changed.push(Changed {
                        name,
                        before,
                        after,
                    });
                }
            }
        }
        *self = loaded;
        changed
    }

    /// The text of a file with all users and roles.
    pub fn to_file(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for line in self.lines() {
            text.extend(line);
            text.push(b'\n');
        }
        text
    }
}

impl Faults<'_> {
    fn add_duplicate(&mut self, kind: &[u8], it: &Definition<'_>) {
        let line = it.line.to_string();
        self.add_bare(
            it.line,
            &[
                b"WARNING: Duplicate ",
                kind,
                b" '",
                it.name,
                b"' found on line ",
                line.as_bytes(),
                b". ",
            ],
        );
    }
}

/// The definitions of a text, without those lines that are none.
fn definitions<'a>(text: &'a [u8], faults: &mut Faults<'_>) -> Vec<Definition<'a>> {
    let mut definitions = Vec::new();
    for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let text = trim(text, b" \t\r\n");
        if matches!(text, [] | [b'#', ..]) {
            continue;
        }
        let mut words = text.split(|byte| *byte == b' ');
        let kind = words.next().unwrap_or_default();
        let (true, Some(name)) = (matches!(kind, b"user" | b"role"), words.next()) else {
            faults.add(
                line,
                &[b" should start with user keyword followed by the username. "],
            );
            continue;
        };
        if has_spaces(name) {
            // The quote before the file's name is Redis's.
            faults.add_bare(line, &[b"'"]);
            faults.add(
                line,
                &[b": username '", name, b"' contains invalid characters. "],
            );
            continue;
        }
        match merge(&words.collect::<Vec<_>>()) {
            Ok(rules) => definitions.push(Definition {
                line,
                is_role: kind == b"role",
                name,
                rules,
            }),
            Err(_) => faults.add(line, &[b": Unmatched parenthesis in selector definition."]),
        }
    }
    definitions
}

/// The text without such bytes at its ends.
fn trim<'a>(text: &'a [u8], bytes: &[u8]) -> &'a [u8] {
    let is_kept = |byte: &u8| !bytes.contains(byte);
    let begin = text.iter().position(is_kept).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(is_kept)
        .map_or(begin, |last| last.saturating_add(1));
    text.get(begin..end).unwrap_or_default()
}
