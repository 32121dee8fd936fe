//! The functions of the application, a line each. What a function declares of itself comes with it: the API, its gate and its meters, the
//! triggers, and the test of the template take it from here.

use command_handler::CommandHandler;
use domain::{Order, OrdersView};
use processor::Processor;
use read_store::ReadStore;
use runtime::Routes;

use host::triggers::Trigger;

/// The functions that answer HTTP.
pub fn routes(handler: &CommandHandler<Order>, view: &ReadStore<OrdersView>) -> Routes {
    create_order::routes(handler.clone())
        .merge(process_order::routes(handler.clone()))
        .merge(cancel_order::routes(handler.clone()))
        .merge(query::routes(view.clone(), query::Waits::default()))
        .merge(history::routes(handler.store().clone()))
}

/// The functions that take batches from the channel.
pub fn triggers(view: &ReadStore<OrdersView>, processor: &Processor) -> Vec<Trigger> {
    vec![
        Trigger::new(projector::mapping(), view, async |view, event, _| {
            projector::project(&view, event).await
        }),
        Trigger::new(processor::mapping(), processor, async |processor, event, deadline| {
            processor.process(event, deadline).await
        }),
    ]
}
