//! What can be wrong with the configuration, and how it is told.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration {}: {source}; name a readable file with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The socket cannot be there.
    #[error(
        "the home is too deep: its socket {} has {} bytes, and a socket's path has {most} bytes at most; choose a \
         shorter one with --home",
        path.display(), path.as_os_str().len()
    )]
    TooDeep {
        /// The socket.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
    /// It was read, and these are wrong.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The configuration file, or what stands for it.
    pub file: PathBuf,
    /// At least one.
    pub list: Vec<Mistake>,
}

/// Where a mistake was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The configuration file.
    Config,
    /// Another file: `.env`, a credential.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was made.
    pub place: Place,
    /// From 1; none when it is no one line's fault.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// The dotted key, empty when there is none.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Mistake {
    /// One of a place as a whole.
    pub(crate) fn of(place: Place, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place, line: None, column: None, key: String::new(), what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.list {
            match &mistake.place {
                Place::Config => write!(f, "{}", self.file.display())?,
                Place::File(path) => write!(f, "{}", path.display())?,
                Place::Variable(name) => f.write_str(name)?,
            }
            if let Some(line) = mistake.line {
                write!(f, ":{line}")?;
            }
            writeln!(f, ": {}; {}", tidy(&mistake.what), tidy(&mistake.remedy))?;
        }
        let plural = if self.list.len() == 1 { "" } else { "s" };
        write!(f, "{} mistake{plural} in the configuration", self.list.len())
    }
}

impl std::error::Error for Mistakes {}

/// `text` on one line of a bearable length.
fn tidy(text: &str) -> String {
    const MOST: usize = 400;
    let mut line = String::new();
    for c in text.chars() {
        if line.len() >= MOST {
            line.push('…');
            break;
        }
        if c.is_control() { line.extend(c.escape_debug()) } else { line.push(c) }
    }
    line
}

/// The candidate that was probably meant: at most a third of the word differs.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let distance = |candidate: &&str| strsim::damerau_levenshtein(word, candidate);
    candidates.into_iter().min_by_key(distance).filter(|best| distance(best) <= word.len().max(3) / 3)
}

/// The remedy for an unknown name.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<_> = candidates.into_iter().map(|name| format!("`{name}`")).collect();
    if known.is_empty() { "none is known here".into() } else { format!("known are {}", known.join(", ")) }
}
