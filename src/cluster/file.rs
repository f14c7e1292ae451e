//! nodes.conf: what a node keeps of its cluster when it ends.
//!
//! In: the bytes of the file, as Redis 7.0 to 8.0 and Valkey write it. Out: what is in it; and the other way, as Redis 8.0.6
//! does. A line for each node, and one of variables:
//!
//! ```text
//! ID IP:PORT@BUS,HOSTNAME[,NAME=VALUE...] FLAGS PRIMARY PING PONG EPOCH LINK [SLOT|FIRST-LAST|[SLOT->-ID]|[SLOT-<-ID]]...
//! vars currentEpoch N lastVoteEpoch N
//! ```
//!
//! Mirrors `clusterLoadConfig` and `clusterGenNodesDescription` of Redis's cluster_legacy.c. Where that reads a number from
//! what has other letters behind it, the file is corrupt here.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::message::{PORT_DISTANCE, is_address};
use super::node::{NodeId, node_flags};
use crate::structures::slots::{SLOTS, SlotSet};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The nodes, as they are read in the order of their ids; one of them is this one.
    pub nodes: Vec<SavedNode>,
    /// Slots that this node was giving or taking, as they are read in their order.
    pub migrations: Vec<Migration>,
    /// The highest epoch known, not lower than any of a node.
    pub current_epoch: u64,
    /// The epoch of the last vote.
    pub last_vote_epoch: u64,
}

/// What a file says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedNode {
    /// Its id.
    pub id: NodeId,
    /// Its shard, which for a replica is that of its primary; none in files of Redis 7.0, or where the node is only named by
    /// another one.
    pub shard: Option<NodeId>,
    /// [`node_flags`], as far as they are kept.
    pub flags: u16,
    /// Its epoch; 0 for a replica with a primary.
    pub config_epoch: u64,
    /// The slots it holds. No slot has two nodes.
    pub slots: SlotSet,
    /// Of a replica: its primary, which is among the nodes.
    pub primary: Option<NodeId>,
    /// Where it is, or nothing.
    pub ip: String,
    /// The announced host name, or nothing.
    pub hostname: String,
    /// The announced name for people, or nothing.
    pub human_name: String,
    /// Port for clients without TLS; 0: none.
    pub tcp_port: u16,
    /// Port for clients with TLS; 0: none.
    pub tls_port: u16,
    /// Port of the bus.
    pub bus_port: u16,
    /// When the ping was sent that is not answered, ms of Unix; 0: none is.
    pub ping_sent_ms: i64,
    /// When it answered last, ms of Unix.
    pub pong_received_ms: i64,
    /// There was a connection to it, or it is this node.
    pub is_connected: bool,
}

/// A slot that is being moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The slot.
    pub slot: u16,
    /// Where it goes, or comes from.
    pub peer: NodeId,
    /// It comes.
    pub is_import: bool,
}

impl SavedNode {
    /// A node of which nothing is known.
    pub fn new(id: NodeId) -> SavedNode {
        SavedNode {
            id,
            shard: None,
            flags: 0,
            config_epoch: 0,
            slots: SlotSet::default(),
            primary: None,
            ip: String::new(),
            hostname: String::new(),
            human_name: String::new(),
            tcp_port: 0,
            tls_port: 0,
            bus_port: 0,
            ping_sent_ms: 0,
            pong_received_ms: 0,
            is_connected: false,
        }
    }
}

/// Flags as they are written, in this order.
const FLAG_NAMES: [(u16, &str); 8] = [
    (node_flags::MYSELF, "myself"),
    (node_flags::PRIMARY, "master"),
    (node_flags::REPLICA, "slave"),
    (node_flags::PFAIL, "fail?"),
    (node_flags::FAIL, "fail"),
    (node_flags::HANDSHAKE, "handshake"),
    (node_flags::NOADDR, "noaddr"),
    (node_flags::NOFAILOVER, "nofailover"),
];

/// The names of flags, with commas.
pub(super) fn push_flags(text: &mut String, flags: u16) {
    let set = FLAG_NAMES.iter().filter(|(flag, _)| flags & flag != 0);
    let mut separator = "";
    for (_, name) in set {
        text.push_str(separator);
        text.push_str(name);
        separator = ",";
    }
    if separator.is_empty() {
        text.push_str("noflags");
    }
}

/// Slots and ranges, each with a space before it.
pub(super) fn push_slots(text: &mut String, slots: &SlotSet) {
    for (first, last) in slots.ranges() {
        let _ = if first == last {
            write!(text, " {first}")
        } else {
            write!(text, " {first}-{last}")
        };
    }
}

/// Slots that are being moved, in the order of the slots, each with a space before it.
pub(super) fn push_migrations(text: &mut String, migrations: &[Migration]) {
    let mut migrations: Vec<_> = migrations.iter().collect();
    migrations.sort_by_key(|migration| (migration.slot, migration.is_import));
    migrations.dedup_by_key(|migration| migration.slot);
    for Migration {
        slot,
        peer,
        is_import,
    } in migrations
    {
        let arrow = if *is_import { '<' } else { '>' };
        let _ = write!(text, " [{slot}-{arrow}-{peer}]");
    }
}

/// The file of what is to be kept. Nodes stand in the order of their ids; one in its handshake is left out.
pub fn print(saved: &Saved) -> Vec<u8> {
    let mut text = String::new();
    let known = saved.nodes.iter();
    let mut nodes: Vec<_> = known
        .filter(|node| node.flags & node_flags::HANDSHAKE == 0)
        .collect();
    nodes.sort_by_key(|node| node.id);
    let epochs: HashMap<NodeId, u64> = nodes
        .iter()
        .map(|node| (node.id, node.config_epoch))
        .collect();
    for node in nodes {
        push_node(&mut text, node);
        let primary = node.primary.filter(|_| is_replica(node));
        let epoch = primary.and_then(|primary| epochs.get(&primary).copied());
        let link = if node.is_connected || node.flags & node_flags::MYSELF != 0 {
            "connected"
        } else {
            "disconnected"
        };
        let _ = write!(
            text,
            " {} {} {} {link}",
            node.ping_sent_ms,
            node.pong_received_ms,
            epoch.unwrap_or(node.config_epoch)
        );
        push_slots(&mut text, &node.slots);
        if node.flags & node_flags::MYSELF != 0 {
            push_migrations(&mut text, &saved.migrations);
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "vars currentEpoch {} lastVoteEpoch {}",
        saved.current_epoch, saved.last_vote_epoch
    );
    text.into_bytes()
}

fn is_replica(node: &SavedNode) -> bool {
    node.flags & node_flags::REPLICA != 0
}

/// The first four columns.
fn push_node(text: &mut String, node: &SavedNode) {
    let _ = write!(
        text,
        "{} {}:{}@{},",
        node.id, node.ip, node.tcp_port, node.bus_port
    );
    if is_field(&node.hostname) {
        text.push_str(&node.hostname);
    }
    let _ = write!(text, ",tls-port={}", node.tls_port);
    // Redis writes any name, and then cannot read the file. The node will tell its name again.
    if !node.human_name.is_empty() && is_field(&node.human_name) {
        let _ = write!(text, ",nodename={}", node.human_name);
    }
    if let Some(shard) = node.shard {
        let _ = write!(text, ",shard-id={shard}");
    }
    text.push(' ');
    push_flags(text, node.flags);
    match node.primary {
        Some(primary) => _ = write!(text, " {primary}"),
        None => text.push_str(" -"),
    }
}

/// Whether a name can stand in the second column: what Redis forbids there, and what would end it.
fn is_field(name: &str) -> bool {
    const FORBIDDEN: &str = "!#$%&()*+:;<>?@[]^{|}~,=\"'\\";
    !name.contains(|letter: char| {
        letter.is_control() || letter.is_whitespace() || FORBIDDEN.contains(letter)
    })
}

type Read<T> = Result<T, &'static str>;

/// What a file says that is not empty. `tls_cluster`: in files of Redis 7.0 and before, which know one port, that is the one
/// for TLS. An error says what is wrong, for the log.
pub fn parse(text: &[u8], tls_cluster: bool) -> Result<Saved, String> {
    let mut file = File::default();
    for line in text.split(|byte| *byte == b'\n') {
        // Empty lines are left by writers that were stopped, or by people.
        if line.is_empty() || line.starts_with(b"\0") {
            continue;
        }
        let read = file.line(line, tls_cluster);
        read.map_err(|why| corrupted(&shown(line), why))?;
    }
    file.finish().map_err(|why| corrupted("", why))
}

fn corrupted(line: &str, why: &str) -> String {
    format!("Unrecoverable error: corrupted cluster config file \"{line}\": {why}.")
}

/// The beginning of a line, fit for a log.
fn shown(line: &[u8]) -> String {
    const MOST: usize = 200;
    let start = line.get(..MOST).unwrap_or(line);
    let mut text = start.escape_ascii().to_string();
    if line.len() > MOST {
        text.push_str("...");
    }
    text
}

/// A file that is being read.
#[derive(Default)]
struct File {
    saved: Saved,
    /// Where each node is in `saved`, and whether it has had its line.
    places: HashMap<NodeId, (usize, bool)>,
    /// The other node of each slot and direction; the last that is named.
    migrations: BTreeMap<(u16, bool), NodeId>,
    /// Slots that have their node.
    owned: SlotSet,
    has_myself: bool,
}

impl File {
    fn line(&mut self, line: &[u8], tls_cluster: bool) -> Read<()> {
        let line = std::str::from_utf8(line).or(Err("it is not UTF-8"))?;
        if line.contains(['"', '\'']) {
            return Err("it has quotes");
        }
        let columns = line.split([' ', '\t', '\r', '\x0b', '\x0c']);
        let mut columns = columns.filter(|column| !column.is_empty());
        let Some(first) = columns.next() else {
            return Ok(());
        };
        if first.eq_ignore_ascii_case("vars") {
            return self.variables(columns);
        }
        let mut next = || columns.next().ok_or("it has fewer than eight columns");
        let place = self.listed(id(first)?)?;
        let (address, flags, primary) = (next()?, next()?, next()?);
        let (ping, pong, epoch, link) = (next()?, next()?, next()?, next()?);

        let flags = self.flags(flags)?;
        let primary = match primary {
            none if none.starts_with('-') => None,
            primary => Some(id(primary)?),
        };
        if let Some(primary) = primary {
            self.place(primary);
        }
        let mut slots = SlotSet::default();
        for column in columns {
            self.slots(column, &mut slots)?;
        }
        let config_epoch: u64 = number(epoch)?;
        let Some(node) = self.saved.nodes.get_mut(place) else {
            return Ok(());
        };
        node.address(address, tls_cluster)?;
        node.flags = flags;
        node.primary = primary;
        node.ping_sent_ms = number(ping)?;
        node.pong_received_ms = number(pong)?;
        node.is_connected = link == "connected" || flags & node_flags::MYSELF != 0;
        node.slots = slots;
        if !(is_replica(node) && primary.is_some()) {
            node.config_epoch = config_epoch;
        }
        Ok(())
    }

    fn variables<'a>(&mut self, mut columns: impl Iterator<Item = &'a str>) -> Read<()> {
        while let Some(name) = columns.next() {
            let value = columns.next().ok_or("a variable has no value")?;
            if name.eq_ignore_ascii_case("currentEpoch") {
                self.saved.current_epoch = number(value)?;
            } else if name.eq_ignore_ascii_case("lastVoteEpoch") {
                self.saved.last_vote_epoch = number(value)?;
            } else {
                log::info!("Skipping unknown cluster config variable '{name}'");
            }
        }
        Ok(())
    }

    /// The place of a node that this line is about.
    fn listed(&mut self, id: NodeId) -> Read<usize> {
        let place = self.place(id);
        match self.places.insert(id, (place, true)) {
            Some((_, true)) => Err("its node has had a line before"),
            _ => Ok(place),
        }
    }

    /// The place of a node, which may be named before it has its line, or without having one.
    fn place(&mut self, id: NodeId) -> usize {
        let nodes = &mut self.saved.nodes;
        let (place, _) = *self.places.entry(id).or_insert_with(|| {
            nodes.push(SavedNode::new(id));
            (nodes.len().saturating_sub(1), false)
        });
        place
    }

    fn flags(&mut self, names: &str) -> Read<u16> {
        let mut flags = 0;
        for name in names.split(',') {
            // Valkey reads newer words, too.
            let name = match name.to_ascii_lowercase().as_str() {
                "primary" => "master".to_owned(),
                "replica" => "slave".to_owned(),
                other => other.to_owned(),
            };
            match FLAG_NAMES.iter().find(|(_, known)| *known == name) {
                Some((flag, _)) => flags |= flag,
                None if name == "noflags" => {}
                None => return Err("it has an unknown flag"),
            }
        }
        if flags & node_flags::MYSELF != 0 && std::mem::replace(&mut self.has_myself, true) {
            return Err("a node before is this one already");
        }
        Ok(flags)
    }

    /// A column of slots.
    fn slots(&mut self, column: &str, slots: &mut SlotSet) -> Read<()> {
        if let Some(moved) = column.strip_prefix('[') {
            return self.migration(moved);
        }
        let (first, last) = column.split_once('-').unwrap_or((column, column));
        for slot in slot(first)?..=slot(last)? {
            // Of two nodes with the same slot the first has it.
            if self.owned.insert(slot) {
                slots.insert(slot);
            }
        }
        Ok(())
    }

    fn migration(&mut self, column: &str) -> Read<()> {
        const WRONG: &str = "it has a slot that is moved nowhere";
        let column = column.strip_suffix(']').ok_or(WRONG)?;
        let (slot_text, peer) = column.split_once('-').ok_or(WRONG)?;
        let (is_import, peer) = match (peer.strip_prefix(">-"), peer.strip_prefix("<-")) {
            (Some(peer), _) => (false, peer),
            (_, Some(peer)) => (true, peer),
            _ => return Err(WRONG),
        };
        let (slot, peer) = (slot(slot_text)?, id(peer)?);
        self.place(peer);
        self.migrations.insert((slot, is_import), peer);
        Ok(())
    }

    /// Checks the whole, and fills in what follows from it.
    fn finish(mut self) -> Read<Saved> {
        let nodes = &mut self.saved.nodes;
        let is_myself = |node: &&SavedNode| node.flags & node_flags::MYSELF != 0;
        let myself = nodes.iter().find(is_myself).ok_or("no node is this one")?;
        if myself.flags & (node_flags::PRIMARY | node_flags::REPLICA) == 0 {
            return Err("this node is neither a primary nor a replica");
        }
        if is_replica(myself) && myself.primary.is_none() {
            return Err("this node is a replica without a primary");
        }
        // What a replica says of its shard does not count.
        let shards: Vec<_> = nodes.iter().map(|node| node.shard).collect();
        for node in nodes.iter_mut() {
            if let Some(primary) = node.primary {
                let place = self.places.get(&primary);
                let shard = place.and_then(|(place, _)| shards.get(*place));
                node.shard = shard.copied().flatten();
            }
        }
        let highest = nodes.iter().map(|node| node.config_epoch).max();
        let highest = highest.unwrap_or_default();
        self.saved.current_epoch = self.saved.current_epoch.max(highest);
        let migrations = self.migrations.into_iter();
        let migrations = migrations.map(|((slot, is_import), peer)| Migration {
            slot,
            peer,
            is_import,
        });
        self.saved.migrations = migrations.collect();
        self.saved.nodes.sort_by_key(|node| node.id);
        Ok(self.saved)
    }
}

impl SavedNode {
    /// The second column.
    fn address(&mut self, column: &str, tls_cluster: bool) -> Read<()> {
        let mut fields = column.split(',');
        let address = fields.next().unwrap_or_default();
        let hostname = fields.next().unwrap_or_default();
        if hostname.contains(char::is_control) {
            return Err("its host name is none");
        }
        self.hostname = hostname.to_owned();
        let (mut tcp_port, mut tls_port) = (None, None);
        for field in fields {
            let wrong = "it has a field that is none";
            let (name, value) = field.split_once('=').ok_or(wrong)?;
            if value.contains('=') || value.contains(char::is_control) {
                return Err(wrong);
            }
            match name {
                "shard-id" => self.shard = Some(id(value)?),
                "nodename" => self.human_name = value.to_owned(),
                "tcp-port" => tcp_port = Some(port(value)?),
                "tls-port" => tls_port = Some(port(value)?),
                // Of Valkey, or of what comes after us.
                _ => {}
            }
        }
        let (ip, ports) = address.rsplit_once(':').ok_or("it has no port")?;
        if !is_address(ip.as_bytes()) {
            return Err("its address is none");
        }
        self.ip = ip.to_owned();
        let (main, bus) = match ports.split_once('@') {
            Some((main, bus)) => (main, Some(bus)),
            None => (ports, None),
        };
        let main = port(main)?;
        (self.tcp_port, self.tls_port) = match (tcp_port, tls_port) {
            (None, None) if tls_cluster => (0, main),
            (None, None) => (main, 0),
            (None, Some(tls)) => (main, tls),
            (Some(tcp), None) => (tcp, main),
            (Some(tcp), Some(tls)) => (tcp, tls),
        };
        let for_clients = match tls_cluster {
            true => self.tls_port,
            false => self.tcp_port,
        };
        self.bus_port = match bus {
            Some(bus) => port(bus)?,
            None => for_clients
                .checked_add(PORT_DISTANCE)
                .ok_or("it has no port of the bus")?,
        };
        Ok(())
    }
}

fn id(text: &str) -> Read<NodeId> {
    NodeId::parse(text.as_bytes()).ok_or("a node id is none")
}

/// A number, of digits only.
fn number<T: std::str::FromStr>(text: &str) -> Read<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.ok_or("it has a number that is none")
}

fn port(text: &str) -> Read<u16> {
    number(text)
}

fn slot(text: &str) -> Read<u16> {
    let slot = number(text)?;
    if usize::from(slot) >= SLOTS {
        return Err("it has a slot that there is not");
    }
    Ok(slot)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
