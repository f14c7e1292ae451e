//! Hides secrets in what is recorded: the arguments of commands that [`secrets`](crate::config::secrets) tells of, under
//! whatever name the command is called, and the credentials of HTTP requests. The names of users stay: a replay asks for them.
//!
//! In: the bytes of each connection as they were read, cut anywhere. Out: the same bytes with each letter of a secret
//! replaced. What it is replaced by depends on the whole secret and a key that nobody keeps, so two secrets that
//! are equal stay equal (a replay lets in whom the server let in) and nothing else can be learned of them but their
//! length: a guess that is right but for its last letter has nothing in common with the secret. Of a secret that comes in
//! pieces the first ones are blotted out until its end is here, and replaced then. It follows the protocol loosely: what
//! the parser refuses, the server closes.
//!
//! Of a rule that adds the hash of a password the hash is hidden as well. What a password is replaced by has another hash than
//! that, but it is made of what its hash is replaced by: the replay knows by that whom to let in ([`stands_for`]).

use crate::config::secrets::{self, Argument, Arguments, PASSWORD_RULES, WORD};
use crate::config::{Config, StatementKind};
use crate::event_loop::Token;
use crate::event_loop::recording::{Mask, Patch};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Pieces of a secret beyond which the first of them stay blotted out: nobody sends a password so.
const MOST_PIECES: usize = 1024;
/// What a letter of a secret becomes one of.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// What a digit of a password's hash becomes one of.
const DIGITS: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// Digits of a password's hash.
const HASH_LEN: usize = 64;

/// The mask of one recording.
pub(super) struct Secrets {
    key: [u8; 32],
    streams: Vec<Stream>,
    /// Names that `rename-command` gave to commands which may carry secrets, and what they are called otherwise.
    renamed: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Where a connection's input stands.
#[derive(Clone, Default)]
struct Stream {
    phase: Phase,
    /// The number that is being read.
    number: usize,
    /// What the words of the command are.
    arguments: Arguments,
    /// Bytes of the argument that are still to come.
    left: usize,
    /// The beginning of the argument.
    word: Vec<u8>,
    /// What is hidden of the argument that has begun.
    hiding: Hiding,
    /// A minus came before the number.
    is_negative: bool,
    /// What of the secret was seen.
    hash: Option<Sha256>,
    /// Where earlier pieces of it are in the recording, and how long they are.
    pieces: Vec<(u64, usize)>,
    /// Bytes of all its earlier pieces.
    seen: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Between commands.
    #[default]
    Start,
    /// After `*`.
    Count,
    /// Before or after `$`.
    Length,
    /// The byte after a number's carriage return, whatever it is; the number was a count if `true`.
    NumberEnd(bool),
    /// In an argument.
    Argument,
    /// The line's end after an argument.
    LineEnd,
    /// In a line that is a command.
    Inline,
}

/// What is hidden of an argument.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Hiding {
    /// Its first byte is not here yet.
    #[default]
    Unknown,
    Nothing,
    /// All of it, or all that is still to come.
    Letters,
    /// The digits of a hash that are still to come.
    Digits,
}

impl Secrets {
    /// A mask with this key, which is to be forgotten with it, for what clients of a server with this configuration send.
    pub(super) fn new(key: [u8; 32], config: &Config) -> Secrets {
        let renamed = config
            .statements()
            .iter()
            .filter_map(|statement| match &statement.kind {
                StatementKind::RenameCommand { from, to } if secrets::may_carry(from) => {
                    Some((to.clone(), from.clone()))
                }
                _ => None,
            });
        Secrets {
            key,
            streams: Vec::new(),
            renamed: renamed.collect(),
        }
    }

    /// A whole secret.
    pub(super) fn hidden(&self, secret: &[u8]) -> Vec<u8> {
        self.masked(secret, Hiding::Letters)
    }

    /// A rule of a user, without its password if it has one.
    pub(super) fn hidden_rule(&self, rule: &[u8]) -> Vec<u8> {
        match (Hiding::of_rule(rule.first().copied()), rule.split_first()) {
            (hiding @ (Hiding::Letters | Hiding::Digits), Some((first, rest))) => {
                [&[*first], &self.masked(rest, hiding)[..]].concat()
            }
            _ => rule.to_vec(),
        }
    }

    fn masked(&self, secret: &[u8], hiding: Hiding) -> Vec<u8> {
        let whole = self.begin(hiding).chain_update(secret);
        self.letters(whole, hiding).take(secret.len()).collect()
    }

    /// What a command is called by those who did not rename it.
    fn original<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        let renamed = self
            .renamed
            .iter()
            .find(|(to, _)| to.eq_ignore_ascii_case(name));
        renamed.map_or(name, |(_, from)| from)
    }

    /// Whether a line begins with a command that may carry secrets.
    fn may_carry_secrets(&self, line: &[u8]) -> bool {
        let line = line.trim_ascii_start();
        let end = line.iter().position(u8::is_ascii_whitespace);
        let name = &line[..end.unwrap_or(line.len())];
        // A name may be written in quotes, with escapes.
        let is_plain = !name.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\'));
        secrets::may_carry(self.original(name)) || !is_plain || is_authorization(line)
    }

    /// What all of a secret is to be put into: of a password its hash is taken first, with which others know it.
    fn begin(&self, hiding: Hiding) -> Sha256 {
        match hiding {
            Hiding::Digits => Sha256::new_with_prefix(self.key),
            Hiding::Unknown | Hiding::Nothing | Hiding::Letters => Sha256::new(),
        }
    }

    /// What is put in the place of a secret, once all of it is in the hash that was begun for it.
    fn letters(&self, whole: Sha256, hiding: Hiding) -> Letters {
        match hiding {
            Hiding::Digits => letters(whole, DIGITS),
            Hiding::Unknown | Hiding::Nothing | Hiding::Letters => {
                let mut hash = Vec::with_capacity(HASH_LEN);
                for byte in whole.finalize() {
                    hash.extend(format!("{byte:02x}").bytes());
                }
                letters_of_hash(&self.masked(&hash, Hiding::Digits))
            }
        }
    }

    /// A command that is one line: as far as it is here it can be looked at whole.
    fn hide_line(&self, line: &mut [u8]) {
        if is_authorization(line) {
            self.hide_authorization(line);
            return;
        }
        if is_oddly_quoted(line) && self.may_carry_secrets(line) {
            // Where its words end is for the parser to know; all of them go.
            blot(line);
            return;
        }
        let mut words = Vec::new();
        let mut at = 0;
        while at < line.len() {
            let blanks = line[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace());
            at += blanks.count();
            let letters = line[at..]
                .iter()
                .take_while(|byte| !byte.is_ascii_whitespace());
            let end = at + letters.count();
            if end > at {
                words.push(at..end);
            }
            at = end;
        }
        let mut stream = Stream {
            arguments: Arguments::new(words.len()),
            ..Stream::default()
        };
        let is_cut = !line.ends_with(b"\n");
        let len = line.len();
        for range in words {
            let is_part = is_cut && range.end == len;
            let word = &mut line[range];
            let bare = quoted(word);
            stream.word = word[bare.clone()][..bare.len().min(WORD)].to_vec();
            let masked = match stream.arguments.next() {
                Argument::Secret => Some(self.hidden(&word[bare.clone()])),
                Argument::Rule => Some(self.hidden_rule(&word[bare.clone()])),
                Argument::Plain | Argument::Name => None,
            };
            match masked {
                // The rest of it is still to come, and what stands for a part would let that be guessed by itself.
                Some(_) if is_part => blot(word),
                Some(masked) => word[bare].copy_from_slice(&masked),
                None => {}
            }
            stream.end_argument(self);
        }
    }
}

impl Secrets {
    /// A header field of an HTTP request: what of it is a password is hidden like any other, so that the replay lets
    /// in whom the server let in.
    fn hide_authorization(&self, line: &mut [u8]) {
        let colon = line.iter().position(|byte| *byte == b':');
        let value = &mut line[colon.map_or(0, |colon| colon + 1)..];
        let begin = value.len() - value.trim_ascii_start().len();
        let end = value.trim_ascii_end().len();
        if !value.ends_with(b"\n") || begin >= end {
            blot(value);
            return;
        }
        let field = &mut value[begin..end];
        let scheme = field.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let blanks = field[scheme..].iter().take_while(|byte| **byte == b' ');
        let at = scheme + blanks.count();
        let hidden = match field[..scheme].to_ascii_lowercase().as_slice() {
            b"bearer" => Some(self.hidden(&field[at..])),
            b"basic" => STANDARD.decode(&field[at..]).ok().and_then(|mut pair| {
                let colon = pair.iter().position(|byte| *byte == b':')?;
                let password = self.hidden(&pair[colon + 1..]);
                pair[colon + 1..].copy_from_slice(&password);
                Some(STANDARD.encode(pair).into_bytes())
            }),
            _ => None,
        };
        match hidden {
            Some(hidden) if hidden.len() == field.len() - at => {
                field[at..].copy_from_slice(&hidden);
            }
            _ => blot(field),
        }
    }
}

/// Hides all of it for good.
fn blot(line: &mut [u8]) {
    for byte in line.iter_mut().filter(|byte| !byte.is_ascii_whitespace()) {
        *byte = b'*';
    }
}

/// Whether a line is the header field of HTTP that has a credential.
fn is_authorization(line: &[u8]) -> bool {
    const NAMES: [&[u8]; 2] = [b"authorization", b"proxy-authorization"];
    let colon = line.iter().position(|byte| *byte == b':');
    let name = line[..colon.unwrap_or(0)].trim_ascii();
    NAMES.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Whether it has quotes or escapes elsewhere than around a whole word without any.
fn is_oddly_quoted(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace);
    words.any(|word| {
        let bare = &word[quoted(word)];
        bare.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\'))
    })
}

/// Where a word's letters are without the quotes around it.
fn quoted(word: &[u8]) -> std::ops::Range<usize> {
    match word {
        [b'"', .., b'"'] | [b'\'', .., b'\''] => 1..word.len() - 1,
        _ => 0..word.len(),
    }
}

/// Whether a password of a recording stands for that of a user's hash, as the recording has both.
pub(super) fn stands_for(hash: &str, password: &[u8]) -> bool {
    let letters = letters_of_hash(hash.as_bytes());
    letters.take(password.len()).eq(password.iter().copied())
}

/// The letters of a password whose hash is replaced by this.
fn letters_of_hash(hash: &[u8]) -> Letters {
    letters(Sha256::new_with_prefix(hash), LETTERS)
}

/// What is put in the place of a secret: as much as is wanted.
type Letters = Box<dyn Iterator<Item = u8>>;

/// Letters of this alphabet that follow from a hash.
fn letters(whole: Sha256, alphabet: &'static [u8; 32]) -> Letters {
    let seed = whole.finalize();
    let blocks = (0_u64..).map(move |block| {
        Sha256::new_with_prefix(seed)
            .chain_update(block.to_le_bytes())
            .finalize()
    });
    let letters = blocks
        .flatten()
        .map(|byte| alphabet[usize::from(byte & 31)]);
    Box::new(letters)
}

impl Hiding {
    /// What is hidden of a rule that begins with this byte, behind it.
    fn of_rule(first: Option<u8>) -> Hiding {
        match first {
            Some(b'#' | b'!') => Hiding::Digits,
            Some(byte) if PASSWORD_RULES.contains(&byte) => Hiding::Letters,
            _ => Hiding::Nothing,
        }
    }
}

impl Stream {
    /// The argument is whole: what does it make of those that follow?
    fn end_argument(&mut self, secrets: &Secrets) {
        match self.arguments.is_first() {
            true => self.arguments.end_word(secrets.original(&self.word)),
            false => self.arguments.end_word(&self.word),
        }
        self.word.clear();
        self.hiding = Hiding::Unknown;
        self.hash = None;
        self.pieces = Vec::new();
        self.seen = 0;
    }

    fn start_over(&mut self) {
        *self = Stream::default();
    }
}

impl Mask for Secrets {
    fn hide(&mut self, token: Token, bytes: &mut [u8], place: u64, patches: &mut Vec<Patch>) {
        if self.streams.len() <= token.0 {
            self.streams.resize(token.0 + 1, Stream::default());
        }
        let mut stream = std::mem::take(&mut self.streams[token.0]);
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&mut stream, &mut bytes[at..], place + at as u64, patches);
        }
        self.streams[token.0] = stream;
    }

    fn closed(&mut self, token: Token) {
        if let Some(stream) = self.streams.get_mut(token.0) {
            stream.start_over();
        }
    }
}

impl Secrets {
    /// Takes some of the bytes, at least one; they are at this place of the recording.
    fn step(
        &self,
        stream: &mut Stream,
        bytes: &mut [u8],
        place: u64,
        patches: &mut Vec<Patch>,
    ) -> usize {
        match stream.phase {
            Phase::Start => {
                stream.start_over();
                if bytes[0] == b'*' {
                    stream.phase = Phase::Count;
                    return 1;
                }
                stream.phase = Phase::Inline;
                0
            }
            Phase::Inline => {
                let end = memchr::memchr(b'\n', bytes);
                let len = end.map_or(bytes.len(), |end| end + 1);
                let line = &mut bytes[..len];
                let is_rest = !stream.word.is_empty();
                // Blanks in front of a line are as good as none.
                let text = if is_rest {
                    &*line
                } else {
                    line.trim_ascii_start()
                };
                let room = WORD.saturating_sub(stream.word.len()).min(text.len());
                stream.word.extend_from_slice(&text[..room]);
                if !is_rest {
                    self.hide_line(line);
                } else if self.may_carry_secrets(&stream.word) {
                    // What the rest of a cut line means is not worth finding out: all of it goes.
                    blot(line);
                }
                if end.is_some() {
                    stream.phase = Phase::Start;
                }
                len
            }
            Phase::Count | Phase::Length => {
                match bytes[0] {
                    digit @ b'0'..=b'9' => {
                        let digit = usize::from(digit - b'0');
                        stream.number = stream.number.saturating_mul(10).saturating_add(digit);
                    }
                    b'-' => stream.is_negative = true,
                    b'\r' => stream.phase = Phase::NumberEnd(stream.phase == Phase::Count),
                    _ => {}
                }
                1
            }
            Phase::NumberEnd(is_count) => {
                self.end_number(stream, is_count);
                1
            }
            Phase::Argument => self.argument(stream, bytes, place, patches),
            Phase::LineEnd => {
                // Two bytes, whatever they are: the parser does not look at them.
                if stream.left == 0 {
                    stream.left = 1;
                    return 1;
                }
                stream.left = 0;
                stream.phase = if stream.arguments.is_complete() {
                    Phase::Start
                } else {
                    Phase::Length
                };
                1
            }
        }
    }

    /// Takes some of the bytes of an argument.
    fn argument(
        &self,
        stream: &mut Stream,
        bytes: &mut [u8],
        place: u64,
        patches: &mut Vec<Patch>,
    ) -> usize {
        let argument = stream.arguments.next();
        let is_new = stream.hiding == Hiding::Unknown;
        if is_new {
            stream.hiding = match argument {
                Argument::Secret => Hiding::Letters,
                Argument::Rule => Hiding::of_rule(Some(bytes[0])),
                Argument::Plain | Argument::Name => Hiding::Nothing,
            };
        }
        // The first byte of a rule says what the rest is, and stays.
        let is_mark = is_new && argument == Argument::Rule;
        let here = if is_mark {
            1
        } else {
            stream.left.min(bytes.len())
        };
        let piece = &mut bytes[..here];
        if is_mark || stream.hiding == Hiding::Nothing {
            let room = WORD.saturating_sub(stream.word.len()).min(here);
            stream.word.extend_from_slice(&piece[..room]);
        } else {
            let is_last = stream.left == here;
            self.hide_piece(stream, piece, place, is_last, patches);
        }
        stream.left -= here;
        if stream.left == 0 {
            stream.end_argument(self);
            stream.phase = Phase::LineEnd;
        }
        here
    }

    /// A piece of a secret, perhaps the last one.
    fn hide_piece(
        &self,
        stream: &mut Stream,
        piece: &mut [u8],
        place: u64,
        is_last: bool,
        patches: &mut Vec<Patch>,
    ) {
        let hash = stream.hash.take();
        let mut hash = hash.unwrap_or_else(|| self.begin(stream.hiding));
        hash.update(&*piece);
        if !is_last {
            piece.fill(b'*');
            stream.hash = Some(hash);
            stream.seen = stream.seen.saturating_add(piece.len());
            if stream.pieces.len() < MOST_PIECES {
                stream.pieces.push((place, piece.len()));
            }
            return;
        }
        let mut letters = self.letters(hash, stream.hiding);
        let mut replaced = 0;
        for (at, len) in stream.pieces.drain(..) {
            replaced += len;
            let bytes = letters.by_ref().take(len).collect();
            patches.push(Patch { at, bytes });
        }
        // Pieces that were too many to be kept in mind.
        let mut letters = letters.skip(stream.seen - replaced);
        piece.fill_with(|| letters.next().unwrap_or(b'*'));
    }

    fn end_number(&self, stream: &mut Stream, is_count: bool) {
        let mut number = std::mem::take(&mut stream.number);
        if std::mem::take(&mut stream.is_negative) {
            number = 0;
        }
        if is_count {
            stream.arguments = Arguments::new(number);
            stream.phase = if number == 0 {
                Phase::Start
            } else {
                Phase::Length
            };
            return;
        }
        stream.left = number;
        stream.phase = Phase::Argument;
        if number == 0 {
            stream.end_argument(self);
            stream.phase = Phase::LineEnd;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(key: [u8; 32]) -> Secrets {
        let args = [
            "--rename-command",
            "acl",
            "rules",
            "--rename-command",
            "auth",
            "enter",
        ];
        let args: Vec<std::ffi::OsString> = args.into_iter().map(Into::into).collect();
        let config = Config::load_in(std::path::Path::new("/"), &args, &mut || Ok(Vec::new()));
        Secrets::new(key, &config.expect("a configuration"))
    }

    fn command(words: &[&str]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        out
    }

    fn hide(bytes: &[u8], cuts: &[usize]) -> String {
        let mut secrets = mask([7; 32]);
        let mut bytes = bytes.to_vec();
        let mut at = 0_usize;
        let mut patches = Vec::new();
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let end = bytes.len().min(at.saturating_add(cut));
            secrets.hide(Token(3), &mut bytes[at..end], at as u64, &mut patches);
            for patch in patches.drain(..) {
                let at = patch.at as usize;
                let there = &mut bytes[at..at + patch.bytes.len()];
                assert!(
                    there.iter().all(|byte| *byte == b'*'),
                    "it was hidden before"
                );
                there.copy_from_slice(&patch.bytes);
            }
            at = end;
        }
        String::from_utf8(bytes).expect("letters")
    }

    /// Equal beginnings gave equal beginnings, so that a guess could be checked letter by letter.
    #[test]
    fn a_guess_that_is_nearly_right_has_nothing_in_common_with_the_secret() {
        let secrets = mask([7; 32]);
        let secret = [b's'; 64];
        let masked = secrets.hidden(&secret);
        for wrong_at in 0..secret.len() {
            let mut guess = secret;
            guess[wrong_at] = b'x';
            let other = secrets.hidden(&guess);
            let same = masked.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(same < 16, "{same} of 64 letters are the same");
        }
        let shorter = secrets.hidden(&secret[..63]);
        assert_ne!(masked[..16], shorter[..16]);
    }

    /// What stood for the first part of a line that came in two let that part be guessed by itself.
    #[test]
    fn a_part_of_a_secret_in_a_line_is_not_masked_by_itself() {
        for (line, cut) in [("AUTH hunter2\r\n", 9), ("HELLO 3 AUTH u hunter2\r\n", 17)] {
            let hidden = hide(line.as_bytes(), &[cut]);
            let at = line.find("hunter2").expect("the secret");
            assert_eq!(hidden[..at], line[..at]);
            assert!(
                hidden[at..].trim_end().bytes().all(|byte| byte == b'*'),
                "{hidden}"
            );
        }
    }

    #[test]
    fn a_secret_in_very_many_pieces_is_hidden_and_ends() {
        let long = "s".repeat(MOST_PIECES + 50);
        let plain = command(&["AUTH", &long]);
        let hidden = hide(&plain, &vec![1; plain.len()]);
        assert!(!hidden.contains("sssss"), "{hidden}");
        assert!(hidden.ends_with("\r\n") && hidden.len() == plain.len());
    }

    const CASES: &[(&[&str], &[&str])] = &[
        (&["AUTH", "hunter2"], &["hunter2"]),
        (&["auth", "default", "hunter2"], &["hunter2"]),
        (
            &["HELLO", "3", "AUTH", "default", "hunter2", "SETNAME", "me"],
            &["hunter2"],
        ),
        (
            &[
                "CONFIG",
                "SET",
                "maxmemory",
                "100",
                "requirepass",
                "hunter2",
            ],
            &["hunter2"],
        ),
        (
            &[
                "MIGRATE", "h", "1", "", "0", "5", "AUTH", "hunter2", "KEYS", "auth",
            ],
            &["hunter2"],
        ),
        (&["ACL", "SETUSER", "u", "on", ">hunter2"], &["hunter2"]),
        (
            &["ACL", "SETUSER", "u", "<hunter2", "#hunter2", "!hunter2"],
            &["hunter2"],
        ),
        (&["acl", "setrole", "r", "~*", ">hunter2"], &["hunter2"]),
        (&["RULES", "SETUSER", "u", ">hunter2"], &["hunter2"]),
        (&["Enter", "default", "hunter2"], &["hunter2"]),
        (
            &["ACL", "DRYRUN", "default", "AUTH", "hunter2"],
            &["hunter2"],
        ),
        (&["AUTH", "default", "hunter2", "hunter2"], &["hunter2"]),
        (&["HELLO", "3", "AUTH", "hunter2"], &["hunter2"]),
        (
            &["CONFIG", "SET", "requirepass", "hunter2", "x"],
            &["hunter2"],
        ),
        (
            &["CONFIG", "SET", "tls-key-file-pass", "hunter2"],
            &["hunter2"],
        ),
        (&["CONFIG", "SET", "requirepas", "hunter2"], &["hunter2"]),
        (
            &["MIGRATE", "h", "1", "", "0", "5", "AUTH2", "u", "hunter2"],
            &["hunter2"],
        ),
        (
            &["ACL", "SETUSER", "u", "on", "~hunter2", "(+@all", "~x)"],
            &[],
        ),
        (&["SET", "auth", "hunter2"], &[]),
        (&["CONFIG", "GET", "requirepass"], &[]),
    ];

    #[test]
    fn secrets_go_and_everything_else_stays() {
        for (words, secrets) in CASES {
            let plain = String::from_utf8(command(words)).expect("letters");
            let hidden = hide(plain.as_bytes(), &[]);
            assert_eq!(hidden.len(), plain.len(), "{words:?}");
            for secret in *secrets {
                assert!(!hidden.contains(secret), "{hidden}");
            }
            if secrets.is_empty() {
                assert_eq!(hidden, plain);
            } else {
                assert_eq!(hidden[..13], plain[..13], "{words:?}");
            }
        }
    }

    #[test]
    fn the_same_secret_is_the_same_everywhere() {
        let secrets = mask([7; 32]);
        let masked = String::from_utf8(secrets.hidden(b"hunter2")).expect("letters");
        for words in [&CASES[0], &CASES[1], &CASES[2], &CASES[3], &CASES[4]] {
            assert!(
                hide(&command(words.0), &[]).contains(&masked),
                "{:?}",
                words.0
            );
        }
        assert!(hide(b"AUTH default hunter2\r\n", &[]).contains(&format!("default {masked}\r\n")));
        assert!(hide(b"AUTH \"hunter2\"\n", &[]).contains(&masked));
        assert_eq!(
            hide(b"AUTH hunter2\r\nPING\r\n", &[7])[7..],
            *"*****\r\nPING\r\n"
        );
        assert_eq!(hide(b"AUTH hunter2\r\n", &[2])[2..], *"** *******\r\n");
        assert_eq!(hide(b"ECHO hunter2\r\n", &[7]), "ECHO hunter2\r\n");
        assert_ne!(secrets.hidden(b"hunter3"), masked.as_bytes());
        assert_ne!(mask([8; 32]).hidden(b"hunter2"), masked.as_bytes());
    }

    /// The whole rule was hidden, so that a replay made no user where the server had made one.
    #[test]
    fn rules_stay_rules() {
        let masked = String::from_utf8(mask([7; 32]).hidden(b"hunter2")).expect("letters");
        let hidden = hide(
            &command(&["ACL", "SETUSER", "u", "on", ">hunter2", "~*"]),
            &[],
        );
        let expected = command(&["ACL", "SETUSER", "u", "on", &format!(">{masked}"), "~*"]);
        assert_eq!(hidden.as_bytes(), expected);
        assert!(
            hide(b"ACL SETUSER u >hunter2 ~*\r\n", &[]).ends_with(&format!(" >{masked} ~*\r\n"))
        );
        let hash = "0123456789abcdef".repeat(4);
        let hidden = hide(
            &command(&["ACL", "SETUSER", "u", &format!("#{hash}")]),
            &[40],
        );
        let rule = hidden.rsplit('#').next().expect("the rule").trim_end();
        assert_eq!(rule.len(), 64);
        assert!(rule.bytes().all(|byte| byte.is_ascii_hexdigit()) && rule != hash);
        // What a rule begins with decides, however the bytes come.
        let plain = command(&["ACL", "SETUSER", "u", ">hunter2", "+get"]);
        let whole = hide(&plain, &[]);
        for cut in 1..plain.len() {
            assert_eq!(hide(&plain, &[cut]), whole, "{cut}");
        }
    }

    #[test]
    fn credentials_of_http_go_and_stay_equal() {
        let secrets = mask([7; 32]);
        let masked = String::from_utf8(secrets.hidden(b"hunter2")).expect("letters");
        let head = |field: &str| format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        let hidden = hide(head("Authorization: Bearer hunter2").as_bytes(), &[]);
        assert_eq!(hidden, head(&format!("Authorization: Bearer {masked}")));
        let basic = |password: &str| STANDARD.encode(format!("me:{password}"));
        let hidden = hide(
            head(&format!("authorization:  basic {}", basic("hunter2"))).as_bytes(),
            &[],
        );
        assert_eq!(
            hidden,
            head(&format!("authorization:  basic {}", basic(&masked)))
        );
        for cut in 0..60 {
            let hidden = hide(head("Authorization: Bearer hunter2").as_bytes(), &[cut]);
            for part in ["hunter2", "hunter", "unter2", "hunt", "nter2"] {
                assert!(!hidden.contains(part), "{cut}: {hidden}");
            }
        }
        assert!(!hide(head("Authorization: Token hunter2").as_bytes(), &[]).contains("hunter2"));
    }

    #[test]
    fn what_is_spelled_oddly_is_hidden_too() {
        for line in [
            "\"AUTH\" hunter2\r\n",
            "AUTH \"hunter2 x\"\r\n",
            "AUTH \"x hunter2\"\r\n",
            "CONFIG SET requirepass \"x hunter2\"\r\n",
            "CONFIG SET \"requirepass\" hunter2\r\n",
            "\"\\x41UTH\" hunter2\r\n",
            "A\"UTH\" hunter2\r\n",
            "*-1\r\n*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n",
            "*2\r.$4\r.AUTH..$7\r.hunter2..",
            "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$4\r\nauth\r\n$7\r\nhunter2\r\n",
        ] {
            let hidden = hide(line.as_bytes(), &[]);
            assert!(!hidden.contains("hunter2"), "{line}: {hidden}");
        }
        let line = format!("{}AUTH hunter2\r\n", " ".repeat(40));
        assert!(!hide(line.as_bytes(), &[40]).contains("hunter2"));
        assert!(!hide(line.as_bytes(), &[42]).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(
            picks in prop::collection::vec(0..CASES.len(), 1..5),
            cuts in prop::collection::vec(0..40_usize, 0..12),
        ) {
            let plain: Vec<u8> = picks.iter().flat_map(|pick| command(CASES[*pick].0)).collect();
            prop_assert_eq!(hide(&plain, &cuts), hide(&plain, &[]));
        }

        #[test]
        fn nothing_upsets_it(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
            let mut secrets = mask([7; 32]);
            let mut bytes = bytes;
            let cut = cut.min(bytes.len());
            let len = bytes.len();
            let (first, second) = bytes.split_at_mut(cut);
            let mut patches = Vec::new();
            secrets.hide(Token(0), first, 0, &mut patches);
            secrets.hide(Token(0), second, cut as u64, &mut patches);
            prop_assert!(patches.iter().all(|patch| patch.at as usize + patch.bytes.len() <= cut));
            secrets.closed(Token(9));
            prop_assert_eq!(bytes.len(), len);
        }
    }
}
