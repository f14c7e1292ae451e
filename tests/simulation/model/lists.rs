//! Lists, and the commands that wait for an element of one.

use super::{
    Answer, Args, Model, Outcome, Run, SYNTAX, Value, bulk, bulks, int, integer, ok, optional,
    small, span, word,
};
use std::collections::VecDeque;

type List = VecDeque<Vec<u8>>;

pub const COMMANDS: &[(&str, i64, Run)] = &[
    ("blmove", 6, Model::move_or_wait),
    ("blmpop", -5, Model::pop_or_wait),
    ("blpop", -3, Model::pop_or_wait),
    ("brpop", -3, Model::pop_or_wait),
    ("brpoplpush", 4, Model::move_or_wait),
    ("lindex", 3, Model::lists),
    ("linsert", 5, Model::lists),
    ("llen", 2, Model::lists),
    ("lmove", 5, Model::lists),
    ("lmpop", -4, Model::lists),
    ("lpop", -2, Model::lists),
    ("lpos", -3, Model::lists),
    ("lpush", -3, Model::lists),
    ("lpushx", -3, Model::lists),
    ("lrange", 4, Model::lists),
    ("lrem", 4, Model::lists),
    ("lset", 4, Model::lists),
    ("ltrim", 4, Model::lists),
    ("rpop", -2, Model::lists),
    ("rpoplpush", 3, Model::lists),
    ("rpush", -3, Model::lists),
    ("rpushx", -3, Model::lists),
];

fn pop(list: &mut List, left: bool) -> Option<Vec<u8>> {
    if left {
        list.pop_front()
    } else {
        list.pop_back()
    }
}

fn push(list: &mut List, element: Vec<u8>, left: bool) {
    if left {
        list.push_front(element);
    } else {
        list.push_back(element);
    }
}

fn index(at: i64, len: usize) -> Option<usize> {
    let at = if at < 0 { at + len as i64 } else { at };
    usize::try_from(at).ok().filter(|at| *at < len)
}

impl Model {
    fn lists(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let key = &args[1];
        match name {
            "lpush" | "rpush" | "lpushx" | "rpushx" => {
                let held = self.list(key)?;
                if held.is_none() && name.ends_with('x') {
                    return Ok(Answer::Int(0));
                }
                let mut list = held.unwrap_or_default();
                for element in &args[2..] {
                    push(&mut list, element.clone(), name.starts_with('l'));
                }
                let len = list.len();
                self.put_back(key, Value::List(list));
                Ok(int(len))
            }
            "lpop" | "rpop" => self.pop_some(name, args),
            "llen" => Ok(int(self.list(key)?.map_or(0, |list| list.len()))),
            "lrange" => {
                let (from, to) = (integer(&args[2])?, integer(&args[3])?);
                let list = self.list(key)?.unwrap_or_default();
                let (from, to) = span(from, to, list.len());
                Ok(bulks(list.range(from..to)))
            }
            "lindex" => {
                let list = self.list(key)?;
                let at = match list {
                    Some(_) => integer(&args[2])?,
                    None => return Ok(Answer::Null),
                };
                let list = list.unwrap_or_default();
                Ok(optional(index(at, list.len()).map(|at| &list[at])))
            }
            "lset" => {
                let mut list = self.list(key)?.ok_or("ERR no such key")?;
                let at = integer(&args[2])?;
                let at = index(at, list.len()).ok_or("ERR index out of range")?;
                list[at] = args[3].clone();
                self.put_back(key, Value::List(list));
                Ok(ok())
            }
            "linsert" => {
                let after = word(&args[2]) == "AFTER";
                let Some(mut list) = self.list(key)? else {
                    return Ok(Answer::Int(0));
                };
                let Some(at) = list.iter().position(|element| *element == args[3]) else {
                    return Ok(Answer::Int(-1));
                };
                list.insert(at + usize::from(after), args[4].clone());
                let len = list.len();
                self.put_back(key, Value::List(list));
                Ok(int(len))
            }
            "lrem" => {
                let count = integer(&args[2])?;
                let Some(mut list) = self.list(key)? else {
                    return Ok(Answer::Int(0));
                };
                let most = if count == 0 {
                    usize::MAX
                } else {
                    count.unsigned_abs() as usize
                };
                let mut removed = 0;
                while removed < most {
                    let mut places = list.iter();
                    let at = if count < 0 {
                        places.rposition(|element| *element == args[3])
                    } else {
                        places.position(|element| *element == args[3])
                    };
                    let Some(at) = at else { break };
                    list.remove(at);
                    removed += 1;
                }
                self.put_back(key, Value::List(list));
                Ok(int(removed))
            }
            "ltrim" => {
                let (from, to) = (integer(&args[2])?, integer(&args[3])?);
                let Some(list) = self.list(key)? else {
                    return Ok(ok());
                };
                let (from, to) = span(from, to, list.len());
                let list = list.range(from..to).cloned().collect();
                self.put_back(key, Value::List(list));
                Ok(ok())
            }
            "lpos" => {
                let list = self.list(key)?.unwrap_or_default();
                let at = list.iter().position(|element| *element == args[2]);
                Ok(at.map_or(Answer::Null, int))
            }
            "lmove" => {
                let (from_left, to_left) = (word(&args[3]) == "LEFT", word(&args[4]) == "LEFT");
                self.move_element(&args[1], &args[2], from_left, to_left)
            }
            "rpoplpush" => self.move_element(&args[1], &args[2], false, true),
            _ => {
                let keys = small(&args[1]);
                let rest = &args[2 + keys..];
                let count = rest.get(2).map_or(1, |count| small(count));
                self.pop_of_first(&args[2..2 + keys], word(&rest[0]) == "LEFT", count)
            }
        }
    }

    fn pop_some(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let left = name == "lpop";
        let count = match args.get(2) {
            Some(_) if args.len() > 3 => return Err(super::wrong_arity(name)),
            Some(count) => match integer(count).map(usize::try_from) {
                Ok(Ok(count)) => Some(count),
                _ => return Err("ERR value is out of range, must be positive".into()),
            },
            None => None,
        };
        let Some(mut list) = self.list(&args[1])? else {
            return Ok(count.map_or(Answer::Null, |_| Answer::NullArray));
        };
        let mut popped = Vec::new();
        while popped.len() < count.unwrap_or(1) {
            let Some(element) = pop(&mut list, left) else {
                break;
            };
            popped.push(Answer::Bulk(element));
        }
        self.put_back(&args[1], Value::List(list));
        Ok(match count {
            Some(_) => Answer::Array(popped),
            None => popped.remove(0),
        })
    }

    /// Pops from the first of some keys that has elements.
    fn pop_of_first(&mut self, keys: Args<'_>, left: bool, count: usize) -> Outcome {
        for key in keys {
            let Some(mut list) = self.list(key)? else {
                continue;
            };
            let mut popped = Vec::new();
            while popped.len() < count {
                let Some(element) = pop(&mut list, left) else {
                    break;
                };
                popped.push(Answer::Bulk(element));
            }
            self.put_back(key, Value::List(list));
            return Ok(Answer::Array(vec![bulk(key), Answer::Array(popped)]));
        }
        Ok(Answer::NullArray)
    }

    fn move_element(&mut self, from: &[u8], to: &[u8], from_left: bool, to_left: bool) -> Outcome {
        let Some(mut list) = self.list(from)? else {
            return Ok(Answer::Null);
        };
        self.list(to)?;
        let element = pop(&mut list, from_left).expect("no list is empty");
        if from == to {
            push(&mut list, element.clone(), to_left);
            self.put_back(from, Value::List(list));
        } else {
            self.put_back(from, Value::List(list));
            let mut list = self.list(to)?.unwrap_or_default();
            push(&mut list, element.clone(), to_left);
            self.put_back(to, Value::List(list));
        }
        Ok(Answer::Bulk(element))
    }

    fn pop_or_wait(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (keys, timeout, outcome) = if name == "blmpop" {
            let keys = small(&args[2]);
            let rest = &args[3 + keys..];
            let keys = &args[3..3 + keys];
            let count = rest.get(2).map_or(1, |count| small(count));
            let outcome = self.pop_of_first(keys, word(&rest[0]) == "LEFT", count)?;
            (keys, &args[1], outcome)
        } else {
            let (timeout, keys) = args[1..].split_last().ok_or(SYNTAX)?;
            let mut outcome = self.pop_of_first(keys, name == "blpop", 1)?;
            // One element, not an array of one.
            if let Answer::Array(parts) = &mut outcome
                && let Some(Answer::Array(popped)) = parts.get_mut(1)
            {
                parts[1] = popped.remove(0);
            }
            (keys, timeout, outcome)
        };
        match outcome {
            Answer::NullArray => self.wait("list", keys, timeout, Answer::NullArray),
            outcome => Ok(outcome),
        }
    }

    fn move_or_wait(&mut self, name: &str, args: Args<'_>) -> Outcome {
        let (from_left, to_left, timeout) = if name == "blmove" {
            (word(&args[3]) == "LEFT", word(&args[4]) == "LEFT", &args[5])
        } else {
            (false, true, &args[3])
        };
        match self.move_element(&args[1], &args[2], from_left, to_left)? {
            Answer::Null => self.wait("list", &args[1..2], timeout, Answer::Null),
            moved => Ok(moved),
        }
    }
}
