//! How one client has its keys tracked (CLIENT TRACKING).

use std::collections::BTreeSet;

/// Which of the keys that it reads are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remembered {
    /// All of them.
    #[default]
    Every,
    /// Those read by the command after CLIENT CACHING YES.
    OptIn,
    /// All but those read by the command after CLIENT CACHING NO.
    OptOut,
}

/// The modes of a client that tracks. Clients that do not have none.
#[derive(Clone, Debug, Default)]
pub struct CachingMode {
    /// It hears of all keys with one of its prefixes, instead of those that it has read.
    pub broadcast: bool,
    /// Which of its keys are remembered.
    pub remembered: Remembered,
    /// CLIENT CACHING was called and holds for the next command or transaction.
    pub caching: bool,
    /// It does not want to hear of what it changes itself.
    pub no_loop: bool,
    /// Id of the client that is told in its place; 0: none.
    pub redirect: u64,
    /// That client was gone when there was something to tell.
    pub broken_redirect: bool,
    /// Its prefixes, where it has the broadcast.
    pub prefixes: BTreeSet<Vec<u8>>,
}

impl CachingMode {
    /// Whether keys read by the command that runs are remembered.
    pub fn remembers(&self) -> bool {
        !self.broadcast
            && match self.remembered {
                Remembered::Every => true,
                Remembered::OptIn => self.caching,
                Remembered::OptOut => !self.caching,
            }
    }
    /// Bytes that it holds.
    pub fn memory_bytes(&self) -> usize {
        let prefixes = self.prefixes.iter();
        size_of::<CachingMode>()
            + prefixes
                .map(|prefix| size_of::<Vec<u8>>() + prefix.capacity())
                .sum::<usize>()
    }
}
