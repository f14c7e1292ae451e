//! One seed: a server, its clients and the model, from the first connection to the last answer.

use crate::client::{Client, Leaving, lossy};
use crate::commands::{self, Sent, SentKind, Vocabulary};
use crate::model::{Answer, Model, Waiting};
use gyre::clients::ClientKind;
use gyre::config::Config;
use gyre::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use gyre::journal::Targets;
use gyre::keyspace::interest;
use gyre::observe::Executed;
use gyre::server::Server;
use gyre::system::rng::Rng;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Turns without any progress of a client that has something to be answered.
const STARVED_TURNS: u64 = 400;
/// Turns of one seed; far more than any needs.
const TURNS: u64 = 200_000;

/// Events that the message of a failure shows.
const RECENT: usize = 25;

/// What a seed did.
pub struct Ran {
    pub trace: (u64, u64),
    pub text: Option<String>,
    pub commands: u64,
    pub turns: u64,
}

/// Builds a server on a simulator and opens its listener.
pub fn server(directives: &[&str], seed: u64, faults: Faults) -> (Server, SimulatorHandle) {
    let (simulator, handle) = Simulator::new(seed, faults);
    (start(simulator, directives), handle)
}

/// Starts a server on a simulator: it has loaded what its disk holds, and listens.
pub fn start(simulator: Simulator, directives: &[&str]) -> Server {
    let mut args: Vec<std::ffi::OsString> = ["--bind", "127.0.0.1"].map(Into::into).into();
    args.extend(directives.iter().map(Into::into));
    let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut server = Server::new(config, Box::new(simulator)).unwrap_or_else(|e| panic!("{e}"));
    let state = server.state();
    state.persistence.end_unanswered = || std::panic::resume_unwind(Box::new(ProcessEnds));
    server.start().expect("a listener");
    assert!(server.load(), "the data cannot be loaded");
    let mut turns = 0;
    while server.state().persistence.loading.is_some() {
        server.turn(Some(Duration::ZERO)).expect("a turn");
        turns += 1;
        assert!(turns < TURNS && server.ended().is_none(), "it never loads");
    }
    // Somebody who wants to know what happens, what is propagated, and what goes by itself.
    let state = server.state();
    state.observe.executed = Some(Vec::new());
    state.journal.attach(Targets::REPLICAS);
    state.keyspace.set_interest(interest::JOURNAL, true);
    server
}

/// Why a turn of a server was not finished: it could not keep a promise, and has ended its process.
pub struct ProcessEnds;

pub struct World {
    pub server: Server,
    pub handle: SimulatorHandle,
    pub rng: Rng,
    pub model: Model,
    pub clients: Vec<Client>,
    pub commands: u64,
    pub turn: u64,
    /// Events so far.
    pub events: u64,
    /// The model after each event, where somebody wants to go back.
    pub history: Option<VecDeque<(u64, Model)>>,
    /// Ids that were given out before the first connection was accepted: to the loader of the file.
    pub ids_before: u64,
    /// The server has ended itself.
    pub has_ended: bool,
    /// It refuses writes, because its disk fails: the model does not know which, and follows it no further.
    pub refuses_writes: bool,
    /// Commands were run behind those that were refused, in the same turn: what they have changed nobody knows.
    pub is_lost: bool,
    /// The disk has stopped in the middle of the last turn: what was done behind that is no part of this life.
    pub has_stopped: bool,
    /// A FLUSHALL has run, which saves at once what is there then, and be it in the middle of a transaction.
    pub has_flushed: bool,
    /// Clients that have sent a FLUSHALL, which may wait in a transaction for its EXEC.
    flushing: BTreeSet<u64>,
    /// A connection by which the server is told to save or to end, of which the model knows nothing.
    pub admin: Option<SimulatedPeer>,
    /// What happened last, for the message of a failure.
    recent: VecDeque<Executed>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what happened last:");
            for what in &self.recent {
                eprintln!("  {}", show(what));
            }
        }
    }
}

/// The client to which something has happened.
fn client_of(what: &Executed) -> Option<u64> {
    match what {
        Executed::Command { client, .. }
        | Executed::ProtocolError { client }
        | Executed::Dropped { client }
        | Executed::Gone { client } => Some(*client),
        _ => None,
    }
}

/// One event in a line that can be read.
fn show(what: &Executed) -> String {
    let text = match what {
        Executed::Command {
            client,
            unix_us,
            args,
        } => {
            let words: Vec<String> = args.iter().map(|arg| lossy(arg)).collect();
            format!("{client} at {} {words:?}", unix_us / 1000)
        }
        what => format!("{what:?}"),
    };
    text.chars().take(300).collect()
}

/// What a seed may ask for.
pub fn vocabulary(rng: &mut Rng, jumps: bool) -> Vocabulary {
    Vocabulary {
        whole_database: !jumps,
        field_expiry: !jumps,
        blocking: rng.below(3) > 0,
        pauses: !jumps && rng.below(4) == 0,
        others: rng.below(2) == 0,
        removed_messages: true,
        undeclared_keys: false,
        strings: [100, 20, 20, 40][rng.index(4)],
    }
}

/// Runs one seed.
pub fn run(seed: u64, keep_trace: bool) -> Ran {
    let mut rng = Rng::new(seed);
    let jumps = rng.below(3) == 0;
    let mut faults = Faults::any(&mut rng);
    if jumps {
        faults.clock_jump = rng.below(100) as u32;
        faults.longest_jump_ms = 5000;
    }
    let (mut server, handle) = server(&[], rng.next_u64(), faults);
    if keep_trace {
        handle.keep_trace();
    }
    if jumps {
        // What expires while nobody looks would come back when the clock does; the model cannot know what was seen.
        server.state().active_expire = false;
        server.state().apply_settings();
    }
    let may = vocabulary(&mut rng, jumps);
    let mut world = World::new(server, handle, rng, Model::new(!jumps));
    let clients = 1 + world.rng.index(20);
    world.live(clients, may);
    world.audit();
    world.leave();
    Ran {
        trace: world.handle.trace_sum(),
        text: world.handle.trace(),
        commands: world.commands,
        turns: world.turn,
    }
}

impl World {
    pub fn new(server: Server, handle: SimulatorHandle, rng: Rng, model: Model) -> World {
        World {
            server,
            handle,
            rng,
            model,
            clients: Vec::new(),
            commands: 0,
            turn: 0,
            events: 0,
            history: None,
            ids_before: 0,
            has_ended: false,
            refuses_writes: false,
            is_lost: false,
            has_stopped: false,
            has_flushed: false,
            flushing: BTreeSet::new(),
            admin: None,
            recent: VecDeque::new(),
        }
    }

    fn live(&mut self, clients: usize, may: Vocabulary) {
        let calm_after = 300 + self.rng.below(1500);
        loop {
            // In the end everybody sends and takes all, and whoever is not served then is starved.
            let hurry = self.turn > calm_after;
            self.live_turn(clients, may, hurry);
            if hurry {
                self.see_progress();
            }
            if self.clients.len() == clients && self.clients.iter().all(Client::is_done) {
                return;
            }
            assert!(self.turn < TURNS, "the clients never get done");
        }
    }

    /// One turn of the server, and what its clients do in front of it; more come until they are so many.
    pub fn live_turn(&mut self, clients: usize, may: Vocabulary, hurry: bool) {
        if self.clients.len() < clients && self.rng.below(3) == 0 {
            let client = Client::new(&mut self.rng, &self.handle, may);
            self.clients.push(client);
        }
        if hurry {
            self.handle.advance(Duration::from_millis(1));
        }
        for client in &mut self.clients {
            client.act(&mut self.rng, &self.handle, self.turn, hurry);
        }
        if self.rng.below(20) == 0 {
            let ms = self.rng.below(700);
            self.handle.advance(Duration::from_millis(ms));
        }
        let most_ms = self.rng.below(50);
        self.step(Duration::from_millis(most_ms));
        if !self.refuses_writes && !self.has_stopped {
            self.check();
        }
    }

    /// A turn of the server in which all clients are idle and this much time has passed.
    pub fn idle_turn(&mut self, passed: Duration) {
        self.handle.advance(passed);
        self.step(Duration::from_millis(1));
        if !self.refuses_writes && !self.has_stopped {
            self.check();
        }
    }

    fn step(&mut self, most: Duration) {
        self.turn += 1;
        let was_paused = self.server.state().pause.is_some();
        let ran = catch_unwind(AssertUnwindSafe(|| self.server.turn(Some(most))));
        match ran {
            Ok(turn) => drop(turn.expect("a turn")),
            Err(panic) if panic.is::<ProcessEnds>() => self.has_ended = true,
            Err(panic) => resume_unwind(panic),
        }
        self.has_stopped = self.handle.disk().has_stopped();
        let admin = self.admin_id();
        let has_ended = self.has_ended || self.server.ended().is_some();
        let state = self.server.state();
        let executed = std::mem::take(state.observe.executed.as_mut().expect("a record is kept"));
        state.journal.take(Targets::REPLICAS, &mut Vec::new());
        let pauses = |it: &Executed| matches!(it, Executed::Command { args, .. } if args.get(1).is_some_and(|it| it == b"PAUSE"));
        // A turn that was not finished has not served those who wait.
        let held_back =
            has_ended || was_paused || state.pause.is_some() || executed.iter().any(pauses);
        let now_ms = state.now.unix_ms();
        let mut is_refused = false;
        for what in executed {
            if matches!(what, Executed::RefusesWrites) {
                self.refuses_writes = true;
                is_refused = true;
                continue;
            }
            if admin.is_some() && admin == client_of(&what) {
                is_refused = false;
                continue;
            }
            if self.refuses_writes {
                match what {
                    // Of each command that is run meanwhile this is told before.
                    Executed::Command { .. } | Executed::Woken { .. } => {
                        self.is_lost |= !std::mem::take(&mut is_refused);
                        continue;
                    }
                    Executed::Queued { .. } => self.is_lost = true,
                    // What expires goes all the same.
                    Executed::Removed { .. } | Executed::FieldExpired { .. } => {}
                    _ => continue,
                }
            }
            // What a command finds expired is told before the command, and those who wait are served behind it.
            let removed = matches!(
                self.recent.back(),
                Some(Executed::Removed { .. } | Executed::FieldExpired { .. })
            );
            if let (Executed::Command { unix_us, .. }, false) = (&what, held_back || removed) {
                self.check_waiting(unix_us / 1000);
            }
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(what.clone());
            self.events += 1;
            if let Executed::Command { client, args, .. } = &what {
                let is = |name: &[u8]| args.first().is_some_and(|it| it.eq_ignore_ascii_case(name));
                self.has_flushed |= is(b"flushall") || is(b"exec") && self.flushing.remove(client);
                if is(b"flushall") {
                    self.flushing.insert(*client);
                }
            }
            self.follow(what);
            if let Some(history) = &mut self.history {
                history.push_back((self.events, self.model.clone()));
            }
        }
        if self.refuses_writes {
            return;
        }
        if !held_back && !self.has_stopped {
            self.check_waiting(now_ms);
        }
        self.model.check_given_up();
    }

    /// The id of the connection of which the model knows nothing.
    fn admin_id(&self) -> Option<u64> {
        let admin = self.admin?;
        let place = (self.handle.accepted().iter()).position(|peer| *peer == admin);
        place.map(|place| self.ids_before + place as u64 + 1)
    }

    /// Index of a client by its id.
    fn client(&self, id: u64) -> usize {
        let peer = self.handle.accepted()[(id - self.ids_before) as usize - 1];
        let found = self.clients.iter().position(|client| client.peer == peer);
        found.expect("a client that connected")
    }

    /// Has the model follow what has happened.
    fn follow(&mut self, what: Executed) {
        match what {
            Executed::Command {
                client,
                unix_us,
                args,
            } => self.command(client, unix_us / 1000, &args),
            Executed::Queued { unix_us } => {
                let queued = (unix_us / 1000, Vec::new());
                self.model.queued.push_back(queued);
            }
            Executed::PropagatedAs(commands) => self.model.propagated_as.extend(commands),
            Executed::Woken { client, unix_us } => {
                let index = self.client(client);
                self.check_order(index, unix_us / 1000);
                let caller = &mut self.clients[index].caller;
                let answer = self.model.woken(caller, unix_us / 1000);
                self.answer(index, answer);
            }
            Executed::Works { client } => {
                let index = self.client(client);
                self.clients[index].works = Some(None);
            }
            Executed::GaveUp { client, unix_us } => {
                let index = self.client(client);
                if let Some(answer) = self.clients[index].works.take() {
                    return self.answer(index, answer);
                }
                let caller = &mut self.clients[index].caller;
                let answer = self.model.gave_up(caller, unix_us / 1000);
                self.answer(index, answer);
            }
            Executed::WaitsOn { client, is_held } => {
                let index = self.client(client);
                let waiting = self.clients[index].caller.waiting.as_mut();
                waiting.expect("it waits").is_held = is_held;
            }
            Executed::Held { client } => {
                let index = self.client(client);
                let client = &mut self.clients[index];
                let waiting = client.caller.waiting.take().expect("it waited");
                client.script.push_front(Sent {
                    bytes: Vec::new(),
                    kind: SentKind::Command(waiting.args),
                });
            }
            Executed::ProtocolError { client } => {
                let index = self.client(client);
                self.clients[index].protocol_error(self.events);
            }
            Executed::Dropped { client } => {
                let index = self.client(client);
                let client = &mut self.clients[index];
                client.caller.waiting = None;
                client.caller.quit = true;
                client.script.clear();
            }
            Executed::Gone { client } => {
                let index = self.client(client);
                self.clients[index].caller.waiting = None;
                self.model.is_gone(client as i64);
            }
            Executed::RefusesWrites => {}
            Executed::Removed { .. } | Executed::FieldExpired { .. } => {
                match self.model.queued.back_mut() {
                    // In the middle of EXEC: before that command.
                    Some((_, gone)) => gone.push(what),
                    None => self.model.went(&what),
                }
            }
        }
    }

    fn command(&mut self, id: u64, now_ms: i64, args: &[Vec<u8>]) {
        let index = self.client(id);
        let client = &mut self.clients[index];
        client.caller.id = id as i64;
        client.skip_empty();
        assert!(!client.caller.quit, "client {id} had quit");
        let waits = client.caller.waiting.is_some() || matches!(client.works, Some(Some(_)));
        assert!(!waits, "client {id} waits");
        assert!(
            !self.model.gone.contains(&(id as i64)),
            "client {id} was gone"
        );
        let sent = client.script.pop_front().map(|item| item.kind);
        let Some(SentKind::Command(sent)) = sent else {
            panic!("{args:?} was run, but {sent:?} was sent");
        };
        assert!(sent == args, "{args:?} was run, but {sent:?} was sent");
        let answer = self.model.run(&mut client.caller, now_ms, args);
        if client.caller.quit {
            client.script.clear();
        }
        self.commands += 1;
        match &mut client.works {
            // What others say meanwhile it is told before.
            Some(later) => *later = answer,
            None => self.answer(index, answer),
        }
    }

    /// Has a client expect its answer, and all clients what they are told besides.
    fn answer(&mut self, index: usize, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.clients[index].expect(answer, self.events);
        }
        for (id, push) in std::mem::take(&mut self.model.pushes) {
            let index = self.client(id as u64);
            self.clients[index].expect(push, self.events);
        }
    }

    /// Nobody waits for what is there.
    fn check_waiting(&mut self, now_ms: i64) {
        self.model.now_ms = now_ms;
        let all = || {
            let clients = self.clients.iter();
            clients.filter_map(|it| it.caller.waiting.as_ref())
        };
        for client in &self.clients {
            if let Some(waiting) = &client.caller.waiting {
                // A save holds it, or somebody who comes first.
                let is_held = |it: &Waiting| it.is_held && self.model.comes_first(it, waiting);
                assert!(
                    waiting.is_held || !self.model.is_servable(waiting) || all().any(is_held),
                    "client {} waits for what is there: {waiting:?}",
                    client.caller.id
                );
            }
        }
    }

    /// Nobody who came earlier and wants the same is passed over for this client.
    fn check_order(&mut self, index: usize, now_ms: i64) {
        self.model.now_ms = now_ms;
        let served = &self.clients[index].caller;
        assert!(
            !self.model.gone.contains(&served.id),
            "client {} is gone",
            served.id
        );
        let waiting = served.waiting.as_ref().expect("a client that waits");
        for client in &self.clients {
            let Some(other) = &client.caller.waiting else {
                continue;
            };
            assert!(
                other.ticket >= waiting.ticket || !self.model.comes_first(other, waiting),
                "client {} is served, and client {} came first: {waiting:?}, {other:?}",
                served.id,
                client.caller.id
            );
        }
    }

    fn check(&mut self) {
        let has_ended = self.has_ended || self.server.ended().is_some();
        for client in &mut self.clients {
            client.check();
            if self.handle.is_closed(client.peer) && !client.closed {
                client
                    .received
                    .extend(self.handle.take(client.peer, usize::MAX));
                client.check();
                client.closed = true;
                let accepted = self.handle.accepted();
                let place = accepted.iter().position(|peer| *peer == client.peer);
                let killed = place.is_some_and(|place| {
                    let id = self.ids_before as i64 + place as i64 + 1;
                    self.model.killed.contains(&id)
                });
                let asked_for = has_ended
                    || killed
                    || client.caller.quit
                    || client.left
                    || matches!(client.leaving, Leaving::Close(usize::MAX));
                assert!(
                    asked_for,
                    "client {} was closed unasked: {:?}, {:?}, of {} bytes {} were sent, next {:?}",
                    client.caller.id,
                    client.leaving,
                    client.caller.waiting,
                    client.bytes.len(),
                    client.sent,
                    client.script.front().map(|item| &item.kind)
                );
                if client.caller.quit
                    && !has_ended
                    && !killed
                    && !client.left
                    && client.leaving == Leaving::Afterwards
                {
                    // What others say meanwhile it may miss.
                    let is_push =
                        |(answer, ..): &(Answer, bool, u64)| matches!(answer, Answer::Push(_));
                    assert!(
                        client.expected.iter().all(is_push),
                        "client {} was closed before {:?}",
                        client.caller.id,
                        client.expected
                    );
                }
            }
        }
    }

    /// Everybody who is owed something gets on.
    fn see_progress(&mut self) {
        let turn = self.turn;
        for client in &mut self.clients {
            let unread = self.handle.unread(client.peer) + client.bytes.len() - client.sent;
            let (requests, answers) = (client.script.len(), client.expected.len());
            let now = [unread, requests, answers, client.received.len()];
            let (since, before) = client.progress;
            let waits = client.caller.waiting.is_some();
            if client.is_done() || waits || now != before || since == 0 {
                client.progress = (turn, now);
            }
            assert!(
                turn - client.progress.0 < STARVED_TURNS,
                "client {} (peer {:?}, {:?}) starves: {} bytes unread, {} requests and {} answers to come, the first \
                 {:?}, received {:?}",
                client.caller.id,
                client.peer,
                client.leaving,
                unread,
                requests,
                answers,
                client.expected.front(),
                lossy(&client.received)
            );
        }
    }

    /// Asks for everything that there is.
    fn audit(&mut self) {
        self.handle.set_faults(Faults::NONE);
        let mut asked = Vec::new();
        for (index, database) in self.model.databases.iter().enumerate() {
            if index > 2 && database.is_empty() {
                continue;
            }
            asked.push(
                format!("SELECT {index}")
                    .split(' ')
                    .map(Into::into)
                    .collect(),
            );
            asked.push(vec![b"DBSIZE".to_vec()]);
            asked.push(vec![b"KEYS".to_vec(), b"*".to_vec()]);
            for (key, entry) in database {
                asked.extend(commands::asking(key, entry.value.kind(), false));
            }
        }
        let items = asked.into_iter().map(|args| Sent {
            bytes: commands::multibulk(&args),
            kind: SentKind::Command(args),
        });
        let auditor = Client::sending(self.handle.connect(), items.collect());
        self.clients.push(auditor);
        let begun = self.turn;
        while !self.clients.last().is_some_and(Client::is_done) {
            for client in &mut self.clients {
                client.act(&mut self.rng, &self.handle, self.turn, true);
            }
            self.step(Duration::from_millis(5));
            self.check();
            assert!(self.turn - begun < 5000, "the auditor starves");
        }
    }

    /// Everybody leaves, and nothing stays behind.
    fn leave(&mut self) {
        self.handle.set_faults(Faults::NONE);
        for client in &self.clients {
            self.handle.close(client.peer);
        }
        for _ in 0..100 {
            self.step(Duration::from_millis(10));
        }
        // Scripts are run by a client of their own, which stays.
        let is_script = |client: &gyre::clients::Client| client.session.kind == ClientKind::Script;
        let only_scripts = (self.server.state().clients.iter()).all(|(_, it)| is_script(it));
        assert!(only_scripts, "clients stay behind");
        assert_eq!(self.server.state().clients.connected, 0);
        assert_eq!(
            self.server.events().source_count(),
            1,
            "sources stay behind"
        );
    }
}
