//! The description of the API, for people and programs: OpenAPI 3.1.

use serde_json::json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder, SecurityRequirement};
use utoipa::{OpenApi, ToSchema};

use super::super::problem::Problem;
use super::{agents, alerts, budgets, events, messages, tasks, whole};
use crate::status::Document;

const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenClaw",
        description = "The team over HTTP. Looking (GET) needs any token, doing (POST) the operator's. Whatever goes wrong \
                       is answered as RFC 9457 has it, with a `code` for programs and a `detail` for people; but for what cannot be \
                       read as a request of HTTP (400) and a head that is too large (431): these are answered without a \
                       body and without an id, and the connection is closed.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        messages::send,
        tasks::list,
        tasks::show,
        tasks::retry,
        tasks::cancel,
        agents::list,
        agents::show,
        agents::start,
        agents::stop,
        agents::restart,
        agents::reload,
        agents::rollback,
        alerts::list,
        alerts::ack,
        budgets::list,
        events::listen,
        whole::status,
    ),
    components(schemas(Problem, Document, tasks::TaskShown, alerts::AlertShown, budgets::BudgetShown))
)]
struct Api;

/// As JSON.
pub(crate) fn json() -> serde_json::Result<String> {
    let mut api = Api::openapi();
    let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    if let Some(components) = &mut api.components {
        components.add_security_scheme(BEARER, scheme);
    }
    api.security = Some(vec![SecurityRequirement::new::<_, _, String>(BEARER, [])]);
    for (path, item) in &mut api.paths.paths {
        let named = path.contains('{') || path.ends_with("/messages") || path.ends_with("/tasks");
        for (method, operation) in [("get", &mut item.get), ("post", &mut item.post)] {
            if let Some(operation) = operation {
                operation.operation_id = Some(id(method, path));
                refusals(operation, method == "post", named);
            }
        }
    }
    let mut document = serde_json::to_value(api)?;
    // What cannot be said of fields one by one.
    if let Some(message) = document.pointer_mut("/components/schemas/NewMessage") {
        let something = json!(["object", "array", "string", "number", "boolean"]);
        message["anyOf"] = json!([
            {"required": ["text"], "properties": {"text": {"type": "string"}}},
            {"required": ["data"], "properties": {"data": {"type": something}}},
        ]);
        message["properties"]["data"]["type"] =
            json!(["object", "array", "string", "number", "boolean", "null"]);
    }
    serde_json::to_string(&document)
}

/// `post /api/v1/tasks/{id}/retry` is `post_tasks_id_retry`.
fn id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1").split(['/', '{', '}']).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| id + "_" + word)
}

/// What everybody may be answered who looks or does, names something, or sends a body.
fn refusals(operation: &mut Operation, does: bool, named: bool) {
    let body = operation.request_body.is_some();
    for (applies, status, description) in [
        (true, "400", "Malformed"),
        (true, "401", "No good token"),
        (does, "403", "A token that only lets look"),
        (named, "404", "There is no such agent, task or alert"),
        (body, "408", "The body came too slowly"),
        (body, "413", "The body is too large"),
        (body, "415", "The body is not said to be JSON"),
        (body, "422", "The body is not what it should be"),
        (true, "429", "Too many requests, or wrong tokens"),
        (true, "503", "Not now: the daemon starts or stops, its queue is full, or its database is away"),
    ] {
        if applies {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
            let response = ResponseBuilder::new().description(description);
            let response = response.content("application/problem+json", content).build();
            operation.responses.responses.entry(status.into()).or_insert_with(|| response.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_reference_is_there_and_every_operation_is_secured_and_told() {
        let text = super::json().unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 17, "{:?}", paths.keys());
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                let told = operation["summary"].as_str().or(operation["description"].as_str());
                assert!(told.is_some_and(|told| !told.is_empty()), "{method} {path}: {operation}");
                assert!(ids.insert(operation["operationId"].to_string()), "{operation}");
                assert!(operation["responses"]["401"].is_object(), "{method} {path}");
            }
        }
        assert_eq!(document["security"][0][BEARER], json!([]));
    }
}
