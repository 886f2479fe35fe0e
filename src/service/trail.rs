//! The audit trail over the API: reading it is itself an access.

use jarvis_audit::reader::{self, Folder};
use jarvis_domain::command::{AdminView, Caller};
use jarvis_wire::audit::AuditQuery;
use jarvis_wire::error::ErrorCode;

use crate::service::{Service, ServiceError};

/// Events in one answer.
const MAX_EVENTS: u64 = 1_000;
/// Events in one answer, unless asked otherwise.
const DEFAULT_EVENTS: u64 = 100;

impl Service {
    /// A part of the trail, as it lies on this node's disk: whole JSON lines.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn trail(&self, caller: Caller, query: &AuditQuery) -> Result<String, ServiceError> {
        if query.from_seq.is_some() && query.tail.is_some() {
            return Err(ServiceError::invalid(
                "from_seq and tail exclude each other",
            ));
        }
        self.admin_view(caller, AdminView::Trail, "the audit trail")
            .await?;
        let folder = Folder::on(self.node.env().disk.clone(), self.node.audit_dir());
        let count = query
            .limit
            .or(query.tail)
            .unwrap_or(DEFAULT_EVENTS)
            .min(MAX_EVENTS);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let from = query.from_seq;
        let read = move || match from {
            Some(from) => reader::from_seq(folder, from, count),
            None => reader::tail(folder, count),
        };
        let reading = self.node.env().blocking(read);
        let lines = reading
            .await
            .map_err(|_| {
                ServiceError::new(ErrorCode::Internal, "reading the trail was interrupted")
            })?
            .map_err(|error| {
                ServiceError::new(
                    ErrorCode::Internal,
                    format!("the trail can not be read: {error}"),
                )
            })?;
        Ok(lines
            .iter()
            .map(|line| format!("{}\n", line.json.trim_end()))
            .collect())
    }
}
