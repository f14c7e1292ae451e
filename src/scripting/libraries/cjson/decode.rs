//! JSON to values.
//!
//! The text is read as C reads a string, to its first zero byte. Tables that are open stand on a stack of the heap.
//! Numbers are what C's `strtod` takes, so that hexadecimal ones, infinities and NaN are read too (unless a script
//! forbids them).

use std::mem;

use mlua::{Table, Value};

use super::super::arguments::Args;
use super::super::pieces::{self, Piece};
use super::Config;

/// The deepest nesting whatever a script sets: each level holds a table.
const MOST_DEPTH: i32 = 4000;

/// The value of the one argument.
pub(super) fn decode(args: &Args<'_>, config: &Config) -> mlua::Result<Value> {
    if args.len() != 1 {
        return Err(args.bad(1, "expected 1 argument"));
    }
    let text = args.check_string(1)?;
    let text = text.as_bytes();
    if text.len() >= 2 && text[..2].contains(&0) {
        return Err(args.raise("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut decoder = Decoder {
        args,
        config,
        text: &text,
        at: 0,
        begin: 0,
        unescaped: Vec::new(),
    };
    let value = super::super::make(args.lua, text.len(), || decoder.value())?;
    let token = decoder.token();
    if !matches!(token, Token::End) {
        return Err(decoder.unexpected("the end", &token));
    }
    Ok(value)
}

enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// From here to there in the text.
    Plain(usize, usize),
    /// In the buffer.
    Unescaped,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    /// The name in error messages.
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Plain(..) | Self::Unescaped => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(text) => text,
        }
    }
}

/// A table that is being filled.
struct Open {
    table: Table,
    /// The key of an object's next value, or the index of an array's last one.
    key: Key,
}

enum Key {
    Index(u32),
    Plain(usize, usize),
    Owned(Vec<u8>),
}

struct Decoder<'d, 'a> {
    args: &'a Args<'a>,
    config: &'a Config,
    text: &'d [u8],
    at: usize,
    /// Where the last token begins, or its error stands.
    begin: usize,
    /// The last string that has escapes.
    unescaped: Vec<u8>,
}

impl<'d> Decoder<'d, '_> {
    #[cold]
    fn unexpected(&self, wanted: &str, found: &Token) -> mlua::Error {
        self.args.raise(&format!(
            "Expected {wanted} but found {} at character {}",
            found.name(),
            self.begin + 1
        ))
    }

    /// The byte at a place; zero beyond the end.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// Reads one value, to its end.
    fn value(&mut self) -> mlua::Result<Value> {
        let lua = self.args.lua;
        let mut open: Vec<Open> = Vec::new();
        let mut token = self.token();
        loop {
            // A value begins with this token. The buffer of a string is ours until it has been put in its place.
            let buffer = mem::take(&mut self.unescaped);
            let piece = match token {
                Token::Plain(from, to) => Piece::Bytes(&self.text[from..to]),
                Token::Unescaped => Piece::Bytes(&buffer),
                Token::Number(number) => Piece::Number(number),
                Token::Boolean(truth) => Piece::Boolean(truth),
                Token::Null => Piece::Null,
                Token::ObjectBegin => {
                    let table = self.descend(open.len())?;
                    token = self.token();
                    if !matches!(token, Token::ObjectEnd) {
                        let key = self.key(&token)?;
                        open.push(Open { table, key });
                        token = self.token();
                        continue;
                    }
                    Piece::Table(table)
                }
                Token::ArrayBegin => {
                    let table = self.descend(open.len())?;
                    token = self.token();
                    if !matches!(token, Token::ArrayEnd) {
                        let key = Key::Index(0);
                        open.push(Open { table, key });
                        continue;
                    }
                    Piece::Table(table)
                }
                _ => return Err(self.unexpected("value", &token)),
            };
            let Some(around) = open.last_mut() else {
                return mlua::IntoLua::into_lua(piece, lua);
            };
            self.put(around, piece)?;
            self.unescaped = buffer;
            // Behind it stands another value, or the end of tables.
            while let Some(around) = open.last_mut() {
                token = self.token();
                match (&around.key, &token) {
                    (Key::Index(_), Token::Comma) => {
                        token = self.token();
                        break;
                    }
                    (_, Token::Comma) => {
                        token = self.token();
                        around.key = self.key(&token)?;
                        token = self.token();
                        break;
                    }
                    (Key::Index(_), Token::ArrayEnd)
                    | (Key::Plain(..) | Key::Owned(_), Token::ObjectEnd) => {
                        let Some(full) = open.pop() else { break };
                        match open.last_mut() {
                            Some(around) => self.put(around, Piece::Table(full.table))?,
                            None => return Ok(Value::Table(full.table)),
                        }
                    }
                    (Key::Index(_), _) => {
                        return Err(self.unexpected("comma or array end", &token));
                    }
                    _ => return Err(self.unexpected("comma or object end", &token)),
                }
            }
        }
    }

    /// A new table inside of `depth` others.
    fn descend(&self, depth: usize) -> mlua::Result<Table> {
        let depth = i32::try_from(depth + 1).unwrap_or(i32::MAX);
        if depth > self.config.decode_depth.min(MOST_DEPTH) {
            return Err(self.args.raise(&format!(
                "Found too many nested data structures ({depth}) at character {}",
                self.at
            )));
        }
        self.args.lua.create_table()
    }

    /// The key that a token is, with the colon behind it.
    fn key(&mut self, token: &Token) -> mlua::Result<Key> {
        let key = match token {
            Token::Plain(from, to) => Key::Plain(*from, *to),
            Token::Unescaped => Key::Owned(self.unescaped.clone()),
            _ => return Err(self.unexpected("object key string", token)),
        };
        match self.token() {
            Token::Colon => Ok(key),
            other => Err(self.unexpected("colon", &other)),
        }
    }

    /// Puts a value in an open table.
    fn put(&self, around: &mut Open, piece: Piece<'_>) -> mlua::Result<()> {
        let key = match &mut around.key {
            Key::Index(index) => {
                *index += 1;
                Piece::Number(f64::from(*index))
            }
            Key::Plain(from, to) => Piece::Bytes(&self.text[*from..*to]),
            Key::Owned(key) => Piece::Bytes(key),
        };
        pieces::set(self.args.lua, &around.table, key, piece)
    }

    /// The next token. An error leaves the place where it stands.
    fn token(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.begin = self.at;
        let single = match self.byte(self.at) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return Token::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.config.decode_invalid && self.is_invalid_number() {
                    return Token::Error("invalid number");
                }
                return self.number();
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => return self.word(),
            _ => return Token::Error("invalid token"),
        };
        self.at += 1;
        single
    }

    fn word(&mut self) -> Token {
        let rest = &self.text[self.at..];
        for (word, token) in [
            ("true", Token::Boolean(true)),
            ("false", Token::Boolean(false)),
            ("null", Token::Null),
        ] {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return token;
            }
        }
        if self.config.decode_invalid && self.is_invalid_number() {
            return self.number();
        }
        Token::Error("invalid token")
    }

    /// Whether a number begins here that C reads and JSON does not know.
    fn is_invalid_number(&self) -> bool {
        let mut at = self.at;
        match self.byte(at) {
            b'+' => return true,
            b'-' => at += 1,
            _ => {}
        }
        match self.byte(at) {
            b'0' => matches!(self.byte(at + 1), b'x' | b'X' | b'0'..=b'9'),
            0..=b'9' | 0x80.. => false,
            _ => ["inf", "nan"].iter().any(|word| self.is_at(at, word)),
        }
    }

    /// Whether a word stands at a place, in letters of either case.
    fn is_at(&self, at: usize, word: &str) -> bool {
        self.text
            .get(at..at + word.len())
            .is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let from = self.at;
        let rest = &self.text[from..];
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0);
        let plain = rest.iter().position(is_special).unwrap_or(rest.len());
        self.at += plain;
        if self.byte(self.at) == b'"' {
            self.at += 1;
            return Token::Plain(from, from + plain);
        }
        self.unescaped.clear();
        self.unescaped.extend_from_slice(&rest[..plain]);
        loop {
            let problem = match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return Token::Unescaped;
                }
                0 => "unexpected end of string",
                b'\\' => match self.escape() {
                    Ok(()) => continue,
                    Err(problem) => problem,
                },
                _ => {
                    let rest = &self.text[self.at..];
                    let plain = rest.iter().position(is_special).unwrap_or(rest.len());
                    self.unescaped.extend_from_slice(&rest[..plain]);
                    self.at += plain;
                    continue;
                }
            };
            self.begin = self.at;
            return Token::Error(problem);
        }
    }

    /// Reads the escape that stands here.
    fn escape(&mut self) -> Result<(), &'static str> {
        let byte = match self.byte(self.at + 1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 12,
            b'r' => b'\r',
            b'u' => {
                let (letter, length) = self.unicode().ok_or("invalid unicode escape code")?;
                let mut buffer = [0; 4];
                self.unescaped
                    .extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
                self.at += length;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        self.unescaped.push(byte);
        self.at += 2;
        Ok(())
    }

    /// The letter that one or two `\uXXXX` spell here, with their length.
    fn unicode(&self) -> Option<(char, usize)> {
        let first = self.hex4(self.at + 2)?;
        if let Some(letter) = char::from_u32(first) {
            return Some((letter, 6));
        }
        // Half of a surrogate pair: the high one must come first, and the low one behind it.
        let second = self.at + 6;
        if first & 0x400 != 0 || self.byte(second) != b'\\' || self.byte(second + 1) != b'u' {
            return None;
        }
        let low = self.hex4(second + 2)?;
        if low & 0xfc00 != 0xdc00 {
            return None;
        }
        let letter = char::from_u32(((first & 0x3ff) << 10 | low & 0x3ff) + 0x1_0000)?;
        Some((letter, 12))
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits.iter().try_fold(0, |number, digit| {
            Some(number << 4 | char::from(*digit).to_digit(16)?)
        })
    }

    fn number(&mut self) -> Token {
        match strtod(&self.text[self.at..]) {
            Some((number, length)) => {
                self.at += length;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }
}

/// The number at the beginning of a text and its length, as C's `strtod` reads it (without space before it).
fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(0);
    let negative = byte(0) == b'-';
    let start = usize::from(matches!(byte(0), b'-' | b'+'));
    let signed = |number: f64| if negative { -number } else { number };
    let digits_from = |mut at: usize| {
        while byte(at).is_ascii_digit() {
            at += 1;
        }
        at
    };
    let whole = digits_from(start);
    // Integers of up to 15 digits are exact.
    if (1..=15).contains(&(whole - start))
        && !matches!(byte(whole), b'.' | b'e' | b'E' | b'x' | b'X')
    {
        let number = text[start..whole]
            .iter()
            .fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
        return Some((signed(number as f64), whole));
    }
    if byte(start) == b'0'
        && matches!(byte(start + 1), b'x' | b'X')
        && let Some((number, length)) = hexadecimal(&text[start + 2..])
    {
        return Some((signed(number), start + 2 + length));
    }
    let word = |word: &str| {
        text.get(start..start + word.len())
            .is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()))
    };
    if word("inf") {
        let length = if word("infinity") { 8 } else { 3 };
        return Some((signed(f64::INFINITY), start + length));
    }
    if word("nan") {
        let mut end = start + 3;
        if byte(end) == b'(' {
            // Letters in parentheses may follow; they choose bits that nobody sees.
            let mut at = end + 1;
            while byte(at).is_ascii_alphanumeric() || byte(at) == b'_' {
                at += 1;
            }
            if byte(at) == b')' {
                end = at + 1;
            }
        }
        return Some((signed(f64::NAN), end));
    }
    let mut end = whole;
    if byte(end) == b'.' {
        let fraction = digits_from(end + 1);
        if whole > start || fraction > end + 1 {
            end = fraction;
        }
    }
    if end == start {
        return None;
    }
    if matches!(byte(end), b'e' | b'E') {
        let digits = end + 1 + usize::from(matches!(byte(end + 1), b'-' | b'+'));
        let exponent = digits_from(digits);
        if exponent > digits {
            end = exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, end))
}

/// The hexadecimal number at the beginning of a text, without its `0x`, and its length.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(0);
    let mut at = 0;
    let (mut mantissa, mut lost, mut any) = (0_u64, false, false);
    let mut exponent: i64 = 0;
    let mut point = false;
    loop {
        if byte(at) == b'.' && !point {
            // A point counts when a digit stands beside it.
            if !any && !byte(at + 1).is_ascii_hexdigit() {
                break;
            }
            point = true;
            at += 1;
            continue;
        }
        let Some(digit) = char::from(byte(at)).to_digit(16) else {
            break;
        };
        any = true;
        if mantissa >> 58 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent -= if point { 4 } else { 0 };
        } else {
            lost |= digit != 0;
            exponent += if point { 0 } else { 4 };
        }
        at += 1;
    }
    if !any {
        return None;
    }
    if matches!(byte(at), b'p' | b'P') {
        let negative = byte(at + 1) == b'-';
        let digits = at + 1 + usize::from(matches!(byte(at + 1), b'-' | b'+'));
        let mut end = digits;
        let mut power: i64 = 0;
        while byte(end).is_ascii_digit() {
            power = (power * 10 + i64::from(byte(end) - b'0')).min(1 << 40);
            end += 1;
        }
        if end > digits {
            exponent += if negative { -power } else { power };
            at = end;
        }
    }
    Some((scale(mantissa | u64::from(lost), exponent), at))
}

/// `mantissa * 2^exponent`, rounded once.
fn scale(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // Cut to the digits that the result has room for, to the even number in the middle, before the exact scaling.
    let bits = i64::from(64 - mantissa.leading_zeros());
    let lowest = (exponent + bits - 53).max(-1074);
    let drop = (lowest - exponent).clamp(0, 64) as u32;
    let kept = u128::from(mantissa) << 64 >> drop;
    let (mut whole, rest) = ((kept >> 64) as u64, kept as u64);
    if rest > 1 << 63 || rest == 1 << 63 && whole & 1 == 1 {
        whole += 1;
    }
    let mut number = whole as f64;
    let mut power = exponent + i64::from(drop);
    while power > 0 && number.is_finite() {
        let step = power.min(1000);
        number *= 2_f64.powi(step as i32);
        power -= step;
    }
    while power < 0 && number != 0.0 {
        let step = (-power).min(1000);
        number /= 2_f64.powi(step as i32);
        power += step;
    }
    number
}
