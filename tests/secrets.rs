//! Passwords are given to a server in every way there is, and looked for wherever it shows or writes anything.

mod common;
#[path = "common/memory.rs"]
mod memory;

use common::{Raw, Server, text, wait_for};
use memory::has_in_memory;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Passwords that are given, each in a way of its own, so that the one that is found tells by which way it came.
struct Plant {
    server: Server,
    http_port: u16,
    ways: BTreeMap<String, String>,
}

impl Plant {
    /// A password for this way.
    fn secret(&mut self, way: &str) -> String {
        let secret = format!("hunter2x{:03}q", self.ways.len());
        self.ways.insert(secret.clone(), way.to_owned());
        secret
    }

    /// Sends a command whose `PW` is a password: as an array and as a line, whole and in pieces, in lower case too.
    fn give(&mut self, line: &str) {
        for lower in [false, true] {
            for inline in [false, true] {
                for pieces in [1, 3, 50] {
                    let way = format!("{line} lower={lower} inline={inline} pieces={pieces}");
                    let secret = self.secret(&way);
                    self.send(line, &secret, lower, inline, pieces);
                }
            }
        }
    }

    fn send(&mut self, line: &str, secret: &str, lower: bool, inline: bool, pieces: usize) {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| {
                if lower {
                    word.to_ascii_lowercase()
                } else {
                    word.to_owned()
                }
            })
            .map(|word| word.replace("PW", secret).replace("pw", secret))
            .collect();
        let bytes = match inline {
            true => format!("{}\r\n", words.join(" ")),
            false => {
                let bulks = words
                    .iter()
                    .map(|word| format!("${}\r\n{word}\r\n", word.len()));
                format!("*{}\r\n{}", words.len(), bulks.collect::<String>())
            }
        };
        let mut raw = self.raw();
        let size = bytes.len().div_ceil(pieces);
        for piece in bytes.as_bytes().chunks(size) {
            raw.send(piece);
            if pieces > 1 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        // Whatever it answers.
        raw.try_read();
    }

    fn raw(&self) -> Raw {
        self.server.raw()
    }

    /// All bytes of an answer, however it is nested.
    fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port)).expect("a connection");
        let asked = format!("{line}\r\nECHO the-end-of-it\r\n");
        stream.write_all(asked.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        while !answer.ends_with(b"the-end-of-it\r\n") {
            let mut part = [0; 65536];
            let len = stream.read(&mut part).expect("an answer");
            assert!(len > 0, "{line} is answered");
            answer.extend_from_slice(&part[..len]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// None of the passwords is in these bytes.
    fn assert_none_in(&self, place: &str, bytes: &[u8]) {
        let shown = String::from_utf8_lossy(bytes);
        for (secret, way) in &self.ways {
            if let Some(at) = shown.find(secret.as_str()) {
                let begin = shown[..at].rfind('\n').map_or(0, |it| it + 1);
                let end = shown[at..].find('\n').map_or(shown.len(), |it| at + it);
                panic!("{place} shows what came by {way}: {}", &shown[begin..end]);
            }
        }
    }

    fn http(&self, path: &str, authorization: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port)).expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        answer
    }
}

/// Commands with a password, right and wrong, spelled as they would be.
const LINES: &[&str] = &[
    "AUTH PW",
    "AUTH default PW",
    "AUTH default PW more",
    "AUTH",
    "HELLO 3 AUTH default PW",
    "HELLO 3 AUTH default PW SETNAME me",
    "HELLO 3 SETNAME me AUTH nobody PW",
    "HELLO 7 AUTH default PW",
    "HELLO x AUTH default PW",
    "HELLO 3 AUTH PW",
    "HELLO 3 AUTH default PW NOSUCH",
    "CONFIG SET requirepass PW more",
    "CONFIG SET masterauth PW",
    "CONFIG SET masterauth PW port x",
    "CONFIG SET port x masterauth PW",
    "CONFIG SET tls-key-file-pass PW",
    "CONFIG SET tls-client-key-file-pass PW",
    "CONFIG SET tls-alt-key-file-pass PW",
    "CONFIG SET requirepas PW",
    "ACL SETUSER ann on >PW",
    "ACL SETUSER ann <PW",
    "ACL SETUSER ann #PW",
    "ACL SETUSER ann !PW",
    "ACL SETUSER ann >PW +nosuch",
    "ACL SETROLE reader >PW",
    "ACL DRYRUN default AUTH PW",
    "COMMAND GETKEYS MIGRATE 127.0.0.1 1 key 0 100 AUTH PW",
    "MIGRATE 127.0.0.1 1 key 0 100 AUTH PW",
    "MIGRATE 127.0.0.1 1 key 0 100 COPY AUTH2 default PW",
    "MIGRATE 127.0.0.1 1 key 0 100 NOSUCH AUTH PW",
    "MIGRATE 127.0.0.1 1 key 0 x AUTH2 default PW KEYS a",
    "MIGRATE 127.0.0.1 1 key 0 AUTH PW",
];

fn start() -> Plant {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let http_port = free.local_addr().expect("its address").port();
    drop(free);
    let server = Server::with(&[
        "--slowlog-log-slower-than",
        "0",
        "--slowlog-max-len",
        "100000",
        "--loglevel",
        "debug",
        "--appendonly",
        "yes",
        "--enable-debug-command",
        "yes",
        "--record",
        "recording",
        "--http-port",
        &http_port.to_string(),
        "--rename-command",
        "LOLWUT",
        "lolwut2",
    ]);
    Plant {
        server,
        http_port,
        ways: BTreeMap::new(),
    }
}

fn give_all(plant: &mut Plant) {
    plant.raw().line("SET key value");
    for line in LINES {
        plant.give(line);
    }
    // Of a transaction, queued and run.
    for line in LINES.iter().filter(|line| {
        line.starts_with("AUTH ") || line.contains("SET") || line.starts_with("MIGRATE")
    }) {
        let secret = plant.secret(&format!("MULTI {line}"));
        let mut raw = plant.raw();
        raw.line("MULTI");
        raw.line(&line.replace("PW", &secret));
        raw.line("EXEC");
    }
    // Of a script that puts it together itself: where it stands in the script's text, nothing can tell that it is one.
    let secret = plant.secret("EVAL");
    let (first, second) = secret.split_at(4);
    let script = format!(
        "local pw = '{first}' .. '{second}'; redis.pcall('AUTH', pw); redis.pcall('CONFIG', 'SET', 'masterauth', pw); \
         return redis.pcall('MIGRATE', '127.0.0.1', '1', KEYS[1], '0', '100', 'AUTH', pw)"
    );
    plant.raw().run(&["EVAL", &script, "1", "key"]);
    let bearer = plant.secret("Bearer");
    plant.http("/metrics", &format!("Authorization: Bearer {bearer}\r\n"));
}

#[test]
fn no_password_is_seen_anywhere() {
    let mut plant = start();
    let mut monitor = plant.raw();
    monitor.line("MONITOR");
    give_all(&mut plant);
    plant.raw().line("ECHO the-last-one");
    let mut monitored = String::new();
    while !monitored.contains("the-last-one") {
        monitored += &text(monitor.read());
        monitored.push('\n');
    }
    plant.assert_none_in("MONITOR", monitored.as_bytes());
    for part in [
        "\"AUTH\" \"(redacted)\"",
        "lua] \"MIGRATE\"",
        "\"hello\" \"3\" \"auth\" \"(redacted)\" \"(redacted)\" \"setname\"",
    ] {
        assert!(monitored.contains(part), "{part} is shown");
    }
    for line in [
        "SLOWLOG GET -1",
        "INFO everything",
        "CLIENT LIST",
        "ACL LOG 1000",
        "COMMAND LIST",
        "LATENCY DOCTOR",
        "LOOP SLOWEST 100",
        "LOOP DOCTOR",
        "LOOP TRACE",
        "LOOP CLIENTS",
        "LOOP HELP",
        "MEMORY DOCTOR",
        "CONFIG GET requirepass",
        "ACL LIST",
    ] {
        let answer = plant.ask(line);
        plant.assert_none_in(line, answer.as_bytes());
    }
    assert!(plant.ask("SLOWLOG GET -1").contains("(redacted)"));
    for path in ["/", "/metrics", "/trace"] {
        let answer = plant.http(path, "");
        assert!(answer.len() > 100, "{path}");
        plant.assert_none_in(path, &answer);
    }
    let proc = format!("/proc/{}", plant.server.pid());
    for file in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("{proc}/{file}")).expect("what ps shows");
        plant.assert_none_in(file, &bytes);
    }
    // The end of the recording, and the report of a crash.
    let mut raw = plant.raw();
    raw.send(b"DEBUG SEGFAULT\r\n");
    wait_for("the crash", || {
        plant.server.log().contains("BUG REPORT END")
    });
    assert_ne!(plant.server.wait(), Some(0));
    let mut files = 0;
    for entry in walk(plant.server.dir.path()) {
        let bytes = std::fs::read(&entry).expect("a file");
        plant.assert_none_in(&entry.display().to_string(), &bytes);
        files += 1;
    }
    assert!(
        files >= 4,
        "the log, the recording and the append-only file are there"
    );
    plant.assert_none_in("the log", plant.server.log().as_bytes());
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}

/// Passwords that were set once and taken away stayed where the old values had been.
#[test]
#[cfg_attr(
    feature = "sanitizer",
    ignore = "AddressSanitizer maps more memory than can be read, and keeps what was freed"
)]
fn passwords_that_are_none_any_more_leave_the_memory() {
    let server = Server::start();
    let mut raw = server.raw();
    for (index, line) in [
        "CONFIG SET masterauth PW",
        "CONFIG SET requirepass PW",
        "CONFIG SET tls-key-file-pass PW",
        "CONFIG SET masterauth PW port x",
        "AUTH PW",
        "AUTH a PW more",
        "ACL SETUSER ann on >PW",
        // Not one that the answer shows, as Redis's does: ACL SETUSER with a rule that is refused.
    ]
    .iter()
    .enumerate()
    {
        let secret = format!("hunter2-{index}-of-memory");
        raw.line(&line.replace("PW", &secret));
        raw.line("CONFIG SET masterauth \"\" requirepass \"\" tls-key-file-pass \"\"");
        assert!(!has_in_memory(server.pid(), secret.as_bytes()), "{line}");
    }
    raw.line("CONFIG SET masterauth one-that-stays");
    assert!(
        has_in_memory(server.pid(), b"one-that-stays"),
        "it is looked for in vain"
    );
}

/// A command with a password keeps it wherever it is called by another name.
#[test]
fn renamed_commands_hide_their_passwords_too() {
    let server = Server::with(&[
        "--rename-command",
        "AUTH",
        "enter",
        "--rename-command",
        "ACL",
        "rules",
        "--slowlog-log-slower-than",
        "0",
        "--record",
        "recording",
    ]);
    let mut plant = Plant {
        server,
        http_port: 0,
        ways: BTreeMap::new(),
    };
    let mut monitor = plant.raw();
    monitor.line("MONITOR");
    for line in ["enter PW", "enter default PW", "rules SETUSER ann on >PW"] {
        plant.give(line);
    }
    plant.raw().line("ECHO the-last-one");
    let mut monitored = String::new();
    while !monitored.contains("the-last-one") {
        monitored += &text(monitor.read());
    }
    plant.assert_none_in("MONITOR", monitored.as_bytes());
    plant.assert_none_in("SLOWLOG", plant.ask("SLOWLOG GET -1").as_bytes());
    plant.server.kill();
    for entry in walk(plant.server.dir.path()) {
        let bytes = std::fs::read(&entry).expect("a file");
        plant.assert_none_in(&entry.display().to_string(), &bytes);
    }
}

/// The temporary file of CONFIG REWRITE is never open to others, and the new file is what the old one was.
#[test]
fn rewritten_files_stay_private() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    let conf = server.dir.path().join("own.conf");
    std::fs::write(&conf, "requirepass a-password-of-some-length\n").expect("a file");
    std::fs::set_permissions(&conf, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_gyre"))
        .current_dir(server.dir.path())
        .args([conf.to_str().expect("text"), "--port", &port.to_string()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("a server");
    let mut stream = None;
    wait_for("the server", || {
        stream = TcpStream::connect(("127.0.0.1", port)).ok();
        stream.is_some()
    });
    let mut raw = Raw::over(stream.expect("a connection"));
    assert_eq!(text(raw.line("AUTH a-password-of-some-length")), "OK");
    assert_eq!(text(raw.line("CONFIG REWRITE")), "OK");
    let about = std::fs::metadata(&conf).expect("the file");
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    let title = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("what ps shows");
    assert!(!String::from_utf8_lossy(&title).contains("a-password-of"));
    child.kill().expect("it runs");
    child.wait().expect("its end");
}
