//! Which commands a selector permits.
//!
//! In: the rules that begin with `+` and `-`. Out: a bit for each command, and the rules as they are described: those
//! that still have an effect, in the order in which they were given, behind `+@all` or `-@all`. Applying them in that
//! order makes the same bits.
//!
//! One form is about an argument and not about a command, `+select|0`: where the command itself is not permitted, it is
//! with this first argument. It exists for commands without subcommands only.

use super::rule::{Fault, has_spaces};
use super::{Call, Catalogue};

/// The commands that a selector permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commands {
    /// A bit for each id: true if the command is permitted.
    permitted: Vec<u64>,
    /// True if no command was taken out since all were permitted, so that the bits need not be asked.
    all: bool,
    /// True if the rules begin with all commands, false if they begin with none.
    begins_with_all: bool,
    /// First arguments with which commands are permitted that are not permitted as such.
    first_args: Vec<(u16, Vec<u8>)>,
    rules: Vec<Rule>,
}

/// A rule as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    permit: bool,
    /// The command, the category with its `@`, or the command with a first argument, in lower case.
    name: Vec<u8>,
}

impl Rule {
    /// Whether a later rule about this name makes the rule void: it is about the same, or about a part of it.
    fn is_within(&self, name: &[u8]) -> bool {
        let rest = self.name.strip_prefix(name);
        rest.is_some_and(|rest| matches!(rest, [] | [b'|', ..]))
    }
}

impl Commands {
    pub(super) fn none(catalogue: &dyn Catalogue) -> Commands {
        Commands {
            permitted: vec![0; catalogue.len().div_ceil(64)],
            all: false,
            begins_with_all: false,
            first_args: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Whether nothing about commands needs to be asked.
    #[inline]
    pub(super) fn has_all(&self) -> bool {
        self.all
    }

    /// Whether the command of a call is permitted.
    #[inline]
    pub(super) fn permits(&self, call: &Call<'_>) -> bool {
        self.all || self.is_set(call.command) || self.permits_first_arg(call)
    }

    /// Whether a command is permitted whatever its arguments are.
    #[inline]
    pub(super) fn permits_any(&self, id: u16) -> bool {
        self.all || self.is_set(id)
    }

    #[inline]
    fn is_set(&self, id: u16) -> bool {
        let word = self.permitted.get(usize::from(id >> 6));
        word.is_some_and(|word| word & bit(id) != 0)
    }

    fn permits_first_arg(&self, call: &Call<'_>) -> bool {
        // The first argument of a subcommand stands behind its name; no rule is about one.
        let at = if call.parent.is_some() { 2 } else { 1 };
        let Some(arg) = call.args.get(at) else {
            return false;
        };
        let mut of_command = self.first_args.iter().filter(|(id, _)| *id == call.command);
        of_command.any(|(_, first)| arg.eq_ignore_ascii_case(first))
    }

    /// Permits all commands or none.
    pub(super) fn set_all(&mut self, permit: bool) {
        let word = if permit { u64::MAX } else { 0 };
        self.permitted.fill(word);
        self.all = permit;
        self.begins_with_all = permit;
        self.first_args.clear();
        self.rules.clear();
    }

    /// Applies `+name` or `-name`.
    pub(super) fn apply(
        &mut self,
        permit: bool,
        name: &[u8],
        catalogue: &dyn Catalogue,
    ) -> Result<(), Fault> {
        if name.starts_with(b"@") {
            return self.set_category(permit, name, catalogue);
        }
        let bar = name.iter().rposition(|byte| *byte == b'|');
        match bar
            .filter(|_| permit)
            .and_then(|bar| name.split_at_checked(bar))
        {
            Some((command, argument)) => {
                let argument = argument.strip_prefix(b"|").unwrap_or(argument);
                self.permit_part(name, command, argument, catalogue)
            }
            None => {
                let id = catalogue.find(name).ok_or(Fault::UnknownCommand)?;
                self.set_command(id, permit, catalogue);
                self.remember(permit, catalogue.name(id).as_bytes());
                Ok(())
            }
        }
    }

    /// Applies `+command|argument`: a subcommand, or a first argument where the command has no subcommands.
    fn permit_part(
        &mut self,
        name: &[u8],
        command: &[u8],
        argument: &[u8],
        catalogue: &dyn Catalogue,
    ) -> Result<(), Fault> {
        let id = catalogue.find(command).ok_or(Fault::UnknownCommand)?;
        if catalogue.parent(id).is_some() {
            return Err(Fault::FirstArgOfSubcommand);
        }
        // Redis takes an argument with spaces, and cannot read it again.
        if argument.is_empty() || has_spaces(argument) {
            return Err(Fault::Syntax);
        }
        if catalogue.subcommands(id).is_empty() {
            let argument = argument.to_ascii_lowercase();
            if !self
                .first_args
                .iter()
                .any(|it| it.0 == id && it.1 == argument)
            {
                self.first_args.push((id, argument));
            }
        } else {
            let id = catalogue.find(name).ok_or(Fault::UnknownCommand)?;
            self.set_command(id, true, catalogue);
        }
        self.remember(true, name);
        Ok(())
    }

    fn set_category(
        &mut self,
        permit: bool,
        name: &[u8],
        catalogue: &dyn Catalogue,
    ) -> Result<(), Fault> {
        let category = name.strip_prefix(b"@").unwrap_or(name);
        let bits = catalogue.category(category).ok_or(Fault::UnknownCommand)?;
        self.remember(permit, name);
        let ids = u16::try_from(catalogue.len()).unwrap_or(u16::MAX);
        for id in (0..ids).filter(|id| catalogue.categories(*id) & bits != 0) {
            self.set_command(id, permit, catalogue);
        }
        Ok(())
    }

    /// Permits or forbids a command with all of its subcommands.
    fn set_command(&mut self, id: u16, permit: bool, catalogue: &dyn Catalogue) {
        self.first_args.retain(|(command, _)| *command != id);
        self.set(id, permit);
        for subcommand in catalogue.subcommands(id) {
            self.set(subcommand, permit);
        }
    }

    fn set(&mut self, id: u16, permit: bool) {
        self.all &= permit;
        if let Some(word) = self.permitted.get_mut(usize::from(id >> 6)) {
            match permit {
                true => *word |= bit(id),
                false => *word &= !bit(id),
            }
        }
    }

    /// Adds a rule to those that are described, in place of those that it makes void.
    fn remember(&mut self, permit: bool, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.rules.retain(|rule| !rule.is_within(&name));
        self.rules.push(Rule { permit, name });
    }

    /// The words of the rules.
    pub(super) fn words(&self) -> impl Iterator<Item = Vec<u8>> {
        let first: &[u8] = if self.begins_with_all {
            b"+@all"
        } else {
            b"-@all"
        };
        let rules = self.rules.iter().map(|rule| {
            let sign = if rule.permit { b"+" } else { b"-" };
            [sign, &rule.name[..]].concat()
        });
        std::iter::once(first.to_vec()).chain(rules)
    }

    #[cfg(test)]
    pub(super) fn bits(&self) -> (&[u64], Vec<(u16, Vec<u8>)>) {
        let mut first_args = self.first_args.clone();
        first_args.sort();
        (&self.permitted, first_args)
    }
}

#[inline]
fn bit(id: u16) -> u64 {
    1u64.wrapping_shl(u32::from(id & 63))
}
