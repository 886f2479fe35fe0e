//! `jarvis-secrets`: the command line. Everything is in [`jarvis_secretsd::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("jarvis-secrets: the runtime could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    jarvis_secretsd::cli::install_crypto_provider();
    let code = runtime.block_on(jarvis_secretsd::cli::main(std::env::args_os().collect()));
    // A name lookup that still hangs must not keep a finished command.
    runtime.shutdown_background();
    code
}
