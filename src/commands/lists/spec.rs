//! Rows of the list commands. Facts as Redis documents them, in our own words.

use super::{edit, moves};
use crate::engine::{
    Argument, ArgumentType, BeginSearch, CommandSpec, DatabaseHandler, FindKeys, Group, Handler,
    KeySpec, flags, key_flags,
};

const GROW: u32 = flags::WRITE | flags::DENYOOM;
const GROW_FAST: u32 = flags::WRITE | flags::DENYOOM | flags::FAST;
const WAIT: u32 = flags::WRITE | flags::BLOCKING;

const KEY: Argument = Argument::key("key");
const ELEMENT: Argument = Argument::string("element");
const TIMEOUT: Argument = Argument::new("timeout", ArgumentType::Double);
const COUNT: Argument = Argument::integer("count");

const SIDES: &[Argument] = &[
    Argument::token("left", "LEFT"),
    Argument::token("right", "RIGHT"),
];
const WHERE: Argument = Argument::one_of("where", SIDES);
const WHERE_FROM: Argument = Argument::one_of("wherefrom", SIDES);
const WHERE_TO: Argument = Argument::one_of("whereto", SIDES);
const SOURCE: Argument = Argument::key("source");
const DESTINATION: Argument = Argument {
    key_spec: 1,
    ..Argument::key("destination")
};

const POP_FLAGS: u32 = key_flags::RW | key_flags::ACCESS | key_flags::DELETE;
const KEY_READ: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];
const KEY_INSERT: &[KeySpec] = &[KeySpec::first(key_flags::RW | key_flags::INSERT)];
const KEY_POP: &[KeySpec] = &[KeySpec::first(POP_FLAGS)];
const KEY_DELETE: &[KeySpec] = &[KeySpec::first(key_flags::RW | key_flags::DELETE)];
const KEYS_MOVE: &[KeySpec] = &[
    KeySpec::first(POP_FLAGS),
    KeySpec::range(key_flags::RW | key_flags::INSERT, 2, 0, 1),
];
const KEYS_BEFORE_TIMEOUT: &[KeySpec] = &[KeySpec::range(POP_FLAGS, 1, -2, 1)];

/// Keys that are counted by the argument `at`.
const fn counted(at: i32) -> KeySpec {
    KeySpec {
        flags: POP_FLAGS,
        begin: BeginSearch::Index(at),
        find: FindKeys::KeyNum {
            key_num: 0,
            first: 1,
            step: 1,
        },
        notes: "",
    }
}

const TIMEOUT_HISTORY: &[(&str, &str)] = &[("6.0.0", "The timeout may have a fraction.")];
const SEVERAL_HISTORY_2_4: &[(&str, &str)] = &[("2.4.0", "Takes several elements.")];
const SEVERAL_HISTORY_4_0: &[(&str, &str)] = &[("4.0.0", "Takes several elements.")];
const COUNT_HISTORY: &[(&str, &str)] = &[("6.2.0", "Takes a count.")];

const EACH_PUSHED: &str = "O(1) for each element that is pushed.";
const EACH_POPPED: &str = "O(N) in the number of elements popped.";
const KEYS_AND_POPPED: &str = "O(N+M) in the number of keys and the number of elements popped.";

/// What all rows of the group share.
const LIST: CommandSpec = CommandSpec {
    group: Group::List,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "blmove",
        summary: "Moves an element from one list to another; waits for one if there is none.",
        since: "6.2.0",
        arity: 6,
        flags: WAIT | flags::DENYOOM,
        keys: KEYS_MOVE,
        arguments: &[SOURCE, DESTINATION, WHERE_FROM, WHERE_TO, TIMEOUT],
        handler: database(moves::blmove),
        ..LIST
    },
    CommandSpec {
        name: "blmpop",
        summary: "Pops elements from the first of several lists; waits if all are empty.",
        since: "7.0.0",
        complexity: KEYS_AND_POPPED,
        arity: -5,
        flags: WAIT,
        keys: &[counted(2)],
        arguments: &[
            TIMEOUT,
            Argument::integer("numkeys"),
            KEY.multiple(),
            WHERE,
            COUNT.after("COUNT").optional(),
        ],
        handler: database(moves::blmpop),
        ..LIST
    },
    CommandSpec {
        name: "blpop",
        summary: "Pops the first element of the first of several lists; waits if all are empty.",
        since: "2.0.0",
        complexity: "O(N) in the number of keys.",
        arity: -3,
        flags: WAIT,
        keys: KEYS_BEFORE_TIMEOUT,
        history: TIMEOUT_HISTORY,
        arguments: &[KEY.multiple(), TIMEOUT],
        handler: database(moves::blpop),
        ..LIST
    },
    CommandSpec {
        name: "brpop",
        summary: "Pops the last element of the first of several lists; waits if all are empty.",
        since: "2.0.0",
        complexity: "O(N) in the number of keys.",
        arity: -3,
        flags: WAIT,
        keys: KEYS_BEFORE_TIMEOUT,
        history: TIMEOUT_HISTORY,
        arguments: &[KEY.multiple(), TIMEOUT],
        handler: database(moves::brpop),
        ..LIST
    },
    CommandSpec {
        name: "brpoplpush",
        summary: "Moves the last element of a list to the front of another; waits for one if there is none.",
        since: "2.2.0",
        arity: 4,
        flags: WAIT | flags::DENYOOM,
        keys: KEYS_MOVE,
        history: TIMEOUT_HISTORY,
        deprecated_since: "6.2.0",
        replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
        arguments: &[SOURCE, DESTINATION, TIMEOUT],
        handler: database(moves::brpoplpush),
        ..LIST
    },
    CommandSpec {
        name: "lindex",
        summary: "Answers the element at an index.",
        complexity: "O(N) in the number of nodes to the nearer end; O(1) at the ends.",
        arity: 3,
        flags: flags::READONLY,
        keys: KEY_READ,
        arguments: &[KEY, Argument::integer("index")],
        handler: database(super::lindex),
        ..LIST
    },
    CommandSpec {
        name: "linsert",
        summary: "Inserts an element before or behind the first one of a value.",
        since: "2.2.0",
        complexity: "O(N) in the number of elements up to the one that is looked for.",
        arity: 5,
        flags: GROW,
        keys: KEY_INSERT,
        arguments: &[
            KEY,
            Argument::one_of(
                "where",
                &[
                    Argument::token("before", "BEFORE"),
                    Argument::token("after", "AFTER"),
                ],
            ),
            Argument::string("pivot"),
            ELEMENT,
        ],
        handler: database(edit::linsert),
        ..LIST
    },
    CommandSpec {
        name: "llen",
        summary: "Answers the number of elements.",
        arity: 2,
        flags: flags::READONLY | flags::FAST,
        keys: &[KeySpec::first(key_flags::RO)],
        arguments: &[KEY],
        handler: database(super::llen),
        ..LIST
    },
    CommandSpec {
        name: "lmove",
        summary: "Moves an element from an end of one list to an end of another, and answers it.",
        since: "6.2.0",
        arity: 5,
        flags: GROW,
        keys: KEYS_MOVE,
        arguments: &[SOURCE, DESTINATION, WHERE_FROM, WHERE_TO],
        handler: database(moves::lmove),
        ..LIST
    },
    CommandSpec {
        name: "lmpop",
        summary: "Pops elements from the first of several lists that has any.",
        since: "7.0.0",
        complexity: KEYS_AND_POPPED,
        arity: -4,
        flags: flags::WRITE,
        keys: &[counted(1)],
        arguments: &[
            Argument::integer("numkeys"),
            KEY.multiple(),
            WHERE,
            COUNT.after("COUNT").optional(),
        ],
        handler: database(moves::lmpop),
        ..LIST
    },
    CommandSpec {
        name: "lpop",
        summary: "Removes the first elements and answers them.",
        complexity: EACH_POPPED,
        arity: -2,
        flags: flags::WRITE | flags::FAST,
        keys: KEY_POP,
        history: COUNT_HISTORY,
        arguments: &[KEY, COUNT.optional().since("6.2.0")],
        handler: database(super::lpop),
        ..LIST
    },
    CommandSpec {
        name: "lpos",
        summary: "Answers the indexes of elements of a value.",
        since: "6.0.6",
        complexity: "O(N) in the number of elements looked at.",
        arity: -3,
        flags: flags::READONLY,
        keys: KEY_READ,
        arguments: &[
            KEY,
            ELEMENT,
            Argument::integer("rank").after("RANK").optional(),
            Argument::integer("num-matches").after("COUNT").optional(),
            Argument::integer("len").after("MAXLEN").optional(),
        ],
        handler: database(edit::lpos),
        ..LIST
    },
    CommandSpec {
        name: "lpush",
        summary: "Puts elements before the first one; a missing list begins empty.",
        complexity: EACH_PUSHED,
        arity: -3,
        flags: GROW_FAST,
        keys: KEY_INSERT,
        history: SEVERAL_HISTORY_2_4,
        arguments: &[KEY, ELEMENT.multiple()],
        handler: database(super::lpush),
        ..LIST
    },
    CommandSpec {
        name: "lpushx",
        summary: "Puts elements before the first one, if there is a list.",
        since: "2.2.0",
        complexity: EACH_PUSHED,
        arity: -3,
        flags: GROW_FAST,
        keys: KEY_INSERT,
        history: SEVERAL_HISTORY_4_0,
        arguments: &[KEY, ELEMENT.multiple()],
        handler: database(super::lpushx),
        ..LIST
    },
    CommandSpec {
        name: "lrange",
        summary: "Answers the elements of a range of indexes.",
        complexity: "O(S+N) in the number of nodes from the nearer end to the first element and the number of elements.",
        arity: 4,
        flags: flags::READONLY,
        keys: KEY_READ,
        arguments: &[KEY, Argument::integer("start"), Argument::integer("stop")],
        handler: database(super::lrange),
        ..LIST
    },
    CommandSpec {
        name: "lrem",
        summary: "Removes elements of a value, from either end on.",
        complexity: "O(N+M) in the length of the list and the number of elements removed.",
        arity: 4,
        flags: flags::WRITE,
        keys: KEY_DELETE,
        arguments: &[KEY, COUNT, ELEMENT],
        handler: database(edit::lrem),
        ..LIST
    },
    CommandSpec {
        name: "lset",
        summary: "Replaces the element at an index.",
        complexity: "O(N) in the number of nodes to the nearer end; O(1) at the ends.",
        arity: 4,
        flags: GROW,
        keys: &[KeySpec::first(key_flags::RW | key_flags::UPDATE)],
        arguments: &[KEY, Argument::integer("index"), ELEMENT],
        handler: database(edit::lset),
        ..LIST
    },
    CommandSpec {
        name: "ltrim",
        summary: "Removes all elements outside a range of indexes.",
        complexity: "O(N) in the number of nodes removed.",
        arity: 4,
        flags: flags::WRITE,
        keys: KEY_DELETE,
        arguments: &[KEY, Argument::integer("start"), Argument::integer("stop")],
        handler: database(edit::ltrim),
        ..LIST
    },
    CommandSpec {
        name: "rpop",
        summary: "Removes the last elements and answers them.",
        complexity: EACH_POPPED,
        arity: -2,
        flags: flags::WRITE | flags::FAST,
        keys: KEY_POP,
        history: COUNT_HISTORY,
        arguments: &[KEY, COUNT.optional().since("6.2.0")],
        handler: database(super::rpop),
        ..LIST
    },
    CommandSpec {
        name: "rpoplpush",
        summary: "Moves the last element of a list to the front of another, and answers it.",
        since: "1.2.0",
        arity: 3,
        flags: GROW,
        keys: KEYS_MOVE,
        deprecated_since: "6.2.0",
        replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
        arguments: &[SOURCE, DESTINATION],
        handler: database(moves::rpoplpush),
        ..LIST
    },
    CommandSpec {
        name: "rpush",
        summary: "Puts elements behind the last one; a missing list begins empty.",
        complexity: EACH_PUSHED,
        arity: -3,
        flags: GROW_FAST,
        keys: KEY_INSERT,
        history: SEVERAL_HISTORY_2_4,
        arguments: &[KEY, ELEMENT.multiple()],
        handler: database(super::rpush),
        ..LIST
    },
    CommandSpec {
        name: "rpushx",
        summary: "Puts elements behind the last one, if there is a list.",
        since: "2.2.0",
        complexity: EACH_PUSHED,
        arity: -3,
        flags: GROW_FAST,
        keys: KEY_INSERT,
        history: SEVERAL_HISTORY_4_0,
        arguments: &[KEY, ELEMENT.multiple()],
        handler: database(super::rpushx),
        ..LIST
    },
];
