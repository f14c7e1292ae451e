//! Roles: selectors with a name, which users share.

use super::Selector;

/// A named set of rules that users share.
#[derive(Clone, Debug)]
pub struct Role {
    name: Vec<u8>,
    root: Selector,
}

impl Role {
    /// Name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    /// The selector that stands outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.root
    }
    /// The selectors beyond the root.
    pub fn selectors(&self) -> &[Selector] {
        &[]
    }
    /// The rules, as `ACL LIST` prints them behind `role <name> `.
    pub fn describe(&self) -> Vec<u8> {
        Vec::new()
    }
}
