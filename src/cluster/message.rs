//! Messages of the bus, as values and as bytes.
//!
//! In: bytes of a peer, which may be anything. Out: messages; and the other way. Lengths are checked before anything is
//! taken. Mirrors `clusterMsg` of Redis's cluster_legacy.h (protocol version 1) and Valkey's light header.
//!
//! All numbers are big-endian. A message is a head and what its type has behind it:
//!
//! ```text
//!    0 "RCmb"   4 length   8 version  10 port  12 type  14 gossip entries
//!   16 current epoch      24 config epoch     32 offset
//!   40 sender             80 slots          2128 its primary, or zeros
//! 2168 address (46)     2214 extensions     2216 (30 unused)
//! 2246 second port      2248 bus port       2250 flags   2252 state   2253 message flags (3)
//! 2256 the rest
//! ```
//!
//! A light one ends at byte 16 and has neither port nor gossip; bit 15 of its type tells.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::node::{ID_LEN, NodeId, node_flags};
use crate::structures::slots::{SET_BYTES, SlotSet};
use std::fmt;

/// The bus's port is so far above that of clients.
pub const PORT_DISTANCE: u16 = 10_000;
/// A message of more is refused.
pub const MOST_BYTES: usize = 1 << 30;

/// The head that all messages have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Port for clients: TCP, or TLS with `tls-cluster`.
    pub port: u16,
    /// The other of the two; 0: none.
    pub secondary_port: u16,
    /// Port of the bus.
    pub bus_port: u16,
    /// The highest epoch that the sender knows.
    pub current_epoch: u64,
    /// The epoch of the sender, or of its primary.
    pub config_epoch: u64,
    /// Its replication offset.
    pub offset: i64,
    /// Who sends.
    pub sender: NodeId,
    /// The slots of the sender, or of its primary.
    pub slots: SlotSet,
    /// Of a replica: its primary.
    pub replica_of: Option<NodeId>,
    /// Announced address; empty: the one that it comes from.
    pub ip: String,
    /// [`super::node::node_flags`]. `EXTENSIONS` is a flag of the message on the wire, which [`encode`] always sets: what
    /// is decoded has it when the sender understands them.
    pub flags: u16,
    /// The cluster works, as far as the sender knows.
    pub is_ok: bool,
    /// The sender is a primary that has stopped writes, for a manual failover.
    pub is_paused: bool,
    /// A vote is asked for although the primary is up.
    pub force_ack: bool,
}

/// What a ping tells of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// Whom it is about.
    pub id: NodeId,
    /// When the sender pinged it last, s; 0: no ping is unanswered.
    pub ping_sent_s: u32,
    /// When it answered, s.
    pub pong_received_s: u32,
    /// Where it is.
    pub ip: String,
    /// Its ports, as in [`Header`].
    pub port: u16,
    /// See `port`.
    pub secondary_port: u16,
    /// See `port`.
    pub bus_port: u16,
    /// [`super::node::node_flags`].
    pub flags: u16,
}

/// What a ping may tell besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The sender's host name.
    Hostname(String),
    /// Its name for people.
    HumanName(String),
    /// A node that must not be known again for so many seconds.
    Forgotten(NodeId, u64),
    /// The sender's shard.
    Shard(NodeId),
    /// Redis's secret of the cluster.
    InternalSecret([u8; 40]),
    /// Valkey's availability zone of the sender.
    AvailabilityZone(String),
}

/// Which of the three that are built alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingKind {
    /// To be answered.
    Ping,
    /// The answer.
    Pong,
    /// To be answered, and whoever sends it is to be known.
    Meet,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// PING, PONG, MEET.
    Ping {
        /// Which.
        kind: PingKind,
        /// Of other nodes.
        gossip: Vec<Gossip>,
        /// Sent only to who understands them (flag `EXTENSIONS`).
        extensions: Vec<Extension>,
    },
    /// A node is down.
    Fail(NodeId),
    /// PUBLISH, or SPUBLISH.
    Publish {
        /// Only the shard's nodes are told.
        is_sharded: bool,
        /// The channel.
        channel: Vec<u8>,
        /// The message.
        message: Vec<u8>,
    },
    /// A replica asks for a vote.
    AuthRequest,
    /// It has it.
    AuthAck,
    /// Somebody's slots, of whom the receiver knows an older epoch.
    Update {
        /// The epoch.
        config_epoch: u64,
        /// Whose.
        id: NodeId,
        /// The slots.
        slots: SlotSet,
    },
    /// A replica wants to take its primary's place: writes are to be stopped.
    ManualFailover,
    /// Of a module: passed over.
    Module,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The head; none: it came with a light one, from whom the link tells.
    pub header: Option<Header>,
    /// What it is about.
    pub body: Body,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl std::error::Error for DecodeError {}

type Decoded<T> = Result<T, DecodeError>;

const SIGNATURE: &[u8; 4] = b"RCmb";
const VERSION: u16 = 1;
/// Bit of the type: the head is a light one.
const LIGHT: u16 = 0x8000;

/// Bytes of a head.
const HEAD: usize = 2256;
const PORT_AT: usize = 10;
/// Bytes of a light head, which all messages have at least.
const LIGHT_HEAD: usize = 16;
/// Bytes of an address, the zero at its end included.
const ADDRESS: usize = 46;
const UNUSED: usize = 30;
const GOSSIP: usize = 104;
/// Length, type, two bytes unused.
const EXTENSION_HEAD: usize = 8;
/// Redis takes the length of an extension as 16 bits.
const EXTENSION_MOST: usize = 0xfff8;
const PUBLISH_HEAD: usize = 8;
const UPDATE: usize = 8 + ID_LEN + SET_BYTES;
/// Id of the module, length, type.
const MODULE_HEAD: usize = 13;

// The sums of the fields as they are read and written below.
const _: () = assert!(PORT_AT == SIGNATURE.len() + 4 + 2 && LIGHT_HEAD == PORT_AT + 3 * 2);
const _: () = assert!(
    HEAD == LIGHT_HEAD + 3 * 8 + 2 * ID_LEN + SET_BYTES + ADDRESS + 2 + UNUSED + 3 * 2 + 1 + 3
);
const _: () = assert!(GOSSIP == ID_LEN + 2 * 4 + ADDRESS + 5 * 2);
const _: () = assert!(UPDATE == 2096);

/// Types of messages.
mod types {
    pub const PING: u16 = 0;
    pub const PONG: u16 = 1;
    pub const MEET: u16 = 2;
    pub const FAIL: u16 = 3;
    pub const PUBLISH: u16 = 4;
    pub const AUTH_REQUEST: u16 = 5;
    pub const AUTH_ACK: u16 = 6;
    pub const UPDATE: u16 = 7;
    pub const MANUAL_FAILOVER: u16 = 8;
    pub const MODULE: u16 = 9;
    pub const PUBLISH_SHARD: u16 = 10;
}

/// Types of extensions.
mod extension_types {
    pub const HOSTNAME: u16 = 0;
    pub const HUMAN_NAME: u16 = 1;
    pub const FORGOTTEN: u16 = 2;
    pub const SHARD: u16 = 3;
    /// Redis's; Valkey has given 4 to an address for clients.
    pub const INTERNAL_SECRET: u16 = 4;
    /// Valkey's.
    pub const AVAILABILITY_ZONE: u16 = 8;
}

/// Flags of a message, in the first of its three bytes.
mod message_flags {
    pub const PAUSED: u8 = 1;
    pub const FORCE_ACK: u8 = 2;
    pub const EXTENSIONS: u8 = 4;
}

impl Body {
    /// Its type on the wire, below [`TYPES`].
    pub fn type_number(&self) -> u16 {
        match self {
            Body::Ping { kind, .. } => match kind {
                PingKind::Ping => types::PING,
                PingKind::Pong => types::PONG,
                PingKind::Meet => types::MEET,
            },
            Body::Fail(_) => types::FAIL,
            Body::Publish { is_sharded, .. } => match is_sharded {
                false => types::PUBLISH,
                true => types::PUBLISH_SHARD,
            },
            Body::AuthRequest => types::AUTH_REQUEST,
            Body::AuthAck => types::AUTH_ACK,
            Body::Update { .. } => types::UPDATE,
            Body::ManualFailover => types::MANUAL_FAILOVER,
            Body::Module => types::MODULE,
        }
    }
}

/// How many types there are.
pub const TYPES: usize = 11;

/// How long the message is that begins with these bytes; none as long as they are too few to tell (16 are enough). An error:
/// nothing that follows on the connection can be understood.
pub fn total_len(head: &[u8]) -> Decoded<Option<usize>> {
    let mut fields = Fields(head);
    let (Ok(signature), Ok(len)) = (fields.take(SIGNATURE.len()), fields.u32()) else {
        return Ok(None);
    };
    if signature != SIGNATURE {
        return Err(DecodeError("bad signature"));
    }
    let len = len as usize;
    if !(LIGHT_HEAD..=MOST_BYTES).contains(&len) {
        return Err(DecodeError("bad message length"));
    }
    let (Ok(version), Ok(_), Ok(kind), Ok(_)) =
        (fields.u16(), fields.u16(), fields.u16(), fields.u16())
    else {
        return Ok(None);
    };
    if version != VERSION {
        return Err(DecodeError("unknown version of the protocol"));
    }
    if len < least_len(kind)? {
        return Err(DecodeError("bad message length"));
    }
    Ok(Some(len))
}

/// Fewer bytes a message of that type never has.
fn least_len(kind: u16) -> Decoded<usize> {
    let (head, kind) = match kind & LIGHT {
        0 => (HEAD, kind),
        _ => match kind & !LIGHT {
            light @ (types::PUBLISH | types::PUBLISH_SHARD | types::MODULE) => (LIGHT_HEAD, light),
            _ => return Err(DecodeError("a light head before what needs a whole one")),
        },
    };
    let body = match kind {
        types::FAIL => ID_LEN,
        types::PUBLISH | types::PUBLISH_SHARD => PUBLISH_HEAD,
        types::UPDATE => UPDATE,
        types::MODULE => MODULE_HEAD,
        _ => 0,
    };
    Ok(head.saturating_add(body))
}

/// The message that these bytes are, all of them. An error: it is to be passed over, as Redis does.
pub fn decode(bytes: &[u8]) -> Decoded<Message> {
    if total_len(bytes)? != Some(bytes.len()) {
        return Err(DecodeError("bad message length"));
    }
    let mut fields = Fields(bytes);
    fields.take(PORT_AT)?; // Signature, length and version, which are seen to.
    let port = fields.u16()?;
    let kind = fields.u16()?;
    let gossip = fields.u16()?;
    let (header, extensions) = match kind & LIGHT {
        0 => {
            let (header, extensions) = fields.header(port)?;
            (Some(header), extensions)
        }
        _ => (None, 0),
    };
    let body = fields.body(kind & !LIGHT, gossip, extensions)?;
    Ok(Message { header, body })
}

/// What is left of a message. Nothing is taken from it that it does not have.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(len) else {
            return Err(DecodeError("bad message length"));
        };
        self.0 = rest;
        Ok(taken)
    }
    fn array<const LEN: usize>(&mut self) -> Decoded<[u8; LEN]> {
        let taken = self.take(LEN)?;
        taken.try_into().or(Err(DecodeError("bad message length")))
    }
    fn u8(&mut self) -> Decoded<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }
    fn u16(&mut self) -> Decoded<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }
    fn u32(&mut self) -> Decoded<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }
    fn u64(&mut self) -> Decoded<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }
    fn id(&mut self) -> Decoded<NodeId> {
        let id = NodeId::parse(self.take(ID_LEN)?);
        id.ok_or(DecodeError("a node id that is none"))
    }
    fn slots(&mut self) -> Decoded<SlotSet> {
        Ok(SlotSet::from_bytes(self.take(SET_BYTES)?))
    }
    /// None: it could not stand in nodes.conf. Without a zero it is cut, as in Redis.
    fn address(&mut self) -> Decoded<Option<String>> {
        let field = self.take(ADDRESS)?;
        let field = field.get(..ADDRESS - 1).unwrap_or_default();
        let address = until_zero(field);
        Ok(is_address(address).then_some(address).and_then(to_text))
    }
    fn end(&self) -> Decoded<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(DecodeError("bad message length")),
        }
    }

    /// The head from byte 16 on, and how many extensions there are.
    fn header(&mut self, port: u16) -> Decoded<(Header, u16)> {
        let (current_epoch, config_epoch) = (self.u64()?, self.u64()?);
        let offset = self.u64()?.cast_signed();
        let sender = self.id()?;
        let slots = self.slots()?;
        let replica_of = match self.take(ID_LEN)? {
            none if none.iter().all(|byte| *byte == 0) => None,
            id => Some(Fields(id).id()?),
        };
        let ip = self.address()?;
        let extensions = self.u16()?;
        self.take(UNUSED)?;
        let (secondary_port, bus_port) = (self.u16()?, self.u16()?);
        let mut flags = self.u16()? & !node_flags::EXTENSIONS;
        let is_ok = self.u8()? == 0;
        let [message_flags, _, _] = self.array()?;
        let understands_extensions = message_flags & message_flags::EXTENSIONS != 0;
        if understands_extensions {
            flags |= node_flags::EXTENSIONS;
        }
        let header = Header {
            port,
            secondary_port,
            bus_port,
            current_epoch,
            config_epoch,
            offset,
            sender,
            slots,
            replica_of,
            ip: ip.ok_or(DecodeError("an address that is none"))?,
            flags,
            is_ok,
            is_paused: message_flags & message_flags::PAUSED != 0,
            force_ack: message_flags & message_flags::FORCE_ACK != 0,
        };
        let extensions = if understands_extensions {
            extensions
        } else {
            0
        };
        Ok((header, extensions))
    }

    fn body(mut self, kind: u16, gossip: u16, extensions: u16) -> Decoded<Body> {
        let body = match kind {
            types::PING => self.ping(PingKind::Ping, gossip, extensions)?,
            types::PONG => self.ping(PingKind::Pong, gossip, extensions)?,
            types::MEET => self.ping(PingKind::Meet, gossip, extensions)?,
            types::FAIL => Body::Fail(self.id()?),
            types::PUBLISH => self.publish(false)?,
            types::PUBLISH_SHARD => self.publish(true)?,
            types::AUTH_REQUEST => Body::AuthRequest,
            types::AUTH_ACK => Body::AuthAck,
            types::UPDATE => Body::Update {
                config_epoch: self.u64()?,
                id: self.id()?,
                slots: self.slots()?,
            },
            types::MANUAL_FAILOVER => Body::ManualFailover,
            types::MODULE => {
                self.take(8)?;
                let len = self.u32()?;
                self.u8()?;
                self.take(len as usize)?;
                Body::Module
            }
            _ => return Ok(Body::Module),
        };
        self.end()?;
        Ok(body)
    }

    fn publish(&mut self, is_sharded: bool) -> Decoded<Body> {
        let (channel_len, message_len) = (self.u32()?, self.u32()?);
        let channel = self.take(channel_len as usize)?;
        let message = self.take(message_len as usize)?;
        self.end()?;
        Ok(Body::Publish {
            is_sharded,
            channel: channel.to_vec(),
            message: message.to_vec(),
        })
    }

    fn ping(&mut self, kind: PingKind, entries: u16, count: u16) -> Decoded<Body> {
        let mut entries = Fields(self.take(usize::from(entries).saturating_mul(GOSSIP))?);
        let mut gossip = Vec::new();
        let mut all_have_ids = true;
        while !entries.0.is_empty() {
            match Fields(entries.take(GOSSIP)?).gossip()? {
                Ok(entry) => gossip.push(entry),
                Err(Unusable::Id) => all_have_ids = false,
                Err(Unusable::Address) => {}
            }
        }
        if !all_have_ids {
            // The sender's memory is damaged: Redis believes none of its gossip then.
            gossip.clear();
        }
        let mut extensions = Vec::new();
        for _ in 0..count {
            let len = self.u32()? as usize;
            let kind = self.u16()?;
            self.u16()?;
            let data_len = len.checked_sub(EXTENSION_HEAD);
            let Some(data_len) =
                data_len.filter(|_| len.is_multiple_of(8) && len <= EXTENSION_MOST)
            else {
                return Err(DecodeError("an extension with a bad length"));
            };
            let data = self.take(data_len)?;
            extensions.extend(Fields(data).extension(kind)?);
        }
        Ok(Body::Ping {
            kind,
            gossip,
            extensions,
        })
    }

    fn gossip(mut self) -> Decoded<Result<Gossip, Unusable>> {
        let id = NodeId::parse(self.take(ID_LEN)?);
        let (ping_sent_s, pong_received_s) = (self.u32()?, self.u32()?);
        let ip = self.address()?;
        let (port, bus_port) = (self.u16()?, self.u16()?);
        let (flags, secondary_port) = (self.u16()?, self.u16()?);
        let Some(id) = id else {
            return Ok(Err(Unusable::Id));
        };
        let Some(ip) = ip else {
            return Ok(Err(Unusable::Address));
        };
        Ok(Ok(Gossip {
            id,
            ping_sent_s,
            pong_received_s,
            ip,
            port,
            secondary_port,
            bus_port,
            flags,
        }))
    }

    /// What an extension says; none: it is to be passed over.
    fn extension(mut self, kind: u16) -> Decoded<Option<Extension>> {
        Ok(match kind {
            extension_types::HOSTNAME => {
                let name = self.text()?;
                if !is_host_name(name) {
                    return Err(DecodeError("a host name that is none"));
                }
                to_text(name).map(Extension::Hostname)
            }
            extension_types::HUMAN_NAME => to_text(self.text()?).map(Extension::HumanName),
            extension_types::FORGOTTEN => {
                let id = NodeId::parse(self.take(ID_LEN)?);
                let seconds = self.u64()?;
                id.map(|id| Extension::Forgotten(id, seconds))
            }
            extension_types::SHARD => Some(Extension::Shard(self.id()?)),
            // Shorter it is Valkey's address for clients. Redis would refuse the message, and so lose the peer.
            extension_types::INTERNAL_SECRET => self.array().ok().map(Extension::InternalSecret),
            extension_types::AVAILABILITY_ZONE => {
                to_text(self.text()?).map(Extension::AvailabilityZone)
            }
            _ => None,
        })
    }

    /// The text of an extension, which must end with a zero.
    fn text(&self) -> Decoded<&'a [u8]> {
        match self.0.last() {
            Some(0) => Ok(until_zero(self.0)),
            _ => Err(DecodeError("a text without an end")),
        }
    }
}

/// What is wrong with an entry of gossip.
enum Unusable {
    Id,
    /// It is passed over alone: whoever announced it reaches us through others, too, who are not to blame.
    Address,
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// None: it is not UTF-8, or has control characters. A name or a zone is passed over then; Redis takes it.
fn to_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains(char::is_control)).then(|| text.to_owned())
}

/// Whether it can stand in nodes.conf as an address: nothing that ends a field there or begins a quoted one.
pub(super) fn is_address(bytes: &[u8]) -> bool {
    let is_plain =
        |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'\'' | b'\\');
    bytes.len() < ADDRESS && bytes.iter().all(is_plain)
}

/// Whether `cluster-announce-hostname` may be set to it.
fn is_host_name(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    bytes.len() < 256 && bytes.iter().all(is_plain)
}

/// The bytes of a message; none, if it would be longer than [`MOST_BYTES`].
pub fn encode(message: &Message) -> Vec<u8> {
    let Message { header, body } = message;
    if let Body::Publish {
        channel, message, ..
    } = body
        && channel.len().saturating_add(message.len()) > MOST_BYTES - HEAD - PUBLISH_HEAD
    {
        return Vec::new();
    }
    let (gossip, extensions): (&[Gossip], &[Extension]) = match body {
        Body::Ping {
            gossip, extensions, ..
        } => (gossip, extensions),
        _ => (&[], &[]),
    };
    let gossip = gossip.get(..usize::from(u16::MAX)).unwrap_or(gossip);
    let (extensions, extension_bytes) = encode_extensions(extensions);

    let mut out = Output(Vec::with_capacity(HEAD));
    let light = if header.is_some() { 0 } else { LIGHT };
    out.bytes(SIGNATURE);
    out.u32(0); // The length, which is not known yet.
    out.u16(VERSION);
    out.u16(header.as_ref().map_or(0, |header| header.port));
    out.u16(body.type_number() | light);
    out.u16(gossip.len() as u16);
    if let Some(header) = header {
        out.header(header, extensions);
    }
    for entry in gossip {
        out.gossip(entry);
    }
    out.bytes(&extension_bytes);
    out.body(body);
    out.finish()
}

/// How many extensions could be encoded, and their bytes.
fn encode_extensions(extensions: &[Extension]) -> (u16, Vec<u8>) {
    let mut count: u16 = 0;
    let mut out = Output(Vec::new());
    for extension in extensions {
        let mut data = Output(Vec::new());
        let kind = data.extension(extension);
        data.fill_to(data.0.len().next_multiple_of(8));
        let len = data.0.len().saturating_add(EXTENSION_HEAD);
        let (Some(next), true) = (count.checked_add(1), len <= EXTENSION_MOST) else {
            continue;
        };
        count = next;
        out.u32(len as u32);
        out.u16(kind);
        out.u16(0);
        out.bytes(&data.0);
    }
    (count, out.0)
}

/// A message that is being written.
struct Output(Vec<u8>);

impl Output {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }
    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }
    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }
    fn fill_to(&mut self, len: usize) {
        self.0.resize(len.max(self.0.len()), 0);
    }
    fn address(&mut self, address: &str) {
        let end = self.0.len().saturating_add(ADDRESS);
        let address = address.as_bytes();
        self.bytes(address.get(..ADDRESS - 1).unwrap_or(address));
        self.fill_to(end);
    }

    /// The head from byte 16 on.
    fn header(&mut self, header: &Header, extensions: u16) {
        self.u64(header.current_epoch);
        self.u64(header.config_epoch);
        self.u64(header.offset.cast_unsigned());
        self.bytes(&header.sender.0);
        self.bytes(header.slots.as_bytes());
        match &header.replica_of {
            Some(id) => self.bytes(&id.0),
            None => self.bytes(&[0; ID_LEN]),
        }
        self.address(&header.ip);
        self.u16(extensions);
        self.bytes(&[0; UNUSED]);
        self.u16(header.secondary_port);
        self.u16(header.bus_port);
        self.u16(header.flags & !node_flags::EXTENSIONS);
        let mut flags = message_flags::EXTENSIONS;
        if header.is_paused {
            flags |= message_flags::PAUSED;
        }
        if header.force_ack {
            flags |= message_flags::FORCE_ACK;
        }
        self.bytes(&[u8::from(!header.is_ok), flags, 0, 0]);
    }

    fn gossip(&mut self, entry: &Gossip) {
        self.bytes(&entry.id.0);
        self.u32(entry.ping_sent_s);
        self.u32(entry.pong_received_s);
        self.address(&entry.ip);
        self.u16(entry.port);
        self.u16(entry.bus_port);
        self.u16(entry.flags);
        self.u16(entry.secondary_port);
        self.u16(0);
    }

    /// The data of an extension, not filled to a multiple of 8 yet; its type.
    fn extension(&mut self, extension: &Extension) -> u16 {
        let mut text = |text: &str| {
            self.bytes(text.as_bytes());
            self.bytes(&[0]);
        };
        match extension {
            Extension::Hostname(name) => {
                text(name);
                extension_types::HOSTNAME
            }
            Extension::HumanName(name) => {
                text(name);
                extension_types::HUMAN_NAME
            }
            Extension::Forgotten(id, seconds) => {
                self.bytes(&id.0);
                self.u64(*seconds);
                extension_types::FORGOTTEN
            }
            Extension::Shard(id) => {
                self.bytes(&id.0);
                extension_types::SHARD
            }
            Extension::InternalSecret(secret) => {
                self.bytes(secret);
                extension_types::INTERNAL_SECRET
            }
            Extension::AvailabilityZone(zone) => {
                text(zone);
                extension_types::AVAILABILITY_ZONE
            }
        }
    }

    fn body(&mut self, body: &Body) {
        match body {
            // Written before, with the counts of the head.
            Body::Ping { .. } => {}
            Body::AuthRequest | Body::AuthAck | Body::ManualFailover => {}
            Body::Fail(id) => self.bytes(&id.0),
            Body::Publish {
                channel, message, ..
            } => {
                self.u32(channel.len() as u32);
                self.u32(message.len() as u32);
                self.bytes(channel);
                self.bytes(message);
            }
            Body::Update {
                config_epoch,
                id,
                slots,
            } => {
                self.u64(*config_epoch);
                self.bytes(&id.0);
                self.bytes(slots.as_bytes());
            }
            Body::Module => self.bytes(&[0; MODULE_HEAD]),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let len = self.0.len();
        match self.0.get_mut(4..8) {
            Some(field) if len <= MOST_BYTES => field.copy_from_slice(&(len as u32).to_be_bytes()),
            _ => self.0.clear(),
        }
        self.0
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
