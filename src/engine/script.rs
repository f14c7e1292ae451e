//! Running a program: whether it may run, the commands that it calls, its slices of time, its end.
//!
//! In: a program with its arguments, from EVAL or FCALL. Out: its reply at the caller; effects as one unit of the
//! journal. What always holds: at most one program runs; while it stands for the loop's sake (it is *busy*) nothing else
//! changes a key, so that its effects stay together; time stands still for it. Mirrors script.c of Redis.

use crate::clients::{Blocked, Client, ClientKey, ClientKind, Identity};
use crate::engine::admit::{Origin, Unkept, Unresolved, admit, resolve, unkept};
use crate::engine::call::{advance_reply_mode, call, note_run};
use crate::engine::propagate::note_write;
use crate::engine::{
    CommandError, CommandId, Host, Invocation, ServerContext, State, flags, functions, permitted,
    tracking, transactions,
};
use crate::journal::Targets;
use crate::resp::{Args, Protocol, Reply};
use crate::scripting::flags::ScriptFlags;
use crate::scripting::interpreter::{Ask, Call, Interpreter, Options, Tell};
use crate::scripting::{self, cache};
use crate::scripting::{Called, Errors, Running};

/// Time of a busy program in one turn of the loop, ns.
const SLICE_NS: u64 = 2_000_000;

/// What is to be run.
pub(crate) struct Program<'a> {
    /// Its digest, or its name.
    pub name: &'a [u8],
    /// It was called by FCALL.
    pub is_function: bool,
    /// What it says of itself; `None`: a script without a first line, which is asked at each command.
    pub flags: Option<ScriptFlags>,
    /// It was called by a command that only reads.
    pub read_only: bool,
}

/// Runs a program that `tell` starts; the caller is answered now, or later if the program runs for too long.
pub(crate) fn start(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
    program: &Program<'_>,
    tell: Tell,
) -> Result<(), CommandError> {
    let caller = context.client;
    let state = &mut *context.state;
    // There is one interpreter. A script calls another one only where DEBUG has let it call what it must not.
    if state.scripting.running.is_some() {
        return Err(CommandError::fixed("ERR a script runs"));
    }
    interpreter(state)?;
    let Some(session) = state.clients.get(caller).map(|client| &client.session) else {
        return Ok(());
    };
    let (db, no_touch, identity) = (session.db, session.no_touch, session.identity.clone());
    let slot = session.slot;
    let is_trusted = session.is_obeyed();
    // As it was found by the check of the command that the script came with: EVAL, or the EXEC around it.
    let is_oom = !is_trusted && state.config.settings().maxmemory > 0 && state.lacks_memory;
    // One that says nothing is asked at each of its commands instead, whether that may run.
    if let Some(said) = program.flags {
        may_run(state, program, said, is_trusted, is_oom)?;
    } else if super::replication::admission::is_stale(state) && !is_trusted {
        return Err(CommandError::PRIMARY_DOWN);
    }
    let said = program.flags.unwrap_or_default();
    let key = client(state);
    if let Some(client) = state.clients.get_mut(key) {
        // All programs run their commands as one client: what the last one has left there is set anew.
        client.session.db = db;
        client.session.no_touch = no_touch;
        // A script may do what its caller may.
        client.session.identity = identity;
        client.set_protocol(Protocol::Resp2);
    }
    // Begun even if it may write nothing: `finish` ends it in any case.
    state.journal.begin_unit();
    // Not what the client has sent last, which is EXEC for what was queued, and nothing where a file is loaded.
    let command = state.table.find(args.at(0)).map(|id| id.0);
    state.scripting.running = Some(Box::new(Running {
        caller,
        name: program.name.to_vec(),
        is_function: program.is_function,
        now: state.now,
        read_only: program.read_only || said.has(ScriptFlags::NO_WRITES),
        allow_oom: said.has(ScriptFlags::ALLOW_OOM),
        // One that says nothing was written before there was such a rule.
        allow_cross_slot: program
            .flags
            .is_none_or(|it| it.has(ScriptFlags::ALLOW_CROSS_SLOT)),
        slot,
        is_oom,
        wrote: false,
        is_trusted,
        busy: false,
        killed: false,
        command: None,
    }));
    if let Some(ended) = drive(state, context.host, key, tell) {
        context.effects.errors_counted = ended.errors_counted;
        if ended.failures > 0 {
            context.effects.details_mut().failures = ended.failures;
        }
    } else {
        // The caller waits, and what is to be noted of its command is noted at the end.
        if let Some(running) = &mut state.scripting.running {
            running.command = command.map(|id| {
                Box::new(Called {
                    command: id,
                    request: args.to_owned(),
                })
            });
        }
        if let Some(client) = state.clients.get_mut(caller) {
            client.session.blocked = Some(Blocked::Script);
        }
        context.effects.stands = true;
    }
    // Its commands have told the journal by themselves.
    context.effects.do_not_propagate = true;
    Ok(())
}

/// Whether a program may run that says what it needs.
fn may_run(
    state: &State,
    program: &Program<'_>,
    said: ScriptFlags,
    is_trusted: bool,
    is_oom: bool,
) -> Result<(), CommandError> {
    if state.cluster.is_some() && said.has(ScriptFlags::NO_CLUSTER) {
        return Err(CommandError::fixed(
            "ERR Can not run script on cluster, 'no-cluster' flag is set.",
        ));
    }
    if super::replication::admission::is_stale(state)
        && !said.has(ScriptFlags::ALLOW_STALE)
        && !is_trusted
    {
        return Err(CommandError::fixed(
            "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not \
             set on the script.",
        ));
    }
    if !said.has(ScriptFlags::NO_WRITES) {
        if super::replication::admission::is_read_only(state) && !is_trusted {
            return Err(CommandError::fixed(
                "READONLY You can not run script with write flag on readonly replica.",
            ));
        }
        // In Redis's order, which decides what is answered where several are true: the disk, the kind of call, memory.
        match unkept(state).filter(|_| !is_trusted) {
            None => {}
            Some(Unkept::Snapshot) => {
                return Err(CommandError::fixed(
                    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                     Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
                ));
            }
            Some(Unkept::Aof(reason)) => {
                return Err(CommandError::text_owned(format!(
                    "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to \
                     disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: {reason}"
                )));
            }
        }
        if program.read_only {
            return Err(CommandError::fixed(
                "ERR Can not execute a script with write flag using *_ro command.",
            ));
        }
    }
    if is_oom && !said.has(ScriptFlags::ALLOW_OOM.and(ScriptFlags::NO_WRITES)) {
        return Err(CommandError::fixed(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        ));
    }
    Ok(())
}

/// The client that runs the commands of programs.
fn client(state: &mut State) -> ClientKey {
    if let Some(key) = state.scripting.client {
        return key;
    }
    // It is who its caller is, while a script runs.
    let client = Client::without_socket(ClientKind::Script, Identity::Stranger);
    let key = state.clients.insert_hidden(client);
    state.scripting.client = Some(key);
    key
}

/// How a program has ended, for the statistics of the command that ran it.
#[derive(Clone, Copy, Default)]
struct Ended {
    /// The errors in its reply have been counted.
    errors_counted: bool,
    /// How often the command has failed by them.
    failures: u64,
}

/// Runs on until the program ends, and the caller is answered; none: it has used up its time.
fn drive(state: &mut State, host: &mut dyn Host, key: ClientKey, mut tell: Tell) -> Option<Ended> {
    // Out of the state while it runs, so that nothing that its commands do can reach it.
    let Some(mut interpreter) = state.scripting.interpreter.take() else {
        return Some(Ended::default());
    };
    let slice_end = host.monotonic_ns().saturating_add(SLICE_NS);
    let ended = loop {
        tell = match interpreter.resume(tell) {
            Ask::Call(mut asked) => {
                command(state, host, key, &mut asked);
                Tell::Answer(asked)
            }
            Ask::Check(request) => Tell::Known(may_call(state, key, request.args())),
            Ask::Clock => Tell::Clock(host.monotonic_ns()),
            Ask::Busy => match pause(state, host, slice_end) {
                Some(tell) => tell,
                None => break None,
            },
            Ask::Ended { failed, args } => {
                if args.memory_bytes() <= scripting::KEPT_BYTES {
                    state.scripting.spare = args;
                }
                // The interpreter writes the reply straight into the caller's buffer, which it is lent until `finish`.
                // The arguments come back for their room: the next script's are put there.
                let running = state.scripting.running.as_deref_mut();
                let (caller, name) = match running {
                    Some(running) => {
                        let name = failed.then(|| std::mem::take(&mut running.name));
                        (Some(running.caller), name)
                    }
                    None => (None, None),
                };
                let reply = caller
                    .and_then(|caller| state.clients.get_mut(caller))
                    .map(|client| std::mem::take(&mut client.reply));
                Tell::Write {
                    reply: Box::new(reply.unwrap_or_default()),
                    name,
                }
            }
            Ask::Written {
                reply,
                errors,
                memory,
            } => {
                state.scripting.memory = memory;
                break Some(finish(state, Some((*reply, errors))));
            }
            Ask::Ready | Ask::Compiled(_) | Ask::Loaded(_) => {
                // None of these is a word of a program that runs: the interpreter has ended.
                break Some(finish(state, None));
            }
        };
    };
    state.scripting.interpreter = Some(interpreter);
    if ended.is_some() {
        super::persistence::save_emptied(state, host);
    }
    ended
}

/// Gives the caller its reply back, and ends what runs.
fn finish(state: &mut State, written: Option<(Reply, Errors)>) -> Ended {
    let mut ended = Ended::default();
    // From here on nothing runs: the caller's EXEC may go on, and other programs may begin.
    let Some(running) = state.scripting.running.take() else {
        return ended;
    };
    let caller = state.clients.get_mut(running.caller);
    match (written, caller) {
        (Some((reply, errors)), caller) => {
            if let Some(client) = caller {
                client.reply = reply;
            }
            // Each by itself: those of commands, in the middle of a table or not, have been.
            for (code, count) in &errors.fresh {
                state.observe.errors_replied(code, *count);
            }
            ended.errors_counted = true;
            // As Redis counts: the new ones once, the others each.
            ended.failures = errors.counted + u64::from(!errors.fresh.is_empty());
        }
        (None, Some(client)) => client
            .reply
            .error("ERR the interpreter of scripts has failed"),
        (None, None) => {}
    }
    // Published here, unless it is part of an EXEC, whose unit this one stands in.
    state.journal.end_unit();
    ended
}

/// After many instructions: what the program is told, or `None` if it is to stand still and the loop to turn.
fn pause(state: &mut State, host: &mut dyn Host, slice_end: u64) -> Option<Tell> {
    let threshold_ms = state.config.settings().busy_reply_threshold_ms;
    let Some(running) = state.scripting.running.as_deref_mut() else {
        return Some(Tell::Kill);
    };
    if running.killed {
        let how = if running.is_function {
            "FUNCTION"
        } else {
            "SCRIPT"
        };
        log::warn!("Lua script killed by user with {how} KILL.");
        return Some(Tell::Kill);
    }
    if threshold_ms == 0 {
        // Nobody is to be served meanwhile, however long it takes.
        return Some(Tell::GoOn);
    }
    let now_ns = host.monotonic_ns();
    if running.busy {
        // It has been found slow in an earlier turn, and has its slice of each.
        return (now_ns < slice_end).then_some(Tell::GoOn);
    }
    let elapsed_ms = now_ns.saturating_sub(running.now.mono_ns) / 1_000_000;
    if elapsed_ms < threshold_ms {
        return Some(Tell::GoOn);
    }
    log::warn!(
        "Slow script detected: still in execution after {elapsed_ms} milliseconds. You can try killing the script \
         using the {} KILL command. Script name is: {}.",
        if running.is_function {
            "FUNCTION"
        } else {
            "SCRIPT"
        },
        String::from_utf8_lossy(&running.name)
    );
    // It stands still at once: the loop has not turned since it began, and those who wait are to be told that it is
    // busy.
    running.busy = true;
    None
}

/// Whether the caller of a script may run a command that it names; none: there is no such command.
fn may_call(state: &mut State, key: ClientKey, args: Args<'_>) -> Option<bool> {
    let found = state.table.find(args.at(0));
    let id = match resolve(state, found, args) {
        Ok(id) | Err(Unresolved::Arity(id)) => id,
        Err(Unresolved::Command | Unresolved::Subcommand(_)) => return None,
    };
    let session = &state.clients.get(key)?.session;
    let restricted = session.identity.restricted();
    Some(
        restricted
            .is_none_or(|user| permitted::check(&state.table, user, id, args, session.db).is_ok()),
    )
}

/// Runs a command for the program.
fn command(state: &mut State, host: &mut dyn Host, key: ClientKey, asked: &mut Call) {
    let Call {
        request,
        reply,
        resp3,
        propagation,
    } = asked;
    let args = request.args();
    let found = state.table.find(args.at(0));
    let admitted = resolve(state, found, args)
        .map_err(|unresolved| {
            let error = unresolved.error(state, Origin::Script, args);
            (unresolved.command(), error)
        })
        .and_then(
            |id| match admit(state, host, Origin::Script, key, id, args) {
                Ok(_) => Ok(id),
                Err(error) => Err((Some(id), error)),
            },
        );
    let id = match admitted {
        Ok(id) => id,
        Err((id, error)) => {
            // `call` has not run, so what was refused is counted here.
            if let Some(id) = id {
                state.observe.command_rejected(id.0);
            }
            let text = error.bytes();
            let code = text.split(|byte| *byte == b' ').next();
            state.observe.error_replied(code.unwrap_or(b"ERR"));
            reply.push(b'-');
            // What the program sent may hold what would end the line.
            let clean = |byte: &u8| match byte {
                b'\r' | b'\n' => b' ',
                byte => *byte,
            };
            reply.extend(text.iter().map(clean));
            reply.extend_from_slice(b"\r\n");
            return;
        }
    };
    if state.table.get(id).flags & flags::WRITE != 0
        && let Some(running) = state.scripting.running.as_deref_mut()
    {
        running.wrote = true;
    }
    // The dialect is that of `redis.setresp`: the program reads this reply, not its caller.
    if let Some(client) = state.clients.get_mut(key)
        && client.session.resp3() != *resp3
    {
        client.set_protocol(match *resp3 {
            true => Protocol::Resp3,
            false => Protocol::Resp2,
        });
    }
    // Time stands still for the program, but not for the measure of its commands.
    let mut asker = key;
    if let Some(running) = &state.scripting.running {
        asker = running.caller;
        state.now.unix_us = running.now.unix_us;
        state.now.keeps_expired = running.now.keeps_expired;
    }
    let invocation = Invocation {
        asker,
        client: key,
        command: id,
        args: request.args(),
        targets: Targets::from_bits(*propagation),
    };
    call(state, host, &invocation);
    if let Some(client) = state.clients.get_mut(key) {
        client.reply.output_mut().drain_into(reply);
    }
}

/// Whether a program stands still that wants its share of each turn.
pub fn wants_turns(state: &State) -> bool {
    state.scripting.is_busy()
}

/// Gives the program that stands still a slice of time; called in each turn while [`wants_turns`] says so.
pub fn go_on(state: &mut State, host: &mut dyn Host) {
    let Some(running) = state.scripting.running.as_deref() else {
        return;
    };
    let (caller, began) = (running.caller, running.now);
    let tell = if running.killed {
        Tell::Kill
    } else {
        Tell::GoOn
    };
    let now = state.now;
    let published = state.journal.published();
    // To the program it is still the time at which it began; only what measures it goes on.
    state.now = began;
    state.now.mono_ns = host.monotonic_ns();
    state.clients.set_answering(Some(caller));
    super::budgets::set_paying(state, Some(caller));
    // Taken for the slice, and put back if it is not the last one: `end` needs it while the state is changed.
    let command = state
        .scripting
        .running
        .as_deref_mut()
        .and_then(|running| running.command.take());
    let errors = state
        .clients
        .get(caller)
        .map_or(0, |client| client.reply.error_count());
    let key = client(state);
    let ended = drive(state, host, key, tell);
    // Also where it goes on: a program that calls nothing moves no clock, and its slice is to be paid for.
    state.now.mono_ns = host.monotonic_ns();
    if let Some(ended) = ended {
        if let Some(called) = command {
            end(state, host, caller, &called, began.mono_ns, errors, ended);
        }
        // Published with the end of the program, or of the EXEC that it was part of; WAITAOF of its caller waits for it.
        if state.journal.published() != published {
            note_write(state, caller);
        }
    } else if let Some(running) = state.scripting.running.as_deref_mut() {
        running.command = command;
    }
    super::budgets::set_paying(state, None);
    state.clients.set_answering(None);
    // For everybody else time goes on from where it stood, by what the slice took.
    state.now = now.at(state.now.mono_ns);
}

/// Does for a command that has ended late what [`call`] does for others, and lets its caller go on.
fn end(
    state: &mut State,
    host: &mut dyn Host,
    caller: ClientKey,
    called: &Called,
    began_ns: u64,
    errors: u64,
    ended: Ended,
) {
    // All the time since it began, the turns of others between its slices included: so long its caller has waited.
    let elapsed_ns = state.now.mono_ns.saturating_sub(began_ns);
    let mut failed = false;
    if let Some(client) = state.clients.get_mut(caller) {
        failed = client.reply.error_count() != errors && !ended.errors_counted;
        if failed {
            state.observe.error_replied(client.reply.last_error_code());
        }
        client.session.blocked = None;
    }
    let failures = u64::from(failed) + ended.failures;
    let id = CommandId(called.command);
    let invocation = Invocation::of(caller, id, called.request.args());
    note_run(state, &invocation, elapsed_ns, failures);
    tracking::remember(state, caller, id, called.request.args());
    // Within EXEC what follows comes first; only behind the last of the queue is the caller free.
    let is_in_exec = state
        .clients
        .get(caller)
        .and_then(|client| client.session.transaction.as_ref())
        .is_some_and(|transaction| transaction.standing.is_some());
    if is_in_exec && !transactions::go_on(state, host, caller) {
        return;
    }
    advance_reply_mode(state, caller);
    tracking::command_ended(state, caller, None);
    if let Some(client) = state.clients.get_mut(caller)
        && client.session.kind == ClientKind::Internal
    {
        // Nobody reads what the append-only file's commands answer, and its loader looks by itself.
        client.reply.output_mut().clear();
        return;
    }
    // What it has sent meanwhile is looked at again, and its answer is written.
    state.clients.unblocked.push(caller);
}

/// SCRIPT KILL and FUNCTION KILL.
pub(crate) fn kill(context: &mut ServerContext<'_>, function: bool) -> Result<(), CommandError> {
    let Some(running) = context.state.scripting.running.as_deref_mut() else {
        return Err(CommandError::fixed(
            "NOTBUSY No scripts in execution right now.",
        ));
    };
    if running.is_trusted {
        // What a file repeats was not killed when it ran first.
        return Err(CommandError::fixed(
            "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be \
             killed.",
        ));
    }
    if running.wrote {
        return Err(CommandError::fixed(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
             script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        ));
    }
    if running.is_function != function {
        return Err(busy_error(running.is_function));
    }
    running.killed = true;
    context.reply().ok();
    Ok(())
}

/// What everyone reads while a program stands still.
pub(crate) fn busy_error(is_function: bool) -> CommandError {
    if is_function {
        return CommandError::fixed(
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
        );
    }
    CommandError::fixed(
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    )
}

/// Whether a client has to stay in the slab: its program stands still, and its transaction may have to go on.
pub fn holds(state: &State, client: ClientKey) -> bool {
    state.scripting.runs_for(client)
}

/// The flags of a command that runs a program, by what the program says of itself.
pub(crate) fn command_flags(state: &State, id: CommandId, args: Args<'_>, all: u32) -> u32 {
    let said = match state.table.get(id).spec.name {
        "fcall" | "fcall_ro" => functions::flags_of(state, args),
        _ => flags_of_script(state, id, args),
    };
    match said {
        Some(said) => with_flags(all, said),
        None => all,
    }
}

/// The flags of a command whose program has these.
pub(crate) fn with_flags(all: u32, said: ScriptFlags) -> u32 {
    let mut all = all & !(flags::STALE | flags::DENYOOM | flags::WRITE | flags::MAY_REPLICATE);
    if !said.has(ScriptFlags::ALLOW_OOM.and(ScriptFlags::NO_WRITES)) {
        all |= flags::DENYOOM;
    }
    if !said.has(ScriptFlags::NO_WRITES) {
        all |= flags::WRITE;
    }
    if said.has(ScriptFlags::ALLOW_STALE) {
        all |= flags::STALE;
    }
    all
}

/// The interpreter, made when it is first needed. None while a program runs in it: it is not here then, or stands in the
/// middle of that program and would take what it is told for an answer.
pub(crate) fn interpreter(state: &mut State) -> Result<&mut Interpreter, CommandError> {
    if state.scripting.running.is_some() {
        return Err(CommandError::fixed("ERR a script runs"));
    }
    if state.scripting.interpreter.is_none() {
        let options = Options {
            deprecated: state.config.settings().lua_enable_deprecated_api,
        };
        let made = Interpreter::new(options).map_err(|error| {
            log::error!("The interpreter of scripts cannot be made: {error}");
            CommandError::fixed("ERR the interpreter of scripts cannot be made")
        })?;
        state.scripting.interpreter = Some(Box::new(made));
    }
    state
        .scripting
        .interpreter
        .as_deref_mut()
        .ok_or(CommandError::fixed("ERR a script runs"))
}

/// What the script of a command says of itself, if it says anything.
fn flags_of_script(state: &State, id: CommandId, args: Args<'_>) -> Option<ScriptFlags> {
    let text = args.at(1);
    let scripts = &state.scripting.scripts;
    match state.table.get(id).spec.name {
        "eval" | "eval_ro" => match scripts.by_text(text) {
            Some(id) => scripts.get(id)?.flags,
            // Not known yet, and not compiled for a question: its first line says it.
            None => cache::shebang(text).ok()?.0,
        },
        "evalsha" | "evalsha_ro" => scripts.get(scripts.by_digest(text)?)?.flags,
        _ => None,
    }
}
