//! The sockets that `bind`, `port`, `tls-port` and `unixsocket` ask for.

use super::endpoints::{Endpoint, Endpoints};
use crate::config::Settings;
use crate::event_loop::{EventLoop, ListenAddress, ListenOptions, Token};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// The listeners that are open.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: Vec<(ListenAddress, Token)>,
    /// The listeners of the HTTP pages.
    http: Vec<(ListenAddress, Token)>,
}

/// An address that the directives ask for.
struct Wanted {
    address: ListenAddress,
    /// The address as `bind` spells it, for the log.
    host: String,
    /// Whether the server may start without it: `bind` has a dash before it.
    optional: bool,
}

impl Listeners {
    /// Opens all that the directives ask for; on error none stays open. The error is the text for the log.
    pub(super) fn open(
        &mut self,
        events: &mut EventLoop,
        endpoints: &mut Endpoints,
        settings: &Settings,
    ) -> Result<(), String> {
        let opened = self.reopen(events, endpoints, settings);
        if opened.is_err() {
            self.close(events, endpoints);
        }
        opened
    }

    /// Changes from what is open to what the directives ask for. Listeners that stay are not touched, and those that
    /// go are closed only when the new ones are open, so that no connection in their queues is lost without need. On
    /// error the old listeners are open.
    pub(super) fn reopen(
        &mut self,
        events: &mut EventLoop,
        endpoints: &mut Endpoints,
        settings: &Settings,
    ) -> Result<(), String> {
        // Clients first. Where the HTTP pages fail after them, CONFIG SET goes back to the old settings, and calls this
        // again.
        self.reopen_clients(events, endpoints, settings)?;
        self.reopen_http(events, endpoints, settings)
    }

    /// Whether the HTTP pages are listened for.
    pub(super) fn has_http(&self) -> bool {
        !self.http.is_empty()
    }

    /// Whether TLS is listened for.
    pub(super) fn has_tls(&self) -> bool {
        let mut all = self.open.iter().chain(&self.http);
        all.any(|(address, _)| matches!(address, ListenAddress::Tls(_)))
    }

    /// The listeners of the HTTP pages. They are few and nobody waits in their queues: where they change, the old ones
    /// go first; where the new ones cannot be had the old ones come back.
    fn reopen_http(
        &mut self,
        events: &mut EventLoop,
        endpoints: &mut Endpoints,
        settings: &Settings,
    ) -> Result<(), String> {
        let mut wanted = Vec::new();
        if settings.http_port != 0 {
            for word in settings.http_bind.split_ascii_whitespace() {
                let (host, optional) = match word.strip_prefix('-') {
                    Some(host) => (host, true),
                    None => (word, false),
                };
                for address in addresses(host, settings.http_port, optional)? {
                    let address = match settings.http_tls {
                        true => ListenAddress::Tls(address),
                        false => ListenAddress::Inet(address),
                    };
                    wanted.push((address, optional));
                }
            }
        }
        let old: Vec<ListenAddress> = self
            .http
            .iter()
            .map(|(address, _)| address.clone())
            .collect();
        // A change of other directives must not close what stays.
        if old.iter().eq(wanted.iter().map(|(address, _)| address)) {
            return Ok(());
        }
        self.close_http(events, endpoints);
        let opened = self.open_http(events, endpoints, settings, &wanted);
        if opened.is_err() {
            self.close_http(events, endpoints);
            // All optional now: an old address that cannot be had again is one less, and no reason to have none.
            let old: Vec<_> = old.into_iter().map(|address| (address, true)).collect();
            let _ = self.open_http(events, endpoints, settings, &old);
        }
        opened
    }

    fn open_http(
        &mut self,
        events: &mut EventLoop,
        endpoints: &mut Endpoints,
        settings: &Settings,
        wanted: &[(ListenAddress, bool)],
    ) -> Result<(), String> {
        for (address, optional) in wanted {
            match endpoints.listen(events, address, &options(settings), Endpoint::HttpListener) {
                Ok(token) => self.http.push((address.clone(), token)),
                Err(error) if *optional && is_no_such_address(&error) => {}
                Err(error) => {
                    let reason = crate::system::process::os_error_text(&error);
                    let port = settings.http_port;
                    log::warn!("Warning: Could not listen for HTTP on port {port}: {reason}");
                    return Err(format!("Failed listening on port {port} (http), aborting."));
                }
            }
        }
        Ok(())
    }

    fn close_http(&mut self, events: &mut EventLoop, endpoints: &mut Endpoints) {
        for (_, token) in self.http.drain(..) {
            endpoints.close(events, token);
        }
    }

    fn reopen_clients(
        &mut self,
        events: &mut EventLoop,
        endpoints: &mut Endpoints,
        settings: &Settings,
    ) -> Result<(), String> {
        let wanted = wanted(settings)?;
        let options = options(settings);
        let stays =
            |address: &ListenAddress| wanted.iter().any(|wanted| wanted.address == *address);
        // Those that stay keep their sockets, and so the connections that wait in their queues.
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(address, _)| stays(address));
        self.open = kept;
        let kept = self.open.len();
        // The new ones before the old ones go: where they cannot be had, nothing has been lost yet.
        let first_try = self.add(events, endpoints, settings, &wanted, &options);
        if first_try.is_ok() {
            gone.iter()
                .for_each(|(_, token)| endpoints.close(events, *token));
            return Ok(());
        }
        if gone.is_empty() {
            // There is nothing that could have been in the way.
            return first_try;
        }
        // A new address may overlap one that goes (`*` and 127.0.0.1 at one port): then the old one has to go first.
        let old: Vec<ListenAddress> = gone
            .into_iter()
            .map(|(address, token)| (endpoints.close(events, token), address).1)
            .collect();
        let second_try = self.add(events, endpoints, settings, &wanted, &options);
        if second_try.is_err() {
            debug_assert_eq!(
                self.open.len(),
                kept,
                "a failed attempt leaves nothing open"
            );
            // The old ones come back; the connections that waited in their queues do not.
            for address in old {
                match endpoints.listen(events, &address, &options, Endpoint::ClientListener) {
                    Ok(token) => self.open.push((address, token)),
                    Err(error) => log::error!("Could not listen again on {address:?}: {error}"),
                }
            }
        }
        second_try
    }

    /// Opens the wanted addresses that are not open yet; all or none.
    fn add(
        &mut self,
        events: &mut EventLoop,
        endpoints: &mut Endpoints,
        settings: &Settings,
        wanted: &[Wanted],
        options: &ListenOptions,
    ) -> Result<(), String> {
        // New ones are behind those that were open, so that all of them can be taken back.
        let before = self.open.len();
        let result = self.try_add(events, endpoints, settings, wanted, options);
        if result.is_err() {
            self.open
                .drain(before..)
                .for_each(|(_, token)| endpoints.close(events, token));
        }
        result
    }

    fn try_add(
        &mut self,
        events: &mut EventLoop,
        endpoints: &mut Endpoints,
        settings: &Settings,
        wanted: &[Wanted],
        options: &ListenOptions,
    ) -> Result<(), String> {
        let failed =
            |kind: &str, port: u16| format!("Failed listening on port {port} ({kind}), aborting.");
        for Wanted {
            address,
            host,
            optional,
        } in wanted
        {
            // It stays, or two directives name the same address.
            if self.open.iter().any(|(open, _)| open == address) {
                continue;
            }
            match (
                endpoints.listen(events, address, options, Endpoint::ClientListener),
                address,
            ) {
                (Ok(token), _) => self.open.push((address.clone(), token)),
                // `-` before an address forgives that this machine has no such address, not that it is taken.
                (Err(error), _) if *optional && is_no_such_address(&error) => {}
                (
                    Err(error),
                    ListenAddress::Inet(socket_address) | ListenAddress::Tls(socket_address),
                ) => {
                    let reason = crate::system::process::os_error_text(&error);
                    let port = socket_address.port();
                    log::warn!(
                        "Warning: Could not create server TCP listening socket {host}:{port}: bind: {reason}"
                    );
                    return Err(failed(kind_of(address), port));
                }
                (Err(error), ListenAddress::Unix(..)) => {
                    let reason = crate::system::process::os_error_text(&error);
                    return Err(format!("Failed opening Unix socket: bind: {reason}"));
                }
            }
        }
        // Each may be optional, but not all of them: a server that was told to listen and does not would seem to run.
        for (kind, port) in [("tcp", settings.port), ("tls", settings.tls.port)] {
            let is_open = self.addresses().any(|address| kind_of(address) == kind);
            if port != 0 && !settings.bind.is_empty() && !is_open {
                return Err(failed(kind, port));
            }
        }
        Ok(())
    }

    /// Nothing is listened on: a server cannot start so, though CONFIG SET may bring one there.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Closes all listeners.
    pub(super) fn close(&mut self, events: &mut EventLoop, endpoints: &mut Endpoints) {
        for (_, token) in self.open.drain(..) {
            endpoints.close(events, token);
        }
        self.close_http(events, endpoints);
    }

    /// The addresses that are listened on.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.open.iter().map(|(address, _)| address)
    }
}

/// What Redis calls the connections of a listener.
fn kind_of(address: &ListenAddress) -> &'static str {
    match address {
        ListenAddress::Inet(_) => "tcp",
        ListenAddress::Tls(_) => "tls",
        ListenAddress::Unix(..) => "unix",
    }
}

fn options(settings: &Settings) -> ListenOptions {
    ListenOptions {
        // What the system allows at most is its own affair: it cuts a longer one down.
        backlog: i32::try_from(settings.tcp_backlog).unwrap_or(i32::MAX),
    }
}

/// Every address that the directives ask for, each once.
fn wanted(settings: &Settings) -> Result<Vec<Wanted>, String> {
    let mut wanted: Vec<Wanted> = Vec::new();
    type Kind = fn(SocketAddr) -> ListenAddress;
    let kinds: [(u16, Kind); 2] = [
        (settings.port, ListenAddress::Inet),
        (settings.tls.port, ListenAddress::Tls),
    ];
    // Port 0 is no port, whatever is bound.
    for (port, kind) in kinds.into_iter().filter(|(port, _)| *port != 0) {
        for bind in &settings.bind {
            for address in addresses(&bind.host, port, bind.optional)? {
                wanted.push(Wanted {
                    address: kind(address),
                    host: bind.host.clone(),
                    optional: bind.optional,
                });
            }
        }
    }
    if let Some(path) = &settings.unixsocket {
        // Without `unixsocketperm` the file gets what the umask leaves.
        let mode = (settings.unixsocketperm != 0).then_some(settings.unixsocketperm);
        let address = ListenAddress::Unix(path.clone(), mode);
        wanted.push(Wanted {
            address,
            host: String::new(),
            optional: false,
        });
    }
    Ok(wanted)
}

/// Addresses of a `bind` word: `*` every IPv4, `::*` every IPv6, else an address or a host's name.
pub(super) fn addresses(host: &str, port: u16, optional: bool) -> Result<Vec<SocketAddr>, String> {
    match host {
        "*" => {
            return Ok(vec![SocketAddr::new(
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                port,
            )]);
        }
        "::*" => {
            return Ok(vec![SocketAddr::new(
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                port,
            )]);
        }
        _ => {}
    }
    // An address needs no name server, which may be slow or wrong.
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match (host, port).to_socket_addrs() {
        Ok(mut found) => Ok(found.next().into_iter().collect()),
        // A name that nobody knows is an address that is not to be had.
        Err(_) if optional => Ok(Vec::new()),
        Err(error) => {
            log::warn!(
                "Warning: Could not create server TCP listening socket {host}:{port}: {error}"
            );
            Err(format!("Failed listening on port {port} (tcp), aborting."))
        }
    }
}

/// Errors that a `-` before the address forgives: the address or its family is not to be had here.
fn is_no_such_address(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT
                | libc::ENOPROTOOPT
                | libc::EPROTONOSUPPORT
                | libc::EPFNOSUPPORT
        )
    )
}
