//! Roles: selectors with a name, which users share. As in Valkey 9.2.

use super::rule::Fault;
use super::selector::Selectors;
use super::{Catalogue, Selector};

/// A named set of permissions that users share. Immutable once shared, as users are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    name: Vec<u8>,
    selectors: Selectors,
}

impl Role {
    pub(super) fn new(name: &[u8], all_channels: bool, catalogue: &dyn Catalogue) -> Role {
        Role {
            name: name.to_vec(),
            selectors: Selectors::new(all_channels, catalogue),
        }
    }

    /// Applies a rule. Those that are about users are unknown here.
    pub(super) fn apply(
        &mut self,
        rule: &[u8],
        all_channels: bool,
        catalogue: &dyn Catalogue,
    ) -> Result<(), Fault> {
        match rule {
            [] => Ok(()),
            _ => self.selectors.apply(rule, all_channels, catalogue),
        }
    }

    /// Prepares for checks. To be called after the last change.
    pub(super) fn finish(&mut self) {
        self.selectors.finish();
    }

    pub(super) fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        self.selectors.iter()
    }

    /// Name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    /// The selector that stands outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.selectors.root
    }
    /// The selectors beyond the root.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors.further
    }
    /// The rules, as `ACL LIST` prints them behind `role <name> `.
    pub fn describe(&self) -> Vec<u8> {
        self.words().join(&b' ')
    }
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        self.selectors.words()
    }
}
