//! HyperLogLog: about how many different elements were added, in at most 12 KiB.
//!
//! In: elements, or the bytes of one HyperLogLog, which is an ordinary string and may come from anywhere. Out: the same
//! bytes that Redis would have after the same calls, and estimates. Nothing that stands in such a string is trusted: what
//! does not add up is [`Corrupt`], never a panic.
//!
//! ```text
//! ┌──────┬────────────┬────────────┬───────────────────────────┬───────────┐
//! │ HYLL │ encoding 1 │ not used 3 │ cached count 8, low first │ registers │
//! └──────┴────────────┴────────────┴───────────────────────────┴───────────┘
//! ```
//!
//! The hash of an element chooses one of 16384 registers with its low 14 bits; the register keeps the longest run of
//! zeros (plus one) seen in the others. The count is cached until a register changes, which sets the top bit of its last
//! byte. *Dense* (0) has all registers, six bits each, from the low bits on. *Sparse* (1) is a row of opcodes:
//!
//! | opcode | says |
//! | --- | --- |
//! | `00llllll` | ZERO: `l`+1 registers are 0 |
//! | `01llllll llllllll` | XZERO: `l`+1 registers are 0, high bits first |
//! | `1vvvvvll` | VAL: `l`+1 registers are `v`+1 |
//!
//! A sparse one becomes dense when a register exceeds 32 or when it would outgrow `hll-sparse-max-bytes`, and never goes
//! back. Mirrors Redis's hyperloglog.c; the estimator is Otmar Ertl's ("New cardinality estimation algorithms for
//! HyperLogLog sketches", arXiv:1702.01284).

/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of the hash that choose the register.
const INDEX_BITS: u32 = 14;
/// Bits of the hash whose zeros are counted.
const RUN_BITS: usize = 64 - INDEX_BITS as usize;
/// Bytes before the registers.
const HEADER_LEN: usize = 16;
/// Bytes of a dense one.
const DENSE_LEN: usize = HEADER_LEN + REGISTERS * 6 / 8;
/// A sparse one has no more opcodes than registers. What is longer is corrupt, and must not grow beyond what strings may.
const SPARSE_LEN_MAX: usize = HEADER_LEN + 2 * REGISTERS;
/// Where the encoding stands.
const ENCODING_AT: usize = 4;
/// Where the cached count stands.
const CACHE_AT: usize = 8;
/// In the last byte of the cached count: it is not to be used.
const STALE: u8 = 0x80;
/// Largest register of a VAL.
const VALUE_MAX: u8 = 32;
/// Longest run of a VAL.
const VALUE_RUN_MAX: usize = 4;
/// Longest run of a ZERO.
const ZERO_RUN_MAX: usize = 64;

/// The string is no HyperLogLog on the inside (Redis's INVALIDOBJ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// How the registers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// All of them, six bits each.
    Dense,
    /// As runs.
    Sparse,
}

/// The encoding, if the string is a HyperLogLog as far as its header and length tell.
pub fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER_LEN || !bytes.starts_with(b"HYLL") {
        return None;
    }
    match bytes[ENCODING_AT] {
        0 if bytes.len() == DENSE_LEN => Some(Encoding::Dense),
        1 => Some(Encoding::Sparse),
        _ => None,
    }
}

/// One without elements: sparse, one run of zeros. Its cached count, 0, is valid.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[..4].copy_from_slice(b"HYLL");
    bytes[ENCODING_AT] = 1;
    let mut run = Sequence::default();
    run.zeros(REGISTERS);
    bytes.extend_from_slice(run.bytes());
    bytes
}

/// The cached count, if it is valid.
pub fn cached_count(bytes: &[u8]) -> Option<u64> {
    let cache = bytes.get(CACHE_AT..HEADER_LEN)?.first_chunk::<8>()?;
    (cache[7] & STALE == 0).then(|| u64::from_le_bytes(*cache))
}

/// Stores the count for [`cached_count`].
pub fn cache_count(bytes: &mut [u8], count: u64) {
    if let Some(cache) = bytes.get_mut(CACHE_AT..HEADER_LEN) {
        cache.copy_from_slice(&count.to_le_bytes());
    }
}

/// Marks the cached count as not valid.
pub fn forget_count(bytes: &mut [u8]) {
    if let Some(last) = bytes.get_mut(HEADER_LEN - 1) {
        *last |= STALE;
    }
}

// ---- hashing -----------------------------------------------------------------------------------------------------

/// MurmurHash64A with Redis's seed.
fn hash(element: &[u8]) -> u64 {
    const SEED: u64 = 0xadc8_3b19;
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = SEED ^ (element.len() as u64).wrapping_mul(M);
    let (words, rest) = element.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> R;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

/// The register of an element, and what it has to be at least (1 to 51).
fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let run = (hash >> INDEX_BITS | 1 << RUN_BITS).trailing_zeros() + 1;
    ((hash as usize) & (REGISTERS - 1), run as u8)
}

// ---- dense -------------------------------------------------------------------------------------------------------

/// A register of the dense ones.
fn dense_get(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let low = registers.get(at).copied().unwrap_or(0);
    let high = registers.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([low, high]) >> shift) as u8 & 63
}

/// Raises a register of the dense ones; whether it was less.
fn dense_raise(registers: &mut [u8], index: usize, value: u8) -> bool {
    if dense_get(registers, index) >= value {
        return false;
    }
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let (keep, add) = (!(63u16 << shift), u16::from(value) << shift);
    for (byte, at) in [at, at + 1].into_iter().enumerate() {
        if let Some(register) = registers.get_mut(at) {
            *register = *register & keep.to_le_bytes()[byte] | add.to_le_bytes()[byte];
        }
    }
    true
}

/// Eight registers of six bits each as eight bytes: halves are moved apart, three times.
#[inline(always)]
fn unpack(six: &[u8; 6]) -> [u8; 8] {
    let mut wide = [0; 8];
    wide[..6].copy_from_slice(six);
    let x = u64::from_le_bytes(wide);
    let x = x & 0x0000_0000_00ff_ffff | (x & 0x0000_ffff_ff00_0000) << 8;
    let x = x & 0x0000_0fff_0000_0fff | (x & 0x00ff_f000_00ff_f000) << 4;
    let x = x & 0x003f_003f_003f_003f | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2;
    x.to_le_bytes()
}

/// The inverse of [`unpack`].
#[inline(always)]
fn pack(eight: &[u8; 8]) -> [u8; 6] {
    let x = u64::from_le_bytes(*eight);
    let x = x & 0x003f_003f_003f_003f | (x & 0x3f00_3f00_3f00_3f00) >> 2;
    let x = x & 0x0000_0fff_0000_0fff | (x & 0x0fff_0000_0fff_0000) >> 4;
    let x = x & 0x0000_0000_00ff_ffff | (x & 0x00ff_ffff_0000_0000) >> 8;
    let [a, b, c, d, e, f, _, _] = x.to_le_bytes();
    [a, b, c, d, e, f]
}

// ---- sparse ------------------------------------------------------------------------------------------------------

/// One opcode: a run of equal registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The registers; 0 for ZERO and XZERO.
    pub value: u8,
    /// How many.
    pub len: usize,
    /// Written as XZERO, thus in two bytes.
    pub is_long: bool,
}

impl Run {
    /// The opcode at the beginning of `bytes`. Its second byte, where it is missing, counts as zero.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Run> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Run {
                value: 0,
                len: usize::from(first) + 1,
                is_long: false,
            },
            1 => {
                let second = bytes.get(1).copied().unwrap_or(0);
                Run {
                    value: 0,
                    len: (usize::from(first & 0x3f) << 8 | usize::from(second)) + 1,
                    is_long: true,
                }
            }
            _ => Run {
                value: (first >> 2 & 0x1f) + 1,
                len: usize::from(first & 3) + 1,
                is_long: false,
            },
        })
    }
    fn encoded_len(self) -> usize {
        if self.is_long { 2 } else { 1 }
    }
}

/// The runs of a sparse one, as they stand there.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut rest = bytes.get(HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let run = Run::read(rest)?;
        rest = rest.get(run.encoded_len()..).unwrap_or_default();
        Some(run)
    })
}

/// The runs of a sparse one with the register where each begins, if they add up to all registers; `each` gets those
/// before the fault too.
fn checked_runs(bytes: &[u8], mut each: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let mut index = 0;
    for run in runs(bytes) {
        if index + run.len > REGISTERS {
            return Err(Corrupt);
        }
        each(index, run);
        index += run.len;
    }
    if index == REGISTERS {
        Ok(())
    } else {
        Err(Corrupt)
    }
}

/// Up to three opcodes that take the place of one.
#[derive(Default)]
struct Sequence {
    bytes: [u8; 5],
    len: usize,
}

impl Sequence {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
    fn push(&mut self, byte: u8) {
        if let Some(to) = self.bytes.get_mut(self.len) {
            *to = byte;
            self.len += 1;
        }
    }
    /// A run of zeros, if it is one.
    fn zeros(&mut self, len: usize) {
        match len {
            0 => {}
            1..=ZERO_RUN_MAX => self.push((len - 1) as u8),
            _ => {
                self.push(((len - 1) >> 8) as u8 | 0x40);
                self.push((len - 1) as u8);
            }
        }
    }
    /// A run of a value from 1 to 32, if it is one.
    fn values(&mut self, value: u8, len: usize) {
        if len > 0 {
            self.push(value_opcode(value, len));
        }
    }
}

/// VAL for a value from 1 to 32 and a run of 1 to 4.
fn value_opcode(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Where the run of a register stands.
struct Found {
    /// Its opcode.
    at: usize,
    /// The opcode before it.
    before: Option<usize>,
    /// The first register of the run.
    first: usize,
    run: Run,
}

/// Opcodes that are skipped at a time.
const SKIP: usize = 16;

/// Finds the run of a register. O(n); sixteen opcodes of one byte are summed up at a time, which is what vectors do.
fn find(bytes: &[u8], index: usize) -> Result<Found, Corrupt> {
    let mut at = HEADER_LEN;
    let mut before = None;
    let mut first = 0;
    while let Some(rest) = bytes.get(at..) {
        if let Some(chunk) = rest.first_chunk::<SKIP>() {
            let (registers, has_long) = sum(chunk);
            if !has_long && first + registers <= index {
                first += registers;
                at += SKIP;
                before = Some(at - 1);
                continue;
            }
        }
        // At least one step, and no more than the chunk that was judged.
        let end = at + SKIP;
        while at < end {
            let run = bytes.get(at..).and_then(Run::read).ok_or(Corrupt)?;
            if index < first + run.len {
                return Ok(Found {
                    at,
                    before,
                    first,
                    run,
                });
            }
            before = Some(at);
            first += run.len;
            at += run.encoded_len();
        }
    }
    Err(Corrupt)
}

/// How many registers these opcodes cover if none of them is an XZERO, and whether one is.
#[inline(always)]
fn sum(opcodes: &[u8; SKIP]) -> (usize, bool) {
    let mut registers = 0u16;
    let mut has_long = false;
    for opcode in opcodes {
        let mask = if opcode & 0x80 != 0 { 3 } else { 0x3f };
        registers += u16::from(opcode & mask) + 1;
        has_long |= opcode & 0xc0 == 0x40;
    }
    (registers.into(), has_long)
}

/// The string that a HyperLogLog lives in while elements are added.
pub trait Buffer {
    /// All of it, to change.
    fn bytes(&mut self) -> &mut [u8];
    /// Makes it longer by `more` bytes, whatever is in them.
    fn grow(&mut self, more: usize);
    /// Makes it shorter.
    fn truncate(&mut self, len: usize);
    /// Puts another string in its place.
    fn replace(&mut self, bytes: Vec<u8>);
}

impl Buffer for Vec<u8> {
    fn bytes(&mut self) -> &mut [u8] {
        self
    }
    fn grow(&mut self, more: usize) {
        self.resize(self.len() + more, 0);
    }
    fn truncate(&mut self, len: usize) {
        Vec::truncate(self, len);
    }
    fn replace(&mut self, bytes: Vec<u8>) {
        *self = bytes;
    }
}

/// Adds elements to a string that [`encoding`] takes for a HyperLogLog; how many of them changed a register, and whether
/// it went well to the end. The cached count is forgotten with the first change. O(1) for each element in a dense one,
/// O(`sparse_max`) in a sparse one.
pub fn add<'a>(
    buffer: &mut impl Buffer,
    mut elements: impl Iterator<Item = &'a [u8]>,
    sparse_max: usize,
) -> (usize, Result<(), Corrupt>) {
    let mut changed = 0;
    loop {
        let bytes = buffer.bytes();
        if encoding(bytes) == Some(Encoding::Dense) {
            let registers = &mut bytes[HEADER_LEN..];
            let raised = elements
                .map(place)
                .filter(|(index, value)| dense_raise(registers, *index, *value));
            changed += raised.count();
            break;
        }
        let Some(element) = elements.next() else {
            break;
        };
        let (index, value) = place(element);
        match sparse_raise(buffer, index, value, sparse_max) {
            Ok(was_less) => changed += usize::from(was_less),
            Err(corrupt) => return (changed, Err(corrupt)),
        }
    }
    if changed > 0 {
        forget_count(buffer.bytes());
    }
    (changed, Ok(()))
}

/// Raises a register of a sparse one, which may become dense; whether it was less.
fn sparse_raise(
    buffer: &mut impl Buffer,
    index: usize,
    value: u8,
    sparse_max: usize,
) -> Result<bool, Corrupt> {
    if value > VALUE_MAX {
        return promote(buffer, index, value);
    }
    let bytes = buffer.bytes();
    let Found {
        at,
        before,
        first,
        run,
    } = find(bytes, index)?;
    if run.value >= value {
        return Ok(false);
    }
    let len = bytes.len();
    if run.len == 1 && !run.is_long {
        bytes[at] = value_opcode(value, 1);
    } else {
        // The run is split: what is left of the register, the register, what is right of it.
        let (left, right) = (index - first, first + run.len - 1 - index);
        let mut sequence = Sequence::default();
        if run.value == 0 {
            sequence.zeros(left);
            sequence.values(value, 1);
            sequence.zeros(right);
        } else {
            sequence.values(run.value, left);
            sequence.values(value, 1);
            sequence.values(run.value, right);
        }
        let end = at + run.encoded_len();
        if end > len {
            return Err(Corrupt);
        }
        let new_end = at + sequence.len;
        if new_end > end && len + (new_end - end) > sparse_max.min(SPARSE_LEN_MAX) {
            return promote(buffer, index, value);
        }
        if new_end > end {
            buffer.grow(new_end - end);
        }
        let bytes = buffer.bytes();
        bytes.copy_within(end..len, new_end);
        bytes[at..new_end].copy_from_slice(sequence.bytes());
        if new_end < end {
            buffer.truncate(len - (end - new_end));
        }
    }
    join_values(buffer, before.unwrap_or(HEADER_LEN));
    forget_count(buffer.bytes());
    Ok(true)
}

/// Joins neighbouring runs of equal values, looking at five opcodes from `at` on, a joined one anew: exactly as far as
/// Redis does, so that the same calls lead to the same bytes.
fn join_values(buffer: &mut impl Buffer, mut at: usize) {
    let bytes = buffer.bytes();
    let mut len = bytes.len();
    let old_len = len;
    for _ in 0..5 {
        let Some(run) = bytes.get(at..len).and_then(Run::read) else {
            break;
        };
        let next = bytes.get(at + 1..len).and_then(Run::read);
        if run.value != 0
            && let Some(next) = next
            && next.value == run.value
            && run.len + next.len <= VALUE_RUN_MAX
        {
            bytes[at + 1] = value_opcode(run.value, run.len + next.len);
            bytes.copy_within(at + 1..len, at);
            len -= 1;
            continue;
        }
        at += run.encoded_len();
    }
    if len < old_len {
        buffer.truncate(len);
    }
}

/// Makes a sparse one dense and raises a register, which it was the reason to.
fn promote(buffer: &mut impl Buffer, index: usize, value: u8) -> Result<bool, Corrupt> {
    let mut dense = to_dense(buffer.bytes())?;
    let was_less = dense_raise(&mut dense[HEADER_LEN..], index, value);
    buffer.replace(dense);
    Ok(was_less)
}

/// A HyperLogLog in the dense encoding. The cached count stays what it is.
pub fn to_dense(bytes: &[u8]) -> Result<Vec<u8>, Corrupt> {
    match encoding(bytes).ok_or(Corrupt)? {
        Encoding::Dense => Ok(bytes.to_vec()),
        Encoding::Sparse => {
            let mut registers = Registers::default();
            registers.merge(bytes)?;
            Ok(registers.to_dense(&bytes[..HEADER_LEN]))
        }
    }
}

// ---- all registers -----------------------------------------------------------------------------------------------

/// All registers, one byte each: what several HyperLogLogs are merged into.
#[derive(Clone)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Registers {
        Registers(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// Raises each register to what it is in another HyperLogLog.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        match encoding(bytes).ok_or(Corrupt)? {
            Encoding::Dense => {
                let (packed, _) = bytes[HEADER_LEN..].as_chunks::<6>();
                let (raised, _) = self.0.as_chunks_mut::<8>();
                for (raised, packed) in raised.iter_mut().zip(packed) {
                    for (register, other) in raised.iter_mut().zip(unpack(packed)) {
                        *register = other.max(*register);
                    }
                }
                Ok(())
            }
            Encoding::Sparse => checked_runs(bytes, |first, run| {
                if run.value > 0 {
                    let raised = &mut self.0[first..first + run.len];
                    raised
                        .iter_mut()
                        .for_each(|register| *register = run.value.max(*register));
                }
            }),
        }
    }
    /// As the string of a dense one. `header` is one of another HyperLogLog, of which the cached count is kept.
    fn to_dense(&self, header: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DENSE_LEN);
        bytes.extend_from_slice(header);
        bytes[ENCODING_AT] = 0;
        let (eights, _) = self.0.as_chunks::<8>();
        eights
            .iter()
            .for_each(|eight| bytes.extend_from_slice(&pack(eight)));
        bytes
    }
    /// The registers.
    pub fn values(&self) -> &[u8] {
        self.0.as_slice()
    }
    /// The estimate for them.
    pub fn count(&self) -> u64 {
        let mut histogram = Histogram::default();
        let (eights, _) = self.0.as_chunks::<8>();
        eights.iter().for_each(|eight| histogram.add_eight(eight));
        histogram.estimate()
    }
    /// Merges them into the HyperLogLog `target`, of which they contain all: what PFMERGE leaves there. With `dense` it
    /// becomes dense whatever there is to store.
    pub fn store(
        &self,
        target: &mut Vec<u8>,
        dense: bool,
        sparse_max: usize,
    ) -> Result<(), Corrupt> {
        if dense {
            let header = target.get(..HEADER_LEN).ok_or(Corrupt)?;
            *target = self.to_dense(header);
        } else {
            for (index, value) in self.0.iter().enumerate().filter(|(_, value)| **value > 0) {
                if encoding(target) == Some(Encoding::Dense) {
                    dense_raise(&mut target[HEADER_LEN..], index, *value);
                } else {
                    sparse_raise(target, index, *value, sparse_max)?;
                }
            }
        }
        forget_count(target);
        Ok(())
    }
}

// ---- counting ----------------------------------------------------------------------------------------------------

/// The estimate for a HyperLogLog. O(n) in its length.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = Histogram::default();
    match encoding(bytes).ok_or(Corrupt)? {
        Encoding::Dense => {
            let (packed, _) = bytes[HEADER_LEN..].as_chunks::<6>();
            packed
                .iter()
                .for_each(|six| histogram.add_eight(&unpack(six)));
        }
        Encoding::Sparse => {
            checked_runs(bytes, |_, run| {
                histogram.0[0][usize::from(run.value)] += run.len as u32;
            })?;
        }
    }
    Ok(histogram.estimate())
}

/// How many registers have each value, in four parts: neighbours mostly have the same value, and counting them in one
/// place would have each wait for the one before.
struct Histogram([[u32; 64]; 4]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([[0; 64]; 4])
    }
}

impl Histogram {
    #[inline(always)]
    fn add_eight(&mut self, registers: &[u8; 8]) {
        for (at, register) in registers.iter().enumerate() {
            self.0[at % 4][usize::from(register & 63)] += 1;
        }
    }
    fn of(&self, value: usize) -> f64 {
        f64::from(self.0.iter().map(|part| part[value]).sum::<u32>())
    }
    /// Ertl's estimator. A string from elsewhere may have registers that no hash leads to; those above 51 are not counted,
    /// and if there are no others the estimate is infinite, for which Redis answers the least integer.
    fn estimate(&self) -> u64 {
        const ALPHA_INFINITY: f64 = 0.721_347_520_444_481_7;
        let m = REGISTERS as f64;
        let mut z = m * tau((m - self.of(RUN_BITS + 1)) / m);
        for value in (1..=RUN_BITS).rev() {
            z = (z + self.of(value)) * 0.5;
        }
        z += m * sigma(self.of(0) / m);
        let estimate = (ALPHA_INFINITY * m * m / z).round();
        if estimate < 9.2e18 {
            estimate as u64
        } else {
            1 << 63
        }
    }
}

/// Ertl's sigma.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Ertl's tau.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
#[path = "hyperloglog_tests.rs"]
mod tests;
