//! What the channel may have missed, noted where the comparison of the view with the event store finds it.

use std::time::Duration;

use event_channel::EventChannel;
use event_sourcing::View;
use read_store::ReadStore;
use tokio::sync::watch;
use tracing::warn;

/// How long to wait before a note is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Notes every doubt until told to stop.
pub async fn note<V: View>(channel: EventChannel, view: ReadStore<V>, mut stop: watch::Receiver<bool>) {
    let noting = async {
        loop {
            let doubt = channel.doubted().await.to_string();
            while let Err(error) = view.doubt(&doubt).await {
                warn!(%error, doubt, "a doubt could not be noted yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    tokio::select! {
        () = noting => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}
