//! All users and roles.
//!
//! In: names with rules, and whole files of them. Out: who there is, and who changed by it. A change is made to a copy,
//! which takes its place only if all of it was right.

use super::password::{self, hex, sha256};
use super::rule::{Fault, has_spaces, merge};
use super::user::Known;
use super::{Catalogue, DEFAULT_USER, Role, RuleError, User};
use crate::system::quoting;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Name of who repeats what was allowed when it was first done; no user can have it.
const SUPERUSER: &[u8] = b"(superuser)";

/// Tells of a password that a recording has whether it stands for that of a hash, which the recording has as something else.
pub type StandsFor = fn(hash: &str, password: &[u8]) -> bool;

/// A user that was added, changed or removed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Name of the user.
    pub name: Vec<u8>,
    /// The user as it was, if it was there.
    pub before: Option<Rc<User>>,
    /// The user as it is now, if it is still there.
    pub after: Option<Rc<User>>,
}

/// Whether a user may have this name: it is one word when it is read again.
pub fn is_valid_name(name: &[u8]) -> bool {
    !has_spaces(name)
}

/// All users and roles.
#[derive(Clone, Debug)]
pub struct Users {
    /// By name. The default user is always among them.
    users: BTreeMap<Vec<u8>, Rc<User>>,
    /// The default user once more: it is asked for whenever a client comes.
    default: Rc<User>,
    /// None of them: who repeats what was allowed when it was first done.
    superuser: Rc<User>,
    roles: BTreeMap<Vec<u8>, Rc<Role>>,
    /// Whether new selectors permit all channels (`acl-pubsub-default`).
    all_channels: bool,
    /// Only where a recording is replayed.
    stands_for: Option<StandsFor>,
}

impl Users {
    /// Only the default user, who may do everything. `all_channels` is what `acl-pubsub-default` says.
    pub fn new(catalogue: &dyn Catalogue, all_channels: bool) -> Users {
        let roles = BTreeMap::new();
        let default = Rc::new(default_user(&Known {
            catalogue,
            all_channels,
            roles: &roles,
        }));
        let superuser = Rc::new(default.named(SUPERUSER));
        Users {
            users: BTreeMap::from([(DEFAULT_USER.to_vec(), default.clone())]),
            default,
            superuser,
            roles,
            all_channels,
            stands_for: None,
        }
    }

    /// Lets in also whose password stands for that of one of the user's hashes: what is replayed has neither as it was.
    pub fn set_stands_for(&mut self, stands_for: StandsFor) {
        self.stands_for = Some(stands_for);
    }

    /// No user but the one that must be there: what a file is loaded into.
    pub(super) fn emptied(&self, catalogue: &dyn Catalogue) -> Users {
        Users {
            stands_for: self.stands_for,
            ..Users::new(catalogue, self.all_channels)
        }
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<&Rc<User>> {
        self.users.get(name)
    }
    /// The user of this name, if it is on and this is one of its passwords. How long the answer takes does not tell whether
    /// there is such a user: the password is hashed and compared for nobody, too.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<&Rc<User>> {
        let user = self.find(name);
        let is_right = match user {
            Some(user) => user.accepts(password),
            None => std::hint::black_box(password::is_one_of(password, &[])),
        };
        let stands_for_it = |user: &User| {
            let stands_for = self.stands_for.as_ref();
            stands_for.is_some_and(|it| user.passwords().any(|hash| it(hash, password)))
        };
        user.filter(|user| user.is_on() && (is_right || stands_for_it(user)))
    }
    /// The default user.
    pub fn default_user(&self) -> &Rc<User> {
        &self.default
    }
    /// Nobody whom rules bind, such as a primary. It is not among the users.
    pub fn superuser(&self) -> &Rc<User> {
        &self.superuser
    }
    /// All users, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rc<User>> {
        self.users.values()
    }

    /// Applies rules to a user, who is made if there is none of this name. If one of them is wrong, none is applied.
    pub fn set(
        &mut self,
        name: &[u8],
        rules: &[&[u8]],
        catalogue: &dyn Catalogue,
    ) -> Result<Changed, RuleError> {
        if !is_valid_name(name) {
            return Err(RuleError::new(name, Fault::UserName));
        }
        let known = self.known(catalogue);
        let mut user = match self.find(name) {
            Some(user) => User::clone(user),
            None => User::new(name, &known),
        };
        for rule in merge(rules)? {
            apply(&mut user, &rule, &known)?;
        }
        Ok(self.put(user))
    }

    /// Whether a new user could have these rules.
    pub fn check_rules(&self, rules: &[&[u8]], catalogue: &dyn Catalogue) -> Result<(), RuleError> {
        let known = self.known(catalogue);
        let mut user = User::new(DEFAULT_USER, &known);
        merge(rules)?
            .iter()
            .try_for_each(|rule| apply(&mut user, rule, &known))
    }

    /// Removes a user. The default user stays.
    pub fn remove(&mut self, name: &[u8]) -> Option<Rc<User>> {
        if name == DEFAULT_USER {
            return None;
        }
        self.users.remove(name)
    }

    /// Gives the default user this password alone (`requirepass`), or lets any password do.
    pub fn set_default_password(&mut self, password: Option<&[u8]>) -> Changed {
        let mut user = User::clone(&self.default);
        user.set_password(password);
        self.put(user)
    }

    /// Says whether new users may use all channels (`acl-pubsub-default`).
    pub fn set_pubsub_default(&mut self, all_channels: bool) {
        self.all_channels = all_channels;
    }

    /// A fingerprint of all rules in hex, as `ACL DIGEST` of Valkey shows it: the lines of `ACL LIST`, hashed each and put
    /// together without regard to their order.
    pub fn digest(&self) -> String {
        let mut digest = [0; 32];
        for line in self.lines() {
            let hashed = sha256(&line);
            digest.iter_mut().zip(*hashed).for_each(|(a, b)| *a ^= b);
        }
        hex(&digest)
    }

    /// The lines of `ACL LIST`: roles, then users, by name.
    pub fn lines(&self) -> impl Iterator<Item = Vec<u8>> {
        self.definitions().map(|words| words.join(&b' '))
    }

    /// The same as lines of a configuration, whose reader takes quotes away: a word has some around it where it would be
    /// read as another. Redis writes them bare, and reads back other rules, or none.
    pub fn config_lines(&self) -> impl Iterator<Item = Vec<u8>> {
        self.definitions().map(|words| {
            let words = words.into_iter().map(config_word);
            words.collect::<Vec<_>>().join(&b' ')
        })
    }

    /// The words of each line.
    fn definitions(&self) -> impl Iterator<Item = Vec<Vec<u8>>> {
        let line = |kind: &[u8], name: &[u8], rules: Vec<Vec<u8>>| {
            let mut words = vec![kind.to_vec(), name.to_vec()];
            words.extend(rules);
            words
        };
        let roles = self
            .roles()
            .map(move |role| line(b"role", role.name(), role.words()));
        let users = self
            .iter()
            .map(move |user| line(b"user", user.name(), user.words()));
        roles.chain(users)
    }

    /// Applies rules to a role, which is made if there is none of this name. If one of them is wrong, none is applied.
    /// Returns the users that have the role.
    pub fn set_role(
        &mut self,
        name: &[u8],
        rules: &[&[u8]],
        catalogue: &dyn Catalogue,
    ) -> Result<Vec<Changed>, RuleError> {
        let mut role = match self.roles.get(name) {
            Some(role) => Role::clone(role),
            None => {
                role_name_fault(name, catalogue).map_err(|fault| RuleError::new(name, fault))?;
                Role::new(name, self.all_channels, catalogue)
            }
        };
        for rule in merge(rules)? {
            role.apply(&rule, self.all_channels, catalogue)
                .map_err(|fault| RuleError::new(&rule, fault))?;
        }
        let role = self.put_role(role);
        let members: Vec<Rc<User>> = self.members(name).cloned().collect();
        let changed = members.iter().map(|user| {
            let mut user = User::clone(user);
            user.replace_role(&role);
            self.put(user)
        });
        Ok(changed.collect())
    }

    /// The role of this name.
    pub fn find_role(&self, name: &[u8]) -> Option<&Rc<Role>> {
        self.roles.get(name)
    }
    /// All roles, by name.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &Rc<Role>> {
        self.roles.values()
    }
    /// Removes a role. One that a user has stays: ask for its [`Users::members`] first.
    pub fn remove_role(&mut self, name: &[u8]) -> Option<Rc<Role>> {
        if self.members(name).next().is_some() {
            return None;
        }
        self.roles.remove(name)
    }
    /// The users that have a role, by name.
    pub fn members(&self, role: &[u8]) -> impl Iterator<Item = &Rc<User>> {
        self.iter()
            .filter(move |user| user.roles().any(|it| it == role))
    }

    /// Takes in a role that was made or changed. Users who have it have it as it was.
    pub(super) fn put_role(&mut self, mut role: Role) -> Rc<Role> {
        role.finish();
        let role = Rc::new(role);
        self.roles.insert(role.name().to_vec(), role.clone());
        role
    }

    pub(super) fn known<'a>(&'a self, catalogue: &'a dyn Catalogue) -> Known<'a> {
        Known {
            catalogue,
            all_channels: self.all_channels,
            roles: &self.roles,
        }
    }

    /// Takes in a user that was made or changed.
    pub(super) fn put(&mut self, mut user: User) -> Changed {
        user.finish();
        self.put_shared(Rc::new(user))
    }

    pub(super) fn put_shared(&mut self, user: Rc<User>) -> Changed {
        if user.name() == DEFAULT_USER {
            self.default = user.clone();
        }
        let name = user.name().to_vec();
        let before = self.users.insert(name.clone(), user.clone());
        Changed {
            name,
            before,
            after: Some(user),
        }
    }
}

/// A word of a rule as it must stand in a configuration. A selector may stand there as several words: what reads rules puts
/// them together again.
fn config_word(word: Vec<u8>) -> Vec<u8> {
    match word.split(|byte| *byte == b' ').all(quoting::is_plain) {
        true => word,
        false => quoting::quote(&word),
    }
}

fn apply(user: &mut User, rule: &[u8], known: &Known<'_>) -> Result<(), RuleError> {
    user.apply(rule, known)
        .map_err(|fault| RuleError::new(rule, fault))
}

/// The default user as it is where nobody has said otherwise.
fn default_user(known: &Known<'_>) -> User {
    let mut user = User::new(DEFAULT_USER, known);
    for rule in ["+@all", "~*", "&*", "on", "nopass"] {
        let applied = user.apply(rule.as_bytes(), known);
        debug_assert!(applied.is_ok(), "{rule}");
    }
    user.finish();
    user
}

/// What keeps a new role from having this name.
pub(super) fn role_name_fault(name: &[u8], catalogue: &dyn Catalogue) -> Result<(), Fault> {
    if name.is_empty() || has_spaces(name) || name.contains(&b',') {
        return Err(Fault::RoleName);
    }
    match catalogue.find(name).is_some() || catalogue.category(name).is_some() {
        true => Err(Fault::RoleNameTaken),
        false => Ok(()),
    }
}
