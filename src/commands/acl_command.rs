//! ACL as far as it is true while there is one user: who asks, who there is, and what the categories hold.
//!
//! Each user may do everything, and the default one has the password that `requirepass` says or none. What would make
//! users or keep them (SETUSER, DELUSER, LOAD, SAVE, LOG, DRYRUN) is unknown: nothing must answer OK that was not done.
//! Mirrors `aclCommand` of Redis's acl.c.

use super::help;
use crate::clients::{DEFAULT_USER, User};
use crate::config::Settings;
use crate::engine::{
    Argument, CommandError, CommandSpec, Context, Group, Handler, ServerContext, acl, flags, parse,
    shown_cut,
};
use crate::resp::{Args, Reply};
use sha2::{Digest, Sha256};

const FLAGS: u32 = flags::NOSCRIPT | flags::LOADING | flags::STALE;

const ROW: CommandSpec = CommandSpec {
    since: "6.0.0",
    group: Group::Server,
    flags: FLAGS,
    ..CommandSpec::DEFAULT
};

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec::container(
    "acl",
    "6.0.0",
    Group::Server,
    "Holds the commands on users and categories of commands.",
    SUBCOMMANDS,
)];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "cat",
        summary: "Returns the categories of commands, or the commands of one.",
        complexity: "O(N) in the number of commands.",
        arity: -2,
        arguments: &[Argument::string("category").optional()],
        handler: Handler::Server(cat),
        ..ROW
    },
    CommandSpec {
        name: "genpass",
        summary: "Returns random hex digits, for a password: so many bits, or 256.",
        arity: -2,
        arguments: &[Argument::integer("bits").optional()],
        handler: Handler::Server(generate_password),
        ..ROW
    },
    CommandSpec {
        name: "getuser",
        summary: "Returns what a user may do.",
        complexity: "O(N) in the number of the user's rules.",
        arity: 3,
        flags: flags::ADMIN | FLAGS,
        history: &[
            ("6.2.0", "Patterns of channels."),
            (
                "7.0.0",
                "Selectors; patterns of keys and channels are texts.",
            ),
        ],
        arguments: &[Argument::string("username")],
        handler: Handler::Server(get_user),
        ..ROW
    },
    CommandSpec {
        name: "help",
        summary: "Returns a text about the subcommands.",
        arity: 2,
        flags: flags::LOADING | flags::STALE,
        handler: Handler::Database(print_help),
        ..ROW
    },
    CommandSpec {
        name: "list",
        summary: "Returns the users with their rules, as a file of users spells them.",
        complexity: "O(N) in the number of users.",
        arity: 2,
        flags: flags::ADMIN | FLAGS,
        handler: Handler::Server(list),
        ..ROW
    },
    CommandSpec {
        name: "users",
        summary: "Returns the names of the users.",
        complexity: "O(N) in the number of users.",
        arity: 2,
        flags: flags::ADMIN | FLAGS,
        handler: Handler::Server(users),
        ..ROW
    },
    CommandSpec {
        name: "whoami",
        summary: "Returns the name of this connection's user.",
        arity: 2,
        handler: Handler::Database(who_am_i),
        ..ROW
    },
];

type Answer = Result<(), CommandError>;

fn print_help(context: &mut Context<'_>, args: Args<'_>) -> Answer {
    help::of_rows(context.reply, args, SUBCOMMANDS);
    Ok(())
}

fn who_am_i(context: &mut Context<'_>, _args: Args<'_>) -> Answer {
    context.reply.bulk(context.session.identity.name());
    Ok(())
}

fn users(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let users = context.state.users.iter();
    let names: Vec<Vec<u8>> = users.map(|user| user.name.clone()).collect();
    let reply = context.reply();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

/// The hash of a user's password, in hex; none: no password is asked for. `requirepass` is the default user's.
fn password_hash(user: &User, settings: &Settings) -> Option<String> {
    let password = settings.requirepass.as_ref();
    let password = password.filter(|_| user.name == DEFAULT_USER)?;
    let hash = Sha256::digest(password);
    Some(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A user as a line of a file of users.
fn described(user: &User, settings: &Settings) -> Vec<u8> {
    let password = match password_hash(user, settings) {
        Some(hash) => format!("sanitize-payload #{hash}"),
        None => "nopass sanitize-payload".to_owned(),
    };
    let rules = format!(" on {password} ~* &* +@all");
    [b"user ", &user.name[..], rules.as_bytes()].concat()
}

fn list(context: &mut ServerContext<'_>, _args: Args<'_>) -> Answer {
    let settings = context.state.config.settings();
    let users = context.state.users.iter();
    let lines: Vec<Vec<u8>> = users.map(|user| described(user, settings)).collect();
    let reply = context.reply();
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.bulk(line));
    Ok(())
}

fn get_user(context: &mut ServerContext<'_>, args: Args<'_>) -> Answer {
    let Some(user) = context.state.users.find(args.at(2)) else {
        context.reply().null_array();
        return Ok(());
    };
    let hash = password_hash(user, context.state.config.settings());
    let reply = context.reply();
    let names: &[&str] = match hash {
        Some(_) => &["on", "sanitize-payload"],
        None => &["on", "nopass", "sanitize-payload"],
    };
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(usize::from(hash.is_some()));
    if let Some(hash) = hash {
        reply.bulk(hash.as_bytes());
    }
    for (field, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(field.as_bytes());
        reply.bulk(rule.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
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

#[cfg(test)]
mod tests {
    use crate::clients::{Identity, User};
    use crate::commands::testing::{Harness, bulks, error};
    use crate::resp::reader::Value;
    use std::rc::Rc;

    #[test]
    fn the_one_user_is_told_as_it_is() {
        let mut harness = Harness::new();
        assert_eq!(harness.line("ACL WHOAMI"), Value::bulk("default"));
        assert_eq!(harness.line("ACL USERS"), bulks(&["default"]));
        let rules = "user default on nopass sanitize-payload ~* &* +@all";
        assert_eq!(harness.line("ACL LIST"), bulks(&[rules]));
        assert_eq!(harness.line("ACL GETUSER nosuch"), Value::NullArray);
        harness.config("requirepass", "foobared");
        let hash = "1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf";
        let rules = format!("user default on sanitize-payload #{hash} ~* &* +@all");
        assert_eq!(harness.line("ACL LIST"), bulks(&[&rules]));
        assert_eq!(
            harness.line("ACL GETUSER default"),
            Value::Array(vec![
                Value::bulk("flags"),
                bulks(&["on", "sanitize-payload"]),
                Value::bulk("passwords"),
                bulks(&[hash]),
                Value::bulk("commands"),
                Value::bulk("+@all"),
                Value::bulk("keys"),
                Value::bulk("~*"),
                Value::bulk("channels"),
                Value::bulk("&*"),
                Value::bulk("selectors"),
                Value::Array(Vec::new()),
            ])
        );
    }

    /// A connection is told who it is, not who everybody is as long as there is one user.
    #[test]
    fn who_asks_is_its_own_user() {
        let mut harness = Harness::new();
        let name = b"al\xffice".to_vec();
        let client = harness.state.clients.get_mut(harness.client);
        let session = &mut client.expect("the client").session;
        session.identity = Identity::User(Rc::new(User { name: name.clone() }));
        assert_eq!(harness.line("ACL WHOAMI"), Value::Bulk(name));
        let Value::Bulk(line) = harness.line("CLIENT INFO") else {
            panic!("a line")
        };
        let wanted = b" user=al\xffice ";
        assert!(line.windows(wanted.len()).any(|at| at == wanted));
    }

    /// There are no users yet: nothing may look as if one had been made.
    #[test]
    fn what_would_make_users_is_unknown() {
        let mut harness = Harness::new();
        for line in [
            "ACL SETUSER x on",
            "ACL DELUSER x",
            "ACL LOAD",
            "ACL SAVE",
            "ACL LOG",
            "ACL DRYRUN default get x",
        ] {
            let Value::Error(text) = harness.line(line) else {
                panic!("{line} was answered")
            };
            assert!(text.starts_with(b"ERR unknown subcommand"), "{line}");
        }
    }

    #[test]
    fn categories_come_from_the_table() {
        let mut harness = Harness::new();
        let Value::Array(categories) = harness.line("ACL CAT") else {
            panic!("categories")
        };
        assert_eq!(categories.len(), 21);
        assert_eq!(categories[0], Value::bulk("keyspace"));
        let Value::Array(commands) = harness.line("ACL CAT Scripting") else {
            panic!("commands")
        };
        for name in ["eval", "function|load"] {
            assert!(commands.contains(&Value::bulk(name)), "{name}");
        }
        assert!(!commands.contains(&Value::bulk("get")));
        assert_eq!(
            harness.line("ACL CAT nosuch"),
            error("ERR Unknown category 'nosuch'")
        );
        assert_eq!(
            harness.run(&["ACL", "CAT", &"x".repeat(1000)]),
            error(&format!("ERR Unknown category '{}'", "x".repeat(128)))
        );
        // Byte for byte, to the first zero.
        assert_eq!(
            harness.run(&[b"ACL", &b"CAT"[..], b"\xffab\0c"]),
            Value::Error(b"ERR Unknown category '\xffab'".to_vec())
        );
    }

    #[test]
    fn passwords_are_as_long_as_asked_for() {
        let mut harness = Harness::new();
        for (line, digits) in [
            ("ACL GENPASS", 64),
            ("ACL GENPASS 5", 2),
            ("ACL GENPASS 1", 1),
            ("ACL GENPASS 4096", 1024),
        ] {
            let password = harness.line(line);
            let password = password.as_bytes().unwrap();
            assert_eq!(password.len(), digits);
            assert!(password.iter().all(u8::is_ascii_hexdigit));
        }
        let range = error(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        );
        for bits in ["0", "4097", "-1"] {
            assert_eq!(harness.run(&["ACL", "GENPASS", bits]), range);
        }
        assert_eq!(
            harness.line("ACL GENPASS x"),
            error("ERR value is not an integer or out of range")
        );
    }
}
