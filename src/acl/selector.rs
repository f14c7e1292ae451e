//! A selector: commands, and the keys, channels and databases with which they are permitted.

/// Commands, and the keys, channels and databases with which they are permitted.
#[derive(Clone, Debug)]
pub struct Selector {}

impl Selector {
    /// The rules about commands, as `ACL GETUSER` shows them.
    pub fn commands(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The patterns of keys, as `ACL GETUSER` shows them.
    pub fn keys(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The patterns of channels, as `ACL GETUSER` shows them.
    pub fn channels(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The databases, as `ACL GETUSER` of Valkey shows them.
    pub fn databases(&self) -> Vec<u8> {
        Vec::new()
    }
    /// True if every database may be used.
    pub fn has_all_databases(&self) -> bool {
        true
    }
}
