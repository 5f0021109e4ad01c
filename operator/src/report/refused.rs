//! The objects that the API server refuses to hold: none of them holds up another.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tracing::warn;

use crate::cluster::CallError;

/// The reason of each object that was refused last, so that each is logged once.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeMap<String, String>>);

impl Refused {
    /// Takes the result of writing an object. What may succeed later stays an error; what was refused is logged.
    pub(super) fn pass(&self, name: &str, written: Result<(), CallError>) -> Result<(), CallError> {
        let mut reasons = self.0.lock();
        match written {
            Ok(()) => drop(reasons.remove(name)),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                let why = error.to_string();
                if reasons.get(name) != Some(&why) {
                    warn!(
                        object = name,
                        error = why,
                        "the API server refuses to show it"
                    );
                    reasons.insert(name.to_owned(), why);
                }
            }
        }
        Ok(())
    }

    /// Forgets what no longer exists.
    pub(super) fn keep(&self, exists: impl Fn(&str) -> bool) {
        self.0.lock().retain(|name, _| exists(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_succeed_later_ends_a_round() {
        let refused = Refused::default();
        let too_many = || {
            Err(CallError::Refused {
                code: 422,
                message: "spec.labels: must have at most 64 items".to_owned(),
            })
        };
        let down = || Err(CallError::Unavailable("connection refused".to_owned()));
        assert!(refused.pass("birch", too_many()).is_ok());
        assert!(refused.pass("birch", down()).is_err());
        assert_eq!(refused.0.lock().len(), 1);
        assert!(refused.pass("birch", Ok(())).is_ok());
        assert_eq!(refused.0.lock().len(), 0);
        assert!(refused.pass("cedar", too_many()).is_ok());
        refused.keep(|name| name == "birch");
        assert_eq!(refused.0.lock().len(), 0);
    }
}
