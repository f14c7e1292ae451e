//! Where the memory is: the figures that INFO memory, MEMORY STATS and MEMORY DOCTOR share.
//!
//! In: used memory, the allocator's figures, the databases. Out: overhead, data, and what lies between used memory
//! and resident memory. Mirrors `getMemoryOverheadData` of Redis's object.c.

use super::Observe;
use crate::keyspace::Keyspace;
use crate::system::{memory, process};

/// Overhead of one database, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseMemory {
    /// Its number.
    pub index: usize,
    /// Table of its keys.
    pub main: u64,
    /// Table of its expiries.
    pub expires: u64,
}

/// Memory at one moment, bytes.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct MemoryFigures {
    pub used: u64,
    pub peak: u64,
    pub startup: u64,
    pub resident: u64,
    pub allocator: memory::AllocatorStats,
    pub clients: u64,
    /// What is to be written to the append-only file.
    pub aof_buffer: u64,
    /// Libraries of functions, without the interpreter's part.
    pub functions: u64,
    /// Databases that hold keys.
    pub databases: Vec<DatabaseMemory>,
    pub keys: u64,
    pub overhead: u64,
    pub dataset: u64,
}

impl MemoryFigures {
    /// Measures. `used` is what counts against `maxmemory`; `aof_buffer` waits to be written to the append-only file,
    /// `functions` is what libraries of functions take.
    pub fn measure(
        used: u64,
        aof_buffer: usize,
        functions: usize,
        keyspace: &Keyspace,
        observe: &Observe,
    ) -> MemoryFigures {
        let mut figures = MemoryFigures {
            used,
            peak: observe.stats.peak_memory.max(used),
            startup: observe.stats.startup_memory,
            resident: process::resident_memory(),
            allocator: memory::allocator_stats(),
            clients: observe.client_memory.total_bytes,
            aof_buffer: aof_buffer as u64,
            functions: functions as u64,
            ..MemoryFigures::default()
        };
        for index in 0..keyspace.count() {
            let (keys, _, _) = keyspace.figures(index);
            if keys == 0 {
                continue;
            }
            let (main, expires) = keyspace.overhead_bytes(index);
            figures.keys += keys as u64;
            figures.databases.push(DatabaseMemory {
                index,
                main: main as u64,
                expires: expires as u64,
            });
        }
        figures.overhead = figures.startup
            + figures.clients
            + figures.aof_buffer
            + figures.functions
            + figures.tables();
        figures.dataset = used.saturating_sub(figures.overhead);
        figures
    }
    /// Tables of all databases.
    pub fn tables(&self) -> u64 {
        self.databases
            .iter()
            .map(|database| database.main + database.expires)
            .sum()
    }
    /// Used memory in percent of its peak.
    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }
    /// Data in percent of what was added since the start.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset, self.used.saturating_sub(self.startup).max(1)).min(100.0)
    }
    /// Bytes of data for each key.
    pub fn bytes_per_key(&self) -> u64 {
        self.dataset.checked_div(self.keys).unwrap_or(0)
    }
    /// Pages in use against bytes in use.
    pub fn fragmentation(&self) -> (f64, i64) {
        ratio(self.allocator.active, self.allocator.allocated)
    }
    /// The allocator's resident pages against its pages in use.
    pub fn allocator_rss(&self) -> (f64, i64) {
        ratio(self.allocator.resident, self.allocator.active)
    }
    /// The process's resident memory against the allocator's.
    pub fn rss_overhead(&self) -> (f64, i64) {
        ratio(self.resident, self.allocator.resident)
    }
    /// The process's resident memory against used memory.
    pub fn total_fragmentation(&self) -> (f64, i64) {
        ratio(self.resident, self.used)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// How many times, and by how many bytes, `larger` is `base`.
fn ratio(larger: u64, base: u64) -> (f64, i64) {
    let times = if base == 0 {
        0.0
    } else {
        larger as f64 / base as f64
    };
    (times, (larger as i64).wrapping_sub(base as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_append_only_file_and_functions_are_overhead() {
        let (keyspace, observe) = (Keyspace::new(1, [1; 4]), Observe::default());
        let figures =
            |buffered| MemoryFigures::measure(10_000, buffered, buffered / 7, &keyspace, &observe);
        assert_eq!(figures(700).aof_buffer, 700);
        assert_eq!(figures(700).overhead - figures(0).overhead, 800);
    }

    #[test]
    fn parts_add_up() {
        let figures = MemoryFigures {
            used: 1000,
            peak: 2000,
            startup: 200,
            dataset: 600,
            keys: 3,
            resident: 1500,
            ..MemoryFigures::default()
        };
        assert_eq!(
            (figures.peak_percent(), figures.dataset_percent()),
            (50.0, 75.0)
        );
        assert_eq!(
            (figures.bytes_per_key(), figures.total_fragmentation()),
            (200, (1.5, 500))
        );
        let nothing = MemoryFigures::default();
        assert_eq!(
            (
                nothing.bytes_per_key(),
                nothing.fragmentation(),
                nothing.peak_percent()
            ),
            (0, (0.0, 0), 0.0)
        );
    }
}
