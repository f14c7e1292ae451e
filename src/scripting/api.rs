//! What `redis` names in a script.
//!
//! In: calls from Lua. Out: what the interpreter asks of its host, and the answers as Lua values. Errors are raised as
//! values of the host ([`Raised`], [`Killed`]); the sandbox makes of them what a script may see. Mirrors the `redis.*`
//! functions of Redis's script_lua.c.

use super::KEPT_BYTES;
use super::cache::digest;
use super::convert::{Names, error_table, from_reply, text};
use super::interpreter::{Ask, Call, Tell};
use super::libraries::arguments;
use super::raw::{self, Arg, Outcome};
use crate::resp::OwnedRequest;
use crate::system::numbers::{f64_as_i64, write_double};
use corosensei::Yielder;
use mlua::{Error, Lua, MultiValue, Result, Scope, Table, Value};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An error with the text that a client reads.
#[derive(Debug)]
pub(super) struct Raised {
    pub(super) text: Vec<u8>,
    /// The statistics know it already.
    pub(super) counted: bool,
}

/// SCRIPT KILL: nothing catches it.
#[derive(Debug)]
pub(super) struct Killed;

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}
impl std::fmt::Display for Killed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script killed by user with SCRIPT KILL.")
    }
}
impl std::error::Error for Raised {}
impl std::error::Error for Killed {}

/// Calls into Lua. The binding panics when it runs out of handles, and cleans up as it unwinds: that is an error of the
/// program.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(Error::runtime("too many values")))
}

/// An error of this text, with the generic code in front.
pub(super) fn raise(text: &str) -> Error {
    Error::external(Raised {
        text: format!("ERR {text}").into_bytes(),
        counted: false,
    })
}

/// An error's text with its code: `has_code` says that there should be one.
pub(super) fn error_text(line: &[u8], has_code: bool) -> Vec<u8> {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let (code, text) = match line.iter().position(|byte| *byte == b' ') {
        Some(blank) if has_code => (&line[..blank], &line[blank + 1..]),
        _ => (&b"ERR"[..], line),
    };
    let start = text.iter().position(|b| !is_break(b)).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|b| !is_break(b))
        .map_or(start, |end| end + 1);
    [code, b" ", &text[start..end]].concat()
}

/// What a call has left for [`Host::convert`].
#[derive(Debug, Default)]
enum Pending {
    #[default]
    Nothing,
    /// A reply.
    Reply(Vec<u8>),
    /// An error of our own, which `redis.pcall` gives as a value.
    Problem(&'static str),
    /// The script was killed.
    Killed,
}

/// What the functions share. Propagation of a script's effects: see [`REPL_ALL`].
pub(super) struct Host<'y> {
    pub(super) yielder: &'y Yielder<Tell, Ask>,
    pub(super) names: Names,
    /// A script runs, so commands may be called.
    pub(super) is_running: Cell<bool>,
    pub(super) is_killed: Cell<bool>,
    /// See [`raw::with_functions`].
    pub(super) in_call: Cell<bool>,
    pub(super) resp3: Cell<bool>,
    pub(super) propagation: Cell<u8>,
    /// The last call, whose buffers are used again.
    spare: RefCell<Option<Box<Call>>>,
    /// What the binding is to make a value of: a reply, or an error.
    pending: RefCell<Pending>,
    /// Keys and arguments of the program that runs, and how many of them are keys.
    pub(super) arguments: RefCell<(Box<OwnedRequest>, usize)>,
    /// State of `math.random`: the 48 bits of drand48.
    random: Cell<u64>,
}

/// Effects go to the append-only file.
pub const REPL_AOF: u8 = 1;
/// Effects go to replicas.
pub const REPL_REPLICA: u8 = 2;
/// Effects go to both.
pub const REPL_ALL: u8 = REPL_AOF | REPL_REPLICA;

/// The state of drand48 before it is seeded.
const RANDOM_START: u64 = 0x1234_ABCD_330E;

impl<'y> Host<'y> {
    pub(super) fn new(lua: &Lua, yielder: &'y Yielder<Tell, Ask>) -> Result<Host<'y>> {
        Ok(Host {
            yielder,
            names: Names::new(lua)?,
            is_running: Cell::new(false),
            is_killed: Cell::new(false),
            in_call: Cell::new(false),
            resp3: Cell::new(false),
            propagation: Cell::new(REPL_ALL),
            spare: RefCell::default(),
            pending: RefCell::default(),
            arguments: RefCell::default(),
            random: Cell::new(RANDOM_START),
        })
    }

    /// Before a script runs.
    pub(super) fn begin(&self) {
        self.is_running.set(true);
        self.is_killed.set(false);
        self.in_call.set(false);
        self.resp3.set(false);
        self.propagation.set(REPL_ALL);
    }

    fn must_run(&self, name: &str) -> Result<()> {
        if self.is_killed.get() {
            return Err(Error::external(Killed));
        }
        if self.is_running.get() {
            return Ok(());
        }
        Err(raise(&format!(
            "{name} can only be called inside a script invocation"
        )))
    }

    /// `redis.call` and `redis.pcall`, the second of which raises nothing.
    pub(super) fn call(&self, args: &raw::Args<'_>, out: &mut Vec<u8>, raises: bool) -> Outcome {
        let leave = |pending: Pending| {
            self.pending.replace(pending);
            Outcome::Convert
        };
        let refuse = |out: &mut Vec<u8>, problem: &str| {
            out.extend_from_slice(b"ERR ");
            out.extend_from_slice(problem.as_bytes());
            Outcome::Raise { counted: false }
        };
        if self.is_killed.get() {
            return leave(Pending::Killed);
        }
        if !self.is_running.get() {
            return refuse(
                out,
                "redis.call/pcall can only be called inside a script invocation",
            );
        }
        let mut call = self.spare.take().unwrap_or_default();
        if let Err(problem) = pack(args.iter(), &mut call.request) {
            self.keep(call);
            return if raises {
                refuse(out, problem)
            } else {
                leave(Pending::Problem(problem))
            };
        }
        call.reply.clear();
        call.resp3 = self.resp3.get();
        call.propagation = self.propagation.get();
        let Tell::Answer(mut call) = self.yielder.suspend(Ask::Call(call)) else {
            return refuse(out, "unexpected answer");
        };
        let is_error = call.reply.first() == Some(&b'-');
        let outcome = if is_error && raises {
            let line = call.reply.strip_suffix(b"\r\n").unwrap_or(&call.reply);
            out.extend_from_slice(&error_text(&line[1..], true));
            Outcome::Raise { counted: true }
        } else if is_error || call.resp3 {
            leave(Pending::Reply(std::mem::take(&mut call.reply)))
        } else {
            std::mem::swap(out, &mut call.reply);
            Outcome::Reply
        };
        self.keep(call);
        outcome
    }
    /// Keeps the room of a call for the next one, unless it is much.
    fn keep(&self, call: Box<Call>) {
        if call.reply.capacity() <= KEPT_BYTES && call.request.memory_bytes() <= KEPT_BYTES {
            self.spare.replace(Some(call));
        }
    }

    /// Makes a value of what a call has left.
    fn convert(&self, lua: &Lua) -> Result<Value> {
        match self.pending.take() {
            Pending::Nothing => Ok(Value::Nil),
            Pending::Reply(reply) => from_reply(lua, &self.names, &reply),
            Pending::Problem(problem) => {
                let text = format!("ERR {problem}");
                error_table(lua, &self.names, text.as_bytes(), false).map(Value::Table)
            }
            Pending::Killed => Err(Error::external(Killed)),
        }
    }

    /// Keys and arguments of the program that runs.
    pub(super) fn put_arguments(&self, out: &mut Vec<u8>) -> Outcome {
        let arguments = self.arguments.borrow();
        let (args, keys) = (arguments.0.args(), arguments.1);
        raw::put_list(out, args.take(keys).iter());
        raw::put_list(out, args.skip(keys).iter());
        Outcome::Lists
    }

    fn acl_check_cmd(&self, args: &MultiValue) -> Result<bool> {
        self.must_run("redis.acl_check_cmd")?;
        let mut request = Box::new(OwnedRequest::new());
        pack_values(args, &mut request).map_err(raise)?;
        match self.yielder.suspend(Ask::Check(request)) {
            Tell::Known(Some(may_run)) => Ok(may_run),
            _ => Err(raise("Invalid command passed to redis.acl_check_cmd()")),
        }
    }

    fn set_repl(&self, args: &MultiValue) -> Result<()> {
        self.must_run("redis.set_repl")?;
        if args.len() != 1 {
            return Err(raise("redis.set_repl() requires one argument."));
        }
        match u8::try_from(as_i32(args.front())) {
            Ok(flags) if flags & !REPL_ALL == 0 => self.propagation.set(flags),
            _ => {
                return Err(raise(
                    "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
                ));
            }
        }
        Ok(())
    }

    fn set_resp(&self, args: &MultiValue) -> Result<()> {
        self.must_run("redis.setresp")?;
        if args.len() != 1 {
            return Err(raise("redis.setresp() requires one argument."));
        }
        match as_i32(args.front()) {
            2 => self.resp3.set(false),
            3 => self.resp3.set(true),
            _ => return Err(raise("RESP version must be 2 or 3.")),
        }
        Ok(())
    }

    /// `os.clock`: seconds of the clock that recordings know, which goes on while the time that commands see stands
    /// still. While a script runs nothing else does, so it is its processor time as well.
    fn clock(&self) -> f64 {
        match self.yielder.suspend(Ask::Clock) {
            Tell::Clock(ns) => ns as f64 / 1_000_000_000.0,
            _ => 0.0,
        }
    }

    fn next_random(&self) -> u64 {
        const MASK: u64 = (1 << 48) - 1;
        let next = self
            .random
            .get()
            .wrapping_mul(0x5_DEEC_E66D)
            .wrapping_add(0xB)
            & MASK;
        self.random.set(next);
        next >> 17
    }

    fn random(&self, args: &MultiValue) -> Result<f64> {
        if !self.is_running.get() {
            return Err(Error::runtime(
                "math.random can only be called inside a script invocation",
            ));
        }
        const MOST: u64 = i32::MAX as u64;
        let random = (self.next_random() % MOST) as f64 / MOST as f64;
        let bound = |index: usize| {
            let bound = args.get(index).and_then(number);
            bound.map_or_else(
                || Err(no_number(index, "random", args)),
                |bound| Ok((arguments::as_i64(bound) as i32).into()),
            )
        };
        let between = |low: f64, high: f64, position: usize| {
            if low > high {
                return Err(Error::runtime(format!(
                    "bad argument #{position} to 'random' (interval is empty)"
                )));
            }
            Ok((random * (high - low + 1.0)).floor() + low)
        };
        match args.len() {
            0 => Ok(random),
            1 => between(1.0, bound(0)?, 1),
            2 => between(bound(0)?, bound(1)?, 2),
            _ => Err(Error::runtime("wrong number of arguments")),
        }
    }

    fn random_seed(&self, args: &MultiValue) -> Result<()> {
        if !self.is_running.get() {
            return Err(Error::runtime(
                "math.randomseed can only be called inside a script invocation",
            ));
        }
        let seed = args
            .front()
            .and_then(number)
            .ok_or_else(|| no_number(0, "randomseed", args))?;
        self.random
            .set(u64::from(arguments::as_i64(seed) as u32) << 16 | 0x330E);
        Ok(())
    }

    /// Makes of an error what a script may see of it: a string where C would have given one, a table for errors of
    /// commands. That of a script that was killed stays an error.
    fn caught(&self, lua: &Lua, error: Value) -> Result<Value> {
        if self.is_killed.get() {
            return Err(Error::external(Killed));
        }
        self.shown(lua, error)
    }

    fn shown(&self, lua: &Lua, error: Value) -> Result<Value> {
        let error = match error {
            Value::Error(error) => error,
            // The place is that of the sandbox, which nobody knows.
            Value::String(text) if without_sandbox(&text.as_bytes()).is_some() => {
                let bytes = text.as_bytes();
                let rest = without_sandbox(&bytes).unwrap_or_default();
                return lua.create_string(rest).map(Value::String);
            }
            other => return Ok(other),
        };
        let mut error: &Error = &error;
        let mut place = "";
        while let Error::CallbackError { traceback, cause } = error {
            place = raised_at(traceback);
            error = cause;
        }
        if let Error::ExternalError(external) = error {
            if let Some(raised) = external.downcast_ref::<Raised>() {
                return error_table(lua, &self.names, &raised.text, raised.counted)
                    .map(Value::Table);
            }
            if external.is::<Killed>() {
                let text = b"ERR Script killed by user with SCRIPT KILL...";
                return error_table(lua, &self.names, text, false).map(Value::Table);
            }
        }
        let text = match error {
            Error::RuntimeError(text) => format!("{place}{text}"),
            Error::MemoryError(_) => "not enough memory".to_owned(),
            other => format!("{place}{other}"),
        };
        lua.create_string(text).map(Value::String)
    }

    /// The handler of errors: a table with the text, and where it happened.
    fn handle(&self, lua: &Lua, error: Value) -> Result<Table> {
        let names = &self.names;
        let table = match self.shown(lua, error)? {
            Value::Table(given) => {
                let text = text(&given.raw_get(&names.err)?);
                let counted = matches!(given.raw_get(&names.ignore)?, Value::Boolean(true));
                let text = text.unwrap_or_else(|| b"ERR unknown error".to_vec());
                error_table(lua, names, &text, counted)?
            }
            other => {
                let shown = match text(&other) {
                    Some(text) => text,
                    None => other.to_string().unwrap_or_default().into_bytes(),
                };
                error_table(lua, names, &[b"ERR ", &shown[..]].concat(), false)?
            }
        };
        // The function that failed, or the program that called it if that is not one of Lua, nor of the sandbox.
        let mut level = 1;
        while level < 8 {
            let place = lua.inspect_stack(level, |debug| {
                let source = debug.source();
                let name = source.source.map(std::borrow::Cow::into_owned);
                (name.unwrap_or_default(), source.what, debug.current_line())
            });
            let Some((source, what, line)) = place else {
                break;
            };
            if what == "C" || source == super::interpreter::PRELUDE_NAME {
                level += 1;
                continue;
            }
            if let Some(line) = line {
                table.raw_set(&names.source, source)?;
                table.raw_set(&names.line, line)?;
            }
            break;
        }
        Ok(table)
    }
}

/// The text of an error behind the place in the sandbox where it was raised, if that is where.
fn without_sandbox(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"sandbox:")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    rest.get(digits..)?.strip_prefix(b": ")
}

/// Where the function of the host was called, as C puts it in front of a message: `user_script:1: `.
fn raised_at(traceback: &str) -> &str {
    let mut lines = traceback.lines().skip(2);
    let line = lines.next().unwrap_or_default().trim_start();
    let is_program = line.starts_with("user_script:") || line.starts_with("user_function:");
    match line.find(": ") {
        Some(end) if is_program => &line[..end + 2],
        _ => "",
    }
}

/// The number that a value is, or is spelled like.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::String(text) => crate::system::numbers::parse_f64(&text.as_bytes()),
        _ => None,
    }
}

/// The same as C casts it: what does not fit is no value that anything accepts. What is no number is 0.
fn as_i32(value: Option<&Value>) -> i32 {
    arguments::as_i32(value.and_then(number).unwrap_or_default())
}

/// The error of an argument, counted from 0, that is no number.
fn no_number(index: usize, function: &str, args: &MultiValue) -> Error {
    let got = args.get(index).map_or("no value", arguments::type_name);
    let at = index.saturating_add(1);
    Error::runtime(format!(
        "bad argument #{at} to '{function}' (number expected, got {got})"
    ))
}

/// Arguments of a command. A number is written as an integer if it is one, so that commands that want one take it, and
/// else with the fewest digits that read back as the same double.
fn pack<'a>(
    args: impl Iterator<Item = Arg<'a>>,
    request: &mut OwnedRequest,
) -> std::result::Result<(), &'static str> {
    request.clear();
    for arg in args {
        match arg {
            Arg::Text(text) => request.push(text),
            Arg::Number(number) => match f64_as_i64(number) {
                Some(integer) => request.push(itoa::Buffer::new().format(integer).as_bytes()),
                // 0/0 has its sign bit set, and Redis shows it.
                None if number.is_nan() && number.is_sign_negative() => request.push(b"-nan"),
                None => {
                    let mut out = Vec::new();
                    write_double(&mut out, number);
                    request.push(&out);
                }
            },
            Arg::Other => {
                return Err("Lua redis lib command arguments must be strings or integers");
            }
        }
    }
    if request.args().is_empty() {
        return Err("Please specify at least one argument for this redis lib call");
    }
    Ok(())
}

/// Makes a request of the arguments of a call, where the binding holds them.
fn pack_values(
    args: &MultiValue,
    request: &mut OwnedRequest,
) -> std::result::Result<(), &'static str> {
    let texts: Vec<_> = args
        .iter()
        .map(|arg| match arg {
            Value::String(text) => Some(text.as_bytes()),
            _ => None,
        })
        .collect();
    let args = args.iter().zip(&texts).map(|(arg, text)| match text {
        Some(text) => Arg::Text(text),
        None => match arg {
            Value::Integer(_) | Value::Number(_) => Arg::Number(number(arg).unwrap_or_default()),
            _ => Arg::Other,
        },
    });
    pack(args, request)
}

fn log(args: &MultiValue) -> Result<()> {
    if args.len() < 2 {
        return Err(raise("redis.log() requires two arguments or more."));
    }
    if args.front().and_then(number).is_none() {
        return Err(raise("First argument must be a number (log level)."));
    }
    let level = match as_i32(args.front()) {
        0 => log::Level::Trace,
        1 => log::Level::Debug,
        2 => log::Level::Info,
        3 => log::Level::Warn,
        _ => return Err(raise("Invalid log level.")),
    };
    if level > log::max_level() {
        return Ok(());
    }
    let parts: Vec<Vec<u8>> = args.iter().skip(1).filter_map(text).collect();
    log::log!(level, "{}", String::from_utf8_lossy(&parts.join(&b' ')));
    Ok(())
}

/// The one argument, if it is one and a string.
fn only_string(args: &MultiValue) -> Option<Vec<u8>> {
    match args.front() {
        Some(Value::String(text)) if args.len() == 1 => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// Makes the tables of functions: `redis` with all that programs of both kinds have but the calls, and the rest for the sandbox.
pub(super) fn install<'scope, 'env>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    host: &'scope Host<'scope>,
) -> Result<(Table, Table)> {
    let redis = lua.create_table()?;
    redis.set(
        "acl_check_cmd",
        scope.create_function(|_, args| host.acl_check_cmd(&args))?,
    )?;
    redis.set(
        "set_repl",
        scope.create_function(|_, args| host.set_repl(&args))?,
    )?;
    redis.set(
        "setresp",
        scope.create_function(|_, args| host.set_resp(&args))?,
    )?;
    redis.set(
        "sha1hex",
        scope.create_function(|lua, args: MultiValue| {
            if args.len() != 1 {
                return Err(raise("wrong number of arguments"));
            }
            let text = args.front().and_then(text).unwrap_or_default();
            lua.create_string(digest(&text))
        })?,
    )?;
    let misused = |lua: &Lua| {
        let text = b"ERR wrong number or type of arguments";
        error_table(lua, &host.names, text, false)
    };
    redis.set(
        "error_reply",
        scope.create_function(move |lua, args: MultiValue| {
            let Some(text) = only_string(&args) else {
                return misused(lua);
            };
            let text = error_text(text.strip_prefix(b"-").unwrap_or(&text), true);
            error_table(lua, &host.names, &text, false)
        })?,
    )?;
    redis.set(
        "status_reply",
        scope.create_function(move |lua, args: MultiValue| {
            let Some(text) = only_string(&args) else {
                return misused(lua);
            };
            let table = lua.create_table()?;
            table.raw_set(&host.names.ok, lua.create_string(text)?)?;
            Ok(table)
        })?,
    )?;
    redis.set("log", scope.create_function(|_, args| log(&args))?)?;
    for (level, name) in ["DEBUG", "VERBOSE", "NOTICE", "WARNING"].iter().enumerate() {
        redis.set(format!("LOG_{name}"), level)?;
    }
    redis.set("REPL_NONE", 0)?;
    redis.set("REPL_AOF", REPL_AOF)?;
    redis.set("REPL_SLAVE", REPL_REPLICA)?;
    redis.set("REPL_REPLICA", REPL_REPLICA)?;
    redis.set("REPL_ALL", REPL_ALL)?;
    redis.set("REDIS_VERSION", crate::REDIS_VERSION)?;
    let parts = crate::REDIS_VERSION.split('.');
    let number = parts.fold(0_u32, |sum, part| {
        sum << 8 | part.parse::<u32>().unwrap_or_default()
    });
    redis.set("REDIS_VERSION_NUM", number)?;

    let sandbox = lua.create_table()?;
    sandbox.set(
        "caught",
        scope.create_function(|lua, error| host.caught(lua, error))?,
    )?;
    sandbox.set(
        "handler",
        scope.create_function(|lua, error| host.handle(lua, error))?,
    )?;
    sandbox.set(
        "convert",
        scope.create_function(|lua, ()| host.convert(lua))?,
    )?;
    sandbox.set("clock", scope.create_function(|_, ()| Ok(host.clock()))?)?;
    sandbox.set(
        "random",
        scope.create_function(|_, args| host.random(&args))?,
    )?;
    sandbox.set(
        "randomseed",
        scope.create_function(|_, args| host.random_seed(&args))?,
    )?;
    sandbox.set(
        "set_globals",
        scope.create_function(|lua, globals: Table| lua.set_globals(globals))?,
    )?;
    Ok((redis, sandbox))
}
