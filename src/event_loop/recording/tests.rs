//! A simulated network is recorded and played: the loop does the same turns.

use super::*;
use crate::event_loop::*;
use proptest::prelude::*;
use std::io::{Cursor, IoSlice, Read, Seek};
use std::time::Duration;

struct NoMask;

impl Mask for NoMask {
    fn hide(&mut self, _token: Token, _bytes: &mut [u8], _at: u64, _patches: &mut Vec<Patch>) {}
    fn closed(&mut self, _token: Token) {}
}

/// Asks a seam for a bit of everything, in an order of its own; what it answered.
fn ask(seam: &mut dyn Seam, token: Token, turns: usize) -> Vec<String> {
    let mut said = Vec::new();
    let mut events = Vec::new();
    for turn in 0..turns {
        said.push(format!("{} {}", seam.monotonic_ns(), seam.unix_us()));
        said.push(format!("{}", seam.random_u64()));
        events.clear();
        let polled = seam.poll(Some(Duration::ZERO), &mut events);
        said.push(format!("{polled:?} {events:?}").replace("Err(Custom", "Err(Os"));
        if let Ok(accepted) = seam.accept(token, Token(turn + 1)) {
            said.push(format!("{accepted:?}"));
        }
        let mut buffer = [0; 64];
        for source in 1..=turn {
            if let Ok(received) = seam.read(Token(source), &mut buffer) {
                let n = received.len;
                said.push(format!("{source} {:?} {}", &buffer[..n], received.more));
                let slices = [IoSlice::new(b"+"), IoSlice::new(&buffer[..n])];
                if let Ok(n) = seam.write(Token(source), &slices) {
                    said.push(format!("wrote {n}"));
                }
            }
        }
        said.push(format!("{}", seam.observed(turn as u64 * 3)));
        said.push(format!("{:?}", seam.signalled((turn == 2).then_some(15))));
    }
    said
}

fn record(limit: u64, turns: usize) -> (Header, Vec<String>, Vec<u8>) {
    let (simulator, handle) = Simulator::new(11, Faults::NONE);
    let header = Header {
        config: b"port 7\n".to_vec(),
        has_config_file: true,
        files: vec![RecordedFile {
            path: "dump.rdb".into(),
            bytes: b"REDIS".to_vec(),
        }],
    };
    let mut file = tempfile::tempfile().expect("a temporary file");
    let ours = file.try_clone().expect("the same file");
    let live: Box<dyn Seam> = Box::new(simulator);
    let recording = RecordingSeam::begin(live, Box::new(NoMask), ours, &header, limit);
    let mut seam = recording.expect("a recording");
    let address = ListenAddress::Inet(std::net::SocketAddr::from(([127, 0, 0, 1], 6379)));
    let options = ListenOptions { backlog: 1 };
    seam.listen(Token(0), &address, &options)
        .expect("a listener");
    for _ in 0..3 {
        let peer = handle.connect();
        handle.send(peer, b"some bytes");
    }
    let said = ask(&mut seam, Token(0), turns);
    drop(seam);
    let mut bytes = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut bytes).expect("its bytes");
    (header, said, bytes)
}

fn play(bytes: &[u8], turns: usize) -> (Header, Vec<String>, Playback) {
    let (header, mut seam) = PlayingSeam::open(Cursor::new(bytes.to_vec())).expect("a recording");
    let address = ListenAddress::Unix("/nowhere".into(), None);
    let options = ListenOptions { backlog: 1 };
    let _ = seam.listen(Token(0), &address, &options);
    let said = ask(&mut seam, Token(0), turns);
    (header, said, seam.playback())
}

#[test]
fn what_was_recorded_is_answered_again() {
    let (header, said, bytes) = record(1 << 20, 6);
    let (played_header, played, playback) = play(&bytes, 6);
    assert_eq!(played_header, header);
    assert_eq!(played, said);
    assert!(
        said.iter().any(|line| line.starts_with("wrote")),
        "{said:?}"
    );
    let state = playback.borrow();
    assert_eq!(state.divergence, None);
    assert_eq!(state.other_write_count, 0);
    assert!(state.same_writes > 0);
}

/// Has a seam connect to where nobody listens, to a listener, and to a path that is not there, and says something over what
/// is made; what it answered. `other` is the listener's turn.
fn ask_to_connect(seam: &mut dyn Seam, mut other: impl FnMut()) -> Vec<String> {
    let server = std::net::Ipv4Addr::new(10, 0, 0, 2);
    let at = |port| ConnectAddress::Inet((server, port).into(), None);
    let targets = [at(1), at(6379), ConnectAddress::Unix("/nowhere".into())];
    let mut said = Vec::new();
    for (index, to) in targets.iter().enumerate() {
        let begun = seam.connect(Token(index), to);
        said.push(format!("{:?}", begun.map_err(|error| error.kind())));
    }
    let (mut events, mut buffer) = (Vec::new(), [0; 64]);
    for _ in 0..30 {
        events.clear();
        let polled = seam.poll(Some(Duration::from_millis(5)), &mut events);
        said.push(format!("{} {events:?}", polled.is_ok()));
        other();
        for token in [Token(0), Token(1)] {
            let outcome = seam.connected(token).map_err(|error| error.kind());
            said.push(format!("{outcome:?}"));
            if outcome.is_ok() {
                let written = seam.write(token, &[IoSlice::new(b"ping")]);
                let read = seam.read(token, &mut buffer).map_err(|error| error.kind());
                said.push(format!("{:?} {read:?} {buffer:?}", written.ok()));
            }
        }
    }
    said
}

#[test]
fn connections_that_the_server_makes_are_recorded_and_made_again() {
    let mut answers = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let faults = Faults::any(&mut crate::system::rng::Rng::new(seed));
        let (simulator, handle) = Simulator::new(seed, faults);
        let (mut listener, _) = handle.another(seed);
        let address = ListenAddress::Inet(std::net::SocketAddr::from(([0; 4], 6379)));
        let options = ListenOptions { backlog: 1 };
        let listens = listener.listen(Token(0), &address, &options);
        listens.expect("a listener");
        let mut file = tempfile::tempfile().expect("a temporary file");
        let ours = file.try_clone().expect("the same file");
        let (live, mask): (Box<dyn Seam>, _) = (Box::new(simulator), Box::new(NoMask));
        let header = Header::default();
        let recording = RecordingSeam::begin(live, mask, ours, &header, 1 << 20);
        let mut seam = recording.expect("a recording");
        let said = ask_to_connect(&mut seam, || {
            let _ = listener.poll(Some(Duration::ZERO), &mut Vec::new());
            let _ = listener.accept(Token(0), Token(1));
            let _ = listener.write(Token(1), &[IoSlice::new(b"pong")]);
        });
        drop(seam);
        file.rewind().expect("a file");
        let (_, mut seam) = PlayingSeam::open(&file).expect("a recording");
        assert_eq!(ask_to_connect(&mut seam, || {}), said, "seed {seed}");
        let playback = seam.playback();
        assert_eq!(playback.borrow().divergence, None);
        assert_eq!(playback.borrow().other_write_count, 0);
        answers.extend(said);
    }
    for answer in [
        "Ok(())",
        "Err(WouldBlock)",
        "Err(ConnectionRefused)",
        "Err(NotFound)",
    ] {
        assert!(answers.contains(answer), "{answer} was not among them");
    }
    assert!(
        answers
            .iter()
            .any(|it| it.contains("Some(4) Ok(Received { len: 4"))
    );
}

#[test]
fn the_end_is_noticed_and_another_way_too() {
    let (_, _, bytes) = record(1 << 20, 3);
    let (_, _, playback) = play(&bytes, 5);
    assert!(playback.borrow().ended);
    let (_, mut seam) = PlayingSeam::open(Cursor::new(bytes)).expect("a recording");
    // It began with a listener.
    assert_eq!(seam.random_u64(), 0);
    let playback = seam.playback();
    let divergence = playback.borrow().divergence.clone().expect("another way");
    assert_eq!(divergence.recorded, "a listener");
    assert_eq!(divergence.asked, "randomness");
}

#[test]
fn a_recording_of_another_version_is_refused() {
    let (_, _, mut bytes) = record(1 << 20, 1);
    bytes[7] = b'3';
    let refusal = PlayingSeam::open(Cursor::new(bytes)).err();
    let refusal = refusal.expect("entries of version 3 are read differently");
    assert!(refusal.to_string().contains("another version"), "{refusal}");
}

#[test]
fn a_recording_stays_within_its_bound() {
    let (_, _, bytes) = record(200, 50);
    assert!(bytes.len() <= 200, "{}", bytes.len());
    let (_, _, playback) = play(&bytes, 50);
    assert!(playback.borrow().ended);
    assert_eq!(playback.borrow().divergence, None);
}

#[test]
fn other_bytes_are_counted() {
    let (_, _, bytes) = record(1 << 20, 6);
    let text = b"some bytes";
    let at = bytes.windows(text.len()).position(|found| found == text);
    let mut other = bytes.clone();
    other[at.expect("what was read")] = b'S';
    let (_, _, playback) = play(&other, 6);
    assert_eq!(playback.borrow().other_write_count, 1);
    assert_eq!(
        playback.borrow().other_writes,
        [(1, b"+Some bytes".to_vec())]
    );
}

proptest! {
    /// A file may be anything: cut, or damaged anywhere.
    #[test]
    fn damage_is_no_panic(cut in 0..4000_usize, at in 0..4000_usize, byte in any::<u8>()) {
        let (_, _, mut bytes) = record(1 << 20, 4);
        let len = bytes.len();
        bytes[at % len] = byte;
        bytes.truncate(cut.max(1) % (len + 1));
        if let Ok((_, mut seam)) = PlayingSeam::open(Cursor::new(bytes)) {
            ask(&mut seam, Token(0), 6);
        }
    }
}
