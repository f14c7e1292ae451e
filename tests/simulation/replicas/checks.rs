//! What must hold at the end of each turn of each server.
//!
//! * Two servers whose streams have the same ID have the same bytes at the same place of it. No replica has more of it than
//!   its primaries have written.
//! * A replica has applied whole commands and whole transactions.
//! * Two servers that are at the same offset of the same stream hold the same data.
//! * The offset never runs back, but behind a snapshot or a restart.
//! * What WAIT says of a write was so, and what WAITAOF says is there after a crash.
//! * What is kept of the stream, and of what is not applied, is bounded.

use super::clients::Told;
use super::member::Member;
use gyre::clients::Address;
use gyre::engine::State;
use gyre::journal::Targets;
use gyre::keyspace::{Digest, Stored};
use gyre::replication::{LinkState, Phase};
use gyre::resp::reader::read_value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::net::IpAddr;
use std::rc::Rc;

/// Memory of the stream beside what it is to keep: blocks that are filled, or begun.
const SLACK: u64 = 4 * 64 * 1024;
/// Bytes of a link that are not applied.
const UNAPPLIED: usize = 1024 * 1024;
/// One in so many offsets is one at which data are compared.
const COMPARED: u64 = 4;

/// How far a server was at the end of a turn.
#[derive(Clone, Debug)]
pub struct Before {
    pub id: String,
    pub offset: i64,
    syncs: bool,
    is_up: bool,
    is_replica: bool,
    /// What of its stream was compared.
    compared: i64,
    has_stream: bool,
}

/// The bytes of a stream, as its primaries have written them.
struct Log {
    start: i64,
    bytes: Vec<u8>,
    /// So many are parsed.
    parsed: usize,
    in_multi: bool,
    /// Its primary has another ID now, and may have written before that what nobody has seen.
    is_over: bool,
    /// Where commands and transactions end.
    ends: BTreeSet<i64>,
}

impl Log {
    /// One that begins here, where a command does.
    fn new(start: i64) -> Log {
        Log {
            start,
            bytes: Vec::new(),
            parsed: 0,
            in_multi: false,
            is_over: false,
            ends: BTreeSet::from([start]),
        }
    }
    fn end(&self) -> i64 {
        self.start + self.bytes.len() as i64
    }
    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Ok((command, used)) = read_value(&self.bytes[self.parsed..]) {
            self.parsed += used;
            let name = command.items().and_then(|it| it[0].as_bytes());
            match name {
                Some(b"MULTI") => self.in_multi = true,
                Some(b"EXEC") => self.in_multi = false,
                Some(_) => {}
                None => panic!("{command:?} is no command"),
            }
            if !self.in_multi {
                self.ends.insert(self.start + self.parsed as i64);
            }
        }
    }
    /// Whether half of something has been applied up to here.
    fn cuts(&self, offset: i64) -> bool {
        (self.start..=self.end()).contains(&offset) && !self.ends.contains(&offset)
    }
}

/// Hashes of all that a server holds, by database and key; libraries are in one that no server has.
type Print = BTreeMap<(usize, Vec<u8>), String>;

/// What is known of all streams.
#[derive(Default)]
pub struct Histories {
    logs: BTreeMap<String, Log>,
    prints: BTreeMap<(String, i64), (usize, Rc<Print>)>,
    pub compared: u64,
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub confirmed: u64,
    pub promised: u64,
    pub found: u64,
}

/// Hashes of what a server holds. When and how often an entry was delivered is left out: who reads what he was given before
/// changes that at the primary alone, as in Redis.
pub fn print_of(state: &State) -> Print {
    let mut all = Print::new();
    for db in 0..state.keyspace.count() {
        state.keyspace.for_each(db, &mut |entry| {
            let mut text = Digest::of_value(&entry).hex();
            text.push_str(&format!(" {:?}", entry.expire_at()));
            match entry.stored() {
                Stored::Stream(stream) => {
                    text.push_str(&format!(" {:?}", stream.summary()));
                    for (name, group) in stream.groups() {
                        let (last, read) = (group.last_id, group.entries_read);
                        text.push_str(&format!(" {name:?} {last:?} {read}"));
                        for (id, pending) in group.pending_iter() {
                            let owner = group.owner_name(pending);
                            text.push_str(&format!(" {id:?} {owner:?}"));
                        }
                        let names = group.consumers().map(|it| it.name().to_vec());
                        let mut names: Vec<Vec<u8>> = names.collect();
                        names.sort();
                        text.push_str(&format!(" {names:?}"));
                    }
                }
                Stored::Hash(hash) => {
                    let mut expiries: Vec<String> = hash
                        .iter()
                        .filter(|pair| pair.expiry.is_some())
                        .map(|pair| format!("{:?} {:?}", pair.field, pair.expiry))
                        .collect();
                    expiries.sort();
                    text.push_str(&format!(" {expiries:?}"));
                }
                _ => {}
            }
            all.insert((db, entry.key().to_vec()), text);
        });
    }
    for library in state.scripting.libraries.iter() {
        let code = String::from_utf8_lossy(&library.code).into_owned();
        all.insert((usize::MAX, library.name.clone()), code);
    }
    all
}

/// Where two servers differ, in some lines.
pub fn differences(one: &Print, other: &Print) -> String {
    let mut keys: Vec<&(usize, Vec<u8>)> = one.keys().chain(other.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut text = String::new();
    for key in keys
        .into_iter()
        .filter(|key| one.get(key) != other.get(key))
    {
        let name = String::from_utf8_lossy(&key.1);
        let (left, right) = (one.get(key), other.get(key));
        text.push_str(&format!(
            "  db {} key {name:?}:\n    {left:?}\n    {right:?}\n",
            key.0
        ));
    }
    text
}

fn is_due(offset: i64) -> bool {
    (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & (COMPARED - 1) == 0
}

/// The bytes of the stream that a server has from a position on.
fn bytes_from(state: &State, mut position: i64) -> Vec<u8> {
    let mut all = Vec::new();
    let Some(stream) = &state.replication.stream else {
        return all;
    };
    loop {
        let mut slices = [IoSlice::new(&[]); 16];
        let used = stream.slices(position, &mut slices);
        let before = all.len();
        for slice in &slices[..used] {
            all.extend_from_slice(slice);
        }
        if all.len() == before {
            return all;
        }
        position += (all.len() - before) as i64;
    }
}

/// Whether the data of a server are those of its offset.
pub fn is_whole(state: &State) -> bool {
    let replication = &state.replication;
    let is_at_offset = match &replication.link {
        None => true,
        // One that has lost its data to a snapshot that did not come has an offset of what it was.
        Some(link) => !link.syncs() && (link.is_up() || link.continuation.is_some()),
    };
    is_at_offset
        && replication
            .stream
            .as_ref()
            .is_some_and(|it| it.end() == state.journal.offset())
        && state.persistence.loading.is_none()
        && !state.scripting.is_busy()
        && state.journal.waiting(Targets::REPLICAS) == 0
        && !state.journal.is_in_unit()
}

impl Histories {
    /// Looks at a server behind its turn.
    pub fn look(&mut self, members: &mut [Member], index: usize, is_wild: bool) {
        self.look_at_loaded(&mut members[index], is_wild);
        self.look_at_offsets(&mut members[index], index);
        self.look_at_memory(&mut members[index]);
        self.look_at_acks(members, index);
        self.look_at_keys(members, index);
        self.hear(members, index, is_wild);
    }

    /// What was promised is there when a server has loaded what its disk held.
    fn look_at_loaded(&mut self, member: &mut Member, is_wild: bool) {
        let Some(server) = &mut member.server else {
            return;
        };
        let state = server.state();
        if member.has_loaded || state.persistence.loading.is_some() {
            return;
        }
        member.has_loaded = true;
        if is_wild {
            return;
        }
        for (key, value) in &member.promised {
            self.found += 1;
            assert!(
                holds(state, key, value),
                "{} was promised by WAITAOF, and is lost",
                String::from_utf8_lossy(key)
            );
        }
    }

    fn look_at_offsets(&mut self, member: &mut Member, index: usize) {
        let Some(server) = &mut member.server else {
            return;
        };
        let state = server.state();
        if !member.has_loaded {
            return;
        }
        let replication = &state.replication;
        let link = replication.link.as_deref();
        let offset = state.journal.offset();
        let syncs = link.is_some_and(|link| link.syncs());
        if let Some(stream) = &replication.stream {
            assert!(
                stream.end() == offset || state.scripting.is_busy(),
                "server {index}: its stream ends at {}, and its offset is {offset}",
                stream.end()
            );
        }
        let is_up = link.is_some_and(|link| link.is_up());
        let id = replication.id.clone();
        let before = member.before.take();
        // The link may be lost again in the same turn.
        let has_synced = before
            .as_ref()
            .is_some_and(|it| it.syncs && !syncs && (is_up || it.id != id || it.offset != offset));
        self.full_syncs += u64::from(has_synced);
        let goes_on = before
            .as_ref()
            .is_some_and(|it| !it.is_up && !it.syncs && is_up);
        self.partial_syncs += u64::from(goes_on);
        let is_new_role = before
            .as_ref()
            .is_some_and(|it| it.is_replica != link.is_some());
        if let Some(before) = &before
            && !has_synced
        {
            let (was, was_id) = (before.offset, &before.id);
            assert!(
                offset >= was || *was_id != id && !before.has_stream,
                "server {index}: the offset has run back from {was} of {was_id} to {offset} of {id}"
            );
            if *was_id != id && replication.second_id == *was_id {
                let second = replication.second_offset;
                assert!(
                    (was + 1..=offset + 1).contains(&second),
                    "server {index}: its stream was {was_id} up to {was}, and is {id} now from {second} on"
                );
            }
        }
        member.highest = member.highest.max(offset);
        let was = before.as_ref().map_or(0, |it| it.offset);
        let written = u64::try_from(offset - was).unwrap_or(0);
        member.written = member.written.max(written);
        if let Some(before) = before.as_ref().filter(|it| !it.is_replica && it.id != id)
            && let Some(log) = self.logs.get_mut(&before.id)
        {
            log.is_over = true;
        }
        if has_synced || is_new_role && link.is_none() {
            member
                .promised
                .retain(|key, value| holds(state, key, value));
        }
        let replication = &state.replication;
        let link = replication.link.as_deref();
        let mut compared = match &before {
            Some(before) if before.id == id && !has_synced => before.compared,
            Some(before) if !has_synced && before.has_stream => before.offset,
            _ => i64::MIN,
        };
        let is_new = before
            .as_ref()
            .is_none_or(|it| it.id != id || it.offset != offset || has_synced);
        if let Some(stream) = &replication.stream
            && !syncs
        {
            let from = compared.max(stream.start());
            // It may have written and been told to follow in the same turn.
            let may_write = link.is_none() || before.as_ref().is_some_and(|it| !it.is_replica);
            self.compare_bytes(state, index, &id, [compared, from], may_write);
            compared = stream.end();
        }
        let is_to_compare =
            is_new && is_whole(state) && (is_due(offset) || has_synced || is_new_role);
        if is_to_compare {
            let print = Rc::new(print_of(state));
            let replication = &state.replication;
            let mut names = vec![id.clone()];
            if offset < replication.second_offset {
                names.push(replication.second_id.clone());
            }
            for name in names {
                let place = (name, offset);
                match self.prints.get(&place) {
                    None => {
                        self.prints.insert(place, (index, Rc::clone(&print)));
                    }
                    Some((other, found)) => {
                        self.compared += u64::from(*other != index);
                        assert!(
                            *found == print,
                            "servers {other} and {index} differ at {place:?}:\n{}",
                            differences(found, &print)
                        );
                    }
                }
            }
        }
        member.before = Some(Before {
            id,
            offset,
            syncs,
            is_up,
            is_replica: state.replication.is_replica(),
            compared,
            has_stream: state.replication.stream.is_some(),
        });
    }

    fn compare_bytes(
        &mut self,
        state: &State,
        index: usize,
        id: &str,
        [known, from]: [i64; 2],
        is_primary: bool,
    ) {
        let bytes = bytes_from(state, from);
        let end = from + bytes.len() as i64;
        // Where its last turn has ended a command has, and so it does where this one ends; but not where the oldest byte is that
        // is kept.
        let start = if from == known { from } else { end };
        // Nobody else can have a stream before its primary's turn has ended: who has one of which nothing is known was told to
        // lead, has written and was told to follow, all in this turn.
        let is_primary = is_primary || !self.logs.contains_key(id);
        let log = self.logs.entry(id.to_owned());
        let log = log.or_insert_with(|| Log::new(start));
        if from > log.end() && is_primary {
            *log = Log::new(end);
        }
        assert!(
            is_primary
                || log.is_over
                || end <= log.end()
                || log.bytes.is_empty() && end <= log.start,
            "server {index} is at {end} of {id}, of which only {} were written",
            log.end()
        );
        let (low, high) = (from.max(log.start), end.min(log.end()));
        if low < high {
            let of = |start: i64| (low - start) as usize..(high - start) as usize;
            assert!(
                bytes[of(from)] == log.bytes[of(log.start)],
                "server {index} has other bytes of {id} between {low} and {high}:\n{:?}\n{:?}",
                String::from_utf8_lossy(&bytes[of(from)]),
                String::from_utf8_lossy(&log.bytes[of(log.start)])
            );
        }
        if is_primary && end > log.end() {
            let new = (log.end() - from) as usize;
            log.append(&bytes[new..]);
        }
        assert!(
            is_primary || !log.cuts(end),
            "server {index} has applied half a command or a transaction up to {end} of {id}"
        );
    }

    fn look_at_memory(&mut self, member: &mut Member) {
        let Some(server) = &mut member.server else {
            return;
        };
        let state = server.state();
        let settings = state.config.settings();
        let replication = &state.replication;
        if let Some(stream) = &replication.stream {
            let limit = settings.client_output_buffer_limits[1].hard_bytes;
            let most = settings.repl_backlog_size.max(limit) + SLACK + member.written;
            let memory = stream.memory_bytes() as u64;
            assert!(
                memory <= most,
                "the stream takes {memory} bytes, more than {most}"
            );
        }
        for replica in replication.replicas.values() {
            let waiting = replica.snapshot.len();
            assert!(waiting <= 3 << 20, "{waiting} bytes of a snapshot wait");
        }
        if let Some(link) = &replication.link {
            let waiting = link.unapplied.len();
            assert!(waiting <= UNAPPLIED, "{waiting} bytes are not applied");
            if let LinkState::Receiving(_, receiving) | LinkState::Loading(_, receiving) =
                &link.state
            {
                let held = receiving.held.len();
                assert!(held <= UNAPPLIED, "{held} bytes are held back");
            }
        }
    }

    /// No replica has acknowledged what it never had.
    fn look_at_acks(&mut self, members: &mut [Member], index: usize) {
        let Some(state) = members[index].server.as_mut().map(|it| it.state()) else {
            return;
        };
        let acked: Vec<(IpAddr, i64)> = state
            .replication
            .replicas
            .values()
            .filter_map(
                |it| match state.clients.get(it.client)?.connection().address() {
                    Address::Inet(address) => Some((address.ip(), it.acked)),
                    _ => None,
                },
            )
            .collect();
        for (ip, acked) in acked {
            let replica = members
                .iter()
                .position(|it| IpAddr::from(it.handle.address()) == ip);
            if let Some(replica) = replica {
                let highest = members[replica].highest;
                assert!(
                    acked <= highest,
                    "server {replica} has acknowledged {acked} and was at {highest} at most"
                );
            }
        }
    }

    /// Which of the keys that are asked after are on a server.
    fn look_at_keys(&mut self, members: &mut [Member], index: usize) {
        let mut server = members[index].server.take();
        if let Some(server) = &mut server
            && members[index].has_loaded
            && server.state().persistence.loading.is_none()
        {
            for asker in members.iter_mut().filter_map(|it| it.asker.as_mut()) {
                if holds(server.state(), &asker.key, &asker.value) {
                    asker.seen_on.insert(index);
                }
            }
        }
        members[index].server = server;
    }

    /// What was confirmed is so.
    fn hear(&mut self, members: &mut [Member], index: usize, is_wild: bool) {
        let member = &mut members[index];
        let (Some(server), Some(asker)) = (&mut member.server, &mut member.asker) else {
            return;
        };
        let state = server.state();
        let told = asker.hear(&member.handle, state.journal.offset());
        let key = String::from_utf8_lossy(&asker.key).into_owned();
        match told {
            Told::Nothing => return,
            Told::NoMore => {}
            Told::Replicas(count) => {
                let seen = asker.seen_on.iter().filter(|on| **on != index).count() as i64;
                self.confirmed += u64::from(count > 0);
                assert!(
                    is_wild || seen >= count,
                    "WAIT has said that {key} of server {index} is on {count} replicas, but it was seen on {:?}",
                    asker.seen_on
                );
            }
            Told::Files(is_local, count) => {
                let offset = asker.offset.unwrap_or(i64::MAX);
                let replicas = state.replication.replicas.values();
                let have_it = replicas.filter(|it| {
                    it.phase == Phase::Online && it.acked_aof.is_some_and(|it| it >= offset)
                });
                let have_it: Vec<IpAddr> = have_it
                    .filter_map(
                        |it| match state.clients.get(it.client)?.connection().address() {
                            Address::Inet(address) => Some(address.ip()),
                            _ => None,
                        },
                    )
                    .collect();
                let (key, value) = (asker.key.clone(), asker.value.clone());
                let is_counted = have_it.len() as i64 >= count;
                let is_of = |it: &Member| {
                    have_it.contains(&IpAddr::from(it.handle.address())) && is_counted
                };
                for (place, member) in members.iter_mut().enumerate() {
                    let has_promised = if place == index {
                        is_local
                    } else {
                        is_of(member)
                    };
                    let Some(server) = member.server.as_mut().filter(|_| has_promised) else {
                        continue;
                    };
                    if holds(server.state(), &key, &value) {
                        self.promised += 1;
                        member.promised.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        if let Some(asker) = members[index].asker.take() {
            asker.leave(&members[index].handle);
        }
    }
}

/// Whether a server holds this value.
fn holds(state: &mut State, key: &[u8], value: &[u8]) -> bool {
    let now = state.now;
    let mut db = state.keyspace.db(0, now, true);
    let Some(entry) = db.peek(key) else {
        return false;
    };
    match entry.stored() {
        Stored::String(found) => found.with_bytes(|bytes| bytes == value),
        _ => false,
    }
}
