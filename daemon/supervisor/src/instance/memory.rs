//! What a host really uses: its limit, RLIMIT_DATA, does not count memory that could be shared with another process.

/// How far beyond its limit a host may be: what the kernel counts lags behind, and stacks are no data.
const LEEWAY: u64 = 16 << 20;

/// Why a host is to be ended; none while it keeps to its limit.
pub fn outgrown(pid: u32, limit: u64) -> Option<String> {
    // A host that has just ended has no such file.
    let used = resident(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?;
    let (used, limit) = (used >> 20, (used > limit.saturating_add(LEEWAY)).then_some(limit >> 20)?);
    Some(format!("it used {used} MiB, shared memory included, of memory_limit, {limit} MiB"))
}

/// Bytes that only this process keeps from others: without files, which the kernel can drop and read again.
fn resident(status: &str) -> Option<u64> {
    let kibibytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((kibibytes("RssAnon:")? + kibibytes("RssShmem:")?) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_files_does_not_count() {
        let status = "VmRSS:\t   900 kB\nRssAnon:\t   100 kB\nRssFile:\t   500 kB\nRssShmem:\t   300 kB\n";
        assert_eq!(resident(status), Some(400 << 10));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_keeps_to_a_limit_that_it_does_not_reach() {
        let own = std::process::id();
        assert_eq!(outgrown(own, u64::MAX), None);
        let own = std::fs::read_to_string(format!("/proc/{own}/status")).unwrap();
        assert!(resident(&own).unwrap() > 0);
    }
}
