//! Values of directives on their way in: from words to a value.
//!
//! Words come in, a [`Value`] or Redis's reason for refusing them goes out. Nothing here knows
//! where the words come from. It mirrors the set functions of Redis's `config.c`.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::table::{Directive, Kind, TextCheck, Unit};
use crate::net::Subnet;
use crate::system::{numbers, process};
use zeroize::Zeroize;

/// Why a value was refused, in Redis's words.
pub type Reason = Cow<'static, str>;

/// The limits on what may wait in a client's output buffer. Zero means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// A client over this is closed at once.
    pub hard_bytes: u64,
    /// A client over this for `soft_seconds` is closed.
    pub soft_bytes: u64,
    /// How long a client may stay over `soft_bytes`.
    pub soft_seconds: u64,
}

/// Classes of `client-output-buffer-limit`, in the order of its values.
pub(super) const CLASSES: [&[&str]; 3] = [&["normal"], &["slave", "replica"], &["pubsub"]];

/// The limits when nobody sets them: normal clients, replicas, subscribers.
pub const OUTPUT_LIMITS: [OutputLimit; 3] = [
    OutputLimit {
        hard_bytes: 0,
        soft_bytes: 0,
        soft_seconds: 0,
    },
    OutputLimit {
        hard_bytes: 256 << 20,
        soft_bytes: 64 << 20,
        soft_seconds: 60,
    },
    OutputLimit {
        hard_bytes: 32 << 20,
        soft_bytes: 8 << 20,
        soft_seconds: 60,
    },
];

pub(super) const OOM_VALUES: [i32; 3] = [0, 200, 800];
const PERCENTILES: [f64; 3] = [50.0, 99.0, 99.9];
const SAVE_POINTS: [(u64, u32); 3] = [(3600, 1), (300, 100), (60, 10_000)];
const BIND: [&str; 2] = ["*", "-::*"];
const MAX_BIND: usize = 16;

/// Classes of keyspace events: characters and bits, in the order in which they are reported.
pub(super) const EVENTS: [(u8, u32); 14] = [
    (b'g', 1 << 2),
    (b'$', 1 << 3),
    (b'l', 1 << 4),
    (b's', 1 << 5),
    (b'h', 1 << 6),
    (b'z', 1 << 7),
    (b'x', 1 << 8),
    (b'e', 1 << 9),
    (b't', 1 << 10),
    (b'd', 1 << 13),
    (b'n', 1 << 14),
    (b'K', 1 << 0),
    (b'E', 1 << 1),
    (b'm', 1 << 11),
];
/// What the class `A` stands for: all but keyspace, keyevent, misses and new keys.
pub(super) const EVENTS_ALL: u32 = 0b0010_0111_1111_1100;

/// The value of a directive.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// yes or no.
    Bool(bool),
    /// A number; a percentage is negative.
    Number(i128),
    /// One choice or a set of bits.
    Enum(u32),
    /// Bytes.
    Text(Vec<u8>),
    /// The working directory, always absolute.
    Dir(PathBuf),
    /// Seconds and changes.
    Save(Vec<(u64, u32)>),
    /// Addresses.
    Bind(Vec<Vec<u8>>),
    /// Limits of normal clients, replicas, subscribers.
    OutputLimits([OutputLimit; 3]),
    /// Adjustments for a primary, a replica, a child.
    OomValues([i32; 3]),
    /// Bits of event classes.
    Events(u32),
    /// Percentages.
    Percentiles(Vec<f64>),
    /// Host and port.
    ReplicaOf(Option<(Vec<u8>, u16)>),
}

impl Value {
    /// Overwrites it, if it is a text: it is a secret that nobody needs any more.
    pub(super) fn wipe(&mut self) {
        if let Value::Text(text) = self {
            text.zeroize();
        }
    }
}

/// The value of a directive that nobody set.
pub fn default(directive: &Directive, dir: &Path) -> Value {
    match directive.kind {
        Kind::Bool(value) => Value::Bool(value),
        Kind::Number { default, .. } => Value::Number(default),
        Kind::Enum { default, .. } => Value::Enum(default),
        Kind::Text { default, .. } => Value::Text(default.as_bytes().to_vec()),
        Kind::Dir => Value::Dir(dir.to_path_buf()),
        Kind::Save => Value::Save(SAVE_POINTS.to_vec()),
        Kind::Bind => Value::Bind(
            BIND.iter()
                .map(|address| address.as_bytes().to_vec())
                .collect(),
        ),
        Kind::OutputLimits => Value::OutputLimits(OUTPUT_LIMITS),
        Kind::OomValues => Value::OomValues(OOM_VALUES),
        Kind::Events => Value::Events(0),
        Kind::Percentiles => Value::Percentiles(PERCENTILES.to_vec()),
        Kind::ReplicaOf => Value::ReplicaOf(None),
    }
}

/// Reads the words given for a directive. `before` is its value so far: limits of classes that are
/// not mentioned stay, and a relative directory starts at the one before.
pub fn parse(directive: &Directive, words: &[&[u8]], before: &Value) -> Result<Value, Reason> {
    if !directive.multi && words.len() != 1 {
        return Err("wrong number of arguments".into());
    }
    let first = words.first().copied().unwrap_or_default();
    match directive.kind {
        Kind::Bool(_) => match first {
            _ if first.eq_ignore_ascii_case(b"yes") => Ok(Value::Bool(true)),
            _ if first.eq_ignore_ascii_case(b"no") => Ok(Value::Bool(false)),
            _ => Err("argument must be 'yes' or 'no'".into()),
        },
        Kind::Number { min, max, unit, .. } => parse_number(first, min, max, unit),
        Kind::Enum { names, .. } => parse_enum(names, words),
        Kind::Text { check, .. } => {
            check_text(check, first)?;
            Ok(Value::Text(first.to_vec()))
        }
        Kind::Dir => parse_dir(first, before),
        Kind::Save => parse_save(words),
        Kind::Bind => parse_bind(words),
        Kind::OutputLimits => parse_output_limits(words, before),
        Kind::OomValues => parse_oom_values(words),
        Kind::Events => parse_events(first),
        Kind::Percentiles => parse_percentiles(words),
        Kind::ReplicaOf => parse_replica_of(words),
    }
}

/// An integer as C's `strtoll` takes it, with nothing after it. The empty string counts as zero.
fn c_integer(text: &[u8], radix: u32) -> Option<i64> {
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok()
}

fn parse_number(text: &[u8], min: i128, max: i128, unit: Unit) -> Result<Value, Reason> {
    let percent =
        |text: &[u8]| numbers::parse_i64(text.strip_suffix(b"%")?).filter(|percent| *percent >= 0);
    let number = match unit {
        Unit::Plain => numbers::parse_i64(text).map(i128::from),
        Unit::Bytes => numbers::parse_bytes(text).map(i128::from),
        Unit::BytesOrPercent => match numbers::parse_bytes(text) {
            Some(bytes) if i128::from(bytes) > max || i128::from(bytes) < 0 => {
                return Err(out_of_bounds(min, max));
            }
            Some(bytes) => return Ok(Value::Number(i128::from(bytes))),
            None => percent(text).map(|percent| i128::from(percent).saturating_neg()),
        },
        Unit::Octal => c_integer(text, 8).map(i128::from),
    };
    let Some(number) = number else {
        return Err(match unit {
            Unit::Plain => "argument couldn't be parsed into an integer",
            Unit::Bytes => "argument must be a memory value",
            Unit::BytesOrPercent => "argument must be a memory or percent value",
            Unit::Octal => "argument couldn't be parsed as an octal number",
        }
        .into());
    };
    if number >= min && number <= max {
        return Ok(Value::Number(number));
    }
    Err(match unit {
        Unit::BytesOrPercent => format!(
            "percentage argument must be less or equal to {}",
            min.unsigned_abs()
        )
        .into(),
        Unit::Octal => format!("argument must be between {min:o} and {max:o} inclusive").into(),
        Unit::Plain | Unit::Bytes => out_of_bounds(min, max),
    })
}

fn out_of_bounds(min: i128, max: i128) -> Reason {
    format!("argument must be between {min} and {max} inclusive").into()
}

/// Bits of the shutdown options that exclude each other.
const SAVE_AND_NOSAVE: u32 = 0b11;

fn parse_enum(names: &'static [(&'static str, u32)], words: &[&[u8]]) -> Result<Value, Reason> {
    let mut bits = 0;
    let mut known = !words.is_empty();
    for word in words {
        match names
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
        {
            Some((_, value)) => bits |= value,
            None => known = false,
        }
    }
    if !known {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "argument(s) must be one of the following: {}",
            names.join(", ")
        )
        .into());
    }
    if words.len() > 1 && bits & SAVE_AND_NOSAVE == SAVE_AND_NOSAVE {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(Value::Enum(bits))
}

fn check_text(check: TextCheck, text: &[u8]) -> Result<(), Reason> {
    let is_path = text.contains(&b'/') || text.contains(&b'\\');
    let reason = match check {
        TextCheck::DbFilename if is_path => "dbfilename can't be a path, just a filename",
        TextCheck::AofFilename if text.is_empty() => "appendfilename can't be empty",
        TextCheck::AofFilename if is_path => "appendfilename can't be a path, just a filename",
        TextCheck::AofDirname if text.is_empty() => "appenddirname can't be empty",
        TextCheck::AofDirname if is_path => "appenddirname can't be a path, just a dirname",
        TextCheck::Hostname if text.len() >= 256 => "Hostnames must be less than 256 characters",
        TextCheck::Hostname
            if !text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) =>
        {
            "Hostnames may only contain alphanumeric characters, hyphens or dots"
        }
        TextCheck::NodeName if text.len() >= 256 => {
            "Announced human node name must be less than 256 characters"
        }
        TextCheck::NodeName
            if !text
                .iter()
                .all(|byte| !b"!#$%&()*+:;<>?@[]^{|}~".contains(byte)) =>
        {
            "Announced human node name contained invalid character"
        }
        TextCheck::Subnets
            if std::str::from_utf8(text)
                .ok()
                .and_then(Subnet::parse_list)
                .is_none() =>
        {
            "Invalid IP address or CIDR subnet"
        }
        TextCheck::Locale if !crate::system::process::is_locale(text) => "Invalid locale name",
        TextCheck::ProcTitle => {
            return match expand_title(text, |_| Some(b"x".as_slice())) {
                Some(title) if !title.is_empty() => Ok(()),
                _ => Err("template format is invalid or contains unknown variables".into()),
            };
        }
        _ => return Ok(()),
    };
    Err(reason.into())
}

/// Variables of `proc-title-template`.
const TITLE_VARIABLES: [&str; 7] = [
    "title",
    "listen-addr",
    "server-mode",
    "port",
    "tls-port",
    "config-file",
    "unixsocket",
];

/// Fills in a template of the process title: `{name}` becomes what `value` gives for it, `{{` a
/// brace; blanks at both ends go. `None` when a brace stays open or a name is unknown.
pub fn expand_title<'a>(
    template: &[u8],
    value: impl Fn(&str) -> Option<&'a [u8]>,
) -> Option<Vec<u8>> {
    let mut title = Vec::new();
    let mut rest = template;
    loop {
        rest = match rest {
            [] => return Some(title.trim_ascii().to_vec()),
            [b'{', b'{', tail @ ..] => {
                title.push(b'{');
                tail
            }
            [b'{', tail @ ..] => {
                let end = tail.iter().position(|byte| *byte == b'}')?;
                let name = std::str::from_utf8(tail.get(..end)?).ok()?;
                let known = TITLE_VARIABLES.contains(&name);
                title.extend_from_slice(known.then(|| value(name)).flatten()?);
                tail.get(end..)?.get(1..)?
            }
            [byte, tail @ ..] => {
                title.push(*byte);
                tail
            }
        };
    }
}

fn parse_dir(text: &[u8], before: &Value) -> Result<Value, Reason> {
    let path = Path::new(OsStr::from_bytes(text));
    if text.is_empty() {
        return Err("No such file or directory".into());
    }
    let path = match before {
        Value::Dir(dir) => dir.join(path),
        _ => path.to_path_buf(),
    };
    let absolute = path
        .canonicalize()
        .map_err(|error| Reason::from(process::os_error_text(&error)))?;
    if !absolute.is_dir() {
        return Err("Not a directory".into());
    }
    Ok(Value::Dir(absolute))
}

fn parse_save(words: &[&[u8]]) -> Result<Value, Reason> {
    let words = without_lone_empty(words);
    let invalid = || Reason::from("Invalid save parameters");
    let pairs = words.chunks(2).map(|pair| {
        let [seconds, changes] = pair else {
            return Err(invalid());
        };
        let seconds = c_integer(seconds, 10).and_then(|seconds| u64::try_from(seconds).ok());
        let changes = c_integer(changes, 10).and_then(|changes| u32::try_from(changes).ok());
        match (seconds, changes) {
            (Some(seconds @ 1..), Some(changes)) => Ok((seconds, changes)),
            _ => Err(invalid()),
        }
    });
    Ok(Value::Save(pairs.collect::<Result<_, _>>()?))
}

/// One empty word stands for no words where a list is meant.
fn without_lone_empty<'a>(words: &'a [&'a [u8]]) -> &'a [&'a [u8]] {
    match words {
        [[]] => &[],
        _ => words,
    }
}

fn parse_bind(words: &[&[u8]]) -> Result<Value, Reason> {
    if words.len() > MAX_BIND {
        return Err("Too many bind addresses specified.".into());
    }
    Ok(Value::Bind(
        without_lone_empty(words)
            .iter()
            .map(|word| word.to_vec())
            .collect(),
    ))
}

fn parse_output_limits(words: &[&[u8]], before: &Value) -> Result<Value, Reason> {
    let mut limits = match before {
        Value::OutputLimits(limits) => *limits,
        _ => OUTPUT_LIMITS,
    };
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for group in words.chunks(4) {
        let [class, hard, soft, seconds] = group else {
            continue;
        };
        let known = |names: &&[&str]| {
            names
                .iter()
                .any(|name| name.as_bytes().eq_ignore_ascii_case(class))
        };
        let limit = CLASSES
            .iter()
            .position(known)
            .and_then(|class| limits.get_mut(class));
        let Some(limit) = limit else {
            return Err("Invalid client class specified in buffer limit configuration.".into());
        };
        let seconds = c_integer(seconds, 10).and_then(|seconds| i32::try_from(seconds).ok());
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        match (
            numbers::parse_bytes(hard),
            numbers::parse_bytes(soft),
            seconds,
        ) {
            (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) => {
                *limit = OutputLimit {
                    hard_bytes,
                    soft_bytes,
                    soft_seconds,
                };
            }
            _ => {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                        .into(),
                );
            }
        }
    }
    Ok(Value::OutputLimits(limits))
}

fn parse_oom_values(words: &[&[u8]]) -> Result<Value, Reason> {
    let [first, second, third] = words else {
        return Err("wrong number of arguments".into());
    };
    let value = |word: &[u8]| match c_integer(word, 10) {
        Some(value @ -2000..=2000) => Ok(value as i32),
        _ => Err(Reason::from(
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
        )),
    };
    Ok(Value::OomValues([
        value(first)?,
        value(second)?,
        value(third)?,
    ]))
}

fn parse_events(text: &[u8]) -> Result<Value, Reason> {
    let mut bits = 0;
    for byte in text {
        bits |= match EVENTS.iter().find(|(class, _)| class == byte) {
            Some((_, bit)) => *bit,
            None if *byte == b'A' => EVENTS_ALL,
            None => return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
        };
    }
    Ok(Value::Events(bits))
}

fn parse_percentiles(words: &[&[u8]]) -> Result<Value, Reason> {
    let percentile = |word: &&[u8]| match numbers::parse_f64(word) {
        None => Err(Reason::from(
            "Invalid latency-tracking-info-percentiles parameters",
        )),
        Some(value) if (0.0..=100.0).contains(&value) => Ok(value),
        Some(_) => Err(
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into(),
        ),
    };
    Ok(Value::Percentiles(
        without_lone_empty(words)
            .iter()
            .map(percentile)
            .collect::<Result<_, _>>()?,
    ))
}

fn parse_replica_of(words: &[&[u8]]) -> Result<Value, Reason> {
    let [host, port] = words else {
        return Err("wrong number of arguments".into());
    };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(Value::ReplicaOf(None));
    }
    match c_integer(port, 10).and_then(|port| u16::try_from(port).ok()) {
        Some(port) => Ok(Value::ReplicaOf(Some((host.to_vec(), port)))),
        None => Err("Invalid master port".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::spelling::spell;
    use super::super::table;
    use super::*;
    use proptest::prelude::*;

    fn set(name: &str, words: &[&str]) -> Result<String, String> {
        let directive = table::find(name.as_bytes()).unwrap().directive;
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let before = default(directive, Path::new("/"));
        match parse(directive, &words, &before) {
            Ok(value) => Ok(String::from_utf8(spell(directive, &value)).unwrap()),
            Err(reason) => Err(reason.into_owned()),
        }
    }

    fn ok(name: &str, words: &[&str], reported: &str) {
        assert_eq!(
            set(name, words),
            Ok(reported.to_string()),
            "{name} {words:?}"
        );
    }

    fn refused(name: &str, words: &[&str], reason: &str) {
        assert_eq!(
            set(name, words),
            Err(reason.to_string()),
            "{name} {words:?}"
        );
    }

    #[test]
    fn simple_values() {
        ok("daemonize", &["YES"], "yes");
        refused("daemonize", &["1"], "argument must be 'yes' or 'no'");
        refused("daemonize", &["yes", "no"], "wrong number of arguments");
        ok("port", &["0"], "0");
        refused(
            "port",
            &["65536"],
            "argument must be between 0 and 65535 inclusive",
        );
        for wrong in [
            "",
            "-",
            "+1",
            "01",
            " 1",
            "1 ",
            "1k",
            "99999999999999999999",
        ] {
            refused(
                "port",
                &[wrong],
                "argument couldn't be parsed into an integer",
            );
        }
        ok("list-max-listpack-size", &["-5"], "-5");
        ok("unixsocketperm", &["755"], "755");
        ok("unixsocketperm", &["0700"], "700");
        refused(
            "unixsocketperm",
            &["7777"],
            "argument must be between 0 and 777 inclusive",
        );
        refused(
            "unixsocketperm",
            &["rw"],
            "argument couldn't be parsed as an octal number",
        );
        ok("requirepass", &["a b"], "a b");
        ok("loglevel", &["Debug"], "debug");
        refused(
            "loglevel",
            &["loud"],
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
        );
    }

    #[test]
    fn memory() {
        for (text, bytes) in [
            ("1k", "1000"),
            ("1KB", "1024"),
            ("2m", "2000000"),
            ("2Mb", "2097152"),
            ("3g", "3000000000"),
            ("3gB", "3221225472"),
            ("7b", "7"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            ok("maxmemory", &[text], bytes);
        }
        for wrong in [
            "-1",
            "1tb",
            "1.5gb",
            "99999999999999999999",
            "18446744073709551615kb",
            "x",
        ] {
            refused("maxmemory", &[wrong], "argument must be a memory value");
        }
        refused(
            "proto-max-bulk-len",
            &["1k"],
            "argument must be between 1048576 and 9223372036854775807 inclusive",
        );
        ok("maxmemory-clients", &["5%"], "5%");
        ok("maxmemory-clients", &["1mb"], "1048576");
        refused(
            "maxmemory-clients",
            &["200%"],
            "percentage argument must be less or equal to 100",
        );
        refused(
            "maxmemory-clients",
            &["-5%"],
            "argument must be a memory or percent value",
        );
    }

    #[test]
    fn lists() {
        ok("save", &[""], "");
        ok("save", &["900", "1", "60", "0"], "900 1 60 0");
        for wrong in [
            &["900"][..],
            &["0", "1"],
            &["9", "-1"],
            &["x", "1"],
            &["", "", ""],
        ] {
            refused("save", wrong, "Invalid save parameters");
        }
        ok("bind", &["127.0.0.1", "-::1"], "127.0.0.1 -::1");
        ok("bind", &[""], "");
        refused("bind", &["a"; 17], "Too many bind addresses specified.");
        ok(
            "client-output-buffer-limit",
            &["replica", "1mb", "2k", "3", "pubsub", "0", "0", "0"],
            "normal 0 0 0 slave 1048576 2000 3 pubsub 0 0 0",
        );
        refused(
            "client-output-buffer-limit",
            &["normal", "0", "0"],
            "Wrong number of arguments in buffer limit configuration.",
        );
        refused(
            "client-output-buffer-limit",
            &["master", "0", "0", "0"],
            "Invalid client class specified in buffer limit configuration.",
        );
        refused(
            "client-output-buffer-limit",
            &["normal", "0", "0", "-1"],
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        );
        ok("oom-score-adj-values", &["-1", "0", "2000"], "-1 0 2000");
        ok(
            "latency-tracking-info-percentiles",
            &["50", "99.90", "100"],
            "50 99.9 100",
        );
        ok("latency-tracking-info-percentiles", &[""], "");
        refused(
            "latency-tracking-info-percentiles",
            &["x"],
            "Invalid latency-tracking-info-percentiles parameters",
        );
        refused(
            "latency-tracking-info-percentiles",
            &["101"],
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        );
        ok(
            "shutdown-on-sigint",
            &["force", "now", "nosave"],
            "nosave now force",
        );
        refused(
            "shutdown-on-sigint",
            &["save", "nosave"],
            "shutdown options SAVE and NOSAVE can't be used simultaneously",
        );
        ok("replicaof", &["host", "6379"], "host 6379");
        ok("replicaof", &["NO", "one"], "");
        refused("replicaof", &["host", "abc"], "Invalid master port");
    }

    #[test]
    fn events() {
        ok("notify-keyspace-events", &["KEA"], "AKE");
        ok("notify-keyspace-events", &["Kg$lshzxetd"], "AK");
        ok("notify-keyspace-events", &["mKEl"], "lKEm");
        ok("notify-keyspace-events", &[""], "");
        refused(
            "notify-keyspace-events",
            &["q"],
            "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
        );
    }

    #[test]
    fn titles() {
        ok("proc-title-template", &["{title} {{x}"], "{title} {{x}");
        for wrong in ["", "  ", "{title", "{nobody}"] {
            refused(
                "proc-title-template",
                &[wrong],
                "template format is invalid or contains unknown variables",
            );
        }
        let title = expand_title(b" {title} {port} ", |name| {
            Some(if name == "port" { b"1" } else { b"gyre" })
        });
        assert_eq!(title.unwrap(), b"gyre 1");
    }

    proptest! {
        /// What CONFIG GET reports for a number, CONFIG SET takes back.
        #[test]
        fn reported_numbers_are_taken_back(pick in any::<prop::sample::Index>(), number in any::<i64>()) {
            let directive = &table::DIRECTIVES[pick.index(table::DIRECTIVES.len())];
            if let Kind::Number { min, max, .. } = directive.kind {
                let value = Value::Number(i128::from(number).clamp(min, max));
                let reported = spell(directive, &value);
                prop_assert_eq!(parse(directive, &[&reported], &value), Ok(value));
            }
        }

        #[test]
        fn no_words_panic(pick in any::<prop::sample::Index>(), words in proptest::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let directive = &table::DIRECTIVES[pick.index(table::DIRECTIVES.len())];
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let _ = parse(directive, &words, &default(directive, Path::new("/")));
        }
    }
}
