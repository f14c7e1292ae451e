//! Values to JSON.
//!
//! A table is an array when all its keys are positive integers and its holes are not too large, else an object; the
//! empty table is an object. Tables are walked without recursion: the elements that are no tables are written in one
//! pass over the table, and where a table belongs a hole is left; then the holes are filled one after the other, with
//! what follows each kept aside in the meantime.

use std::vec;

use mlua::{Table, Value};

use super::super::arguments::{Args, as_i32, type_name};
use super::super::check_room;
use super::{Config, InvalidNumbers};
use crate::system::numbers;

/// The deepest nesting whatever a script sets: each level holds a table.
const MOST_DEPTH: i32 = 4000;

/// How many tables may be held for holes at once; those of further holes are looked up again.
const MOST_HELD: usize = 2000;

/// The longest array that may be all holes (a script can allow arbitrary ones).
const MOST_HOLES: i32 = 1 << 26;

/// The JSON of the one argument.
pub(super) fn encode(args: &Args<'_>, config: &Config) -> mlua::Result<Vec<u8>> {
    let (1, Some(value)) = (args.len(), args.get(1)) else {
        return Err(args.bad(1, "expected 1 argument"));
    };
    let mut encoder = Encoder {
        args,
        config,
        out: Vec::new(),
        holes: Vec::new(),
        held: 0,
    };
    if let Value::Table(table) = value {
        encoder.nested(table)?;
    } else {
        encoder.scalar(value)?;
    }
    Ok(encoder.out)
}

/// A place in the output where a table belongs.
struct Hole {
    at: usize,
    table: Place,
}

/// Where to find the table of a hole.
enum Place {
    Held(Table),
    /// Under this number in the table around it.
    Number(f64),
    /// Under this text.
    Text(Vec<u8>),
    /// Nowhere: what stands behind the hole cannot be written, which is told when all before it has been.
    Failed(mlua::Error),
}

/// A table of which some holes are not filled yet.
struct Frame {
    table: Table,
    holes: vec::IntoIter<Hole>,
    /// What was written from the first hole on.
    tail: Vec<u8>,
    /// Where `tail` begins, counted as the holes are.
    base: usize,
    /// How much of `tail` is in the output again.
    used: usize,
}

struct Encoder<'a> {
    args: &'a Args<'a>,
    config: &'a Config,
    out: Vec<u8>,
    /// The holes of the table that is being written.
    holes: Vec<Hole>,
    /// How many tables the holes hold, those of the frames included.
    held: usize,
}

/// Bytes that JSON writes with an escape, in the eyes of this library.
const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'/' | b'\\' | 0x7f)
}

/// Whether each byte is escaped: one load instead of five comparisons.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_escaped(byte as u8);
        byte += 1;
    }
    table
};

impl Encoder<'_> {
    #[cold]
    fn refuse(&self, what: &str, reason: &str) -> mlua::Error {
        self.args
            .raise(&format!("Cannot serialise {what}: {reason}"))
    }

    /// Writes a table and all that is in it.
    fn nested(&mut self, table: &Table) -> mlua::Result<()> {
        let mut frames: Vec<Frame> = Vec::new();
        self.table(table, &mut frames)?;
        while let Some(frame) = frames.last_mut() {
            let Some(hole) = frame.holes.next() else {
                self.out.extend_from_slice(&frame.tail[frame.used..]);
                frames.pop();
                continue;
            };
            let at = hole.at - frame.base;
            check_room(self.out.len(), at - frame.used)?;
            self.out.extend_from_slice(&frame.tail[frame.used..at]);
            frame.used = at;
            let table: Table = match hole.table {
                Place::Held(table) => {
                    self.held -= 1;
                    table
                }
                Place::Number(key) => frame.table.raw_get(key)?,
                Place::Failed(error) => return Err(error),
                Place::Text(key) => frame.table.raw_get(self.args.lua.create_string(key)?)?,
            };
            self.table(&table, &mut frames)?;
        }
        Ok(())
    }

    /// Writes a table with its scalars; a frame is left where it has holes.
    fn table(&mut self, table: &Table, frames: &mut Vec<Frame>) -> mlua::Result<()> {
        let depth = i32::try_from(frames.len() + 1).unwrap_or(i32::MAX);
        if depth > self.config.encode_depth.min(MOST_DEPTH) {
            return Err(self
                .args
                .raise(&format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.elements(table) {
            Err(error) if !self.holes.is_empty() => self.holes.push(Hole {
                at: self.out.len(),
                table: Place::Failed(error),
            }),
            other => other?,
        }
        if let Some(first) = self.holes.first() {
            let base = first.at;
            frames.push(Frame {
                table: table.clone(),
                holes: std::mem::take(&mut self.holes).into_iter(),
                tail: self.out.split_off(base),
                base,
                used: 0,
            });
        }
        Ok(())
    }

    /// Writes the elements in one pass where the keys come as those of a list or begin as no list's.
    fn elements(&mut self, table: &Table) -> mlua::Result<()> {
        let start = self.out.len();
        let mut count: i64 = 0;
        let mut list = true;
        let mut unclear = false;
        self.out.push(b'[');
        let written = table.for_each(|key: Value, value: Value| {
            if list {
                match key {
                    Value::Integer(index) if index == count + 1 => {
                        if count > 0 {
                            self.out.push(b',');
                        }
                        count += 1;
                        return self.element(value, &key);
                    }
                    Value::String(_) if count == 0 => list = false,
                    // Told again, and in the right order, when all the keys have been looked at.
                    _ => {
                        unclear = true;
                        return Err(mlua::Error::StackError);
                    }
                }
            }
            count += 1;
            self.pair(&key, value, count == 1)
        });
        if unclear || (list && written.is_err()) {
            self.take_back(start);
            return self.elements_in_two_passes(table);
        }
        written?;
        if !list {
            self.out[start] = b'{';
        }
        self.out.push(if list && count > 0 { b']' } else { b'}' });
        if count == 0 {
            self.out[start] = b'{';
        }
        Ok(())
    }

    /// Forgets what was written of a table from `start` on.
    fn take_back(&mut self, start: usize) {
        self.out.truncate(start);
        let held = |hole: &&Hole| matches!(hole.table, Place::Held(_));
        self.held -= self.holes.iter().filter(held).count();
        self.holes.clear();
    }

    fn elements_in_two_passes(&mut self, table: &Table) -> mlua::Result<()> {
        let Some(length) = self.list_length(table)? else {
            self.out.push(b'{');
            let mut first = true;
            table.for_each(|key: Value, value: Value| {
                let was_first = std::mem::replace(&mut first, false);
                self.pair(&key, value, was_first)
            })?;
            self.out.push(b'}');
            return Ok(());
        };
        self.out.push(b'[');
        for index in 1..=i64::from(length) {
            if index > 1 {
                self.out.push(b',');
            }
            let value: Value = table.raw_get(index)?;
            self.element(value, &Value::Integer(index))?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// The length of the list that a table is, or `None` for an object.
    ///
    /// Computed in integers of 32 bits as the original does: a key beyond them makes an object.
    fn list_length(&self, table: &Table) -> mlua::Result<Option<i32>> {
        let (mut largest, mut count) = (0_i32, 0_i32);
        let mut list = true;
        let looked = table.for_each(|key: Value, _: bool| {
            let index = match key {
                Value::Integer(index) => index as f64,
                Value::Number(index) => index,
                _ => 0.0,
            };
            if index < 1.0 || index.floor() != index {
                list = false;
                return Err(mlua::Error::StackError);
            }
            if index > f64::from(largest) {
                largest = as_i32(index);
            }
            count = count.wrapping_add(1);
            Ok(())
        });
        if !list {
            return Ok(None);
        }
        looked?;
        let Config {
            sparse_ratio,
            sparse_safe,
            ..
        } = *self.config;
        let sparse = largest > count.wrapping_mul(sparse_ratio) && largest > sparse_safe;
        if sparse_ratio > 0 && sparse {
            if self.config.sparse_convert {
                return Ok(None);
            }
            return Err(self.refuse("table", "excessively sparse array"));
        }
        if largest > MOST_HOLES && largest > count.saturating_mul(2) {
            return Err(self.refuse("table", "excessively sparse array"));
        }
        Ok((largest > 0).then_some(largest))
    }

    /// Writes a key of an object and its value.
    fn pair(&mut self, key: &Value, value: Value, first: bool) -> mlua::Result<()> {
        if !first {
            self.out.push(b',');
        }
        match key {
            Value::String(text) => self.text(text)?,
            Value::Integer(_) | Value::Number(_) => {
                self.out.push(b'"');
                self.scalar(key)?;
                self.out.push(b'"');
            }
            _ => return Err(self.refuse(type_name(key), "table key must be a number or string")),
        }
        self.out.push(b':');
        self.element(value, key)
    }

    /// Writes a value that stands in a table under `key`, or leaves a hole for it.
    fn element(&mut self, value: Value, key: &Value) -> mlua::Result<()> {
        let Value::Table(table) = value else {
            return self.scalar(&value);
        };
        let place = match key {
            _ if self.held < MOST_HELD => {
                self.held += 1;
                Place::Held(table)
            }
            Value::Integer(key) => Place::Number(*key as f64),
            Value::Number(key) => Place::Number(*key),
            Value::String(key) => Place::Text(key.as_bytes().to_vec()),
            _ => return Err(self.refuse("table", "type not supported")),
        };
        let at = self.out.len();
        self.holes.push(Hole { at, table: place });
        Ok(())
    }

    fn scalar(&mut self, value: &Value) -> mlua::Result<()> {
        check_room(self.out.len(), 0)?;
        match value {
            Value::String(text) => self.text(text)?,
            Value::Integer(number) => self.integer(*number),
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(data) if data.0.is_null() => self.out.extend_from_slice(b"null"),
            _ => return Err(self.refuse(type_name(value), "type not supported")),
        }
        Ok(())
    }

    fn text(&mut self, text: &mlua::String) -> mlua::Result<()> {
        let text = text.as_bytes();
        check_room(self.out.len(), text.len())?;
        let mut rest: &[u8] = &text;
        self.out.reserve(rest.len() + 2);
        self.out.push(b'"');
        while let Some(at) = rest.iter().position(|byte| ESCAPED[usize::from(*byte)]) {
            self.out.extend_from_slice(&rest[..at]);
            self.escape(rest[at]);
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
        Ok(())
    }

    fn escape(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let letter = match byte {
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            b'"' | b'/' | b'\\' => byte,
            _ => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                self.out.extend_from_slice(b"\\u00");
                self.out.extend_from_slice(&digits);
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', letter]);
    }

    /// Writes an integer, in digits where the precision has room for all of them.
    fn integer(&mut self, number: i64) {
        const POWERS: [u64; 15] = {
            let mut powers = [1; 15];
            let mut power = 1;
            while power < 15 {
                powers[power] = powers[power - 1] * 10;
                power += 1;
            }
            powers
        };
        let precision = self.config.precision.clamp(1, 14) as usize;
        if number.unsigned_abs() < POWERS[precision] {
            numbers::write_i64(&mut self.out, number);
        } else {
            numbers::write_general(&mut self.out, number as f64, precision);
        }
    }

    fn number(&mut self, number: f64) -> mlua::Result<()> {
        if !number.is_finite() {
            match self.config.encode_invalid {
                InvalidNumbers::Refused => {
                    return Err(self.refuse("number", "must not be NaN or Inf"));
                }
                InvalidNumbers::Null => self.out.extend_from_slice(b"null"),
                InvalidNumbers::Written if number.is_nan() => self.out.extend_from_slice(b"nan"),
                InvalidNumbers::Written if number > 0.0 => self.out.extend_from_slice(b"inf"),
                InvalidNumbers::Written => self.out.extend_from_slice(b"-inf"),
            }
            return Ok(());
        }
        let precision = self.config.precision.clamp(1, 14) as usize;
        numbers::write_general(&mut self.out, number, precision);
        Ok(())
    }
}
