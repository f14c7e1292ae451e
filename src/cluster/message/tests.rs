//! Messages of the bus, right and wrong.

use super::*;
use crate::structures::slots::SLOTS;
use proptest::collection::vec;
use proptest::prelude::*;

fn id_of(letter: char) -> NodeId {
    NodeId::parse(letter.to_string().repeat(ID_LEN).as_bytes()).unwrap()
}

fn slots_of(range: std::ops::RangeInclusive<u16>) -> SlotSet {
    let mut slots = SlotSet::default();
    for slot in range {
        slots.insert(slot);
    }
    slots
}

fn header() -> Header {
    Header {
        port: 0x0102,
        secondary_port: 0x0304,
        bus_port: 0x0506,
        current_epoch: 0x1112_1314_1516_1718,
        config_epoch: 0x2122_2324_2526_2728,
        offset: 0x3132_3334_3536_3738,
        sender: id_of('a'),
        slots: slots_of(0..=8),
        replica_of: Some(id_of('b')),
        ip: "10.1.2.3".to_owned(),
        flags: node_flags::REPLICA | node_flags::EXTENSIONS,
        is_ok: false,
        is_paused: true,
        force_ack: true,
    }
}

fn entry(letter: char) -> Gossip {
    Gossip {
        id: id_of(letter),
        ping_sent_s: 0x4142_4344,
        pong_received_s: 0x5152_5354,
        ip: "::1".to_owned(),
        port: 0x6162,
        secondary_port: 0x6364,
        bus_port: 0x6566,
        flags: 0x6768,
    }
}

fn ping(gossip: Vec<Gossip>, extensions: Vec<Extension>) -> Message {
    Message {
        header: Some(header()),
        body: Body::Ping {
            kind: PingKind::Ping,
            gossip,
            extensions,
        },
    }
}

fn with_body(body: Body) -> Message {
    Message {
        header: Some(header()),
        body,
    }
}

/// The bytes of a message, with others in some place.
fn changed(message: &Message, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = encode(message);
    encoded[at..at + bytes.len()].copy_from_slice(bytes);
    encoded
}

#[test]
fn fields_stand_where_the_format_says() {
    let all = encode(&ping(vec![entry('c')], vec![Extension::Shard(id_of('d'))]));
    let expect = |at: usize, field: &[u8]| {
        assert_eq!(&all[at..at + field.len()], field, "at byte {at}");
    };
    let total = 2256 + 104 + 48;
    assert_eq!(all.len(), total);
    expect(0, b"RCmb");
    expect(4, &(total as u32).to_be_bytes());
    expect(8, &[0, 1]); // Version.
    expect(10, &[1, 2]); // Port.
    expect(12, &[0, 0]); // Type.
    expect(14, &[0, 1]); // Entries of gossip.
    expect(16, &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
    expect(24, &[0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28]);
    expect(32, &[0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38]);
    expect(40, &[b'a'; 40]);
    expect(80, &[0xff, 1, 0]);
    expect(2128, &[b'b'; 40]);
    expect(2168, b"10.1.2.3\0");
    expect(2214, &[0, 1]); // Extensions.
    expect(2216, &[0; 30]);
    expect(2246, &[3, 4]); // Second port.
    expect(2248, &[5, 6]); // Port of the bus.
    expect(2250, &[0, 2]); // Flags, without that of extensions.
    expect(2252, &[1]); // The cluster is down.
    expect(2253, &[7, 0, 0]); // Paused, force, extensions.
    // The entry of gossip.
    expect(2256, &[b'c'; 40]);
    expect(2296, &[0x41, 0x42, 0x43, 0x44, 0x51, 0x52, 0x53, 0x54]);
    expect(2304, b"::1\0");
    expect(
        2350,
        &[0x61, 0x62, 0x65, 0x66, 0x67, 0x68, 0x63, 0x64, 0, 0],
    );
    // The extension.
    expect(2360, &[0, 0, 0, 48, 0, 3, 0, 0]);
    expect(2368, &[b'd'; 40]);
}

#[test]
fn bodies_have_their_types_and_lengths() {
    let publish = |is_sharded| Body::Publish {
        is_sharded,
        channel: b"ab".to_vec(),
        message: b"cde".to_vec(),
    };
    let update = Body::Update {
        config_epoch: 9,
        id: id_of('c'),
        slots: slots_of(8..=8),
    };
    let empty_ping = |kind| Body::Ping {
        kind,
        gossip: Vec::new(),
        extensions: Vec::new(),
    };
    let mut updated = vec![0, 0, 0, 0, 0, 0, 0, 9];
    updated.extend([b'c'; 40]);
    updated.extend([0, 1]);
    updated.resize(8 + 40 + 2048, 0);
    let published = b"\0\0\0\x02\0\0\0\x03abcde".to_vec();
    for (number, body, expected) in [
        (0, empty_ping(PingKind::Ping), Vec::new()),
        (1, empty_ping(PingKind::Pong), Vec::new()),
        (2, empty_ping(PingKind::Meet), Vec::new()),
        (3, Body::Fail(id_of('c')), vec![b'c'; 40]),
        (4, publish(false), published.clone()),
        (5, Body::AuthRequest, Vec::new()),
        (6, Body::AuthAck, Vec::new()),
        (7, update, updated),
        (8, Body::ManualFailover, Vec::new()),
        (9, Body::Module, vec![0; 13]),
        (10, publish(true), published),
    ] {
        let message = with_body(body);
        let bytes = encode(&message);
        assert_eq!(bytes[12..14], [0, number]);
        assert_eq!(bytes[2256..], expected, "type {number}");
        assert_eq!(total_len(&bytes), Ok(Some(bytes.len())));
        assert_eq!(decode(&bytes), Ok(message));
    }
}

/// A PONG of Redis 8.0.6 with a host name and a human name, to a node that understands extensions; with other ids.
#[test]
fn a_message_of_redis_is_understood() {
    let head = "52436d62000009c000016979000100010000000000000008000000000000000800000000000000006161616161616161
                6161616161616161616161616161616161616161616161616161616161616161";
    let behind_slots = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
                000000000000000000000000000000000000000000000000000000000000000000000000000000040000000000000000
                0000000000000000000000000000000000000000000000009089001100040000";
    let gossip = "62626262626262626262626262626262626262626262626262626262626262626262626262626262000000006b0cc900
                3132372e302e302e3100000000000000000000000000000000000000000000000000000000000000000000000000697a
                908a040100000000";
    let extensions = "0000001800000000612e6578616d706c65000000000000000000001000010000616c7068610000000000003000030000
                636363636363636363636363636363636363636363636363636363636363636363636363636363630000003000040000
                64646464646464646464646464646464646464646464646464646464646464646464646464646464";
    let of_hex = |text: &str| {
        let digits: String = text.split_whitespace().collect();
        let pairs = (0..digits.len()).step_by(2);
        let bytes = pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
        bytes.collect::<Vec<u8>>()
    };
    let mut bytes = of_hex(head);
    bytes.extend([0xff; 1024]); // Slots 0 to 8191.
    bytes.extend([0; 1024]);
    bytes.extend(of_hex(behind_slots));
    bytes.extend(of_hex(gossip));
    bytes.extend(of_hex(extensions));

    let pong = Message {
        header: Some(Header {
            port: 27001,
            secondary_port: 0,
            bus_port: 37001,
            current_epoch: 8,
            config_epoch: 8,
            offset: 0,
            sender: id_of('a'),
            slots: slots_of(0..=8191),
            replica_of: None,
            ip: String::new(),
            flags: node_flags::MYSELF | node_flags::PRIMARY | node_flags::EXTENSIONS,
            is_ok: true,
            is_paused: false,
            force_ack: false,
        }),
        body: Body::Ping {
            kind: PingKind::Pong,
            gossip: vec![Gossip {
                id: id_of('b'),
                ping_sent_s: 0,
                pong_received_s: 1_796_000_000,
                ip: "127.0.0.1".to_owned(),
                port: 27002,
                secondary_port: 0,
                bus_port: 37002,
                flags: node_flags::PRIMARY | node_flags::EXTENSIONS,
            }],
            extensions: vec![
                Extension::Hostname("a.example".to_owned()),
                Extension::HumanName("alpha".to_owned()),
                Extension::Shard(id_of('c')),
                Extension::InternalSecret([b'd'; 40]),
            ],
        },
    };
    assert_eq!(decode(&bytes).as_ref(), Ok(&pong));
    assert_eq!(encode(&pong), bytes);
}

#[test]
fn a_light_head_is_understood_before_what_may_have_it() {
    let bytes = b"RCmb\0\0\0\x1d\0\x01\0\0\x80\x0a\0\0\0\0\0\x02\0\0\0\x03abcde";
    let publish = Message {
        header: None,
        body: Body::Publish {
            is_sharded: true,
            channel: b"ab".to_vec(),
            message: b"cde".to_vec(),
        },
    };
    assert_eq!(total_len(bytes), Ok(Some(bytes.len())));
    assert_eq!(decode(bytes).as_ref(), Ok(&publish));
    assert_eq!(encode(&publish), bytes);
    let module = Message {
        header: None,
        body: Body::Module,
    };
    assert_eq!(decode(&encode(&module)), Ok(module));
    for body in [Body::AuthAck, Body::Fail(id_of('a'))] {
        let light = encode(&Message { header: None, body });
        assert!(total_len(&light).is_err());
        assert!(decode(&light).is_err());
    }
}

#[test]
fn what_cannot_be_a_message_is_seen_at_its_beginning() {
    let fail = encode(&with_body(Body::Fail(id_of('a'))));
    for len in 0..16 {
        assert_eq!(total_len(&fail[..len]), Ok(None), "{len} bytes");
    }
    assert_eq!(total_len(&fail[..16]), Ok(Some(2296)));
    let announcing = |len: usize| [&b"RCmb"[..], &(len as u32).to_be_bytes()].concat();
    assert!(total_len(b"RCmc\0\0\x08\xf8").is_err());
    assert!(total_len(&announcing(15)).is_err());
    assert_eq!(total_len(&announcing(MOST_BYTES)), Ok(None));
    assert!(total_len(&announcing(MOST_BYTES + 1)).is_err());
    assert!(total_len(&announcing(usize::MAX)).is_err());
    let head = |len: usize, version: u8, kind: u16| {
        let [high, low] = kind.to_be_bytes();
        let rest = [0, version, 0, 0, high, low, 0, 0];
        total_len(&[&announcing(len)[..], &rest].concat())
    };
    for (kind, least) in [
        (0, 2256),
        (1, 2256),
        (2, 2256),
        (3, 2296),
        (4, 2264),
        (5, 2256),
        (6, 2256),
        (7, 4352),
        (8, 2256),
        (9, 2269),
        (10, 2264),
        (11, 2256),
        (LIGHT | 4, 24),
        (LIGHT | 9, 29),
        (LIGHT | 10, 24),
    ] {
        assert_eq!(head(least, 1, kind), Ok(Some(least)));
        assert!(head(least - 1, 1, kind).is_err());
        assert!(head(least, 2, kind).is_err());
    }
}

#[test]
fn a_message_must_be_as_long_as_what_is_in_it() {
    let whole = encode(&ping(vec![entry('c')], vec![Extension::Shard(id_of('d'))]));
    // More or fewer bytes, more gossip or extensions than announced, and the other way.
    let longer = [&whole[..], &[0; 8]].concat();
    assert!(decode(&longer).is_err());
    assert!(decode(&whole[..whole.len() - 8]).is_err());
    for (at, number) in [(14, 0), (14, 2), (14, 0xffff), (2214, 0), (2214, 2)] {
        let mut bytes = whole.clone();
        bytes[at..at + 2].copy_from_slice(&u16::to_be_bytes(number));
        assert!(decode(&bytes).is_err(), "{number} at {at}");
    }
    // Without the flag nothing is an extension.
    let mut bytes = whole.clone();
    bytes[2253] &= !message_flags::EXTENSIONS;
    assert!(decode(&bytes).is_err());
    for len in [0u32, 7, 40, 47, 49, 56, 0x1_0030, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[2360..2364].copy_from_slice(&len.to_be_bytes());
        assert!(decode(&bytes).is_err(), "an extension of {len}");
    }
    let publish = with_body(Body::Publish {
        is_sharded: false,
        channel: b"ab".to_vec(),
        message: b"cde".to_vec(),
    });
    for lens in [[2, 2], [3, 3], [0, 4], [u32::MAX, 6], [2, u32::MAX]] {
        let lens = lens.map(u32::to_be_bytes).concat();
        assert!(decode(&changed(&publish, HEAD, &lens)).is_err());
    }
    assert!(decode(&changed(&with_body(Body::Module), HEAD + 11, &[1])).is_err());
}

#[test]
fn unknown_types_are_passed_over() {
    let unknown = changed(&with_body(Body::Module), 12, &[0, 77]);
    assert_eq!(decode(&unknown), Ok(with_body(Body::Module)));
}

#[test]
fn without_the_flag_of_extensions_the_sender_has_none() {
    let empty = ping(Vec::new(), Vec::new());
    let decoded = decode(&changed(&empty, 2253, &[0])).unwrap();
    let header = decoded.header.unwrap();
    assert!(header.flags & node_flags::EXTENSIONS == 0);
    assert!(!header.is_paused && !header.force_ack);
    // A count alone means nothing.
    assert!(decode(&changed(&empty, 2214, &[0, 9])).is_err());
    let mut bytes = changed(&empty, 2253, &[0]);
    bytes[2214..2216].copy_from_slice(&[0, 9]);
    assert!(decode(&bytes).is_ok());
}

#[test]
fn ids_and_addresses_of_the_head_are_checked() {
    let fail = with_body(Body::Fail(id_of('c')));
    for (at, bytes) in [
        (40, &b"G"[..]),
        (40, b"A"),
        (2128, b"\0"),
        (2256, b"\0"),
        (2168, b"1 0"),
        (2168, b"1\n0"),
        (2168, b"1,0"),
        (2168, b"\xff"),
        (2168, "\u{e9}".as_bytes()),
    ] {
        assert!(decode(&changed(&fail, at, bytes)).is_err(), "{at}");
    }
    let none = decode(&changed(&fail, 2128, &[0; 40])).unwrap();
    assert_eq!(none.header.unwrap().replica_of, None);
    // What stands behind the first zero is not looked at; without one the address is cut.
    let ended = decode(&changed(&fail, 2168, b"::1\0 \xff")).unwrap();
    assert_eq!(ended.header.unwrap().ip, "::1");
    let endless = decode(&changed(&fail, 2168, &[b'1'; 46])).unwrap();
    assert_eq!(endless.header.unwrap().ip, "1".repeat(45));
}

#[test]
fn gossip_that_cannot_be_used_is_left_out() {
    let gossip_of = |bytes: &[u8]| match decode(bytes).map(|message| message.body) {
        Ok(Body::Ping { gossip, .. }) => gossip,
        other => panic!("{other:?}"),
    };
    let two = ping(vec![entry('c'), entry('d')], Vec::new());
    // An address that is none: the entry alone.
    assert_eq!(gossip_of(&changed(&two, 2256 + 48, b"a b")), [entry('d')]);
    // An id that is none: all of it.
    assert_eq!(gossip_of(&changed(&two, 2256 + 104, b"?")), []);
}

fn extensions_of(kind: u16, data: &[u8]) -> Decoded<Vec<Extension>> {
    let mut bytes = encode(&ping(Vec::new(), Vec::new()));
    bytes.extend((data.len() as u32 + 8).to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(data);
    bytes[2214..2216].copy_from_slice(&[0, 1]);
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_be_bytes());
    match decode(&bytes)?.body {
        Body::Ping { extensions, .. } => Ok(extensions),
        other => panic!("{other:?}"),
    }
}

#[test]
fn extensions_are_checked() {
    let id = [b'a'; 40];
    let ok = |kind, data: &[u8]| extensions_of(kind, data).unwrap();
    assert_eq!(
        ok(0, b"a-1.B\0\0\0"),
        [Extension::Hostname("a-1.B".to_owned())]
    );
    assert_eq!(ok(0, &[0; 8]), [Extension::Hostname(String::new())]);
    assert!(extensions_of(0, b"").is_err());
    assert!(extensions_of(0, b"no-end.a").is_err());
    assert!(extensions_of(0, b"a b\0\0\0\0\0").is_err());
    assert!(extensions_of(0, b"a\nb\0\0\0\0\0").is_err());
    assert!(extensions_of(0, b"\xc3\xa9\0\0\0\0\0\0").is_err());
    let host_name = |len: usize| {
        let mut data = vec![b'a'; len];
        data.resize((len + 1).next_multiple_of(8), 0);
        extensions_of(0, &data)
    };
    assert!(host_name(255).is_ok());
    assert!(host_name(256).is_err());

    assert_eq!(
        ok(1, "é b\0\0\0\0".as_bytes()),
        [Extension::HumanName("é b".to_owned())]
    );
    assert_eq!(ok(1, b"\xff\0\0\0\0\0\0\0"), []);
    assert_eq!(ok(1, b"a\nb\0\0\0\0\0"), []);
    assert!(extensions_of(1, b"no end!!").is_err());
    assert_eq!(
        ok(8, b"zone-a\0\0"),
        [Extension::AvailabilityZone("zone-a".to_owned())]
    );

    let forgotten = [&id[..], &60u64.to_be_bytes()].concat();
    assert_eq!(ok(2, &forgotten), [Extension::Forgotten(id_of('a'), 60)]);
    assert!(extensions_of(2, &id).is_err());
    assert_eq!(ok(2, &[0; 48]), []);
    assert_eq!(ok(3, &id), [Extension::Shard(id_of('a'))]);
    assert!(extensions_of(3, &[b'A'; 40]).is_err());
    assert!(extensions_of(3, &id[..32]).is_err());

    assert_eq!(ok(4, &[7; 40]), [Extension::InternalSecret([7; 40])]);
    // Valkey's address for clients, and its other types.
    assert_eq!(ok(4, b"10.1.2.3\0\0\0\0\0\0\0\0"), []);
    assert_eq!(ok(5, b"::1\0\0\0\0\0"), []);
    assert_eq!(ok(6, &[0x1a, 0xe9, 0, 0, 0, 0, 0, 0]), []);
    assert_eq!(ok(0xffff, b""), []);
}

#[test]
fn what_is_too_long_is_not_encoded() {
    let longest = "x".repeat(0xfff8 - 8 - 1);
    let fits = Extension::HumanName(longest.clone());
    let does_not = Extension::HumanName(longest + "x");
    let shard = Extension::Shard(id_of('a'));
    let sent = ping(Vec::new(), vec![fits.clone(), does_not, shard.clone()]);
    let arrived = ping(Vec::new(), vec![fits, shard]);
    assert_eq!(decode(&encode(&sent)), Ok(arrived));

    let gossip = vec![entry('a'); usize::from(u16::MAX) + 2];
    match decode(&encode(&ping(gossip, Vec::new()))).unwrap().body {
        Body::Ping { gossip, .. } => assert_eq!(gossip.len(), usize::from(u16::MAX)),
        other => panic!("{other:?}"),
    }

    let mut far = with_body(Body::AuthAck);
    far.header.as_mut().unwrap().ip = "1".repeat(60);
    let arrived = decode(&encode(&far)).unwrap();
    assert_eq!(arrived.header.unwrap().ip, "1".repeat(45));
}

fn some_id() -> impl Strategy<Value = NodeId> {
    "[0-9a-f]{40}".prop_map(|id| NodeId::parse(id.as_bytes()).unwrap())
}

fn some_slots() -> impl Strategy<Value = SlotSet> {
    vec((0..SLOTS as u16, 0..400u16), 0..4).prop_map(|ranges| {
        let mut slots = SlotSet::default();
        for (first, len) in ranges {
            for slot in first..(first + len).min(SLOTS as u16) {
                slots.insert(slot);
            }
        }
        slots
    })
}

fn some_address() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        "[!-+:-Z]{1,45}"
    ]
    .prop_filter("an address", |text| is_address(text.as_bytes()))
}

fn some_header() -> impl Strategy<Value = Header> {
    let numbers = (any::<[u16; 4]>(), any::<[u64; 3]>(), any::<[bool; 3]>());
    let ids = (some_id(), proptest::option::of(some_id()));
    (numbers, ids, some_slots(), some_address()).prop_map(|(numbers, ids, slots, ip)| {
        let ([port, secondary_port, bus_port, flags], epochs, bits) = numbers;
        Header {
            port,
            secondary_port,
            bus_port,
            current_epoch: epochs[0],
            config_epoch: epochs[1],
            offset: epochs[2].cast_signed(),
            sender: ids.0,
            slots,
            replica_of: ids.1,
            ip,
            flags: flags | node_flags::EXTENSIONS,
            is_ok: bits[0],
            is_paused: bits[1],
            force_ack: bits[2],
        }
    })
}

fn some_gossip() -> impl Strategy<Value = Gossip> {
    (
        some_id(),
        any::<[u32; 2]>(),
        any::<[u16; 4]>(),
        some_address(),
    )
        .prop_map(|(id, times, ports, ip)| Gossip {
            id,
            ping_sent_s: times[0],
            pong_received_s: times[1],
            ip,
            port: ports[0],
            secondary_port: ports[1],
            bus_port: ports[2],
            flags: ports[3],
        })
}

fn some_extension() -> impl Strategy<Value = Extension> {
    let text = || "\\PC{0,40}".prop_filter("text", |text| to_text(text.as_bytes()).is_some());
    prop_oneof![
        "[a-zA-Z0-9.-]{0,255}".prop_map(Extension::Hostname),
        text().prop_map(Extension::HumanName),
        (some_id(), any::<u64>()).prop_map(|(id, ttl)| Extension::Forgotten(id, ttl)),
        some_id().prop_map(Extension::Shard),
        vec(any::<u8>(), 40)
            .prop_map(|secret| Extension::InternalSecret(secret.try_into().unwrap())),
        text().prop_map(Extension::AvailabilityZone),
    ]
}

fn some_message() -> impl Strategy<Value = Message> {
    let bytes = || vec(any::<u8>(), 0..200);
    let kind = prop_oneof![
        Just(PingKind::Ping),
        Just(PingKind::Pong),
        Just(PingKind::Meet)
    ];
    let ping = (kind, vec(some_gossip(), 0..6), vec(some_extension(), 0..6)).prop_map(
        |(kind, gossip, extensions)| Body::Ping {
            kind,
            gossip,
            extensions,
        },
    );
    let publish = (any::<bool>(), bytes(), bytes()).prop_map(|(is_sharded, channel, message)| {
        Body::Publish {
            is_sharded,
            channel,
            message,
        }
    });
    let update = (any::<u64>(), some_id(), some_slots()).prop_map(|(config_epoch, id, slots)| {
        Body::Update {
            config_epoch,
            id,
            slots,
        }
    });
    let whole = prop_oneof![
        4 => ping,
        1 => some_id().prop_map(Body::Fail),
        1 => publish.clone(),
        1 => Just(Body::AuthRequest),
        1 => Just(Body::AuthAck),
        1 => update,
        1 => Just(Body::ManualFailover),
        1 => Just(Body::Module),
    ];
    let light = prop_oneof![publish, Just(Body::Module)];
    prop_oneof![
        8 => (some_header().prop_map(Some), whole),
        1 => (Just(None), light),
    ]
    .prop_map(|(header, body)| Message { header, body })
}

/// Bytes that a message holds; no more than it came in.
fn held(message: &Message) -> usize {
    let of_body = match &message.body {
        Body::Ping {
            gossip, extensions, ..
        } => {
            let of_extension = |extension: &Extension| match extension {
                Extension::Hostname(text)
                | Extension::HumanName(text)
                | Extension::AvailabilityZone(text) => text.len() + 9,
                Extension::Forgotten(..) => 56,
                Extension::Shard(_) | Extension::InternalSecret(_) => 48,
            };
            gossip.len() * GOSSIP + extensions.iter().map(of_extension).sum::<usize>()
        }
        Body::Publish {
            channel, message, ..
        } => channel.len() + message.len() + PUBLISH_HEAD,
        Body::Fail(_) => ID_LEN,
        Body::Update { .. } => UPDATE,
        _ => 0,
    };
    let of_head = if message.header.is_some() {
        HEAD
    } else {
        LIGHT_HEAD
    };
    of_head + of_body
}

/// Decodes what may be anything. What is decoded can be encoded, and is the same again.
fn survive(bytes: &[u8]) {
    let len = total_len(bytes);
    let Ok(message) = decode(bytes) else { return };
    assert_eq!(len, Ok(Some(bytes.len())));
    assert!(held(&message) <= bytes.len());
    let mut again = encode(&message);
    if let Some(header) = &message.header
        && header.flags & node_flags::EXTENSIONS == 0
    {
        again[2253] &= !message_flags::EXTENSIONS;
    }
    assert_eq!(decode(&again), Ok(message));
}

proptest! {
    #[test]
    fn a_message_comes_back_from_its_bytes(message in some_message()) {
        let bytes = encode(&message);
        prop_assert_eq!(total_len(&bytes), Ok(Some(bytes.len())));
        prop_assert_eq!(total_len(&bytes[..16]), Ok(Some(bytes.len())));
        prop_assert_eq!(held(&message) <= bytes.len(), true);
        prop_assert_eq!(decode(&bytes), Ok(message));
    }

    #[test]
    fn messages_that_were_changed_do_no_harm(
        message in some_message(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 60),
        at_once in 1..4usize,
    ) {
        // Most changes are made where lengths, counts and types are, and in the body.
        let whole = encode(&message);
        for changes in changes.chunks(at_once) {
            let mut bytes = whole.clone();
            for (at, byte) in changes {
                let at = match byte % 4 {
                    0 => at.index(16),
                    1 => 2214 + at.index(50),
                    _ => 2256 + at.index(whole.len().saturating_sub(2256) + 1),
                };
                if let Some(changed) = bytes.get_mut(at) {
                    *changed = if byte % 8 < 4 { byte.wrapping_add(*changed) } else { byte / 8 };
                }
            }
            survive(&bytes);
            // Cut or lengthened, with a head that agrees.
            let (at, byte) = changes[0];
            bytes.resize(at.index(bytes.len() + 50), byte);
            let len = bytes.len() as u32;
            if let Some(field) = bytes.get_mut(4..8) {
                field.copy_from_slice(&len.to_be_bytes());
            }
            survive(&bytes);
        }
    }
}

#[test]
fn random_bytes_do_no_harm() {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u32
    };
    let mut decoded = 0;
    for round in 0..300_000 {
        // A light head mostly, so that a round is short; then it is the body that is random.
        let len = LIGHT_HEAD + next() as usize % 64;
        let mut bytes: Vec<u8> = (0..len).map(|_| next() as u8 & 0x1f).collect();
        if round % 4 != 0 {
            let kind = [4, 9, 10][next() as usize % 3];
            bytes[..4].copy_from_slice(SIGNATURE);
            bytes[4..8].copy_from_slice(&(len as u32).to_be_bytes());
            bytes[8..14].copy_from_slice(&[0, 1, 0, 0, 0x80, kind]);
        }
        if round % 4 == 1 && len > 24 {
            let channel = next() % (len as u32 - 23);
            bytes[16..20].copy_from_slice(&channel.to_be_bytes());
            bytes[20..24].copy_from_slice(&(len as u32 - 24 - channel).to_be_bytes());
        }
        decoded += usize::from(decode(&bytes).is_ok());
        survive(&bytes);
    }
    assert!(decoded > 10_000, "{decoded} were messages");
}
