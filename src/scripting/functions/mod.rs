//! The libraries of functions: what is loaded, under which names.
//!
//! In: libraries that the interpreter has run once, with the functions that they registered. Out: a function by its
//! name, whatever its case; all libraries for FUNCTION LIST and for the files. What always holds: a function's name is of
//! one library only; names of libraries are told apart by case, names of functions are not; whatever fails changes
//! nothing. The code that can be called stays with the interpreter; here it is known by a number.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`metadata`] | the first line of a library, and the rule for names |
//! | [`register`] | what `redis.register_function` is given |
//! | `registry.rs` | libraries within the interpreter |
//!
//! Mirrors functions.c of Redis.

pub mod metadata;
pub mod register;
pub(super) mod registry;

use super::flags::ScriptFlags;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The one engine, as it is spelled in answers.
pub const ENGINE: &str = "LUA";

/// A function that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// As it was registered.
    pub name: Vec<u8>,
    /// What its author says of it.
    pub description: Option<Vec<u8>>,
    /// What it may do, and where it may run.
    pub flags: ScriptFlags,
    /// What the interpreter knows it by.
    pub handle: u64,
}

/// A library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// From the first line of its code.
    pub name: Vec<u8>,
    /// As it was given, the first line included.
    pub code: Arc<[u8]>,
    /// In the order in which they were registered.
    pub functions: Vec<Arc<Function>>,
}

impl Library {
    /// Bytes that it takes here, those of the interpreter not counted.
    fn memory(&self) -> usize {
        let functions: usize = self
            .functions
            .iter()
            .map(|function| {
                let description = function.description.as_ref().map_or(0, Vec::len);
                size_of::<Function>() + 2 * function.name.len() + description
            })
            .sum();
        size_of::<Library>() + 2 * self.name.len() + self.code.len() + functions
    }
    /// What the interpreter knows its functions by.
    pub fn handles(&self) -> impl Iterator<Item = u64> {
        self.functions.iter().map(|function| function.handle)
    }
}

/// What is done with libraries of the same name (FUNCTION RESTORE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All that is there goes.
    Flush,
    /// Nothing that is there goes: a name that is taken is an error.
    Append,
    /// Libraries of the same name go.
    Replace,
}

/// All libraries.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<Vec<u8>, Library>,
    /// The functions by name in lower case.
    functions: HashMap<Vec<u8>, Arc<Function>>,
    memory: usize,
}

impl Libraries {
    /// A library by its name.
    #[cfg(test)]
    pub fn get(&self, name: &[u8]) -> Option<&Library> {
        self.by_name.get(name)
    }
    /// A function by its name, in any case.
    pub fn function(&self, name: &[u8]) -> Option<&Arc<Function>> {
        if name.iter().any(u8::is_ascii_uppercase) {
            self.functions.get(&name.to_ascii_lowercase())
        } else {
            self.functions.get(name)
        }
    }
    /// All libraries, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Library> {
        self.by_name.values()
    }
    /// Number of libraries.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
    /// Number of functions.
    pub fn functions_len(&self) -> usize {
        self.functions.len()
    }
    /// Bytes that they take here, those of the interpreter not counted.
    pub fn memory(&self) -> usize {
        self.memory + size_of::<Libraries>()
    }
    /// The code of each, for the files; no bytes are copied.
    pub fn codes(&self) -> Vec<Arc<[u8]>> {
        self.iter()
            .map(|library| Arc::clone(&library.code))
            .collect()
    }
    /// Whether a library of this name may be loaded; asked before its code is run.
    pub fn may_load(&self, name: &[u8], replace: bool) -> Result<(), String> {
        if !replace && self.by_name.contains_key(name) {
            let name = metadata::shown(name);
            return Err(format!("Library '{name}' already exists"));
        }
        Ok(())
    }
    /// Adds a library whose code was run, in the place of one of its name; which is given back. On an error, whose
    /// text is Redis's, nothing has changed.
    pub fn add(&mut self, library: Library) -> Result<Option<Library>, String> {
        if library.functions.is_empty() {
            return Err("No functions registered".into());
        }
        let old = self.remove(&library.name);
        if let Some(taken) = self.taken(&library) {
            let error = format!("Function {} already exists", metadata::shown(taken));
            if let Some(old) = old {
                self.link(old);
            }
            return Err(error);
        }
        self.link(library);
        Ok(old)
    }
    /// Takes a library out.
    pub fn remove(&mut self, name: &[u8]) -> Option<Library> {
        let library = self.by_name.remove(name)?;
        for function in &library.functions {
            self.functions.remove(&function.name.to_ascii_lowercase());
        }
        self.memory -= library.memory();
        Some(library)
    }
    /// Takes all libraries out.
    pub fn clear(&mut self) -> Vec<Library> {
        let all = std::mem::take(self);
        all.by_name.into_values().collect()
    }
    /// Takes in the libraries of `other`, which were loaded aside; those that went are given back. On an error, whose
    /// text is Redis's, nothing has changed, and those that did not get in are given back.
    pub fn join(
        &mut self,
        other: Libraries,
        policy: Policy,
    ) -> Result<Vec<Library>, (String, Vec<Library>)> {
        if policy == Policy::Flush {
            let old = std::mem::replace(self, other);
            return Ok(old.by_name.into_values().collect());
        }
        let mut replaced = Vec::new();
        let mut error = None;
        for name in other.by_name.keys() {
            if policy == Policy::Append && self.by_name.contains_key(name) {
                let name = metadata::shown(name);
                error = Some(format!("Library {name} already exists"));
                break;
            }
            replaced.extend(self.remove(name));
        }
        if error.is_none() {
            let taken = other.iter().find_map(|library| self.taken(library));
            error = taken.map(|name| format!("Function {} already exists", metadata::shown(name)));
        }
        let new = other.by_name.into_values();
        if let Some(error) = error {
            replaced.into_iter().for_each(|library| self.link(library));
            return Err((error, new.collect()));
        }
        new.for_each(|library| self.link(library));
        Ok(replaced)
    }
    /// A function of `library` whose name is taken.
    fn taken<'a>(&self, library: &'a Library) -> Option<&'a [u8]> {
        library
            .functions
            .iter()
            .map(|function| function.name.as_slice())
            .find(|name| self.function(name).is_some())
    }
    fn link(&mut self, library: Library) {
        self.memory += library.memory();
        for function in &library.functions {
            let name = function.name.to_ascii_lowercase();
            self.functions.insert(name, Arc::clone(function));
        }
        self.by_name.insert(library.name.clone(), library);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, functions: &[&str]) -> Library {
        let function = |name: &&str| {
            Arc::new(Function {
                name: name.as_bytes().to_vec(),
                description: None,
                flags: ScriptFlags::default(),
                handle: name.len() as u64,
            })
        };
        Library {
            name: name.as_bytes().to_vec(),
            code: Arc::from(format!("#!lua name={name}\n").as_bytes()),
            functions: functions.iter().map(function).collect(),
        }
    }

    fn of(libraries: &[(&str, &[&str])]) -> Libraries {
        let mut all = Libraries::default();
        for (name, functions) in libraries {
            assert_eq!(all.add(library(name, functions)), Ok(None));
        }
        all
    }

    /// All names, and that the parts agree with each other.
    fn names(libraries: &Libraries) -> String {
        let mut memory = 0;
        let mut functions = 0;
        let mut names = Vec::new();
        for library in libraries.iter() {
            memory += library.memory();
            functions += library.functions.len();
            names.push(metadata::shown(&library.name));
            for function in &library.functions {
                assert_eq!(libraries.function(&function.name), Some(function));
                names.push(metadata::shown(&function.name));
            }
        }
        assert_eq!(libraries.memory, memory);
        assert_eq!(libraries.functions_len(), functions);
        names.join(" ")
    }

    #[test]
    fn functions_are_found_in_any_case() {
        let all = of(&[("a", &["Foo", "bar"])]);
        assert_eq!(all.function(b"fOO").expect("Foo").name, b"Foo");
        assert!(all.function(b"BAR").is_some() && all.function(b"baz").is_none());
        assert!(all.get(b"A").is_none());
    }

    #[test]
    fn a_failed_load_changes_nothing() {
        let mut all = of(&[("a", &["f1"]), ("b", &["f2"])]);
        assert_eq!(
            all.may_load(b"a", false),
            Err("Library 'a' already exists".into())
        );
        assert_eq!(all.may_load(b"a", true), Ok(()));
        assert_eq!(
            all.add(library("a", &["f3", "F2"])),
            Err("Function F2 already exists".into())
        );
        assert_eq!(
            all.add(library("a", &[])),
            Err("No functions registered".into())
        );
        assert_eq!(names(&all), "a f1 b f2");
        let old = all.add(library("a", &["f1", "f3"])).expect("replaced");
        assert_eq!(old.map(|old| old.functions.len()), Some(1));
        assert_eq!(names(&all), "a f1 f3 b f2");
        assert!(all.remove(b"a").is_some() && all.remove(b"a").is_none());
        assert_eq!(names(&all), "b f2");
    }

    #[test]
    fn restoring_is_all_or_nothing() {
        let mut all = of(&[("a", &["f1"]), ("b", &["f2"])]);
        let (error, back) = all
            .join(of(&[("0", &["g"]), ("b", &["f2"])]), Policy::Append)
            .expect_err("b is there");
        assert_eq!(
            (error.as_str(), back.len()),
            ("Library b already exists", 2)
        );
        let (error, _) = all
            .join(of(&[("b", &["f2", "F1"])]), Policy::Replace)
            .expect_err("f1 is there");
        assert_eq!(error, "Function F1 already exists");
        assert_eq!(names(&all), "a f1 b f2");
        let gone = all.join(of(&[("b", &["f3"]), ("c", &["f2"])]), Policy::Replace);
        assert_eq!(gone.map(|gone| gone.len()), Ok(1));
        assert_eq!(names(&all), "a f1 b f3 c f2");
        let gone = all.join(of(&[("z", &["f1"])]), Policy::Flush);
        assert_eq!(gone.map(|gone| gone.len()), Ok(3));
        assert_eq!(names(&all), "z f1");
        assert_eq!(all.clear().len(), 1);
        assert_eq!(names(&all), "");
    }
}
