//! Keeps the style: a doc at the head of every file, `unsafe` only where it may stand, no upward import, nothing
//! from the world past the seam, every file owned, every command run by a test, sizes, no item more public than it is used.
//!
//! Each check is a function from sources (name and text) to faults, so that it can be shown to fail: see the tests
//! named `..._can_fail` at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders in which `unsafe` may stand: pure structures, the entry, the system's calls, and the calls of Lua.
const MAY_BE_UNSAFE: &[&str] = &[
    "src/structures/",
    "src/keyspace/entry.rs",
    "src/keyspace/table.rs",
    "src/system/",
    "src/scripting/raw.rs",
];

/// A file that is longer wants to be two.
const FILE_LINES_MAX: usize = 900;
/// A function that is longer wants to be several.
const FUNCTION_LINES_MAX: usize = 90;
/// All of `commands/`, its tests aside: what grows beyond it is probably the engine's.
const COMMANDS_LINES_MAX: usize = 24_500;

/// Files that are longer than [`FILE_LINES_MAX`], each with its reason.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "src/persistence/aof/mod.rs",
        "the states of one append-only file, whose order of disk calls is one argument",
    ),
    (
        "src/structures/listpack.rs",
        "one byte format: every function relies on the same layout",
    ),
    (
        "src/structures/quicklist.rs",
        "one structure: splitting, merging and compressing keep one invariant",
    ),
    (
        "src/structures/sorted_set/tree.rs",
        "one structure whose unsafe nodes nobody else may see",
    ),
];

/// Functions that are longer than [`FUNCTION_LINES_MAX`], each with its reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[
    (
        "src/engine/info.rs",
        "stats",
        "a list of fields, one after the other",
    ),
    (
        "src/config/settings.rs",
        "derive",
        "a list of fields, one after the other",
    ),
    (
        "src/engine/call.rs",
        "call",
        "the steps of a command in their one order, on the hot path, where a call costs",
    ),
    (
        "src/engine/persistence/loading.rs",
        "run_commands",
        "one loop whose every outcome ends it in its own way",
    ),
    (
        "src/server/turn.rs",
        "before_sleep",
        "the one list of what ends a turn, with the reasons for its order",
    ),
    (
        "src/scripting/api.rs",
        "install",
        "a list of what scripts may call, one after the other",
    ),
];

/// Where the world enters: what is above the seam gets all of this through it. (Calls of `libc` need `unsafe`, which has a
/// list of its own.)
const THE_WORLD: &str = "src/system/";

/// Words by which code takes something from the world by itself, with what that is. A path is found as it is spelled, and
/// its first part also with the rest in a group of imports.
const FROM_THE_WORLD: &[(&str, &[&str])] = &[
    ("files", &["std::fs"]),
    (
        "time",
        &[
            "Instant",
            "SystemTime",
            "TickClock",
            "clock::monotonic_ns",
            "clock::unix_us",
        ],
    ),
    ("processes", &["fork", "std::process::Command"]),
    ("threads", &["std::thread"]),
    (
        "sockets",
        &[
            "TcpListener",
            "TcpStream",
            "UnixListener",
            "UnixStream",
            "UdpSocket",
        ],
    ),
];

/// Files that take something from the world past the seam, each with its reason.
const PAST_THE_SEAM: &[(&str, &str, &str)] = &[
    (
        "src/config/load.rs",
        "files",
        "the configuration is read before there is a server",
    ),
    (
        "src/config/rewrite.rs",
        "files",
        "CONFIG REWRITE: the file is the administrator's and no data",
    ),
    (
        "src/event_loop/mio_lingering.rs",
        "sockets",
        "it is the seam's",
    ),
    (
        "src/event_loop/mio_seam.rs",
        "files",
        "the names of Unix sockets: it is the seam",
    ),
    ("src/event_loop/mio_seam.rs", "sockets", "it is the seam"),
    (
        "src/event_loop/mio_seam.rs",
        "threads",
        "DEBUG SLEEP: it is the seam",
    ),
    ("src/event_loop/mio_seam.rs", "time", "it is the seam"),
    (
        "src/event_loop/mio_sockets.rs",
        "sockets",
        "it is the seam's",
    ),
    ("src/event_loop/mio_tls.rs", "sockets", "it is the seam's"),
    (
        "src/event_loop/mio_tls.rs",
        "time",
        "how long handshakes take, which nothing above the seam knows of",
    ),
    (
        "src/event_loop/recording/recorder.rs",
        "files",
        "the recording itself",
    ),
    (
        "src/persistence/aof/mod.rs",
        "threads",
        "the rest of DEBUG AOF-FLUSH-SLEEP, which is there for tests",
    ),
    (
        "src/persistence/check.rs",
        "time",
        "a tool: there is no loop",
    ),
    (
        "src/persistence/snapshot.rs",
        "threads",
        "the rest of rdb-key-save-delay, which is there for tests",
    ),
    (
        "src/scripting/build.rs",
        "files",
        "runs when the server is built",
    ),
    (
        "src/scripting/build.rs",
        "processes",
        "runs when the server is built",
    ),
    (
        "src/server/check_config.rs",
        "files",
        "a tool: the permissions of the files that directives name",
    ),
    (
        "src/server/local_cluster.rs",
        "files",
        "a tool: there is no loop, only processes that have one each",
    ),
    (
        "src/server/local_cluster.rs",
        "sockets",
        "a tool: it tells the nodes of each other",
    ),
    ("src/server/local_cluster.rs", "threads", "a tool: it waits"),
    ("src/server/local_cluster.rs", "time", "a tool: it waits"),
    (
        "src/server/recording.rs",
        "files",
        "the recording itself, and the files that it begins with",
    ),
    (
        "src/server/replay.rs",
        "files",
        "a tool: the recording, and the folder that it is played in",
    ),
];

/// Files and folders that are there for tests: here and in other crates, so that `cfg(test)` would hide them.
const FOR_TESTS: &[&str] = &[
    // Until the engine uses it.
    "src/commands/docs.rs",
    "src/event_loop/simulator/",
    "src/resp/reader.rs",
    "src/system/disk.rs",
    "src/system/simulated_children.rs",
    "src/system/simulated_disk.rs",
    "src/system/simulated_jobs.rs",
];

/// Public items that look unused beyond their file, each with its reason.
const PUBLIC_ANYHOW: &[(&str, &str, &str)] = &[];

/// Commands and subcommands that no test names, each with its reason.
const UNTESTED: &[(&str, &str)] = &[];

// ---- sources -----------------------------------------------------------------------------------------------------

/// A file of the repository: its path from the root, and what is in it.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn new(name: &str, text: &str) -> Source {
        Source {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }
    /// Whether all of it is compiled for tests only.
    fn is_test(&self) -> bool {
        !self.name.starts_with("src/")
            || self.name.ends_with("tests.rs")
            || self.name.ends_with("/testing.rs")
            || self.name.contains("/tests/")
    }
    /// What is built into the server, and what is compiled for tests only.
    fn parts(&self) -> (&str, &str) {
        if self.is_test() {
            return ("", &self.text);
        }
        match self.text.find("#[cfg(test)]\nmod tests {") {
            Some(at) => self.text.split_at(at),
            None => (&self.text, ""),
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder, in the order of their names.
fn sources(dir: &str) -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a readable folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    found.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root");
        let text = fs::read_to_string(path).expect("a readable file");
        Source::new(&name.to_string_lossy(), &text)
    };
    found.iter().map(read).collect()
}

fn all_sources() -> Vec<Source> {
    let mut all = sources("src");
    all.extend(sources("tests"));
    all.extend(sources("docs"));
    all
}

fn architecture() -> String {
    fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md")
}

/// The code of a text: comments become blanks, and with `strings` false the contents of literals too. Lines stay where
/// they are.
fn code(text: &str, strings: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, part: &str| {
        out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    };
    while at < bytes.len() {
        let rest = &text[at..];
        // A lifetime begins like a character, but nothing closes it.
        let is_char = rest.starts_with('\'')
            && (rest[1..].starts_with('\\') || rest[1..].chars().nth(1).is_some_and(|c| c == '\''));
        let raw = rest
            .strip_prefix("r")
            .map(|hashes| hashes.len() - hashes.trim_start_matches('#').len())
            .filter(|hashes| rest[1 + hashes..].starts_with('"'))
            .filter(|_| !out.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_'));
        let (len, is_comment) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), true)
        } else if let Some(hashes) = raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            let len = rest[begin..].find(&end).map(|at| begin + at + end.len());
            (len.unwrap_or(rest.len()), false)
        } else if rest.starts_with('"') || is_char {
            let quote = rest.as_bytes()[0];
            let mut end = 1;
            while end < rest.len() && rest.as_bytes()[end] != quote {
                end += 1 + usize::from(rest.as_bytes()[end] == b'\\');
            }
            ((end + 1).min(rest.len()), false)
        } else {
            let c = rest.chars().next().unwrap_or(' ');
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        if is_comment || !strings {
            blank(&mut out, &rest[..len]);
        } else {
            out.push_str(&rest[..len]);
        }
        at += len;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn first_word(code: &str) -> &str {
    code.split(|c| !is_word(c)).next().unwrap_or("")
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// What stands between the brace at the beginning of this code and the one that closes it.
fn in_braces(code: &str) -> Option<&str> {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return code.get(1..at);
        }
    }
    None
}

// ---- the checks --------------------------------------------------------------------------------------------------

fn heads(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for Source { name, text } in sources {
        if !text.starts_with("//!") {
            faults.push(format!("{name} has no //! doc at its head"));
        }
        if text.contains("(being built") {
            faults.push(format!("{name} is a stub"));
        }
    }
    faults
}

fn unsafe_uses(sources: &[Source]) -> Vec<String> {
    let uses = |text: &str| {
        let code = code(text, false);
        let at_word = code.split("unsafe").skip(1);
        at_word.map(str::trim_start).any(|rest| {
            let begins = ["{", "fn", "impl", "extern", "trait"];
            begins.iter().any(|begin| rest.starts_with(begin))
        }) || code.contains("allow(unsafe_code)")
    };
    sources
        .iter()
        .filter(|source| !MAY_BE_UNSAFE.iter().any(|may| source.name.starts_with(may)))
        .filter(|source| uses(&source.text))
        .map(|source| format!("{} may not use unsafe", source.name))
        .collect()
}

/// Modules with their floors, as the drawing of a document shows them: in its first block with lines that begin with a
/// floor's number between two bars, `│ 2 │ keyspace  clients │`.
fn floors(document: &str) -> BTreeMap<String, u8> {
    let mut floors = BTreeMap::new();
    for line in document.lines() {
        let mut cells = line.split('│').map(str::trim);
        let (Some(""), Some(floor), Some(modules)) = (cells.next(), cells.next(), cells.next())
        else {
            continue;
        };
        if let Ok(floor) = floor.parse() {
            for module in modules.split_whitespace() {
                floors.insert(module.to_owned(), floor);
            }
        }
    }
    floors
}

/// Modules with their floors, as the rows of a table name them: `| 2 | keyspace | ...`.
fn floors_of_rows(document: &str) -> BTreeMap<String, u8> {
    let row = |line: &str| {
        let mut cells = line
            .trim_start_matches("//!")
            .split('|')
            .map(str::trim)
            .skip(1);
        let floor = cells.next()?.parse().ok()?;
        let module = cells.next()?.trim_matches(['[', ']', '`']);
        Some((module.to_owned(), floor))
    };
    document.lines().filter_map(row).collect()
}

/// The modules of the crate that a file's code uses, with the line of each.
fn modules_used(name: &str, code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    let mut take = |at: usize, rest: &str| {
        let line = line_of(code, at);
        match in_braces(rest).filter(|_| rest.starts_with('{')) {
            None => used.push((line, first_word(rest).to_owned())),
            Some(group) => {
                let mut depth = 0;
                let parts = group.split(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                });
                used.extend(parts.map(|part| (line, first_word(part.trim()).to_owned())));
            }
        }
    };
    for (at, found) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_word) {
            take(at, code[at + found.len()..].trim_start());
        }
    }
    // As many `super::` as there are modules above end at the root of the crate.
    let path = name.trim_start_matches("src/").trim_end_matches(".rs");
    let depth = path.trim_end_matches("/mod").split('/').count();
    let climb = "super::".repeat(depth);
    for (at, found) in code.match_indices(&climb) {
        let rest = &code[at + found.len()..];
        if !code[..at].ends_with("super::") && !rest.starts_with("super::") {
            take(at, rest);
        }
    }
    used
}

fn upward_imports(sources: &[Source], floors: &BTreeMap<String, u8>) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let rest = source.name.trim_start_matches("src/");
        let own = rest.split(['/', '.']).next().unwrap_or("");
        if matches!(own, "lib" | "main") {
            continue;
        }
        let Some(floor) = floors.get(own) else {
            faults.push(format!("{} is of no floor", source.name));
            continue;
        };
        // Unit tests of a lower floor may run commands: they are no part of what is built.
        let built = code(source.parts().0, false);
        for (line, used) in modules_used(&source.name, &built) {
            if let Some(other) = floors.get(&used)
                && other > floor
            {
                let name = &source.name;
                faults.push(format!(
                    "{name}:{line}: {own} (floor {floor}) uses {used} (floor {other})"
                ));
            }
        }
    }
    faults
}

/// Two modules of one floor that use each other are one module.
fn circles(sources: &[Source], floors: &BTreeMap<String, u8>) -> Vec<String> {
    let mut uses: BTreeSet<(String, String)> = BTreeSet::new();
    for source in sources {
        let rest = source.name.trim_start_matches("src/");
        let own = rest.split(['/', '.']).next().unwrap_or("");
        let built = code(source.parts().0, false);
        for (_, used) in modules_used(&source.name, &built) {
            if used != own && floors.contains_key(own) && floors.get(&used) == floors.get(own) {
                uses.insert((own.to_owned(), used));
            }
        }
    }
    // Grown until nothing is added: who uses whom by way of others.
    loop {
        let ways: Vec<_> = uses
            .iter()
            .flat_map(|(a, b)| {
                uses.iter()
                    .filter(move |(c, _)| b == c)
                    .map(move |(_, d)| (a.clone(), d.clone()))
            })
            .collect();
        let before = uses.len();
        uses.extend(ways);
        if uses.len() == before {
            break;
        }
    }
    let mut round = uses.iter().filter(|(a, b)| a == b);
    round
        .by_ref()
        .map(|(a, _)| format!("{a} uses itself by way of a neighbour"))
        .collect()
}

/// Changes of connections by those who are to see sessions only. Tests may: they stand in for the server.
fn connection_changes(sources: &[Source]) -> Vec<String> {
    let may = ["src/server/", "src/clients/"];
    sources
        .iter()
        .filter(|source| !may.iter().any(|may| source.name.starts_with(may)))
        .filter(|source| words(&code(source.parts().0, false)).any(|it| it == "connection_mut"))
        .map(|source| format!("{} changes a connection", source.name))
        .collect()
}

/// Whether code has a path: as it is spelled, or as a part of a group of imports (`std::{fs, io}` has `std::fs`).
fn has_path(code: &str, path: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(is_word);
    let begins = |at: usize| !code[..at].ends_with(is_word);
    let is_spelled = code
        .match_indices(path)
        .any(|(at, found)| begins(at) && ends(&code[at + found.len()..]));
    let Some((root, rest)) = path.split_once("::") else {
        return is_spelled;
    };
    let in_group = |at: usize| {
        let group = code[at..].strip_prefix(root)?.strip_prefix("::")?;
        in_braces(group).filter(|_| group.starts_with('{'))
    };
    is_spelled
        || code
            .match_indices(root)
            .filter(|(at, _)| begins(*at))
            .filter_map(|(at, _)| in_group(at))
            .any(|group| has_path(group, rest))
}

/// What the built part of files above the seam takes from the world by itself.
fn past_the_seam(sources: &[Source]) -> Vec<(String, String)> {
    let above = sources
        .iter()
        .filter(|source| !source.name.starts_with(THE_WORLD));
    let mut found = Vec::new();
    for source in above {
        let built = code(source.parts().0, false);
        for (what, paths) in FROM_THE_WORLD {
            if paths.iter().any(|path| has_path(&built, path)) {
                found.push((source.name.clone(), (*what).to_owned()));
            }
        }
    }
    found
}

fn owners(sources: &[Source], architecture: &str) -> Vec<String> {
    let named = |name: &str| architecture.contains(&format!("`{name}`"));
    let is_owned = |name: &str| {
        let mut folders = Path::new(name).ancestors().skip(1);
        named(name) || folders.any(|folder| named(&format!("{}/*", folder.display())))
    };
    let names = sources.iter().map(|source| &source.name);
    names
        .filter(|name| !is_owned(name))
        .map(|name| format!("{name} is not in docs/architecture.md"))
        .collect()
}

/// Names of commands, and of subcommands as two words, that no test has in a string.
fn unnamed_commands(names: &[String], sources: &[Source]) -> Vec<String> {
    let mut tests = String::from(" ");
    for source in sources {
        let text = code(source.parts().1, true).to_ascii_lowercase();
        // `"config", "get"` and `"CONFIG GET x"` become the same words.
        let mut is_blank = true;
        for c in text.chars() {
            if matches!(c, ',' | '\n' | ' ' | '&') {
                if !is_blank {
                    tests.push(' ');
                }
                is_blank = true;
            } else {
                tests.push(c);
                is_blank = false;
            }
        }
    }
    let joined = tests.replace("\" b\"", " ").replace("\" \"", " ");
    let is_named = |name: &String| {
        let begins = |begin: &str| {
            let wanted = format!("{begin}{name}");
            let tests = if name.contains(' ') { &joined } else { &tests };
            tests
                .match_indices(&wanted)
                .any(|(at, _)| !tests[at + wanted.len()..].starts_with(|c| is_word(c) || c == '-'))
        };
        // A subcommand may also stand in a line of many (`CLIENT ID;CLIENT INFO`) or in a raw request.
        begins("\"") || (name.contains(' ') && (begins(" ") || begins(";") || begins("n")))
    };
    names
        .iter()
        .filter(|name| !is_named(name))
        .cloned()
        .collect()
}

fn long_files(sources: &[Source]) -> Vec<(String, usize)> {
    let lines = |source: &Source| (source.name.clone(), source.parts().0.lines().count());
    let mut long: Vec<_> = sources.iter().map(lines).collect();
    long.retain(|(_, lines)| *lines > FILE_LINES_MAX);
    long
}

/// Functions that are too long: file, name, lines.
fn long_functions(sources: &[Source]) -> Vec<(String, String, usize)> {
    let mut long = Vec::new();
    for source in sources {
        let built = code(source.parts().0, false);
        for (at, found) in built.match_indices("fn ") {
            let rest = &built[at + found.len()..];
            if built[..at].ends_with(is_word) || first_word(rest).is_empty() {
                continue;
            }
            // `fn` of a trait ends with a semicolon; one in an array type stands in brackets.
            let mut brackets = 0;
            let begin = rest.find(|c| {
                brackets += i32::from(c == '[') - i32::from(c == ']');
                c == '{' || c == '}' || (c == ';' && brackets == 0)
            });
            let Some(body) = begin
                .filter(|begin| rest[*begin..].starts_with('{'))
                .and_then(|begin| in_braces(&rest[begin..]).map(|body| begin + body.len()))
            else {
                continue;
            };
            let lines = rest[..=body].matches('\n').count() + 1;
            if lines > FUNCTION_LINES_MAX {
                long.push((source.name.clone(), first_word(rest).to_owned(), lines));
            }
        }
    }
    long
}

fn lines_of_commands(sources: &[Source]) -> usize {
    let commands = sources
        .iter()
        .filter(|source| source.name.starts_with("src/commands/"));
    commands
        .map(|source| source.parts().0.lines().count())
        .sum()
}

/// Items that are public, but that no other file names; or that nothing but tests names. Names are compared as words, so
/// that a common one hides: it is a net with wide meshes, but it needs no build. Types are let be: what is public
/// mentions them.
fn too_public(sources: &[Source]) -> Vec<(String, String, &'static str)> {
    let mut named_in: HashMap<String, HashSet<usize>> = HashMap::new();
    let mut built_names: HashMap<String, usize> = HashMap::new();
    let built: Vec<String> = sources.iter().map(|it| code(it.parts().0, false)).collect();
    for (index, source) in sources.iter().enumerate() {
        for word in words(&built[index]) {
            *built_names.entry(word.to_owned()).or_default() += 1;
            named_in.entry(word.to_owned()).or_default().insert(index);
        }
        for word in words(&code(source.parts().1, false)) {
            named_in.entry(word.to_owned()).or_default().insert(index);
        }
    }
    let mut faults = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let lines: Vec<&str> = built[index].lines().collect();
        // Lines that belong to what is public: from `pub` to the end of a signature, and the bodies of public types.
        for (number, line) in lines.iter().enumerate() {
            // What stands within another module of the file is public for the file.
            let Some(item) = line.trim_start().strip_prefix("pub") else {
                continue;
            };
            let item = match item.strip_prefix('(') {
                Some(restricted) => restricted.split_once(')').map_or("", |(_, item)| item),
                None => item,
            };
            let item = ["const fn", "unsafe fn"]
                .iter()
                .find_map(|it| item.trim_start().strip_prefix(it))
                .map_or(item.trim_start().to_owned(), |rest| format!("fn{rest}"));
            let Some((kind, rest)) = item.split_once(' ') else {
                continue;
            };
            let is_type = matches!(kind, "struct" | "enum" | "trait" | "type" | "union");
            if !is_type && !matches!(kind, "fn" | "const" | "static") {
                continue;
            }
            let name = first_word(rest);
            let is_for_tests = number > 0 && lines[number - 1].contains("cfg(test)");
            let is_check = name.starts_with("check_")
                || FOR_TESTS.iter().any(|it| source.name.starts_with(it));
            if name.is_empty() || is_for_tests || is_check {
                continue;
            }
            let elsewhere = named_in[name].iter().any(|file| *file != index);
            let in_own_module =
                line.starts_with(' ') && built[index].contains(&format!("::{name}"));
            let uses = built_names.get(name).copied().unwrap_or(0);
            if !elsewhere && !is_type && !in_own_module {
                faults.push((
                    source.name.clone(),
                    name.to_owned(),
                    "only its own file uses it",
                ));
            } else if !is_type && uses <= 1 {
                faults.push((source.name.clone(), name.to_owned(), "only tests use it"));
            }
        }
    }
    faults
}

/// What is in one list and not in the other, said as faults.
fn compared<T: Ord + std::fmt::Debug>(found: Vec<T>, listed: Vec<T>, is: &str) -> Vec<String> {
    let (found, listed): (BTreeSet<T>, BTreeSet<T>) =
        (found.into_iter().collect(), listed.into_iter().collect());
    let new = found.difference(&listed).map(|it| format!("{it:?} {is}"));
    let stale = listed
        .difference(&found)
        .map(|it| format!("{it:?} is listed, but no longer {is}"));
    new.chain(stale).collect()
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

// ---- the repository ----------------------------------------------------------------------------------------------

#[test]
fn every_file_opens_with_what_it_is() {
    none(heads(&sources("src")));
}

#[test]
fn unsafe_stands_only_where_it_may() {
    none(unsafe_uses(&sources("src")));
}

#[test]
fn no_module_imports_from_a_floor_above() {
    none(upward_imports(&sources("src"), &floors(&architecture())));
}

#[test]
fn no_modules_of_a_floor_use_each_other_in_a_circle() {
    none(circles(&sources("src"), &floors(&architecture())));
}

/// The drawing is what the code is held to; the tables below it and in `src/lib.rs` say the same.
#[test]
fn the_tables_agree_with_the_drawing_of_the_floors() {
    let drawn = floors(&architecture());
    assert!(drawn.len() > 10, "the drawing was not found: {drawn:?}");
    let mut rows = floors_of_rows(&architecture());
    rows.remove("process");
    assert_eq!(rows, drawn, "the table of docs/architecture.md");
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    assert_eq!(floors_of_rows(&lib), drawn, "the table of src/lib.rs");
}

#[test]
fn only_the_server_changes_connections() {
    none(connection_changes(&sources("src")));
}

#[test]
fn the_world_enters_through_the_seam() {
    let listed = PAST_THE_SEAM
        .iter()
        .map(|(file, what, _)| ((*file).to_owned(), (*what).to_owned()));
    none(compared(
        past_the_seam(&sources("src")),
        listed.collect(),
        "passes the seam by",
    ));
}

#[test]
fn every_file_has_an_owner_in_the_architecture() {
    none(owners(&sources("src"), &architecture()));
}

#[test]
fn every_command_and_subcommand_is_named_in_a_test() {
    let specs = gyre::commands::GROUPS.iter().flat_map(|group| group.iter());
    let mut names = Vec::new();
    for spec in specs {
        names.push(spec.name.to_owned());
        let subcommands = spec.subcommands.iter();
        names.extend(subcommands.map(|sub| format!("{} {}", spec.name, sub.name)));
    }
    assert!(names.len() > 300, "{} names", names.len());
    let missing = unnamed_commands(&names, &all_sources());
    let is_listed = |name: &str, listed: &str| match listed.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == listed,
    };
    let mut faults = missing.clone();
    faults.retain(|name| !UNTESTED.iter().any(|it| is_listed(name, it.0)));
    for (listed, _) in UNTESTED {
        if !missing.iter().any(|name| is_listed(name, listed)) {
            faults.push(format!("{listed} is listed, but in a test"));
        }
    }
    none(faults);
}

#[test]
fn files_and_functions_are_short() {
    let sources = sources("src");
    let found = long_files(&sources);
    println!("{found:?}");
    let found = found.into_iter().map(|(name, _)| name).collect();
    let listed = LONG_FILES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let mut faults = compared(found, listed, "has too many lines");
    let found = long_functions(&sources);
    println!("{found:?}");
    let found = found
        .into_iter()
        .map(|(file, name, _)| (file, name))
        .collect();
    let listed = LONG_FUNCTIONS
        .iter()
        .map(|(file, name, _)| ((*file).to_owned(), (*name).to_owned()));
    faults.extend(compared(found, listed.collect(), "has too many lines"));
    none(faults);
}

#[test]
fn commands_hold_rows_and_handlers_only() {
    let lines = lines_of_commands(&sources("src"));
    assert!(lines <= COMMANDS_LINES_MAX, "commands/ has {lines} lines");
    assert!(lines > COMMANDS_LINES_MAX / 2, "were they counted?");
}

#[test]
fn nothing_is_more_public_than_it_is_used() {
    let found = too_public(&all_sources());
    let found = found
        .into_iter()
        .map(|(file, name, why)| (file, name, why.to_owned()));
    let is_listed =
        |file: &str, name: &str| PUBLIC_ANYHOW.iter().any(|it| (it.0, it.1) == (file, name));
    let (listed, new): (Vec<_>, Vec<_>) = found.partition(|(file, name, _)| is_listed(file, name));
    let mut faults: Vec<String> = new
        .iter()
        .map(|(file, name, why)| format!("{file}: {name}: {why}"))
        .collect();
    for (file, name, _) in PUBLIC_ANYHOW {
        if !listed
            .iter()
            .any(|it| (&it.0[..], &it.1[..]) == (*file, *name))
        {
            faults.push(format!("{file}: {name} is listed, but is used"));
        }
    }
    none(faults);
}

// ---- the checks can fail -----------------------------------------------------------------------------------------

#[cfg(test)]
mod the_checks {
    use super::*;

    fn one(name: &str, text: &str) -> Vec<Source> {
        vec![Source::new(name, text)]
    }

    #[test]
    fn code_is_told_from_comments_and_literals() {
        let text = "let a = \"// b \\\" c\"; // d\nlet e: &'static str = r#\"f \" g\"#; /* h\n */ 'i' b'\\'' '\"' k";
        assert_eq!(
            words(&code(text, false)).collect::<Vec<_>>().join(" "),
            "let a let e static str b k"
        );
        assert!(code(text, true).contains("// b") && !code(text, true).contains("// d"));
        assert_eq!(code(text, false).lines().count(), text.lines().count());
    }

    #[test]
    fn of_heads_can_fail() {
        assert!(heads(&one("a.rs", "//! What it is.\n")).is_empty());
        assert_eq!(heads(&one("a.rs", "use b;\n")).len(), 1);
        assert_eq!(heads(&one("a.rs", "//! (being built)\n")).len(), 1);
    }

    #[test]
    fn of_unsafe_can_fail() {
        for bad in [
            "unsafe { f() }",
            "unsafe\n{ f() }",
            "unsafe fn f() {}",
            "unsafe impl A for B {}",
            "#![allow(unsafe_code)]",
            "unsafe extern \"C\" fn f() {}",
        ] {
            assert_eq!(
                unsafe_uses(&one("src/commands/a.rs", bad)).len(),
                1,
                "{bad}"
            );
            assert!(unsafe_uses(&one("src/system/a.rs", bad)).is_empty());
        }
        for good in [
            "// unsafe { f() }",
            "let a = \"unsafe {\";",
            "#![deny(unsafe_code)]",
        ] {
            assert!(
                unsafe_uses(&one("src/commands/a.rs", good)).is_empty(),
                "{good}"
            );
        }
    }

    const DRAWING: &str = "│ 2 │ server │\n├───┼───┤\n│ 1 │ low  near │\n│ 0 │ system │\n";

    #[test]
    fn of_imports_can_fail() {
        let floors = floors(DRAWING);
        assert_eq!(floors.len(), 4);
        for bad in [
            "use crate::server::A;",
            "use crate::{system, server::A};",
            "use crate::{\n    system::{A, B},\n    server,\n};",
            "pub(in crate::server) fn f() {}",
            "fn f() -> crate::server::A {}",
            "use super::super::server::A;",
        ] {
            let faults = upward_imports(&one("src/low/a.rs", bad), &floors);
            assert_eq!(faults.len(), 1, "{bad}: {faults:?}");
        }
        for good in [
            "use crate::{system, low::server::A};",
            "// use crate::server::A;",
            "let a = \"crate::server\";",
            "use super::server;",
            "#[cfg(test)]\nmod tests {\n    use crate::server::A;\n}",
        ] {
            let faults = upward_imports(&one("src/low/a.rs", good), &floors);
            assert!(faults.is_empty(), "{good}: {faults:?}");
        }
        assert_eq!(upward_imports(&one("src/new/a.rs", ""), &floors).len(), 1);
        assert_eq!(
            upward_imports(&one("src/low/mod.rs", "use super::server;"), &floors).len(),
            1
        );
    }

    #[test]
    fn of_circles_can_fail() {
        let floors = floors(DRAWING);
        let mut sources = one("src/low/a.rs", "use crate::near::A;");
        assert!(circles(&sources, &floors).is_empty());
        sources.extend(one("src/near/b.rs", "use crate::{low::B};"));
        assert_eq!(circles(&sources, &floors).len(), 2);
    }

    #[test]
    fn of_tables_can_fail() {
        let drawn = floors(DRAWING);
        let rows = "| 2 | server |\n//! | 1 | [`low`] | x |\n| 1 | near |\n| 0 | system |\n";
        assert_eq!(floors_of_rows(rows), drawn);
        assert_ne!(
            floors_of_rows(&rows.replace("| 1 | near", "| 2 | near")),
            drawn
        );
    }

    #[test]
    fn of_connections_can_fail() {
        let text = "fn f(c: &mut Client) { c.connection_mut().drop_input(); }";
        for (name, faults) in [
            ("src/commands/keys/mod.rs", 1),
            ("src/engine/script.rs", 1),
            ("src/server/input.rs", 0),
            ("src/commands/client/tests.rs", 0),
        ] {
            assert_eq!(connection_changes(&one(name, text)).len(), faults, "{name}");
        }
        let text = "fn f(c: &Client) { c.connection().fd(); }\n#[cfg(test)]\nmod tests { fn g() { connection_mut(); } }";
        assert!(connection_changes(&one("src/commands/a.rs", text)).is_empty());
    }

    #[test]
    fn of_the_seam_can_fail() {
        let found = |name: &str, text: &str| {
            let found = past_the_seam(&one(name, text));
            let kinds: Vec<_> = found.into_iter().map(|(_, what)| what).collect();
            kinds.join(" ")
        };
        for (text, what) in [
            ("fn f() { std::fs::read(path); }", "files"),
            ("use std::fs;", "files"),
            ("use std::{io, fs::{self, File}};", "files"),
            ("use std::{\n    fs,\n    io,\n};", "files"),
            ("use std::time::{Duration, Instant};", "time"),
            ("fn f() { std::time::SystemTime::now() }", "time"),
            ("fn f() { clock::monotonic_ns() }", "time"),
            ("use crate::system::clock::{unix_us};", "time"),
            ("fn f() { match child::fork() {} }", "processes"),
            ("use std::process::Command;", "processes"),
            ("use std::{process::{Command, exit}};", "processes"),
            ("use std::{thread, time::Duration};", "threads"),
            ("use std::net::{IpAddr, TcpStream};", "sockets"),
            ("use std::{fs, time::Instant};", "files time"),
        ] {
            assert_eq!(found("src/engine/a.rs", text), what, "{text}");
            assert_eq!(found("src/system/a.rs", text), "", "{text}");
            assert_eq!(found("src/engine/tests.rs", text), "", "{text}");
        }
        for good in [
            "use std::{io, time::Duration};",
            "use std::os::unix::fs::PermissionsExt;",
            "// std::fs::read, Instant::now\nlet a = \"std::fs\";",
            "fn f() { state.persistence.disk.rename(a, b); forks() }",
            "#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
        ] {
            assert_eq!(found("src/engine/a.rs", good), "", "{good}");
        }
    }

    #[test]
    fn of_owners_can_fail() {
        let text = "`src/a/*` and `src/b.rs`";
        for (name, faults) in [("src/a/b/c.rs", 0), ("src/b.rs", 0), ("src/c.rs", 1)] {
            assert_eq!(owners(&one(name, ""), text).len(), faults, "{name}");
        }
    }

    #[test]
    fn of_commands_can_fail() {
        let names = ["get".to_owned(), "config get".to_owned()];
        let missing = |text: &str| unnamed_commands(&names, &one("tests/a.rs", text)).len();
        for (text, count) in [
            ("f(\"GET x\"); f(\"CONFIG GET x\")", 0),
            ("f(&[\"get\"]); f(&[b\"config\",\n    b\"get\"])", 0),
            ("f(\"GETEX x\"); f(\"CONFIG GETS x\")", 2),
            ("// \"GET x\"\n/// \"CONFIG GET\"", 2),
            ("f(\"CONFIG\"); f(\"GET\")", 1),
        ] {
            assert_eq!(missing(text), count, "{text}");
        }
        assert_eq!(
            unnamed_commands(&names, &one("src/a.rs", "f(\"GET\")")).len(),
            2
        );
    }

    #[test]
    fn of_sizes_can_fail() {
        let lines = |count: usize| "    a();\n".repeat(count);
        assert!(long_files(&one("src/a.rs", &lines(FILE_LINES_MAX))).is_empty());
        assert_eq!(
            long_files(&one("src/a.rs", &lines(FILE_LINES_MAX + 1))).len(),
            1
        );
        assert!(long_files(&one("src/a/tests.rs", &lines(FILE_LINES_MAX + 1))).is_empty());
        let function = |count: usize| {
            format!(
                "trait A {{ fn a(); }}\n{}impl<T> B {{\npub fn b(c: [u8; 2]) -> D {{\n{}}}\n}}\n",
                lines(200),
                lines(count)
            )
        };
        assert!(long_functions(&one("src/a.rs", &function(FUNCTION_LINES_MAX - 2))).is_empty());
        let long = long_functions(&one("src/a.rs", &function(FUNCTION_LINES_MAX - 1)));
        assert_eq!(
            long,
            [(
                "src/a.rs".to_owned(),
                "b".to_owned(),
                FUNCTION_LINES_MAX + 1
            )]
        );
        let mut sources = one("src/commands/a.rs", "a\nb\n#[cfg(test)]\nmod tests {\n}\n");
        sources.extend(one("src/commands/tests.rs", "a\n"));
        assert_eq!(lines_of_commands(&sources), 2);
        let (a, b) = (vec!["a", "b"], vec!["b", "c"]);
        assert_eq!(compared(a.clone(), b, "is long").len(), 2);
        assert!(compared(a.clone(), a, "is long").is_empty());
    }

    #[test]
    fn of_public_items_can_fail() {
        let faults = |own: &str, other: &str| {
            let sources = [Source::new("src/a.rs", own), Source::new("src/b.rs", other)];
            too_public(&sources)
                .into_iter()
                .map(|(_, name, _)| name)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let own = "pub fn used() { own(); }\npub(super) fn own() {}\npub const fn tested() {}\n#[cfg(test)]\nmod tests {\n}\n";
        let other = "fn f() { used() }\n#[cfg(test)]\nmod tests {\n    fn g() { tested() }\n}\n";
        assert_eq!(faults(own, other), "own tested");
        assert_eq!(faults(own, "fn f() { used(); own(); tested() }"), "");
        assert_eq!(faults("#[cfg(test)]\npub fn a() {}\nfn b() {}\n", ""), "");
        assert_eq!(
            faults(
                "mod op {\n    pub const A: u8 = 1;\n}\nfn b() { op::A }\n",
                ""
            ),
            ""
        );
        assert_eq!(faults("pub const A: u8 = 1;\nfn b() { A }\n", "// A"), "A");
    }
}
