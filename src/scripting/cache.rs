//! The scripts that are known: by their text, so that EVAL needs no digest of what it has seen before, and by their
//! digest for EVALSHA.
//!
//! In: a script's text. Out: its number in the interpreter, its flags, its digest. What EVAL brought is forgotten when
//! it is not used for long and there are many; what SCRIPT LOAD brought stays. Mirrors eval.c of Redis, as of 7.4.

use super::flags::ScriptFlags;
use crate::system::quoting;
use ahash::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// Scripts of EVAL that are kept.
const KEPT: usize = 500;

/// SHA-1 in hexadecimal digits.
pub type Digest = [u8; 40];

/// A script.
#[derive(Debug)]
pub struct Script {
    /// SHA-1 of its text.
    pub digest: Digest,
    /// Its text.
    pub text: Arc<[u8]>,
    /// What its first line says, if it has one.
    pub flags: Option<ScriptFlags>,
    /// SCRIPT LOAD brought it: it stays.
    is_loaded: bool,
    /// When it was last used, in uses.
    used: u64,
}

/// All scripts. A script's number is also that of its function in the interpreter.
#[derive(Debug, Default)]
pub struct Scripts {
    slots: Vec<Option<Script>>,
    free: Vec<u32>,
    by_digest: HashMap<Digest, u32>,
    /// Scripts by a hash of their text; of two with one hash the first is in it.
    by_text: HashMap<u64, u32, nohash::Build>,
    hasher: Keyed,
    uses: u64,
    /// Bytes of texts.
    bytes: usize,
    /// Scripts that SCRIPT LOAD brought.
    loaded: usize,
    /// Scripts that were forgotten because there were many.
    pub evicted: u64,
}

/// A hash that clients cannot foresee.
#[derive(Clone, Debug)]
struct Keyed(RandomState);

impl Default for Keyed {
    fn default() -> Keyed {
        let seed = |n: u64| std::hash::RandomState::new().hash_one(n);
        Keyed(RandomState::with_seeds(seed(1), seed(2), seed(3), seed(4)))
    }
}

mod nohash {
    //! A hash of a hash: itself.
    use std::hash::{BuildHasherDefault, Hasher};

    #[derive(Default)]
    pub struct Same(u64);
    impl Hasher for Same {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
            }
        }
        fn write_u64(&mut self, value: u64) {
            self.0 = value;
        }
    }
    pub type Build = BuildHasherDefault<Same>;
}

impl Scripts {
    /// Number of scripts.
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }
    /// Bytes that they take here, those of the interpreter not counted.
    pub fn memory(&self) -> usize {
        self.bytes + self.slots.capacity() * size_of::<Option<Script>>()
    }
    /// A script by its number.
    pub fn get(&self, id: u32) -> Option<&Script> {
        self.slots.get(id as usize)?.as_ref()
    }
    /// The script with this text.
    #[inline]
    pub fn by_text(&self, text: &[u8]) -> Option<u32> {
        let hash = self.hasher.0.hash_one(text);
        if let Some(id) = self.by_text.get(&hash) {
            let known = self.get(*id)?;
            if *known.text == *text {
                return Some(*id);
            }
            return self.by_digest.get(&digest(text)).copied();
        }
        None
    }
    /// The script with this digest, in any case.
    pub fn by_digest(&self, digits: &[u8]) -> Option<u32> {
        let mut digest: Digest = digits.try_into().ok()?;
        digest.make_ascii_lowercase();
        self.by_digest.get(&digest).copied()
    }
    /// Notes that a script is used.
    #[inline]
    pub fn touch(&mut self, id: u32) {
        self.uses += 1;
        if let Some(Some(script)) = self.slots.get_mut(id as usize) {
            script.used = self.uses;
        }
    }
    /// The number that the next script gets.
    pub fn next_id(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }
    /// Adds a script that is not known, as the number that [`Scripts::next_id`] told. One that is to be forgotten for
    /// it, if there are too many.
    pub fn add(
        &mut self,
        text: &[u8],
        digest: Digest,
        flags: Option<ScriptFlags>,
        is_loaded: bool,
    ) -> Option<u32> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        self.uses += 1;
        self.bytes += text.len();
        self.by_digest.insert(digest, id);
        self.by_text
            .entry(self.hasher.0.hash_one(text))
            .or_insert(id);
        self.loaded += usize::from(is_loaded);
        if let Some(slot) = self.slots.get_mut(id as usize) {
            *slot = Some(Script {
                digest,
                text: text.into(),
                flags,
                is_loaded,
                used: self.uses,
            });
        }
        if self.len() - self.loaded <= KEPT {
            return None;
        }
        let oldest = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(id, script)| Some((id, script.as_ref()?)))
            .filter(|(_, script)| !script.is_loaded)
            .min_by_key(|(_, script)| script.used)
            .map(|(id, _)| id as u32)?;
        self.remove(oldest);
        self.evicted += 1;
        Some(oldest)
    }
    /// Has a script stay.
    pub fn keep(&mut self, id: u32) {
        if let Some(Some(script)) = self.slots.get_mut(id as usize)
            && !script.is_loaded
        {
            script.is_loaded = true;
            self.loaded += 1;
        }
    }
    fn remove(&mut self, id: u32) {
        let Some(script) = self.slots.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        self.bytes -= script.text.len();
        self.loaded -= usize::from(script.is_loaded);
        self.by_digest.remove(&script.digest);
        let hash = self.hasher.0.hash_one(&*script.text);
        if self.by_text.get(&hash) == Some(&id) {
            self.by_text.remove(&hash);
        }
        self.free.push(id);
    }
    /// Forgets all.
    pub fn clear(&mut self) {
        let (hasher, evicted) = (self.hasher.clone(), self.evicted);
        *self = Scripts {
            hasher,
            evicted,
            ..Scripts::default()
        };
    }
}

/// The digest of a text.
pub fn digest(text: &[u8]) -> Digest {
    use sha1::Digest as _;
    let mut out = [0; 40];
    let bytes = sha1::Sha1::digest(text);
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = b"0123456789abcdef"[value as usize];
        }
    }
    out
}

/// Reads a script's first line, `#!lua flags=...`: its flags (none without such a line), and where the program begins
/// (with the line feed, so that lines are numbered as in the whole). The error is Redis's text, without a code in front.
pub fn shebang(text: &[u8]) -> Result<(Option<ScriptFlags>, usize), Vec<u8>> {
    if !text.starts_with(b"#!") {
        return Ok((None, 0));
    }
    let end = memchr::memchr(b'\n', text).ok_or(b"Invalid script shebang")?;
    let words = quoting::split(&text[..end])
        .ok()
        .filter(|words| !words.is_empty())
        .ok_or(b"Invalid engine in script shebang")?;
    let problem = |text: &str, word: &[u8]| [text.as_bytes(), word].concat();
    if words[0] != b"#!lua" {
        return Err(problem("Unexpected engine in script shebang: ", &words[0]));
    }
    let mut flags = ScriptFlags::default();
    for word in &words[1..] {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(problem("Unknown lua shebang option: ", word));
        };
        if names.is_empty() {
            continue;
        }
        for name in names.split(|byte| *byte == b',') {
            let flag = ScriptFlags::by_name(name)
                .ok_or_else(|| problem("Unexpected flag in script shebang: ", name))?;
            flags = flags.and(flag);
        }
    }
    Ok((Some(flags), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(scripts: &mut Scripts, text: &str, is_loaded: bool) -> (u32, Option<u32>) {
        let id = scripts.next_id();
        let gone = scripts.add(text.as_bytes(), digest(text.as_bytes()), None, is_loaded);
        (id, gone)
    }

    #[test]
    fn scripts_are_found_by_text_and_by_digest() {
        let mut scripts = Scripts::default();
        let (one, _) = add(&mut scripts, "return 1", false);
        let (two, _) = add(&mut scripts, "return 2", true);
        assert_ne!(one, two);
        assert_eq!(scripts.by_text(b"return 1"), Some(one));
        assert_eq!(scripts.by_text(b"return 3"), None);
        let upper = b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB";
        assert_eq!(scripts.by_digest(upper), Some(one));
        assert_eq!(scripts.by_digest(b"e0e1"), None);
        assert_eq!(scripts.bytes, 16);
        scripts.clear();
        assert!(scripts.is_empty() && scripts.by_text(b"return 1").is_none());
    }

    #[test]
    fn of_many_the_one_that_was_not_used_for_longest_goes() {
        let mut scripts = Scripts::default();
        let (loaded, _) = add(&mut scripts, "loaded", true);
        let ids: Vec<u32> = (0..KEPT)
            .map(|n| add(&mut scripts, &n.to_string(), false).0)
            .collect();
        scripts.touch(ids[0]);
        let (_, gone) = add(&mut scripts, "one too many", false);
        assert_eq!(gone, Some(ids[1]));
        assert_eq!(scripts.by_text(b"1"), None);
        scripts.keep(ids[2]);
        assert_eq!(add(&mut scripts, "there is room", false), (ids[1], None));
        assert_eq!(add(&mut scripts, "and no more", false).1, Some(ids[3]));
        assert!(scripts.get(loaded).is_some() && scripts.evicted == 2);
    }

    #[test]
    fn the_first_line_tells_flags() {
        assert_eq!(shebang(b"return 1"), Ok((None, 0)));
        let flags = ScriptFlags::NO_WRITES.and(ScriptFlags::ALLOW_STALE);
        assert_eq!(
            shebang(b"#!lua flags=no-writes,allow-stale\nreturn 1"),
            Ok((Some(flags), 33))
        );
        for (text, error) in [
            ("#!lua", "Invalid script shebang"),
            (
                "#!not-lua\n",
                "Unexpected engine in script shebang: #!not-lua",
            ),
            (
                "#!lua badger=data\n",
                "Unknown lua shebang option: badger=data",
            ),
            ("#!lua flags=a\n", "Unexpected flag in script shebang: a"),
        ] {
            assert_eq!(shebang(text.as_bytes()), Err(error.as_bytes().to_vec()));
        }
    }
}
