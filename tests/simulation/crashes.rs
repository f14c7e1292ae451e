//! Servers whose append-only file is on a disk that fails and crashes, while clients do all that they do elsewhere.
//!
//! A server lives for some turns and ends: the process alone, the machine with all that was not synced, or by its own hand
//! where it cannot keep a promise. The next one loads what the disk holds. That must be the model after some event, not
//! earlier than what was promised: whatever a client has read under `always`, what the server takes for synced under
//! `everysec`, and all that was written where only the process has ended. Since every state in between is none of the
//! model's, nothing can have been applied by halves.

use crate::answers::{Compared, compare};
use crate::client::lossy;
use crate::commands::{Vocabulary, asking, multibulk, words};
use crate::model::{Answer, Caller, DATABASES, Model};
use crate::world::{World, start, vocabulary};
use gyre::clients::Client;
use gyre::event_loop::{Faults, Simulator, SimulatorHandle};
use gyre::journal::Targets;
use gyre::observe::Executed;
use gyre::resp::reader::{Value, read_value};
use gyre::server::Server;
use gyre::system::rng::Rng;
use gyre::system::simulated_children::ChildFaults;
use gyre::system::simulated_disk::DiskFaults;
use std::collections::VecDeque;
use std::time::Duration;

/// Seeds of the ordinary test run.
const SEEDS: u64 = 60;
const LIVES: u64 = 4;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Process,
    Machine,
}

/// The journal's offset at the end of a turn, and the last event then.
type Turn = (u64, u64);

/// What fails under a policy. Only `always` promises something where the disk fails: what is not written it does not answer.
fn disk_faults(rng: &mut Rng, policy: &str) -> DiskFaults {
    let any = DiskFaults::any(rng);
    if policy == "always" {
        return DiskFaults {
            read_error: 0,
            ..any
        };
    }
    DiskFaults {
        short_write: any.short_write,
        ..DiskFaults::NONE
    }
}

/// One question to a server that has started, when it was answered, and how.
struct Told {
    args: Vec<Vec<u8>>,
    now_ms: i64,
    bytes: Vec<u8>,
}

/// Asks commands one after the other.
fn ask(server: &mut Server, handle: &SimulatorHandle, all: Vec<Vec<Vec<u8>>>) -> Vec<Told> {
    let peer = handle.connect();
    let mut bytes = Vec::new();
    let mut told = Vec::new();
    for args in all {
        handle.send(peer, &multibulk(&args));
        let mut now_ms = 0;
        let used = loop {
            server.turn(Some(Duration::from_millis(1))).expect("a turn");
            let executed = server.state().observe.executed.as_mut();
            for what in std::mem::take(executed.expect("a record is kept")) {
                if let Executed::Command { unix_us, .. } = what {
                    now_ms = unix_us / 1000;
                }
            }
            bytes.extend(handle.take(peer, usize::MAX));
            if let Ok((_, used)) = read_value(&bytes) {
                break used;
            }
        };
        let rest = bytes.split_off(used);
        let bytes = std::mem::replace(&mut bytes, rest);
        told.push(Told {
            args,
            now_ms,
            bytes,
        });
    }
    handle.close(peer);
    while !handle.is_closed(peer) {
        server.turn(Some(Duration::from_millis(1))).expect("a turn");
    }
    server.state().observe.executed = Some(Vec::new());
    told
}

/// Ids that a server has given out before any connection.
fn ids_before(server: &mut Server) -> u64 {
    let clients = &mut server.state().clients;
    let key = clients.insert(Client::default());
    clients.remove(key).map_or(0, |client| client.session.id)
}

/// All that a server holds, as answers.
fn contents(server: &mut Server, handle: &SimulatorHandle) -> Vec<Told> {
    let called = words("FCALL sim2 2 none none x");
    let mut all = ask(server, handle, vec![called]);
    for db in 0..DATABASES {
        let select = words(&format!("SELECT {db}"));
        let told = ask(server, handle, vec![select.clone(), words("KEYS *")]);
        let keys = read_value(&told[1].bytes).expect("keys").0;
        let keys = keys.items().unwrap_or_default();
        let names: Vec<&[u8]> = keys.iter().filter_map(Value::as_bytes).collect();
        let mut asked = vec![select.clone()];
        asked.extend(
            names
                .iter()
                .map(|name| vec![b"TYPE".to_vec(), name.to_vec()]),
        );
        let types = ask(server, handle, asked);
        let mut asked = vec![select];
        for (name, kind) in names.iter().zip(&types[1..]) {
            let kind = String::from_utf8_lossy(&kind.bytes[1..])
                .trim_end()
                .to_owned();
            asked.extend(asking(name, &kind, true));
        }
        all.extend(told);
        all.extend(ask(server, handle, asked));
    }
    all
}

/// The first answer that a model would not give, and what that would say.
fn difference<'a>(model: &Model, told: &'a [Told]) -> Option<(&'a Told, Answer)> {
    let mut model = model.restarted();
    let mut caller = Caller::default();
    told.iter().find_map(|it| {
        let answer = model.run(&mut caller, it.now_ms, &it.args);
        let answer = answer.expect("an answer");
        let is_same =
            matches!(compare(&answer, false, &it.bytes), Compared::Same(n) if n == it.bytes.len());
        (!is_same).then_some((it, answer))
    })
}

/// What a server has promised: the number of the last event that is kept if the process ends, and if the machine crashes.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    written: u64,
    synced: u64,
}

/// A server that lives, ends and comes back, again and again.
pub struct Lives {
    rng: Rng,
    policy: &'static str,
    rewrites: bool,
    has_preamble: bool,
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
    turns_left: u64,
    may: Vocabulary,
    clients: usize,
}

impl Lives {
    /// Starts one on an empty disk.
    pub fn new(seed: u64, (simulator, handle): (Simulator, SimulatorHandle)) -> Lives {
        let mut rng = Rng::new(seed);
        let policy = ["always", "always", "everysec", "no"][rng.index(4)];
        // Some write the file anew over and over, or have snapshots besides, by children that fail and die.
        let rewrites = rng.below(3) > 0;
        let has_preamble = rng.below(2) == 0;
        let directives = vec![
            "--appendonly",
            "yes",
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
            ["fork", "forkless"][rng.index(2)],
        ];
        let faults = Faults::any(&mut rng);
        let may = vocabulary(&mut rng, false);
        let mut lives = Lives {
            rng,
            policy,
            rewrites,
            has_preamble,
            directives,
            faults,
            handle,
            server: None,
            world: None,
            history: VecDeque::from([(0, Model::new(true))]),
            promised: Promised::default(),
            ends: VecDeque::new(),
            turns_left: 0,
            may,
            clients: 0,
        };
        lives.start(simulator);
        lives
    }

    fn start(&mut self, simulator: Simulator) {
        self.handle.set_faults(Faults::NONE);
        let mut server = start(simulator, &self.directives);
        let ids = ids_before(&mut server);
        self.server = Some((server, ids));
    }

    /// Begins a life: things go wrong, and clients come.
    pub fn begin(&mut self) {
        let rng = &mut self.rng;
        let handle = &self.handle;
        handle.set_faults(self.faults);
        let faults = disk_faults(rng, self.policy);
        handle.disk().set_faults(faults);
        handle.children().set_faults(ChildFaults::any(rng));
        // A file that is written anew as commands has no pending entry without its message, as in Redis.
        self.may = Vocabulary {
            removed_messages: !self.rewrites || self.has_preamble,
            ..vocabulary(rng, false)
        };
        self.clients = 1 + rng.index(8);
        self.turns_left = rng.below(150);
        self.ends.clear();
        let (events, model) = self.history.back().cloned().expect("a model");
        let (server, ids) = self.server.take().expect("a server");
        let world_rng = Rng::new(rng.next_u64());
        let mut world = World::new(server, handle.clone(), world_rng, model);
        world.ids_before = ids;
        world.events = events;
        world.history = Some(std::mem::take(&mut self.history));
        self.world = Some(world);
    }

    /// One turn of its life; whether there is another.
    pub fn turn(&mut self) -> bool {
        let world = self.world.as_mut().expect("it lives");
        if self.turns_left == 0 || world.has_ended || world.refuses_writes {
            return false;
        }
        self.turns_left -= 1;
        world.live_turn(self.clients, self.may, false);
        if world.has_ended || world.refuses_writes {
            return false;
        }
        let state = world.server.state();
        let state_has_written = state.journal.written_bytes(Targets::AOF) > 0;
        let end = (state.journal.written_bytes(Targets::AOF), world.events);
        self.ends.push_back(end);
        let aof = &mut state.persistence.aof;
        if aof.buffered() == 0 {
            self.promised.written = world.events;
        }
        let synced = match self.policy {
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
        let history = world.history.as_mut().expect("a history");
        while history
            .get(1)
            .is_some_and(|(event, _)| *event <= self.promised.synced)
        {
            history.pop_front();
        }
        true
    }

    /// Ends its life, and has the next server find what was promised. False where nothing more can be said of it.
    pub fn come_back(&mut self) -> bool {
        let mut world = self.world.take().expect("it lived");
        if self.policy == "always" && !world.refuses_writes {
            // Whatever was read is kept, however the turn has ended.
            for client in &mut world.clients {
                let rest = world.handle.take(client.peer, usize::MAX);
                client.received.extend(rest);
                client.check();
                self.promised.synced = self.promised.synced.max(client.has_read);
                self.promised.written = self.promised.written.max(client.has_read);
            }
        }
        self.history = world.history.take().expect("a history");
        let has_ended = world.has_ended;
        let disk = self.handle.disk();
        disk.set_faults(DiskFaults::NONE);
        if world.refuses_writes {
            // What came after the first refusal in that turn, when the disk may have been well again, nobody has followed.
            return false;
        }
        if disk.has_lost() {
            // A sync has failed, and the system has dropped what it was to bring to the disk. Whether a file with such a
            // hole can be loaded is chance.
            return false;
        }
        // A machine that crashes before the file that a rewrite has ended is synced leaves a hole in front of the next
        // file, and then the server refuses to start, as Redis does; under `always` there is none.
        let only_process = self.rewrites && self.policy != "always";
        let death = match self.rng.below(2) {
            1 if !only_process => Death::Machine,
            _ => Death::Process,
        };
        match death {
            Death::Process => disk.end_process(),
            Death::Machine => disk.crash(),
        }
        drop(world);
        self.start(self.handle.restart());
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
                let (it, answer) = difference(model, &told).expect("a difference");
                let args: Vec<String> = it.args.iter().map(|arg| lossy(arg)).collect();
                let bytes = lossy(&it.bytes);
                let answer: String = format!("{answer:?}").chars().take(200).collect();
                eprintln!("after event {event}: {args:?} is answered {bytes:?}, not {answer}");
            }
            panic!(
                "{:?}, {death:?}, ended by itself: {has_ended}: all up to event {least} was promised, but what is there \
                 is that after {event:?}",
                self.directives
            );
        }
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
        true
    }

    /// Events so far, between two lives.
    pub fn events(&self) -> u64 {
        self.history.back().map_or(0, |(event, _)| *event)
    }
}

fn run(seed: u64) -> u64 {
    let mut lives = Lives::new(seed, Simulator::new(!seed, Faults::NONE));
    for _ in 0..LIVES {
        lives.begin();
        while lives.turn() {}
        if !lives.come_back() {
            break;
        }
    }
    lives.events()
}

#[test]
fn what_was_promised_is_there_after_a_crash_and_nothing_by_halves() {
    crate::many(SEEDS, "what_was_promised", run);
}
