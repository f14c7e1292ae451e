//! What DEBUG does with a cluster, for tests.

use crate::engine::{CommandError, ServerContext, parse};
use crate::resp::Args;

pub(in crate::commands) fn kill_cluster_links(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    if !parse::is_word(args.at(2), "KILL") {
        return Err(CommandError::subcommand_syntax(args));
    }
    let Some(cluster) = &mut context.state.cluster else {
        return Err(CommandError::fixed(
            "ERR Debug option only available for cluster mode enabled setup!",
        ));
    };
    let (from, to) = match () {
        () if parse::is_word(args.at(3), "FROM") => (true, false),
        () if parse::is_word(args.at(3), "TO") => (false, true),
        () if parse::is_word(args.at(3), "ALL") => (true, true),
        () => {
            return Err(CommandError::showing(
                "ERR Unknown direction ",
                args.at(3),
                "",
            ));
        }
    };
    let killed = cluster.kill_links(args.at(4), from, to);
    killed.map_err(CommandError::text_owned)?;
    context.reply().ok();
    Ok(())
}

pub(in crate::commands) fn internal_secret(
    context: &mut ServerContext<'_>,
    _args: Args<'_>,
) -> Result<(), CommandError> {
    let Some(cluster) = &context.state.cluster else {
        return Err(CommandError::fixed("ERR Internal secret is missing"));
    };
    let sum = crate::structures::slots::crc16(cluster.secret());
    context.reply().integer(sum.into());
    Ok(())
}

pub(in crate::commands) fn drop_cluster_messages(
    context: &mut ServerContext<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let kind = parse::integer(args.at(2))?;
    if let Some(cluster) = &mut context.state.cluster {
        cluster.drop_messages(kind);
    }
    context.reply().ok();
    Ok(())
}
