//! Tests of the module as a whole: reading, reporting, setting, rewriting.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::reported::REPORTED;
use super::*;
use crate::system::tls::{ClientAuth, UserField};

const ANYONE: SetContext = SetContext {
    is_local: false,
    is_loading: false,
};

fn load_in(dir: &Path, args: &[&str]) -> Result<Config, ConfigError> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    Config::load_in(
        dir,
        &args,
        &mut || Ok(b"timeout 7\nloglevel debug".to_vec()),
    )
}

fn load(args: &[&str]) -> Config {
    load_in(Path::new("/"), args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

fn error(args: &[&str]) -> String {
    match load_in(Path::new("/"), args) {
        Ok(_) => panic!("{args:?} was accepted"),
        Err(error) => error.to_string(),
    }
}

/// Loads a file with this text.
fn file(text: &str) -> Result<Config, ConfigError> {
    file_with(text, &[])
}

/// The same, with options behind it.
fn file_with(text: &str, options: &[&str]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("redis.conf"), text).unwrap();
    load_in(dir.path(), &[&["redis.conf"], options].concat())
}

fn get(config: &Config, name: &str) -> String {
    String::from_utf8(config.get_one(name).unwrap_or_else(|| panic!("no {name}"))).unwrap()
}

fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Vec<Change>, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    config
        .set_many(&pairs, ANYONE)
        .map_err(|error| match error.message() {
            Some(message) => String::from_utf8(message).unwrap(),
            None => "loading".to_string(),
        })
}

#[test]
fn reports_what_redis_reports_when_nothing_is_set() {
    let config = load(&[]);
    for (name, value) in REPORTED {
        assert_eq!(get(&config, name), *value, "{name}");
    }
    let all = config.get(&[b"*"]);
    for (name, _) in REPORTED {
        assert!(
            all.iter().any(|(known, _)| known == name.as_bytes()),
            "{name} is not listed"
        );
    }
    let newer: Vec<_> = all
        .iter()
        .map(|(name, _)| std::str::from_utf8(name).unwrap())
        .filter(|name| *name != "dir" && !REPORTED.iter().any(|(known, _)| known == name))
        .collect();
    assert_eq!(
        newer,
        [
            "tls-alt-cert-file",
            "tls-alt-key-file",
            "tls-alt-key-file-pass",
            "tls-auth-clients-user",
            "tls-groups",
            "tls-auto-reload-interval",
            "tls-expected-peer-name",
            "bgsave-default-method",
            "forkless-loop-share",
            "forkless-disk-timeout",
            "maxclients-reserved",
            "priority-subnets",
            "maxclients-per-address",
            "auth-failures-per-address",
            "auth-failure-delay",
            "aof-load-corrupt-tail-max-size",
            "http-port",
            "http-bind",
            "http-tls",
            "loop-trace",
            "loop-trace-turns",
        ]
    );
    assert_eq!(config.warnings(), None);
}

#[test]
fn every_reported_value_can_be_set_again() {
    let mut config = load(&["--enable-protected-configs", "yes"]);
    let before = config.get(&[b"*"]);
    for (name, value) in &before {
        match config.set_many(&[(name, value)], ANYONE) {
            Ok(changes) => assert!(changes.iter().all(|change| change.old == change.new)),
            Err(error) => {
                let message = String::from_utf8(error.message().unwrap()).unwrap();
                assert!(message.ends_with("can't set immutable config"), "{message}");
            }
        }
    }
    assert_eq!(config.get(&[b"*"]), before);
}

#[test]
fn get_by_name_pattern_and_several() {
    let config = load(&[]);
    let names = |patterns: &[&[u8]]| -> Vec<String> {
        config
            .get(patterns)
            .into_iter()
            .map(|(name, _)| String::from_utf8(name).unwrap())
            .collect()
    };
    assert_eq!(
        names(&[b"MaxMemory"]),
        ["MaxMemory"],
        "spelled as asked for"
    );
    assert_eq!(
        names(&[b"*MEMORY-S*", b"maxmemory-samples"]),
        ["maxmemory-samples"]
    );
    assert_eq!(names(&[b"*of"]), ["replicaof", "slaveof"]);
    assert_eq!(
        names(&[b"hash-max-*-value"]),
        ["hash-max-listpack-value", "hash-max-ziplist-value"]
    );
    assert_eq!(
        names(&[b"key-load-delay", b"aof-disable-auto-gc"]),
        ["key-load-delay", "aof-disable-auto-gc"]
    );
    assert!(
        !names(&[b"*"])
            .iter()
            .any(|name| name == "key-load-delay" || name == "aof-disable-auto-gc")
    );
    assert_eq!(
        names(&[b"nothing", b"rename-command", b"[z]*[v]?lue"]),
        ["zset-max-listpack-value", "zset-max-ziplist-value"]
    );
}

#[test]
fn settings_follow_the_values() {
    let mut config = load(&[
        "--bind",
        "127.0.0.1",
        "-::1",
        "--maxmemory",
        "1gb",
        "--unixsocket",
        "/tmp/s",
    ]);
    let settings = config.settings();
    assert_eq!(settings.maxmemory, 1 << 30);
    assert_eq!(
        settings.bind[1],
        BindAddress {
            host: "::1".into(),
            optional: true
        }
    );
    assert_eq!(settings.unixsocket.as_deref(), Some(Path::new("/tmp/s")));
    assert_eq!(settings.maxmemory_policy, MaxmemoryPolicy::NoEviction);
    assert_eq!(settings.client_output_buffer_limits[2].soft_bytes, 8 << 20);
    assert_eq!(settings.proto_inline_max_size, 64 * 1024);
    assert!(settings.protected_mode);

    let snapshot = config.snapshot();
    let changes = set(
        &mut config,
        &[
            ("maxmemory", "2kb"),
            ("maxmemory-policy", "allkeys-lfu"),
            ("timeout", "0"),
        ],
    );
    let change = |name, old: &str, new: &str| Change {
        name,
        called: name,
        old: old.as_bytes().to_vec(),
        new: new.as_bytes().to_vec(),
        has_effect: true,
    };
    assert_eq!(
        changes.unwrap(),
        [
            change("maxmemory", "1073741824", "2048"),
            change("maxmemory-policy", "noeviction", "allkeys-lfu")
        ]
    );
    assert_eq!(config.settings().maxmemory, 2048);
    assert_eq!(config.settings().maxmemory_policy.name(), "allkeys-lfu");
    config.restore(snapshot);
    assert_eq!(config.settings().maxmemory, 1 << 30);

    set(&mut config, &[("hz", "9999")]).unwrap();
    assert_eq!(
        (config.settings().hz, get(&config, "hz").as_str()),
        (500, "500")
    );
}

#[test]
fn set_is_all_or_nothing() {
    let mut config = load(&[]);
    let before = config.get(&[b"*"]);
    let mut refused = |pairs: &[(&str, &str)], message: &str| {
        assert_eq!(set(&mut config, pairs), Err(message.to_string()));
        assert_eq!(config.get(&[b"*"]), before);
    };
    refused(
        &[
            ("maxmemory", "1"),
            ("maxmemory-clients", "200%"),
            ("client-query-buffer-limit", "invalid"),
        ],
        "CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less or equal to 100",
    );
    refused(
        &[("maxmemory", "1"), ("maxmemory", "2")],
        "CONFIG SET failed (possibly related to argument 'maxmemory') - duplicate parameter",
    );
    refused(
        &[("timeout", "1"), ("Daemonize", "yes"), ("nobody", "x")],
        "CONFIG SET failed (possibly related to argument 'Daemonize') - can't set immutable config",
    );
    refused(
        &[("nobody", "x"), ("daemonize", "yes")],
        "Unknown option or number of arguments for CONFIG SET - 'nobody'",
    );
    refused(
        &[("dir", "/")],
        "CONFIG SET failed (possibly related to argument 'dir') - can't set protected config",
    );
    refused(
        &[("slave-priority", "-1")],
        "CONFIG SET failed (possibly related to argument 'slave-priority') - argument must be between 0 and 2147483647 inclusive",
    );
    refused(
        &[("save", "900")],
        "CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters",
    );
    let loading = SetContext {
        is_local: true,
        is_loading: true,
    };
    assert_eq!(
        config.set_many(&[(b"repl-diskless-load", b"disabled")], loading),
        Err(ConfigSetError::Loading)
    );
}

#[test]
fn protected_directives_need_permission() {
    let mut config = load(&["--enable-protected-configs", "local"]);
    assert!(
        set(&mut config, &[("dbfilename", "a.rdb")])
            .unwrap_err()
            .ends_with("can't set protected config")
    );
    let local = SetContext {
        is_local: true,
        is_loading: false,
    };
    assert!(config.set_many(&[(b"dbfilename", b"a.rdb")], local).is_ok());
    assert_eq!(get(&config, "dbfilename"), "a.rdb");
    let message = config
        .set_many(&[(b"dir", b"/no/such/dir")], local)
        .unwrap_err()
        .message()
        .unwrap();
    assert_eq!(
        String::from_utf8(message).unwrap(),
        "CONFIG SET failed (possibly related to argument 'dir') - No such file or directory"
    );
}

#[test]
fn the_command_line_is_appended_to_file_and_stdin() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("a.conf"),
        "port 1\r\ntimeout 1\nmaxclients 1",
    )
    .unwrap();
    let config = load_in(dir.path(), &["./a.conf", "--port", "3", "-"]).unwrap();
    let settings = config.settings();
    assert_eq!(
        (settings.port, settings.timeout_s, settings.maxclients),
        (3, 7, 1)
    );
    assert_eq!(settings.loglevel, LogLevel::Debug);
    assert_eq!(config.file(), Some(dir.path().join("a.conf").as_path()));
    assert_eq!(load(&["-", "--timeout", "8"]).settings().timeout_s, 8);
    assert_eq!(load(&[]).file(), None);
}

/// The cases of the test-suite's introspection.tcl.
#[test]
fn the_command_line_is_read_as_redis_reads_it() {
    let config = load(&["--maxmemory 700mb", "--maxmemory-policy volatile-lru"]);
    assert_eq!(get(&config, "maxmemory"), "734003200");
    assert_eq!(get(&config, "maxmemory-policy"), "volatile-lru");
    let config = load(&["--loglevel", "verbose", "--maxmemory '700mb'"]);
    assert_eq!(get(&config, "maxmemory"), "734003200");
    let config = load(&[
        "--proc-title-template",
        "--my--title",
        "--loglevel",
        "verbose",
    ]);
    assert_eq!(get(&config, "proc-title-template"), "--my--title");
    let config = load(&["--proc-title-template --my--title", "--loglevel verbose"]);
    assert_eq!(get(&config, "proc-title-template"), "--my--title");
    for args in [
        &["--save", "--loglevel", "verbose"][..],
        &["--loglevel", "verbose", "--save"],
        &["--save", "", "--loglevel", "verbose"],
        &["--loglevel", "verbose", "--save", ""],
        &[
            "--proc-title-template",
            "--save",
            "--save",
            "",
            "--loglevel",
            "verbose",
        ],
    ] {
        let config = load(args);
        assert_eq!(
            (
                get(&config, "save").as_str(),
                get(&config, "loglevel").as_str()
            ),
            ("", "verbose"),
            "{args:?}"
        );
    }
    let config = load(&[
        "--shutdown-on-sigint",
        "nosave",
        "force",
        "now",
        "--shutdown-on-sigterm",
        "nosave force",
    ]);
    assert_eq!(get(&config, "shutdown-on-sigint"), "nosave now force");
    assert_eq!(get(&config, "shutdown-on-sigterm"), "nosave force");

    for (args, line, reason) in [
        (&["--port"][..], "port", "wrong number of arguments"),
        (
            &["--port", "6380", "--loglevel"],
            "loglevel",
            "wrong number of arguments",
        ),
        (
            &["--port", "6379", "6380"],
            r#"port "6379" "6380""#,
            "wrong number of arguments",
        ),
        (
            &["--port", "--loglevel", "verbose"],
            r#"port "--loglevel" "verbose""#,
            "wrong number of arguments",
        ),
        (
            &["--port", "--bla", "--loglevel", "verbose"],
            r#"port "--bla""#,
            "argument couldn't be parsed into an integer",
        ),
        (
            &["--logfile", "--my--log", "--loglevel", "--bla"],
            r#"loglevel "--bla""#,
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
        ),
        (
            &["--shutdown-on-sigint"],
            "shutdown-on-sigint",
            "argument(s) must be one of the following: default, save, nosave, now, force",
        ),
        (
            &["--replicaof", "--127.0.0.1", "abc"],
            r#"replicaof "--127.0.0.1" "abc""#,
            "Invalid master port",
        ),
        (
            &["--replicaof", "--127.0.0.1", "--abc"],
            r#"replicaof "--127.0.0.1""#,
            "wrong number of arguments",
        ),
        (&["--sentinel"], "sentinel", "gyre has no sentinel mode"),
    ] {
        let text = error(args);
        assert!(
            text.ends_with(&format!("\n>>> '{line}'\n{reason}")),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn errors_name_version_line_file_and_reason() {
    let text = file("# first\n\nPORT x\n").unwrap_err().to_string();
    assert_eq!(
        text,
        "\n*** FATAL CONFIG FILE ERROR (Redis 8.0.6) ***\n\
         Reading the configuration file, at line 3 of redis.conf\n\
         >>> 'PORT x'\n\
         argument couldn't be parsed into an integer"
    );
    for (line, reason) in [
        ("nobody 1", "Bad directive or wrong number of arguments"),
        (
            "rename-command a",
            "Bad directive or wrong number of arguments",
        ),
        ("logfile \"a", "Unbalanced quotes in configuration line"),
        ("module.option", "Module config specified without value"),
        (
            "sentinel monitor x",
            "sentinel directive while not in sentinel mode",
        ),
        ("dir /no/such/dir", "No such file or directory"),
        ("include redis.conf", "Too many levels of include"),
        (
            "proc-title-template {x}",
            "template format is invalid or contains unknown variables",
        ),
    ] {
        let text = file(line).unwrap_err().to_string();
        assert!(text.ends_with(&format!(">>> '{line}'\n{reason}")), "{text}");
    }
    // It ends in a terminal, or in the log of whoever starts the server.
    for line in [
        "requirepass \"hunter2",
        "MasterAuth a hunter2",
        "user",
        "user a >hunter2 +nosuch\nport x",
    ] {
        let text = file(line).unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert_eq!(
        error(&["no.conf"]),
        "Fatal error, can't open config file 'no.conf': No such file or directory"
    );
    assert_eq!(
        file("cluster-enabled yes\nreplicaof a 1")
            .unwrap_err()
            .to_string(),
        "\n*** FATAL CONFIG FILE ERROR (Redis 8.0.6) ***\nreplicaof directive not allowed in cluster mode"
    );
}

#[test]
fn lines_that_add_up_and_lines_that_replace() {
    let config = file("save 900 1\nsave 60 5 30 9\nport 1\nport 2\nSLAVE-priority 3\n").unwrap();
    assert_eq!(get(&config, "save"), "900 1 60 5 30 9");
    assert_eq!(get(&config, "port"), "2");
    assert_eq!(get(&config, "replica-priority"), "3");
    assert_eq!(
        get(&file("save 900 1\nsave ''\nsave 1 1").unwrap(), "save"),
        "1 1"
    );
    assert_eq!(get(&file("save \"\"").unwrap(), "save"), "");
    assert_eq!(
        get(
            &file("lua-replicate-commands yes\nlist-max-ziplist-value 1").unwrap(),
            "port"
        ),
        "6379"
    );
    let config =
        file("client-output-buffer-limit normal 1 1 1\nclient-output-buffer-limit pubsub 2 2 2")
            .unwrap();
    assert_eq!(
        get(&config, "client-output-buffer-limit"),
        "normal 1 1 1 slave 268435456 67108864 60 pubsub 2 2 2"
    );

    let text = "rename-command FLUSHALL \"\"\nrename-command config x\nuser a on\nloadmodule b c\nts.x 1 2\nrole r +get";
    let config = file_with(text, &["--ignore-unsupported"]).unwrap();
    let kinds: Vec<_> = config
        .statements()
        .iter()
        .map(|statement| statement.kind.clone())
        .collect();
    assert_eq!(
        kinds[0],
        StatementKind::RenameCommand {
            from: b"FLUSHALL".to_vec(),
            to: vec![]
        }
    );
    assert_eq!(
        kinds[1],
        StatementKind::RenameCommand {
            from: b"config".to_vec(),
            to: b"x".to_vec()
        }
    );
    assert_eq!(
        kinds[4],
        StatementKind::ModuleOption {
            name: b"ts.x".to_vec(),
            value: b"1 2".to_vec()
        }
    );
    assert_eq!(
        config.warnings().unwrap(),
        "These directives are accepted but have no effect in gyre yet: loadmodule, module options"
    );
    let place = &config.statements()[0].place;
    assert!(
        ConfigError::at(place, "No such command in rename-command")
            .to_string()
            .contains("at line 1 of")
    );
}

/// A folder that could not be read was passed over, with the password that a file in it sets.
#[test]
fn an_include_that_cannot_be_read_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
    for include in ["loop/*.conf", "*/a.conf", "l*p"] {
        fs::write(root.join("main.conf"), format!("include {include}")).unwrap();
        let text = load_in(&root, &["main.conf"]).unwrap_err().to_string();
        assert!(
            text.contains("loop") && text.contains("symbolic links"),
            "{text}"
        );
    }
}

#[test]
fn includes_follow_patterns_and_dir() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("conf.d")).unwrap();
    fs::create_dir_all(root.join("data")).unwrap();
    fs::write(root.join("conf.d/b.conf"), "port 2\n").unwrap();
    fs::write(root.join("conf.d/a.conf"), "port 1\ntimeout 1").unwrap();
    fs::write(root.join("conf.d/.hidden.conf"), "port 9").unwrap();
    fs::write(root.join("data/x"), "maxclients 5").unwrap();
    fs::write(
        root.join("main.conf"),
        "include conf.d/*.conf\ninclude none/*.conf\ndir ./data\ninclude x\n",
    )
    .unwrap();
    let config = load_in(&root, &["main.conf"]).unwrap();
    let settings = config.settings();
    assert_eq!(
        (settings.port, settings.timeout_s, settings.maxclients),
        (2, 1, 5)
    );
    assert_eq!(settings.dir, root.join("data"));
    fs::write(root.join("main.conf"), "include none.conf").unwrap();
    let text = load_in(&root, &["main.conf"]).unwrap_err().to_string();
    assert_eq!(
        text,
        "Fatal error, can't open config file 'none.conf': No such file or directory"
    );
    fs::write(root.join("main.conf"), "include conf.d/c.conf").unwrap();
    fs::write(root.join("conf.d/c.conf"), "\n\nhz x").unwrap();
    let text = load_in(&root, &["main.conf"]).unwrap_err().to_string();
    assert!(
        text.contains("at line 3 of conf.d/c.conf\n>>> 'hz x'"),
        "{text}"
    );
}

#[test]
fn rewriting_keeps_comments_and_order() {
    let old = "# head\n\n\nport 1\n  # indented\nTimeout 5\nslave-priority 7\nsave 1 1\nsave 2 2\nrename-command a b\n\
               port 2\nbind * -::*\nnobody 3\nrequirepass x\ninclude other\nuser u on\nclient-output-buffer-limit pubsub 1 1 1\n";
    let mut config = load(&[
        "--port",
        "6379",
        "--save",
        "2",
        "3",
        "--maxclients",
        "77",
        "--masterauth",
        "a \"b\n",
        "--ignore-unsupported",
    ]);
    set(
        &mut config,
        &[("client-output-buffer-limit", "pubsub 32mb 1000 60")],
    )
    .unwrap();
    let users = [b"user u on".to_vec()];
    let new = String::from_utf8(config.rewritten(old.as_bytes(), &users, false)).unwrap();
    assert_eq!(
        new,
        "# head\n\nport 6379\n# indented\ntimeout 0\nreplica-priority 100\nsave 2 3\n\nrename-command a b\n\n\
         # ??? nobody 3\n\ninclude other\nuser u on\nclient-output-buffer-limit normal 0 0 0\n\
         # Generated by CONFIG REWRITE\ndir \"/\"\nmasterauth \"a \\\"b\\n\"\nmaxclients 77\n\
         client-output-buffer-limit pubsub 32mb 1000 60\nlatency-tracking-info-percentiles 50 99 99.9\n"
    );
    // As in Redis, the limits take the old lines in their own order, so it settles at the second time.
    let again = config.rewritten(new.as_bytes(), &users, false);
    assert_eq!(config.rewritten(&again, &users, false), again);
    // Roles are written too, and take the places of old ones.
    let kept = [b"role r +get".to_vec(), users[0].clone()];
    let with_roles = config.rewritten(b"role old\nuser u off\nrole older\n", &kept, false);
    let text = String::from_utf8(with_roles.clone()).unwrap();
    assert!(
        text.starts_with("role r +get\nuser u on\n\n# Generated"),
        "{text}"
    );
    let again = config.rewritten(&with_roles, &kept, false);
    assert!(again.starts_with(b"role r +get\nuser u on\n\n# Generated"));
    // A user that is none any more leaves the file.
    let without = config.rewritten(&again, &[], false);
    assert!(!without.windows(5).any(|at| at == b"user "));
}

#[test]
fn a_rewritten_file_gives_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let path = root.join("redis.conf");
    fs::write(
        &path,
        "port 1\nport 2\nhash-max-ziplist-entries 21\nhash-max-listpack-entries 20\n",
    )
    .unwrap();
    let mut config = load_in(&root, &["redis.conf", "--unixsocketperm", "770"]).unwrap();
    let changes = [
        ("requirepass", "a b\"\\\x01 c"),
        ("maxmemory", "3mb"),
        ("maxmemory-clients", "7%"),
        ("save", ""),
        ("bind", ""),
        ("shutdown-on-sigterm", "nosave now"),
        ("notify-keyspace-events", "KEA"),
        ("latency-tracking-info-percentiles", ""),
        ("hash-max-ziplist-entries", "100"),
        ("oom-score-adj-values", "1 2 3"),
        (
            "client-output-buffer-limit",
            "normal 1 2 3 replica 4kb 5mb 6",
        ),
        ("replica-announce-ip", "\u{fc}\t"),
    ];
    set(&mut config, &changes).unwrap();
    let before = config.get(&[b"*"]);
    for force in [false, true] {
        config.rewrite(&[], force).unwrap();
        let again = load_in(&root, &["redis.conf"]).unwrap();
        assert_eq!(again.get(&[b"*"]), before, "force {force}");
    }
    let names: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["redis.conf"], "no temporary file stays behind");
    fs::remove_file(&path).unwrap();
    config.rewrite(&[], false).unwrap();
    assert_eq!(
        load_in(&root, &["redis.conf"]).unwrap().get(&[b"*"]),
        before
    );
}

/// A server that was killed while it wrote left its file for ever, with all that was in it.
#[test]
fn a_later_save_removes_what_a_killed_one_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.acl");
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let gone = [ended.id(), std::process::id()].map(|pid| format!("users.acl.{pid}.0"));
    // Of one that runs, and such as only look like it.
    let mut kept = [
        format!("users.acl.{}.0", std::os::unix::process::parent_id()),
        format!("other.acl.{}.0", ended.id()),
        format!("users.acl.{}", ended.id()),
        format!("users.acl.{}.0.bak", ended.id()),
        format!("users.acl.{}.0x", ended.id()),
        "users.acl.1x.0".to_owned(),
    ];
    for name in gone.iter().chain(&kept) {
        fs::write(dir.path().join(name), "left").unwrap();
    }
    replace_file(&path, b"user default on\n", 0o600).unwrap();
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "users.acl")
        .collect();
    names.sort();
    kept.sort();
    assert_eq!(names, kept);
}

#[test]
fn rewriting_needs_a_file_and_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let message = load(&[]).rewrite(&[], false).unwrap_err().to_string();
    assert_eq!(message, "The server is running without a config file");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.conf");
    fs::write(&path, "port 1\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let config = load_in(dir.path(), &["redis.conf"]).unwrap();
    config.rewrite(&[], false).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(dir);
    let message = config.rewrite(&[], false).unwrap_err().to_string();
    assert_eq!(message, "Rewriting config file: No such file or directory");
}

#[test]
fn warns_of_what_has_no_effect_yet() {
    let config = load(&[
        "--activedefrag",
        "yes",
        "--port",
        "1",
        "--active-defrag-cycle-min",
        "1",
    ]);
    let warning = config.warnings().unwrap();
    assert_eq!(
        warning,
        "This directive is accepted but has no effect in gyre yet: activedefrag"
    );
    let mut config = load(&[]);
    let mut effect = |pairs| -> Vec<bool> {
        let changes = set(&mut config, pairs).unwrap();
        changes
            .into_iter()
            .map(|change| change.has_effect)
            .collect()
    };
    assert_eq!(
        effect(&[("ignore-warnings", "x"), ("timeout", "5")]),
        [false, true]
    );
    let later = not_yet_directives();
    assert!(later.contains(&"activedefrag") && !later.contains(&"port"));
    assert!(!later.contains(&"loadmodule") && refused_directives().contains(&"loadmodule"));
    assert!(Config::is_sensitive(b"RequirePass") && !Config::is_sensitive(b"port"));
}

/// A server that was asked for modules would start without their commands.
#[test]
fn what_is_asked_for_and_missing_ends_the_start() {
    let line = "loadmodule /usr/lib/a.so";
    let text = format!("# first\nport 7\n{line}\n");
    let told = file(&text).unwrap_err().to_string();
    let place = format!("at line 3 of redis.conf\n>>> '{line}'\ngyre ");
    assert!(told.contains(&place), "{told}");
    assert!(
        told.ends_with("Take the directive out, or start with --ignore-unsupported to do without.")
            || told.contains("Take the directive out and "),
        "{told}"
    );
    let config = file_with(&text, &["--ignore-unsupported"]).unwrap();
    assert_eq!(get(&config, "port"), "7");
    let name = config.warnings().unwrap();
    let (first, _) = line.split_once(' ').unwrap();
    assert!(name.contains(first), "{name}");
    let by_option = error(&["--loadmodule", "/usr/lib/a.so"]);
    assert!(
        by_option.contains("at line 1 of the command line"),
        "{by_option}"
    );
}

/// What a stock file says of them is what they are anyway; and what counts is the last line.
#[test]
fn defaults_of_what_is_missing_are_no_wish_for_it() {
    let config = file(
        "cluster-enabled no\nmasterauth \"\"\nmasteruser \"\"\naclfile \"\"\nreplicaof no one\n",
    );
    assert_eq!(config.unwrap().warnings(), None);
}

#[test]
fn what_tls_is_to_be_like_is_read() {
    let mut config = load(&[]);
    let tls = &config.settings().tls;
    assert!(!tls.is_used() && tls.options.caches_sessions);
    assert_eq!(tls.options.client_auth, ClientAuth::Yes);
    let text = "tls-port 7\nport 0\ntls-cert-file a.crt\ntls-key-file a.key\ntls-key-file-pass secret\n\
                tls-auth-clients optional\ntls-auth-clients-user cn\ntls-replication yes\n\
                tls-session-cache-size 0\ntls-expected-peer-name a.example\n";
    let config_of_file = file(text).unwrap();
    let tls = &config_of_file.settings().tls;
    assert!(tls.is_used() && tls.replication && !tls.cluster && tls.options.connects);
    let options = &tls.options;
    assert_eq!(options.own.certificate.as_deref(), Some(Path::new("a.crt")));
    assert_eq!(
        options.own.passphrase.as_ref().map(|it| it.as_slice()),
        Some(&b"secret"[..])
    );
    assert_eq!(options.client_auth, ClientAuth::Optional);
    assert_eq!(options.user_field, UserField::CommonName);
    assert_eq!(options.expected_peer_name.as_deref(), Some("a.example"));
    assert_eq!(get(&config_of_file, "tls-auth-clients-user"), "CN");
    assert!(
        !format!("{tls:?}").contains("secret"),
        "it is nobody's to see"
    );
    assert_eq!(config_of_file.process_title(), b"gyre *:7");
    // A file may have another content under the same name: setting it again is a change.
    set(&mut config, &[("tls-cert-file", "x")]).unwrap();
    assert_eq!(
        set(&mut config, &[("tls-cert-file", "x")]).unwrap().len(),
        1
    );
}

/// A file in the manner of the stock redis.conf.
#[test]
fn a_usual_file_is_understood() {
    let config = file(
        "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ntcp-backlog 511\nunixsocketperm 700\ntimeout 0\n\
         tcp-keepalive 300\ndaemonize no\npidfile /var/run/redis_6379.pid\nloglevel notice\nlogfile \"\"\n\
         databases 16\nalways-show-logo no\nset-proc-title yes\nproc-title-template \"{title} {listen-addr} {server-mode}\"\n\
         replica-serve-stale-data yes\nappendonly no\nappendfsync everysec\nauto-aof-rewrite-min-size 64mb\n\
         slowlog-log-slower-than 10000\nslowlog-max-len 128\nnotify-keyspace-events \"\"\nlist-max-listpack-size -2\n\
         client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\n\
         client-output-buffer-limit pubsub 32mb 8mb 60\nhz 10\ndynamic-hz yes\nrdb-save-incremental-fsync yes\n\
         jemalloc-bg-thread yes\noom-score-adj no\noom-score-adj-values 0 200 800\n",
    )
    .unwrap();
    assert_eq!(config.warnings(), None);
    assert_eq!(
        config.settings().pidfile.as_deref(),
        Some(Path::new("/var/run/redis_6379.pid"))
    );
}

#[test]
fn every_bound_fits_its_field() {
    for pick in [0, 1] {
        let mut config = load(&[]);
        for (directive, value) in DIRECTIVES.iter().zip(config.values.iter_mut()) {
            if let (table::Kind::Number { min, max, .. }, Value::Number(number)) =
                (directive.kind, value)
            {
                *number = [min, max][pick];
            }
        }
        config.derive();
        assert_eq!(config.settings().port, [0, 65535][pick]);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(
        lines in proptest::collection::vec(
            (0..DIRECTIVES.len(), "[ -~]{0,12}", proptest::prelude::any::<Vec<u8>>()), 0..8),
        old in proptest::prelude::any::<Vec<u8>>(),
    ) {
        let mut text = Vec::new();
        for (index, words, bytes) in lines {
            text.extend_from_slice(DIRECTIVES[index].name.as_bytes());
            text.push(b' ');
            text.extend_from_slice(words.as_bytes());
            text.extend_from_slice(&bytes);
            text.push(b'\n');
        }
        let args = [OsString::from("-")];
        match Config::load_in(Path::new("/"), &args, &mut || Ok(text.clone())) {
            Err(error) => drop(error.to_string()),
            Ok(config) => {
                let new = config.rewritten(&text, &[], false);
                let again = Config::load_in(Path::new("/"), &args, &mut || Ok(new.clone()));
                // What is understood once is understood again, and means the same.
                proptest::prop_assert_eq!(again.unwrap().get(&[b"*"]), config.get(&[b"*"]));
            }
        }
        drop(load(&[]).rewritten(&old, &[], true));
    }
}

#[test]
fn the_title_is_filled_in() {
    let mut config = load(&["--bind", "127.0.0.1 ::1", "--port", "7"]);
    config.set_program(b"./gyre");
    assert_eq!(config.process_title(), b"./gyre 127.0.0.1:7");
    set(
        &mut config,
        &[(
            "proc-title-template",
            "T {title} {listen-addr} {port} {tls-port} {unixsocket} {config-file}",
        )],
    )
    .unwrap();
    assert_eq!(config.process_title(), b"T ./gyre 127.0.0.1:7 7 0  -");
    set(
        &mut config,
        &[
            ("port", "0"),
            ("bind", ""),
            ("proc-title-template", "{listen-addr}{server-mode}"),
        ],
    )
    .unwrap();
    assert_eq!(config.process_title(), b"unixsocket:");
}
