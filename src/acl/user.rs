//! A user: its passwords, and what it may do.
//!
//! In: rules, and calls. Out: whether the user may run them, and the rules as text.

use super::password::{self, Hash};
use super::rule::{Fault, value_of};
use super::selector::Selectors;
use super::{Budget, Call, Catalogue, Denied, Role, Selector, Usage};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What rules of users may refer to.
pub(super) struct Known<'a> {
    pub(super) catalogue: &'a dyn Catalogue,
    pub(super) all_channels: bool,
    pub(super) roles: &'a BTreeMap<Vec<u8>, Rc<Role>>,
}

/// Somebody who may do some things. Immutable once shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: Vec<u8>,
    is_on: bool,
    has_nopass: bool,
    skips_sanitizing: bool,
    passwords: Vec<Hash>,
    selectors: Selectors,
    roles: Vec<Rc<Role>>,
    budget: Budget,
    /// What its clients have used, under whichever of its rules.
    usage: Rc<Usage>,
    /// Whether its commands have to be asked about, for what they do or for the budget.
    is_bound: bool,
    /// Whether some selector permits everything.
    is_unrestricted: bool,
    /// Whether what its clients use is bounded.
    has_budget: bool,
    /// Whether each selector permits all keys.
    sees_all_keys: bool,
}

impl User {
    /// A user who may do nothing, and cannot authenticate.
    pub(super) fn new(name: &[u8], known: &Known<'_>) -> User {
        let mut user = User {
            name: name.to_vec(),
            is_on: false,
            has_nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            selectors: Selectors::new(known.all_channels, known.catalogue),
            roles: Vec::new(),
            budget: Budget::default(),
            usage: Rc::default(),
            is_bound: true,
            is_unrestricted: false,
            has_budget: false,
            sees_all_keys: false,
        };
        user.finish();
        user
    }

    /// The same under another name.
    pub(super) fn named(&self, name: &[u8]) -> User {
        User {
            name: name.to_vec(),
            usage: Rc::default(),
            ..self.clone()
        }
    }

    /// This user, with what another one has used: who it was under its rules of before.
    pub(super) fn with_usage_of(self, before: &User) -> User {
        User {
            usage: Rc::clone(&before.usage),
            ..self
        }
    }

    /// Applies a rule. [`User::finish`] is to follow the last one.
    pub(super) fn apply(&mut self, rule: &[u8], known: &Known<'_>) -> Result<(), Fault> {
        let is = |name: &str| rule.eq_ignore_ascii_case(name.as_bytes());
        match rule {
            [] => return Ok(()),
            [b'>', password @ ..] => return self.add_password(Hash::of(password)),
            [b'#', hash @ ..] => return self.add_password(Hash::parse(hash).ok_or(Fault::Hash)?),
            [b'<', password @ ..] => return self.remove_password(&Hash::of(password)),
            [b'!', hash @ ..] => {
                return self.remove_password(&Hash::parse(hash).ok_or(Fault::Hash)?);
            }
            _ => {}
        }
        if let Some(result) = self.budget.apply(rule) {
            return result;
        }
        if is("on") {
            self.is_on = true;
        } else if is("off") {
            self.is_on = false;
        } else if is("skip-sanitize-payload") {
            self.skips_sanitizing = true;
        } else if is("sanitize-payload") {
            self.skips_sanitizing = false;
        } else if is("nopass") {
            (self.has_nopass, self.passwords) = (true, Vec::new());
        } else if is("resetpass") {
            (self.has_nopass, self.passwords) = (false, Vec::new());
        } else if is("reset") {
            // What it has used, and owes, stays.
            *self = User::new(&self.name, known).with_usage_of(self);
        } else if is("resetroles") {
            self.roles.clear();
        } else if let Some(names) = value_of(rule, b"role") {
            self.roles = roles(names, known)?;
        } else {
            return self
                .selectors
                .apply(rule, known.all_channels, known.catalogue);
        }
        Ok(())
    }

    /// Draws from the selectors what is asked at every command. To be called after the last change.
    pub(super) fn finish(&mut self) {
        self.selectors.finish();
        let is_unrestricted = self.all_selectors().any(Selector::permits_everything);
        let sees_all_keys = self.all_selectors().all(Selector::has_all_keys);
        (self.is_unrestricted, self.sees_all_keys) = (is_unrestricted, sees_all_keys);
        self.has_budget = self.budget.has_limit();
        self.is_bound = !is_unrestricted || self.has_budget;
    }

    /// Leaves this password alone, or lets any password do.
    pub(super) fn set_password(&mut self, password: Option<&[u8]>) {
        self.has_nopass = password.is_none();
        self.passwords = password.map(Hash::of).into_iter().collect();
    }

    fn add_password(&mut self, hash: Hash) -> Result<(), Fault> {
        self.has_nopass = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        Ok(())
    }

    fn remove_password(&mut self, hash: &Hash) -> Result<(), Fault> {
        let at = self.passwords.iter().position(|known| known == hash);
        self.passwords.remove(at.ok_or(Fault::NoSuchPassword)?);
        Ok(())
    }

    /// Replaces a role by the role of the same name as it is now.
    pub(super) fn replace_role(&mut self, role: &Rc<Role>) {
        let same = self.roles.iter_mut().filter(|it| it.name() == role.name());
        same.for_each(|it| *it = role.clone());
        self.finish();
    }

    /// The user's own selectors, then those of the roles.
    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(self.root()).chain(self.further_selectors())
    }

    /// Name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    /// True if clients may authenticate as this user.
    pub fn is_on(&self) -> bool {
        self.is_on
    }
    /// True if any password will do.
    pub fn has_nopass(&self) -> bool {
        self.has_nopass
    }
    /// True if nothing needs to be checked: some selector permits every command, key, channel and database.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted
    }
    /// True if no check depends on the keys of a call, so that they need not be found.
    #[inline]
    pub fn sees_all_keys(&self) -> bool {
        self.sees_all_keys
    }
    /// Whether this is one of the user's passwords, or none is needed. Whether the user is on is another question. It takes
    /// as long for one who needs none, and says nothing of how many there are, up to a number that few users have.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let is_one = password::is_one_of(password, &self.passwords);
        self.has_nopass | std::hint::black_box(is_one)
    }
    /// SHA-256 of the passwords in hex.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = &str> {
        self.passwords.iter().map(Hash::as_str)
    }

    /// Whether the user may run this. Commands that everybody may run (AUTH, HELLO, RESET, QUIT) are not to be asked for.
    ///
    /// Of several selectors' refusals that one is reported which came furthest: a channel rather than a key rather than the
    /// command rather than a database, and of two of a kind that of the later argument.
    pub fn check(&self, call: &Call<'_>) -> Result<(), Denied> {
        let Err(mut furthest) = self.selectors.root.check(call) else {
            return Ok(());
        };
        for selector in self.further_selectors() {
            match selector.check(call) {
                Ok(()) => return Ok(()),
                Err(denied) if rank(denied) > rank(furthest) => furthest = denied,
                Err(_) => {}
            }
        }
        Err(furthest)
    }
    /// Whether some selector permits this access to the key, with whatever commands.
    pub fn may_access_key(&self, key: &[u8], access: u8) -> bool {
        self.all_selectors().any(|it| it.permits_key(key, access))
    }
    /// Whether some selector permits the channel, or literally the pattern of channels.
    pub fn may_access_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_selectors()
            .any(|it| it.permits_channel(channel, is_pattern))
    }
    /// Whether one selector permits the call and this access to every key, as SORT with BY or GET needs it.
    pub fn may_access_all_keys(&self, call: &Call<'_>, access: u8) -> bool {
        self.all_selectors()
            .any(|it| it.permits_all_keys(access) && it.check(call).is_ok())
    }

    /// Whether channels may be out of reach when this user becomes `new`. Only then subscriptions have to be looked at, with
    /// [`User::cuts_off`].
    pub fn channels_lost(&self, new: &User) -> bool {
        if new.all_selectors().any(Selector::has_all_channels) {
            return false;
        }
        let is_kept = |pattern: &[u8]| {
            let mut patterns = new.all_selectors().flat_map(Selector::channel_patterns);
            patterns.any(|it| it == pattern)
        };
        self.all_selectors().any(|it| {
            it.has_all_channels() || it.channel_patterns().any(|pattern| !is_kept(pattern))
        })
    }
    /// Whether a client has a subscription that this user may not have, and must be disconnected for it.
    pub fn cuts_off<'a>(
        &self,
        channels: impl IntoIterator<Item = &'a [u8]>,
        patterns: impl IntoIterator<Item = &'a [u8]>,
    ) -> bool {
        let is_lost = |name, is_pattern| !self.may_access_channel(name, is_pattern);
        channels.into_iter().any(|name| is_lost(name, false))
            || patterns.into_iter().any(|name| is_lost(name, true))
    }

    /// The rules, as `ACL LIST` prints them behind `user <name> `.
    pub fn describe(&self) -> Vec<u8> {
        self.words().join(&b' ')
    }
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        let flags = self
            .flags()
            .into_iter()
            .map(|flag| flag.as_bytes().to_vec());
        let passwords = self.passwords().map(|hash| format!("#{hash}").into_bytes());
        let mut words: Vec<Vec<u8>> = flags.chain(passwords).collect();
        words.extend(self.selectors.words());
        if !self.roles.is_empty() {
            let names = self.roles().collect::<Vec<_>>().join(&b',');
            words.push([b"role=", &names[..]].concat());
        }
        words.extend(self.budget.words().into_iter().map(String::into_bytes));
        words
    }
    /// The flags, as `ACL GETUSER` shows them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_on { "on" } else { "off" }];
        if self.has_nopass {
            flags.push("nopass");
        }
        flags.push(match self.skips_sanitizing {
            true => "skip-sanitize-payload",
            false => "sanitize-payload",
        });
        flags
    }
    /// True if payloads of RESTORE are taken from this user without a look at what is in them.
    pub fn skips_sanitizing(&self) -> bool {
        self.skips_sanitizing
    }
    /// The selector that stands outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.selectors.root
    }
    /// The selectors beyond the root, also those of the roles.
    pub fn further_selectors(&self) -> impl Iterator<Item = &Selector> {
        let of_roles = self.roles.iter().flat_map(|role| role.all_selectors());
        self.selectors.further.iter().chain(of_roles)
    }
    /// The selectors beyond the root, without those of roles.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors.further
    }
    /// Names of the user's roles.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.roles.iter().map(|role| role.name())
    }
    /// Whether its commands have to be asked about at all.
    #[inline]
    pub fn is_bound(&self) -> bool {
        self.is_bound
    }
    /// Whether what its clients use is bounded.
    #[inline]
    pub fn has_budget(&self) -> bool {
        self.has_budget
    }
    /// What the user's clients have used.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }
    /// What clients of the user may use up.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

/// How far a refused call came, then at which argument it was refused.
fn rank(denied: Denied) -> (u8, usize) {
    match denied {
        Denied::Database(_) => (0, 0),
        Denied::Command => (1, 0),
        Denied::Key(at) => (2, at),
        Denied::Channel(at) => (3, at),
    }
}

/// The roles of a list of names between commas.
fn roles(names: &[u8], known: &Known<'_>) -> Result<Vec<Rc<Role>>, Fault> {
    let mut roles: Vec<Rc<Role>> = Vec::new();
    for name in names.split(|byte| *byte == b',') {
        let role = known.roles.get(name).ok_or(Fault::UnknownRole)?;
        if !roles.iter().any(|it| it.name() == name) {
            roles.push(role.clone());
        }
    }
    Ok(roles)
}
