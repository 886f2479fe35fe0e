//! What runs on a machine, from power on to power off: the server as it is, with its API.

use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::StartError;
use jarvis_secretsd::api::{Connection, Listener};
use jarvis_secretsd::server::{self, ServerError};
use tokio::sync::watch;
use tokio::time::sleep;

use super::cluster::Cluster;
use super::founding::admit;
use super::machine::{API_PORT, Machine, Process, Refusal};
use super::trace::Topic;

/// How often a machine looks for what it waits for.
const POLL: Duration = Duration::from_millis(20);

/// The software of one machine.
pub(super) async fn run(cluster: Arc<Cluster>, place: usize) -> turmoil::Result {
    let machine = &cluster.machines[place];
    while machine.id().is_none() {
        sleep(POLL).await;
    }
    let number = machine.begins();
    let mut parts = machine.parts(&cluster.wires)?;
    let dying = Arc::clone(&cluster);
    parts.on_fatal = Arc::new(move |reason| dying.machines[place].fails(number, reason));
    let env = parts.env.clone();
    let running = match Box::pin(server::start(parts)).await {
        Ok(running) => running,
        Err(error) => {
            refuse(&cluster, machine, &error);
            return std::future::pending().await;
        }
    };
    let (stop, stopping) = watch::channel(false);
    let process = Process {
        node: running.node.clone(),
        vault: Arc::clone(&running.vault),
        _stop: Arc::new(stop),
    };
    cluster.trace.tell(
        cluster.clock.now(),
        Topic::Story,
        format!(
            "{} runs node {}, start {}",
            machine.host,
            process.node.id(),
            process.node.incarnation()
        ),
    );
    machine.runs(process.clone());
    if place == 0 {
        tokio::spawn(let_in(Arc::clone(&cluster), process));
    }
    let mut listener = env.net.bind(&format!("0.0.0.0:{API_PORT}")).await?;
    loop {
        let (stream, remote) = listener.accept().await?;
        let connection = Connection {
            listener: Listener::Network,
            remote: Some(remote),
            certificate: None,
        };
        let (router, stopping) = (running.router.clone(), stopping.clone());
        tokio::spawn(server::serve_connection(
            stream, router, connection, stopping,
        ));
    }
}

fn refuse(cluster: &Cluster, machine: &Machine, error: &ServerError) {
    let is_lost_log = matches!(error, ServerError::Start(StartError::LogLost { .. }));
    let reason = error.to_string();
    cluster.trace.tell(
        cluster.clock.now(),
        Topic::Story,
        format!("{} does not start: {reason}", machine.host),
    );
    machine.refuses(Refusal {
        is_lost_log,
        reason,
    });
}

/// Lets the other machines in, once the cluster has begun.
async fn let_in(cluster: Arc<Cluster>, founder: Process) {
    while founder.node.with_view(|state| state.core.cluster.is_none()) {
        sleep(POLL).await;
    }
    for (place, machine) in cluster.machines.iter().enumerate() {
        while machine.id().is_none() {
            if let Err(error) = admit(&cluster, &founder.node, place).await {
                let text = format!("{} is not let in yet: {error:#}", machine.host);
                cluster.trace.tell(cluster.clock.now(), Topic::Story, text);
                sleep(POLL).await;
            }
        }
    }
}
