//! What users may do, on a seed: random rules, and random commands that are asked for (ACL DRYRUN) and run, against a plain model
//! of the rules.
//!
//! The model knows nothing of how the server keeps rules: it has a set of names, a list of patterns that it matches by itself, and
//! asks everything anew each time. Of commands it is told what ACL CAT says, and in this file which of their words are keys.
//!
//! `GYRE_ACL_STEPS` is how many rules and commands a run has; a million is the long one.

use gyre::config::Config;
use gyre::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use gyre::resp::reader::{ReadError, Value, read_all};
use gyre::server::Server;
use gyre::system::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Rules and commands of the ordinary run.
const STEPS: u64 = 20_000;
/// Rules and commands of one server, and of one seed.
const STEPS_OF_A_SEED: u64 = 10_000;

/// Commands: `K` stands for a key, `C` for a channel, `N` for a database. What follows `|` says of each of these in turn what
/// the command does with it: `r`, `w`, `rw`, or nothing (`-`).
const CALLS: &[(&str, &str)] = &[
    ("get K", "r"),
    ("set K v", "w"),
    ("set K v GET", "rw"),
    ("append K v", "w"),
    ("strlen K", "-"),
    ("exists K K", "- -"),
    ("del K K", "w w"),
    ("mget K K K", "r r r"),
    ("mset K v K v", "w w"),
    ("lpush K v", "w"),
    ("lpop K", "rw"),
    ("rpoplpush K K", "rw w"),
    ("rename K K", "rw w"),
    ("copy K K", "r w"),
    ("copy K K DB N", "r w d"),
    ("move K N", "rw d"),
    ("select N", "d"),
    ("swapdb N N", "d d"),
    ("flushall ASYNC", ""),
    ("flushdb ASYNC", ""),
    ("dbsize", ""),
    ("sort K", "r"),
    ("sort K BY w* GET #", "r"),
    ("sort K STORE K", "r w"),
    ("sunionstore K K K", "w r r"),
    ("sintercard 2 K K", "r r"),
    ("zunionstore K 2 K K", "w r r"),
    ("eval returns_1 1 K", "rw"),
    ("eval gets_its_key 1 K", "rw"),
    ("eval returns_1 0", ""),
    ("eval_ro returns_1 1 K", "r"),
    ("bitfield K GET u8 0", "r"),
    ("bitfield K SET u8 0 1", "rw"),
    ("getex K", "rw"),
    ("getex K PERSIST", "rw"),
    ("publish C m", "c"),
    ("spublish C m", "c"),
    ("subscribe C C", "c c"),
    ("psubscribe C C", "p p"),
    ("ssubscribe C", "c"),
    ("unsubscribe C", "u"),
    ("config get maxmemory", ""),
    ("config resetstat", ""),
    ("client id", ""),
    ("client getname", ""),
    ("client list", ""),
    ("object encoding K", "-"),
    ("memory usage K", "-"),
    ("acl whoami", ""),
    ("acl cat", ""),
    ("ping", ""),
    ("echo 1", ""),
    ("echo 2", ""),
    ("time", ""),
    ("scan 0", ""),
    ("auth u none", "free"),
    ("hello 3", "free"),
];
const KEYS: &[&str] = &[
    "a", "b", "ab", "abc", "x:a", "x:ab:y", "aab", "", "*", "b:x",
];
const CHANNELS: &[&str] = &["a", "ab", "x:a", "a*", "*"];
const PATTERNS: &[&str] = &[
    "a", "a*", "*a", "*b*", "a?", "[ab]", "[^a]*", "*", "", "x:*", "x:*:y", "*ab*", "*ab", "**",
    "*:?", "\\*", "?", "*a*b*", "*:ab:*", "b:x",
];
const COMMANDS: &[&str] = &[
    "get",
    "set",
    "SET",
    "append",
    "strlen",
    "exists",
    "del",
    "mget",
    "mset",
    "lpush",
    "lpop",
    "rename",
    "copy",
    "move",
    "select",
    "swapdb",
    "flushall",
    "sort",
    "eval",
    "eval_ro",
    "bitfield",
    "getex",
    "publish",
    "spublish",
    "subscribe",
    "psubscribe",
    "unsubscribe",
    "config",
    "config|get",
    "config|resetstat",
    "client",
    "client|id",
    "CLIENT|GETNAME",
    "object",
    "memory|usage",
    "acl",
    "acl|whoami",
    "ping",
    "echo",
    "echo|1",
    "ECHO|2",
    "select|0",
    "select|1",
    "client|nosuch",
    "nosuch",
    "config|get|x",
    "scan",
];
const CATEGORIES: &[&str] = &[
    "all",
    "read",
    "write",
    "keyspace",
    "string",
    "list",
    "set",
    "fast",
    "slow",
    "admin",
    "dangerous",
    "pubsub",
    "scripting",
    "connection",
    "READ",
    "nosuch",
];
const PLAIN: &[&str] = &[
    "on",
    "off",
    "nopass",
    "resetpass",
    "reset",
    "resetkeys",
    "resetchannels",
    "allkeys",
    "allchannels",
    "allcommands",
    "nocommands",
    "clearselectors",
    "alldbs",
    "resetdbs",
    "db=0",
    "db=1,2",
    "db=0,1",
    "db=x",
    ">one",
    ">two",
    "<one",
    "<two",
    "AllKeys",
    "~*",
    "&*",
    "nosuch",
    "+@all",
    "+@all",
    "allkeys",
    "allchannels",
];
const PASSWORDS: &[&str] = &["one", "two", "none"];

/// What a name matches, one step after the other.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    // A star does not match nothing if there is nothing at all.
    if name.is_empty() {
        return pattern.is_empty();
    }
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], _) => name.is_empty(),
            ([b'*', behind @ ..], _) => {
                (0..=name.len()).any(|taken| matches(behind, &name[taken..]))
            }
            (_, []) => false,
            ([b'?', behind @ ..], [_, rest @ ..]) => matches(behind, rest),
            ([b'[', behind @ ..], [byte, rest @ ..]) => {
                let end = behind
                    .iter()
                    .position(|it| *it == b']')
                    .expect("a whole class");
                let class = &behind[..end];
                let is_in = match class {
                    [b'^', class @ ..] => !class.contains(byte),
                    class => class.contains(byte),
                };
                is_in && matches(&behind[end + 1..], rest)
            }
            ([b'\\', escaped, behind @ ..], [byte, rest @ ..]) => {
                escaped == byte && matches(behind, rest)
            }
            ([plain, behind @ ..], [byte, rest @ ..]) => plain == byte && matches(behind, rest),
        }
    }
    matches(pattern, name)
}

/// What ACL CAT says: the commands of each category.
type Categories = BTreeMap<String, BTreeSet<String>>;

#[derive(Clone, Default)]
struct Selector {
    commands: BTreeSet<String>,
    first_args: BTreeSet<(String, String)>,
    all_keys: bool,
    /// May it be read, may it be written, the pattern.
    keys: Vec<(bool, bool, String)>,
    all_channels: bool,
    channels: Vec<String>,
    /// Those that are permitted; `None`: all.
    databases: Option<BTreeSet<u32>>,
}

/// What a call is refused for, the later the further it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    Database(String),
    Command,
    Key(usize),
    Channel(usize),
}

struct Call {
    words: Vec<String>,
    /// The command, a subcommand as `config|get`.
    name: String,
    /// Index, what is done with it.
    uses: Vec<(usize, &'static str)>,
    is_free: bool,
}

impl Selector {
    fn set_command(&mut self, name: &str, permit: bool, all: &BTreeSet<String>) {
        let below = format!("{name}|");
        for command in all
            .iter()
            .filter(|it| *it == name || it.starts_with(&below))
        {
            match permit {
                true => self.commands.insert(command.clone()),
                false => self.commands.remove(command),
            };
        }
        self.first_args.retain(|(command, _)| command != name);
    }

    fn apply(&mut self, rule: &str, categories: &Categories) -> Result<(), ()> {
        let all = &categories["all"];
        let lower = rule.to_ascii_lowercase();
        match &*lower {
            "allkeys" | "~*" => (self.all_keys, self.keys) = (true, Vec::new()),
            "resetkeys" => (self.all_keys, self.keys) = (false, Vec::new()),
            "allchannels" | "&*" => (self.all_channels, self.channels) = (true, Vec::new()),
            "resetchannels" => (self.all_channels, self.channels) = (false, Vec::new()),
            "allcommands" | "+@all" => {
                (self.commands, self.first_args) = (all.clone(), BTreeSet::new());
            }
            "nocommands" | "-@all" => {
                (self.commands, self.first_args) = (BTreeSet::new(), BTreeSet::new());
            }
            "alldbs" => self.databases = None,
            "resetdbs" => self.databases = Some(BTreeSet::new()),
            _ => {
                if let Some(list) = lower.strip_prefix("db=") {
                    let numbers: Result<BTreeSet<u32>, _> =
                        list.split(',').map(str::parse).collect();
                    self.databases = Some(numbers.map_err(drop)?);
                } else if let Some(pattern) = rule.strip_prefix('~') {
                    self.add_keys(true, true, pattern)?;
                } else if let Some((kind, pattern)) =
                    rule.strip_prefix('%').and_then(|it| it.split_once('~'))
                {
                    let kind = kind.to_ascii_lowercase();
                    self.add_keys(kind.contains('r'), kind.contains('w'), pattern)?;
                } else if let Some(pattern) = rule.strip_prefix('&') {
                    if self.all_channels {
                        return Err(());
                    }
                    self.channels.push(pattern.to_owned());
                } else if let Some(category) = lower.strip_prefix("+@").or(lower.strip_prefix("-@"))
                {
                    let members = categories.get(category).ok_or(())?;
                    let permit = lower.starts_with('+');
                    members
                        .iter()
                        .for_each(|it| self.set_command(it, permit, all));
                } else if let Some(name) = lower.strip_prefix('+') {
                    match name.split_once('|') {
                        _ if all.contains(name) => self.set_command(name, true, all),
                        Some((command, argument))
                            if all.contains(command)
                                && !all.iter().any(|it| it.starts_with(&format!("{command}|"))) =>
                        {
                            let both = (command.to_owned(), argument.to_owned());
                            self.first_args.insert(both);
                        }
                        _ => return Err(()),
                    }
                } else if let Some(name) = lower.strip_prefix('-') {
                    if !all.contains(name) {
                        return Err(());
                    }
                    self.set_command(name, false, all);
                } else {
                    return Err(());
                }
            }
        }
        Ok(())
    }

    fn add_keys(&mut self, reads: bool, writes: bool, pattern: &str) -> Result<(), ()> {
        if self.all_keys {
            return Err(());
        }
        // The same pattern given twice permits what both do.
        match self.keys.iter_mut().find(|(_, _, known)| known == pattern) {
            Some((may_read, may_write, _)) => {
                (*may_read, *may_write) = (*may_read | reads, *may_write | writes)
            }
            None => self.keys.push((reads, writes, pattern.to_owned())),
        }
        Ok(())
    }

    fn permits_key(&self, key: &str, does: &str) -> bool {
        let permits = |(may_read, may_write, pattern): &(bool, bool, String)| {
            (*may_read || !does.contains('r'))
                && (*may_write || !does.contains('w'))
                && is_match(pattern.as_bytes(), key.as_bytes())
        };
        self.all_keys || self.keys.iter().any(permits)
    }

    fn permits_db(&self, db: &str) -> bool {
        let Some(permitted) = &self.databases else {
            return true;
        };
        db.parse().is_ok_and(|db| permitted.contains(&db))
    }

    fn check(&self, call: &Call, db: u32, categories: &Categories) -> Result<(), Refusal> {
        let is_of = |category: &str| categories[category].contains(&call.name);
        let looks_at_data = ["keyspace", "read", "write", "scripting"]
            .into_iter()
            .any(is_of);
        let mut databases = Vec::new();
        if looks_at_data && !["select", "swapdb", "flushall"].contains(&&*call.name) {
            databases.push(db.to_string());
        }
        let named = call.uses.iter().filter(|(_, does)| *does == "d");
        databases.extend(named.map(|(at, _)| call.words[*at].clone()));
        if call.name == "flushall" {
            databases.push("all".to_owned());
        }
        if let Some(db) = databases.into_iter().find(|db| !self.permits_db(db)) {
            return Err(Refusal::Database(db));
        }
        let first = call.words.get(1).map(|it| it.to_ascii_lowercase());
        let with_first = (call.name.clone(), first.unwrap_or_default());
        if !self.commands.contains(&call.name) && !self.first_args.contains(&with_first) {
            return Err(Refusal::Command);
        }
        for (at, does) in &call.uses {
            let is_key = matches!(*does, "r" | "w" | "rw" | "-");
            if is_key && !self.permits_key(&call.words[*at], does) {
                return Err(Refusal::Key(*at));
            }
        }
        for (at, does) in &call.uses {
            let name = &call.words[*at];
            let is_permitted = match *does {
                "c" => self
                    .channels
                    .iter()
                    .any(|it| is_match(it.as_bytes(), name.as_bytes())),
                "p" => self.channels.contains(name),
                _ => true,
            };
            if !self.all_channels && !is_permitted {
                return Err(Refusal::Channel(*at));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct User {
    is_on: bool,
    has_nopass: bool,
    passwords: BTreeSet<String>,
    root: Selector,
    further: Vec<Selector>,
}

impl User {
    fn apply(&mut self, rule: &str, categories: &Categories) -> Result<(), ()> {
        match rule {
            "on" => self.is_on = true,
            "off" => self.is_on = false,
            "nopass" => (self.has_nopass, self.passwords) = (true, BTreeSet::new()),
            "resetpass" => (self.has_nopass, self.passwords) = (false, BTreeSet::new()),
            "reset" => *self = User::default(),
            "clearselectors" => self.further.clear(),
            _ => {
                if let Some(password) = rule.strip_prefix('>') {
                    self.has_nopass = false;
                    self.passwords.insert(password.to_owned());
                } else if let Some(password) = rule.strip_prefix('<') {
                    if !self.passwords.remove(password) {
                        return Err(());
                    }
                } else if let Some(inner) = rule.strip_prefix('(') {
                    let mut selector = Selector::default();
                    for rule in inner.trim_end_matches(')').split(' ') {
                        selector.apply(rule, categories)?;
                    }
                    self.further.push(selector);
                } else {
                    self.root.apply(rule, categories)?;
                }
            }
        }
        Ok(())
    }

    fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.further)
    }

    fn check(&self, call: &Call, db: u32, categories: &Categories) -> Result<(), Refusal> {
        if call.is_free {
            return Ok(());
        }
        let mut furthest: Option<Refusal> = None;
        for selector in self.selectors() {
            let Err(refusal) = selector.check(call, db, categories) else {
                return Ok(());
            };
            let is_database = matches!(refusal, Refusal::Database(_));
            // Of databases the first is told of.
            if furthest
                .as_ref()
                .is_none_or(|it| *it < refusal && !is_database)
            {
                furthest = Some(refusal);
            }
        }
        Err(furthest.expect("a selector"))
    }
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.index(from.len())]
}

fn rule(rng: &mut Rng, may_nest: bool) -> String {
    let sign = ["+", "-"][usize::from(rng.below(3) == 0)];
    match rng.below(12) {
        0..=2 => format!("{sign}{}", pick(rng, COMMANDS)),
        3..=4 => format!("{sign}@{}", pick(rng, CATEGORIES)),
        5..=6 => format!("~{}", pick(rng, PATTERNS)),
        7 => format!("&{}", pick(rng, PATTERNS)),
        8 => format!(
            "%{}~{}",
            pick(rng, &["R", "W", "RW", "r", "wr"]),
            pick(rng, PATTERNS)
        ),
        9 if may_nest => {
            let rules: Vec<String> = (0..1 + rng.below(5)).map(|_| selector_rule(rng)).collect();
            format!("({})", rules.join(" "))
        }
        _ => pick(rng, PLAIN).to_owned(),
    }
}

/// A rule that can stand within parentheses, or cannot for being none of a selector.
fn selector_rule(rng: &mut Rng) -> String {
    loop {
        let rule = rule(rng, false);
        // A selector is split as a line of a configuration is, which takes the escape away.
        if !rule.contains('\\') {
            return rule;
        }
    }
}

fn call(rng: &mut Rng) -> Call {
    let (line, uses) = CALLS[rng.index(CALLS.len())];
    let mut kinds = uses.split(' ').filter(|it| !it.is_empty() && *it != "free");
    let mut call = Call {
        words: Vec::new(),
        name: String::new(),
        uses: Vec::new(),
        is_free: uses == "free",
    };
    for (at, word) in line.split(' ').enumerate() {
        let filled = match word {
            "K" => pick(rng, KEYS),
            "C" => pick(rng, CHANNELS),
            "N" => pick(rng, &["0", "1", "2"]),
            "returns_1" => "return 1",
            "gets_its_key" => "return redis.call('get', KEYS[1])",
            other => other,
        };
        if matches!(word, "K" | "C" | "N") {
            call.uses
                .push((at, kinds.next().expect("what is done with it")));
        }
        call.words.push(filled.to_owned());
    }
    assert_eq!(kinds.next(), None, "{line}");
    call.name.clone_from(&call.words[0]);
    if ["config", "client", "object", "memory", "acl"].contains(&&*call.name) {
        call.name = call.words[..2].join("|");
    }
    call
}

struct Connection {
    peer: SimulatedPeer,
    db: u32,
}

struct World {
    server: Server,
    handle: SimulatorHandle,
    categories: Categories,
    user: User,
    admin: SimulatedPeer,
    client: Connection,
    told: Vec<String>,
}

/// The text of an answer that is one, or of its error.
fn text(value: &Value) -> String {
    match value {
        Value::Simple(text) => text.clone(),
        Value::Bulk(text) | Value::Error(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

impl World {
    fn new(seed: u64) -> World {
        let args = ["--bind", "127.0.0.1"];
        let args: Vec<std::ffi::OsString> = args.map(Into::into).into();
        let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()));
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let (simulator, handle) = Simulator::new(seed, Faults::NONE);
        let mut server = Server::new(config, Box::new(simulator)).unwrap_or_else(|e| panic!("{e}"));
        server.start().expect("a listener");
        let admin = handle.connect();
        let peer = handle.connect();
        let mut world = World {
            server,
            handle,
            categories: Categories::new(),
            user: User::default(),
            admin,
            client: Connection { peer, db: 0 },
            told: Vec::new(),
        };
        let names = world.ask(admin, &[vec!["ACL".into(), "CAT".into()]]);
        let Value::Array(names) = &names[0] else {
            panic!("{names:?}")
        };
        let mut all = BTreeSet::new();
        for category in names.iter().map(text) {
            let members = world.ask(admin, &[vec!["ACL".into(), "CAT".into(), category.clone()]]);
            let Value::Array(members) = &members[0] else {
                panic!("{members:?}")
            };
            let members: BTreeSet<String> = members.iter().map(text).collect();
            all.extend(members.clone());
            world.categories.insert(category, members);
        }
        world.categories.insert("all".to_owned(), all);
        world.become_user();
        world
    }

    /// Sends commands at once; their answers.
    fn ask(&mut self, peer: SimulatedPeer, commands: &[Vec<String>]) -> Vec<Value> {
        let mut bytes = Vec::new();
        for words in commands {
            self.told.push(words.join(" "));
            bytes.extend(format!("*{}\r\n", words.len()).bytes());
            for word in words {
                bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
            }
        }
        self.handle.send(peer, &bytes);
        let (mut taken, mut turns) = (Vec::new(), 0);
        loop {
            self.server
                .turn(Some(Duration::from_millis(1)))
                .expect("a turn");
            taken.extend(self.handle.take(peer, usize::MAX));
            match read_all(&taken) {
                Ok(values) if values.len() >= commands.len() => return values,
                Ok(_) | Err(ReadError::Incomplete) => {}
                Err(error) => panic!("{error:?}"),
            }
            turns += 1;
            if turns >= 1000 || self.handle.is_closed(peer) {
                panic!("no answer in {turns} turns: {:#?}", self.last());
            }
        }
    }

    fn last(&self) -> &[String] {
        &self.told[self.told.len().saturating_sub(30)..]
    }

    /// Has the client be the user, whatever that takes.
    fn become_user(&mut self) {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let answer = self.ask(self.admin, &[words("ACL SETUSER u on nopass")]);
        assert_eq!(text(&answer[0]), "OK");
        for rule in ["on", "nopass"] {
            self.user.apply(rule, &self.categories).expect("a rule");
        }
        self.handle.close(self.client.peer);
        let peer = self.handle.connect();
        self.client = Connection { peer, db: 0 };
        // In RESP3 a client that listens may do everything else as well.
        let answer = self.ask(peer, &[words("HELLO 3 AUTH u none")]);
        assert!(matches!(answer[0], Value::Map(_)), "{answer:?}");
    }

    fn set_rules(&mut self, rng: &mut Rng) {
        let rules: Vec<String> = (0..1 + rng.below(3)).map(|_| rule(rng, true)).collect();
        let mut changed = self.user.clone();
        let expected = rules
            .iter()
            .try_for_each(|rule| changed.apply(rule, &self.categories));
        let mut words: Vec<String> = ["ACL", "SETUSER", "u"].map(str::to_owned).into();
        words.extend(rules);
        let answer = self.ask(self.admin, &[words]);
        let taken = matches!(answer[0], Value::Simple(_));
        assert_eq!(taken, expected.is_ok(), "{answer:?} to {:#?}", self.last());
        if taken {
            self.user = changed;
        }
    }

    /// Asks DRYRUN about some calls; whether each is permitted.
    fn dry_run(&mut self, calls: &[Call]) -> Vec<bool> {
        let asked = |call: &Call| {
            let mut words: Vec<String> = ["ACL", "DRYRUN", "u"].map(str::to_owned).into();
            words.extend(call.words.iter().cloned());
            words
        };
        let asked: Vec<Vec<String>> = calls.iter().map(asked).collect();
        let answers = self.ask(self.admin, &asked);
        let mut permitted = Vec::new();
        for (call, answer) in calls.iter().zip(answers) {
            let expected = match self.user.check(call, 0, &self.categories) {
                Ok(()) => "OK".to_owned(),
                Err(Refusal::Command) => {
                    format!(
                        "User u has no permissions to run the '{}' command",
                        call.name
                    )
                }
                Err(Refusal::Key(at)) => {
                    format!(
                        "User u has no permissions to access the '{}' key",
                        call.words[at]
                    )
                }
                Err(Refusal::Channel(at)) => {
                    format!(
                        "User u has no permissions to access the '{}' channel",
                        call.words[at]
                    )
                }
                Err(Refusal::Database(db)) if db == "all" => {
                    "User u has no permissions to access all databases".to_owned()
                }
                Err(Refusal::Database(db)) => {
                    format!("User u has no permissions to access the database {db}")
                }
            };
            assert_eq!(
                text(&answer),
                expected,
                "{:?} after {:#?}",
                call.words,
                self.last()
            );
            permitted.push(expected == "OK");
        }
        permitted
    }

    /// Runs a call as the user; whether it was permitted.
    fn run(&mut self, call: &Call) -> bool {
        for _ in 0..2 {
            self.server
                .turn(Some(Duration::from_millis(1)))
                .expect("a turn");
        }
        // What it listened to may be permitted no more.
        if self.handle.is_closed(self.client.peer) {
            self.become_user();
        }
        // What others have told it.
        self.handle.take(self.client.peer, usize::MAX);
        let peer = self.client.peer;
        let answers = self.ask(peer, std::slice::from_ref(&call.words));
        // Messages that it sends and hears itself come behind or before the answer.
        let is_error = |it: &&Value| matches!(it, Value::Error(_));
        let error = answers.iter().find(is_error).map(text);
        let expected = self.expected(call);
        let error = error.unwrap_or_default();
        let is_refusal = error.starts_with("NOPERM")
            || error.contains("ACL failure in script")
            || error.contains("insufficient ACL permissions");
        match &expected {
            None => {
                assert!(
                    !is_refusal,
                    "{error} to {:?} in {} after {:#?}",
                    call.words,
                    self.client.db,
                    self.last()
                );
                if call.name == "select" && error.is_empty() {
                    self.client.db = call.words[1].parse().expect("a number");
                }
            }
            Some(expected) => {
                // Of a script's error it is told as well where the script was.
                let is_so = error.starts_with(expected);
                assert!(
                    is_so,
                    "{error} to {:?} in {} after {:#?}",
                    call.words,
                    self.client.db,
                    self.last()
                );
            }
        }
        expected.is_none()
    }

    /// The refusal with which a call is answered that is run.
    fn expected(&self, call: &Call) -> Option<String> {
        let db = self.client.db;
        match self.user.check(call, db, &self.categories) {
            Err(Refusal::Command) => {
                return Some(format!(
                    "NOPERM User u has no permissions to run the '{}' command",
                    call.name
                ));
            }
            Err(Refusal::Key(_)) => {
                return Some("NOPERM No permissions to access a key".to_owned());
            }
            Err(Refusal::Channel(_)) => {
                return Some("NOPERM No permissions to access a channel".to_owned());
            }
            Err(Refusal::Database(_)) => {
                return Some("NOPERM No permissions to access a database".to_owned());
            }
            Ok(()) => {}
        }
        if call.words.iter().any(|it| it == "BY") {
            let reads_all = |it: &&Selector| {
                it.all_keys
                    || it
                        .keys
                        .iter()
                        .any(|(may_read, _, pattern)| *may_read && pattern == "*")
            };
            let mut able = self.user.selectors().filter(reads_all);
            let may = able.any(|it| it.check(call, db, &self.categories).is_ok())
                || self.user.selectors().all(|it| it.all_keys);
            return (!may).then(|| {
                "ERR BY option of SORT denied due to insufficient ACL permissions.".to_owned()
            });
        }
        if call.words[1..]
            .first()
            .is_some_and(|it| it.contains("redis.call"))
        {
            let inner = Call {
                words: vec!["get".to_owned(), call.words[3].clone()],
                name: "get".to_owned(),
                uses: vec![(1, "r")],
                is_free: false,
            };
            let what = match self.user.check(&inner, db, &self.categories).err()? {
                Refusal::Command => "User u has no permissions to run the 'get' command",
                Refusal::Key(_) => "No permissions to access a key",
                Refusal::Channel(_) => "No permissions to access a channel",
                Refusal::Database(_) => "No permissions to access a database",
            };
            return Some(format!("ERR ACL failure in script: {what}"));
        }
        None
    }

    /// Tries a password; whether it was right.
    fn authenticate(&mut self, rng: &mut Rng) {
        let password = pick(rng, PASSWORDS);
        let is_right = self.user.has_nopass || self.user.passwords.contains(password);
        let expected = self.user.is_on && is_right;
        let peer = self.handle.connect();
        let words = ["AUTH", "u", password].map(str::to_owned).to_vec();
        let answer = self.ask(peer, &[words]);
        assert_eq!(text(&answer[0]) == "OK", expected, "{:#?}", self.last());
        self.handle.close(peer);
    }
}

/// Runs a seed of so many rules and commands: how many were permitted, and refused.
fn run(seed: u64, steps: u64) -> (u64, u64) {
    let mut rng = Rng::new(seed);
    let mut world = World::new(rng.next_u64());
    let (mut done, mut permitted, mut refused) = (0, 0, 0);
    while done < steps {
        world.told.clear();
        // What was given once is not taken back often enough by chance.
        if rng.below(30) == 0 {
            world.user = User::default();
            let words = ["ACL", "SETUSER", "u", "reset"].map(str::to_owned).to_vec();
            world.ask(world.admin, &[words]);
            world.become_user();
        }
        world.set_rules(&mut rng);
        let calls: Vec<Call> = (0..4).map(|_| call(&mut rng)).collect();
        let mut came = world.dry_run(&calls);
        for call in &calls[..2] {
            came.push(world.run(call));
        }
        if rng.below(8) == 0 {
            world.authenticate(&mut rng);
        }
        done += 1 + came.len() as u64;
        let was_permitted = came.iter().filter(|it| **it).count() as u64;
        permitted += was_permitted;
        refused += came.len() as u64 - was_permitted;
    }
    (permitted, refused)
}

#[test]
fn users_may_what_a_plain_model_of_the_rules_permits() {
    let steps = crate::from_environment("GYRE_ACL_STEPS", STEPS);
    let (mut permitted, mut refused) = (0, 0);
    let seeds = steps.div_ceil(STEPS_OF_A_SEED);
    let seeds = crate::many(seeds, "users_may_what", |seed| {
        let (may, may_not) = run(seed, STEPS_OF_A_SEED.min(steps));
        (permitted, refused) = (permitted + may, refused + may_not);
        may + may_not
    });
    println!("{permitted} calls were permitted, {refused} refused");
    // Or all this would be about nothing.
    let few = seeds * STEPS_OF_A_SEED.min(steps) / 10;
    assert!(
        permitted > few && refused > few,
        "{permitted} permitted, {refused} refused"
    );
}
