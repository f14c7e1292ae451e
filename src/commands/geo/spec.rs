//! Rows of the geo commands. Facts as Redis documents them, in our own words.

use super::search;
use crate::engine::{
    Argument, ArgumentType, BeginSearch, CommandSpec, DatabaseHandler, FindKeys, Group, Handler,
    KeySpec, acl, flags, key_flags,
};

const KEY: Argument = Argument::key("key");
const KEY_READ: &[KeySpec] = &[KeySpec::first(key_flags::RO | key_flags::ACCESS)];

const LONGITUDE: Argument = Argument::new("longitude", ArgumentType::Double);
const LATITUDE: Argument = Argument::new("latitude", ArgumentType::Double);
const RADIUS: Argument = Argument::new("radius", ArgumentType::Double);
const MEMBER: Argument = Argument::string("member");
const UNIT: Argument = Argument::one_of(
    "unit",
    &[
        Argument::token("m", "M"),
        Argument::token("km", "KM"),
        Argument::token("ft", "FT"),
        Argument::token("mi", "MI"),
    ],
);
const WITHCOORD: Argument = Argument::token("withcoord", "WITHCOORD").optional();
const WITHDIST: Argument = Argument::token("withdist", "WITHDIST").optional();
const WITHHASH: Argument = Argument::token("withhash", "WITHHASH").optional();
const ORDER: Argument = Argument::one_of(
    "order",
    &[
        Argument::token("asc", "ASC"),
        Argument::token("desc", "DESC"),
    ],
)
.optional();
const COUNT: Argument = Argument::block(
    "count-block",
    &[
        Argument::integer("count").after("COUNT"),
        Argument::token("any", "ANY").optional(),
    ],
)
.optional();
const COUNT_OLD: Argument = Argument::block(
    "count-block",
    &[
        Argument::integer("count").after("COUNT"),
        Argument::token("any", "ANY").optional().since("6.2.0"),
    ],
)
.optional();
const STORE: Argument = Argument::one_of(
    "store",
    &[
        Argument {
            key_spec: 1,
            ..Argument::key("storekey").shown_as("key").after("STORE")
        },
        Argument {
            key_spec: 2,
            ..Argument::key("storedistkey")
                .shown_as("key")
                .after("STOREDIST")
        },
    ],
)
.optional();
const FROM: Argument = Argument::one_of(
    "from",
    &[
        MEMBER.after("FROMMEMBER"),
        Argument::block("fromlonlat", &[LONGITUDE, LATITUDE]).after("FROMLONLAT"),
    ],
);
const BY: Argument = Argument::one_of(
    "by",
    &[
        Argument::block("circle", &[RADIUS.after("BYRADIUS"), UNIT]),
        Argument::block(
            "box",
            &[
                Argument::new("width", ArgumentType::Double).after("BYBOX"),
                Argument::new("height", ArgumentType::Double),
                UNIT,
            ],
        ),
    ],
);

const UPPERCASE_UNITS: (&str, &str) = ("7.0.0", "Names of units in upper case.");
const ANY: (&str, &str) = ("6.2.0", "Option `ANY` of `COUNT`.");
const SEARCHED: &str = "O(N+log(M)) where N is the number of places in the cells around the shape and M the number of all places.";

/// What all rows of the group share.
const GEO: CommandSpec = CommandSpec {
    group: Group::Geo,
    since: "3.2.0",
    acl: acl::GEO,
    ..CommandSpec::DEFAULT
};

const fn database(run: DatabaseHandler) -> Handler {
    Handler::Database(run)
}

/// The key after a word, which is overwritten.
const fn stored_after(keyword: &'static str, start_from: i32) -> KeySpec {
    KeySpec {
        flags: key_flags::OW | key_flags::UPDATE,
        begin: BeginSearch::Keyword {
            keyword,
            start_from,
        },
        find: FindKeys::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
        notes: "",
    }
}

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "geoadd",
        summary: "Adds places, or moves them; a missing key begins empty.",
        complexity: "O(log(N)) for each place, N being the number of places.",
        arity: -5,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[KeySpec::first(key_flags::RW | key_flags::UPDATE)],
        history: &[("6.2.0", "Options `CH`, `NX` and `XX`.")],
        arguments: &[
            KEY,
            Argument::one_of(
                "condition",
                &[Argument::token("nx", "NX"), Argument::token("xx", "XX")],
            )
            .optional()
            .since("6.2.0"),
            Argument::token("change", "CH").optional().since("6.2.0"),
            Argument::block("data", &[LONGITUDE, LATITUDE, MEMBER]).multiple(),
        ],
        handler: database(super::geoadd),
        ..GEO
    },
    CommandSpec {
        name: "geodist",
        summary: "Answers the distance between two places.",
        complexity: "O(1)",
        arity: -4,
        flags: flags::READONLY,
        keys: KEY_READ,
        arguments: &[
            KEY,
            Argument::string("member1"),
            Argument::string("member2"),
            UNIT.optional(),
        ],
        handler: database(super::geodist),
        ..GEO
    },
    CommandSpec {
        name: "geohash",
        summary: "Answers the standard geohashes of places.",
        complexity: "O(1) for each place.",
        arity: -2,
        flags: flags::READONLY,
        keys: KEY_READ,
        arguments: &[KEY, MEMBER.optional().multiple()],
        handler: database(super::geohash),
        ..GEO
    },
    CommandSpec {
        name: "geopos",
        summary: "Answers the coordinates of places.",
        complexity: "O(1) for each place.",
        arity: -2,
        flags: flags::READONLY,
        keys: KEY_READ,
        arguments: &[KEY, MEMBER.optional().multiple()],
        handler: database(super::geopos),
        ..GEO
    },
    CommandSpec {
        name: "georadius",
        summary: "Finds the places around coordinates; on request it stores them.",
        complexity: SEARCHED,
        arity: -6,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[
            KEY_READ[0],
            stored_after("STORE", 6),
            stored_after("STOREDIST", 6),
        ],
        get_keys: Some(search::georadius_keys),
        history: &[ANY, UPPERCASE_UNITS],
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        arguments: &[
            KEY, LONGITUDE, LATITUDE, RADIUS, UNIT, WITHCOORD, WITHDIST, WITHHASH, COUNT_OLD,
            ORDER, STORE,
        ],
        handler: database(search::georadius),
        ..GEO
    },
    CommandSpec {
        name: "georadius_ro",
        summary: "Finds the places around coordinates.",
        since: "3.2.10",
        complexity: SEARCHED,
        arity: -6,
        flags: flags::READONLY,
        keys: KEY_READ,
        history: &[ANY, UPPERCASE_UNITS],
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument",
        arguments: &[
            KEY, LONGITUDE, LATITUDE, RADIUS, UNIT, WITHCOORD, WITHDIST, WITHHASH, COUNT_OLD, ORDER,
        ],
        handler: database(search::georadius_ro),
        ..GEO
    },
    CommandSpec {
        name: "georadiusbymember",
        summary: "Finds the places around a place; on request it stores them.",
        complexity: SEARCHED,
        arity: -5,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[
            KEY_READ[0],
            stored_after("STORE", 5),
            stored_after("STOREDIST", 5),
        ],
        get_keys: Some(search::georadius_keys),
        history: &[ANY, UPPERCASE_UNITS],
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        arguments: &[
            KEY, MEMBER, RADIUS, UNIT, WITHCOORD, WITHDIST, WITHHASH, COUNT, ORDER, STORE,
        ],
        handler: database(search::georadiusbymember),
        ..GEO
    },
    CommandSpec {
        name: "georadiusbymember_ro",
        summary: "Finds the places around a place.",
        since: "3.2.10",
        complexity: SEARCHED,
        arity: -5,
        flags: flags::READONLY,
        keys: KEY_READ,
        history: &[ANY, UPPERCASE_UNITS],
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
        arguments: &[
            KEY, MEMBER, RADIUS, UNIT, WITHCOORD, WITHDIST, WITHHASH, COUNT, ORDER,
        ],
        handler: database(search::georadiusbymember_ro),
        ..GEO
    },
    CommandSpec {
        name: "geosearch",
        summary: "Finds the places within a circle or a box.",
        since: "6.2.0",
        complexity: SEARCHED,
        arity: -7,
        flags: flags::READONLY,
        keys: KEY_READ,
        history: &[UPPERCASE_UNITS],
        arguments: &[KEY, FROM, BY, ORDER, COUNT, WITHCOORD, WITHDIST, WITHHASH],
        handler: database(search::geosearch),
        ..GEO
    },
    CommandSpec {
        name: "geosearchstore",
        summary: "Finds the places within a circle or a box and stores them.",
        since: "6.2.0",
        complexity: SEARCHED,
        arity: -8,
        flags: flags::WRITE | flags::DENYOOM,
        keys: &[
            KeySpec::first(key_flags::OW | key_flags::UPDATE),
            KeySpec::range(key_flags::RO | key_flags::ACCESS, 2, 0, 1),
        ],
        history: &[UPPERCASE_UNITS],
        arguments: &[
            Argument::key("destination"),
            Argument {
                key_spec: 1,
                ..Argument::key("source")
            },
            FROM,
            BY,
            ORDER,
            COUNT,
            Argument::token("storedist", "STOREDIST").optional(),
        ],
        handler: database(search::geosearchstore),
        ..GEO
    },
];
