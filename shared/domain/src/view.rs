//! The whole view of orders for lists and lookups: the row, its indexes, its fold.

use event_sourcing::{Aggregate, Index, Keys, Refused, View, choice_value, row};
use jiff::Timestamp;

use crate::order::{Details, Event, Order, Status};
use crate::values::{OrderName, Reason};
use crate::{OrderId, RecordedEvent};

row! {
    /// An order as clients see it, beside its id and its version. Each field is a column.
    pub struct OrderRow {
        /// The order's name.
        pub name: OrderName,
        /// The order's status.
        pub status: Status,
        /// The reason why it failed or was cancelled.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub reason: Option<Reason>,
        /// The time at which its first event was recorded.
        pub created_at: Timestamp,
        /// The time at which its last event was recorded.
        pub updated_at: Timestamp,
    }
}

choice_value!(Status);

/// Orders with one name.
pub const BY_NAME: Index = Index::on("name");
/// Orders with one status.
pub const BY_STATUS: Index = Index::on("status");

/// All orders, with one row for each.
#[derive(Clone, Debug)]
pub struct OrdersView;

impl View for OrdersView {
    const NAME: &'static str = "orders";
    const INDEXES: &'static [Index] = &[BY_NAME, BY_STATUS];

    type Event = Event;
    type Key = OrderId;
    type Row = OrderRow;

    fn keys(recorded: &RecordedEvent) -> Result<Keys<OrderId>, Refused> {
        Ok(Keys::One(recorded.stream.clone()))
    }

    /// Uses the fold of the aggregate, so that the view never shows another state than decisions use.
    fn apply(
        _: &OrderId,
        row: Option<OrderRow>,
        recorded: &RecordedEvent,
    ) -> Result<Option<OrderRow>, Refused> {
        let created_at = row.as_ref().map_or(recorded.time, |row| row.created_at);
        let order = match row {
            None => Order::Absent,
            Some(OrderRow { name, status, reason, .. }) => Order::Present(Details { name, status, reason }),
        };
        let updated_at = recorded.time;
        Ok(match order.evolve(&recorded.event) {
            Order::Absent => None,
            Order::Present(Details { name, status, reason }) => {
                Some(OrderRow { name, status, reason, created_at, updated_at })
            }
        })
    }
}
