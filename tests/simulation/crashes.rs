//! Servers whose append-only file is on a disk that fails and crashes, while clients do all that they do elsewhere.
//!
//! A server lives for some turns and ends: the process alone, the machine with all that was not synced, or by its own hand
//! where it cannot keep a promise. The next one loads what the disk holds. That must be the model after some event, not
//! earlier than what was promised: whatever a client has read under `always`, what the server takes for synced under
//! `everysec` and, whatever it says, what is older than that promises, and all that was written where only the process has
//! ended. Since every state in between is none of the model's, nothing can have been applied by halves.
//!
//! Snapshots that end well while a server lives are loaded by another one at once: they are what was there at some moment of
//! the turn in which they began.

use crate::answers::{Compared, compare};
use crate::client::lossy;
use crate::commands::{Vocabulary, asking, multibulk, words};
use crate::model::{Caller, DATABASES, Model};
use crate::world::{World, start, vocabulary};
use gyre::clients::Client;
use gyre::config::Settings;
use gyre::event_loop::{Faults, Simulator, SimulatorHandle};
use gyre::journal::Targets;
use gyre::keyspace::Stored;
use gyre::observe::Executed;
use gyre::persistence::aof::manifest::Manifest;
use gyre::persistence::check::{Console, Repair, check_aof, check_rdb};
use gyre::persistence::rdb::save::PartSize;
use gyre::resp::reader::{Value, read_value};
use gyre::server::Server;
use gyre::system::disk::{Disk, Mode};
use gyre::system::rng::Rng;
use gyre::system::simulated_children::ChildFaults;
use gyre::system::simulated_disk::{DiskFaults, SimulatedDisk};
use gyre::system::simulated_jobs::JobDelays;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Seeds of the ordinary test run.
const SEEDS: u64 = 200;
const LIVES: u64 = 4;
const MANIFEST: &str = "/appendonlydir/appendonly.aof.manifest";
const SNAPSHOT: &str = "/dump.rdb";

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Process,
    Machine,
}

/// The journal's offset at the end of a turn, or the time, and the last event then.
type Turn = (u64, u64);
/// Fields of a hash with the times at which they are over.
type FieldTimes = BTreeMap<Vec<u8>, Option<i64>>;

/// Who keeps the data.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keeper {
    /// The append-only file, with this `appendfsync`.
    File(&'static str),
    /// Snapshots alone.
    Snapshots,
}

/// Under `everysec` all is on the disk after so long, where the disk is well: the two seconds of the promise, and how far
/// the clock may jump between two turns.
const EVERYSEC_NS: u64 = 3_000_000_000;
/// How far it jumps at most between two turns in which no client does anything, ms.
const IDLE_JUMP_MS: u64 = 500;
/// One in so many snapshots that have ended well is loaded at once.
const LOADED_SNAPSHOTS: u64 = 2;
/// Ids that commands of clients may name.
const NAMED_IDS: u64 = 20;

/// One question to a server that has started, when it was answered, and how.
struct Told {
    args: Vec<Vec<u8>>,
    now_ms: i64,
    bytes: Vec<u8>,
    /// What went by itself before that. HLEN counts a field whose time is over until it goes, which it may do between two
    /// questions.
    gone: Vec<Executed>,
}

/// All that a server holds that has started.
struct Contents {
    /// What it has answered.
    told: Vec<Told>,
    /// What went by itself behind the last answer; it is in the record still.
    gone: Vec<Executed>,
    /// The fields of its hashes after that, by database and key. Those whose time is over no command names: two moments could
    /// not be told apart that differ in nothing else, and HLEN counts them.
    fields: BTreeMap<(usize, Vec<u8>), FieldTimes>,
}

/// Asks commands one after the other, in one pipeline. What goes by itself behind the last answer is left in the record, for
/// whoever reads that next.
fn ask(server: &mut Server, handle: &SimulatorHandle, all: Vec<Vec<Vec<u8>>>) -> Vec<Told> {
    let peer = handle.connect();
    for args in &all {
        handle.send(peer, &multibulk(args));
    }
    let (mut bytes, mut at) = (Vec::new(), 0);
    let mut asked = VecDeque::new();
    let mut gone = Vec::new();
    let mut told = Vec::new();
    for args in all {
        let used = loop {
            if let Ok((_, used)) = read_value(&bytes[at..]) {
                break used;
            }
            server.turn(Some(Duration::from_millis(1))).expect("a turn");
            let executed = server.state().observe.executed.as_mut();
            for what in std::mem::take(executed.expect("a record is kept")) {
                match what {
                    Executed::Command { unix_us, .. } => {
                        asked.push_back((unix_us / 1000, std::mem::take(&mut gone)));
                    }
                    what if went(&what) => gone.push(what),
                    _ => {}
                }
            }
            bytes.extend(handle.take(peer, usize::MAX));
        };
        let (now_ms, gone) = asked.pop_front().expect("a command that has run");
        told.push(Told {
            args,
            now_ms,
            bytes: bytes[at..at + used].to_vec(),
            gone,
        });
        at += used;
    }
    handle.close(peer);
    while !handle.is_closed(peer) {
        server.turn(Some(Duration::from_millis(1))).expect("a turn");
    }
    let executed = server.state().observe.executed.as_mut();
    let executed = executed.expect("a record is kept");
    executed.retain(went);
    executed.splice(0..0, gone);
    told
}

/// Whether this is a key or a field that went by itself.
fn went(what: &Executed) -> bool {
    matches!(
        what,
        Executed::Removed { .. } | Executed::FieldExpired { .. }
    )
}

/// Ids that a server has given out before any connection.
fn ids_before(server: &mut Server) -> u64 {
    let clients = &mut server.state().clients;
    let key = clients.insert(Client::default());
    clients.remove(key).map_or(0, |client| client.session.id)
}

/// All that a server holds.
fn contents(server: &mut Server, handle: &SimulatorHandle) -> Contents {
    let told = answers(server, handle);
    let state = server.state();
    let gone = state.observe.executed.clone().expect("a record is kept");
    let mut fields = BTreeMap::new();
    for db in 0..DATABASES {
        state.keyspace.for_each(db, &mut |entry| {
            if let Stored::Hash(hash) = entry.stored() {
                let pairs = hash.iter().map(|pair| (pair.field.to_vec(), pair.expiry));
                fields.insert((db, entry.key().to_vec()), pairs.collect());
            }
        });
    }
    Contents { told, gone, fields }
}

/// All that a server can be asked for.
fn answers(server: &mut Server, handle: &SimulatorHandle) -> Vec<Told> {
    let select = |db: usize| words(&format!("SELECT {db}"));
    let mut asked = vec![words("FCALL sim2 2 none none x")];
    for db in 0..DATABASES {
        asked.extend([select(db), words("KEYS *")]);
    }
    let mut all = ask(server, handle, asked);
    let names_of = |told: &Told| -> Vec<Vec<u8>> {
        let keys = read_value(&told.bytes).expect("keys").0;
        let keys = keys.items().unwrap_or_default();
        let names = keys.iter().filter_map(Value::as_bytes);
        names.map(<[u8]>::to_vec).collect()
    };
    let names: Vec<Vec<Vec<u8>>> = (0..DATABASES)
        .map(|db| names_of(&all[2 + 2 * db]))
        .collect();
    let filled = || (0..DATABASES).filter(|db| !names[*db].is_empty());
    let mut asked = Vec::new();
    for db in filled() {
        asked.push(select(db));
        let types = names[db].iter();
        asked.extend(types.map(|name| vec![b"TYPE".to_vec(), name.clone()]));
    }
    let types = ask(server, handle, asked);
    let mut kinds = types.iter();
    let mut asked = Vec::new();
    for db in filled() {
        asked.push(select(db));
        kinds.next();
        for (name, kind) in names[db].iter().zip(&mut kinds) {
            let kind = String::from_utf8_lossy(&kind.bytes[1..])
                .trim_end()
                .to_owned();
            asked.extend(asking(name, &kind, true));
        }
    }
    all.extend(types);
    let values = ask(server, handle, asked);
    let pending = ask(server, handle, asking_for_pending(&values));
    all.extend(values);
    all.extend(pending);
    all
}

/// Commands that tell all that is pending in the groups of which this tells.
fn asking_for_pending(values: &[Told]) -> Vec<Vec<Vec<u8>>> {
    let mut asked = Vec::new();
    for told in values {
        match &told.args[..] {
            [select, _] if select == b"SELECT" => asked.push(told.args.clone()),
            [info, groups, key] if info == b"XINFO" && groups == b"GROUPS" => {
                let groups = read_value(&told.bytes).expect("groups").0;
                for group in groups.items().unwrap_or_default() {
                    let name = group.items().and_then(|it| it[1].as_bytes());
                    let mut args = words("XPENDING - + 1000");
                    args.insert(1, key.clone());
                    args.insert(2, name.expect("a name").to_vec());
                    asked.push(args);
                }
            }
            _ => {}
        }
    }
    asked
}

/// Has a model go on with what a server has loaded, of which it is told.
fn go_on(model: &Model, told: &[Told]) -> Model {
    let mut model = model.restarted();
    let mut db = 0;
    for it in told {
        it.gone.iter().for_each(|what| model.went(what));
        let value = read_value(&it.bytes).expect("a value").0;
        match &it.args[..] {
            [select, number] if select == b"SELECT" => {
                let number = String::from_utf8_lossy(number);
                db = number.parse().expect("a number");
            }
            [pending, ..] if pending == b"XPENDING" => {
                let entries = value.items().unwrap_or_default();
                model.pending_is_told(db, &it.args, it.now_ms, entries);
            }
            _ => {}
        }
    }
    model.is_told();
    model
}

/// The first thing that a model would say otherwise, in a line.
fn difference(model: &Model, contents: &Contents) -> Option<String> {
    let mut model = model.restarted();
    let mut caller = Caller::default();
    for it in &contents.told {
        it.gone.iter().for_each(|what| model.may_have_lost(what));
        let answer = model.run(&mut caller, it.now_ms, &it.args);
        let answer = answer.expect("an answer");
        let is_same =
            matches!(compare(&answer, false, &it.bytes), Compared::Same(n) if n == it.bytes.len());
        if !is_same {
            let args: Vec<String> = it.args.iter().map(|arg| lossy(arg)).collect();
            let answer: String = format!("{answer:?}").chars().take(200).collect();
            return Some(format!(
                "{args:?} is answered {:?}, not {answer}",
                lossy(&it.bytes)
            ));
        }
    }
    let gone = contents.gone.iter();
    gone.for_each(|what| model.may_have_lost(what));
    contents.fields.iter().find_map(|((db, key), fields)| {
        // A key that is not there for the model has expired.
        let own = model.held_fields(*db, key)?;
        let key = lossy(key);
        (own != *fields).then(|| format!("{key} of {db} has {fields:?}, not {own:?}"))
    })
}

/// All that a snapshot holds, as a server says at this time that has loaded it on a disk of its own.
fn contents_of_snapshot(bytes: &[u8], unix_us: i64) -> Contents {
    let (simulator, handle) = Simulator::new(0, Faults::NONE);
    let disk = Disk::simulated(&handle.disk());
    let file = disk.open(Path::new(SNAPSHOT), Mode::Create);
    let written = file.and_then(|file| file.write_all(bytes));
    written.expect("a disk on which nothing fails");
    let ahead_us = unix_us - handle.unix_us();
    handle.advance(Duration::from_micros(ahead_us.max(0) as u64));
    let mut server = start(simulator, &["--save", ""]);
    contents(&mut server, &handle)
}

/// What tells one background save from another, while it is under way.
fn save_under_way(server: &mut Server) -> Option<u64> {
    let persistence = &server.state().persistence;
    let child = persistence.child.as_ref().map(|it| it.started_ns);
    child.or_else(|| persistence.forkless.as_ref().map(|it| it.started_ns))
}

/// Whether the tools call what the disk holds sound.
fn is_sound(disk: &SimulatedDisk, settings: &Settings, keeper: Keeper) -> bool {
    let disk = Disk::simulated(&disk.copy(0));
    let mut said = Vec::new();
    let mut check = |repair| {
        let mut console = Console {
            disk: &disk,
            out: &mut said,
            input: &mut &b"y\ny\n"[..],
        };
        let checked = match keeper {
            Keeper::File(_) => check_aof(&mut console, settings, Path::new(MANIFEST), repair),
            Keeper::Snapshots => check_rdb(&mut console, settings, Path::new(SNAPSHOT)),
        };
        checked.is_ok()
    };
    let path = match keeper {
        Keeper::File(_) => MANIFEST,
        Keeper::Snapshots => SNAPSHOT,
    };
    if disk.size(Path::new(path)).expect("no error").is_none() {
        return true;
    }
    let is_sound = check(Repair::None);
    let is_good = is_sound || (check(Repair::Fix) && check(Repair::None));
    let said = String::from_utf8_lossy(&said);
    assert!(is_good, "what a crash has left cannot be repaired: {said}");
    is_sound
}

/// The lengths of the files of commands.
fn lengths(disk: &SimulatedDisk) -> BTreeMap<PathBuf, usize> {
    let files = disk.files().into_iter();
    let files = files.filter(|(path, _)| path.extension().is_some_and(|it| it == "aof"));
    files.map(|(path, bytes)| (path, bytes.len())).collect()
}

/// The files that the manifest lists.
fn listed(disk: &SimulatedDisk) -> Vec<String> {
    let text = Disk::simulated(disk).read(Path::new(MANIFEST));
    let manifest = text.expect("no error").map(|text| Manifest::parse(&text));
    let manifest = manifest.map_or_else(Manifest::default, |it| it.expect("a manifest"));
    manifest.files().map(|file| file.name.clone()).collect()
}

/// What a server has promised: the number of the last event that is kept if the process ends, and if the machine crashes.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    written: u64,
    synced: u64,
}

/// How often things have happened that a run is to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Crashes of the machine.
    crashes: u64,
    /// Lives that ended between two calls of the disk.
    stops: u64,
    /// Lives that ended because writes were refused.
    refusals: u64,
    /// Lives that ended by SHUTDOWN.
    shutdowns: u64,
    /// Files of commands that were cut, or left out, at the start.
    cuts: u64,
    /// Snapshots that held what had been changed in that life.
    snapshots: u64,
    /// Snapshots that were loaded when they had ended, while their server went on.
    loaded: u64,
    /// Commands that waited for a snapshot to read a value that they were to change.
    held: u64,
    /// Values that were changed by commands that could not wait for that.
    hurried: u64,
    /// Lives so long that `everysec` had to keep events of theirs, by the time alone.
    by_time: u64,
}

impl Seen {
    fn counts(&mut self) -> [&mut u64; 10] {
        let Seen {
            crashes,
            stops,
            refusals,
            shutdowns,
            cuts,
            snapshots,
            loaded,
            held,
            hurried,
            by_time,
        } = self;
        [
            crashes, stops, refusals, shutdowns, cuts, snapshots, loaded, held, hurried, by_time,
        ]
    }
    fn add(&mut self, mut other: Seen) {
        for (sum, count) in self.counts().into_iter().zip(other.counts()) {
            *sum += *count;
        }
    }
}

/// A server that lives, ends and comes back, again and again.
pub struct Lives {
    rng: Rng,
    keeper: Keeper,
    rewrites: bool,
    has_preamble: bool,
    /// A snapshot without a child reads small values in parts, a part in each turn.
    reads_parts: bool,
    directives: Vec<&'static str>,
    faults: Faults,
    handle: SimulatorHandle,
    /// The server between two lives, and ids that it has given out.
    server: Option<(Server, u64)>,
    /// The server while it lives.
    world: Option<World>,
    /// What the next crash may leave, with the number of the last event of each, the latest last.
    history: VecDeque<(u64, Model)>,
    promised: Promised,
    ends: VecDeque<Turn>,
    /// Monotonic time at the end of each turn, and the last event then.
    times: VecDeque<Turn>,
    /// The server has said that its disk fails, or syncs may take long.
    is_excused: bool,
    /// The last event before the save that is under way began.
    save_begun: Option<u64>,
    /// The save that was under way at the end of the last turn, and the model after each event of the turn in which it began.
    saving: (Option<u64>, Vec<Model>),
    turns_left: u64,
    /// Turns to come in which the clients are idle.
    idle_turns: u64,
    /// They are, now and then.
    idles: bool,
    /// The disk stops behind a rename.
    stops_behind_rename: bool,
    /// How the server was told to end.
    shutdown: Option<&'static str>,
    may: Vocabulary,
    clients: usize,
    seen: Seen,
}

impl Lives {
    /// Starts one on an empty disk.
    pub fn new(seed: u64, (simulator, handle): (Simulator, SimulatorHandle)) -> Lives {
        let mut rng = Rng::new(seed);
        let keeper = match rng.below(5) {
            0 | 1 => Keeper::File("always"),
            2 => Keeper::File("everysec"),
            3 => Keeper::File("no"),
            _ => Keeper::Snapshots,
        };
        let (appendonly, policy) = match keeper {
            Keeper::File(policy) => ("yes", policy),
            Keeper::Snapshots => ("no", "no"),
        };
        // Some write the file anew over and over, or have snapshots besides, by children that fail and die.
        let rewrites = keeper != Keeper::Snapshots && rng.below(3) > 0;
        let has_preamble = rng.below(2) == 0;
        let method = ["fork", "forkless", "forkless"][rng.index(3)];
        let reads_parts = method == "forkless" && rng.below(4) > 0;
        let mut directives = vec![
            "--appendonly",
            appendonly,
            "--appendfsync",
            policy,
            "--save",
            ["", "", "1 1"][rng.index(3)],
            "--auto-aof-rewrite-percentage",
            if rewrites {
                ["1", "50"][rng.index(2)]
            } else {
                "0"
            },
            "--auto-aof-rewrite-min-size",
            "100",
            "--aof-use-rdb-preamble",
            if has_preamble { "yes" } else { "no" },
            "--stop-writes-on-bgsave-error",
            "no",
            "--bgsave-default-method",
            method,
            // Which is also how long a turn rests after each key.
            "--rdb-key-save-delay",
            if reads_parts { "50" } else { "0" },
        ];
        if reads_parts {
            // What is one piece of memory is never read in parts.
            for name in [
                "--hash-max-listpack-entries",
                "--set-max-listpack-entries",
                "--set-max-intset-entries",
                "--zset-max-listpack-entries",
                "--list-max-listpack-size",
            ] {
                directives.extend([name, "1"]);
            }
        }
        let faults = Faults::any(&mut rng);
        let may = vocabulary(&mut rng, false);
        let mut lives = Lives {
            rng,
            keeper,
            rewrites,
            has_preamble,
            reads_parts,
            directives,
            faults,
            handle,
            server: None,
            world: None,
            history: VecDeque::from([(0, Model::new(true))]),
            promised: Promised::default(),
            ends: VecDeque::new(),
            times: VecDeque::new(),
            is_excused: false,
            save_begun: None,
            saving: (None, Vec::new()),
            turns_left: 0,
            idle_turns: 0,
            idles: false,
            stops_behind_rename: false,
            shutdown: None,
            may,
            clients: 0,
            seen: Seen::default(),
        };
        lives.start(simulator);
        lives
    }

    fn start(&mut self, simulator: Simulator) {
        self.handle.set_faults(Faults::NONE);
        let mut server = start(simulator, &self.directives);
        let ids = ids_before(&mut server);
        if self.reads_parts {
            server.state().persistence.part_size = PartSize {
                elements: 1,
                bytes: 1,
            };
        }
        self.server = Some((server, ids));
    }

    /// Begins a life: things go wrong, and clients come.
    pub fn begin(&mut self) {
        let rng = &mut self.rng;
        let handle = &self.handle;
        handle.set_faults(self.faults);
        let faults = match rng.below(3) {
            0 => DiskFaults::NONE,
            _ => DiskFaults::any(rng),
        };
        handle.disk().set_faults(DiskFaults {
            read_error: 0,
            ..faults
        });
        let stops = rng.below(6);
        self.stops_behind_rename = stops == 2 || stops == 3 && self.rewrites;
        match stops {
            0 | 1 => {
                let most = [10, 60, 400][rng.index(3)];
                handle.disk().stop_after(rng.below(most));
            }
            _ if self.stops_behind_rename => handle.disk().stop_behind_rename(1 + rng.below(6)),
            _ => {}
        }
        handle.children().set_faults(ChildFaults::any(rng));
        let mut delays = JobDelays::default();
        self.is_excused = rng.below(2) == 0;
        if !self.is_excused {
            delays.slow_ns = delays.usual_ns;
        }
        handle.jobs().set_delays(delays);
        // A file that is written anew as commands has no pending entry without its message, as in Redis.
        self.may = Vocabulary {
            removed_messages: !self.rewrites || self.has_preamble,
            undeclared_keys: self.reads_parts && rng.below(2) == 0,
            ..vocabulary(rng, false)
        };
        self.clients = 1 + rng.index(8);
        self.turns_left = rng.below(150);
        self.shutdown = None;
        self.save_begun = None;
        self.saving = (None, Vec::new());
        self.idle_turns = 0;
        self.idles = rng.below(if self.keeper == Keeper::File("everysec") {
            2
        } else {
            8
        }) == 0;
        self.ends.clear();
        self.times.clear();
        let (events, model) = self.history.back().cloned().expect("a model");
        let (mut server, mut ids) = self.server.take().expect("a server");
        let has_admin = rng.below(4) > 0;
        // Nobody can name the one of which the model knows nothing. Whoever has asked a server for all that it holds has
        // used up as many.
        while has_admin && handle.accepted().is_empty() && ids < NAMED_IDS {
            ids = ids_before(&mut server);
        }
        let world_rng = Rng::new(rng.next_u64());
        let mut world = World::new(server, handle.clone(), world_rng, model);
        world.ids_before = ids;
        world.events = events;
        world.history = Some(std::mem::take(&mut self.history));
        world.admin = has_admin.then(|| handle.connect());
        self.world = Some(world);
    }

    /// Has the server save, rewrite or end, now and then.
    fn administer(&mut self) {
        let world = self.world.as_mut().expect("it lives");
        let Some(admin) = world.admin else { return };
        let line = if self.turns_left == 0 && self.shutdown.is_none() && self.rng.below(2) == 0 {
            let line = ["SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOSAVE"][self.rng.index(3)];
            self.shutdown = Some(line);
            self.turns_left = 30;
            line
        } else if self.rng.below(if self.reads_parts { 6 } else { 20 }) == 0 {
            match self.rng.below(4) {
                0 => "SAVE",
                1 if self.rewrites => "BGREWRITEAOF",
                2 => "BGSAVE SCHEDULE",
                _ => "BGSAVE",
            }
        } else {
            return;
        };
        self.handle.send(admin, format!("{line}\r\n").as_bytes());
    }

    /// One turn of its life; whether there is another.
    pub fn turn(&mut self) -> bool {
        self.administer();
        let world = self.world.as_mut().expect("it lives");
        if self.turns_left == 0 || has_no_more(world) {
            return false;
        }
        self.turns_left -= 1;
        let before = world.events;
        let saves = world.server.state().persistence.saves;
        if self.idles && self.idle_turns == 0 && self.rng.below(12) == 0 {
            self.idle_turns = self.rng.below(30);
        }
        match self.idle_turns.checked_sub(1) {
            Some(left) => {
                self.idle_turns = left;
                let ms = self.rng.below(IDLE_JUMP_MS);
                world.idle_turn(Duration::from_millis(ms));
            }
            None => world.live_turn(self.clients, self.may, false),
        }
        if world.refuses_writes {
            self.is_excused = true;
        }
        if has_no_more(world) {
            return false;
        }
        if world.server.ended().is_some() {
            // As the process does before it ends.
            world.server.state().persistence.end_helpers();
            if self.handle.disk().has_stopped() {
                // It has died before that was done.
                world.has_stopped = true;
                return false;
            }
        }
        match self.keeper {
            Keeper::File(policy) => self.note_file(policy),
            Keeper::Snapshots => self.note_snapshots(before, saves),
        }
        self.check_snapshot(before, saves);
        let world = self.world.as_mut().expect("it lives");
        let history = world.history.as_mut().expect("a history");
        while history
            .get(1)
            .is_some_and(|(event, _)| *event <= self.promised.synced)
        {
            history.pop_front();
        }
        world.server.ended().is_none()
    }

    /// What is promised at the end of a turn, by the append-only file.
    fn note_file(&mut self, policy: &str) {
        let world = self.world.as_mut().expect("it lives");
        let ended = world.server.ended().is_some();
        let state = world.server.state();
        let state_has_written = state.journal.written_bytes(Targets::AOF) > 0;
        let end = (state.journal.written_bytes(Targets::AOF), world.events);
        self.ends.push_back(end);
        self.times.push_back((state.now.mono_ns, world.events));
        let aof = &mut state.persistence.aof;
        if aof.buffered() == 0 {
            self.promised.written = world.events;
        }
        self.is_excused |= aof.error().is_some() || aof.has_lost_a_sync();
        let synced = match policy {
            // The end in order syncs whatever the policy, and says that it could not where it could not.
            _ if ended && aof.buffered() == 0 && !self.handle.disk().has_lost() => u64::MAX,
            "always" => u64::MAX,
            "everysec" => aof.synced_offset(),
            _ => 0,
        };
        // As long as nothing was written nothing was synced either, of what was loaded.
        while let Some((offset, event)) = self.ends.front()
            && *offset <= synced
            && state_has_written
            && synced > 0
        {
            self.promised.synced = *event;
            self.ends.pop_front();
        }
    }

    /// Whether a snapshot that has ended well in a turn is what was there at some moment of the turn in which it began, whole.
    fn check_snapshot(&mut self, before: u64, saves: u64) {
        let world = self.world.as_mut().expect("it lives");
        let ended = world.server.ended().is_some();
        let (now, events) = (save_under_way(&mut world.server), world.events);
        let was_saved = world.server.state().persistence.saves == saves + 1;
        // The next one may have taken the name already.
        let has_flushed = std::mem::take(&mut world.has_flushed);
        let is_checked = was_saved && now.is_none() && !ended && !has_flushed;
        let is_new = now.is_some() && now != self.saving.0;
        let is_checked = is_checked && self.rng.below(LOADED_SNAPSHOTS) == 0;
        if !is_checked && !is_new {
            return self.saving.0 = now;
        }
        let history = world.history.as_ref().expect("a history");
        let of_turn = history
            .iter()
            .filter(|(event, _)| (before..=events).contains(event));
        let mut models: Vec<Model> = of_turn.map(|(_, model)| model.clone()).collect();
        if is_new {
            self.saving = (now, models);
            return;
        }
        models.append(&mut self.saving.1);
        self.saving.0 = None;
        let files = self.handle.disk().files();
        let file = files.iter().find(|(path, _)| path == Path::new(SNAPSHOT));
        let bytes = &file.expect("a snapshot that was saved").1;
        let told = contents_of_snapshot(bytes, self.handle.unix_us());
        self.seen.loaded += 1;
        let differences: Vec<_> = models.iter().map(|it| difference(it, &told)).collect();
        if differences.iter().all(Option::is_some) {
            for it in differences.iter().flatten() {
                eprintln!("{it}");
            }
            panic!(
                "{:?}: a snapshot is nothing that was there when it began",
                self.directives
            );
        }
    }

    /// What is promised at the end of a turn, by the snapshots that have ended well.
    fn note_snapshots(&mut self, before: u64, saves: u64) {
        let world = self.world.as_mut().expect("it lives");
        let ended = world.server.ended().is_some();
        let events = world.events;
        let persistence = &world.server.state().persistence;
        let saved = match persistence.saves - saves {
            _ if ended && self.shutdown == Some("SHUTDOWN SAVE") => Some(events),
            0 => None,
            1 => Some(self.save_begun.unwrap_or(before)),
            _ => Some(before),
        };
        let is_new = saved.is_some() || self.save_begun.is_none();
        if is_new {
            self.save_begun = persistence.is_saving().then_some(before);
        }
        if let Some(saved) = saved {
            // A file that took the name after it, by a save of whose end nothing was heard, is newer.
            self.promised.written = self.promised.written.max(saved);
            self.promised.synced = self.promised.synced.max(saved);
        }
    }

    /// Ends its life, and has the next server find what was promised. False where nothing more can be said of it.
    pub fn come_back(&mut self) -> bool {
        let mut world = self.world.take().expect("it lived");
        let policy = match self.keeper {
            Keeper::File(policy) => policy,
            Keeper::Snapshots => "",
        };
        if policy == "always" && !world.refuses_writes {
            // Whatever was read is kept, however the turn has ended.
            let is_over = world.has_stopped && !world.has_ended;
            for client in &mut world.clients {
                // Of what was sent behind the call at which the disk stopped nobody has read anything.
                if !is_over {
                    let rest = world.handle.take(client.peer, usize::MAX);
                    client.received.extend(rest);
                }
                client.check();
                self.promised.synced = self.promised.synced.max(client.has_read);
                self.promised.written = self.promised.written.max(client.has_read);
            }
        }
        if policy == "everysec"
            && !self.is_excused
            && let Some((now_ns, _)) = self.times.back()
        {
            let old = |(ns, _): &&Turn| ns + EVERYSEC_NS <= *now_ns;
            let kept = self.times.iter().rev().find(old);
            let kept = kept.map_or(0, |(_, event)| *event);
            let begun = self.times.front().map_or(0, |(_, event)| *event);
            self.seen.by_time += u64::from(kept > begun);
            self.promised.synced = self.promised.synced.max(kept);
        }
        self.history = world.history.take().expect("a history");
        let has_ended = world.has_ended;
        self.seen.stops += u64::from(world.has_stopped);
        self.seen.refusals += u64::from(world.refuses_writes);
        self.seen.hurried += world.server.state().keyspace.hurried();
        self.seen.held += world.server.state().persistence.holds_for_save;
        self.seen.shutdowns += u64::from(world.server.ended().is_some());
        let begun = self.history.front().map_or(0, |(event, _)| *event);
        let disk = self.handle.disk();
        disk.set_faults(DiskFaults::NONE);
        if world.is_lost {
            return false;
        }
        // A sync has failed, and the system has dropped what it was to bring to the disk. Whether a file with such a
        // hole can be loaded is chance.
        let only_process = disk.has_lost();
        // What a rename has left behind it only a crash of the machine shows.
        let of = if self.stops_behind_rename { 4 } else { 2 };
        let death = match self.rng.below(of) {
            1.. if !only_process => Death::Machine,
            _ => Death::Process,
        };
        match death {
            Death::Process => disk.end_process(),
            Death::Machine => disk.crash(),
        }
        self.seen.crashes += u64::from(death == Death::Machine);
        let settings = world.server.state().config.settings().clone();
        drop(world);
        let is_sound = is_sound(&disk, &settings, self.keeper);
        let before = (lengths(&disk), listed(&disk));
        self.start(self.handle.restart());
        let after = (lengths(&disk), listed(&disk));
        let is_shorter = |(path, length)| after.0.get(path).is_some_and(|now| now < length);
        let is_left_out = |name| !after.1.contains(name);
        let was_cut = before.0.iter().any(is_shorter) || before.1.iter().any(is_left_out);
        self.seen.cuts += u64::from(was_cut);
        assert_eq!(
            is_sound, !was_cut,
            "{:?}, {death:?}: the tools say otherwise than the server",
            self.directives
        );
        let (server, _) = self.server.as_mut().expect("a server");
        let told = contents(server, &self.handle);
        let least = match death {
            Death::Process => self.promised.written,
            Death::Machine => self.promised.synced,
        };
        let is_there = |(_, model): &(u64, Model)| difference(model, &told).is_none();
        let found = self.history.iter().rposition(is_there);
        let event = found.map(|at| self.history[at].0);
        if event.is_none_or(|event| event < least) {
            for (event, model) in self.history.iter().filter(|(event, _)| *event >= least) {
                let it = difference(model, &told).expect("a difference");
                eprintln!("after event {event}: {it}");
            }
            panic!(
                "{:?}, {death:?}, ended by itself: {has_ended}: all up to event {least} was promised, but what is there \
                 is that after {event:?}",
                self.directives
            );
        }
        let is_snapshot = self.keeper == Keeper::Snapshots && event > Some(begun);
        self.seen.snapshots += u64::from(is_snapshot);
        self.history.truncate(found.map_or(0, |at| at + 1));
        if death == Death::Machine {
            // What has survived is on the disk.
            self.history.drain(..self.history.len() - 1);
            self.promised.synced = event.unwrap_or(0);
        }
        self.promised.written = event.unwrap_or(0);
        for (_, model) in &mut self.history {
            *model = model.restarted();
        }
        if let Some((_, model)) = self.history.back_mut() {
            *model = go_on(model, &told.told);
        }
        true
    }

    /// Events so far, between two lives.
    pub fn events(&self) -> u64 {
        self.history.back().map_or(0, |(event, _)| *event)
    }
}

/// Whether a life is over.
fn has_no_more(world: &World) -> bool {
    world.has_ended || world.refuses_writes || world.has_stopped
}

fn run(seed: u64) -> (u64, Seen) {
    let mut lives = Lives::new(seed, Simulator::new(!seed, Faults::NONE));
    for _ in 0..LIVES {
        lives.begin();
        while lives.turn() {}
        if !lives.come_back() {
            break;
        }
    }
    (lives.events(), lives.seen)
}

#[test]
fn what_was_promised_is_there_after_a_crash_and_nothing_by_halves() {
    let mut seen = Seen::default();
    let ran = crate::many(SEEDS, "what_was_promised", |seed| {
        let (events, also) = run(seed);
        seen.add(also);
        events
    });
    println!("{seen:?}");
    assert!(
        ran < SEEDS || seen.counts().iter().all(|count| **count > 0),
        "{seen:?}"
    );
}
