//! What the channel may have missed, noted where the comparison of the view with the event store finds it.

use std::time::Duration;

use event_channel::EventChannel;
use futures_util::future::join_all;
use tokio::sync::watch;
use tracing::warn;

use crate::views::{AnyView, OpenView};

/// How long to wait before a note is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Notes every doubt about a channel beside the views that are folded from it, until told to stop.
pub async fn note(channel: EventChannel, views: Vec<OpenView>, mut stop: watch::Receiver<bool>) {
    let noting = async {
        loop {
            let doubt = channel.doubted().await.to_string();
            join_all(views.iter().map(|view| note_one(&*view.view, &doubt))).await;
        }
    };
    tokio::select! {
        () = noting => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn note_one(view: &dyn AnyView, doubt: &str) {
    while let Err(error) = view.doubt(doubt).await {
        warn!(%error, doubt, "a doubt could not be noted yet");
        tokio::time::sleep(AGAIN).await;
    }
}
