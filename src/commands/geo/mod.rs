//! Commands: geo.

use super::CommandSpec;

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[];
