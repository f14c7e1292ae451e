//! LOOP: the event loop at work, from what its recorder kept.
//!
//! In: [`Recorder`] (turns, phases, its own cost), which the loop owns, and [`Waits`](crate::observe::Waits) (how long
//! clients waited). Out: maps in RESP3, flat arrays in RESP2. All times are in microseconds with decimals, because a
//! phase is often shorter than one. The command is gyre's own; docs/loop-trace.md tells how to read it.

mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use super::help;
use super::latency::write_distribution;
use crate::engine::{CommandError, CommandId, CommandTable, Context, ServerContext, shown_cut};
use crate::event_loop::{Phase, Recorder, TurnReport, Work};
use crate::observe::{Histogram, LongWait, Observe, WaitPart};
use crate::persistence::status::Progress;
use crate::resp::{Args, Reply};
use crate::system::numbers;

const DEFAULT_COUNT: usize = 10;

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    help::of_rows(context.reply, args, spec::SUBCOMMANDS);
    Ok(())
}

/// The count that may stand behind the subcommand; -1 is all.
fn count(args: Args<'_>) -> Result<usize, CommandError> {
    const BAD_COUNT: CommandError =
        CommandError::fixed("ERR count should be greater than or equal to -1");
    match args.get(2) {
        _ if args.len() > 3 => Err(CommandError::Syntax),
        None => Ok(DEFAULT_COUNT),
        Some(text) => match numbers::parse_i64(text).ok_or(BAD_COUNT)? {
            -1 => Ok(usize::MAX),
            count => usize::try_from(count).map_err(|_| BAD_COUNT),
        },
    }
}

fn trace(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = count(args)?;
    show_turns(context, |recorder| {
        recorder.newest_first().take(count).copied().collect()
    })
}

fn slowest(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = count(args)?;
    show_turns(context, |recorder| {
        recorder.slowest().iter().take(count).copied().collect()
    })
}

fn show_turns(
    context: &mut ServerContext<'_>,
    chosen: impl FnOnce(&Recorder) -> Vec<TurnReport>,
) -> Result<(), CommandError> {
    let turns = chosen(context.host.recorder());
    with_reply(context, |reply, table, _| {
        reply.array(turns.len());
        for turn in &turns {
            write_turn(reply, table, turn);
        }
    })
}

/// Lends the caller's reply together with the table and the observations.
fn with_reply(
    context: &mut ServerContext<'_>,
    write: impl FnOnce(&mut Reply, &CommandTable, &Observe),
) -> Result<(), CommandError> {
    let state = &mut *context.state;
    if let Some(client) = state.clients.get_mut(context.client) {
        write(&mut client.reply, &state.table, &state.observe);
    }
    Ok(())
}

fn write_turn(reply: &mut Reply, table: &CommandTable, turn: &TurnReport) {
    reply.map(10);
    number(reply, "turn", turn.turn);
    number(reply, "woke-unix-us", turn.woke_unix_us.unsigned_abs());
    time(reply, "asleep-us", turn.time_in(Phase::Sleep));
    time(reply, "awake-us", turn.awake_ns());
    reply.bulk(b"phases");
    let all = || Phase::ALL.into_iter().skip(1);
    let taken = all().filter(|phase| turn.time_in(*phase) > 0);
    reply.map(taken.clone().count());
    for phase in taken {
        time(reply, phase.name(), turn.time_in(phase));
    }
    reply.bulk(b"events");
    reply.map(6);
    number(reply, "accepted", turn.accepted.into());
    number(reply, "readable", turn.readable.into());
    number(reply, "writable", turn.writable.into());
    number(reply, "timers", turn.timers.into());
    number(reply, "woken", turn.woken.into());
    number(reply, "carried", turn.carried.into());
    number(reply, "bytes-in", turn.bytes_in);
    number(reply, "bytes-out", turn.bytes_out);
    number(reply, "commands", turn.works.into());
    reply.bulk(b"longest");
    match turn.longest[0] {
        Work { who: 0, .. } => reply.null(),
        work => {
            reply.map(3);
            number(reply, "client-id", work.who);
            name(reply, table, work);
            time(reply, "us", work.ns);
        }
    }
}

fn name(reply: &mut Reply, table: &CommandTable, work: Work) {
    reply.bulk(b"command");
    reply.bulk(command_name(table, work).as_bytes());
}

/// Name of the command that a [`Work`] of the service was.
pub fn command_name(table: &CommandTable, work: Work) -> &str {
    match u16::try_from(work.what) {
        Ok(id) if (id as usize) < table.len() => &table.get(CommandId(id)).name,
        _ => "?",
    }
}

fn number(reply: &mut Reply, name: &str, value: u64) {
    reply.bulk(name.as_bytes());
    reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
}

fn time(reply: &mut Reply, name: &str, ns: u64) {
    reply.bulk(name.as_bytes());
    reply.double(us(ns));
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// Two decimals are enough for a share.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 10_000.0 / whole as f64).round() / 100.0
}

fn stats(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let figures = context.host.loop_figures();
    let state = &mut *context.state;
    let Some(client) = state.clients.get_mut(context.client) else {
        return Ok(());
    };
    let reply = &mut client.reply;
    let recorder = context.host.recorder();
    let waits = &state.observe.waits;
    reply.map(13);
    reply.bulk(b"recording");
    reply.bulk(if recorder.is_on() { b"yes" } else { b"no" });
    number(reply, "turns", figures.turns);
    number(reply, "turns-recorded", recorder.cost().turns);
    number(reply, "turns-kept", recorder.len() as u64);
    number(reply, "ring-turns", recorder.capacity() as u64);
    number(reply, "memory-bytes", recorder.memory_bytes() as u64);
    reply.bulk(b"awake");
    write_spread(reply, recorder.awake(), recorder.awake_sum_ns(), None);
    reply.bulk(b"phases");
    reply.map(Phase::ALL.len());
    for phase in Phase::ALL {
        reply.bulk(phase.name().as_bytes());
        let sum_ns = recorder.sum_ns(phase);
        let share = (phase != Phase::Sleep).then(|| percent(sum_ns, recorder.awake_sum_ns()));
        write_spread(reply, recorder.histogram(phase), sum_ns, share);
    }
    reply.bulk(b"waits");
    reply.map(WaitPart::ALL.len());
    for part in WaitPart::ALL {
        reply.bulk(part.name().as_bytes());
        let histogram = waits.histogram(part);
        reply.map(5);
        number(reply, "commands", histogram.map_or(0, Histogram::total));
        write_percentiles(reply, histogram);
    }
    number(reply, "commands-unmeasured", waits.unmeasured);
    number(reply, "long-waits-kept", waits.long().len() as u64);
    reply.bulk(b"cost");
    write_cost(reply, recorder, &state.observe);
    reply.bulk(b"save");
    let progress = state.persistence.progress(state.now.mono_ns);
    let (held, hurried) = (state.persistence.holds_for_save, state.keyspace.hurried());
    write_save(reply, progress, [held, hurried]);
    Ok(())
}

/// How far the background save is; an empty map where there is none. Of saves by the loop, so far, how many commands they
/// have held back, and how many values had to be read at once.
fn write_save(reply: &mut Reply, progress: Option<Progress>, [held, hurried]: [u64; 2]) {
    let Some(progress) = progress else {
        return reply.map(0);
    };
    let left_s = progress.seconds_left();
    reply.map(7 + usize::from(left_s.is_some()));
    for (name, text) in [("what", progress.what()), ("method", progress.method)] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    number(reply, "keys-done", progress.keys_done);
    number(reply, "keys-total", progress.keys_total);
    number(reply, "held-commands", held);
    number(reply, "hurried-values", hurried);
    reply.bulk(b"percent");
    reply.double((progress.percent() * 100.0).round() / 100.0);
    if let Some(left_s) = left_s {
        number(reply, "seconds-left", left_s);
    }
}

/// `share`: of the time awake, percent.
fn write_spread(reply: &mut Reply, histogram: Option<&Histogram>, sum_ns: u64, share: Option<f64>) {
    reply.map(6 + usize::from(share.is_some()));
    number(reply, "turns", histogram.map_or(0, Histogram::total));
    time(reply, "total-us", sum_ns);
    if let Some(share) = share {
        reply.bulk(b"percent-of-awake");
        reply.double(share);
    }
    write_percentiles(reply, histogram);
}

fn write_percentiles(reply: &mut Reply, histogram: Option<&Histogram>) {
    for (name, percent) in [("p50-us", 50.0), ("p99-us", 99.0), ("p99.9-us", 99.9)] {
        time(
            reply,
            name,
            histogram.map_or(0, |all| all.percentile(percent)),
        );
    }
    time(reply, "max-us", histogram.map_or(0, Histogram::max));
}

/// What recording has cost: measured, not guessed. Three parts: looks at the clock that nobody else needs, the copy of
/// each turn into ring and histograms, the histograms of waits.
fn write_cost(reply: &mut Reply, recorder: &Recorder, observe: &Observe) {
    let cost = recorder.cost();
    let waits_ns = observe.waits.cost_ns();
    let total_ns = cost.total_ns() + waits_ns;
    reply.map(6);
    number(reply, "clock-looks", cost.looks);
    number(reply, "ns-per-look", cost.look_ns());
    number(
        reply,
        "ns-per-turn",
        cost.timed_ns.checked_div(cost.timed_turns).unwrap_or(0),
    );
    number(
        reply,
        "ns-per-answer",
        observe.waits.ns_per_completion().unwrap_or(0),
    );
    time(reply, "total-us", total_ns);
    reply.bulk(b"percent-of-awake");
    reply.double(percent(total_ns, recorder.awake_sum_ns()));
}

/// What LOOP HISTOGRAM knows a distribution of.
#[derive(Clone, Copy)]
enum Measured {
    Phase(Phase),
    Awake,
    Wait(WaitPart),
}

impl Measured {
    fn by_name(name: &[u8]) -> Option<Measured> {
        if name.eq_ignore_ascii_case(b"awake") {
            return Some(Measured::Awake);
        }
        let phase = Phase::by_name(name).map(Measured::Phase);
        phase.or_else(|| WaitPart::by_name(name).map(Measured::Wait))
    }
    fn all() -> Vec<Measured> {
        let phases = Phase::ALL.into_iter().map(Measured::Phase);
        let waits = WaitPart::ALL.into_iter().map(Measured::Wait);
        phases.chain([Measured::Awake]).chain(waits).collect()
    }
    fn name(self) -> &'static str {
        match self {
            Measured::Phase(phase) => phase.name(),
            Measured::Awake => "awake",
            Measured::Wait(part) => part.name(),
        }
    }
    fn of<'a>(self, recorder: &'a Recorder, observe: &'a Observe) -> Option<&'a Histogram> {
        let histogram = match self {
            Measured::Phase(phase) => recorder.histogram(phase),
            Measured::Awake => recorder.awake(),
            Measured::Wait(part) => observe.waits.histogram(part),
        };
        histogram.filter(|histogram| histogram.total() > 0)
    }
}

/// Users that have used something, or wait for it, by name.
fn users(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let state = &mut *context.state;
    let Some(client) = state.clients.get_mut(context.client) else {
        return Ok(());
    };
    let reply = &mut client.reply;
    let users = state.users.iter();
    let used: Vec<_> = users
        .filter(|it| it.usage().is_used() || state.budgets.held_of(it.name()) > 0)
        .collect();
    reply.map(used.len());
    for user in used {
        let usage = user.usage();
        reply.bulk(user.name());
        reply.map(6);
        time(reply, "total-us", usage.cpu_ns());
        number(reply, "commands", usage.commands());
        number(reply, "waits", usage.waits());
        number(reply, "refusals", usage.refusals());
        let held = state.budgets.held_of(user.name());
        number(reply, "clients-held", held as u64);
        number(reply, "memory-bytes", usage.memory_bytes());
    }
    Ok(())
}

fn histogram(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut asked = Vec::new();
    for name in args.iter().skip(2) {
        let known = Measured::by_name(name).ok_or_else(|| {
            let name = shown_cut(name);
            CommandError::showing("ERR Unknown phase '", name, "'. Try LOOP HELP.")
        })?;
        asked.push(known);
    }
    if asked.is_empty() {
        asked = Measured::all();
    }
    let state = &mut *context.state;
    let Some(client) = state.clients.get_mut(context.client) else {
        return Ok(());
    };
    let recorder = context.host.recorder();
    // Asked for twice, shown twice: the answer is no longer than the question.
    let shown: Vec<_> = asked
        .into_iter()
        .filter_map(|what| Some((what, what.of(recorder, &state.observe)?)))
        .collect();
    client.reply.map(shown.len());
    for (what, histogram) in shown {
        client.reply.bulk(what.name().as_bytes());
        write_distribution(&mut client.reply, "count", histogram);
    }
    Ok(())
}

fn waited(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = count(args)?;
    with_reply(context, |reply, table, observe| {
        let long = observe.waits.long().take(count);
        reply.array(long.len());
        for wait in long {
            write_wait(reply, table, wait);
        }
    })
}

fn write_wait(reply: &mut Reply, table: &CommandTable, wait: &LongWait) {
    let completion = &wait.completion;
    reply.map(14);
    number(reply, "id", wait.id);
    number(reply, "time-unix-ms", wait.unix_ms.unsigned_abs());
    number(reply, "client-id", wait.client);
    reply.bulk(b"addr");
    reply.bulk(wait.address.as_bytes());
    reply.bulk(b"name");
    reply.bulk(&wait.name);
    number(reply, "turn", completion.turn);
    number(reply, "commands", completion.commands.into());
    name(reply, table, completion.longest);
    time(reply, "total-us", completion.total_ns());
    let parts = &WaitPart::ALL[..3];
    for (part, ns) in parts.iter().zip(completion.parts_ns) {
        time(reply, &format!("{}-us", part.name()), ns);
    }
    time(reply, "perhaps-unseen-us", completion.unseen_ns);
    reply.bulk(b"blocked-by");
    let Some(blocker) = &wait.blocked_by else {
        return reply.null();
    };
    reply.map(6);
    number(reply, "client-id", blocker.work.who);
    reply.bulk(b"addr");
    reply.bulk(blocker.address.as_bytes());
    reply.bulk(b"name");
    reply.bulk(&blocker.name);
    name(reply, table, blocker.work);
    time(reply, "us", blocker.work.ns);
    reply.bulk(b"when");
    reply.bulk(if blocker.turn_before {
        b"in the turn before"
    } else {
        b"in the same turn"
    });
}

fn reset(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    context.host.recorder().reset();
    context.state.observe.waits.reset();
    let users = context.state.users.iter();
    users.for_each(|user| user.usage().reset());
    context.reply().ok();
    Ok(())
}
