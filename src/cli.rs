//! The command line: what was asked for, and the exit code.

use std::convert::Infallible;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::accept::Inherited;
use crate::app::{self, App, StartError};
use crate::config::{self, Config, Diagnostics, Loaded};
use crate::decode::{self, Decode};
use crate::generation::{self, Identities};
use crate::probe::{self, Probe};
use crate::session::Service;
use crate::telemetry::{self, InitError, Log, LogFormat, LogLevel};
use crate::tls::{DevelopmentCa, Identity};
use crate::top::{self, Top};
use crate::{demo, limits, reload, signals};

/// Something failed at run time.
const FAILED: u8 = 1;
/// The configuration is wrong: `EX_CONFIG` of sysexits.h.
const BAD_CONFIG: u8 = 78;

/// Lets browsers reach legacy TCP services: WebSocket messages in, framed stream records out, and back.
#[derive(Debug, Parser)]
#[command(
    name = "sealock",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try sealock in a browser: no file, no certificate, built-in services
    Demo(DemoArgs),
    /// Run the daemon
    Run(RunArgs),
    /// Check a configuration file, and the certificates it names
    Check(CheckArgs),
    /// Make a development CA and a certificate
    Cert(CertArgs),
    /// Connect to a WebSocket and talk to it: shows handshake, timing, messages and the close code
    Probe(Probe),
    /// Cut a capture into records by a framing, find out which framing it has, or write records
    Decode(Decode),
    /// Watch a running sealock: its routes and sessions, over its admin listener
    Top(Top),
}

#[derive(Debug, Args)]
struct LogArgs {
    /// How log lines look
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        env = "SEALOCK_LOG_FORMAT"
    )]
    log_format: LogFormat,
    /// Log level: off, error, warn, info, debug, trace, or a list of target=level; instead of what the file says, or info
    #[arg(long, value_name = "LEVEL", env = "SEALOCK_LOG")]
    log_level: Option<String>,
    /// Log to this file instead of standard error; SIGUSR1 opens it again
    #[arg(long, value_name = "FILE", env = "SEALOCK_LOG_FILE")]
    log_file: Option<PathBuf>,
}

impl LogArgs {
    /// Starts to log, to this file where the command line names none.
    fn init(&self, file: Option<&Path>) -> Result<(Log, LogLevel), ExitCode> {
        let file = self.log_file.as_deref().or(file);
        telemetry::init(self.log_format, self.log_level.as_deref(), file).map_err(|error| {
            let code = if let InitError::Level(_) = error {
                2
            } else {
                FAILED
            };
            fail(code, &error.to_string())
        })
    }
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Address to listen on; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    bind: SocketAddr,
    /// Certificate (PEM) to use instead of one made in memory
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "SEALOCK_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "SEALOCK_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct CertArgs {
    /// Folder for ca.pem, dev.pem and dev.key; files that are there are not replaced
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// Host names and addresses the certificate is for
    #[arg(default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
}

/// Runs what the command line asks for. Exit codes: 0 done, 1 failed at run time, 2 wrong usage, 78 wrong configuration.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => with_runtime(demo(args)),
        Command::Run(args) => {
            // While there is one thread.
            let inherited = Inherited::take();
            with_runtime(run(args, inherited))
        }
        Command::Check(args) => check(&args),
        Command::Cert(args) => cert(&args),
        Command::Probe(args) => with_runtime(probe::run(args)),
        Command::Decode(args) => decode::run(&args, load).unwrap_or(BAD_CONFIG.into()),
        Command::Top(args) => {
            with_runtime(async { top::run(args, load_admin).await.unwrap_or(BAD_CONFIG.into()) })
        }
    }
}

fn with_runtime(task: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(task);
            // A name look-up that hangs in the system's resolver must not hold up the end.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(FAILED, &format!("cannot start the runtime: {error}")),
    }
}

async fn run(args: RunArgs, inherited: Inherited) -> ExitCode {
    // Before anything else: whoever looks after the log or the files need not know how far the start has got. What comes now is kept.
    let signals = signals::Hangups::new().and_then(|hangups| Ok((hangups, signals::Renames::new()?)));
    let (hangups, renames) = match signals {
        Ok(signals) => signals,
        Err(error) => return no_signals(&error),
    };
    let mut source = reload::Source::before(&args.config);
    let Loaded {
        config,
        warnings: odd,
    } = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print(&problems);
            return BAD_CONFIG.into();
        }
    };
    source.named(&config);
    let Some(warnings) = check_files(&config) else {
        return BAD_CONFIG.into();
    };
    let (log, level) = match args.log.init(config.log_file.as_deref()) {
        Ok(log) => log,
        Err(code) => return code,
    };
    level.follow(config.log_level.as_deref());
    if !odd.is_empty() {
        tracing::warn!("{odd}");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let start = |config| App::start(config, Identities::Files, inherited, |_| None);
    let reloading = async |service: &Arc<Service>| reload::run(service, source, hangups, &level).await;
    serve(
        config,
        (&Arc::new(log), renames),
        start,
        |_| String::new(),
        reloading,
    )
    .await
}

async fn demo(args: DemoArgs) -> ExitCode {
    let renames = match signals::Renames::new() {
        Ok(renames) => renames,
        Err(error) => return no_signals(&error),
    };
    let (log, _level) = match args.log.init(None) {
        Ok(log) => log,
        Err(code) => return code,
    };
    let made = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Identity::load(cert, key),
        _ => DevelopmentCa::make(&demo::names(args.bind)).map(|made| made.identity()),
    };
    let identity = match made {
        Ok(identity) => identity,
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let _stop_backends = stop.clone().drop_guard();
    let backends = match demo::start(stop).await {
        Ok(backends) => backends,
        Err(error) => return fail(FAILED, &format!("cannot start the built-in services: {error}")),
    };
    let config = match demo::config(args.bind, &backends) {
        Ok(config) => config,
        Err(problems) => return fail(FAILED, &problems.to_string()),
    };
    let in_memory = args.cert.is_none();
    let identities = Identities::Given(identity);
    let start = |config| App::start(config, identities, Inherited::default(), demo::page);
    let welcome = move |bound: &[app::Bound]| demo::welcome(bound, &backends, in_memory);
    let nothing_to_reload = async |_: &Arc<Service>| std::future::pending().await;
    serve(
        config,
        (&Arc::new(log), renames),
        start,
        welcome,
        nothing_to_reload,
    )
    .await
}

/// Runs until a signal, then ends in order. `welcome` is what is printed once the listeners are up, `reloading` what goes on until the
/// signal.
async fn serve(
    config: Config,
    (log, renames): (&Arc<Log>, signals::Renames),
    start: impl FnOnce(Config) -> Result<App, StartError>,
    welcome: impl FnOnce(&[app::Bound]) -> String,
    reloading: impl AsyncFnOnce(&Arc<Service>) -> Infallible,
) -> ExitCode {
    let mut signals = match signals::Signals::new() {
        Ok(signals) => signals,
        Err(error) => return no_signals(&error),
    };
    // Not kept by whoever waits for the signal: the last lines are written when its owner lets go.
    let renamed = Arc::downgrade(log);
    renames.follow(move || {
        if let Some(log) = renamed.upgrade() {
            log.reopen();
        }
    });
    limits::raise_open_files(config.limits.max_sessions);
    let app = match start(config) {
        Ok(app) => app,
        Err(error @ StartError::Make(_)) => return fail(BAD_CONFIG, &error.to_string()),
        Err(error @ StartError::Bind { .. }) => {
            return fail(
                FAILED,
                &format!("{error}\n  help: is another program there? port 0 takes any free port"),
            );
        }
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    for bound in app.addresses() {
        say(&format!("listening on {bound}"));
    }
    if let Some(address) = app.admin() {
        say(&format!("admin on http://{address}"));
    }
    say_all(&welcome(app.addresses()));
    signals::notify_ready(app.service().state().status());
    let sessions = Arc::clone(&app.service().sessions);
    let watched = Arc::clone(&sessions);
    signals::feed_watchdog(move || {
        watched.count();
    });

    let signal = tokio::select! {
        signal = signals.next() => signal,
        never = reloading(app.service()) => match never {},
    };
    app.close();
    tracing::info!(signal, "shutting down");
    let ended = app.shutdown(async {
        signals.next().await;
    });
    let left = tokio::select! {
        // In this order: it is told before anything ends.
        biased;
        () = signals::notify_stopping(|| sessions.count()) => 0,
        left = ended => left,
    };
    match left {
        0 => tracing::info!("all sessions have ended"),
        left => tracing::warn!(sessions = left, "sessions were cut: they had not ended in time"),
    }
    signals::all_told().await;
    ExitCode::SUCCESS
}

fn check(args: &CheckArgs) -> ExitCode {
    let Some(config) = load(&args.config) else {
        return BAD_CONFIG.into();
    };
    let Some(warnings) = check_files(&config) else {
        return BAD_CONFIG.into();
    };
    for warning in warnings {
        report(&format!("warning: {warning}"));
    }
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let file = args.config.display();
    say(&format!(
        "{file}: good: {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route")
    ));
    ExitCode::SUCCESS
}

/// Checks the files that a configuration names, and prints what is wrong with them. Gives what is odd about them.
fn check_files(config: &Config) -> Option<Vec<String>> {
    let checked = generation::check(config);
    for problem in &checked.problems {
        report(&format!("error: {problem}"));
    }
    checked.problems.is_empty().then_some(checked.warnings)
}

/// Loads a configuration and prints what there is to say about it.
fn load(path: &Path) -> Option<Config> {
    match config::load(path) {
        Ok(loaded) => {
            print(&loaded.warnings);
            Some(loaded.config)
        }
        Err(problems) => {
            print(&problems);
            None
        }
    }
}

fn print(problems: &Diagnostics) {
    if !problems.is_empty() {
        report(&problems.render(std::io::stderr().is_terminal()));
    }
}

/// Loads what a configuration says of the admin listener, and prints what is wrong with that.
fn load_admin(path: &Path) -> Option<Option<config::Admin>> {
    config::load_admin(path).map_err(|problems| print(&problems)).ok()
}

fn cert(args: &CertArgs) -> ExitCode {
    let made = match DevelopmentCa::make(&args.names) {
        Ok(made) => made,
        Err(error) => return fail(FAILED, &error.to_string()),
    };
    let file = |name: &str| args.out.join(name);
    let files = [
        (file("dev.key"), &made.key_pem, 0o600),
        (file("dev.pem"), &made.cert_pem, 0o644),
        (file("ca.pem"), &made.ca_pem, 0o644),
    ];
    // All of them first: a new key beside an old certificate would be worse than nothing.
    let written = files
        .iter()
        .try_for_each(|(path, ..)| absent(path))
        .and_then(|()| std::fs::create_dir_all(&args.out))
        .and_then(|()| {
            files
                .iter()
                .try_for_each(|(path, text, mode)| write_new(path, text, *mode))
        });
    if let Err(error) = written {
        let help = "remove the old files first, or choose another folder with --out";
        return fail(
            FAILED,
            &format!("cannot write to {}: {error}\n  help: {help}", args.out.display()),
        );
    }
    say_all(&format!(
        "certificate  {}\nkey          {}\nCA           {}\n\n\
         Trust the CA where you develop, and nowhere else: import it in the browser's settings\n\
         (Certificates, Authorities), or pass it with --cacert or --ca. Its key was forgotten.\n",
        file("dev.pem").display(),
        file("dev.key").display(),
        file("ca.pem").display()
    ));
    ExitCode::SUCCESS
}

/// Fails when a file is there.
fn absent(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(named(path, error)),
        Ok(_) => Err(named(path, std::io::ErrorKind::AlreadyExists.into())),
    }
}

/// Writes a file that must not exist yet, with its mode from the first moment.
fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| named(path, error))
}

fn named(path: &Path, error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn fail(code: u8, message: &str) -> ExitCode {
    report(&format!("error: {message}"));
    code.into()
}

fn no_signals(error: &std::io::Error) -> ExitCode {
    fail(FAILED, &format!("cannot listen for signals: {error}"))
}

/// Prints a line for whoever started us. A reader that has gone is no reason to stop.
fn say(line: &str) {
    say_all(&format!("{line}\n"));
}

fn say_all(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

fn report(text: &str) {
    drop(writeln!(std::io::stderr(), "{}", text.trim_end()));
}
