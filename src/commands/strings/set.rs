//! SET with its options, the commands that are SET in other words, and those that share its conditions or its expiry:
//! GETEX, DELEX, MSETEX.
//!
//! Options are read to the end before anything happens; numbers are judged after syntax, types after numbers. What the
//! journal gets is free of conditions and of relative times.

use super::{CommandError, Context, new_value, parse, store, user_del, write_value};
use crate::keyspace::{EntryRef, EventClass, Expiry, KeyEntry, NewValue};
use crate::resp::Args;
use parse::{ExpireOption, ExpireUnit};
use xxhash_rust::xxh3::xxh3_64;

/// Hexadecimal digits of a digest.
const DIGEST_LEN: usize = 16;

/// The digest of a string as DIGEST answers it.
fn digest_text(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    let mut text = [b'0'; DIGEST_LEN];
    let digest = xxh3_64(bytes);
    for (place, digit) in text.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(digest >> (4 * place) & 15) as usize];
    }
    text
}

/// A comparison with the value that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Comparison<'a> {
    /// Whether the digest of the value is compared instead of the value.
    digest: bool,
    /// What the comparison shall come to.
    equal: bool,
    operand: &'a [u8],
}

impl<'a> Comparison<'a> {
    fn of_word(word: &[u8], operand: &'a [u8]) -> Option<Comparison<'a>> {
        const WORDS: [(&str, bool, bool); 4] = [
            ("IFEQ", false, true),
            ("IFNE", false, false),
            ("IFDEQ", true, true),
            ("IFDNE", true, false),
        ];
        let (_, digest, equal) = WORDS
            .iter()
            .find(|(known, ..)| parse::is_word(word, known))?;
        Some(Comparison {
            digest: *digest,
            equal: *equal,
            operand,
        })
    }
    fn holds(&self, entry: &EntryRef<'_>) -> Result<bool, CommandError> {
        let value = entry.string()?;
        let same = if self.digest {
            if self.operand.len() != DIGEST_LEN {
                return Err(CommandError::fixed(
                    "ERR must be exactly 16 hexadecimal characters",
                ));
            }
            value.with_bytes(|bytes| digest_text(bytes).eq_ignore_ascii_case(self.operand))
        } else {
            value.with_bytes(|bytes| bytes == self.operand)
        };
        Ok(same == self.equal)
    }
}

/// When SET sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    /// `NX`
    Missing,
    /// `XX`
    Existing,
    /// `IFEQ` and its like
    If(Comparison<'a>),
}

impl Condition<'_> {
    fn holds(&self, entry: &EntryRef<'_>) -> Result<bool, CommandError> {
        match self {
            Condition::Always | Condition::Existing => Ok(true),
            Condition::Missing => Ok(false),
            Condition::If(comparison) => comparison.holds(entry),
        }
    }
    /// Whether the condition holds for a key that does not exist: it differs from everything.
    fn holds_for_missing(&self) -> bool {
        match self {
            Condition::Always | Condition::Missing => true,
            Condition::Existing => false,
            Condition::If(comparison) => !comparison.equal,
        }
    }
}

/// What becomes of the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime<'a> {
    /// No word of it.
    Unsaid,
    /// `KEEPTTL`
    Keep,
    /// `PERSIST`
    Persist,
    /// `EX` and its like
    Until(ExpireOption<'a>),
}

impl<'a> Lifetime<'a> {
    /// Takes another `EX` and its like. The same word again replaces the number, another one is an error.
    fn until(&mut self, unit: ExpireUnit, text: Option<&'a [u8]>) -> Result<(), CommandError> {
        let compatible = match self {
            Lifetime::Unsaid => true,
            Lifetime::Until(earlier) => earlier.unit == unit,
            Lifetime::Keep | Lifetime::Persist => false,
        };
        let text = text.filter(|_| compatible).ok_or(CommandError::Syntax)?;
        *self = Lifetime::Until(ExpireOption { unit, text });
        Ok(())
    }
    /// Takes `KEEPTTL` or `PERSIST`.
    fn say(&mut self, word: Lifetime<'a>) -> Result<(), CommandError> {
        if *self != Lifetime::Unsaid && *self != word {
            return Err(CommandError::Syntax);
        }
        *self = word;
        Ok(())
    }
    fn expiry(&self, now_ms: i64, command: &str) -> Result<Expiry, CommandError> {
        match self {
            Lifetime::Unsaid | Lifetime::Persist => Ok(Expiry::Clear),
            Lifetime::Keep => Ok(Expiry::Keep),
            Lifetime::Until(option) => option.unix_ms(now_ms, command).map(Expiry::At),
        }
    }
}

/// Options of SET and MSETEX.
struct SetOptions<'a> {
    condition: Condition<'a>,
    lifetime: Lifetime<'a>,
    get: bool,
}

/// Which options a command knows beyond `NX`, `XX` and expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Set,
    MultiSet,
}

impl<'a> SetOptions<'a> {
    fn parse(options: Args<'a>, dialect: Dialect) -> Result<SetOptions<'a>, CommandError> {
        let mut parsed = SetOptions {
            condition: Condition::Always,
            lifetime: Lifetime::Unsaid,
            get: false,
        };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if parse::is_word(option, "NX") {
                parsed.condition(Condition::Missing)?;
            } else if parse::is_word(option, "XX") {
                parsed.condition(Condition::Existing)?;
            } else if parse::is_word(option, "KEEPTTL") {
                parsed.lifetime.say(Lifetime::Keep)?;
            } else if let Some(unit) = ExpireUnit::of_word(option) {
                parsed.lifetime.until(unit, rest.next())?;
            } else if dialect == Dialect::MultiSet {
                return Err(CommandError::Syntax);
            } else if parse::is_word(option, "GET") {
                parsed.get = true;
            } else {
                let comparison = Comparison::of_word(option, b"").ok_or(CommandError::Syntax)?;
                let operand = rest.next().ok_or(CommandError::Syntax)?;
                parsed.condition(Condition::If(Comparison {
                    operand,
                    ..comparison
                }))?;
            }
        }
        Ok(parsed)
    }
    fn condition(&mut self, condition: Condition<'a>) -> Result<(), CommandError> {
        let repeated = self.condition == condition && !matches!(condition, Condition::If(_));
        if self.condition != Condition::Always && !repeated {
            return Err(CommandError::Syntax);
        }
        self.condition = condition;
        Ok(())
    }
}

pub(super) fn set(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 3 {
        store(
            &mut context.db,
            args.at(1),
            new_value(args, 2),
            Expiry::Clear,
        );
        context.reply.ok();
        return Ok(());
    }
    set_with_options(context, args)
}

#[inline(never)]
fn set_with_options(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = SetOptions::parse(args.skip(3), Dialect::Set)?;
    let expiry = options.lifetime.expiry(context.now.unix_ms(), "set")?;
    let key = args.at(1);
    if options.get {
        super::reply_string(context, key)?;
    }
    let done = store_if(context, key, new_value(args, 2), expiry, options.condition)?;
    if !options.get {
        if done {
            context.reply.ok()
        } else {
            context.reply.null()
        }
    }
    if done {
        rewrite_set(context, args, &options, expiry);
    }
    Ok(())
}

/// Stores a value if the condition holds; whether it did.
fn store_if(
    context: &mut Context<'_>,
    key: &[u8],
    value: NewValue<'_>,
    expiry: Expiry,
    condition: Condition<'_>,
) -> Result<bool, CommandError> {
    match context.db.entry(key) {
        KeyEntry::Occupied(mut held) => {
            if !condition.holds(&held.entry())? {
                return Ok(false);
            }
            held.set(value, expiry);
        }
        KeyEntry::Vacant(place) => {
            if !condition.holds_for_missing() {
                return Ok(false);
            }
            place.insert(value, expiry);
        }
    }
    context.db.signal_modified(EventClass::String, "set", key);
    if matches!(expiry, Expiry::At(_)) {
        context.db.event(EventClass::Generic, "expire", key);
    }
    Ok(true)
}

/// Gives the journal `SET key value PXAT ms`.
fn rewrite_with_time(context: &mut Context<'_>, key: &[u8], value: &[u8], at_ms: i64) {
    context.rewrite(&[
        b"SET",
        key,
        value,
        b"PXAT",
        itoa::Buffer::new().format(at_ms).as_bytes(),
    ]);
}

fn rewrite_set(
    context: &mut Context<'_>,
    args: Args<'_>,
    options: &SetOptions<'_>,
    expiry: Expiry,
) {
    if !context.propagates {
        return;
    }
    let (key, value) = (args.at(1), args.at(2));
    // What names the moment itself is told as it came.
    let names_moment = args.iter().skip(3).any(|word| parse::is_word(word, "PXAT"));
    match expiry {
        Expiry::At(_) if names_moment && !matches!(options.condition, Condition::If(_)) => {}
        Expiry::At(at_ms) => rewrite_with_time(context, key, value, at_ms),
        _ if options.get || matches!(options.condition, Condition::If(_)) => {
            let mut words: Vec<&[u8]> = vec![b"SET", key, value];
            match options.condition {
                Condition::Missing => words.push(b"NX"),
                Condition::Existing => words.push(b"XX"),
                Condition::Always | Condition::If(_) => {}
            }
            if expiry == Expiry::Keep {
                words.push(b"KEEPTTL");
            }
            context.rewrite(&words);
        }
        _ => {}
    }
}

pub(super) fn setnx(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let done = store_if(
        context,
        args.at(1),
        new_value(args, 2),
        Expiry::Clear,
        Condition::Missing,
    )?;
    context.reply.integer(i64::from(done));
    Ok(())
}

fn set_until(
    context: &mut Context<'_>,
    args: Args<'_>,
    unit: ExpireUnit,
    command: &str,
) -> Result<(), CommandError> {
    let key = args.at(1);
    let at_ms = ExpireOption {
        unit,
        text: args.at(2),
    }
    .unix_ms(context.now.unix_ms(), command)?;
    store_if(
        context,
        key,
        new_value(args, 3),
        Expiry::At(at_ms),
        Condition::Always,
    )?;
    context.reply.ok();
    if context.propagates {
        rewrite_with_time(context, key, args.at(3), at_ms);
    }
    Ok(())
}

pub(super) fn setex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_until(context, args, ExpireUnit::Seconds, "setex")
}

pub(super) fn psetex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_until(context, args, ExpireUnit::Milliseconds, "psetex")
}

/// Options of GETEX.
fn parse_getex(options: Args<'_>) -> Result<Lifetime<'_>, CommandError> {
    let mut lifetime = Lifetime::Unsaid;
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        if parse::is_word(option, "PERSIST") {
            lifetime.say(Lifetime::Persist)?;
        } else {
            let unit = ExpireUnit::of_word(option).ok_or(CommandError::Syntax)?;
            lifetime.until(unit, rest.next())?;
        }
    }
    Ok(lifetime)
}

pub(super) fn getex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let lifetime = parse_getex(args.skip(2))?;
    let key = args.at(1);
    let now_ms = context.now.unix_ms();
    let Some(entry) = context.db.read(key) else {
        context.reply.null();
        return Ok(());
    };
    let value = entry.string()?;
    let expiry = lifetime.expiry(now_ms, "getex")?;
    write_value(context.reply, value);
    match (lifetime, expiry) {
        (Lifetime::Until(option), Expiry::At(at_ms))
            if option.unit.is_absolute() && at_ms <= context.now.expiry_ms() =>
        {
            let free = super::expire_del(context);
            context.db.remove(key, free);
            context.db.signal_modified(EventClass::Generic, "del", key);
            super::rewrite_as_del(context, key, free);
        }
        (_, Expiry::At(at_ms)) => {
            if let KeyEntry::Occupied(mut held) = context.db.entry(key) {
                held.set_expiry(Some(at_ms));
                context
                    .db
                    .signal_modified(EventClass::Generic, "expire", key);
                context.rewrite(&[
                    b"PEXPIREAT",
                    key,
                    itoa::Buffer::new().format(at_ms).as_bytes(),
                ]);
            }
        }
        (Lifetime::Persist, _) => {
            if let KeyEntry::Occupied(mut held) = context.db.entry(key)
                && held.entry().expire_at().is_some()
            {
                held.set_expiry(None);
                context
                    .db
                    .signal_modified(EventClass::Generic, "persist", key);
                context.rewrite(&[b"PERSIST", key]);
            }
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn digest(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match context.db.read(args.at(1)) {
        Some(entry) => {
            let text = entry.string()?.with_bytes(digest_text);
            context.reply.bulk(&text);
        }
        None => context.reply.null(),
    }
    Ok(())
}

/// Removes a key and tells it; the journal gets it as DEL.
fn delete(context: &mut Context<'_>, key: &[u8]) {
    let free = user_del(context);
    context.db.remove(key, free);
    context.db.signal_modified(EventClass::Generic, "del", key);
    super::rewrite_as_del(context, key, free);
    context.reply.integer(1);
}

pub(super) fn delex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let Some(entry) = context.db.peek(key) else {
        // A missing key is answered before the condition is even counted.
        context.reply.integer(0);
        return Ok(());
    };
    let holds = match args.len() {
        2 => true,
        4 if entry.string().is_err() => {
            return Err(CommandError::fixed(
                "ERR Key should be of string type if conditions are specified",
            ));
        }
        4 => Comparison::of_word(args.at(2), args.at(3))
            .ok_or(CommandError::fixed(
                "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE",
            ))?
            .holds(&entry)?,
        _ => return Err(CommandError::WrongArity("delex".into())),
    };
    if holds {
        delete(context, key)
    } else {
        context.reply.integer(0)
    }
    Ok(())
}

/// How many pairs MSETEX sets; they begin at argument 2.
fn count_pairs(args: Args<'_>) -> Result<usize, CommandError> {
    let count = parse::integer(args.at(1))
        .ok()
        .and_then(|count| i32::try_from(count).ok());
    let count = count
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count > 0);
    let count = count.ok_or(CommandError::fixed("ERR invalid numkeys value"))?;
    let given = args.len().saturating_sub(2) / 2;
    if count > given {
        return Err(CommandError::fixed("ERR wrong number of key-value pairs"));
    }
    Ok(count)
}

pub(super) fn msetex(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let pairs = count_pairs(args)?;
    let options = SetOptions::parse(args.skip(2 + 2 * pairs), Dialect::MultiSet)?;
    let expiry = options.lifetime.expiry(context.now.unix_ms(), "msetex")?;
    let keys = |index: usize| args.at(2 + 2 * index);
    for index in 0..pairs {
        let exists = matches!(context.db.entry(keys(index)), KeyEntry::Occupied(_));
        let refused = match options.condition {
            Condition::Missing => exists,
            Condition::Existing => !exists,
            Condition::Always | Condition::If(_) => false,
        };
        if refused {
            context.reply.integer(0);
            return Ok(());
        }
    }
    for index in 0..pairs {
        store_if(
            context,
            keys(index),
            new_value(args, 3 + 2 * index),
            expiry,
            Condition::Always,
        )?;
    }
    context.reply.integer(1);
    if let Expiry::At(at_ms) = expiry
        && context.propagates
    {
        let at_ms = itoa::Buffer::new().format(at_ms).as_bytes().to_vec();
        let mut words: Vec<&[u8]> = vec![b"MSETEX", args.at(1)];
        words.extend(args.skip(2).take(2 * pairs).iter());
        words.extend([b"PXAT".as_slice(), &at_ms]);
        context.rewrite(&words);
    }
    Ok(())
}

/// SET reads the old value only with some options; so say its key's flags.
pub(super) fn set_keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    use crate::engine::key_flags;
    let reads =
        |option: &[u8]| parse::is_word(option, "GET") || Comparison::of_word(option, b"").is_some();
    let flags = if args.skip(3).iter().any(reads) {
        key_flags::RW | key_flags::ACCESS | key_flags::UPDATE
    } else {
        key_flags::OW | key_flags::UPDATE
    };
    Ok(vec![(1, flags)])
}

/// DELEX reads the value unless it has no condition.
pub(super) fn delex_keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    use crate::engine::key_flags;
    let flags = if args.len() == 2 {
        key_flags::RM | key_flags::DELETE
    } else {
        key_flags::RW | key_flags::ACCESS | key_flags::DELETE
    };
    Ok(vec![(1, flags)])
}
