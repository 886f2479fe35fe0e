//! What holds for every route, added to the document that the handlers make (A12): the body of an error, the credentials.

use jarvis_wire::CLIENT_HEADER;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;

/// Routes that want no credential (A1, A6, C10); the passphrase of `/sys/unseal` is one by itself.
const OPEN: [&str; 6] = [
    "/healthz",
    "/leader",
    "/livez",
    "/metrics",
    "/readyz",
    "/sys/unseal",
];
/// Answers without a credential too, and says more with one.
const OPEN_IN_PART: (&str, &str) = ("/sys/seal", "get");

/// The document as JSON text.
pub(super) fn text(document: &OpenApi) -> String {
    let Ok(mut document) = serde_json::to_value(document) else {
        return "{}".to_owned();
    };
    document["components"]["securitySchemes"] = credentials();
    document["security"] = json!([{"token": []}, {"certificate": []}, {"header": []}]);
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            describe(path, method, operation);
        }
    }
    document.to_string()
}

fn describe(path: &str, method: &str, operation: &mut Value) {
    if OPEN.contains(&path) {
        operation["security"] = json!([]);
    } else if OPEN_IN_PART == (path, method) {
        operation["security"] = json!([{}, {"token": []}, {"certificate": []}, {"header": []}]);
    }
    operation["responses"]["default"] = json!({
        "description": "A refusal; `error` says which. What can pass by itself has the header Retry-After.",
        "headers": {
            "Retry-After": {
                "description": "Seconds after which a repetition makes sense.",
                "schema": {"type": "integer"}
            }
        },
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
        }
    });
}

fn credentials() -> Value {
    json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "jv1.<id>.<secret>"
        },
        "certificate": {
            "type": "mutualTLS",
            "description": "A client certificate whose SAN names the client."
        },
        "header": {
            "type": "apiKey",
            "in": "header",
            "name": CLIENT_HEADER,
            "description": "A name, not a proof: believed alone only on a local listener with trust_client_header = true."
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_every_operation_tells_its_refusals_and_who_may_ask() {
        let document = crate::api::routes().1;
        let document: Value = serde_json::from_str(&text(&document)).unwrap();
        let schema = "/components/schemas/ErrorBody";
        assert!(document.pointer(schema).is_some());
        for scheme in ["token", "certificate", "header"] {
            assert!(document["components"]["securitySchemes"][scheme]["type"].is_string());
        }
        let paths = document["paths"].as_object().unwrap();
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                let refusal = &operation["responses"]["default"]["content"]["application/json"];
                assert_eq!(
                    refusal["schema"]["$ref"],
                    format!("#{schema}"),
                    "{method} {path}"
                );
                assert!(operation["responses"]["200"].is_object(), "{method} {path}");
            }
        }
        for path in OPEN {
            let item = paths[path].as_object().unwrap();
            for operation in item.values() {
                assert_eq!(operation["security"], json!([]), "{path}");
            }
        }
        assert!(paths["/secrets"]["get"].get("security").is_none());
    }
}
