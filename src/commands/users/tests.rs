//! Tests of ACL.

use crate::clients::Identity;
use crate::commands::testing::{Harness, bulks, error};
use crate::resp::reader::Value;

/// Runs a line as a user.
fn become_user(harness: &mut Harness, name: &str) {
    let user = harness
        .state
        .users
        .find(name.as_bytes())
        .expect("a user")
        .clone();
    let client = harness.state.clients.get_mut(harness.client);
    client.expect("the client").session.identity = Identity::User(user);
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

#[test]
fn the_default_user_is_told_as_it_is() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("ACL WHOAMI"), Value::bulk("default"));
    assert_eq!(harness.line("ACL USERS"), bulks(&["default"]));
    let rules = "user default on nopass sanitize-payload ~* &* +@all";
    assert_eq!(harness.line("ACL LIST"), bulks(&[rules]));
    assert_eq!(harness.line("ACL GETUSER nosuch"), Value::NullBulk);
    harness.config("requirepass", "foobared");
    let hash = "1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf";
    let rules = format!("user default on sanitize-payload #{hash} ~* &* +@all");
    assert_eq!(harness.line("ACL LIST"), bulks(&[&rules]));
    assert_eq!(
        harness.line("ACL GETUSER default"),
        Value::Array(vec![
            Value::bulk("flags"),
            bulks(&["on", "sanitize-payload"]),
            Value::bulk("passwords"),
            bulks(&[hash]),
            Value::bulk("commands"),
            Value::bulk("+@all"),
            Value::bulk("keys"),
            Value::bulk("~*"),
            Value::bulk("channels"),
            Value::bulk("&*"),
            Value::bulk("selectors"),
            Value::Array(Vec::new()),
        ])
    );
}

/// A connection is told who it is, not who everybody is as long as there is one user.
#[test]
fn who_asks_is_its_own_user() {
    let mut harness = Harness::new();
    let name: &[u8] = b"al\xffice";
    assert_eq!(
        harness.run(&[&b"ACL"[..], b"SETUSER", name, b"on", b"+@all"]),
        ok()
    );
    let user = harness.state.users.find(name).expect("a user").clone();
    let client = harness.state.clients.get_mut(harness.client);
    client.expect("the client").session.identity = Identity::User(user);
    assert_eq!(harness.line("ACL WHOAMI"), Value::Bulk(name.to_vec()));
    let Value::Bulk(line) = harness.line("CLIENT INFO") else {
        panic!("a line")
    };
    let wanted = b" user=al\xffice ";
    assert!(line.windows(wanted.len()).any(|at| at == wanted));
}

#[test]
fn a_user_may_what_its_rules_say() {
    let mut harness = Harness::new();
    let made = harness.line("ACL SETUSER u on nopass ~a* %R~r* &c* +get +set +publish +config|get");
    assert_eq!(made, ok());
    become_user(&mut harness, "u");
    assert_eq!(harness.line("SET a1 1"), ok());
    assert_eq!(harness.line("GET r"), Value::NullBulk);
    let key = error("NOPERM No permissions to access a key");
    assert_eq!(harness.line("SET r 1"), key);
    assert_eq!(harness.line("GET b"), key);
    assert_eq!(
        harness.line("DEL a1"),
        error("NOPERM User u has no permissions to run the 'del' command")
    );
    assert_eq!(harness.line("PUBLISH c1 x"), Value::Integer(0));
    assert_eq!(
        harness.line("PUBLISH d x"),
        error("NOPERM No permissions to access a channel")
    );
    assert!(matches!(harness.line("CONFIG GET port"), Value::Array(_)));
    assert_eq!(
        harness.line("CONFIG SET port 1"),
        error("NOPERM User u has no permissions to run the 'config|set' command")
    );
    // Whoever it is, it may say that it is somebody else.
    assert_eq!(harness.line("AUTH default x"), ok());
    assert_eq!(harness.line("DEL a1"), Value::Integer(1));
    let stats = &harness.state.observe.stats;
    let denied = (stats.denied_command, stats.denied_key, stats.denied_channel);
    assert_eq!(denied, (2, 2, 1));
}

#[test]
fn a_transaction_is_asked_for_again_when_it_is_run() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("ACL SETUSER u on nopass ~* +@all"), ok());
    become_user(&mut harness, "u");
    harness.line("MULTI");
    harness.line("SET a 1");
    harness.line("GET a");
    let changed = {
        let state = &mut harness.state;
        let changed = state
            .users
            .set(b"u", &[b"-set"], &state.table)
            .expect("a rule");
        crate::engine::permissions::follow(state, &[changed], None);
        harness.line("EXEC")
    };
    let refused = error(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no \
         longer allowed for the following reason: no permission to execute the command or subcommand",
    );
    assert_eq!(changed, Value::Array(vec![refused, Value::NullBulk]));
    // What may not be queued has the transaction discarded.
    harness.line("MULTI");
    assert!(matches!(harness.line("SET a 1"), Value::Error(_)));
    let Value::Error(text) = harness.line("EXEC") else {
        panic!("an error")
    };
    assert!(text.starts_with(b"EXECABORT"));
}

#[test]
fn scripts_may_what_their_callers_may() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("ACL SETUSER u on nopass ~a +@all -del"), ok());
    become_user(&mut harness, "u");
    let eval = |harness: &mut Harness, script: &str| harness.run(&["EVAL", script, "0"]);
    assert_eq!(
        eval(&mut harness, "return redis.call('get', 'a')"),
        Value::NullBulk
    );
    for (script, wanted) in [
        ("return redis.pcall('del', 'a')", "'del' command"),
        (
            "return redis.pcall('get', 'b')",
            "No permissions to access a key",
        ),
    ] {
        let Value::Error(text) = eval(&mut harness, script) else {
            panic!("{script} ran")
        };
        let text = String::from_utf8(text).expect("a text");
        assert!(
            text.starts_with("ERR ACL failure in script: ") && text.contains(wanted),
            "{text}"
        );
    }
    for (words, may) in [
        ("'get','a'", true),
        ("'get','b'", false),
        ("'del','a'", false),
    ] {
        let script = format!("return redis.acl_check_cmd({words}) and 1 or 0");
        assert_eq!(
            eval(&mut harness, &script),
            Value::Integer(i64::from(may)),
            "{words}"
        );
    }
}

#[test]
fn sort_reads_other_keys_only_for_those_who_may_read_all() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("ACL SETUSER u on nopass ~l +@all"), ok());
    harness.line("RPUSH l 1");
    become_user(&mut harness, "u");
    assert_eq!(harness.line("SORT l BY nosort"), bulks(&["1"]));
    let denied = |option: &str| {
        error(&format!(
            "ERR {option} option of SORT denied due to insufficient ACL permissions."
        ))
    };
    assert_eq!(harness.line("SORT l BY w*"), denied("BY"));
    assert_eq!(harness.line("SORT_RO l LIMIT 0 1 GET w*"), denied("GET"));
    assert_eq!(harness.line("SORT l GET"), error("ERR syntax error"));
    harness.line("ACL SETUSER u ~*");
    assert_eq!(harness.line("SORT l BY w*"), bulks(&["1"]));
}

#[test]
fn a_change_is_made_whole_or_not_at_all() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("ACL SETUSER u on +get"), ok());
    let before = harness.line("ACL LIST");
    assert_eq!(
        harness.line("ACL SETUSER u off +nosuch"),
        error(
            "ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"
        )
    );
    assert_eq!(harness.line("ACL LIST"), before);
    assert_eq!(
        harness.run(&["ACL", "SETUSER", "a b", "on"]),
        error("ERR Usernames can't contain spaces or null characters")
    );
}

#[test]
fn a_deleted_user_is_nobody_any_more() {
    let mut harness = Harness::new();
    harness.line("ACL SETUSER u on nopass +@all");
    assert_eq!(
        harness.line("ACL DELUSER u default"),
        error("ERR The 'default' user cannot be removed")
    );
    become_user(&mut harness, "u");
    assert_eq!(harness.line("ACL DELUSER u nosuch"), Value::Integer(1));
    let client = harness.state.clients.get(harness.client);
    assert!(client.expect("the client").session.identity.is_stranger());
    assert_eq!(harness.state.requests.close_caller, Some(harness.client));
}

#[test]
fn refusals_are_logged() {
    let mut harness = Harness::new();
    harness.line("ACL SETUSER u on >secret +get +acl ~a");
    assert!(matches!(harness.line("AUTH u wrong"), Value::Error(_)));
    become_user(&mut harness, "u");
    harness.line("GET b");
    harness.line("GET b");
    let Value::Array(entries) = harness.line("ACL LOG") else {
        panic!("entries")
    };
    let field = |entry: &Value, name: &str| {
        let Value::Array(fields) = entry else {
            panic!("an entry")
        };
        let at = fields.iter().position(|it| *it == Value::bulk(name));
        fields[at.expect("a field") + 1].clone()
    };
    assert_eq!(entries.len(), 2);
    for (name, wanted) in [
        ("count", Value::Integer(2)),
        ("reason", Value::bulk("key")),
        ("context", Value::bulk("toplevel")),
        ("object", Value::bulk("b")),
        ("username", Value::bulk("u")),
    ] {
        assert_eq!(field(&entries[0], name), wanted, "{name}");
    }
    assert_eq!(field(&entries[1], "reason"), Value::bulk("auth"));
    assert_eq!(field(&entries[1], "object"), Value::bulk("AUTH"));
    assert_eq!(harness.line("ACL LOG 0"), Value::Array(Vec::new()));
    assert_eq!(harness.line("ACL LOG RESET"), ok());
    assert_eq!(harness.line("ACL LOG"), Value::Array(Vec::new()));
}

#[test]
fn a_dry_run_tells_what_was_denied() {
    let mut harness = Harness::new();
    harness.line("ACL SETUSER u on ~a &c +get +publish");
    assert_eq!(harness.line("ACL DRYRUN u GET a"), ok());
    for (line, wanted) in [
        ("GET b", "User u has no permissions to access the 'b' key"),
        (
            "SET a 1",
            "User u has no permissions to run the 'set' command",
        ),
        (
            "PUBLISH d x",
            "User u has no permissions to access the 'd' channel",
        ),
    ] {
        assert_eq!(
            harness.line(&format!("ACL DRYRUN u {line}")),
            Value::bulk(wanted)
        );
    }
    for (line, wanted) in [
        ("nosuch GET a", "ERR User 'nosuch' not found"),
        ("u nosuch a", "ERR Command 'nosuch' not found"),
        ("u GET", "ERR wrong number of arguments for 'get' command"),
    ] {
        assert_eq!(harness.line(&format!("ACL DRYRUN {line}")), error(wanted));
    }
}

#[test]
fn without_a_file_there_is_nothing_to_load_or_save() {
    let mut harness = Harness::new();
    for line in ["ACL LOAD", "ACL SAVE"] {
        let Value::Error(text) = harness.line(line) else {
            panic!("{line} was answered")
        };
        assert!(text.starts_with(b"ERR This Redis instance is not configured to use an ACL file."));
    }
}

#[test]
fn categories_come_from_the_table() {
    let mut harness = Harness::new();
    let Value::Array(categories) = harness.line("ACL CAT") else {
        panic!("categories")
    };
    assert_eq!(categories.len(), 21);
    assert_eq!(categories[0], Value::bulk("keyspace"));
    let Value::Array(commands) = harness.line("ACL CAT Scripting") else {
        panic!("commands")
    };
    for name in ["eval", "function|load"] {
        assert!(commands.contains(&Value::bulk(name)), "{name}");
    }
    assert!(!commands.contains(&Value::bulk("get")));
    assert_eq!(
        harness.line("ACL CAT nosuch"),
        error("ERR Unknown category 'nosuch'")
    );
    assert_eq!(
        harness.run(&["ACL", "CAT", &"x".repeat(1000)]),
        error(&format!("ERR Unknown category '{}'", "x".repeat(128)))
    );
    // Byte for byte, to the first zero.
    assert_eq!(
        harness.run(&[b"ACL", &b"CAT"[..], b"\xffab\0c"]),
        Value::Error(b"ERR Unknown category '\xffab'".to_vec())
    );
}

#[test]
fn passwords_are_as_long_as_asked_for() {
    let mut harness = Harness::new();
    for (line, digits) in [
        ("ACL GENPASS", 64),
        ("ACL GENPASS 5", 2),
        ("ACL GENPASS 1", 1),
        ("ACL GENPASS 4096", 1024),
    ] {
        let password = harness.line(line);
        let password = password.as_bytes().unwrap();
        assert_eq!(password.len(), digits);
        assert!(password.iter().all(u8::is_ascii_hexdigit));
    }
    let range = error(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
    );
    for bits in ["0", "4097", "-1"] {
        assert_eq!(harness.run(&["ACL", "GENPASS", bits]), range);
    }
    assert_eq!(
        harness.line("ACL GENPASS x"),
        error("ERR value is not an integer or out of range")
    );
}

#[test]
fn roles_are_shared_by_their_members() {
    let mut harness = Harness::new();
    assert_eq!(harness.line("ACL SETROLE reader +get ~a*"), ok());
    assert_eq!(harness.line("ACL SETUSER u on nopass role=reader"), ok());
    assert_eq!(harness.line("ACL ROLES"), bulks(&["reader"]));
    let before = harness.line("ACL DIGEST");
    assert_eq!(harness.line("ACL DRYRUN u GET a"), ok());
    assert!(matches!(
        harness.line("ACL DRYRUN u SET a 1"),
        Value::Bulk(_)
    ));
    // Who has a role has it as it is now.
    become_user(&mut harness, "u");
    assert!(matches!(harness.line("SET a 1"), Value::Error(_)));
    let state = &mut harness.state;
    let changed = state
        .users
        .set_role(b"reader", &[b"+set"], &state.table)
        .expect("a rule");
    crate::engine::permissions::follow(state, &changed, None);
    assert_eq!(harness.line("SET a 1"), ok());
    become_user(&mut harness, "default");
    assert_ne!(harness.line("ACL DIGEST"), before);
    let Value::Array(fields) = harness.line("ACL GETROLE reader") else {
        panic!("fields")
    };
    assert_eq!(
        fields[fields.len() - 2..],
        [Value::bulk("members"), bulks(&["u"])]
    );
    assert_eq!(harness.line("ACL GETROLE nosuch"), Value::NullBulk);
    assert!(matches!(
        harness.line("ACL DELROLE reader"),
        Value::Error(_)
    ));
    harness.line("ACL DELUSER u");
    assert_eq!(harness.line("ACL DELROLE reader nosuch"), Value::Integer(1));
    assert_eq!(harness.line("ACL ROLES"), Value::Array(Vec::new()));
}

/// Each change was a look at all clients, so that a file with thousands of changes held the loop for seconds.
#[test]
fn many_changes_are_one_look_at_the_clients() {
    use crate::clients::{Client, ClientKind};
    use std::time::{Duration, Instant};
    const USERS: usize = 3000;
    let mut harness = Harness::new();
    let state = &mut harness.state;
    let name = |n: usize| format!("u{n}").into_bytes();
    let mut clients = Vec::new();
    for n in 0..USERS {
        let made = state.users.set(&name(n), &[b"on", b"+get"], &state.table);
        let user = made.expect("rules").after.expect("a user");
        let identity = Identity::User(user);
        let client = Client::without_socket(ClientKind::Normal, identity);
        clients.push(state.clients.insert(client));
    }
    let mut follow = |rule: &[u8], count: usize| -> Duration {
        let state = &mut harness.state;
        let changes: Vec<_> = (0..count)
            .map(|n| state.users.set(&name(n), &[rule], &state.table))
            .collect::<Result<_, _>>()
            .expect("rules");
        let begun = Instant::now();
        crate::engine::permissions::follow(state, &changes, None);
        begun.elapsed()
    };
    let one = follow(b"+set", 1);
    let all = follow(b"+del", USERS);
    assert!(
        all < one * 300 + Duration::from_millis(20),
        "{one:?} for one, {all:?} for all"
    );
    let state = &mut harness.state;
    for (n, key) in clients.iter().enumerate() {
        let client = state.clients.get(*key).expect("a client");
        let user = client.session.identity.user().expect("a user");
        let now = state.users.find(&name(n)).expect("a user");
        assert!(std::rc::Rc::ptr_eq(user, now));
    }
    let names: Vec<String> = (0..USERS / 2).map(|n| format!("u{n}")).collect();
    let line = format!("ACL DELUSER {} nosuch", names.join(" "));
    assert_eq!(harness.line(&line), Value::Integer(USERS as i64 / 2));
    for (n, key) in clients.iter().enumerate() {
        let client = harness.state.clients.get(*key);
        let is_somebody = client.is_some_and(|it| it.session.identity.user().is_some());
        assert_eq!(is_somebody, n >= USERS / 2, "{n}");
    }
}

#[test]
fn databases_are_permitted_one_by_one() {
    let mut harness = Harness::new();
    assert_eq!(
        harness.line("ACL SETUSER u on nopass ~* +@all resetdbs db=0,2"),
        ok()
    );
    become_user(&mut harness, "u");
    assert_eq!(harness.line("SET a 1"), ok());
    let denied = error("NOPERM No permissions to access a database");
    for line in [
        "SELECT 1",
        "MOVE a 1",
        "COPY a b DB 1",
        "COPY a b DB 0 DB 1",
        "COPY a b REPLACE db 1 DB 0",
        "SWAPDB 0 1",
        "FLUSHALL",
    ] {
        assert_eq!(harness.line(line), denied, "{line}");
    }
    assert_eq!(harness.line("SELECT 2"), ok());
    assert_eq!(harness.line("DBSIZE"), Value::Integer(0));
    harness.line("ACL SETUSER u resetdbs db=0");
    // What looks at no key may be run anywhere.
    assert_eq!(harness.line("PING"), Value::Simple("PONG".into()));
    assert_eq!(harness.line("DBSIZE"), denied);
    assert_eq!(harness.line("SELECT 0"), ok());
    assert_eq!(harness.line("DBSIZE"), Value::Integer(1));
}

/// A key may be as long as a value, and the log has many entries.
#[test]
fn the_log_keeps_so_much_of_a_key_and_no_more() {
    let mut harness = Harness::new();
    harness.line("ACL SETUSER u on nopass ~ok +get +acl|log");
    become_user(&mut harness, "u");
    harness.line(&format!("GET {}", "k".repeat(100_000)));
    let Value::Array(entries) = harness.line("ACL LOG") else {
        panic!("entries")
    };
    let Value::Array(fields) = &entries[0] else {
        panic!("fields")
    };
    let at = fields.iter().position(|it| *it == Value::bulk("object"));
    assert_eq!(
        fields[at.expect("an object") + 1],
        Value::bulk("k".repeat(1024))
    );
}
