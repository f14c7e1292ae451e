//! `bit`: operations on the 32 lowest bits of numbers, as LuaBitOp defines them.
//!
//! A number is reduced modulo 2^32 (a fraction is rounded to the nearest integer, to the even one in the middle), and
//! a result is a signed integer of 32 bits. Mirrors `lua_bit.c`.

use mlua::{Lua, Table};

use super::arguments::{Args, set_function};

/// Adding this to a double leaves the 32 bits of its integer part at the lower end of its mantissa.
const ALIGN: f64 = 6_755_399_441_055_744.0;

/// Sets the global `bit`.
///
/// # Errors
/// When the interpreter has no memory left.
pub fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let table = lua.create_table()?;
    let one = |name: &str, of: fn(u32) -> u32| {
        set_function(lua, &table, name, move |args| {
            Ok(f64::from(of(bits(args, 1)?) as i32))
        })
    };
    one("tobit", |bits| bits)?;
    one("bnot", |bits| !bits)?;
    one("bswap", u32::swap_bytes)?;
    let fold = |name: &str, of: fn(u32, u32) -> u32| {
        set_function(lua, &table, name, move |args| {
            let mut result = bits(args, 1)?;
            // From the last one on: that is the one an error names.
            for index in (2..=args.len()).rev() {
                result = of(result, bits(args, index)?);
            }
            Ok(f64::from(result as i32))
        })
    };
    fold("band", |a, b| a & b)?;
    fold("bor", |a, b| a | b)?;
    fold("bxor", |a, b| a ^ b)?;
    let shift = |name: &str, of: fn(u32, u32) -> u32| {
        set_function(lua, &table, name, move |args| {
            let value = bits(args, 1)?;
            Ok(f64::from(of(value, bits(args, 2)? & 31) as i32))
        })
    };
    shift("lshift", |value, by| value << by)?;
    shift("rshift", |value, by| value >> by)?;
    shift("arshift", |value, by| (value as i32 >> by) as u32)?;
    shift("rol", u32::rotate_left)?;
    shift("ror", u32::rotate_right)?;
    set_function(lua, &table, "tohex", |args| {
        let value = bits(args, 1)?;
        let digits = if args.len() < 2 {
            8
        } else {
            bits(args, 2)? as i32
        };
        Ok(to_hex(value, digits))
    })?;
    globals.raw_set("bit", table)
}

/// The bits of argument `index`.
fn bits(args: &Args<'_>, index: usize) -> mlua::Result<u32> {
    Ok((args.check_number(index)? + ALIGN).to_bits() as u32)
}

/// The lowest `digits` hexadecimal digits (8 at most), in capitals when negative.
fn to_hex(value: u32, digits: i32) -> String {
    let text = if digits < 0 {
        format!("{value:08X}")
    } else {
        format!("{value:08x}")
    };
    let count = digits.unsigned_abs().min(8) as usize;
    text[8 - count..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::error_text;
    use super::*;
    use proptest::prelude::*;

    fn lua() -> Lua {
        let lua = Lua::new();
        install(&lua, &lua.globals()).unwrap();
        lua
    }

    #[test]
    fn numbers_are_reduced_to_32_bits() {
        let lua = lua();
        let check = |script: &str, wanted: f64| {
            let got: f64 = lua.load(script).eval().unwrap();
            assert_eq!(got, wanted, "{script}");
        };
        check("bit.tobit(0xffffffff)", -1.0);
        check("bit.tobit(2^32 + 5)", 5.0);
        check("bit.tobit(2^31)", -2_147_483_648.0);
        check("bit.tobit(-1)", -1.0);
        check("bit.tobit(0.5)", 0.0);
        check("bit.tobit(1.5)", 2.0);
        check("bit.tobit('0x10')", 16.0);
        check("bit.tobit(0/0)", 0.0);
        check("bit.tobit(math.huge)", 0.0);
        check("bit.bnot(0)", -1.0);
        check("bit.band(1)", 1.0);
        check("bit.band(0xff, 0x0f, '3')", 3.0);
        check("bit.bor(1, 2, 4, 8, 16, 32, 64, 128)", 255.0);
        check("bit.bxor(1, 2)", 3.0);
        check("bit.lshift(1, 31)", -2_147_483_648.0);
        check("bit.lshift(1, 32)", 1.0);
        check("bit.lshift(1, -1)", -2_147_483_648.0);
        check("bit.rshift(-1, 28)", 15.0);
        check("bit.arshift(-256, 4)", -16.0);
        check("bit.rol(0x12345678, 12)", 1_164_411_171.0);
        check("bit.ror(0x12345678, 12)", 1_736_516_421.0);
        check("bit.rol(5, 0)", 5.0);
        check("bit.bswap(0x12345678)", 2_018_915_346.0);
    }

    #[test]
    fn hex_digits_are_counted_from_the_lower_end() {
        let lua = lua();
        let hex = |script: &str| -> String { lua.load(script).eval().unwrap() };
        assert_eq!(hex("bit.tohex(65535)"), "0000ffff");
        assert_eq!(hex("bit.tohex(65535, -2147483648)"), "0000FFFF");
        assert_eq!(hex("bit.tohex(0xabcdef, 4)"), "cdef");
        assert_eq!(hex("bit.tohex(0xabcdef, -4)"), "CDEF");
        assert_eq!(hex("bit.tohex(1, 0)"), "");
        assert_eq!(hex("bit.tohex(-1, 100)"), "ffffffff");
    }

    #[test]
    fn what_is_no_number_is_named() {
        let lua = lua();
        let error = |script: &str| {
            let error = lua
                .load(script)
                .set_name("=user_script")
                .exec()
                .unwrap_err();
            error_text(&error)
        };
        assert_eq!(
            error("bit.band()"),
            "bad argument #1 to 'band' (number expected, got no value)"
        );
        assert_eq!(
            error("bit.band(1, {}, 'x')"),
            "bad argument #3 to 'band' (number expected, got string)"
        );
        assert_eq!(
            error("bit.lshift(1)"),
            "bad argument #2 to 'lshift' (number expected, got no value)"
        );
        assert_eq!(
            error("bit.tohex(1, nil)"),
            "bad argument #2 to 'tohex' (number expected, got nil)"
        );
        assert_eq!(
            error("bit:tobit()"),
            "calling 'tobit' on bad self (number expected, got table)"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn operations_are_those_of_the_machine(a: i32, b: i32, by in 0u32..32) {
            let lua = lua();
            let script = format!(
                "return bit.band({a}, {b}), bit.bor({a}, {b}), bit.bxor({a}, {b}), bit.lshift({a}, {by}), \
                 bit.rshift({a}, {by}), bit.arshift({a}, {by}), bit.rol({a}, {by}), bit.ror({a}, {by}), bit.bnot({a})"
            );
            let got: mlua::Variadic<i32> = lua.load(script).eval().unwrap();
            let wanted = [
                a & b,
                a | b,
                a ^ b,
                a << by,
                (a as u32 >> by) as i32,
                a >> by,
                a.rotate_left(by),
                a.rotate_right(by),
                !a,
            ];
            prop_assert_eq!(&got[..], &wanted[..]);
        }
    }
}
