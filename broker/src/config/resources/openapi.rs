//! The `openapi` of a resource: a document that says which operations its API has.

use std::{fs::File, io::Read as _, path::Path};

use guard_core::{
    document::{Node, Problems},
    http::ApiDocument,
};
use guard_policy::{MAX_OPENAPI, parse_openapi};

use super::Watched;

/// Reads `{ file: PATH }`, and the document in it.
pub(super) fn read(
    node: &Node,
    base: &Path,
    watched: &mut Watched,
    problems: &mut Problems,
) -> Option<ApiDocument> {
    let fields = node.fields(problems)?;
    let file = fields.required("file", problems);
    let path = file.and_then(|node| node.text(problems)).map(|text| base.join(text));
    fields.finish(&["file"], problems);
    let (node, path) = (file?, path?);
    let text = text(&path);
    watched.document(&path, text.as_ref().map(String::as_str));
    let parsed = match text {
        Ok(text) if text.len() as u64 > MAX_OPENAPI => {
            Err(format!("is longer than {MAX_OPENAPI} bytes"))
        }
        Ok(text) => parse_openapi(&text),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    match parsed {
        Ok(document) => Some(document),
        Err(why) => {
            node.problem(problems, format!("`{}` {why}", path.display()));
            None
        }
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_OPENAPI + 1).read_to_string(&mut text)?;
    Ok(text)
}
