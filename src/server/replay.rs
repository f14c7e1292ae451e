//! `gyre --replay FILE [--until TURN] [--step]`: runs the turns of a recording again.
//!
//! In: a recording. Out: the same server in the same state after the same replies, without a socket: what entered then
//! is given to it again, turn by turn. At the end it tells whether every reply was the same, byte for byte, and the
//! digest of the data, as DEBUG DIGEST would. The files that the server loaded are unpacked into a folder of their own,
//! which is where a replayed save or append-only file goes, and which is removed.

use super::{End, Server};
use crate::config::Config;
use crate::event_loop::Token;
use crate::event_loop::recording::{Header, Playback, PlayingSeam};
use crate::keyspace::digest_of;
use crate::system::log::{LogLevel, LogOptions};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Bytes of traffic that a step shows of one read or write.
const SHOWN: usize = 160;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The recording.
    pub file: PathBuf,
    /// The last turn to run; none: all.
    pub until: Option<u64>,
    /// Stop before each turn, and show it.
    pub step: bool,
}

impl Options {
    /// Reads the words after `--replay`; none if they are wrong.
    pub fn parse(args: &[OsString]) -> Option<Options> {
        let (file, mut rest) = args.split_first()?;
        let mut options = Options {
            file: file.into(),
            until: None,
            step: false,
        };
        while let Some((word, others)) = rest.split_first() {
            rest = others;
            match word.to_str()? {
                "--step" => options.step = true,
                "--until" => {
                    let (turn, others) = rest.split_first()?;
                    options.until = Some(turn.to_str()?.parse().ok()?);
                    rest = others;
                }
                _ => return None,
            }
        }
        Some(options)
    }
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Turns that were run.
    pub turns: u64,
    /// Commands that were run.
    pub commands: u64,
    /// Writes that took the bytes that were written when it was recorded.
    pub same_writes: u64,
    /// Writes that took others.
    pub other_writes: u64,
    /// The first of these: their numbers among all writes, and what they take now.
    pub others: Vec<(u64, Vec<u8>)>,
    /// Why it ended early, if it went another way.
    pub divergence: Option<String>,
    /// DEBUG DIGEST of the data.
    pub digest: String,
    /// Keys in all databases.
    pub keys: usize,
}

impl Report {
    /// Whether all went as it did then.
    pub fn is_same(&self) -> bool {
        self.other_writes == 0 && self.divergence.is_none()
    }
}

/// Runs the tool; its exit status: 0 if all went as it did then.
pub fn run(options: &Options) -> u8 {
    crate::system::log::init(LogOptions {
        file: None,
        level: LogLevel::Warning,
    });
    let stdin = io::stdin();
    let mut console = Console {
        input: &mut stdin.lock(),
        output: &mut io::stdout(),
    };
    match replay(options, &mut console) {
        Ok(report) => {
            let _ = print_report(&report, console.output);
            u8::from(!report.is_same())
        }
        Err(text) => {
            eprintln!("{text}");
            2
        }
    }
}

fn print_report(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Report {
        turns,
        commands,
        same_writes,
        other_writes,
        ..
    } = report;
    writeln!(
        out,
        "turns: {turns}, commands: {commands}, keys: {}",
        report.keys
    )?;
    writeln!(out, "writes: {same_writes} the same, {other_writes} others")?;
    for (number, bytes) in &report.others {
        writeln!(
            out,
            "  write {number} was another, now it is {}",
            bytes.escape_ascii()
        )?;
    }
    writeln!(out, "digest: {}", report.digest)?;
    match &report.divergence {
        Some(text) => writeln!(out, "It went another way: {text}"),
        None if *other_writes > 0 => writeln!(out, "Replies differ from those that were recorded."),
        None => writeln!(out, "Everything went as it did then."),
    }
}

/// Where a replay that steps asks and shows.
pub struct Console<'a> {
    /// Lines that let it go on.
    pub input: &'a mut dyn BufRead,
    /// What it shows.
    pub output: &'a mut dyn Write,
}

/// Plays a recording; on error why it cannot be played.
pub fn replay(options: &Options, console: &mut Console<'_>) -> Result<Report, String> {
    let cannot = |error: io::Error| format!("Can't replay {}: {error}", options.file.display());
    let file = File::open(&options.file).map_err(cannot)?;
    let (header, seam) = PlayingSeam::open(file).map_err(cannot)?;
    // Whatever the server writes goes there and is removed with it: a replay changes nothing on the machine.
    let folder = Folder::unpack(&header).map_err(cannot)?;
    let mut config = config(&header, &folder.path)?;
    config.confine(&folder.path);
    std::env::set_current_dir(&folder.path).map_err(cannot)?;
    let playback = seam.playback();
    let mut server = Server::new(config, Box::new(seam)).map_err(|error| error.to_string())?;
    let users = &mut server.state().users;
    users.set_stands_for(super::secrets::stands_for);
    server.core.limit_clients()?;
    server.start()?;
    if server.load() {
        // A recording of a server that could not load its data has no turns.
        turns(&mut server, &playback, options, console);
    }
    Ok(report(&mut server, &playback))
}

/// The configuration that was recorded, at home in `dir`.
fn config(header: &Header, dir: &Path) -> Result<Config, String> {
    let mut text = Vec::new();
    for line in header.config.split(|byte| *byte == b'\n') {
        if is_harmless(line) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    text.extend_from_slice(b"daemonize no\nsupervised no\nset-proc-title no\n");
    let from = if header.has_config_file {
        let path = dir.join("gyre.conf");
        std::fs::write(&path, &text).map_err(|error| error.to_string())?;
        path.into_os_string()
    } else {
        OsString::from("-")
    };
    let mut stdin = || Ok(text.clone());
    // The server that was recorded went on too.
    let args = [from, OsString::from("--ignore-unsupported")];
    Config::load_in(dir, &args, &mut stdin).map_err(|error| error.to_string())
}

/// Whether a recorded line of the configuration touches no file outside of the replay's folder. A recorder writes none
/// that does, and no name in quotes, but the file may come from elsewhere.
fn is_harmless(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace);
    let name = &line[..end.unwrap_or(line.len())];
    let is_plain = name
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let reaches_out = [
        "include",
        "loadmodule",
        "dir",
        "pidfile",
        "logfile",
        "record",
        "aclfile",
    ];
    is_plain
        && !reaches_out
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

fn turns(server: &mut Server, playback: &Playback, options: &Options, console: &mut Console<'_>) {
    playback.borrow_mut().keeps_traffic = options.step;
    let mut steps = options.step;
    // The same calls as in `Server::run`, so that signals come between the same turns.
    loop {
        let next = server.events.totals().turns + 1;
        if options.until.is_some_and(|until| next > until) || server.core.ended.is_some() {
            return;
        }
        if steps {
            steps = ask(console, next);
        }
        let turned = server.turn(None);
        if options.step && show(playback, next, console.output).is_err() {
            return;
        }
        let played = playback.borrow();
        let is_over = played.ended || played.divergence.is_some();
        drop(played);
        if turned.is_err() || is_over {
            return;
        }
        server.check_signals();
    }
}

/// Waits for a line before the turn; whether to ask again before the next one.
fn ask(console: &mut Console<'_>, turn: u64) -> bool {
    let _ = write!(
        console.output,
        "Enter runs turn {turn}, c and Enter all that follow: "
    );
    let _ = console.output.flush();
    let mut line = String::new();
    matches!(console.input.read_line(&mut line), Ok(1..)) && line.trim() != "c"
}

/// Shows what a turn read and wrote.
fn show(playback: &Playback, turn: u64, out: &mut dyn Write) -> io::Result<()> {
    // Taken, so that the next turn shows its own.
    let traffic = std::mem::take(&mut playback.borrow_mut().traffic);
    writeln!(out, "turn {turn}")?;
    for (Token(source), is_output, bytes) in traffic {
        let arrow = if is_output { "->" } else { "<-" };
        let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
        let more = if bytes.len() > SHOWN { "..." } else { "" };
        writeln!(
            out,
            "  {source} {arrow} {shown}{more} ({} bytes)",
            bytes.len()
        )?;
    }
    Ok(())
}

fn report(server: &mut Server, playback: &Playback) -> Report {
    let played = playback.borrow();
    let failed = server.core.ended == Some(End::Failed);
    let divergence = played.divergence.as_ref().map(ToString::to_string);
    let state = &mut server.core.state;
    let keys = (0..state.keyspace.count())
        .map(|index| state.keyspace.db(index, state.now, true).len())
        .sum();
    Report {
        turns: server.events.totals().turns,
        commands: state.observe.stats.commands_processed,
        same_writes: played.same_writes,
        other_writes: played.other_write_count,
        others: played.other_writes.clone(),
        divergence: divergence.or_else(|| failed.then(|| "the server ended".to_owned())),
        digest: digest_of(&mut state.keyspace, state.now),
        keys,
    }
}

/// The folder in which a replay lives; removed with it.
struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes one, with the files that the server began with.
    fn unpack(header: &Header) -> io::Result<Folder> {
        // A name that nobody could have taken before; where it is taken nevertheless it is not ours to remove.
        let word = u64::from_le_bytes(crate::system::process::random_bytes()?);
        let path = std::env::temp_dir().join(format!("gyre-replay-{word:016x}"));
        // The data are for the same eyes as the recording.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Folder { path };
        for file in &header.files {
            if file.path.is_absolute() || file.path.components().any(|it| it.as_os_str() == "..") {
                let text = format!("{} is not within the folder", file.path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            let path = folder.path.join(&file.path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, &file.bytes)?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
