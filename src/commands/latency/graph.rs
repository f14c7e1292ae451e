//! LATENCY GRAPH: the samples of an event as a drawing of characters, in the form that Redis gives it.
//!
//! Four lines of height, each of three steps; a column is filled with `|` below its top. Under each column stands how
//! long ago it was, written downwards.

use crate::observe::Series;

/// Columns of a line.
const WIDTH: usize = 80;
/// Lines of height.
const HEIGHT: usize = 4;
/// What the top of a column is drawn with, by how far it comes up in its line.
const TOPS: [char; 3] = ['_', 'o', '#'];

/// The drawing.
pub(super) fn draw(event: &str, series: &Series, now_s: i64) -> String {
    let summary = series.summary(now_s);
    let (low, high) = (summary.low_ms, summary.high_ms);
    let mut out = format!(
        "{event} - high {high} ms, low {low} ms (all time high {} ms)\n",
        series.worst_ms
    );
    out.push_str(&"-".repeat(WIDTH));
    out.push('\n');
    let columns: Vec<(usize, String)> = series
        .samples
        .iter()
        .map(|sample| (step(sample.ms, low, high), ago(now_s - sample.unix_s)))
        .collect();
    for (index, part) in columns.chunks(WIDTH).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        draw_part(&mut out, part);
    }
    out
}

/// How high a time stands between the lowest and the highest, in steps.
fn step(ms: u64, low: u64, high: u64) -> usize {
    let steps = (HEIGHT * TOPS.len()) as u128;
    let range = u128::from(high.saturating_sub(low)).max(1);
    let above = u128::from(ms.saturating_sub(low)) * steps / range;
    above.min(steps - 1) as usize
}

fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn draw_part(out: &mut String, part: &[(usize, String)]) {
    for line in (0..HEIGHT).rev() {
        let floor = line * TOPS.len();
        out.extend(part.iter().map(|(step, _)| match step.checked_sub(floor) {
            None => ' ',
            Some(above) => TOPS.get(above).copied().unwrap_or('|'),
        }));
        out.push('\n');
    }
    out.push_str(&" ".repeat(part.len()));
    out.push('\n');
    let longest = part.iter().map(|(_, label)| label.len()).max().unwrap_or(0);
    for row in 0..longest {
        let letter = |label: &String| label.as_bytes().get(row).map_or(' ', |byte| *byte as char);
        out.extend(part.iter().map(|(_, label)| letter(label)));
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Sample;

    fn series(samples: &[(i64, u64)]) -> Series {
        let worst = samples.iter().map(|(_, ms)| *ms).max();
        Series {
            samples: samples
                .iter()
                .map(|&(unix_s, ms)| Sample { unix_s, ms })
                .collect(),
            worst_ms: worst.unwrap_or(0),
        }
    }

    /// Redis 7.0.15 drew this.
    #[test]
    fn it_looks_as_redis_draws_it() {
        let drawn = draw("command", &series(&[(7, 100), (8, 300), (9, 20)]), 10);
        let line = "-".repeat(80);
        let expected = format!(
            "command - high 300 ms, low 20 ms (all time high 300 ms)\n{line}\n # \n | \n_| \n||_\n   \n321\nsss\n"
        );
        assert_eq!(drawn, expected);
    }

    #[test]
    fn equal_times_are_a_flat_line_and_wide_graphs_are_cut() {
        let drawn = draw("fork", &series(&[(0, 7)]), 100);
        assert!(drawn.ends_with("\n \n \n \n_\n \n1\nm\n"), "{drawn}");
        let many: Vec<(i64, u64)> = (0..100).map(|at| (at, at as u64)).collect();
        let drawn = draw("fork", &series(&many), 100_000);
        let widths: Vec<usize> = drawn.lines().skip(2).map(str::len).collect();
        assert_eq!(widths[0], 80);
        assert!(widths.contains(&0) && widths.ends_with(&[20]));
        assert_eq!(ago(-5), "0s");
        assert_eq!(ago(200_000), "2d");
    }
}
