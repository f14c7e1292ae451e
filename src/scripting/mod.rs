//! Lua: scripts and functions.
//!
//! In: a script with its keys and arguments. Out: a sequence of things that it asks for: a command to be run for it,
//! a moment for the loop, its end with a reply. The interpreter lives on a stack of its own (a coroutine of the
//! machine, not of Lua), so a script that calls a command simply stands still until it is answered: nothing that the
//! commands borrow is borrowed while Lua runs, and a script that runs for too long is left standing while the loop
//! turns. Mirrors `script.c`, `script_lua.c`, `eval.c` and `functions.c` of Redis.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`interpreter`] | the coroutine with Lua in it, what it is told and what it asks |
//! | `api.rs` | what `redis` names in a script |
//! | `prelude.lua` | the sandbox |
//! | `convert.rs` | replies as Lua values, Lua values as replies |
//! | [`cache`] | the scripts that are known, by their text and by their digest |
//! | [`flags`] | what a script or a function says of itself |
//! | [`functions`] | the libraries of functions |
//! | [`libraries`] | cjson, cmsgpack, struct, bit |

mod api;
pub mod cache;
mod convert;
pub mod flags;
pub mod functions;
pub mod interpreter;
pub mod libraries;
mod raw;

use crate::clients::ClientKey;
use crate::keyspace::Clock;
use crate::resp::OwnedRequest;
use interpreter::Interpreter;

pub use api::{REPL_ALL, REPL_AOF, REPL_REPLICA};
pub use convert::Errors;

/// The interpreter and what it has loaded.
#[derive(Default)]
pub struct Scripting {
    /// The libraries of functions.
    pub libraries: functions::Libraries,
    /// The scripts of EVAL.
    pub scripts: cache::Scripts,
    /// Lua; made when it is first needed, and not here while it runs.
    pub interpreter: Option<Box<Interpreter>>,
    /// The client that runs a script's commands.
    pub client: Option<ClientKey>,
    /// What runs, if anything does.
    pub running: Option<Box<Running>>,
    /// Scripts may call commands that are denied to them (DEBUG SET-DISABLE-DENY-SCRIPTS).
    pub calls_denied: bool,
    /// Bytes of the interpreter when it last stood still.
    pub memory: usize,
    /// Arguments of the last script, whose room is used again.
    pub spare: Box<OwnedRequest>,
}

/// Room, bytes, that a request or a reply may leave for the next one.
pub(crate) const KEPT_BYTES: usize = 64 * 1024;

impl Scripting {
    /// Whether a script stands still because it has run for too long, and most commands are refused.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.busy)
    }
    /// Whether a script runs for this client.
    pub fn runs_for(&self, client: ClientKey) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.caller == client)
    }
}

/// A script or function that runs.
#[derive(Debug)]
pub struct Running {
    /// Who called it.
    pub caller: ClientKey,
    /// Its digest or the function's name, as errors and the log call it.
    pub name: Vec<u8>,
    /// It was called by FCALL.
    pub is_function: bool,
    /// The time for all its commands.
    pub now: Clock,
    /// It must not write.
    pub read_only: bool,
    /// It may use more memory than there is.
    pub allow_oom: bool,
    /// Its keys may be of several slots of a cluster.
    pub allow_cross_slot: bool,
    /// The slot of its keys so far; none: it had none.
    pub slot: Option<u16>,
    /// Memory was over `maxmemory` when it began.
    pub is_oom: bool,
    /// It has called a command that writes.
    pub wrote: bool,
    /// It comes from the append-only file: it is not refused, and not killed.
    pub is_trusted: bool,
    /// It has run for too long, and the loop turns.
    pub busy: bool,
    /// It is to end as soon as it can.
    pub killed: bool,
    /// The command that called it, for what is to be noted at its end; from when on it is busy.
    pub command: Option<Box<Called>>,
}

/// The command that runs a program.
#[derive(Debug)]
pub struct Called {
    /// Index in the command table.
    pub command: u16,
    /// Its arguments.
    pub request: OwnedRequest,
}
