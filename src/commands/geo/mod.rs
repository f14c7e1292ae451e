//! Places: sorted sets whose scores are numbers of places.
//!
//! In: keys of sorted sets, coordinates, distances in four units. Out: coordinates, distances and geohashes, spelled
//! to the last digit as Redis does; sorted sets with places, or with distances as scores. GEOADD is ZADD with another
//! kind of score and is given to the journal as that.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod.rs` | GEOADD, GEODIST, GEOHASH, GEOPOS |
//! | [`search`] | GEOSEARCH, GEOSEARCHSTORE and the older GEORADIUS family |
//! | [`spec`] | the rows of the command table |
//!
//! The arithmetic is in [`crate::structures::geohash`]. Mirrors Redis's geo.c.

mod search;
mod spec;

pub use spec::COMMANDS;

use super::sorted_sets::limits;
use crate::engine::{CommandError, Context, parse};
use crate::keyspace::{EventClass, KeyEntry, NewValue};
use crate::resp::{Args, Reply};
use crate::structures::geohash::Point;
use crate::structures::sorted_set::{Change, SortedSet};
use crate::system::numbers::{self, parse_f64};

/// Coordinates, longitude first.
fn point(longitude: &[u8], latitude: &[u8]) -> Result<Point, CommandError> {
    let number = |arg| parse_f64(arg).ok_or(CommandError::NotFloat);
    let (longitude, latitude) = (number(longitude)?, number(latitude)?);
    Point::new(longitude, latitude).ok_or_else(|| {
        let mut text = b"ERR invalid longitude,latitude pair ".to_vec();
        numbers::write_fixed(&mut text, longitude, 6);
        text.push(b',');
        numbers::write_fixed(&mut text, latitude, 6);
        CommandError::text_owned(String::from_utf8_lossy(&text))
    })
}

/// Metres in a unit.
fn unit_m(arg: &[u8]) -> Result<f64, CommandError> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    UNITS
        .iter()
        .find(|(name, _)| parse::is_word(arg, name))
        .map(|(_, metres)| *metres)
        .ok_or(CommandError::fixed(
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        ))
}

/// Answers a distance with four decimals.
fn reply_distance(reply: &mut Reply, distance: f64) {
    // Halves are rounded to the even neighbour, on the scaled number, as C's llrint does.
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    let (whole, part) = (scaled / 10_000, scaled % 10_000);
    let mut text = Vec::with_capacity(24);
    numbers::write_i64(&mut text, whole);
    text.push(b'.');
    for digit in [part / 1000, part / 100 % 10, part / 10 % 10, part % 10] {
        text.push(b'0' + digit.unsigned_abs() as u8);
    }
    reply.bulk(&text);
}

/// Answers a place as a pair.
fn reply_point(reply: &mut Reply, point: Point) {
    reply.array(2);
    reply.double(point.longitude);
    reply.double(point.latitude);
}

fn geoadd(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let (mut nx, mut xx, mut ch) = (false, false, false);
    let mut options = 0;
    for word in args.skip(2).iter() {
        match () {
            () if parse::is_word(word, "NX") => nx = true,
            () if parse::is_word(word, "XX") => xx = true,
            () if parse::is_word(word, "CH") => ch = true,
            () => break,
        }
        options += 1;
    }
    let places = args.skip(2 + options);
    if places.is_empty() || !places.len().is_multiple_of(3) || (nx && xx) {
        return Err(CommandError::Syntax);
    }
    let mut scores = Vec::with_capacity(places.len() / 3);
    for at in (0..places.len()).step_by(3) {
        scores.push(point(places.at(at), places.at(at + 1))?.encode());
    }
    let limits = limits(context.settings);
    let mut held = match context.db.entry(key) {
        KeyEntry::Vacant(_) if xx => {
            context.reply.integer(0);
            return Ok(());
        }
        entry => {
            let first = places.at(2);
            let make =
                |seed| NewValue::SortedSet(Box::new(SortedSet::for_first(seed, first, limits)));
            entry.or_insert(make).0
        }
    };
    let set = held.sorted_set_mut()?;
    set.expect(scores.len(), limits);
    let (mut added, mut updated) = (0, 0);
    for (at, score) in scores.iter().enumerate() {
        let member = places.at(3 * at + 2);
        let change = set.update(member, limits, |current| {
            let is_wanted = if current.is_some() { !nx } else { !xx };
            is_wanted.then_some(*score as f64)
        });
        match change {
            Change::Added(_) => added += 1,
            Change::Updated(_) => updated += 1,
            Change::Same(_) | Change::Refused => {}
        }
    }
    if added + updated > 0 {
        context
            .db
            .signal_modified(EventClass::SortedSet, "zadd", key);
    }
    if context.propagates {
        let texts: Vec<String> = scores.iter().map(u64::to_string).collect();
        let mut command: Vec<&[u8]> = vec![b"ZADD"];
        command.extend(args.skip(1).take(1 + options).iter());
        for (at, text) in texts.iter().enumerate() {
            command.extend([text.as_bytes(), places.at(3 * at + 2)]);
        }
        context.rewrite(&command);
    }
    context
        .reply
        .integer(if ch { added + updated } else { added });
    Ok(())
}

fn geodist(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let unit_m = match args.len() {
        4 => 1.0,
        5 => unit_m(args.at(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let Some(entry) = context.db.read(args.at(1)) else {
        context.reply.null();
        return Ok(());
    };
    let set = entry.sorted_set()?;
    match (set.score_of(args.at(2)), set.score_of(args.at(3))) {
        (Some(from), Some(to)) => {
            let distance_m = Point::decode(from).distance_m(Point::decode(to));
            reply_distance(context.reply, distance_m / unit_m);
        }
        _ => context.reply.null(),
    }
    Ok(())
}

/// Answers an array with something for each member from argument 2 on, which may be missing.
fn for_each_member(
    context: &mut Context<'_>,
    args: Args<'_>,
    mut answer: impl FnMut(&mut Reply, Option<Point>),
) -> Result<(), CommandError> {
    let entry = context.db.read(args.at(1));
    let set = entry.as_ref().map(|entry| entry.sorted_set()).transpose()?;
    let members = args.skip(2);
    context.reply.array(members.len());
    for member in members.iter() {
        let score = set.and_then(|set| set.score_of(member));
        answer(context.reply, score.map(Point::decode));
    }
    Ok(())
}

fn geohash(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    for_each_member(context, args, |reply, place| match place {
        Some(place) => reply.bulk(&place.geohash()),
        None => reply.null(),
    })
}

fn geopos(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    for_each_member(context, args, |reply, place| match place {
        Some(place) => reply_point(reply, place),
        None => reply.null_array(),
    })
}

#[cfg(test)]
mod tests;
