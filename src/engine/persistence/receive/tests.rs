//! Snapshots of a primary, in each way of taking them in, whole and broken.

use super::*;
use crate::commands::testing::{Harness, bulk, error, int, ok, text};
use crate::config::Config;
use crate::engine::persistence::{SavedFor, options};
use crate::engine::replication::role;
use crate::keyspace::{KeyspaceEvent, Type, interest};
use crate::persistence::aof::AofState;
use crate::persistence::snapshot;
use crate::persistence::status::ChildKind;
use crate::replication::{Link, LinkState, Stream};
use crate::resp::reader::Value;
use crate::system::disk::{Call, Disk, Fault, FaultPlan};
use tempfile::TempDir;

const HOWS: [ReceiveHow; 4] = [
    ReceiveHow::Disk,
    ReceiveHow::Flush,
    ReceiveHow::Swap,
    ReceiveHow::SwapUnserved,
];

const LIBRARY: &str = "#!lua name=new\nredis.register_function('new', function() return 'new' end)";
const OLD_LIBRARY: &str =
    "#!lua name=old\nredis.register_function('old', function() return 'old' end)";

/// A replica in a directory of its own, with data and a library.
struct Replica {
    h: Harness,
    directory: TempDir,
    plan: FaultPlan,
}

impl Replica {
    fn new() -> Replica {
        let directory = tempfile::tempdir().expect("a directory");
        let mut h = Harness::new();
        let plan = FaultPlan::default();
        h.state.persistence.disk = Disk::with_faults(&plan);
        h.state.config = Config::with_dir(directory.path());
        h.config("save", "");
        h.line("SET old 1");
        h.line("SET both old");
        h.run(&["FUNCTION", "LOAD", OLD_LIBRARY]);
        Replica { h, directory, plan }
    }
    fn begin(&mut self, how: ReceiveHow, len: Option<u64>) {
        begin_receive(&mut self.h.state, &mut self.h.host, how, len).expect("begun");
    }
    fn give(&mut self, bytes: &[u8]) -> Result<bool, String> {
        received(&mut self.h.state, &mut self.h.host, bytes)
    }
    fn all(&mut self) {
        received_all(&mut self.h.state, &mut self.h.host).expect("taken in");
    }
    /// One turn of the loop, whose helper has done all that it was given.
    fn turn(&mut self) {
        let state = &mut self.h.state;
        state.receive.helper.drain();
        if let Some(figures) = progress(state) {
            go_on(state, &mut self.h.host, figures, &mut |_| false);
        }
        let Some(mut loading) = state.persistence.loading.take() else {
            return;
        };
        state.persistence.load_steps = true;
        let stepped = loading::step(state, &mut self.h.host, &mut loading, &mut |_| false);
        state.persistence.load_steps = false;
        match stepped {
            Ok(Progress::Done) => loaded(state, &mut self.h.host, &loading, Ok(())),
            Ok(_) => state.persistence.loading = Some(loading),
            Err(failure) => loaded(state, &mut self.h.host, &loading, Err(failure)),
        }
    }
    /// Turns until nothing is received any more; how it came out.
    fn end(&mut self) -> Result<ReceivedInfo, String> {
        for _ in 0..10 {
            self.turn();
            if !is_receiving(&self.h.state) {
                break;
            }
        }
        self.h.state.receive.helper.drain();
        assert!(!self.h.state.persistence.is_loading());
        assert!(!self.h.state.persistence.loads_aside);
        take_received(&mut self.h.state).expect("an end")
    }
    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.directory.path()).expect("a directory");
        let name = |file: std::io::Result<std::fs::DirEntry>| {
            let file = file.expect("a file");
            file.file_name().to_string_lossy().into_owned()
        };
        files.map(name).collect()
    }
    fn has_old(&mut self) {
        assert_eq!(self.h.line("GET old"), bulk("1"));
        assert_eq!(self.h.line("GET both"), bulk("old"));
        assert_eq!(self.h.line("DBSIZE"), int(2));
        assert_eq!(self.h.line("FCALL old 0"), bulk("old"));
    }
    fn is_empty(&mut self) {
        assert_eq!(self.h.line("DBSIZE"), int(0));
        assert_eq!(self.h.line("FUNCTION LIST"), Value::Array(Vec::new()));
    }
    fn has_new(&mut self) {
        assert_eq!(self.h.line("GET both"), bulk("new"));
        assert_eq!(self.h.line("EXISTS old"), int(0));
        assert_eq!(self.h.line("FCALL new 0"), bulk("new"));
        assert!(matches!(self.h.line("FCALL old 0"), Value::Error(_)));
        assert_eq!(self.h.line("LLEN list"), int(500));
        assert_eq!(self.h.line("STRLEN long"), int(300_000));
    }
}

/// A snapshot of a primary.
fn payload() -> Vec<u8> {
    let mut h = Harness::new();
    h.line("SET both new");
    h.run(&["FUNCTION", "LOAD", LIBRARY]);
    h.run(&["SET", "long", &"abcdefghi".repeat(40_000)[..300_000]]);
    let elements: Vec<String> = (0..500).map(|at| format!("element:{at}")).collect();
    let push = ["RPUSH", "list"].into_iter();
    h.run(
        &push
            .chain(elements.iter().map(String::as_str))
            .collect::<Vec<_>>(),
    );
    h.line("HSET hash a 1 b 2");
    h.line("SET expired 1 PX 1000");
    h.line("XADD stream 1-1 a b");
    bytes_of(&mut h)
}

fn bytes_of(h: &mut Harness) -> Vec<u8> {
    let options = options(&h.state, &mut h.host, SavedFor::Ourselves);
    let mut bytes = Vec::new();
    let (keyspace, now) = (&h.state.keyspace, h.state.now);
    snapshot::write_to(keyspace, now, &options, &mut bytes, &mut |_| {}).expect("written");
    bytes
}

#[test]
fn a_snapshot_takes_the_place_of_what_was_there() {
    let payload = payload();
    for how in HOWS {
        for piece in [payload.len(), 1000] {
            let mut replica = Replica::new();
            // What expired on its way is there until its primary says otherwise.
            replica.h.advance_ms(5000);
            replica.begin(how, Some(payload.len() as u64));
            for bytes in payload.chunks(piece) {
                replica.give(bytes).expect("taken");
                replica.turn();
                assert!(take_received(&mut replica.h.state).is_none());
            }
            replica.all();
            let info = replica.end().expect("loaded");
            assert_eq!((info.keys, info.stream_db), (6, 0), "{how:?}");
            replica.has_new();
            let kept = if how == ReceiveHow::Disk { 1 } else { 0 };
            assert_eq!(replica.files().len(), kept, "{how:?}");
        }
    }
}

/// Where a snapshot breaks in the middle, the old data are lost only where they had to go first.
#[test]
fn what_breaks_in_the_middle_leaves_what_its_way_allows() {
    let payload = payload();
    let mut wrong_sum = payload.clone();
    *wrong_sum.last_mut().expect("a sum") ^= 1;
    let no_head = [b"RIDES0012".as_slice(), &payload[9..]].concat();
    let cut = &payload[..payload.len() / 2];
    for how in HOWS {
        for (bytes, has_head) in [
            (&wrong_sum[..], true),
            (cut, true),
            (&no_head, false),
            (b"", false),
            (b"REDIS", false),
        ] {
            let mut replica = Replica::new();
            replica.begin(how, None);
            let mut is_taken = true;
            for bytes in bytes.chunks(5000) {
                is_taken &= replica.give(bytes).is_ok();
                replica.turn();
            }
            if is_taken && is_receiving(&replica.h.state) {
                replica.all();
                let reason = replica.end().expect_err("broken");
                assert!(!reason.is_empty());
            }
            match how {
                // What is no snapshot by its first bytes costs nothing.
                ReceiveHow::Flush | ReceiveHow::Disk if has_head => replica.is_empty(),
                _ => replica.has_old(),
            }
            assert!(
                replica
                    .files()
                    .iter()
                    .all(|name| !name.starts_with("temp-"))
            );
            // The next one finds nothing in its way.
            replica.begin(how, None);
            replica.give(&payload).expect("taken");
            replica.all();
            replica.end().expect("loaded");
            replica.has_new();
        }
    }
}

#[test]
fn what_is_given_up_is_gone() {
    let payload = payload();
    for how in HOWS {
        for turns in 0..3 {
            let mut replica = Replica::new();
            replica.begin(how, None);
            replica.give(&payload[..payload.len() / 2]).expect("taken");
            for _ in 0..turns {
                replica.turn();
            }
            abandon_receive(&mut replica.h.state, &mut replica.h.host);
            assert!(take_received(&mut replica.h.state).is_none());
            replica.turn();
            assert!(!is_receiving(&replica.h.state));
            assert!(!replica.h.state.persistence.is_loading());
            match how {
                ReceiveHow::Flush if turns > 0 => replica.is_empty(),
                _ => replica.has_old(),
            }
            assert!(replica.files().is_empty());
        }
    }
}

/// A disk that takes no more, or fails at the last steps, costs the snapshot and not the data.
#[test]
fn a_disk_that_fails_costs_nothing_but_the_snapshot() {
    let payload = payload();
    for (call, part, number, text) in [
        (Call::Open, "temp-", libc::EACCES, "Opening the temp file"),
        (Call::Write, "temp-", libc::ENOSPC, "No space left"),
        (
            Call::Sync,
            "temp-",
            libc::EIO,
            "Failed trying to sync the temp DB",
        ),
        (
            Call::Rename,
            "temp-",
            libc::EACCES,
            "Failed trying to rename the temp DB",
        ),
        (
            Call::OpenFolder,
            "",
            libc::EMFILE,
            "Failed trying to sync DB directory",
        ),
    ] {
        let mut replica = Replica::new();
        std::fs::write(replica.directory.path().join("dump.rdb"), b"old").expect("written");
        replica.plan.fail(call, part, Fault::Error(number));
        replica.begin(ReceiveHow::Disk, Some(payload.len() as u64));
        replica.give(&payload).expect("not known yet");
        replica.all();
        let reason = replica.end().expect_err("it fails");
        assert!(reason.contains(text), "{reason}");
        replica.has_old();
        assert_eq!(replica.files(), ["dump.rdb"], "{call:?}");
        let kept = std::fs::read(replica.directory.path().join("dump.rdb"));
        assert_eq!(kept.expect("there"), b"old");
        assert!(replica.give(b"more").is_err());
    }
}

/// A client that waits for its EXEC, one that caches and one that waits for a key learn of other data.
#[test]
fn who_watches_caches_or_waits_learns_of_the_new_data() {
    let payload = payload();
    for how in HOWS {
        let mut replica = Replica::new();
        replica
            .h
            .state
            .keyspace
            .set_interest(interest::TRACKING, true);
        let watcher = replica.h.client;
        for key in ["both", "list", "old", "never"] {
            replica.h.line("UNWATCH");
            replica.h.line(&format!("WATCH {key}"));
            replica.h.state.keyspace.take_dirty_watchers();
            replica.begin(how, None);
            replica.give(&payload).expect("taken");
            replica.all();
            replica.end().expect("loaded");
            let dirty = replica.h.state.keyspace.take_dirty_watchers();
            let id = replica
                .h
                .state
                .clients
                .get(watcher)
                .expect("there")
                .session
                .id;
            assert_eq!(dirty.contains(&id), key != "never", "{how:?} {key}");
            let flushed = KeyspaceEvent::Flushed { db: None };
            let events = replica.h.state.keyspace.take_events();
            assert!(events.contains(&flushed), "{how:?} {events:?}");
            assert!(
                !events
                    .iter()
                    .any(|it| matches!(it, KeyspaceEvent::Key { modified: true, .. }))
            );
            // As it was, for the next one.
            replica.h.line("FLUSHALL");
            replica.h.line("FUNCTION FLUSH");
            replica.h.line("SET old 1");
            replica.h.line("SET both old");
            replica.h.state.keyspace.take_events();
        }
        let keyspace = &mut replica.h.state.keyspace;
        keyspace.take_ready();
        keyspace.wait(0, &[b"list".to_vec()], 77, Type::List, false);
        replica.begin(how, None);
        replica.give(&payload).expect("taken");
        replica.all();
        replica.end().expect("loaded");
        let ready = replica.h.state.keyspace.take_ready();
        assert_eq!(ready, [(0, b"list".to_vec())], "{how:?}");
    }
}

/// The old data serve while others are loaded beside them; what has to do with saving, and such, is refused.
#[test]
fn old_data_serve_beside_the_new_ones() {
    let payload = payload();
    let loading = "LOADING Redis is loading the dataset in memory";
    let mut replica = Replica::new();
    replica.begin(ReceiveHow::Swap, Some(payload.len() as u64));
    replica.give(&payload[..payload.len() - 1]).expect("taken");
    replica.turn();
    replica.has_old();
    assert_eq!(replica.h.line("SET old 1"), ok());
    for command in ["BGSAVE", "BGREWRITEAOF", "SAVE"] {
        assert_eq!(replica.h.line(command), error(loading));
    }
    replica.h.line("MULTI");
    replica.h.line("SAVE");
    assert!(matches!(replica.h.line("EXEC"), Value::Error(_)));
    let info = text(&replica.h.line("INFO persistence"));
    assert!(info.contains("\r\nasync_loading:1\r\n"), "{info}");
    assert!(info.contains("loading:0\r\n"), "{info}");
    replica.give(&payload[payload.len() - 1..]).expect("taken");
    replica.turn();
    // Whether what has come is all is for the link to say.
    replica.has_old();
    replica.all();
    replica.end().expect("loaded");
    replica.has_new();
    assert!(matches!(replica.h.line("BGSAVE"), Value::Simple(_)));
    // The same without those who are served, whose data have nothing to do with the new ones.
    let mut replica = Replica::new();
    replica.begin(ReceiveHow::SwapUnserved, None);
    replica.give(&payload).expect("taken");
    replica.turn();
    assert_eq!(replica.h.line("GET old"), error(loading));
    let info = text(&replica.h.line("INFO persistence"));
    assert!(info.contains("\r\nasync_loading:0\r\n"), "{info}");
    abandon_receive(&mut replica.h.state, &mut replica.h.host);
    replica.has_old();
}

/// A file that is loaded, or data that are loaded as they come, leave nobody anything to read meanwhile.
#[test]
fn clients_are_refused_while_the_data_are_replaced() {
    let payload = payload();
    let loading = "LOADING Redis is loading the dataset in memory";
    let mut replica = Replica::new();
    replica.begin(ReceiveHow::Disk, None);
    replica.give(&payload).expect("taken");
    replica.turn();
    replica.has_old();
    replica.all();
    replica.turn();
    assert_eq!(replica.h.line("GET old"), error(loading));
    assert_eq!(replica.h.line("SAVE"), error(loading));
    replica.end().expect("loaded");
    replica.has_new();
    let mut replica = Replica::new();
    replica.begin(ReceiveHow::Flush, None);
    replica.give(&payload[..8]).expect("taken");
    replica.turn();
    replica.has_old();
    replica.give(&payload[8..9]).expect("taken");
    replica.turn();
    assert_eq!(replica.h.line("GET old"), error(loading));
    let info = text(&replica.h.line("INFO persistence"));
    assert!(info.contains("\r\nloading_total_bytes:0\r\n"), "{info}");
    assert!(info.contains("\r\nloading_loaded_perc:0.00\r\n"), "{info}");
}

/// What is saved of the old data while the new ones come would be in their way, and is given up; the append-only file is off
/// from then on, and stays as it is until there are new ones.
#[test]
fn nothing_is_saved_meanwhile() {
    let payload = payload();
    for how in HOWS {
        let mut replica = Replica::new();
        replica.h.config("appendonly", "yes");
        loading::begin(&mut replica.h.state).expect("nothing to load");
        let (state, host) = (&mut replica.h.state, &mut replica.h.host);
        aof::open_at_start(state, host).expect("opened");
        replica.h.line("SET old 1");
        assert!(matches!(replica.h.line("BGSAVE"), Value::Simple(_)));
        replica.begin(how, None);
        replica.give(&payload).expect("taken");
        // Whoever has the link has not said so yet.
        replica.turn();
        let is_off = how == ReceiveHow::Flush;
        let is_saving = |replica: &Replica| replica.h.state.persistence.is_saving();
        let is_on = |replica: &Replica| replica.h.state.persistence.aof.state != AofState::Off;
        assert_eq!(
            (is_saving(&replica), is_on(&replica)),
            (!is_off, !is_off),
            "{how:?}"
        );
        abandon_receive(&mut replica.h.state, &mut replica.h.host);
        aof::rewrite_if_due(&mut replica.h.state, &mut replica.h.host);
        assert_eq!(is_on(&replica), !is_off, "{how:?}");
        replica.begin(how, None);
        replica.give(&payload).expect("taken");
        replica.all();
        replica.end().expect("loaded");
        assert!(is_on(&replica), "{how:?}");
        assert_eq!(
            replica.h.state.persistence.saving(),
            Some(ChildKind::Rewrite)
        );
        replica.has_new();
        // A failure leaves it off, until somebody says that nothing will come.
        replica.begin(how, None);
        replica.give(&payload[..payload.len() - 1]).expect("taken");
        replica.all();
        replica.end().expect_err("broken");
        let is_kept = matches!(how, ReceiveHow::Swap | ReceiveHow::SwapUnserved);
        assert_eq!(is_on(&replica), is_kept, "{how:?}");
        end_waiting_of_append_only(&mut replica.h.state, &mut replica.h.host);
        assert!(is_on(&replica), "{how:?}");
    }
}

/// A replica that keeps nothing on the disk has no file there of its primary either.
#[test]
fn the_file_goes_where_nothing_is_kept() {
    let payload = payload();
    for (removes, save, is_kept) in [("yes", "", false), ("no", "", true), ("yes", "60 1", true)] {
        let mut replica = Replica::new();
        replica.h.config("rdb-del-sync-files", removes);
        replica.h.config("save", save);
        replica.begin(ReceiveHow::Disk, None);
        replica.give(&payload).expect("taken");
        replica.all();
        replica.end().expect("loaded");
        assert_eq!(!replica.files().is_empty(), is_kept, "{removes} {save}");
        assert_eq!(replica.h.state.keyspace.dirty, 0);
    }
}

/// More than can be written or loaded at once waits with whoever has the link.
#[test]
fn what_does_not_get_away_holds_the_link() {
    for how in HOWS {
        let mut replica = Replica::new();
        // Nothing is done before its turn.
        let jobs = Jobs::Simulated(crate::system::simulated_jobs::SimulatedJobs::new(1));
        replica.h.state.receive = Receive::new(&jobs);
        replica.begin(how, None);
        // A string of 64 MB, which comes in more pieces than may wait.
        let mut bytes = b"REDIS0012\x00\x01k\x80".to_vec();
        bytes.extend(64_000_000_u32.to_be_bytes());
        replica.give(&bytes).expect("taken");
        let piece = vec![b'v'; 64_000];
        let mut most = 0;
        for _ in 0..1000 {
            while !receive_wants_more(&replica.h.state) {
                replica.turn();
            }
            replica.give(&piece).expect("taken");
            let waiting = replica
                .h
                .state
                .receive
                .current
                .as_ref()
                .map(|it| it.waiting());
            most = most.max(waiting.expect("received"));
        }
        assert!(most <= FILE_WAITING + piece.len(), "{how:?} {most}");
        replica.give(&[0xff; 1]).expect("taken");
        replica.give(&[0; 8]).expect("taken");
        replica.all();
        assert_eq!(replica.end().expect("loaded").keys, 1);
        assert_eq!(replica.h.line("STRLEN k"), int(64_000_000));
    }
}

/// What a snapshot says of the stream that it is a state of gets to whoever goes on with it.
#[test]
fn the_place_in_the_stream_is_told() {
    let info = SaveInfo {
        stream_db: 3,
        replication_id: "a".repeat(SaveInfo::ID_LEN),
        offset: 12345,
    };
    let mut h = Harness::new();
    h.line("SET k v");
    let mut options = options(&h.state, &mut h.host, SavedFor::Ourselves);
    options.save_info = Some(info.clone());
    let mut bytes = Vec::new();
    let (keyspace, now) = (&h.state.keyspace, h.state.now);
    snapshot::write_to(keyspace, now, &options, &mut bytes, &mut |_| {}).expect("written");
    for how in HOWS {
        let mut replica = Replica::new();
        replica.begin(how, None);
        replica.give(&bytes).expect("taken");
        replica.all();
        let told = replica.end().expect("loaded");
        assert_eq!((told.stream_db, told.save_info), (3, Some(info.clone())));
    }
    // At a start as well.
    let mut replica = Replica::new();
    replica.h.line("FLUSHALL");
    std::fs::write(replica.directory.path().join("dump.rdb"), &bytes).expect("written");
    loading::begin(&mut replica.h.state).expect("begun");
    let state = &mut replica.h.state;
    let mut load = state.persistence.loading.take().expect("there");
    loading::step(state, &mut replica.h.host, &mut load, &mut |_| false).expect("loaded");
    assert_eq!(state.persistence.loaded_info, Some(info));
}

/// Data that were loaded beside the old ones stood under the name and the offset of those till the link was told. A server that
/// was made a primary before that gave its replicas the rest of a stream that was not theirs.
#[test]
fn new_data_are_no_state_of_the_old_stream() {
    let bytes = payload();
    for how in HOWS {
        let mut replica = Replica::new();
        let mut link = Link::to("primary", 1);
        link.state = LinkState::Down;
        let state = &mut replica.h.state;
        state.replication.link = Some(Box::new(link));
        let old = state.replication.id.clone();
        state.replication.stream = Some(Stream::new(1000));
        state.journal.set_offset(1000);
        replica.begin(how, None);
        replica.give(&bytes).expect("taken");
        replica.all();
        replica.end().expect("loaded");
        let (state, host) = (&mut replica.h.state, &mut replica.h.host);
        assert!(state.replication.stream.is_none(), "{how:?}");
        role::lead(state, host);
        assert_ne!(state.replication.id, old, "{how:?}");
        assert_ne!(state.replication.second_id, old, "{how:?}");
    }
}

/// A replica that was started anew removed keys that its primary still had, or was about to give a longer life.
#[test]
fn a_replica_begins_with_what_has_expired() {
    let bytes = payload();
    for (is_replica, keys) in [(true, 6), (false, 5)] {
        let mut replica = Replica::new();
        replica.h.line("FLUSHALL");
        replica.h.line("FUNCTION FLUSH");
        replica.h.advance_ms(5000);
        std::fs::write(replica.directory.path().join("dump.rdb"), &bytes).expect("written");
        loading::begin(&mut replica.h.state).expect("begun");
        let state = &mut replica.h.state;
        if is_replica {
            state.replication.link = Some(Box::new(Link::to("127.0.0.1", 1)));
        }
        let mut load = state.persistence.loading.take().expect("there");
        loading::step(state, &mut replica.h.host, &mut load, &mut |_| false).expect("loaded");
        assert_eq!(state.persistence.loaded_keys, keys);
    }
}
