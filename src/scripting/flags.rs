//! What a script or a function says of itself: its flags.
//!
//! In: their names, from a shebang or from `redis.register_function`. Out: bits, and what follows from them for the
//! flags of the command that runs it. Mirrors `scripts_flags_def` of Redis's script.c.

/// The flags of a script or a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags(u8);

impl ScriptFlags {
    /// It only reads.
    pub const NO_WRITES: ScriptFlags = ScriptFlags(1);
    /// It may run while memory is over `maxmemory`.
    pub const ALLOW_OOM: ScriptFlags = ScriptFlags(2);
    /// It may run on a replica whose data is old.
    pub const ALLOW_STALE: ScriptFlags = ScriptFlags(4);
    /// It must not run in a cluster.
    pub const NO_CLUSTER: ScriptFlags = ScriptFlags(8);
    /// Its keys may be of several slots.
    pub const ALLOW_CROSS_SLOT: ScriptFlags = ScriptFlags(16);
    /// Their names, in the order in which Redis lists them.
    const NAMES: [(ScriptFlags, &'static str); 5] = [
        (ScriptFlags::NO_WRITES, "no-writes"),
        (ScriptFlags::ALLOW_OOM, "allow-oom"),
        (ScriptFlags::ALLOW_STALE, "allow-stale"),
        (ScriptFlags::NO_CLUSTER, "no-cluster"),
        (ScriptFlags::ALLOW_CROSS_SLOT, "allow-cross-slot-keys"),
    ];

    /// The flag of this name, in any case.
    pub fn by_name(name: &[u8]) -> Option<ScriptFlags> {
        ScriptFlags::NAMES
            .iter()
            .find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()))
            .map(|(flag, _)| *flag)
    }
    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        ScriptFlags::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.has(*flag))
            .map(|(_, name)| name)
    }
    /// Whether one of `flags` is set.
    pub fn has(self, flags: ScriptFlags) -> bool {
        self.0 & flags.0 != 0
    }
    /// Both.
    pub const fn and(self, other: ScriptFlags) -> ScriptFlags {
        ScriptFlags(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        let both = ScriptFlags::by_name(b"ALLOW-oom")
            .expect("a flag")
            .and(ScriptFlags::NO_WRITES);
        assert_eq!(both.names().collect::<Vec<_>>(), ["no-writes", "allow-oom"]);
        assert!(both.has(ScriptFlags::ALLOW_OOM) && !both.has(ScriptFlags::NO_CLUSTER));
        assert_eq!(ScriptFlags::by_name(b"allow"), None);
        assert_eq!(ScriptFlags::default().names().count(), 0);
    }
}
