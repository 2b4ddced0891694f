//! `local-model serve`: answers with the model on a loopback port.
//!
//! What `run` relies on: the key of all calls is in the variable LOCAL_MODEL_KEY; the process listens on a port of its own
//! choice and writes one line of JSON about it to standard output ([`Listening`]); it ends when standard input ends; status 3
//! says that the file or the machine is not fit, with the reason as the last line on standard error.

mod connections;
mod threads;

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::SystemTime,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::TcpListener, signal::unix::SignalKind};

use crate::{
    engine::{self, LoadError, MAX_CONTEXT, Model, scheduler::Scheduler},
    server::{self, App},
};

/// Exit status of `serve` when starting it again cannot help.
pub const UNFIT: u8 = 3;

/// Tokens for which answers in the making hold memory: the longest conversation and a short one beside it. 46 KB each with the default
/// model.
const TOKEN_BUDGET: usize = MAX_CONTEXT + 512;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The model's GGUF file
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Checks each call: `Authorization: Bearer KEY`. Better in the variable: arguments are seen by all accounts of a machine
    #[arg(long, env = "LOCAL_MODEL_KEY", hide_env_values = true)]
    pub key: String,
    /// Address to listen on; others than loopback are for containers
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Id of the model in calls; from the file's name if absent
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Goes on when standard input ends, for service managers that give none
    #[arg(long)]
    pub detached: bool,
}

/// The line on standard output that says where the server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    pub port: u16,
    /// Id of the model in calls: `smollm2-135m`.
    pub model: String,
    /// What people read: `SmolLM2 135M`.
    pub name: String,
    /// Threads that compute.
    pub threads: usize,
    /// Tokens of the window.
    pub context: usize,
}

/// Why `serve` ended.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{path} cannot be used: {source}", path = path.display())]
    Load {
        path: PathBuf,
        #[source]
        source: LoadError,
    },
    #[error("the key must not be empty")]
    NoKey,
    #[error("the server cannot start")]
    Start(#[source] io::Error),
}

/// Runs until standard input ends or a signal comes.
#[allow(clippy::print_stderr)]
pub fn run(args: &ServeArgs) -> ExitCode {
    let threads = match threads::settle() {
        Ok(threads) => threads,
        Err(error) => {
            eprintln!("error: the number of threads cannot be set: {error}");
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    exit_on_panic();
    match serve(args, threads) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let unfit = matches!(error, ServeError::Load { .. } | ServeError::NoKey);
            eprintln!("error: {}", chain(&error));
            if unfit {
                ExitCode::from(UNFIT)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn serve(args: &ServeArgs, threads: usize) -> Result<(), ServeError> {
    if args.key.is_empty() {
        return Err(ServeError::NoKey);
    }
    let model = Model::load(&args.model).map_err(|source| ServeError::Load {
        path: args.model.clone(),
        source,
    })?;
    let model = Arc::new(model);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    let id = args.id.clone().unwrap_or_else(|| engine::id_of(&args.model));
    runtime.block_on(async {
        let listener = TcpListener::bind((args.address, args.port))
            .await
            .map_err(ServeError::Start)?;
        let port = listener.local_addr().map_err(ServeError::Start)?.port();
        let scheduler = Scheduler::start(Arc::clone(&model), TOKEN_BUDGET).map_err(ServeError::Start)?;
        let listening = Listening {
            port,
            model: id.clone(),
            name: model.name.clone(),
            threads,
            context: model.context,
        };
        tracing::info!(
            port,
            threads,
            context = model.context,
            "{} answers with {threads} thread(s), one fewer than the processors that this process may use",
            model.name
        );
        announce(&listening).map_err(ServeError::Start)?;
        let key = SecretString::from(args.key.as_str());
        let app = App::new(id, model, scheduler, key, system_clock());
        let router = server::router(Arc::new(app));
        tokio::select! {
            served = connections::serve(listener, router) => served.map_err(ServeError::Start),
            () = ended(args.detached) => Ok(()),
        }
    })?;
    // Answers in the making are given up: who started the process wants it to end.
    runtime.shutdown_background();
    Ok(())
}

/// The one place where time comes in.
#[allow(clippy::disallowed_methods)]
fn system_clock() -> fn() -> SystemTime {
    SystemTime::now
}

fn announce(listening: &Listening) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, listening)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Ctrl-C, TERM, or the end of standard input: whoever held the other end is gone.
async fn ended(is_detached: bool) {
    let signal = |kind| async move {
        match tokio::signal::unix::signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    let input_ends = async {
        if is_detached {
            std::future::pending::<()>().await;
        }
        let mut input = tokio::io::stdin();
        let mut buffer = [0; 64];
        while matches!(input.read(&mut buffer).await, Ok(1..)) {}
    };
    tokio::select! {
        () = signal(SignalKind::interrupt()) => {}
        () = signal(SignalKind::terminate()) => {}
        () = input_ends => {}
    }
}

/// A server whose engine has died would accept calls and never answer: whoever started it starts it again.
fn exit_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(101);
    }));
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string().lines().next().unwrap_or_default().to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        // Libraries put a trace of calls behind the first line.
        let cause_text = cause.to_string().lines().next().unwrap_or_default().to_owned();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
