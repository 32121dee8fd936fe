//! The orders as lists and lookups show them, whole: the row, its indexes, its fold.

use event_sourcing::{Aggregate, Index, Refused, View, choice_value, row};
use jiff::Timestamp;

use crate::RecordedEvent;
use crate::order::{Details, Event, Order, Status};
use crate::values::{OrderName, Reason};

row! {
    /// An order as clients see it, beside its id and its version. Each field is a column.
    pub struct OrderRow {
        /// Its name.
        pub name: OrderName,
        /// Where it stands.
        pub status: Status,
        /// Why it failed or was cancelled.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub reason: Option<Reason>,
        /// When its first event was recorded.
        pub created_at: Timestamp,
        /// When its last one was.
        pub updated_at: Timestamp,
    }
}

choice_value!(Status);

/// Orders of one name.
pub const BY_NAME: Index = Index::on("name");
/// Orders that stand alike.
pub const BY_STATUS: Index = Index::on("status");

/// All orders, a row each.
#[derive(Clone, Debug)]
pub struct OrdersView;

impl View for OrdersView {
    const NAME: &'static str = "orders";
    const INDEXES: &'static [Index] = &[BY_NAME, BY_STATUS];

    type Event = Event;
    type Row = OrderRow;

    /// By the fold of the aggregate, so that an order never reads otherwise than it is decided on.
    fn apply(row: Option<OrderRow>, recorded: &RecordedEvent) -> Result<Option<OrderRow>, Refused> {
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
