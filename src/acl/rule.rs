//! Words of rules: what can be wrong with one, and how those of a selector are put together.

use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroizing;

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A rule that is not known, or is spelled wrongly.
    Syntax,
    /// A command or category that does not exist.
    UnknownCommand,
    /// A role that does not exist.
    UnknownRole,
    /// The first argument of what is a subcommand already.
    FirstArgOfSubcommand,
    /// A pattern of keys where all are permitted.
    AfterAllKeys,
    /// A pattern of channels where all are permitted.
    AfterAllChannels,
    /// A password to remove that is not there.
    NoSuchPassword,
    /// A hash that is not one.
    Hash,
    /// A number of a database that is not one.
    Database,
    /// A limit that is not one.
    Limit,
    /// The word that opens a selector which is never closed.
    UnmatchedParenthesis,
    /// A user's name that would be split when it is read again.
    UserName,
    /// A role's name that would be split when it is read again.
    RoleName,
    /// A role's name that is a command's or a category's as well.
    RoleNameTaken,
}

impl Fault {
    pub(super) fn text(self) -> &'static str {
        match self {
            Fault::Syntax => "Syntax error",
            Fault::UnknownCommand => "Unknown command or category name in ACL",
            Fault::UnknownRole => "Unknown role name in ACL",
            Fault::FirstArgOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            Fault::AfterAllKeys => concat!(
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any ",
                "effect. Try 'resetkeys' to start with an empty list of patterns"
            ),
            Fault::AfterAllChannels => concat!(
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any ",
                "effect. Try 'resetchannels' to start with an empty list of channels"
            ),
            Fault::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            Fault::Hash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Fault::Database => "Invalid database number",
            Fault::Limit => {
                "A limit is cpu=<1 to 1000 ms>/s, rate=<commands>/s or memory=<bytes>, and not zero"
            }
            Fault::UnmatchedParenthesis => "Unmatched parenthesis",
            Fault::UserName => "Usernames can't contain spaces or null characters",
            Fault::RoleName => "Role names can't contain spaces, commas or null characters",
            Fault::RoleNameTaken => "A role can't have the name of a command or a category",
        }
    }
}

/// A rule that cannot be applied.
#[derive(Clone, PartialEq, Eq)]
pub struct RuleError {
    /// It may hold a password, so it is wiped.
    rule: Zeroizing<Vec<u8>>,
    fault: Fault,
}

impl RuleError {
    pub(super) fn new(rule: &[u8], fault: Fault) -> RuleError {
        RuleError {
            rule: Zeroizing::new(rule.to_vec()),
            fault,
        }
    }
    /// The rule that is wrong, or the name if it is that.
    pub fn rule(&self) -> &[u8] {
        &self.rule
    }
    /// What is wrong with it, in Redis's words.
    pub fn reason(&self) -> &'static str {
        self.fault.text()
    }
    /// The error of `ACL SETUSER` (or SETROLE), without a prefix.
    pub fn text(&self, subcommand: &str) -> Vec<u8> {
        let around = match self.fault {
            Fault::UserName | Fault::RoleName | Fault::RoleNameTaken => {
                return self.reason().as_bytes().to_vec();
            }
            Fault::UnmatchedParenthesis => [
                "Unmatched parenthesis in acl selector starting at '".to_owned(),
                "'.".to_owned(),
            ],
            _ => [
                format!("Error in ACL {subcommand} modifier '"),
                format!("': {}", self.reason()),
            ],
        };
        let [before, behind] = around;
        [before.as_bytes(), &self.rule, behind.as_bytes()].concat()
    }
    /// True if the rule names a command, a category or a role that does not exist.
    pub fn is_unknown(&self) -> bool {
        matches!(self.fault, Fault::UnknownCommand | Fault::UnknownRole)
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text("SETUSER")))
    }
}

/// Without the rule, which may be a password.
impl fmt::Debug for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleError({:?})", self.fault)
    }
}

/// Puts together the words of each selector, which may come as one argument or as several.
pub(super) fn merge<'a>(words: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, RuleError> {
    let mut rules: Vec<Cow<'a, [u8]>> = Vec::with_capacity(words.len());
    // The selector that is being put together, with its first word.
    let mut open: Option<(&'a [u8], Vec<u8>)> = None;
    for &word in words {
        if let Some((_, selector)) = &mut open {
            selector.push(b' ');
            selector.extend_from_slice(word);
            if word.ends_with(b")")
                && let Some((_, selector)) = open.take()
            {
                rules.push(Cow::Owned(selector));
            }
        } else if word.starts_with(b"(") && !word.ends_with(b")") {
            open = Some((word, word.to_vec()));
        } else {
            rules.push(Cow::Borrowed(word));
        }
    }
    match open {
        Some((word, _)) => Err(RuleError::new(word, Fault::UnmatchedParenthesis)),
        None => Ok(rules),
    }
}

/// Whether a text holds white space or a NUL, so that it would not be read again as one word.
pub(super) fn has_spaces(text: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, 0 | b' ' | b'\t'..=b'\r');
    text.iter().any(is_space)
}

/// What follows a rule's name and `=`.
pub(super) fn value_of<'a>(rule: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (before, behind) = rule.split_at_checked(name.len())?;
    let value = behind.strip_prefix(b"=")?;
    before.eq_ignore_ascii_case(name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_selector_are_put_together() {
        let merged = |words: &[&'static str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            merge(&words).map(|rules| {
                let text = |rule: &Cow<'_, [u8]>| String::from_utf8_lossy(rule).into_owned();
                rules.iter().map(text).collect::<Vec<_>>()
            })
        };
        assert_eq!(
            merged(&["on", "(+get", "~a)", "(~b)", "()", "", "off"]),
            Ok(["on", "(+get ~a)", "(~b)", "()", "", "off"]
                .map(str::to_owned)
                .to_vec())
        );
        for (words, at) in [
            (&["on", "(+get", "(~a"][..], "(+get"),
            (&["("], "("),
            (&["(a)", "(b", ""], "(b"),
        ] {
            let error = merged(words).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("Unmatched parenthesis in acl selector starting at '{at}'.")
            );
        }
    }

    #[test]
    fn values_follow_names() {
        assert_eq!(value_of(b"DB=1,2", b"db"), Some(&b"1,2"[..]));
        assert_eq!(value_of(b"db=", b"db"), Some(&b""[..]));
        assert_eq!(value_of(b"db", b"db"), None);
        assert_eq!(value_of(b"dbx=1", b"db"), None);
        assert_eq!(value_of(b"", b"db"), None);
    }
}
