//! Why a request never reached the log.

/// Why a request never reached the log. Its text is a metric's label and an audit event's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No valid credential: 401.
    Unauthenticated,
    /// Too many of those: 429.
    UnauthenticatedFlood,
    /// The node has no keys: 503.
    Sealed,
    /// No leader within the deadline: 503.
    NoLeader,
    /// The trail's disk is full: 503.
    AuditFull,
    /// One client's requests at a time: 429.
    ClientConcurrency,
    /// One client's requests per second: 429.
    ClientRate,
    /// One client's denied requests per second: 429.
    ForbiddenFlood,
    /// More clients at a time than are tracked: 429.
    TooManyClients,
    /// More proposed and in flight than a node may have (rule 10): 429.
    Overloaded,
    /// From another machine, where only local requests are taken: 403.
    Remote,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Unauthenticated,
        Self::UnauthenticatedFlood,
        Self::Sealed,
        Self::NoLeader,
        Self::AuditFull,
        Self::ClientConcurrency,
        Self::ClientRate,
        Self::ForbiddenFlood,
        Self::TooManyClients,
        Self::Overloaded,
        Self::Remote,
    ];

    /// The reason as it stands in metrics and audit events; at most 64 bytes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::UnauthenticatedFlood => "unauthenticated_flood",
            Self::Sealed => "sealed",
            Self::NoLeader => "no_leader",
            Self::AuditFull => "audit_full",
            Self::ClientConcurrency => "client_concurrency",
            Self::ClientRate => "client_rate",
            Self::ForbiddenFlood => "forbidden_flood",
            Self::TooManyClients => "too_many_clients",
            Self::Overloaded => "overloaded",
            Self::Remote => "remote",
        }
    }

    /// A sentence for the caller.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unauthenticated => "there is no valid credential",
            Self::UnauthenticatedFlood => "too many requests without a valid credential",
            Self::Sealed => "this node is sealed",
            Self::NoLeader => "no leader is known",
            Self::AuditFull => "there is no room for the audit trail",
            Self::ClientConcurrency => "this client has too many requests in flight",
            Self::ClientRate => "this client sends too many requests per second",
            Self::ForbiddenFlood => "this client sends too many requests that it is not allowed",
            Self::TooManyClients => "too many clients have requests in flight",
            Self::Overloaded => "this node has too much in flight",
            Self::Remote => "this node takes local requests only (deny_network_remote)",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
