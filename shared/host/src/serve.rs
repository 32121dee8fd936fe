//! The system in one process: the API, the triggers, the relay and the admin listener.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgMatches, Args};
use command_handler::{Relay, ReminderRelay};
use event_source_mapping::Trigger;
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderName, HeaderValue, Uri};
use metrics_exporter_prometheus::PrometheusHandle;
use runtime::Routes;
use runtime::settings::seconds;
use runtime::signals::Signals;
use runtime::telemetry::LostLines;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aggregates::OpenAggregate;
use crate::api::{self, Api};
use crate::functions::{Functions, Parts, settings_of};
use crate::locks::Locks;
use crate::origins::Origins;
use crate::registration::{Registrar, ViewStatus};
use crate::registry::Registry;
use crate::stores::{PublishingStores, Stores};
use crate::tokens::Tokens;
use crate::{CannotStart, admin, application, doubts, files, listener, migrate, triggers};

/// How long requests, and then batches, may take to finish once the process is told to stop. Together below 10 s.
const REQUESTS_GRACE: Duration = Duration::from_secs(4);
const BATCHES_GRACE: Duration = Duration::from_secs(4);

/// How long a commit is left to whoever appended it before a relay takes it, where several processes publish: twice the
/// channel's delivery timeout.
const SHARED_MIN_AGE: Duration = Duration::from_secs(20);

/// How many connections the admin listener has at most, and how many descriptors are kept for it, for files and for servers.
const ADMIN_CONNECTIONS: usize = 32;
const HEADROOM: usize = 128 + ADMIN_CONNECTIONS;

/// How often what was counted is put into buckets.
const METRICS_UPKEEP: Duration = Duration::from_secs(1);

/// Where a server listens.
#[derive(Args, Clone, Debug)]
pub struct ListenSettings {
    /// Where the API listens
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080))]
    listen: SocketAddr,
    /// Where /metrics, /healthz and /readyz are
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDRESS", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081))]
    admin_listen: SocketAddr,
}

/// How the API is guarded, and when the relay takes a commit.
#[derive(Args, Clone, Debug)]
pub struct ServerSettings {
    /// Let in only requests with a bearer token from this file: a name and a token a line. What the file says is taken over when
    /// it changes, and at SIGHUP
    #[arg(long, env = "AUTH_TOKEN_FILE", value_name = "FILE")]
    auth_token_file: Option<PathBuf>,
    /// Let the API listen beyond this machine without tokens
    #[arg(long, env = "ALLOW_UNAUTHENTICATED", value_parser = BoolishValueParser::new())]
    allow_unauthenticated: bool,
    /// Show /metrics beyond this machine without tokens; /healthz and /readyz never need one
    #[arg(long, env = "ADMIN_ALLOW_UNAUTHENTICATED", value_parser = BoolishValueParser::new())]
    admin_allow_unauthenticated: bool,
    /// Queries in hand at the same time, queries that wait for a version, and other requests; more are answered 503, or what
    /// there is without waiting
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "REQUESTS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    max_in_flight: u32,
    /// An origin that browsers let call the API, such as `https://example.com`, or `*` for any; may be given several times
    /// [default: any]
    #[arg(long, env = "CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    cors_origin: Vec<HeaderValue>,
    /// Seconds that the relay leaves a commit to the process that appended it, while that lives [default: 20 where both stores
    /// are servers, so that other processes may publish too; else 0]
    #[arg(long, env = "RELAY_MIN_AGE", value_name = "S", value_parser = seconds)]
    relay_min_age: Option<Duration>,
}

/// The settings of a server beside those of the functions.
#[derive(Args, Clone, Debug)]
struct ServeArgs {
    #[command(flatten)]
    listen: ListenSettings,
    #[command(flatten)]
    publishing: PublishingStores,
    #[command(flatten)]
    server: ServerSettings,
}

/// The application's own part of a server.
pub struct ServerParts {
    /// Its aggregates and views.
    pub registry: Registry,
    /// Its functions.
    pub functions: Arc<Functions>,
    /// Its own headers of answers.
    pub headers: Vec<HeaderName>,
    /// Arguments of `curl`, behind the address, for a first call.
    pub example: &'static str,
}

/// Serves until SIGINT or SIGTERM, then drains and ends within 10 s. A second signal ends it at once, and so does one while it starts.
///
/// # Errors
/// [`CannotStart`] when something can't be used as it was asked.
pub async fn run(own: ServerParts, flags: ArgMatches, lost_lines: LostLines) -> anyhow::Result<ExitCode> {
    // First: until then signals are lost where this is the first process, as in a container, which has no default action for them.
    let mut signals = Signals::new()?;
    let args: ServeArgs = settings_of(&flags)?;
    // A task of its own, so that nothing that blocks there keeps a signal waiting.
    let (registry, functions) = (own.registry.clone(), Arc::clone(&own.functions));
    let starting = tokio::spawn(start(registry, functions, flags.clone(), args.clone()));
    let started = tokio::select! {
        started = starting => started??,
        () = signals.next() => {
            tracing::info!("stopped before it had started");
            return Ok(ExitCode::SUCCESS);
        }
    };
    serve(own, flags, args, started, signals, lost_lines).await
}

/// What a server has when it begins to serve.
struct Started {
    tokens: Option<Tokens>,
    connections: usize,
    listener: TcpListener,
    admin_listener: TcpListener,
    _locks: Option<Locks>,
    metrics: PrometheusHandle,
    stores: Stores,
    registrars: Vec<Registrar>,
    routes: Routes,
    triggers: Vec<Trigger>,
    tasks: Vec<BoxFuture<'static, ()>>,
    stop_work: watch::Sender<bool>,
}

async fn start(
    registry: Registry,
    functions: Arc<Functions>,
    flags: ArgMatches,
    args: ServeArgs,
) -> anyhow::Result<Started> {
    let tokens = args.tokens()?;
    args.refuse_to_let_everybody_in(tokens.as_ref())?;
    let connections = files::take_all().saturating_sub(HEADROOM).max(1);
    let listener = listener::bind(args.listen.listen, "--listen")?;
    let admin_listener = listener::bind(args.listen.admin_listen, "--admin-listen")?;
    // Where a store is a file.
    let locks = args.publishing.stores.is_embedded().then(|| args.publishing.stores.lock()).transpose()?;
    // First, because a series that is looked up before is counted nowhere.
    let metrics = admin::start_metrics()?;
    let stores = args.publishing.open(&registry).await?;
    let (stop_work, stop) = watch::channel(false);
    let parts = Parts { application: registry.application, stores: &stores, flags: &flags, stop: &stop };
    let (routes, triggers) = (functions.routes(&parts)?, functions.triggers(&parts)?);
    let tasks = functions.tasks(&parts)?;
    // They are made when somebody asks; here only to find what is missing.
    drop(functions.measures(&parts)?);
    migrate::at_start(&stores.views).await;
    let registrars = args.registrars(&stores).await;
    Ok(Started {
        tokens,
        connections,
        listener,
        admin_listener,
        _locks: locks,
        metrics,
        stores,
        registrars,
        routes,
        triggers,
        tasks,
        stop_work,
    })
}

async fn serve(
    own: ServerParts,
    flags: ArgMatches,
    args: ServeArgs,
    started: Started,
    signals: Signals,
    lost_lines: LostLines,
) -> anyhow::Result<ExitCode> {
    let Started {
        tokens,
        connections,
        listener,
        admin_listener,
        _locks,
        metrics,
        stores,
        registrars,
        routes,
        triggers,
        tasks,
        stop_work,
    } = started;
    let view_statuses: Vec<_> = registrars.iter().map(Registrar::status).collect();
    let (stop_requests, requests_stopped) = watch::channel(false);
    let work_stopped = stop_work.subscribe();
    let mut work = JoinSet::new();
    triggers::start(triggers, &mut work, &stores, &work_stopped, BATCHES_GRACE)?;
    let relays = args.start_relays(&mut work, &stores, &work_stopped);
    // After the triggers: what is published from now on comes to the views by them.
    for registrar in registrars {
        work.spawn(registrar.run(work_stopped.clone()));
    }
    for task in tasks {
        work.spawn(task);
    }
    let upkeep = tokio::spawn(keep_up(metrics.clone()));
    // To the end: when this process is gone for others, they publish what it has not marked.
    let mut presence = stay_present(&stores);

    args.say_hello(&listener, &admin_listener, own.example)?;
    let keep_up_tokens = tokens.as_ref().map(Tokens::keep_up).transpose()?.map(tokio::spawn);
    let admin = admin::Admin {
        functions: own.functions,
        flags,
        stop: work_stopped.clone(),
        stores: stores.clone(),
        relays,
        view_statuses: view_statuses.clone(),
        metrics,
        lost_lines,
        // Nobody else reads what is told on this machine.
        tokens: tokens.clone().filter(|_| args.asks_for_tokens_at_metrics()),
        told_lag: parking_lot::Mutex::default(),
    };
    let admin = admin::router(admin);
    let admin = move |request| admin::answer(admin.clone(), request);
    let guards = args.guards(tokens, connections, own.headers, view_statuses);
    let api = api::api(routes, guards);
    let mut servers = JoinSet::new();
    servers.spawn(serve_api(listener, connections, api, requests_stopped));
    // The admin listener answers to the end, so that a drain can be watched.
    let admin_server = tokio::spawn(listener::serve(admin_listener, ADMIN_CONNECTIONS, admin, work_stopped));

    let code = until_stopped(signals, &mut servers, &mut work, &stop_requests, &stop_work).await;
    admin_server.abort();
    upkeep.abort();
    presence.abort_all();
    keep_up_tokens.inspect(tokio::task::JoinHandle::abort);
    close(stores).await;
    code
}

/// Lets other processes know that this one lives, on the event store of each aggregate.
fn stay_present(stores: &Stores) -> JoinSet<()> {
    let mut presence = JoinSet::new();
    for aggregate in stores.aggregates.iter() {
        let store = aggregate.handler.store().clone();
        presence.spawn(async move { store.stay_present().await });
    }
    presence
}

/// Answers until told to stop, and then what has begun: also for clients that are gone.
async fn serve_api(listener: TcpListener, connections: usize, api: Arc<Api>, stop: watch::Receiver<bool>) {
    let answering = Arc::clone(&api);
    let answer = move |request| Arc::clone(&answering).answer(request);
    let mut stopped = stop.clone();
    let grace_over = async {
        let _ = stopped.wait_for(|stop| *stop).await;
        tokio::time::sleep(REQUESTS_GRACE).await;
    };
    tokio::select! {
        () = async {
            listener::serve(listener, connections, answer, stop).await;
            api.idle().await;
        } => {}
        () = grace_over => tracing::warn!("connections were cut off: their requests did not end in time"),
    }
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
        _ = work.join_next() => anyhow::bail!("a trigger, the relay or the comparison has stopped"),
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

/// An origin as browsers send it (RFC 6454), or `*`, for `value_parser`.
fn origin(text: &str) -> Result<HeaderValue, String> {
    const ALLOWED: &str = "allowed: http://HOST, https://HOST:PORT, or * for any";
    let is_origin = || {
        let uri: Uri = text.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        (["http", "https"].contains(&scheme) && is_lower && text == format!("{scheme}://{authority}"))
            .then_some(())
    };
    if text != "*" && (is_origin().is_none() || text.contains('@')) {
        return Err(format!("it is not an origin, which has no path and no slash at its end; {ALLOWED}"));
    }
    HeaderValue::from_str(text).map_err(|error| format!("{error}; {ALLOWED}"))
}

/// Drops the stores where waiting is allowed: what they had accepted is written before they close.
async fn close(stores: Stores) {
    let _ = tokio::task::spawn_blocking(move || drop(stores)).await;
}

async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

impl ServeArgs {
    fn tokens(&self) -> Result<Option<Tokens>, CannotStart> {
        let read = |file: &PathBuf| {
            Tokens::read(file)
                .map_err(|problem| CannotStart(format!("--auth-token-file {}: {problem}", file.display())))
        };
        self.server.auth_token_file.as_ref().map(read).transpose()
    }

    /// Each listener beyond this machine has tokens, or a switch of its own.
    fn refuse_to_let_everybody_in(&self, tokens: Option<&Tokens>) -> Result<(), CannotStart> {
        for (flag, address, switch, is_meant) in [
            ("--listen", self.listen.listen, "--allow-unauthenticated", self.server.allow_unauthenticated),
            (
                "--admin-listen",
                self.listen.admin_listen,
                "--admin-allow-unauthenticated",
                self.server.admin_allow_unauthenticated,
            ),
        ] {
            if !address.ip().is_loopback() && tokens.is_none() && !is_meant {
                return Err(CannotStart(format!(
                    "{flag} {address} is beyond this machine, and everybody would be let in; give --auth-token-file FILE, or {switch}"
                )));
            }
        }
        Ok(())
    }

    const fn asks_for_tokens_at_metrics(&self) -> bool {
        !self.listen.admin_listen.ip().is_loopback() && !self.server.admin_allow_unauthenticated
    }

    fn guards(
        &self,
        tokens: Option<Tokens>,
        connections: usize,
        own_headers: Vec<HeaderName>,
        view_statuses: Vec<watch::Receiver<ViewStatus>>,
    ) -> api::Guards {
        let listed = &self.server.cors_origin;
        let is_any = listed.is_empty() || listed.iter().any(|origin| origin == "*");
        let origins = if is_any { Origins::Any } else { Origins::Listed(listed.clone()) };
        let max_in_flight = self.server.max_in_flight as usize;
        // A client that waits keeps its connection: half of them are for others.
        let max_waits = max_in_flight.min(connections.div_ceil(2));
        api::Guards { tokens, max_in_flight, max_waits, origins, own_headers, view_statuses }
    }

    /// Registers this process beside each view. A channel in memory is not read by others, who may have another shape of the view; a
    /// file is served by one process.
    async fn registrars(&self, stores: &Stores) -> Vec<Registrar> {
        let is_own = self.publishing.stores.has_own_channel();
        let registrars = stores.views.iter().map(async |view| {
            let aggregate = stores.aggregate(view.kind).filter(|_| is_own && !view.view.is_file());
            let publisher = aggregate.map(|aggregate| aggregate.handler.publisher().clone());
            let mut registrar = Registrar::new(view.clone(), publisher);
            registrar.begin().await;
            registrar
        });
        join_all(registrars).await
    }

    /// Sees to what was not published or has no outcome, and notes what may not be in the views. Returns the aggregates' relays.
    fn start_relays(
        &self,
        work: &mut JoinSet<()>,
        stores: &Stores,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<Relay> {
        let start = |aggregate: &OpenAggregate| {
            let OpenAggregate { handler, reminders } = aggregate;
            let (store, publisher) = (handler.store(), handler.publisher());
            let relay = Relay::new(store.clone(), publisher.clone(), self.relay_min_age());
            work.spawn(relay.clone().run(stopped.clone()));
            let reminder_relay = ReminderRelay::new(reminders.clone(), publisher.clone());
            work.spawn(reminder_relay.run(stopped.clone()));
            let views = stores.views_of(handler.kind()).cloned().collect();
            work.spawn(doubts::note(publisher.channel().clone(), views, stopped.clone()));
            relay
        };
        stores.aggregates.iter().map(start).collect()
    }

    fn relay_min_age(&self) -> Duration {
        let default = if self.publishing.stores.is_embedded() { Duration::ZERO } else { SHARED_MIN_AGE };
        self.server.relay_min_age.unwrap_or(default)
    }

    fn say_hello(&self, listener: &TcpListener, admin: &TcpListener, example: &str) -> anyhow::Result<()> {
        let (api, admin) = (listener.local_addr()?, admin.local_addr()?);
        let [events, channel, view] = self.publishing.stores.urls();
        let (name, version) = (application(), env!("CARGO_PKG_VERSION"));
        let reminded = self.publishing.reminders.reminder_after.as_secs_f64();
        let mut out = std::io::stdout().lock();
        let hello = write!(
            out,
            "{name} {version}\n\n\
             API      http://{api}\n\
             Admin    http://{admin}/metrics /healthz /readyz\n\
             Events   {events}\n\
             Channel  {channel}\n\
             View     {view}\n\
             Reminder after {reminded} s without an outcome\n\n\
             Try:  curl -i http://{api}/ {example}\n\n"
        );
        // Nobody may be reading; that is no reason not to serve.
        let _ = hello.and_then(|()| out.flush());
        Ok(())
    }
}
