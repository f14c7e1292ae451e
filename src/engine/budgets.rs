//! Budgets of users: who is over one waits, and nobody else does.
//!
//! In: a command of a user with a budget; what commands have taken. Out: that the command runs, is held until there is something
//! in the budget again, or is refused (`throttle-error`).
//!
//! **Who pays.** The meter runs while commands of a client do, and stops where others' begin: for the slices of a script that
//! stands still, and for a command that waited and is run again. What it shows is charged to whoever the client is: at the end
//! of what it sent, and before it becomes somebody else ([`become_user`]), so that nobody pays for what was done under another
//! name. Every user is charged, with a budget or without.
//!
//! **Who is next.** The clients of a user that are held stand in a line, in the order in which they came. Each keeps its place
//! until its command has run, and whoever comes meanwhile lines up behind. Each line has one time at which it is looked at, and
//! only so many are let go on then as there is something for. One that goes on runs [`TURN_COMMANDS`] before it lines up again,
//! while the budget lasts.
//!
//! **Memory.** What counts is what the clients have the server hold: answers that they do not read, subscriptions, queues of
//! MULTI, requests that are not whole. What a held client has sent is none of it, for that goes only when it is run. Commands
//! that give memory back always run, and nobody is held for memory longer than [`PATIENCE_NS`]: it is told then.

use super::admit::Admission;
use super::{CommandError, CommandId, State, flags};
use crate::acl::{Ran, User};
use crate::clients::{Blocked, Client, ClientKey, HeldBy, Identity};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Commands that one client runs before those of its user that were held longer are asked again.
const TURN_COMMANDS: u32 = 16;
/// Clients of one user that are let go on together at most.
const LET_GO_MOST: usize = 16;
/// While a user's clients hold too much memory they are looked at again after this long, ns: it is measured by the cron.
const MEMORY_WAIT_NS: u64 = 100_000_000;
/// Nobody is held for memory longer than this, ns.
const PATIENCE_NS: u64 = 5_000_000_000;

const THROTTLED: CommandError =
    CommandError::fixed("THROTTLED The budget of this user is used up, try again later");

/// Commands that run however much memory their user's clients hold, beside those that anybody may run: they give some back.
/// EXEC is another one.
const GIVES_BACK: [&str; 6] = [
    "discard",
    "unwatch",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "client|kill",
];

/// Name of a user with clients that are held.
type Name = Rc<[u8]>;

/// Clients that wait for their users' budgets, and the meter of what commands take.
#[derive(Debug, Default)]
pub struct Budgets {
    lines: BTreeMap<Name, Line>,
    /// The places of clients in the lines, by their ids.
    places: BTreeMap<u64, Place>,
    /// When the lines are to be looked at (monotonic ns); each stands here once at most.
    due: BTreeSet<(u64, Name)>,
    /// Number of the last place that was given.
    tickets: u64,
    turn: Turn,
    meter: Meter,
}

/// Clients of one user that are held, or were let go on and have not run yet.
#[derive(Debug, Default)]
struct Line {
    /// Ids of those that are held, by their places.
    held: BTreeMap<u64, u64>,
    /// Number of those that were let go on.
    let_go: usize,
    /// When it is to be looked at, as it stands in `due`. None while some were let go on: they are waited for.
    due_ns: Option<u64>,
}

#[derive(Debug)]
struct Place {
    user: Name,
    ticket: u64,
    /// Since when it has been held, monotonic ns.
    since_ns: u64,
    is_let_go: bool,
}

/// The commands that the client that went on last may run before those behind it are asked.
#[derive(Debug, Default)]
struct Turn {
    client: u64,
    left: u32,
}

/// What the client whose commands run has taken and was not charged yet.
#[derive(Debug, Default)]
struct Meter {
    client: Option<ClientKey>,
    /// Since when, monotonic ns.
    since_ns: u64,
    /// Commands that the client had run then.
    commands: u64,
    /// Commands that scripts have called since.
    called: u64,
}

impl Budgets {
    /// Whether nobody is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
    /// When the first of the lines is to be looked at, monotonic ns.
    pub fn next_ns(&self) -> Option<u64> {
        self.due.first().map(|(at_ns, _)| *at_ns)
    }
    /// Clients of a user that are held.
    pub fn held_of(&self, user: &[u8]) -> usize {
        self.lines.get(user).map_or(0, |line| line.held.len())
    }
    /// A script has called a command.
    #[inline]
    pub(super) fn note_called(&mut self) {
        self.meter.called += 1;
    }

    /// The rules of a user have changed: its line is looked at anew.
    pub(super) fn rules_changed(&mut self, user: &[u8]) {
        if let Some((name, _)) = self.lines.get_key_value(user) {
            self.set_due(&Rc::clone(name), Some(0));
        }
    }

    /// What a client sent has run, or is held by something: if it was let go on, it has been, and its place is the next one's.
    #[inline]
    pub fn served(&mut self, id: u64) {
        if !self.is_empty() && self.places.get(&id).is_some_and(|place| place.is_let_go) {
            self.leave(id);
        }
    }

    /// Takes a client out of its line.
    pub fn leave(&mut self, id: u64) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        let Some(line) = self.lines.get_mut(&place.user) else {
            return;
        };
        match place.is_let_go {
            true => line.let_go = line.let_go.saturating_sub(1),
            false => {
                line.held.remove(&place.ticket);
            }
        }
        let (is_empty, is_asked) = (line.held.is_empty(), line.let_go > 0);
        if is_empty {
            self.set_due(&place.user, None);
            if !is_asked {
                self.lines.remove(&place.user);
            }
        } else if !is_asked && place.is_let_go {
            self.set_due(&place.user, Some(0));
        }
    }

    fn set_due(&mut self, user: &Name, due_ns: Option<u64>) {
        if let Some(line) = self.lines.get_mut(user)
            && line.due_ns != due_ns
        {
            if let Some(before_ns) = std::mem::replace(&mut line.due_ns, due_ns) {
                self.due.remove(&(before_ns, Rc::clone(user)));
            }
            if let Some(due_ns) = due_ns {
                self.due.insert((due_ns, Rc::clone(user)));
            }
        }
    }

    /// Puts a client into its user's line: into its place, if it has one; whether it is new there.
    fn line_up(&mut self, user: &[u8], id: u64, now_ns: u64, wait_ns: u64) -> bool {
        let name: Name = match self.lines.get_key_value(user) {
            Some((name, _)) => Rc::clone(name),
            None => Rc::from(user),
        };
        let line = self.lines.entry(Rc::clone(&name)).or_default();
        let mut is_new = false;
        let place = self.places.entry(id).or_insert_with(|| {
            is_new = true;
            self.tickets += 1;
            Place {
                user: Rc::clone(&name),
                ticket: self.tickets,
                since_ns: now_ns,
                is_let_go: false,
            }
        });
        if std::mem::take(&mut place.is_let_go) {
            line.let_go = line.let_go.saturating_sub(1);
        }
        line.held.insert(place.ticket, id);
        if line.let_go == 0 && line.due_ns.is_none() {
            self.set_due(&name, Some(now_ns.saturating_add(wait_ns)));
        }
        is_new
    }

    /// Lets the first of a line go on, up to so many, that `may_go`: (id, since when it has been held). Their ids.
    fn let_go(&mut self, user: &Name, most: usize, may_go: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut ids = Vec::new();
        let Some(line) = self.lines.get_mut(user) else {
            return ids;
        };
        while ids.len() < most
            && let Some(first) = line.held.first_entry()
            && let Some(place) = self.places.get_mut(first.get())
            && may_go(place.since_ns)
        {
            place.is_let_go = true;
            line.let_go += 1;
            ids.push(first.remove());
        }
        ids
    }
}

/// Takes what a client's command needs out of its user's budget, if that has one. `call_flags`: those of the call; `queued`:
/// commands that it runs for EXEC. What is queued is counted when it is run, who wants to become somebody else may, and a
/// command that has waited for a key was counted when it came.
#[cold]
pub(super) fn admit(
    state: &mut State,
    client: ClientKey,
    id: CommandId,
    call_flags: u32,
    queued: usize,
) -> Result<Admission, CommandError> {
    let Some(caller) = state.clients.get(client) else {
        return Ok(Admission::Runs);
    };
    let user = caller.session.identity.restricted();
    let Some(user) = user.filter(|user| user.has_budget()).cloned() else {
        return Ok(Admission::Runs);
    };
    if call_flags & flags::NO_AUTH != 0 || caller.session.waiting().is_some() {
        return Ok(Admission::Runs);
    }
    // What ran before it in what the client sent has not been charged yet.
    settle(state);
    let Some(caller) = state.clients.get(client) else {
        return Ok(Admission::Runs);
    };
    let (budget, usage, now_ns) = (user.budget(), user.usage(), state.now.mono_ns);
    let runs_queue = call_flags & flags::RUNS_QUEUE != 0;
    let is_queued = caller.session.in_multi() && call_flags & flags::RUNS_IN_MULTI == 0;
    let gives_back = runs_queue || GIVES_BACK.contains(&&*state.table.get(id).full_name);
    let is_over_memory = !gives_back && usage.is_over_memory(budget);
    let wait_ns = match is_queued {
        true => 0,
        false => usage.wait_ns(budget, now_ns),
    };
    let id = caller.session.id;
    let budgets = &mut state.budgets;
    let since_ns = budgets.places.get(&id).map(|place| place.since_ns);
    let has_turn = budgets.turn.client == id && budgets.turn.left > 0;
    let lines_up = since_ns.is_none()
        && !(has_turn || is_queued || gives_back || budget.throttle_error)
        && budgets.lines.contains_key(user.name());
    if wait_ns == 0 && !is_over_memory && !lines_up {
        if since_ns.is_some() {
            budgets.leave(id);
            let (client, left) = (id, TURN_COMMANDS);
            budgets.turn = Turn { client, left };
        }
        if budgets.turn.client == id {
            budgets.turn.left = budgets.turn.left.saturating_sub(1);
        }
        if !is_queued {
            usage.take(budget, queued as u64 + 1);
        }
        return Ok(Admission::Runs);
    }
    let is_out_of_patience =
        is_over_memory && since_ns.is_some_and(|it| now_ns.saturating_sub(it) >= PATIENCE_NS);
    if budget.throttle_error || is_out_of_patience {
        budgets.leave(id);
        usage.note_refusal();
        return Err(THROTTLED);
    }
    let wait_ns = match is_over_memory {
        true => MEMORY_WAIT_NS,
        false => wait_ns,
    };
    if budgets.line_up(user.name(), id, now_ns, wait_ns) {
        usage.note_wait();
    }
    state.clients.hold(client, HeldBy::Budget);
    Ok(Admission::Postponed(HeldBy::Budget))
}

/// The clients that may go on by now, in the order of their places. Whose turn comes while a script stands still is told that it
/// is busy, as who was paused till then is, and who sends something then.
pub fn take_due(state: &mut State, now_ns: u64) -> Vec<ClientKey> {
    let mut keys = Vec::new();
    while let Some((_, name)) = state.budgets.due.first().filter(|(at, _)| *at <= now_ns) {
        let name = Rc::clone(name);
        state.budgets.set_due(&name, None);
        let user = state.users.find(&name);
        // Whoever would rather be told is told, and a user that is gone has taken its clients along.
        let bound = user.filter(|user| user.has_budget() && !user.budget().throttle_error);
        let (ids, wait_ns) = match bound {
            None => (state.budgets.let_go(&name, usize::MAX, |_| true), 0),
            Some(user) => let_go_of(&mut state.budgets, user, &name, now_ns),
        };
        let is_asked = (state.budgets.lines.get(&name)).is_some_and(|line| line.let_go > 0);
        if !is_asked {
            let due_ns = now_ns.saturating_add(wait_ns.max(1));
            state.budgets.set_due(&name, Some(due_ns));
        }
        for id in ids {
            match state.clients.by_id(id).filter(|key| is_held(state, *key)) {
                Some(key) => keys.push(key),
                None => state.budgets.leave(id),
            }
        }
    }
    keys
}

/// Lets as many of a user's clients go on as there is something for; and how long the others wait, if there is nothing.
fn let_go_of(budgets: &mut Budgets, user: &User, name: &Name, now_ns: u64) -> (Vec<u64>, u64) {
    let (budget, usage) = (user.budget(), user.usage());
    if usage.is_over_memory(budget) {
        // They are told.
        let is_late = |since_ns: u64| now_ns.saturating_sub(since_ns) >= PATIENCE_NS;
        let ids = budgets.let_go(name, LET_GO_MOST, is_late);
        return (ids, MEMORY_WAIT_NS);
    }
    let wait_ns = usage.wait_ns(budget, now_ns);
    if wait_ns > 0 {
        return (Vec::new(), wait_ns);
    }
    let has_gone = budgets.lines.get(name).map_or(0, |line| line.let_go);
    let room = usize::try_from(usage.commands_left(budget)).unwrap_or(usize::MAX);
    let most = room.min(LET_GO_MOST).saturating_sub(has_gone);
    (budgets.let_go(name, most, |_| true), 0)
}

fn is_held(state: &State, key: ClientKey) -> bool {
    let by_budget = |client: &Client| {
        let blocked = &client.session.blocked;
        let is_held = matches!(
            blocked,
            Some(Blocked::Held {
                by: HeldBy::Budget,
                ..
            })
        );
        is_held && client.connection().is_open()
    };
    state.clients.get(key).is_some_and(by_budget)
}

/// Says whose commands run from here on, and charges what those before have taken; whose these were.
#[inline]
pub fn set_paying(state: &mut State, next: Option<ClientKey>) -> Option<ClientKey> {
    settle(state);
    let commands = next.and_then(|key| state.clients.get(key));
    state.budgets.meter.commands = commands.map_or(0, |client| client.session.commands);
    std::mem::replace(&mut state.budgets.meter.client, next)
}

/// Charges what the meter shows to whoever its client is.
#[inline]
fn settle(state: &mut State) {
    let (meter, now_ns) = (&mut state.budgets.meter, state.now.mono_ns);
    let since_ns = std::mem::replace(&mut meter.since_ns, now_ns);
    let called = std::mem::take(&mut meter.called);
    let client = meter.client.and_then(|key| state.clients.get(key));
    let Some(session) = client.map(|client| &client.session) else {
        return;
    };
    let before = std::mem::replace(&mut meter.commands, session.commands);
    let ran = Ran {
        cpu_ns: now_ns.saturating_sub(since_ns),
        commands: session.commands.saturating_sub(before),
        called,
    };
    if let Some(user) = session.identity.user() {
        user.usage().charge(user.budget(), ran);
    }
}

/// Has a client be somebody else from here on. What it has taken so far is charged to who it was.
pub(crate) fn become_user(state: &mut State, key: ClientKey, identity: Identity) {
    if state.budgets.meter.client == Some(key) {
        settle(state);
    }
    if let Some(client) = state.clients.get_mut(key) {
        client.session.identity = identity;
    }
}

/// Adds up what the clients of users with a bound on memory have the server hold. O(clients) where there is such a user.
pub fn measure_memory(state: &State) {
    let has_bound = |user: &User| user.budget().memory_bytes.is_some();
    if !state.users.iter().any(|user| has_bound(user)) {
        return;
    }
    for user in state.users.iter() {
        user.usage().set_memory_bytes(0);
    }
    for (_, client) in state.clients.iter() {
        if let Some(user) = client.session.identity.user()
            && has_bound(user)
        {
            let usage = user.usage();
            let bytes = memory_of(client) as u64;
            usage.set_memory_bytes(usage.memory_bytes().saturating_add(bytes));
        }
    }
}

/// What a client has the server hold for it, bytes: nothing for one that only is there. What a held one has sent is not
/// counted: it goes only when it is run, and it would not run for being there.
fn memory_of(client: &Client) -> usize {
    let mut bytes = super::client_line::memory(client).saturating_sub(size_of::<Client>());
    if matches!(client.session.blocked, Some(Blocked::Held { .. })) {
        bytes = bytes.saturating_sub(client.connection().query().memory_bytes());
    }
    bytes
}
