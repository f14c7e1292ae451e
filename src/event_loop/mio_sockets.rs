//! Sockets as the seam over mio opens them, and why one could not be connected.

use super::seam::ListenOptions;
use mio::net::{TcpListener, TcpStream, UnixListener};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Why a connection could not be made.
pub(super) enum Failure {
    /// The system's number.
    Number(i32),
    /// There is no address.
    Name(Box<str>),
}

impl Failure {
    pub(super) fn of(error: &io::Error) -> Failure {
        match error.raw_os_error() {
            Some(number) => Failure::Number(number),
            None => Failure::Name(error.to_string().into()),
        }
    }
    pub(super) fn error(&self) -> io::Error {
        match self {
            Failure::Number(number) => io::Error::from_raw_os_error(*number),
            Failure::Name(text) => io::Error::new(io::ErrorKind::HostUnreachable, text.as_ref()),
        }
    }
}

pub(super) fn tcp_listener(
    address: SocketAddr,
    options: &ListenOptions,
) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket as Socket2, Type};
    let socket = Socket2::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `bind * -::*` listens on both families: the IPv6 socket must leave IPv4 to the other.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A TCP socket that connects.
pub(super) fn tcp_connecting(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    use socket2::{Domain, Protocol, Socket as Socket2, Type};
    let socket = Socket2::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        // The port that it is given here may be that of another connection from this address, as long as that goes
        // elsewhere; one that was closed a moment ago is not waited for.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    // Without it bytes come later, but they come.
    let _ = socket.set_tcp_nodelay(true);
    match socket.connect(&address.into()) {
        Ok(()) => {}
        // Interrupted, it goes on by itself as well.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Whether a socket has a peer. One that connects to a port of its own host on which nobody listens may be given that very
/// port, and meets itself; Linux calls that a connection.
pub(super) fn has_other_end(stream: &TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    if stream.local_addr()? == peer {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(())
}

pub(super) fn unix_listener(path: &std::path::Path, backlog: i32) -> io::Result<UnixListener> {
    use socket2::{Domain, SockAddr, Socket as Socket2, Type};
    let socket = Socket2::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from_std(socket.into()))
}

/// TCP keepalive as Redis sets it: first probe after the interval, then three times as often, three in all. Where the
/// kernel refuses the interval (Linux has 32767 s at most), probes are sent as it is wont to.
pub(super) fn keepalive(stream: &TcpStream, seconds: u32) -> io::Result<()> {
    let idle = Duration::from_secs(u64::from(seconds));
    let interval = Duration::from_secs(u64::from((seconds / 3).max(1)));
    let probes = socket2::TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&probes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without it as many connections as there are ports is all that an address of ours can have, wherever they go.
    #[test]
    fn a_port_of_an_address_of_ours_may_be_used_for_several_connections() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let source = IpAddr::from([127, 0, 0, 1]);
        let stream = tcp_connecting(address, Some(source)).expect("it begins");
        let socket = socket2::SockRef::from(&stream);
        assert!(socket.reuse_address().expect("an option"));
    }
}
