//! `openclaw install` and `uninstall`

use std::path::{Component, Path, PathBuf};

use clap::{Args, CommandFactory};
use nix::unistd::Uid;
use operations::install::{self, Applied, Request};
use operations::units::{self, Manager};

use super::{Cli, print, upgrade};
use crate::components::Service;
use crate::exit::{Code, Failure};
use crate::systemd;

/// Where it goes.
#[derive(Args)]
struct Place {
    /// The folder of everything [default: /opt/openclaw; with --user ~/.local/share/openclaw]
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// For this user alone, with units of their own manager: one process runs everything
    #[arg(long)]
    user: bool,
}

/// `openclaw install`
#[derive(Args)]
#[command(
    after_help = "It may be run again at any time: what is as it should be is left alone, an edited configuration stays \
                  (what is new is written beside it, as .new), and an upgrade whose units do not start is taken back.\n  \
                  sudo openclaw install\n  sudo systemctl start openclaw.target"
)]
pub struct InstallArgs {
    #[command(flatten)]
    place: Place,
    /// Print the steps, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The folder of the agents' libraries to bring along [default: that of this program]
    #[arg(long, value_name = "DIR")]
    agents: Option<PathBuf>,
}

/// `openclaw uninstall`
#[derive(Args)]
pub struct UninstallArgs {
    #[command(flatten)]
    place: Place,
    /// Remove the data, the configuration and the user too
    #[arg(long)]
    purge: bool,
}

/// Where everything is for a manager.
struct Folders {
    prefix: PathBuf,
    home: Option<PathBuf>,
    manager: Manager,
    units: PathBuf,
    share: PathBuf,
    completions: [(PathBuf, clap_complete::Shell); 3],
    command: PathBuf,
}

impl Place {
    fn folders(&self) -> Result<Folders, Failure> {
        if self.user {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
            let home =
                home.ok_or_else(|| Failure::new(Code::Usage, "HOME is not set: whose units are meant?"))?;
            let home = home.canonicalize().unwrap_or(home);
            let share = home.join(".local/share");
            return Ok(Folders {
                prefix: self.prefix(share.join("openclaw"))?,
                manager: Manager::User,
                units: share.join("systemd/user"),
                completions: completions(&share, home.join(".config/fish/completions")),
                command: home.join(".local/bin/openclaw"),
                home: Some(home),
                share,
            });
        }
        let share = PathBuf::from("/usr/local/share");
        Ok(Folders {
            prefix: self.prefix("/opt/openclaw".into())?,
            home: None,
            manager: Manager::System,
            // Where systemd looks for what is installed by hand; what the operator writes is in /etc, and comes first.
            units: "/usr/local/lib/systemd/system".into(),
            completions: completions(&share, share.join("fish/vendor_completions.d")),
            command: "/usr/local/bin/openclaw".into(),
            share,
        })
    }

    /// Without links on the way: what is said of a prefix must be true of where it leads. One with `..` is refused later.
    fn prefix(&self, usual: PathBuf) -> Result<PathBuf, Failure> {
        let named = self.prefix.clone().unwrap_or(usual);
        if !named.is_absolute() || named.components().any(|part| part == Component::ParentDir) {
            return Ok(named);
        }
        // Itself it may be no link: that is refused when it is looked at.
        let Some((above, name)) = named.parent().zip(named.file_name()) else { return Ok(named) };
        for there in above.ancestors() {
            match there.canonicalize() {
                Ok(real) => {
                    let below = above.strip_prefix(there).unwrap_or(Path::new(""));
                    return Ok(real.join(below).join(name));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let what = format!("cannot look at {}: {error}", there.display());
                    return Err(Failure::new(Code::Io, what));
                }
            }
        }
        Ok(named)
    }

    fn allowed(&self) -> Result<(), Failure> {
        if self.user || Uid::effective().is_root() {
            return Ok(());
        }
        let what = "this makes a user, folders below /opt and units: run it as root, or for yourself alone with --user";
        Err(Failure::new(Code::Usage, what))
    }
}

fn completions(share: &Path, fish: PathBuf) -> [(PathBuf, clap_complete::Shell); 3] {
    use clap_complete::Shell::{Bash, Fish, Zsh};
    [
        (share.join("bash-completion/completions/openclaw"), Bash),
        (share.join("zsh/site-functions/_openclaw"), Zsh),
        (fish.join("openclaw.fish"), Fish),
    ]
}

/// Installs, or upgrades.
pub fn run(args: &InstallArgs) -> Result<(), Failure> {
    let folders = args.place.folders()?;
    let failed = |error: std::io::Error| Failure::of(Code::Io, &error);
    let program = std::env::current_exe().map_err(failed)?;
    let agents = args.agents.clone().or_else(|| program.parent().map(Path::to_path_buf)).unwrap_or_default();
    let libraries = ["libmilkbot.so", "libatlas.so", "libscout.so"].map(|name| agents.join(name));
    // Installed from the place where it is installed: its libraries are there already.
    let libraries = libraries.into_iter().filter(|path| path.is_file()).collect();
    let request = Request {
        config: config(folders.manager),
        beside: settings::shipped_providers().collect(),
        built: built(),
        generated: generated(&folders)?,
        systemd: systemd::version().unwrap_or_default(),
        program,
        agents: libraries,
        command: Some(folders.command.clone()),
        polkit: Some("/etc/polkit-1/rules.d".into()),
        database: folders.manager == Manager::System && on_postgres(&folders.prefix),
        prefix: folders.prefix.clone(),
        home: folders.home.clone(),
        manager: folders.manager,
        units: folders.units.clone(),
    };
    let plan = install::plan(&request).map_err(|why| Failure::new(Code::Usage, why))?;
    install::claim(&plan).map_err(|error| Failure::of(Code::Usage, &error))?;
    if args.dry_run {
        let steps: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
        return print(&steps.join("\n"));
    }
    args.place.allowed()?;
    let mut applied = Applied::default();
    let running = install::running(folders.manager, &folders.prefix.join("bin/openclaw"));
    if let Err(error) = install::apply(&plan, running, &mut applied) {
        let ran: Vec<_> = applied.restart.into_iter().collect();
        let copies = install::Copies::default();
        return Err(upgrade::taken_back(&folders.prefix, folders.manager, &ran, &copies, error.to_string()));
    }
    let changes = &applied.changes;
    print(&if changes.is_empty() { "all was as it should be".into() } else { changes.join("\n") })?;
    upgrade::prove(&folders.prefix, folders.manager, &applied)?;
    notes(request.systemd).iter().try_for_each(|note| print(note))?;
    print(next(folders.manager))
}

/// What this machine's systemd is too old for, or that there is none.
fn notes(systemd: u32) -> Option<String> {
    if systemd == 0 {
        return Some("note: there is no systemd here: `openclaw run` runs it by hand".into());
    }
    let unknown = units::unknown(systemd);
    if unknown.is_empty() {
        return None;
    }
    let names: Vec<_> = unknown.iter().map(|(name, since)| format!("{name}= (since {since})")).collect();
    let mut note = format!(
        "note: systemd {systemd} does not know {}: they are left out of the units.",
        names.join(", ")
    );
    for (name, means) in [
        ("RestartSteps", " One that fails is restarted after the same time each time, as RestartSec= says."),
        ("LoadCredential", " Secrets are to be in config/.env: /etc/credstore is not read."),
        ("ProtectProc", " Units are less shut in."),
    ] {
        if unknown.contains_key(name) {
            note.push_str(means);
        }
    }
    Some(note)
}

const fn next(manager: Manager) -> &'static str {
    match manager {
        Manager::System => "next: systemctl start openclaw.target; openclaw status",
        Manager::User => {
            "next: systemctl --user start openclaw.target; openclaw status\n\
             so that it runs while you are not logged in: loginctl enable-linger"
        }
    }
}

/// Takes it away.
pub fn uninstall(args: &UninstallArgs) -> Result<(), Failure> {
    let folders = args.place.folders()?;
    args.place.allowed()?;
    let done = install::uninstall(&folders.prefix, folders.manager, &folders.units, args.purge);
    let failed = |error: install::Error| {
        let code = match error {
            install::Error::Nothing { .. } | install::Error::Manager { .. } => Code::Usage,
            _ => Code::Io,
        };
        Failure::of(code, &error)
    };
    print(&done.map_err(failed)?.join("\n"))
}

/// Services that this build has, and the agents.
fn built() -> Vec<String> {
    let services = Service::built().map(|service| service.name().to_owned());
    services.chain(["milkbot", "atlas", "scout"].map(str::to_owned)).collect()
}

/// The shipped configuration. On a machine several processes share a PostgreSQL, and speak over its Redis.
fn config(manager: Manager) -> String {
    if manager == Manager::User {
        return settings::BUILT_IN.into();
    }
    settings::BUILT_IN
        .replace("#url = \"sqlite://openclaw.db\"", &format!("url = \"{POSTGRES}\""))
        .replace("#url = \"\"", "url = \"redis://127.0.0.1\"")
}

const POSTGRES: &str = "postgres://milkbot@localhost/openclaw?host=/run/postgresql";

/// Whether the configuration there, or the shipped one, names this machine's PostgreSQL, and it is there.
fn on_postgres(prefix: &Path) -> bool {
    let named = std::fs::read_to_string(prefix.join("config/openclaw.toml"));
    named.map_or(true, |text| text.contains(POSTGRES)) && Path::new("/run/postgresql").is_dir()
}

/// Completions and man pages.
fn generated(folders: &Folders) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let mut generated = Vec::new();
    for (path, shell) in &folders.completions {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "openclaw", &mut script);
        generated.push((path.clone(), script));
    }
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    pages(&whole, &folders.share.join("man/man1"), &mut generated)?;
    Ok(generated)
}

/// A page of each command.
fn pages(command: &clap::Command, folder: &Path, pages: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or("openclaw").to_owned();
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command.clone()).title(name.clone()).render(&mut page);
    rendered.map_err(|error| Failure::of(Code::Failed, &error))?;
    pages.push((folder.join(format!("{name}.1")), page));
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
        .try_for_each(|inner| self::pages(inner, folder, pages))
}
