//! Which arguments of commands are secrets.
//!
//! In: the words of a command, one after the other. Out: what each of them is. The slow log, MONITOR, reports of crashes and
//! recordings all ask here, so that none of them shows what another one hides. Nothing depends on the command being right: a
//! password in a command that is refused (too many words, a misspelt option before it) is hidden as well.
//!
//! What cannot be known is shown: a password that is the text of a script, the value of a key, or the name of a user.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::table::DIRECTIVES;
use crate::resp::Args;

/// Bytes of a word that decide what those behind it are. No name that counts is as long.
pub const WORD: usize = 64;

/// What an argument is, as far as those before it tell. A later one hides more than an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Argument {
    /// Nothing that is to be hidden.
    #[default]
    Plain,
    /// A user, or part of a user's rules that says nothing of passwords. Redis keeps these out of the slow log.
    Name,
    /// A rule of a user: a password, if it begins with one of [`PASSWORD_RULES`].
    Rule,
    /// A password.
    Secret,
}

/// How rules begin that add or remove a password or its hash.
pub const PASSWORD_RULES: &[u8] = b"><#!";

/// The commands that carry secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// One that carries none, or not known yet.
    #[default]
    Other,
    /// One that nobody knows: perhaps a misspelt one that carries some.
    Unknown,
    Auth,
    Hello,
    Migrate,
    Config,
    ConfigSet,
    Acl,
    AclNames,
    AclRules,
    AclDryrun,
    Command,
    CommandKeys,
}

/// Reads the words of one command.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    kind: Kind,
    /// How many words there are, and which one comes.
    count: usize,
    index: usize,
    /// What the next two are, as far as an option before them tells.
    next: [Argument; 2],
}

impl Arguments {
    /// A command of so many words.
    pub fn new(count: usize) -> Arguments {
        Arguments {
            count,
            ..Arguments::default()
        }
    }

    /// A command of so many words whose first word stands for this name, whatever it was renamed to; none: for no command.
    pub fn of(name: Option<&str>, count: usize) -> Arguments {
        let mut arguments = Arguments::new(count);
        match name {
            Some(name) => arguments.end_word(name.as_bytes()),
            None => {
                arguments.kind = Kind::Unknown;
                arguments.index = 1;
            }
        }
        arguments
    }

    /// Whether the word that comes names a command.
    pub fn is_first(&self) -> bool {
        self.index == 0
    }

    /// Whether no word is to come any more.
    pub fn is_complete(&self) -> bool {
        self.index >= self.count
    }

    /// What the word is that comes.
    pub fn next(&self) -> Argument {
        let is_last = self.index.saturating_add(1) >= self.count;
        let by_place = match self.kind {
            Kind::Unknown => Argument::Secret,
            // Of two words the first is a name.
            Kind::Auth if self.index == 1 && self.count == 3 => Argument::Name,
            Kind::Auth if self.index >= 1 => Argument::Secret,
            Kind::AclNames if self.index >= 2 => Argument::Name,
            Kind::AclRules if self.index == 2 => Argument::Name,
            Kind::AclRules if self.index > 2 => Argument::Rule,
            _ => Argument::Plain,
        };
        let [by_option, _] = self.next;
        match by_option {
            // A name without a password behind it is the password, most likely.
            Argument::Name if is_last => Argument::Secret,
            by_option => by_option.max(by_place),
        }
    }

    /// The word that came is whole; `word`: the first [`WORD`] bytes of it, or more.
    pub fn end_word(&mut self, word: &[u8]) {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let [_, next] = self.next;
        self.next = [next, Argument::Plain];
        let mut starts_over = false;
        match (self.kind, self.index) {
            (_, 0) => self.kind = kind(word),
            (Kind::Config, 1) if is("set") => self.kind = Kind::ConfigSet,
            (Kind::Acl, 1) if is("setuser") || is("setrole") => self.kind = Kind::AclRules,
            (Kind::Acl, 1)
                if ["getuser", "deluser", "getrole", "delrole"]
                    .into_iter()
                    .any(is) =>
            {
                self.kind = Kind::AclNames;
            }
            (Kind::Acl, 1) if is("dryrun") => self.kind = Kind::AclDryrun,
            (Kind::Command, 1) if is("getkeys") || is("getkeysandflags") => {
                self.kind = Kind::CommandKeys;
                starts_over = true;
            }
            (Kind::Config | Kind::Acl | Kind::Command, 1) => self.kind = Kind::Other,
            // What follows is a command.
            (Kind::AclDryrun, 2) => starts_over = true,
            (Kind::Migrate, 1..) if is("keys") => self.kind = Kind::Other,
            (Kind::Migrate, 1..) if is("auth") => self.expect([Argument::Secret, Argument::Plain]),
            (Kind::Hello, 1..) if is("auth") => self.expect([Argument::Name, Argument::Secret]),
            (Kind::Migrate, 1..) if is("auth2") => self.expect([Argument::Name, Argument::Secret]),
            (Kind::ConfigSet, 2..) if self.is_sensitive(word) => {
                self.expect([Argument::Secret, Argument::Plain]);
            }
            _ => {}
        }
        self.index = self.index.saturating_add(1);
        if starts_over {
            *self = Arguments::new(self.count.saturating_sub(self.index));
        }
    }

    /// Adds to what the next two words are.
    fn expect(&mut self, next: [Argument; 2]) {
        let [first, second] = self.next;
        let [a, b] = next;
        self.next = [first.max(a), second.max(b)];
    }

    /// Whether CONFIG SET has a secret behind this word: wherever a directive's name with a secret stands, for where the
    /// words are one too few or too many, and behind a name that nobody knows, which may be a misspelt one.
    fn is_sensitive(&self, word: &[u8]) -> bool {
        let is_named = |name: &str| name.as_bytes().eq_ignore_ascii_case(word);
        let known = DIRECTIVES
            .iter()
            .find(|it| is_named(it.name) || it.alias.is_some_and(is_named));
        match known {
            Some(directive) => directive.sensitive,
            None => self.index.is_multiple_of(2) && word.len() < WORD,
        }
    }
}

/// The command of a name in any case.
fn kind(name: &[u8]) -> Kind {
    const NAMES: &[(&str, Kind)] = &[
        ("auth", Kind::Auth),
        ("hello", Kind::Hello),
        ("migrate", Kind::Migrate),
        ("config", Kind::Config),
        ("acl", Kind::Acl),
        ("command", Kind::Command),
    ];
    let known = NAMES
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
    known.map_or(Kind::Other, |(_, kind)| *kind)
}

/// Whether a command of this name may carry secrets.
pub fn may_carry(name: &[u8]) -> bool {
    kind(name) != Kind::Other
}

/// Indexes of the arguments of a command that logs must not show. `name`: that of the command, or of the container whose
/// subcommand it is, as it is compiled in.
pub fn hidden(name: &str, args: Args<'_>) -> Vec<usize> {
    if !may_carry(name.as_bytes()) {
        return Vec::new();
    }
    let mut arguments = Arguments::of(Some(name), args.len());
    let mut hidden = Vec::new();
    for (index, word) in args.iter().enumerate().skip(1) {
        if arguments.next() != Argument::Plain {
            hidden.push(index);
        }
        arguments.end_word(word);
    }
    hidden
}

/// Whether logs must not show an argument; as [`hidden`], but without memory of its own, for the handler of a signal.
pub fn hides(name: Option<&str>, args: Args<'_>, index: usize) -> bool {
    let mut arguments = Arguments::of(name, args.len());
    for at in 1..index {
        arguments.end_word(args.get(at).unwrap_or_default());
    }
    index > 0 && arguments.next() != Argument::Plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedRequest;

    fn shown(line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let request = OwnedRequest::from_slices(&words);
        let args = request.args();
        let name = words[0].to_ascii_lowercase();
        let hidden = hidden(&name, args);
        for index in 0..words.len() {
            let hides = hides(Some(&name), args, index);
            assert_eq!(hides, hidden.contains(&index), "{line}: {index}");
        }
        let show = |(at, word)| match hidden.contains(&at) {
            true => "-",
            false => word,
        };
        let words: Vec<&str> = words.iter().copied().enumerate().map(show).collect();
        words.join(" ")
    }

    #[test]
    fn each_way_to_give_a_password_hides_it() {
        for (line, expected) in [
            ("AUTH pw", "AUTH -"),
            ("auth u pw", "auth - -"),
            ("AUTH u pw more", "AUTH - - -"),
            (
                "HELLO 3 AUTH u pw SETNAME me",
                "HELLO 3 AUTH - - SETNAME me",
            ),
            (
                "HELLO 3 SETNAME me AuTh u pw",
                "HELLO 3 SETNAME me AuTh - -",
            ),
            ("HELLO 9 AUTH u pw", "HELLO 9 AUTH - -"),
            ("HELLO AUTH u pw", "HELLO AUTH - -"),
            ("HELLO 3 AUTH pw", "HELLO 3 AUTH -"),
            ("HELLO 3 AUTH auth pw", "HELLO 3 AUTH - -"),
            ("HELLO 3", "HELLO 3"),
            ("CONFIG SET requirepass pw", "CONFIG SET requirepass -"),
            (
                "config set maxmemory 1 MASTERAUTH pw tls-key-file-pass pp port 1",
                "config set maxmemory 1 MASTERAUTH - tls-key-file-pass - port 1",
            ),
            (
                "CONFIG SET requirepass pw more",
                "CONFIG SET requirepass - more",
            ),
            (
                "CONFIG SET port requirepass pw",
                "CONFIG SET port requirepass -",
            ),
            ("CONFIG SET requirepas pw", "CONFIG SET requirepas -"),
            ("CONFIG SET masteruser u", "CONFIG SET masteruser -"),
            ("CONFIG GET requirepass x", "CONFIG GET requirepass x"),
            ("ACL SETUSER u on >pw ~*", "ACL SETUSER - - - -"),
            ("ACL SETROLE r +@all", "ACL SETROLE - -"),
            ("ACL DELUSER u v", "ACL DELUSER - -"),
            ("ACL GETUSER u", "ACL GETUSER -"),
            ("ACL CAT u", "ACL CAT u"),
            ("ACL DRYRUN u GET key", "ACL DRYRUN u GET key"),
            ("ACL DRYRUN u AUTH v pw", "ACL DRYRUN u AUTH - -"),
            (
                "COMMAND GETKEYS MIGRATE h 1 k 0 5 AUTH pw",
                "COMMAND GETKEYS MIGRATE h 1 k 0 5 AUTH -",
            ),
            (
                "COMMAND GETKEYS GET auth key",
                "COMMAND GETKEYS GET auth key",
            ),
            ("COMMAND DOCS auth", "COMMAND DOCS auth"),
            (
                "MIGRATE h 1 x 0 5 COPY AUTH pw KEYS auth k",
                "MIGRATE h 1 x 0 5 COPY AUTH - KEYS auth k",
            ),
            (
                "MIGRATE h 1 x 0 5 AUTH2 u pw REPLACE",
                "MIGRATE h 1 x 0 5 AUTH2 - - REPLACE",
            ),
            (
                "MIGRATE h 1 x 0 5 BAD AUTH pw",
                "MIGRATE h 1 x 0 5 BAD AUTH -",
            ),
            ("MIGRATE h 1 x 0 AUTH pw", "MIGRATE h 1 x 0 AUTH -"),
            ("MIGRATE h 1 x 0 5 AUTH2 pw", "MIGRATE h 1 x 0 5 AUTH2 -"),
            ("SET auth pw", "SET auth pw"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }

    #[test]
    fn of_a_command_that_nobody_knows_all_is_hidden() {
        let request = OwnedRequest::from_slices(&["AUHT", "pw"]);
        assert!(!hides(None, request.args(), 0));
        assert!(hides(None, request.args(), 1));
    }

    #[test]
    fn no_name_that_counts_is_cut() {
        for directive in DIRECTIVES {
            assert!(directive.name.len() < WORD, "{}", directive.name);
        }
    }
}
