//! Rows of the bitmap commands. Facts as Redis documents them, in our own words.

use super::field;
use crate::engine::{
    Argument, CommandSpec, DatabaseHandler, Group, Handler, KeySpec, acl, flags, key_flags,
};

const KEY: Argument = Argument::key("key");
const KEY_READ: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];
const START: Argument = Argument::integer("start");
const END: Argument = Argument::integer("end");
const UNIT: Argument = Argument::one_of(
    "unit",
    &[
        Argument::token("byte", "BYTE"),
        Argument::token("bit", "BIT"),
    ],
)
.optional()
.since("7.0.0");
const UNITS_HISTORY: &[(&str, &str)] = &[("7.0.0", "Options `BYTE` and `BIT`.")];

const OPERATIONS: &[Argument] = &[
    Argument::token("and", "AND"),
    Argument::token("or", "OR"),
    Argument::token("xor", "XOR"),
    Argument::token("not", "NOT"),
    Argument::token("diff", "DIFF").since("8.2.0"),
    Argument::token("diff1", "DIFF1").since("8.2.0"),
    Argument::token("andor", "ANDOR").since("8.2.0"),
    Argument::token("one", "ONE").since("8.2.0"),
];

const ENCODING: Argument = Argument::string("encoding");
const OFFSET: Argument = Argument::integer("offset");
const GET_BLOCK: Argument = Argument::block("get-block", &[ENCODING, OFFSET]).after("GET");
const OVERFLOW: Argument = Argument::one_of(
    "overflow-block",
    &[
        Argument::token("wrap", "WRAP"),
        Argument::token("sat", "SAT"),
        Argument::token("fail", "FAIL"),
    ],
)
.after("OVERFLOW")
.optional();
const WRITES: &[Argument] = &[
    Argument::block("set-block", &[ENCODING, OFFSET, Argument::integer("value")]).after("SET"),
    Argument::block(
        "incrby-block",
        &[ENCODING, OFFSET, Argument::integer("increment")],
    )
    .after("INCRBY"),
];
const BITFIELD_OPERATIONS: &[Argument] = &[
    GET_BLOCK,
    Argument::block(
        "write",
        &[OVERFLOW, Argument::one_of("write-operation", WRITES)],
    ),
];

/// What all rows of the group share.
const BITMAP: CommandSpec = CommandSpec {
    group: Group::Bitmap,
    acl: acl::BITMAP,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "bitcount",
        summary: "Counts the set bits of a string or of a part of it.",
        since: "2.6.0",
        complexity: "O(N) in the length of what is counted.",
        arity: -2,
        flags: flags::READONLY,
        keys: KEY_READ,
        history: UNITS_HISTORY,
        arguments: &[
            KEY,
            Argument::block("range", &[START, END, UNIT]).optional(),
        ],
        handler: database(super::bitcount),
        ..BITMAP
    },
    CommandSpec {
        name: "bitfield",
        summary: "Reads, sets and increments integers of any width at any bit of a string.",
        since: "3.2.0",
        complexity: "O(1) for each operation.",
        arity: -2,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[KeySpec {
            notes: "Only read where every operation is a GET",
            ..KeySpec::first(
                key_flags::RW | key_flags::UPDATE | key_flags::ACCESS | key_flags::VARIABLE_FLAGS,
            )
        }],
        get_keys: Some(field::keys),
        arguments: &[
            KEY,
            Argument::one_of("operation", BITFIELD_OPERATIONS)
                .multiple()
                .optional(),
        ],
        handler: database(field::bitfield),
        ..BITMAP
    },
    CommandSpec {
        name: "bitfield_ro",
        summary: "Reads integers of any width at any bit of a string.",
        since: "6.0.0",
        complexity: "O(1) for each operation.",
        arity: -2,
        flags: flags::READONLY | flags::FAST,
        keys: KEY_READ,
        arguments: &[
            KEY,
            Argument {
                multiple_token: true,
                ..GET_BLOCK.optional().multiple()
            },
        ],
        handler: database(field::bitfield_ro),
        ..BITMAP
    },
    CommandSpec {
        name: "bitop",
        summary: "Combines strings bit by bit and stores the result.",
        since: "2.6.0",
        complexity: "O(N) in the lengths of all strings.",
        arity: -4,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[
            KeySpec::range(key_flags::OW | key_flags::UPDATE, 2, 0, 1),
            KeySpec::range(key_flags::RO | key_flags::ACCESS, 3, -1, 1),
        ],
        history: &[("8.2.0", "Operations `DIFF`, `DIFF1`, `ANDOR` and `ONE`.")],
        arguments: &[
            Argument::one_of("operation", OPERATIONS),
            Argument::key("destkey"),
            Argument {
                key_spec: 1,
                ..KEY.multiple()
            },
        ],
        handler: database(super::bitop),
        ..BITMAP
    },
    CommandSpec {
        name: "bitpos",
        summary: "Finds the first set or clear bit of a string or of a part of it.",
        since: "2.8.7",
        complexity: "O(N) in the length of what is searched.",
        arity: -3,
        flags: flags::READONLY,
        keys: KEY_READ,
        history: UNITS_HISTORY,
        arguments: &[
            KEY,
            Argument::integer("bit"),
            Argument::block(
                "range",
                &[
                    START,
                    Argument::block("end-unit-block", &[END, UNIT]).optional(),
                ],
            )
            .optional(),
        ],
        handler: database(super::bitpos),
        ..BITMAP
    },
    CommandSpec {
        name: "getbit",
        summary: "Answers a bit of a string.",
        since: "2.2.0",
        arity: 3,
        flags: flags::READONLY | flags::FAST,
        keys: KEY_READ,
        arguments: &[KEY, OFFSET],
        handler: database(super::getbit),
        ..BITMAP
    },
    CommandSpec {
        name: "setbit",
        summary: "Sets or clears a bit of a string and answers what it was; the string grows as far as needed.",
        since: "2.2.0",
        arity: 4,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[KeySpec::first(
            key_flags::RW | key_flags::ACCESS | key_flags::UPDATE,
        )],
        arguments: &[KEY, OFFSET, Argument::integer("value")],
        handler: database(super::setbit),
        ..BITMAP
    },
];
