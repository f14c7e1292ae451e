//! Tests of rules as users meet them: each rule and each error, what is described, files; and whatever is permitted
//! against a naive model.

use super::*;
use crate::resp::OwnedRequest;
use crate::system::glob;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Commands as a list, with more than fit into one word of bits.
struct Table;

const CATEGORIES: [&str; 7] = [
    "read",
    "write",
    "string",
    "hash",
    "admin",
    "slow",
    "dangerous",
];

const COMMANDS: &[(&str, &str)] = &[
    ("get", "read string"),
    ("set", "write string slow"),
    ("incr", "write string"),
    ("hget", "read hash"),
    ("hset", "write hash"),
    ("hgetall", "read hash slow"),
    ("select", ""),
    ("debug", "admin slow dangerous"),
    ("flushall", "write slow dangerous"),
    ("publish", ""),
    ("subscribe", "slow"),
    ("psubscribe", "slow"),
    ("unsubscribe", "slow"),
    ("config", "slow"),
    ("config|get", "admin slow dangerous"),
    ("config|set", "admin slow dangerous"),
    ("client", "slow"),
    ("client|id", "slow"),
    ("client|kill", "admin slow dangerous"),
    ("copy", "write slow"),
];

/// Further commands, of no category.
const OTHERS: usize = 100;

impl Catalogue for Table {
    fn len(&self) -> usize {
        COMMANDS.len() + OTHERS
    }
    fn find(&self, name: &[u8]) -> Option<u16> {
        let is_it = |id: &u16| self.name(*id).as_bytes().eq_ignore_ascii_case(name);
        (0..self.len() as u16).find(is_it)
    }
    fn name(&self, id: u16) -> &str {
        const NAMES: [&str; 2] = ["other", "last"];
        match COMMANDS.get(usize::from(id)) {
            Some((name, _)) => name,
            None => match usize::from(id) - COMMANDS.len() {
                0 => NAMES[0],
                at if at == OTHERS - 1 => NAMES[1],
                _ => "-",
            },
        }
    }
    fn parent(&self, id: u16) -> Option<u16> {
        let (parent, _) = self.name(id).split_once('|')?;
        self.find(parent.as_bytes())
    }
    fn subcommands(&self, id: u16) -> Vec<u16> {
        let ids = 0..COMMANDS.len() as u16;
        ids.filter(|it| self.parent(*it) == Some(id)).collect()
    }
    fn categories(&self, id: u16) -> u32 {
        let names = COMMANDS.get(usize::from(id)).map_or("", |(_, names)| names);
        let bits = names
            .split_whitespace()
            .map(|name| self.category(name.as_bytes()).unwrap());
        bits.fold(0, |all, bit| all | bit)
    }
    fn category(&self, name: &[u8]) -> Option<u32> {
        let at = CATEGORIES
            .iter()
            .position(|it| it.as_bytes().eq_ignore_ascii_case(name))?;
        Some(1 << at)
    }
}

fn users() -> Users {
    Users::new(&Table, false)
}

fn words(rules: &str) -> Vec<&[u8]> {
    rules
        .split(' ')
        .filter(|it| !it.is_empty())
        .map(str::as_bytes)
        .collect()
}

/// Gives Alice these rules.
#[track_caller]
fn set(users: &mut Users, rules: &str) -> Rc<User> {
    let changed = users.set(b"alice", &words(rules), &Table);
    changed
        .unwrap_or_else(|error| panic!("{error}"))
        .after
        .unwrap()
}

/// A new user with these rules.
#[track_caller]
fn user(rules: &str) -> Rc<User> {
    set(&mut users(), rules)
}

#[track_caller]
fn described(rules: &str) -> String {
    text(&user(rules).describe())
}

#[track_caller]
fn commands(rules: &str) -> String {
    text(&user(rules).root().commands())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What SETUSER says of wrong rules.
#[track_caller]
fn refused(rules: &[&str]) -> String {
    let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
    let mut users = users();
    let error = users.set(b"alice", &rules, &Table).unwrap_err();
    assert!(users.find(b"alice").is_none(), "all or nothing");
    assert_eq!(users.check_rules(&rules, &Table), Err(error.clone()));
    error.to_string()
}

/// A command line: what stands behind `r:`, `w:`, `rw:` or `k:` is a key, behind `c:` a channel, behind `p:` a pattern of
/// channels.
#[derive(Debug)]
struct Line {
    request: OwnedRequest,
    keys: Vec<KeyUse>,
    channels: Vec<ChannelUse>,
    command: u16,
    db: usize,
    other_dbs: Vec<usize>,
}

impl Line {
    fn new(line: &str) -> Line {
        let (mut args, mut keys, mut channels) = (Vec::new(), Vec::new(), Vec::new());
        for (at, word) in line.split(' ').enumerate() {
            let (kind, name) = word.split_once(':').unwrap_or(("", word));
            let access = match kind {
                "r" => Some(access::READ),
                "w" => Some(access::WRITE),
                "rw" => Some(access::READ | access::WRITE),
                "k" => Some(0),
                _ => None,
            };
            keys.extend(access.map(|access| KeyUse { at, access }));
            if matches!(kind, "c" | "p" | "u") {
                channels.push(ChannelUse {
                    at,
                    is_pattern: kind == "p",
                    is_unsubscribe: kind == "u",
                });
            }
            args.push(name.as_bytes());
        }
        let first = text(args[0]);
        let command = match args
            .get(1)
            .map(|second| format!("{first}|{}", text(second)))
        {
            Some(name) if Table.find(name.as_bytes()).is_some() => name,
            _ => first,
        };
        Line {
            request: OwnedRequest::from_slices(&args),
            keys,
            channels,
            command: Table.find(command.as_bytes()).expect("a command"),
            db: 0,
            other_dbs: Vec::new(),
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            command: self.command,
            parent: Table.parent(self.command),
            args: self.request.args(),
            keys: &self.keys,
            channels: &self.channels,
            db: self.db,
            other_dbs: &self.other_dbs,
        }
    }
}

fn check(user: &User, line: &str) -> Result<(), Denied> {
    user.check(&Line::new(line).call())
}

// ---- users and their flags ---------------------------------------------------------------------------------------

#[test]
fn a_new_user_may_do_nothing() {
    let alice = user("");
    assert_eq!(
        text(&alice.describe()),
        "off sanitize-payload resetchannels -@all"
    );
    assert!(!alice.is_on() && !alice.has_nopass() && !alice.is_unrestricted());
    assert!(!alice.accepts(b""));
    assert_eq!(check(&alice, "other"), Err(Denied::Command));
    let mut users = Users::new(&Table, true);
    assert_eq!(
        text(&set(&mut users, "").describe()),
        "off sanitize-payload &* -@all"
    );
    assert_eq!(
        text(&set(&mut users, "(+get)").describe()),
        "off sanitize-payload &* -@all (&* -@all +get)"
    );
    users.set_pubsub_default(false);
    assert_eq!(
        text(&set(&mut users, "reset").describe()),
        "off sanitize-payload resetchannels -@all"
    );
}

#[test]
fn the_default_user_may_do_everything() {
    let mut users = users();
    let default = users.default_user();
    assert_eq!(
        text(&default.describe()),
        "on nopass sanitize-payload ~* &* +@all"
    );
    assert!(default.is_unrestricted() && default.sees_all_keys() && default.accepts(b"any"));
    assert_eq!(default.flags(), ["on", "nopass", "sanitize-payload"]);
    assert!(users.remove(DEFAULT_USER).is_none());
    let before = users.default_user().clone();
    let changed = users.set_default_password(Some(b"secret"));
    assert_eq!(changed.before, Some(before));
    assert_eq!(changed.after.as_ref(), Some(users.default_user()));
    assert_eq!(users.find(DEFAULT_USER), Some(users.default_user()));
    let default = users.default_user();
    assert!(default.accepts(b"secret") && !default.accepts(b"any") && !default.has_nopass());
    assert!(default.is_unrestricted());
    users.set_default_password(None);
    assert!(users.default_user().has_nopass());
    assert_eq!(users.default_user().passwords().len(), 0);
}

#[test]
fn flags_are_set_and_reset() {
    for (rules, flags) in [
        ("on", "on sanitize-payload"),
        ("ON OFF", "off sanitize-payload"),
        (
            "on skip-sanitize-payload nopass",
            "on nopass skip-sanitize-payload",
        ),
        (
            "skip-sanitize-payload sanitize-payload",
            "off sanitize-payload",
        ),
        ("nopass resetpass", "off sanitize-payload"),
        ("nopass >a resetpass", "off sanitize-payload"),
    ] {
        assert_eq!(user(rules).flags().join(" "), flags, "{rules}");
    }
    let mut users = users();
    set(
        &mut users,
        "on nopass skip-sanitize-payload ~a &b +get db=1 (+set) cpu=5/s",
    );
    assert_eq!(
        text(&set(&mut users, "reset").describe()),
        "off sanitize-payload resetchannels -@all"
    );
    assert!(user("skip-sanitize-payload").skips_sanitizing());
}

#[test]
fn passwords_come_and_go() {
    let mut users = users();
    let hash = "2d9c75273d72b32df726fb545c8a4edc719f0a95a6fd993950b10c474ad9c927";
    let alice = set(&mut users, ">p1pp0 >other >p1pp0");
    assert_eq!(alice.passwords().next(), Some(hash));
    assert_eq!(alice.passwords().len(), 2);
    assert!(alice.accepts(b"p1pp0") && alice.accepts(b"other") && !alice.accepts(b"p1pp1"));
    let alice = set(&mut users, "<other");
    assert!(text(&alice.describe()).starts_with(&format!("off sanitize-payload #{hash} resetch")));
    let alice = set(&mut users, &format!("!{hash}"));
    assert!(!alice.accepts(b"p1pp0") && alice.passwords().len() == 0);
    assert!(set(&mut users, &format!("#{hash}")).accepts(b"p1pp0"));
    let alice = set(&mut users, "nopass");
    assert!(alice.accepts(b"x") && alice.passwords().len() == 0);
    let alice = set(&mut users, ">x");
    assert!(!alice.has_nopass() && !alice.accepts(b"y"));
    let binary: &[u8] = b">a\0b c";
    let changed = users.set(b"alice", &[binary], &Table).unwrap();
    assert!(changed.after.unwrap().accepts(b"a\0b c"));
}

#[test]
fn names_are_one_word() {
    let mut users = users();
    for name in ["a a", "a\0", "a\n", " "] {
        let error = users.set(name.as_bytes(), &[], &Table).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Usernames can't contain spaces or null characters"
        );
    }
    assert!(users.set(b"", &[], &Table).is_ok());
    assert!(users.set("ä".as_bytes(), &[], &Table).is_ok());
    let names: Vec<_> = users.iter().map(|user| text(user.name())).collect();
    assert_eq!(names, ["", "default", "ä"]);
}

#[test]
fn changes_leave_what_is_shared_alone() {
    let mut users = users();
    let first = set(&mut users, "+get ~a");
    let changed = users.set(b"alice", &[b"+set"], &Table).unwrap();
    assert!(Rc::ptr_eq(&changed.before.unwrap(), &first));
    assert_eq!(changed.name, b"alice");
    assert_eq!(text(&first.root().commands()), "-@all +get");
    assert!(users.set(b"alice", &[b"on", b"nonsense"], &Table).is_err());
    let now = users.find(b"alice").unwrap();
    assert!(Rc::ptr_eq(now, &changed.after.unwrap()) && !now.is_on());
    assert!(users.remove(b"alice").is_some() && users.remove(b"alice").is_none());
}

// ---- errors ------------------------------------------------------------------------------------------------------

#[test]
fn errors_are_spelled_as_by_redis() {
    let of = |rule: &str, reason: &str| format!("Error in ACL SETUSER modifier '{rule}': {reason}");
    let after_keys = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns";
    let after_channels = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels";
    let hash = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    let gone = "The password you are trying to remove from the user does not exist";
    let unknown = "Unknown command or category name in ACL";
    for (rules, rule, reason) in [
        (&["on", "nonsense"][..], "nonsense", "Syntax error"),
        (&["on "], "on ", "Syntax error"),
        (&[" () "], " () ", "Syntax error"),
        (&[")"], ")", "Syntax error"),
        (&["%~a"], "%~a", "Syntax error"),
        (&["%"], "%", "Syntax error"),
        (&["%RR~a"], "%RR~a", "Syntax error"),
        (&["%RX~a"], "%RX~a", "Syntax error"),
        (&["~a b"], "~a b", "Syntax error"),
        (&["~a\0"], "~a\0", "Syntax error"),
        (&["&a\tb"], "&a\tb", "Syntax error"),
        (&["+get|"], "+get|", "Syntax error"),
        (&["+get|a b"], "+get|a b", "Syntax error"),
        (&["allkeys", "~a"], "~a", after_keys),
        (&["~*", "%R~a"], "%R~a", after_keys),
        (&["~*", "%R~a b"], "%R~a b", after_keys),
        (&["~*", "%X~a"], "%X~a", after_keys),
        (&["&*", "&a"], "&a", after_channels),
        (&["+nonsense"], "+nonsense", unknown),
        (&["-nonsense"], "-nonsense", unknown),
        (&["+"], "+", unknown),
        (&["+|a"], "+|a", unknown),
        (&["+@nonsense"], "+@nonsense", unknown),
        (&["-@"], "-@", unknown),
        (&["+@all|x"], "+@all|x", unknown),
        (&["+config|nonsense"], "+config|nonsense", unknown),
        (&["-config|nonsense"], "-config|nonsense", unknown),
        (&["-get|a"], "-get|a", unknown),
        (&["+get|a|b"], "+get|a|b", unknown),
        (
            &["+config|get|maxmemory"],
            "+config|get|maxmemory",
            "Allowing first-arg of a subcommand is not supported",
        ),
        (&["#abc"], "#abc", hash),
        (&["!abc"], "!abc", hash),
        (&["<abc"], "<abc", gone),
        (&[">a", "<a", "<a"], "<a", gone),
        (&["(on)"], "(on)", "Syntax error"),
        (&["(+get", ">a)"], "(+get >a)", "Syntax error"),
        (&["((+get))"], "((+get))", "Syntax error"),
        (&["(+get \"~a)"], "(+get \"~a)", "Syntax error"),
        (&["(~* ~a)"], "(~* ~a)", after_keys),
        (&["(+nonsense)"], "(+nonsense)", unknown),
        (&["(cpu=5/s)"], "(cpu=5/s)", "Syntax error"),
        (&["db="], "db=", "Invalid database number"),
        (&["db=1,,2"], "db=1,,2", "Invalid database number"),
        (&["db=-1"], "db=-1", "Invalid database number"),
        (
            &["db=99999999999999999999"],
            "db=99999999999999999999",
            "Invalid database number",
        ),
        (&["role=nobody"], "role=nobody", "Unknown role name in ACL"),
        (
            &["rate=0/s"],
            "rate=0/s",
            "A limit is cpu=<1 to 1000 ms>/s, rate=<commands>/s or memory=<bytes>, and not zero",
        ),
    ] {
        assert_eq!(refused(rules), of(rule, reason));
    }
    assert_eq!(
        refused(&["on", "(+get", "(+set"]),
        "Unmatched parenthesis in acl selector starting at '(+get'."
    );
    let error = users().set(b"a", &[b"+nonsense"], &Table).unwrap_err();
    assert!(error.rule() == b"+nonsense" && error.reason() == unknown);
    assert_eq!(
        error.text("SETROLE"),
        of("+nonsense", unknown)
            .replace("SETUSER", "SETROLE")
            .as_bytes()
    );
    let error = users()
        .set(b"a", &[b">secret", b"<other"], &Table)
        .unwrap_err();
    assert!(!format!("{error:?}").contains("other"));
}

// ---- commands ----------------------------------------------------------------------------------------------------

#[test]
fn rules_of_commands_are_compacted() {
    for (rules, commands_shown) in [
        ("", "-@all"),
        ("+@all", "+@all"),
        ("allcommands", "+@all"),
        ("+get nocommands", "-@all"),
        ("+GET", "-@all +get"),
        ("+get +get", "-@all +get"),
        ("+get -get", "-@all -get"),
        ("+get +set -get", "-@all +set -get"),
        ("+config|get +config", "-@all +config"),
        ("+config -config|get", "-@all +config -config|get"),
        ("+CONFIG|Get", "-@all +config|get"),
        (
            "-config|get -config|set +config|get",
            "-@all -config|set +config|get",
        ),
        ("+client|id +config -client", "-@all +config -client"),
        ("+select|0 +select|1", "-@all +select|0 +select|1"),
        ("+select|A +select|a", "-@all +select|a"),
        ("+select|0 +select", "-@all +select"),
        ("+select|0 -select", "-@all -select"),
        ("+select +select|0", "-@all +select +select|0"),
        ("+@Read", "-@all +@read"),
        ("+@all -@hash -@slow +hget", "+@all -@hash -@slow +hget"),
        (
            "+@all -@hash -@slow +hget -@hash",
            "+@all -@slow +hget -@hash",
        ),
        (
            "+@all -@hash -@slow +hget +@hash",
            "+@all -@slow +hget +@hash",
        ),
        ("-@dangerous", "-@all -@dangerous"),
        ("+@hash +@all", "+@all"),
    ] {
        assert_eq!(commands(rules), commands_shown, "{rules}");
    }
}

#[test]
fn commands_are_permitted() {
    let allowed = |rules: &str, line: &str| check(&user(rules), line) != Err(Denied::Command);
    for (rules, permitted, denied) in [
        ("+get +last", "get k:a;last", "set w:a;other"),
        ("+@all -last", "get;other;debug a", "last"),
        ("+@string", "get;set;incr", "hget;other"),
        ("+@string -set", "get;incr", "set"),
        ("-set +@string", "set", "hset"),
        (
            "+@all -@dangerous",
            "get;other;config",
            "config get;client kill;debug;flushall",
        ),
        ("+config", "config;config get;config set", "client id"),
        ("+config|get", "config get", "config;config set"),
        ("+@all -config|get", "config set;config", "config get"),
        ("+@all -config", "client id", "config set;config get;config"),
        ("+@slow", "config get;client kill", "get"),
        (
            "+@admin",
            "config get;client kill;debug",
            "config;client id",
        ),
        ("+select|0", "select 0", "select 1;select"),
        ("+debug|Object", "debug oBJECT", "debug segfault;debug"),
        ("+select|0 -select", "", "select 0"),
        ("+select|0 +@read", "select 0", "select 1"),
        ("+debug|a -@admin", "", "debug a"),
        ("+select|0 -@all", "", "select 0"),
        ("+select -select +select|0", "select 0", "select 1"),
        ("nocommands", "", "get;other"),
        ("allcommands", "get;other;config get", ""),
    ] {
        for line in permitted.split(';').filter(|it| !it.is_empty()) {
            assert!(allowed(rules, line), "{rules}: {line}");
        }
        for line in denied.split(';').filter(|it| !it.is_empty()) {
            assert!(!allowed(rules, line), "{rules}: {line}");
        }
    }
}

#[test]
fn only_who_may_do_everything_is_unrestricted() {
    assert!(user("+@all ~* &*").is_unrestricted());
    assert!(user("(+@all ~* &*)").is_unrestricted());
    for rules in [
        "~* &*",
        "+@all &*",
        "+@all ~*",
        "+@all ~* &* -get",
        "+@all ~* &* db=0",
        "+@all %RW~* &*",
        "+@all (~* &*)",
    ] {
        assert!(!user(rules).is_unrestricted(), "{rules}");
    }
    assert!(user("~*").sees_all_keys());
    assert!(!user("~* (~a)").sees_all_keys());
    assert!(user("~* (allkeys)").sees_all_keys());
    assert!(
        user("+@all ~* &* -get alldbs")
            .check(&Line::new("set w:a").call())
            .is_ok()
    );
}

// ---- keys, channels, databases -----------------------------------------------------------------------------------

#[test]
fn patterns_of_keys_are_described() {
    for (rules, keys) in [
        ("", ""),
        ("allkeys", "~*"),
        ("~a ~b* ~a", "~a ~b*"),
        ("%R~a %w~b %RW~c %WR~d", "%R~a %W~b ~c ~d"),
        ("%R~a ~b %W~a", "~a ~b"),
        ("~a resetkeys ~b", "~b"),
        ("~a ~*", "~*"),
        ("~* resetkeys", ""),
        ("%R~*", "%R~*"),
        // Redis would print `~a ~*`, and could not read it again.
        ("~a %RW~*", "~*"),
        ("~", "~"),
        ("%r", "%R~"),
    ] {
        assert_eq!(text(&user(rules).root().keys()), keys, "{rules}");
    }
}

#[test]
fn keys_are_permitted() {
    let alice = user("+@all ~app:* %R~in:* %W~out:* ~exact %R~both* %W~*both");
    for line in [
        "copy rw:app:1 r:in:1",
        "copy w:out: w:exact",
        "get r:app:",
        "get k:in:1",
        "set k:out:1",
        "other",
    ] {
        assert_eq!(check(&alice, line), Ok(()), "{line}");
    }
    for (line, at) in [
        ("get r:app", 1),
        ("get r:out:1", 1),
        ("set w:in:1", 1),
        ("copy w:app:1 rw:in:1", 2),
        ("get k:exactly", 1),
        ("get rw:both", 1),
        ("get r:", 1),
    ] {
        assert_eq!(check(&alice, line), Err(Denied::Key(at)), "{line}");
    }
    assert!(alice.may_access_key(b"in:1", access::READ));
    assert!(!alice.may_access_key(b"in:1", access::READ | access::WRITE));
    assert!(alice.may_access_key(b"in:1", 0));
    assert!(user("~a (%R~b)").may_access_key(b"b", access::READ));
    assert!(user("~*").may_access_key(b"", 3));
    // As Redis has it: a pattern is asked, and `*` does not match it.
    for rules in ["%RW~*", "~**", "~?*", "%R~* %W~*"] {
        assert!(!user(rules).may_access_key(b"", 3), "{rules}");
        assert!(
            user(&format!("{rules} (~*)")).may_access_key(b"", 3),
            "{rules}"
        );
    }
    assert!(!user("%R~*").may_access_key(b"", 1));
}

#[test]
fn all_keys_may_be_needed() {
    let line = Line::new("get k:a");
    for (rules, access, may) in [
        ("+@all ~*", 3, true),
        ("+@all %R~*", access::READ, true),
        ("+@all %R~*", access::WRITE, false),
        ("+@all ~a*", access::READ, false),
        ("~* (+get ~a)", access::READ, false),
        ("~a +get (+get %R~*)", access::READ, true),
    ] {
        assert_eq!(
            user(rules).may_access_all_keys(&line.call(), access),
            may,
            "{rules}"
        );
    }
}

#[test]
fn channels_are_permitted() {
    let alice = user("+@all &news.* &exact");
    for line in [
        "publish c:news.1 text",
        "subscribe c:news. c:exact",
        "psubscribe p:news.*",
        "unsubscribe u:any",
        "get",
    ] {
        assert_eq!(check(&alice, line), Ok(()), "{line}");
    }
    for (line, at) in [
        ("publish c:new", 1),
        ("subscribe c:exact c:other", 2),
        ("psubscribe p:news.1", 1),
        ("psubscribe p:*", 1),
    ] {
        assert_eq!(check(&alice, line), Err(Denied::Channel(at)), "{line}");
    }
    assert_eq!(check(&user("+@all &*"), "psubscribe p:*"), Ok(()));
    assert!(alice.may_access_channel(b"news.x", false));
    assert!(!alice.may_access_channel(b"news.x", true));
    assert!(user("(&a)").may_access_channel(b"a", true));
    assert_eq!(text(&alice.root().channels()), "&news.* &exact");
    assert_eq!(text(&user("allchannels").root().channels()), "&*");
    assert_eq!(
        described("&a &a +get"),
        "off sanitize-payload resetchannels &a -@all +get"
    );
    assert_eq!(
        described("&* resetchannels"),
        "off sanitize-payload resetchannels -@all"
    );
}

#[test]
fn lost_channels_cut_subscribers_off() {
    let old = user("&a &b* (&c)");
    for (new, lost) in [
        ("&a &b* &c", false),
        ("&*", false),
        ("(&*)", false),
        ("(&a &b*) &c &d", false),
        ("&a &b*", true),
        ("&a &b &c", true),
        ("", true),
    ] {
        assert_eq!(old.channels_lost(&user(new)), lost, "{new}");
    }
    assert!(user("&*").channels_lost(&user("&a")));
    assert!(!user("").channels_lost(&user("")));
    let new = user("&a &b*");
    let cut = |channels: &[&'static [u8]], patterns: &[&'static [u8]]| {
        new.cuts_off(channels.iter().copied(), patterns.iter().copied())
    };
    assert!(!cut(&[], &[]));
    assert!(!cut(&[b"a", b"bx"], &[b"b*"]));
    assert!(cut(&[b"a", b"c"], &[]));
    assert!(cut(&[], &[b"b*", b"bx"]));
}

#[test]
fn databases_are_permitted() {
    let at = |rules: &str, db: usize, others: &[usize]| {
        let mut line = Line::new("copy");
        (line.db, line.other_dbs) = (db, others.to_vec());
        user(rules).check(&line.call())
    };
    assert_eq!(at("+@all", 7, &[ALL_DBS]), Ok(()));
    assert_eq!(at("+@all db=0,2", 2, &[0]), Ok(()));
    assert_eq!(at("+@all db=0,2", NO_DB, &[2]), Ok(()));
    assert_eq!(at("+@all db=0,2", 1, &[0]), Err(Denied::Database(1)));
    assert_eq!(at("+@all db=0,2", 0, &[3]), Err(Denied::Database(3)));
    assert_eq!(
        at("+@all db=0,2", NO_DB, &[ALL_DBS]),
        Err(Denied::Database(ALL_DBS))
    );
    assert_eq!(at("db=0", 1, &[]), Err(Denied::Database(1)));
    assert_eq!(at("resetdbs +@all", 0, &[]), Err(Denied::Database(0)));
    assert_eq!(at("resetdbs +@all", NO_DB, &[]), Ok(()));
    assert_eq!(at("+@all db=1 db=2", 1, &[]), Err(Denied::Database(1)));
    assert_eq!(at("+@all db=1 alldbs", 3, &[]), Ok(()));
    // Of two databases the one that the first selector refuses is reported.
    assert_eq!(at("resetdbs (db=0)", 0, &[1]), Err(Denied::Database(0)));
    for (rules, shown, described_as) in [
        ("", "alldbs", "off sanitize-payload resetchannels -@all"),
        (
            "DB=3,1,3",
            "db=1,3",
            "off sanitize-payload resetchannels db=1,3 -@all",
        ),
        (
            "resetdbs",
            "",
            "off sanitize-payload resetchannels resetdbs -@all",
        ),
    ] {
        assert_eq!(text(&user(rules).root().databases()), shown);
        assert_eq!(described(rules), described_as);
        assert_eq!(user(rules).root().has_all_databases(), shown == "alldbs");
    }
}

// ---- selectors ---------------------------------------------------------------------------------------------------

#[test]
fn one_selector_must_permit_all() {
    let alice = user("+get ~a (+set ~b) (+copy ~a ~c)");
    assert_eq!(check(&alice, "get r:a"), Ok(()));
    assert_eq!(check(&alice, "set w:b"), Ok(()));
    assert_eq!(check(&alice, "copy r:a w:c"), Ok(()));
    assert_eq!(check(&alice, "get r:b"), Err(Denied::Key(1)));
    assert_eq!(check(&alice, "copy r:a w:b"), Err(Denied::Key(2)));
    assert_eq!(check(&alice, "incr w:a"), Err(Denied::Command));
    assert_eq!(alice.selectors().len(), 2);
    let alice = user("%R~a +copy (%W~a +copy)");
    assert_eq!(check(&alice, "copy rw:a"), Err(Denied::Key(1)));
}

#[test]
fn the_refusal_that_came_furthest_is_reported() {
    for (rules, line, denied) in [
        ("~* (+get)", "get r:a", Denied::Key(1)),
        ("+copy ~a (+copy ~a ~b)", "copy r:a r:b r:c", Denied::Key(3)),
        ("+copy ~a ~b (+copy ~a)", "copy r:a r:b r:c", Denied::Key(3)),
        ("+copy (+copy ~*)", "copy r:a c:b", Denied::Channel(2)),
        ("db=1 (~*)", "get r:a", Denied::Command),
        ("db=1 (db=2)", "get r:a", Denied::Database(0)),
        ("+get (db=1)", "get r:a", Denied::Key(1)),
        (
            "+copy ~* &a (+copy ~* &b)",
            "copy c:a c:c",
            Denied::Channel(2),
        ),
    ] {
        assert_eq!(check(&user(rules), line), Err(denied), "{rules}: {line}");
    }
}

#[test]
fn selectors_are_read_and_described() {
    for (rules, shown) in [
        ("(+get ~a)", " (~a resetchannels -@all +get)"),
        (
            "( ~a +get ) (~b)",
            " (~a resetchannels -@all +get) (~b resetchannels -@all)",
        ),
        ("()", " (resetchannels -@all)"),
        ("(+@all -get &* %R~x)", " (%R~x &* +@all -get)"),
        (
            "(db=1 resetdbs) (db=2)",
            " (resetchannels resetdbs -@all) (resetchannels db=2 -@all)",
        ),
        ("(+get) clearselectors", ""),
        (
            "(\"~a)\" '~\"' +select|x)",
            " (\"~a)\" \"~\\\"\" resetchannels -@all +select|x)",
        ),
    ] {
        let alice = user(rules);
        let text = text(&alice.describe());
        assert_eq!(
            text,
            format!("off sanitize-payload resetchannels -@all{shown}"),
            "{rules}"
        );
        assert_eq!(described(&text), text);
        assert_eq!(user(&text), alice);
    }
}

// ---- roles and limits --------------------------------------------------------------------------------------------

#[test]
fn roles_are_shared() {
    let mut users = users();
    let reader = |users: &mut Users, rules: &str| users.set_role(b"reader", &words(rules), &Table);
    assert!(
        reader(&mut users, "~data:* +get (+publish &a)")
            .unwrap()
            .is_empty()
    );
    let alice = set(&mut users, "role=reader +set ~own");
    assert_eq!(
        text(&alice.describe()),
        "off sanitize-payload ~own resetchannels -@all +set role=reader"
    );
    assert_eq!(alice.roles().collect::<Vec<_>>(), [b"reader"]);
    assert_eq!(check(&alice, "get r:data:1"), Ok(()));
    assert_eq!(check(&alice, "publish c:a"), Ok(()));
    assert_eq!(check(&alice, "set w:data:1"), Err(Denied::Key(1)));
    assert!(alice.may_access_channel(b"a", false) && alice.may_access_key(b"data:1", 3));
    assert!(alice.selectors().is_empty());
    // A change reaches those who have the role, and is wholly made or not at all.
    assert!(reader(&mut users, "+hget nonsense").is_err());
    let changed = reader(&mut users, "+hget -get").unwrap();
    assert_eq!(changed.len(), 1);
    let after = changed[0].after.clone().unwrap();
    assert!(Rc::ptr_eq(changed[0].before.as_ref().unwrap(), &alice));
    assert!(Rc::ptr_eq(users.find(b"alice").unwrap(), &after));
    assert_eq!(check(&after, "hget r:data:1"), Ok(()));
    assert_eq!(check(&after, "get r:data:1"), Err(Denied::Command));
    let role = users.find_role(b"reader").unwrap();
    assert_eq!(
        text(&role.describe()),
        "~data:* resetchannels -@all +hget -get (resetchannels &a -@all +publish)"
    );
    assert_eq!(
        (role.name(), text(&role.root().keys())),
        (&b"reader"[..], "~data:*".to_owned())
    );
    assert_eq!(role.selectors().len(), 1);
    assert!(
        reader(&mut users, "+@all ~* &*").unwrap()[0]
            .after
            .as_ref()
            .unwrap()
            .is_unrestricted()
    );
    // It goes only when nobody has it.
    assert_eq!(users.members(b"reader").count(), 1);
    assert!(users.remove_role(b"reader").is_none());
    users.set_role(b"b", &[], &Table).unwrap();
    assert_eq!(
        set(&mut users, "role=b,reader,b")
            .roles()
            .collect::<Vec<_>>(),
        [&b"b"[..], b"reader"]
    );
    assert_eq!(
        set(&mut users, "role=b").roles().collect::<Vec<_>>(),
        [b"b"]
    );
    assert!(users.remove_role(b"reader").is_some() && users.remove_role(b"reader").is_none());
    assert_eq!(set(&mut users, "resetroles").roles().len(), 0);
    set(&mut users, "role=b");
    assert_eq!(set(&mut users, "reset").roles().len(), 0);
    assert_eq!(users.roles().len(), 1);
}

#[test]
fn roles_have_no_rules_of_users() {
    let mut users = users();
    for rule in [
        "on",
        "off",
        "nopass",
        "resetpass",
        ">a",
        "<a",
        "#a",
        "!a",
        "reset",
        "sanitize-payload",
        "role=a",
        "resetroles",
        "cpu=1/s",
        "throttle-error",
    ] {
        let error = users
            .set_role(b"a", &[rule.as_bytes()], &Table)
            .unwrap_err();
        assert_eq!(error.reason(), "Syntax error", "{rule}");
    }
    assert!(
        users
            .set_role(b"a", &[b"(+get)", b"clearselectors", b""], &Table)
            .is_ok()
    );
    for (name, error) in [
        (
            "",
            "Role names can't contain spaces, commas or null characters",
        ),
        (
            "a b",
            "Role names can't contain spaces, commas or null characters",
        ),
        (
            "a,b",
            "Role names can't contain spaces, commas or null characters",
        ),
        (
            "GET",
            "A role can't have the name of a command or a category",
        ),
        (
            "read",
            "A role can't have the name of a command or a category",
        ),
    ] {
        let result = users.set_role(name.as_bytes(), &[], &Table);
        assert_eq!(
            result.unwrap_err().text("SETROLE"),
            error.as_bytes(),
            "{name}"
        );
    }
}

#[test]
fn limits_are_described_where_they_are_set() {
    let alice = user("cpu=20/s memory=1kb (+get) throttle-error");
    assert_eq!(
        text(&alice.describe()),
        "off sanitize-payload resetchannels -@all (resetchannels -@all +get) cpu=20/s memory=1024 throttle-error"
    );
    let budget = alice.budget();
    assert_eq!(
        (budget.cpu_ms_per_s, budget.memory_bytes),
        (Some(20), Some(1024))
    );
    assert!(budget.throttle_error && budget.commands_per_s.is_none());
    assert_eq!(
        described("rate=5/s nobudget"),
        "off sanitize-payload resetchannels -@all"
    );
}

/// Rules that began anew, or came from a file, forgave what was owed.
#[test]
fn what_was_used_is_the_users_whatever_its_rules_are() {
    let mut users = users();
    let set = |users: &mut Users, rules: &[&[u8]]| {
        let changed = users.set(b"bob", rules, &Table).expect("right rules");
        changed.after.expect("the user")
    };
    let ran = Ran {
        cpu_ns: 5_000_000_000,
        commands: 7,
        called: 0,
    };
    let bob = set(&mut users, &[b"on", b"cpu=1/s"]);
    bob.usage().charge(bob.budget(), ran);
    let is_owed = |user: &User| user.usage().wait_ns(user.budget(), 1) > 0;
    assert!(is_owed(&bob));
    let bob = set(&mut users, &[b"reset", b"cpu=2/s"]);
    assert!(is_owed(&bob) && bob.usage().commands() == 7);
    let changed = users.load("f", b"user bob on cpu=3/s\nuser eve on", &Table);
    assert_eq!(changed.expect("a right file").len(), 2);
    let bob = users.find(b"bob").cloned().expect("the user");
    assert!(is_owed(&bob) && bob.usage().commands() == 7);
    // One that is made anew is another one.
    users.remove(b"bob");
    let bob = set(&mut users, &[b"on", b"cpu=1/s"]);
    assert!(!is_owed(&bob) && bob.usage().commands() == 0);
}

// ---- files -------------------------------------------------------------------------------------------------------

const FILE: &str = "\
# Who may come in.

user default on nopass ~* &* +@all\r
  user  alice? off
role reader ~data:* +get
user bob on >secret role=reader (~x   +set) \t
";

#[test]
fn files_are_loaded() {
    let mut users = users();
    set(&mut users, "+get");
    let default = users.default_user().clone();
    // Two spaces make an empty name, as in Redis.
    let changed = users.load("f", FILE.as_bytes(), &Table);
    assert_eq!(
        text(&changed.unwrap_err()),
        format!("f:4: Syntax error. {NOT_CHANGED}")
    );
    let file = FILE.replace("  user  alice? off", "user carol off  +get");
    let changed = users.load("f", file.as_bytes(), &Table).unwrap();
    let names: Vec<_> = changed.iter().map(|it| text(&it.name)).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    assert!(changed[0].after.is_none() && changed[1].before.is_none());
    assert!(Rc::ptr_eq(users.default_user(), &default));
    assert!(users.find(b"bob").unwrap().accepts(b"secret"));
    let saved = text(&users.to_file());
    assert_eq!(
        saved,
        "role reader ~data:* resetchannels -@all +get\n\
         user bob on sanitize-payload #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b \
         resetchannels -@all (~x resetchannels -@all +set) role=reader\n\
         user carol off sanitize-payload resetchannels -@all +get\n\
         user default on nopass sanitize-payload ~* &* +@all\n"
    );
    let bob = users.find(b"bob").unwrap().clone();
    assert!(
        users
            .load("f", saved.as_bytes(), &Table)
            .unwrap()
            .is_empty()
    );
    assert!(Rc::ptr_eq(users.find(b"bob").unwrap(), &bob));
    // A file that says nothing of the default user makes it what it is at first.
    users.set_default_password(Some(b"x"));
    let changed = users.load("f", b"user bob on", &Table).unwrap();
    assert_eq!(changed.len(), 3);
    assert_eq!(users.default_user(), users.find(DEFAULT_USER).unwrap());
    assert!(users.default_user().has_nopass() && users.roles().len() == 0);
    // The default user of a file begins with nothing.
    users.load("f", b"user default on", &Table).unwrap();
    assert_eq!(
        text(&users.default_user().describe()),
        "on sanitize-payload resetchannels -@all"
    );
}

const NOT_CHANGED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

#[test]
fn faults_of_files_are_reported_together() {
    let mut users = users();
    for (file, errors) in [
        (
            "alice on",
            "f:1 should start with user keyword followed by the username. ",
        ),
        (
            "user",
            "f:1 should start with user keyword followed by the username. ",
        ),
        (
            "USER alice",
            "f:1 should start with user keyword followed by the username. ",
        ),
        (
            "\n\nuser a\tb on",
            "'f:3: username 'a\tb' contains invalid characters. ",
        ),
        (
            "user a\nuser a",
            "WARNING: Duplicate user 'a' found on line 2. ",
        ),
        (
            "role a\nrole a",
            "WARNING: Duplicate role 'a' found on line 2. ",
        ),
        (
            "user a (+get",
            "f:1: Unmatched parenthesis in selector definition.",
        ),
        (
            "user a +x nonsense +@y ~* ~a",
            "f:1: Error in applying operation '+x': Unknown command or category name in ACL. \
             f:1: Syntax error. \
             f:1: Error in applying operation '+@y': Unknown command or category name in ACL. ",
        ),
        (
            "user a role=b",
            "f:1: Error in applying operation 'role=b': Unknown role name in ACL. ",
        ),
        (
            "role get",
            "f:1: A role can't have the name of a command or a category. ",
        ),
        ("role r on", "f:1: Syntax error. "),
        (
            "user a <secret\nrole b nonsense\nalice",
            "f:1: The password you are trying to remove from the user does not exist. \
             f:2: Syntax error. \
             f:3 should start with user keyword followed by the username. ",
        ),
    ] {
        let error = users.load("f", file.as_bytes(), &Table).unwrap_err();
        assert_eq!(text(&error), format!("{errors}{NOT_CHANGED}"), "{file}");
        assert_eq!((users.iter().len(), users.roles().len()), (1, 0));
    }
}

#[test]
fn the_digest_is_of_all_rules() {
    use sha2::{Digest, Sha256};
    let mut users = users();
    set(&mut users, "+get");
    users.set_role(b"alice", &[b"+get"], &Table).unwrap();
    let lines: Vec<_> = users.lines().map(|line| text(&line)).collect();
    assert_eq!(
        lines,
        [
            "role alice resetchannels -@all +get",
            "user alice off sanitize-payload resetchannels -@all +get",
            "user default on nopass sanitize-payload ~* &* +@all"
        ]
    );
    let mut expected = [0u8; 32];
    for line in &lines {
        let hash: [u8; 32] = Sha256::digest(line.as_bytes()).into();
        expected.iter_mut().zip(hash).for_each(|(a, b)| *a ^= b);
    }
    let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(users.digest(), hex);
    users.set_role(b"alice", &[b"+set"], &Table).unwrap();
    assert_ne!(users.digest(), hex);
}

// ---- a naive model -----------------------------------------------------------------------------------------------

/// What is permitted, as sets and lists that are searched.
#[derive(Clone, Default)]
struct Model {
    commands: BTreeSet<u16>,
    first_args: BTreeSet<(u16, String)>,
    keys: Vec<(u8, String)>,
    channels: Vec<String>,
    dbs: Option<BTreeSet<usize>>,
}

impl Model {
    fn apply(&mut self, rule: &str) {
        let everything = || (0..Table.len() as u16).collect();
        match rule {
            "+@all" => (self.commands, self.first_args) = (everything(), BTreeSet::new()),
            "-@all" => (self.commands, self.first_args) = Default::default(),
            "resetkeys" => self.keys.clear(),
            "resetchannels" => self.channels.clear(),
            "alldbs" => self.dbs = None,
            "resetdbs" => self.dbs = Some(BTreeSet::new()),
            _ => self.apply_other(rule),
        }
    }

    fn apply_other(&mut self, rule: &str) {
        let (sign, rest) = rule.split_at(1);
        if let Some(list) = rule.strip_prefix("db=") {
            self.dbs = Some(list.split(',').map(|it| it.parse().unwrap()).collect());
        } else if rest.starts_with('@') {
            let bit = Table.category(&rest.as_bytes()[1..]).unwrap();
            let ids = (0..Table.len() as u16).filter(|id| Table.categories(*id) & bit != 0);
            ids.for_each(|id| self.set_command(sign == "+", id));
        } else if sign == "&" {
            self.channels.push(rest.to_owned());
        } else if sign == "~" {
            self.keys.push((3, rest.to_owned()));
        } else if let Some((access, pattern)) = rest.split_once('~') {
            let bits = u8::from(access.contains('R')) | u8::from(access.contains('W')) << 1;
            self.keys.push((bits, pattern.to_owned()));
        } else if let Some(id) = Table.find(rest.as_bytes()) {
            self.set_command(sign == "+", id);
        } else if let Some((command, arg)) = rest.split_once('|') {
            let id = Table.find(command.as_bytes()).unwrap();
            self.first_args.insert((id, arg.to_ascii_lowercase()));
        }
    }

    fn set_command(&mut self, permit: bool, id: u16) {
        self.first_args.retain(|(of, _)| *of != id);
        for id in Table.subcommands(id).into_iter().chain([id]) {
            match permit {
                true => self.commands.insert(id),
                false => self.commands.remove(&id),
            };
        }
    }

    fn permits(&self, call: &Call<'_>) -> bool {
        let has_command = self.commands.contains(&call.command)
            || call.args.get(1).is_some_and(|arg| {
                let arg = text(arg).to_ascii_lowercase();
                self.first_args.contains(&(call.command, arg))
            });
        let matches = |pattern: &str, name: &[u8]| glob::matches(pattern.as_bytes(), name);
        let has_key = |key: &KeyUse| {
            // Patterns of the same text are one pattern.
            let bits = |text: &str| {
                self.keys
                    .iter()
                    .filter(|it| it.1 == text)
                    .fold(0, |all, it| all | it.0)
            };
            let name = call.args.at(key.at);
            let mut patterns = self.keys.iter().map(|(_, pattern)| pattern);
            patterns.any(|it| bits(it) & key.access == key.access && matches(it, name))
        };
        let has_channel = |channel: &ChannelUse| {
            let name = call.args.at(channel.at);
            channel.is_unsubscribe
                || self.channels.iter().any(|it| match channel.is_pattern {
                    true => it == "*" || it.as_bytes() == name,
                    false => matches(it, name),
                })
        };
        let has_db =
            |db: usize| db == NO_DB || self.dbs.as_ref().is_none_or(|dbs| dbs.contains(&db));
        has_command
            && call.keys.iter().all(has_key)
            && call.channels.iter().all(has_channel)
            && std::iter::once(call.db)
                .chain(call.other_dbs.iter().copied())
                .all(has_db)
    }
}

const RULES: &[&str] = &[
    "+@all",
    "-@all",
    "+get",
    "-get",
    "+set",
    "+hget",
    "+config",
    "-config",
    "+config|get",
    "-config|get",
    "-config|set",
    "+config|set",
    "+client|id",
    "-client",
    "+select|0",
    "+select|1",
    "+SELECT|a",
    "-select",
    "+debug|x",
    "+debug",
    "+@string",
    "-@string",
    "+@read",
    "-@read",
    "+@slow",
    "-@slow",
    "+@admin",
    "-@dangerous",
    "+@hash",
    "+publish",
    "+subscribe",
    "+psubscribe",
    "+copy",
    "+last",
    "-last",
    "+other",
    "resetkeys",
    "~a",
    "~b*",
    "~*b",
    "%R~a",
    "%W~a",
    "%R~b*",
    "%RW~c?",
    "%W~*",
    "%R~*",
    "%RW~*",
    "~[ab]c",
    "~long:prefix:of:a:key:*",
    "resetchannels",
    "&a",
    "&b*",
    "&*b",
    "alldbs",
    "resetdbs",
    "db=0",
    "db=1,2",
    "db=0,2",
    "~'a\"b",
    "~a)",
];

const LINES: &[&str] = &[
    "get r:a",
    "get r:b",
    "get k:bc",
    "set w:a",
    "set w:ab",
    "copy r:a w:b",
    "copy rw:a rw:cd",
    "hget r:ac",
    "hget r:long:prefix:of:a:key:1",
    "hget r:long:prefix:of:a:ke",
    "incr rw:a)",
    "get r:'a\"b",
    "config get",
    "config set x",
    "config",
    "client id",
    "client kill",
    "select 0",
    "select 1",
    "select A",
    "select",
    "debug X",
    "publish c:a",
    "subscribe c:b c:ab",
    "psubscribe p:b* p:a",
    "psubscribe p:*",
    "unsubscribe u:z",
    "flushall",
    "last",
    "other",
    "copy r:b w:bb c:b",
];

/// A user without a password was not hashed for, and stood for those that there are not: who measured saw who exists.
#[test]
fn whoever_is_asked_for_as_much_is_hashed_and_compared() {
    use super::password::COMPARISONS;
    let mut users = users();
    for (name, rules) in [
        (&b"one"[..], ">a"),
        (b"three", "on >a >b >c"),
        (b"open", "on nopass"),
    ] {
        users.set(name, &words(rules), &Table).unwrap();
    }
    let of = |name: &[u8], password: &[u8]| {
        COMPARISONS.set(0);
        let found = users.authenticate(name, password).is_some();
        (COMPARISONS.get(), found)
    };
    let (expected, _) = of(b"three", b"x");
    assert!(expected > 0);
    for (name, password, is_in) in [
        (&b"one"[..], b"a", false),
        (b"three", b"c", true),
        (b"three", b"x", false),
        (b"open", b"x", true),
        (b"default", b"x", true),
        (b"nobody", b"x", false),
    ] {
        assert_eq!(of(name, password), (expected, is_in), "{}", text(name));
    }
}

/// Rules of a root and of selectors; those that the state refuses are left out.
fn rules() -> impl Strategy<Value = Vec<Vec<&'static str>>> {
    let some = || proptest::collection::vec(proptest::sample::select(RULES), 0..14);
    proptest::collection::vec(some(), 1..4)
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (
        proptest::sample::select(LINES),
        0..4usize,
        proptest::option::of(0..4usize),
    );
    let line = line.prop_map(|(line, db, other)| {
        let mut line = Line::new(line);
        line.db = if db == 3 { NO_DB } else { db };
        line.other_dbs.extend(other);
        line
    });
    proptest::collection::vec(line, 20)
}

/// A rule as a word of a selector.
fn quoted(rule: &str) -> String {
    match rule.contains(['\'', '"']) || rule.ends_with(')') {
        true => text(&crate::system::quoting::quote(rule.as_bytes())),
        false => rule.to_owned(),
    }
}

fn user_and_models(rules: &[Vec<&str>]) -> (Rc<User>, Vec<Model>) {
    let mut models = vec![Model::default(); rules.len()];
    for (model, rules) in models.iter_mut().zip(rules) {
        rules.iter().for_each(|rule| model.apply(rule));
    }
    let mut words: Vec<Vec<u8>> = rules[0]
        .iter()
        .map(|rule| rule.as_bytes().to_vec())
        .collect();
    for selector in &rules[1..] {
        let selector: Vec<_> = selector.iter().map(|rule| quoted(rule)).collect();
        words.push(format!("({})", selector.join(" ")).into_bytes());
    }
    let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
    let changed = users().set(b"alice", &words, &Table);
    (changed.unwrap().after.unwrap(), models)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn permits_what_the_model_permits(rules in rules(), lines in lines()) {
        let (alice, models) = user_and_models(&rules);
        for line in &lines {
            let expected = models.iter().any(|model| model.permits(&line.call()));
            prop_assert_eq!(alice.check(&line.call()).is_ok(), expected, "{:?} {}", line.request, text(&alice.describe()));
            // The quick way says no more than what is so.
            let call = line.call();
            if let (_, [], []) = (call.keys, call.channels, call.other_dbs) {
                let quickly = std::iter::once(alice.root()).chain(alice.further_selectors()).any(|it| {
                    let mut keys = call.keys.iter();
                    it.permits_simply(call.command, call.db)
                        && keys.all(|key| it.permits_key(call.args.at(key.at), key.access))
                });
                prop_assert!(!quickly || expected);
            }
        }
    }

    /// What is described makes the same user, in a file as well; and is described the same.
    #[test]
    fn described_rules_make_the_same_user(rules in rules(), lines in lines()) {
        let (alice, _) = user_and_models(&rules);
        let description = alice.describe();
        let split: Vec<&[u8]> = description.split(|byte| *byte == b' ').collect();
        let mut users = users();
        let again = users.set(b"alice", &split, &Table).unwrap().after.unwrap();
        prop_assert_eq!(text(&again.describe()), text(&description));
        for (a, b) in std::iter::once((alice.root(), again.root())).chain(alice.selectors().iter().zip(again.selectors())) {
            prop_assert_eq!(a.command_bits(), b.command_bits());
        }
        for line in &lines {
            prop_assert_eq!(alice.check(&line.call()), again.check(&line.call()));
        }
        let file = users.to_file();
        prop_assert!(users.load("f", &file, &Table).unwrap().is_empty(), "{}", text(&file));
    }

    /// The configuration's reader takes quotes away: bare rules came back as others, or ended the start.
    #[test]
    fn lines_of_a_configuration_make_the_same_users(
        rules in rules(),
        names in (bytes(), bytes()),
        more in proptest::collection::vec(bytes(), 0..8),
    ) {
        let (alice, _) = user_and_models(&rules);
        let mut users = users();
        users.put_shared(alice);
        // What is refused is left out.
        let _ = users.set_role(&names.1, &[], &Table);
        let with_role = [b"role=", &names.1[..]].concat();
        for rule in more.iter().chain([&with_role]) {
            let _ = users.set_role(&names.1, &[rule], &Table);
            let _ = users.set(&names.0, &[rule], &Table);
        }
        let mut again = self::users();
        for line in users.config_lines() {
            let words = crate::system::quoting::split(line.trim_ascii()).unwrap();
            let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
            let rules = [&[&b"reset"[..]], &words[2..]].concat();
            let taken = match words[0] {
                b"role" => again.set_role(words[1], &words[2..], &Table).map(|_| ()),
                _ => again.set(words[1], &rules, &Table).map(|_| ()),
            };
            prop_assert!(taken.is_ok(), "{:?} of {}", taken, text(&line));
        }
        let lines = |users: &Users| users.lines().map(|line| text(&line)).collect::<Vec<_>>();
        prop_assert_eq!(lines(&again), lines(&users));
    }

    /// Nothing that is given as rules, names or files ends the server, and whatever is taken can be saved and loaded.
    #[test]
    fn no_bytes_do_harm(
        name in bytes(),
        rules in proptest::collection::vec(bytes(), 0..6),
        role in any::<bool>(),
    ) {
        let mut users = users();
        let refs: Vec<&[u8]> = rules.iter().map(|rule| &rule[..]).collect();
        let taken = match role {
            true => users.set_role(&name, &refs, &Table).map(|_| ()),
            false => users.set(&name, &refs, &Table).map(|_| ()),
        };
        if let Err(error) = taken {
            let _ = (error.to_string(), error.text("SETROLE"));
        }
        let file = users.to_file();
        let changed = users.load("f", &file, &Table);
        // `%RW~*` comes back as `~*`, which is the same but for what may follow.
        let is_same = |it: &Changed| {
            let description = |user: &Option<Rc<User>>| user.as_ref().map(|it| it.describe());
            description(&it.before) == description(&it.after)
        };
        prop_assert!(changed.is_ok_and(|changed| changed.iter().all(is_same)), "{}", text(&file));
        let noise = [&b"user "[..], &name, b" ", &rules.join(&b' '), b"\n", &rules.concat()].concat();
        let _ = users.load("f", &noise, &Table);
    }
}

/// Bytes of which many are rules.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let alphabet: &[u8] = b"()~&%RW+-@|<>#!*?[]\\\"' \t\n\0,=0123abget";
    let noise = proptest::collection::vec(proptest::sample::select(alphabet), 0..12);
    let words = [
        RULES,
        &[
            "(", ")", "on", "reset", "nopass", ">a", "cpu=1/s", "role=a", "", "db=", "get", "user",
        ],
    ]
    .concat();
    let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let both = (word.clone(), noise.clone(), word.clone()).prop_map(|(a, b, c)| [a, b, c].concat());
    prop_oneof![noise, word, both, any::<Vec<u8>>()]
}

#[test]
fn the_model_knows_all_rules() {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    RULES
        .iter()
        .for_each(|rule| *names.entry(rule).or_default() += 1);
    assert!(names.values().all(|count| *count == 1));
    for rule in RULES {
        user_and_models(&[vec![rule]]);
    }
}
