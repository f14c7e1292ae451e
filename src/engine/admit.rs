//! Whether a command may run: the checks, in the order in which Redis makes them, for all who run commands.
//!
//! In: a command and where it comes from. Out: that it runs, waits, or the error that it is refused with. Mirrors the
//! checks of `processCommand` of Redis's server.c, and of `scriptCall` of its script.c.
//!
//! The order can be seen by clients: it decides which of two errors is answered. So each check stands in a list, and
//! says why it stands there.

use super::budgets;
use super::cluster::route;
use super::eviction::{Room, make_room};
use super::keyspecs::{has_keys, keys_of};
use super::permissions::{self, Place};
use super::replication::admission;
use super::spec::key_flags;
pub(crate) use super::unkept::{Unkept, unkept};
use super::{
    Command, CommandError, CommandId, CommandSpec, CommandTable, Group, Handler, Host, State,
    flags, shown, shown_cut,
};
use crate::clients::{Client, ClientKey, ClientKind, Clients, HeldBy, Session};
use crate::config::Settings;
use crate::keyspace::{Change, Keyspace, Wish};
use crate::persistence::aof::AofState;
use crate::resp::{Args, OwnedRequest};

/// Where a command comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A connection has sent it, now or before it began to wait: every check.
    Connection,
    /// EXEC runs it from its queue.
    Exec,
    /// A script or a function calls it: what the program may do.
    Script,
    /// A file that this server has written: it ran once, and must run again.
    Trusted,
    /// A primary has sent it: it ran there.
    Primary,
}

/// Whether a command that was not refused runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It does.
    Runs,
    /// It is held back, and so is its client.
    Postponed(HeldBy),
}

/// Why there is no such command to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// No command has the name.
    Command,
    /// The container of this number has no subcommand of the name.
    Subcommand(CommandId),
    /// The command takes another number of arguments, or is a container without a subcommand.
    Arity(CommandId),
}

impl Unresolved {
    /// The command, where there is one: its refusals are counted.
    pub fn command(self) -> Option<CommandId> {
        match self {
            Unresolved::Arity(id) => Some(id),
            Unresolved::Command | Unresolved::Subcommand(_) => None,
        }
    }

    /// What is answered.
    pub fn error(self, state: &State, origin: Origin, args: Args<'_>) -> CommandError {
        match (self, origin) {
            (Unresolved::Arity(_), Origin::Script) => {
                CommandError::fixed("ERR Wrong number of args calling Redis command from script")
            }
            (_, Origin::Script) => {
                CommandError::fixed("ERR Unknown Redis command called from script")
            }
            (Unresolved::Command, _) => unknown_command(args),
            (Unresolved::Subcommand(container), _) => {
                unknown_subcommand(&state.table.get(container).name, args.at(1))
            }
            (Unresolved::Arity(id), _) => {
                CommandError::WrongArity(state.table.get(id).name.clone())
            }
        }
    }
}

/// Finds the command or subcommand, and checks its arity. `found`: what the first argument names.
#[inline]
pub fn resolve(
    state: &State,
    found: Option<CommandId>,
    args: Args<'_>,
) -> Result<CommandId, Unresolved> {
    let top = found.ok_or(Unresolved::Command)?;
    let mut id = top;
    if !state.table.get(top).subcommands.is_empty() && args.len() > 1 {
        // A container that can also be called by itself (COMMAND) takes no unknown words either.
        id = state
            .table
            .find_subcommand(top, args.at(1))
            .ok_or(Unresolved::Subcommand(top))?;
    }
    let spec = state.table.get(id).spec;
    if !spec.accepts(args.len()) || matches!(spec.handler, Handler::Container) {
        return Err(Unresolved::Arity(id));
    }
    Ok(id)
}

fn unknown_command(args: Args<'_>) -> CommandError {
    const SHOWN: usize = 128;
    // So much of them and no more, as Redis has it: the answer stays short, whatever was sent.
    let mut told = Vec::new();
    for arg in args.iter().skip(1) {
        let Some(room) = SHOWN.checked_sub(told.len()).filter(|room| *room > 0) else {
            break;
        };
        let arg = shown(arg);
        told.push(b'\'');
        told.extend_from_slice(arg.get(..room).unwrap_or(arg));
        told.extend_from_slice(b"' ");
    }
    CommandError::of_parts(&[
        b"ERR unknown command '",
        shown_cut(args.at(0)),
        b"', with args beginning with: ",
        &told,
    ])
}

fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    CommandError::of_parts(&[
        b"ERR unknown subcommand '",
        shown_cut(name),
        b"'. Try ",
        container.to_ascii_uppercase().as_bytes(),
        b" HELP.",
    ])
}

/// Flags of this call: those of the command's row, or what the program that it runs says of itself.
#[inline]
pub(crate) fn call_flags(state: &State, id: CommandId, args: Args<'_>) -> u32 {
    let all = state.table.get(id).flags;
    if all & flags::RUNS_SCRIPT != 0 {
        return super::script::command_flags(state, id, args, all);
    }
    all
}

/// A command that wants to run.
#[derive(Clone, Copy)]
struct Candidate {
    client: ClientKey,
    id: CommandId,
    /// What it may do, and what all may do that it runs (EXEC).
    flags: u32,
}

impl Candidate {
    #[inline]
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

type Checked = Result<(), CommandError>;

/// Asks whether a command may run. `id` is of [`resolve`]. All who run commands ask, for each of them:
///
/// | | `Connection` | `Exec` | `Script` | `Trusted`, `Primary` |
/// | --- | --- | --- | --- | --- |
/// | DEBUG and MODULE are on; who asks is known; not in MULTI | yes | when it was queued | no | no |
/// | what the user may | yes | yes | for its caller | no |
/// | whether the keys are this node's | yes | EXEC, for its queue | yes | no |
/// | memory | makes room, refuses | EXEC, for its queue | refuses, as it was at the start | no |
/// | the disk takes writes | yes | EXEC, for its queue | before the first write | no |
/// | subscriber, MONITOR | yes | when it was queued | no | no |
/// | loading, a script stands still, CLIENT PAUSE | yes | EXEC, for its queue | its caller | no |
/// | a key is on its way to another server | yes | EXEC, for its queue | its caller, for the keys that it names | no |
/// | a large value waits to be saved | yes | EXEC, for its queue | its caller, for the keys that it names | no |
/// | what programs may call | no | no | yes | no |
#[inline(always)]
pub fn admit(
    state: &mut State,
    host: &mut dyn Host,
    origin: Origin,
    client: ClientKey,
    id: CommandId,
    args: Args<'_>,
) -> Result<Admission, CommandError> {
    match origin {
        Origin::Connection => admit_from_connection(state, host, client, id, args),
        Origin::Script => admit_from_script(state, client, id, args),
        // What could refuse one refuses all: between EXEC and the end of its queue nobody else changes anything. What the
        // queue itself does (CONFIG SET, SUBSCRIBE) stops none of what follows, as in Redis: all of it, or nothing.
        Origin::Exec => {
            permissions::check_permitted(state, client, id, args, Place::Multi)?;
            Ok(Admission::Runs)
        }
        // It has run already. A replica or a loaded file that left it out would hold other data.
        Origin::Trusted => Ok(Admission::Runs),
        Origin::Primary => Ok(admit_from_primary(state, client, id, args)),
    }
}

/// What a primary sends has run there: nothing refuses it, but it may have to wait.
fn admit_from_primary(
    state: &mut State,
    client: ClientKey,
    id: CommandId,
    args: Args<'_>,
) -> Admission {
    let all = call_flags(state, id, args);
    let waits = state.scripting.is_busy() && all & flags::ALLOW_BUSY == 0;
    let is_loading = state.replication.is_replica() && state.persistence.is_loading();
    if waits || is_loading {
        state.clients.hold(client, HeldBy::Script);
        return Admission::Postponed(HeldBy::Script);
    }
    if all & flags::WRITE != 0
        && state.replication.is_replica()
        && (!state.persistence.last_status_ok || state.persistence.aof.error().is_some())
    {
        admission::cannot_keep(state);
    }
    if state.persistence.forkless.is_none() && state.pause.is_none() {
        return Admission::Runs;
    }
    let mut all = all;
    if all & flags::RUNS_QUEUE != 0
        && let Some(caller) = state.clients.get(client)
        && let Some(transaction) = &caller.session.transaction
    {
        all |= transaction.flags & (flags::WRITE | flags::DENYOOM | flags::MAY_REPLICATE);
    }
    let candidate = Candidate {
        client,
        id,
        flags: all,
    };
    match hold_while_paused(state, &candidate) {
        Admission::Runs if state.persistence.forkless.is_some() => {
            hold_while_saved(state, &candidate, args)
        }
        admission => admission,
    }
}

// One command in one place asks this before each run: within it, it costs no call and no copy of its answer.
#[inline(always)]
fn admit_from_connection(
    state: &mut State,
    host: &mut dyn Host,
    client: ClientKey,
    id: CommandId,
    args: Args<'_>,
) -> Result<Admission, CommandError> {
    let mut all = call_flags(state, id, args);
    let Some(caller) = state.clients.get_mut(client) else {
        return Ok(Admission::Runs);
    };
    if all & flags::RUNS_QUEUE != 0
        && let Some(transaction) = &caller.session.transaction
    {
        // EXEC is what it runs.
        all |= transaction.flags & (flags::WRITE | flags::DENYOOM | flags::MAY_REPLICATE);
        all &= !(transaction.lacks & (flags::LOADING | flags::STALE));
    }
    // Also where it is refused: CLIENT LIST shows what a client has asked last.
    caller.session.last_command = Some(id.0);
    let caller = &*caller;
    // Whether there is such a way at all comes before who asks: Redis tells even strangers that DEBUG is off.
    check_protected(state.config.settings(), caller, all, state.table.get(id))?;
    // Nothing else is told to strangers, and nothing is done for them.
    check_authenticated(&caller.session, all)?;
    check_in_multi(&caller.session, all)?;
    // Nor is anything done, made room for or told beyond what a user may.
    let has_budget = permissions::check_permitted(state, client, id, args, Place::TopLevel)?;
    // Nor for what is not this node's: room is not made for it, and its keys are not looked at.
    if state.cluster.is_some() {
        route::admit(state, client, id, all, args)?;
    }
    let candidate = Candidate {
        client,
        id,
        flags: all,
    };
    // Room is made for whatever runs, as all take memory; who would take more is refused where there is none. It stands
    // before what looks at keys: a script's flags, a queue, a key that was evicted here.
    check_memory(state, host, &candidate)?;
    // Writes that would be lost are refused before anything tells of their keys.
    check_disk(state, &candidate)?;
    // What nobody else would have, or the primary would not know of.
    check_replicas(state, &candidate)?;
    check_read_only(state, &candidate)?;
    check_subscriber(state, &candidate)?;
    // Old data are told as such, if they may be told at all.
    check_stale(state, &candidate)?;
    // From here on it is about the state of the server, which passes: what is refused for itself was refused above.
    check_loading(state, &candidate)?;
    check_busy(state, &candidate)?;
    check_replica(state, &candidate)?;
    // Last, because it does not refuse: what is held now is admitted anew when the pause is over.
    let mut admission = hold_while_paused(state, &candidate);
    if admission == Admission::Runs && state.keyspace.has_moving() {
        admission = hold_while_moved(state, &candidate, args);
    }
    if admission == Admission::Runs && state.persistence.forkless.is_some() {
        admission = hold_while_saved(state, &candidate, args);
    }
    if has_budget && admission == Admission::Runs {
        let queued = queue_of(&state.clients, &candidate).len();
        admission = budgets::admit(state, client, id, all, queued)?;
    }
    Ok(admission)
}

/// A script's caller has been through all checks of a connection; the program has been through those of its flags.
fn admit_from_script(
    state: &mut State,
    client: ClientKey,
    id: CommandId,
    args: Args<'_>,
) -> Result<Admission, CommandError> {
    check_program(state, client, id, args)?;
    if state.cluster.is_some() {
        route::admit_from_script(state, id, args)?;
    }
    Ok(Admission::Runs)
}

/// What a program may do at this moment, whatever the keys are.
fn check_program(state: &mut State, client: ClientKey, id: CommandId, args: Args<'_>) -> Checked {
    let candidate = Candidate {
        client,
        id,
        flags: state.table.get(id).flags,
    };
    check_from_script(state, &candidate)?;
    let Some(running) = state.scripting.running.as_deref() else {
        return Err(CommandError::fixed("ERR no script runs"));
    };
    if !running.is_trusted && !candidate.has(flags::STALE) && admission::is_stale(state) {
        return Err(CommandError::fixed(
            "ERR Can not execute the command on a stale replica",
        ));
    }
    permissions::check_permitted(state, client, id, args, Place::Script)?;
    let Some(running) = state.scripting.running.as_deref() else {
        return Err(CommandError::fixed("ERR no script runs"));
    };
    if candidate.has(flags::WRITE) && !running.is_trusted {
        if admission::is_read_only(state) {
            return Err(CommandError::READ_ONLY);
        }
        if !running.wrote && !super::replication::primary::has_good(state) {
            return Err(CommandError::NO_REPLICAS);
        }
    }
    // After its first write a script is not stopped any more: half of its effects would be worse than either.
    if !candidate.has(flags::WRITE) || running.wrote {
        return Ok(());
    }
    // What a file repeats ran once, with a disk and with memory.
    if !running.is_trusted {
        check_disk(state, &candidate)?;
    }
    // Asked when the script began: its own garbage shall not stop it in the middle.
    if running.is_oom && !running.allow_oom && candidate.has(flags::DENYOOM) {
        return Err(CommandError::OutOfMemory);
    }
    Ok(())
}

/// DEBUG and MODULE, where `enable-debug-command` and `enable-module-command` do not let this client.
#[inline(always)]
fn check_protected(settings: &Settings, client: &Client, all: u32, command: &Command) -> Checked {
    if all & flags::PROTECTED != 0 && !protected_allowed(settings, client, command) {
        return Err(protected_error(command));
    }
    Ok(())
}

#[inline(always)]
fn check_authenticated(session: &Session, all: u32) -> Checked {
    if session.identity.is_stranger() && all & flags::NO_AUTH == 0 {
        return Err(CommandError::NoAuth);
    }
    Ok(())
}

/// What cannot be done in a transaction is not queued either.
#[inline(always)]
fn check_in_multi(session: &Session, all: u32) -> Checked {
    if session.in_multi() && all & flags::NO_MULTI != 0 {
        return Err(CommandError::fixed(
            "ERR Command not allowed inside a transaction",
        ));
    }
    Ok(())
}

/// Makes room within `maxmemory`, and refuses what may take memory where there is none. Nothing is evicted while writes
/// are paused, while data is loaded, or under a script that stands still.
#[inline(always)]
fn check_memory(state: &mut State, host: &mut dyn Host, candidate: &Candidate) -> Checked {
    let settings = state.config.settings();
    if settings.maxmemory == 0 || state.scripting.is_busy() {
        return Ok(());
    }
    if state.replication.is_replica() && settings.replica_ignore_maxmemory {
        state.lacks_memory = false;
        return Ok(());
    }
    check_memory_anew(state, host, candidate)
}

fn check_memory_anew(state: &mut State, host: &mut dyn Host, candidate: &Candidate) -> Checked {
    if state.pause.is_some() || state.persistence.loads_any() {
        state.lacks_memory = false;
        return Ok(());
    }
    let room = make_room(state, host);
    state.lacks_memory = room == Room::None;
    if state.keyspace.has_events() {
        publish_evictions(state);
    }
    if state.lacks_memory && candidate.has(flags::DENYOOM) {
        return Err(CommandError::OutOfMemory);
    }
    Ok(())
}

/// Refuses a write that could not be kept. PING, which writes nothing, is refused as well: so those who watch the server
/// see it.
#[inline(always)]
fn check_disk(state: &State, candidate: &Candidate) -> Checked {
    let writes = candidate.has(flags::WRITE);
    // The usual case, and the quick one.
    let persistence = &state.persistence;
    if persistence.last_status_ok
        && (persistence.aof.state == AofState::Off || !(writes || is_ping(state, candidate)))
    {
        return Ok(());
    }
    check_disk_anew(state, candidate, writes)
}

#[inline(always)]
fn is_ping(state: &State, candidate: &Candidate) -> bool {
    state.table.get(candidate.id).spec.name == "ping"
}

#[cold]
fn check_disk_anew(state: &State, candidate: &Candidate, writes: bool) -> Checked {
    if !writes && !is_ping(state, candidate) {
        return Ok(());
    }
    match unkept(state) {
        Some(Unkept::Snapshot) => Err(CommandError::SnapshotFailed),
        Some(Unkept::Aof(reason)) => Err(CommandError::text_owned(format!(
            "MISCONF Errors writing to the AOF file: {reason}"
        ))),
        None => Ok(()),
    }
}

/// A subscriber that speaks RESP2 could not tell an answer from a message.
#[inline(always)]
fn check_subscriber(state: &State, candidate: &Candidate) -> Checked {
    let command = state.table.get(candidate.id);
    if state
        .clients
        .get(candidate.client)
        .is_some_and(super::pubsub::is_restricted)
        && !super::pubsub::is_allowed_while_restricted(top_name(command))
    {
        return Err(CommandError::text_owned(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            command.name
        )));
    }
    Ok(())
}

#[inline(always)]
fn check_loading(state: &State, candidate: &Candidate) -> Checked {
    if state.persistence.is_loading() && !candidate.has(flags::LOADING) {
        return Err(CommandError::Loading);
    }
    if state.persistence.loads_aside && candidate.has(flags::NO_ASYNC_LOADING) {
        return Err(CommandError::Loading);
    }
    Ok(())
}

/// While a script stands still nothing else may see or change the half of its effects that is there.
#[inline(always)]
fn check_busy(state: &State, candidate: &Candidate) -> Checked {
    if !state.scripting.is_busy() || candidate.has(flags::ALLOW_BUSY) {
        return Ok(());
    }
    let running = state.scripting.running.as_ref();
    let is_function = running.is_some_and(|running| running.is_function);
    Err(super::script::busy_error(is_function))
}

/// Refuses writes while there are fewer replicas than `min-replicas-to-write` asks for.
#[inline(always)]
fn check_replicas(state: &State, candidate: &Candidate) -> Checked {
    if state.config.settings().min_replicas_to_write > 0
        && candidate.has(flags::WRITE)
        && !super::replication::primary::has_good(state)
    {
        return Err(CommandError::NO_REPLICAS);
    }
    Ok(())
}

/// A replica's data are its primary's.
#[inline(always)]
fn check_read_only(state: &State, candidate: &Candidate) -> Checked {
    if candidate.has(flags::WRITE) && admission::is_read_only(state) {
        return Err(CommandError::READ_ONLY);
    }
    Ok(())
}

#[inline(always)]
fn check_stale(state: &State, candidate: &Candidate) -> Checked {
    if !candidate.has(flags::STALE) && admission::is_stale(state) {
        return Err(CommandError::PRIMARY_DOWN);
    }
    Ok(())
}

/// A replica gets the stream, and a client in MONITOR is to Redis a kind of replica: an answer in the middle would be no part
/// of either.
#[inline(always)]
fn check_replica(state: &State, candidate: &Candidate) -> Checked {
    if (is_monitor(state, candidate.client) || is_replica(state, candidate.client))
        && reads_or_writes(state, candidate.client, candidate.flags)
    {
        return Err(CommandError::fixed(
            "ERR Replica can't interact with the keyspace",
        ));
    }
    Ok(())
}

#[inline(always)]
fn is_monitor(state: &State, client: ClientKey) -> bool {
    !state.messaging.monitors.is_empty()
        && state
            .clients
            .get(client)
            .is_some_and(|client| client.session.monitors)
}

#[inline(always)]
fn is_replica(state: &State, client: ClientKey) -> bool {
    state.replication.attached > 0
        && state
            .clients
            .get(client)
            .is_some_and(|client| client.session.kind == ClientKind::Replica)
}

/// CLIENT PAUSE holds back everything, or what writes. Those in MONITOR are not held, as replicas are not.
#[inline(always)]
fn hold_while_paused(state: &mut State, candidate: &Candidate) -> Admission {
    // What may replicate is held with the writes, though it changes no key here (PUBLISH): the stream of effects is to
    // stand still.
    if let Some(pause) = state.pause
        && !is_monitor(state, candidate.client)
        && !is_replica(state, candidate.client)
        && (!pause.writes_only || candidate.has(flags::WRITE | flags::MAY_REPLICATE))
    {
        state.clients.hold(candidate.client, HeldBy::Pause);
        return Admission::Postponed(HeldBy::Pause);
    }
    Admission::Runs
}

/// The queue that a client's command runs, if it is EXEC. What will not run is none of it.
fn queue_of<'a>(clients: &'a Clients, candidate: &Candidate) -> &'a [(u16, OwnedRequest)] {
    let session = clients.get(candidate.client).map(|caller| &caller.session);
    let queue = session.and_then(|session| {
        let transaction = session.transaction.as_ref()?;
        let runs = candidate.has(flags::RUNS_QUEUE) && !transaction.aborted && !session.is_dirty();
        runs.then_some(&transaction.queue[..])
    });
    queue.unwrap_or_default()
}

/// What each of the commands of [`commands_of`] may do. What a program says of itself counts in a queue as well: it was
/// asked when it was queued, but may be another one now.
fn flags_of_commands(state: &State, candidate: &Candidate) -> Vec<u32> {
    let queue = queue_of(&state.clients, candidate).iter();
    let of_queue = queue.map(|(id, request)| call_flags(state, CommandId(*id), request.args()));
    of_queue.chain([candidate.flags]).collect()
}

/// The commands that a client's command runs, with what each may do: those of its queue, and itself. What is only queued
/// is none of them, nor is EXEC.
fn commands_of<'a>(
    clients: &'a Clients,
    table: &'a CommandTable,
    candidate: &Candidate,
    flags: &'a [u32],
    args: Args<'a>,
) -> impl Iterator<Item = (&'static CommandSpec, u32, Args<'a>)> {
    let caller = clients.get(candidate.client);
    let runs_itself = caller.is_some_and(|caller| !caller.session.in_multi());
    let queue = queue_of(clients, candidate).iter();
    let queue = queue.map(|(id, request)| (CommandId(*id), request.args()));
    let itself = runs_itself.then_some((candidate.id, args));
    let all = queue.chain(itself).zip(flags);
    all.map(|((id, args), all)| (table.get(id).spec, *all, args))
}

/// Whether a command may write: a program without flags of its own may, whatever its command says.
fn may_write(all: u32) -> bool {
    all & flags::WRITE != 0
        || all & flags::RUNS_SCRIPT != 0
            && all & (flags::READONLY | flags::MAY_REPLICATE) == flags::MAY_REPLICATE
}

/// The database that a queue goes on in behind a command.
fn database_behind(spec: &CommandSpec, args: Args<'_>, db: usize) -> usize {
    if spec.name != "select" {
        return db;
    }
    let selected = std::str::from_utf8(args.get(1).unwrap_or_default());
    selected.ok().and_then(|db| db.parse().ok()).unwrap_or(db)
}

/// Holds a write back whose key is on its way to another server: run now, it would be lost here when the key goes, or the
/// key would be at both. It is admitted anew when the other server has answered. EXEC is held for all that it will run, a
/// program for the keys that it names.
#[cold]
fn hold_while_moved(state: &mut State, candidate: &Candidate, args: Args<'_>) -> Admission {
    let Some(caller) = state.clients.get(candidate.client) else {
        return Admission::Runs;
    };
    let (id, mut db) = (caller.session.id, caller.session.db);
    let flags = flags_of_commands(state, candidate);
    let is_held = commands_of(&state.clients, &state.table, candidate, &flags, args).any(
        |(spec, all, args)| {
            db = database_behind(spec, args, db);
            let keys = if may_write(all) {
                keys_of(spec, args).unwrap_or_default()
            } else {
                Vec::new()
            };
            keys.iter().any(|(at, all)| {
                // It says that it only reads, but changes what is pending.
                let changes = all & key_flags::RO == 0 || spec.name == "xreadgroup";
                let key = args.get(*at).unwrap_or_default();
                changes && state.keyspace.is_moving(db, key)
            })
        },
    );
    if !is_held {
        return Admission::Runs;
    }
    state.migrations.hold(id);
    state.clients.hold(candidate.client, HeldBy::Migration);
    Admission::Postponed(HeldBy::Migration)
}

/// Holds a write back that the save of the loop would have to do much for at once: what it changes is large and not read
/// yet, or the helper is far behind. It is admitted anew when that has passed. EXEC is held for all that it will run, a
/// program for the keys that it names: later they cannot wait, so that what they change is read at once then, which takes
/// long, and is counted.
#[cold]
fn hold_while_saved(state: &mut State, candidate: &Candidate, args: Args<'_>) -> Admission {
    let (clients, table) = (&state.clients, &state.table);
    let (Some(saving), Some(caller)) = (&state.persistence.forkless, clients.get(candidate.client))
    else {
        return Admission::Runs;
    };
    let flags = flags_of_commands(state, candidate);
    let mut wishes = Wishes {
        keyspace: &mut state.keyspace,
        is_backed_up: saving.is_backed_up,
        db: caller.session.db,
        last: None,
        has_keys: false,
    };
    for (spec, all, args) in commands_of(clients, table, candidate, &flags, args) {
        wishes.of_command(spec, all, args);
    }
    // What names no key (FLUSHALL) may be what ends the wait for the helper.
    let waits_for_helper = wishes.is_backed_up && wishes.has_keys;
    let last = wishes.last.take();
    if last.is_none() && !waits_for_helper {
        return Admission::Runs;
    }
    let id = caller.session.id;
    match last {
        Some(wish) if !waits_for_helper => state.keyspace.wait_for(&wish, id),
        _ => state.persistence.held_for_helper.push(id),
    }
    state.persistence.holds_for_save += 1;
    state.persistence.held_for_save += 1;
    state.clients.hold(candidate.client, HeldBy::Save);
    Admission::Postponed(HeldBy::Save)
}

/// What a save has to read before commands run.
struct Wishes<'a> {
    keyspace: &'a mut Keyspace,
    is_backed_up: bool,
    /// The database of the next command.
    db: usize,
    /// The one that is read last of those that were wished for. Whoever waits for it finds all of them read.
    last: Option<Wish>,
    /// Some command changes a key, or a program may.
    has_keys: bool,
}

impl Wishes<'_> {
    /// Asks for what a command changes that is large and not read yet.
    fn of_command(&mut self, spec: &CommandSpec, all: u32, args: Args<'_>) {
        self.db = database_behind(spec, args, self.db);
        if !may_write(all) {
            return;
        }
        let keys = keys_of(spec, args);
        // A program may change others than it names, and some of what does not fit the specifications runs (PFMERGE of one key).
        self.has_keys |= match &keys {
            Ok(keys) => !keys.is_empty() || all & flags::RUNS_SCRIPT != 0,
            Err(_) => has_keys(spec),
        };
        let keys = keys.unwrap_or_default();
        // It says that it only reads, but changes what is pending.
        let changed = match spec.name {
            "xreadgroup" => key_flags::RW | key_flags::RO,
            // What is overwritten or removed is taken over by the save, and what is only read is in nobody's way.
            _ => key_flags::RW,
        };
        let change = match (spec.group, spec.name) {
            // What they change in a large hash is kept for the save, field by field.
            (Group::Hash, _) => Change::Fields,
            // They move a string or replace it, and copy none.
            (Group::Generic, _) | (_, "set" | "getset" | "getdel" | "getex") => Change::Whole,
            _ => Change::InPlace,
        };
        for (at, _) in keys.iter().filter(|(_, all)| all & changed != 0) {
            let key = args.get(*at).unwrap_or_default();
            let Some(wish) = self.keyspace.wish_for(self.db, key, change) else {
                continue;
            };
            if self.last.as_ref().is_none_or(|it| it.place < wish.place) {
                self.last = Some(wish);
            }
        }
    }
}

/// What a script may call: nothing that is not for scripts, and nothing that writes where it said that it only reads.
fn check_from_script(state: &State, candidate: &Candidate) -> Checked {
    if candidate.has(flags::NOSCRIPT) && !state.scripting.calls_denied {
        return Err(CommandError::fixed(
            "ERR This Redis command is not allowed from script",
        ));
    }
    let reads_only = state
        .scripting
        .running
        .as_deref()
        .is_some_and(|running| running.read_only);
    if reads_only && candidate.has(flags::WRITE | flags::MAY_REPLICATE) {
        return Err(CommandError::fixed(
            "ERR Write commands are not allowed from read-only scripts.",
        ));
    }
    Ok(())
}

/// Publishes what was evicted to make room for a command. It is not the command's doing, and its client hears of it
/// before the answer: what it reads now is no longer what was evicted.
#[cold]
fn publish_evictions(state: &mut State) {
    let answering = state.clients.set_answering(None);
    super::keyspace_events::drain(state, None);
    state.clients.set_answering(answering);
}

/// Name of a command, whatever it was renamed to; nothing for a subcommand: SLOWLOG RESET is not RESET.
fn top_name(command: &Command) -> &'static str {
    if command.parent.is_some() {
        return "";
    }
    command.spec.name
}

/// Whether a command, or one of those that EXEC runs, has to do with keys.
#[cold]
fn reads_or_writes(state: &State, client: ClientKey, all: u32) -> bool {
    let queued = state
        .clients
        .get(client)
        .and_then(|client| client.session.transaction.as_ref())
        .filter(|_| all & flags::RUNS_QUEUE != 0)
        .map_or(0, |transaction| transaction.flags);
    (all | queued) & (flags::READONLY | flags::WRITE | flags::MAY_REPLICATE) != 0
}

/// Whether it is DEBUG, whatever it was renamed to; the others that are protected are MODULE's.
fn is_debug(command: &Command) -> bool {
    command.spec.name == "debug"
}

fn protected_allowed(settings: &Settings, client: &Client, command: &Command) -> bool {
    let local = client.connection().is_local();
    if is_debug(command) {
        settings.enable_debug_command.allows(local)
    } else {
        settings.enable_module_command.allows(local)
    }
}

fn protected_error(command: &Command) -> CommandError {
    let (name, option) = match is_debug(command) {
        true => ("DEBUG", "enable-debug-command"),
        false => ("MODULE", "enable-module-command"),
    };
    CommandError::text_owned(format!(
        "ERR {name} command not allowed. If the {option} option is set to \"local\", you can run it from a local \
         connection, otherwise you need to set this option in the configuration file, and then restart the server."
    ))
}

/// Answers a command that did not pass the checks.
pub(crate) fn refuse(
    state: &mut State,
    client: ClientKey,
    id: Option<CommandId>,
    error: &CommandError,
    args: Args<'_>,
) {
    if let Some(id) = id {
        state.observe.command_rejected(id.0);
    }
    // An EXEC that is refused has its transaction gone, and says so in place of the reason alone.
    let exec = id.filter(|id| state.table.get(*id).flags & flags::RUNS_QUEUE != 0);
    let text = if let (Some(_), CommandError::NotServed(_)) = (exec, error) {
        // The client is to send it to another node, so it is told so in the words for that.
        super::transactions::discard(state, client);
        error.bytes()
    } else if let Some(exec) = exec {
        super::transactions::discard(state, client);
        // A MULTI was shown: that it is over, too.
        super::monitor::show(state, client, exec, args);
        let reason = error.bytes();
        // As Redis words it: of the codes all are told but the one that says nothing.
        let reason = reason.strip_prefix(b"ERR ").unwrap_or(&reason);
        [b"EXECABORT Transaction discarded because of: ", reason]
            .concat()
            .into()
    } else {
        error.bytes()
    };
    if state.replication.is_replica() {
        let name = String::from_utf8_lossy(args.at(0)).into_owned();
        super::replication::replica::diverged(state, client, &name, &text);
    }
    let Some(client) = state.clients.get_mut(client) else {
        return;
    };
    // EXEC is to run all of what was sent or nothing: one of it is not in the queue.
    if let Some(transaction) = &mut client.session.transaction {
        transaction.aborted = true;
    }
    client.reply.error(text);
    state.observe.error_replied(client.reply.last_error_code());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Harness;
    use crate::persistence::rdb::save::PartSize;
    use crate::resp::OwnedRequest;
    use crate::system::simulated_jobs::SimulatedJobs;

    #[test]
    fn each_origin_is_asked_what_concerns_it() {
        let mut harness = Harness::new();
        harness.config("save", "1 1");
        let request = OwnedRequest::from_slices(&["SET", "key", "value"]);
        let args = request.args();
        let id = harness.state.table.find(b"SET").expect("a command");
        let mut ask = |origin| {
            let Harness {
                state,
                host,
                client,
            } = &mut harness;
            state.persistence.last_status_ok = false;
            admit(state, host, origin, *client, id, args)
        };
        assert_eq!(
            ask(Origin::Connection),
            Err(CommandError::SnapshotFailed),
            "its write could not be kept"
        );
        for origin in [Origin::Exec, Origin::Trusted, Origin::Primary] {
            assert_eq!(ask(origin), Ok(Admission::Runs), "{origin:?}");
        }
        assert!(ask(Origin::Script).is_err(), "there is none");
    }

    /// What a connection is answered in each state of the server; whoever runs what was admitted before is not asked anew.
    #[test]
    fn each_state_refuses_what_it_must_and_only_that() {
        type Prepare = fn(&mut Harness);
        type Row = (&'static str, Prepare, &'static [&'static str], &'static str);
        // A state, how it comes about, a command, and how its refusal begins ("runs", "held": it is not refused).
        let table: &[Row] = &[
            ("none", |_| {}, &["SET", "k", "v"], "runs"),
            (
                "none",
                |_| {},
                &["DEBUG", "SLEEP", "0"],
                "ERR DEBUG command not allowed",
            ),
            ("stranger", stranger, &["SET", "k", "v"], "NOAUTH"),
            ("stranger", stranger, &["HELLO"], "runs"),
            // That DEBUG is off is told to strangers too.
            (
                "stranger",
                stranger,
                &["DEBUG", "SLEEP", "0"],
                "ERR DEBUG command not allowed",
            ),
            (
                "multi",
                |it| drop(it.line("MULTI")),
                &["SHUTDOWN"],
                "ERR Command not allowed inside",
            ),
            ("multi", |it| drop(it.line("MULTI")), &["GET", "k"], "runs"),
            (
                "memory",
                |it| it.host.used_memory = 2,
                &["GET", "k"],
                "runs",
            ),
            ("memory", no_memory, &["SET", "k", "v"], "OOM"),
            ("memory", no_memory, &["GET", "k"], "runs"),
            ("memory", no_memory, &["DEL", "k"], "runs"),
            (
                "memory before disk",
                |it| {
                    no_memory(it);
                    no_disk(it)
                },
                &["SET", "k", "v"],
                "OOM",
            ),
            ("disk", no_disk, &["SET", "k", "v"], "MISCONF"),
            ("disk", no_disk, &["PING"], "MISCONF"),
            ("disk", no_disk, &["GET", "k"], "runs"),
            (
                "disk before loading",
                |it| {
                    no_disk(it);
                    loads(it)
                },
                &["SET", "k", "v"],
                "MISCONF",
            ),
            (
                "subscriber",
                |it| drop(it.line("SUBSCRIBE c")),
                &["GET", "k"],
                "ERR Can't execute 'get'",
            ),
            (
                "subscriber",
                |it| drop(it.line("SUBSCRIBE c")),
                &["PING"],
                "runs",
            ),
            ("loading", loads, &["GET", "k"], "LOADING"),
            ("loading", loads, &["INFO"], "runs"),
            (
                "monitor",
                |it| drop(it.line("MONITOR")),
                &["GET", "k"],
                "ERR Replica can't interact",
            ),
            ("monitor", |it| drop(it.line("MONITOR")), &["PING"], "runs"),
            (
                "pause",
                |it| drop(it.line("CLIENT PAUSE 9 WRITE")),
                &["SET", "k", "v"],
                "held",
            ),
            (
                "pause",
                |it| drop(it.line("CLIENT PAUSE 9 WRITE")),
                &["PUBLISH", "c", "m"],
                "held",
            ),
            (
                "pause",
                |it| drop(it.line("CLIENT PAUSE 9 WRITE")),
                &["GET", "k"],
                "runs",
            ),
            (
                "pause",
                |it| drop(it.line("CLIENT PAUSE 9")),
                &["GET", "k"],
                "held",
            ),
            // What is refused for itself is not held.
            (
                "pause",
                |it| {
                    it.line("CLIENT PAUSE 9");
                    no_disk(it)
                },
                &["SET", "k", "v"],
                "MISCONF",
            ),
        ];
        for (state, prepare, words, expected) in table {
            let mut harness = Harness::new();
            prepare(&mut harness);
            let request = OwnedRequest::from_slices(words);
            let args = request.args();
            let found = harness.state.table.find(args.at(0));
            let id = resolve(&harness.state, found, args).expect("a command");
            let Harness {
                state: engine,
                host,
                client,
            } = &mut harness;
            let told = match admit(engine, host, Origin::Connection, *client, id, args) {
                Ok(Admission::Runs) => "runs".to_owned(),
                Ok(Admission::Postponed(_)) => "held".to_owned(),
                Err(error) => String::from_utf8_lossy(&error.bytes()).into_owned(),
            };
            assert!(told.starts_with(expected), "{state}: {words:?}: {told}");
            for origin in [Origin::Exec, Origin::Trusted, Origin::Primary] {
                let runs = admit(engine, host, origin, *client, id, args);
                // What a primary sends is never refused, and waits for the end of a pause that is for it, as Redis has it.
                let all = engine.table.get(id).flags;
                let is_held = engine.pause.is_some_and(|pause| {
                    !pause.writes_only || all & (flags::WRITE | flags::MAY_REPLICATE) != 0
                });
                let expected = match origin == Origin::Primary && is_held {
                    true => Admission::Postponed(HeldBy::Pause),
                    false => Admission::Runs,
                };
                assert_eq!(runs, Ok(expected), "{state}: {words:?}: {origin:?}");
            }
        }
    }

    /// A state whose save is under way and has read nothing. What is large is so by few elements.
    fn saved(directory: &std::path::Path) -> Harness {
        let mut harness = Harness::new();
        harness.state.config = crate::config::Config::with_dir(directory);
        let jobs = crate::system::helper::Jobs::Simulated(SimulatedJobs::new(1));
        let persistence = &mut harness.state.persistence;
        persistence.snapshot_helper = crate::persistence::forkless::helper(&jobs);
        persistence.part_size = PartSize {
            elements: 2,
            bytes: 20,
        };
        let elements: String = (0..2000).map(|it| format!(" {it:020}")).collect();
        harness.line("CONFIG SET bgsave-default-method forkless");
        harness.line(&format!("RPUSH large{elements}"));
        harness.line(&format!("RPUSH other{elements}"));
        harness.line("RPUSH small 2 1");
        harness.line("GEOADD places 1 1 a 2 2 b");
        harness.line("BGSAVE");
        harness
    }
    /// Whether a command is held for the save, else it is run.
    fn is_held(harness: &mut Harness, words: &[&str]) -> bool {
        let request = OwnedRequest::from_slices(words);
        let Harness {
            state,
            host,
            client,
        } = harness;
        let outcome = super::super::process::process(state, host, *client, request.args());
        if let Some(client) = state.clients.get_mut(*client) {
            client.session.blocked = None;
            client.reply.output_mut().clear();
        }
        outcome == super::super::Outcome::Postponed
    }

    /// Whatever changes keys is held while the helper is far behind, wherever its keys stand; a program that may write was not
    /// when it named none.
    #[test]
    fn all_that_writes_is_held_for_the_helper() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut harness = saved(directory.path());
        harness.run(&[
            "FUNCTION",
            "LOAD",
            "#!lua name=l\nredis.register_function('f',function() return 1 end)",
        ]);
        let saving = harness.state.persistence.forkless.as_mut();
        saving.expect("a save").is_backed_up = true;
        let ids: Vec<CommandId> = harness.state.table.iter().map(|(id, _)| id).collect();
        let (mut free, mut held) = (Vec::new(), 0);
        for id in ids {
            let command = harness.state.table.get(id);
            let spec = command.spec;
            let is_program = matches!(spec.name, "eval" | "evalsha" | "fcall");
            let may_write = command.flags & flags::WRITE != 0 || is_program;
            // What has no keys is not held: it may be what ends the wait (FLUSHALL).
            if !may_write || !(is_program || has_keys(spec)) {
                continue;
            }
            let mut words: Vec<&str> = match spec.name {
                "xreadgroup" => "XREADGROUP GROUP g c STREAMS 1 >".split(' ').collect(),
                "eval" | "evalsha" | "fcall" => vec![spec.name, "f", "0"],
                _ => Vec::new(),
            };
            let full = command.name.clone();
            if words.is_empty() {
                words = full.split('|').collect();
                words.resize(spec.arity.unsigned_abs() as usize, "1");
            }
            match is_held(&mut harness, &words) {
                true => held += 1,
                false => free.push(words.join(" ")),
            }
        }
        assert_eq!(free, [""; 0]);
        assert!(held > 100, "{held}");
    }

    /// What is stored in the place of a large value is in the way of nobody: the save takes the old one over.
    #[test]
    fn what_replaces_a_large_value_neither_waits_nor_reads_it() {
        for words in [
            "SORT small STORE large",
            "SORT large STORE other",
            "GEORADIUS places 1 1 900 km STORE large",
            "GEORADIUSBYMEMBER places a 900 km STOREDIST large",
            "GEOSEARCHSTORE large places FROMMEMBER a BYRADIUS 900 km",
            "SORT none STORE large",
            "COPY small large REPLACE",
            "RENAME small large",
            "SET large 1",
            "DEL large",
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            let mut harness = saved(directory.path());
            let words: Vec<&str> = words.split(' ').collect();
            assert!(!is_held(&mut harness, &words), "{words:?}");
            assert_eq!(harness.state.keyspace.hurried(), 0, "{words:?}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let mut harness = saved(directory.path());
        assert!(is_held(&mut harness, &["RPUSH", "large", "1"]));
    }

    /// A program that has said that it only reads was taken for one that writes when EXEC ran it.
    #[test]
    fn programs_that_only_read_are_not_held_in_transactions_either() {
        for (program, waits) in [
            (&["EVAL", "return 1", "1", "large"][..], true),
            (&["EVAL", "#!lua\nreturn 1", "1", "large"], true),
            (
                &["EVAL", "#!lua flags=no-writes\nreturn 1", "1", "large"],
                false,
            ),
            (&["EVAL_RO", "return 1", "1", "large"], false),
            (&["FCALL", "writes", "1", "large"], true),
            (&["FCALL", "reads", "1", "large"], false),
            (&["FCALL_RO", "reads", "1", "large"], false),
            (&["LRANGE", "large", "0", "1"], false),
            (&["RPUSH", "large", "0"], true),
        ] {
            for is_queued in [false, true] {
                let directory = tempfile::tempdir().expect("a directory");
                let mut harness = saved(directory.path());
                harness.run(&[
                    "FUNCTION",
                    "LOAD",
                    "#!lua name=l\nredis.register_function('writes',function() return 1 end)\n\
                     redis.register_function{function_name='reads',callback=function() return 1 end,\
                     flags={'no-writes'}}",
                ]);
                if is_queued {
                    harness.line("MULTI");
                    assert!(!is_held(&mut harness, program));
                }
                let words = if is_queued { &["EXEC"] } else { program };
                assert_eq!(
                    is_held(&mut harness, words),
                    waits,
                    "{program:?} {is_queued}"
                );
            }
        }
    }

    fn stranger(harness: &mut Harness) {
        let client = harness.state.clients.get_mut(harness.client);
        client.expect("a client").session.identity = crate::clients::Identity::Stranger;
    }
    fn no_memory(harness: &mut Harness) {
        harness.config("maxmemory", "1");
        harness.host.used_memory = 2;
    }
    fn no_disk(harness: &mut Harness) {
        harness.config("save", "1 1");
        harness.state.persistence.last_status_ok = false;
    }
    fn loads(harness: &mut Harness) {
        harness.state.persistence.load_steps = true;
    }
}
