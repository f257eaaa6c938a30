//! The figures of subscriptions, and their names.

use millrace_subscribe::SubscriptionFigures;

use super::text::{Text, Type};

/// All of them.
pub(super) fn families(text: &mut Text, figures: &SubscriptionFigures) {
    text.family(
        "millrace_subscriptions",
        Type::Gauge,
        "Subscriptions that exist.",
    )
    .is(figures.subscriptions);
    text.family(
        "millrace_subscription_changed_streams",
        Type::Gauge,
        "Changed streams that some subscription has still to look at, each once.",
    )
    .is(figures.changed_streams);
    text.family(
        "millrace_subscription_wakes_total",
        Type::Counter,
        "Wakes of subscriptions that began.",
    )
    .is(figures.wakes);
    let mut family = text.family(
        "millrace_subscription_deliveries_total",
        Type::Counter,
        "Requests to webhooks and events on wake streams, by what became of them.",
    );
    family.of("result", "delivered", figures.delivered);
    family.of("result", "failed", figures.failed);
    text.family(
        "millrace_subscription_leases_expired_total",
        Type::Counter,
        "Leases of subscriptions that ran out before their work was done.",
    )
    .is(figures.expired);
    text.family(
        "millrace_subscription_fenced_total",
        Type::Counter,
        "Requests that were refused because their wake was not the current one.",
    )
    .is(figures.fenced);
}
