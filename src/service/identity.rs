//! Who asks (I1, I2). Policy is decided in apply only; here a request gets its caller, or 401.

use jarvis_crypto::tokens;
use jarvis_domain::command::{Access, Caller, Target};
use jarvis_domain::name::ClientId;
use jarvis_domain::token::Credential;
use jarvis_wire::error::ErrorCode;

use crate::limits::Reason;
use crate::service::{Service, ServiceError};

/// What a request brought to prove who it is.
#[derive(Debug, Clone, Default)]
pub struct Presented {
    /// The bearer token's text; never logged.
    pub bearer: Option<jarvis_crypto::SecretBytes>,
    /// `X-Jarvis-Client`.
    pub header: Option<String>,
    /// Whether this listener and request are such that the bare header is believed (I2).
    pub header_is_believed: bool,
    /// A verified client certificate.
    pub certificate: Option<ClientCertificate>,
    /// For tracing.
    pub request_id: String,
}

/// What a verified client certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The client it names.
    pub client: String,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// End of validity, ms.
    pub not_after: u64,
}

impl Service {
    /// Finds out who asks.
    ///
    /// # Errors
    /// `unauthenticated` without a usable credential, `not_authorized` when the header contradicts it.
    pub async fn identify(&self, presented: Presented) -> Result<Caller, ServiceError> {
        let Presented {
            bearer,
            header,
            header_is_believed,
            certificate,
            request_id,
        } = presented;
        let header = header
            .as_deref()
            .map(ClientId::parse)
            .transpose()
            .map_err(|error| {
                ServiceError::invalid(format!(
                    "the header X-Jarvis-Client is no client id: {error}"
                ))
            })?;
        let (client, credential) = match (bearer, certificate) {
            (Some(bearer), _) => self.by_token(&bearer).await?,
            (None, Some(certificate)) => by_certificate(certificate)?,
            (None, None) => match &header {
                Some(client) if header_is_believed => (client.clone(), Credential::Header),
                _ => return Err(no_credential(header.is_some())),
            },
        };
        if header.is_none() && self.config.security.require_client_id_header {
            return Err(ServiceError::new(
                ErrorCode::Unauthenticated,
                "this node wants the header X-Jarvis-Client beside the credential (require_client_id_header)",
            ));
        }
        if header.is_some_and(|header| header != client) {
            let message = format!(
                "the header X-Jarvis-Client names another client than the credential of {client}"
            );
            self.tell_contradiction(Caller {
                client,
                credential,
                request_id,
            })
            .await?;
            return Err(ServiceError::new(ErrorCode::NotAuthorized, message));
        }
        Ok(Caller {
            client,
            credential,
            request_id,
        })
    }

    /// C3: also this refusal leaves its event.
    async fn tell_contradiction(&self, caller: Caller) -> Result<(), ServiceError> {
        self.limits
            .forbidden(caller.client.as_str())
            .map_err(super::limited)?;
        let target = Target::Refused {
            reason: "header_contradicts_credential".to_owned(),
        };
        self.node
            .access(Access { caller, target }, self.deadline())
            .await
            .map_err(super::not_proposed)?;
        Ok(())
    }

    /// From its own, possibly lagging state a node refuses only what can not become true: an unknown or expired token is
    /// looked up again after a read-index barrier (DESIGN 2).
    async fn by_token(
        &self,
        text: &jarvis_crypto::SecretBytes,
    ) -> Result<(ClientId, Credential), ServiceError> {
        let parsed = std::str::from_utf8(text.expose())
            .ok()
            .and_then(tokens::parse);
        let Some((id, secret)) = parsed else {
            return Err(ServiceError::new(
                ErrorCode::Unauthenticated,
                "the bearer token is malformed",
            ));
        };
        let mut has_paid = false;
        for fresh in [false, true] {
            if fresh && jarvis_mutants::active!(UnauthenticatedFromLocalState) {
                break;
            }
            if fresh {
                // I3: before a stranger's token costs a question to the leader.
                self.limits.unauthenticated().map_err(super::limited)?;
                has_paid = true;
            }
            if fresh && !self.node.barrier(self.deadline()).await {
                return Err(ServiceError::new(
                    ErrorCode::NoLeader,
                    "the token is not known here, and no leader could be asked in time. Try again",
                ));
            }
            let now = self.node.now_ms();
            let token = self.node.with_view(|state| state.tokens.get(&id).cloned());
            if let Some(token) = token {
                if !tokens::verify(&secret, &token.secret_hash) {
                    break;
                }
                if token.expires.is_none_or(|at| at > now) {
                    return Ok((token.client.clone(), Credential::Token(id)));
                }
            }
        }
        Err(ServiceError {
            // One request is one of the strangers' requests a second: whoever answers it takes no second one.
            refused: has_paid.then_some(Reason::Unauthenticated),
            ..ServiceError::new(
                ErrorCode::Unauthenticated,
                "the token is unknown, expired or revoked",
            )
        })
    }
}

fn by_certificate(certificate: ClientCertificate) -> Result<(ClientId, Credential), ServiceError> {
    let ClientCertificate {
        client,
        serial,
        not_after,
    } = certificate;
    let client = ClientId::parse(&client).map_err(|error| {
        ServiceError::new(
            ErrorCode::Unauthenticated,
            format!("the client certificate names no client: {error}"),
        )
    })?;
    Ok((client, Credential::Certificate { serial, not_after }))
}

fn no_credential(has_header: bool) -> ServiceError {
    let message = if has_header {
        "the header X-Jarvis-Client alone proves nothing here: send a bearer token or a client certificate (on a development node it is believed at http://127.0.0.1, not at localhost, and never behind a proxy)"
    } else {
        "no credential: send `Authorization: Bearer jv1.…` or use a client certificate"
    };
    ServiceError::new(ErrorCode::Unauthenticated, message)
}
