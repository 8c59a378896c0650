//! A link on the page of a GitLab job: <https://docs.gitlab.com/ci/yaml/artifacts_reports/#artifactsreportsannotations>.

use serde_json::json;

use super::Report;

impl Report {
    /// The file for `artifacts:reports:annotations`, with a link to the run's page at the broker.
    pub fn to_gitlab_annotations(&self, broker: &str) -> String {
        let url = format!("{}/runs/{}", broker.trim_end_matches('/'), self.session);
        let label = match self.counts.refused {
            0 => "guard: nothing was refused".to_owned(),
            1 => "guard: 1 statement was refused".to_owned(),
            count => format!("guard: {count} statements were refused"),
        };
        let link = json!({ "external_link": { "label": label, "url": url } });
        format!("{}\n", json!({ "guard": [link] }))
    }
}
