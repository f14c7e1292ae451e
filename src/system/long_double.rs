//! The 80-bit float of x87, in integers: Rust has no `long double`, and `INCRBYFLOAT` answers in it.
//!
//! In: decimal or hexadecimal text from clients, `i64`, `f64`. Out: sums rounded to a 64-bit mantissa, and text with 17
//! decimals, trailing zeros cut; the same digits that Redis prints on x86-64 (`string2ld`, the C addition and
//! `ld2string(LD_STR_HUMAN)`). Every step is exact up to one rounding to nearest, ties to even.
//!
//! Invariant of [`LongDouble`]: the value is `mantissa × 2^exponent`, and the mantissa has its top bit set unless the
//! value is zero or so small that the exponent is at its lower limit.
//!
//! Text of ordinary length is handled in 128-bit integers; only numbers with more than 19 digits or far exponents take
//! the way through [`Big`]. Text is at most [`TEXT_MAX`] bytes, which bounds that work.

use std::cmp::Ordering;

/// Redis reads no longer text than this as a long double (`MAX_LONG_DOUBLE_CHARS` with its terminator).
const TEXT_MAX: usize = 5 * 1024 - 1;
/// Exponent of the lowest mantissa bit of the smallest subnormal.
const EXPONENT_MIN: i32 = -16445;
/// Highest exponent that goes with a mantissa whose top bit is set.
const EXPONENT_MAX: i32 = 16383 - 63;
/// Decimals that are printed.
const DECIMALS: u32 = 17;

/// A value as x87's extended precision holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    infinite: bool,
    exponent: i32,
    mantissa: u64,
}

impl LongDouble {
    /// Zero, what a missing key counts as.
    pub const ZERO: LongDouble = LongDouble {
        negative: false,
        infinite: false,
        exponent: 0,
        mantissa: 0,
    };

    /// Reads what C's `strtold` reads, all of it, with neither spaces around it nor `nan`. A finite text that becomes
    /// infinite, or that is not zero and becomes zero, is refused; `inf` itself is read.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let literal = Literal::scan(text)?;
        let value = match literal.body {
            Body::Infinity => {
                return Some(LongDouble {
                    infinite: true,
                    negative: literal.negative,
                    ..Self::ZERO
                });
            }
            Body::Hexadecimal {
                mantissa,
                sticky,
                exponent,
            } => Self::rounded(literal.negative, mantissa, sticky, exponent),
            Body::Decimal {
                digits,
                more,
                exponent,
            } => Self::from_decimal(literal.negative, digits, more, exponent),
        };
        let vanished = value.mantissa == 0 && !literal.is_zero();
        (!value.infinite && !vanished).then_some(value)
    }

    /// An integer, exactly.
    pub fn from_i64(value: i64) -> LongDouble {
        Self::rounded(value < 0, value.unsigned_abs().into(), false, 0)
    }

    /// A double, exactly; none for NaN.
    #[cfg(test)]
    fn from_f64(value: f64) -> Option<LongDouble> {
        if value.is_nan() {
            return None;
        }
        let bits = value.to_bits();
        let negative = value.is_sign_negative();
        if value.is_infinite() {
            return Some(LongDouble {
                infinite: true,
                negative,
                ..Self::ZERO
            });
        }
        let biased = (bits >> 52 & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let mantissa = if biased == 0 {
            fraction
        } else {
            fraction | 1 << 52
        };
        Some(Self::rounded(
            negative,
            mantissa.into(),
            false,
            biased.max(1) - 1075,
        ))
    }

    /// A thousand times the value, rounded up to an integer; the least one for what lies below all, none for what lies
    /// above all. Redis makes milliseconds of a timeout so.
    pub fn thousandfold_ceiling(self) -> Option<i64> {
        let value = if self.infinite {
            self
        } else {
            Self::rounded(
                self.negative,
                u128::from(self.mantissa) * 1000,
                false,
                self.exponent,
            )
        };
        let below = value.exponent.min(0).unsigned_abs();
        let whole = value.mantissa.checked_shr(below).unwrap_or(0);
        let is_whole = below == 0 || whole.checked_shl(below) == Some(value.mantissa);
        let is_beyond = value.infinite || value.exponent > 0 && value.mantissa != 0;
        if value.negative {
            let whole = i64::try_from(whole).ok().filter(|_| !is_beyond);
            return Some(whole.map_or(i64::MIN, |whole| -whole));
        }
        let whole = whole.checked_add(u64::from(!is_whole || is_beyond))?;
        i64::try_from(whole).ok().filter(|_| !is_beyond)
    }

    /// Whether it is one of the two infinities.
    pub fn is_infinite(self) -> bool {
        self.infinite
    }

    /// The sum; none if it is infinite or not a number.
    #[allow(clippy::should_implement_trait)] // The trait cannot say "no sum".
    pub fn add(self, other: LongDouble) -> Option<LongDouble> {
        if self.infinite || other.infinite {
            return None;
        }
        if self.mantissa == 0 || other.mantissa == 0 {
            return Some(if self.mantissa == 0 { other } else { self });
        }
        let order =
            |value: &LongDouble| value.exponent + 64 - value.mantissa.leading_zeros() as i32;
        let (high, low) = if order(&self) >= order(&other) {
            (self, other)
        } else {
            (other, self)
        };
        // Both in units of 2^unit: the higher one's top bit at bit 125, which leaves room for the carry, and more than
        // sixty bits below its mantissa.
        let room = 62 + high.mantissa.leading_zeros() as i32;
        let unit = high.exponent - room;
        let high_part = u128::from(high.mantissa) << room;
        let shift = low.exponent - unit;
        let (low_part, lost) = if shift >= 0 {
            // The order of `low` is not above that of `high`, so this cannot push bits out at the top.
            (u128::from(low.mantissa) << shift, false)
        } else {
            shift_right(low.mantissa.into(), shift.unsigned_abs())
        };
        let sum = if high.negative == low.negative {
            Self::rounded(high.negative, high_part + low_part, lost, unit)
        } else {
            match high_part.cmp(&low_part) {
                Ordering::Equal if !lost => Self::ZERO,
                Ordering::Less => Self::rounded(low.negative, low_part - high_part, false, unit),
                // What was lost made `low` larger than its part: the difference is just below the part's.
                _ => Self::rounded(
                    high.negative,
                    high_part - low_part - u128::from(lost),
                    lost,
                    unit,
                ),
            }
        };
        (!sum.infinite).then_some(sum)
    }

    /// Appends the value with up to 17 decimals, without trailing zeros, never in exponent form. Negative zero and
    /// negative values that round to zero print as `0`.
    pub fn write(self, out: &mut Vec<u8>) {
        if self.infinite {
            out.extend_from_slice(if self.negative { b"-inf" } else { b"inf" });
            return;
        }
        if self.exponent > 64 && self.mantissa != 0 {
            if self.negative {
                out.push(b'-');
            }
            let mut big = Big::from_u128(self.mantissa.into());
            big.shift_left(self.exponent as usize);
            return big.write_decimal(out);
        }
        let (mut whole, decimals) = if self.exponent >= 0 {
            (u128::from(self.mantissa) << self.exponent, 0)
        } else {
            let below = self.exponent.unsigned_abs();
            let (whole, fraction) = if below < 64 {
                (self.mantissa >> below, self.mantissa & ((1 << below) - 1))
            } else {
                (0, self.mantissa)
            };
            // Less than 2^64 × 10^17, which is less than 2^121.
            let scaled = u128::from(fraction) * 10u128.pow(DECIMALS);
            (u128::from(whole), round_shift_right(scaled, false, below))
        };
        let mut decimals = decimals as u64;
        if decimals == 10u64.pow(DECIMALS) {
            whole += 1;
            decimals = 0;
        }
        if self.negative && (whole != 0 || decimals != 0) {
            out.push(b'-');
        }
        match u64::try_from(whole) {
            Ok(whole) => out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes()),
            Err(_) => out.extend_from_slice(whole.to_string().as_bytes()),
        }
        if decimals != 0 {
            let text = format!(".{decimals:017}");
            out.extend_from_slice(text.trim_end_matches('0').as_bytes());
        }
    }

    /// `mantissa × 2^exponent`, plus something smaller than one unit if `sticky`, rounded to nearest.
    fn rounded(negative: bool, mantissa: u128, sticky: bool, exponent: i32) -> LongDouble {
        let (mantissa, exponent) = round_to(64, EXPONENT_MIN, mantissa, sticky, exponent);
        if mantissa == 0 {
            return LongDouble {
                negative,
                ..Self::ZERO
            };
        }
        if exponent > EXPONENT_MAX {
            return LongDouble {
                infinite: true,
                negative,
                ..Self::ZERO
            };
        }
        LongDouble {
            negative,
            infinite: false,
            exponent,
            mantissa,
        }
    }

    fn from_decimal(negative: bool, first: u64, more: &[u8], exponent: i64) -> LongDouble {
        // 5^27 is the last power of five below 2^63.
        if more.is_empty() && (-27..=27).contains(&exponent) {
            let power = 5u128.pow(exponent.unsigned_abs() as u32);
            let exponent = exponent as i32;
            if exponent >= 0 {
                return Self::rounded(negative, u128::from(first) * power, false, exponent);
            }
            // Dividend of 128 bits by a divisor of at most 63: a quotient of at least 65 bits.
            let shift = u128::from(first).leading_zeros().min(127);
            let dividend = u128::from(first) << shift;
            return Self::rounded(
                negative,
                dividend / power,
                dividend % power != 0,
                exponent - shift as i32,
            );
        }
        if first == 0 {
            return LongDouble {
                negative,
                ..Self::ZERO
            };
        }
        let mut big = Big::from_u128(first.into());
        // The position of the first digit says whether the value can be in range at all, and bounds the powers below.
        let mut digits = i64::from(first.ilog10()) + 1;
        for digit in more.iter().filter(|byte| byte.is_ascii_digit()) {
            big.multiply_add(10, u32::from(digit - b'0'));
            digits += 1;
        }
        if digits + exponent > 4940 {
            return LongDouble {
                infinite: true,
                negative,
                ..Self::ZERO
            };
        }
        if digits + exponent < -4960 {
            return LongDouble {
                negative,
                ..Self::ZERO
            };
        }
        if exponent >= 0 {
            big.multiply_power_of_five(exponent as u32);
            let (top, sticky, unit) = big.top_bits();
            return Self::rounded(negative, top, sticky, unit + exponent as i32);
        }
        let mut divisor = Big::from_u128(1);
        divisor.multiply_power_of_five(exponent.unsigned_abs() as u32);
        let (quotient, sticky, unit) = big.divide(divisor);
        Self::rounded(negative, quotient, sticky, unit + exponent as i32)
    }
}

/// Shifts right; answers also whether a one fell out.
fn shift_right(value: u128, by: u32) -> (u128, bool) {
    match by {
        0 => (value, false),
        1..=127 => (value >> by, value & ((1 << by) - 1) != 0),
        _ => (0, value != 0),
    }
}

/// Shifts right and rounds to nearest, ties to even; `sticky` says that something lies below the value's lowest bit.
fn round_shift_right(value: u128, sticky: bool, by: u32) -> u128 {
    if by == 0 {
        return value;
    }
    let (half_steps, below) = shift_right(value, by - 1);
    let (kept, half) = (half_steps >> 1, half_steps & 1 == 1);
    kept + u128::from(half && (below || sticky || kept & 1 == 1))
}

/// Rounds `mantissa × 2^exponent` to `precision` bits, or fewer where the exponent would fall below `exponent_min`.
/// Shared with the reading of hexadecimal doubles. `mantissa` has more than `precision` bits if `sticky`.
pub(super) fn round_to(
    precision: u32,
    exponent_min: i32,
    mantissa: u128,
    sticky: bool,
    exponent: i32,
) -> (u64, i32) {
    if mantissa == 0 {
        return (0, 0);
    }
    let bits = 128 - mantissa.leading_zeros();
    let shift = (bits as i32 - precision as i32).max(exponent_min.saturating_sub(exponent));
    if shift <= 0 {
        return ((mantissa << -shift) as u64, exponent + shift);
    }
    let kept = round_shift_right(mantissa, sticky, shift.unsigned_abs());
    let exponent = exponent.saturating_add(shift);
    // Rounding up may have carried into one more bit.
    if kept >> precision == 0 {
        (kept as u64, exponent)
    } else {
        ((kept >> 1) as u64, exponent + 1)
    }
}

/// A number as it is spelled, before any rounding.
pub(super) struct Literal<'a> {
    pub(super) negative: bool,
    pub(super) body: Body<'a>,
}

/// What follows the sign.
pub(super) enum Body<'a> {
    Infinity,
    /// `mantissa × 2^exponent`, plus a little if `sticky`.
    Hexadecimal {
        mantissa: u128,
        sticky: bool,
        exponent: i32,
    },
    /// The first up to 19 significant digits as an integer, the rest of the digits as they stand (a point may be among
    /// them), and the power of ten that goes with all of them as one integer.
    Decimal {
        digits: u64,
        more: &'a [u8],
        exponent: i64,
    },
}

/// Beyond this, an exponent is as good as infinite; keeps all later sums in range.
const EXPONENT_CLAMP: i64 = 1_000_000;

impl<'a> Literal<'a> {
    /// Reads the grammar of C's `strtod` in the C locale, all of the text; `nan` and spaces are refused.
    pub(super) fn scan(text: &'a [u8]) -> Option<Literal<'a>> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let body = if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            Body::Infinity
        } else if let [b'0', b'x' | b'X', hex @ ..] = rest {
            scan_hexadecimal(hex)?
        } else {
            scan_decimal(rest)?
        };
        Some(Literal { negative, body })
    }

    fn is_zero(&self) -> bool {
        match self.body {
            Body::Infinity => false,
            Body::Hexadecimal { mantissa, .. } => mantissa == 0,
            // The first digit kept is never a zero unless all are.
            Body::Decimal { digits, .. } => digits == 0,
        }
    }
}

/// Reads the exponent after its letter: an optional sign and at least one digit, to the end of the text.
fn scan_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(digit - b'0')).min(EXPONENT_CLAMP);
    }
    Some(if negative { -value } else { value })
}

fn scan_hexadecimal(text: &[u8]) -> Option<Body<'static>> {
    let (mut mantissa, mut sticky, mut exponent) = (0u128, false, 0i64);
    let (mut point, mut any) = (false, false);
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            b'.' if !point => point = true,
            b'p' | b'P' if any => {
                exponent += scan_exponent(text.get(i + 1..)?)?;
                break;
            }
            _ => {
                let digit = (byte as char).to_digit(16)?;
                any = true;
                if mantissa >> 120 == 0 {
                    mantissa = mantissa << 4 | u128::from(digit);
                    exponent -= if point { 4 } else { 0 };
                } else {
                    sticky |= digit != 0;
                    exponent += if point { 0 } else { 4 };
                }
            }
        }
    }
    // Bounded by the clamp and four times the text's length.
    any.then_some(Body::Hexadecimal {
        mantissa,
        sticky,
        exponent: i32::try_from(exponent).ok()?,
    })
}

fn scan_decimal(text: &[u8]) -> Option<Body<'_>> {
    let (mut digits, mut kept, mut exponent) = (0u64, 0u32, 0i64);
    let (mut point, mut any) = (false, false);
    let mut more_start = None;
    let mut end = text.len();
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                any = true;
                exponent -= i64::from(point);
                if kept == 19 {
                    more_start.get_or_insert(i);
                } else {
                    digits = digits * 10 + u64::from(byte - b'0');
                    kept += u32::from(digits != 0);
                }
            }
            b'.' if !point => point = true,
            b'e' | b'E' if any => {
                exponent += scan_exponent(text.get(i + 1..)?)?;
                end = i;
                break;
            }
            _ => return None,
        }
    }
    let more = more_start.map_or(&[][..], |start| &text[start..end]);
    any.then_some(Body::Decimal {
        digits,
        more,
        exponent,
    })
}

/// A natural number of any size: limbs of 32 bits, lowest first, no zero limb at the top.
struct Big(Vec<u32>);

impl Big {
    fn from_u128(value: u128) -> Big {
        let mut big = Big((0..4).map(|i| (value >> (32 * i)) as u32).collect());
        big.trim();
        big
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn bits(&self) -> usize {
        self.0
            .last()
            .map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn multiply_power_of_five(&mut self, mut power: u32) {
        while power > 0 {
            let step = power.min(13); // 5^13 is the last one that fits a limb.
            self.multiply_add(5u32.pow(step), 0);
            power -= step;
        }
    }

    fn shift_left(&mut self, by: usize) {
        let small = by % 32;
        if small != 0 {
            self.multiply_add(1 << small, 0);
        }
        self.0.splice(0..0, std::iter::repeat_n(0, by / 32));
    }

    fn is_at_least(&self, other: &Big) -> bool {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
            != Ordering::Less
    }

    /// Subtracts what is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (i, limb) in self.0.iter_mut().enumerate() {
            let (less, first) = limb.overflowing_sub(other.0.get(i).copied().unwrap_or(0));
            let (less, second) = less.overflowing_sub(u32::from(borrow));
            *limb = less;
            borrow = first || second;
        }
        self.trim();
    }

    /// The top 128 bits, whether anything is below them, and the power of two of the lowest of them.
    fn top_bits(&self) -> (u128, bool, i32) {
        let skip = self.0.len().saturating_sub(4);
        let (below, top) = self.0.split_at(skip);
        let value = top
            .iter()
            .rev()
            .fold(0u128, |value, &limb| value << 32 | u128::from(limb));
        (value, below.iter().any(|&limb| limb != 0), skip as i32 * 32)
    }

    /// The quotient to 68 bits, whether there is a remainder, and the power of two of the quotient's lowest bit.
    ///
    /// Long division, a bit at a time: it runs for texts beyond 19 digits only.
    fn divide(mut self, mut divisor: Big) -> (u128, bool, i32) {
        const BITS: i32 = 68;
        let ahead = self.bits() as i32 - divisor.bits() as i32;
        if ahead > 0 {
            divisor.shift_left(ahead as usize);
        } else {
            self.shift_left(ahead.unsigned_abs() as usize);
        }
        let mut quotient = 0u128;
        for _ in 0..BITS {
            quotient <<= 1;
            if self.is_at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self.shift_left(1);
        }
        (quotient, !self.0.is_empty(), ahead - (BITS - 1))
    }

    fn write_decimal(mut self, out: &mut Vec<u8>) {
        const CHUNK: u64 = 1_000_000_000;
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut remainder = 0u64;
            for limb in self.0.iter_mut().rev() {
                let value = remainder << 32 | u64::from(*limb);
                *limb = (value / CHUNK) as u32;
                remainder = value % CHUNK;
            }
            self.trim();
            chunks.push(remainder);
        }
        let top = chunks.pop().unwrap_or(0);
        out.extend_from_slice(top.to_string().as_bytes());
        for chunk in chunks.iter().rev() {
            out.extend_from_slice(format!("{chunk:09}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `a + b` as `INCRBYFLOAT` does it: both texts read, added, printed.
    fn sum(a: &str, b: &str) -> String {
        let parse = |text: &str| LongDouble::parse(text.as_bytes());
        let (Some(a), Some(b)) = (parse(a), parse(b)) else {
            return "NotAFloat".to_owned();
        };
        let Some(sum) = a.add(b) else {
            return "NanOrInfinity".to_owned();
        };
        let mut text = Vec::new();
        sum.write(&mut text);
        String::from_utf8(text).unwrap()
    }

    /// What redis-server 7.0.15 answered on x86-64.
    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, expected) in REDIS_ANSWERS {
            assert_eq!(sum(a, b), *expected, "{a} + {b}");
        }
    }

    /// `SET k a`, `INCRBYFLOAT k b`, asked once and written down.
    const REDIS_ANSWERS: &[(&str, &str, &str)] = &[
        ("3.0e3", "2", "3002"),
        ("10.5", "0.1", "10.6"),
        ("5.0e3", "2.0e2", "5200"),
        ("1.5", "1", "2.5"),
        ("-1.1", "-1", "-2.1"),
        ("1", "-1.1", "-0.1"),
        ("17179869184", "1.5", "17179869185.5"),
        ("0", "-1.1", "-1.1"),
        ("17179869184", "1.23", "17179869185.23000000044703484"),
        ("3.0", "1.1", "4.1"),
        ("1", "0", "1"),
        ("0", "0", "0"),
        ("-0.0", "0", "0"),
        ("0.1", "0.2", "0.3"),
        ("1e19", "1", "10000000000000000001"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("1e4932", "1e4932", "NanOrInfinity"),
        ("1.1e4932", "0.1e4932", "NanOrInfinity"),
        ("1.2e4932", "0", "NotAFloat"),
        ("1e-4950", "0", "0"),
        ("1e-5000", "0", "NotAFloat"),
        ("0x10", "1", "17"),
        ("0x1p4", "0.5", "16.5"),
        ("0x.8", "0", "0.5"),
        ("0x1.8p1", "-3", "0"),
        ("0x", "1", "NotAFloat"),
        ("0x.", "1", "NotAFloat"),
        ("0x1p", "1", "NotAFloat"),
        ("1.", "1", "2"),
        (".5", "1", "1.5"),
        (".", "1", "NotAFloat"),
        ("1e", "1", "NotAFloat"),
        ("1e+", "1", "NotAFloat"),
        ("+1", "1", "2"),
        (" 1", "1", "NotAFloat"),
        ("1 ", "1", "NotAFloat"),
        ("", "1", "NotAFloat"),
        ("nan", "1", "NotAFloat"),
        ("inf", "1", "NanOrInfinity"),
        ("-inf", "inf", "NanOrInfinity"),
        ("infinity", "0", "NanOrInfinity"),
        ("infinit", "0", "NotAFloat"),
        ("1e17", "1e-17", "100000000000000000"),
        (
            "123456789012345678901234567890",
            "0.1",
            "123456789012345678899921813504",
        ),
        ("0.00000000000000001", "0", "0.00000000000000001"),
        ("0.000000000000000005", "0", "0"),
        ("0.000000000000000015", "0", "0.00000000000000002"),
        ("-0.000000000000000001", "0", "0"),
        ("99999999999999999999", "1", "100000000000000000000"),
        ("1e22", "0.5", "10000000000000000000000"),
        ("1e27", "1e-27", "1000000000000000000000000000"),
        ("9.99999999999999999999999", "0", "10"),
        ("0.1e1", "-1", "0"),
        ("1e-1", "-0.1", "0"),
        (
            "1234567890.123456789",
            "0.000000001",
            "1234567890.12345678999554366",
        ),
        (
            "1e64",
            "0",
            "9999999999999999999830660035002966504798826279980126578522718208",
        ),
        ("1e25", "0", "10000000000000000000000000"),
        ("36893488147419103232", "1", "36893488147419103232"),
        ("36893488147419103233", "1", "36893488147419103232"),
        ("0.99999999999999999999", "0", "1"),
        ("0.999999999999999995", "0", "1"),
        ("1--1", "1", "NotAFloat"),
        ("1e5e5", "1", "NotAFloat"),
        ("12abc", "1", "NotAFloat"),
        ("0x1g", "1", "NotAFloat"),
        ("2.5e-1", "1", "1.25"),
        ("-2.5", "2.5", "0"),
        (
            "1.23456789012345678901234567890e10",
            "0",
            "12345678901.23456788994371891",
        ),
        ("00012.50", "0", "12.5"),
        ("1e0000000000000000000001", "0", "10"),
        ("1e99999999999999999999", "0", "NotAFloat"),
        ("0e99999999999999999999", "0", "0"),
        ("1_000", "1", "NotAFloat"),
        ("256", "-1", "255"),
        ("2.0e2", "5.0e3", "5200"),
    ];

    #[test]
    fn infinity_reads_but_does_not_add() {
        assert!(LongDouble::parse(b"-InFinity").is_some_and(LongDouble::is_infinite));
        assert_eq!(sum("inf", "1"), "NanOrInfinity");
        assert_eq!(sum("inf", "-inf"), "NanOrInfinity");
    }

    #[test]
    fn an_embedded_nul_ends_no_number() {
        assert_eq!(LongDouble::parse(b"1\0"), None);
        assert_eq!(LongDouble::parse(b"1.0\x00abc"), None);
    }

    #[test]
    fn milliseconds_of_a_timeout() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1", Some(1000)),
            ("0.0001", Some(1)),
            ("1e-400", Some(1)),
            ("-0.0009", Some(0)),
            ("-0.0011", Some(-1)),
            ("-inf", Some(i64::MIN)),
            ("-1e4000", Some(i64::MIN)),
            ("inf", None),
            ("1e4000", None),
            ("9223372036854775", Some(9_223_372_036_854_775_000)),
            ("9223372036854775.807", Some(i64::MAX)),
            ("9223372036854775.808", None),
            ("-9223372036854776", Some(i64::MIN)),
            ("0x1p-10", Some(1)),
        ] {
            let value = LongDouble::parse(text.as_bytes()).expect(text);
            assert_eq!(value.thousandfold_ceiling(), expected, "{text}");
        }
    }

    #[test]
    fn text_is_bounded() {
        let mut text = vec![b'0'; TEXT_MAX - 1];
        text.push(b'7');
        assert_eq!(LongDouble::parse(&text), Some(LongDouble::from_i64(7)));
        text.push(b'7');
        assert_eq!(LongDouble::parse(&text), None);
    }

    proptest! {
        /// Sums of integers are exact up to 64 bits.
        #[test]
        fn integers_add_exactly(a in -(1i64 << 62)..1 << 62, b in -(1i64 << 62)..1 << 62) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
        }

        /// The way through 128-bit integers and the one through big integers read the same value.
        #[test]
        fn both_ways_of_reading_agree(digits in 0u64.., exponent in -27i64..=27) {
            let short = LongDouble::from_decimal(false, digits, b"", exponent);
            // The same number with zeros behind it, which sends it the long way.
            let long = LongDouble::from_decimal(false, digits, b"00000000000000000000", exponent - 20);
            prop_assert_eq!(short, long);
        }

        /// A double goes in and comes out unharmed.
        #[test]
        fn doubles_survive(bits in 0u64..) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let exact = format!("{value:.1100}");
            let parsed = LongDouble::parse(exact.trim_end_matches('0').as_bytes());
            prop_assert_eq!(parsed, LongDouble::from_f64(value));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-fxXpPeE.+-]{0,30}") {
            if let Some(value) = LongDouble::parse(text.as_bytes()) {
                let mut out = Vec::new();
                value.write(&mut out);
                prop_assert!(!out.is_empty());
            }
        }
    }
}
