//! The member's questions: sent as they come, answered in any order. One that is open when the stream ends is not asked again.

use std::collections::BTreeMap;

use hanse_core::inquiry::{Answer, Question};
use tokio::sync::{mpsc, oneshot};

use super::attach::{StreamEnd, UpStream};
use crate::peer::proto::federation::{self, up};

/// A question that waits to be sent.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The questions that wait to be sent, and those that are not answered yet.
pub(super) struct Questions {
    asked: mpsc::Receiver<Asked>,
    open: BTreeMap<u64, oneshot::Sender<Answer>>,
    last: u64,
}

impl Questions {
    pub(super) fn new(asked: mpsc::Receiver<Asked>) -> Self {
        Self {
            asked,
            open: BTreeMap::new(),
            last: 0,
        }
    }

    /// Those who asked on an earlier stream learn that there is no answer.
    pub(super) fn begin_stream(&mut self) {
        self.open.clear();
    }

    /// The next question to send for which somebody still waits. Safe to cancel.
    pub(super) async fn next(&mut self) -> Asked {
        while let Some(asked) = self.asked.recv().await {
            if !asked.answer.is_closed() {
                return asked;
            }
        }
        std::future::pending().await
    }

    pub(super) fn send(&mut self, up: &UpStream, asked: Asked) -> Result<(), StreamEnd> {
        // Whoever has stopped waiting needs no answer, so that what is open stays bounded.
        self.open.retain(|_, answer| !answer.is_closed());
        self.last += 1;
        self.open.insert(self.last, asked.answer);
        up.send(up::Message::Question(federation::Question {
            ticket: self.last,
            // The types of hanse-core have string keys and no fallible serialisers.
            question: serde_json::to_vec(&asked.question).unwrap_or_default(),
        }))
    }

    pub(super) fn take_answer(&mut self, answer: &federation::Answer) -> Result<(), StreamEnd> {
        let Some(asked) = self.open.remove(&answer.ticket) else {
            return Ok(());
        };
        let answer = serde_json::from_slice(&answer.answer)
            .map_err(|error| StreamEnd::Unreadable(error.to_string()))?;
        // Whoever asked may have stopped waiting.
        let _ = asked.send(answer);
        Ok(())
    }
}
