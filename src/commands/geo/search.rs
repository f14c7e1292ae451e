//! Places near a place: GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER and the read-only forms of these.
//!
//! The set is walked in the ranges of scores that cover the shape; what a range has beyond the shape is measured and left
//! out. Members are answered from where they are stored, without a copy.

use super::{point, reply_distance, reply_point, unit_m};
use crate::commands::sorted_sets::{limits, reply_member, store};
use crate::engine::{CommandError, Context, key_flags, parse};
use crate::keyspace::{EntryRef, WrongType};
use crate::resp::{Args, Reply};
use crate::structures::geohash::{Point, Search, Shape};
use crate::structures::listpack::Item;
use crate::structures::sorted_set::{ScoreRange, SortedSet};
use crate::system::numbers::parse_f64;

/// Which command it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Around coordinates in fixed places.
    Radius { may_store: bool },
    /// Around a member in a fixed place.
    RadiusByMember { may_store: bool },
    /// Everything by options.
    Search,
    /// Everything by options, with a key for the result before the source.
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }
    fn may_store(self) -> bool {
        match self {
            Form::Radius { may_store } | Form::RadiusByMember { may_store } => may_store,
            Form::Search | Form::SearchStore => false,
        }
    }
}

/// In which order results come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// What is asked for.
#[derive(Default)]
struct Query<'a> {
    center: Option<Point>,
    /// `FROMMEMBER` or `FROMLONLAT` was given; the center may be missing with the key.
    from_member: bool,
    from_place: bool,
    shape: Option<Shape>,
    unit_m: f64,
    with_distance: bool,
    with_score: bool,
    with_place: bool,
    any: bool,
    order: Option<Order>,
    /// Most results; 0: all.
    count: usize,
    store_key: Option<&'a [u8]>,
    store_distance: bool,
}

/// A distance that is not negative, with its unit.
fn radius(number: &[u8], unit: &[u8]) -> Result<(f64, f64), CommandError> {
    let radius = parse_f64(number).ok_or(CommandError::fixed("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(CommandError::fixed("ERR radius cannot be negative"));
    }
    Ok((radius, unit_m(unit)?))
}

/// Width, height and their unit.
fn sides(args: Args<'_>) -> Result<(Shape, f64), CommandError> {
    let width = parse_f64(args.at(0)).ok_or(CommandError::fixed("ERR need numeric width"))?;
    let height = parse_f64(args.at(1)).ok_or(CommandError::fixed("ERR need numeric height"))?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::fixed(
            "ERR height or width cannot be negative",
        ));
    }
    Ok((Shape::Box { width, height }, unit_m(args.at(2))?))
}

/// The place of a member.
fn member_place(set: &SortedSet, member: &[u8]) -> Result<Point, CommandError> {
    set.score_of(member)
        .map(Point::decode)
        .ok_or(CommandError::fixed(
            "ERR could not decode requested zset member",
        ))
}

impl<'a> Query<'a> {
    /// Reads all arguments. `set` is the source, if it exists; some faults only show with it, as in Redis.
    fn parse(
        args: Args<'a>,
        form: Form,
        set: Option<&SortedSet>,
    ) -> Result<Query<'a>, CommandError> {
        let mut query = Query::default();
        let options = match form {
            Form::Radius { .. } => {
                query.center = Some(point(args.at(2), args.at(3))?);
                query.set_circle(args.at(4), args.at(5))?;
                args.skip(6)
            }
            Form::RadiusByMember { .. } => {
                if let Some(set) = set {
                    query.center = Some(member_place(set, args.at(2))?);
                    query.set_circle(args.at(3), args.at(4))?;
                }
                args.skip(5)
            }
            Form::Search => args.skip(2),
            Form::SearchStore => {
                query.store_key = args.get(1);
                args.skip(3)
            }
        };
        let mut at = 0;
        while at < options.len() {
            at += 1 + query.option(options.skip(at), form, set)?;
        }
        query.check(args.at(0), form)?;
        Ok(query)
    }

    fn set_circle(&mut self, number: &[u8], unit: &[u8]) -> Result<(), CommandError> {
        let (radius, unit_m) = radius(number, unit)?;
        self.shape = Some(Shape::Circle { radius });
        self.unit_m = unit_m;
        Ok(())
    }

    /// Reads the option that `options` begin with; how many arguments it has.
    fn option(
        &mut self,
        options: Args<'a>,
        form: Form,
        set: Option<&SortedSet>,
    ) -> Result<usize, CommandError> {
        let word = options.at(0);
        let following = options.len() - 1;
        let is = |name: &str| parse::is_word(word, name);
        let is_circle = matches!(self.shape, Some(Shape::Circle { .. }));
        let is_box = matches!(self.shape, Some(Shape::Box { .. }));
        let search = form.is_search();
        Ok(match () {
            () if is("WITHDIST") => {
                self.with_distance = true;
                0
            }
            () if is("WITHHASH") => {
                self.with_score = true;
                0
            }
            () if is("WITHCOORD") => {
                self.with_place = true;
                0
            }
            () if is("ANY") => {
                self.any = true;
                0
            }
            () if is("ASC") => {
                self.order = Some(Order::Nearest);
                0
            }
            () if is("DESC") => {
                self.order = Some(Order::Farthest);
                0
            }
            () if is("COUNT") && following >= 1 => {
                self.count = match parse::integer(options.at(1))? {
                    count if count > 0 => usize::try_from(count).unwrap_or(usize::MAX),
                    _ => return Err(CommandError::fixed("ERR COUNT must be > 0")),
                };
                1
            }
            () if (is("STORE") || is("STOREDIST")) && following >= 1 && form.may_store() => {
                self.store_key = options.get(1);
                self.store_distance = is("STOREDIST");
                1
            }
            () if is("STOREDIST") && form == Form::SearchStore => {
                self.store_distance = true;
                0
            }
            () if is("FROMMEMBER") && following >= 1 && search && !self.from_place => {
                if let Some(set) = set {
                    self.center = Some(member_place(set, options.at(1))?);
                }
                self.from_member = true;
                1
            }
            () if is("FROMLONLAT") && following >= 2 && search && !self.from_member => {
                self.center = Some(point(options.at(1), options.at(2))?);
                self.from_place = true;
                2
            }
            () if is("BYRADIUS") && following >= 2 && search && !is_box => {
                self.set_circle(options.at(1), options.at(2))?;
                2
            }
            () if is("BYBOX") && following >= 3 && search && !is_circle => {
                let (shape, unit_m) = sides(options.skip(1))?;
                self.shape = Some(shape);
                self.unit_m = unit_m;
                3
            }
            () => return Err(CommandError::Syntax),
        })
    }

    /// What fits together only as a whole. `name` is the command as it was called.
    fn check(&self, name: &[u8], form: Form) -> Result<(), CommandError> {
        let name = String::from_utf8_lossy(name);
        if self.store_key.is_some() && (self.with_distance || self.with_score || self.with_place) {
            let what = match form {
                Form::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(CommandError::text_owned(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if form.is_search() && !self.from_member && !self.from_place {
            return Err(CommandError::text_owned(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}"
            )));
        }
        if form.is_search() && self.shape.is_none() {
            return Err(CommandError::text_owned(format!(
                "ERR exactly one of BYRADIUS and BYBOX can be specified for {name}"
            )));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::fixed(
                "ERR the ANY argument requires COUNT argument",
            ));
        }
        Ok(())
    }

    /// What is found, in the order that is asked for.
    fn find<'s>(&self, set: &'s SortedSet) -> Vec<Found<'s>> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else {
            return Vec::new();
        };
        let search = Search {
            center,
            shape,
            unit_m: self.unit_m,
        };
        let limit = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        for (min, max) in search.ranges() {
            if found.len() >= limit {
                break;
            }
            let ranks = set.ranks_by_score(&ScoreRange {
                min,
                max,
                min_exclusive: false,
                max_exclusive: true,
            });
            for (member, score) in set.iter_from(ranks.start, ranks.len(), false) {
                let place = Point::decode(score);
                if let Some(distance_m) = search.distance_m(place) {
                    found.push(Found {
                        member,
                        score,
                        place,
                        distance_m,
                    });
                    if found.len() >= limit {
                        break;
                    }
                }
            }
        }
        // The nearest are what a count without an order means, except with ANY.
        let order = match self.order {
            None if self.count > 0 && !self.any => Some(Order::Nearest),
            order => order,
        };
        let by_distance = |a: &Found<'_>, b: &Found<'_>| a.distance_m.total_cmp(&b.distance_m);
        match order {
            None => {}
            Some(Order::Nearest) => found.sort_by(by_distance),
            Some(Order::Farthest) => found.sort_by(|a, b| by_distance(b, a)),
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    fn reply_found(&self, reply: &mut Reply, found: &[Found<'_>]) {
        let extras = [self.with_distance, self.with_score, self.with_place];
        let extras = extras.iter().filter(|wanted| **wanted).count();
        reply.array(found.len());
        for it in found {
            if extras > 0 {
                reply.array(1 + extras);
            }
            reply_member(reply, it.member);
            if self.with_distance {
                reply_distance(reply, it.distance_m / self.unit_m);
            }
            if self.with_score {
                reply.integer(it.score as i64);
            }
            if self.with_place {
                reply_point(reply, it.place);
            }
        }
    }
}

/// A member within the shape.
struct Found<'a> {
    member: Item<'a>,
    score: f64,
    place: Point,
    distance_m: f64,
}

fn run(context: &mut Context<'_>, args: Args<'_>, form: Form) -> Result<(), CommandError> {
    let source = args.at(if form == Form::SearchStore { 2 } else { 1 });
    let seed = context.db.hash_seed();
    let limits = limits(context.settings);
    let entry = context.db.read(source);
    let set: Result<Option<&SortedSet>, WrongType> =
        entry.as_ref().map(EntryRef::sorted_set).transpose();
    let set = set?;
    let query = Query::parse(args, form, set)?;
    let found = set.map(|set| query.find(set)).unwrap_or_default();
    let Some(key) = query.store_key else {
        query.reply_found(context.reply, &found);
        return Ok(());
    };
    let mut result = SortedSet::new_large(seed);
    for it in &found {
        let score = if query.store_distance {
            it.distance_m / query.unit_m
        } else {
            it.score
        };
        it.member
            .with_bytes(|member| result.insert(member, score, limits));
    }
    result.fit(limits);
    let event = if form.is_search() {
        "geosearchstore"
    } else {
        "georadiusstore"
    };
    store(context, key, result, event);
    Ok(())
}

pub(super) fn georadius(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(context, args, Form::Radius { may_store: true })
}

pub(super) fn georadius_ro(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(context, args, Form::Radius { may_store: false })
}

pub(super) fn georadiusbymember(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    run(context, args, Form::RadiusByMember { may_store: true })
}

pub(super) fn georadiusbymember_ro(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    run(context, args, Form::RadiusByMember { may_store: false })
}

pub(super) fn geosearch(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(context, args, Form::Search)
}

pub(super) fn geosearchstore(
    context: &mut Context<'_>,
    args: Args<'_>,
) -> Result<(), CommandError> {
    run(context, args, Form::SearchStore)
}

/// The keys of GEORADIUS and GEORADIUSBYMEMBER: the source, and the last of those to store to.
pub(super) fn georadius_keys(args: Args<'_>) -> Result<Vec<(usize, u32)>, CommandError> {
    let mut keys = vec![(1, key_flags::RO | key_flags::ACCESS)];
    let mut at = 5;
    let mut store = None;
    while at + 1 < args.len() {
        let word = args.at(at);
        if parse::is_word(word, "STORE") || parse::is_word(word, "STOREDIST") {
            store = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    keys.extend(store.map(|at| (at, key_flags::OW | key_flags::UPDATE)));
    Ok(keys)
}
