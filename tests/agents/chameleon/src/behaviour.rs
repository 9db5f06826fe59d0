//! How a version can be: well, or bad at one point of its life.

use std::time::Duration;

use serde::Deserialize;

/// Named in the file as here, with hyphens: `create-hangs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Does what it should.
    Good,
    /// Its manifest has another agent's name.
    Impostor,
    /// Its manifest needs the grant `memory`.
    Needy,
    /// `create` answers an error.
    CreateRefuses,
    /// `create` never ends.
    CreateHangs,
    /// `create` panics.
    CreatePanics,
    /// `create` is a SIGSEGV.
    CreateSegfaults,
    /// `start` answers an error.
    StartFails,
    /// SIGABRT a moment after `start`.
    DiesAfterReady,
    /// SIGABRT when it is told to `die`.
    Mortal,
    /// An error for each message.
    Errors,
    /// Each message waits until the file `released` is in the working folder.
    Slow,
    /// `snapshot` answers an error.
    SnapshotFails,
    /// `snapshot` never ends.
    SnapshotHangs,
    /// `restore` answers an error.
    RestoreRefuses,
    /// `restore` never ends.
    RestoreHangs,
    /// `restore` panics.
    RestorePanics,
    /// `restore` is a SIGSEGV.
    RestoreSegfaults,
}

#[expect(clippy::disallowed_methods, reason = "the pace of looking, and of an end that comes soon")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Between two looks at a file.
pub fn pace() {
    sleep(Duration::from_millis(1));
}

pub fn stuck() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

pub fn abort() -> ! {
    eprintln!("told to die");
    std::process::abort()
}

/// Ends the process when it has been ready for a moment.
pub fn die_soon() -> std::io::Result<()> {
    let thread = std::thread::Builder::new().spawn(|| {
        sleep(Duration::from_millis(50));
        abort();
    });
    thread.map(drop)
}

/// Ends the process by SIGSEGV.
pub fn segfault() {
    // A debug build checks for null itself and aborts; the first page is as unmapped at 8 as at 0.
    let nowhere: *mut u64 = std::ptr::without_provenance_mut(8);
    // SAFETY: none. It is the point of this function; the page is never mapped, so the kernel ends the process.
    unsafe { nowhere.write_volatile(1) }
}
