//! The runtime that openraft runs on: tokio, with random numbers from the node's environment.
//!
//! openraft draws election timeouts and the phase of its ticks. It asks the runtime's type for them, which knows of no
//! node; so the source travels with the tasks: `with_random` sets it for the future that starts Raft, and every task
//! that Raft starts from there inherits it.
//!
//! In production the environment's source is the operating system. A task outside of `with_random` draws from there
//! too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use openraft::impls::TokioRuntime;
use openraft::{AsyncRuntime, OptionalSend};
use rand_core::TryRng;

use crate::env::{Random, SystemRandom};

tokio::task_local! {
    /// The random source of the node that the running task belongs to.
    static RANDOM: Arc<dyn Random>;
}

/// Runs `start`, and whatever tasks Raft starts in it, with this random source.
pub(crate) fn with_random<F: Future>(
    random: Arc<dyn Random>,
    start: F,
) -> impl Future<Output = F::Output> {
    RANDOM.scope(random, start)
}

/// tokio, as openraft's own adapter has it, but for the random numbers.
#[derive(Debug)]
pub struct NodeRuntime {
    tokio: TokioRuntime,
}

/// Numbers from the environment of the node whose task asks.
pub struct NodeRandom {
    /// `None` outside of any node: the operating system's.
    source: Option<Arc<dyn Random>>,
}

impl AsyncRuntime for NodeRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = NodeRandom;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match RANDOM.try_with(Arc::clone) {
            Ok(random) => TokioRuntime::spawn(RANDOM.scope(random, future)),
            Err(_) => TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        NodeRandom {
            source: RANDOM.try_with(Arc::clone).ok(),
        }
    }

    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn new(threads: usize) -> Self {
        Self {
            tokio: TokioRuntime::new(threads),
        }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.tokio.block_on(future)
    }
}

impl NodeRandom {
    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.draw(&mut bytes);
        bytes
    }

    fn draw(&self, buffer: &mut [u8]) {
        match &self.source {
            Some(random) => random.fill(buffer),
            None => SystemRandom.fill(buffer),
        }
    }
}

impl TryRng for NodeRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        self.draw(buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng;

    use super::*;

    /// One byte, again and again.
    struct Always(u8);

    impl Random for Always {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[tokio::test]
    async fn every_task_of_a_node_draws_from_its_environment() {
        let tree = || async {
            let child = NodeRuntime::spawn(async {
                let grandchild = NodeRuntime::spawn(async { NodeRuntime::thread_rng().next_u32() });
                grandchild.await.expect("the grandchild ends")
            });
            let own = NodeRuntime::thread_rng().next_u32();
            (own, child.await.expect("the child ends"))
        };
        let one = with_random(Arc::new(Always(1)), tree());
        let other = with_random(Arc::new(Always(2)), tree());
        let (one, other) = tokio::join!(one, other);
        assert_eq!(one, (0x0101_0101, 0x0101_0101));
        assert_eq!(other, (0x0202_0202, 0x0202_0202));
    }

    #[test]
    fn without_a_node_the_operating_system_is_asked() {
        let drawn = [(); 4].map(|()| NodeRuntime::thread_rng().next_u64());
        assert!(drawn.iter().any(|number| *number != drawn[0]), "{drawn:?}");
    }
}
