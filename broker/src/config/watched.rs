//! The files that a configuration is read from, and one digest over what they hold: it tells brokers that run by the same files
//! from those that do not, and a broker that its files changed.

use std::{
    io,
    path::{Path, PathBuf},
};

use guard_core::Digest;

/// `guard.yaml`, and the folders that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    file: PathBuf,
    /// Files that it names.
    documents: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    /// What was read, in order.
    parts: Vec<String>,
}

impl Watched {
    /// Notes what the file holds.
    pub(super) fn new(file: &Path, text: Result<&str, &io::Error>) -> Self {
        // Its name is each broker's own affair.
        let parts = vec![of_text("", text)];
        Self { file: file.to_owned(), documents: Vec::new(), folders: Vec::new(), parts }
    }

    /// A file that the configuration names, read before all folders.
    pub(super) fn document(&mut self, path: &Path, text: Result<&str, &io::Error>) {
        self.documents.push(path.to_owned());
        self.file(path, text);
    }

    /// Notes a folder, before its files.
    pub(super) fn folder(&mut self, path: &Path) {
        self.folders.push(path.to_owned());
        self.parts.push("folder".into());
    }

    /// Notes what a file of the last folder holds.
    pub(super) fn file(&mut self, path: &Path, text: Result<&str, &io::Error>) {
        self.parts.push(of_text(&name(path), text));
    }

    /// What was read: over names and contents, without the paths before the names, so that it is the same on
    /// another machine.
    pub(crate) fn read(&self) -> Digest {
        Digest::of(self.parts.join("\n"))
    }

    /// The same over the files as they are now.
    pub(crate) fn now(&self) -> Digest {
        let text = std::fs::read_to_string(&self.file);
        let mut found = Self::new(&self.file, text.as_ref().map(String::as_str));
        for path in &self.documents {
            let text = std::fs::read_to_string(path);
            found.document(path, text.as_ref().map(String::as_str));
        }
        for folder in &self.folders {
            found.folder(folder);
            for file in yaml_files(folder).unwrap_or_default() {
                let text = std::fs::read_to_string(&file);
                found.file(&file, text.as_ref().map(String::as_str));
            }
        }
        found.read()
    }
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

fn of_text(name: &str, text: Result<&str, &io::Error>) -> String {
    match text {
        Ok(text) => format!("{} {name}", Digest::of(text)),
        Err(error) => format!("{:?} {name}", error.kind()),
    }
}

/// The YAML files of a folder in the order of their names, without cases of policies.
pub(super) fn yaml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.retain(|file| {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        (name.ends_with(".yaml") || name.ends_with(".yml")) && !name.contains(".cases.")
    });
    files.sort();
    Ok(files)
}
