//! Selectors: what is permitted together.
//!
//! In: rules about commands, keys, channels and databases. Out: whether a selector permits a call, and its rules as text.

use super::commands::Commands;
use super::key_patterns::KeyPatterns;
use super::pattern::Pattern;
use super::rule::{Fault, has_spaces, value_of};
use super::{Call, Catalogue, Denied, NO_DB, access};
use crate::system::{numbers, quoting};

const READ_WRITE: u8 = access::READ | access::WRITE;

/// Commands, and the keys, channels and databases with which they are permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    commands: Commands,
    all_keys: bool,
    keys: KeyPatterns,
    all_channels: bool,
    channels: Vec<Pattern>,
    /// Numbers of the databases that are permitted, in order; `None` if all are.
    dbs: Option<Vec<usize>>,
}

impl Selector {
    /// A selector that permits nothing; `all_channels` is what is permitted by default.
    pub(super) fn new(all_channels: bool, catalogue: &dyn Catalogue) -> Selector {
        Selector {
            commands: Commands::none(catalogue),
            all_keys: false,
            keys: KeyPatterns::default(),
            all_channels,
            channels: Vec::new(),
            dbs: None,
        }
    }

    /// The selector that a rule in parentheses makes, without those.
    fn parse(
        text: &[u8],
        all_channels: bool,
        catalogue: &dyn Catalogue,
    ) -> Result<Selector, Fault> {
        let mut selector = Selector::new(all_channels, catalogue);
        // Redis ignores all of a selector whose quotes are not balanced.
        for rule in quoting::split(text).map_err(|_| Fault::Syntax)? {
            selector.apply(&rule, catalogue)?;
        }
        selector.keys.finish();
        Ok(selector)
    }

    /// Applies a rule.
    pub(super) fn apply(&mut self, rule: &[u8], catalogue: &dyn Catalogue) -> Result<(), Fault> {
        let is = |name: &str| rule.eq_ignore_ascii_case(name.as_bytes());
        if is("allkeys") || is("~*") {
            self.reset_keys(true);
        } else if is("resetkeys") {
            self.reset_keys(false);
        } else if is("allchannels") || is("&*") {
            (self.all_channels, self.channels) = (true, Vec::new());
        } else if is("resetchannels") {
            (self.all_channels, self.channels) = (false, Vec::new());
        } else if is("alldbs") {
            self.dbs = None;
        } else if is("resetdbs") {
            self.dbs = Some(Vec::new());
        } else if is("allcommands") || is("+@all") {
            self.commands.set_all(true);
        } else if is("nocommands") || is("-@all") {
            self.commands.set_all(false);
        } else if let Some(list) = value_of(rule, b"db") {
            self.dbs = Some(databases(list)?);
        } else {
            return match rule {
                [b'~' | b'%', ..] if self.all_keys => Err(Fault::AfterAllKeys),
                [b'~', pattern @ ..] => self.add_keys(READ_WRITE, pattern),
                [b'%', rest @ ..] => {
                    if self.all_keys {
                        return Err(Fault::AfterAllKeys);
                    }
                    let (access, pattern) = key_access(rest).ok_or(Fault::Syntax)?;
                    self.add_keys(access, pattern)
                }
                [b'&', pattern @ ..] => self.add_channels(pattern),
                [b'+', name @ ..] => self.commands.apply(true, name, catalogue),
                [b'-', name @ ..] => self.commands.apply(false, name, catalogue),
                _ => Err(Fault::Syntax),
            };
        }
        Ok(())
    }

    fn reset_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn add_keys(&mut self, access: u8, pattern: &[u8]) -> Result<(), Fault> {
        if has_spaces(pattern) {
            return Err(Fault::Syntax);
        }
        self.keys.add(access, pattern);
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), Fault> {
        if self.all_channels {
            return Err(Fault::AfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(Fault::Syntax);
        }
        if !self.channels.iter().any(|known| known.text() == pattern) {
            self.channels.push(Pattern::new(pattern));
        }
        Ok(())
    }

    /// Whether the command is permitted in this database, whatever its arguments are. With [`Selector::permits_key`] the quick
    /// way for calls that name no channel and no other database; [`User::check`](super::User::check) has the reason.
    #[inline]
    pub fn permits_simply(&self, command: u16, db: usize) -> bool {
        self.commands.permits_any(command) && (self.dbs.is_none() || self.permits_db(db))
    }

    /// Whether a call is permitted: databases, command, keys, channels, in Valkey's order, which decides what is reported.
    #[inline]
    pub(super) fn check(&self, call: &Call<'_>) -> Result<(), Denied> {
        if self.dbs.is_some() {
            self.check_dbs(call)?;
        }
        if !self.commands.permits(call) {
            return Err(Denied::Command);
        }
        if !self.all_keys {
            for key in call.keys {
                if !self.permits_key(call.args.at(key.at), key.access) {
                    return Err(Denied::Key(key.at));
                }
            }
        }
        if !self.all_channels {
            for channel in call.channels {
                let name = call.args.at(channel.at);
                if !channel.is_unsubscribe && !self.permits_channel(name, channel.is_pattern) {
                    return Err(Denied::Channel(channel.at));
                }
            }
        }
        Ok(())
    }

    fn check_dbs(&self, call: &Call<'_>) -> Result<(), Denied> {
        let used = std::iter::once(call.db).filter(|db| *db != NO_DB);
        let mut all = used.chain(call.other_dbs.iter().copied());
        match all.find(|db| !self.permits_db(*db)) {
            Some(db) => Err(Denied::Database(db)),
            None => Ok(()),
        }
    }

    /// Whether this access to the key is permitted.
    #[inline]
    pub fn permits_key(&self, key: &[u8], access: u8) -> bool {
        self.all_keys || self.keys.permit(key, access)
    }

    /// Whether this access to every key is permitted.
    pub(super) fn permits_all_keys(&self, access: u8) -> bool {
        self.all_keys || self.keys.permit_all(access)
    }

    pub(super) fn permits_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self.channels.iter().any(|it| match is_pattern {
                true => it.text() == channel,
                false => it.matches(channel),
            })
    }

    #[inline(never)]
    fn permits_db(&self, db: usize) -> bool {
        match &self.dbs {
            None => true,
            // No rule can list `ALL_DBS`.
            Some(dbs) => dbs.binary_search(&db).is_ok(),
        }
    }

    /// True if every key is permitted.
    pub fn has_all_keys(&self) -> bool {
        self.all_keys
    }
    pub(super) fn has_all_channels(&self) -> bool {
        self.all_channels
    }
    /// The patterns of channels.
    pub(super) fn channel_patterns(&self) -> impl Iterator<Item = &[u8]> {
        self.channels.iter().map(Pattern::text)
    }
    /// True if every call is permitted.
    pub(super) fn permits_everything(&self) -> bool {
        self.commands.has_all() && self.all_keys && self.all_channels && self.dbs.is_none()
    }
    /// True if every database may be used.
    pub fn has_all_databases(&self) -> bool {
        self.dbs.is_none()
    }

    fn key_words(&self) -> Vec<Vec<u8>> {
        match self.all_keys {
            true => vec![b"~*".to_vec()],
            false => self.keys.words(),
        }
    }

    fn channel_words(&self) -> Vec<Vec<u8>> {
        match self.all_channels {
            true => vec![b"&*".to_vec()],
            false => {
                let word = |pattern: &[u8]| [b"&", pattern].concat();
                self.channel_patterns().map(word).collect()
            }
        }
    }

    /// The rules about commands, as `ACL GETUSER` shows them.
    pub fn commands(&self) -> Vec<u8> {
        self.commands.words().collect::<Vec<_>>().join(&b' ')
    }
    /// The patterns of keys, as `ACL GETUSER` shows them.
    pub fn keys(&self) -> Vec<u8> {
        self.key_words().join(&b' ')
    }
    /// The patterns of channels, as `ACL GETUSER` shows them.
    pub fn channels(&self) -> Vec<u8> {
        self.channel_words().join(&b' ')
    }
    /// The databases, as `ACL GETUSER` of Valkey shows them.
    pub fn databases(&self) -> Vec<u8> {
        match &self.dbs {
            None => b"alldbs".to_vec(),
            Some(dbs) if dbs.is_empty() => Vec::new(),
            Some(dbs) => {
                let numbers: Vec<_> = dbs.iter().map(usize::to_string).collect();
                format!("db={}", numbers.join(",")).into_bytes()
            }
        }
    }

    /// The words that make this selector.
    fn words(&self) -> Vec<Vec<u8>> {
        let mut words = self.key_words();
        if !self.all_channels {
            words.push(b"resetchannels".to_vec());
        }
        words.extend(self.channel_words());
        match &self.dbs {
            None => {}
            Some(dbs) if dbs.is_empty() => words.push(b"resetdbs".to_vec()),
            Some(_) => words.push(self.databases()),
        }
        words.extend(self.commands.words());
        words
    }

    #[cfg(test)]
    pub(super) fn command_bits(&self) -> (&[u64], Vec<(u16, Vec<u8>)>) {
        self.commands.bits()
    }
}

/// What stands before the `~` of `%R~pattern`, as bits of [`access`], and what stands behind it.
fn key_access(rule: &[u8]) -> Option<(u8, &[u8])> {
    let mut access = 0;
    let mut rest = rule;
    loop {
        let Some((letter, tail)) = rest.split_first() else {
            // Without a `~` Redis takes the pattern to be empty.
            return (access != 0).then_some((access, rest));
        };
        let bit = match letter.to_ascii_uppercase() {
            b'R' => access::READ,
            b'W' => access::WRITE,
            b'~' if access != 0 => return Some((access, tail)),
            _ => return None,
        };
        if access & bit != 0 {
            return None;
        }
        access |= bit;
        rest = tail;
    }
}

/// Numbers between commas.
fn databases(list: &[u8]) -> Result<Vec<usize>, Fault> {
    let number = |text: &[u8]| {
        let number = numbers::parse_u64(text).filter(|number| *number <= i32::MAX as u64);
        number.and_then(|number| usize::try_from(number).ok())
    };
    let numbers: Option<Vec<_>> = list.split(|byte| *byte == b',').map(number).collect();
    let mut numbers = numbers.ok_or(Fault::Database)?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// The selectors of a user or a role: the root, to which rules outside of parentheses belong, and further ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selectors {
    pub(super) root: Selector,
    pub(super) further: Vec<Selector>,
}

impl Selectors {
    /// Selectors that permit nothing but what is permitted by default.
    pub(super) fn new(all_channels: bool, catalogue: &dyn Catalogue) -> Selectors {
        Selectors {
            root: Selector::new(all_channels, catalogue),
            further: Vec::new(),
        }
    }

    pub(super) fn apply(
        &mut self,
        rule: &[u8],
        all_channels: bool,
        catalogue: &dyn Catalogue,
    ) -> Result<(), Fault> {
        if let [b'(', inner @ .., b')'] = rule {
            let selector = Selector::parse(inner, all_channels, catalogue)?;
            self.further.push(selector);
        } else if rule.eq_ignore_ascii_case(b"clearselectors") {
            self.further.clear();
        } else {
            self.root.apply(rule, catalogue)?;
        }
        Ok(())
    }

    /// Prepares for checks. To be called after the last change.
    pub(super) fn finish(&mut self) {
        self.root.keys.finish();
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.further)
    }

    /// The rules: no word but that of a selector in parentheses has spaces in it.
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        let further = self.further.iter().map(|selector| {
            let words = selector.words().into_iter().map(quoted_if_needed);
            [b"(", &words.collect::<Vec<_>>().join(&b' ')[..], b")"].concat()
        });
        self.root.words().into_iter().chain(further).collect()
    }
}

/// A word as it must stand in a selector: that is split as a configuration line is, and ends with the first word that
/// ends with a parenthesis. Redis quotes nothing, and reads back something else.
fn quoted_if_needed(word: Vec<u8>) -> Vec<u8> {
    let is_plain = !word.ends_with(b")") && !word.iter().any(|byte| matches!(byte, b'"' | b'\''));
    if is_plain {
        word
    } else {
        quoting::quote(&word)
    }
}
