//! The orders application: its aggregate, its view, its functions and its own commands. The only crate that imports functions. It
//! decides nothing about orders.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use domain::{APPLICATION, Order, OrdersView};
use host::{Application, Trigger};
use processor::{FulfilmentSettings, Processor};
use reconciler::{Reconciler, ReconcilerSettings};

/// The application. What a function declares of itself comes with it: the API, its gate and its meters, the triggers, and the test of the
/// template take it from here.
#[must_use]
pub fn orders() -> Application<Order, OrdersView> {
    let orders = Application::new(APPLICATION, "Orders: event-sourced, on serverless functions")
        .http(|stores| create_order::routes(stores.handler.clone()))
        .http(|stores| process_order::routes(stores.handler.clone()))
        .http(|stores| cancel_order::routes(stores.handler.clone()))
        .http(|stores| query::routes(stores.view.clone(), query::Waits::default()))
        .http(|stores| history::routes(stores.handler.store().clone()))
        .header(query::ORDER_VIEW)
        .trigger(|stores, (): ()| {
            Ok(Trigger::new(projector::mapping(), &stores.view, async |view, event, _| {
                projector::project(&view, event).await
            })
            .of_view::<OrdersView>())
        })
        .trigger(|stores, settings: FulfilmentSettings| {
            let concurrency = settings.fulfilment_concurrency.into();
            let (handler, reminders) = (stores.handler.clone(), stores.reminders.clone());
            let processor = Processor::new(handler, reminders, settings.open()?, concurrency);
            Ok(Trigger::new(processor::mapping(), &processor, async |processor, event, deadline| {
                processor.process(event, deadline).await
            }))
        })
        .task(|stores, settings: ReconcilerSettings, stopped| {
            Reconciler::new(stores.handler.store().clone(), stores.view.clone(), settings).run(stopped)
        })
        .measure(|stores| async move {
            // Where the view does not answer, the last figures stand.
            let _ = projector::measure_held(&stores.view).await;
        })
        .example(
            r#"-H 'Content-Type: application/json' -d '{"id":"someid","name":"somename","status":"new"}'"#,
        )
        .command("load", load::run);
    #[cfg(feature = "servers")]
    let orders = orders.command("import-seed", import_seed::run);
    orders
}
