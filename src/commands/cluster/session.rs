//! What a connection asks for itself: READONLY, READWRITE, ASKING.

use super::{Answer, cluster};
use crate::clients::Asking;
use crate::engine::ServerContext;
use crate::resp::Args;

pub(super) fn asking(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    cluster(context.state)?;
    context.session().asking = Asking::Begins;
    context.reply().ok();
    Ok(())
}

pub(super) fn read_only(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    cluster(context.state)?;
    context.session().readonly = true;
    context.reply().ok();
    Ok(())
}

pub(super) fn read_write(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    cluster(context.state)?;
    context.session().readonly = false;
    context.reply().ok();
    Ok(())
}
