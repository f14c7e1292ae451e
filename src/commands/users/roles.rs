//! Roles: rules that several users share (Valkey 9.2).

use super::{Answer, answer_selector, answer_selectors, answer_texts, rule_error};
use crate::acl as users;
use crate::engine::{CommandError, ServerContext, permissions};
use crate::resp::Args;

pub(super) fn names(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let roles = context.state.users.roles();
    let names: Vec<Vec<u8>> = roles.map(|role| role.name().to_vec()).collect();
    answer_texts(context.reply(), &names);
    Ok(())
}

pub(super) fn set(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let name = args.at(2);
    if !users::is_valid_name(name) {
        return Err(CommandError::fixed(
            "ERR Role names can't contain spaces or null characters",
        ));
    }
    let rules: Vec<&[u8]> = args.skip(3).iter().collect();
    let state = &mut *context.state;
    let changed = state
        .users
        .set_role(name, &rules, &state.table)
        .map_err(|error| rule_error("SETROLE", &error))?;
    permissions::follow(state, &changed, Some(context.asker));
    context.reply().ok();
    Ok(())
}

pub(super) fn get(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let name = args.at(2);
    let Some(role) = context.state.users.find_role(name).cloned() else {
        context.reply().null();
        return Ok(());
    };
    let members: Vec<Vec<u8>> = (context.state.users.members(name))
        .map(|user| user.name().to_vec())
        .collect();
    let reply = context.reply();
    reply.map(5 + usize::from(!role.root().has_all_databases()));
    answer_selector(reply, role.root());
    reply.bulk(b"selectors");
    answer_selectors(reply, role.selectors());
    reply.bulk(b"members");
    answer_texts(reply, &members);
    Ok(())
}

/// All of them, or none: a role that somebody has stays.
pub(super) fn delete(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let users = &mut context.state.users;
    for name in args.iter().skip(2) {
        if users.members(name).next().is_some() {
            return Err(CommandError::of_parts(&[
                b"ERR Role '",
                name,
                b"' has members and cannot be deleted",
            ]));
        }
    }
    let deleted = args
        .iter()
        .skip(2)
        .filter(|name| users.remove_role(name).is_some())
        .count();
    context.reply().integer(deleted as i64);
    Ok(())
}
