//! What concerns the connection: PING, HELLO, SELECT, RESET, QUIT, CLIENT.

use super::{
    Answer, Args, Caller, Model, Outcome, Run, SYNTAX, bulk, database, integer, ok, wrong_arity,
};

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("client", -2, Model::client),
    ("echo", 2, Model::connection),
    ("hello", -1, Model::connection),
    ("ping", -1, Model::connection),
    ("quit", -1, Model::connection),
    ("reset", 1, Model::connection),
    ("select", 2, Model::connection),
];

impl Model {
    fn connection(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let caller = &mut self.caller;
        match name {
            "ping" if args.len() > 2 => Err(wrong_arity(name)),
            "ping" if !caller.resp3 && self.pubsub.listens(caller.id) => {
                let message = args.get(1).map_or(&b""[..], |message| message);
                Ok(Answer::Array(vec![bulk("pong"), bulk(message)]))
            }
            "ping" => Ok(match args.get(1) {
                Some(message) => bulk(message),
                None => Answer::Simple("PONG".into()),
            }),
            "echo" => Ok(bulk(&args[1])),
            "quit" => {
                caller.quit = true;
                Ok(ok())
            }
            "reset" => {
                // Nobody sends RESET while an answer is skipped.
                assert!(!caller.skip);
                *caller = Caller {
                    id: caller.id,
                    ..Caller::default()
                };
                self.pubsub.leave(self.caller.id);
                Ok(Answer::Simple("RESET".into()))
            }
            "select" => {
                self.db = database(&args[1])?;
                caller.db = self.db;
                Ok(ok())
            }
            _ => {
                match args.get(1).map(|text| integer(text)) {
                    None => {}
                    Some(Ok(2)) => caller.resp3 = false,
                    Some(Ok(3)) => caller.resp3 = true,
                    Some(Ok(_)) => return Err("NOPROTO unsupported protocol version".into()),
                    Some(Err(_)) => {
                        return Err("ERR Protocol version is not an integer or out of range".into());
                    }
                }
                Ok(Answer::Hello(if caller.resp3 { 3 } else { 2 }))
            }
        }
    }

    fn client(&mut self, _: &str, args: Args<'_>) -> Outcome {
        let caller = &mut self.caller;
        let sub = String::from_utf8_lossy(&args[1]).to_lowercase();
        match sub.as_str() {
            "id" => Ok(Answer::Int(caller.id)),
            "getname" if caller.name.is_empty() => Ok(Answer::Null),
            "getname" => Ok(bulk(&caller.name)),
            "setname" => {
                if args[2].iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
                    return Err(
                        "ERR Client names cannot contain spaces, newlines or special characters."
                            .into(),
                    );
                }
                caller.name = args[2].clone();
                Ok(ok())
            }
            "reply" => {
                match args[2].to_ascii_uppercase().as_slice() {
                    b"ON" => (caller.off, caller.skip) = (false, false),
                    b"OFF" => caller.off = true,
                    b"SKIP" if caller.off => {}
                    b"SKIP" => caller.skip_next = true,
                    _ => return Err(SYNTAX.into()),
                }
                Ok(ok())
            }
            "pause" => {
                let until = self.now_ms + integer(&args[2])?;
                self.paused_until_ms = self.paused_until_ms.max(until);
                Ok(ok())
            }
            "unpause" => {
                self.paused_until_ms = 0;
                Ok(ok())
            }
            "unblock" => {
                let id = integer(&args[2])?;
                let told = self.given_up.iter().position(|(client, _)| *client == id);
                if let Some(at) = told {
                    self.given_up.remove(at);
                }
                Ok(Answer::Int(i64::from(told.is_some())))
            }
            "kill" => {
                // The caller itself is spared.
                let id = integer(&args[3])?;
                // Who went just now may have been killed by this command, or may have left in front of it.
                let gone = self.gone.contains(&id) && !self.gone_now.contains(&id);
                if id == caller.id || gone {
                    return Ok(Answer::Int(0));
                }
                if self.gone_now.contains(&id) {
                    self.killed.insert(id);
                }
                Ok(Answer::IntWithin(0, 1))
            }
            _ => unreachable!("CLIENT {sub} is never asked"),
        }
    }
}
