//! The runtime of the engine's tasks: tokio's, with randomness that a simulator can seed.

use std::{cell::Cell, fmt, time::Duration};

use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::TokioRuntime;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

type Tokio = TokioRuntime;

thread_local! {
    /// The state of this thread's generator, once it is seeded.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on the engines of this thread choose their election timeouts from `seed`, so that a simulation in one thread
/// repeats itself. The engine asks its runtime's type for randomness and has no value to carry a generator in, which is
/// why this is the thread's and not the [`Environment`](crate::environment::Environment)'s.
pub fn seed_engines_of_this_thread(seed: u64) {
    SEED.set(Some(seed));
}

fn generator() -> SmallRng {
    let Some(seed) = SEED.get() else {
        return SmallRng::from_rng(&mut rand::rng());
    };
    let mut generator = SmallRng::seed_from_u64(seed);
    SEED.set(Some(generator.next_u64()));
    generator
}

/// Tokio's runtime but for [`AsyncRuntime::thread_rng`].
pub struct Runtime(Tokio);

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        generator()
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_of_a_seeded_thread_draw_the_same_numbers_each_time() {
        let draw = |seed| {
            seed_engines_of_this_thread(seed);
            [generator().next_u64(), generator().next_u64()]
        };
        let (first, again, other) = (draw(1), draw(1), draw(2));
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_ne!(first[0], first[1]);
    }
}
