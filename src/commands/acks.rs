//! WAIT and WAITAOF: clients that wait until their writes have reached replicas, or the disk.
//!
//! In: how far the append-only file has been synced, what replicas have acknowledged, each client's offset after its last
//! write. Out: an answer when enough is acknowledged or the time is over. Mirrors `waitCommand`, `waitaofCommand` and `processClientsWaitingReplicas` of Redis's replication.c.

use crate::clients::{AckWait, ClientKind};
use crate::engine::acks::{APPENDONLY_OFF, acknowledged, is_enough, write_reply};
use crate::engine::{
    Argument, CommandError, CommandSpec, Handler, ServerContext, WaitFor, acl, flags, parse,
};
use crate::persistence::aof::AofState;
use crate::resp::Args;
use crate::system::numbers;

const TIPS: &[&str] = &["request_policy:all_shards", "response_policy:agg_min"];

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "wait",
        summary: "Waits until so many replicas have the writes of this connection.",
        since: "3.0.0",
        arity: 3,
        flags: flags::BLOCKING,
        acl: acl::CONNECTION,
        tips: TIPS,
        arguments: &[
            Argument::integer("numreplicas"),
            Argument::integer("timeout"),
        ],
        handler: Handler::Server(wait),
        ..CommandSpec::DEFAULT
    },
    CommandSpec {
        name: "waitaof",
        summary: "Waits until the writes of this connection are on the disk, here and at so many replicas.",
        since: "7.2.0",
        arity: 4,
        flags: flags::BLOCKING,
        acl: acl::CONNECTION,
        tips: TIPS,
        arguments: &[
            Argument::integer("numlocal"),
            Argument::integer("numreplicas"),
            Argument::integer("timeout"),
        ],
        handler: Handler::Server(wait_aof),
        ..CommandSpec::DEFAULT
    },
];

type Answer = Result<(), CommandError>;

fn wait(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if context.state.replication.is_replica() {
        return Err(CommandError::fixed(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let replicas = parse::integer(args.at(1))?;
    let deadline_ns = parse::timeout_ms(args.at(2), context.now())?;
    let wait = AckWait {
        offset: 0,
        stream_offset: context.session().stream_offset,
        on_disk: false,
        local: false,
        replicas,
    };
    answer_or_wait(context, wait, deadline_ns);
    Ok(())
}

fn wait_aof(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let local = parse::integer(args.at(1))?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between 0 and 1",
        ));
    }
    let replicas = numbers::parse_i64(args.at(2))
        .filter(|replicas| *replicas >= 0)
        .ok_or(CommandError::fixed(
            "ERR value is out of range, must be positive",
        ))?;
    let deadline_ns = parse::timeout_ms(args.at(3), context.now())?;
    if context.state.replication.is_replica() {
        return Err(CommandError::fixed(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    if local > 0 && context.state.persistence.aof.state == AofState::Off {
        return Err(APPENDONLY_OFF);
    }
    let session = context.session();
    let wait = AckWait {
        offset: session.write_offset,
        stream_offset: session.stream_offset,
        on_disk: true,
        local: local > 0,
        replicas,
    };
    answer_or_wait(context, wait, deadline_ns);
    Ok(())
}

/// Answers where enough is acknowledged or nobody may wait; else has the caller wait, which is taken up when its command has
/// ended.
fn answer_or_wait(context: &mut ServerContext<'_>, wait: AckWait, deadline_ns: Option<u64>) {
    let acknowledged = acknowledged(context.state, &wait);
    if is_enough(&wait, acknowledged) || !may_block(context) {
        write_reply(context.reply(), &wait, acknowledged);
        return;
    }
    context.effects.details_mut().block = Some(WaitFor::Acks(wait, deadline_ns));
}

fn may_block(context: &mut ServerContext<'_>) -> bool {
    let session = context.session();
    !session.in_multi() && !matches!(session.kind, ClientKind::Script | ClientKind::Primary)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Harness;
    use crate::resp::reader::Value;

    fn error(text: &str) -> Value {
        Value::Error(text.as_bytes().to_vec())
    }

    #[test]
    fn without_replicas_zero_is_enough_for_zero() {
        let mut harness = Harness::new();
        for line in ["WAIT 0 0", "WAIT -1 0", "WAIT 0 9223372036854775807"] {
            let expected = match line.ends_with("807") {
                true => error("ERR timeout is out of range"),
                false => Value::Integer(0),
            };
            assert_eq!(harness.line(line), expected, "{line}");
        }
        let none = Value::Array(vec![Value::Integer(0), Value::Integer(0)]);
        assert_eq!(harness.line("WAITAOF 0 0 0"), none);
        for (line, text) in [
            ("WAIT x 0", "ERR value is not an integer or out of range"),
            ("WAIT 0 x", "ERR timeout is not an integer or out of range"),
            ("WAIT 0 -1", "ERR timeout is negative"),
            (
                "WAITAOF x 0 0",
                "ERR value is not an integer or out of range",
            ),
            (
                "WAITAOF 2 0 0",
                "ERR value is out of range, value must between 0 and 1",
            ),
            (
                "WAITAOF -1 0 0",
                "ERR value is out of range, value must between 0 and 1",
            ),
            (
                "WAITAOF 0 -1 0",
                "ERR value is out of range, must be positive",
            ),
            (
                "WAITAOF 0 x 0",
                "ERR value is out of range, must be positive",
            ),
            ("WAITAOF 0 0 -1", "ERR timeout is negative"),
            (
                "WAITAOF 1 0 0",
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ),
        ] {
            assert_eq!(harness.line(line), error(text), "{line}");
        }
    }

    #[test]
    fn within_a_transaction_nobody_waits() {
        let mut harness = Harness::new();
        harness.line("MULTI");
        harness.line("WAIT 1 0");
        harness.line("WAITAOF 0 1 0");
        let none = Value::Array(vec![Value::Integer(0), Value::Integer(0)]);
        assert_eq!(
            harness.line("EXEC"),
            Value::Array(vec![Value::Integer(0), none])
        );
    }
}
