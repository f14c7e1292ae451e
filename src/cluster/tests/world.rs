//! A small world for tests: hosts with a node each, connections with delays between them, and a clock of its own. All that
//! happens follows from the seed.
//!
//! A host's data are only an offset: a primary's grows by writes, a replica's follows it.

use super::super::*;
use super::message::{self, Body};
use std::collections::BTreeSet;

/// The node timeout, ms.
pub const TIMEOUT_MS: i64 = 2_000;
const TICK_MS: i64 = 100;
/// Unix's clock at the start of the world.
const UNIX_START_MS: i64 = 1_700_000_000_000;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    host: usize,
    /// Which life of the host; another one knows nothing of it.
    life: u64,
    link: LinkId,
}

#[derive(Debug)]
struct Wire {
    ends: [Option<End>; 2],
    /// When the last thing that was sent to each end gets there: nothing overtakes.
    last_at: [i64; 2],
    /// Something was lost on it: nothing more gets through.
    is_stuck: bool,
    /// What was sent before the connection was made.
    waiting: Vec<Rc<[u8]>>,
}

#[derive(Debug)]
enum Event {
    Tick(usize, u64),
    /// A connection reaches whom it is made to.
    Arrive(usize, usize),
    Connected(usize),
    Bytes(usize, usize, Rc<[u8]>),
    Closed(End),
}

pub struct Host {
    pub cluster: Option<Cluster>,
    pub life: u64,
    pub address: String,
    pub offset: i64,
    pub is_empty: bool,
    /// What nodes.conf says, and what of it has reached the disk.
    pub written: Vec<u8>,
    pub synced: Vec<u8>,
    /// Whom it replicates from, and since when.
    pub follows: Option<(usize, i64)>,
    last_data_at: i64,
    link_is_up: bool,
    paused_until: i64,
    /// How far its wall clock is off.
    pub skew_ms: i64,
    pub dropped: BTreeSet<u16>,
    pub ended_channels: SlotSet,
    pub published: Vec<(bool, Vec<u8>)>,
    /// The roles that the server was told to take: when, and the offset.
    pub led: Vec<(i64, i64)>,
    pub flushes: usize,
    settings: ClusterSettings,
}

pub struct World {
    pub now: i64,
    pub rng: Rng,
    pub hosts: Vec<Host>,
    wires: BTreeMap<usize, Wire>,
    next_wire: usize,
    by_end: BTreeMap<(usize, u64, LinkId), (usize, usize)>,
    events: BTreeMap<(i64, u64), Event>,
    next_event: u64,
    /// Pairs of hosts that cannot reach each other.
    pub cut: BTreeSet<(usize, usize)>,
    /// Who has voted in which epoch for whom.
    pub votes: BTreeMap<(NodeId, u64), usize>,
    pub delay_ms: (i64, i64),
    pub writes: bool,
    /// Two nodes may be told to hold one slot.
    pub is_by_hand: bool,
    pub messages: u64,
    calls: u64,
}

pub fn settings() -> ClusterSettings {
    ClusterSettings {
        node_timeout_ms: TIMEOUT_MS,
        replica_validity_factor: 10,
        migration_barrier: 1,
        allow_replica_migration: true,
        require_full_coverage: true,
        replica_no_failover: false,
        allow_reads_when_down: false,
        allow_pubsubshard_when_down: true,
        announce_ip: String::new(),
        announce_hostname: String::new(),
        announce_human_name: String::new(),
        availability_zone: String::new(),
        tcp_port: 6379,
        tls_port: 0,
        bus_port: 16379,
        tls: false,
        tls_replication: false,
        ping_interval_ms: 0,
    }
}

fn have_common(a: &SlotSet, b: &SlotSet) -> bool {
    let mut both = a.as_bytes().iter().zip(b.as_bytes());
    both.any(|(a, b)| a & b != 0)
}

impl World {
    pub fn new(hosts: usize, seed: u64) -> World {
        let mut world = World {
            now: 0,
            rng: Rng::new(seed),
            hosts: Vec::new(),
            wires: BTreeMap::new(),
            next_wire: 0,
            by_end: BTreeMap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            cut: BTreeSet::new(),
            votes: BTreeMap::new(),
            delay_ms: (1, 20),
            writes: true,
            is_by_hand: false,
            messages: 0,
            calls: 0,
        };
        for host in 0..hosts {
            let skew_ms = world.rng.below(400) as i64 - 200;
            world.hosts.push(Host {
                cluster: None,
                life: 0,
                address: format!("10.0.0.{}", host + 1),
                offset: 0,
                is_empty: true,
                written: Vec::new(),
                synced: Vec::new(),
                follows: None,
                last_data_at: 0,
                link_is_up: false,
                paused_until: -1,
                skew_ms,
                dropped: BTreeSet::new(),
                ended_channels: SlotSet::default(),
                published: Vec::new(),
                led: Vec::new(),
                flushes: 0,
                settings: settings(),
            });
            world.start(host);
        }
        world
    }

    // Lives of hosts.

    /// Starts a host, with the nodes.conf that is there.
    pub fn start(&mut self, host: usize) {
        self.hosts[host].life += 1;
        let facts = self.facts(host);
        let seed = self.rng.next_u64();
        let of = &mut self.hosts[host];
        let settings = of.settings.clone();
        of.cluster = Some(if of.written.is_empty() {
            Cluster::new(settings, seed, &facts)
        } else {
            Cluster::restore(&of.written, settings, seed, &facts).unwrap()
        });
        self.drain(host);
        let (life, at) = (self.hosts[host].life, self.rng.below(TICK_MS as u64) as i64);
        self.push(self.now + at, Event::Tick(host, life));
    }
    /// Ends a host. With `power_loss` only what is on the disk of nodes.conf stays.
    pub fn kill(&mut self, host: usize, power_loss: bool) {
        let of = &mut self.hosts[host];
        of.cluster = None;
        of.follows = None;
        of.link_is_up = false;
        of.paused_until = -1;
        if power_loss {
            of.written = of.synced.clone();
        }
        let life = of.life;
        let ends = self
            .by_end
            .keys()
            .filter(|end| (end.0, end.1) == (host, life));
        for (host, life, link) in ends.copied().collect::<Vec<_>>() {
            self.close(End { host, life, link });
        }
    }
    /// Who has this address.
    fn host_of(&self, ip: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.address == ip)
    }
    pub fn is_up(&self, host: usize) -> bool {
        self.hosts[host].cluster.is_some()
    }
    pub fn up(&self) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|host| self.is_up(*host))
            .collect()
    }
    pub fn node(&self, host: usize) -> &Cluster {
        self.hosts[host].cluster.as_ref().unwrap()
    }
    pub fn id(&self, host: usize) -> NodeId {
        self.node(host).myself().id
    }
    /// Changes a host's directives.
    pub fn configure(&mut self, host: usize, change: impl FnOnce(&mut ClusterSettings)) {
        change(&mut self.hosts[host].settings);
        let settings = self.hosts[host].settings.clone();
        self.with(host, |cluster, _| cluster.configure(settings));
    }
    /// Calls a node, and does what it wants done.
    pub fn with<R>(&mut self, host: usize, call: impl FnOnce(&mut Cluster, &Facts) -> R) -> R {
        let facts = self.facts(host);
        let result = call(self.hosts[host].cluster.as_mut().unwrap(), &facts);
        self.drain(host);
        let facts = self.facts(host);
        self.hosts[host]
            .cluster
            .as_mut()
            .unwrap()
            .before_sleep(&facts);
        self.drain(host);
        self.calls += 1;
        if self.calls.is_multiple_of(500) {
            self.node(host).check_invariants();
        }
        result
    }
    pub fn facts(&self, host: usize) -> Facts {
        let of = &self.hosts[host];
        Facts {
            unix_ms: UNIX_START_MS + self.now + of.skew_ms,
            mono_ms: self.now,
            offset: of.offset,
            link_is_up: of.link_is_up,
            data_age_ms: self.now - of.last_data_at,
            repl_ping_period_ms: 10_000,
            is_paused: self.now < of.paused_until,
            is_empty: of.is_empty,
        }
    }

    // Connections.

    fn push(&mut self, at: i64, event: Event) {
        self.events.insert((at, self.next_event), event);
        self.next_event += 1;
    }
    pub fn can_reach(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a.min(b), a.max(b)))
    }
    /// Cuts a group off from all others.
    pub fn cut_off(&mut self, group: &[usize]) {
        for &a in group {
            for b in (0..self.hosts.len()).filter(|b| !group.contains(b)) {
                self.cut.insert((a.min(b), a.max(b)));
            }
        }
    }
    fn delay(&mut self) -> i64 {
        let (least, most) = self.delay_ms;
        least + self.rng.below((most - least + 1) as u64) as i64
    }
    fn connect(&mut self, host: usize, link: LinkId, ip: &str, port: u16) {
        let end = End {
            host,
            life: self.hosts[host].life,
            link,
        };
        let wire = self.next_wire;
        self.next_wire += 1;
        self.wires.insert(
            wire,
            Wire {
                ends: [Some(end), None],
                last_at: [0, 0],
                is_stuck: false,
                waiting: Vec::new(),
            },
        );
        self.by_end.insert((host, end.life, link), (wire, 0));
        let at = self.now + self.delay();
        let to = self.host_of(ip);
        match to {
            Some(to) if port == self.hosts[to].settings.bus_port && self.can_reach(host, to) => {
                self.push(at, Event::Arrive(wire, to));
            }
            // Nothing comes back, or there is a refusal.
            _ if self.rng.below(2) == 0 => self.push(at, Event::Closed(end)),
            _ => {}
        }
    }
    fn arrive(&mut self, wire: usize, to: usize) {
        let Some(Some(from)) = self.wires.get(&wire).map(|wire| wire.ends[0]) else {
            return;
        };
        if !self.is_up(to) || !self.can_reach(from.host, to) {
            self.push(self.now + 1, Event::Closed(from));
            return;
        }
        let link = self.with(to, |cluster, facts| cluster.accepted(facts));
        let life = self.hosts[to].life;
        let end = End {
            host: to,
            life,
            link,
        };
        self.by_end.insert((to, life, link), (wire, 1));
        let at = self.now + self.delay();
        self.push(at, Event::Connected(wire));
        if let Some(wire) = self.wires.get_mut(&wire) {
            wire.ends[1] = Some(end);
            for bytes in std::mem::take(&mut wire.waiting) {
                self.send(from, bytes);
            }
        }
    }
    fn is_alive(&self, end: End) -> bool {
        let of = &self.hosts[end.host];
        of.life == end.life
            && of.cluster.is_some()
            && self.by_end.contains_key(&(end.host, end.life, end.link))
    }
    fn send(&mut self, end: End, bytes: Rc<[u8]>) {
        self.messages += 1;
        let Some(&(wire, side)) = self.by_end.get(&(end.host, end.life, end.link)) else {
            return;
        };
        let delay = self.delay();
        let now = self.now;
        let Some(of) = self.wires.get_mut(&wire) else {
            return;
        };
        if side == 0 && of.ends[1].is_none() {
            of.waiting.push(bytes);
            return;
        }
        let to = &mut of.last_at[1 - side];
        *to = (*to).max(now + delay);
        let at = *to;
        self.push(at, Event::Bytes(wire, 1 - side, bytes));
    }
    /// One end closes; the other hears of it, if it can.
    fn close(&mut self, end: End) {
        let Some((wire, side)) = self.by_end.remove(&(end.host, end.life, end.link)) else {
            return;
        };
        let delay = self.delay();
        let Some(of) = self.wires.get_mut(&wire) else {
            return;
        };
        of.ends[side] = None;
        let other = of.ends[1 - side];
        match other {
            Some(other) if !of.is_stuck && self.can_reach(end.host, other.host) => {
                let of = self.wires.get_mut(&wire).unwrap();
                let at = of.last_at[1 - side].max(self.now + delay);
                self.push(at, Event::Closed(other));
            }
            Some(_) => {}
            None => {
                self.wires.remove(&wire);
            }
        }
    }
    fn deliver(&mut self, wire: usize, side: usize, bytes: Rc<[u8]>) {
        let Some(of) = self.wires.get_mut(&wire) else {
            return;
        };
        let [Some(a), Some(b)] = of.ends else {
            return;
        };
        let (from, to) = if side == 0 { (b, a) } else { (a, b) };
        if of.is_stuck || !self.can_reach(from.host, to.host) {
            self.wires.get_mut(&wire).unwrap().is_stuck = true;
            return;
        }
        if !self.is_alive(to) {
            return;
        }
        let message = message::decode(&bytes).expect("what a node sends");
        let address = |host: usize| self.hosts[host].address.clone();
        let (peer, local) = (address(from.host), address(to.host));
        let link = to.link;
        let is_kept = self.with(to.host, |cluster, facts| {
            cluster.received(link, &peer, &local, message, facts)
        });
        if !is_kept {
            self.close(to);
        }
    }
    // What a node wants done.

    fn drain(&mut self, host: usize) {
        let actions = self.hosts[host].cluster.as_mut().unwrap().take_actions();
        for action in actions {
            self.act(host, action);
        }
    }
    fn act(&mut self, host: usize, action: Action) {
        let life = self.hosts[host].life;
        let end = |link| End { host, life, link };
        match action {
            Action::Connect { link, ip, port } => self.connect(host, link, &ip, port),
            Action::Send { link, bytes } => {
                self.note_vote(host, &bytes);
                self.send(end(link), bytes);
            }
            Action::Close(link) => self.close(end(link)),
            Action::Save { sync } => {
                let text = self.node(host).config_text();
                let of = &mut self.hosts[host];
                of.written = text;
                if sync {
                    of.synced = of.written.clone();
                }
            }
            Action::Follow { ip, port } => {
                let since = self.now;
                let of = self.host_of(&ip).filter(|_| port == 6379);
                self.hosts[host].follows = of.map(|host| (host, since));
            }
            Action::Lead => {
                let of = &mut self.hosts[host];
                of.follows = None;
                of.link_is_up = false;
                of.led.push((self.now, of.offset));
                self.check_epoch(host);
            }
            Action::DropSlot(slot) => {
                self.hosts[host].dropped.insert(slot);
            }
            Action::DropChannels(slots) => {
                for slot in slots.iter() {
                    self.hosts[host].ended_channels.insert(slot);
                }
            }
            Action::FlushAll => {
                self.hosts[host].is_empty = true;
                self.hosts[host].flushes += 1;
            }
            Action::Pause { until_mono_ms } => self.hosts[host].paused_until = until_mono_ms,
            Action::Unpause => self.hosts[host].paused_until = -1,
            Action::Publish {
                is_sharded,
                channel,
                ..
            } => self.hosts[host].published.push((is_sharded, channel)),
        }
    }
    /// Of each node there is one vote in an epoch, whatever happens to it, and nodes.conf has it before it is sent.
    fn note_vote(&mut self, host: usize, bytes: &[u8]) {
        // Of each message the type is looked at, and only that.
        let kind = Body::AuthAck.type_number().to_be_bytes();
        if bytes[12..14] == kind {
            let message = message::decode(bytes).expect("what a node sends");
            let header = message.header.unwrap();
            let vote = (header.sender, header.current_epoch);
            let count = self.votes.entry(vote).or_insert(0);
            *count += 1;
            assert_eq!(*count, 1, "two votes in epoch {}", header.current_epoch);
            let synced = String::from_utf8_lossy(&self.hosts[host].synced);
            let line = format!("lastVoteEpoch {}", header.current_epoch);
            assert!(
                synced.contains(&line),
                "a vote that is not on the disk: {synced}"
            );
        }
    }

    // Time.

    /// Lets time pass, ms.
    pub fn run(&mut self, for_ms: i64) {
        let until = self.now + for_ms;
        while let Some(first) = self.events.first_entry() {
            let at = first.key().0;
            if at > until {
                break;
            }
            let event = first.remove();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = until;
    }
    /// Lets time pass until something holds. Panics if that is not so after `most_ms`.
    pub fn until(&mut self, what: &str, most_ms: i64, mut holds: impl FnMut(&mut World) -> bool) {
        let end = self.now + most_ms;
        while !holds(self) {
            if self.now >= end {
                for host in self.up() {
                    eprintln!("{}", self.node(host).nodes_text(0, false));
                    eprintln!("{:?}", self.node(host).why_down());
                }
                panic!("not within {most_ms} ms: {what}");
            }
            self.run(50);
        }
    }
    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(host, life) => {
                if self.hosts[host].life == life && self.is_up(host) {
                    self.replicate(host);
                    self.with(host, |cluster, facts| cluster.tick(facts));
                    self.check_owners(host);
                    self.push(self.now + TICK_MS, Event::Tick(host, life));
                }
            }
            Event::Arrive(wire, to) => self.arrive(wire, to),
            Event::Connected(wire) => {
                let ends = self.wires.get(&wire).map(|wire| wire.ends);
                if let Some([Some(from), Some(_)]) = ends
                    && self.is_alive(from)
                {
                    self.with(from.host, |cluster, facts| {
                        cluster.connected(from.link, facts);
                    });
                }
            }
            Event::Bytes(wire, side, bytes) => self.deliver(wire, side, bytes),
            Event::Closed(end) => {
                if self.is_alive(end) {
                    self.with(end.host, |cluster, _| cluster.closed(end.link));
                }
                self.close(end);
            }
        }
    }
    /// Writes go to primaries that take them; replicas follow.
    fn replicate(&mut self, host: usize) {
        let now = self.now;
        match self.hosts[host].follows {
            None => {
                let node = self.node(host);
                let takes_writes = node.is_ok() && node.myself().is_primary();
                let of = &mut self.hosts[host];
                if self.writes && takes_writes && now >= of.paused_until {
                    of.offset += self.rng.below(10) as i64;
                }
                of.last_data_at = now;
            }
            Some((from, since)) => {
                let source = &self.hosts[from];
                let can = from != host
                    && self.can_reach(host, from)
                    && source.cluster.is_some()
                    && source.follows.is_none()
                    && now - since > 200;
                let (target, lag) = (source.offset, self.rng.below(4) == 0);
                let of = &mut self.hosts[host];
                of.link_is_up = can;
                if can {
                    of.last_data_at = now;
                    if !lag || now - since < 500 {
                        of.offset = target;
                    }
                }
            }
        }
    }
    /// Who takes a place has a higher epoch than all that hold its slots.
    fn check_epoch(&self, host: usize) {
        let mine = self.node(host).myself();
        for other in self.up().into_iter().filter(|other| *other != host) {
            let theirs = self.node(other).myself();
            if theirs.is_primary() && have_common(&mine.slots, &theirs.slots) {
                assert!(mine.config_epoch > theirs.config_epoch, "an old election");
            }
        }
    }
    /// No two primaries hold one slot under the same epoch.
    fn check_owners(&self, host: usize) {
        let mine = self.node(host).myself();
        if self.is_by_hand || !mine.is_primary() || mine.slots.is_empty() {
            return;
        }
        for other in self.up().into_iter().filter(|other| *other != host) {
            let theirs = self.node(other).myself();
            if theirs.is_primary() && theirs.config_epoch == mine.config_epoch {
                assert!(
                    !have_common(&mine.slots, &theirs.slots),
                    "two owners of a slot under epoch {}",
                    mine.config_epoch
                );
            }
        }
    }

    // Clusters.

    /// Who is whose replica, and who holds what, as one node sees it.
    pub fn view(&self, host: usize) -> BTreeMap<NodeId, (bool, Option<NodeId>, SlotSet)> {
        let cluster = self.node(host);
        let nodes = cluster.nodes().map(|(_, node)| {
            let primary = node.primary.and_then(|key| cluster.node(key));
            let what = (
                node.is_primary(),
                primary.map(|primary| primary.id),
                node.slots.clone(),
            );
            (node.id, what)
        });
        nodes.collect()
    }
    /// Whether all that are up see the same, and work.
    pub fn all_agree(&self) -> bool {
        let up = self.up();
        let first = self.view(up[0]);
        up.iter().all(|host| {
            let failing = node_flags::PFAIL | node_flags::FAIL | node_flags::HANDSHAKE;
            let node = self.node(*host);
            let others = node.nodes().filter(|(_, node)| node.has(failing));
            let are_up = others
                .filter(|(_, node)| up.iter().any(|host| self.id(*host) == node.id))
                .count();
            let is_sub = node.nodes().any(|(_, of)| {
                let primary = of.primary.and_then(|key| node.node(key));
                primary.is_some_and(Node::is_replica)
            });
            node.is_ok() && !is_sub && are_up == 0 && self.view(*host) == first
        })
    }
    /// A cluster whose first hosts are primaries with equal shares, and the others their replicas by turns.
    pub fn formed(primaries: usize, replicas: usize, seed: u64) -> World {
        let mut world = World::new(primaries + replicas, seed);
        let hosts = world.hosts.len();
        for host in 0..primaries {
            let slots = World::slot_of(host, primaries)..World::slot_of(host + 1, primaries);
            let slots: Vec<u16> = slots.collect();
            let epoch = host as u64 + 1;
            world.with(host, |cluster, _| {
                cluster.set_config_epoch(epoch).unwrap();
                cluster.add_slots(&slots).unwrap();
            });
        }
        for host in 1..hosts {
            world.meet(host, 0);
        }
        world.until("all know all", 20_000, |world| {
            let known = |host: &usize| {
                let nodes = world.node(*host).nodes();
                nodes.filter(|(_, node)| !node.in_handshake()).count()
            };
            world.up().iter().all(|host| known(host) == hosts)
        });
        for host in primaries..hosts {
            let of = world.id(host % primaries);
            world.with(host, |cluster, facts| {
                cluster.replicate(&of.0, facts).unwrap();
            });
        }
        world.until("the cluster works", 20_000, |world| world.all_agree());
        for host in 0..hosts {
            world.hosts[host].is_empty = false;
        }
        world
    }
    /// CLUSTER MEET at `a`, of `b`.
    pub fn meet(&mut self, a: usize, b: usize) {
        let ip = self.hosts[b].address.clone();
        self.with(a, |cluster, facts| {
            cluster.meet(&ip, 6379, 16379, facts).unwrap();
        });
    }
    /// What one node knows of another one.
    pub fn seen(&self, by: usize, of: usize) -> &Node {
        let (cluster, id) = (self.node(by), self.id(of));
        cluster.node(cluster.find(&id.0).unwrap()).unwrap()
    }
    /// A slot that this primary has at the start.
    pub fn slot_of(host: usize, primaries: usize) -> u16 {
        (host * SLOTS / primaries) as u16
    }
    /// The host that holds a slot, if all that are up say the same.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let up = self.up();
        let owner = |host: usize| {
            let node = self.node(host);
            Some(node.node(node.owner(slot)?)?.id)
        };
        let id = owner(up[0])?;
        let all = up.iter().all(|host| owner(*host) == Some(id));
        up.into_iter().find(|host| all && self.id(*host) == id)
    }
}

impl Cluster {
    /// See the head of `state`.
    pub fn check_invariants(&self) {
        assert!(self.nodes.contains_key(&self.me));
        assert!(self.keys.iter().eq(self.nodes.keys()));
        assert_eq!(self.by_id.len(), self.nodes.len());
        let knows = |key: &NodeKey| self.nodes.contains_key(key);
        let mut held = 0;
        for (key, node) in &self.nodes {
            assert_eq!(self.by_id.get(&node.id), Some(key));
            assert!(
                node.primary
                    .is_none_or(|primary| knows(&primary) && primary != *key)
            );
            assert!(node.failure_reports.iter().all(|(from, _)| knows(from)));
            assert_eq!(node.is_myself(), *key == self.me);
            for (link, is_inbound) in [(node.link, false), (node.inbound, true)] {
                if let Some(link) = link {
                    let record = &self.links[&link];
                    assert_eq!((record.node, record.is_inbound), (Some(*key), is_inbound));
                }
            }
            held += node.slots.len();
        }
        assert_eq!(held, self.owners.iter().flatten().count());
        for (slot, owner) in self.owners.iter().enumerate() {
            if let Some(owner) = owner {
                assert!(self.nodes[owner].slots.contains(slot as u16));
            }
        }
        assert!(self.migrating.values().all(knows));
        assert!(self.importing.values().all(knows));
        let me = self.myself();
        assert!(me.is_primary() != me.is_replica());
        assert!(me.is_primary() || me.slots.is_empty());
    }
}
