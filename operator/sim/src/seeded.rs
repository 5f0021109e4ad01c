//! Everything random in a simulation, drawn from its seed.

use std::{sync::Arc, time::Duration};

use hanse_operator::environment::Entropy;
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// A generator that belongs to one purpose of one simulation. What one purpose draws does not change what another does, so
/// that a change of the clients leaves the faults as they were.
#[derive(Clone)]
pub struct Seeded(Arc<Mutex<SmallRng>>);

impl Seeded {
    /// The generator of `purpose` in the simulation of `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a: all it has to do is to tell purposes apart, the same way on every machine.
        let mixed = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64 ^ seed, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(mixed))))
    }

    /// A number of at least `from` and less than `to`.
    #[must_use]
    pub fn between(&self, from: u64, to: u64) -> u64 {
        self.0.lock().random_range(from..to)
    }

    /// A time of at least `from` and less than `to` milliseconds.
    #[must_use]
    pub fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }

    /// True in `percent` of a hundred draws.
    #[must_use]
    pub fn chance(&self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }

    /// One of `choices`, of which there must be one.
    #[must_use]
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        let at = self.0.lock().random_range(0..choices.len());
        &choices[at]
    }

    /// 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0.lock().random()
    }

    /// An operator's source of keys. Predictable, which is what a simulation is for and nothing else may be.
    #[must_use]
    pub fn entropy(&self) -> Entropy {
        let source = self.clone();
        Entropy(Arc::new(move || source.bytes()))
    }
}
