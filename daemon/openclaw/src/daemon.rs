//! `openclaw run`: the boot story. Settings → lock → store → recover → supervise → serve → drain.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gateway::desk::{self, Desk};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use openclaw_agent_api::AgentName;
use operations::notify::Notify;
use operations::sockets::Sockets;
use settings::{Inputs, Loaded, Origin, ProcessPaths};
use store::{Clock, Store};
use supervisor::instance::Surroundings;
use supervisor::library::Libraries;
use supervisor::logs::Logs;
use supervisor::process::Program;
use supervisor::record::Recorder;
use supervisor::{Options, Supervisor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::capabilities::Doors;
use crate::cli::RunArgs;
use crate::components::{Components, Service};
use crate::control::neighbours::Neighbours;
use crate::control::server::{self, Server};
use crate::exit::{Code, Failure};
use crate::home::{self, Home};
use crate::status::Board;
use crate::{
    alerts, bridge, buses, cli, database, heart, journal, nudges, provided, reach, systemd, telegram, unit,
};

/// The end waits so long for the database.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// And for each of the two threads that write to a disk.
const DISK: Duration = Duration::from_secs(2);
/// The first screen waits so long for the slowest agent.
const FIRST_SCREEN: Duration = Duration::from_secs(3);

/// It waits so long for what calls used to be settled: milliseconds where the database answers.
const SETTLED: Duration = Duration::from_secs(2);
/// Threads beyond the others' in which providers' and pages' names are looked up; they are made when they are needed.
const LOOKUPS: usize = 4;

/// The longest that systemd is asked to wait for the database: a large one's migration.
const MIGRATION: Duration = Duration::from_secs(30 * 60);

/// Runs until it is told to stop.
pub fn run(inputs: &Inputs, args: &RunArgs) -> Result<(), Failure> {
    // Secrets never reach a core dump, nor another process of this user; what is written is this user's alone.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = nix::sys::prctl::set_dumpable(false);
    nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    let loaded = settings::load(inputs)?;
    let components = Components::chosen(&loaded.settings, &args.components)?;
    let filter = args.log.as_deref().unwrap_or(&loaded.settings.daemon.log);
    let redactor = loaded.secrets.redactor();
    let journal = journal::start(filter, args.log_format, components.process.as_str(), redactor)?;
    // What the command line says stays so, whatever becomes of the file.
    let filter = args.log.is_none().then(|| journal.filter.clone());
    let own = loaded.paths.of(&components.process)?;
    let home = Home::enter(&loaded.paths, &own)?;
    // One thread for all that waits: the work is done in the hosts and in the database's thread, and what passes
    // between tasks passes without waking another core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        // Two hash libraries: a large team's start must not make a thread, and its heap, for each. Two ask for the
        // address of Redis, where it has a name, and may have to wait for long.
        .max_blocking_threads(if loaded.settings.bus.url.is_some() { 4 } else { 2 } + LOOKUPS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::TryAgain, format!("no threads for the daemon: {error}")))?;
    let ended = runtime.block_on(serve(inputs, loaded, components, own, filter));
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(home);
    ended
}

async fn serve(
    inputs: &Inputs,
    loaded: Loaded,
    components: Components,
    own: ProcessPaths,
    filter: Option<journal::Filter>,
) -> Result<(), Failure> {
    let notify = Notify::of_process();
    let mut sockets = Sockets::of_process().map_err(|error| Failure::of(Code::Io, &error))?;
    let database = database::configured(&loaded)?;
    let Loaded { settings, paths, secrets, providers, origin } = loaded;
    let redactor = secrets.redactor();
    let mut stop = Signals::listen()?;
    let clock = Clock::new();
    // Bound before any work starts: whoever connects early waits for the answer.
    let passed =
        sockets.take(reach::GATEWAY, settings.gateway.bind).map_err(|error| Failure::of(Code::Io, &error))?;
    let astray = passed.astray;
    let gateway = reach::open(&settings, &secrets, &components, passed, clock)?;
    let bot = telegram::open(&settings, &secrets, &components, &paths, clock)?;
    let listener = server::bind(&own.socket)?;

    let _held = database::hold(&database)?;
    // A migration may take long, and a database that starts with the machine may be late.
    let backend = tokio::select! {
        opened = notify.during("opening the database", MIGRATION, unit::open(&database, notify)) => opened?,
        signal = stop.stopped() => {
            tracing::info!("{signal}: stopped before the database was open");
            notify.stopping("stopping: the database was not open yet");
            let _ = home::clear_socket(&own.socket);
            return Ok(());
        }
    };
    let tasks = settings.tasks.clone();
    let installation = home::installation(&paths, &components.process)?;
    let options = store::Options {
        installation: installation.clone(),
        lease: tasks.lease,
        max_queued: tasks.max_queued,
        keep: tasks.keep,
        keep_rows: tasks.keep_rows,
        clock,
        redact: {
            let redactor = redactor.clone();
            store::Redact::by(move |text| redactor.redact_in(text))
        },
        cooldown: settings.alerts.cooldown,
    };
    let (store, mut engine) = Store::start(backend, options).await?;

    let (bus, connecting) = buses::open(&settings.bus, &secrets, paths.config_folder());
    let mut signalling = JoinSet::new();
    connecting.map(|service| signalling.spawn(service.run()));

    let granted = settings
        .agents
        .iter()
        .map(|(name, agent)| {
            (name.clone(), (agent.grants.clone(), agent.supervision(&settings.supervision).rates))
        })
        .collect();
    let (settling, provided) =
        provided::open(&settings, providers, &secrets, &store, clock, installation).await?;
    let mut providing = JoinSet::new();
    providing.spawn(provided::run(settling, store.clone(), clock));

    let board = Arc::new(OnceLock::new());
    let doors = Doors {
        store: store.clone(),
        bus: bus.clone(),
        clock,
        tasks: tasks.clone(),
        disk: paths.home.clone(),
        providers: provided.clone(),
        // The bot may be another process's: what it is to send is a row.
        chats: alerts::chats(
            &settings,
            settings.telegram.enabled && secrets.get(settings::BOT_TOKEN).is_some(),
        ),
        operators: settings.telegram.operators.iter().copied().collect(),
        board: board.clone(),
    };
    let (logs, log_thread) = Logs::start(paths.logs.clone(), redactor.clone())
        .map_err(|error| Failure::new(Code::TryAgain, format!("no thread for the logs: {error}")))?;
    let record = Some(&settings.providers.record).filter(|folder| !folder.as_os_str().is_empty());
    let recording = record.map(|folder| {
        let folder = paths.home.join(folder);
        let failed =
            |error| Failure::new(Code::Io, format!("cannot record in {}: {error}", folder.display()));
        Recorder::start(folder.clone(), redactor.clone()).map_err(failed)
    });
    let (recorder, record_thread) = recording.transpose()?.unzip();
    let libraries = supervisor::library::Options {
        vault: own.libraries.clone(),
        agents: paths.agents.clone(),
        keep: settings.libraries.keep as usize,
    };
    let libraries = Libraries::open(libraries).map(Arc::new).map_err(|error| {
        Failure::new(Code::Io, format!("cannot use {}: {error}", own.libraries.display()))
    })?;
    let around = Surroundings {
        program: Program::this(),
        lock: own.hosts_lock.clone(),
        uploads: paths.uploads.clone(),
        tasks: tasks.clone(),
        store: store.clone(),
        capabilities: Arc::new(doors),
        logs: logs.clone(),
        clock,
        libraries: libraries.clone(),
        // The supervisor's to know.
        led_until: tokio::sync::watch::channel(None).1,
        recorder: recorder.clone(),
    };
    // What another process can run: on a database of its own there is none.
    let enabled = settings.agents.iter().filter(|(_, agent)| agent.is_enabled() && store.shared());
    let elsewhere = enabled.map(|(name, _)| name.clone()).filter(|name| !components.agents.contains(name));
    let scope = unit::Scope::of(&components);
    let options = Options {
        elsewhere: elsewhere.collect(),
        // An agent that nobody named is not asked for where somebody named others.
        discover: settings.agents.discover && components.are_all(),
        settings,
        agents: components.agents,
        libraries: paths.agents.clone(),
        workspace: paths.workspace.clone(),
        around,
    };
    let (bridged, alone) = (components.services.contains(&Service::HeartbeatBridge), signalling.is_empty());
    // Within one process everybody is told already.
    let several = store.shared() && options.settings.bus.url.is_some();
    let (discover, heartbeat) = (options.discover, options.settings.daemon.heartbeat);
    let teller = components
        .services
        .contains(&Service::Gateway)
        .then(|| alerts::teller(&options.settings, bot.is_some(), store.clone(), bus.clone(), clock));
    let unit = unit::Unit {
        notify,
        only: unit::only(&components.services, &options.agents),
        as_started: options.settings.clone(),
        inputs: inputs.clone(),
        filter,
        scope,
        providers: provided.clone(),
        said: Arc::default(),
    };
    let drain = unit.longest_drain() + LAST_WORDS + 2 * DISK;
    let (supervisor, handle) = Supervisor::new(options).await?;
    let nudged = several.then(|| handle.known().clone());
    let mut services = JoinSet::new();
    let (shared, known) = ((bus.clone(), alone, store.clone(), clock), handle.known().clone());
    let here = move || if alone { known.names() } else { known.all().into_iter().collect() };
    let watching = bridged.then(|| bridge::start(&mut services, shared, heartbeat, here));
    // Whoever is alone on its bus hears of no other process's.
    let watched = components.services.contains(&Service::Gateway) && (bridged || !alone);
    let watched =
        watched.then(|| bridge::watch(&mut services, (bus.clone(), store.clone(), clock), heartbeat));
    let neighbours = Neighbours::of(&own.socket);
    let this = Board {
        bridge: watching,
        watched,
        supervisor: handle.clone(),
        store: store.clone(),
        bus,
        providers: provided.clone(),
        grants: Arc::new(granted),
        clock,
        started_at: clock.now(),
        home: paths.home.clone(),
        process: components.process,
        gateway: gateway.as_ref().map(|(_, handle)| handle.clone()),
        neighbours: neighbours.clone(),
        astray,
        telegram: bot.as_ref().map(|(_, handle)| handle.clone()),
        database: database.shown(),
        discover,
        stale: tasks.lease.max(Duration::from_secs(10)) * 2,
    };
    let this = board.get_or_init(|| this).clone();

    let (signals, hand_on) = desk::Signals::to(this.bus.clone());
    services.spawn(hand_on);
    let desk = Desk {
        supervisor: handle.clone(),
        store: store.clone(),
        clock,
        tasks,
        libraries,
        providers: provided.clone(),
        signals,
        neighbours: None,
    };
    let server = Server { board: this.clone(), desk: desk.clone(), redactor };
    services.spawn(Arc::new(server).serve(listener));
    // Who reaches the gateway means the home; who asks at a process's socket means that process.
    let desk = Desk { neighbours: Some(Arc::new(neighbours)), ..desk };
    services.spawn(heart::beat(handle.clone(), provided.clone(), this.bus.clone(), clock, heartbeat));
    if let Some(known) = nudged {
        services.spawn(nudges::exchange(store.clone(), this.bus.clone(), clock, known));
    }
    let (mut reaching, reached) = (JoinSet::new(), reach::Reached::of(&this));
    bot.map(|(bot, _)| reaching.spawn(bot.run(desk.clone(), Arc::new(this.clone()), this.bus.clone())));
    gateway.map(|(service, _)| reaching.spawn(service.run(desk, Arc::new(this.clone()))));
    let mut supervising = JoinSet::new();
    supervising.spawn(supervisor.run());
    services.spawn(provided::watch(provided.clone(), store.clone(), clock));
    services.spawn(provided.clone().keep_on());
    services.spawn(unit.clone().watch(this.clone()));
    services.spawn(unit.clone().tell(this.clone()));
    services.spawn(alerts::take(
        this.home.clone(),
        this.process.to_string(),
        store.clone(),
        systemd::own_unit(),
        clock,
    ));
    if !alone {
        services.spawn(alerts::watch_bus(this.bus.clone(), store.clone(), clock));
    }
    if let Some(teller) = teller {
        services.spawn(teller.run());
    }
    let mut welcome = JoinSet::new();
    // Under systemd the status line says it, and nobody types anything there.
    if !notify.is_heard() {
        welcome.spawn(first_screen(this, origin));
    }

    let (mut reloading, mut again) = (JoinSet::new(), false);
    // None of these ends by itself: a daemon that has lost one must not go on as if it were well.
    let ended = loop {
        tokio::select! {
            told = stop.told() => match told {
                Told::Stop(signal) => {
                    tracing::info!("{signal}: draining; once more stops at once");
                    break Ok(());
                }
                // One at a time; whatever came meanwhile is looked at once more.
                Told::Reload if reloading.is_empty() => drop(reloading.spawn(unit.clone().reload(handle.clone()))),
                Told::Reload => again = true,
            },
            Some(_) = reloading.join_next() => {
                if std::mem::take(&mut again) {
                    reloading.spawn(unit.clone().reload(handle.clone()));
                }
            }
            _ = supervising.join_next() => break Err(lost("the supervisor")),
            _ = services.join_next() => break Err(lost("the control socket, the heartbeat or the heartbeat bridge")),
            Some(_) = reaching.join_next() => break Err(lost("the gateway or the bot")),
            _ = providing.join_next() => break Err(lost("what settles the budgets")),
            Some(_) = signalling.join_next() => break Err(lost("the bus")),
            _ = &mut engine => break Err(lost("the store")),
        }
    };
    drop((welcome, reloading));
    unit.stopping("draining: running handlers may end");
    let drained = async {
        reached.stop();
        let ours = heart::ours(&handle).await;
        // Refused where it was the supervisor that was lost.
        let _ = handle.shutdown().await;
        tokio::select! {
            _ = supervising.join_next() => {}
            again = stop.stopped() => {
                tracing::warn!("{again} again: stopping at once; tasks in work are done again at the next start");
                let _ = home::clear_socket(&own.socket);
                return Err(Failure::new(Code::Failed, "stopped before everything was drained"));
            }
        }
        // All that agents had under way has ended: what it used is settled before the store ends.
        provided.close();
        let _ = tokio::time::timeout(SETTLED, async { while providing.join_next().await.is_some() {} }).await;
        reached.finish();
        while reaching.join_next().await.is_some() {}
        services.shutdown().await;
        if bridged {
            bridge::rest(&store).await;
        }
        if let (Ok(()), Some(this)) = (&ended, board.get()) {
            heart::rest(&*this.bus, ours, heartbeat).await;
        }
        signalling.shutdown().await;
        let _ = home::clear_socket(&own.socket);
        store.close();
        if !engine.is_finished() {
            // A database that does not answer keeps nobody: what could not be stored is done again at the next start.
            if tokio::time::timeout(LAST_WORDS, &mut engine).await.is_err() {
                tracing::warn!("the database did not answer: the daemon ends without it");
                engine.abort();
            }
        }
        logs.close();
        joined(log_thread).await;
        if let (Some(recorder), Some(thread)) = (&recorder, record_thread) {
            recorder.close();
            joined(thread).await;
        }
        tracing::info!("stopped");
        ended
    };
    notify.during("draining: running handlers may end", drain, drained).await
}

/// Waits for a thread that writes to a disk; one that hangs there keeps nobody.
async fn joined(thread: std::thread::JoinHandle<()>) {
    let ended = async {
        while !thread.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(DISK, ended).await.is_err() {
        tracing::warn!("the disk did not answer: the daemon ends without it");
    }
}

fn lost(what: &str) -> Failure {
    Failure::new(
        Code::Failed,
        format!("{what} ended, which is a defect: the daemon stops, so that it is started anew"),
    )
}

/// What signals tell the daemon.
enum Told {
    /// Drain and end.
    Stop(&'static str),
    /// Look at the agents folder.
    Reload,
}

/// The signals that it hears.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    /// Standard input was a terminal: its hang-up is a SIGHUP as well.
    on_terminal: bool,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::of(Code::TryAgain, &error);
        Ok(Self {
            term: signal(SignalKind::terminate()).map_err(failed)?,
            int: signal(SignalKind::interrupt()).map_err(failed)?,
            hup: signal(SignalKind::hangup()).map_err(failed)?,
            on_terminal: std::io::stdin().is_terminal(),
        })
    }

    async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.term.recv() => Told::Stop("SIGTERM"),
            _ = self.int.recv() => Told::Stop("SIGINT"),
            _ = self.hup.recv() => {
                // A terminal that was hung up is none any more.
                let hung_up = self.on_terminal && !std::io::stdin().is_terminal();
                if hung_up { Told::Stop("SIGHUP: the terminal is gone") } else { Told::Reload }
            }
        }
    }

    async fn stopped(&mut self) -> &'static str {
        loop {
            if let Told::Stop(signal) = self.told().await {
                return signal;
            }
        }
    }
}

/// Once all agents have settled: what is up, and what to type next.
async fn first_screen(board: Board, origin: Origin) {
    let settled = async {
        for name in board.supervisor.known().names() {
            let _ = board.supervisor.settled(&name, FIRST_SCREEN).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_SCREEN, settled).await;
    let Ok(document) = board.document().await else { return };
    let config = match origin {
        Origin::File(path) => path.display().to_string(),
        Origin::BuiltIn => "built in; write your own to config/openclaw.toml".into(),
    };
    let known = board.supervisor.known();
    let talker = known.get("milkbot").or_else(|| known.names().into_iter().next());
    let talker = talker.as_ref().map_or("NAME", AgentName::as_str);
    let table = cli::status::table(&document, std::io::stdout().is_terminal());
    let home = document.daemon.home.display();
    // As it was called here, so that it can be pasted.
    let program = std::env::args().next().unwrap_or_else(|| "openclaw".into());
    let default = std::env::current_dir().is_ok_and(|here| here.join(".openclaw") == document.daemon.home);
    let call = if default { program } else { format!("{program} --home {home}") };
    let http =
        board.gateway.as_ref().map(|gateway| format!("  http    http://{}\n", gateway.health().address));
    let http = http.unwrap_or_default();
    let screen = format!(
        "\nOpenClaw {} is up, pid {}.\n  home    {home}\n  config  {config}\n{http}\n{table}\n\n\
         Next, in another terminal:\n  {call} send {talker} /help\n  {call} status\n\
         Ctrl-C drains and stops; twice stops at once.\n",
        document.daemon.version, document.daemon.pid,
    );
    // On another thread: a terminal that was stopped must not stop the daemon, and a closed one is no reason to end.
    let _ = tokio::task::spawn_blocking(move || std::io::stdout().write_all(screen.as_bytes())).await;
}
