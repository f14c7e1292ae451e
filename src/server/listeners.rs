//! The sockets that `bind`, `port` and `unixsocket` ask for.

use crate::config::Settings;
use crate::event_loop::{EventLoop, ListenAddress, ListenOptions, Token};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// The listeners that are open.
#[derive(Debug, Default)]
pub struct Listeners {
    open: Vec<(ListenAddress, Token)>,
}

impl Listeners {
    /// Opens all; on error none stays open. The error is the text for the log.
    pub fn open(&mut self, events: &mut EventLoop, settings: &Settings) -> Result<(), String> {
        let options = ListenOptions {
            backlog: settings.tcp_backlog as i32,
            keepalive_s: u32::try_from(settings.tcp_keepalive_s).unwrap_or(u32::MAX),
        };
        let opened = self.open_all(events, settings, &options);
        if opened.is_err() {
            self.close(events);
        }
        opened
    }

    fn open_all(
        &mut self,
        events: &mut EventLoop,
        settings: &Settings,
        options: &ListenOptions,
    ) -> Result<(), String> {
        let mut tcp = 0;
        if settings.port != 0 {
            for bind in &settings.bind {
                for address in addresses(&bind.host, settings.port, bind.optional)? {
                    match events.listen(&ListenAddress::Inet(address), options) {
                        Ok(token) => {
                            self.open.push((ListenAddress::Inet(address), token));
                            tcp += 1;
                        }
                        Err(error) if bind.optional && is_no_such_address(&error) => {}
                        Err(error) => {
                            let reason = crate::system::process::os_error_text(&error);
                            log::warn!(
                                "Warning: Could not create server TCP listening socket {}:{}: bind: {reason}",
                                bind.host,
                                settings.port
                            );
                            return Err(format!(
                                "Failed listening on port {} (tcp), aborting.",
                                settings.port
                            ));
                        }
                    }
                }
            }
            if tcp == 0 && !settings.bind.is_empty() {
                return Err(format!(
                    "Failed listening on port {} (tcp), aborting.",
                    settings.port
                ));
            }
        }
        if let Some(path) = &settings.unixsocket {
            let mode = (settings.unixsocketperm != 0).then_some(settings.unixsocketperm);
            let address = ListenAddress::Unix(path.clone(), mode);
            match events.listen(&address, options) {
                Ok(token) => self.open.push((address, token)),
                Err(error) => {
                    let reason = crate::system::process::os_error_text(&error);
                    return Err(format!("Failed opening Unix socket: bind: {reason}"));
                }
            }
        }
        Ok(())
    }

    /// Nothing is listened on: a server cannot start so, though CONFIG SET may bring one there.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Opens what changed directives ask for. On error the old listeners are open again.
    pub fn reopen(&mut self, events: &mut EventLoop, settings: &Settings) -> Result<(), String> {
        // The new addresses may overlap the old ones, so the old ones must go first. Should the new ones fail,
        // the old ones come back: their ports were free a moment ago.
        let old: Vec<ListenAddress> = self
            .open
            .iter()
            .map(|(address, _)| address.clone())
            .collect();
        self.close(events);
        let failed = match self.open(events, settings) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let options = ListenOptions {
            backlog: settings.tcp_backlog as i32,
            keepalive_s: u32::try_from(settings.tcp_keepalive_s).unwrap_or(u32::MAX),
        };
        for address in old {
            match events.listen(&address, &options) {
                Ok(token) => self.open.push((address, token)),
                Err(error) => log::error!("Could not listen again on {address:?}: {error}"),
            }
        }
        Err(failed)
    }

    /// Closes all.
    pub fn close(&mut self, events: &mut EventLoop) {
        for (_, token) in self.open.drain(..) {
            events.close(token);
        }
    }

    /// What is listened on.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.open.iter().map(|(address, _)| address)
    }
}

/// Addresses of a `bind` word: `*` every IPv4, `::*` every IPv6, else an address or a host's name.
fn addresses(host: &str, port: u16, optional: bool) -> Result<Vec<SocketAddr>, String> {
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
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match (host, port).to_socket_addrs() {
        Ok(mut found) => Ok(found.next().into_iter().collect()),
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
