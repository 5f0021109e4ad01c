//! What the demo reports while it runs: who reports sends it here, who shows it receives it.

use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// One thing to show.
#[derive(Debug)]
pub(crate) enum Event {
    /// What happens next.
    Step(String),
    /// What has happened, and how long it took.
    Measured {
        name: &'static str,
        took: Duration,
        text: String,
    },
    /// How to reach what goes on running: the name of each member and its kubeconfig.
    Kept(Vec<(String, String)>),
    /// The last one.
    Summary(Summary),
}

/// How long it took, each from the moment its cause was complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// From the kill until a surviving cluster says that the member is lost.
    pub(crate) detected: Duration,
    /// From the kill until the surviving clusters have been asked for all replicas.
    pub(crate) replaced: Duration,
    /// From the kill until all of them are ready there.
    pub(crate) ready: Duration,
    /// From the restart until the member holds its lease again and every cluster runs what it was given, nothing else.
    pub(crate) healed: Duration,
}

/// Where events are sent. When it is dropped, the receiver ends after the last event.
#[derive(Debug)]
pub(crate) struct Events(UnboundedSender<Event>);

impl Events {
    /// Both ends. There are a few dozen events in all, so that nothing need bound them.
    pub(crate) fn channel() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Says what happens next.
    pub(crate) fn say(&self, text: &str) {
        self.send(Event::Step(text.to_owned()));
    }

    /// An event. It is lost if nobody receives any more: the receiver knows why it ended.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.0.send(event);
    }
}
