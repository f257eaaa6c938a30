//! Why a request about a subscription was not carried out; `millrace-wire` maps each to an answer.

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionRefusal {
    /// No such subscription.
    NotFound,
    /// It exists with another configuration.
    Exists,
    /// There are as many as there may be.
    TooMany,
    /// The wake is not the current one.
    Fenced,
    /// Another worker holds the lease.
    AlreadyClaimed {
        /// Its name.
        holder: String,
        /// The generation that it holds.
        generation: u64,
    },
    /// There is nothing to claim.
    NoPendingWork,
    /// It wakes its workers in another way.
    OtherDelivery,
    /// The token is none of this server's, or of another subscription.
    TokenInvalid,
    /// The token is too old.
    TokenExpired,
    /// The URL must not be delivered to; why.
    WebhookUrl(String),
    /// An offset is not one of its stream's; which stream.
    Offset(String),
}
