//! All users.

use super::{Catalogue, DEFAULT_USER, Role, RuleError, User};
use std::collections::BTreeMap;
use std::rc::Rc;

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

/// Whether a user or a role may have this name: it is not split when rules are read again.
pub fn is_valid_name(_name: &[u8]) -> bool {
    true
}

/// All users and roles.
#[derive(Clone, Debug)]
pub struct Users {
    users: BTreeMap<Vec<u8>, Rc<User>>,
    default: Rc<User>,
}

impl Users {
    /// Only the default user, who may do everything. `all_channels` is `acl-pubsub-default`.
    pub fn new(_catalogue: &dyn Catalogue, _all_channels: bool) -> Users {
        let default = Rc::new(User::stub(DEFAULT_USER));
        Users {
            users: BTreeMap::from([(DEFAULT_USER.to_vec(), default.clone())]),
            default,
        }
    }
    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<&Rc<User>> {
        self.users.get(name)
    }
    /// The default user.
    pub fn default_user(&self) -> &Rc<User> {
        &self.default
    }
    /// All users, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rc<User>> {
        self.users.values()
    }
    /// Applies rules to a user, who is made if there is none of this name. If one of them is wrong, none is applied.
    pub fn set(
        &mut self,
        _name: &[u8],
        _rules: &[&[u8]],
        _catalogue: &dyn Catalogue,
    ) -> Result<Changed, RuleError> {
        Ok(Changed {
            name: Vec::new(),
            before: None,
            after: None,
        })
    }
    /// Whether a new user could have these rules.
    pub fn check_rules(
        &self,
        _rules: &[&[u8]],
        _catalogue: &dyn Catalogue,
    ) -> Result<(), RuleError> {
        Ok(())
    }
    /// Removes a user. The default user stays.
    pub fn remove(&mut self, _name: &[u8]) -> Option<Rc<User>> {
        None
    }
    /// Gives the default user this password alone (`requirepass`), or lets any password do.
    pub fn set_default_password(&mut self, _password: Option<&[u8]>) -> Changed {
        Changed {
            name: Vec::new(),
            before: None,
            after: None,
        }
    }
    /// Says whether new users may use all channels (`acl-pubsub-default`).
    pub fn set_pubsub_default(&mut self, _all_channels: bool) {}
    /// Replaces all users and roles by those of a file's text. If one line is wrong, nothing is changed.
    pub fn load(
        &mut self,
        _file_name: &str,
        _text: &[u8],
        _catalogue: &dyn Catalogue,
    ) -> Result<Vec<Changed>, Vec<u8>> {
        Ok(Vec::new())
    }
    /// The text of a file with all users and roles.
    pub fn to_file(&self) -> Vec<u8> {
        Vec::new()
    }
    /// A fingerprint of all rules in hex, as `ACL DIGEST` of Valkey shows it.
    pub fn digest(&self) -> String {
        String::new()
    }
    /// Applies rules to a role, which is made if there is none of this name. Returns the users that have it.
    pub fn set_role(
        &mut self,
        _name: &[u8],
        _rules: &[&[u8]],
        _catalogue: &dyn Catalogue,
    ) -> Result<Vec<Changed>, RuleError> {
        Ok(Vec::new())
    }
    /// The role of this name.
    pub fn find_role(&self, _name: &[u8]) -> Option<&Rc<Role>> {
        None
    }
    /// All roles, by name.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &Rc<Role>> {
        std::iter::empty()
    }
    /// Removes a role, which no user may have. `None` if there is none of this name.
    pub fn remove_role(&mut self, _name: &[u8]) -> Option<Rc<Role>> {
        None
    }
    /// Names of the users that have a role.
    pub fn members<'a>(&'a self, role: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.users
            .values()
            .filter(move |user| user.roles().any(|it| it == role))
            .map(|user| user.name())
    }
}
