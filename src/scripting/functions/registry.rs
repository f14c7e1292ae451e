//! Libraries within the interpreter: their code is run here, and the functions that they register are kept here.
//!
//! In: the program of a library. Out: the functions that it registered, each with a number by which it is called later.
//! All libraries have one set of globals, which nothing can write to; while one is loaded there is nothing in it but
//! `redis`, and that has no more than what loading needs. So a library shares nothing with another one, and its own
//! state is in the variables that its functions close over. Mirrors function_lua.c of Redis.

use super::Function;
use super::register;
use crate::scripting::api::{self, Host, raise};
use crate::scripting::convert;
use mlua::{ChunkMode, Lua, MultiValue, Scope, Table, Value};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;

/// The functions that were registered, by number, and those of the library that is being loaded. What is called stays in
/// a table of Lua's: a value that Rust holds takes one of some 8000 handles, and a library may register more.
#[derive(Debug)]
pub(in crate::scripting) struct Registrations {
    functions: Table,
    next: Cell<u64>,
    /// None while nothing is loaded.
    loading: RefCell<Option<Loading>>,
}

#[derive(Debug, Default)]
struct Loading {
    functions: Vec<Function>,
    /// Names in lower case.
    names: HashSet<Vec<u8>>,
}

impl Registrations {
    /// None yet.
    pub(in crate::scripting) fn new(lua: &Lua) -> mlua::Result<Registrations> {
        Ok(Registrations {
            functions: lua.create_table()?,
            next: Cell::new(1),
            loading: RefCell::default(),
        })
    }
    fn register(&self, lua: &Lua, arguments: MultiValue) -> mlua::Result<()> {
        let mut loading = self.loading.borrow_mut();
        let Some(loading) = loading.as_mut() else {
            return Err(raise(
                "redis.register_function can only be called on FUNCTION LOAD command",
            ));
        };
        let arguments: Vec<Value> = arguments.into_iter().collect();
        let new = register::read(lua, &arguments).map_err(raise)?;
        // In any case: of two that differ in nothing else only one could be called.
        if !loading.names.insert(new.name.to_ascii_lowercase()) {
            return Err(raise("Function already exists in the library"));
        }
        let handle = self.next.get();
        self.next.set(handle + 1);
        self.functions.raw_set(handle, new.callback)?;
        loading.functions.push(Function {
            name: new.name,
            description: new.description,
            flags: new.flags,
            handle,
        });
        Ok(())
    }
}

/// The functions of all libraries.
pub(in crate::scripting) struct Registry {
    /// By number.
    functions: Table,
    /// What programs see as their globals.
    globals: Table,
    /// What is in it.
    real: Table,
    while_running: Table,
    while_loading: Table,
}

impl Registry {
    /// An empty one. `make_globals` is the sandbox's, `redis` what functions call that run.
    pub(in crate::scripting) fn new<'scope, 'env>(
        lua: &Lua,
        scope: &'scope Scope<'scope, 'env>,
        registrations: &'scope Registrations,
        make_globals: &mlua::Function,
        redis: &Table,
    ) -> mlua::Result<Registry> {
        let (globals, real): (Table, Table) = make_globals.call(redis)?;
        let while_running = lua.create_table()?;
        copy(&real, &while_running)?;
        let api = lua.create_table()?;
        for pair in redis.pairs::<mlua::String, Value>() {
            let (name, value) = pair?;
            let bytes = name.as_bytes();
            if bytes.starts_with(b"LOG_") || bytes.starts_with(b"REDIS_") || *bytes == *b"log" {
                api.raw_set(&name, value)?;
            }
        }
        let register =
            scope.create_function(|lua, arguments| registrations.register(lua, arguments))?;
        api.raw_set("register_function", register)?;
        // What is not there is told as it is of globals.
        api.set_metatable(real.metatable())?;
        let (_, aside): (Table, Table) = make_globals.call(api)?;
        let while_loading = lua.create_table()?;
        while_loading.raw_set("redis", aside.raw_get::<Value>("redis")?)?;
        Ok(Registry {
            functions: registrations.functions.clone(),
            globals,
            real,
            while_running,
            while_loading,
        })
    }
    /// What functions see as their globals.
    pub(in crate::scripting) fn globals(&self) -> &Table {
        &self.globals
    }
    /// The function of a number.
    pub(in crate::scripting) fn get(&self, handle: u64) -> mlua::Result<mlua::Function> {
        self.functions.raw_get(handle)
    }
    /// Forgets functions.
    pub(in crate::scripting) fn forget(&self, handles: &[u64]) {
        for handle in handles {
            let forgotten = self.functions.raw_set(*handle, Value::Nil);
            debug_assert!(forgotten.is_ok(), "a field that is there can be cleared");
        }
    }
    /// Runs the program of a library, by `run` as the sandbox runs functions. The error is Redis's text, without a code in
    /// front.
    pub(in crate::scripting) fn load(
        &self,
        lua: &Lua,
        host: &Host<'_>,
        registrations: &Registrations,
        run: &mlua::Function,
        program: &[u8],
    ) -> Result<Vec<Function>, Vec<u8>> {
        let compiled = lua
            .load(program)
            .set_name("@user_function")
            .set_mode(ChunkMode::Text)
            .set_environment(self.globals.clone())
            .into_function();
        let program = compiled.map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => {
                format!("Error compiling function: {message}").into_bytes()
            }
            other => format!("Error compiling function: {other}").into_bytes(),
        })?;
        host.is_killed.set(false);
        registrations.loading.replace(Some(Loading::default()));
        let result = self
            .fill(&self.while_loading)
            .and_then(|()| api::guarded(|| run.call::<(bool, Value)>(program)));
        let registered = registrations.loading.take().unwrap_or_default().functions;
        let restored = self.fill(&self.while_running);
        let error = match result {
            Ok((true, _)) if restored.is_ok() => return Ok(registered),
            _ if host.is_killed.replace(false) => b"ERR FUNCTION LOAD timeout".to_vec(),
            Ok((_, Value::Table(error))) => error
                .raw_get(&host.names.err)
                .ok()
                .and_then(|text| convert::text(&text))
                .unwrap_or_else(|| b"ERR unknown error".to_vec()),
            Ok((_, other)) => convert::text(&other).unwrap_or_default(),
            Err(error) => format!("ERR {error}").into_bytes(),
        };
        let handles: Vec<u64> = registered.iter().map(|function| function.handle).collect();
        self.forget(&handles);
        Err([b"Error registering functions: ", &error[..]].concat())
    }
    /// Puts other names into the globals in the place of all that are there.
    fn fill(&self, names: &Table) -> mlua::Result<()> {
        let old: mlua::Result<Vec<Value>> = self
            .real
            .pairs::<Value, Value>()
            .map(|pair| pair.map(|(name, _)| name))
            .collect();
        for name in old? {
            self.real.raw_set(name, Value::Nil)?;
        }
        copy(names, &self.real)
    }
}

fn copy(from: &Table, to: &Table) -> mlua::Result<()> {
    for pair in from.pairs::<Value, Value>() {
        let (name, value) = pair?;
        to.raw_set(name, value)?;
    }
    Ok(())
}
