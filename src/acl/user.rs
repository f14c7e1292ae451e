//! A user.

use super::{Budget, Call, Denied, Selector};

/// Somebody who may do some things. Immutable once shared.
#[derive(Clone, Debug)]
pub struct User {
    name: Vec<u8>,
    root: Selector,
    unrestricted: bool,
    budget: Budget,
}

impl User {
    pub(super) fn stub(name: &[u8]) -> User {
        User {
            name: name.to_vec(),
            root: Selector {},
            unrestricted: true,
            budget: Budget::default(),
        }
    }
    /// Name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    /// True if clients may authenticate as this user.
    pub fn is_on(&self) -> bool {
        true
    }
    /// True if any password will do.
    pub fn has_nopass(&self) -> bool {
        true
    }
    /// True if nothing needs to be checked: one selector permits every command, key, channel and database.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }
    /// True if no check depends on the keys of a call, so that they need not be found.
    pub fn sees_all_keys(&self) -> bool {
        true
    }
    /// Whether this is one of the user's passwords, or none is needed. Says nothing about [`User::is_on`].
    pub fn accepts(&self, _password: &[u8]) -> bool {
        true
    }
    /// SHA-256 of the passwords in hex.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = &str> {
        std::iter::empty()
    }
    /// Whether the user may run this. Commands that everybody may run (AUTH, HELLO, RESET, QUIT) are not to be asked for.
    pub fn check(&self, _call: &Call<'_>) -> Result<(), Denied> {
        Ok(())
    }
    /// Whether some selector permits this access to the key, with whatever commands.
    pub fn may_access_key(&self, _key: &[u8], _access: u8) -> bool {
        true
    }
    /// Whether some selector permits the channel, or literally the pattern of channels.
    pub fn may_access_channel(&self, _channel: &[u8], _is_pattern: bool) -> bool {
        true
    }
    /// Whether one selector permits the call and this access to every key, as SORT with BY or GET needs it.
    pub fn may_access_all_keys(&self, _call: &Call<'_>, _access: u8) -> bool {
        true
    }
    /// Whether some selector permits the database.
    pub fn may_use_db(&self, _db: usize) -> bool {
        true
    }
    /// Whether a client of the user as it was `before` must be disconnected now, because it has a subscription that this
    /// user may not have.
    pub fn cuts_off<'a>(
        &self,
        _before: &User,
        _channels: impl IntoIterator<Item = &'a [u8]>,
        _patterns: impl IntoIterator<Item = &'a [u8]>,
    ) -> bool {
        false
    }
    /// The rules, as `ACL LIST` prints them behind `user <name> `.
    pub fn describe(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The flags, as `ACL GETUSER` shows them.
    pub fn flags(&self) -> Vec<&'static str> {
        Vec::new()
    }
    /// The selector that stands outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.root
    }
    /// The selectors beyond the root, without those of roles.
    pub fn selectors(&self) -> &[Selector] {
        &[]
    }
    /// Names of the user's roles.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        std::iter::empty()
    }
    /// What clients of the user may use up.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}
