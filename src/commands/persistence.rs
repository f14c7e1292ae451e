//! Commands: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE.
//!
//! In: the wish for a snapshot or a shorter append-only file. Out: [`crate::engine::persistence`] has been asked for it.
//! Mirrors `saveCommand`, `bgsaveCommand` and `bgrewriteaofCommand` of Redis.

use crate::engine::persistence::aof::start_rewrite;
use crate::engine::persistence::{SavedFor, cancel_snapshot, save_now, start_background};
use crate::engine::{
    Argument, CommandError, CommandSpec, Group, Handler, ServerContext, acl, flags, parse,
};
use crate::persistence::status::ChildKind;
use crate::resp::Args;

const ROW: CommandSpec = CommandSpec {
    group: Group::Server,
    ..CommandSpec::DEFAULT
};

/// The rows of this group.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "save",
        summary: "Writes a snapshot to the disk before it answers.",
        complexity: "O(N) where N is the total number of keys in all databases",
        arity: 1,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::NOSCRIPT | flags::NO_MULTI,
        handler: Handler::Server(save),
        ..ROW
    },
    CommandSpec {
        name: "bgsave",
        summary: "Writes a snapshot to the disk in the background.",
        complexity: "O(1)",
        arity: -1,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::NOSCRIPT,
        history: &[("3.2.2", "Has `SCHEDULE`.")],
        arguments: &[Argument::one_of(
            "operation",
            &[
                Argument::token("schedule", "SCHEDULE").since("3.2.2"),
                Argument::token("cancel", "CANCEL"),
            ],
        )
        .optional()],
        handler: Handler::Server(background_save),
        ..ROW
    },
    CommandSpec {
        name: "bgrewriteaof",
        summary: "Writes the append-only file anew in the background, as short as it can be.",
        complexity: "O(1)",
        arity: 1,
        flags: flags::NO_ASYNC_LOADING | flags::ADMIN | flags::NOSCRIPT,
        handler: Handler::Server(rewrite),
        ..ROW
    },
    CommandSpec {
        name: "lastsave",
        summary: "Returns when the data was last saved to disk.",
        complexity: "O(1)",
        flags: flags::LOADING | flags::STALE | flags::FAST,
        acl: acl::ADMIN | acl::DANGEROUS,
        tips: &["nondeterministic_output"],
        handler: Handler::Server(last_save),
        ..ROW
    },
];

const IN_PROGRESS: CommandError = CommandError::fixed("ERR Background save already in progress");

fn save(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    if context.state.persistence.saving() == Some(ChildKind::Snapshot) {
        return Err(IN_PROGRESS);
    }
    if !save_now(context.state, context.host) {
        return Err(CommandError::fixed("ERR"));
    }
    context.reply().ok();
    Ok(())
}

fn background_save(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.get(1) {
        Some(_) if args.len() > 2 => return Err(CommandError::Syntax),
        Some(word) if parse::is_word(word, "CANCEL") => return cancel(context),
        Some(word) if !parse::is_word(word, "SCHEDULE") => return Err(CommandError::Syntax),
        _ => {}
    }
    let in_multi = context.session().in_multi();
    match context.state.persistence.saving() {
        Some(ChildKind::Snapshot) => return Err(IN_PROGRESS),
        // A transaction is not to be held up by the fork, nor to be half in the snapshot.
        saving if in_multi || (saving.is_some() && args.len() > 1) => {
            context.state.persistence.scheduled = true;
            context.reply().simple("Background saving scheduled");
            return Ok(());
        }
        Some(_) => {
            return Err(CommandError::fixed(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            ));
        }
        None => {}
    }
    if !start_background(context.state, context.host, SavedFor::Ourselves) {
        return Err(CommandError::fixed("ERR"));
    }
    context.reply().simple("Background saving started");
    Ok(())
}

/// BGSAVE CANCEL, which is Valkey's: gives up the save that is under way, or else one that waits for another.
fn cancel(context: &mut ServerContext<'_>) -> Result<(), CommandError> {
    let persistence = &mut context.state.persistence;
    if persistence.saving() == Some(ChildKind::Snapshot) {
        cancel_snapshot(context.state, context.host);
        context.reply().simple("Background saving cancelled");
    } else if std::mem::take(&mut persistence.scheduled) {
        log::info!("Scheduled background saving will be cancelled due to user request");
        context
            .reply()
            .simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::fixed(
            "ERR Background saving is currently not in progress or scheduled",
        ));
    }
    Ok(())
}

/// As in Redis, a server that has never saved names its start.
fn last_save(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let at = match context.state.persistence.last_save_unix_s {
        0 => context.state.observe.stats.start_unix_ms / 1000,
        at => at,
    };
    context.reply().integer(at);
    Ok(())
}

fn rewrite(context: &mut ServerContext<'_>, _args: Args<'_>) -> Result<(), CommandError> {
    let in_multi = context.session().in_multi();
    let state = &mut *context.state;
    match state.persistence.saving() {
        Some(ChildKind::Rewrite) => {
            return Err(CommandError::fixed(
                "ERR Background append only file rewriting already in progress",
            ));
        }
        // In the middle of what belongs together the child's copy would have half of it.
        saving if saving.is_some() || in_multi || state.journal.is_in_unit() => {
            state.persistence.rewrite.scheduled = true;
            state.persistence.rewrite.failures = 0;
            context
                .reply()
                .simple("Background append only file rewriting scheduled");
            return Ok(());
        }
        _ => {}
    }
    if !start_rewrite(state, context.host) {
        return Err(CommandError::fixed(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
        ));
    }
    context
        .reply()
        .simple("Background append only file rewriting started");
    Ok(())
}
