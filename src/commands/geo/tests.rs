//! The geo commands through the checks. Digits are those of Redis 8.0.

use crate::commands::testing::{Harness, bulk, error, int};
use crate::resp::reader::Value;

const SYNTAX: &str = "ERR syntax error";
const NO_MEMBER: &str = "ERR could not decode requested zset member";

fn list(words: &[&str]) -> Value {
    Value::Array(words.iter().map(Value::bulk).collect())
}

fn sicily() -> Harness {
    let mut harness = Harness::new();
    assert_eq!(
        harness.line("geoadd s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania"),
        int(2)
    );
    harness.line("geoadd s 12.758489 38.788135 edge1 17.241510 38.788135 edge2");
    harness
}

#[test]
fn places_are_added_and_read() {
    let mut harness = sicily();
    for (line, expected) in [
        ("geoadd s 13.361389 38.115556 Palermo", int(0)),
        ("geoadd s CH 13.5 38.115556 Palermo", int(1)),
        ("geoadd s nx 14 38 Palermo", int(0)),
        ("geoadd s xx 14 38 none", int(0)),
        ("geoadd s ch xx 13.361389 38.115556 Palermo", int(1)),
        ("geoadd none xx 14 38 none", int(0)),
        ("exists none", int(0)),
        ("zscore s Palermo", bulk("3479099956230698")),
        ("geohash s Palermo none Catania", {
            Value::Array(vec![
                bulk("sqc8b49rny0"),
                Value::NullBulk,
                bulk("sqdtr74hyu0"),
            ])
        }),
        ("geopos s Palermo none", {
            let place = list(&["13.361389338970184", "38.1155563954963"]);
            Value::Array(vec![place, Value::NullArray])
        }),
        ("geopos none a", Value::Array(vec![Value::NullArray])),
        ("geohash s", Value::Array(vec![])),
        ("geodist s Palermo Catania", bulk("166274.1516")),
        ("geodist s Palermo Catania KM", bulk("166.2742")),
        ("geodist s Palermo Catania mi", bulk("103.3182")),
        ("geodist s Palermo Palermo", bulk("0.0000")),
        ("geodist s Palermo none", Value::NullBulk),
        ("geodist none Palermo none", Value::NullBulk),
        ("geodist s a b km x", error(SYNTAX)),
        (
            "geodist s a b parsec",
            error("ERR unsupported unit provided. please use M, KM, FT, MI"),
        ),
        ("geoadd s nx xx 1 2 m", error(SYNTAX)),
        ("geoadd s 1 2 m 3", error(SYNTAX)),
        ("geoadd s a 2 m", error("ERR value is not a valid float")),
        (
            "geoadd s 200 100 m",
            error("ERR invalid longitude,latitude pair 200.000000,100.000000"),
        ),
    ] {
        assert_eq!(harness.line(line), expected, "{line}");
    }
    assert_eq!(
        harness.propagated_as("geoadd s CH 13.361389 38.115556 Palermo"),
        ["ZADD s CH 3479099956230698 Palermo"]
    );
    harness.resp3();
    let Value::Array(places) = harness.line("geopos s Palermo none") else {
        panic!("places")
    };
    assert_eq!(places[1], Value::Null);
}

#[test]
fn places_are_found() {
    let mut harness = sicily();
    for (line, expected) in [
        (
            "geosearch s fromlonlat 15 37 byradius 200 km asc",
            list(&["Catania", "Palermo"]),
        ),
        (
            "geosearch s fromlonlat 15 37 byradius 200 km desc",
            list(&["Palermo", "Catania"]),
        ),
        (
            "geosearch s fromlonlat 15 37 bybox 400 400 km asc",
            list(&["Catania", "Palermo", "edge2", "edge1"]),
        ),
        (
            "geosearch s frommember Catania byradius 200 km count 1",
            list(&["Catania"]),
        ),
        ("geosearch s fromlonlat 15 37 byradius 1 m", list(&[])),
        ("geosearch none fromlonlat 15 37 byradius 1 m", list(&[])),
        ("geosearch none frommember x byradius 1 m", list(&[])),
        (
            "georadius s 15 37 200 km asc",
            list(&["Catania", "Palermo"]),
        ),
        (
            "georadius_ro s 15 37 200 km desc count 1",
            list(&["Palermo"]),
        ),
        ("georadiusbymember s Palermo 1 m", list(&["Palermo"])),
        (
            "georadiusbymember_ro s Palermo 200 KM asc",
            list(&["Palermo", "edge1", "Catania"]),
        ),
        ("georadiusbymember none Palermo x y", list(&[])),
        (
            "georadius s 15 37 200 km withdist withhash withcoord count 1 asc",
            {
                let place = list(&["15.087267458438873", "37.50266842333162"]);
                let parts = vec![
                    bulk("Catania"),
                    bulk("56.4413"),
                    int(3_479_447_370_796_909),
                    place,
                ];
                Value::Array(vec![Value::Array(parts)])
            },
        ),
        ("georadius s 15 37 200 km store to", int(2)),
        ("zrange to 0 -1", list(&["Palermo", "Catania"])),
        ("object encoding to", bulk("listpack")),
        ("georadius s 15 37 200 km storedist to", int(2)),
        ("zrange to 0 -1", list(&["Catania", "Palermo"])),
        (
            "geosearchstore to s fromlonlat 15 37 byradius 200 km storedist count 1",
            int(1),
        ),
        ("zcard to", int(1)),
        ("geosearchstore to s fromlonlat 0 0 byradius 1 m", int(0)),
        ("exists to", int(0)),
        ("geosearchstore s none fromlonlat 0 0 byradius 1 m", int(0)),
        ("exists s", int(0)),
    ] {
        assert_eq!(harness.line(line), expected, "{line}");
    }
}

#[test]
fn faults_are_told_as_redis_tells_them() {
    let mut harness = sicily();
    harness.line("set string x");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let store = "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options";
    for (line, text) in [
        ("geoadd string 1 2 m", wrong),
        ("geopos string m", wrong),
        ("geodist string a b", wrong),
        ("georadius string x y z q", wrong),
        ("georadius s x 37 1 m", "ERR value is not a valid float"),
        ("georadius s 15 37 x m", "ERR need numeric radius"),
        ("georadius s 15 37 -1 m", "ERR radius cannot be negative"),
        ("georadiusbymember s none 1 m", NO_MEMBER),
        ("geosearch s frommember none byradius 1 m", NO_MEMBER),
        ("georadius s 15 37 1 m count 0", "ERR COUNT must be > 0"),
        (
            "georadius s 15 37 1 m any",
            "ERR the ANY argument requires COUNT argument",
        ),
        ("georadius s 15 37 1 m store to withdist", store),
        ("georadius_ro s 15 37 1 m store to", SYNTAX),
        ("georadius s 15 37 1 m count", SYNTAX),
        ("geosearch s fromlonlat 15 37 byradius 1 m store to", SYNTAX),
        (
            "geosearch s fromlonlat 15 37 byradius 1 m bybox 1 1 m",
            SYNTAX,
        ),
        (
            "geosearch s fromlonlat 15 37 frommember Palermo byradius 1 m",
            SYNTAX,
        ),
        (
            "geosearch s fromlonlat 15 37 bybox x 1 m",
            "ERR need numeric width",
        ),
        (
            "geosearch s fromlonlat 15 37 bybox 1 x m",
            "ERR need numeric height",
        ),
        (
            "geosearch s fromlonlat 15 37 bybox 1 -1 m",
            "ERR height or width cannot be negative",
        ),
        (
            "geosearch s byradius 1 m asc count 1",
            "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geosearch",
        ),
        (
            "GEOSEARCH s fromlonlat 15 37 asc count 1",
            "ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH",
        ),
        (
            "geosearchstore to s fromlonlat 15 37 byradius 1 m withdist",
            "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
    ] {
        assert_eq!(harness.line(line), error(text), "{line}");
    }
    assert_eq!(
        harness.line("command getkeys georadius s 15 37 1 m store a storedist b"),
        list(&["s", "a", "b"])
    );
}

/// The distance of these two was no number, was stored as a score, and the set freed a member that it still had.
#[test]
fn a_distance_to_the_other_side_of_the_globe_is_stored() {
    let mut harness = Harness::new();
    for member in ["M".to_owned(), "M".repeat(200)] {
        harness.line(&format!(
            "geoadd src 90.00662237405777 57.399844246526158 {member} 1 1 near"
        ));
        let line = "geosearchstore dst src fromlonlat -89.99337762594223 -57.399844246526399 byradius 25000 km storedist";
        assert_eq!(harness.line(line), int(2));
        assert_eq!(
            harness.line(&format!("zscore dst {member}")),
            bulk("2.002073400000016e+4")
        );
        harness.line(&format!("zrem dst {member}"));
        assert_eq!(harness.line("zrange dst 0 -1"), list(&["near"]));
        harness.line("del src dst");
    }
}
