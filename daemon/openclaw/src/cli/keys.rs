//! `openclaw agents keygen` and `sign`: without a daemon.

use std::path::PathBuf;

use clap::Args;
use settings::{Inputs, Paths};
use supervisor::library::sign::{self, SECRET};

use super::print;
use crate::exit::Failure;

/// `openclaw agents keygen`
#[derive(Args)]
pub struct KeygenArgs {
    /// Where to write openclaw.key and openclaw.pub [default: the folder of the config]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `openclaw agents sign`
#[derive(Args)]
pub struct SignArgs {
    /// The libraries; FILE.minisig is written beside each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The secret key [default: openclaw.key in the folder of the config]
    #[arg(long, value_name = "PATH")]
    key: Option<PathBuf>,
}

/// Makes a pair of keys. Of the secret one only the path is shown.
pub fn keygen(inputs: &Inputs, args: KeygenArgs) -> Result<(), Failure> {
    let folder = match args.out {
        Some(folder) => folder,
        None => Paths::resolve(inputs)?.config_folder().into(),
    };
    let keys = sign::keygen(&folder)?;
    print(&format!(
        "{} is the secret key. It is not encrypted: keep it where you build, not where the agents run.\n\
         {} is the public key. For libraries that must be signed by it, write into the config:\n\n\
         [libraries]\nkeys = [\"{}\"]\n\n[supervision]\ntrust = \"signed\"",
        keys.secret.display(),
        keys.public.display(),
        keys.key
    ))
}

/// Signs each file, and stops at the first that it cannot sign.
pub fn sign(inputs: &Inputs, args: SignArgs) -> Result<(), Failure> {
    let key = match args.key {
        Some(key) => key,
        None => Paths::resolve(inputs)?.config_folder().join(SECRET),
    };
    for file in args.files {
        let signature = sign::sign(&file, &key)?;
        print(&format!("{} is signed: copy {} with it", file.display(), signature.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::exit::Code;

    #[test]
    fn the_key_is_in_the_folder_of_the_config_and_signs() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Inputs { cwd: dir.path().into(), ..Inputs::default() };
        let file = dir.path().join("libatlas.so");
        fs::write(&file, "x").unwrap();
        let unsigned = sign(&inputs, SignArgs { files: vec![file.clone()], key: None }).unwrap_err();
        assert!(unsigned.code == Code::Usage && unsigned.message.contains("keygen"), "{unsigned}");
        keygen(&inputs, KeygenArgs { out: None }).unwrap();
        assert!(dir.path().join(".openclaw/config/openclaw.key").is_file());
        sign(&inputs, SignArgs { files: vec![file], key: None }).unwrap();
        assert!(dir.path().join("libatlas.so.minisig").is_file());
        let again = keygen(&inputs, KeygenArgs { out: None }).unwrap_err();
        assert_eq!(again.code, Code::Usage);
        let gone = vec![dir.path().join("none.so")];
        assert_eq!(sign(&inputs, SignArgs { files: gone, key: None }).unwrap_err().code, Code::Io);
    }
}
