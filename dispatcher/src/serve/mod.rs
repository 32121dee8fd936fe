//! The system in one process: the API, the triggers, the relay and the admin listener.
//!
//! - [`api`], behind [`gate`] and [`auth`]: what is public, counted by [`meters`]. [`admin`]: what is not.
//! - [`listener`]: connections; [`files`]: how many. [`triggers`]: the channel onto the projector and the processor.
//! - [`folder`]: one process a data folder.

pub mod admin;
pub mod api;
pub mod auth;
pub mod files;
pub mod folder;
pub mod gate;
pub mod listener;
pub mod meters;
pub mod triggers;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use command_handler::{CommandHandler, Relay};
use http::HeaderValue;
use processor::FulfilmentSettings;
use read_store::ReadStore;
use runtime::settings::seconds;
use runtime::signals::Signals;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::CannotStart;
use crate::migrate;
use crate::stores::{AllStores, cannot_open};
use folder::FolderLock;

/// How long requests, and then batches, may take to finish once the process is told to stop. Together below 10 s.
const REQUESTS_GRACE: Duration = Duration::from_secs(4);
const BATCHES_GRACE: Duration = Duration::from_secs(4);

/// How long a commit is left to whoever appended it before a relay takes it, where several processes publish: twice the
/// channel's delivery timeout.
const SHARED_MIN_AGE: Duration = Duration::from_secs(20);

/// How often what was counted is put into buckets.
const METRICS_UPKEEP: Duration = Duration::from_secs(1);

/// Run the whole system.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where the API listens
    #[arg(long, env = "ORDERS_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080))]
    listen: SocketAddr,
    /// Where /metrics, /healthz and /readyz are
    #[arg(long, env = "ORDERS_ADMIN_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081))]
    admin_listen: SocketAddr,
    #[command(flatten)]
    stores: AllStores,
    #[command(flatten)]
    fulfilment: FulfilmentSettings,
    /// Let in only requests with a bearer token from this file: a name and a token a line
    #[arg(long, env = "ORDERS_AUTH_TOKEN_FILE", value_name = "FILE")]
    auth_token_file: Option<PathBuf>,
    /// Listen beyond this machine without tokens
    #[arg(long, env = "ORDERS_ALLOW_UNAUTHENTICATED")]
    allow_unauthenticated: bool,
    /// Queries in hand at the same time, and other requests; more of either are answered 503
    #[arg(long, env = "ORDERS_MAX_IN_FLIGHT", value_name = "REQUESTS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    max_in_flight: u32,
    /// An origin that browsers let call the API; may be given several times [default: any]
    #[arg(long, env = "ORDERS_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origin: Vec<HeaderValue>,
    /// Seconds that the relay leaves a commit to whoever appended it [default: 20 on servers, where other processes publish
    /// too; 0 on the embedded default]
    #[arg(long, env = "ORDERS_RELAY_MIN_AGE", value_name = "S", value_parser = seconds)]
    relay_min_age: Option<Duration>,
}

/// Serves until SIGINT or SIGTERM, then drains and ends within 10 s. A second signal ends it at once.
///
/// # Errors
/// [`CannotStart`] when something can't be used as it was asked.
pub async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let guards = args.guards()?;
    files::take_all();
    let listener = listener::bind(args.listen, "--listen")?;
    let admin_listener = listener::bind(args.admin_listen, "--admin-listen")?;
    let _folder = args.lock_folder()?;
    // First, because a series that is looked up before is counted nowhere.
    let metrics = admin::start_metrics()?;
    let (handler, view) = args.stores.open().await?;
    migrate::at_start(&view).await;
    let fulfilment =
        args.fulfilment.open().map_err(|error| cannot_open(&[&args.fulfilment.fulfilment], &error))?;
    let signals = Signals::new()?;

    let (stop_requests, requests_stopped) = watch::channel(false);
    let (stop_work, work_stopped) = watch::channel(false);
    let mut work = JoinSet::new();
    let processor =
        processor::Processor::new(handler.clone(), fulfilment, args.fulfilment.fulfilment_concurrency.into());
    triggers::start(
        &mut work,
        handler.publisher().channel(),
        &view,
        processor,
        &work_stopped,
        BATCHES_GRACE,
    )?;
    let relay = Relay::new(handler.store().clone(), handler.publisher().clone(), args.relay_min_age());
    work.spawn(relay.run(work_stopped.clone()));
    let upkeep = tokio::spawn(keep_up(metrics.clone()));

    args.say_hello(&listener, &admin_listener)?;
    let api = api::api(&handler, &view, guards);
    let api = move |request| Arc::clone(&api).answer(request);
    let admin =
        admin::Admin { handler: handler.clone(), view: view.clone(), metrics, told_lag: Arc::default() };
    let admin = admin::router(admin);
    let admin = move |request| listener::call(admin.clone(), request);
    let mut servers = JoinSet::new();
    servers.spawn(listener::serve(listener, api, requests_stopped, REQUESTS_GRACE));
    // The admin listener answers to the end, so that a drain can be watched.
    let admin_server = tokio::spawn(listener::serve(admin_listener, admin, work_stopped, Duration::ZERO));

    let code = until_stopped(signals, &mut servers, &mut work, &stop_requests, &stop_work).await;
    admin_server.abort();
    upkeep.abort();
    close(handler, view).await;
    code
}

async fn until_stopped(
    mut signals: Signals,
    servers: &mut JoinSet<()>,
    work: &mut JoinSet<()>,
    stop_requests: &watch::Sender<bool>,
    stop_work: &watch::Sender<bool>,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        () = signals.next() => {}
        // None of these ends by itself.
        _ = servers.join_next() => anyhow::bail!("the API has stopped"),
        _ = work.join_next() => anyhow::bail!("a trigger or the relay has stopped"),
    }
    tracing::info!("stopping: running requests and batches finish; again to stop at once");
    let drained = async {
        let _ = stop_requests.send(true);
        while servers.join_next().await.is_some() {}
        let _ = stop_work.send(true);
        while work.join_next().await.is_some() {}
    };
    tokio::select! {
        () = drained => Ok(ExitCode::SUCCESS),
        () = signals.next() => {
            tracing::warn!("stopped at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Drops the stores where waiting is allowed: what they had accepted is written before they close.
async fn close(handler: CommandHandler, view: ReadStore) {
    let _ = tokio::task::spawn_blocking(move || drop((handler, view))).await;
}

async fn keep_up(metrics: metrics_exporter_prometheus::PrometheusHandle) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

impl ServeArgs {
    fn guards(&self) -> Result<api::Guards, CannotStart> {
        let tokens = self.auth_token_file.as_deref().map(auth::Tokens::read).transpose()?;
        let open_to_all = |flag: &str, address: SocketAddr, way_out: &str| {
            CannotStart(format!(
                "{flag} {address} is beyond this machine, and everybody would be let in; give {way_out}"
            ))
        };
        let beyond = |address: SocketAddr| !address.ip().is_loopback() && !self.allow_unauthenticated;
        if beyond(self.listen) && tokens.is_none() {
            return Err(open_to_all(
                "--listen",
                self.listen,
                "--auth-token-file FILE, or --allow-unauthenticated",
            ));
        }
        // Tokens guard the API alone.
        if beyond(self.admin_listen) {
            return Err(open_to_all("--admin-listen", self.admin_listen, "--allow-unauthenticated"));
        }
        Ok(api::Guards {
            tokens,
            max_in_flight: self.max_in_flight as usize,
            cors_origins: self.cors_origin.clone(),
        })
    }

    /// The folder is locked where anything is kept in it, or in this process's memory.
    fn lock_folder(&self) -> Result<Option<FolderLock>, CannotStart> {
        self.stores.is_embedded().then(|| FolderLock::take(&self.stores.commands.data.data)).transpose()
    }

    fn relay_min_age(&self) -> Duration {
        let default = if self.stores.is_embedded() { Duration::ZERO } else { SHARED_MIN_AGE };
        self.relay_min_age.unwrap_or(default)
    }

    fn say_hello(&self, listener: &TcpListener, admin: &TcpListener) -> anyhow::Result<()> {
        let (api, admin) = (listener.local_addr()?, admin.local_addr()?);
        let [events, channel, view] = self.stores.shown();
        let version = env!("CARGO_PKG_VERSION");
        let mut out = std::io::stdout().lock();
        let hello = write!(
            out,
            "orders {version}\n\n\
             API      http://{api}\n\
             Admin    http://{admin}/metrics /healthz /readyz\n\
             Events   {events}\n\
             Channel  {channel}\n\
             View     {view}\n\n\
             Try:  curl -i http://{api}/ -H 'Content-Type: application/json' \
             -d '{{\"id\":\"someid\",\"name\":\"somename\",\"status\":\"new\"}}'\n\n"
        );
        // Nobody may be reading; that is no reason not to serve.
        let _ = hello.and_then(|()| out.flush());
        Ok(())
    }
}
