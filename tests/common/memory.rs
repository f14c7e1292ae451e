//! A look into the memory of a server.

/// Whether a process has these bytes in memory that it can write.
pub fn has_in_memory(pid: u32, bytes: &[u8]) -> bool {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its memory");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    maps.lines().any(|line| {
        let mut words = line.split(' ');
        let (span, rights) = (words.next().expect("a span"), words.next().expect("rights"));
        let (begin, end) = span.split_once('-').expect("a span");
        let number = |text| u64::from_str_radix(text, 16).expect("an address");
        let (begin, end) = (number(begin), number(end));
        let mut there = vec![0; 1 << 20];
        let mut at = begin;
        while rights.starts_with("rw") && at < end {
            let len = there.len().min((end - at) as usize);
            // What cannot be read is a page of the kernel's.
            let read = memory.read_at(&mut there[..len], at).unwrap_or(0);
            if there[..read].windows(bytes.len()).any(|it| it == bytes) {
                return true;
            }
            at += len as u64 - if at + (len as u64) < end { 64 } else { 0 };
        }
        false
    })
}
