//! Users, what they may do and what they may use, over sockets.

mod common;

use common::{Raw, Server, info, wait_for};
use gyre::resp::reader::Value;
use std::time::{Duration, Instant};

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn text_of(value: Value) -> String {
    match value {
        Value::Error(text) | Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?} is no text"),
    }
}

/// A connection that is this user.
fn client_of(server: &Server, user: &str) -> Raw {
    let mut client = server.raw();
    assert_eq!(client.line(&format!("AUTH {user} x")), ok());
    client
}

fn users_of(admin: &mut Raw) -> Vec<String> {
    match admin.line("ACL LIST") {
        Value::Array(lines) => lines.into_iter().map(text_of).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_that_changes_or_goes_takes_its_clients_along() {
    let server = Server::start();
    let mut admin = server.raw();
    admin.line("ACL SETUSER u on nopass ~* &* +@all");
    let (mut caller, mut listener) = (client_of(&server, "u"), client_of(&server, "u"));
    listener.line("SUBSCRIBE a");
    // A client that waits is asked again when there is something for it.
    let mut waiter = client_of(&server, "u");
    waiter.send(b"BLPOP l 0\r\n");
    wait_for("a client that waits", || {
        info(&mut admin, "blocked_clients") == "1"
    });
    assert_eq!(admin.line("ACL SETUSER u resetchannels &b -blpop"), ok());
    assert_eq!(listener.try_read(), None);
    assert_eq!(caller.line("PING"), Value::Simple("PONG".into()));
    admin.line("RPUSH l 1");
    let refused = text_of(waiter.read());
    assert_eq!(
        refused,
        "NOPERM User u has no permissions to run the 'blpop' command"
    );
    assert_eq!(admin.line("LLEN l"), Value::Integer(1));
    assert_eq!(admin.line("ACL DELUSER u"), Value::Integer(1));
    assert_eq!((caller.try_read(), waiter.try_read()), (None, None));
}

#[test]
fn users_outlive_the_server_in_the_configuration_or_in_a_file() {
    let mut server = Server::with(&["--requirepass", "admin"]);
    let mut admin = server.raw();
    admin.line("AUTH admin");
    admin.line("ACL SETUSER u on >secret ~a* +get (%R~b* +strlen)");
    let before = users_of(&mut admin);
    assert_eq!(before.len(), 2);
    // Started without a file there is nowhere to write them to.
    assert!(text_of(admin.line("CONFIG REWRITE")).starts_with("ERR"));
    let path = server.dir.path().join("users.acl");
    std::fs::write(&path, before.join("\n") + "\n").expect("a file");
    server.start_again_with(&["--aclfile", &path.display().to_string()]);
    let mut admin = server.raw();
    assert!(text_of(admin.line("GET a")).starts_with("NOAUTH"));
    admin.line("AUTH admin");
    assert_eq!(users_of(&mut admin), before);
    admin.line("ACL SETUSER v on");
    assert_eq!(admin.line("ACL SAVE"), ok());
    let saved = std::fs::read_to_string(&path).expect("the file");
    assert_eq!(saved.lines().count(), 3, "{saved}");
    assert!(!saved.contains("secret") && !saved.contains(">admin"));
    // What is wrong in a file changes nothing.
    std::fs::write(&path, format!("{saved}user w +nosuch\n")).expect("the file");
    let error = text_of(admin.line("ACL LOAD"));
    assert!(
        error.contains(":4: ") && error.contains("no change"),
        "{error}"
    );
    let names = admin.line("ACL USERS");
    std::fs::write(&path, saved.replace("user v", "user w")).expect("the file");
    assert_eq!(admin.line("ACL LOAD"), ok());
    assert_ne!(admin.line("ACL USERS"), names);
    assert_eq!(admin.line("ACL WHOAMI"), Value::bulk("default"));
}

/// A server that was started with a file.
struct OfFile(std::process::Child);

impl OfFile {
    fn start(path: &std::path::Path) -> (OfFile, Raw) {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_gyre"))
            .current_dir(path.parent().expect("a directory"))
            .arg(path)
            .args(["--port", &port.to_string()])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a server");
        let mut stream = None;
        wait_for("the server", || {
            stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok();
            stream.is_some() || child.try_wait().expect("its state").is_some()
        });
        let client = Raw::over(stream.expect("the server starts"));
        (OfFile(child), client)
    }
}

impl Drop for OfFile {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CONFIG REWRITE left roles out, so that the server did not start again, and wrote rules bare, whose quotes the reader of
/// the configuration takes away: `~"*"` was `~*` after a restart, and `~it's` ended the start.
#[test]
fn a_rewritten_configuration_gives_the_same_users_and_roles() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("redis.conf");
    std::fs::write(
        &path,
        "maxmemory 100mb\nuser old on nopass +get\nuser gone on\n",
    )
    .expect("a file");
    let (server, mut admin) = OfFile::start(&path);
    for line in [
        "ACL DELUSER gone",
        "ACL SETROLE readers ~r:* +@read (%W~w:* +set)",
        "ACL SETROLE odd ~it's",
        "ACL SETUSER ann on >secret role=readers,odd",
        "ACL SETUSER bob on >secret ~b* (~c* +get) rate=10/s",
    ] {
        let answer = admin.line(line);
        assert!(
            matches!(answer, Value::Simple(_) | Value::Integer(1)),
            "{line}: {answer:?}"
        );
    }
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|it| it.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    for rules in [
        &["q", "~\"*\"", "&'a\"", "+get"][..],
        &[
            "it's\"\\",
            "on",
            "nopass",
            "(~\"it's\" &\"x)\" +get)",
            "(~'y' +set)",
        ],
    ] {
        assert_eq!(
            admin.run(&[words(&["ACL", "SETUSER"]), words(rules)].concat()),
            ok(),
            "{rules:?}"
        );
    }
    let (before, digest) = (users_of(&mut admin), admin.line("ACL DIGEST"));
    assert!(
        before[0].starts_with("role odd ") && before[2].starts_with("user ann "),
        "{before:?}"
    );
    for _ in 0..2 {
        assert_eq!(admin.line("CONFIG REWRITE"), ok());
    }
    drop(server);
    let text = std::fs::read_to_string(&path).expect("the file");
    // What needs no quotes stands as Redis writes it.
    assert!(
        text.contains("resetchannels -@all (~c* resetchannels -@all +get) rate=10/s\n"),
        "{text}"
    );
    assert!(!text.contains("user gone"), "{text}");
    let (_server, mut admin) = OfFile::start(&path);
    assert_eq!(users_of(&mut admin), before);
    assert_eq!(admin.line("ACL DIGEST"), digest);
    let whole = admin.line("ACL DRYRUN q GET other");
    assert!(text_of(whole).contains("no permissions to access the 'other' key"));
    assert_eq!(admin.line("ACL DRYRUN ann GET r:1"), ok());
}

/// Where there are no roles, the list is Redis's.
#[test]
fn roles_are_listed_before_users() {
    let server = Server::start();
    let mut admin = server.raw();
    assert_eq!(
        users_of(&mut admin),
        ["user default on nopass sanitize-payload ~* &* +@all"]
    );
    admin.line("ACL SETROLE r ~* +get");
    let listed = users_of(&mut admin);
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0], "role r ~* resetchannels -@all +get");
}

#[test]
fn a_user_that_is_wrong_ends_the_start() {
    for (lines, wanted) in [
        ("user u on +nosuch\n", "Error in user declaration '+nosuch'"),
        (
            "user u on\nuser v on\nuser u off\n",
            "Error in user declaration 'u': Duplicate user found. A user can only be defined once in config files",
        ),
        (
            "role r +get\nuser r on\nrole r +set\n",
            "Error in role declaration 'r': Duplicate role found. A role can only be defined once in config files",
        ),
        ("role get +get\n", "A role can't have the name of a command"),
        (
            "role r >secret\n",
            "Error in role declaration '>': Syntax error",
        ),
        (
            "aclfile users.acl\nrole r on\n",
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid.",
        ),
        (
            "aclfile users.acl\nuser u on\n",
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid.",
        ),
        (
            "aclfile none.acl\n",
            "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file 'none.acl': No such file or \
             directory",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("redis.conf");
        std::fs::write(&path, lines).expect("a file");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_gyre"))
            .arg(&path)
            .current_dir(dir.path())
            .output()
            .expect("it runs");
        assert!(!output.status.success());
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains(wanted), "{told}");
    }
}

/// Who is over its budget waits; nobody else does.
#[test]
fn a_rate_holds_its_user_alone() {
    let server = Server::start();
    let mut admin = server.raw();
    admin.line("ACL SETUSER u on nopass ~* +@all rate=20/s");
    let mut bound = client_of(&server, "u");
    let begin = Instant::now();
    // Twenty are there at once; as many again take a second.
    let pipeline = "INCR n\r\n".repeat(40);
    bound.send(pipeline.as_bytes());
    for number in 1..=20 {
        assert_eq!(bound.read(), Value::Integer(number));
    }
    let reader = std::thread::spawn(move || {
        for number in 21..=40 {
            assert_eq!(bound.read(), Value::Integer(number));
        }
        begin.elapsed()
    });
    let (mut slowest, mut asked) = (Duration::ZERO, 0);
    while !reader.is_finished() {
        let before = Instant::now();
        assert_eq!(admin.line("PING"), Value::Simple("PONG".into()));
        slowest = slowest.max(before.elapsed());
        asked += 1;
    }
    let took = reader.join().expect("all answers");
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(
        slowest < Duration::from_millis(500) && asked > 10,
        "{slowest:?} of {asked}"
    );
    let user = admin.line("ACL GETUSER u");
    let Value::Array(fields) = user else {
        panic!("fields")
    };
    assert!(fields.contains(&Value::bulk("budget")));
    let info = text_of(admin.line("INFO users"));
    // AUTH is none of them: it was sent by who the client was before.
    let line = info.lines().find(|line| line.starts_with("user_u:"));
    let fields = line.and_then(|line| line.strip_prefix("user_u:"));
    let fields: Vec<&str> = fields.unwrap_or_default().split(',').collect();
    assert_eq!(fields[0], "commands=40", "{info}");
    assert_eq!(fields[3], "refusals=0", "{info}");
}

#[test]
fn who_would_rather_be_told_is_told() {
    let server = Server::start();
    let mut admin = server.raw();
    admin.line("ACL SETUSER u on nopass ~* +@all rate=2/s throttle-error");
    let mut bound = client_of(&server, "u");
    bound.send("INCR n\r\n".repeat(50).as_bytes());
    let answers: Vec<Value> = (0..50).map(|_| bound.read()).collect();
    let refused = answers
        .iter()
        .filter(|it| matches!(it, Value::Error(text) if text.starts_with(b"THROTTLED ")))
        .count();
    assert!((40..=48).contains(&refused), "{refused}");
    // It may become somebody else, who is not bound.
    assert_eq!(bound.line("AUTH default x"), ok());
    assert!(matches!(bound.line("INCR n"), Value::Integer(_)));
}
