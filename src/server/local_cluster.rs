//! `gyre --cluster-local N`: a cluster on one machine, a process and so a loop for each node.
//!
//! In: how many primaries, how many replicas for each, directives for all of them. Out: the nodes as processes of their own,
//! with the slots spread over the primaries; who dies is started again, and the end of this process is that of all of them.
//! The nodes' folders stay, so that the next start goes on with the same cluster.
//!
//! It has no loop: it waits, mostly. For development, and for all cores of one machine.

use crate::resp::reader::{ReadError, Value, read_all};
use crate::structures::slots::SLOTS;
use crate::system::process;
use crate::system::signals::{ShutdownSignals, call_off_shutdown, shutdown_requested};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the nodes may take to answer, and to know each other.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(50);
/// A node that has lived for less is started again only after so long.
const SHORT_LIFE: Duration = Duration::from_secs(2);
/// How many nodes there may be: each is a process.
const MOST: usize = 1000;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    primaries: usize,
    replicas: usize,
    port: u16,
    dir: PathBuf,
    /// Directives for all nodes, as arguments.
    others: Vec<OsString>,
}

/// How it is called.
pub(super) const USAGE: &str = "Usage: gyre --cluster-local PRIMARIES [--replicas N] [--port FIRST] [--dir FOLDER] [directives of all nodes]";

impl Options {
    /// Reads what follows `--cluster-local`; the error is for the terminal.
    pub(super) fn parse(args: &[OsString]) -> Result<Options, String> {
        fn number<T: std::str::FromStr>(word: Option<&OsString>, what: &str) -> Result<T, String> {
            let word = word.and_then(|word| word.to_str());
            word.and_then(|word| word.parse().ok())
                .ok_or_else(|| format!("{what} is to be a number\n{USAGE}"))
        }
        let mut args = args.iter();
        let mut options = Options {
            primaries: number(args.next(), "how many primaries there are")?,
            replicas: 0,
            port: 7000,
            dir: PathBuf::from("gyre-cluster"),
            others: Vec::new(),
        };
        while let Some(word) = args.next() {
            match word.to_str() {
                Some("--replicas") => options.replicas = number(args.next(), "--replicas")?,
                Some("--port") => options.port = number(args.next(), "--port")?,
                Some("--dir") => match args.next() {
                    Some(dir) => options.dir = PathBuf::from(dir),
                    None => return Err(format!("--dir is to be a folder\n{USAGE}")),
                },
                _ => options.others.push(word.clone()),
            }
        }
        let nodes = options.nodes();
        if options.primaries == 0 || !(1..=MOST).contains(&nodes) {
            return Err(format!("There are to be 1 to {MOST} nodes in all\n{USAGE}"));
        }
        // The bus of each is 10000 above its port.
        if options.port == 0 || usize::from(options.port) + nodes > usize::from(u16::MAX - 10_000) {
            return Err(format!(
                "There are not so many ports behind {}",
                options.port
            ));
        }
        Ok(options)
    }
    fn nodes(&self) -> usize {
        let each = self.replicas.saturating_add(1);
        self.primaries.saturating_mul(each)
    }
}

/// A node's process.
struct Node {
    port: u16,
    dir: PathBuf,
    /// None: it has died, and is started again.
    child: Option<Child>,
    begun: Instant,
}

/// Runs them until it is told to end; the exit status.
pub(super) fn run(options: &Options) -> u8 {
    let outcome = ShutdownSignals::install().map_err(|error| error.to_string());
    let outcome = outcome.and_then(|_signals| serve(options));
    match outcome {
        Ok(()) => 0,
        Err(reason) => {
            eprintln!("{reason}");
            1
        }
    }
}

fn serve(options: &Options) -> Result<(), String> {
    let mut nodes = Vec::new();
    for at in 0..options.nodes() {
        let port = options.port + at as u16;
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Err(format!("Somebody listens on port {port} already"));
        }
        let dir = options.dir.join(port.to_string());
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        nodes.push(Node {
            port,
            dir,
            child: None,
            begun: Instant::now(),
        });
    }
    let outcome = live(options, &mut nodes);
    end(&mut nodes);
    outcome
}

fn live(options: &Options, nodes: &mut [Node]) -> Result<(), String> {
    for node in &mut *nodes {
        node.start(options)?;
    }
    for node in &*nodes {
        await_that(|| ask(node.port, &["PING"]).is_ok(), that(node, "answers"))?;
    }
    form(options, nodes)?;
    for node in &*nodes {
        let shown = node.dir.display();
        println!("127.0.0.1:{} pid {} in {shown}", node.port, node.pid());
    }
    println!(
        "The cluster is ready: {} primaries with {} replicas each. Connect with: redis-cli -c -p {}",
        options.primaries, options.replicas, options.port
    );
    let _ = io::stdout().flush();
    while shutdown_requested().is_none() {
        for node in &mut *nodes {
            node.look_after(options)?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

impl Node {
    fn start(&mut self, options: &Options) -> Result<(), String> {
        let mut command = Command::new(process::executable_path());
        command
            .args(&options.others)
            .args(["--port", &self.port.to_string()])
            .args(["--cluster-enabled", "yes", "--daemonize", "no"])
            .args(["--logfile", "gyre.log", "--dir"])
            .arg(&self.dir)
            .stdin(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| format!("A node cannot be started: {error}"))?;
        self.child = Some(child);
        self.begun = Instant::now();
        Ok(())
    }
    fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }
    /// Starts it again if it has died.
    fn look_after(&mut self, options: &Options) -> Result<(), String> {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            eprintln!(
                "The node of port {} has ended ({status}), and is started again",
                self.port
            );
            self.child = None;
        }
        if self.child.is_none() && self.begun.elapsed() >= SHORT_LIFE {
            self.start(options)?;
        }
        Ok(())
    }
}

/// Ends all nodes in order; a second signal ends them at once.
fn end(nodes: &mut [Node]) {
    call_off_shutdown();
    let mut signal = libc::SIGTERM;
    loop {
        let mut lives = false;
        for node in &mut *nodes {
            if let Some(child) = &mut node.child {
                match child.try_wait() {
                    Ok(None) => lives = true,
                    Ok(Some(_)) | Err(_) => node.child = None,
                }
            }
        }
        if !lives {
            return;
        }
        if signal != 0 {
            for child in nodes.iter().filter_map(|node| node.child.as_ref()) {
                // One that has just ended needs none.
                let _ = process::kill(child.id() as i32, signal);
            }
            signal = 0;
        }
        if shutdown_requested().is_some() {
            call_off_shutdown();
            signal = libc::SIGKILL;
        }
        std::thread::sleep(LOOK);
    }
}

// ---- how a cluster is formed -----------------------------------------------------------------------------------------

fn that(node: &Node, does: &str) -> String {
    let log = node.dir.join("gyre.log");
    format!(
        "that the node of port {} {does} (its log: {})",
        node.port,
        log.display()
    )
}

fn await_that(mut is_so: impl FnMut() -> bool, what: String) -> Result<(), String> {
    let begun = Instant::now();
    while !is_so() {
        if shutdown_requested().is_some() || begun.elapsed() > PATIENCE {
            return Err(format!("Waited in vain {what}"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Makes one cluster of nodes that are new; those of an earlier start know each other.
fn form(options: &Options, nodes: &[Node]) -> Result<(), String> {
    let all = nodes.len();
    let is_new = figure(nodes[0].port, "cluster_known_nodes")? <= 1
        && figure(nodes[0].port, "cluster_slots_assigned")? == 0;
    if is_new {
        let first = nodes[0].port.to_string();
        for (at, node) in nodes.iter().enumerate() {
            tell(
                node.port,
                &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()],
            )?;
            if at < options.primaries {
                let bound = |at: usize| SLOTS * at / options.primaries;
                let (from, to) = (bound(at), bound(at + 1) - 1);
                tell(
                    node.port,
                    &[
                        "CLUSTER",
                        "ADDSLOTSRANGE",
                        &from.to_string(),
                        &to.to_string(),
                    ],
                )?;
            }
            if at > 0 {
                tell(node.port, &["CLUSTER", "MEET", "127.0.0.1", &first])?;
            }
        }
    }
    for node in nodes {
        let knows = || figure(node.port, "cluster_known_nodes").is_ok_and(|it| it >= all);
        await_that(knows, that(node, "knows all others"))?;
    }
    if is_new {
        for (at, node) in nodes.iter().enumerate().skip(options.primaries) {
            let primary = &nodes[at % options.primaries];
            let id = match ask(primary.port, &["CLUSTER", "MYID"]) {
                Ok(Value::Bulk(id)) => String::from_utf8_lossy(&id).into_owned(),
                other => return Err(format!("CLUSTER MYID is answered {other:?}")),
            };
            // Whose primary is not known as such yet refuses, and is asked again.
            let replicate = ["CLUSTER", "REPLICATE", &id];
            await_that(
                || tell(node.port, &replicate).is_ok(),
                that(node, "becomes a replica"),
            )?;
        }
    }
    for node in nodes {
        let is_ok = || {
            let info = info(node.port);
            info.is_ok_and(|text| text.contains("cluster_state:ok"))
        };
        await_that(is_ok, that(node, "finds all slots served"))?;
    }
    Ok(())
}

fn info(port: u16) -> Result<String, String> {
    match ask(port, &["CLUSTER", "INFO"]) {
        Ok(Value::Bulk(text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Ok(other) => Err(format!("CLUSTER INFO is answered {other:?}")),
        Err(error) => Err(format!("port {port}: {error}")),
    }
}

fn figure(port: u16, name: &str) -> Result<usize, String> {
    let text = info(port)?;
    let mut lines = text.lines();
    lines
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        })
        .ok_or_else(|| format!("CLUSTER INFO has no {name}"))
}

/// Sends a command that is to be answered OK.
fn tell(port: u16, words: &[&str]) -> Result<(), String> {
    match ask(port, words) {
        Ok(Value::Simple(_)) => Ok(()),
        Ok(other) => Err(format!("{words:?} is answered {other:?} by port {port}")),
        Err(error) => Err(format!("port {port}: {error}")),
    }
}

/// Sends a command over a connection of its own; the answer.
fn ask(port: u16, words: &[&str]) -> io::Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        bytes.extend_from_slice(&buffer[..len]);
        match read_all(&bytes) {
            Ok(values) => {
                if let Some(value) = values.into_iter().next() {
                    return Ok(value);
                }
            }
            Err(ReadError::Incomplete) => {}
            Err(error) => return Err(io::Error::other(format!("{error:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(line: &str) -> Result<Options, String> {
        let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        Options::parse(&words)
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let options =
            parse("8 --replicas 1 --appendonly yes --port 9000 --dir /x").expect("options");
        assert_eq!(
            (options.primaries, options.replicas, options.nodes()),
            (8, 1, 16)
        );
        assert_eq!(
            (options.port, options.dir.as_path()),
            (9000, Path::new("/x"))
        );
        assert_eq!(options.others, ["--appendonly", "yes"]);
        for wrong in [
            "",
            "x",
            "0",
            "3 --replicas",
            "3 --port 55000 --replicas 300",
            "600 --replicas 1",
            "1 --dir",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
