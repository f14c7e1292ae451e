//! REPLICAOF, PSYNC, REPLCONF, ROLE, FAILOVER: what replicas, their primaries and those who look after them say.
//!
//! In: who is to follow whom. Out: the role, and clients that become replicas. Mirrors `replicaofCommand`, `syncCommand`,
//! `replconfCommand`, `roleCommand` and `failoverCommand` of Redis's replication.c.

use crate::clients::ClientKind;
use crate::engine::replication::{failover, primary, role};
use crate::engine::{
    Argument, CommandError, CommandSpec, Group, Handler, ServerContext, acl, flags,
};
use crate::replication::{FailoverState, Filter, Phase};
use crate::resp::Args;
use crate::system::numbers;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "replicaof",
        group: Group::Server,
        summary: "Makes the server the replica of another one, or a primary (NO ONE).",
        since: "5.0.0",
        arity: 3,
        flags: flags::ADMIN | flags::NOSCRIPT | flags::STALE | flags::NO_ASYNC_LOADING,
        arguments: &[Argument::string("host"), Argument::integer("port")],
        handler: Handler::Server(replica_of),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "slaveof",
        group: Group::Server,
        summary: "Makes the server the replica of another one, or a primary (NO ONE).",
        since: "1.0.0",
        arity: 3,
        flags: flags::ADMIN | flags::NOSCRIPT | flags::STALE | flags::NO_ASYNC_LOADING,
        deprecated_since: "5.0.0",
        replaced_by: "`REPLICAOF`",
        arguments: &[Argument::string("host"), Argument::integer("port")],
        handler: Handler::Server(replica_of),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "role",
        group: Group::Server,
        summary: "Tells the role of the server, and what belongs to it.",
        since: "2.8.12",
        arity: 1,
        flags: flags::NOSCRIPT | flags::LOADING | flags::STALE | flags::FAST,
        acl: acl::ADMIN | acl::DANGEROUS,
        handler: Handler::Server(role),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "replconf",
        group: Group::Server,
        summary: "What replicas and primaries tell each other beside the stream.",
        since: "3.0.0",
        arity: -1,
        flags: flags::ADMIN | flags::NOSCRIPT | flags::LOADING | flags::STALE | flags::ALLOW_BUSY,
        handler: Handler::Server(replconf),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "psync",
        group: Group::Server,
        summary: "Makes the client a replica: the stream goes on where it says, or behind a snapshot.",
        since: "2.8.0",
        arity: -3,
        flags: flags::ADMIN | flags::NOSCRIPT | flags::NO_ASYNC_LOADING | flags::NO_MULTI,
        arguments: &[
            Argument::string("replicationid"),
            Argument::integer("offset"),
        ],
        handler: Handler::Server(psync),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "failover",
        group: Group::Server,
        summary: "Hands the role of the primary over to one of its replicas.",
        since: "6.2.0",
        arity: -1,
        flags: flags::ADMIN | flags::NOSCRIPT | flags::STALE,
        arguments: &[
            Argument::block(
                "target",
                &[
                    Argument::string("host"),
                    Argument::integer("port"),
                    Argument::token("force", "FORCE").optional(),
                ],
            )
            .after("TO")
            .optional(),
            Argument::token("abort", "ABORT").optional(),
            Argument::integer("milliseconds")
                .after("TIMEOUT")
                .optional(),
        ],
        handler: Handler::Server(fail_over),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "sync",
        group: Group::Server,
        summary: "Makes the client a replica: a snapshot, and the stream behind it.",
        since: "1.0.0",
        arity: 1,
        flags: flags::ADMIN | flags::NOSCRIPT | flags::NO_ASYNC_LOADING | flags::NO_MULTI,
        handler: Handler::Server(sync),
        ..CommandSpec::DEFAULT
    },
];

type Answer = Result<(), CommandError>;

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn replica_of(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    // Who follows whom is for the nodes to agree on.
    if context.state.cluster.is_some() {
        return Err(CommandError::fixed(
            "ERR REPLICAOF not allowed in cluster mode.",
        ));
    }
    if context.state.replication.failover.state != FailoverState::None {
        return Err(CommandError::fixed(
            "ERR REPLICAOF not allowed while failing over.",
        ));
    }
    let who = {
        let client = context.caller();
        format!(
            "id={} addr={}",
            client.session.id,
            client.connection().address()
        )
    };
    if is(args.at(1), "no") && is(args.at(2), "one") {
        if context.state.replication.is_replica() {
            role::lead(context.state, context.host);
            log::info!("MASTER MODE enabled (user request from '{who}')");
        }
        context.reply().ok();
        return Ok(());
    }
    if context.session().kind == ClientKind::Replica {
        // A replica that were told to follow its own replica would be told so by that.
        return Err(CommandError::fixed(
            "ERR Command is not valid when client is a replica.",
        ));
    }
    let port = numbers::parse_i64(args.at(2)).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(CommandError::fixed("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(args.at(1)).into_owned();
    let link = context.state.replication.link.as_ref();
    if link.is_some_and(|link| link.host.eq_ignore_ascii_case(&host) && link.port == port) {
        log::info!(
            "REPLICAOF would result into synchronization with the master we are already connected with. No operation \
             performed."
        );
        context
            .reply()
            .simple("OK Already connected to specified master");
        return Ok(());
    }
    role::follow(context.state, context.host, &host, port);
    log::info!("REPLICAOF {host}:{port} enabled (user request from '{who}')");
    context.reply().ok();
    Ok(())
}

fn role(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let offset = context.state.journal.offset();
    if let Some(link) = &context.state.replication.link {
        let (host, port, state) = (link.host.clone(), link.port, link.state_name());
        let offset = if link.is_up() { offset } else { -1 };
        let reply = context.reply();
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk(host.as_bytes());
        reply.integer(i64::from(port));
        reply.bulk(state.as_bytes());
        reply.integer(offset);
        return Ok(());
    }
    let replicas: Vec<(String, String, String)> = context
        .state
        .replication
        .online()
        .filter_map(|it| {
            let name = primary::address_of(context.state, it)?;
            Some((name, it.port.to_string(), it.acked.to_string()))
        })
        .collect();
    let reply = context.reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(offset);
    reply.array(replicas.len());
    for (ip, port, acked) in replicas {
        reply.array(3);
        for word in [ip, port, acked] {
            reply.bulk(word.as_bytes());
        }
    }
    Ok(())
}

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`. Answers OK as soon as it has begun.
fn fail_over(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if context.state.cluster.is_some() {
        return Err(CommandError::fixed(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    let integer = |word: &[u8]| {
        numbers::parse_i64(word).ok_or(CommandError::fixed(
            "ERR value is not an integer or out of range",
        ))
    };
    let failing = context.state.replication.failover.state;
    if args.len() == 2 && is(args.at(1), "abort") {
        if failing == FailoverState::None {
            return Err(CommandError::fixed("ERR No failover in progress."));
        }
        failover::abort(context.state, context.host, "Failover manually aborted");
        context.reply().ok();
        return Ok(());
    }
    let (mut timeout_ms, mut force, mut target) = (None, false, None);
    let mut at = 1;
    while let Some(word) = args.get(at) {
        if is(word, "timeout") && args.get(at + 1).is_some() && timeout_ms.is_none() {
            let asked = integer(args.at(at + 1))?;
            if asked <= 0 {
                return Err(CommandError::fixed(
                    "ERR FAILOVER timeout must be greater than 0",
                ));
            }
            timeout_ms = Some(asked);
            at += 2;
        } else if is(word, "to") && args.get(at + 2).is_some() && target.is_none() {
            let port = integer(args.at(at + 2))?;
            let host = String::from_utf8_lossy(args.at(at + 1)).into_owned();
            // No replica has a port that is none.
            target = Some((host, u16::try_from(port).unwrap_or(0)));
            at += 3;
        } else if is(word, "force") && !force {
            force = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let state = &mut *context.state;
    let refused = if failing != FailoverState::None {
        Some("ERR FAILOVER already in progress.")
    } else if state.replication.is_replica() {
        Some("ERR FAILOVER is not valid when server is a replica.")
    } else if state.replication.attached == 0 {
        Some("ERR FAILOVER requires connected replicas.")
    } else if force && (timeout_ms.is_none() || target.is_none()) {
        Some("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
    } else {
        None
    };
    if let Some(reason) = refused {
        return Err(CommandError::fixed(reason));
    }
    if let Some((host, port)) = &target {
        match failover::find(state, host, *port) {
            None => {
                return Err(CommandError::fixed(
                    "ERR FAILOVER target HOST and PORT is not a replica.",
                ));
            }
            Some(replica) if replica.phase != Phase::Online => {
                return Err(CommandError::fixed(
                    "ERR FAILOVER target replica is not online.",
                ));
            }
            Some(_) => {}
        }
    }
    let until_ms = timeout_ms.map(|timeout_ms| state.now.unix_ms().saturating_add(timeout_ms));
    failover::begin(state, target, until_ms, force);
    context.reply().ok();
    Ok(())
}

fn psync(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    primary::sync(context, args, true);
    Ok(())
}

fn sync(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    primary::sync(context, args, false);
    Ok(())
}

/// Which parts of a snapshot are wanted: those that are named.
fn filter_of(value: &[u8]) -> Result<Filter, CommandError> {
    let mut filter = Filter {
        excludes_data: true,
        excludes_functions: true,
    };
    for word in value.split(|byte| byte.is_ascii_whitespace()) {
        if is(word, "functions") {
            filter.excludes_functions = false;
        } else if !word.is_empty() {
            return Err(CommandError::of_parts(&[
                b"ERR Unsupported rdb-filter-only option: ",
                word,
            ]));
        }
    }
    Ok(filter)
}

/// Options and values, in pairs. Those of a stream that flows (ACK, GETACK) are not answered.
fn replconf(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let key = context.client;
    let integer = |word: &[u8]| {
        numbers::parse_i64(word).ok_or(CommandError::fixed(
            "ERR value is not an integer or out of range",
        ))
    };
    let mut at = 1;
    while at < args.len() {
        let (option, value) = (args.at(at), args.at(at + 1));
        at += 2;
        let state = &mut *context.state;
        if is(option, "ack") {
            if context.session().kind != ClientKind::Replica {
                return Ok(());
            }
            let Some(offset) = numbers::parse_i64(value) else {
                return Ok(());
            };
            let aof = args
                .get(at)
                .filter(|word| is(word, "fack"))
                .and_then(|_| numbers::parse_i64(args.get(at + 1)?));
            primary::acknowledged(context.state, key, offset, aof);
            return Ok(());
        }
        if is(option, "getack") {
            // The primary asks: it is told whatever else is told or not.
            if context.session().kind == ClientKind::Primary
                && let Some(link) = &mut context.state.replication.link
            {
                link.owes_ack = true;
            }
            return Ok(());
        }
        let Some(entry) = primary::entry(state, key) else {
            return Ok(());
        };
        if is(option, "listening-port") {
            let port = integer(value)?;
            entry.port = u16::try_from(port).unwrap_or(0);
        } else if is(option, "ip-address") {
            if value.len() > 255 {
                return Err(CommandError::text_owned(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            entry.ip = (!value.is_empty()).then(|| value.to_vec());
        } else if is(option, "capa") {
            entry.capabilities.eof |= is(value, "eof");
            entry.capabilities.psync2 |= is(value, "psync2");
        } else if is(option, "rdb-only") {
            let only = integer(value)?;
            if !(0..=1).contains(&only) {
                return Err(CommandError::fixed("ERR value is out of range"));
            }
            // What it gets already is what it has asked for.
            entry.rdb_only = if entry.is_attached() {
                entry.rdb_only
            } else {
                only == 1
            };
        } else if is(option, "rdb-filter-only") {
            let filter = filter_of(value)?;
            entry.filter = filter;
        } else if is(option, "version") {
            // Valkey's replicas say it, so that they get a format that they know: ours all know.
        } else {
            return Err(CommandError::of_parts(&[
                b"ERR Unrecognized REPLCONF option: ",
                option,
            ]));
        }
    }
    context.reply().ok();
    Ok(())
}
