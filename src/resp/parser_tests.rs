//! The parser against a naive oracle that reads a whole stream at once, cut in every way.

use super::*;
use crate::resp::Args;
use proptest::prelude::*;

type Requests = Vec<Vec<Vec<u8>>>;

// ---- the oracle ----------------------------------------------------------------------------------

enum Line {
    At(usize),
    Incomplete,
    TooLong,
}

/// Where the line that begins at `at` ends, byte by byte.
fn oracle_line(stream: &[u8], at: usize, end: u8, limits: &Limits) -> Line {
    let mut hidden = false;
    for rel in 0.. {
        match stream.get(at + rel) {
            None => return Line::Incomplete,
            Some(b) if *b == end && !hidden => return Line::At(at + rel),
            Some(0) => hidden = true,
            Some(_) => {}
        }
        if rel >= limits.proto_inline_max_size {
            return Line::TooLong;
        }
    }
    unreachable!()
}

fn oracle_number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let n: i64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

/// All requests of a stream, and the error that ends it.
fn oracle(stream: &[u8], limits: &Limits) -> (Requests, Option<ProtocolError>) {
    let mut requests = Vec::new();
    let mut at = 0;
    loop {
        match oracle_request(stream, &mut at, limits) {
            Ok(Some(request)) if request.is_empty() => {}
            Ok(Some(request)) => requests.push(request),
            Ok(None) => return (requests, None),
            Err(error) => return (requests, Some(error)),
        }
    }
}

fn oracle_request(
    stream: &[u8],
    at: &mut usize,
    limits: &Limits,
) -> Result<Option<Vec<Vec<u8>>>, ProtocolError> {
    use ProtocolError::*;
    if *at == stream.len() {
        return Ok(None);
    }
    if stream[*at] != b'*' {
        let end = match oracle_line(stream, *at, b'\n', limits) {
            Line::At(end) => end,
            Line::Incomplete => return Ok(None),
            Line::TooLong => return Err(TooBigInline),
        };
        let mut line = &stream[*at..end];
        if line.last() == Some(&b'\r') {
            line = &line[..line.len() - 1];
        }
        *at = end + 1;
        return oracle_split(line).map(Some).ok_or(UnbalancedQuotes);
    }
    let header = |at: &mut usize, too_long| match oracle_line(stream, *at, b'\r', limits) {
        Line::At(end) if end + 2 <= stream.len() => {
            let first = stream[*at];
            let text = stream[*at + 1..end.max(*at + 1)].to_vec();
            *at = end + 2;
            Ok(Some((first, text)))
        }
        Line::TooLong => Err(too_long),
        _ => Ok(None),
    };
    let Some((_, text)) = header(at, TooBigMultibulkCount)? else {
        return Ok(None);
    };
    let count = oracle_number(&text).ok_or(InvalidMultibulkLength)?;
    if count > limits.max_multibulk as i64 {
        return Err(InvalidMultibulkLength);
    }
    if count > 10 && !limits.authenticated {
        return Err(UnauthenticatedMultibulkLength);
    }
    let mut args = Vec::new();
    for _ in 0..count.max(0) {
        let Some((first, text)) = header(at, TooBigBulkCount)? else {
            return Ok(None);
        };
        if first != b'$' {
            return Err(ExpectedDollar(first));
        }
        let len = oracle_number(&text).ok_or(InvalidBulkLength)?;
        if len < 0 || len > limits.proto_max_bulk_len as i64 {
            return Err(InvalidBulkLength);
        }
        if len > 16384 && !limits.authenticated {
            return Err(UnauthenticatedBulkLength);
        }
        let Some(payload) = stream.get(*at..*at + len as usize + 2) else {
            return Ok(None);
        };
        args.push(payload[..len as usize].to_vec());
        *at += len as usize + 2;
    }
    Ok(Some(args))
}

/// Inline splitting as a machine over single bytes, 0 standing for the end.
fn oracle_split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let peek = |i: usize| line.get(i).copied().unwrap_or(0);
    let space = |b: u8| b == b' ' || (9..=13).contains(&b);
    let mut args = Vec::new();
    let mut i = 0;
    'next: loop {
        while space(peek(i)) {
            i += 1;
        }
        if peek(i) == 0 {
            return Some(args);
        }
        let mut arg = Vec::new();
        let mut quote = 0;
        loop {
            let b = peek(i);
            if quote == 0 {
                match b {
                    0 | b' ' | b'\n' | b'\r' | b'\t' => break,
                    b'"' | b'\'' => quote = b,
                    _ => arg.push(b),
                }
            } else if b == 0 {
                return None;
            } else if b == b'\\' && quote == b'"' {
                let pair = [peek(i + 2), peek(i + 3)];
                if peek(i + 1) == b'x' && pair.iter().all(|b| b.is_ascii_hexdigit()) {
                    let pair = std::str::from_utf8(&pair).unwrap();
                    arg.push(u8::from_str_radix(pair, 16).unwrap());
                    i += 3;
                } else if peek(i + 1) != 0 {
                    i += 1;
                    arg.push(match peek(i) {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        b => b,
                    });
                } else {
                    arg.push(b);
                }
            } else if b == b'\\' && peek(i + 1) == b'\'' {
                i += 1;
                arg.push(b'\'');
            } else if b == quote {
                if peek(i + 1) != 0 && !space(peek(i + 1)) {
                    return None;
                }
                i += 1;
                args.push(arg);
                continue 'next;
            } else {
                arg.push(b);
            }
            i += 1;
        }
        args.push(arg);
    }
}

// ---- a connection --------------------------------------------------------------------------------

/// Feeds a stream in fragments, as a connection would. `direct` reads large bulks into the parser's
/// buffer, otherwise all goes through the query buffer.
fn drive<'a>(
    fragments: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
    direct: bool,
) -> (Requests, Option<ProtocolError>) {
    let mut parser = Parser::new();
    let mut query: Vec<u8> = Vec::new();
    let mut requests = Vec::new();
    let mut received = 0usize;
    // Both hold something already: the parser must only append.
    let mut spans = vec![Span::range(0, 0)];
    let mut blobs = vec![Blob::default()];
    for mut fragment in fragments {
        received += fragment.len();
        while !fragment.is_empty() {
            if direct && let Some(room) = parser.large_wanted(1 + received % 7000) {
                let n = room.len().min(fragment.len());
                assert!(n > 0);
                room[..n].copy_from_slice(&fragment[..n]);
                parser.large_filled(n);
                fragment = &fragment[n..];
            } else {
                query.extend_from_slice(fragment);
                fragment = &[];
            }
            let mut done = 0;
            loop {
                match parser.parse(&query[done..], &mut spans, &mut blobs, limits) {
                    Ok(Parsed::Request { consumed }) => {
                        assert!(consumed > 0 && parser.is_idle());
                        let args = Args::new(&query[done..done + consumed], &spans[1..], &blobs);
                        assert!(!args.is_empty());
                        requests.push(args.iter().map(<[u8]>::to_vec).collect());
                        done += consumed;
                        spans.truncate(1);
                        blobs.truncate(1);
                    }
                    Ok(Parsed::Empty { consumed }) => {
                        assert!(consumed > 0 && parser.is_idle());
                        done += consumed;
                    }
                    Ok(Parsed::Large { keep }) => {
                        query.truncate(done + keep);
                        break;
                    }
                    Ok(Parsed::Incomplete) => break,
                    Err(error) => {
                        assert_eq!((spans.len(), blobs.len()), (1, 1));
                        return (requests, Some(error));
                    }
                }
            }
            assert_eq!((spans.len(), blobs.len()), (1, 1));
            query.drain(..done);
            assert!(parser.memory_bytes() <= 16 * received + 2 * LARGE_FIRST_STEP);
        }
    }
    (requests, None)
}

/// Small limits, so that small streams reach them.
fn small_limits() -> Limits {
    Limits {
        proto_max_bulk_len: 100_000,
        proto_inline_max_size: 64,
        max_multibulk: 100,
        large_bulk_len: 20,
        authenticated: true,
    }
}

fn assert_all_cuts(stream: &[u8], limits: &Limits) {
    let expected = oracle(stream, limits);
    for direct in [false, true] {
        assert_eq!(drive([stream], limits, direct), expected, "whole");
        assert_eq!(drive(stream.chunks(1), limits, direct), expected, "bytes");
        for cut in 1..stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(drive([a, b], limits, direct), expected, "cut at {cut}");
        }
    }
}

fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend(format!("${}\r\n", arg.len()).bytes());
        out.extend(arg);
        out.extend(b"\r\n");
    }
    out
}

fn parse_one(stream: &str) -> (Requests, Option<ProtocolError>) {
    let limits = Limits::default();
    let result = drive([stream.as_bytes()], &limits, false);
    assert_eq!(result, oracle(stream.as_bytes(), &limits));
    result
}

fn error_of(stream: &str) -> String {
    let error = parse_one(stream).1.expect("an error");
    String::from_utf8(error.reply()).unwrap()
}

// ---- examples ------------------------------------------------------------------------------------

#[test]
fn requests_of_both_kinds_in_one_stream() {
    let (requests, error) =
        parse_one("*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n\r\n*0\r\n*-1\r\n*-7\r\nset k \"a b\"\n");
    assert_eq!(error, None);
    let expected: [&[&str]; 3] = [&["GET", "k"], &["PING"], &["set", "k", "a b"]];
    assert_eq!(requests.len(), 3);
    for (request, expected) in requests.iter().zip(expected) {
        assert!(
            request
                .iter()
                .map(Vec::as_slice)
                .eq(expected.iter().map(|s| s.as_bytes()))
        );
    }
}

#[test]
fn inline_quoting() {
    let split = |line: &str| {
        let (requests, error) = parse_one(&format!("{line}\r\n"));
        assert_eq!(error, None, "{line}");
        requests.concat()
    };
    assert_eq!(
        split(r#"a "\x41\n\q\\" 'it\'s' """#),
        [b"a".as_slice(), b"A\nq\\", b"it's", b""]
    );
    assert_eq!(split("x\"y z\" \t w"), [b"xy z".as_slice(), b"w"]);
    assert_eq!(split(r#""\xzz" '\n'"#), [b"xzz".as_slice(), b"\\n"]);
    assert_eq!(split("a\x0bb \x0b c"), [b"a\x0bb".as_slice(), b"c"]);
    for bad in ["\"abc", "'abc", "\"a\"b", "'a'b", "x \"a\\\"", "\"\\"] {
        assert_eq!(
            error_of(&format!("{bad}\r\n")),
            "ERR Protocol error: unbalanced quotes in request"
        );
    }
}

#[test]
fn the_texts_of_protocol_errors() {
    let long = "1".repeat(70_000);
    let cases = [
        ("*3000000000\r\n".into(), "invalid multibulk length"),
        ("*+1\r\n".into(), "invalid multibulk length"),
        ("*01\r\n".into(), "invalid multibulk length"),
        ("*\r\n".into(), "invalid multibulk length"),
        ("*1\r\n$-1\r\n".into(), "invalid bulk length"),
        ("*1\r\n$blabla\r\n".into(), "invalid bulk length"),
        ("*1\r\n$536870913\r\n".into(), "invalid bulk length"),
        (
            "*1\r\n$9223372036854775808\r\n".into(),
            "invalid bulk length",
        ),
        (
            "*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n".into(),
            "expected '$', got 'f'",
        ),
        (format!("*{long}"), "too big mbulk count string"),
        (format!("*1\r\n${long}"), "too big bulk count string"),
        (long.clone(), "too big inline request"),
        (format!("PING\0{long}\n"), "too big inline request"),
    ];
    for (stream, text) in cases {
        assert_eq!(error_of(&stream), format!("ERR Protocol error: {text}"));
    }
    let error = ProtocolError::ExpectedDollar(0xff);
    assert_eq!(
        error.reply(),
        b"ERR Protocol error: expected '$', got '\xff'"
    );
}

#[test]
fn a_client_that_has_not_authenticated_may_send_little() {
    let mut limits = Limits {
        authenticated: false,
        ..Limits::default()
    };
    let eleven = encode(&vec![b"x".to_vec(); 11]);
    let long = encode(&[vec![b'x'; 16385]]);
    for (stream, error) in [
        (&eleven, ProtocolError::UnauthenticatedMultibulkLength),
        (&long, ProtocolError::UnauthenticatedBulkLength),
    ] {
        assert_eq!(drive([&stream[..]], &limits, true), (vec![], Some(error)));
        assert_eq!(oracle(stream, &limits).1, Some(error));
    }
    let fits = encode(&vec![vec![b'x'; 16384]; 10]);
    assert_eq!(drive([&fits[..]], &limits, true).0.len(), 1);
    limits.authenticated = true;
    assert_eq!(drive([&eleven[..], &long[..]], &limits, true).0.len(), 2);
}

/// The line limit holds at its exact place, whichever way the line arrives.
#[test]
fn a_line_of_the_longest_length_and_one_more() {
    let limits = small_limits();
    for len in 62..68 {
        for prefix in ["", "*", "*1\r\n$", "*1\r\n"] {
            let mut stream = prefix.as_bytes().to_vec();
            stream.extend(vec![b'1'; len]);
            stream.extend(b"\r\nPING\r\n");
            assert_all_cuts(&stream, &limits);
        }
    }
}

#[test]
fn what_follows_a_payload_is_not_looked_at() {
    let (requests, error) = parse_one("*1\r\n$4\r\nPINGxy*1\rz$1\r\nQ\r\n");
    assert_eq!((requests.len(), error), (2, None));
}

#[test]
fn a_large_bulk_is_received_into_a_buffer_that_grows_with_it() {
    let total = 1_000_000;
    let limits = Limits::default();
    let mut parser = Parser::new();
    let (mut spans, mut blobs) = (Vec::new(), Vec::new());
    let mut query = format!("*2\r\n$3\r\nGET\r\n${total}\r\n").into_bytes();
    let header = query.len();
    query.extend(b"first");
    let parsed = parser.parse(&query, &mut spans, &mut blobs, &limits);
    assert_eq!(parsed, Ok(Parsed::Large { keep: header }));
    query.truncate(header);
    let mut filled = 5;
    while let Some(room) = parser.large_wanted(10_000) {
        assert!(!room.is_empty() && room.len() <= 10_000);
        room.fill(b'v');
        let n = room.len();
        parser.large_filled(n);
        filled += n;
        assert!(filled <= total);
        assert!(parser.memory_bytes() <= 2 * filled + 2 * LARGE_FIRST_STEP);
    }
    assert_eq!(filled, total);
    let parsed = parser.parse(&query, &mut spans, &mut blobs, &limits);
    assert_eq!(parsed, Ok(Parsed::Incomplete));
    query.extend(b"\r\nPING\r\n");
    let parsed = parser.parse(&query, &mut spans, &mut blobs, &limits);
    let consumed = header + 2;
    assert_eq!(parsed, Ok(Parsed::Request { consumed }));
    let args = Args::new(&query[..consumed], &spans, &blobs);
    let blob = args.blob(1).expect("a blob");
    assert_eq!((blob.len(), blob.capacity()), (total, total));
    assert!(blob.starts_with(b"firstvv") && blob.ends_with(b"vv"));
    assert_eq!(args.at(0), b"GET");
    assert!(parser.is_idle() && parser.memory_bytes() == 0);
}

#[test]
fn an_announced_length_costs_nothing_until_bytes_come() {
    let mut parser = Parser::new();
    let limits = Limits::default();
    let query = b"*2000000000\r\n$500000000\r\n";
    let parsed = parser.parse(query, &mut Vec::new(), &mut Vec::new(), &limits);
    assert_eq!(parsed, Ok(Parsed::Large { keep: query.len() }));
    assert!(parser.memory_bytes() < 1000);
    assert_eq!(
        parser.large_wanted(usize::MAX).map(|r| r.len()),
        Some(LARGE_FIRST_STEP)
    );
    parser.reset();
    assert!(parser.is_idle());
    assert_eq!(std::mem::size_of::<Parser>(), std::mem::size_of::<usize>());
}

#[test]
fn numbers_are_read_like_string2ll() {
    for text in [
        "0",
        "-0",
        "00",
        "1",
        "-1",
        "",
        "-",
        "+1",
        "1 ",
        " 1",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999",
        "1a",
    ] {
        assert_eq!(
            parse_i64(text.as_bytes()),
            oracle_number(text.as_bytes()),
            "{text}"
        );
    }
}

// ---- properties ----------------------------------------------------------------------------------

fn command() -> impl Strategy<Value = Vec<u8>> {
    let arg = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => proptest::collection::vec(any::<u8>(), 12..80),
    ];
    let line = "[a-c \"'\\\\xnr\t\x0b0-9]{0,40}";
    prop_oneof![
        5 => proptest::collection::vec(arg, 1..5).prop_map(|args| encode(&args)),
        2 => line.prop_map(|line| format!("{line}\r\n").into_bytes()),
        1 => "[a-c]{1,4}( [a-c]{1,4}){0,3}\n".prop_map(String::into_bytes),
        1 => prop_oneof![Just("\r\n"), Just("*0\r\n"), Just("*-1\r\n"), Just("\n")]
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => "[*$0-9\r\n-]{1,9}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However a stream is cut, it is the same requests and the same error.
    #[test]
    fn every_cut_of_a_stream_gives_the_same(
        commands in proptest::collection::vec(command(), 1..6),
        cuts in proptest::collection::vec(1usize..40, 1..20),
    ) {
        let stream = commands.concat();
        let limits = small_limits();
        assert_all_cuts(&stream, &limits);
        let expected = oracle(&stream, &limits);
        for direct in [false, true] {
            let mut rest = &stream[..];
            let mut fragments = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (a, b) = rest.split_at((*cut).min(rest.len()));
                fragments.push(a);
                rest = b;
            }
            prop_assert_eq!(drive(fragments, &limits, direct), expected.clone());
        }
    }

    /// Real sizes: bulks around 32 KiB and beyond, read as a socket would give them.
    #[test]
    fn large_bulks_among_small_ones(
        sizes in proptest::collection::vec(
            prop_oneof![0usize..50, 32_766usize..32_771, 60_000usize..200_000], 1..4),
        read in 1000usize..40_000,
    ) {
        let args: Vec<Vec<u8>> = sizes.iter().enumerate()
            .map(|(i, n)| (0..*n).map(|j| (i + j) as u8).collect()).collect();
        let mut stream = encode(&args);
        stream.extend(encode(&args));
        for direct in [false, true] {
            let result = drive(stream.chunks(read), &Limits::default(), direct);
            prop_assert!(result == (vec![args.clone(), args.clone()], None));
        }
    }

    #[test]
    fn inline_splitting_agrees_with_the_oracle(line in "[ab \"'\\\\xnf4\t\r\x0b]{0,24}") {
        let (mut spans, mut blobs) = (Vec::new(), Vec::new());
        let split = split_inline(line.as_bytes(), &mut spans, &mut blobs);
        let args = Args::new(line.as_bytes(), &spans, &blobs);
        let split = split.ok().map(|()| args.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
        prop_assert_eq!(split, oracle_split(line.as_bytes()));
    }
}

// ---- fuzzing -------------------------------------------------------------------------------------

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

/// Valid streams, spoilt. `GYRE_FUZZ_INPUTS` asks for more than the usual number.
#[test]
fn spoilt_streams_neither_panic_nor_differ_from_the_oracle() {
    let inputs = std::env::var("GYRE_FUZZ_INPUTS").ok();
    let inputs: u64 = inputs.and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let alphabet = b"*$\r\n\r\n0123456789-+ \"'\\x\0a\xff";
    for seed in 1..=inputs {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut stream = Vec::new();
        for _ in 0..1 + random.below(3) {
            match random.below(5) {
                0 => stream.extend(b"set k \"a\\x41 b\" 'c'\r\n"),
                1 => stream.extend(b"*0\r\n\r\n"),
                _ => {
                    let args: Vec<Vec<u8>> = (0..1 + random.below(3))
                        .map(|_| vec![b'a'; random.below(30)])
                        .collect();
                    stream.extend(encode(&args));
                }
            }
        }
        for _ in 0..random.below(5) {
            let at = random.below(stream.len());
            let byte = alphabet[random.below(alphabet.len())];
            match random.below(4) {
                0 => stream.insert(at, byte),
                1 if stream.len() > 1 => drop(stream.remove(at)),
                2 => stream.truncate(at + 1),
                _ => stream[at] = byte,
            }
        }
        let mut limits = small_limits();
        limits.authenticated = random.below(4) > 0;
        let expected = oracle(&stream, &limits);
        let size = 1 + random.below(stream.len());
        let result = drive(stream.chunks(size), &limits, random.below(2) == 0);
        assert_eq!(result, expected, "seed {seed}: {}", stream.escape_ascii());
        assert_eq!(drive([&stream[..]], &limits, true), expected, "seed {seed}");
    }
}

/// `cargo test --release --lib resp -- --ignored --nocapture bench`
#[test]
#[ignore = "a measurement"]
fn bench_parse() {
    for (name, args) in [
        (
            "SET key 64 B",
            vec![
                b"SET".to_vec(),
                b"key:000000012345".to_vec(),
                vec![b'x'; 64],
            ],
        ),
        (
            "GET key",
            vec![b"GET".to_vec(), b"key:000000012345".to_vec()],
        ),
        (
            "SET key 1 KiB",
            vec![
                b"SET".to_vec(),
                b"key:000000012345".to_vec(),
                vec![b'x'; 1024],
            ],
        ),
        ("MSET of 10", vec![b"key:00000001".to_vec(); 21]),
    ] {
        let batch = 100;
        let stream = encode(&args).repeat(batch);
        let limits = Limits::default();
        let (mut spans, mut blobs) = (Vec::new(), Vec::new());
        let mut parser = Parser::new();
        let rounds = 50_000;
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let mut rest = &stream[..];
            while let Ok(Parsed::Request { consumed }) =
                parser.parse(rest, &mut spans, &mut blobs, &limits)
            {
                std::hint::black_box(&spans);
                spans.clear();
                rest = &rest[consumed..];
            }
            assert!(rest.is_empty());
        }
        let ns = start.elapsed().as_nanos() as f64 / (rounds * batch) as f64;
        println!("parse {name}: {ns:.1} ns");
    }
}
