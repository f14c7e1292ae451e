//! Builds the interpreter of scripts: Lua 5.1.5 from the sources that the crate `lua-src` carries, with the changes that
//! Redis's own copy has too and that untrusted programs and values need.
//!
//! In: the folder of `lua-src`, as Cargo tells it. Out: a static library for the binding, whose feature `external` leaves
//! that to us. What always holds: a change whose place is not found exactly once ends the build, so a newer `lua-src`
//! cannot lose one silently. Nothing of Lua is kept in this repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A place in a source file of Lua, and what stands there instead.
struct Change {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const CHANGES: &[Change] = &[
    // Of a long string Lua hashes only 32 bytes or so. Values that differ elsewhere all fall on one chain of the string
    // table, so that reading n of them takes n² steps inside one call of C.
    Change {
        file: "lstring.c",
        from: "size_t step = (l>>5)+1;",
        to: "size_t step = 1;",
    },
    // The name of a chunk is held by nothing while its text is compiled: a collection in the middle frees it, and the
    // functions that are compiled after that point at freed memory.
    Change {
        file: "lparser.c",
        from: "luaX_setinput(L, &lexstate, z, luaS_new(L, name));",
        to: "setsvalue2s(L, L->top, luaS_new(L, name)); incr_top(L);\n  \
             luaX_setinput(L, &lexstate, z, rawtsvalue(L->top - 1));",
    },
    Change {
        file: "lparser.c",
        from: "close_func(&lexstate);\n  lua_assert(funcstate.prev == NULL);",
        to: "close_func(&lexstate);\n  L->top--;\n  lua_assert(funcstate.prev == NULL);",
    },
    // An error before the first token would name a token that nobody has set.
    Change {
        file: "llex.c",
        from: "ls->decpoint = '.';\n  ls->L = L;",
        to: "ls->t.token = 0;\n  ls->decpoint = '.';\n  ls->L = L;",
    },
    // The number of values overflows, which C leaves undefined: a compiler may drop the check behind it.
    Change {
        file: "lbaselib.c",
        from: "n = e - i + 1;",
        to: "if ((long long)e - i >= LUAI_MAXCSTACK)\n    \
             return luaL_error(L, \"too many results to unpack\");\n  n = e - i + 1;",
    },
    // Precompiled programs are not checked, and can do anything. None is ever loaded, whoever asks.
    Change {
        file: "ldo.c",
        from: "int c = luaZ_lookahead(p->z);",
        to: "luaZ_lookahead(p->z);",
    },
    Change {
        file: "ldo.c",
        from: "((c == LUA_SIGNATURE[0]) ? luaU_undump : luaY_parser)(",
        to: "luaY_parser(",
    },
];

fn main() {
    println!("cargo:rerun-if-changed=src/scripting/build.rs");
    let sources = sources();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo names a folder"));
    let changed = out.join("lua");
    fs::create_dir_all(&changed).expect("a folder for the changed sources");
    let mut files = Vec::new();
    for entry in fs::read_dir(&sources)
        .expect("the sources of Lua")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".c") && !name.ends_with(".h") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a source file of Lua");
        fs::write(changed.join(&name), apply(&name, text)).expect("room for a source file");
        if name.ends_with(".c") {
            files.push(changed.join(&name));
        }
    }
    files.sort();
    cc::Build::new()
        .files(files)
        .include(&changed)
        .define("LUA_USE_LINUX", None)
        // Scripts are as fast in a debug build of the server, and the tests of how long they take mean something.
        .opt_level(3)
        .warnings(false)
        .cargo_metadata(false)
        .compile("gyre-lua5.1");
    println!("cargo:rustc-link-search=native={}", out.display());
    // Whole, because the binding that calls it may come behind it when programs are linked.
    println!("cargo:rustc-link-lib=static:-bundle,+whole-archive=gyre-lua5.1");
}

/// Makes the changes of one file.
fn apply(name: &str, mut text: String) -> String {
    for change in CHANGES.iter().filter(|change| change.file == name) {
        let found = text.matches(change.from).count();
        assert!(
            found == 1,
            "{name} of lua-src has {found} times what is to be changed, and not once: {}",
            change.from
        );
        text = text.replace(change.from, change.to);
    }
    text
}

/// The folder of Lua's sources. The crate does not tell where it is; Cargo does.
fn sources() -> PathBuf {
    // What is missing (crates that only tests need) may not be there without a network, and with one it is not asked for
    // unless it has to be.
    let found = metadata(&["--offline"]).or_else(|_| metadata(&[]));
    let manifest = found.unwrap_or_else(|problem| panic!("Where lua-src is: {problem}"));
    let folder = Path::new(&manifest).with_file_name("lua-5.1.5");
    assert!(folder.is_dir(), "{} is not there", folder.display());
    folder
}

/// The path of the manifest of `lua-src`.
fn metadata(options: &[&str]) -> Result<String, String> {
    let variable = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
    let output = Command::new(variable("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked"])
        .arg(format!("--filter-platform={}", variable("TARGET")?))
        .arg("--manifest-path")
        .arg(Path::new(&variable("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .args(options)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let read: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    read["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "lua-src")
        .and_then(|package| package["manifest_path"].as_str())
        .map(str::to_owned)
        .ok_or_else(|| "it is not among the packages".to_owned())
}
