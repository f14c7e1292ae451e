//! Whether users may do what they ask for, and what follows when their rules change.
//!
//! In: a command with its arguments, and the user who asks. Out: that it may run, or the refusal, which is logged (ACL LOG)
//! and counted. What users may is [`crate::acl`]'s to know, and [`super::permitted`] asks it; here the command table tells it
//! of commands.
//! Mirrors what of Redis's acl.c looks at clients.

use super::blocking;
use super::budgets;
use super::permitted::{self, Asked, check};
use super::{CommandError, CommandId, CommandTable, State, acl, flags};
use crate::acl::{
    ALL_DBS, Catalogue, Changed, Context, DEFAULT_USER, Denied, Reason, Refusal, User,
};
use crate::clients::hosts::{self, AuthLimits, Turn, Waiting};
use crate::clients::{ClientKey, Identity, Listening};
use crate::resp::Args;
use std::collections::HashMap;
use std::rc::Rc;

impl Catalogue for CommandTable {
    fn len(&self) -> usize {
        CommandTable::len(self)
    }
    fn find(&self, name: &[u8]) -> Option<u16> {
        // Rules name commands as they were called before they were renamed.
        let mut commands = self.iter();
        let (id, _) = commands
            .find(|(_, command)| command.full_name.as_bytes().eq_ignore_ascii_case(name))?;
        Some(id.0)
    }
    fn name(&self, id: u16) -> &str {
        &self.get(CommandId(id)).full_name
    }
    fn parent(&self, id: u16) -> Option<u16> {
        self.get(CommandId(id)).parent.map(|parent| parent.0)
    }
    fn subcommands(&self, id: u16) -> Vec<u16> {
        let subcommands = &self.get(CommandId(id)).subcommands;
        subcommands.iter().map(|(_, id)| id.0).collect()
    }
    fn categories(&self, id: u16) -> u32 {
        self.get(CommandId(id)).acl
    }
    fn category(&self, name: &[u8]) -> Option<u32> {
        let known = acl::NAMES
            .iter()
            .find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
        known.map(|(bit, _)| *bit)
    }
}

/// Where a command was refused, for ACL LOG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A client has sent it by itself, or to be queued.
    TopLevel,
    /// It stood in a transaction.
    Multi,
    /// A script has called it.
    Script,
}

impl Place {
    fn context(self) -> Context {
        match self {
            Place::TopLevel => Context::Toplevel,
            Place::Multi => Context::Multi,
            Place::Script => Context::Lua,
        }
    }
}

/// Asks for DRYRUN; the reason why not.
pub(crate) fn dry_run(
    table: &CommandTable,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    db: usize,
) -> Result<(), Vec<u8>> {
    if table.get(id).flags & flags::NO_AUTH != 0 {
        return Ok(());
    }
    check(table, user, id, args, db).map_err(|denied| reason(table, user, id, args, denied, true))
}

/// What a user's budget is, and what its clients have used, for GETUSER.
pub(crate) fn budget_fields(user: &User) -> Vec<(&'static str, String)> {
    let (budget, usage) = (user.budget(), user.usage());
    let mut fields = Vec::new();
    if !user.has_budget() {
        return fields;
    }
    if let Some(ms) = budget.cpu_ms_per_s {
        fields.push(("cpu-ms-per-second", ms.to_string()));
    }
    if let Some(commands) = budget.commands_per_s {
        fields.push(("commands-per-second", commands.to_string()));
    }
    if let Some(bytes) = budget.memory_bytes {
        fields.push(("memory-bytes", bytes.to_string()));
        fields.push(("used-memory-bytes", usage.memory_bytes().to_string()));
    }
    fields.push(("used-cpu-us", (usage.cpu_ns() / 1000).to_string()));
    fields.push(("used-commands", usage.commands().to_string()));
    fields.push(("waits", usage.waits().to_string()));
    fields.push(("refusals", usage.refusals().to_string()));
    fields
}

/// Why a user may not, as DRYRUN (`is_told_all`) and as refusals word it: these do not tell which key or channel it was.
pub(crate) fn reason(
    table: &CommandTable,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    denied: Denied,
    is_told_all: bool,
) -> Vec<u8> {
    let name = user.name();
    let told = |at: usize, what: &str| match is_told_all {
        true => [
            b"User ",
            name,
            b" has no permissions to access the '",
            args.get(at).unwrap_or_default(),
            b"' ",
            what.as_bytes(),
        ]
        .concat(),
        false => format!("No permissions to access a {what}").into_bytes(),
    };
    match denied {
        Denied::Command => [
            b"User ",
            name,
            b" has no permissions to run the '",
            table.get(id).full_name.as_bytes(),
            b"' command",
        ]
        .concat(),
        Denied::Key(at) => told(at, "key"),
        Denied::Channel(at) => told(at, "channel"),
        Denied::Database(_) if !is_told_all => b"No permissions to access a database".to_vec(),
        Denied::Database(ALL_DBS) => [
            b"User ",
            name,
            b" has no permissions to access all databases",
        ]
        .concat(),
        Denied::Database(db) => [
            b"User ",
            name,
            format!(" has no permissions to access the database {db}").as_bytes(),
        ]
        .concat(),
    }
}

/// Refuses what a user may not run, or not with these keys or channels. Who may do everything is asked nothing. Tells also
/// whether there is a budget to be asked for: those without are not looked up again.
#[inline(always)]
pub(super) fn check_permitted(
    state: &mut State,
    client: ClientKey,
    id: CommandId,
    args: Args<'_>,
    place: Place,
) -> Result<bool, CommandError> {
    let Some(caller) = state.clients.get(client) else {
        return Ok(false);
    };
    let Some(user) = caller.session.identity.restricted() else {
        return Ok(false);
    };
    match permitted::ask(&state.table, user, id, args, caller.session.db) {
        Asked::Permitted => Ok(user.has_budget()),
        asked => {
            let user = Rc::clone(user);
            refuse_or_ask_on(state, client, &user, id, args, place, asked)?;
            Ok(user.has_budget())
        }
    }
}

/// The refusal of a command of a transaction.
macro_rules! changed {
    ($why:literal) => {
        concat!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is \
             no longer allowed for the following reason: ",
            $why
        )
    };
}
/// What is answered to a command that was not simply permitted; a refusal is in ACL LOG then.
#[cold]
#[inline(never)]
fn refuse_or_ask_on(
    state: &mut State,
    client: ClientKey,
    user: &Rc<User>,
    id: CommandId,
    args: Args<'_>,
    place: Place,
    asked: Asked,
) -> Result<(), CommandError> {
    let denied = match asked {
        Asked::Permitted => return Ok(()),
        Asked::ReadsUnnamed => return check_unnamed(state, client, user, id, args, place),
        Asked::Denied(denied) => denied,
    };
    log(state, client, user.name(), id, args, denied, place);
    let text = reason(&state.table, user, id, args, denied, false);
    Err(match place {
        Place::TopLevel => CommandError::of_parts(&[b"NOPERM ", &text]),
        Place::Script => CommandError::of_parts(&[b"ERR ACL failure in script: ", &text]),
        Place::Multi => CommandError::fixed(match denied {
            Denied::Command => changed!("no permission to execute the command or subcommand"),
            Denied::Key(_) => changed!("no permission to touch the specified keys"),
            Denied::Channel(_) => {
                changed!("no permission to access one of the channels used as arguments")
            }
            Denied::Database(_) => changed!("no permission"),
        }),
    })
}

/// SORT names more keys by its patterns than by its arguments, which only those may touch who may read all keys.
fn check_unnamed(
    state: &State,
    client: ClientKey,
    user: &User,
    id: CommandId,
    args: Args<'_>,
    place: Place,
) -> Result<(), CommandError> {
    if user.sees_all_keys() {
        return Ok(());
    }
    let session = state.clients.get(client).map(|client| &client.session);
    // What is queued is refused when it is run.
    let is_queued = place == Place::TopLevel && session.is_some_and(|it| it.in_multi());
    let find = state.table.get(id).spec.reads_unnamed;
    let Some(refusal) = find.filter(|_| !is_queued).and_then(|find| find(args)) else {
        return Ok(());
    };
    let db = session.map_or(0, |it| it.db);
    match permitted::may_read_all_keys(&state.table, user, id, args, db) {
        true => Ok(()),
        false => Err(refusal),
    }
}

/// Who somebody with this name and password is, if it may see what INFO tells. A name that is nobody's stands for the default
/// user.
pub fn watcher(state: &State, name: Option<&[u8]>, password: &[u8]) -> Option<Rc<User>> {
    let known = name.filter(|name| state.users.find(name).is_some());
    let user = state
        .users
        .authenticate(known.unwrap_or(DEFAULT_USER), password)?;
    may_watch(state, user).then(|| Rc::clone(user))
}

/// Whether a user, as it is by now, may see what INFO tells.
pub fn may_watch(state: &State, user: &User) -> bool {
    let Some(user) = state.users.find(user.name()) else {
        return false;
    };
    let info = state.table.find_full(b"info");
    let args = Args::new(b"", &[], &[]);
    user.is_on() && info.is_some_and(|info| check(&state.table, user, info, args, 0).is_ok())
}

/// How many wrong passwords a host may try, and how long it waits then.
pub fn auth_limits(state: &State) -> AuthLimits {
    let settings = state.config.settings();
    AuthLimits {
        free: settings.auth_failures_per_address,
        delay_ns: settings.auth_failure_delay_ms.saturating_mul(1_000_000),
    }
}

/// What is to be done with a password that a client tries: its host may have tried too many wrong ones.
pub(crate) fn turn_of(state: &mut State, client: ClientKey) -> Turn {
    let limits = auth_limits(state);
    let Some(client) = state.clients.get_mut(client) else {
        return Turn::Now;
    };
    // It has waited already.
    let has_turn = std::mem::take(&mut client.session.has_turn);
    let (id, has_failed) = (client.session.id, client.session.has_failed_auth);
    let host = hosts::counted(client.connection());
    let Some(host) = host.filter(|_| limits.free > 0 && !has_turn) else {
        return Turn::Now;
    };
    let now_ns = state.now.mono_ns;
    // In a transaction nobody can wait, and a transaction of many passwords must not be a way around the wait.
    match blocking::can_wait(&client.session) {
        true => {
            let who = Waiting::new(id, has_failed);
            state.auth_failures.take_turn(host, who, limits, now_ns)
        }
        false if state.auth_failures.must_wait(host, limits, now_ns) => Turn::Never,
        false => Turn::Now,
    }
}

/// Puts a refusal into ACL LOG, and counts it.
fn log(
    state: &mut State,
    client: ClientKey,
    user: &[u8],
    id: CommandId,
    args: Args<'_>,
    denied: Denied,
    place: Place,
) {
    let stats = &mut state.observe.stats;
    let database;
    let (reason, object) = match denied {
        Denied::Command => {
            stats.denied_command += 1;
            (Reason::Command, state.table.get(id).full_name.as_bytes())
        }
        Denied::Key(at) => {
            stats.denied_key += 1;
            (Reason::Key, args.get(at).unwrap_or_default())
        }
        Denied::Channel(at) => {
            stats.denied_channel += 1;
            (Reason::Channel, args.get(at).unwrap_or_default())
        }
        Denied::Database(db) => {
            stats.denied_database += 1;
            database = match db {
                ALL_DBS => "all".to_owned(),
                db => db.to_string(),
            };
            (Reason::Database, database.as_bytes())
        }
    };
    let object = object.to_vec();
    let place = if place == Place::TopLevel
        && (state.clients.get(client)).is_some_and(|client| client.session.in_multi())
    {
        Place::Multi
    } else {
        place
    };
    push(state, client, user, reason, place, &object);
}

/// Puts a failed AUTH into ACL LOG, and counts it, for the client's host as well. `object`: what it was tried with.
pub(crate) fn log_failed_auth(state: &mut State, client: ClientKey, user: &[u8], object: &[u8]) {
    state.observe.stats.denied_auth += 1;
    let limits = auth_limits(state);
    let guesser = state.clients.get_mut(client);
    let host = guesser.and_then(|client| {
        client.session.has_failed_auth = true;
        hosts::counted(client.connection())
    });
    if let Some(host) = host {
        state.auth_failures.failed(host, limits, state.now.mono_ns);
    }
    let is_in_multi = state
        .clients
        .get(client)
        .is_some_and(|it| it.session.in_multi());
    let place = if is_in_multi {
        Place::Multi
    } else {
        Place::TopLevel
    };
    push(state, client, user, Reason::Auth, place, object);
}

/// So much of a key or channel is in ACL LOG, bytes.
const LOGGED_LEN: usize = 1024;

fn push(
    state: &mut State,
    client: ClientKey,
    user: &[u8],
    reason: Reason,
    place: Place,
    object: &[u8],
) {
    let most = state.config.settings().acllog_max_len;
    // A key may be as long as a value.
    let object = object.get(..LOGGED_LEN).unwrap_or(object);
    // What a script calls is its caller's, whose connection it is.
    let running = state.scripting.running.as_deref();
    let asker = match running {
        Some(running) if state.scripting.client == Some(client) => running.caller,
        _ => client,
    };
    let mut line = Vec::new();
    if most > 0
        && let Some(client) = state.clients.get(asker)
    {
        super::client_line::write_line(&mut line, client, &state.table, state.now, None);
    }
    let refusal = Refusal {
        reason,
        context: place.context(),
        object,
        username: user,
        client_info: &line,
    };
    let now_ms = state.now.unix_ms().try_into().unwrap_or(0);
    state.acl_log.push(&refusal, now_ms, most);
}

/// Gives the clients of users that have changed their new rules. Who is none any more is closed, and so is who listens to
/// what its user may not hear any more.
pub(crate) fn follow(state: &mut State, changes: &[Changed], caller: Option<ClientKey>) {
    for change in changes {
        // There may be more to have of another budget, or none any more.
        state.budgets.rules_changed(&change.name);
    }
    exchange(state, changes, caller);
    welcome(state);
}

/// Closes all clients of users that are gone.
pub(crate) fn cut_off(state: &mut State, users: Vec<Rc<User>>, caller: Option<ClientKey>) {
    let gone = users.into_iter().map(|user| Changed {
        name: user.name().to_vec(),
        before: Some(user),
        after: None,
    });
    exchange(state, &gone.collect::<Vec<_>>(), caller);
}

/// Closes a client; the one whose command runs gets its answer before.
fn close(state: &mut State, client: ClientKey, caller: Option<ClientKey>) {
    match caller == Some(client) {
        true => state.requests.close_caller = caller,
        false => state.clients.close(client, false),
    }
}

/// Looks once at each client, however many users have changed: a file of users may change thousands.
fn exchange(state: &mut State, changes: &[Changed], caller: Option<ClientKey>) {
    // The changes keep the users, so that no other one gets the address of one of them meanwhile.
    let mut by_user = HashMap::with_capacity(changes.len());
    for change in changes {
        if let Some(before) = &change.before {
            let after = change.after.as_ref();
            let looks = after.is_some_and(|after| before.channels_lost(after));
            by_user.insert(Rc::as_ptr(before), (after, looks));
        }
    }
    if by_user.is_empty() {
        return;
    }
    for key in state.clients.keys() {
        let Some(client) = state.clients.get(key) else {
            continue;
        };
        let user = client.session.identity.user().map(Rc::as_ptr);
        let Some((after, looks)) = user.and_then(|user| by_user.get(&user)) else {
            continue;
        };
        let subscriptions = client.subscriptions.as_deref().filter(|_| *looks);
        let may_stay = |after: &&&Rc<User>| {
            !subscriptions.is_some_and(|it| {
                let kinds = [Listening::Channel, Listening::Shard];
                let channels = kinds.into_iter().flat_map(|kind| it.names(kind));
                after.cuts_off(channels, it.names(Listening::Pattern))
            })
        };
        let after = after.as_ref().filter(may_stay);
        let identity = match after {
            Some(after) => Identity::User(Rc::clone(after)),
            None => Identity::Stranger,
        };
        let is_cut_off = after.is_none();
        budgets::become_user(state, key, identity);
        if is_cut_off {
            close(state, key, caller);
        }
    }
}

/// Where the default user asks for no password, everybody is it who has not said who it is.
fn welcome(state: &mut State) {
    let Identity::User(user) = Identity::newcomer(&state.users) else {
        return;
    };
    for key in state.clients.keys() {
        if let Some(client) = state.clients.get_mut(key)
            && client.session.identity.is_stranger()
            && client.connection().is_open()
        {
            client.session.was_authenticated = true;
            budgets::become_user(state, key, Identity::User(Rc::clone(&user)));
        }
    }
}
