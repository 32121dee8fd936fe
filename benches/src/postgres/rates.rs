//! Creates and processes over HTTP: the systems take turns under the same load program.

use std::collections::BTreeMap;
use std::path::Path;

use super::contenders::{Alone, Peer};
use super::stored;
use crate::server::{self, Server};
use crate::servers::bench::Bench;
use crate::servers::system::System;
use crate::table::{Bound, Table, median};

const CLIENTS: [u32; 2] = [1, 64];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Contender {
    /// `orders` on PostgreSQL alone.
    Alone,
    /// The same, with commits in the store before.
    Stored,
    /// The service on cqrs-es.
    Peer,
    /// `orders` on MongoDB, Kafka and PostgreSQL.
    Servers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Create,
    Process,
}

impl Call {
    const ALL: [Self; 2] = [Self::Create, Self::Process];

    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Process => "process",
        }
    }
}

/// `commits` is the number of commits that another system has in its store before.
pub(super) async fn measure(
    bench: &Bench,
    peer_bin: Option<&Path>,
    commits: Option<u64>,
    table: &mut Table,
) -> anyhow::Result<()> {
    let peer = server::peer_binary(peer_bin).await?;
    let stored = match commits {
        Some(commits) => Some(stored::start(bench, commits).await?),
        None => None,
    };
    let (alone, peer) = (Alone::start(bench).await?, Peer::start(bench, &peer).await?);
    let servers = System::start(bench, "three servers").await?;

    let mut contenders = vec![
        (Contender::Alone, &alone.server),
        (Contender::Peer, &peer.server),
        (Contender::Servers, &servers.server),
    ];
    contenders.extend(stored.as_ref().map(|stored| (Contender::Stored, &stored.server)));
    let rates = Rates::measure(bench, &contenders).await?;

    peer.verify().await?;
    peer.end().await?;
    alone.verify(bench).await?;
    alone.end(bench).await?;
    servers.verify(bench).await?;
    servers.end(bench).await?;
    if let Some(stored) = stored {
        stored.end(bench).await?;
    }
    rates.compare(commits, table);
    Ok(())
}

/// The measured rates, in the order of the rounds.
struct Rates(BTreeMap<(Contender, Call, u32), Vec<f64>>);

impl Rates {
    async fn measure(bench: &Bench, contenders: &[(Contender, &Server)]) -> anyhow::Result<Self> {
        let mut rates = Self(BTreeMap::new());
        for clients in CLIENTS {
            let mut load = Vec::new();
            for (_, server) in contenders {
                load.push(warm_up(bench, server, clients).await?);
            }
            for round in 0..bench.pace.rounds {
                for call in Call::ALL {
                    for ((contender, server), orders) in contenders.iter().zip(&load) {
                        let prefix = format!("c{clients}-r{round}");
                        let rate = called(bench, server, call, clients, *orders, &prefix).await?;
                        rates.0.entry((*contender, call, clients)).or_default().push(rate);
                    }
                }
            }
        }
        Ok(rates)
    }

    fn median(&self, contender: Contender, call: Call, clients: u32) -> f64 {
        median(self.0.get(&(contender, call, clients)).cloned().unwrap_or_default())
    }

    fn compare(&self, stored: Option<u64>, table: &mut Table) {
        for clients in CLIENTS {
            for call in Call::ALL {
                let at =
                    format!("{} at {clients} client{}", call.name(), if clients == 1 { "" } else { "s" });
                let ours = self.median(Contender::Alone, call, clients);
                let mut compare = |what: &str, other: Contender, bound: Option<f64>| {
                    let other = self.median(other, call, clients);
                    table.compared(format!("{at} : {what}"), ours, other, "a second");
                    bound.into_iter().for_each(|least| table.bound(Bound::Ratio(least)));
                };
                compare("cqrs-es", Contender::Peer, Some(least_of_peer(call, clients)));
                compare("MongoDB, Kafka and PostgreSQL", Contender::Servers, (clients > 1).then_some(2.0));
                if let Some(commits) = stored {
                    let with = self.median(Contender::Stored, call, clients);
                    table.compared(format!("{at}, {commits} commits before : none"), with, ours, "a second");
                    table.bound(Bound::Ratio(0.9));
                }
            }
        }
    }
}

/// The least ratio to the peer. An outcome follows from each of our processes, and from none of the peer's.
const fn least_of_peer(call: Call, clients: u32) -> f64 {
    match (call, clients) {
        (Call::Create, 1) => 1.3,
        (Call::Create, _) => 4.0,
        (Call::Process, 1) => 1.2,
        (Call::Process, _) => 2.5,
    }
}

/// Puts a first load on a server. Returns the number of orders that it creates in the time of a measurement.
async fn warm_up(bench: &Bench, server: &Server, clients: u32) -> anyhow::Result<u64> {
    let orders = if clients == 1 { 200 } else { 4_000 };
    let prefix = format!("c{clients}-w");
    let rate = called(bench, server, Call::Create, clients, orders, &prefix).await?;
    called(bench, server, Call::Process, clients, orders, &prefix).await?;
    Ok((rate * bench.pace.time.as_secs_f64()).ceil() as u64)
}

/// Returns the calls a second, and waits until nothing follows from them any more.
async fn called(
    bench: &Bench,
    server: &Server,
    call: Call,
    clients: u32,
    orders: u64,
    prefix: &str,
) -> anyhow::Result<f64> {
    let words = ["--only", call.name(), "--prefix", prefix];
    let load = bench.orders().await?.load(&server.url, orders, clients, &words).await?;
    server.rest().await?;
    Ok(load.per_second)
}
