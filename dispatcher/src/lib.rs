//! The orders application: its aggregate, its view, its functions and its own commands. The only crate that imports functions. It
//! decides nothing about orders.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use domain::{APPLICATION, Order, OrdersView};
use host::Application;

/// The application. What a function declares of itself comes with it: the API, its gate and its meters, the triggers, and the test of the
/// template take it from here.
#[must_use]
pub fn orders() -> Application {
    let orders = Application::new(APPLICATION, "Orders: event-sourced, on serverless functions")
        .aggregate::<Order>()
        .view::<OrdersView>()
        .http(create_order::routes)
        .http(process_order::routes)
        .http(cancel_order::routes)
        .http(query::routes)
        .http(history::routes)
        .header(query::ORDER_VIEW)
        .trigger(projector::trigger)
        .trigger(processor::trigger)
        .task(reconciler::run)
        .measure(projector::measure_held)
        .example(
            r#"-H 'Content-Type: application/json' -d '{"id":"someid","name":"somename","status":"new"}'"#,
        )
        .command("load", load::run);
    #[cfg(feature = "servers")]
    let orders = orders.command("import-seed", import_seed::run);
    orders
}
