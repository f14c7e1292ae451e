//! CLUSTER, READONLY, READWRITE and ASKING.
//!
//! In: what nodes, hash slots and epochs are to be, and questions about them. Out: changes in [`crate::cluster`], whose actions the
//! server does before it sleeps, and answers. A server outside of a cluster answers all of them with one error: clients ask which
//! mode it runs in by sending one of them, and would take an unknown command for a server that is no Redis. Mirrors
//! `clusterCommand` of Redis's cluster.c and `clusterCommandSpecial` of its cluster_legacy.c.
//!
//! | file | what |
//! | --- | --- |
//! | `spec` | the rows |
//! | `changes` | what changes the cluster |
//! | `reports` | what only asks |
//! | `session` | what a connection asks for itself |

mod changes;
pub(super) mod debug;
mod reports;
mod session;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use crate::cluster::Cluster;
use crate::engine::{CommandError, State, parse};
use crate::structures::slots::SLOTS;

type Answer = Result<(), CommandError>;

/// What is answered where there is no cluster.
const DISABLED: CommandError =
    CommandError::fixed("ERR This instance has cluster support disabled");

/// The cluster that this server is a node of.
fn cluster(state: &State) -> Result<&Cluster, CommandError> {
    state.cluster.as_deref().ok_or(DISABLED)
}

/// An argument that names a slot.
fn slot(arg: &[u8]) -> Result<u16, CommandError> {
    const OUT_OF_RANGE: CommandError = CommandError::fixed("ERR Invalid or out of range slot");
    parse::integer_within(arg, 0, SLOTS as i64 - 1)
        .ok()
        .and_then(|slot| u16::try_from(slot).ok())
        .ok_or(OUT_OF_RANGE)
}
