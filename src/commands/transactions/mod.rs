//! Commands: transactions. MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! Between MULTI and EXEC a command passes its checks as ever, but it is queued instead of run; EXEC runs the queue
//! without anything in between, unless a command was refused or a watched key has changed. Mirrors `multi.c` of Redis.

use crate::clients::WatchedKey;
use crate::engine::transactions::{discard, mark_dirty, run_queue, unwatch};
use crate::engine::{
    Argument, CommandError, CommandSpec, Group, Handler, KeySpec, ServerContext, ServerHandler,
    flags, key_flags,
};
use crate::resp::Args;

const ROW: CommandSpec = CommandSpec {
    group: Group::Transactions,
    since: "1.2.0",
    complexity: "O(1)",
    arity: 1,
    ..CommandSpec::DEFAULT
};

const CONTROL: u32 = flags::NOSCRIPT
    | flags::LOADING
    | flags::STALE
    | flags::FAST
    | flags::ALLOW_BUSY
    | flags::RUNS_IN_MULTI;

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "multi",
        summary: "Begins a transaction: commands are queued from here on.",
        flags: CONTROL,
        handler: Handler::Server(multi as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "exec",
        summary: "Runs all queued commands, one after the other and nothing in between.",
        complexity: "Depends on commands in the transaction",
        flags: flags::NOSCRIPT
            | flags::LOADING
            | flags::STALE
            | flags::SKIP_SLOWLOG
            | flags::RUNS_IN_MULTI
            | flags::RUNS_QUEUE,
        handler: Handler::Server(exec as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "discard",
        summary: "Forgets the transaction.",
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands",
        flags: CONTROL,
        handler: Handler::Server(discard_command as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "watch",
        summary: "Makes the next EXEC depend on keys that stay as they are.",
        since: "2.2.0",
        complexity: "O(1) for every key.",
        arity: -2,
        flags: CONTROL,
        keys: &[KeySpec::range(key_flags::RO, 1, -1, 1)],
        arguments: &[Argument::key("key").multiple()],
        handler: Handler::Server(watch as ServerHandler),
        ..ROW
    },
    CommandSpec {
        name: "unwatch",
        summary: "Forgets all watched keys.",
        since: "2.2.0",
        flags: CONTROL & !flags::RUNS_IN_MULTI,
        handler: Handler::Server(unwatch_command as ServerHandler),
        ..ROW
    },
];

fn multi(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let client = context.caller();
    if client.session.in_multi() {
        return Err(CommandError::fixed("ERR MULTI calls can not be nested"));
    }
    client.session.transaction = Some(Box::default());
    client.reply.ok();
    Ok(())
}

fn discard_command(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    if !context.session().in_multi() {
        return Err(CommandError::fixed("ERR DISCARD without MULTI"));
    }
    discard(context.state, context.client);
    context.reply().ok();
    Ok(())
}

fn watch(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (id, db) = (context.session().id, context.session().db);
    if context.session().in_multi() {
        return Err(CommandError::fixed("ERR WATCH inside MULTI is not allowed"));
    }
    // Once a key has changed there is nothing to add.
    if !context.session().is_dirty() {
        for name in args.skip(1).iter() {
            // It stays, unlike where a command reads it: WATCH runs while a file is loaded and while a script stands still,
            // when nothing may change but by them.
            let was_expired = is_over(context, db, name);
            if context.state.keyspace.watch(db, name, id, was_expired) {
                let watching = context.session().watching.get_or_insert_default();
                watching.name_bytes += name.len();
                watching.keys.push(WatchedKey {
                    db,
                    name: name.to_vec(),
                    was_expired,
                });
            }
        }
    }
    context.reply().ok();
    Ok(())
}

fn unwatch_command(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    unwatch(context.state, context.client);
    context.reply().ok();
    Ok(())
}

fn exec(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !context.session().in_multi() {
        return Err(CommandError::fixed("ERR EXEC without MULTI"));
    }
    if context.state.keyspace.has_dirty_watchers() {
        // Keys that went by themselves, with no command behind them that would have marked their watchers.
        mark_dirty(context.state);
    }
    fail_if_expired(context);
    let dirty = context.session().is_dirty();
    let Some(transaction) = context.session().transaction.as_deref_mut() else {
        return Ok(());
    };
    let aborted = transaction.aborted;
    let queue = std::mem::take(&mut transaction.queue);
    // The keys of others are what is watched; its own changes do not count.
    unwatch(context.state, context.client);
    if aborted || dirty {
        discard(context.state, context.client);
        if aborted {
            return Err(CommandError::ExecAbort);
        }
        context.reply().null_array();
        return Ok(());
    }
    context.reply().array(queue.len());
    context.state.journal.begin_unit();
    let started_ns = context.state.now.mono_ns;
    if !run_queue(
        context.state,
        context.host,
        context.client,
        queue,
        args,
        started_ns,
    ) {
        context.effects.stands = true;
    }
    // Each command has told the journal, the statistics and the error counters by itself.
    context.effects.do_not_propagate = true;
    context.effects.errors_counted = true;
    Ok(())
}

/// Whether a key is there although its time is over. None is while a file is loaded, which may prolong it yet.
fn is_over(context: &mut ServerContext<'_>, db: usize, name: &[u8]) -> bool {
    let now = context.now();
    !context.state.persistence.is_loading()
        && context.state.keyspace.db(db, now, true).holds_expired(name)
}

/// Fails the transaction of a client if the time of a key is over that it watches, which nobody may have removed yet.
fn fail_if_expired(context: &mut ServerContext<'_>) {
    let watched = match &mut context.session().watching {
        Some(watching) if !watching.keys.is_empty() => std::mem::take(&mut watching.keys),
        _ => return,
    };
    let mut keys = watched.iter();
    let expires = keys.any(|key| !key.was_expired && is_over(context, key.db, &key.name));
    if let Some(watching) = &mut context.session().watching {
        watching.keys = watched;
        watching.dirty |= expires;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Harness, bulk, error, int, ok};
    use crate::resp::reader::Value;

    fn queued() -> Value {
        Value::Simple("QUEUED".into())
    }

    #[test]
    fn queued_commands_run_at_exec_in_order() {
        let mut harness = Harness::new();
        assert_eq!(harness.line("MULTI"), ok());
        assert_eq!(harness.line("SET k 1"), queued());
        assert_eq!(harness.line("INCR k"), queued());
        assert_eq!(harness.line("GET k"), queued());
        assert_eq!(
            harness.line("EXEC"),
            Value::Array(vec![ok(), int(2), bulk("2")])
        );
        assert_eq!(harness.line("EXEC"), error("ERR EXEC without MULTI"));
        assert_eq!(harness.line("DISCARD"), error("ERR DISCARD without MULTI"));
    }

    #[test]
    fn a_refused_command_aborts_the_transaction_and_a_failing_one_does_not() {
        let mut harness = Harness::new();
        harness.line("MULTI");
        harness.line("NOSUCH");
        harness.line("SET k 1");
        assert_eq!(
            harness.line("EXEC"),
            error("EXECABORT Transaction discarded because of previous errors.")
        );
        assert_eq!(harness.line("EXISTS k"), int(0));
        harness.line("SET k x");
        harness.line("MULTI");
        assert_eq!(
            harness.line("MULTI"),
            error("ERR MULTI calls can not be nested")
        );
        harness.line("INCR k");
        harness.line("SET k y");
        assert_eq!(
            harness.line("EXEC"),
            Value::Array(vec![
                error("ERR value is not an integer or out of range"),
                ok()
            ])
        );
    }

    #[test]
    fn a_key_that_expires_while_writes_are_paused_is_a_change_too() {
        let mut harness = Harness::new();
        harness.line("SET k 1 PX 10");
        harness.line("WATCH k");
        harness.state.keyspace.freeze(true);
        harness.advance_ms(11);
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::NullArray);
        // Now it was over before.
        harness.line("WATCH k");
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::Array(vec![]));
    }

    #[test]
    fn an_exec_that_is_refused_discards_and_tells_why() {
        let mut harness = Harness::new();
        harness.line("MULTI");
        assert_eq!(
            harness.line("EXEC x"),
            error(
                "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
            )
        );
        assert_eq!(harness.line("EXEC"), error("ERR EXEC without MULTI"));
    }

    /// Keys whose time is over and that are still there count as missing, on both sides of SWAPDB.
    #[test]
    fn swapdb_changes_no_watched_key_that_is_missing_before_and_after() {
        for (here, there, cancels) in [
            ("", "", false),
            ("", "SET k 1 PX 1", false),
            ("SET k 1 PX 1", "", false),
            ("SET k 1 PX 1", "SET k 1 PX 1", false),
            ("", "SET k 1", true),
            ("SET k 1", "", true),
        ] {
            let mut harness = Harness::new();
            for (db, line) in [("SELECT 1", there), ("SELECT 0", here)] {
                harness.line(db);
                if !line.is_empty() {
                    harness.line(line);
                }
            }
            harness.advance_ms(2);
            harness.line("WATCH k");
            harness.line("SWAPDB 0 1");
            harness.line("MULTI");
            let got = harness.line("EXEC") == Value::NullArray;
            assert_eq!(got, cancels, "{here:?} {there:?}");
        }
    }

    #[test]
    fn without_memory_only_what_takes_more_is_refused() {
        let mut harness = Harness::new();
        harness.line("SET k 1");
        harness.config("maxmemory", "1mb");
        harness.line("MULTI");
        harness.line("GET k");
        harness.host.used_memory = 2 << 20;
        assert_eq!(harness.line("GET k"), queued());
        assert_eq!(
            harness.line("EXEC"),
            Value::Array(vec![bulk("1"), bulk("1")])
        );
        harness.line("MULTI");
        assert!(
            matches!(harness.line("SET k 2"), Value::Error(text) if text.starts_with(b"OOM")),
            "what will take memory is refused at once"
        );
        assert_eq!(harness.line("DISCARD"), ok());
        harness.host.used_memory = 0;
        harness.line("MULTI");
        harness.line("GET k");
        harness.host.used_memory = 2 << 20;
        assert_eq!(harness.line("EXEC"), Value::Array(vec![bulk("1")]));
    }

    #[test]
    fn the_queue_is_seen_in_client_list() {
        let mut harness = Harness::new();
        harness.line("WATCH a b");
        harness.line("MULTI");
        harness.line("SET k value");
        harness.line("GET k");
        let key = harness.client;
        let client = harness.state.clients.get(key).unwrap();
        let mut line = Vec::new();
        let now = harness.state.now;
        crate::engine::client_line::write_line(&mut line, client, &harness.state.table, now, None);
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains(" multi=2 "), "{line}");
        assert!(line.contains(" watch=2 "), "{line}");
        assert!(line.contains(" cmd=get "), "{line}");
        assert!(!line.contains(" multi-mem=0 "), "{line}");
    }

    #[test]
    fn discard_forgets_the_queue() {
        let mut harness = Harness::new();
        harness.line("MULTI");
        harness.line("SET k 1");
        assert_eq!(harness.line("DISCARD"), ok());
        assert_eq!(harness.line("EXISTS k"), int(0));
    }

    #[test]
    fn a_watched_key_that_changes_cancels_exec() {
        let mut harness = Harness::new();
        harness.line("SET k 1");
        assert_eq!(harness.line("WATCH k other"), ok());
        harness.line("SET k 2");
        harness.line("MULTI");
        assert_eq!(
            harness.line("WATCH k"),
            error("ERR WATCH inside MULTI is not allowed")
        );
        harness.line("SET k 3");
        assert_eq!(harness.line("EXEC"), Value::NullArray);
        assert_eq!(harness.line("GET k"), bulk("2"));
        // EXEC has ended the watching; UNWATCH does too.
        for step in ["WATCH k", "UNWATCH"] {
            assert_eq!(harness.line(step), ok());
        }
        harness.line("SET k 4");
        harness.line("MULTI");
        harness.line("GET k");
        assert_eq!(harness.line("EXEC"), Value::Array(vec![bulk("4")]));
    }

    #[test]
    fn expiry_and_flushes_change_watched_keys_that_exist() {
        for (change, cancels) in [("FLUSHALL", true), ("FLUSHDB", true), ("GET gone", false)] {
            let mut harness = Harness::new();
            harness.line("SET k 1");
            harness.line("WATCH k");
            harness.line(change);
            harness.line("MULTI");
            harness.line("PING");
            assert_eq!(
                harness.line("EXEC") == Value::NullArray,
                cancels,
                "{change}"
            );
        }
        let mut harness = Harness::new();
        harness.line("WATCH absent");
        harness.line("FLUSHALL");
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::Array(vec![]));
        harness.line("SET k 1 PX 10");
        harness.line("WATCH k");
        harness.advance_ms(11);
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::NullArray);
    }

    #[test]
    fn a_client_that_is_to_fail_watches_nothing_any_more() {
        let mut harness = Harness::new();
        harness.line("WATCH k other");
        harness.line("SET k 1");
        let client = harness.state.clients.get(harness.client).unwrap();
        assert_eq!(client.session.watched(), 0);
        assert_eq!(harness.state.keyspace.watchers(), (0, 0));
        harness.line("WATCH more");
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::NullArray);
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::Array(vec![]));
    }

    /// It removed a key whose time was over: under the eyes of a script that stood still, and from what a file that is
    /// loaded was still to prolong.
    #[test]
    fn watching_removes_nothing() {
        let gone_by_itself = |harness: &mut Harness| {
            let now = harness.state.now;
            let keyspace = &mut harness.state.keyspace;
            keyspace.expire_cycle(now, 1, u64::MAX, &mut || 0);
            crate::engine::keyspace_events::drain(&mut harness.state, None);
        };
        for (change, cancels) in [("PING", false), ("FLUSHALL", false), ("SET k 2", true)] {
            let mut harness = Harness::new();
            harness.line("SET k 1 PX 10");
            harness.advance_ms(11);
            harness.line("WATCH k");
            assert_eq!(harness.line("DBSIZE"), int(1));
            if change == "PING" {
                gone_by_itself(&mut harness);
                assert_eq!(harness.line("DBSIZE"), int(0));
            }
            harness.line(change);
            harness.line("MULTI");
            let failed = harness.line("EXEC") == Value::NullArray;
            assert_eq!(failed, cancels, "{change}");
        }
        // EXEC of a key whose time is over fails, and leaves it to others to remove.
        let mut harness = Harness::new();
        harness.line("SET k 1 PX 10");
        harness.line("WATCH k");
        harness.advance_ms(11);
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::NullArray);
        assert_eq!(harness.line("DBSIZE"), int(1));
        // One that has gone by itself in between has left nobody else to tell of it.
        harness.line("SET k 1 PX 10");
        harness.line("WATCH k");
        harness.line("MULTI");
        harness.advance_ms(11);
        gone_by_itself(&mut harness);
        assert_eq!(harness.line("EXEC"), Value::NullArray);
        // Whatever is loaded may be prolonged by what follows it.
        harness.line("SET k 1 PX 10");
        harness.advance_ms(11);
        harness.state.persistence.load_steps = true;
        harness.line("WATCH k");
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::Array(vec![]));
        harness.state.persistence.load_steps = false;
        assert_eq!(harness.line("DBSIZE"), int(1));
    }

    /// Half of a transaction was refused, or its own keys evicted.
    #[test]
    fn scripts_make_no_room_in_the_middle_of_a_transaction() {
        for policy in ["noeviction", "allkeys-random"] {
            let mut harness = Harness::new();
            harness.host.used_memory = 1_000_000;
            harness.line("SET k 1");
            harness.line("MULTI");
            harness.run(&[
                "CONFIG",
                "SET",
                "maxmemory",
                "1",
                "maxmemory-policy",
                policy,
            ]);
            harness.line("EVAL return(redis.call('set','y','1')) 0");
            harness.run(&["EVAL", "#!lua flags=allow-oom\nreturn 1", "0"]);
            harness.line("EVAL return(redis.call('dbsize')) 0");
            let answers = vec![ok(), ok(), int(1), int(2)];
            assert_eq!(harness.line("EXEC"), Value::Array(answers), "{policy}");
        }
    }

    /// Scripts made room while writes were paused.
    #[test]
    fn a_pause_of_writes_holds_for_the_eviction_of_scripts() {
        let mut harness = Harness::new();
        harness.host.used_memory = 1_000_000;
        harness.line("SET k 1");
        harness.line("CLIENT PAUSE 1000 WRITE");
        harness.line("CONFIG SET maxmemory 1 maxmemory-policy allkeys-random");
        assert_eq!(harness.line("EVAL_RO return(1) 0"), int(1));
        assert_eq!(harness.line("DBSIZE"), int(1));
    }

    /// The cycle noted the change, UNWATCH forgot it, and only then was the client marked.
    #[test]
    fn a_key_that_expired_by_itself_is_forgotten_with_the_others() {
        let mut harness = Harness::new();
        harness.line("SET k 1 PX 10");
        harness.line("WATCH k");
        harness.advance_ms(11);
        let now = harness.state.now;
        harness
            .state
            .keyspace
            .expire_cycle(now, 1, u64::MAX, &mut || 0);
        assert_eq!(harness.line("UNWATCH"), ok());
        harness.line("WATCH other");
        harness.line("MULTI");
        assert_eq!(harness.line("EXEC"), Value::Array(vec![]));
    }
}
