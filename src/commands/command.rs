//! COMMAND: what the server says of its own commands.
//!
//! In: the command table. Out: its rows in the shapes that clients parse: arrays with sets and maps inside, which
//! RESP2 sees as arrays. Mirrors the COMMAND family of Redis's server.c.

use super::help;
use crate::engine::{
    Argument, ArgumentType, BeginSearch, Command, CommandError, CommandId, CommandSpec,
    CommandTable, FindKeys, Group, Handler, KeySpec, ServerContext, acl, flags, key_flags,
    keyspecs, parse,
};
use crate::resp::{Args, Reply};
use crate::system::glob;

const ROW: CommandSpec = CommandSpec {
    since: "2.8.13",
    complexity: "O(N) in the number of commands described.",
    group: Group::Server,
    flags: flags::LOADING | flags::STALE,
    acl: acl::CONNECTION,
    ..CommandSpec::DEFAULT
};

const NAMES: &[Argument] = &[Argument::string("command-name").optional().multiple()];

const CALL: &[Argument] = &[
    Argument::string("command"),
    Argument::string("arg").optional().multiple(),
];

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "command",
    summary: "Describes all commands.",
    complexity: "O(N) in the number of all commands.",
    arity: -1,
    tips: &["nondeterministic_output_order"],
    subcommands: SUBCOMMANDS,
    handler: Handler::Server(all),
    ..ROW
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "count",
        summary: "Counts the commands.",
        complexity: "O(1)",
        arity: 2,
        handler: Handler::Server(count),
        ..ROW
    },
    CommandSpec {
        name: "docs",
        summary: "Documents the named commands, or all.",
        since: "7.0.0",
        arity: -2,
        tips: &["nondeterministic_output_order"],
        arguments: NAMES,
        handler: Handler::Server(docs),
        ..ROW
    },
    CommandSpec {
        name: "getkeys",
        summary: "Finds the keys of a whole command.",
        complexity: "O(N) in the number of arguments.",
        arity: -3,
        arguments: CALL,
        handler: Handler::Server(get_keys),
        ..ROW
    },
    CommandSpec {
        name: "getkeysandflags",
        summary: "Finds the keys of a whole command, and what it does to each.",
        since: "7.0.0",
        complexity: "O(N) in the number of arguments.",
        arity: -3,
        arguments: CALL,
        handler: Handler::Server(get_keys_and_flags),
        ..ROW
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        since: "5.0.0",
        complexity: "O(1)",
        arity: 2,
        handler: Handler::Server(print_help),
        ..ROW
    },
    CommandSpec {
        name: "info",
        summary: "Describes the named commands, or all.",
        arity: -2,
        tips: &["nondeterministic_output_order"],
        history: &[("7.0.0", "Without names, all commands.")],
        arguments: NAMES,
        handler: Handler::Server(info),
        ..ROW
    },
    CommandSpec {
        name: "list",
        summary: "Lists the names of all commands, or of those that pass a filter.",
        since: "7.0.0",
        complexity: "O(N) in the number of all commands.",
        arity: -2,
        tips: &["nondeterministic_output_order"],
        arguments: &[Argument::one_of(
            "filterby",
            &[
                Argument::string("module-name").after("MODULE"),
                Argument::string("category").after("ACLCAT"),
                Argument::pattern("pattern").after("PATTERN"),
            ],
        )
        .after("FILTERBY")
        .optional()],
        handler: Handler::Server(list),
        ..ROW
    },
];

type Answer = Result<(), CommandError>;

/// The table to read and the reply to write, borrowed apart.
fn parts<'a>(context: &'a mut ServerContext<'_>) -> Option<(&'a CommandTable, &'a mut Reply)> {
    let client = context.state.clients.get_mut(context.client)?;
    Some((&context.state.table, &mut client.reply))
}

fn all(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    if let Some((table, reply)) = parts(context) {
        reply.array(table.top_level_len());
        for (_, command) in table.top_level() {
            describe(reply, table, Some(command));
        }
    }
    Ok(())
}

fn count(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let count = context.state.table.top_level_len();
    context.reply().count(count);
    Ok(())
}

fn print_help(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    help::of_rows(context.reply(), args, SUBCOMMANDS);
    Ok(())
}

fn info(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let names = args.skip(2);
    if names.is_empty() {
        return all(context, args);
    }
    if let Some((table, reply)) = parts(context) {
        reply.array(names.len());
        for name in names.iter() {
            let command = table.find_full(name).map(|id| table.get(id));
            describe(reply, table, command);
        }
    }
    Ok(())
}

fn docs(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let names = args.skip(2);
    let Some((table, reply)) = parts(context) else {
        return Ok(());
    };
    let commands: Vec<&Command> = if names.is_empty() {
        table.top_level().map(|(_, command)| command).collect()
    } else {
        let ids = names.iter().filter_map(|name| table.find_full(name));
        ids.map(|id| table.get(id)).collect()
    };
    reply.map(commands.len());
    for command in commands {
        document(reply, table, command);
    }
    Ok(())
}

/// What COMMAND LIST leaves in.
enum ListFilter<'a> {
    All,
    /// Commands of a module; there are none.
    None,
    Category(u32),
    Pattern(&'a [u8]),
}

impl<'a> ListFilter<'a> {
    fn parse(options: Args<'a>) -> Result<ListFilter<'a>, CommandError> {
        if options.is_empty() {
            return Ok(ListFilter::All);
        }
        if options.len() != 3 || !parse::is_word(options.at(0), "FILTERBY") {
            return Err(CommandError::Syntax);
        }
        let (kind, value) = (options.at(1), options.at(2));
        match () {
            () if parse::is_word(kind, "MODULE") => Ok(ListFilter::None),
            () if parse::is_word(kind, "ACLCAT") => {
                let found = acl::NAMES
                    .iter()
                    .find(|(_, name)| parse::is_word(value, name));
                Ok(found.map_or(ListFilter::None, |(bit, _)| ListFilter::Category(*bit)))
            }
            () if parse::is_word(kind, "PATTERN") => Ok(ListFilter::Pattern(value)),
            () => Err(CommandError::Syntax),
        }
    }

    fn passes(&self, command: &Command) -> bool {
        match self {
            ListFilter::All => true,
            ListFilter::None => false,
            ListFilter::Category(bit) => command.acl & bit != 0,
            ListFilter::Pattern(pattern) => glob::matches_nocase(pattern, command.name.as_bytes()),
        }
    }
}

fn list(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let filter = ListFilter::parse(args.skip(2))?;
    let Some((table, reply)) = parts(context) else {
        return Ok(());
    };
    let mut names = Vec::new();
    for (_, command) in table.top_level() {
        let subcommands = command.subcommands.iter().map(|(_, id)| table.get(*id));
        let family = std::iter::once(command).chain(subcommands);
        names.extend(
            family
                .filter(|command| filter.passes(command))
                .map(|command| &command.name),
        );
    }
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

fn get_keys(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    answer_keys(context, args.skip(2), false)
}

fn get_keys_and_flags(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    answer_keys(context, args.skip(2), true)
}

/// The command that `call` calls, as dispatch would find it.
fn find(table: &CommandTable, call: Args<'_>) -> Option<CommandId> {
    let top = table.find_slow(call.at(0))?;
    if table.get(top).subcommands.is_empty() || call.len() < 2 {
        return Some(top);
    }
    table.find_subcommand(top, call.at(1))
}

fn answer_keys(context: &mut ServerContext<'_>, call: Args<'_>, with_flags: bool) -> Answer {
    let Some((table, reply)) = parts(context) else {
        return Ok(());
    };
    let Some(command) = find(table, call).map(|id| table.get(id)) else {
        return Err(CommandError::fixed("ERR Invalid command specified"));
    };
    let spec = command.spec;
    if !keyspecs::has_keys(spec) {
        return Err(CommandError::fixed("ERR The command has no key arguments"));
    }
    if !spec.accepts(call.len()) {
        return Err(CommandError::fixed(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let keys = match keyspecs::keys_of(spec, call) {
        Ok(keys) if !keys.is_empty() => keys,
        _ if command.flags & flags::NO_MANDATORY_KEYS != 0 => Vec::new(),
        _ => {
            return Err(CommandError::fixed(
                "ERR Invalid arguments specified for command",
            ));
        }
    };
    reply.array(keys.len());
    for (at, key_flags) in keys {
        if with_flags {
            reply.array(2);
        }
        reply.bulk(call.at(at));
        if with_flags {
            names(reply, key_flags, key_flags::NAMES, "");
        }
    }
    Ok(())
}

/// A set of the names of bits, as simple strings.
fn names(reply: &mut Reply, bits: u32, known: &[(u32, &str)], prefix: &str) {
    let set = known.iter().filter(|(bit, _)| bits & bit != 0);
    reply.set(set.clone().count());
    for (_, name) in set {
        reply.simple(&format!("{prefix}{name}"));
    }
}

fn text(reply: &mut Reply, text: &str) {
    reply.bulk(text.as_bytes());
}

/// A pair of texts in a map, unless the second is empty.
fn pair(reply: &mut Reply, key: &str, value: &str) {
    if !value.is_empty() {
        text(reply, key);
        text(reply, value);
    }
}

/// One command as COMMAND and COMMAND INFO show it.
fn describe(reply: &mut Reply, table: &CommandTable, command: Option<&Command>) {
    let Some(command) = command else {
        return reply.null();
    };
    let spec = command.spec;
    let (first, last, step, _) = keyspecs::legacy_range(spec.keys);
    reply.array(10);
    text(reply, &command.name);
    reply.integer(spec.arity.into());
    names(reply, command.flags, flags::NAMES, "");
    for number in [first, last, step] {
        reply.integer(number.into());
    }
    names(reply, command.acl, acl::NAMES, "@");
    reply.set(spec.tips.len());
    for tip in spec.tips {
        text(reply, tip);
    }
    reply.set(spec.keys.len());
    for key in spec.keys {
        describe_keys(reply, key);
    }
    if command.subcommands.is_empty() {
        reply.array(0);
        return;
    }
    reply.array(command.subcommands.len());
    for (_, id) in &command.subcommands {
        describe(reply, table, Some(table.get(*id)));
    }
}

/// One key specification.
fn describe_keys(reply: &mut Reply, key: &KeySpec) {
    reply.map(3 + usize::from(!key.notes.is_empty()));
    pair(reply, "notes", key.notes);
    text(reply, "flags");
    names(reply, key.flags, key_flags::NAMES, "");
    text(reply, "begin_search");
    match key.begin {
        BeginSearch::Index(at) => typed(reply, "index", &[("index", at)], None),
        BeginSearch::Keyword {
            keyword,
            start_from,
        } => typed(
            reply,
            "keyword",
            &[("startfrom", start_from)],
            Some(("keyword", keyword)),
        ),
        BeginSearch::Unknown => typed(reply, "unknown", &[], None),
    }
    text(reply, "find_keys");
    match key.find {
        FindKeys::Range { last, step, limit } => {
            let numbers = [("lastkey", last), ("keystep", step), ("limit", limit)];
            typed(reply, "range", &numbers, None);
        }
        FindKeys::KeyNum {
            key_num,
            first,
            step,
        } => {
            let numbers = [
                ("keynumidx", key_num),
                ("firstkey", first),
                ("keystep", step),
            ];
            typed(reply, "keynum", &numbers, None);
        }
        FindKeys::Unknown => typed(reply, "unknown", &[], None),
    }
}

/// `{type, spec: {...}}`
fn typed(reply: &mut Reply, kind: &str, numbers: &[(&str, i32)], word: Option<(&str, &str)>) {
    reply.map(2);
    pair(reply, "type", kind);
    text(reply, "spec");
    reply.map(numbers.len() + usize::from(word.is_some()));
    if let Some((key, value)) = word {
        pair(reply, key, value);
    }
    for (key, number) in numbers {
        text(reply, key);
        reply.integer((*number).into());
    }
}

/// One command as COMMAND DOCS shows it: its name, then a map.
fn document(reply: &mut Reply, table: &CommandTable, command: &Command) {
    let spec = command.spec;
    let deprecated = !spec.deprecated_since.is_empty();
    let optional = [
        !spec.summary.is_empty(),
        !spec.since.is_empty(),
        !spec.complexity.is_empty(),
        deprecated || spec.is_internal,
        deprecated,
        !spec.replaced_by.is_empty(),
        !spec.history.is_empty(),
        !spec.arguments.is_empty(),
        !command.subcommands.is_empty(),
    ];
    text(reply, &command.name);
    reply.map(1 + optional.iter().filter(|is_there| **is_there).count());
    pair(reply, "summary", spec.summary);
    pair(reply, "since", spec.since);
    pair(reply, "group", spec.group.name());
    pair(reply, "complexity", spec.complexity);
    if deprecated || spec.is_internal {
        let flags = [(deprecated, "deprecated"), (spec.is_internal, "syscmd")];
        let flags: Vec<_> = flags.iter().filter(|(is_set, _)| *is_set).collect();
        text(reply, "doc_flags");
        reply.set(flags.len());
        flags.iter().for_each(|(_, name)| reply.simple(name));
    }
    pair(reply, "deprecated_since", spec.deprecated_since);
    pair(reply, "replaced_by", spec.replaced_by);
    if !spec.history.is_empty() {
        text(reply, "history");
        reply.set(spec.history.len());
        for (version, change) in spec.history {
            reply.array(2);
            text(reply, version);
            text(reply, change);
        }
    }
    if !spec.arguments.is_empty() {
        text(reply, "arguments");
        document_arguments(reply, spec.arguments);
    }
    if !command.subcommands.is_empty() {
        text(reply, "subcommands");
        reply.map(command.subcommands.len());
        for (_, id) in &command.subcommands {
            document(reply, table, table.get(*id));
        }
    }
}

fn document_arguments(reply: &mut Reply, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        let flags = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ];
        let flags: Vec<&str> = flags
            .iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, name)| *name)
            .collect();
        let aggregate = matches!(argument.kind, ArgumentType::OneOf | ArgumentType::Block);
        let optional = [
            argument.key_spec >= 0,
            !argument.token.is_empty(),
            !argument.since.is_empty(),
            !argument.deprecated_since.is_empty(),
            !flags.is_empty(),
            aggregate,
            !aggregate,
        ];
        reply.map(2 + optional.iter().filter(|is_there| **is_there).count());
        pair(reply, "name", argument.name);
        pair(reply, "type", argument.kind.name());
        if !aggregate {
            pair(reply, "display_text", argument.display_text());
        }
        if argument.key_spec >= 0 {
            text(reply, "key_spec_index");
            reply.integer(argument.key_spec.into());
        }
        pair(reply, "token", argument.token);
        pair(reply, "since", argument.since);
        pair(reply, "deprecated_since", argument.deprecated_since);
        if !flags.is_empty() {
            text(reply, "flags");
            reply.set(flags.len());
            for flag in flags {
                reply.simple(flag);
            }
        }
        if aggregate {
            text(reply, "arguments");
            document_arguments(reply, argument.arguments);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Harness, bulks, error};
    use crate::resp::reader::Value;

    /// They were made into text first, which changes bytes that are none.
    #[test]
    fn errors_show_what_was_sent_byte_for_byte() {
        let mut harness = Harness::new();
        harness.line("XADD s 1-1 a b");
        let long = [0xff; 200];
        let cut = [
            &b"ERR unknown subcommand '"[..],
            &long[..128],
            b"'. Try CONFIG HELP.",
        ]
        .concat();
        for (words, wanted) in [
            (
                &[&b"no\xff\0such"[..], b"a\xfe", b"b\0c", b"x\r\ny"][..],
                &b"ERR unknown command 'no\xff', with args beginning with: 'a\xfe' 'b' 'x  y' "[..],
            ),
            (&[b"CONFIG", &long], &cut),
            (
                &[b"CONFIG", b"SET", b"\xff\xfe", b"1"],
                b"ERR Unknown option or number of arguments for CONFIG SET - '\xff\xfe'",
            ),
            (
                &[b"slowLog", b"L\xc4N", b"1"],
                b"ERR unknown subcommand 'L\xc4N'. Try SLOWLOG HELP.",
            ),
            (
                &[b"SLOWLOG", b"GET", b"1", b"2"],
                b"ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
            ),
            (
                &[b"CLIENT", b"KILL", b"TYPE", b"\xff\0x"],
                b"ERR Unknown client type '\xff'",
            ),
            (
                &[b"HELLO", b"3", b"\xff"],
                b"ERR Syntax error in HELLO option '\xff'",
            ),
            (
                &[b"EXPIRE", b"s", b"1", b"\xff"],
                b"ERR Unsupported option \xff",
            ),
            (
                &[b"XPENDING", b"s\xfe", b"\xff\0g"],
                b"NOGROUP No such key 's\xfe' or consumer group '\xff'",
            ),
            (
                &[b"EVAL", b"#!\xff\nreturn 1", b"0"],
                b"ERR Unexpected engine in script shebang: #!\xff",
            ),
            (
                &[
                    b"EVAL",
                    b"return redis.pcall('config', 'a\\r\\nb\xff')",
                    b"0",
                ],
                b"ERR Unknown Redis command called from script",
            ),
        ] {
            assert_eq!(harness.run(words), Value::Error(wanted.to_vec()));
        }
        // EXEC tells the reason of a command that was refused.
        harness.line("MULTI");
        assert_eq!(
            harness.run(&[&b"CONFIG"[..], b"\xff"]),
            Value::Error(b"ERR unknown subcommand '\xff'. Try CONFIG HELP.".to_vec())
        );
    }

    #[test]
    fn every_row_can_be_described_and_documented_in_both_protocols() {
        let mut harness = Harness::new();
        for _ in 0..2 {
            let Value::Integer(count) = harness.line("COMMAND COUNT") else {
                panic!("a count")
            };
            let all = harness.line("COMMAND");
            assert_eq!(all.items().unwrap().len() as i64, count);
            assert_eq!(harness.line("COMMAND INFO"), all);
            assert!(!matches!(harness.line("COMMAND DOCS"), Value::Error(_)));
            assert!(!matches!(harness.line("COMMAND HELP"), Value::Error(_)));
            harness.resp3();
        }
    }

    #[test]
    fn info_has_redis_shape() {
        let mut harness = Harness::new();
        let info = harness.line("COMMAND INFO get nosuch client|LIST get|x");
        let items = info.items().unwrap();
        assert_eq!(items[1], Value::NullBulk);
        assert_eq!(items[3], Value::NullBulk);
        let get = items[0].items().unwrap();
        assert_eq!(get[0], Value::bulk("get"));
        assert_eq!(get[1], Value::Integer(2));
        let simple = |names: &[&str]| {
            Value::Array(
                names
                    .iter()
                    .map(|name| Value::Simple((*name).to_owned()))
                    .collect(),
            )
        };
        assert_eq!(get[2], simple(&["readonly", "fast"]));
        assert_eq!(get[3..6], [1, 1, 1].map(Value::Integer));
        assert_eq!(get[6], simple(&["@read", "@string", "@fast"]));
        assert_eq!(items[2].items().unwrap()[0], Value::bulk("client|list"));
    }

    #[test]
    fn docs_are_maps_in_resp3() {
        let mut harness = Harness::new();
        harness.resp3();
        let Value::Map(docs) = harness.line("COMMAND DOCS set nosuch") else {
            panic!("a map")
        };
        assert_eq!(docs.len(), 1);
        let Value::Map(set) = &docs[0].1 else {
            panic!("a map")
        };
        assert_eq!(set[2], (Value::bulk("group"), Value::bulk("string")));
    }

    /// What clients may rely on: even without subcommands it is an array, and each argument says how it is shown.
    #[test]
    fn subcommands_are_an_array_and_arguments_are_shown_as_something() {
        let mut harness = Harness::new();
        harness.resp3();
        let info = harness.line("COMMAND INFO get");
        let get = info.items().unwrap()[0].items().unwrap().to_vec();
        assert_eq!(get[9], Value::Array(Vec::new()));
        let docs = |harness: &mut Harness, name: &str| {
            let Value::Map(docs) = harness.line(&format!("COMMAND DOCS {name}")) else {
                panic!("a map")
            };
            let Value::Map(fields) = docs[0].1.clone() else {
                panic!("a map")
            };
            fields
        };
        let field = |map: &[(Value, Value)], name: &str| {
            let found = map.iter().find(|(key, _)| *key == Value::bulk(name));
            found.map(|(_, value)| value.clone())
        };
        let sort = field(&docs(&mut harness, "sort"), "arguments").expect("arguments");
        let Value::Map(by) = &sort.items().unwrap()[1] else {
            panic!("a map")
        };
        assert_eq!(field(by, "name"), Some(Value::bulk("by-pattern")));
        assert_eq!(field(by, "display_text"), Some(Value::bulk("pattern")));
        let Value::Set(flags) = field(&docs(&mut harness, "debug"), "doc_flags").expect("flags")
        else {
            panic!("a set")
        };
        assert_eq!(flags, [Value::Simple("syscmd".into())]);
    }

    #[test]
    fn list_and_its_filters() {
        let mut harness = Harness::new();
        let list = |harness: &mut Harness, rest: &str| harness.line(&format!("COMMAND LIST{rest}"));
        let all = list(&mut harness, "");
        assert!(all.items().unwrap().contains(&Value::bulk("client|list")));
        assert_eq!(list(&mut harness, " FILTERBY pattern SET"), bulks(&["set"]));
        assert_eq!(
            list(&mut harness, " filterby PATTERN client|un*"),
            bulks(&["client|unblock", "client|unpause"])
        );
        assert_eq!(list(&mut harness, " FILTERBY ACLCAT nosuch"), bulks(&[]));
        assert_eq!(list(&mut harness, " FILTERBY MODULE nosuch"), bulks(&[]));
        let connection = list(&mut harness, " FILTERBY ACLCAT connection");
        assert!(connection.items().unwrap().contains(&Value::bulk("ping")));
        assert!(!connection.items().unwrap().contains(&Value::bulk("get")));
        for bad in [
            " bad",
            " filterby bad",
            " filterby bad bad",
            " FILTERBY PATTERN a b",
        ] {
            assert_eq!(list(&mut harness, bad), error("ERR syntax error"), "{bad}");
        }
    }

    #[test]
    fn keys_are_found_and_faults_told() {
        let mut harness = Harness::new();
        assert_eq!(harness.line("COMMAND GETKEYS get key"), bulks(&["key"]));
        assert_eq!(
            harness.line("COMMAND GETKEYS mset a 1 b 2"),
            bulks(&["a", "b"])
        );
        assert_eq!(
            harness.line("COMMAND GETKEYS object encoding k"),
            bulks(&["k"])
        );
        let flags = |names: &[&str]| {
            Value::Array(
                names
                    .iter()
                    .map(|name| Value::Simple((*name).to_owned()))
                    .collect(),
            )
        };
        for (call, expected) in [
            ("set k1 v1", &["OW", "update"][..]),
            ("set k1 v1 GET", &["RW", "access", "update"]),
            ("get k1", &["RO", "access"]),
        ] {
            let pair = Value::Array(vec![Value::bulk("k1"), flags(expected)]);
            let got = harness.line(&format!("COMMAND GETKEYSANDFLAGS {call}"));
            assert_eq!(got, Value::Array(vec![pair]), "{call}");
        }
        for (call, wrong) in [
            ("nosuch key", "ERR Invalid command specified"),
            ("client nosuch", "ERR Invalid command specified"),
            ("ping x", "ERR The command has no key arguments"),
            ("ping", "ERR The command has no key arguments"),
            (
                "get",
                "ERR Invalid number of arguments specified for command",
            ),
            (
                "get a b",
                "ERR Invalid number of arguments specified for command",
            ),
            (
                "object encoding",
                "ERR Invalid number of arguments specified for command",
            ),
        ] {
            assert_eq!(
                harness.line(&format!("COMMAND GETKEYS {call}")),
                error(wrong),
                "{call}"
            );
        }
        assert_eq!(
            harness.line("COMMAND GETKEYS"),
            error("ERR wrong number of arguments for 'command|getkeys' command")
        );
    }
}
