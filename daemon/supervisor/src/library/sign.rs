//! Makes keys, and signatures by them, in minisign's own formats: `minisign` reads them, and they may be made with it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use minisign::{KeyPair, SecretKey, SecretKeyBox};

use super::trust::{PublicKey, beside};

/// The secret key, in the configuration's folder.
pub const SECRET: &str = "openclaw.key";
/// The public key, beside it.
pub const PUBLIC: &str = "openclaw.pub";

/// Why there is no key or no signature.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key is not overwritten: what it signed would be worthless.
    #[error("{} is there already: move it away, or name another folder with --out", .0.display())]
    There(PathBuf),
    /// There is no key.
    #[error("there is no key {}: make one with `openclaw agents keygen`, or name it with --key", .0.display())]
    NoKey(PathBuf),
    /// What is there is no key, or one with a password.
    #[error("{} is no unencrypted secret key of minisign ({why}): make one with `openclaw agents keygen`", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What minisign says.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{} cannot be {what}: {source}; mend that and try again", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Made, read or written.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// There is no chance to be had, or it does not compute.
    #[error("minisign failed: {0}; try again")]
    Minisign(#[from] minisign::PError),
}

/// A new pair of keys.
#[derive(Debug)]
pub struct Keys {
    /// Where the secret one is, unencrypted and closed to others.
    pub secret: PathBuf,
    /// Where the public one is.
    pub public: PathBuf,
    /// What goes into `libraries.keys`.
    pub key: PublicKey,
}

/// Makes a pair of keys in `folder`.
///
/// # Errors
/// [`Error`]: there is one already, or it cannot be written.
pub fn keygen(folder: &Path) -> Result<Keys, Error> {
    let (secret, public) = (folder.join(SECRET), folder.join(PUBLIC));
    if let Some(there) = [&secret, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Error::There(there.clone()));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| failed(folder, "made", source))?;
    let pair = KeyPair::generate_unencrypted_keypair()?;
    let text = pair.pk.to_base64();
    let key =
        text.parse().map_err(|error| Error::BadKey { path: public.clone(), why: format!("{error}") })?;
    write(
        &secret,
        0o600,
        pair.sk.to_box(Some("openclaw's secret key, unencrypted"))?.to_string().as_bytes(),
    )?;
    let written = write(&public, 0o644, pair.pk.to_box()?.to_string().as_bytes());
    if let Err(error) = written {
        // Half a pair would be in the way of the next try.
        let _ = fs::remove_file(&secret);
        return Err(error);
    }
    Ok(Keys { secret, public, key })
}

/// Signs `file` with the secret key in `key`; where the signature is.
///
/// # Errors
/// [`Error`]: there is no such key or file, or it cannot be written.
pub fn sign(file: &Path, key: &Path) -> Result<PathBuf, Error> {
    let secret = secret(key)?;
    let content = File::open(file).map_err(|source| failed(file, "read", source))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().escape_debug().to_string();
    let comment = format!("timestamp:{}\tfile:{name}\thashed", chrono::Utc::now().timestamp());
    let signature = minisign::sign(None, &secret, content, Some(&comment), Some("signed by openclaw"))?;
    let path = beside(file);
    // A watcher sees all of it or nothing.
    let mut new = path.clone().into_os_string();
    new.push(".tmp");
    let new = PathBuf::from(new);
    let written = fs::write(&new, signature.into_string()).and_then(|()| fs::rename(&new, &path));
    written.map_err(|source| failed(&path, "written", source))?;
    Ok(path)
}

fn secret(path: &Path) -> Result<SecretKey, Error> {
    let text = fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoKey(path.into()),
        _ => failed(path, "read", source),
    })?;
    let key = SecretKeyBox::from_string(&text).and_then(SecretKeyBox::into_unencrypted_secret_key);
    key.map_err(|error| Error::BadKey { path: path.into(), why: error.to_string() })
}

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    })
    .map_err(|source| failed(path, "written", source))
}

fn failed(path: &Path, what: &'static str, source: io::Error) -> Error {
    Error::File { path: path.into(), what, source }
}
