//! `openclaw agents keygen` and `sign`: without a daemon.

use std::path::PathBuf;

use clap::Args;
use settings::{Inputs, Paths};
use supervisor::library::sign::{self, SECRET};

use super::print;
use crate::exit::{Code, Failure};

/// `openclaw agents keygen`
#[derive(Args)]
pub struct KeygenArgs {
    /// Where to write openclaw.key and openclaw.pub
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// `openclaw agents sign`
#[derive(Args)]
pub struct SignArgs {
    /// The libraries; FILE.minisig is written beside each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The secret key
    #[arg(long, value_name = "PATH", default_value = SECRET)]
    key: PathBuf,
}

/// Makes a pair of keys. Of the secret one only the path is shown.
pub fn keygen(inputs: &Inputs, args: KeygenArgs) -> Result<(), Failure> {
    let (folder, home) = (inputs.cwd.join(&args.out), Paths::resolve(inputs)?.home);
    if folder.starts_with(&home) {
        let why = format!(
            "{} is in the daemon's home, where the agents run: whoever signs should be elsewhere; name another folder with --out",
            folder.display()
        );
        return Err(Failure::new(Code::Usage, why));
    }
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
    let key = inputs.cwd.join(&args.key);
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

    #[test]
    fn the_key_is_made_where_nothing_runs_and_signs() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = Inputs { cwd: dir.path().into(), ..Inputs::default() };
        let file = dir.path().join("libatlas.so");
        fs::write(&file, "x").unwrap();
        let signing = |file| sign(&inputs, SignArgs { files: vec![file], key: SECRET.into() });
        let making = |out: &str| keygen(&inputs, KeygenArgs { out: out.into() });
        let unsigned = signing(file.clone()).unwrap_err();
        assert!(unsigned.code == Code::Usage && unsigned.message.contains("keygen"), "{unsigned}");
        assert_eq!(making(".openclaw/config").unwrap_err().code, Code::Usage);
        making(".").unwrap();
        assert!(dir.path().join("openclaw.key").is_file());
        signing(file).unwrap();
        assert!(dir.path().join("libatlas.so.minisig").is_file());
        assert_eq!(making(".").unwrap_err().code, Code::Usage);
        assert_eq!(signing(dir.path().join("none.so")).unwrap_err().code, Code::Io);
    }
}
