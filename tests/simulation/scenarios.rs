//! Small worlds for one rule each: passwords, limits, idleness, pauses, fairness, the lack of descriptors.

use crate::commands::multibulk;
use crate::world::server;
use gyre::event_loop::{Faults, SimulatedPeer, SimulatorHandle};
use gyre::server::Server;
use gyre::system::rng::Rng;
use std::time::Duration;

const SEEDS: u64 = 40;

struct Scene {
    server: Server,
    handle: SimulatorHandle,
}

/// Plays a scene with many seeds; a failure tells which.
fn play(directives: &[&str], scene: impl Fn(&mut Scene, u64)) {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let faults = Faults::any(&mut rng);
        let (server, handle) = server(directives, rng.next_u64(), faults);
        eprintln!("seed {seed}, {faults:?}");
        scene(&mut Scene { server, handle }, seed);
    }
}

fn line(words: &str) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words
        .split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect();
    multibulk(&words)
}

impl Scene {
    fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.server
                .turn(Some(Duration::from_millis(1)))
                .expect("a turn");
        }
    }

    /// Sends and takes what comes back, until that is as long as what is expected, or nothing comes any more.
    fn exchange(&mut self, peer: SimulatedPeer, bytes: &[u8], expected: &str) {
        self.handle.send(peer, bytes);
        let mut taken = Vec::new();
        for _ in 0..2000 {
            self.turns(1);
            taken.extend(self.handle.take(peer, usize::MAX));
            if taken.len() >= expected.len() && self.handle.unread(peer) == 0 {
                break;
            }
        }
        assert_eq!(String::from_utf8_lossy(&taken), expected);
    }

    fn ask(&mut self, peer: SimulatedPeer, words: &str, expected: &str) {
        self.exchange(peer, &line(words), expected);
    }

    fn wait_closed(&mut self, peer: SimulatedPeer) {
        for _ in 0..3000 {
            if self.handle.is_closed(peer) {
                return;
            }
            self.turns(1);
        }
        panic!("{peer:?} is still open");
    }
}

#[test]
fn a_password_is_asked_for() {
    play(&["--requirepass", "sesame"], |scene, _| {
        let noauth = "-NOAUTH Authentication required.\r\n";
        let peer = scene.handle.connect();
        scene.ask(peer, "GET a", noauth);
        scene.exchange(peer, &line("SET a 1").repeat(100), &noauth.repeat(100));
        let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
        scene.ask(peer, "AUTH wrong", wrong);
        scene.ask(peer, "GET a", noauth);
        // The limits of a client that has not authenticated end with AUTH, even in one pipeline.
        let big = vec![b'x'; 100_000];
        let mut pipeline = line("AUTH sesame");
        pipeline.extend(multibulk(&[b"SET".to_vec(), b"a".to_vec(), big]));
        pipeline.extend(line("MGET 1 2 3 4 5 6 7 8 9 10 11"));
        pipeline.extend(line("STRLEN a"));
        let nulls = "$-1\r\n".repeat(11);
        scene.exchange(
            peer,
            &pipeline,
            &format!("+OK\r\n+OK\r\n*11\r\n{nulls}:100000\r\n"),
        );
        for (request, error) in [
            (&b"*11\r\n"[..], "unauthenticated multibulk length"),
            (
                b"*2\r\n$3\r\nGET\r\n$16385\r\n",
                "unauthenticated bulk length",
            ),
        ] {
            let stranger = scene.handle.connect();
            scene.exchange(
                stranger,
                request,
                &format!("-ERR Protocol error: {error}\r\n"),
            );
            scene.wait_closed(stranger);
        }
        scene.ask(peer, "STRLEN a", ":100000\r\n");
    });
}

#[test]
fn a_client_too_many_is_told_so_and_closed() {
    play(&["--maxclients", "3"], |scene, _| {
        let inside: Vec<SimulatedPeer> = (0..3).map(|_| scene.handle.connect()).collect();
        for peer in &inside {
            scene.ask(*peer, "PING", "+PONG\r\n");
        }
        let outside = scene.handle.connect();
        scene.wait_closed(outside);
        // Written at once or not at all: a socket that does not take it, or takes a part, is not waited for.
        let told = scene.handle.take(outside, usize::MAX);
        assert!(b"-ERR max number of clients reached\r\n".starts_with(&told));
        scene.handle.close(inside[0]);
        scene.wait_closed(inside[0]);
        let next = scene.handle.connect();
        scene.ask(next, "PING", "+PONG\r\n");
        scene.ask(inside[2], "PING", "+PONG\r\n");
        assert_eq!(scene.server.state().clients.connected, 3);
    });
}

#[test]
fn who_never_reads_is_cut_off_at_the_limit_and_others_are_served() {
    let directives = ["--client-output-buffer-limit", "normal 300000 0 0"];
    play(&directives, |scene, _| {
        let (deaf, other) = (scene.handle.connect(), scene.handle.connect());
        scene.handle.set_capacity(deaf, 1000);
        scene.exchange(
            other,
            &multibulk(&[b"SET".to_vec(), b"a".to_vec(), vec![b'v'; 5000]]),
            "+OK\r\n",
        );
        scene.handle.send(deaf, &line("GET a").repeat(200));
        for _ in 0..20 {
            scene.ask(other, "PING", "+PONG\r\n");
        }
        scene.wait_closed(deaf);
        let stats = &scene.server.state().observe.stats;
        assert_eq!(stats.client_output_buffer_limit_disconnections, 1);
        scene.ask(other, "PING", "+PONG\r\n");
        assert_eq!(scene.server.state().clients.len(), 1);
    });
}

#[test]
fn who_stays_over_the_soft_limit_is_cut_off_later() {
    let directives = ["--client-output-buffer-limit", "normal 0 30000 3"];
    play(&directives, |scene, seed| {
        let (deaf, other) = (scene.handle.connect(), scene.handle.connect());
        scene.handle.set_capacity(deaf, 1000);
        scene.exchange(
            other,
            &multibulk(&[b"SET".to_vec(), b"a".to_vec(), vec![b'v'; 5000]]),
            "+OK\r\n",
        );
        scene.handle.send(deaf, &line("GET a").repeat(50));
        scene.turns(100);
        assert_eq!(scene.handle.unread(deaf), 0);
        assert!(!scene.handle.is_closed(deaf));
        if seed % 2 == 0 {
            // It thinks better of it.
            scene.handle.set_capacity(deaf, 1 << 20);
            for _ in 0..200 {
                scene.turns(1);
                scene.handle.take(deaf, usize::MAX);
            }
            scene.handle.advance(Duration::from_secs(10));
            scene.turns(200);
            assert!(!scene.handle.is_closed(deaf));
        } else {
            scene.handle.advance(Duration::from_secs(4));
            scene.wait_closed(deaf);
        }
        scene.ask(other, "PING", "+PONG\r\n");
    });
}

#[test]
fn who_is_idle_for_too_long_is_closed() {
    play(&["--timeout", "5"], |scene, _| {
        let (idle, busy) = (scene.handle.connect(), scene.handle.connect());
        scene.ask(idle, "PING", "+PONG\r\n");
        for _ in 0..4 {
            scene.ask(busy, "PING", "+PONG\r\n");
            scene.handle.advance(Duration::from_secs(1));
        }
        scene.turns(10);
        assert!(!scene.handle.is_closed(idle));
        for _ in 0..4 {
            scene.ask(busy, "PING", "+PONG\r\n");
            scene.handle.advance(Duration::from_secs(1));
        }
        scene.wait_closed(idle);
        scene.ask(busy, "PING", "+PONG\r\n");
    });
}

/// `printf 'PING\r\n' | nc`: requests and the end of the stream on one edge. The answers were lost once, because the
/// end was found in the turn in which they were still waiting to be written.
#[test]
fn the_end_of_the_stream_does_not_eat_the_last_answers() {
    play(&[], |scene, _| {
        // Writes that block for no reason would, rightly, lose them.
        scene.handle.set_faults(Faults {
            cut: 300,
            hold_back: 300,
            ..Faults::NONE
        });
        let peer = scene.handle.connect();
        scene.handle.send(peer, b"PING\r\nECHO bye\r\n");
        scene.handle.finish(peer);
        scene.wait_closed(peer);
        assert_eq!(scene.handle.take(peer, 100), b"+PONG\r\n$3\r\nbye\r\n");
    });
}

#[test]
fn without_descriptors_connections_wait_and_those_that_are_open_go_on() {
    play(&[], |scene, _| {
        scene.handle.set_descriptors(2);
        let (first, second, third) = (
            scene.handle.connect(),
            scene.handle.connect(),
            scene.handle.connect(),
        );
        scene.handle.send(third, &line("ECHO third"));
        for _ in 0..10 {
            scene.ask(first, "PING", "+PONG\r\n");
            scene.ask(second, "PING", "+PONG\r\n");
        }
        assert_eq!(scene.handle.untaken(third), 0);
        scene.handle.close(first);
        scene.exchange(third, b"", "$5\r\nthird\r\n");
        // Nobody left, but the system has descriptors again: found out without an edge.
        let fourth = scene.handle.connect();
        scene.turns(50);
        scene.handle.set_descriptors(100);
        scene.ask(fourth, "PING", "+PONG\r\n");
    });
}

#[test]
fn a_pause_holds_commands_back_in_their_order() {
    play(&[], |scene, seed| {
        let (one, two) = (scene.handle.connect(), scene.handle.connect());
        scene.ask(one, "SET a 1", "+OK\r\n");
        scene.ask(two, "SET b 1", "+OK\r\n");
        let writes_only = seed % 2 == 0;
        scene.ask(
            two,
            if writes_only {
                "CLIENT PAUSE 60000 WRITE"
            } else {
                "CLIENT PAUSE 60000"
            },
            "+OK\r\n",
        );
        let mut pipeline = line("GET a");
        pipeline.extend(line("APPEND a 2"));
        pipeline.extend(line("GET a"));
        pipeline.extend(line("APPEND a 3").repeat(50));
        pipeline.extend(multibulk(&[
            b"SET".to_vec(),
            b"big".to_vec(),
            vec![b'b'; 100_000],
        ]));
        pipeline.extend(line("STRLEN a"));
        let answers: String = (3..53).map(|len| format!(":{len}\r\n")).collect();
        let (before, after) = (
            "$1\r\n1\r\n",
            format!(":2\r\n$2\r\n12\r\n{answers}+OK\r\n:52\r\n"),
        );
        scene.handle.send(one, &pipeline);
        scene.turns(300);
        let told = scene.handle.take(one, usize::MAX);
        assert_eq!(told, if writes_only { before.as_bytes() } else { b"" });
        if !writes_only {
            scene.handle.advance(Duration::from_secs(61));
            scene.exchange(one, b"", &format!("{before}{after}"));
        } else {
            let three = scene.handle.connect();
            scene.ask(three, "GET b", "$1\r\n1\r\n");
            scene.handle.advance(Duration::from_secs(61));
            scene.exchange(one, b"", &after);
        }
    });
}

#[test]
fn a_long_pipeline_does_not_hog_the_loop() {
    play(&[], |scene, _| {
        let (long, short) = (scene.handle.connect(), scene.handle.connect());
        scene.ask(short, "PING", "+PONG\r\n");
        scene.handle.set_faults(Faults::NONE);
        scene.handle.set_capacity(long, 1 << 24);
        scene.handle.send(long, &line("PING").repeat(100_000));
        scene.handle.send(short, &line("PING"));
        scene.turns(2);
        assert_eq!(
            scene.handle.take(short, 100),
            b"+PONG\r\n",
            "it waited for the long one"
        );
        assert!(scene.handle.unread(long) > 0);
        scene.exchange(long, b"", &"+PONG\r\n".repeat(100_000));
    });
}

/// `printf ... | nc` to a server that answers much more than the reader takes, and a reader that stops: the connection
/// stayed for ever, with its output.
#[test]
fn who_has_ended_its_sending_and_takes_nothing_is_dropped_after_a_while() {
    play(&[], |scene, seed| {
        let (deaf, other) = (scene.handle.connect(), scene.handle.connect());
        scene.handle.set_capacity(deaf, 1000);
        scene.exchange(
            other,
            &multibulk(&[b"SET".to_vec(), b"a".to_vec(), vec![b'v'; 5000]]),
            "+OK\r\n",
        );
        scene.handle.send(deaf, &line("GET a").repeat(50));
        scene.handle.finish(deaf);
        scene.turns(200);
        assert!(!scene.handle.is_closed(deaf));
        if seed % 2 == 0 {
            // As long as it takes a little now and then it is served.
            for _ in 0..10 {
                scene.handle.advance(Duration::from_secs(30));
                scene.turns(60);
                scene.handle.take(deaf, 1000);
                scene.turns(60);
            }
            assert!(!scene.handle.is_closed(deaf));
        }
        scene.handle.advance(Duration::from_secs(61));
        scene.wait_closed(deaf);
        scene.ask(other, "PING", "+PONG\r\n");
    });
}

/// Who had been held back for longer than a client may linger was cut off with its last answers, in the turn that ran its last
/// commands.
#[test]
fn who_was_held_back_for_long_is_sent_its_last_answers() {
    play(&[], |scene, _| {
        // Writes that block for no reason would take longer.
        scene.handle.set_faults(Faults {
            cut: 300,
            hold_back: 300,
            ..Faults::NONE
        });
        let (held, other) = (scene.handle.connect(), scene.handle.connect());
        scene.ask(other, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
        let mut pipeline = line("APPEND a 1");
        pipeline.extend(line("QUIT"));
        scene.handle.send(held, &pipeline);
        scene.turns(100);
        scene.handle.advance(Duration::from_secs(61));
        scene.ask(other, "CLIENT UNPAUSE", "+OK\r\n");
        for _ in 0..50 {
            // So much that the clients are looked at in each turn.
            scene.handle.advance(Duration::from_secs(1));
            scene.turns(1);
        }
        scene.wait_closed(held);
        assert_eq!(scene.handle.take(held, 100), b":1\r\n+OK\r\n");
    });
}

/// Bursts over the soft limit that drain at once were taken for one long excess.
#[test]
fn bursts_that_drain_in_between_do_not_add_up_to_a_soft_limit() {
    let directives = [
        "--client-output-buffer-limit",
        "normal 0 30000 3",
        "--enable-debug-command",
        "yes",
    ];
    play(&directives, |scene, _| {
        scene.handle.set_faults(Faults::NONE);
        let peer = scene.handle.connect();
        scene.handle.set_capacity(peer, 1 << 20);
        // The periodic look at clients would forget the excess by itself.
        scene.ask(peer, "DEBUG PAUSE-CRON 1", "+OK\r\n");
        scene.exchange(
            peer,
            &multibulk(&[b"SET".to_vec(), b"a".to_vec(), vec![b'v'; 5000]]),
            "+OK\r\n",
        );
        let answer = format!("$5000\r\n{}\r\n", "v".repeat(5000)).repeat(20);
        for _ in 0..5 {
            scene.exchange(peer, &line("GET a").repeat(20), &answer);
            scene.handle.advance(Duration::from_secs(2));
        }
        assert!(!scene.handle.is_closed(peer));
    });
}

/// 128 connections with pipelines of requests held the loop for more than a second.
#[test]
fn pages_are_bounded_in_a_turn_for_all_connections_together() {
    play(
        &["--http-port", "8379", "--http-bind", "127.0.0.1"],
        |scene, seed| {
            if seed >= 4 {
                return;
            }
            scene.handle.set_faults(Faults::NONE);
            let peers: Vec<SimulatedPeer> = (0..100)
                .map(|_| scene.handle.connect_to(Some(8379)))
                .collect();
            scene.turns(30);
            let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
            for peer in &peers {
                scene.handle.set_capacity(*peer, 1 << 24);
                scene.handle.send(*peer, &request.repeat(20));
            }
            let mut answers = vec![0; peers.len()];
            // What a write has cut off of a head: how long pages are, and so where that is, is not the seed's to say.
            let mut rests = vec![Vec::new(); peers.len()];
            let mut turns = 0;
            while answers.iter().sum::<usize>() < 20 * peers.len() {
                scene.turns(1);
                turns += 1;
                let mut in_turn = 0;
                for ((peer, count), rest) in peers.iter().zip(&mut answers).zip(&mut rests) {
                    rest.extend(scene.handle.take(*peer, usize::MAX));
                    let heads = String::from_utf8_lossy(rest)
                        .matches("HTTP/1.1 200")
                        .count();
                    rest.drain(..rest.len().saturating_sub("HTTP/1.1 20".len()));
                    in_turn += heads;
                    *count += heads;
                }
                assert!(in_turn <= 40, "{in_turn} answers in one turn");
                assert!(turns < 5000, "nobody is forgotten");
                if turns == 60 {
                    assert!(
                        answers.iter().all(|count| *count > 0),
                        "all get on: {answers:?}"
                    );
                }
            }
        },
    );
}

/// A reader that goes by the length of what it got, and not by whether more may be there, waits for an edge that never
/// comes.
#[test]
fn an_http_request_in_pieces_is_answered_however_it_is_read() {
    let directives = ["--http-port", "8379", "--http-bind", "127.0.0.1"];
    play(&directives, |scene, seed| {
        scene.handle.set_faults(Faults {
            short_more: 500,
            cut: 900,
            ..Faults::any(&mut Rng::new(seed))
        });
        let peer = scene.handle.connect_to(Some(8379));
        let padding = format!("X-Padding: {}\r\n", "x".repeat(2000));
        let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{padding}\r\n");
        for _ in 0..3 {
            for piece in request.as_bytes().chunks(700) {
                scene.handle.send(peer, piece);
                scene.turns(1);
            }
            let mut answer = Vec::new();
            let mut turns = 0;
            while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
                scene.turns(1);
                answer.extend(scene.handle.take(peer, usize::MAX));
                turns += 1;
                assert!(
                    turns < 2000,
                    "it starves; {:?}",
                    String::from_utf8_lossy(&answer)
                );
            }
            assert!(answer.starts_with(b"HTTP/1.1 "));
            scene.turns(20);
            scene.handle.take(peer, usize::MAX);
        }
    });
}

/// Silent connections shut out whoever had something to ask.
#[test]
fn silent_http_connections_make_room_and_busy_ones_leave_a_place_for_probes() {
    play(
        &["--http-port", "8379", "--http-bind", "127.0.0.1"],
        |scene, seed| {
            if seed >= 4 {
                return;
            }
            scene.handle.set_faults(Faults::NONE);
            let get =
                |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
            let ask = |scene: &mut Scene, path: &str| {
                let peer = scene.handle.connect_to(Some(8379));
                scene.handle.send(peer, &get(path));
                scene.turns(50);
                String::from_utf8_lossy(&scene.handle.take(peer, 12)).into_owned()
            };
            let silent: Vec<SimulatedPeer> = (0..300)
                .map(|_| scene.handle.connect_to(Some(8379)))
                .collect();
            scene.turns(300);
            let open = silent.iter().filter(|peer| !scene.handle.is_closed(**peer));
            assert!((100..=128).contains(&open.count()));
            assert_eq!(ask(scene, "/metrics"), "HTTP/1.1 200");
            assert_eq!(ask(scene, "/healthz"), "HTTP/1.1 200");
            // Those who watch are busy.
            let watching: Vec<SimulatedPeer> = (0..140)
                .map(|_| {
                    let peer = scene.handle.connect_to(Some(8379));
                    scene.handle.send(peer, &get("/events"));
                    peer
                })
                .collect();
            scene.turns(300);
            for _ in 0..3 {
                for peer in &watching {
                    scene.handle.take(*peer, usize::MAX);
                }
                assert_eq!(ask(scene, "/healthz"), "HTTP/1.1 200");
                assert_eq!(ask(scene, "/metrics"), "HTTP/1.1 503");
            }
            // Silent ones in the places for probes make room for probes, and not for more who watch.
            for _ in 0..40 {
                scene.handle.connect_to(Some(8379));
                scene.turns(3);
                let peer = scene.handle.connect_to(Some(8379));
                scene.handle.send(peer, &get("/events"));
                scene.turns(3);
                for peer in &watching {
                    scene.handle.take(*peer, usize::MAX);
                }
            }
            assert_eq!(ask(scene, "/healthz"), "HTTP/1.1 200");
        },
    );
}
