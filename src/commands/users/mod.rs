//! ACL: users, roles, what they may do, and what was refused.
//!
//! In: names and rules. Out: users as [`crate::acl`] keeps them; clients that have their new rules at once. Passwords and
//! names of users are shown by no log. Mirrors `aclCommand` of Redis's acl.c, and what Valkey 9.2 adds to it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | users, categories, the log |
//! | [`roles`] | rules that users share |
//! | [`spec`] | the rows of the command table |

mod roles;
mod spec;
#[cfg(test)]
mod tests;

pub use spec::COMMANDS;

use super::help;
use crate::acl::{self as users, DEFAULT_USER, Selector};
use crate::engine::admit::{Unresolved, resolve};
use crate::engine::{
    CommandError, Context, ServerContext, State, acl, acl_file, parse, permissions, shown_cut,
};
use crate::resp::{Args, Reply};

type Answer = Result<(), CommandError>;

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Answer {
    help::of_rows(context.reply, args, spec::SUBCOMMANDS);
    Ok(())
}

fn who_am_i(context: &mut Context<'_>, _args: Args<'_>) -> Answer {
    context.reply.bulk(context.session.identity.name());
    Ok(())
}

fn names(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let users = context.state.users.iter();
    let names: Vec<Vec<u8>> = users.map(|user| user.name().to_vec()).collect();
    answer_texts(context.reply(), &names);
    Ok(())
}

fn list(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let lines: Vec<Vec<u8>> = context.state.users.lines().collect();
    answer_texts(context.reply(), &lines);
    Ok(())
}

/// The lines that CONFIG REWRITE puts into the configuration: none where users have a file of their own.
pub(crate) fn kept_lines(state: &State) -> Vec<Vec<u8>> {
    match state.config.settings().acl_file {
        Some(_) => Vec::new(),
        None => state.users.config_lines().collect(),
    }
}

fn answer_texts(reply: &mut Reply, texts: &[Vec<u8>]) {
    reply.array(texts.len());
    texts.iter().for_each(|text| reply.bulk(text));
}

/// The error of a rule that cannot be applied.
fn rule_error(subcommand: &str, error: &users::RuleError) -> CommandError {
    CommandError::of_parts(&[b"ERR ", &error.text(subcommand)])
}

fn set(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let name = args.at(2);
    if !users::is_valid_name(name) {
        return Err(CommandError::fixed(
            "ERR Usernames can't contain spaces or null characters",
        ));
    }
    let rules: Vec<&[u8]> = args.skip(3).iter().collect();
    let state = &mut *context.state;
    let changed = state
        .users
        .set(name, &rules, &state.table)
        .map_err(|error| rule_error("SETUSER", &error))?;
    permissions::follow(state, &[changed], Some(context.asker));
    context.reply().ok();
    Ok(())
}

fn delete(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if args.iter().skip(2).any(|name| name == DEFAULT_USER) {
        return Err(CommandError::fixed(
            "ERR The 'default' user cannot be removed",
        ));
    }
    let state = &mut *context.state;
    let names = args.iter().skip(2);
    let deleted: Vec<_> = names.filter_map(|name| state.users.remove(name)).collect();
    let count = deleted.len();
    permissions::cut_off(state, deleted, Some(context.asker));
    context.reply().integer(count as i64);
    Ok(())
}

fn get(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let Some(user) = context.state.users.find(args.at(2)).cloned() else {
        context.reply().null();
        return Ok(());
    };
    let roles: Vec<Vec<u8>> = user.roles().map(<[u8]>::to_vec).collect();
    let budget = permissions::budget_fields(&user);
    let has_databases = !user.root().has_all_databases();
    let reply = context.reply();
    let more = usize::from(has_databases)
        + usize::from(!roles.is_empty())
        + usize::from(!budget.is_empty());
    reply.map(6 + more);
    reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    user.passwords()
        .for_each(|hash| reply.bulk(hash.as_bytes()));
    answer_selector(reply, user.root());
    if !roles.is_empty() {
        reply.bulk(b"roles");
        answer_texts(reply, &roles);
    }
    if !budget.is_empty() {
        reply.bulk(b"budget");
        reply.map(budget.len());
        for (name, value) in &budget {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
    reply.bulk(b"selectors");
    answer_selectors(reply, user.selectors());
    Ok(())
}

fn answer_selectors(reply: &mut Reply, selectors: &[Selector]) {
    reply.array(selectors.len());
    for selector in selectors {
        reply.map(3 + usize::from(!selector.has_all_databases()));
        answer_selector(reply, selector);
    }
}

/// The fields of a selector. Databases are told where they are limited, so that others see what Redis answers.
fn answer_selector(reply: &mut Reply, selector: &Selector) {
    let mut field = |name: &[u8], rules: Vec<u8>| {
        reply.bulk(name);
        reply.bulk(&rules);
    };
    field(b"commands", selector.commands());
    field(b"keys", selector.keys());
    field(b"channels", selector.channels());
    if !selector.has_all_databases() {
        field(b"databases", selector.databases());
    }
}

/// What LOAD and SAVE say where there is no file.
const NO_FILE: CommandError = CommandError::fixed(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command \
     and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis \
     configuration.",
);

fn load(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let state = &mut *context.state;
    if state.config.settings().acl_file.is_none() {
        return Err(NO_FILE);
    }
    let changed =
        acl_file::load(state).map_err(|text| CommandError::of_parts(&[b"ERR ", &text]))?;
    permissions::follow(state, &changed, Some(context.asker));
    context.reply().ok();
    Ok(())
}

fn save(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    if context.state.config.settings().acl_file.is_none() {
        return Err(NO_FILE);
    }
    if !acl_file::save(context.state) {
        return Err(CommandError::fixed(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        ));
    }
    context.reply().ok();
    Ok(())
}

fn digest(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let digest = context.state.users.digest();
    context.reply().bulk(digest.as_bytes());
    Ok(())
}

fn dry_run(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let state = &mut *context.state;
    let Some(user) = state.users.find(args.at(2)).cloned() else {
        return Err(CommandError::of_parts(&[
            b"ERR User '",
            args.at(2),
            b"' not found",
        ]));
    };
    let command = args.skip(3);
    let found = state.table.find_slow(command.at(0));
    let id = match resolve(state, found, command) {
        Ok(id) => id,
        Err(Unresolved::Arity(id)) => {
            return Err(CommandError::WrongArity(state.table.get(id).name.clone()));
        }
        Err(_) => {
            return Err(CommandError::of_parts(&[
                b"ERR Command '",
                command.at(0),
                b"' not found",
            ]));
        }
    };
    let db = state
        .clients
        .get(context.client)
        .map_or(0, |client| client.session.db);
    match permissions::dry_run(&state.table, &user, id, command, db) {
        Ok(()) => context.reply().ok(),
        Err(reason) => context.reply().bulk(&reason),
    }
    Ok(())
}

/// Entries that ACL LOG shows if it is not said how many.
const ENTRIES: i64 = 10;

fn log(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let count = match args.get(2) {
        Some(word) if parse::is_word(word, "RESET") => {
            context.state.acl_log.clear();
            context.reply().ok();
            return Ok(());
        }
        Some(count) => parse::integer(count)?,
        None => ENTRIES,
    };
    let count = usize::try_from(count).unwrap_or(0);
    let now_ms = context.state.now.unix_ms();
    let entries: Vec<users::Entry> = context.state.acl_log.iter().take(count).cloned().collect();
    let reply = context.reply();
    reply.array(entries.len());
    for entry in entries {
        reply.map(10);
        reply.bulk(b"count");
        reply.integer(entry.count as i64);
        for (name, value) in [
            ("reason", entry.reason.name().as_bytes()),
            ("context", entry.context.name().as_bytes()),
            ("object", &entry.object),
            ("username", &entry.username),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        }
        reply.bulk(b"age-seconds");
        let age_ms = now_ms.saturating_sub(entry.updated_ms as i64);
        reply.double(age_ms as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(&entry.client_info);
        for (name, value) in [
            ("entry-id", entry.id),
            ("timestamp-created", entry.created_ms),
            ("timestamp-last-updated", entry.updated_ms),
        ] {
            reply.bulk(name.as_bytes());
            reply.integer(value as i64);
        }
    }
    Ok(())
}

fn cat(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let Some(category) = args.get(2) else {
        let reply = context.reply();
        reply.array(acl::NAMES.len());
        acl::NAMES
            .iter()
            .for_each(|(_, name)| reply.bulk(name.as_bytes()));
        return Ok(());
    };
    let known = acl::NAMES
        .iter()
        .find(|(_, name)| parse::is_word(category, name));
    let Some((bit, _)) = known else {
        return Err(CommandError::of_parts(&[
            b"ERR Unknown category '",
            shown_cut(category),
            b"'",
        ]));
    };
    let table = &context.state.table;
    // A command that was renamed away is in no category.
    let mut names: Vec<String> = Vec::new();
    for (_, command) in table.top_level() {
        let subcommands = command.subcommands.iter().map(|(_, id)| table.get(*id));
        let family = std::iter::once(command).chain(subcommands);
        names.extend(
            family
                .filter(|command| command.acl & bit != 0)
                .map(|command| command.name.clone()),
        );
    }
    let reply: &mut Reply = context.reply();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// Digits that a client may ask for: four bits each.
const BITS_MAX: i64 = 4096;

fn generate_password(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args));
    }
    let bits = match args.get(2) {
        Some(bits) => parse::integer(bits)?,
        None => 256,
    };
    if !(1..=BITS_MAX).contains(&bits) {
        return Err(CommandError::text_owned(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {BITS_MAX}"
        )));
    }
    let digits = bits.unsigned_abs().div_ceil(4) as usize;
    // From the system: the server's own generator can be foretold by whoever has seen enough of it.
    let mut password = String::new();
    while password.len() < digits {
        password.push_str(&format!("{:016x}", context.host.random_u64()));
    }
    password.truncate(digits);
    context.reply().bulk(password.as_bytes());
    Ok(())
}
