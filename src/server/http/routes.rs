//! What is at which path, and the shapes of responses.

use super::connection::Request;
use super::credentials::{self, Credential, IsRight};

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/`
    Page,
    /// `/healthz`: the process answers.
    Health,
    /// `/readyz`: it answers commands.
    Ready,
    /// `/metrics`
    Metrics,
    /// `/trace`
    Trace,
    /// `/events`
    Events,
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub status: u16,
    pub content_type: &'static str,
    /// More header fields, each with its line's end.
    pub fields: &'static str,
    pub body: Vec<u8>,
}

/// What the page may do: run its own script and ask this server.
const PAGE_FIELDS: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src \
'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
Referrer-Policy: no-referrer\r\n";

impl Response {
    /// Its bytes; those of the head alone for HEAD.
    pub fn bytes(&self, is_head: bool, keep_alive: bool) -> Vec<u8> {
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{}Connection: {}\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            self.fields,
            if keep_alive { "keep-alive" } else { "close" },
        )
        .into_bytes();
        if !is_head {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// A line of text.
pub(super) fn plain(status: u16, text: &str) -> Response {
    let fields = match status {
        401 => "WWW-Authenticate: Basic realm=\"gyre\", charset=\"UTF-8\"\r\n",
        405 => "Allow: GET, HEAD\r\n",
        429 | 503 => "Retry-After: 1\r\n",
        _ => "",
    };
    Response {
        status,
        content_type: "text/plain; charset=utf-8",
        fields,
        body: text.as_bytes().to_vec(),
    }
}

/// A success with a body of this type.
pub(super) fn with_type(content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
    Response {
        status: 200,
        content_type,
        fields: "",
        body: body.into(),
    }
}

/// The live page: one document in the binary.
pub(super) fn page() -> Response {
    Response {
        fields: PAGE_FIELDS,
        ..with_type("text/html; charset=utf-8", &include_bytes!("page.html")[..])
    }
}

/// What decides what somebody may ask for.
pub(super) struct Asker<'a> {
    /// Whose name and password are right; none: nobody needs one.
    pub is_right: Option<IsRight<'a>>,
    /// The connection came to a loopback address.
    pub is_local: bool,
    /// The connection came from elsewhere, and protected mode is on.
    pub is_kept_out: bool,
    /// There is only room for those who ask whether the server lives.
    pub only_probes: bool,
}

/// Where a request goes, if it may: those that only ask whether the server lives need no credential, but a wrong one
/// is refused everywhere. Without a password whoever reaches a loopback address may ask, but a page from elsewhere must
/// not have its visitor's browser do it: such a page can give its own name our address (DNS rebinding), and is then
/// known by that name. Protected mode keeps strangers out until there is a password, as it does on the server's own port.
pub(super) fn admit(request: &Request, asker: &Asker<'_>) -> Result<Route, Response> {
    let (is_open, is_local) = (asker.is_right.is_none(), asker.is_local);
    let route = match request.path.as_str() {
        "/" | "/index.html" => Route::Page,
        "/healthz" => Route::Health,
        "/readyz" => Route::Ready,
        "/metrics" => Route::Metrics,
        "/trace" => Route::Trace,
        "/events" => Route::Events,
        _ => return Err(plain(404, "there is nothing here\n")),
    };
    let is_probe = matches!(route, Route::Health | Route::Ready);
    // Before the credential: there is none that could be right.
    if !is_probe && asker.is_kept_out && is_open {
        return Err(plain(
            403,
            "protected mode is on: set a password (requirepass), or protected-mode no\n",
        ));
    }
    if !is_probe && asker.only_probes {
        return Err(plain(503, "too many connections\n"));
    }
    let host = request.host.as_deref();
    // With a password this is not asked: a browser does not have it for a page from elsewhere.
    if is_local && is_open && !is_probe && host.is_some_and(|it| !is_own_name(it)) {
        return Err(plain(
            421,
            "ask by an address or as localhost, or set a password (requirepass)\n",
        ));
    }
    match credentials::check(request.authorization.as_deref(), asker.is_right) {
        Credential::Right => Ok(route),
        Credential::Missing if is_probe => Ok(route),
        Credential::Missing => Err(plain(401, "a password is needed\n")),
        Credential::Wrong => Err(plain(401, "the password is wrong\n")),
    }
}

/// Whether a Host field names this machine in a way that no name server can: an address, or localhost.
fn is_own_name(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    if let Some(rest) = host.strip_prefix('[') {
        let inner = rest.split(']').next().unwrap_or_default();
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = host.split(':').next().unwrap_or_default();
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.parse::<std::net::Ipv4Addr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, authorization: Option<&str>) -> Result<Route, u16> {
        let request = Request {
            path: path.to_owned(),
            authorization: authorization.map(|field| field.as_bytes().to_vec()),
            ..Request::default()
        };
        let asker = Asker {
            is_right: Some(&is_pw),
            ..OPEN
        };
        admit(&request, &asker).map_err(|response| response.status)
    }

    fn is_pw(_name: Option<&[u8]>, password: &[u8]) -> bool {
        password == b"pw"
    }

    const OPEN: Asker<'_> = Asker {
        is_right: None,
        is_local: true,
        is_kept_out: false,
        only_probes: false,
    };

    #[test]
    fn protected_mode_keeps_strangers_out_while_there_is_no_password() {
        let ask = |path: &str, asker: Asker<'_>| {
            let request = Request {
                path: path.to_owned(),
                authorization: asker.is_right.map(|_| b"Bearer pw".to_vec()),
                ..Request::default()
            };
            admit(&request, &asker).map_err(|response| response.status)
        };
        let stranger = |is_right| Asker {
            is_right,
            is_local: false,
            is_kept_out: true,
            only_probes: false,
        };
        for path in ["/", "/metrics", "/trace", "/events"] {
            assert_eq!(ask(path, stranger(None)), Err(403));
        }
        assert_eq!(ask("/healthz", stranger(None)), Ok(Route::Health));
        assert_eq!(ask("/metrics", stranger(Some(&is_pw))), Ok(Route::Metrics));
        let late = |path| {
            ask(
                path,
                Asker {
                    only_probes: true,
                    ..OPEN
                },
            )
        };
        assert_eq!(
            (late("/metrics"), late("/readyz")),
            (Err(503), Ok(Route::Ready))
        );
    }

    #[test]
    fn paths_and_credentials() {
        assert_eq!(ask("/metrics", Some("Bearer pw")), Ok(Route::Metrics));
        assert_eq!(ask("/metrics", None), Err(401));
        assert_eq!(ask("/healthz", None), Ok(Route::Health));
        assert_eq!(ask("/healthz", Some("Bearer no")), Err(401));
        assert_eq!(ask("/nothing", Some("Bearer pw")), Err(404));
        assert_eq!(ask("/../etc/passwd", None), Err(404));
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused_where_no_password_protects() {
        let ask = |host: &str, is_right: Option<IsRight<'_>>, is_local, path: &str| {
            let request = Request {
                path: path.to_owned(),
                host: Some(host.as_bytes().to_vec()),
                ..Request::default()
            };
            let asker = Asker {
                is_right,
                is_local,
                ..OPEN
            };
            admit(&request, &asker).map_err(|response| response.status)
        };
        for host in [
            "localhost",
            "LOCALHOST.:8379",
            "page.localhost:1",
            "127.0.0.1:8379",
            "[::1]:8379",
        ] {
            assert_eq!(
                ask(host, None, true, "/events"),
                Ok(Route::Events),
                "{host}"
            );
        }
        for host in ["evil.example:8379", "127.0.0.1.evil.example", "[evil]", ""] {
            assert_eq!(ask(host, None, true, "/events"), Err(421), "{host}");
        }
        assert_eq!(ask("x", None, false, "/metrics"), Ok(Route::Metrics));
        assert_eq!(ask("x", None, true, "/healthz"), Ok(Route::Health));
        assert_eq!(ask("x", Some(&is_pw), true, "/metrics"), Err(401));
    }

    #[test]
    fn a_head_has_the_length_of_its_body_and_not_the_body() {
        let response = plain(200, "12345");
        let head = String::from_utf8(response.bytes(true, true)).expect("text");
        assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"));
        assert!(
            response
                .bytes(false, false)
                .ends_with(b"Connection: close\r\n\r\n12345")
        );
    }
}
