//! The interpreter: Lua inside a coroutine of the machine.
//!
//! [`Interpreter::resume`] tells it something ([`Tell`]) and runs it until it asks for something ([`Ask`]). Between the
//! two it stands still, with all its C frames on a stack of its own, so that neither borrows anything of the other.
//!
//! ```text
//! host:  Run        Answer     Answer     GoOn       Write       Run ...
//! Lua:        Call        Call       Busy      Ended      Written
//! ```
//!
//! Lua lives in the closure of the coroutine, and the closure ends with the interpreter: the functions that `redis` names
//! are made in one scope of [`mlua::Lua::scope`] and may borrow what lies on that stack. Who drops an interpreter tells it
//! to end. One that stands in the middle of a program could only be dropped by unwinding its stack, and through C frames
//! that is not possible: it is forgotten instead, stack and all, which a process does once, at its end.

use super::api::{self, Host, Killed};
use super::convert::{self, Errors};
use super::functions::{
    self,
    registry::{Registrations, Registry},
};
use super::raw;
use crate::resp::{OwnedRequest, Reply};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use mlua::{
    ChunkMode, Function, HookTriggers, Lua, LuaOptions, Scope, StdLib, Table, Value, VmState,
};
use std::cell::Cell;
use std::ffi::c_int;

/// Address space of the stack; memory is taken as it is used. C functions of Lua nest 200 deep, and one of them
/// (`gsub`) has a buffer of 8 KiB in its frame.
const STACK_LEN: usize = 16 * 1024 * 1024;
/// Instructions between two looks at the clock.
const INSTRUCTIONS: u32 = 10_000;
/// Bytes that Lua may hold.
const MEMORY_LIMIT: usize = 512 * 1024 * 1024;
/// Bytes from which on garbage is collected at a script's end.
const CROWDED: usize = MEMORY_LIMIT / 4;
/// What the sandbox is called in places of errors, where it does not appear.
pub(super) const PRELUDE_NAME: &str = "@sandbox";

/// After so many programs the collector is given a step of so many kilobytes, so that what small scripts leave does not
/// add up to twice what lives. Redis does it every 50; a walk over what lives costs as much as ten small scripts, and what
/// eighty of them leave is 16 KB.
const COLLECT_EVERY: u32 = 80;
const COLLECT_KBYTES: c_int = 100;

const BUSY: &str = "gyre.busy";

/// What the host tells.
#[derive(Debug)]
pub enum Tell {
    /// Get ready.
    Begin,
    /// Compile a program and keep it under a number.
    Compile {
        /// The number.
        id: u32,
        /// Its text.
        program: Vec<u8>,
    },
    /// Forget the program of a number.
    Forget(u32),
    /// Forget all programs, and collect what they left.
    ForgetAll,
    /// Run the program of a number.
    Run {
        /// The number.
        id: u32,
        /// The first so many arguments are keys.
        keys: usize,
        /// Keys, then arguments.
        args: Box<OwnedRequest>,
    },
    /// Run the program of a library and keep the functions that it registers.
    LoadLibrary(Vec<u8>),
    /// Forget functions by their numbers.
    ForgetFunctions(Vec<u64>),
    /// Run a function.
    RunFunction {
        /// Its number.
        handle: u64,
        /// The first so many arguments are keys.
        keys: usize,
        /// Keys, then arguments.
        args: Box<OwnedRequest>,
    },
    /// Give back what there is, and be no more.
    End,
    /// What a command answered: the call comes back with its reply.
    Answer(Box<Call>),
    /// Whether there is such a command.
    Known(Option<bool>),
    /// The monotonic time, ns.
    Clock(u64),
    /// Go on after [`Ask::Busy`].
    GoOn,
    /// End as soon as possible.
    Kill,
    /// Write what the program returned.
    Write {
        /// Where to.
        reply: Box<Reply>,
        /// What the program is called, if it failed.
        name: Option<Vec<u8>>,
    },
}

/// What the interpreter asks.
#[derive(Debug)]
pub enum Ask {
    /// It is done with what it was told.
    Ready,
    /// The program was compiled, or is wrong.
    Compiled(Result<(), Vec<u8>>),
    /// The library was loaded: its functions; or is wrong: Redis's text, without a code in front.
    Loaded(Result<Vec<functions::Function>, Vec<u8>>),
    /// Run a command.
    Call(Box<Call>),
    /// Is there such a command?
    Check(Box<OwnedRequest>),
    /// What time is it?
    Clock,
    /// It has run for a while.
    Busy,
    /// The program is at its end.
    Ended {
        /// Whether an error ended it.
        failed: bool,
        /// Its arguments, for their room.
        args: Box<OwnedRequest>,
    },
    /// The reply is written.
    Written {
        /// The reply.
        reply: Box<Reply>,
        /// The errors in it.
        errors: Errors,
        /// Bytes that Lua holds.
        memory: usize,
    },
}

impl Ask {
    /// Whether a program waits for the answer.
    fn is_of_a_program(&self) -> bool {
        match self {
            Ask::Ready | Ask::Compiled(_) | Ask::Loaded(_) | Ask::Written { .. } => false,
            Ask::Call(_) | Ask::Check(_) | Ask::Clock | Ask::Busy | Ask::Ended { .. } => true,
        }
    }
}

/// A command to be run, and its reply. One is used again and again, and only its address moves.
#[derive(Debug, Default)]
pub struct Call {
    /// The command.
    pub request: OwnedRequest,
    /// The reply as bytes; empty before.
    pub reply: Vec<u8>,
    /// The dialect of the reply.
    pub resp3: bool,
    /// Where its effects go: `REPL_AOF` and `REPL_REPLICA`.
    pub propagation: u8,
}

/// What the interpreter is made with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `lua-enable-deprecated-api`: `getfenv`, `setfenv` and `newproxy`.
    pub deprecated: bool,
}

/// Lua, standing still.
pub struct Interpreter {
    /// Absent only while it is dropped.
    coroutine: Option<Coroutine<Tell, Ask, String>>,
    /// It stands in the middle of a program.
    in_program: bool,
}

impl std::fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interpreter")
    }
}

impl Interpreter {
    /// A new one; the error is for the log.
    pub fn new(options: Options) -> Result<Interpreter, String> {
        let stack = DefaultStack::new(STACK_LEN).map_err(|error| error.to_string())?;
        let mut coroutine = Coroutine::with_stack(stack, move |yielder, _: Tell| {
            match live(yielder, options) {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            }
        });
        match coroutine.resume(Tell::Begin) {
            CoroutineResult::Yield(_) => Ok(Interpreter {
                coroutine: Some(coroutine),
                in_program: false,
            }),
            CoroutineResult::Return(error) => Err(error),
        }
    }

    /// Tells it something and waits until it asks.
    #[inline]
    pub fn resume(&mut self, tell: Tell) -> Ask {
        let Some(coroutine) = self.coroutine.as_mut().filter(|it| !it.done()) else {
            return Ask::Ready;
        };
        match coroutine.resume(tell) {
            CoroutineResult::Yield(ask) => {
                self.in_program = ask.is_of_a_program();
                ask
            }
            CoroutineResult::Return(error) => {
                log::error!("The interpreter has ended: {error}");
                Ask::Ready
            }
        }
    }
}

impl Interpreter {
    /// Ends it and frees what it holds, or forgets it. Whether it could be ended.
    fn end(&mut self) -> bool {
        let Some(mut coroutine) = self.coroutine.take() else {
            return true;
        };
        if !coroutine.done() && !self.in_program {
            coroutine.resume(Tell::End);
        }
        let has_ended = coroutine.done();
        if !has_ended {
            std::mem::forget(coroutine);
        }
        has_ended
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        self.end();
    }
}

/// The whole life of the interpreter.
fn live(yielder: &Yielder<Tell, Ask>, options: Options) -> mlua::Result<()> {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
    let lua = Lua::new_with(libraries, LuaOptions::new())?;
    let host = Host::new(&lua, yielder)?;
    let registrations = Registrations::new(&lua)?;
    lua.scope(|scope| {
        let unpack: Value = lua.globals().raw_get("unpack")?;
        super::libraries::install_all(&lua, &lua.globals())?;
        let (redis, sandbox) = api::install(&lua, scope, &host)?;
        for (name, result) in [
            ("breakpoint", Some(false)),
            ("debug", None),
            ("replicate_commands", Some(true)),
        ] {
            redis.set(name, lua.create_function(move |_, ()| Ok(result))?)?;
        }
        sandbox.set("redis", &redis)?;
        sandbox.set("unpack", unpack)?;
        sandbox.set("limit", MEMORY_LIMIT / 2)?;
        sandbox.set("deprecated", options.deprecated)?;
        let convert: Function = sandbox.get("convert")?;
        let call = |args: &raw::Args<'_>, out: &mut Vec<u8>| host.call(args, out, true);
        let pcall = |args: &raw::Args<'_>, out: &mut Vec<u8>| host.call(args, out, false);
        let arguments = |_: &raw::Args<'_>, out: &mut Vec<u8>| host.put_arguments(out);
        let functions: [raw::Run<'_>; 3] = [&call, &pcall, &arguments];
        let in_call = &host.in_call;
        raw::with_functions(
            &lua,
            functions,
            in_call,
            &convert,
            |[call, pcall, arguments]| {
                redis.set("call", call)?;
                redis.set("pcall", pcall)?;
                sandbox.set("arguments", arguments)?;
                serve(&lua, scope, &host, &registrations, &redis, sandbox)
            },
        )
    })
}

/// Makes the sandbox and serves in it to its end.
fn serve<'scope, 'env>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    host: &'scope Host<'scope>,
    registrations: &'scope Registrations,
    redis: &Table,
    sandbox: Table,
) -> mlua::Result<()> {
    let (run, run_function, globals): (Function, Function, Function) = lua
        .load(include_str!("prelude.lua"))
        .set_name(PRELUDE_NAME)
        .call(sandbox)?;
    let engine = Engine {
        lua,
        host,
        run,
        run_function,
        registry: Registry::new(lua, scope, registrations, &globals, redis)?,
        registrations,
        script_globals: lua.globals(),
        sees_functions: Cell::new(false),
        programs: lua.create_table()?,
        ended: Cell::new(0),
    };
    let busy = scope.create_function(|_, ()| {
        if host.is_killed.get() || matches!(host.yielder.suspend(Ask::Busy), Tell::Kill) {
            host.is_killed.set(true);
            return Err(mlua::Error::external(Killed));
        }
        Ok(())
    })?;
    lua.set_named_registry_value(BUSY, busy)?;
    let often = HookTriggers::new().every_nth_instruction(INSTRUCTIONS);
    lua.set_global_hook(often, |lua, _| {
        lua.named_registry_value::<Function>(BUSY)?.call::<()>(())?;
        Ok(VmState::Continue)
    })?;
    lua.set_memory_limit(MEMORY_LIMIT)?;
    engine.serve();
    Ok(())
}

/// What is put before a program, on its first line: it finds these names as its own variables, at the price of a register
/// each, and not in the globals through the view of the sandbox. It is called with their values.
const QUICK_NAMES: &[u8] = b"local redis, KEYS, ARGV = ... ";

/// Whether a program may assign to one of [`QUICK_NAMES`], which must fail as an assignment to a global, or may look at
/// what it is called with. What only looks like it, in a comment or a text, costs no more than the speed.
fn assigns(program: &[u8]) -> bool {
    if memchr::memmem::find(program, b"...").is_some() {
        return true;
    }
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    [&b"redis"[..], b"KEYS", b"ARGV"].into_iter().any(|name| {
        memchr::memmem::find_iter(program, name).any(|at| {
            let (before, after) = (&program[..at], &program[at + name.len()..]);
            if before.last().is_some_and(is_letter) || after.first().is_some_and(is_letter) {
                return false;
            }
            let is_assigned = match after.trim_ascii_start() {
                [b'=', b'=', ..] => false,
                [b'=' | b',', ..] => true,
                // Something may stand between.
                [b'-', b'-', ..] => true,
                _ => false,
            };
            is_assigned || before.trim_ascii_end().ends_with(b"function")
        })
    })
}

/// Logs a failure outside of a program, which must not end the interpreter.
fn noted(result: mlua::Result<()>) {
    if let Err(error) = result {
        log::warn!("The interpreter of scripts: {error}");
    }
}

struct Engine<'a> {
    lua: &'a Lua,
    host: &'a Host<'a>,
    /// Runs a script, with its keys and arguments as globals.
    run: Function,
    /// Runs a function of a library.
    run_function: Function,
    registry: Registry,
    registrations: &'a Registrations,
    script_globals: Table,
    /// What is compiled while Lua runs (`loadstring`) sees the globals of functions, not those of scripts.
    sees_functions: Cell<bool>,
    /// The programs by number, in a table of Lua's: a value that Rust holds takes one of some 8000 handles.
    programs: Table,
    /// Programs that have ended.
    ended: Cell<u32>,
}

impl Engine<'_> {
    fn serve(mut self) {
        let mut tell = self.host.yielder.suspend(Ask::Ready);
        loop {
            let ask = match tell {
                Tell::End => return,
                Tell::Compile { id, program } => Ask::Compiled(self.compile(id, &program)),
                Tell::Forget(id) => {
                    noted(self.programs.raw_set(id, Value::Nil));
                    Ask::Ready
                }
                Tell::ForgetAll => {
                    noted(self.programs.clear());
                    // Twice: the first frees what has a finalizer only to be called.
                    noted(self.lua.gc_collect());
                    noted(self.lua.gc_collect());
                    Ask::Ready
                }
                Tell::Run { id, keys, args } => {
                    self.begin(keys, args);
                    let result = self.run(id);
                    self.end(result)
                }
                Tell::LoadLibrary(program) => Ask::Loaded(self.registry.load(
                    self.lua,
                    self.host,
                    self.registrations,
                    &self.run_function,
                    &program,
                )),
                Tell::ForgetFunctions(handles) => {
                    self.registry.forget(&handles);
                    Ask::Ready
                }
                Tell::RunFunction { handle, keys, args } => {
                    self.begin(keys, args);
                    let result = self.call_function(handle);
                    self.end(result)
                }
                _ => Ask::Ready,
            };
            tell = self.host.yielder.suspend(ask);
        }
    }

    fn compile(&mut self, id: u32, program: &[u8]) -> Result<(), Vec<u8>> {
        // A program keeps the globals that it was compiled with; a function may have run before.
        self.see(&self.script_globals, false)
            .map_err(|error| error.to_string().into_bytes())?;
        let compile = |text: &[u8]| {
            self.lua
                .load(text)
                .set_name("@user_script")
                .set_mode(ChunkMode::Text)
                .into_function()
        };
        // A program that has too many variables of its own has no room for ours.
        let quick = (!assigns(program))
            .then(|| compile(&[QUICK_NAMES, program].concat()).ok())
            .flatten();
        match quick.map_or_else(|| compile(program), Ok) {
            Ok(function) => self
                .programs
                .raw_set(id, function)
                .map_err(|error| error.to_string().into_bytes()),
            Err(mlua::Error::SyntaxError { message, .. }) => Err(message.into_bytes()),
            Err(other) => Err(other.to_string().into_bytes()),
        }
    }

    fn see(&self, globals: &Table, of_functions: bool) -> mlua::Result<()> {
        if self.sees_functions.replace(of_functions) != of_functions {
            self.lua.set_globals(globals.clone())?;
        }
        Ok(())
    }

    /// Holds the arguments until the program takes them as tables.
    fn begin(&self, keys: usize, args: Box<OwnedRequest>) {
        self.host.arguments.replace((args, keys));
        // A panic may have jumped over the end of what does without the limit.
        let _ = self.lua.set_memory_limit(MEMORY_LIMIT);
        self.host.begin();
    }

    /// Runs a script: whether it came to its end, and what it returned or failed with.
    fn run(&self, id: u32) -> mlua::Result<(bool, Value)> {
        let program: Function = self.programs.raw_get(id)?;
        self.see(&self.script_globals, false)?;
        api::guarded(|| self.run.call(program))
    }

    /// The same for a function.
    fn call_function(&self, handle: u64) -> mlua::Result<(bool, Value)> {
        let function = self.registry.get(handle)?;
        self.see(self.registry.globals(), true)?;
        api::guarded(|| self.run_function.call((function, true)))
    }

    /// Ends a script: the value waits for the reply that it is written to.
    fn end(&self, result: mlua::Result<(bool, Value)>) -> Ask {
        self.host.is_running.set(false);
        let (args, _) = self.host.arguments.take();
        if self.lua.used_memory() > CROWDED {
            // Lua collects by how much was allocated, and knows no limit: what the next script needs must be there.
            // Collecting itself needs a little.
            let _ = self.lua.set_memory_limit(0);
            let _ = self.lua.gc_collect();
            let _ = self.lua.set_memory_limit(MEMORY_LIMIT);
        }
        let ended = self.ended.get().wrapping_add(1);
        self.ended.set(ended);
        if ended.is_multiple_of(COLLECT_EVERY) {
            let _ = self.lua.gc_step_kbytes(COLLECT_KBYTES);
        }
        let (ok, value) = match result {
            Ok(result) => result,
            Err(mlua::Error::MemoryError(_)) => (false, Value::Nil),
            Err(error) => {
                log::warn!("A script failed beyond its handler: {error}");
                (false, Value::Nil)
            }
        };
        let told = self.host.yielder.suspend(Ask::Ended { failed: !ok, args });
        let Tell::Write { mut reply, name } = told else {
            return Ask::Ready;
        };
        let mut errors = Errors::default();
        let written = if ok {
            let (names, resp3) = (&self.host.names, self.host.resp3.get());
            convert::write(names, &mut reply, &value, resp3, &mut errors)
        } else {
            self.write_error(&mut reply, &value, &name.unwrap_or_default(), &mut errors)
        };
        if let Err(error) = written {
            errors.write(&mut reply, format!("ERR {error}"), false);
        }
        Ask::Written {
            reply,
            errors,
            memory: self.lua.used_memory(),
        }
    }

    /// Writes what a script failed with.
    fn write_error(
        &self,
        reply: &mut Reply,
        value: &Value,
        name: &[u8],
        errors: &mut Errors,
    ) -> mlua::Result<()> {
        let names = &self.host.names;
        let Value::Table(error) = value else {
            let text = convert::text(value).unwrap_or_else(|| b"not enough memory".to_vec());
            let text = &text[..text.len().min(100)];
            let text = [b"ERR Error running script ", name, b", ", text].concat();
            errors.write(reply, text, false);
            return Ok(());
        };
        let mut text = convert::text(&error.raw_get(&names.err)?).unwrap_or_default();
        let source = convert::text(&error.raw_get(&names.source)?);
        let line = convert::text(&error.raw_get(&names.line)?);
        text.truncate(convert::up_to_zero(&text).len());
        if let (Some(source), Some(line)) = (source, line) {
            text.extend_from_slice(b" script: ");
            text.extend_from_slice(name);
            text.extend_from_slice(b", on ");
            text.extend_from_slice(&source);
            text.push(b':');
            text.extend_from_slice(&line);
            text.push(b'.');
        }
        let counted = matches!(error.raw_get(&names.ignore)?, Value::Boolean(true));
        errors.write(reply, text, counted);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
