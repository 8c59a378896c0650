//! The `telemetry` block: who collects traces.

use guard_core::document::{Node, Problems};
use url::Url;

/// Reads it: where the collector is, without a slash at the end.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<String> {
    let fields = node.fields(problems)?;
    let endpoint = fields.required("otlp", problems).and_then(|node| {
        let fields = node.fields(problems)?;
        let endpoint = fields.required("endpoint", problems).and_then(|node| {
            let text = node.text(problems)?;
            let fits = |url: &Url| {
                ["http", "https"].contains(&url.scheme())
                    && url.host_str().is_some()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.query().is_none()
                    && url.fragment().is_none()
            };
            let Some(url) = Url::parse(text).ok().filter(fits) else {
                node.problem_with_help(
                    problems,
                    format!("`{text}` is no address of a collector"),
                    "write `http://host:4318` or `https://host[:port]`; `/v1/traces` is added",
                );
                return None;
            };
            Some(url.as_str().trim_end_matches('/').to_owned())
        });
        fields.finish(&["endpoint"], problems);
        endpoint
    });
    fields.finish(&["otlp"], problems);
    if !cfg!(feature = "otel") {
        node.problem_with_help(
            problems,
            "this broker was built without traces",
            "build it with `--features otel`, or leave `telemetry` out",
        );
    }
    endpoint
}
