//! What a replica and its primary say to each other before the stream flows, as the replica's side: no socket, no clock.
//!
//! In: the lines that the primary answers. Out: what is to be sent next, and how the two go on. Mirrors `syncWithMaster` and
//! `replicaTryPartialResynchronization` of Redis's replication.c.

use crate::journal::write_command;

/// What this side says of itself.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// User (none: the default one) and password.
    pub auth: Option<(Option<Vec<u8>>, Vec<u8>)>,
    /// Where it can be reached.
    pub port: u16,
    /// Its address, where it is another than that of the connection.
    pub ip: Option<Vec<u8>>,
    /// Its version.
    pub version: &'static str,
    /// The replication ID and the position behind the last byte that it has of it; none: it needs a snapshot.
    pub wants: Option<(String, i64)>,
    /// The other is to take over (FAILOVER).
    pub fails_over: bool,
}

/// What is waited for, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Pong,
    Auth,
    Port,
    Ip,
    Capabilities,
    Version,
    Psync,
}

/// How it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send these bytes (perhaps none), and wait for the next line.
    Send(Vec<u8>),
    /// A snapshot follows; the stream behind it has this ID and begins at this position.
    FullSync {
        /// The ID.
        id: String,
        /// The position.
        offset: i64,
    },
    /// The stream goes on where it was asked to; under another ID, if there is one.
    Continue {
        /// The other ID.
        id: Option<String>,
    },
    /// It knows no PSYNC: it is asked by SYNC, and sends a snapshot.
    Old,
}

/// A handshake that is under way.
#[derive(Debug)]
pub struct Handshake {
    introduction: Introduction,
    awaits: Vec<Awaits>,
    has_asked: bool,
}

impl Handshake {
    /// Begins it; what is to be sent first.
    pub fn new(introduction: Introduction) -> (Handshake, Vec<u8>) {
        let handshake = Handshake {
            introduction,
            awaits: vec![Awaits::Pong],
            has_asked: false,
        };
        (handshake, command(&[b"PING"]))
    }
    /// Takes a line without its end. An error is why the link cannot be made now.
    pub fn line(&mut self, line: &[u8]) -> Result<Answer, String> {
        // The primary shows that it is there while it prepares its answer.
        if line.is_empty() {
            return Ok(Answer::Send(Vec::new()));
        }
        let text = String::from_utf8_lossy(line).into_owned();
        let is_error = line.first() == Some(&b'-');
        let awaited = match self.awaits.is_empty() {
            true => return Err(format!("Unexpected reply from master: {text}")),
            false => self.awaits.remove(0),
        };
        match awaited {
            Awaits::Pong => {
                // Those two say that it is a server, and what is missing.
                let is_alive = line.first() == Some(&b'+')
                    || line.starts_with(b"-NOAUTH")
                    || line.starts_with(b"-NOPERM")
                    || line.starts_with(b"-ERR operation not permitted");
                if !is_alive {
                    return Err(format!("Error reply to PING from master: '{text}'"));
                }
                log::info!("Master replied to PING, replication can continue...");
                Ok(Answer::Send(self.introduce()))
            }
            Awaits::Auth if is_error => Err(format!("Unable to AUTH to MASTER: {text}")),
            Awaits::Port if is_error => {
                log::info!(
                    "(Non critical) Master does not understand REPLCONF listening-port: {text}"
                );
                Ok(Answer::Send(Vec::new()))
            }
            Awaits::Ip if is_error => {
                log::info!("(Non critical) Master does not understand REPLCONF ip-address: {text}");
                Ok(Answer::Send(Vec::new()))
            }
            Awaits::Capabilities if is_error => {
                log::info!("(Non critical) Master does not understand REPLCONF capa: {text}");
                Ok(Answer::Send(Vec::new()))
            }
            Awaits::Version => Ok(Answer::Send(self.ask())),
            Awaits::Psync => self.psync_answered(line, &text),
            Awaits::Auth | Awaits::Port | Awaits::Ip | Awaits::Capabilities => {
                Ok(Answer::Send(Vec::new()))
            }
        }
    }

    /// Whether the stream was asked for.
    pub fn has_asked(&self) -> bool {
        self.has_asked
    }

    /// All that is said of itself, at once: the answers come in the same order.
    fn introduce(&mut self) -> Vec<u8> {
        let own = &self.introduction;
        let mut out = Vec::new();
        if let Some((user, password)) = &own.auth {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(user.as_deref());
            words.push(password);
            write_command(&mut out, words.into_iter());
            self.awaits.push(Awaits::Auth);
        }
        let port = own.port.to_string();
        out.extend(command(&[b"REPLCONF", b"listening-port", port.as_bytes()]));
        self.awaits.push(Awaits::Port);
        if let Some(ip) = &own.ip {
            out.extend(command(&[b"REPLCONF", b"ip-address", ip]));
            self.awaits.push(Awaits::Ip);
        }
        let words: [&[u8]; 5] = [b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"];
        out.extend(command(&words));
        self.awaits.push(Awaits::Capabilities);
        // Valkey chooses the version of its snapshot by it. Who does not know it answers an error, which says nothing.
        out.extend(command(&[b"REPLCONF", b"version", own.version.as_bytes()]));
        self.awaits.push(Awaits::Version);
        out
    }

    /// Asks for the stream.
    fn ask(&mut self) -> Vec<u8> {
        self.awaits.push(Awaits::Psync);
        self.has_asked = true;
        match &self.introduction.wants {
            Some((id, offset)) => {
                // Positions on the wire count from 1.
                let offset = offset.saturating_add(1);
                log::info!("Trying a partial resynchronization (request {id}:{offset}).");
                let offset = offset.to_string();
                let mut words: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), offset.as_bytes()];
                if self.introduction.fails_over {
                    words.push(b"FAILOVER");
                }
                command(&words)
            }
            None => {
                log::info!("Partial resynchronization not possible (no cached master)");
                command(&[b"PSYNC", b"?", b"-1"])
            }
        }
    }

    fn psync_answered(&mut self, line: &[u8], text: &str) -> Result<Answer, String> {
        let mut words = text.split_ascii_whitespace();
        match words.next() {
            Some("+FULLRESYNC") => {
                let (id, offset) = (words.next(), words.next());
                let offset = offset.and_then(|offset| offset.parse::<i64>().ok());
                match (id, offset) {
                    (Some(id), Some(offset))
                        if is_id(id) && (0..super::OFFSET_MAX).contains(&offset) =>
                    {
                        log::info!("Full resync from master: {id}:{offset}");
                        Ok(Answer::FullSync {
                            id: id.to_owned(),
                            offset,
                        })
                    }
                    _ => Err(format!(
                        "Master replied with wrong +FULLRESYNC syntax: {text}"
                    )),
                }
            }
            Some("+CONTINUE") => {
                if self.introduction.wants.is_none() {
                    return Err(format!(
                        "Master replied to PSYNC without an offset with {text}"
                    ));
                }
                let id = words.next().filter(|id| is_id(id)).map(str::to_owned);
                log::info!("Successful partial resynchronization with master.");
                Ok(Answer::Continue { id })
            }
            _ if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") => Err(
                format!("Master is currently unable to PSYNC but should be in the future: {text}"),
            ),
            // Whoever is no primary yet will be, and does not lose what it is asked for.
            _ if line.first() == Some(&b'-') => {
                if line.starts_with(b"-ERR unknown command") {
                    log::info!("Retrying with SYNC...");
                    Ok(Answer::Old)
                } else {
                    Err(format!("Unexpected reply to PSYNC from master: {text}"))
                }
            }
            _ => Err(format!("Unexpected reply to PSYNC from master: {text}")),
        }
    }
}

/// Whether it is a replication ID: forty hex digits.
pub fn is_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A command as it is sent.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    write_command(&mut out, words.iter().copied());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn sent(answer: Result<Answer, String>) -> String {
        match answer {
            Ok(Answer::Send(bytes)) => {
                let text = String::from_utf8(bytes).expect("text");
                let words = text
                    .split("\r\n")
                    .filter(|line| !line.is_empty() && !line.starts_with('$'));
                let words = words.map(|word| if word.starts_with('*') { "|" } else { word });
                words.collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_replica_introduces_itself_and_asks() {
        let (mut handshake, ping) = Handshake::new(Introduction {
            auth: Some((Some(b"user".to_vec()), b"secret".to_vec())),
            port: 7777,
            ip: Some(b"10.0.0.1".to_vec()),
            version: "8.0.6",
            wants: Some((ID.to_owned(), 99)),
            ..Introduction::default()
        });
        assert_eq!(ping, b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(
            sent(handshake.line(b"-NOAUTH Authentication required.")),
            "| AUTH user secret | REPLCONF listening-port 7777 | REPLCONF ip-address 10.0.0.1 | REPLCONF capa eof capa \
             psync2 | REPLCONF version 8.0.6"
        );
        for line in ["+OK", "+OK", "-ERR what", "+OK"] {
            assert_eq!(sent(handshake.line(line.as_bytes())), "");
        }
        assert_eq!(
            sent(handshake.line(b"-ERR Unrecognized REPLCONF option: version")),
            format!("| PSYNC {ID} 100")
        );
        assert_eq!(sent(handshake.line(b"")), "");
        assert_eq!(
            handshake.line(b"+CONTINUE"),
            Ok(Answer::Continue { id: None })
        );
        assert!(handshake.line(b"+OK").is_err());
    }

    #[test]
    fn what_the_primary_says_to_psync() {
        let ask = |wants: bool, line: &str| {
            let (mut handshake, _) = Handshake::new(Introduction {
                wants: wants.then(|| (ID.to_owned(), 5)),
                ..Introduction::default()
            });
            for line in ["+PONG", "+OK", "+OK", "+OK"] {
                handshake.line(line.as_bytes()).expect("an answer");
            }
            handshake.line(line.as_bytes())
        };
        assert_eq!(
            ask(false, &format!("+FULLRESYNC {ID} 12")),
            Ok(Answer::FullSync {
                id: ID.to_owned(),
                offset: 12
            })
        );
        assert_eq!(
            ask(true, &format!("+CONTINUE {ID}")),
            Ok(Answer::Continue {
                id: Some(ID.to_owned())
            })
        );
        assert_eq!(ask(true, "-ERR unknown command 'PSYNC'"), Ok(Answer::Old));
        for (wants, bad) in [
            (false, "+CONTINUE"),
            (true, "+FULLRESYNC"),
            (true, "+FULLRESYNC x 1"),
            (true, "-NOMASTERLINK Can't SYNC while not connected"),
            (true, "+RDBCHANNELSYNC 7"),
            (true, "hello"),
        ] {
            assert!(ask(wants, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_is_refused_stops() {
        let (mut handshake, _) = Handshake::new(Introduction {
            auth: Some((None, b"x".to_vec())),
            ..Introduction::default()
        });
        assert!(
            handshake
                .line(b"-MASTERDOWN Link with MASTER is down")
                .is_err()
        );
        let (mut handshake, _) = Handshake::new(Introduction {
            auth: Some((None, b"x".to_vec())),
            ..Introduction::default()
        });
        handshake.line(b"+PONG").expect("an answer");
        assert!(handshake.line(b"-WRONGPASS no").is_err());
    }
}
