//! `gyre --check-config`: what it finds, what it says when nothing can be found, and that it leaves everything as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the tool says of a command line, and its exit status.
fn check(dir: &Path, args: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_gyre"))
        .arg("--check-config")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (text, output.status.code().expect("an exit status"))
}

/// What nothing is said against, with the risk that only a network has left out.
const SAFE: &[&str] = &["--bind", "127.0.0.1 -::1", "--maxmemory", "100mb"];

fn risks(dir: &Path, args: &[&str]) -> String {
    let (text, status) = check(dir, &[SAFE, args].concat());
    assert_eq!(status, 0, "{text}");
    text
}

#[test]
fn nothing_is_said_against_a_configuration_without_risks() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = risks(dir.path(), &[]);
    assert_eq!(
        text,
        "The configuration is right, and nothing about it is known to be risky.\n"
    );
}

#[test]
fn each_risk_is_found_and_goes_with_its_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    for (args, expected) in [
        (
            &["--bind", "*"][..],
            "risk: requirepass: there is no password, so protected mode",
        ),
        (
            &["--bind", "0.0.0.0", "--protected-mode", "no"],
            "risk: requirepass: whoever reaches the port can do everything",
        ),
        (
            &[
                "--bind",
                "0.0.0.0",
                "--protected-mode",
                "no",
                "--user",
                "default",
                "on",
                "nopass",
                "-@all",
                "+ping",
            ],
            "risk: requirepass: whoever reaches the port needs no password for what the rules of default permit",
        ),
        (
            &[
                "--protected-mode",
                "no",
                "--http-port",
                "8379",
                "--http-bind",
                "0.0.0.0",
            ],
            "risk: http-bind: the pages are open to everybody",
        ),
        (&["--protected-mode", "no"], "risk: protected-mode:"),
        (
            &[
                "--user",
                "ann",
                "on",
                ">a-password-that-is-long",
                "~*",
                "+@all",
            ],
            "risk: user: there are users, but",
        ),
        (
            &["--user", "ann", "on", "nopass"],
            "risk: user: ann needs no password",
        ),
        (
            &["--user", "ann", "on", ">short"],
            "risk: user: ann: a password of 5 letters",
        ),
        (
            &["--requirepass", "pw"],
            "risk: requirepass: a password of 2 letters",
        ),
        (
            &["--requirepass", "pw"],
            "risk: command line: --requirepass",
        ),
        (
            &[
                "--requirepass",
                "pw",
                "--user",
                "default",
                "on",
                "nopass",
                "~*",
                "+@all",
            ],
            "risk: requirepass: it does not hold",
        ),
        (
            &["--acl-pubsub-default", "allchannels"],
            "risk: acl-pubsub-default:",
        ),
        (
            &["--unixsocket", "s", "--unixsocketperm", "777"],
            "risk: unixsocketperm:",
        ),
        (
            &["--bind", "192.0.2.1"],
            "risk: tls-port: passwords and data cross",
        ),
        (&["--bind", "192.0.2.1"], "risk: auth-failures-per-address:"),
        (&["--bind", "192.0.2.1"], "risk: maxclients-per-address:"),
        (&["--replicaof", "192.0.2.1 6379"], "risk: tls-replication:"),
        (
            &["--replicaof", "192.0.2.1 6379", "--replica-read-only", "no"],
            "risk: replica-read-only:",
        ),
        (
            &["--http-port", "8379", "--http-bind", "*"],
            "risk: http-bind: the pages are not over TLS",
        ),
        (
            &["--maxclients-reserved", "5"],
            "risk: maxclients-reserved: it has no effect",
        ),
        (
            &["--priority-subnets", "10.0.0.0/8"],
            "risk: priority-subnets: it has no effect",
        ),
        (
            &[
                "--maxclients-reserved",
                "50000",
                "--priority-subnets",
                "10.0.0.0/8",
            ],
            "risk: maxclients-reserved: it is all",
        ),
        (&["--maxmemory", "0"], "risk: maxmemory:"),
        (&["--save", ""], "risk: save: nothing is written"),
        (
            &["--appendonly", "yes", "--appendfsync", "no"],
            "risk: appendfsync:",
        ),
        (
            &[
                "--min-replicas-to-write",
                "1",
                "--min-replicas-max-lag",
                "0",
            ],
            "risk: min-replicas-to-write:",
        ),
        (
            &["--enable-debug-command", "yes"],
            "risk: enable-debug-command:",
        ),
        (
            &["--enable-protected-configs", "yes"],
            "risk: enable-protected-configs:",
        ),
        (
            &["--enable-module-command", "yes"],
            "risk: enable-module-command:",
        ),
        (
            &["--rename-command", "FLUSHALL", "secretflush"],
            "risk: rename-command: FLUSHALL is only hidden",
        ),
        (
            &["--rename-command", "FLUSHALL", ""],
            "risk: rename-command: FLUSHALL is taken",
        ),
        (&["--io-threads", "4"], "risk: without effect:"),
        (&["--record", "r"], "risk: record:"),
    ] {
        let text = risks(dir.path(), args);
        assert!(text.contains(expected), "{args:?}: {text}");
        assert!(
            !text.contains("short") && !text.contains("a-password-that"),
            "{args:?}: {text}"
        );
    }
}

/// What is meant to be safe must not be told to be risky, or nobody reads the list.
#[test]
fn what_is_no_risk_is_not_told() {
    let dir = tempfile::tempdir().expect("a directory");
    for (args, unexpected) in [
        (
            &["--enable-debug-command", "local"][..],
            "enable-debug-command",
        ),
        (
            &["--unixsocket", "s", "--unixsocketperm", "770"],
            "unixsocketperm",
        ),
        (&["--http-port", "8379"], "http-bind"),
        (
            &[
                "--http-port",
                "8379",
                "--http-bind",
                "*",
                "--http-tls",
                "yes",
            ],
            "the pages are not over TLS",
        ),
        (&["--save", "", "--appendonly", "yes"], "risk: save"),
        (&["--replicaof", "127.0.0.1 6379"], "tls-replication"),
        (
            &[
                "--maxclients-reserved",
                "5",
                "--priority-subnets",
                "10.0.0.0/8",
            ],
            "maxclients-reserved",
        ),
        (&["--bind", "::1 localhost 127.5.5.5"], "tls-port"),
        (
            &[
                "--protected-mode",
                "no",
                "--requirepass",
                "a-password-of-some-length",
                "--http-port",
                "8379",
                "--http-bind",
                "0.0.0.0",
            ],
            "the pages are open",
        ),
        // The same port of another address is another one.
        (
            &["--http-port", "6379", "--http-bind", "127.0.0.2"],
            "are both",
        ),
        (
            &["--user", "ann", "on", ">a-password-of-some-length"],
            "no effect",
        ),
    ] {
        let text = risks(dir.path(), args);
        assert!(!text.contains(unexpected), "{args:?}: {text}");
    }
}

#[test]
fn files_that_others_can_read_or_change_are_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let conf = dir.path().join("gyre.conf");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    };
    let text = "bind 127.0.0.1\nmaxmemory 1gb\nrequirepass a-password-of-some-length\n";
    std::fs::write(&conf, text).expect("a file");
    let tell = |mode| {
        set(&conf, mode);
        check(dir.path(), &["gyre.conf"]).0
    };
    assert!(tell(0o644).contains("risk: configuration: every user of this machine can read"));
    assert!(tell(0o666).contains("risk: configuration: every user of this machine can change"));
    assert!(tell(0o640).contains("nothing about it is known to be risky"));
    // It may stand in another file than the first.
    let included = dir.path().join("secret.conf");
    std::fs::write(
        &conf,
        "bind 127.0.0.1\nmaxmemory 1gb\ninclude secret.conf\n",
    )
    .expect("a file");
    std::fs::write(&included, "requirepass a-password-of-some-length\n").expect("a file");
    set(&included, 0o666);
    let text = tell(0o644);
    assert!(text.contains("secret.conf, which has passwords"), "{text}");
    assert!(
        text.contains("can change") && text.contains("secret.conf (its"),
        "{text}"
    );
    assert!(!text.contains("gyre.conf"), "it has none: {text}");
    set(&included, 0o600);
    assert!(tell(0o644).contains("nothing about it is known to be risky"));
    let acl = dir.path().join("users.acl");
    std::fs::write(
        &acl,
        "user default on >a-password-of-some-length ~* +@all\n",
    )
    .expect("a file");
    set(&acl, 0o644);
    let text = risks(dir.path(), &["--aclfile", "users.acl"]);
    assert!(
        text.contains("risk: aclfile: every user of this machine can read"),
        "{text}"
    );
    set(&acl, 0o600);
    let text = risks(dir.path(), &["--aclfile", "users.acl"]);
    assert!(!text.contains("aclfile"), "{text}");
    std::fs::write(&acl, "user ann on >short ~* +@all\n").expect("a file");
    let text = risks(dir.path(), &["--aclfile", "users.acl"]);
    assert!(
        text.contains("risk: aclfile: ann: a password of 5 letters"),
        "{text}"
    );
    set(dir.path(), 0o777);
    let text = risks(dir.path(), &[]);
    assert!(
        text.contains("risk: dir: every user of this machine can change"),
        "{text}"
    );
}

#[test]
fn what_would_end_the_start_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("bad.acl"), "user ann +nosuchcommand\n").expect("a file");
    for (args, expected) in [
        (&["nosuch.conf"][..], "can't open config file 'nosuch.conf'"),
        (&["--port", "x"], "couldn't be parsed into an integer"),
        (&["--nosuch", "1"], "Bad directive"),
        (&["--dir", "/nosuch/dir"], "No such file or directory"),
        (&["--port", "0"], "not listen anywhere"),
        (
            &["--rename-command", "NOSUCH", "x"],
            "No such command in rename-command",
        ),
        (
            &["--user", "ann", "+nosuchcommand"],
            "Error in user declaration '+nosuchcommand'",
        ),
        (&["--aclfile", "nosuch.acl"], "Error loading ACLs"),
        (
            &["--http-port", "6379"],
            "port and http-port are both 6379, on the same address",
        ),
        (
            &["--tls-port", "6379"],
            "port and tls-port are both 6379, on the same address",
        ),
        (
            &["--bind", "nosuch.host.invalid"],
            "bind 'nosuch.host.invalid': no such address is known",
        ),
        (&["--aclfile", "bad.acl"], "ACL errors"),
        (
            &["--logfile", "/nosuch/dir/log"],
            "logfile '/nosuch/dir/log': there is no such directory",
        ),
        (
            &["--priority-subnets", "10.0.0.0/99"],
            "Invalid IP address or CIDR subnet",
        ),
    ] {
        let (text, status) = check(dir.path(), args);
        assert_eq!(status, 1, "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

/// An error at the start shows the line that is wrong, to a terminal, a service's log, a ticket.
#[test]
fn no_error_shows_a_password() {
    let dir = tempfile::tempdir().expect("a directory");
    for args in [
        &["--requirepass", "hunter2", "hunter2"][..],
        &["--masterauth", "hunter2", "hunter2"],
        &["--user", "ann", "<hunter2"],
        &["--user", "ann", ">hunter2", "+nosuch"],
        &["--user", "an n", ">hunter2"],
        &["--user", "ann", "#hunter2"],
    ] {
        let (text, status) = check(dir.path(), args);
        assert_eq!(status, 1, "{args:?}: {text}");
        assert!(!text.contains("hunter2"), "{args:?}: {text}");
    }
}

#[test]
fn it_touches_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let conf = "port 0\nunixsocket sock\nlogfile log.txt\npidfile pid\nrecord recording\nappendonly yes\ndaemonize yes\n\
                loglevel debug\n";
    std::fs::write(dir.path().join("gyre.conf"), conf).expect("a file");
    let files = || -> BTreeMap<_, _> {
        let entries = std::fs::read_dir(dir.path()).expect("the directory");
        let entry = |entry: std::fs::DirEntry| {
            let about = entry.metadata().expect("its metadata");
            (
                entry.file_name(),
                (about.len(), about.modified().expect("a time")),
            )
        };
        entries.map(|it| entry(it.expect("an entry"))).collect()
    };
    let before = files();
    let (text, status) = check(dir.path(), &["gyre.conf"]);
    assert_eq!(status, 0, "{text}");
    assert_eq!(files(), before);
    assert!(text.contains("risk: record:"), "{text}");
}
