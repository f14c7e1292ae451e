//! Small commands on the server as a whole: TIME, LASTSAVE, ROLE, LOLWUT, SHUTDOWN.
//!
//! SHUTDOWN only checks its arguments and leaves the wish in the state's `requests`; the server does it after the
//! command. Mirrors parts of Redis's server.c, db.c, replication.c and lolwut.c.

use crate::engine::{
    Argument, CommandError, CommandSpec, Context, Group, Handler, ServerContext, Shutdown, flags,
    parse,
};
use crate::resp::Args;
use crate::system::signals;

const ROW: CommandSpec = CommandSpec {
    group: Group::Server,
    ..CommandSpec::DEFAULT
};
const STATUS: u32 = flags::LOADING | flags::STALE | flags::FAST;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "time",
        summary: "Returns the server's time: seconds and microseconds.",
        since: "2.6.0",
        flags: STATUS,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(time),
        ..ROW
    },
    CommandSpec {
        name: "lolwut",
        summary: "Draws a picture, with the version under it.",
        since: "5.0.0",
        complexity: "",
        arity: -1,
        flags: flags::READONLY | flags::FAST,
        arguments: &[Argument::integer("version").after("VERSION").optional()],
        handler: Handler::Database(lolwut),
        ..ROW
    },
    CommandSpec {
        name: "shutdown",
        summary: "Ends the server in order.",
        complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, \
                     otherwise O(1)",
        arity: -1,
        flags: flags::ADMIN
            | flags::NOSCRIPT
            | flags::LOADING
            | flags::STALE
            | flags::NO_MULTI
            | flags::ALLOW_BUSY,
        history: &[("7.0.0", "`NOW`, `FORCE` and `ABORT`.")],
        arguments: &[
            Argument::one_of(
                "save-selector",
                &[
                    Argument::token("nosave", "NOSAVE"),
                    Argument::token("save", "SAVE"),
                ],
            )
            .optional(),
            Argument::token("now", "NOW").optional().since("7.0.0"),
            Argument::token("force", "FORCE").optional().since("7.0.0"),
            Argument::token("abort", "ABORT").optional().since("7.0.0"),
        ],
        handler: Handler::Server(shutdown),
        ..ROW
    },
];

/// The time stands still for a script, and goes on here once that has run for too long: it may be waiting for it.
fn time(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let mut unix_us = context.state.now.unix_us;
    if context.state.scripting.is_busy()
        && let Some(running) = &context.state.scripting.running
    {
        let elapsed_ns = (context.host.monotonic_ns()).saturating_sub(running.now.mono_ns);
        unix_us = (running.now.unix_us).saturating_add((elapsed_ns / 1000) as i64);
    }
    let reply = context.reply();
    reply.array(2);
    reply.bulk_i64(unix_us.div_euclid(1_000_000));
    reply.bulk_i64(unix_us.rem_euclid(1_000_000));
    Ok(())
}

fn lolwut(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let version = match args.get(2) {
        Some(text) if parse::is_word(args.at(1), "VERSION") => parse::integer(text)?,
        _ => 8,
    };
    let text = format!("{}\nRedis ver. {}\n", ring(version), crate::REDIS_VERSION);
    context.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// A ring of marks with one gap, which every version turns a bit further: a gyre.
fn ring(version: i64) -> String {
    const ROWS: i32 = 13;
    const COLUMNS: i32 = 2 * ROWS + 1;
    let shades = [' ', '.', ':', '-', '=', '+', '*', '#', '@'];
    let turn = version.rem_euclid(12) as f64 / 12.0;
    let mut out = String::new();
    for row in 0..ROWS {
        let mut line = String::new();
        for column in 0..COLUMNS {
            // A character is twice as high as wide.
            let x = f64::from(column - COLUMNS / 2) / f64::from(COLUMNS / 2);
            let y = f64::from(row - ROWS / 2) / f64::from(ROWS / 2);
            let radius = x.hypot(y);
            let angle = y.atan2(x) / std::f64::consts::TAU + 0.5;
            let shade = (angle - turn).rem_euclid(1.0) * (shades.len() - 1) as f64;
            let on_ring = (0.55..=1.02).contains(&radius);
            line.push(if on_ring {
                shades[shade.round() as usize]
            } else {
                ' '
            });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn shutdown(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut how = Shutdown::default();
    let mut abort = false;
    for arg in args.iter().skip(1) {
        let flag = match () {
            () if parse::is_word(arg, "NOSAVE") => &mut how.nosave,
            () if parse::is_word(arg, "SAVE") => &mut how.save,
            () if parse::is_word(arg, "NOW") => &mut how.now,
            () if parse::is_word(arg, "FORCE") => &mut how.force,
            () if parse::is_word(arg, "ABORT") => &mut abort,
            () => return Err(CommandError::Syntax),
        };
        *flag = true;
    }
    if (abort && how != Shutdown::default()) || (how.save && how.nosave) {
        return Err(CommandError::Syntax);
    }
    if abort {
        if let Some(ending) = &mut context.state.ending {
            ending.is_aborted = true;
        } else if signals::shutdown_requested().is_none() {
            return Err(CommandError::fixed("ERR No shutdown in progress."));
        }
        signals::call_off_shutdown();
        log::info!("Shutdown manually aborted.");
        context.reply().ok();
        return Ok(());
    }
    if let Some(running) = context.state.scripting.running.as_deref()
        && !how.nosave
    {
        // What the script has done so far must not be saved.
        return Err(crate::engine::script::busy_error(running.is_function));
    }
    context.state.requests.shutdown = Some(how);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Harness;
    use crate::resp::reader::Value;

    #[test]
    fn time_and_role_and_last_save() {
        let mut harness = Harness::new();
        harness.state.now.unix_us = 1_700_000_000_000_042;
        harness.state.observe.stats.start_unix_ms = 1_600_000_000_123;
        assert_eq!(
            harness.line("TIME"),
            Value::Array(vec![Value::bulk("1700000000"), Value::bulk("42")])
        );
        assert_eq!(harness.line("LASTSAVE"), Value::Integer(1_600_000_000));
        let role = Value::Array(vec![
            Value::bulk("master"),
            Value::Integer(0),
            Value::Array(vec![]),
        ]);
        assert_eq!(harness.line("ROLE"), role);
    }

    #[test]
    fn shutdown_checks_before_it_wishes() {
        let mut harness = Harness::new();
        for bad in [
            "SHUTDOWN SAVE NOSAVE",
            "SHUTDOWN NOW ABORT",
            "SHUTDOWN LATER",
        ] {
            assert_eq!(
                harness.line(bad),
                Value::Error(b"ERR syntax error".to_vec()),
                "{bad}"
            );
        }
        let none = Value::Error(b"ERR No shutdown in progress.".to_vec());
        assert_eq!(harness.line("SHUTDOWN abort"), none);
        assert_eq!(harness.state.requests.shutdown, None);
        let request =
            crate::resp::OwnedRequest::from_slices(&["SHUTDOWN", "nosave", "NOW", "FORCE"]);
        crate::engine::process::process(
            &mut harness.state,
            &mut harness.host,
            harness.client,
            request.args(),
        );
        let wish = Shutdown {
            nosave: true,
            now: true,
            force: true,
            ..Shutdown::default()
        };
        assert_eq!(harness.state.requests.shutdown, Some(wish));
    }

    #[test]
    fn the_ring_turns_with_the_version() {
        let mut harness = Harness::new();
        let five = harness.line("LOLWUT VERSION 5");
        let six = harness.line("LOLWUT version 6");
        assert_ne!(five, six);
        assert!(
            six.as_bytes()
                .expect("a text")
                .ends_with(b"\nRedis ver. 8.0.6\n")
        );
        assert!(matches!(harness.line("LOLWUT VERSION x"), Value::Error(_)));
        assert!(matches!(harness.line("LOLWUT anything"), Value::Bulk(_)));
        assert_eq!(ring(i64::MIN), ring(i64::MIN.rem_euclid(12)));
    }
}
