//! The time of invocations with the share of a processor that a memory size gives, and its cost.

use std::fmt;
use std::path::Path;

use anyhow::Context;

use super::events::{Function, Work};
use super::place::Place;
use super::runtime_api::Instance;
use super::share::Share;
use crate::servers::given::Servers;
use crate::table::median;

/// Instances for each figure.
const STARTS: u32 = 3;
/// Invocations of an instance after its first.
const WARM: u32 = 30;
/// The same number when an event has many records.
const WARM_BATCHES: u32 = 5;

/// The figures of all functions.
#[derive(Default)]
pub(crate) struct Durations(Vec<Row>);

struct Row {
    work: Work,
    memory: u32,
    lives: Vec<Life>,
}

/// The figures of an instance, in milliseconds and MB.
struct Life {
    to_next: f64,
    first: f64,
    /// The mean of the invocations after the first, each rounded up as it is billed.
    warm: f64,
    most: f64,
}

/// Returns the work that a function is invoked with: one record, and a full batch of its mapping.
fn works(function: Function) -> Vec<Work> {
    let full = match function {
        Function::Projector => Some(1_000),
        Function::Processor => Some(100),
        _ => None,
    };
    let full = full.map(|records| Work { function, records });
    [Some(Work::one(function)), full].into_iter().flatten().collect()
}

impl Durations {
    pub(crate) async fn measure(
        &mut self,
        function: Function,
        binary: &Path,
        servers: &Servers,
        memories: &[u32],
    ) -> anyhow::Result<()> {
        for work in works(function) {
            for &memory in memories {
                let share = Share::of_memory(memory)?;
                let place = Place::fresh(servers).await?;
                let lives = lives(work, binary, &place, &share).await;
                place.remove().await?;
                self.0.push(Row { work, memory, lives: lives? });
            }
        }
        Ok(())
    }
}

async fn lives(work: Work, binary: &Path, place: &Place, share: &Share) -> anyhow::Result<Vec<Life>> {
    let warm = if work.records > 1 { WARM_BATCHES } else { WARM };
    place.prepare(work, STARTS * (1 + warm)).await?;
    let mut lives = Vec::new();
    for start in 0..STARTS {
        let mut instance = Instance::start(binary, &place.variables(), Some(share)).await?;
        let to_next = instance.until_ready().await?;
        let mut took = Vec::new();
        for invocation in 0..=warm {
            let event = work.event(start * (1 + warm) + invocation)?;
            let (answer, milliseconds) = instance.invoke(&event).await?;
            work.function.check(&answer).with_context(|| format!("invocation {invocation}"))?;
            took.push(milliseconds);
        }
        let billed: f64 = took[1..].iter().map(|milliseconds| milliseconds.ceil()).sum();
        let most = instance.most_resident()?;
        lives.push(Life { to_next, first: took[0], warm: billed / f64::from(warm), most });
    }
    Ok(lives)
}

impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "| {:13} | records | MiB  | start ms | first ms | billed ms | most MB | GB-s a million |",
            ""
        )?;
        write!(
            f,
            "|{:-<15}|{:-<9}|{:-<6}|{:-<10}|{:-<10}|{:-<11}|{:-<9}|{:-<16}|",
            "", "", "", "", "", "", "", ""
        )?;
        for Row { work, memory, lives } in &self.0 {
            let of = |figure: fn(&Life) -> f64| median(lives.iter().map(figure).collect());
            let [to_next, first, warm, most] =
                [of(|it| it.to_next), of(|it| it.first), of(|it| it.warm), of(|it| it.most)];
            let gigabyte_seconds = f64::from(*memory) / 1_024.0 * warm * 1_000.0;
            write!(
                f,
                "\n| {:13} | {:7} | {memory:4} | {to_next:8.0} | {first:8.0} | {warm:9.1} | {most:7.1} | {gigabyte_seconds:14.0} |",
                work.function.name(),
                work.records,
            )?;
        }
        Ok(())
    }
}
