//! DUMP and RESTORE: a value as bytes, and back.
//!
//! In: a key, or a payload of any Redis from 2.6 to 8.0. Out: a payload that Redis 7.0 restores; or the key, if the
//! payload is whole to its last byte: what is wrong anywhere in it is an error here, and nothing has changed then.
//! The codec is [`crate::persistence::rdb`]. Mirrors `dumpCommand` and `restoreCommand` of Redis's cluster.c.

use crate::engine::{
    Argument, CommandError, CommandSpec, Context, Group, Handler, KeySpec, ServerContext, acl,
    flags, key_flags, parse,
};
use crate::keyspace::{EventClass, Expiry, Free, KeyEntry};
use crate::persistence::rdb::load::Loader;
use crate::persistence::rdb::payload;
use crate::resp::Args;

const RESTORE: CommandSpec = CommandSpec {
    arity: -4,
    flags: flags::WRITE | flags::DENYOOM,
    acl: acl::KEYSPACE | acl::DANGEROUS,
    keys: &[KeySpec::first(key_flags::OW | key_flags::UPDATE)],
    complexity: "O(bytes); O(N*log(N)) for the N members of a sorted set",
    history: &[
        ("3.0.0", "Option `REPLACE`."),
        ("5.0.0", "Option `ABSTTL`."),
        ("5.0.0", "Options `IDLETIME` and `FREQ`."),
    ],
    arguments: &[
        Argument::key("key"),
        Argument::integer("ttl"),
        Argument::string("serialized-value"),
        Argument::token("replace", "REPLACE")
            .optional()
            .since("3.0.0"),
        Argument::token("absttl", "ABSTTL")
            .optional()
            .since("5.0.0"),
        Argument::integer("seconds")
            .after("IDLETIME")
            .optional()
            .since("5.0.0"),
        Argument::integer("frequency")
            .after("FREQ")
            .optional()
            .since("5.0.0"),
    ],
    handler: Handler::Server(restore),
    ..CommandSpec::DEFAULT
};

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "dump",
        summary: "Answers the value at a key as bytes that RESTORE takes.",
        since: "2.6.0",
        complexity: "O(bytes)",
        arity: 2,
        flags: flags::READONLY,
        acl: acl::KEYSPACE,
        keys: &[KeySpec::first(key_flags::RO | key_flags::ACCESS)],
        tips: &["nondeterministic_output"],
        arguments: &[Argument::key("key")],
        handler: Handler::Database(dump),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "restore",
        summary: "Creates a key from the bytes of DUMP.",
        since: "2.6.0",
        ..RESTORE
    },
    CommandSpec {
        name: "restore-asking",
        is_internal: true,
        summary: "RESTORE as the nodes of a cluster call it while keys move.",
        since: "3.0.0",
        group: Group::Server,
        flags: flags::WRITE | flags::DENYOOM | flags::ASKING,
        ..RESTORE
    },
];

fn dump(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let compress = context.settings.rdb_compression;
    match context.db.read(args.at(1)) {
        Some(entry) => context.reply.bulk(&payload::dump(entry.stored(), compress)),
        None => context.reply.null(),
    }
    Ok(())
}

/// What may follow the payload.
#[derive(Default)]
struct Options {
    replace: bool,
    /// The time to live is a Unix time.
    absolute: bool,
    idle_s: Option<i64>,
    counter: Option<u8>,
}

impl Options {
    fn parse(options: Args<'_>) -> Result<Options, CommandError> {
        let mut all = Options::default();
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if parse::is_word(option, "REPLACE") {
                all.replace = true;
            } else if parse::is_word(option, "ABSTTL") {
                all.absolute = true;
            } else if parse::is_word(option, "IDLETIME") && all.counter.is_none() {
                let seconds = parse::integer(rest.next().ok_or(CommandError::Syntax)?)?;
                if seconds < 0 {
                    return Err(CommandError::fixed(
                        "ERR Invalid IDLETIME value, must be >= 0",
                    ));
                }
                all.idle_s = Some(seconds);
            } else if parse::is_word(option, "FREQ") && all.idle_s.is_none() {
                let number = parse::integer(rest.next().ok_or(CommandError::Syntax)?)?;
                let counter = u8::try_from(number).map_err(|_| {
                    CommandError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255")
                })?;
                all.counter = Some(counter);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(all)
    }
}

fn restore(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args.skip(4))?;
    let (key, now) = (args.at(1), context.now());
    if !options.replace && matches!(context.db().entry(key), KeyEntry::Occupied(_)) {
        return Err(CommandError::fixed(
            "BUSYKEY Target key name already exists.",
        ));
    }
    let ttl = parse::integer(args.at(2))?;
    if ttl < 0 {
        return Err(CommandError::fixed("ERR Invalid TTL value, must be >= 0"));
    }
    let check_sum = !context.state.skip_checksum_validation;
    let body = payload::verify(args.at(3), check_sum).ok_or(CommandError::fixed(
        "ERR DUMP payload version or checksum are wrong",
    ))?;
    let seed = context.db().hash_seed();
    let settings = context.state.config.settings();
    let lazy = settings.lazyfree_lazy_server_del;
    if settings.sanitize_dump_payload {
        context.state.observe.stats.dump_payload_sanitizations += 1;
    }
    let loader = Loader { settings, seed };
    let value = payload::restore(body, &loader).map_err(|error| {
        log::debug!("RESTORE: {error}");
        CommandError::fixed("ERR Bad data format")
    })?;

    let at = match ttl {
        0 => None,
        ttl if options.absolute => Some(ttl),
        ttl => Some(ttl.saturating_add(now.unix_ms())),
    };
    let free = if lazy { Free::Lazily } else { Free::Now };
    let mut db = context.db();
    let replaced = options.replace && db.remove(key, free);
    if at.is_some_and(|at| at <= now.expiry_ms()) {
        if replaced {
            db.signal_modified(EventClass::Generic, "del", key);
            let command: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            context.rewrite(&[command, key]);
        }
        context.reply().ok();
        return Ok(());
    }
    if let KeyEntry::Vacant(vacant) = db.entry(key) {
        let expiry = at.map_or(Expiry::Clear, Expiry::At);
        let mut held = vacant.insert_held(value, expiry);
        held.set_use(now, options.idle_s, options.counter);
    }
    db.signal_modified(EventClass::Generic, "restore", key);
    if let Some(at) = at.filter(|_| !options.absolute) {
        let at = at.to_string();
        let mut again: Vec<&[u8]> = args.iter().collect();
        if let Some(ttl) = again.get_mut(2) {
            *ttl = at.as_bytes();
        }
        again.push(b"ABSTTL");
        context.rewrite(&again);
    }
    context.reply().ok();
    Ok(())
}

#[cfg(test)]
mod tests;
