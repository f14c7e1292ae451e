//! Users, and who of them a client is.
//!
//! In: a name that AUTH or HELLO gives. Out: the user of that name, shared by all clients that are this user. There is
//! one user so far, `default`, who may do everything. Mirrors the `user` of Redis's acl.c.

use std::rc::Rc;

/// Name of the user that every connection is which has not said otherwise.
pub const DEFAULT_USER: &[u8] = b"default";

/// A user.
#[derive(Debug)]
pub struct User {
    /// Name.
    pub name: Vec<u8>,
}

/// All users.
#[derive(Debug)]
pub struct Users {
    default: Rc<User>,
}

impl Default for Users {
    fn default() -> Users {
        let name = DEFAULT_USER.to_vec();
        Users {
            default: Rc::new(User { name }),
        }
    }
}

impl Users {
    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<&Rc<User>> {
        (name == self.default.name).then_some(&self.default)
    }
    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<User>> {
        std::iter::once(&self.default)
    }
    /// A client that is the default user: where no password is asked for, and who is not asked for one.
    pub fn default_identity(&self) -> Identity {
        Identity::User(self.default.clone())
    }
    /// Who a primary is: what it sends was allowed there.
    pub fn of_internal(&self) -> Identity {
        self.default_identity()
    }
    /// Who a connection is that has not said anything yet.
    pub fn newcomer(&self, must_authenticate: bool) -> Identity {
        match must_authenticate {
            true => Identity::Stranger,
            false => self.default_identity(),
        }
    }
}

/// Who a client is.
#[derive(Clone, Debug, Default)]
pub enum Identity {
    /// It has yet to say who it is.
    #[default]
    Stranger,
    /// It has authenticated as this user, or did not have to.
    User(Rc<User>),
}

impl Identity {
    /// Whether it has yet to authenticate.
    #[inline]
    pub fn is_stranger(&self) -> bool {
        matches!(self, Identity::Stranger)
    }
    /// Name of the user. Strangers are shown as the default user, as by Redis.
    pub fn name(&self) -> &[u8] {
        match self {
            Identity::Stranger => DEFAULT_USER,
            Identity::User(user) => &user.name,
        }
    }
}
