//! MIGRATE: keys to another server.
//!
//! In: the other server, keys, options. Out: an error or NOKEY at once, or a client that waits while its keys go
//! ([`crate::engine::migration`]). Mirrors the beginning of `migrateCommand` of Redis's cluster.c.

use crate::engine::WaitFor;
use crate::engine::migration::{self, Request};
use crate::engine::{
    Argument, ArgumentType, BeginSearch, CommandError, CommandSpec, FindKeys, Handler, KeySpec,
    ServerContext, acl, blocking, flags, key_flags, parse,
};
use crate::resp::Args;
use std::collections::BTreeSet;

/// Where options begin.
const OPTIONS: usize = 6;
/// The other server may be silent for so long where no time is given, ms.
const DEFAULT_PATIENCE_MS: i64 = 1000;
const KEY_FLAGS: u32 = key_flags::RW | key_flags::ACCESS | key_flags::DELETE;

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "migrate",
    summary: "Moves keys to another server, or copies them.",
    since: "2.6.0",
    complexity: "O(bytes) here and there, as DUMP and RESTORE; O(keys) to remove them",
    history: &[
        ("3.0.0", "Options `COPY` and `REPLACE`."),
        ("3.0.6", "Option `KEYS`."),
        ("4.0.7", "Option `AUTH`."),
        ("6.0.0", "Option `AUTH2`."),
    ],
    arity: -6,
    flags: flags::WRITE | flags::MOVABLE_KEYS,
    acl: acl::KEYSPACE | acl::DANGEROUS,
    keys: &[
        KeySpec::range(KEY_FLAGS, 3, 0, 1),
        KeySpec {
            flags: KEY_FLAGS | key_flags::INCOMPLETE,
            begin: BeginSearch::Keyword {
                keyword: "KEYS",
                start_from: -2,
            },
            find: FindKeys::Range {
                last: -1,
                step: 1,
                limit: 0,
            },
            notes: "",
        },
    ],
    get_keys: Some(keys),
    tips: &["nondeterministic_output"],
    arguments: &[
        Argument::string("host"),
        Argument::integer("port"),
        Argument::one_of(
            "key-selector",
            &[
                Argument::key("key"),
                Argument::token("empty-string", "\"\""),
            ],
        ),
        Argument::integer("destination-db"),
        Argument::integer("timeout"),
        Argument::token("copy", "COPY").optional().since("3.0.0"),
        Argument::token("replace", "REPLACE")
            .optional()
            .since("3.0.0"),
        Argument::one_of(
            "authentication",
            &[
                Argument {
                    display: "password",
                    ..Argument::string("auth").after("AUTH").since("4.0.7")
                },
                Argument {
                    token: "AUTH2",
                    ..Argument::block(
                        "auth2",
                        &[Argument::string("username"), Argument::string("password")],
                    )
                    .since("6.0.0")
                },
            ],
        )
        .optional(),
        Argument {
            display: "key",
            key_spec: 1,
            ..Argument::new("keys", ArgumentType::Key)
                .after("KEYS")
                .optional()
                .multiple()
                .since("3.0.6")
        },
    ],
    handler: Handler::Server(migrate),
    ..CommandSpec::DEFAULT
}];

/// What follows the five arguments that each call has.
#[derive(Default)]
struct Options {
    copies: bool,
    replaces: bool,
    credentials: Option<(Option<Vec<u8>>, Vec<u8>)>,
    /// Index of the first key behind KEYS.
    first_key: Option<usize>,
}

impl Options {
    /// Reads them.
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = OPTIONS;
        while let Some(option) = args.get(at) {
            at += 1;
            if parse::is_word(option, "COPY") {
                options.copies = true;
            } else if parse::is_word(option, "REPLACE") {
                options.replaces = true;
            } else if parse::is_word(option, "AUTH") {
                let password = args.get(at).ok_or(CommandError::Syntax)?;
                options.credentials = Some((None, password.to_vec()));
                at += 1;
            } else if parse::is_word(option, "AUTH2") {
                let (Some(user), Some(password)) = (args.get(at), args.get(at + 1)) else {
                    return Err(CommandError::Syntax);
                };
                options.credentials = Some((Some(user.to_vec()), password.to_vec()));
                at += 2;
            } else if parse::is_word(option, "KEYS") {
                if !args.at(3).is_empty() {
                    return Err(CommandError::fixed(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                options.first_key = Some(at);
                break;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// The keys of a call, as its options say. One that says so against the rules has none.
fn keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    let mut at = OPTIONS;
    while let Some(option) = args.get(at) {
        at += 1;
        if parse::is_word(option, "KEYS") {
            let keys = if args.at(3).is_empty() {
                at..args.len()
            } else {
                0..0
            };
            return Ok(keys.map(|at| (at, KEY_FLAGS)).collect());
        }
        at += match option {
            option if parse::is_word(option, "AUTH") => 1,
            option if parse::is_word(option, "AUTH2") => 2,
            _ => 0,
        };
    }
    Ok(vec![(3, KEY_FLAGS)])
}

fn migrate(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args)?;
    let patience_ms = match parse::integer(args.at(5))? {
        ..=0 => DEFAULT_PATIENCE_MS,
        given => given,
    };
    let to_db = parse::integer(args.at(4))?;
    let all = match options.first_key {
        Some(first) => args.skip(first),
        None => args.skip(3).take(1),
    };
    // Sent twice, a key would find itself there.
    let mut named = BTreeSet::new();
    let mut keys = Vec::new();
    for key in all.iter().filter(|key| named.insert(*key)) {
        if context.db().read(key).is_some() {
            keys.push(key.to_vec());
        }
    }
    if keys.is_empty() {
        context.reply().simple("NOKEY");
        return Ok(());
    }
    if !blocking::can_wait(context.session()) {
        return Err(CommandError::fixed(
            "ERR MIGRATE waits for another server, which cannot be done in a transaction or a script",
        ));
    }
    let request = Request {
        host: args.at(1).to_vec(),
        port: args.at(2).to_vec(),
        to_db,
        keys,
        patience_ns: u64::try_from(patience_ms)
            .unwrap_or(0)
            .saturating_mul(1_000_000),
        copies: options.copies,
        replaces: options.replaces,
        credentials: options.credentials,
    };
    let session = context.session();
    let (client, db) = (session.id, session.db);
    migration::begin(context.state, client, db, request);
    context.effects.details_mut().block = Some(WaitFor::Work);
    Ok(())
}
