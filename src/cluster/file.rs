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
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn id_of(letter: char) -> NodeId {
        NodeId::parse(letter.to_string().repeat(40).as_bytes()).unwrap()
    }

    /// What a text says, where A, B, C and S stand for ids.
    fn read_with(text: &str, tls_cluster: bool) -> Result<Saved, String> {
        parse(spelled(text).as_bytes(), tls_cluster)
    }

    fn read(text: &str) -> Result<Saved, String> {
        read_with(text, false)
    }

    fn spelled(text: &str) -> String {
        let mut text = text.to_owned();
        for letter in ['A', 'B', 'C', 'S'] {
            let id = if letter == 'S' {
                'd'
            } else {
                letter.to_ascii_lowercase()
            };
            text = text.replace(letter, id_of(id).as_str());
        }
        text
    }

    fn slots_of(range: std::ops::RangeInclusive<u16>) -> SlotSet {
        let mut slots = SlotSet::default();
        for slot in range {
            slots.insert(slot);
        }
        slots
    }

    /// As Redis 8.0.6 writes it, but for the order.
    const REDIS_8: &str = "\
A 127.0.0.1:27001@37001,a.example,tls-port=0,nodename=alpha,shard-id=S myself,master - 0 0 8 connected 0-100 102 [7->-B] [103-<-B]
B 127.0.0.1:27002@37002,,tls-port=6390,shard-id=C master,fail? - 1796010032901 1796010032900 1 disconnected 16382-16383
C ::1:27003@37003,,tls-port=0,shard-id=S slave,nofailover A 0 1796010032900 8 connected
vars currentEpoch 8 lastVoteEpoch 3
";

    fn of_redis_8() -> Saved {
        let mut slots = slots_of(0..=100);
        slots.insert(102);
        let mut nodes = [id_of('a'), id_of('b'), id_of('c')].map(SavedNode::new);
        nodes[0] = SavedNode {
            shard: Some(id_of('d')),
            flags: node_flags::MYSELF | node_flags::PRIMARY,
            config_epoch: 8,
            slots,
            ip: "127.0.0.1".to_owned(),
            hostname: "a.example".to_owned(),
            human_name: "alpha".to_owned(),
            tcp_port: 27001,
            bus_port: 37001,
            is_connected: true,
            ..nodes[0].clone()
        };
        nodes[1] = SavedNode {
            shard: Some(id_of('c')),
            flags: node_flags::PRIMARY | node_flags::PFAIL,
            config_epoch: 1,
            slots: slots_of(16382..=16383),
            ip: "127.0.0.1".to_owned(),
            tcp_port: 27002,
            tls_port: 6390,
            bus_port: 37002,
            ping_sent_ms: 1_796_010_032_901,
            pong_received_ms: 1_796_010_032_900,
            ..nodes[1].clone()
        };
        nodes[2] = SavedNode {
            shard: Some(id_of('d')),
            flags: node_flags::REPLICA | node_flags::NOFAILOVER,
            primary: Some(id_of('a')),
            ip: "::1".to_owned(),
            tcp_port: 27003,
            bus_port: 37003,
            pong_received_ms: 1_796_010_032_900,
            is_connected: true,
            ..nodes[2].clone()
        };
        let migration = |slot, is_import| Migration {
            slot,
            peer: id_of('b'),
            is_import,
        };
        Saved {
            nodes: nodes.to_vec(),
            migrations: vec![migration(7, false), migration(103, true)],
            current_epoch: 8,
            last_vote_epoch: 3,
        }
    }

    #[test]
    fn what_redis_8_writes_is_read_and_written() {
        assert_eq!(read(REDIS_8), Ok(of_redis_8()));
        // The port that stands alone is not the one for TLS, whatever the setting: the other one is named.
        assert_eq!(read_with(REDIS_8, true), Ok(of_redis_8()));
        let printed = print(&of_redis_8());
        assert_eq!(String::from_utf8(printed).unwrap(), spelled(REDIS_8));
        let mut shuffled = of_redis_8();
        shuffled.nodes.reverse();
        shuffled.migrations.reverse();
        assert_eq!(print(&shuffled), print(&of_redis_8()));
    }

    #[test]
    fn what_redis_7_0_writes_is_read() {
        let text = "\
B 127.0.0.1:27002@37002 slave A 0 1796010032900 4 connected
A 127.0.0.1:27001@37001,a.example myself,master - 0 1796010032900 4 connected 0-5 7
vars currentEpoch 5 lastVoteEpoch 4
";
        let saved = read(text).unwrap();
        assert_eq!((saved.current_epoch, saved.last_vote_epoch), (5, 4));
        let [primary, replica] = &saved.nodes[..] else {
            panic!("{saved:?}");
        };
        assert_eq!((primary.id, replica.id), (id_of('a'), id_of('b')));
        assert_eq!(primary.hostname, "a.example");
        assert_eq!((primary.shard, replica.shard), (None, None));
        assert_eq!(primary.slots.ranges(), [(0, 5), (7, 7)]);
        assert_eq!((primary.tcp_port, primary.tls_port), (27001, 0));
        assert_eq!(replica.primary, Some(id_of('a')));
        assert_eq!((primary.config_epoch, replica.config_epoch), (4, 0));
        // With TLS in the cluster the one port is that for TLS.
        let saved = read_with(text, true).unwrap();
        assert_eq!(
            (saved.nodes[0].tcp_port, saved.nodes[0].tls_port),
            (0, 27001)
        );
    }

    #[test]
    fn what_valkey_writes_is_read() {
        let text = "\
A 10.0.0.1:6379@16379,,availability-zone=zone-a,client-tls-port=1,client-ipv6=::1,client-ipv4=10.1.1.1,tls-port=6380,nodename=a:1,shard-id=S myself,replica B 0 0 3 connected
B 10.0.0.2:6379@16379,,tcp-port=6381,shard-id=C primary - 0 0 3 connected 0-16383
vars currentEpoch 3 lastVoteEpoch 0 something 9
";
        let saved = read(text).unwrap();
        let [me, primary] = &saved.nodes[..] else {
            panic!("{saved:?}");
        };
        assert_eq!(me.flags, node_flags::MYSELF | node_flags::REPLICA);
        assert_eq!(primary.flags, node_flags::PRIMARY);
        // A replica is of its primary's shard, whatever the file says.
        assert_eq!(
            (me.shard, primary.shard),
            (Some(id_of('c')), Some(id_of('c')))
        );
        assert_eq!(me.human_name, "a:1");
        assert_eq!((me.tcp_port, me.tls_port), (6379, 6380));
        assert_eq!((primary.tcp_port, primary.tls_port), (6381, 6379));
    }

    #[test]
    fn ports_come_from_where_they_are_named() {
        let ports = |address: &str, tls_cluster| {
            let text = format!("A {address} myself,master - 0 0 0 connected");
            let saved = read_with(&text, tls_cluster)?;
            let node = &saved.nodes[0];
            Ok::<_, String>((node.tcp_port, node.tls_port, node.bus_port))
        };
        assert_eq!(ports(":0@0", false), Ok((0, 0, 0)));
        // Older files do not have the port of the bus.
        assert_eq!(ports("h:10", false), Ok((10, 0, 10_010)));
        assert_eq!(ports("h:10", true), Ok((0, 10, 10_010)));
        assert_eq!(ports("h:10,,tls-port=20", false), Ok((10, 20, 10_010)));
        assert_eq!(ports("h:10,,tls-port=20", true), Ok((10, 20, 10_020)));
        assert_eq!(ports("h:10@3,,tcp-port=20", false), Ok((20, 10, 3)));
        assert_eq!(
            ports("h:1@3,,tcp-port=20,tls-port=30", true),
            Ok((20, 30, 3))
        );
        assert!(ports("h:60000", false).is_err());
    }

    #[test]
    fn nodes_that_are_only_named_are_known() {
        let saved = read("A h:1@2 myself,slave B 0 0 0 connected [3-<-C]").unwrap();
        assert_eq!(saved.nodes[1], SavedNode::new(id_of('b')));
        assert_eq!(saved.nodes[2], SavedNode::new(id_of('c')));
        let printed = String::from_utf8(print(&saved)).unwrap();
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(
            lines[1],
            spelled("B :0@0,,tls-port=0 noflags - 0 0 0 disconnected")
        );
    }

    #[test]
    fn of_a_slot_with_two_nodes_the_first_has_it() {
        let saved = read(
            "A h:1@2 myself,master - 0 0 0 connected 3-5\nB h:1@2 master - 0 0 0 connected 5-6 1",
        );
        let saved = saved.unwrap();
        assert_eq!(saved.nodes[0].slots.ranges(), [(3, 5)]);
        assert_eq!(saved.nodes[1].slots.ranges(), [(1, 1), (6, 6)]);
    }

    #[test]
    fn the_epoch_is_not_lower_than_that_of_a_node() {
        let node = "A h:1@2 myself,master - 0 0 9 connected";
        for (vars, expected) in [
            ("", 9),
            ("vars currentEpoch 8 lastVoteEpoch 0", 9),
            ("Vars currentepoch 10", 10),
        ] {
            let saved = read(&format!("\n{vars}\n\n{node}\n\n")).unwrap();
            assert_eq!(saved.current_epoch, expected);
        }
    }

    #[test]
    fn lines_may_end_in_other_ways() {
        let with_returns = REDIS_8.replace('\n', "\r\n");
        assert_eq!(read(&with_returns), Ok(of_redis_8()));
        let without_end = REDIS_8.trim_end();
        assert_eq!(read(without_end), Ok(of_redis_8()));
        let padded = format!("{REDIS_8}\n\n\n \n");
        assert_eq!(read(&padded), Ok(of_redis_8()));
        let with_spaces = REDIS_8.replace(' ', " \t ");
        assert_eq!(read(&with_spaces), Ok(of_redis_8()));
    }

    #[test]
    fn of_a_corrupt_file_is_said_what_is_wrong() {
        for (text, why) in [
            ("", "no node is this one"),
            ("vars currentEpoch 1", "no node is this one"),
            ("vars currentEpoch", "a variable has no value"),
            ("vars currentEpoch x", "a number that is none"),
            ("A h:1@2 myself,master - 0 0 0", "fewer than eight columns"),
            (
                "a h:1@2 myself,master - 0 0 0 connected",
                "a node id is none",
            ),
            ("A h myself,master - 0 0 0 connected", "it has no port"),
            (
                "A h:x@2 myself,master - 0 0 0 connected",
                "a number that is none",
            ),
            (
                "A h:1@-2 myself,master - 0 0 0 connected",
                "a number that is none",
            ),
            (
                "A h:1@65536 myself,master - 0 0 0 connected",
                "a number that is none",
            ),
            (
                "A h:1@2,,x myself,master - 0 0 0 connected",
                "a field that is none",
            ),
            (
                "A h:1@2,,x=y=z myself,master - 0 0 0 connected",
                "a field that is none",
            ),
            (
                "A h:1@2,,shard-id=d myself,master - 0 0 0 connected",
                "a node id is none",
            ),
            (
                "A h:1@2,,tls-port=+1 myself,master - 0 0 0 connected",
                "a number that is none",
            ),
            (
                "A h:1@2,\u{1} myself,master - 0 0 0 connected",
                "its host name is none",
            ),
            (
                "A \u{1}:1@2 myself,master - 0 0 0 connected",
                "its address is none",
            ),
            ("A h:1@2 myself,boss - 0 0 0 connected", "an unknown flag"),
            ("A h:1@2 myself, - 0 0 0 connected", "an unknown flag"),
            (
                "A h:1@2 myself - 0 0 0 connected",
                "neither a primary nor a replica",
            ),
            ("A h:1@2 master - 0 0 0 connected", "no node is this one"),
            (
                "A h:1@2 myself,slave - 0 0 0 connected",
                "a replica without a primary",
            ),
            (
                "A h:1@2 myself,slave b 0 0 0 connected",
                "a node id is none",
            ),
            (
                "A h:1@2 myself,master - x 0 0 connected",
                "a number that is none",
            ),
            (
                "A h:1@2 myself,master - 0 x 0 connected",
                "a number that is none",
            ),
            (
                "A h:1@2 myself,master - 0 0 x connected",
                "a number that is none",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected 16384",
                "a slot that there is not",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected 0-16384",
                "a slot that there is not",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected -5",
                "a number that is none",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected x",
                "a number that is none",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected [3->-B",
                "moved nowhere",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected [3]",
                "moved nowhere",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected [3-=-B]",
                "moved nowhere",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected [3->-b]",
                "a node id is none",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected [16384->-B]",
                "a slot that there is not",
            ),
            (
                "A h:1@2,,nodename='a myself,master - 0 0 0 connected",
                "quotes",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected\nB h:1@2 myself,master - 0 0 0 connected",
                "this one already",
            ),
            (
                "A h:1@2 myself,master - 0 0 0 connected\nA h:1@2 master - 0 0 0 connected",
                "has had a line",
            ),
        ] {
            let error = read(text).unwrap_err();
            let start = "Unrecoverable error: corrupted cluster config file \"";
            assert!(error.starts_with(start), "{error}");
            assert!(error.contains(why), "{text}: {error}");
        }
        let error = parse(b"\xff\x1b\n", false).unwrap_err();
        assert!(
            error.contains("file \"\\xff\\x1b\": it is not UTF-8"),
            "{error}"
        );
        let error = parse(&[b'x'; 1000], false).unwrap_err();
        assert!(error.len() < 400, "{error}");
    }

    #[test]
    fn names_that_could_not_be_read_again_are_not_written() {
        for name in [
            "a b", "a,b", "a=b", "a\"b", "a'b", "a\\b", "a\nb", "a:b", "a\u{a0}b", "[",
        ] {
            let mut saved = of_redis_8();
            saved.nodes[0].human_name = name.to_owned();
            saved.nodes[1].hostname = name.to_owned();
            let mut expected = of_redis_8();
            expected.nodes[0].human_name = String::new();
            assert_eq!(parse(&print(&saved), false), Ok(expected), "{name:?}");
        }
    }

    #[test]
    fn what_is_in_its_handshake_is_not_written() {
        let mut saved = of_redis_8();
        saved.nodes.push(SavedNode {
            flags: node_flags::HANDSHAKE,
            ..SavedNode::new(id_of('e'))
        });
        assert_eq!(print(&saved), print(&of_redis_8()));
    }

    fn some_name() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            "[a-z0-9.-]{1,20}",
            "\\PC{1,20}".prop_filter("a name", |name| is_field(name)),
        ]
    }

    fn some_node() -> impl Strategy<Value = SavedNode> {
        let id = || "[0-9a-f]{40}".prop_map(|id| NodeId::parse(id.as_bytes()).unwrap());
        let ids = (id(), proptest::option::of(id()));
        let names = ("([0-9a-f.:]{1,45})?", some_name(), some_name());
        let numbers = (any::<u64>(), any::<[u16; 4]>());
        let times = (0..=i64::MAX, 0..=i64::MAX);
        (ids, names, numbers, times, any::<bool>()).prop_map(|(ids, names, numbers, times, is)| {
            // Neither this node nor one in its handshake; and a primary, for now.
            let kept = node_flags::PFAIL | node_flags::FAIL | node_flags::NOADDR;
            let (config_epoch, ports) = numbers;
            SavedNode {
                id: ids.0,
                shard: ids.1,
                flags: ports[3] & (kept | node_flags::NOFAILOVER) | node_flags::PRIMARY,
                config_epoch,
                slots: SlotSet::default(),
                primary: None,
                ip: names.0,
                hostname: names.1,
                human_name: names.2,
                tcp_port: ports[0],
                tls_port: ports[1],
                bus_port: ports[2],
                ping_sent_ms: times.0,
                pong_received_ms: times.1,
                is_connected: is,
            }
        })
    }

    fn some_saved() -> impl Strategy<Value = Saved> {
        let owned = vec(
            (0..SLOTS as u16, 1..300u16, any::<proptest::sample::Index>()),
            0..6,
        );
        let moved = vec(
            (
                0..SLOTS as u16,
                any::<proptest::sample::Index>(),
                any::<bool>(),
            ),
            0..4,
        );
        let replicas = any::<[proptest::sample::Index; 4]>();
        (
            vec(some_node(), 1..7),
            owned,
            moved,
            replicas,
            any::<[u64; 2]>(),
        )
            .prop_map(|(mut nodes, owned, moved, replicas, epochs)| {
                nodes.sort_by_key(|node| node.id);
                nodes.dedup_by_key(|node| node.id);
                for [replica, primary] in [[replicas[0], replicas[1]], [replicas[2], replicas[3]]] {
                    let (replica, primary) =
                        (replica.index(nodes.len()), primary.index(nodes.len()));
                    let is_primary = nodes
                        .iter()
                        .any(|node| node.primary == Some(nodes[replica].id));
                    if replica == primary || is_primary || nodes[primary].primary.is_some() {
                        continue;
                    }
                    nodes[replica].flags ^= node_flags::PRIMARY | node_flags::REPLICA;
                    nodes[replica].primary = Some(nodes[primary].id);
                    nodes[replica].flags |= node_flags::REPLICA;
                    nodes[replica].flags &= !node_flags::PRIMARY;
                    nodes[replica].config_epoch = 0;
                    nodes[replica].shard = nodes[primary].shard;
                }
                let mut taken = SlotSet::default();
                for (first, len, node) in owned {
                    let node = node.index(nodes.len());
                    for slot in first..(first + len).min(SLOTS as u16) {
                        if taken.insert(slot) {
                            nodes[node].slots.insert(slot);
                        }
                    }
                }
                let me = replicas[0].index(nodes.len());
                nodes[me].flags |= node_flags::MYSELF;
                nodes[me].is_connected = true;
                let moved = moved.into_iter().map(|(slot, peer, is_import)| Migration {
                    slot,
                    peer: nodes[peer.index(nodes.len())].id,
                    is_import,
                });
                let mut migrations: Vec<_> = moved.collect();
                migrations.sort_by_key(|migration| migration.slot);
                migrations.dedup_by_key(|migration| migration.slot);
                let highest = nodes.iter().map(|node| node.config_epoch).max();
                Saved {
                    nodes,
                    migrations,
                    current_epoch: epochs[0].max(highest.unwrap()),
                    last_vote_epoch: epochs[1],
                }
            })
    }

    /// Reads what may be anything. What is read can be written, and is the same when it is read again.
    fn survive(text: &[u8]) -> bool {
        let read = parse(text, false);
        assert!(!matches!(parse(text, true), Err(why) if why.is_empty()));
        let Ok(mut saved) = read else { return false };
        let flags = |node: &SavedNode| node.flags & node_flags::HANDSHAKE != 0;
        let primaries = saved.nodes.iter().filter_map(|node| node.primary);
        let primaries: Vec<NodeId> = primaries.collect();
        // One in its handshake is not written, and the shard of who replicates a replica is not kept.
        let of_primary = |node: &SavedNode| node.primary.is_some() && primaries.contains(&node.id);
        if saved
            .nodes
            .iter()
            .any(|node| flags(node) || of_primary(node))
        {
            return true;
        }
        let printed = print(&saved);
        for node in &mut saved.nodes {
            for name in [&mut node.hostname, &mut node.human_name] {
                if !is_field(name) {
                    name.clear();
                }
            }
        }
        saved.migrations.dedup_by_key(|migration| migration.slot);
        assert_eq!(parse(&printed, false), Ok(saved));
        true
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(saved in some_saved(), tls_cluster: bool) {
            prop_assert_eq!(parse(&print(&saved), tls_cluster), Ok(saved));
        }

        #[test]
        fn files_that_were_changed_do_no_harm(
            saved in some_saved(),
            changes in vec((any::<proptest::sample::Index>(), any::<u8>(), 0..4u8), 20),
        ) {
            let whole = print(&saved);
            for changes in changes.chunks(2) {
                let mut text = whole.clone();
                for (at, byte, how) in changes {
                    let at = at.index(text.len());
                    match how {
                        0 => text[at] = *byte,
                        1 => text[at] = b" ,:@-=[]<>0\n19a?"[usize::from(byte % 16)],
                        2 => { text.remove(at); }
                        _ => text.insert(at, *byte),
                    }
                }
                survive(&text);
                let cut = changes[0].0.index(text.len());
                survive(&text[..cut]);
            }
        }

        #[test]
        fn lines_of_words_do_no_harm(
            lines in vec(vec(0..16usize, 0..12), 0..5),
        ) {
            let words = [
                "A", "B", "C", "h:1@2", "h:1@2,x,shard-id=S", "myself,master", "slave", "-", "0", "7",
                "3-5", "[3->-B]", "[4-<-C]", "vars", "currentEpoch", "connected",
            ];
            let mut text = "A h:1@2 myself,master - 0 0 5 connected 2-3\n".to_owned();
            for line in lines {
                let line: Vec<_> = line.into_iter().map(|word| words[word]).collect();
                text.push_str(&line.join(" "));
                text.push('\n');
            }
            survive(spelled(&text).as_bytes());
        }
    }
}
