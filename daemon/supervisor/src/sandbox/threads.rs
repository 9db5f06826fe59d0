//! How many threads of the daemon watch hosts. One ends with its host, unless the agent's last path led to a file
//! system that does not answer: such a one stays, and too many of them keep new hosts from being watched.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that may have outlived their instances.
const LEFT_OVER: usize = 1024;

/// Threads that watch.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// Instances whose host is watched.
static INSTANCES: AtomicUsize = AtomicUsize::new(0);

/// Counts while it lives.
pub struct Counted(&'static AtomicUsize);

impl Counted {
    fn new(what: &'static AtomicUsize) -> Self {
        what.fetch_add(1, Ordering::Relaxed);
        Self(what)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// For one more host: the first is its thread's, the second its instance's. None: too many threads are left over.
pub fn one_more() -> Option<(Counted, Counted)> {
    let left_over = THREADS.load(Ordering::Relaxed).saturating_sub(INSTANCES.load(Ordering::Relaxed));
    (left_over < LEFT_OVER).then(|| (Counted::new(&THREADS), Counted::new(&INSTANCES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_outlives_its_instance_is_bounded() {
        let threads: Vec<_> = std::iter::from_fn(|| one_more().map(|(thread, _instance)| thread)).collect();
        assert_eq!(threads.len(), LEFT_OVER);
        drop(threads);
        assert!(one_more().is_some());
    }
}
