//! Commands of the connection itself: PING, ECHO, QUIT, RESET, AUTH, HELLO. (SELECT stands with the databases, in
//! `keys/`; CLIENT in [`super::client`].)
//!
//! In: a session. Out: the session as it shall be from the next command on, its protocol included. Passwords are
//! compared in constant time and never reach the slow log. Mirrors the connection commands of Redis's networking.c
//! and `authCommand` of acl.c.

use super::client::{NAME_ERROR, is_printable};
use crate::REDIS_VERSION;
use crate::acl::DEFAULT_USER;
use crate::clients::hosts::Turn;
use crate::clients::{Asking, Client, ClientKind, Identity, ReplyMode};
use crate::engine::{
    Argument, CommandError, CommandSpec, Context, Group, Handler, ServerContext, WaitFor, acl,
    budgets, flags, monitor, parse, permissions, pubsub, tracking, transactions,
};
use crate::resp::{Args, Protocol};
use crate::system::numbers;

/// Flags of the commands that a client may call before it is authenticated.
const HANDSHAKE: u32 = flags::NOSCRIPT
    | flags::LOADING
    | flags::STALE
    | flags::FAST
    | flags::NO_AUTH
    | flags::ALLOW_BUSY;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "auth",
        summary: "Authenticates the connection.",
        complexity: "O(N) in the number of the user's passwords.",
        group: Group::Connection,
        arity: -2,
        flags: HANDSHAKE,
        acl: acl::CONNECTION,
        history: &[("6.0.0", "A user's name before the password.")],
        arguments: &[
            Argument::string("username").optional().since("6.0.0"),
            Argument::string("password"),
        ],
        handler: Handler::Server(auth),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "echo",
        summary: "Answers the message that was given.",
        group: Group::Connection,
        arity: 2,
        flags: flags::LOADING | flags::STALE | flags::FAST,
        acl: acl::CONNECTION,
        arguments: &[Argument::string("message")],
        handler: Handler::Database(echo),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "hello",
        summary: "Opens the conversation: chooses the protocol, authenticates, names the connection.",
        since: "6.0.0",
        group: Group::Connection,
        arity: -1,
        flags: HANDSHAKE,
        acl: acl::CONNECTION,
        history: &[(
            "6.2.0",
            "The protocol's version may be left out: the connection is described as it is.",
        )],
        arguments: &[Argument::block(
            "arguments",
            &[
                Argument::integer("protover"),
                Argument::block(
                    "auth",
                    &[Argument::string("username"), Argument::string("password")],
                )
                .after("AUTH")
                .optional(),
                Argument::string("clientname").after("SETNAME").optional(),
            ],
        )
        .optional()],
        handler: Handler::Server(hello),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "ping",
        summary: "Answers PONG, or the message that was given.",
        group: Group::Connection,
        arity: -1,
        flags: flags::FAST,
        acl: acl::CONNECTION,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        arguments: &[Argument::string("message").optional()],
        handler: Handler::Database(ping),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "quit",
        summary: "Answers OK and closes the connection.",
        group: Group::Connection,
        arity: -1,
        flags: HANDSHAKE | flags::RUNS_IN_MULTI,
        acl: acl::CONNECTION,
        deprecated_since: "7.2.0",
        replaced_by: "just closing the connection",
        handler: Handler::Database(quit),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "reset",
        summary: "Brings the connection back to the state of a new one.",
        since: "6.2.0",
        group: Group::Connection,
        flags: HANDSHAKE | flags::RUNS_IN_MULTI,
        acl: acl::CONNECTION,
        handler: Handler::Server(reset),
        ..CommandSpec::DEFAULT
    },
];

fn ping(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 2 {
        return Err(CommandError::WrongArity("ping".to_owned()));
    }
    // Among messages an answer has to look like one; RESP3 tells them apart.
    if context.session.kind == ClientKind::PubSub && !context.session.resp3() {
        context.reply.array(2);
        context.reply.bulk(b"pong");
        context.reply.bulk(args.at(1));
        return Ok(());
    }
    match args.get(1) {
        Some(message) => context.reply.bulk(message),
        None => context.reply.simple("PONG"),
    }
    Ok(())
}

fn echo(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    context.reply.bulk(args.at(1));
    Ok(())
}

fn quit(context: &mut Context<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.reply.ok();
    context.effects.close_caller = true;
    Ok(())
}

fn reset(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let kind = context.session().kind;
    if matches!(kind, ClientKind::Primary | ClientKind::Replica) {
        return Err(CommandError::fixed("ERR can only reset normal connections"));
    }
    transactions::discard(context.state, context.client);
    pubsub::leave(context.state, context.client);
    tracking::disable(context.state, context.client);
    monitor::end(context.state, context.client);
    let identity = Identity::newcomer(&context.state.users);
    budgets::become_user(context.state, context.client, identity);
    let Client { session, reply, .. } = context.caller();
    session.set_protocol(Protocol::Resp2, reply);
    session.db = 0;
    session.name.clear();
    // RESET ends CLIENT REPLY OFF and is answered; that it is skipped was asked for in so many words.
    let is_skipped = session.reply_mode == ReplyMode::Skip;
    if !is_skipped {
        session.reply_mode = ReplyMode::On;
    }
    session.no_evict = false;
    session.no_touch = false;
    session.readonly = false;
    session.asking = Asking::No;
    reply.set_discard(is_skipped);
    reply.simple("RESET");
    Ok(())
}

/// `AUTH password` and `AUTH user password`.
fn auth(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let (user, password) = match args.get(2) {
        Some(password) => (args.at(1), password),
        None if context.state.users.default_user().has_nopass() => {
            return Err(CommandError::fixed(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        None => (DEFAULT_USER, args.at(1)),
    };
    if authenticate(context, user, password, args.at(0))? {
        context.reply().ok();
    }
    Ok(())
}

/// Lets the session in as a user, or not. False if it has to wait before the password is looked at: the whole command runs
/// again then, and what the client has sent behind it waits with it.
fn authenticate(
    context: &mut ServerContext<'_>,
    name: &[u8],
    password: &[u8],
    tried_with: &[u8],
) -> Result<bool, CommandError> {
    // Before the password is looked at, also the right one: else the missing delay would tell it.
    match permissions::turn_of(context.state, context.client) {
        Turn::Now => {}
        Turn::At(due_ns) => {
            context.effects.details_mut().block = Some(WaitFor::Turn(due_ns));
            // It is shown when it has been looked at.
            context.effects.stands = true;
            return Ok(false);
        }
        Turn::Never => {
            return Err(CommandError::fixed(
                "ERR too many wrong passwords from this address, try again later",
            ));
        }
    }
    let user = context.state.users.authenticate(name, password).cloned();
    let Some(user) = user else {
        let client = context.client;
        permissions::log_failed_auth(context.state, client, name, tried_with);
        return Err(CommandError::WrongPass);
    };
    budgets::become_user(context.state, context.client, Identity::User(user));
    context.session().was_authenticated = true;
    Ok(true)
}

/// `HELLO [protover [AUTH user password] [SETNAME name]]`. All of it is read before any of it is done.
fn hello(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let protocol = match args.get(1).map(numbers::parse_i64) {
        None => None,
        Some(Some(2)) => Some(Protocol::Resp2),
        Some(Some(3)) => Some(Protocol::Resp3),
        Some(Some(_)) => {
            return Err(CommandError::fixed("NOPROTO unsupported protocol version"));
        }
        Some(None) => {
            return Err(CommandError::fixed(
                "ERR Protocol version is not an integer or out of range",
            ));
        }
    };
    let mut credentials = None;
    let mut name = None;
    let mut at = 2;
    while let Some(option) = args.get(at) {
        match (args.get(at + 1), args.get(at + 2)) {
            (Some(user), Some(password)) if parse::is_word(option, "AUTH") => {
                credentials = Some((user, password));
                at += 3;
            }
            (Some(given), _) if parse::is_word(option, "SETNAME") => {
                if !is_printable(given) {
                    return Err(NAME_ERROR);
                }
                name = Some(given);
                at += 2;
            }
            _ => {
                let problem = "ERR Syntax error in HELLO option '";
                return Err(CommandError::showing(problem, option, "'"));
            }
        }
    }
    if let Some((user, password)) = credentials
        && !authenticate(context, user, password, args.at(0))?
    {
        return Ok(());
    }
    if context.session().identity.is_stranger() {
        return Err(CommandError::fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
             the same time",
        ));
    }
    if let Some(name) = name {
        context.session().name = name.to_vec();
    }
    if let Some(protocol) = protocol {
        context.caller().set_protocol(protocol);
    }
    describe(context);
    Ok(())
}

/// What HELLO answers.
fn describe(context: &mut ServerContext<'_>) {
    let role = match context.state.replication.is_replica() {
        true => "replica",
        false => "master",
    };
    let mode = context.state.mode();
    let Client { session, reply, .. } = context.caller();
    let (id, resp3) = (session.id, session.resp3());
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(i64::try_from(id).unwrap_or(i64::MAX));
    for (key, value) in [("mode", mode), ("role", role)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Harness, error};
    use crate::clients::Identity;
    use crate::resp::reader::Value;

    fn with_password() -> Harness {
        let mut harness = Harness::new();
        harness.config("requirepass", "se cret");
        let client = harness.state.clients.get_mut(harness.client).unwrap();
        client.session.identity = Identity::Stranger;
        harness
    }

    #[test]
    fn ping_and_echo() {
        let mut harness = Harness::new();
        assert_eq!(harness.line("PING"), Value::Simple("PONG".into()));
        assert_eq!(harness.line("ping hi"), Value::bulk("hi"));
        assert_eq!(
            harness.line("ping a b"),
            error("ERR wrong number of arguments for 'ping' command")
        );
        assert_eq!(harness.line("ECHO x"), Value::bulk("x"));
    }

    #[test]
    fn auth_without_a_password_in_force() {
        let mut harness = Harness::new();
        assert_eq!(
            harness.line("AUTH foo"),
            error(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?"
            )
        );
        assert_eq!(harness.line("AUTH default any"), Value::Simple("OK".into()));
        assert_eq!(harness.line("AUTH a b c"), error("ERR syntax error"));
    }

    #[test]
    fn auth_with_a_password() {
        let mut harness = with_password();
        let wrong = error("WRONGPASS invalid username-password pair or user is disabled.");
        let refused = error("NOAUTH Authentication required.");
        assert_eq!(harness.line("GET x"), refused);
        for bad in [
            &["AUTH", "se"][..],
            &["AUTH", "se cresT"],
            &["AUTH", "other", "se cret"],
            &["HELLO", "3", "AUTH", "default", "x"],
        ] {
            assert_eq!(harness.run(bad), wrong, "{bad:?}");
        }
        assert_eq!(harness.line("GET x"), refused);
        let hello = harness.line("HELLO 3 SETNAME me");
        let hello = String::from_utf8_lossy(hello.as_bytes().unwrap()).into_owned();
        assert!(hello.starts_with("NOAUTH HELLO must be called"), "{hello}");
        assert_eq!(
            harness.run(&["AUTH", "default", "se cret"]),
            Value::Simple("OK".into())
        );
        assert_eq!(
            harness.line("CLIENT GETNAME"),
            Value::NullBulk,
            "nothing of a refused HELLO holds"
        );
        assert_eq!(harness.line("RESET"), Value::Simple("RESET".into()));
        assert_eq!(harness.line("PING"), refused);
    }

    /// That somebody authenticated may be seen; with what, not.
    #[test]
    fn passwords_do_not_reach_the_slow_log() {
        let mut harness = with_password();
        harness.config("slowlog-log-slower-than", "0");
        harness.run(&["AUTH", "se cret"]);
        harness.run(&["AUTH", "default", "wrong one"]);
        harness.run(&["HELLO", "3", "AUTH", "default", "se cret"]);
        let log: Vec<String> = harness
            .state
            .observe
            .slowlog
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.arguments.join(&b' ')).into_owned())
            .collect();
        assert_eq!(
            log,
            [
                "HELLO 3 AUTH (redacted) (redacted)",
                "AUTH (redacted) (redacted)",
                "AUTH (redacted)"
            ]
        );
    }

    #[test]
    fn hello_switches_and_describes() {
        let mut harness = Harness::new();
        assert_eq!(
            harness.line("HELLO 4"),
            error("NOPROTO unsupported protocol version")
        );
        assert_eq!(
            harness.line("HELLO x"),
            error("ERR Protocol version is not an integer or out of range")
        );
        assert_eq!(
            harness.line("HELLO 3 FOO"),
            error("ERR Syntax error in HELLO option 'FOO'")
        );
        assert_eq!(
            harness.run(&["HELLO", "3", "SETNAME", "a b"]),
            error("ERR Client names cannot contain spaces, newlines or special characters.")
        );
        let Value::Array(flat) = harness.line("HELLO") else {
            panic!("RESP2 has no maps")
        };
        assert_eq!(flat.len(), 14);
        let Value::Map(pairs) = harness.line("hello 3 setname me") else {
            panic!("a map")
        };
        assert_eq!(pairs[0], (Value::bulk("server"), Value::bulk("redis")));
        assert_eq!(pairs[2], (Value::bulk("proto"), Value::Integer(3)));
        assert_eq!(pairs[6], (Value::bulk("modules"), Value::Array(Vec::new())));
        assert_eq!(harness.line("CLIENT GETNAME"), Value::bulk("me"));
        assert_eq!(harness.line("RESET"), Value::Simple("RESET".into()));
        assert_eq!(harness.line("GET nosuch"), Value::NullBulk);
    }

    #[test]
    fn quit_answers_and_asks_for_the_close() {
        let mut harness = Harness::new();
        assert_eq!(harness.line("QUIT"), Value::Simple("OK".into()));
        assert_eq!(harness.state.requests.close_caller, Some(harness.client));
    }
}
