//! Random and broken rules of users, by the ways on which rules come: ACL SETUSER and SETROLE, ACL LOAD of a file, lines of a
//! configuration. No panic, no growth; what is told of users and roles (the lines of ACL LIST) makes the same ones.
//!
//! The ordinary run is short; `GYRE_FUZZ_RULES=10000000` is the long one. `GYRE_FUZZ_LIFE` plays one life alone, as with the
//! commands.

use super::{ALONE, GROWTH, LastWords, from_environment, multibulk, mutate, pick, specs};
use gyre::acl::Users;
use gyre::config::Config;
use gyre::engine::CommandTable;
use gyre::event_loop::{Faults, SimulatedPeer, Simulator, SimulatorHandle};
use gyre::resp::reader::{ReadError, Value, read_all};
use gyre::server::Server;
use gyre::system::memory;
use gyre::system::rng::Rng;
use std::path::Path;
use std::time::Duration;

const INPUTS: u64 = 50_000;
const INPUTS_OF_A_LIFE: u64 = 10_000;
/// Inputs that are sent at once.
const BATCH: u64 = 16;

/// Who asks: whatever becomes of the others, this one may.
const ADMIN: &[u8] = b"admin on nopass ~* &* +@all";

const PLAIN: &[&[u8]] = &[
    b"on",
    b"off",
    b"nopass",
    b"resetpass",
    b"reset",
    b"resetkeys",
    b"resetchannels",
    b"allkeys",
    b"allchannels",
    b"allcommands",
    b"nocommands",
    b"clearselectors",
    b"sanitize-payload",
    b"skip-sanitize-payload",
    b"alldbs",
    b"resetdbs",
    b"db=0",
    b"db=1,2,3",
    b"db=",
    b"db=99999999999999999999",
    b"role=r",
    b"role=r,s",
    b"role=",
    b"resetroles",
    b"cpu=5/s",
    b"cpu=0/s",
    b"rate=10/s",
    b"rate=18446744073709551615/s",
    b"memory=1mb",
    b"memory=99999999999gb",
    b"throttle-error",
    b"nobudget",
    b"~*",
    b"&*",
    b"+@all",
    b"-@all",
    b"~",
    b"&",
    b"+",
    b"-",
    b"%",
    b"%R",
    b"%RW~",
    b"%~a",
    b"(",
    b")",
    b"()",
    b"((",
    b"))",
    b"( )",
    b"( +get ~a )",
    b"(%R~x* +@read (",
    b">",
    b"<",
    b"#",
    b"!",
    b">secret",
    b"<secret",
    b"+@",
    b"-@nosuch",
    b"+|",
    b"+get|",
    b"+|get",
    b"+config|get|x",
    b"+select|0",
    b"",
    b" ",
    b"\x00",
    b"'",
    b"\"",
    b"#1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf",
    b"!1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf",
];
const CATEGORIES: &[&[u8]] = &[
    b"read",
    b"write",
    b"fast",
    b"slow",
    b"admin",
    b"dangerous",
    b"string",
    b"pubsub",
    b"all",
    b"ALL",
    b"x",
];
const PIECES: &[&[u8]] = &[
    b"*", b"?", b"a", b"b", b":", b"[ab]", b"[^", b"]", b"\\", b"'", b"\"", b"(", b")", b"app",
    b"\xff", b"\t", b"|", b"%", b"~", b"#",
];
const NAMES: &[&[u8]] = &[
    b"u", b"v", b"w", b"it's", b"q\"", b"default", b"", b"a b", b"(", b"user",
];
const ROLES: &[&[u8]] = &[b"r", b"s", b"get", b"x,y", b"@read", b"it's"];

/// A rule, or something like one.
fn rule(rng: &mut Rng, names: &[Vec<u8>], depth: u32) -> Vec<u8> {
    let text = |rng: &mut Rng| -> Vec<u8> {
        let pieces = (0..rng.below(6)).map(|_| pick(rng, PIECES));
        pieces.collect::<Vec<_>>().concat()
    };
    let mut rule = match rng.below(12) {
        0..=2 => {
            let sign = [&b"+"[..], b"-"][rng.index(2)];
            [sign, &names[rng.index(names.len())]].concat()
        }
        3 => [[b"+@", &b"-@"[..]][rng.index(2)], pick(rng, CATEGORIES)].concat(),
        4..=5 => {
            let sign = [&b"~"[..], b"&", b"%R~", b"%W~", b"%rw~", b">"][rng.index(6)];
            [sign, &text(rng)].concat()
        }
        6 if depth > 0 => {
            let rules: Vec<Vec<u8>> = (0..rng.below(4))
                .map(|_| self::rule(rng, names, depth - 1))
                .collect();
            [b"(", &rules.join(&b' ')[..], b")"].concat()
        }
        _ => pick(rng, PLAIN).to_vec(),
    };
    if rng.below(6) == 0 {
        mutate(rng, &mut rule);
    }
    rule
}

/// The command's word and its arguments: who, and which rules.
fn definition(rng: &mut Rng, names: &[Vec<u8>]) -> (bool, Vec<Vec<u8>>) {
    let is_role = rng.below(6) == 0;
    let name = pick(rng, if is_role { ROLES } else { NAMES });
    let mut words = vec![name.to_vec()];
    words.extend((0..1 + rng.below(5)).map(|_| rule(rng, names, 2)));
    (is_role, words)
}

/// Lines of a file, or of a configuration.
fn lines(rng: &mut Rng, names: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let (is_role, words) = definition(rng, names);
        let mut line = [
            if is_role { &b"role "[..] } else { b"user " },
            &words.join(&b' '),
        ]
        .concat();
        if rng.below(4) == 0 {
            mutate(rng, &mut line);
        }
        text.extend(line);
        text.push(b'\n');
    }
    text
}

/// What is told of each makes the same one.
fn check_round_trip(users: &Users, table: &CommandTable) {
    let mut again = users.clone();
    for user in users.iter() {
        let told = user.describe();
        let words: Vec<&[u8]> = told.split(|byte| *byte == b' ').collect();
        again.remove(b"again");
        let changed = again.set(b"again", &words, table);
        let made = changed.unwrap_or_else(|error| panic!("{error} in {}", told.escape_ascii()));
        let made = made.after.expect("a user").describe();
        assert_eq!(
            made.escape_ascii().to_string(),
            told.escape_ascii().to_string()
        );
    }
    for role in users.roles() {
        let told = role.describe();
        let words: Vec<&[u8]> = told.split(|byte| *byte == b' ').collect();
        again.remove_role(b"again");
        let set = again.set_role(b"again", &words, table);
        set.unwrap_or_else(|error| panic!("{error} in {}", told.escape_ascii()));
        let made = again.find_role(b"again").expect("a role").describe();
        assert_eq!(
            made.escape_ascii().to_string(),
            told.escape_ascii().to_string()
        );
    }
}

/// All lines of ACL LIST.
fn told(users: &Users) -> Vec<Vec<u8>> {
    users.lines().collect()
}

struct Life {
    server: Server,
    handle: SimulatorHandle,
    admin: SimulatedPeer,
    /// Rules that were taken.
    taken: u64,
}

/// A server that has read a configuration, or what is wrong with that.
fn start(directory: &Path, text: Vec<u8>, seed: u64) -> Result<(Server, SimulatorHandle), String> {
    let args = ["-", "--bind", "127.0.0.1"];
    let args: Vec<std::ffi::OsString> = args.map(Into::into).into();
    let mut text = Some(text);
    let config = Config::load_in(directory, &args, &mut || {
        Ok(text.take().unwrap_or_default())
    });
    let config = config.map_err(|error| error.to_string())?;
    let (simulator, handle) = Simulator::new(seed, Faults::NONE);
    let server = Server::new(config, Box::new(simulator)).map_err(|error| error.to_string())?;
    Ok((server, handle))
}

impl Life {
    fn new(directory: &Path, seed: u64) -> Life {
        let file = directory.join("users.acl");
        std::fs::write(&file, [b"user ", ADMIN, b"\n"].concat()).expect("a file");
        let text = format!("aclfile {}\n", file.display()).into_bytes();
        let (mut server, handle) = start(directory, text, seed).unwrap_or_else(|e| panic!("{e}"));
        server.start().expect("a listener");
        let admin = handle.connect();
        let mut life = Life {
            server,
            handle,
            admin,
            taken: 0,
        };
        life.log_in();
        life
    }

    fn log_in(&mut self) {
        self.handle.close(self.admin);
        self.admin = self.handle.connect();
        let answers = self.ask(&[[&b"AUTH"[..], b"admin", b"x"].map(<[u8]>::to_vec).to_vec()]);
        assert_eq!(answers, [Value::Simple("OK".to_owned())]);
    }

    fn ask(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
        let mut bytes = Vec::new();
        commands
            .iter()
            .for_each(|words| multibulk(words, &mut bytes));
        self.handle.send(self.admin, &bytes);
        let mut taken = Vec::new();
        for _ in 0..1000 {
            self.server.turn(Some(Duration::ZERO)).expect("a turn");
            taken.extend(self.handle.take(self.admin, usize::MAX));
            match read_all(&taken) {
                Ok(values) if values.len() == commands.len() => return values,
                Ok(_) | Err(ReadError::Incomplete) => {}
                Err(error) => panic!("{error:?} in {}", taken.escape_ascii()),
            }
        }
        panic!(
            "{} of {} commands are answered",
            taken.escape_ascii(),
            commands.len()
        );
    }

    /// Rules by command, as many inputs at once; then all users are looked at, as clients see them.
    fn set(&mut self, inputs: Vec<(bool, Vec<Vec<u8>>)>) {
        let command = |(is_role, words): (bool, Vec<Vec<u8>>)| {
            let subcommand: &[u8] = if is_role { b"SETROLE" } else { b"SETUSER" };
            let mut command = vec![b"ACL".to_vec(), subcommand.to_vec()];
            command.extend(words);
            command
        };
        let mut commands: Vec<Vec<Vec<u8>>> = inputs.into_iter().map(command).collect();
        let inputs = commands.len();
        for name in [b"u", b"v"] {
            commands.push([&b"ACL"[..], b"GETUSER", name].map(<[u8]>::to_vec).to_vec());
        }
        commands.push([&b"ACL"[..], b"LIST"].map(<[u8]>::to_vec).to_vec());
        let answers = self.ask(&commands);
        for answer in &answers[..inputs] {
            assert!(
                matches!(answer, Value::Simple(_) | Value::Error(_)),
                "{answer:?}"
            );
            self.taken += u64::from(matches!(answer, Value::Simple(_)));
        }
        let state = self.server.state();
        let lines = told(&state.users).into_iter().map(Value::Bulk).collect();
        assert_eq!(answers.last(), Some(&Value::Array(lines)));
        check_round_trip(&state.users, &state.table);
    }

    /// A file by command.
    fn load(&mut self, directory: &Path, text: &[u8]) {
        let text = [b"user ", ADMIN, b"\n", text].concat();
        std::fs::write(directory.join("users.acl"), text).expect("a file");
        let before = told(&self.server.state().users);
        let answers = self.ask(&[[&b"ACL"[..], b"LOAD"].map(<[u8]>::to_vec).to_vec()]);
        let state = self.server.state();
        match &answers[0] {
            Value::Simple(_) => check_round_trip(&state.users, &state.table),
            Value::Error(_) => assert_eq!(told(&state.users), before),
            other => panic!("{other:?}"),
        }
    }

    /// Nobody but who is always there; what the server holds then.
    fn emptied(&mut self, directory: &Path) -> u64 {
        self.load(directory, b"");
        self.log_in();
        let state = self.server.state();
        assert_eq!(
            (state.users.iter().len(), state.users.roles().len()),
            (2, 0)
        );
        state.acl_log.clear();
        state.observe.slowlog = Default::default();
        state.observe.reset();
        memory::allocator_stats().allocated
    }
}

/// A text as a file, without a server.
fn load_into(users: &Users, table: &CommandTable, text: &[u8]) -> bool {
    let mut loaded = users.clone();
    match loaded.load("users.acl", text, table) {
        Ok(_) => {
            check_round_trip(&loaded, table);
            let mut again = users.clone();
            let is_loaded = again.load("users.acl", &loaded.to_file(), table);
            assert!(is_loaded.is_ok(), "{is_loaded:?}");
            assert_eq!(told(&again), told(&loaded));
            true
        }
        Err(_) => false,
    }
}

/// A text as the end of a configuration; what a server has made of it makes the same.
fn configure(directory: &Path, text: Vec<u8>, seed: u64) -> bool {
    let Ok((mut server, _)) = start(directory, text, seed) else {
        return false;
    };
    let users = &server.state().users;
    let (lines, before) = (users.config_lines().collect::<Vec<_>>(), told(users));
    let again =
        start(directory, lines.join(&b'\n'), seed).unwrap_or_else(|error| panic!("{error}"));
    let (mut again, _) = again;
    assert_eq!(told(&again.state().users), before);
    true
}

fn live(life: u64, inputs: u64, names: &[Vec<u8>]) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let mut rng = Rng::new(life);
    let mut world = Life::new(directory, rng.next_u64());
    let mut last = LastWords {
        life,
        input: Vec::new(),
    };
    let mut at_first = 0;
    let (mut done, mut batch) = (0, Vec::new());
    while done < inputs {
        done += 1;
        match rng.below(1000) {
            0..=1 => {
                last.input = lines(&mut rng, names);
                world.taken += u64::from(configure(directory, last.input.clone(), rng.next_u64()));
            }
            2..=3 => {
                last.input = lines(&mut rng, names);
                world.load(directory, &last.input);
                world.log_in();
            }
            4..=150 => {
                last.input = lines(&mut rng, names);
                let state = world.server.state();
                world.taken += u64::from(load_into(&state.users, &state.table, &last.input));
            }
            _ => batch.push(definition(&mut rng, names)),
        }
        if batch.len() as u64 == BATCH || done == inputs {
            let shown = |(_, words): &(bool, Vec<Vec<u8>>)| words.join(&b' ');
            last.input = batch.iter().map(shown).collect::<Vec<_>>().join(&b'\n');
            world.set(std::mem::take(&mut batch));
        }
        if done % 1000 == 0 {
            let holds = world.emptied(directory);
            at_first = if at_first == 0 { holds } else { at_first };
            assert!(
                holds <= at_first + GROWTH,
                "it held {at_first} bytes at first, and now {holds}"
            );
        }
    }
    world.taken
}

#[test]
fn no_rule_breaks_the_server() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let names: Vec<Vec<u8>> = specs()
        .iter()
        .map(|(name, _)| name.join("|").into_bytes())
        .collect();
    if let Some(life) = from_environment("GYRE_FUZZ_LIFE") {
        live(life, INPUTS_OF_A_LIFE, &names);
        return;
    }
    let inputs = from_environment("GYRE_FUZZ_RULES").unwrap_or(INPUTS);
    let start = std::time::Instant::now();
    let mut taken = 0;
    for life in 0..inputs.div_ceil(INPUTS_OF_A_LIFE) {
        taken += live(life, INPUTS_OF_A_LIFE.min(inputs), &names);
    }
    println!(
        "{inputs} inputs, of which {taken} were taken, in {:?}",
        start.elapsed()
    );
    // Or all this would be about nothing.
    assert!(taken > inputs / 20, "{taken} of {inputs} were taken");
}
