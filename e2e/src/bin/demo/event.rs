//! The events of the demo: `story` and `main` send them, `screen` receives and shows them.

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// One event.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next step.
    Step(String),
    /// An effect, and how long after its cause it was seen.
    Measured {
        name: &'static str,
        took: Duration,
        text: String,
    },
    /// The members that are left running: the name and the kubeconfig of each.
    Kept(Vec<(String, String)>),
    /// The last event.
    Summary(Summary),
}

/// The measured times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// From the kill until a surviving cluster shows the member's lease as `Lost`.
    pub(crate) detected: Duration,
    /// From the kill until the Deployments in the surviving clusters request all replicas.
    pub(crate) replaced: Duration,
    /// From the kill until all of these replicas are ready.
    pub(crate) ready: Duration,
    /// From the restart until the member holds its lease again and every cluster runs exactly what is placed there.
    pub(crate) healed: Duration,
}

/// The sender of events. When it is dropped, the receiver ends after the last event.
#[derive(Debug)]
pub(crate) struct Events(UnboundedSender<Event>);

impl Events {
    /// Both ends. The channel is unbounded, because there are only a few dozen events in all.
    pub(crate) fn channel() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Reports the next step.
    pub(crate) fn say(&self, text: &str) {
        self.send(Event::Step(text.to_owned()));
    }

    /// Sends an event. It is dropped if the receiver has ended: that error is returned by `Screen::close`.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }
}
