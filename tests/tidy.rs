//! Keeps the house in order: docs at every door, `unsafe` in its rooms, no upward imports, every file owned.

use std::fs;
use std::path::{Path, PathBuf};

/// Files in which `unsafe` may stand: pure structures, the entry, the system's calls, and the calls of Lua.
const UNSAFE_ROOMS: &[&str] = &[
    "src/structures/",
    "src/keyspace/entry.rs",
    "src/keyspace/table.rs",
    "src/system/",
    "src/scripting/raw.rs",
];

/// Rooms from the ground floor up; a room may use its own floor and those below.
const FLOORS: &[(&str, u8)] = &[
    ("system", 0),
    ("event_loop", 1),
    ("net", 1),
    ("resp", 1),
    ("structures", 1),
    ("keyspace", 2),
    ("clients", 2),
    ("journal", 2),
    ("config", 2),
    ("observe", 3),
    ("messaging", 3),
    ("persistence", 3),
    ("scripting", 3),
    ("engine", 4),
    ("commands", 5),
    ("server", 6),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a readable folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    found.sort();
    let name = |path: &Path| {
        path.strip_prefix(root())
            .expect("below the root")
            .to_string_lossy()
            .into_owned()
    };
    found
        .iter()
        .map(|path| {
            (
                name(path),
                fs::read_to_string(path).expect("a readable file"),
            )
        })
        .collect()
}

#[test]
fn every_file_opens_with_what_it_is() {
    for (name, text) in rust_files("src") {
        assert!(text.starts_with("//!"), "{name} has no //! doc at its head");
        assert!(!text.contains("(being built"), "{name} is a stub");
    }
}

#[test]
fn unsafe_stays_in_its_rooms() {
    for (name, text) in rust_files("src") {
        let allowed = UNSAFE_ROOMS.iter().any(|room| name.starts_with(room));
        let uses = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or("");
            ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"]
                .iter()
                .any(|word| code.contains(word))
        });
        assert!(
            allowed || !uses,
            "{name} uses unsafe outside the rooms that may"
        );
    }
}

#[test]
fn no_room_imports_from_a_floor_above() {
    let floor = |room: &str| {
        FLOORS
            .iter()
            .find(|(name, _)| *name == room)
            .map(|(_, floor)| *floor)
    };
    for (name, text) in rust_files("src") {
        let Some(room) = name
            .strip_prefix("src/")
            .and_then(|rest| rest.split(['/', '.']).next())
        else {
            continue;
        };
        let Some(own) = floor(room) else { continue };
        // Unit tests of a lower floor may run commands: they are no part of what is built.
        let built = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        for (number, line) in built.lines().enumerate().filter(|_| !is_test) {
            let code = line.split("//").next().unwrap_or("");
            for part in code.split("crate::").skip(1) {
                let used: String = part
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if let Some(other) = floor(&used) {
                    assert!(
                        other <= own,
                        "{name}:{}: {room} (floor {own}) uses {used} (floor {other})",
                        number + 1
                    );
                }
            }
        }
    }
}

#[test]
fn every_file_has_an_owner_in_the_architecture() {
    let architecture =
        fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let named = |name: &str| architecture.contains(&format!("`{name}`"));
    for (name, _) in rust_files("src") {
        let owner = Path::new(&name)
            .ancestors()
            .skip(1)
            .any(|folder| named(&format!("{}/*", folder.display())));
        assert!(
            named(&name) || owner,
            "{name} is not in docs/architecture.md"
        );
    }
}

#[test]
fn every_command_is_named_in_a_test() {
    let mut tests = String::new();
    for (_, text) in rust_files("tests") {
        tests.push_str(&text.to_ascii_lowercase());
    }
    for (name, text) in rust_files("src") {
        if name.contains("tests") {
            tests.push_str(&text.to_ascii_lowercase());
        } else if let Some((_, unit)) = text.split_once("#[cfg(test)]") {
            tests.push_str(&unit.to_ascii_lowercase());
        }
    }
    let named = |name: &str| {
        tests.contains(&format!("\"{name}\"")) || tests.contains(&format!("\"{name} "))
    };
    let specs = gyre::commands::GROUPS.iter().flat_map(|group| group.iter());
    let missing: Vec<&str> = specs
        .map(|spec| spec.name)
        .filter(|name| !named(name))
        .collect();
    assert!(
        missing.is_empty(),
        "no test names these commands: {missing:?}"
    );
}
