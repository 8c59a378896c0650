//! Style and script of the pages, each under a name that changes with its content.

use std::sync::LazyLock;

use guard_audit::report::style_within;
use guard_core::Digest;

/// Something that pages load.
struct Asset {
    name: String,
    kind: &'static str,
    text: String,
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let text = [
        include_str!("../../templates/style.css"),
        &style_within("report"),
        include_str!("../../templates/runs.css"),
        include_str!("../../templates/approvals.css"),
    ];
    Asset::new("style", "css", "text/css; charset=utf-8", text.join("\n"))
});
static LIVE: LazyLock<Asset> = LazyLock::new(|| {
    let text = include_str!("../../templates/live.js").to_owned();
    Asset::new("live", "js", "text/javascript; charset=utf-8", text)
});

impl Asset {
    fn new(name: &str, end: &str, kind: &'static str, text: String) -> Self {
        let digest = Digest::of(&text).to_string();
        let short = digest.get(..12).unwrap_or_default();
        Self { name: format!("{name}-{short}.{end}"), kind, text }
    }
}

/// The address of the style.
pub(super) fn style() -> String {
    format!("/assets/{}", STYLE.name)
}

/// The address of the script of live pages.
pub(super) fn live() -> String {
    format!("/assets/{}", LIVE.name)
}

/// What there is of this name.
pub(super) fn find(name: &str) -> Option<(&'static str, &'static str)> {
    let all = [&*STYLE, &*LIVE];
    let found = all.into_iter().find(|asset| asset.name == name)?;
    Some((found.kind, &found.text))
}
