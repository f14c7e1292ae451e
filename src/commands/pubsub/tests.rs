//! Unit tests of Pub/Sub and notifications, over a harness with two clients: `me`, who asks, and another who listens.

use super::super::testing::{Harness, bulk, error, int, ok};
use crate::clients::{Client, ClientKey, ClientKind, ReplyMode};
use crate::resp::OwnedRequest;
use crate::resp::reader::{Value, read_all};

struct Pair {
    harness: Harness,
    other: ClientKey,
}

impl Pair {
    fn new() -> Pair {
        let mut harness = Harness::new();
        let identity = crate::clients::Identity::default_user(&harness.state.users);
        let client = Client::without_socket(ClientKind::Normal, identity);
        let other = harness.state.clients.insert(client);
        Pair { harness, other }
    }
    /// Runs a line for the other client; all that it was sent since the last look.
    fn other(&mut self, line: &str) -> Vec<String> {
        self.run(self.other, line)
    }
    /// The same for the harness's own client, which may be sent more than an answer.
    fn me(&mut self, line: &str) -> Vec<String> {
        self.run(self.harness.client, line)
    }
    fn run(&mut self, key: ClientKey, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let request = OwnedRequest::from_slices(&words);
        let Harness { state, host, .. } = &mut self.harness;
        crate::engine::process::process(state, host, key, request.args());
        self.sent(key)
    }
    fn sent(&mut self, key: ClientKey) -> Vec<String> {
        let client = self.harness.state.clients.get_mut(key).expect("a client");
        let bytes = client.reply.output().to_vec();
        client.reply.output_mut().clear();
        read_all(&bytes)
            .expect("whole values")
            .iter()
            .map(spell)
            .collect()
    }
    fn heard(&mut self) -> Vec<String> {
        self.sent(self.other)
    }
    fn kind(&self) -> ClientKind {
        let client = self.harness.state.clients.get(self.other);
        client.expect("a client").session.kind
    }
}

/// Short: arrays as their parts between blanks, pushes after `>`, null as `-`.
fn spell(value: &Value) -> String {
    let join = |items: &[Value]| items.iter().map(spell).collect::<Vec<_>>().join(" ");
    match value {
        Value::Array(items) => join(items),
        Value::Push(items) => format!("> {}", join(items)),
        Value::NullBulk | Value::Null => "-".to_owned(),
        other => super::super::testing::text(other),
    }
}

#[test]
fn messages_reach_channels_first_and_then_patterns_in_their_order() {
    let mut pair = Pair::new();
    assert_eq!(
        pair.other("PSUBSCRIBE n* *"),
        ["psubscribe n* 1", "psubscribe * 2"]
    );
    assert_eq!(
        pair.other("SUBSCRIBE news news x"),
        ["subscribe news 3", "subscribe news 3", "subscribe x 4"]
    );
    assert_eq!(pair.other("PSUBSCRIBE new?"), ["psubscribe new? 5"]);
    assert_eq!(pair.harness.line("PUBLISH news hi"), int(4));
    assert_eq!(
        pair.heard(),
        [
            "message news hi",
            "pmessage n* news hi",
            "pmessage * news hi",
            "pmessage new? news hi"
        ]
    );
    assert_eq!(pair.harness.line("SPUBLISH news hi"), int(0));
    assert_eq!(
        pair.other("UNSUBSCRIBE"),
        ["unsubscribe news 4", "unsubscribe x 3"]
    );
    assert_eq!(pair.other("UNSUBSCRIBE"), ["unsubscribe - 3"]);
    assert_eq!(pair.harness.line("PUBLISH news hi"), int(3));
    pair.heard();
    assert_eq!(
        pair.other("PUNSUBSCRIBE none n*"),
        ["punsubscribe none 3", "punsubscribe n* 2"]
    );
    assert_eq!(pair.kind(), ClientKind::PubSub);
    assert_eq!(
        pair.other("PUNSUBSCRIBE"),
        ["punsubscribe * 1", "punsubscribe new? 0"]
    );
    assert_eq!(pair.kind(), ClientKind::Normal);
    assert_eq!(pair.other("PUNSUBSCRIBE"), ["punsubscribe - 0"]);
    assert_eq!(pair.other("SUNSUBSCRIBE"), ["sunsubscribe - 0"]);
}

#[test]
fn the_shard_counts_apart_and_knows_no_patterns() {
    let mut pair = Pair::new();
    pair.other("SUBSCRIBE c");
    pair.other("PSUBSCRIBE *");
    assert_eq!(
        pair.other("SSUBSCRIBE c d"),
        ["ssubscribe c 1", "ssubscribe d 2"]
    );
    assert_eq!(pair.harness.line("SPUBLISH c hi"), int(1));
    assert_eq!(pair.heard(), ["smessage c hi"]);
    assert_eq!(
        pair.harness.line("PUBSUB SHARDCHANNELS"),
        Value::Array(vec![bulk("c"), bulk("d")])
    );
    assert_eq!(
        pair.harness.line("PUBSUB SHARDNUMSUB c x"),
        Value::Array(vec![bulk("c"), int(1), bulk("x"), int(0)])
    );
    assert_eq!(pair.other("SUNSUBSCRIBE d"), ["sunsubscribe d 1"]);
    assert_eq!(pair.other("SUNSUBSCRIBE"), ["sunsubscribe c 0"]);
    assert_eq!(pair.kind(), ClientKind::PubSub);
}

#[test]
fn pubsub_tells_who_listens() {
    let mut pair = Pair::new();
    pair.other("SUBSCRIBE b a ab");
    pair.other("PSUBSCRIBE x* y*");
    let line = |pair: &mut Pair, line: &str| pair.me(line).remove(0);
    assert_eq!(line(&mut pair, "PUBSUB CHANNELS"), "a ab b");
    assert_eq!(line(&mut pair, "PUBSUB CHANNELS a*"), "a ab");
    assert_eq!(line(&mut pair, "PUBSUB NUMSUB"), "");
    assert_eq!(line(&mut pair, "PUBSUB NUMSUB a z"), "a 1 z 0");
    assert_eq!(line(&mut pair, "PUBSUB NUMPAT"), "2");
    assert!(line(&mut pair, "PUBSUB HELP").contains("CHANNELS [<pattern>]"));
    assert_eq!(
        line(&mut pair, "PUBSUB CHANNELS a b"),
        "ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP."
    );
    let info = line(&mut pair, "INFO everything");
    for field in [
        "pubsub_clients:1",
        "pubsub_channels:3",
        "pubsub_patterns:2",
        "pubsubshard_channels:0",
    ] {
        assert!(info.contains(field), "{field}");
    }
    let list = line(&mut pair, "CLIENT LIST TYPE pubsub");
    assert!(list.contains("flags=P db=0 sub=3 psub=2 ssub=0"), "{list}");
    assert_eq!(
        line(&mut pair, "CLIENT LIST TYPE normal").lines().count(),
        1
    );
    crate::engine::pubsub::leave(&mut pair.harness.state, pair.other);
    assert_eq!(line(&mut pair, "PUBSUB CHANNELS"), "");
    assert!(pair.harness.state.messaging.pubsub.is_silent());
}

#[test]
fn a_listener_of_resp2_may_do_little() {
    let mut pair = Pair::new();
    pair.other("SUBSCRIBE c");
    for (line, name) in [
        ("GET x", "get"),
        ("CONFIG GET x", "config|get"),
        ("HELLO 3", "hello"),
        ("MULTI", "multi"),
        ("PUBLISH c x", "publish"),
        ("SLOWLOG RESET", "slowlog|reset"),
        ("LATENCY RESET", "latency|reset"),
    ] {
        let expected = format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        );
        assert_eq!(pair.other(line), [expected]);
    }
    assert_eq!(pair.other("PING"), ["pong "]);
    assert_eq!(pair.other("PING x"), ["pong x"]);
    assert_eq!(pair.other("RESET"), ["RESET"]);
    assert_eq!(pair.kind(), ClientKind::Normal);
    assert_eq!(pair.other("PING"), ["PONG"]);
    assert_eq!(pair.harness.line("PUBLISH c x"), int(0));
}

#[test]
fn a_listener_of_resp3_does_what_it_likes_and_hears_itself_after_the_answer() {
    let mut pair = Pair::new();
    pair.other("HELLO 3");
    assert_eq!(pair.other("SUBSCRIBE c"), ["> subscribe c 1"]);
    assert_eq!(pair.other("PING"), ["PONG"]);
    assert_eq!(pair.other("PUBLISH c x"), ["1", "> message c x"]);
    pair.other("MULTI");
    pair.other("PUBLISH c y");
    pair.other("SUBSCRIBE d");
    pair.other("PING");
    // The confirmation stands for an answer and comes in its place; messages come after the last one.
    let mut sent = pair.other("EXEC");
    assert_eq!(sent.pop().as_deref(), Some("> message c y"));
    assert_eq!(sent, ["1 > subscribe d 2 PONG"]);
    // Back in RESP2 it is held to what listeners may do there.
    pair.other("HELLO 2");
    assert!(pair.other("GET x")[0].starts_with("ERR Can't execute 'get'"));
}

#[test]
fn transactions_may_subscribe_but_not_to_the_shard() {
    let mut pair = Pair::new();
    pair.other("MULTI");
    pair.other("SSUBSCRIBE c");
    pair.other("PSUBSCRIBE p*");
    pair.other("PUBLISH pp x");
    assert_eq!(
        pair.other("EXEC"),
        [
            "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client psubscribe p* 1 1",
            "pmessage p* pp x"
        ]
    );
}

#[test]
fn silenced_replies_do_not_silence_messages() {
    let mut pair = Pair::new();
    pair.other("CLIENT REPLY OFF");
    assert_eq!(pair.other("SUBSCRIBE c"), ["subscribe c 1"]);
    pair.harness.line("PUBLISH c x");
    assert_eq!(pair.heard(), ["message c x"]);
    assert_eq!(pair.other("UNSUBSCRIBE c"), ["unsubscribe c 0"]);
    let client = pair
        .harness
        .state
        .clients
        .get(pair.other)
        .expect("a client");
    assert_eq!(client.session.reply_mode, ReplyMode::Off);
}

/// One command may publish without end (a script, a transaction): what waits for a listener stays near its limit.
#[test]
fn output_is_bounded_within_one_command() {
    let mut pair = Pair::new();
    pair.harness
        .config("client-output-buffer-limit", "pubsub 100000 0 0");
    pair.harness.state.apply_settings();
    pair.other("SUBSCRIBE c");
    let message = vec![b'x'; 1000];
    for _ in 0..10_000 {
        let state = &mut pair.harness.state;
        super::publish(state, crate::clients::Listening::Channel, b"c", &message);
    }
    let state = &mut pair.harness.state;
    let client = state.clients.get(pair.other).expect("a client");
    assert!(client.reply.output().memory_bytes() < 130_000);
    assert_eq!(state.clients.pop_pushed(), Some(pair.other));
    assert_eq!(state.clients.pop_pushed(), None);
}

#[test]
fn notifications_tell_what_happens_to_keys() {
    let mut pair = Pair::new();
    pair.other("PSUBSCRIBE __key*");
    pair.me("SET k 1");
    assert!(pair.heard().is_empty());
    pair.me("CONFIG SET notify-keyspace-events KEA");
    pair.me("SET k 1");
    assert_eq!(
        pair.heard(),
        [
            "pmessage __key* __keyspace@0__:k set",
            "pmessage __key* __keyevent@0__:set k"
        ]
    );
    pair.me("CONFIG SET notify-keyspace-events Exmn");
    for line in [
        "SET k 1 PX 10",
        "GET absent",
        "OBJECT ENCODING absent",
        "XCLAIM stream g c 0 1-1",
        "SET new 1",
    ] {
        pair.me(line);
    }
    pair.harness.advance_ms(11);
    pair.me("GET k");
    assert_eq!(
        pair.heard(),
        [
            "pmessage __key* __keyevent@0__:keymiss absent",
            "pmessage __key* __keyevent@0__:keymiss stream",
            "pmessage __key* __keyevent@0__:new new",
            "pmessage __key* __keyevent@0__:expired k",
            "pmessage __key* __keyevent@0__:keymiss k",
        ]
    );
    pair.other("PUNSUBSCRIBE");
    pair.me("SET k 1");
    assert!(!pair.harness.state.keyspace.has_events());
    assert_eq!(pair.harness.state.keyspace.notified(), 0, "nobody listens");
    assert_eq!(pair.me("CONFIG SET notify-keyspace-events q").len(), 1);
    assert_eq!(pair.harness.line("SET k 2"), ok());
    assert_eq!(
        pair.harness.line("LPUSH k 2"),
        error("WRONGTYPE Operation against a key holding the wrong kind of value")
    );
}
