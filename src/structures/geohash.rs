//! Places on the globe as numbers of 52 bits, whose neighbours on the number line are mostly neighbours on the globe.
//!
//! In: longitudes and latitudes in degrees. Out: numbers for the scores of a sorted set, the ranges of scores that cover
//! an area, and distances in metres. The bits of both axes alternate, longitude first, so that the prefixes of a number
//! are ever larger cells around the place. Latitudes reach to ±85.05112878, as in the web's map projection.
//!
//! All arithmetic is done in the order in which Redis does it: results agree to the last bit, and so do the digits that
//! a client reads. Mirrors geohash.c and geohash_helper.c of Redis.

use std::f64::consts::PI;

/// Steps per axis of a whole number: 52 bits.
const STEPS: u32 = 26;
/// Northernmost latitude; the southernmost is its negative.
const LATITUDE_MAX: f64 = 85.051_128_78;
/// Easternmost longitude; the westernmost is its negative.
const LONGITUDE_MAX: f64 = 180.0;
/// Metres, the quadratic mean of WGS 84.
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half the equator of the projection, metres.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const RADIANS_PER_DEGREE: f64 = PI / 180.0;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Point {
    /// A place, if there are numbers for it.
    pub fn new(longitude: f64, latitude: f64) -> Option<Point> {
        let is_within = (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&latitude);
        is_within.then_some(Point {
            longitude,
            latitude,
        })
    }
    /// The number of a place.
    pub fn encode(self) -> u64 {
        Cell::around(self, STEPS).bits
    }
    /// The place of a number, the middle of its cell. Any score is the number of some place, as Redis sees it.
    pub fn decode(score: f64) -> Point {
        let area = Cell {
            bits: to_bits(score),
            steps: STEPS,
        }
        .area();
        let middle = |(min, max): (f64, f64), limit: f64| ((min + max) / 2.0).clamp(-limit, limit);
        Point {
            longitude: middle(area.longitude, LONGITUDE_MAX),
            latitude: middle(area.latitude, LATITUDE_MAX),
        }
    }
    /// The first 52 bits of the standard geohash, for which latitudes reach to ±90.
    fn standard_bits(self) -> u64 {
        let unit = f64::from(1u32 << STEPS);
        let latitude = (self.latitude + 90.0) / 180.0 * unit;
        let longitude = (self.longitude + 180.0) / 360.0 * unit;
        interleave(latitude as u32, longitude as u32)
    }
    /// The standard geohash of eleven letters; the last is always the first of the alphabet, for want of bits.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = self.standard_bits();
        let mut text = [ALPHABET[0]; 11];
        for (at, letter) in text.iter_mut().take(10).enumerate() {
            *letter = ALPHABET[(bits >> (52 - (at + 1) * 5)) as usize & 31];
        }
        text
    }
    /// Metres to another place, along the globe.
    pub fn distance_m(self, other: Point) -> f64 {
        let half = |a: f64, b: f64| ((radians(b) - radians(a)) / 2.0).sin();
        let v = half(self.longitude, other.longitude);
        if v == 0.0 {
            return latitude_distance_m(self.latitude, other.latitude);
        }
        let u = half(self.latitude, other.latitude);
        let a = u * u + radians(self.latitude).cos() * radians(other.latitude).cos() * v * v;
        // On the other side of the globe rounding may make this a little more than 1, which has no arc sine.
        2.0 * EARTH_RADIUS_M * a.min(1.0).sqrt().asin()
    }
}

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

fn latitude_distance_m(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (radians(b) - radians(a)).abs()
}

/// A score as a number, as C's conversion does on this platform.
fn to_bits(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if score < HALF {
        score as i64 as u64
    } else if score < HALF * 2.0 {
        score as u64
    } else {
        0
    }
}

/// The bits of `even` at the even places, those of `odd` at the odd ones.
fn interleave(even: u32, odd: u32) -> u64 {
    fn spread(x: u32) -> u64 {
        let x = u64::from(x);
        let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        let x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
        let x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let x = (x | x << 2) & 0x3333_3333_3333_3333;
        (x | x << 1) & 0x5555_5555_5555_5555
    }
    spread(even) | spread(odd) << 1
}

/// The inverse of [`interleave`].
fn deinterleave(bits: u64) -> (u32, u32) {
    fn gather(x: u64) -> u32 {
        let x = x & 0x5555_5555_5555_5555;
        let x = (x | x >> 1) & 0x3333_3333_3333_3333;
        let x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
        let x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
        let x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
        (x | x >> 16) as u32
    }
    (gather(bits), gather(bits >> 1))
}

/// All places whose numbers begin with these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    /// Bits per axis, 1 to 26.
    steps: u32,
}

/// The edges of a cell: least and greatest.
struct Area {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Cell {
    fn around(point: Point, steps: u32) -> Cell {
        let unit = (1u64 << steps) as f64;
        let latitude = (point.latitude + LATITUDE_MAX) / (2.0 * LATITUDE_MAX) * unit;
        let longitude = (point.longitude + LONGITUDE_MAX) / (2.0 * LONGITUDE_MAX) * unit;
        Cell {
            bits: interleave(latitude as u32, longitude as u32),
            steps,
        }
    }
    fn area(self) -> Area {
        let (latitude, longitude) = deinterleave(self.bits);
        let unit = (1u64 << self.steps) as f64;
        let edge = |at: u32, max: f64| -max + f64::from(at) / unit * (2.0 * max);
        let edges = |at: u32, max: f64| (edge(at, max), edge(at.wrapping_add(1), max));
        Area {
            longitude: edges(longitude, LONGITUDE_MAX),
            latitude: edges(latitude, LATITUDE_MAX),
        }
    }
    /// The cell of the same size so many to the east and to the north; it goes around at the edges.
    fn moved(self, east: i32, north: i32) -> Cell {
        let (latitude, longitude) = deinterleave(self.bits);
        let step = |at: u32, by: i32| match by {
            // The northernmost latitude has one bit more, which only moving drops.
            0 => at,
            _ => at.wrapping_add_signed(by) & (u32::MAX >> (32 - self.steps)),
        };
        Cell {
            bits: interleave(step(latitude, north), step(longitude, east)),
            ..self
        }
    }
    /// The numbers in it: from the first to before the second.
    fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS - self.steps);
        (
            (self.bits << shift) as f64,
            ((self.bits + 1) << shift) as f64,
        )
    }
}

/// What is searched around a place; in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// All places as near as that.
    Circle {
        /// Radius in the client's unit.
        radius: f64,
    },
    /// All places in a box that stands straight on the map.
    Box {
        /// From west to east, in the client's unit.
        width: f64,
        /// From south to north, in the client's unit.
        height: f64,
    },
}

/// A search around a place.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The middle.
    pub center: Point,
    /// What is searched.
    pub shape: Shape,
    /// Metres in the unit of the shape.
    pub unit_m: f64,
}

impl Search {
    /// The distance to a place in metres, if that is within the shape.
    pub fn distance_m(&self, point: Point) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let radius_m = radius * self.unit_m;
                // A first look without sines: no place is nearer than its latitude, but for the last digits.
                let north = latitude_distance_m(self.center.latitude, point.latitude);
                if north > radius_m * (1.0 + 1e-9) + 1e-6 {
                    return None;
                }
                let distance = self.center.distance_m(point);
                if distance > radius_m {
                    return None;
                }
                Some(distance)
            }
            Shape::Box { width, height } => {
                let (width_m, height_m) = (width * self.unit_m, height * self.unit_m);
                if latitude_distance_m(point.latitude, self.center.latitude) > height_m / 2.0 {
                    return None;
                }
                let beside = Point {
                    longitude: self.center.longitude,
                    latitude: point.latitude,
                };
                if point.distance_m(beside) > width_m / 2.0 {
                    return None;
                }
                Some(self.center.distance_m(point))
            }
        }
    }

    /// West, south, east and north of the shape, degrees.
    fn bounds(&self) -> (f64, f64, f64, f64) {
        let (width, height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (width_m, height_m) = (self.unit_m * width, self.unit_m * height);
        let Point {
            longitude,
            latitude,
        } = self.center;
        let north = degrees(height_m / EARTH_RADIUS_M);
        let east_at = |latitude: f64| degrees(width_m / EARTH_RADIUS_M / radians(latitude).cos());
        // The edge that is nearer to the equator counts in Redis; its boxes are wider in degrees at the other.
        let east = if latitude < 0.0 {
            east_at(latitude - north)
        } else {
            east_at(latitude + north)
        };
        (
            longitude - east,
            latitude - north,
            longitude + east,
            latitude + north,
        )
    }

    /// Ranges of numbers, each from the first to before the second, that cover the shape: the cell around the middle and
    /// those beside it that the shape reaches, nine at most, in the order in which Redis looks into them.
    pub fn ranges(&self) -> Vec<(f64, f64)> {
        let mut ranges = Vec::with_capacity(9);
        let mut previous = None;
        for (at, cell) in self.cells().into_iter().enumerate() {
            let Some(cell) = cell else { continue };
            // Cells as large as the world are their own neighbours. As in Redis only the one just before is compared, and
            // the middle is not.
            if previous == Some(cell) {
                continue;
            }
            previous = (at > 0).then_some(cell);
            ranges.push(cell.scores());
        }
        ranges
    }

    fn cells(&self) -> [Option<Cell>; 9] {
        let radius = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        let mut steps = steps_for(radius * self.unit_m, self.center.latitude);
        let (west, south, east, north) = self.bounds();
        let mut cell = Cell::around(self.center, steps);
        let is_too_small = cell.moved(0, 1).area().latitude.1 < north
            || cell.moved(0, -1).area().latitude.0 > south
            || cell.moved(1, 0).area().longitude.1 < east
            || cell.moved(-1, 0).area().longitude.0 > west;
        if steps > 1 && is_too_small {
            steps -= 1;
            cell = Cell::around(self.center, steps);
        }
        let area = cell.area();
        // With two bits of each axis the cells are still worth leaving out.
        let can_skip = steps >= 2;
        let skip_south = can_skip && area.latitude.0 < south;
        let skip_north = can_skip && area.latitude.1 > north;
        let skip_west = can_skip && area.longitude.0 < west;
        let skip_east = can_skip && area.longitude.1 > east;
        const AROUND: [(i32, i32); 9] = [
            (0, 0),
            (0, 1),
            (0, -1),
            (1, 0),
            (-1, 0),
            (1, 1),
            (-1, 1),
            (1, -1),
            (-1, -1),
        ];
        AROUND.map(|(to_east, to_north)| {
            let skipped = (to_north < 0 && skip_south)
                || (to_north > 0 && skip_north)
                || (to_east < 0 && skip_west)
                || (to_east > 0 && skip_east);
            (!skipped).then(|| cell.moved(to_east, to_north))
        })
    }
}

/// Bits per axis of cells of which nine cover a radius, about.
fn steps_for(mut radius_m: f64, latitude: f64) -> u32 {
    if radius_m == 0.0 {
        return STEPS;
    }
    let mut steps = 1i32;
    while radius_m < MERCATOR_MAX_M {
        radius_m *= 2.0;
        steps += 1;
    }
    steps -= 2;
    // Towards the poles the same degrees are fewer metres.
    if latitude.abs() > 66.0 {
        steps -= 1;
        if latitude.abs() > 80.0 {
            steps -= 1;
        }
    }
    steps.clamp(1, STEPS as i32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(longitude: f64, latitude: f64) -> Point {
        Point::new(longitude, latitude).expect("on the map")
    }

    #[test]
    fn known_places() {
        // Palermo and Catania, as Redis's documentation has them.
        let palermo = point(13.361389, 38.115556);
        let catania = point(15.087269, 37.502669);
        assert_eq!(palermo.encode(), 3_479_099_956_230_698);
        assert_eq!(catania.encode(), 3_479_447_370_796_909);
        let palermo = Point::decode(3_479_099_956_230_698.0);
        assert_eq!(palermo.longitude, 13.361_389_338_970_184);
        assert_eq!(palermo.latitude, 38.115_556_395_496_3);
        assert_eq!(&palermo.geohash(), b"sqc8b49rny0");
        let catania = Point::decode(3_479_447_370_796_909.0);
        assert_eq!(&catania.geohash(), b"sqdtr74hyu0");
        let distance = palermo.distance_m(catania);
        assert!((distance - 166_274.151_6).abs() < 1e-4, "{distance}");
        assert_eq!(palermo.distance_m(palermo), 0.0);
    }

    /// Rounding makes the square of the half chord of these more than 1.
    #[test]
    fn the_other_side_of_the_globe_has_a_distance() {
        let there = Point::decode(point(90.00662237405777, 57.399_844_246_526_16).encode() as f64);
        let half_around_m = PI * EARTH_RADIUS_M;
        for here in [
            point(-89.99337762594223, -57.399_844_246_526_4),
            point(there.longitude - 180.0, -there.latitude),
        ] {
            let distance_m = here.distance_m(there);
            assert!((half_around_m - distance_m).abs() < 1.0, "{distance_m}");
        }
    }

    #[test]
    fn scores_that_are_no_places_do_no_harm() {
        for score in [
            -1.0,
            -1e300,
            1e300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e19,
            0.5,
        ] {
            let Point {
                longitude,
                latitude,
            } = Point::decode(score);
            assert!(Point::new(longitude, latitude).is_some(), "{score}");
        }
    }

    proptest! {
        #[test]
        fn a_place_is_found_again(longitude in -180.0..180.0, latitude in -85.0..85.0) {
            let there = point(longitude, latitude);
            let back = Point::decode(there.encode() as f64);
            prop_assert!((back.longitude - longitude).abs() < 1e-5);
            prop_assert!((back.latitude - latitude).abs() < 1e-5);
        }

        #[test]
        fn every_distance_is_a_number(
            longitude in -180.0..=180.0f64,
            latitude in -85.05..=85.05f64,
            off in 0..64u64,
        ) {
            let place = Point::decode(point(longitude, latitude).encode() as f64);
            let east = if place.longitude < 0.0 { 180.0 } else { -180.0 };
            // The antipodes, a few of the smallest steps of a double away.
            let south = f64::from_bits((-place.latitude).to_bits() ^ off);
            let antipodes = Point { longitude: place.longitude + east, latitude: south };
            prop_assert!(!place.distance_m(antipodes).is_nan());
            prop_assert!(!antipodes.distance_m(place).is_nan());
        }

        #[test]
        fn interleaving_loses_nothing(even in any::<u32>(), odd in any::<u32>()) {
            prop_assert_eq!(deinterleave(interleave(even, odd)), (even, odd));
        }

        /// What a search misses of all that is within its shape. Away from the poles and the date line the nine cells
        /// have all of it.
        #[test]
        fn the_cells_cover_the_shape(
            longitude in -100.0..100.0f64,
            latitude in -60.0..60.0f64,
            size_m in 1.0..1_000_000.0f64,
            to in proptest::collection::vec((-1.0..1.0f64, -1.0..1.0f64), 20),
            is_circle in any::<bool>(),
        ) {
            let center = point(longitude, latitude);
            let shape = if is_circle {
                Shape::Circle { radius: size_m }
            } else {
                Shape::Box { width: size_m, height: size_m / 2.0 }
            };
            let search = Search { center, shape, unit_m: 1.0 };
            let ranges = search.ranges();
            let reach = size_m / 100_000.0;
            for (east, north) in to {
                let Some(place) = Point::new(longitude + east * reach, latitude + north * reach) else {
                    continue;
                };
                let number = place.encode() as f64;
                if search.distance_m(Point::decode(number)).is_some() {
                    let is_covered = ranges.iter().any(|(from, to)| (*from..*to).contains(&number));
                    prop_assert!(is_covered, "{:?} {:?}", search, place);
                }
            }
        }
    }
}
