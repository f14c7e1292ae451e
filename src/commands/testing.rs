//! A small harness for unit tests of commands: a whole [`State`] without sockets, and one client.

use super::GROUPS;
use crate::clients::{Client, ClientKey, ClientKind};
use crate::cluster::Cluster;
use crate::config::{Config, SetContext, Settings};
use crate::engine::{
    Context, Effects, Handler, Host, LoopFigures, State, cluster, process::process,
};
use crate::event_loop::{Recorder, Token};
use crate::keyspace::Clock;
use crate::resp::reader::{Value, read_all};
use crate::resp::{OwnedRequest, Protocol};
use crate::system::child::{Child, Exit, Pipe};
use crate::system::oom_score::OomScore;
use std::time::Duration;

/// A host that owns no sockets and whose clock stands still, or goes on by as much at each look.
#[derive(Default)]
pub struct NullHost {
    /// What `used_memory` answers.
    pub used_memory: u64,
    /// What LOOP shows.
    pub recorder: Recorder,
    /// What `monotonic_ns` answers.
    pub clock_ns: u64,
    /// How much later it is each time that it is asked, ns.
    pub tick_ns: u64,
}

impl Host for NullHost {
    fn change_directory(&mut self, path: &std::path::Path) -> Result<(), String> {
        std::env::set_current_dir(path)
            .map_err(|error| crate::system::process::os_error_text(&error))
    }
    fn configure_tls(&mut self, _settings: &Settings) -> bool {
        true
    }
    fn rebind(&mut self, _settings: &Settings) -> Result<(), String> {
        Ok(())
    }
    fn adjust_max_clients(&mut self, wanted: usize, _settings: &Settings) -> usize {
        wanted
    }
    fn used_memory(&mut self) -> u64 {
        self.used_memory
    }
    fn fresh_used_memory(&mut self) -> u64 {
        self.used_memory
    }
    fn release_pooled(&mut self) {}
    fn adjust_oom_score(&mut self, _how: OomScore, _wish: i32) -> bool {
        true
    }
    fn sleep(&mut self, _duration: Duration) {}
    fn random_u64(&mut self) -> u64 {
        0x0123_4567_89ab_cdef
    }
    fn monotonic_ns(&mut self) -> u64 {
        self.clock_ns += self.tick_ns;
        self.clock_ns
    }
    fn loop_figures(&self) -> LoopFigures {
        LoopFigures::default()
    }
    fn adopt_pipe(&mut self, _pipe: Pipe) -> std::io::Result<Token> {
        Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
    }
    fn wait_for_child(&mut self, child: &Child) -> Exit {
        child.wait()
    }
    fn close_source(&mut self, _token: Token) {}
    fn reset_loop_figures(&mut self) {}
    fn record_loop(&mut self, _is_on: bool, _turns: usize) {}
    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

/// A state, a host and a client of them.
pub struct Harness {
    /// The state.
    pub state: State,
    /// The host.
    pub host: NullHost,
    /// The client that [`Harness::run`] runs commands for.
    pub client: ClientKey,
}

impl Default for Harness {
    fn default() -> Harness {
        Harness::new()
    }
}

impl Harness {
    /// Default directives but for save points (a FLUSHALL would write to the disk), empty databases, a RESP2 client, the year 2023.
    pub fn new() -> Harness {
        let mut harness = Harness::with_config(Config::with_dir(std::path::Path::new("/")));
        harness.config("save", "");
        harness
    }
    /// A node of a cluster, with the nodes that nodes.conf tells of, long enough after its start to know its state.
    pub fn node(nodes: &str) -> Harness {
        let words = ["--cluster-enabled", "yes", "--port", "7001", "--save", ""];
        let words: Vec<_> = words.iter().map(std::ffi::OsString::from).collect();
        let dir = std::path::Path::new("/");
        let config = Config::load_in(dir, &words, &mut || Ok(Vec::new()));
        let mut harness = Harness::with_config(config.expect("directives"));
        let state = &mut harness.state;
        let (settings, facts) = (
            cluster::settings(state.config.settings()),
            cluster::facts(state),
        );
        let node = Cluster::restore(nodes.as_bytes(), settings, 1, &facts);
        state.cluster = Some(Box::new(node.expect("a file of nodes")));
        state.keyspace.index_slots();
        for _ in 0..5 {
            harness.advance_ms(1000);
            let facts = cluster::facts(&harness.state);
            let node = harness.state.cluster.as_mut().expect("a node");
            node.tick(&facts);
            node.before_sleep(&facts);
        }
        harness
    }
    /// A state of these directives.
    fn with_config(config: Config) -> Harness {
        let now = Clock {
            unix_us: 1_700_000_000_000_000,
            mono_ns: 1,
            keeps_expired: false,
        };
        let mut state =
            State::new(config, GROUPS, [1, 2, 3, 4], now).expect("no command is renamed");
        let identity = crate::clients::Identity::default_user(&state.users);
        let client = Client::without_socket(ClientKind::Normal, identity);
        let client = state.clients.insert(client);
        Harness {
            state,
            host: NullHost::default(),
            client,
        }
    }
    /// CONFIG SET of one directive, without what hangs on the command.
    pub fn config(&mut self, name: &str, value: &str) {
        let context = SetContext {
            is_local: true,
            is_loading: false,
        };
        let pair = (name.as_bytes(), value.as_bytes());
        self.state
            .config
            .set_many(&[pair], context)
            .expect("a directive and a value for it");
        if name == "requirepass" {
            let password = Some(value.as_bytes()).filter(|it| !it.is_empty());
            self.state.users.set_default_password(password);
        }
    }
    /// Runs one command and reads its answer.
    pub fn run<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Value {
        self.run_request(&OwnedRequest::from_slices(words))
    }
    /// The same for a request that may have blobs.
    pub fn run_request(&mut self, request: &OwnedRequest) -> Value {
        // The clock of a running command advances by the host's monotonic time; here it stands still.
        let now = self.state.now;
        process(&mut self.state, &mut self.host, self.client, request.args());
        self.state.now = now;
        let client = self
            .state
            .clients
            .get_mut(self.client)
            .expect("the client stays");
        let bytes = client.reply.output().to_vec();
        client.reply.output_mut().clear();
        let mut values = read_all(&bytes).expect("whole values");
        assert_eq!(
            values.len(),
            1,
            "one answer for one command, not {values:?}"
        );
        values.remove(0)
    }
    /// Runs one command given as one line, split at spaces.
    pub fn line(&mut self, line: &str) -> Value {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }
    /// Runs a command with a database handler as if the journal had a reader; what that would get instead of the command.
    pub fn propagated_as(&mut self, line: &str) -> Vec<String> {
        let request = OwnedRequest::from_slices(&line.split(' ').collect::<Vec<_>>());
        let state = &mut self.state;
        let id = state.table.find(request.args().at(0)).expect("a command");
        let Handler::Database(run) = state.table.get(id).spec.handler else {
            panic!("{line} has no database handler")
        };
        let client = state
            .clients
            .get_mut(self.client)
            .expect("the client stays");
        let mut effects = Effects::default();
        let mut context = Context {
            db: state.keyspace.db(client.session.db, state.now, false),
            session: &mut client.session,
            reply: &mut client.reply,
            effects: &mut effects,
            settings: state.config.settings(),
            now: state.now,
            rng: &mut state.rng,
            propagates: true,
            may_block: true,
        };
        run(&mut context, request.args()).expect("no error");
        client.reply.output_mut().clear();
        let commands = effects.propagated_as().to_vec();
        let spell = |words: &Vec<Vec<u8>>| String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        commands.iter().map(spell).collect()
    }
    /// Lets time pass.
    pub fn advance_ms(&mut self, ms: i64) {
        self.state.now.unix_us += ms * 1000;
        self.state.now.mono_ns += ms as u64 * 1_000_000;
    }
    /// Speaks RESP3 from here on.
    pub fn resp3(&mut self) {
        let client = self
            .state
            .clients
            .get_mut(self.client)
            .expect("the client stays");
        client.set_protocol(Protocol::Resp3);
    }
}

/// A value as a reader sees it, for `contains` in tests: strings as text, aggregates as their parts between blanks.
pub fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) | Value::Error(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Verbatim(format, bytes) => format!("{format}:{}", String::from_utf8_lossy(bytes)),
        Value::Simple(simple) => simple.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

/// `+OK`.
pub fn ok() -> Value {
    Value::Simple("OK".into())
}
/// An error of this text.
pub fn error(text: &str) -> Value {
    Value::Error(text.as_bytes().to_vec())
}
/// An integer.
pub fn int(n: i64) -> Value {
    Value::Integer(n)
}
/// An array of bulk strings.
pub fn bulks(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(Value::bulk).collect())
}
/// A bulk string.
pub fn bulk(text: &str) -> Value {
    Value::bulk(text)
}

/// Runs lines in order and compares each answer.
pub fn check(lines: &[(&str, Value)]) -> Harness {
    let mut harness = Harness::new();
    for (line, expected) in lines {
        assert_eq!(harness.line(line), *expected, "{line}");
    }
    harness
}
