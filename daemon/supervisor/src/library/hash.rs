//! The SHA-256 by which a library is known.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

pub use settings::Sha256 as Hash;
pub use settings::trust::BadSha256 as BadHash;

/// Read in parts: a library as a whole would stay in the allocator's hands as megabytes.
const CHUNK: usize = 32 * 1024;

/// The hash of all that `from` still holds.
pub fn of(from: &mut impl Read) -> io::Result<Hash> {
    copy(from, &mut io::sink()).map(|(hash, _)| hash)
}

/// Writes all that `from` still holds into `to`; its hash and size.
pub fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(Hash, u64)> {
    let (mut chunk, mut digest, mut size) = (vec![0; CHUNK], Sha256::new(), 0);
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return Ok((Hash::from_bytes(digest.finalize().into()), size)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(&chunk[..read]);
        to.write_all(&chunk[..read])?;
        size += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_what_is_hashed() {
        let (content, mut copied) = (vec![7; CHUNK * 2 + 1], Vec::new());
        let (hash, size) = copy(&mut content.as_slice(), &mut copied).unwrap();
        assert_eq!((size, &copied), (content.len() as u64, &content));
        assert_eq!(of(&mut copied.as_slice()).unwrap(), hash);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of(&mut io::empty()).unwrap().as_str(), empty);
    }
}
