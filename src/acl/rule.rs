//! What can be wrong with a rule.

use std::fmt;

/// A rule that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    rule: Vec<u8>,
    reason: &'static str,
}

impl RuleError {
    /// The rule.
    pub fn rule(&self) -> &[u8] {
        &self.rule
    }
    /// What is wrong with it, in Redis's words.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
    /// The error of `ACL SETUSER`, without a prefix.
    pub fn text(&self) -> Vec<u8> {
        [
            b"Error in ACL SETUSER modifier '",
            &self.rule[..],
            b"': ",
            self.reason.as_bytes(),
        ]
        .concat()
    }
    /// True if the rule names a command, a category or a role that does not exist (yet).
    pub fn is_unknown(&self) -> bool {
        false
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text()))
    }
}
