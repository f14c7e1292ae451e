//! Budgets of users: who is over one waits, and nobody else does.
//!
//! In: a command of a user with a budget. Out: that it runs, is held until there is something in the budget again, or is refused
//! (`throttle-error`). What a client's commands have taken is charged behind each batch of them, to every user, so that GETUSER,
//! INFO and /metrics tell it. Clients of one user that wait go on in the order in which they came to, and each runs as much as
//! its share of a turn is: none of them starves.

use super::admit::Admission;
use super::{CommandError, State, flags};
use crate::acl::User;
use crate::clients::{ClientKey, HeldBy};
use std::collections::BTreeSet;

/// Clients that wait for their users' budgets.
#[derive(Debug, Default)]
pub struct Budgets {
    /// When they may try again (monotonic ns), and their ids.
    waiting: BTreeSet<(u64, u64)>,
}

impl Budgets {
    /// When the first of those who wait may try again, monotonic ns.
    pub fn next_ns(&self) -> Option<u64> {
        self.waiting.first().map(|(at_ns, _)| *at_ns)
    }
    /// The ids of the clients that may try again by now, in the order of their times.
    pub fn take_due(&mut self, now_ns: u64) -> Vec<u64> {
        let later = self.waiting.split_off(&(now_ns.saturating_add(1), 0));
        let due = std::mem::replace(&mut self.waiting, later);
        due.into_iter().map(|(_, id)| id).collect()
    }
}

const THROTTLED: CommandError =
    CommandError::fixed("THROTTLED The budget of this user is used up, try again later");

/// Takes what a client's command needs out of its user's budget, if that has one. `call_flags`: those of the call; `queued`:
/// commands that it runs for EXEC. What is queued is counted when it is run, and who wants to become somebody else may.
#[cold]
pub(super) fn admit(
    state: &mut State,
    client: ClientKey,
    call_flags: u32,
    queued: usize,
) -> Result<Admission, CommandError> {
    let Some(caller) = state.clients.get(client) else {
        return Ok(Admission::Runs);
    };
    let is_queued = caller.session.in_multi() && call_flags & flags::RUNS_QUEUE == 0;
    let user = caller.session.identity.restricted();
    let Some(user) = user.filter(|user| user.has_budget()).cloned() else {
        return Ok(Admission::Runs);
    };
    if is_queued || call_flags & flags::NO_AUTH != 0 {
        return Ok(Admission::Runs);
    }
    let (now_ns, commands) = (state.now.mono_ns, queued as u64 + 1);
    let Err(wait_ns) = user.usage().take(user.budget(), commands, now_ns) else {
        return Ok(Admission::Runs);
    };
    if user.budget().throttle_error {
        user.usage().note_refusal();
        return Err(THROTTLED);
    }
    user.usage().note_wait();
    let at_ns = now_ns.saturating_add(wait_ns);
    state.budgets.waiting.insert((at_ns, caller.session.id));
    state.clients.hold(client, HeldBy::Budget);
    Ok(Admission::Postponed(HeldBy::Budget))
}

/// Charges what a client's commands have taken, to its user.
#[inline]
pub fn charge(state: &State, client: ClientKey, cpu_ns: u64, commands: u64) {
    if let Some(client) = state.clients.get(client)
        && let Some(user) = client.session.identity.user()
    {
        user.usage().charge(cpu_ns, commands);
    }
}

/// Adds up what the clients of users with a bound on memory hold. O(clients) where there is such a user.
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
            let bytes = super::client_line::memory(client) as u64;
            let usage = user.usage();
            usage.set_memory_bytes(usage.memory_bytes().saturating_add(bytes));
        }
    }
}
