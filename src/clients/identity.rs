//! Who a client is.
//!
//! In: a user that has authenticated, or a connection that did not have to say anything. Out: what admission asks. A user is
//! shared by all clients that are it and never changes; where its rules do, all of them are given the changed one
//! ([`super::Clients::exchange_user`]). Mirrors `client.user` of Redis.

use crate::acl::{DEFAULT_USER, User, Users};
use std::rc::Rc;

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
    /// Who a connection is that has not said anything yet: the default user, if that asks for no password.
    pub fn newcomer(users: &Users) -> Identity {
        let user = users.default_user();
        match user.is_on() && user.has_nopass() {
            true => Identity::User(Rc::clone(user)),
            false => Identity::Stranger,
        }
    }
    /// The default user, whether or not it asks for a password.
    pub fn default_user(users: &Users) -> Identity {
        Identity::User(Rc::clone(users.default_user()))
    }
    /// Nobody whom rules could bind: a primary, or a file that is loaded. What they ask for was allowed when it was first done.
    pub fn superuser(users: &Users) -> Identity {
        Identity::User(Rc::clone(users.superuser()))
    }
    /// Whether it has yet to authenticate.
    #[inline]
    pub fn is_stranger(&self) -> bool {
        matches!(self, Identity::Stranger)
    }
    /// The user whose rules or budget its commands have to be asked about. None where nothing has to be asked.
    #[inline]
    pub fn restricted(&self) -> Option<&Rc<User>> {
        match self {
            Identity::User(user) if user.is_bound() => Some(user),
            _ => None,
        }
    }
    /// Its user, if it is one.
    pub fn user(&self) -> Option<&Rc<User>> {
        match self {
            Identity::User(user) => Some(user),
            Identity::Stranger => None,
        }
    }
    /// Name of the user. Strangers are shown as the default user, as by Redis.
    pub fn name(&self) -> &[u8] {
        match self {
            Identity::Stranger => DEFAULT_USER,
            Identity::User(user) => user.name(),
        }
    }
}
