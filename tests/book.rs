//! The book, docs/book: its programs run, its links lead somewhere, its chapters have their parts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long we listen to be sure that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);
/// Words that are read in ten minutes.
const MOST_WORDS: usize = 1800;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

// ---- the programs ------------------------------------------------------------------------------------------------

/// Where cargo puts examples: beside the folder of this test.
fn examples_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("target/…/deps/book");
    profile.join("examples")
}

/// `cargo test` builds the examples; `cargo test --test book` does not, so they are built here when they are missing
/// or older than their source.
fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let binary = examples_dir().join(name);
    let source = root().join(format!("docs/book/examples/{name}.rs"));
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    if time(&binary).is_none_or(|built| time(&source).is_some_and(|written| written > built)) {
        BUILT.get_or_init(build_examples);
    }
    binary
}

fn build_examples() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--examples"])
        .current_dir(root());
    let dir = examples_dir();
    let folder = |n: usize| {
        let path = dir.ancestors().nth(n);
        path.and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
    };
    if folder(1).as_deref() == Some("release") {
        cargo.arg("--release");
    }
    // target/x86_64-unknown-linux-gnu/debug/examples: built with `--target`.
    if let Some(target) = folder(2).filter(|name| name.matches('-').count() >= 2) {
        cargo.args(["--target", &target]);
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the examples do not build");
}

/// A running program of the book; killed on drop.
struct Example {
    child: Child,
    port: u16,
}

impl Example {
    fn start(name: &str, args: &[&str]) -> Example {
        let mut child = Command::new(program(name))
            .arg("0") // A free port; the program tells which.
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("its first line");
        // The rest is read as well, or the program would die of writing to a pipe that nobody holds.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let port = line.trim().rsplit(':').next().and_then(|p| p.parse().ok());
        Example {
            child,
            port: port.unwrap_or_else(|| panic!("{name} said {line:?}")),
        }
    }

    fn connect(&self) -> Peer {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Peer(stream)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Peer(TcpStream);

impl Peer {
    fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Peer {
        self.0.write_all(bytes.as_ref()).expect("it takes bytes");
        self
    }

    /// The next bytes must be these.
    #[track_caller]
    fn expect(&mut self, text: &str) -> &mut Peer {
        let mut got = vec![0; text.len()];
        self.0.read_exact(&mut got).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&got), text);
        self
    }

    /// For a while, nothing comes.
    #[track_caller]
    fn expect_silence(&mut self) -> &mut Peer {
        self.0.set_read_timeout(Some(SILENCE)).expect("a timeout");
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            other => panic!("not silence but {other:?} {byte:?}"),
        }
        self.0.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        self
    }

    /// It was closed, or reset.
    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ),
                "{error}"
            ),
        }
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") {
            self.0.read_exact(&mut byte).expect("a line");
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// Sends it byte by byte, so that most arrive alone.
    fn send_split(&mut self, bytes: &[u8]) -> &mut Peer {
        for byte in bytes {
            self.send([*byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        self
    }
}

/// What every echo server must do: split bytes, large ones with a slow reader, an end, a newcomer after it.
fn echoes(example: &Example) {
    let mut peer = example.connect();
    peer.send("hello").expect("hello");
    peer.send_split(b"split bytes").expect("split bytes");
    slow_reader(example.connect(), 3_000_000);
    drop(peer);
    example.connect().send("again").expect("again");
}

/// Sends more than all buffers between us hold, and begins to read only after a while.
fn slow_reader(peer: Peer, len: usize) {
    let sent: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    let mut writer = peer.0.try_clone().expect("a second handle");
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&bytes));
    std::thread::sleep(SILENCE);
    let mut reader = peer.0;
    let mut got = vec![0; len];
    reader.read_exact(&mut got).expect("all of it");
    assert!(got == sent, "other bytes came back");
    writing.join().expect("the writer").expect("written");
}

#[test]
fn one_blocking_client_keeps_the_next_one_waiting() {
    let example = Example::start("blocking_echo", &[]);
    let mut first = example.connect();
    first.send("one").expect("one");
    let mut second = example.connect();
    second.send("two").expect_silence();
    drop(first);
    second.expect("two");
    drop(second);
    echoes_alone(&example);
}

/// As `echoes`, for a server that serves one at a time.
fn echoes_alone(example: &Example) {
    example.connect().send_split(b"split").expect("split");
    slow_reader(example.connect(), 3_000_000);
}

#[test]
fn threads_serve_clients_side_by_side() {
    let example = Example::start("threaded_echo", &[]);
    let mut first = example.connect();
    first.send("one").expect("one");
    example.connect().send("two").expect("two");
    echoes(&example);
    first.send("still here").expect("still here");
}

#[test]
fn a_busy_loop_serves_everybody() {
    let example = Example::start("busy_echo", &[]);
    let mut idle = example.connect();
    echoes(&example);
    idle.send("late").expect("late");
}

#[test]
fn a_loop_on_readiness_serves_everybody() {
    let example = Example::start("poll_echo", &[]);
    let mut idle = example.connect();
    echoes(&example);
    idle.send("late").expect("late");
}

#[test]
fn who_reads_once_per_edge_loses_the_rest() {
    let example = Example::start("edge_echo", &["once"]);
    let mut peer = example.connect();
    // The edge of the connection itself ("writable") must be spent first, or it may serve as one more.
    peer.send("x").expect("x").expect_silence();
    peer.send("0123456789abcdefghijklmnopqrstuvwxyz");
    peer.expect("0123456789abcdef").expect_silence();
    // A new byte is a new edge: one read more, and again the rest lies there.
    peer.send("!")
        .expect("ghijklmnopqrstuv")
        .expect_silence()
        .send("?")
        .expect("wxyz!?");
}

#[test]
fn who_drains_or_carries_loses_nothing() {
    for mode in ["drain", "carry"] {
        let example = Example::start("edge_echo", &[mode]);
        let mut peer = example.connect();
        let text = "0123456789".repeat(100);
        peer.send(&text).expect(&text);
        peer.send_split(b"split").expect("split");
        // Bounded reads of 16 bytes make many turns: a smaller piece than elsewhere.
        slow_reader(example.connect(), 500_000);
        peer.send("late").expect("late");
    }
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let example = Example::start("resp_parser", &[]);
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n";
    let mut peer = example.connect();
    peer.send(set).expect("+3 arguments in 1 reads\r\n");
    peer.send_split(set);
    let line = peer.line();
    assert!(line.starts_with("+3 arguments in "), "{line}");
    // Two and a half in one piece: the half waits for its other half.
    let mut many = [&set[..], &set[..], &set[..10]].concat();
    peer.send(&many)
        .expect("+3 arguments in 1 reads\r\n+3 arguments in 1 reads\r\n")
        .expect_silence();
    many = set[10..].to_vec();
    peer.send(&many).expect("+3 arguments in 2 reads\r\n");
}

#[test]
fn what_is_not_the_protocol_is_answered_and_closed() {
    let example = Example::start("resp_parser", &[]);
    for (bytes, words) in [
        ("hello\r\n", "expected '*' or '$'"),
        ("*1\r\n+1\r\n", "expected '*' or '$'"),
        ("*x\r\n", "expected a number"),
        ("*-1\r\n", "expected a number"),
        ("*1025\r\n", "too large a number"),
        ("*1\r\n$99999999\r\n", "too large a number"),
        ("*11111111111111111111111111111111111111", "too long a line"),
        ("*1\n", "expected \\r\\n"),
        ("*1\r\n$1\r\nabc", "expected the end of the argument"),
    ] {
        let mut peer = example.connect();
        peer.send(bytes);
        assert_eq!(peer.line(), format!("-ERR Protocol error: {words}"));
        peer.expect_end();
    }
}

fn held(example: &Example) -> usize {
    let mut peer = example.connect();
    peer.send("held\n");
    peer.line().parse().expect("a number")
}

/// What is held, as soon as it is more than this.
#[track_caller]
fn held_above(example: &Example, least: usize) -> usize {
    let begin = Instant::now();
    loop {
        let now = held(example);
        if now > least {
            return now;
        }
        assert!(begin.elapsed() < PATIENCE, "only {now} bytes are held");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_does_not_read_is_not_read_from() {
    let example = Example::start("backpressure", &["wait"]);
    let mut greedy = example.connect();
    for _ in 0..100 {
        greedy.send("get 1000000\n");
    }
    held_above(&example, 0);
    std::thread::sleep(SILENCE);
    let now = held(&example);
    assert!(now < 256 * 1024 + 1_000_001, "{now} bytes are held");
    // All of it comes when it is read.
    let mut bytes = vec![0; 100 * 1_000_001];
    greedy.0.read_exact(&mut bytes).expect("all of it");
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 100);
    greedy.send_split(b"get 3\n").expect("xxx\n");
    let mut half = example.connect();
    half.send("get 900000\n");
    half.0.shutdown(Shutdown::Write).expect("half an end");
    half.expect(&"x".repeat(900_000)).expect("\n").expect_end();
    greedy.send("get 1048577\nhello\n").expect("what?\nwhat?\n");
}

#[test]
fn who_lets_too_much_wait_is_cut_off() {
    let example = Example::start("backpressure", &["cut"]);
    let mut greedy = example.connect();
    let mut modest = example.connect();
    let _ = greedy.0.write_all("get 1000000\n".repeat(100).as_bytes());
    modest.send("get 2\n").expect("xx\n");
    greedy.expect_end();
    assert_eq!(held(&example), 0);
    modest.send("get 2\n").expect("xx\n");
}

#[test]
fn without_a_rule_the_memory_goes_to_whoever_asks() {
    let example = Example::start("backpressure", &["none"]);
    let mut greedy = example.connect();
    greedy.send("get 1000000\n".repeat(40));
    held_above(&example, 20_000_000);
}

#[test]
fn timers_come_in_order_and_in_time() {
    let example = Example::start("timers", &[]);
    let begin = Instant::now();
    let mut peer = example.connect();
    let mut other = example.connect();
    peer.send("1000 third\n100 first\n200 sec")
        .send_split(b"ond\n");
    other.send("0 now\n").expect("now\n");
    peer.expect("first\nsecond\nthird\n");
    assert!(begin.elapsed() >= Duration::from_millis(1000));
    peer.send("soon\n999999999999 never\n").expect("no\nno\n");
    // The timer of one who has left reaches nobody.
    other.send("50 lost\n");
    other.0.shutdown(Shutdown::Both).expect("an end");
    drop(other);
    example.connect().expect_silence();
    peer.send("0 here\n").expect("here\n");
    // One who has ended its side gets what it is owed, and then the end.
    let mut half = example.connect();
    half.send("50 late\n");
    half.0.shutdown(Shutdown::Write).expect("half an end");
    half.expect("late\n").expect_end();
}

#[test]
fn a_helper_thread_does_not_hold_the_loop_up() {
    let example = Example::start("waker", &[]);
    let mut peer = example.connect();
    peer.send("primes 300000\nping\n");
    peer.expect("pong\n25997 primes below 300000\n");
    peer.send_split(b"primes 10\n")
        .expect("4 primes below 10\n");
    // One who leaves before the answer is there harms nobody.
    example.connect().send("primes 100000\n");
    peer.send("primes 100\n").expect("25 primes below 100\n");
    let mut half = example.connect();
    half.send("primes 20000\nping\n");
    half.0.shutdown(Shutdown::Write).expect("half an end");
    half.expect("pong\n2262 primes below 20000\n").expect_end();
    peer.send("primes\nprimes 99999999999\n")
        .expect("what?\nwhat?\n");
}

#[test]
fn the_queue_to_a_helper_has_an_end() {
    let example = Example::start("waker", &[]);
    let mut peer = example.connect();
    peer.send("primes 300000\n".repeat(100));
    assert_eq!(peer.line(), "busy");
    peer.send("ping\n");
}

fn multibulk(words: &[&str]) -> String {
    let arguments = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), arguments.collect::<String>())
}

#[test]
fn the_tiny_server_speaks_to_a_real_client() {
    let example = Example::start("tiny_kv", &[]);
    let client =
        redis::Client::open(format!("redis://127.0.0.1:{}", example.port)).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let ask = |connection: &mut redis::Connection, words: &[&str]| -> redis::Value {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.query(connection).expect("an answer")
    };
    use redis::Value;
    let value = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    assert_eq!(
        ask(&mut connection, &["PING"]),
        Value::SimpleString("PONG".into())
    );
    assert_eq!(ask(&mut connection, &["SET", "k", "v"]), Value::Okay);
    assert_eq!(ask(&mut connection, &["GET", "k"]), value("v"));
    assert_eq!(ask(&mut connection, &["del", "k", "none"]), Value::Int(1));
    assert_eq!(ask(&mut connection, &["GET", "k"]), Value::Nil);
}

#[test]
fn the_tiny_server_takes_pieces_pipelines_and_slow_readers() {
    let example = Example::start("tiny_kv", &[]);
    let mut peer = example.connect();
    peer.send_split(multibulk(&["SET", "split", "a\r\nb"]).as_bytes())
        .expect("+OK\r\n");
    peer.send(multibulk(&["GET", "split"]).repeat(3))
        .expect(&"$4\r\na\r\nb\r\n".repeat(3));
    let big = "x".repeat(100_000);
    peer.send(multibulk(&["SET", "big", &big]))
        .expect("+OK\r\n");
    // 30 MB of answers that nobody reads for a while; others are served meanwhile.
    let mut slow = example.connect();
    slow.send(multibulk(&["GET", "big"]).repeat(300));
    std::thread::sleep(SILENCE);
    peer.send(multibulk(&["PING"])).expect("+PONG\r\n");
    let answer = format!("$100000\r\n{big}\r\n");
    for _ in 0..300 {
        slow.expect(&answer);
    }
    slow.send(multibulk(&["DEL", "big"])).expect(":1\r\n");
    slow.send(multibulk(&["NONSENSE"]))
        .expect("-ERR unknown command or wrong arguments\r\n");
    slow.send("?")
        .expect("-ERR Protocol error\r\n")
        .expect_end();
    peer.send("*1\r\n$4\r\nPING\r\n*99999\r\n")
        .expect("+PONG\r\n-ERR Protocol error: invalid length\r\n")
        .expect_end();
}

// ---- the text ----------------------------------------------------------------------------------------------------

fn pages() -> Vec<(String, String)> {
    pages_in("docs/book")
}

fn pages_in(dir: &str) -> Vec<(String, String)> {
    let mut pages: Vec<(String, String)> = fs::read_dir(root().join(dir))
        .expect("a readable folder")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|ext| ext == "md"))
        .map(|entry| {
            let text = fs::read_to_string(entry.path()).expect("a readable page");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    pages.sort();
    pages
}

fn chapters() -> Vec<(String, String)> {
    let mut chapters = pages();
    chapters.retain(|(name, _)| name != "README.md");
    chapters
}

/// The links of a page: text and target. Those to other sites and within the page are left out.
fn links(text: &str) -> Vec<(&str, &str)> {
    let mut links = Vec::new();
    let mut rest = text;
    while let Some(middle) = rest.find("](") {
        let before = &rest[..middle];
        let after = &rest[middle + 2..];
        let (Some(open), Some(close)) = (before.rfind('['), after.find(')')) else {
            break;
        };
        let target = &after[..close];
        if !target.contains("://") && !target.starts_with('#') {
            links.push((&before[open + 1..], target));
        }
        rest = &after[close..];
    }
    links
}

/// Whether a source defines this: a type, a function, a constant, or with `Type::name` a part of a type.
fn defines(source: &str, item: &str) -> bool {
    let item = item.trim_end_matches("()");
    let (owner, name) = match item.rsplit_once("::") {
        Some((owner, name)) => (Some(owner), name),
        None => (None, item),
    };
    let word_after = |line: &str, word: &str| {
        line.split(word).skip(1).any(|rest| {
            rest.strip_prefix(name)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    };
    let declared = |line: &str| {
        [
            "fn ", "struct ", "enum ", "trait ", "const ", "static ", "type ", "mod ",
        ]
        .iter()
        .any(|keyword| word_after(line, keyword))
    };
    // A variant or a field: the first word of its line.
    let is_part = |line: &str| {
        let line = line.trim_start().trim_start_matches("pub ");
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([',', ':', '(', ' ']))
    };
    let code = || {
        source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
    };
    match owner {
        None => code().any(declared),
        Some(owner) => {
            let owner = owner.rsplit("::").next().unwrap_or(owner);
            let is_there = code().any(|line| {
                line.contains(owner)
                    && ["struct ", "enum ", "trait ", "impl", "mod "]
                        .iter()
                        .any(|keyword| line.contains(keyword))
            });
            is_there && (code().any(declared) || code().any(is_part))
        }
    }
}

/// What is wrong with the links of pages in a folder, and how many were held against a source.
fn wrong_links(dir: &str, pages: &[(String, String)]) -> (Vec<String>, usize) {
    let dir = root().join(dir);
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (page, text) in pages {
        for (words, target) in links(text) {
            let target = target.split('#').next().unwrap_or(target);
            let path = dir.join(target);
            if !path.exists() {
                wrong.push(format!("{page}: {target} is not there"));
                continue;
            }
            // `[`EventLoop::turn`](../../src/event_loop/mod.rs)`: the file must define it.
            let item = words.strip_prefix('`').and_then(|it| it.strip_suffix('`'));
            let names_a_file = item.is_some_and(|item| item.contains(['/', '.']));
            if let (Some(item), Some("rs")) = (item, path.extension().and_then(|it| it.to_str()))
                && !names_a_file
            {
                checked += 1;
                let source = fs::read_to_string(&path).expect("a readable source");
                if !defines(&source, item) {
                    wrong.push(format!("{page}: {target} does not define {item}"));
                }
            }
        }
    }
    (wrong, checked)
}

#[test]
fn links_lead_to_what_they_name() {
    for (dir, least) in [("docs/book", 1), ("docs", 40)] {
        let (wrong, checked) = wrong_links(dir, &pages_in(dir));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(checked >= least, "{dir}: {checked} links were checked");
    }
}

/// The numbers of the items of a list.
fn numbers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let number = |line: &str| line.split_once(". ")?.0.parse().ok();
    lines.filter_map(number).collect()
}

#[test]
fn the_chapter_on_the_loop_lists_the_steps_before_sleep() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a readable file");
    let (turn, chapter) = (read("src/server/turn.rs"), read("docs/event-loop.md"));
    let steps = turn.split("fn before_sleep").nth(1).unwrap_or("");
    let comments = steps
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("// "));
    let steps = numbers(comments);
    let section = chapter.split("\n## ").find(|it| it.starts_with("7. "));
    let listed = numbers(section.unwrap_or("").lines().skip(1));
    assert!(steps.len() > 10, "{steps:?}");
    assert_eq!(listed, steps);
}

#[test]
fn the_check_of_links_can_fail() {
    let source = "pub struct Loop {\n    /// Doc.\n    ready: Vec<u8>,\n}\nimpl Loop {\n    pub fn turn(&self) {}\n}\n\
                  const MOST: u8 = 1;\nenum Kind {\n    One,\n}\n// fn gone() {}\n";
    for item in [
        "Loop",
        "Loop::turn",
        "Loop::ready",
        "MOST",
        "Kind::One",
        "turn()",
    ] {
        assert!(defines(source, item), "{item}");
    }
    for item in [
        "Loops",
        "Loop::turns",
        "gone",
        "Kind::Two",
        "Other::turn",
        "tur",
    ] {
        assert!(!defines(source, item), "{item}");
    }
    let page = "see [`a`](b.rs), [c](https://example.org) and [d](#e) and [f](g.md#h)";
    assert_eq!(links(page), [("`a`", "b.rs"), ("f", "g.md#h")]);
    let page =
        "[`turn`](../src/event_loop/mod.rs) [`no_such`](../src/event_loop/mod.rs) [a](no_such.md)";
    let (wrong, checked) = wrong_links("docs", &[("a.md".to_owned(), page.to_owned())]);
    assert_eq!((wrong.len(), checked), (2, 2), "{wrong:?}");
    assert_eq!(numbers("1. a\nb 2. c\n13. d".lines()), [1, 13]);
}

#[test]
fn chapters_have_their_parts_and_are_short() {
    let index = fs::read_to_string(root().join("docs/book/README.md")).expect("the index");
    let chapters = chapters();
    for (number, (name, text)) in chapters.iter().enumerate() {
        assert!(
            name.starts_with(&format!("{:02}-", number + 1)),
            "{name} is not chapter {}",
            number + 1
        );
        assert!(text.starts_with(&format!("# {}. ", number + 1)), "{name}");
        for part in [
            "## The idea",
            "## In this code",
            "## Experiment",
            "## Exercise",
        ] {
            assert!(
                text.contains(&format!("\n{part}\n")),
                "{name} has no {part}"
            );
        }
        assert!(text.contains("Hint"), "{name}'s exercise has no hint");
        let words = text.split_whitespace().count();
        assert!(words <= MOST_WORDS, "{name} has {words} words");
        assert!(
            index.contains(&format!("]({name})")),
            "{name} is not in the index"
        );
        if let Some((next, _)) = chapters.get(number + 1) {
            assert!(
                text.contains(&format!("]({next})")),
                "{name} does not lead on"
            );
        }
    }
}

#[test]
fn what_chapters_tell_to_run_is_there() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let mut shown = BTreeSet::new();
    for (page, text) in pages() {
        let words: Vec<&str> = text.split([' ', '\n', '`']).collect();
        for pair in words.windows(2) {
            match pair {
                ["--example", "NAME"] => {}
                ["--example", name] => {
                    assert!(
                        manifest.contains(&format!("name = \"{name}\"")),
                        "{page}: no example {name}"
                    );
                    shown.insert((*name).to_owned());
                }
                ["--test", name] => {
                    let file = root().join(format!("tests/{name}.rs"));
                    let folder = root().join(format!("tests/{name}/main.rs"));
                    assert!(file.exists() || folder.exists(), "{page}: no test {name}");
                }
                _ => {}
            }
        }
    }
    let dir = root().join("docs/book/examples");
    for entry in fs::read_dir(dir).expect("the examples").flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        assert!(shown.contains(&*name), "no chapter runs {name}");
        let text = fs::read_to_string(&path).expect("a readable example");
        assert!(text.starts_with("//!"), "{name} does not say what it is");
        assert!(text.lines().count() <= 260, "{name} is long");
    }
}
