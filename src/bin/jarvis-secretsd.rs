//! The daemon: `server` runs one node, `dev` a whole cluster on this machine. Without a verb it is `server`, as the old
//! daemon's users start it (F7).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jarvis_secretsd::cli::install_crypto_provider;
use jarvis_secretsd::config::{Config, Environment};
use jarvis_secretsd::dev::DevArgs;
use jarvis_secretsd::{dev, hardening, server, telemetry};

/// Apply, HTTP and the codec allocate much and briefly: ADR 0009 has the measurement.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A secrets server that keeps working when a machine dies.
#[derive(Parser)]
#[command(name = "jarvis-secretsd", version)]
struct Arguments {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run one node.
    Server(ServerArgs),
    /// Run a cluster of real processes on this machine, for development and trying out.
    Dev(DevArgs),
}

#[derive(Args)]
struct ServerArgs {
    /// The configuration [default: /etc/jarvis-secretsd/config.toml]
    #[arg(long)]
    config: Option<PathBuf>,
    /// Stop when standard input ends (used by `dev`).
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

fn main() -> ExitCode {
    jarvis_mutants::announce();
    let arguments = Arguments::parse();
    install_crypto_provider();
    match arguments.verb {
        None => run_server(arguments.server),
        Some(Verb::Server(server)) => run_server(server),
        Some(Verb::Dev(dev)) => run_dev(dev),
    }
}

fn run_server(arguments: ServerArgs) -> ExitCode {
    let mut hardening = hardening::harden_server();
    if arguments.exit_with_stdin {
        hardening.extend(hardening::die_with_parent());
    }
    let loaded = match Config::load(arguments.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("jarvis-secretsd: {error}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = telemetry::init(&loaded.config.logging) {
        eprintln!("jarvis-secretsd: {error}");
        return ExitCode::from(2);
    }
    telemetry::abort_on_panic(loaded.config.logging.json);
    for warning in loaded.warnings.iter().chain(&hardening) {
        tracing::warn!("{warning}");
    }
    let threads = loaded.config.server.worker_threads;
    let mut builder = if threads > 1 {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads);
        builder
    } else {
        // On two cores one thread for the runtime and one for the log beat a pool by a fifth.
        tokio::runtime::Builder::new_current_thread()
    };
    match builder.enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(server::run(loaded.config, arguments.exit_with_stdin));
            // A read of standard input that never ends must not keep the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("jarvis-secretsd: the runtime can not start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_dev(arguments: DevArgs) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(dev::run(arguments)),
        Err(error) => {
            eprintln!("jarvis-secretsd: the runtime can not start: {error}");
            ExitCode::FAILURE
        }
    }
}
