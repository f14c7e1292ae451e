//! The seam: the one place where what is not determined enters.
//!
//! Everything above the seam is a pure function of what the seam yields. The system's implementation is
//! [`super::MioSeam`]; tests run whole servers on [`super::Simulator`], which invents readiness, cuts and resets
//! from a seed. Recording a live server means recording what passes here.

use crate::system::child::Pipe;
use crate::system::machine::Machine;
use crate::system::tls::TlsOptions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Names a source. Handed out by the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub usize);

/// The waker's own token; no source has it.
pub const WAKER_TOKEN: Token = Token(usize::MAX - 1);

/// What poll tells of a source. Told once for each change (edge-triggered), sometimes without cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Which source.
    pub token: Token,
    /// It may have bytes, an end or an error to read; a listener may have connections.
    pub readable: bool,
    /// It may take bytes.
    pub writable: bool,
    /// The peer has ended its side: after the last bytes a read will tell the end, though no new edge will.
    pub ended: bool,
}

/// A connection that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its source.
    pub token: Token,
    /// Who connected.
    pub peer: Peer,
    /// Descriptor number, for CLIENT LIST only.
    pub fd: i64,
    /// Names of users in the certificate that it has shown, in the field that counts (`tls-auth-clients-user`).
    pub certificate_names: Vec<Vec<u8>>,
}

/// The two ends of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Inet {
        /// The other side.
        remote: SocketAddr,
        /// Our side.
        local: SocketAddr,
    },
    /// A Unix socket: the listener's path.
    Unix(PathBuf),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes; 0 is the end of the stream, and `more` says nothing then.
    pub len: usize,
    /// True: more bytes, or the end, may be there already, and no edge will tell of them, so that the reader has to read
    /// again before it waits. False: whatever comes makes an edge.
    pub more: bool,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP.
    Inet(SocketAddr),
    /// TLS over TCP.
    Tls(SocketAddr),
    /// A Unix socket, with the permission bits to give its file (`None`: as the umask leaves them).
    Unix(PathBuf, Option<u32>),
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectAddress {
    /// TCP, from this address of ours (`None`: the system chooses).
    Inet(SocketAddr, Option<IpAddr>),
    /// TCP, to a host as commands and directives name it: by an address, or by a name, which is looked up beside the loop.
    /// Connecting is under way until its addresses are known, and goes to the first of them where somebody listens; a name
    /// without one is a host that cannot be reached.
    Name {
        /// The host's name or address.
        host: String,
        /// Its port.
        port: u16,
        /// The address of ours from which to connect (`None`: the system chooses).
        source: Option<IpAddr>,
        /// TLS over TCP: the connection is made when the handshake is done.
        tls: bool,
    },
    /// A Unix socket: the listener's path.
    Unix(PathBuf),
}

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Length of the kernel's queue.
    pub backlog: i32,
}

/// Wakes the loop from another thread or from a signal handler.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that does this. It must be safe to call from a signal handler.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(Arc::new(wake))
    }
    /// Rings.
    pub fn wake(&self) {
        (self.0)()
    }
}

/// All that is not deterministic.
pub trait Seam {
    /// Nanoseconds of a clock that never goes back.
    fn monotonic_ns(&mut self) -> u64;
    /// Microseconds since the Unix epoch; may jump either way.
    fn unix_us(&mut self) -> i64;
    /// Random bits from outside; the server seeds its own generator with them once.
    fn random_u64(&mut self) -> u64;
    /// Waits for readiness, at most `timeout` (`None`: for ever), and appends what is ready.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()>;
    /// Opens a listener under this token.
    fn listen(
        &mut self,
        token: Token,
        address: &ListenAddress,
        options: &ListenOptions,
    ) -> io::Result<()>;
    /// Has TLS connections from here on made with these options. What is open stays as it is. Where they cannot be had the
    /// ones before stay in force, and the error is a line for the log.
    fn configure_tls(&mut self, _options: &TlsOptions) -> Result<(), String> {
        Ok(())
    }
    /// The same with the options that are in force, if a file that they name is another one by now. What is wrong with it is
    /// logged, and changes nothing.
    fn reload_tls(&mut self, _options: &TlsOptions) {}
    /// Takes one connection from a listener, to live under `token`. One over TLS is there when its handshake is done: whoever
    /// is above sees no bytes of it, and nothing of those that fail.
    fn accept(&mut self, listener: Token, token: Token) -> io::Result<Accepted>;
    /// Begins to connect, to live under `token`, and does not wait. Poll tells once that the source is writable, when the
    /// connection is made or has failed; [`Seam::connected`] says which. What is known to fail at once fails here, and
    /// nothing is kept: no descriptor or address, no such path, a Unix listener whose queue is full (`EAGAIN`: for Unix
    /// sockets there is no waiting).
    fn connect(&mut self, token: Token, to: &ConnectAddress) -> io::Result<()>;
    /// How connecting came out. `WouldBlock`: it is still under way. Any other error: it has failed, or the connection was
    /// made and is broken already (`HostUnreachable`, with a text: its name was not found). The system does not give up on a
    /// host that is silent for some two minutes: who has less patience closes the source.
    fn connected(&mut self, token: Token) -> io::Result<()>;
    /// Sends TCP keepalive probes on a connection after so many seconds of silence; 0: none. A connection without them is
    /// as good as any other, so what the system refuses is not told.
    fn keep_alive(&mut self, _token: Token, _seconds: u32) {}
    /// Takes the reading end of a child's pipe over, to live under `token`.
    fn adopt_pipe(&mut self, token: Token, pipe: Pipe) -> io::Result<()>;
    /// Reads what there is, at most the buffer's length; not always all of it, so whether more is there is the seam's to
    /// say and not to be seen from the length: a transport that unwraps records holds bytes that the kernel knows nothing
    /// of. A length of 0: the peer has ended. `WouldBlock` says what `more: false` does.
    fn read(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<Received>;
    /// Writes what the socket takes.
    fn write(&mut self, token: Token, slices: &[io::IoSlice<'_>]) -> io::Result<usize>;
    /// Closes and forgets.
    fn close(&mut self, token: Token);
    /// Bytes of memory that the transport of a connection holds for it below the seam; 0: a transport that holds none, however
    /// long the connection lasts.
    fn held_bytes(&mut self, _token: Token) -> usize {
        0
    }
    /// The server ends: what was written to connections that are closed, and is still below the seam, has so long to go out.
    fn finish(&mut self, _patience: Duration) {}
    /// A handle to wake `poll`.
    fn waker(&self) -> Waker;
    /// What the server has beside the network: disk, helpers, children.
    fn machine(&self) -> Machine {
        Machine::default()
    }
    /// Whether a command may wait for a helper's job. Not where the seam is recorded or played: how fast helpers are does not
    /// enter through it, so that a replay would wake the command in another turn.
    fn tells_of_jobs(&self) -> bool {
        true
    }
    /// Blocks the whole process (DEBUG SLEEP).
    fn sleep(&mut self, duration: Duration);
    /// Passes a figure of the process through that decides what happens next (used memory, against a limit), so that
    /// a recording has it.
    fn observed(&mut self, figure: u64) -> u64 {
        figure
    }
    /// Lets a signal enter, which is there or (nearly always) not: recorded, or played back.
    fn signalled(&mut self, signal: Option<u8>) -> Option<u8> {
        signal
    }
    /// Whether what is above the seam is a replay: then it touches nothing outside of its folder.
    fn is_replay(&self) -> bool {
        false
    }
}
