//! Migrations over a wire that the test holds: what is asked of the other server, and what becomes of keys and clients.

use super::*;
use crate::clients::{Client, ClientKey, ClientKind};
use crate::commands::testing::{Harness, bulk, error, int, ok, text};
use crate::engine::process::process;
use crate::engine::{Pause, detach};
use crate::keyspace::interest;
use crate::resp::OwnedRequest;
use crate::resp::reader::{Value, read_all};

/// A socket as the other side has it.
#[derive(Default)]
struct Socket {
    to: Option<ConnectAddress>,
    /// None: under way.
    connected: Option<Result<(), ErrorKind>>,
    to_read: Vec<u8>,
    /// It ends behind that.
    has_ended: bool,
    written: Vec<u8>,
    /// Bytes that it takes.
    room: usize,
    is_closed: bool,
}

/// Sockets by their tokens.
#[derive(Default)]
struct TestWire {
    sockets: Vec<Socket>,
    /// What may be written to a socket before it is full.
    room: Option<usize>,
}

impl Wire for TestWire {
    fn connect(&mut self, to: &ConnectAddress) -> io::Result<Token> {
        self.sockets.push(Socket {
            to: Some(to.clone()),
            room: self.room.unwrap_or(usize::MAX),
            ..Socket::default()
        });
        Ok(Token(self.sockets.len() - 1))
    }
    fn connected(&mut self, token: Token) -> io::Result<()> {
        match self.sockets[token.0].connected {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(outcome) => outcome.map_err(io::Error::from),
        }
    }
    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received> {
        let socket = &mut self.sockets[token.0];
        assert!(!socket.is_closed);
        let len = socket.to_read.len().min(buffer.len());
        if len == 0 && !socket.has_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        for (to, from) in buffer.iter_mut().zip(socket.to_read.drain(..len)) {
            *to = from;
        }
        let more = !socket.to_read.is_empty() || socket.has_ended;
        Ok(Received { len, more })
    }
    fn write(&mut self, token: Token, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = &mut self.sockets[token.0];
        assert!(!socket.is_closed);
        if socket.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let taken: Vec<u8> = bytes.take(socket.room).collect();
        socket.room -= taken.len();
        socket.written.extend(&taken);
        Ok(taken.len())
    }
    fn close(&mut self, token: Token) {
        assert!(!std::mem::replace(
            &mut self.sockets[token.0].is_closed,
            true
        ));
    }
}

/// A server whose client migrates keys.
struct Bench {
    harness: Harness,
    wire: TestWire,
}

impl Bench {
    fn new(lines: &[&str]) -> Bench {
        let mut harness = Harness::new();
        for line in lines {
            harness.line(line);
        }
        Bench {
            harness,
            wire: TestWire::default(),
        }
    }
    /// Sends a command that may have to wait.
    fn send_as(&mut self, client: ClientKey, line: &str) {
        let request = OwnedRequest::from_slices(&line.split(' ').collect::<Vec<_>>());
        let Harness { state, host, .. } = &mut self.harness;
        process(state, host, client, request.args());
    }
    fn send(&mut self, line: &str) {
        self.send_as(self.harness.client, line);
    }
    fn go_on(&mut self) -> Left {
        let state = &mut self.harness.state;
        for index in 0..self.wire.sockets.len() {
            state.migrations.note_ready(Token(index));
        }
        let now_ns = state.now.mono_ns;
        go_on(state, &mut self.wire, now_ns)
    }
    /// What a client was answered since it was asked last.
    fn answers_of(&mut self, client: ClientKey) -> Vec<Value> {
        let client = self.harness.state.clients.get_mut(client);
        let output = client.expect("it stays").reply.output_mut();
        let bytes = output.to_vec();
        output.clear();
        read_all(&bytes).expect("whole values")
    }
    fn answers(&mut self) -> Vec<Value> {
        self.answers_of(self.harness.client)
    }
    fn other_client(&mut self) -> ClientKey {
        let state = &mut self.harness.state;
        let identity = crate::clients::Identity::default_user(&state.users);
        let client = Client::without_socket(ClientKind::Normal, identity);
        state.clients.insert(client)
    }
    /// Connects the last socket, and has SELECT answered.
    fn greet(&mut self) {
        self.go_on();
        let last = self.wire.sockets.len() - 1;
        self.wire.sockets[last].connected = Some(Ok(()));
        self.go_on();
        self.hear(last, "+OK\r\n");
    }
    /// Has the other side of a socket say something.
    fn hear(&mut self, socket: usize, text: &str) -> Left {
        self.wire.sockets[socket].to_read.extend(text.bytes());
        self.go_on()
    }
    /// The commands that were written to a socket since it was asked last, without payloads.
    fn asked(&mut self, socket: usize) -> Vec<String> {
        let bytes = std::mem::take(&mut self.wire.sockets[socket].written);
        let commands = read_all(&bytes).expect("whole requests");
        let spell = |command: Value| {
            let Value::Array(mut words) = command else {
                panic!("no request: {command:?}");
            };
            if words[0] == bulk("RESTORE") {
                words.remove(3);
            }
            words
                .into_iter()
                .map(|word| text(&word))
                .collect::<Vec<_>>()
                .join(" ")
        };
        commands.into_iter().map(spell).collect()
    }
    fn has(&mut self, key: &str) -> bool {
        self.harness
            .state
            .keyspace
            .db(0, self.harness.state.now, true)
            .peek(key.as_bytes())
            .is_some()
    }
    fn advance_ms(&mut self, ms: i64) {
        self.harness.advance_ms(ms);
    }
}

#[test]
fn keys_go_when_the_other_server_says_that_it_has_them_and_not_before() {
    let mut bench = Bench::new(&["SET a 1", "SET t 2 PX 5000", "SADD s m"]);
    bench.send("MIGRATE example 7000  9 500 REPLACE KEYS a none t s a");
    assert!(bench.answers().is_empty());
    bench.go_on();
    let to = bench.wire.sockets[0].to.clone();
    let host = "example".to_owned();
    let (port, source) = (7000, None);
    assert_eq!(
        to,
        Some(ConnectAddress::Name {
            host,
            port,
            source,
            tls: false
        })
    );
    bench.greet();
    assert_eq!(
        bench.asked(0),
        [
            "SELECT 9",
            "RESTORE a 0 REPLACE",
            "RESTORE t 5000 REPLACE",
            "RESTORE s 0 REPLACE"
        ]
    );
    assert!(bench.has("a") && bench.has("t") && bench.has("s"));
    bench.hear(0, "+OK\r\n-BUSYKEY is there\r\n+O");
    assert!(!bench.has("a") && bench.has("t") && bench.has("s"));
    assert!(bench.answers().is_empty());
    bench.hear(0, "K\r\n");
    assert!(bench.has("t") && !bench.has("s"));
    let said = error("ERR Target instance replied with error: BUSYKEY is there");
    assert_eq!(bench.answers(), [said]);
    assert!(!bench.harness.state.keyspace.has_moving());
    // The same socket, and the database again, as something was refused.
    bench.send("MIGRATE example 7000 t 9 500");
    bench.go_on();
    bench.hear(0, "+OK\r\n");
    bench.hear(0, "+OK\r\n");
    assert_eq!(bench.asked(0), ["SELECT 9", "RESTORE t 5000"]);
    assert_eq!(bench.answers(), [ok()]);
    bench.harness.line("SET b 1");
    bench.send("MIGRATE example 7000 b 9 500 COPY");
    bench.go_on();
    bench.hear(0, "+OK\r\n");
    assert_eq!(bench.asked(0), ["RESTORE b 0"]);
    assert_eq!(bench.answers(), [ok()]);
    assert!(bench.has("b"));
    assert_eq!(bench.wire.sockets.len(), 1);
}

/// With the password wrong, the keys would come to whoever is asked without one; with the database refused, to another one.
#[test]
fn no_key_is_sent_where_the_other_server_does_not_take_who_asks_or_the_database() {
    let tries = [
        (
            "AUTH p",
            "AUTH p",
            "-WRONGPASS no\r\n+OK\r\n",
            "WRONGPASS no",
        ),
        (
            "AUTH2 u p",
            "AUTH u p",
            "-WRONGPASS no\r\n-NOAUTH\r\n",
            "WRONGPASS no",
        ),
        (
            "AUTH p",
            "AUTH p",
            "+OK\r\n-ERR DB index\r\n",
            "ERR DB index",
        ),
    ];
    for (options, auth, answers, text) in tries {
        let mut bench = Bench::new(&["SET a 1"]);
        bench.send(&format!("MIGRATE h 7000 a 3 500 {options}"));
        bench.go_on();
        bench.wire.sockets[0].connected = Some(Ok(()));
        bench.go_on();
        bench.hear(0, answers);
        assert_eq!(bench.asked(0), [auth, "SELECT 3"]);
        let said = format!("ERR Target instance replied with error: {text}");
        assert_eq!(bench.answers(), [error(&said)]);
        assert!(bench.has("a"));
    }
}

#[test]
fn who_would_change_a_key_on_its_way_waits_and_finds_it_gone() {
    let mut bench = Bench::new(&["SET a 1", "SET b 1", "RPUSH l x"]);
    bench.send("MIGRATE h 7000  0 500 KEYS a l");
    bench.greet();
    let [set, get, copy, pop, exec] = [0; 5].map(|_| bench.other_client());
    bench.send_as(set, "SET a 2");
    bench.send_as(copy, "COPY b a REPLACE");
    bench.send_as(pop, "BLMPOP 0 1 l LEFT");
    for line in ["MULTI", "INCR b", "APPEND a 2", "EXEC"] {
        bench.send_as(exec, line);
    }
    bench.send_as(get, "GET a");
    assert_eq!(bench.answers_of(get), [bulk("1")]);
    let queued = Value::Simple("QUEUED".to_owned());
    assert_eq!(bench.answers_of(exec), [ok(), queued.clone(), queued]);
    for client in [set, copy, pop] {
        assert!(bench.answers_of(client).is_empty());
        let client = bench.harness.state.clients.get(client).expect("a client");
        assert!(!client.is_served());
    }
    bench.send_as(get, "GET b");
    assert_eq!(bench.answers_of(get), [bulk("1")]);
    assert!(bench.harness.state.migrations.take_released().is_empty());
    bench.hear(0, "+OK\r\n+OK\r\n");
    assert_eq!(bench.answers(), [ok()]);
    let held = bench.harness.state.migrations.take_released();
    assert_eq!(held.len(), 4, "they go on in the order in which they came");
    assert!(held.is_sorted());
}

/// A program that has not named the key, or the like: it cannot be held in its midst.
#[test]
fn what_changed_all_the_same_stays_and_what_went_by_its_time_is_no_change() {
    let change = |line: &'static str| {
        move |bench: &mut Bench| {
            let script = format!("return redis.call({line})");
            bench.harness.run(&["EVAL", &script, "0"]);
        }
    };
    type Meanwhile = Box<dyn Fn(&mut Bench)>;
    let tries: [(Meanwhile, bool, bool); 5] = [
        (Box::new(change("'HSET', 'k', 'f', '2'")), true, true),
        (Box::new(change("'DEL', 'k'")), false, false),
        (
            Box::new(|bench| {
                bench.harness.line("FLUSHALL SYNC");
            }),
            false,
            false,
        ),
        (
            Box::new(|bench| {
                bench.harness.line("SWAPDB 0 1");
                bench.harness.line("SWAPDB 0 1");
            }),
            true,
            true,
        ),
        // The field goes by its time.
        (
            Box::new(|bench| {
                bench.advance_ms(200);
                bench
                    .harness
                    .state
                    .keyspace
                    .set_interest(interest::WATCHERS, true);
                bench.harness.line("HGET k g");
                assert_eq!(bench.harness.line("HLEN k"), int(1));
            }),
            false,
            false,
        ),
    ];
    for (number, (meanwhile, stays, is_told)) in tries.into_iter().enumerate() {
        let lines = ["HSET k f 1 g 1", "HPEXPIRE k 100 FIELDS 1 g"];
        let mut bench = Bench::new(&lines);
        let by = bench.harness.client;
        let other = bench.other_client();
        bench.harness.client = other;
        bench.send("MIGRATE h 7000 k 0 500");
        bench.greet();
        bench.harness.client = by;
        meanwhile(&mut bench);
        bench.hear(0, "+OK\r\n");
        assert_eq!(bench.has("k"), stays, "{number}");
        let said = match is_told {
            true => error(
                "ERR Key changed while it was migrated, and stays: the target has what it was before: 'k'",
            ),
            false => ok(),
        };
        assert_eq!(bench.answers_of(other), [said], "{number}");
    }
}

#[test]
fn silence_ends_a_migration_with_what_it_waited_for() {
    let tries = [
        (0, "connecting to the client"),
        (1, "reading from target instance"),
        (2, "writing to target instance"),
    ];
    for (reached, text) in tries {
        let mut bench = Bench::new(&["SET a 1"]);
        bench.wire.room = (reached == 2).then_some(10);
        bench.send("MIGRATE h 7000 a 0 500");
        bench.go_on();
        if reached > 0 {
            bench.wire.sockets[0].connected = Some(Ok(()));
        }
        // A sign of life begins the time anew.
        bench.advance_ms(400);
        bench.go_on();
        bench.advance_ms(if reached > 0 { 400 } else { 50 });
        let left = bench.go_on();
        assert!(bench.answers().is_empty());
        let at_ns = left.at_ns.expect("a time to come again");
        bench.harness.state.now.mono_ns = at_ns;
        assert_eq!(bench.go_on(), Left::default());
        let said = format!("IOERR error or timeout {text}");
        assert_eq!(bench.answers(), [error(&said)]);
        assert!(bench.wire.sockets[0].is_closed && bench.has("a"));
        assert!(!bench.harness.state.keyspace.has_moving());
    }
}

#[test]
fn a_socket_that_was_closed_while_it_was_kept_is_replaced_once() {
    let mut bench = Bench::new(&["SET a 1", "SET b 1", "SET c 1"]);
    bench.send("MIGRATE h 7000 a 0 500");
    bench.greet();
    bench.hear(0, "+OK\r\n");
    assert_eq!(bench.answers(), [ok()]);
    bench.send("MIGRATE h 7000 b 0 500");
    bench.wire.sockets[0].has_ended = true;
    bench.go_on();
    assert_eq!(bench.wire.sockets.len(), 2);
    bench.greet();
    assert_eq!(bench.asked(1), ["SELECT 0", "RESTORE b 0"]);
    // Now it was heard.
    bench.wire.sockets[1].has_ended = true;
    bench.go_on();
    let lost = [error("IOERR error or timeout reading from target instance")];
    assert_eq!(bench.answers(), lost);
    assert!(bench.has("b") && bench.wire.sockets[1].is_closed);
    // One that is new is not replaced.
    bench.send("MIGRATE h 7000 c 0 500");
    bench.go_on();
    bench.wire.sockets[2].connected = Some(Ok(()));
    bench.wire.sockets[2].has_ended = true;
    bench.go_on();
    assert_eq!(bench.answers(), lost);
    assert_eq!(bench.wire.sockets.len(), 3);
    assert_eq!(bench.harness.state.migrations.sockets(), 0);
}

/// What came with the end was not looked at: the keys were at both.
#[test]
fn what_a_server_says_before_it_goes_holds() {
    let mut bench = Bench::new(&["SET a 1", "SET b 1"]);
    for (answers, said) in [
        ("+OK\r\n+OK\r\n", ok()),
        (
            "+OK\r\n",
            error("IOERR error or timeout reading from target instance"),
        ),
    ] {
        bench.harness.line("MSET a 1 b 1");
        bench.send("MIGRATE h 7000  0 500 KEYS a b");
        bench.greet();
        let last = bench.wire.sockets.len() - 1;
        bench.wire.sockets[last].has_ended = true;
        bench.hear(last, answers);
        assert_eq!(bench.answers(), [said]);
        assert!(!bench.has("a") && bench.wire.sockets[last].is_closed);
        assert_eq!(bench.has("b"), answers.len() < 10);
    }
}

#[test]
fn without_its_client_a_migration_ends_before_a_key_is_sent_and_goes_on_behind() {
    for is_sent in [false, true] {
        let mut bench = Bench::new(&["SET a 1"]);
        let other = bench.other_client();
        bench.send_as(other, "MIGRATE h 7000 a 0 500");
        bench.go_on();
        if is_sent {
            bench.greet();
        }
        let state = &mut bench.harness.state;
        state.clients.close(other, false);
        detach::detach(state, other);
        if is_sent {
            bench.hear(0, "+OK\r\n");
        } else {
            bench.wire.sockets[0].connected = Some(Ok(()));
            bench.go_on();
        }
        assert_eq!(bench.has("a"), !is_sent);
        assert_eq!(bench.wire.sockets[0].is_closed, !is_sent);
        assert!(bench.answers_of(other).is_empty());
    }
}

#[test]
fn nothing_goes_while_writes_are_paused() {
    let mut bench = Bench::new(&["SET a 1"]);
    bench.send("MIGRATE h 7000 a 0 500");
    bench.greet();
    bench.harness.state.pause = Some(Pause {
        until_ms: i64::MAX,
        writes_only: true,
    });
    assert_eq!(bench.hear(0, "+OK\r\n"), Left::default());
    bench.advance_ms(10_000);
    assert_eq!(bench.go_on(), Left::default());
    assert!(bench.has("a") && bench.answers().is_empty());
    bench.harness.state.pause = None;
    bench.go_on();
    assert!(!bench.has("a"));
    assert_eq!(bench.answers(), [ok()]);
}

#[test]
fn a_server_that_becomes_a_replica_removes_nothing() {
    let mut bench = Bench::new(&["SET a 1", "SET b 1"]);
    let other = bench.other_client();
    bench.send("MIGRATE h 7000 a 0 500");
    bench.greet();
    bench.harness.client = bench.other_client();
    bench.harness.line("REPLICAOF 127.0.0.1 1");
    bench.send_as(other, "MIGRATE h 7000 b 0 500");
    bench.hear(0, "+OK\r\n");
    assert!(bench.has("a") && bench.wire.sockets[0].is_closed);
    assert!(!bench.harness.state.keyspace.has_moving());
    assert_eq!(bench.harness.state.migrations.sockets(), 0);
}

#[test]
fn sockets_are_bounded_and_closed_when_nobody_uses_them() {
    let mut bench = Bench::new(&["SET a 1"]);
    let clients: Vec<ClientKey> = (0..=MOST_SOCKETS).map(|_| bench.other_client()).collect();
    for client in &clients {
        bench.send_as(*client, "MIGRATE h 7000 a 0 500 COPY");
    }
    bench.go_on();
    assert_eq!(bench.harness.state.migrations.sockets(), MOST_SOCKETS);
    let full = error("IOERR error or timeout connecting to the client");
    assert_eq!(bench.answers_of(clients[MOST_SOCKETS]), [full]);
    for socket in &mut bench.wire.sockets {
        socket.connected = Some(Ok(()));
        socket.to_read.extend(b"+OK\r\n");
    }
    bench.go_on();
    for socket in 0..MOST_SOCKETS {
        bench.wire.sockets[socket].to_read.extend(b"+OK\r\n");
    }
    bench.go_on();
    assert_eq!(bench.answers_of(clients[0]), [ok()]);
    // Another server: one of those that are kept makes room.
    bench.send("MIGRATE other 7000 a 0 500 COPY");
    bench.go_on();
    assert_eq!(bench.harness.state.migrations.sockets(), MOST_SOCKETS);
    let closed = bench.wire.sockets.iter().filter(|socket| socket.is_closed);
    assert_eq!(closed.count(), 1);
    bench.advance_ms(10_000);
    assert_eq!(bench.go_on(), Left::default());
    assert!(bench.wire.sockets.iter().all(|socket| socket.is_closed));
}

#[test]
fn keys_that_went_before_they_were_sent_are_passed_over() {
    let mut bench = Bench::new(&["SET a 1", "SET b 1 PX 100"]);
    bench.send("MIGRATE h 7000  0 500 KEYS a b");
    let other = bench.other_client();
    bench.send_as(other, "DEL a");
    bench.advance_ms(200);
    bench.greet();
    assert_eq!(bench.asked(0), ["SELECT 0"]);
    assert_eq!(bench.answers(), [Value::Simple("NOKEY".to_owned())]);
}

/// Nothing is serialised long before the socket takes it, and no turn writes without end.
#[test]
fn many_keys_are_serialised_as_the_socket_takes_them() {
    let mut bench = Bench::new(&[]);
    let value = "x".repeat(20_000);
    bench.harness.config("rdbcompression", "no");
    let mut line = "MIGRATE h 7000  0 500 KEYS".to_owned();
    for key in 0..100 {
        bench.harness.line(&format!("SET {key:03} {value}"));
        line.push_str(&format!(" {key:03}"));
    }
    bench.wire.room = Some(200_000);
    bench.send(&line);
    bench.greet();
    let is_moving = |bench: &Bench, key: usize| {
        let key = format!("{key:03}");
        bench.harness.state.keyspace.is_moving(0, key.as_bytes())
    };
    let moving = (0..100).filter(|key| is_moving(&bench, *key)).count();
    assert!((10..16).contains(&moving), "{moving}");
    bench.wire.sockets[0].room = usize::MAX;
    let left = bench.go_on();
    let moving = (0..100).filter(|key| is_moving(&bench, *key)).count();
    assert!(left.more && (50..80).contains(&moving), "{moving}");
    bench.go_on();
    assert_eq!(bench.asked(0).len(), 101);
    bench.hear(0, &"+OK\r\n".repeat(100));
    assert_eq!(bench.answers(), [ok()]);
    assert_eq!(bench.harness.line("DBSIZE"), int(0));
}

/// Redis takes any line that is no error for an acknowledgement.
#[test]
fn who_is_no_server_gets_no_key_removed() {
    let mut bench = Bench::new(&["SET a 1"]);
    bench.send("MIGRATE h 80 a 0 500");
    bench.greet();
    bench.hear(0, "HTTP/1.1 400 Bad Request\r\n\r\n");
    let lost = error("IOERR error or timeout reading from target instance");
    assert_eq!(bench.answers(), [lost]);
    assert!(bench.has("a") && bench.wire.sockets[0].is_closed);
}

#[test]
fn ports_are_read_as_redis_reads_them() {
    for (text, number) in [
        ("6379", Ok(6379)),
        ("6379x", Ok(6379)),
        ("0", Err(NOT_WRITTEN)),
        ("x", Err(NOT_WRITTEN)),
        ("", Err(NOT_WRITTEN)),
        ("65536", Err(NOT_WRITTEN)),
        ("-1", Err(NOT_CONNECTED)),
    ] {
        assert_eq!(port(text.as_bytes()), number, "{text}");
    }
}
