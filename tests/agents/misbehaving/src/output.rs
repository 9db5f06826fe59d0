//! Too much output, and output that is no text.

use std::io::{Write, stderr, stdout};

use openclaw_agent_api::prelude::*;

/// `lines` lines on stderr.
pub fn flood(lines: u64) -> Result<String> {
    let mut out = stderr().lock();
    for n in 0..lines {
        writeln!(out, "flood line {n}")?;
    }
    Ok(format!("{lines} lines"))
}

/// `bytes` bytes on stdout that are no UTF-8.
pub fn garbage(bytes: usize) -> Result<String> {
    let mut out = stdout().lock();
    out.write_all(&noise(bytes))?;
    out.flush()?;
    Ok(format!("{bytes} bytes"))
}

/// The same noise for the same number. 0x80 to 0xBF can only continue a character, and here none has begun.
pub fn noise(bytes: usize) -> Vec<u8> {
    let newlines = bytes.is_multiple_of(2);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..bytes)
        .map(|_| match next() {
            random if newlines && random % 100 == 0 => b'\n',
            random => 0x80 | (random >> 32) as u8 & 0x3f,
        })
        .collect()
}
