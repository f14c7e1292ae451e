//! What is known of each client.
//!
//! A [`Client`] is a [`Session`] (who asks, and what it is doing), a reply buffer, and a [`Connection`] (its socket, and
//! what lies between it and the commands). Commands change sessions and answer into the buffer; connections are the
//! server's. Scripts and the append-only file's loader are clients too, without a socket, in the same slab; [`ClientKey`]
//! is the index, and a freed slot is reused only after the turn.
//!
//! | file | what |
//! | --- | --- |
//! | `session` | who asks, and what it is doing |
//! | `identity` | users, and who of them a client is |
//! | `blocked` | why its commands do not run |
//! | `transaction` | MULTI and WATCH |
//! | `connection` | its socket |
//! | `hosts` | what is counted by the addresses that they come from |
//! | `served_batch` | what the recorder knows of its commands |
//! | `subscriptions`, `caching` | what it listens to, how its keys are tracked |
//!
//! Mirrors the `client` struct of Redis, without its flag soup.

mod blocked;
mod caching;
mod connection;
pub mod hosts;
mod identity;
mod served_batch;
mod session;
mod subscriptions;
mod transaction;

pub use blocked::*;
pub use caching::*;
pub use connection::{Address, Connection};
pub use identity::*;
pub use served_batch::ServedBatch;
pub use session::*;
pub use subscriptions::*;
pub use transaction::*;

use crate::resp::{OwnedRequest, Protocol, PushFrame, Reply};
use connection::Ending;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bytes of waiting output from which a push has the client's limits looked at.
const PUSH_CHECK: usize = 16 * 1024;
/// Output below this is over no limit, bytes: what Redis gives a client beyond what it counts.
pub const UNCOUNTED_OUTPUT: usize = 16 * 1024 + 1024;

/// Index of a client in the slab. Valid until the end of the turn in which the client was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(pub usize);

/// One client: a connection, or something that acts as one.
#[derive(Default)]
#[repr(C)]
pub struct Client {
    /// Who asks.
    pub session: Session,
    /// Where the answers go.
    pub reply: Reply,
    connection: Connection,
    /// What it listens to; none for most clients.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// How its keys are tracked; none for most clients.
    pub caching: Option<Box<CachingMode>>,
}

impl Client {
    /// A client of this connection.
    pub fn connected(connection: Connection, identity: Identity) -> Client {
        let mut client = Client {
            connection,
            ..Client::default()
        };
        client.session.was_authenticated = !identity.is_stranger();
        client.session.identity = identity;
        client
    }
    /// A client without a socket.
    pub fn without_socket(kind: ClientKind, identity: Identity) -> Client {
        let mut client = Client::connected(Connection::none(), identity);
        client.session.kind = kind;
        client
    }
    /// Its connection, to look at.
    #[inline]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
    /// Its connection, to change: for the server alone, which reads and writes it.
    #[inline]
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
    /// Whether its requests may run: it is not on its way out, and nothing holds it back.
    #[inline]
    pub fn is_served(&self) -> bool {
        self.connection.is_open() && self.session.blocked.is_none()
    }
    /// Switches the dialect, from the next value on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.session.set_protocol(protocol, &mut self.reply);
    }
    /// How many subscriptions of a kind it has.
    pub fn subscribed(&self, kind: Listening) -> usize {
        self.subscriptions.as_ref().map_or(0, |it| it.count(kind))
    }
}

/// All clients.
#[derive(Default)]
pub struct Clients {
    slab: Slab<Client>,
    by_id: BTreeMap<u64, ClientKey>,
    next_id: u64,
    /// Connections (not scripts) that are open.
    pub connected: usize,
    /// Those of them that came from `priority-subnets`.
    pub priority: usize,
    /// Connections by host.
    pub by_host: hosts::Connections,
    /// Keys of clients with replies to write before the loop sleeps; a client is in it at most once.
    pending_write: Vec<ClientKey>,
    /// Keys of clients to be closed at the end of the turn; a client is in it at most once.
    to_close: Vec<ClientKey>,
    /// Keys of clients that waited and may go on: their input is looked at again.
    pub unblocked: Vec<ClientKey>,
    /// Keys of clients that were sent what they did not ask for, with much waiting to be written: their output limits
    /// are looked at after the command.
    pushed: Vec<ClientKey>,
    /// Clients whose command waits.
    pub waiting: usize,
    /// Those of them that wait for their databases to be freed (FLUSHALL), in the order of their bells.
    pub freeing: VecDeque<Freeing>,
    /// How often a client was held; the order in which those that are held go on.
    holds: u64,
    /// How many of `to_close`, from its beginning, have left all that they listened to, watched and waited for.
    detached: usize,
    /// Output buffers stay with their clients when they are empty (DEBUG REPLYBUFFER RESIZING 0).
    pub keep_buffers: bool,
    /// Somebody wants to know what clients hold (`maxmemory-clients`).
    pub counts_memory: bool,
    /// What all of them hold that are counted, bytes.
    pub counted_bytes: u64,
    /// Deadlines of those that do not wait for ever, with client ids.
    deadlines: BTreeSet<(u64, u64)>,
    /// Hard limits of output by class (normal, replica, pubsub), bytes; 0: none. A copy of the directive.
    pub hard_limits: [u64; 3],
    /// The client whose command runs: what is pushed to it comes after the answer.
    answering: Option<ClientKey>,
    /// What was pushed to it so far.
    deferred: Reply,
    /// The client that has half an answer: a script of its transaction stands still. No message may stand in the middle.
    halfway: Option<ClientKey>,
    /// What was pushed to that one so far.
    withheld: Reply,
}

impl Clients {
    /// Adds a client, giving it the next id (ids begin at 1 and never repeat).
    pub fn insert(&mut self, mut client: Client) -> ClientKey {
        self.next_id += 1;
        client.session.id = self.next_id;
        let key = ClientKey(self.slab.insert(client));
        self.by_id.insert(self.next_id, key);
        key
    }
    /// Adds a client that no list of clients shows: the one of scripts.
    pub fn insert_hidden(&mut self, client: Client) -> ClientKey {
        ClientKey(self.slab.insert(client))
    }
    /// Removes a client. Call it only at the end of a turn, or of the server, when all go: the lists of the turn hold its key
    /// until then, and a key names the next client that takes the slot. Whoever waits for a sync stays listed
    /// (`State::waits_for_acks`) and is looked at again before it is answered.
    pub fn remove(&mut self, key: ClientKey) -> Option<Client> {
        let client = self.slab.try_remove(key.0)?;
        self.by_id.remove(&client.session.id);
        self.counted_bytes -= client.connection.counted_bytes as u64;
        Some(client)
    }
    /// Says what a client holds now, for the sum.
    pub fn set_counted(&mut self, key: ClientKey, bytes: usize) {
        if let Some(client) = self.slab.get_mut(key.0) {
            let before = std::mem::replace(&mut client.connection.counted_bytes, bytes);
            self.counted_bytes += bytes as u64;
            self.counted_bytes -= before as u64;
        }
    }
    /// The client of a key.
    pub fn get(&self, key: ClientKey) -> Option<&Client> {
        self.slab.get(key.0)
    }
    /// The client of a key, to change.
    #[inline]
    pub fn get_mut(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.slab.get_mut(key.0)
    }
    /// The client with this id. One that is being closed has none any more.
    pub fn by_id(&self, id: u64) -> Option<ClientKey> {
        let key = self.by_id_or_closing(id)?;
        let client = self.slab.get(key.0)?;
        (!client.connection.is_closing()).then_some(key)
    }
    /// The client with this id, also when it is being closed.
    pub fn by_id_or_closing(&self, id: u64) -> Option<ClientKey> {
        self.by_id.get(&id).copied()
    }
    /// All clients in the order of their ids (the order of `CLIENT LIST`).
    pub fn iter(&self) -> impl Iterator<Item = (ClientKey, &Client)> {
        self.by_id
            .values()
            .filter_map(|key| Some((*key, self.slab.get(key.0)?)))
    }
    /// Keys of all clients in the order of their ids.
    pub fn keys(&self) -> Vec<ClientKey> {
        self.by_id.values().copied().collect()
    }
    /// Keys of up to `most` clients with ids above `id`, in the order of their ids.
    pub fn keys_after(&self, id: u64, most: usize) -> Vec<ClientKey> {
        self.by_id
            .range(id + 1..)
            .take(most)
            .map(|(_, key)| *key)
            .collect()
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
    /// Has a client's command wait.
    pub fn begin_wait(&mut self, key: ClientKey, command: BlockedCommand) {
        let Some(client) = self.slab.get_mut(key.0) else {
            return;
        };
        if let Some(deadline) = command.deadline_ns {
            self.deadlines.insert((deadline, client.session.id));
        }
        client.session.blocked = Some(Blocked::Command(Box::new(command)));
        self.waiting += 1;
    }
    /// Ends the waiting of a client's command; what it waited with.
    pub fn end_wait(&mut self, key: ClientKey) -> Option<Box<BlockedCommand>> {
        let client = self.slab.get_mut(key.0)?;
        let command = match client.session.blocked.take() {
            Some(Blocked::Command(command)) => command,
            other => {
                client.session.blocked = other;
                return None;
            }
        };
        if let Some(deadline) = command.deadline_ns {
            self.deadlines.remove(&(deadline, client.session.id));
        }
        self.waiting -= 1;
        self.unblocked.push(key);
        Some(command)
    }
    /// Has a client whose command waits with a deadline wait until another time.
    pub fn change_deadline(&mut self, id: u64, deadline_ns: u64) {
        let Some(key) = self.by_id_or_closing(id) else {
            return;
        };
        let waiting = self.get_mut(key).and_then(|it| it.session.waiting_mut());
        if let Some(deadline) = waiting.and_then(|it| it.deadline_ns.as_mut()) {
            let before = std::mem::replace(deadline, deadline_ns);
            self.deadlines.remove(&(before, id));
            self.deadlines.insert((deadline_ns, id));
        }
    }
    /// Holds a client's commands back, behind those of the clients that are held already. One whose command
    /// waits is held when it has waited ([`Clients::hold_request`]): it has to leave what it waits for first.
    pub fn hold(&mut self, key: ClientKey, by: HeldBy) {
        if let Some(client) = self.slab.get_mut(key.0)
            && client.session.waiting().is_none()
        {
            self.holds += 1;
            let place = self.holds;
            client.session.blocked = Some(Blocked::Held { by, place });
        }
    }
    /// Holds a client back with a request that is the first to run when it goes on.
    pub fn hold_request(&mut self, key: ClientKey, request: OwnedRequest, by: HeldBy) {
        if let Some(client) = self.slab.get_mut(key.0) {
            let query = client.connection.query_mut();
            query.parsed.push_front(request);
            query.stalled = true;
        }
        self.hold(key, by);
    }
    /// It is a client's turn to try the password of this request, which is the first that runs when it goes on.
    pub fn take_turn(&mut self, key: ClientKey, request: OwnedRequest) {
        if let Some(client) = self.slab.get_mut(key.0) {
            client.session.has_turn = true;
            let query = client.connection.query_mut();
            query.parsed.push_front(request);
            query.stalled = true;
        }
    }
    /// Keys of all clients that are held back, in the order in which they came to be.
    pub fn held(&self) -> Vec<ClientKey> {
        let place = |client: &Client| match client.session.blocked {
            Some(Blocked::Held { place, .. }) => Some(place),
            _ => None,
        };
        let clients = self.slab.iter();
        let mut held: Vec<(u64, ClientKey)> = clients
            .filter_map(|(index, client)| Some((place(client)?, ClientKey(index))))
            .collect();
        held.sort_unstable();
        held.into_iter().map(|(_, key)| key).collect()
    }
    /// The earliest deadline of a client that waits: monotonic ns, client id.
    pub fn next_deadline(&self) -> Option<(u64, u64)> {
        self.deadlines.first().copied()
    }
    /// The id of the next client whose deadline is over at `now_ns`; the deadline is forgotten.
    pub fn take_overdue(&mut self, now_ns: u64) -> Option<u64> {
        let (_, id) = self
            .deadlines
            .first()
            .filter(|(at_ns, _)| *at_ns <= now_ns)?;
        let id = *id;
        self.deadlines.pop_first();
        Some(id)
    }
    /// Clients that wait with a deadline.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }
    /// Marks a client to be closed at the end of the turn, now (`after_reply` false) or when its replies are written.
    pub fn close(&mut self, key: ClientKey, after_reply: bool) {
        let Some(client) = self.slab.get_mut(key.0) else {
            return;
        };
        let ending = &mut client.connection.ending;
        if *ending == Ending::Now {
            return;
        }
        if after_reply && !client.reply.output().is_empty() {
            *ending = Ending::AfterReplies;
            return;
        }
        *ending = Ending::Now;
        self.to_close.push(key);
    }
    /// Whether clients are to be closed at the end of the turn.
    pub fn has_closing(&self) -> bool {
        !self.to_close.is_empty()
    }
    /// The next client that is to be closed and still listens, watches or waits; each is told of once.
    pub fn next_to_detach(&mut self) -> Option<ClientKey> {
        let key = self.to_close.get(self.detached).copied()?;
        self.detached += 1;
        Some(key)
    }
    /// Takes a client off the list of those that are to be closed.
    pub fn pop_closing(&mut self) -> Option<ClientKey> {
        self.detached = 0;
        self.to_close.pop()
    }
    /// Puts a client back that cannot be closed yet.
    pub fn close_later(&mut self, key: ClientKey) {
        self.to_close.push(key);
    }
    /// Writes something to a client that did not ask for it (a message, an invalidation, a line of MONITOR), even where
    /// it has switched its replies off. To the client whose command runs it is sent after the answer, as by Redis since
    /// 7.2. Nothing is written to a client that is being closed, nor to one that is over its hard limit already, which is
    /// closed after the command: its memory stays bounded however much one command, transaction or script sends.
    pub fn push(&mut self, key: ClientKey, write: impl FnOnce(&mut Reply)) {
        let Some(client) = self.slab.get_mut(key.0) else {
            return;
        };
        if !client.connection.is_open() {
            return;
        }
        let mut waiting = client.reply.output().len();
        let aside = match Some(key) {
            key if self.halfway == key => Some(&mut self.withheld),
            key if self.answering == key => Some(&mut self.deferred),
            _ => None,
        };
        let reply = match aside {
            Some(aside) => {
                waiting = waiting.saturating_add(aside.output().len());
                aside.set_protocol(client.reply.protocol());
                aside
            }
            None => &mut client.reply,
        };
        if waiting > PUSH_CHECK {
            if !std::mem::replace(&mut client.connection.pushed, true) {
                self.pushed.push(key);
            }
            let class = client.session.kind.limit_class();
            let limit = class.map_or(0, |class| self.hard_limits[class]);
            if limit > 0
                && waiting > UNCOUNTED_OUTPUT
                && reply.output().memory_bytes() as u64 >= limit
            {
                return;
            }
        }
        let discards = reply.is_discarding();
        reply.set_discard(false);
        write(reply);
        reply.set_discard(discards);
        if !std::mem::replace(&mut client.connection.write_pending, true) {
            self.pending_write.push(key);
        }
    }
    /// [`Clients::push`] of a message that was encoded once for all of its receivers.
    #[inline]
    pub fn push_frame(&mut self, key: ClientKey, frame: &PushFrame) {
        self.push(key, |reply| reply.frame(frame));
    }
    /// Says whose command runs from here on; whose ran until now. The messages that came for that one meanwhile are put
    /// behind its answer.
    pub fn set_answering(&mut self, next: Option<ClientKey>) -> Option<ClientKey> {
        let before = std::mem::replace(&mut self.answering, next);
        if !self.deferred.output().is_empty() {
            let target = before.and_then(|key| self.slab.get_mut(key.0));
            deliver_withheld(&mut self.deferred, target.map(|client| &mut client.reply));
        }
        before
    }
    /// A client has half of its answer, and the loop turns before the other half comes: until [`Clients::reply_complete`] what is
    /// pushed to it is kept. There is one such client at most, because one script runs at most.
    pub fn reply_begun(&mut self, key: ClientKey) {
        self.halfway = Some(key);
        if self.answering == self.halfway {
            deliver_withheld(&mut self.deferred, Some(&mut self.withheld));
        }
    }
    /// The other half has come: what was kept follows it.
    pub fn reply_complete(&mut self, key: ClientKey) {
        if self.halfway == Some(key) {
            self.halfway = None;
            let target = self.slab.get_mut(key.0);
            deliver_withheld(&mut self.withheld, target.map(|client| &mut client.reply));
        }
    }
    /// Marks a client as having replies to write.
    #[inline]
    pub fn mark_pending_write(&mut self, key: ClientKey) {
        if let Some(client) = self.slab.get_mut(key.0)
            && !std::mem::replace(&mut client.connection.write_pending, true)
        {
            self.pending_write.push(key);
        }
    }
    /// Whether somebody has replies to write.
    pub fn has_pending_write(&self) -> bool {
        !self.pending_write.is_empty()
    }
    /// Takes the list of clients with replies to write. Give it back by [`Clients::end_writing`], for its room.
    pub fn begin_writing(&mut self) -> Vec<ClientKey> {
        std::mem::take(&mut self.pending_write)
    }
    /// A client's replies are written now; whether it is still there.
    pub fn is_written_now(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.slab.get_mut(key.0) else {
            return false;
        };
        client.connection.write_pending = false;
        true
    }
    /// Ends the writing of replies; who was marked meanwhile is written to next time.
    pub fn end_writing(&mut self, mut written: Vec<ClientKey>) {
        written.clear();
        written.append(&mut self.pending_write);
        self.pending_write = written;
    }
    /// The next client whose output limits are to be looked at because of what it was sent.
    #[inline]
    pub fn pop_pushed(&mut self) -> Option<ClientKey> {
        let key = self.pushed.pop()?;
        if let Some(client) = self.slab.get_mut(key.0) {
            client.connection.pushed = false;
        }
        Some(key)
    }
}

/// Puts what was kept aside behind what its client has, if that is still there.
#[cold]
fn deliver_withheld(aside: &mut Reply, target: Option<&mut Reply>) {
    if let Some(target) = target {
        target.output_mut().append(aside.output_mut());
    }
    aside.output_mut().clear();
    aside.set_protocol(Protocol::Resp2);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each connection pays for it, also where it does nothing.
    #[test]
    fn an_idle_client_stays_small() {
        let sizes = [
            size_of::<Client>(),
            size_of::<Session>(),
            size_of::<Connection>(),
            size_of::<Option<Blocked>>(),
            size_of::<Identity>(),
        ];
        assert!(sizes[0] <= 656, "{sizes:?}");
        assert_eq!(sizes[3..], [16, 8], "{sizes:?}");
    }

    /// A client whose command waits for a key must leave the key's queue before it is held: what it waits with is not to be
    /// overwritten.
    #[test]
    fn a_client_has_one_reason_to_wait() {
        let mut clients = Clients::default();
        let key = clients.insert(Client::default());
        let command = BlockedCommand {
            command: 7,
            deadline_ns: Some(1),
            awaits: Awaited::Work,
        };
        clients.begin_wait(key, command);
        clients.hold(key, HeldBy::Pause);
        assert!(clients.held().is_empty());
        assert_eq!(clients.end_wait(key).map(|it| it.command), Some(7));
        assert_eq!((clients.waiting, clients.deadlines()), (0, 0));
        clients.hold(key, HeldBy::Pause);
        assert_eq!(clients.held(), [key]);
        assert!(clients.end_wait(key).is_none(), "it is held, not waiting");
        assert_eq!(clients.held(), [key]);
    }

    #[test]
    fn a_client_that_is_to_close_now_is_not_put_off() {
        let mut clients = Clients::default();
        let key = clients.insert(Client::default());
        let client = clients.get_mut(key).expect("a client");
        client.reply.ok();
        clients.close(key, true);
        let connection = |clients: &Clients| {
            let connection = clients.get(key).expect("a client").connection();
            (
                connection.closes_after_replies(),
                connection.is_closing(),
                connection.is_open(),
            )
        };
        assert_eq!(connection(&clients), (true, false, false));
        assert!(!clients.has_closing());
        clients.close(key, false);
        clients.close(key, true);
        assert_eq!(connection(&clients), (false, true, false));
        assert_eq!(clients.pop_closing(), Some(key));
        assert_eq!(clients.pop_closing(), None);
    }
}
