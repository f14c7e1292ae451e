//! Numbers from text and to text, exactly as Redis reads and spells them; mirrors util.c and deps/fpconv.
//!
//! In: bytes from clients and files. Out: numbers, or none where Redis would refuse; text appended to a buffer.
//! Nothing allocates on the usual way, nothing panics on any input.
//!
//! The 80-bit floats behind `INCRBYFLOAT` are in [`super::long_double`] and offered again here.

pub use super::long_double::LongDouble;
use super::long_double::{Body, Literal, round_to};

/// Longest text of an `i64` (`-9223372036854775808`).
pub const I64_TEXT_MAX: usize = 20;

/// Length of the text of an integer in bytes, its sign included.
#[inline]
pub fn i64_text_len(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(number < 0)
}

/// Reads an integer spelled in the one way that [`write_i64`] would spell it: no leading zeros, no `+`, no `-0`, no
/// spaces, in range. This strictness is what lets a value be stored as an integer and come back the same.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'0'] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) || digits.len() > 19 {
        return None;
    }
    // Nineteen digits always fit an u64.
    let mut magnitude = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Reads an unsigned integer as Redis's `string2ull` does (stream ids, cursors), up to the first zero byte: first in the
/// strict spelling, in which a negative number is refused, and if that fails as C's `strtoull` does, which takes leading
/// spaces, a sign and leading zeros, and wraps a negative number around.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or(text);
    if let Some(value) = parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let start = text
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// A number of bytes as a configuration spells it, with an optional unit in any case (`64mb`). A unit alone, or nothing at all,
/// is zero, as in Redis.
pub fn parse_bytes(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number: u64 = match number {
        b"" => 0,
        _ => std::str::from_utf8(number).ok()?.parse().ok()?,
    };
    number.checked_mul(factor)
}

/// Reads a double as Redis's `getDoubleFromObject` does: all that `strtod` takes (decimal, hexadecimal, `inf`,
/// `infinity`, any case), with neither spaces nor anything behind it; `nan` is refused, and so is a finite text that
/// overflows to infinity or vanishes to zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_i64(text) {
        return Some(value as f64);
    }
    // The standard library's reader rounds correctly, and its grammar is that of strtod without hexadecimals.
    if let Some(value) = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
    {
        let spelled_infinite = || text.iter().any(|byte| matches!(byte, b'n' | b'N'));
        let spelled_zero = || {
            let mut mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
            !mantissa.any(|byte| matches!(byte, b'1'..=b'9'))
        };
        let refused = value.is_nan()
            || (value.is_infinite() && !spelled_infinite())
            || (value == 0.0 && !spelled_zero());
        return (!refused).then_some(value);
    }
    let literal = Literal::scan(text)?;
    let Body::Hexadecimal {
        mantissa,
        sticky,
        exponent,
    } = literal.body
    else {
        return None;
    };
    let value = compose_f64(mantissa, sticky, exponent)?;
    Some(if literal.negative { -value } else { value })
}

/// Reads a double as Redis does where it calls its reader of decimal numbers alone (bounds of scores, SORT): what
/// follows a zero byte is not seen, nothing is 0, too large is infinite, too small is 0. Not read are hexadecimal
/// numbers, spaces and `nan`.
pub fn parse_decimal(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let value = std::str::from_utf8(text).ok()?.parse::<f64>().ok()?;
    (!value.is_nan()).then_some(value)
}

/// The decimal number that a text begins with, 0 if there is none; of DEBUG SLEEP.
pub fn decimal_prefix(text: &[u8]) -> f64 {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let at = |at: usize| text.get(at).copied().unwrap_or(0);
    let start = usize::from(at(0) == b'-');
    let mut end = start + digits(start);
    if at(end) == b'.' {
        end += 1 + digits(end + 1);
    }
    if matches!(at(end), b'e' | b'E') {
        let exponent = end + 1 + usize::from(matches!(at(end + 1), b'-' | b'+'));
        if digits(exponent) > 0 {
            end = exponent + digits(exponent);
        }
    }
    let prefix = text.get(..end).map(std::str::from_utf8);
    prefix
        .and_then(|text| text.ok()?.parse().ok())
        .unwrap_or(0.0)
}

/// `mantissa × 2^exponent` as a double; none if it overflows, or vanishes though it is not zero.
fn compose_f64(mantissa: u128, sticky: bool, exponent: i32) -> Option<f64> {
    if mantissa == 0 {
        return Some(0.0);
    }
    let (mantissa, exponent) = round_to(53, -1074, mantissa, sticky, exponent);
    if mantissa == 0 || exponent > 971 {
        return None;
    }
    let biased = if mantissa >> 52 == 0 {
        0
    } else {
        (exponent + 1075) as u64
    };
    Some(f64::from_bits(biased << 52 | mantissa & ((1 << 52) - 1)))
}

/// The integer that a double equals, if it lies where Redis takes the short way of printing (`double2ll`).
pub fn f64_as_i64(value: f64) -> Option<i64> {
    const LIMIT: f64 = (i64::MAX / 2) as f64;
    if !(-LIMIT..=LIMIT).contains(&value) {
        return None;
    }
    let integer = value as i64;
    (integer as f64 == value).then_some(integer)
}

/// Appends an integer.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an unsigned integer.
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double as Redis since 7.2 spells it in replies and in sorted sets (`d2string`): the shortest digits that
/// read back as the same double, integers without a point, `inf`, `-inf`, `nan`, `-0`.
///
/// Redis's printer (Grisu2) misses the shortest digits for about three doubles in a thousand; we never do.
pub fn write_double(out: &mut Vec<u8>, value: f64) {
    match f64_as_i64(value).filter(|_| value != 0.0) {
        Some(integer) => write_i64(out, integer),
        None => write_scientific(out, value),
    }
}

/// Appends a double as [`write_double`] does, but large integers in the form with an exponent too (`fpconv_dtoa`).
pub fn write_scientific(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        });
    } else {
        write_shortest(out, value);
    }
}

/// Spells shortest digits by fpconv's rules; `value` is finite and not zero.
///
/// With `n` digits that stand for an integer times `10^k`, and `e = |k + n - 1|`:
/// - `k >= 0` and `e < n + 7`: the integer with its zeros;
/// - `k < 0` and (`k > -7` or `e < 4`): a decimal fraction;
/// - otherwise: one digit, point, the rest, `e`, always a sign, the exponent without padding.
fn write_shortest(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let (digits, k) = digits_of(buffer.format_finite(value.abs()).as_bytes());
    let digits = digits.as_slice();
    let n = digits.len() as i32;
    let exponent = k + n - 1;
    if value < 0.0 {
        out.push(b'-');
    }
    if k >= 0 && exponent.abs() < n + 7 {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', k as usize));
    } else if k < 0 && (k > -7 || exponent.abs() < 4) {
        let whole = n + k;
        if whole <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', whole.unsigned_abs() as usize));
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(whole as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(
            itoa::Buffer::new()
                .format(exponent.unsigned_abs())
                .as_bytes(),
        );
    }
}

/// The digits of a positive number, without zeros at either end, in a fixed buffer.
struct Digits {
    bytes: [u8; 24],
    len: usize,
}

impl Digits {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Takes `1.5e-7`, `12.5`, `300.0` apart into digits and the power of ten of the last one.
fn digits_of(text: &[u8]) -> (Digits, i32) {
    let (mantissa, mut k) = match text.iter().position(|&byte| byte == b'e') {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let mut digits = Digits {
        bytes: [0; 24],
        len: 0,
    };
    let mut point = false;
    for &byte in mantissa {
        if byte == b'.' {
            point = true;
            continue;
        }
        k -= i32::from(point);
        if (digits.len > 0 || byte != b'0') && digits.len < digits.bytes.len() {
            digits.bytes[digits.len] = byte;
            digits.len += 1;
        }
    }
    while digits.len > 1 && digits.bytes[digits.len - 1] == b'0' {
        digits.len -= 1;
        k += 1;
    }
    (digits, k)
}

fn parse_exponent(text: &[u8]) -> i32 {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    parse_i64(text).unwrap_or(0) as i32
}

/// Appends a double with a fixed number of decimals, as C's `%.*f`.
pub fn write_fixed(out: &mut Vec<u8>, value: f64, decimals: usize) {
    if value.is_finite() {
        out.extend_from_slice(format!("{value:.decimals$}").as_bytes());
    } else {
        write_double(out, value);
    }
}

/// Appends a double as C's `%.{precision}g` does (Lua prints with 14 digits, Redis before 7.2 with 17).
pub fn write_general(out: &mut Vec<u8>, value: f64, precision: usize) {
    if !value.is_finite() || value == 0.0 {
        return write_double(out, value);
    }
    let precision = precision.max(1);
    let scientific = format!("{value:.*e}", precision - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let cut = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let text = if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", cut(mantissa), exponent.abs())
    } else {
        let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
        cut(&format!("{value:.decimals$}"))
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_double(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn general(value: f64, precision: usize) -> String {
        let mut out = Vec::new();
        write_general(&mut out, value, precision);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strict_integers() {
        assert_eq!(parse_i64(b"0"), Some(0));
        assert_eq!(parse_i64(b"-1"), Some(-1));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        let refused: [&[u8]; 16] = [
            b"",
            b"-",
            b"+1",
            b" 1",
            b"1 ",
            b"01",
            b"-0",
            b"-01",
            b"00",
            b"1.0",
            b"1\0",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"18446744073709551616",
            b"99999999999999999999",
            b"\xff",
        ];
        for text in refused {
            assert_eq!(
                parse_i64(text),
                None,
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn unsigned_integers() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"007"), Some(7));
        assert_eq!(parse_u64(b" +7"), Some(7));
        assert_eq!(parse_u64(b"-7"), None);
        // strtoull negates what is not in the strict spelling.
        assert_eq!(parse_u64(b"-07"), Some(7u64.wrapping_neg()));
        assert_eq!(parse_u64(b"7 "), None);
        assert_eq!(parse_u64(b""), None);
        // Redis reads a C string.
        assert_eq!(parse_u64(b"7\0x"), Some(7));
        assert_eq!(parse_u64(b"\x007"), None);
        assert_eq!(parse_u64(b" "), None);
        assert_eq!(parse_u64(b"-"), None);
    }

    #[test]
    fn decimal_prefixes() {
        for (text, expected) in [
            ("0.5", 0.5),
            ("1.5e1x", 15.0),
            ("2e", 2.0),
            ("3e+ ", 3.0),
            ("-7\r\n", -7.0),
            (".5.5", 0.5),
            ("0x10", 0.0),
            (" 1", 0.0),
            ("", 0.0),
            ("-", 0.0),
            (".", 0.0),
            ("1e999", f64::INFINITY),
        ] {
            assert_eq!(decimal_prefix(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn doubles_from_text() {
        let accepted: [(&[u8], f64); 20] = [
            (b"1", 1.0),
            (b"+1", 1.0),
            (b"1.", 1.0),
            (b".5", 0.5),
            (b"-.5e1", -5.0),
            (b"1e+2", 100.0),
            (b"007", 7.0),
            (b"inf", f64::INFINITY),
            (b"+INF", f64::INFINITY),
            (b"-Infinity", f64::NEG_INFINITY),
            (b"0x10", 16.0),
            (b"-0X1.8p1", -3.0),
            (b"0x.8", 0.5),
            (b"0x1p-1074", 5e-324),
            (b"0x1.fffffffffffff8p0", 2.0),
            (b"0x1.fffffffffffff7p0", 1.9999999999999998),
            (b"5e-324", 5e-324),
            (b"0e999999", 0.0),
            (b"0x0p99999", 0.0),
            (b"1.7976931348623157e308", f64::MAX),
        ];
        for (text, value) in accepted {
            assert_eq!(
                parse_f64(text),
                Some(value),
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
        assert!(parse_f64(b"-0").unwrap().is_sign_negative());
        let refused: [&[u8]; 22] = [
            b"",
            b" 1",
            b"1 ",
            b"1\0",
            b"1\0x",
            b"nan",
            b"-NaN",
            b"nan(1)",
            b"1e",
            b"1e+",
            b".",
            b"-",
            b"0x",
            b"0x.",
            b"0x1p",
            b"infi",
            b"1e309",
            b"-1e400",
            b"1e-400",
            b"0x1p1024",
            b"0x1p-1100",
            b"\xff",
        ];
        for text in refused {
            assert_eq!(
                parse_f64(text),
                None,
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn doubles_as_redis_spells_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-3.5, "-3.5"),
            (0.1, "0.1"),
            (1.5e-7, "1.5e-7"),
            (1e-7, "1e-7"),
            (1e-6, "0.000001"),
            (1.23456789e-5, "1.23456789e-5"),
            (0.00012345678901234, "1.2345678901234e-4"),
            (0.0012345678901234, "0.0012345678901234"),
            (1e18, "1000000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (5e18, "5e+18"),
            (1e20, "1e+20"),
            (12345678901234567000.0, "12345678901234567000"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (-5e-324, "-5e-324"),
            (1e100, "1e+100"),
            (3.25, "3.25"),
            (123456.789, "123456.789"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(double(value), expected);
        }
    }

    #[test]
    fn general_is_that_of_c() {
        assert_eq!(general(0.1, 17), "0.10000000000000001");
        assert_eq!(general(3.0, 17), "3");
        assert_eq!(general(1e20, 17), "1e+20");
        assert_eq!(general(1e-5, 17), "1.0000000000000001e-05");
        assert_eq!(general(1e100, 14), "1e+100");
        assert_eq!(general(99999999999999.96, 14), "1e+14");
        assert_eq!(general(3.3333333333333335, 14), "3.3333333333333");
        assert_eq!(general(-0.0001, 14), "-0.0001");
        assert_eq!(general(f64::INFINITY, 14), "inf");
    }

    #[test]
    fn fixed_decimals() {
        let mut out = Vec::new();
        write_fixed(&mut out, 166.27415156960032, 4);
        assert_eq!(out, b"166.2742");
    }

    proptest! {
        #[test]
        fn integers_come_back(value: i64) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            prop_assert_eq!(parse_i64(&out), Some(value));
        }

        #[test]
        fn the_length_of_an_integer_is_that_of_its_text(value: i64, shift in 0u32..64) {
            for value in [value >> shift, 0, i64::MIN, i64::MAX, 9, 10, -9, -10] {
                prop_assert_eq!(i64_text_len(value), value.to_string().len());
            }
        }

        /// Accepted is exactly what the standard library reads and would spell in the same way.
        #[test]
        fn strictness_has_an_oracle(text in "-?[0-9]{0,21}") {
            let oracle = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), oracle);
        }

        #[test]
        fn doubles_come_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = double(value);
            prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
        }

        /// Hexadecimals are read as decimals of the same value are.
        #[test]
        fn hexadecimal_has_an_oracle(mantissa: u64, exponent in -60i32..=60) {
            let value = mantissa as f64 * 2f64.powi(exponent);
            let text = format!("0x{mantissa:x}p{exponent}");
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(value));
        }
    }
}
