//! One client as a line of CLIENT LIST.
//!
//! Field names and their order are Redis 8.0's, then come the three that Valkey 8 and Redis 8.2 added; clients parse them
//! by name. There is one thread for sockets: the first.
//! Where gyre keeps no such buffer, the figure is of the nearest thing that it has: a client whose requests run from
//! the loop's shared buffer shows there what it is running at the moment.

use crate::clients::{Client, ClientKind, Listening};
use crate::engine::{CommandId, CommandTable, State, tracking};
use crate::keyspace::Clock;
use crate::net::READ_LEN;
use crate::observe::ClientMemory;
use crate::resp::Args;
use std::io::Write;

/// Appends the line without its line end. `running` is the command that the client is in the middle of.
pub fn write_line(
    out: &mut Vec<u8>,
    client: &Client,
    table: &CommandTable,
    now: Clock,
    running: Option<Args<'_>>,
) {
    let (session, connection) = (&client.session, client.connection());
    let (queued, queue_bytes) = session
        .transaction
        .as_ref()
        .map_or((-1, 0), |it| (it.queue.len() as i64, it.queue_bytes));
    let seconds_since = |ns: u64| now.mono_ns.saturating_sub(ns) / 1_000_000_000;
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "id={} addr={} laddr={} fd={} name={}",
        session.id,
        connection.address(),
        connection.local_address(),
        connection.fd(),
        String::from_utf8_lossy(&session.name)
    );
    let _ = write!(
        out,
        " age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={queued} watch={}",
        seconds_since(connection.created_ns()),
        seconds_since(connection.last_interaction_ns()),
        flags(client),
        session.db,
        client.subscribed(Listening::Channel),
        client.subscribed(Listening::Pattern),
        client.subscribed(Listening::Shard),
        session.watched(),
    );
    let (mut held, mut free) = (connection.query().len(), connection.query().free());
    let mut arguments = connection.query().argument_memory();
    if let Some(args) = running {
        arguments = arguments.saturating_add(args.total_bytes());
        if held == 0 {
            // It was run from the shared buffer, where Redis would have it in the client's own.
            held = wire_len(args);
            free = READ_LEN.saturating_sub(held);
        }
    }
    let (in_tail, tail_size, chunks, chunk_memory) = client.reply.output().figures();
    let total = memory(client).saturating_add(running.map_or(0, |args| args.total_bytes()));
    let _ = write!(
        out,
        " qbuf={held} qbuf-free={free} argv-mem={arguments} multi-mem={queue_bytes} rbs={tail_size} rbp={tail_size} \
         obl={in_tail} oll={chunks} omem={chunk_memory} tot-mem={total}"
    );
    let command = session
        .last_command
        .map_or("NULL", |id| table.get(CommandId(id)).name.as_str());
    // Everything of this turn is written at its end; what is left after that waits for the socket.
    let waits =
        !client.reply.output().is_empty() && !connection.has_pending_write() && running.is_none();
    let events = match (connection.token().is_some(), waits) {
        (false, _) => "",
        (true, false) => "r",
        (true, true) => "rw",
    };
    let _ = write!(out, " events={events} cmd={command} user=");
    // The name of a user may be any bytes but blanks and zeros.
    out.extend_from_slice(session.identity.name());
    let _ = write!(
        out,
        " redir={} resp={} lib-name={} lib-ver={}",
        tracking::shown_redirect(client.caching.as_deref()),
        if session.resp3() { 3 } else { 2 },
        String::from_utf8_lossy(&session.lib_name),
        String::from_utf8_lossy(&session.lib_ver)
    );
    let _ = write!(
        out,
        " io-thread=0 tot-net-in={} tot-net-out={} tot-cmds={}",
        connection.bytes_in(),
        connection.bytes_out(),
        session.commands
    );
}

/// Bytes that a client holds, itself included.
pub fn memory(client: &Client) -> usize {
    let session = &client.session;
    ClientMemory::of(client)
        .saturating_add(session.name.capacity())
        .saturating_add(session.lib_name.capacity())
        .saturating_add(session.lib_ver.capacity())
}

/// Redis's letters, in its order.
fn flags(client: &Client) -> String {
    let (session, connection) = (&client.session, client.connection());
    let caching = client.caching.as_ref();
    let letters = [
        ('O', session.monitors),
        ('S', session.kind == ClientKind::Replica),
        ('M', session.kind == ClientKind::Primary),
        ('P', session.kind == ClientKind::PubSub),
        ('x', session.in_multi()),
        ('b', session.blocked.is_some()),
        ('t', caching.is_some()),
        ('R', caching.is_some_and(|it| it.broken_redirect)),
        ('B', caching.is_some_and(|it| it.broadcast)),
        ('d', session.is_dirty()),
        ('c', connection.closes_after_replies()),
        ('A', connection.is_closing()),
        ('U', connection.is_unix()),
        ('r', session.readonly),
        ('e', session.no_evict),
        ('T', session.no_touch),
        ('H', connection.is_priority()),
    ];
    let flags: String = letters
        .iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(letter, _)| *letter)
        .collect();
    if flags.is_empty() {
        "N".to_owned()
    } else {
        flags
    }
}

/// Bytes that a request takes on the wire as a multibulk.
fn wire_len(args: Args<'_>) -> usize {
    let digits = |n: usize| n.checked_ilog10().unwrap_or(0) as usize + 1;
    args.iter().fold(3 + digits(args.len()), |sum, arg| {
        sum.saturating_add(5 + digits(arg.len()))
            .saturating_add(arg.len())
    })
}

/// Appends the lines of so many clients at most.
pub fn write_lines(text: &mut Vec<u8>, state: &State, most: usize) {
    let seen = state
        .clients
        .iter()
        .filter(|(_, client)| client.session.kind != ClientKind::Internal);
    for (_, client) in seen.take(most) {
        write_line(text, client, &state.table, state.now, None);
        text.push(b'\n');
    }
}
