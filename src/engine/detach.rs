//! What is undone when a client goes.

use super::{State, blocking, monitor, pubsub, replication, script, tracking, transactions};
use crate::clients::ClientKey;
use crate::observe::Executed;

/// Takes a client that is being closed out of all that it listens to, watches and waits for: from here on it counts
/// nowhere, though its slot is its own until the end of the turn. The one whose script runs stays as it is.
pub fn detach(state: &mut State, key: ClientKey) {
    // Its script answers it, and its EXEC goes on, when the script ends: both need the session as it is.
    if script::holds(state, key) {
        return;
    }
    if state.observe.executed.is_some()
        && let Some(client) = state.clients.get(key)
    {
        let client = client.session.id;
        state.observe.executed(|| Executed::Gone { client });
    }
    // In no particular order: none of these looks at what another one undoes.
    transactions::unwatch(state, key);
    blocking::end(state, key);
    if let Some(client) = state.clients.get(key) {
        state.budgets.leave(client.session.id);
    }
    pubsub::leave(state, key);
    tracking::disable(state, key);
    monitor::end(state, key);
    replication::primary::gone(state, key);
    replication::replica::client_gone(state, key);
}
