//! LCS: the longest common subsequence of two strings.
//!
//! The textbook table of lengths, walked backwards from its end. Its size is bounded by `proto-max-bulk-len`, as in
//! Redis, and with it the time.

use super::{CommandError, Context, parse};
use crate::resp::Args;

/// What LCS answers.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    len: bool,
    idx: bool,
    min_match_len: usize,
    with_match_len: bool,
}

impl Options {
    fn parse(options: Args<'_>) -> Result<Options, CommandError> {
        let mut parsed = Options::default();
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if parse::is_word(option, "IDX") {
                parsed.idx = true;
            } else if parse::is_word(option, "LEN") {
                parsed.len = true;
            } else if parse::is_word(option, "WITHMATCHLEN") {
                parsed.with_match_len = true;
            } else if parse::is_word(option, "MINMATCHLEN") {
                let number = parse::integer(rest.next().ok_or(CommandError::Syntax)?)?;
                parsed.min_match_len = usize::try_from(number.max(0)).unwrap_or(usize::MAX);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if parsed.len && parsed.idx {
            return Err(CommandError::fixed(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(parsed)
    }
}

/// Lengths of the longest common subsequence of every pair of prefixes.
struct Table {
    cells: Vec<u32>,
    /// Cells of one row: one more than the second string is long.
    width: usize,
}

/// A stretch that both strings have: where it begins in each, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

impl Table {
    /// `limit` bounds its bytes.
    fn new(a: &[u8], b: &[u8], limit: usize) -> Result<Table, CommandError> {
        if a.len() >= u32::MAX as usize - 1 || b.len() >= u32::MAX as usize - 1 {
            return Err(CommandError::fixed("ERR String too long for LCS"));
        }
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width).filter(|cells| {
            cells
                .checked_mul(size_of::<u32>())
                .is_some_and(|bytes| bytes <= limit)
        });
        let Some(cells) = cells else {
            return Err(CommandError::fixed(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
            ));
        };
        let mut table = Table {
            cells: Vec::new(),
            width,
        };
        if table.cells.try_reserve_exact(cells).is_err() {
            return Err(CommandError::fixed(
                "ERR Insufficient memory, failed allocating transient memory for LCS",
            ));
        }
        table.fill(a, b);
        Ok(table)
    }

    /// Each cell follows from three neighbours: the one before it, and two in the row above.
    fn fill(&mut self, a: &[u8], b: &[u8]) {
        self.cells.resize(self.width, 0);
        for byte in a {
            let above_start = self.cells.len() - self.width;
            self.cells.push(0);
            let mut before = 0;
            for (column, other) in b.iter().enumerate() {
                let diagonal = self.cells[above_start + column];
                let above = self.cells[above_start + column + 1];
                before = if byte == other {
                    diagonal + 1
                } else {
                    above.max(before)
                };
                self.cells.push(before);
            }
        }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// Length for the whole strings.
    fn len(&self) -> usize {
        self.cells.last().map_or(0, |len| *len as usize)
    }

    /// The stretches that make up the subsequence, last one first. Where two ways are as long, the one that drops the
    /// end of the second string is taken, as Redis does.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        let mut contiguous = false;
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match matches.last_mut().filter(|_| contiguous) {
                    Some(last) => {
                        *last = Match {
                            a: i,
                            b: j,
                            len: last.len + 1,
                        }
                    }
                    None => matches.push(Match { a: i, b: j, len: 1 }),
                }
                contiguous = true;
            } else {
                contiguous = false;
                if self.at(i - 1, j) > self.at(i, j - 1) {
                    i -= 1
                } else {
                    j -= 1
                }
            }
        }
        matches
    }
}

/// A copy of the string at a key; missing keys are empty.
fn text(context: &mut Context<'_>, key: &[u8]) -> Result<Vec<u8>, ()> {
    match context.db.read(key) {
        Some(entry) => entry.string().map(|value| value.to_vec()).map_err(|_| ()),
        None => Ok(Vec::new()),
    }
}

pub(super) fn lcs(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (a, b) = (text(context, args.at(1)), text(context, args.at(2)));
    let (Ok(a), Ok(b)) = (a, b) else {
        return Err(CommandError::fixed(
            "ERR The specified keys must contain string values",
        ));
    };
    let options = Options::parse(args.skip(3))?;
    let table = Table::new(&a, &b, context.settings.proto_max_bulk_len)?;
    if options.len {
        context.reply.count(table.len());
        return Ok(());
    }
    let matches = table.matches(&a, &b);
    if options.idx {
        write_matches(context, options, &matches, table.len());
    } else {
        let parts = matches
            .iter()
            .rev()
            .map(|found| &a[found.a..found.a + found.len]);
        let common: Vec<u8> = parts.flatten().copied().collect();
        context.reply.bulk(&common);
    }
    Ok(())
}

fn write_matches(context: &mut Context<'_>, options: Options, matches: &[Match], len: usize) {
    let shown = |found: &&Match| found.len >= options.min_match_len;
    let reply = &mut *context.reply;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.iter().filter(shown).count());
    for found in matches.iter().filter(shown) {
        reply.array(if options.with_match_len { 3 } else { 2 });
        for start in [found.a, found.b] {
            reply.array(2);
            reply.count(start);
            reply.count(start + found.len - 1);
        }
        if options.with_match_len {
            reply.count(found.len);
        }
    }
    reply.bulk(b"len");
    reply.count(len);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    /// By recursion over both ends, without a table.
    fn naive_len(a: &[u8], b: &[u8]) -> usize {
        match (a.split_last(), b.split_last()) {
            (Some((x, a_rest)), Some((y, b_rest))) if x == y => naive_len(a_rest, b_rest) + 1,
            (Some((_, a_rest)), Some((_, b_rest))) => {
                naive_len(a_rest, b).max(naive_len(a, b_rest))
            }
            _ => 0,
        }
    }

    #[test]
    fn matches_of_the_documented_example() {
        let table = Table::new(b"ohmytext", b"mynewtext", LIMIT).unwrap();
        assert_eq!(table.len(), 6);
        let expected = [Match { a: 4, b: 5, len: 4 }, Match { a: 2, b: 0, len: 2 }];
        assert_eq!(table.matches(b"ohmytext", b"mynewtext"), expected);
    }

    #[test]
    fn the_table_is_bounded() {
        // 3 rows of 4 cells are 48 bytes.
        assert!(Table::new(b"ab", b"cde", 48).is_ok());
        let refused = Table::new(b"ab", b"cde", 47).map(|_| ()).unwrap_err();
        assert_eq!(
            refused.text(),
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        );
    }

    proptest! {
        #[test]
        fn matches_spell_a_longest_common_subsequence(
            a in proptest::collection::vec(b'a'..=b'd', 0..9),
            b in proptest::collection::vec(b'a'..=b'd', 0..9),
        ) {
            let table = Table::new(&a, &b, LIMIT).unwrap();
            prop_assert_eq!(table.len(), naive_len(&a, &b));
            let matches = table.matches(&a, &b);
            prop_assert_eq!(matches.iter().map(|found| found.len).sum::<usize>(), table.len());
            for found in &matches {
                prop_assert_eq!(&a[found.a..found.a + found.len], &b[found.b..found.b + found.len]);
            }
            for pair in matches.windows(2) {
                prop_assert!(pair[1].a + pair[1].len <= pair[0].a && pair[1].b + pair[1].len <= pair[0].b);
            }
        }
    }
}
