//! Whether a command's keys are this node's to serve, and which node is named if they are not.
//!
//! In: a command, or the queue of an EXEC, with its keys or sharded channels. Out: their slot, or the error that sends the client
//! elsewhere. Mirrors `getNodeByQuery` and `clusterRedirectClient` of Redis's cluster.c, and `scriptVerifyClusterState` of its
//! script.c.

use crate::clients::{Address, Asking, ClientKey, Connection};
use crate::cluster::{Cluster, Node, NodeKey};
use crate::config::{PreferredEndpoint, Settings};
use crate::engine::keyspecs::routed_by;
use crate::engine::permitted::Asks;
use crate::engine::{Command, CommandError, CommandId, State, blocking, flags};
use crate::keyspace::{Clock, Keyspace};
use crate::resp::Args;
use crate::structures::slots::slot_of;

/// Why a command is not run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// Its keys are of several slots.
    CrossSlot,
    /// It has several keys, and some of them are on the other node of a slot that is being moved.
    Unstable,
    /// The cluster takes no commands on keys.
    Down,
    /// It takes none that write.
    DownForWrites,
    /// The slot is nobody's.
    Unbound,
    /// Another node has the slot.
    Moved(u16, NodeKey),
    /// Another node has the key, or would have it: the slot is on its way there.
    Ask(u16, NodeKey),
}

impl Refusal {
    /// What is answered to a client. `tls`: it speaks TLS.
    fn error(self, cluster: &Cluster, settings: &Settings, tls: bool) -> CommandError {
        let text = match self {
            Refusal::CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot",
            Refusal::Unstable => "TRYAGAIN Multiple keys request during rehashing of slot",
            Refusal::Down => "CLUSTERDOWN The cluster is down",
            Refusal::DownForWrites => {
                "CLUSTERDOWN The cluster is down and only accepts read commands"
            }
            Refusal::Unbound => "CLUSTERDOWN Hash slot not served",
            Refusal::Moved(slot, key) => {
                return pointer("MOVED", slot, cluster.node(key), settings, tls);
            }
            Refusal::Ask(slot, key) => {
                return pointer("ASK", slot, cluster.node(key), settings, tls);
            }
        };
        CommandError::NotServed(text.into())
    }
    /// What is told to a script.
    fn script_error(self, command: &str) -> CommandError {
        let text = match self {
            Refusal::CrossSlot => {
                return CommandError::text_owned(format!(
                    "ERR Command '{command}' in script attempted to access keys that don't hash to the same slot"
                ));
            }
            Refusal::Unstable => {
                return CommandError::text_owned(format!(
                    "ERR Unable to execute command '{command}' in script because undeclared keys were accessed during \
                     rehashing of the slot"
                ));
            }
            Refusal::Down => "ERR Script attempted to execute a command while the cluster is down",
            Refusal::DownForWrites => {
                "ERR Script attempted to execute a write command while the cluster is down and readonly"
            }
            Refusal::Unbound => "ERR Script attempted to access a slot not served",
            Refusal::Moved(..) | Refusal::Ask(..) => {
                "ERR Script attempted to access a non local key in a cluster node"
            }
        };
        CommandError::fixed(text)
    }
}

/// An error that names a node.
fn pointer(
    code: &str,
    slot: u16,
    node: Option<&Node>,
    settings: &Settings,
    tls: bool,
) -> CommandError {
    let name = node.map_or("", |node| endpoint(node, settings));
    let port = node.map_or(0, |node| node.client_port(tls));
    CommandError::NotServed(format!("{code} {slot} {name}:{port}").into())
}

/// What a node is called, as `cluster-preferred-endpoint-type` says; nothing where that is to be unknown.
pub fn endpoint<'a>(node: &'a Node, settings: &Settings) -> &'a str {
    match settings.cluster.endpoint {
        PreferredEndpoint::Ip => &node.ip,
        PreferredEndpoint::Hostname if node.hostname.is_empty() => "?",
        PreferredEndpoint::Hostname => &node.hostname,
        PreferredEndpoint::Unknown => "",
    }
}

/// Whether a client is told ports for TLS: it came over TLS itself, which its own side's port shows. Who has no socket is told
/// what `tls-cluster` says.
pub fn speaks_tls(connection: &Connection, settings: &Settings) -> bool {
    if connection.token().is_none() {
        return settings.tls.cluster;
    }
    match connection.local_address() {
        Address::Inet(address) => settings.tls.port != 0 && address.port() == settings.tls.port,
        _ => false,
    }
}

/// What of a call decides on its way, besides its keys.
#[derive(Clone, Copy)]
struct Call<'a> {
    command: &'a Command,
    /// Flags of the call, those of its queue among them.
    all: u32,
    /// READONLY was sent.
    readonly: bool,
    /// ASKING was sent.
    asking: bool,
}

/// The keys of commands as they are looked at one after the other.
#[derive(Default)]
struct Keys<'a> {
    first: Option<&'a [u8]>,
    slot: u16,
    owner: Option<NodeKey>,
    to: Option<NodeKey>,
    is_importing: bool,
    has_several: bool,
    missing: usize,
    existing: usize,
    /// A command of the sharded Pub/Sub is among them.
    is_pubsub: bool,
}

impl<'a> Keys<'a> {
    /// Looks at the keys of one more command.
    fn add(
        &mut self,
        (cluster, keyspace, now): (&Cluster, &mut Keyspace, Clock),
        command: &Command,
        args: Args<'a>,
    ) -> Result<(), Refusal> {
        self.is_pubsub |= matches!(command.spec.name, "ssubscribe" | "spublish");
        if let Asks::Key { at, .. } = command.asks {
            return match args.get(usize::from(at)) {
                Some(key) => self.add_key((cluster, keyspace, now), key),
                None => Ok(()),
            };
        }
        for at in routed_by(command.spec, args) {
            let key = args.get(at).unwrap_or_default();
            self.add_key((cluster, keyspace, now), key)?;
        }
        Ok(())
    }
    fn add_key(
        &mut self,
        (cluster, keyspace, now): (&Cluster, &mut Keyspace, Clock),
        key: &'a [u8],
    ) -> Result<(), Refusal> {
        let slot = slot_of(key);
        match self.first {
            None => {
                let owner = cluster.owner(slot).ok_or(Refusal::Unbound)?;
                (self.first, self.slot, self.owner) = (Some(key), slot, Some(owner));
                if owner == cluster.my_key() {
                    self.to = cluster.migrating_to(slot);
                }
                self.is_importing = self.to.is_none() && cluster.importing_from(slot).is_some();
            }
            Some(_) if self.slot != slot => return Err(Refusal::CrossSlot),
            Some(first) => self.has_several |= self.is_importing && first != key,
        }
        // Of channels it is not asked: they stay with the old node until the slot is the new one's.
        if (self.to.is_some() || self.is_importing) && !self.is_pubsub {
            match keyspace.db(0, now, true).again(key) {
                Some(_) => self.existing += 1,
                None => self.missing += 1,
            }
        }
        Ok(())
    }
    /// Whether the commands with these keys run here; their slot, if there are any.
    fn decide(
        &self,
        cluster: &Cluster,
        call: &Call<'_>,
        settings: &Settings,
    ) -> Result<Option<u16>, Refusal> {
        let (Some(owner), slot) = (self.owner, self.slot) else {
            return Ok(None);
        };
        let writes = call.all & flags::WRITE != 0;
        if !cluster.is_ok() {
            if self.is_pubsub {
                if !settings.cluster.allow_pubsubshard_when_down {
                    return Err(Refusal::Down);
                }
            } else if !settings.cluster.allow_reads_when_down {
                return Err(Refusal::Down);
            } else if writes {
                return Err(Refusal::DownForWrites);
            }
        }
        let is_open = self.to.is_some() || self.is_importing;
        if is_open && call.command.spec.name == "migrate" {
            // It is what moves keys from one node to the other.
            return Ok(Some(slot));
        }
        if let Some(to) = self.to.filter(|_| self.missing > 0) {
            return match self.existing {
                0 => Err(Refusal::Ask(slot, to)),
                _ => Err(Refusal::Unstable),
            };
        }
        if self.is_importing && (call.asking || call.all & flags::ASKING != 0) {
            if self.has_several && self.missing > 0 {
                return Err(Refusal::Unstable);
            }
            return Ok(Some(slot));
        }
        let reads_here = (call.readonly || self.is_pubsub) && !writes;
        if reads_here && cluster.myself().is_replica() && cluster.my_primary() == Some(owner) {
            return Ok(Some(slot));
        }
        match owner == cluster.my_key() {
            true => Ok(Some(slot)),
            false => Err(Refusal::Moved(slot, owner)),
        }
    }
}

/// Whether a command of a connection runs here; of EXEC it is asked for all that is queued.
#[cold]
pub(in crate::engine) fn admit(
    state: &mut State,
    client: ClientKey,
    id: CommandId,
    all: u32,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let State {
        cluster: Some(cluster),
        keyspace,
        clients,
        table,
        config,
        now,
        ..
    } = state
    else {
        return Ok(());
    };
    let settings = config.settings();
    let Some(caller) = clients.get(client) else {
        return Ok(());
    };
    let command = table.get(id);
    let call = Call {
        command,
        all,
        readonly: caller.session.readonly,
        asking: caller.session.asking == Asking::Holds,
    };
    let mut keys = Keys::default();
    let mut look = || {
        if all & flags::RUNS_QUEUE == 0 {
            keys.add((cluster, keyspace, *now), command, args)?;
        } else if let Some(transaction) = &caller.session.transaction {
            for (id, request) in &transaction.queue {
                let command = table.get(CommandId(*id));
                keys.add((cluster, keyspace, *now), command, request.args())?;
            }
        }
        keys.decide(cluster, &call, settings)
    };
    let slot = look().map_err(|refusal| {
        let tls = speaks_tls(caller.connection(), settings);
        refusal.error(cluster, settings, tls)
    });
    if let Some(caller) = clients.get_mut(client) {
        caller.session.slot = slot.as_ref().ok().copied().flatten();
    }
    slot.map(|_| ())
}

/// Whether a command of a script runs here. What its caller has said of READONLY and ASKING holds for it.
#[cold]
pub(in crate::engine) fn admit_from_script(
    state: &mut State,
    id: CommandId,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let State {
        cluster: Some(cluster),
        keyspace,
        clients,
        table,
        config,
        now,
        scripting,
        ..
    } = state
    else {
        return Ok(());
    };
    let Some(running) = scripting.running.as_deref_mut() else {
        return Ok(());
    };
    if running.is_trusted {
        return Ok(());
    }
    let command = table.get(id);
    let caller = clients.get(running.caller).map(|caller| &caller.session);
    let call = Call {
        command,
        all: command.flags,
        readonly: caller.is_some_and(|session| session.readonly),
        asking: caller.is_some_and(|session| session.asking == Asking::Holds),
    };
    let mut keys = Keys::default();
    let slot = keys
        .add((cluster, keyspace, *now), command, args)
        .and_then(|()| keys.decide(cluster, &call, config.settings()))
        .map_err(|refusal| refusal.script_error(&command.full_name))?;
    if let Some(slot) = slot.filter(|_| !running.allow_cross_slot)
        && *running.slot.get_or_insert(slot) != slot
    {
        return Err(CommandError::fixed(
            "ERR Script attempted to access keys that do not hash to the same slot",
        ));
    }
    Ok(())
}

/// Answers the clients that wait for keys which this node does not serve any more: nothing would ever come.
pub fn redirect_blocked(state: &mut State) {
    let Some(cluster) = state.cluster.as_deref() else {
        return;
    };
    let mut waiting: Vec<(u64, Refusal)> = Vec::new();
    for (key, clients) in state.keyspace.waiting() {
        let Some(refusal) = refuses_to_wait(cluster, key) else {
            continue;
        };
        waiting.extend(clients.map(|client| (client, refusal)));
    }
    // In an order that chance does not decide, and each client once: all its keys are of one slot.
    waiting.sort_unstable_by_key(|(client, _)| *client);
    waiting.dedup_by_key(|(client, _)| *client);
    for (id, refusal) in waiting {
        redirect_one(state, id, refusal);
    }
}

/// Why nobody should wait for a key.
fn refuses_to_wait(cluster: &Cluster, key: &[u8]) -> Option<Refusal> {
    // Also where reads are allowed: it takes a write to end the wait.
    if !cluster.is_ok() {
        return Some(Refusal::Down);
    }
    let slot = slot_of(key);
    let owner = cluster.owner(slot);
    if owner == Some(cluster.my_key()) || cluster.importing_from(slot).is_some() {
        return None;
    }
    Some(owner.map_or(Refusal::Unbound, |owner| Refusal::Moved(slot, owner)))
}

fn redirect_one(state: &mut State, id: u64, refusal: Refusal) {
    let (Some(cluster), Some(key)) = (state.cluster.as_deref(), state.clients.by_id(id)) else {
        return;
    };
    let Some(client) = state.clients.get(key) else {
        return;
    };
    let Some(waiting) = client.session.waiting() else {
        return;
    };
    if let Refusal::Moved(_, owner) = refusal {
        let writes = state.table.get(CommandId(waiting.command)).flags & flags::WRITE != 0;
        let is_ours = cluster.myself().is_replica() && cluster.my_primary() == Some(owner);
        if client.session.readonly && !writes && is_ours {
            return;
        }
    }
    let settings = state.config.settings();
    let error = refusal.error(cluster, settings, speaks_tls(client.connection(), settings));
    blocking::unblock(state, key, Some(&error));
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
