//! Documentation that names a path or a command of this repository must name one that exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// README, CONTRIBUTING, CHANGELOG and everything under docs/.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].iter().map(|name| root().join(name)).collect();
    found.retain(|path| path.is_file());
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// What stands in backquotes on one line, and each line of a fenced block.
fn code_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// First path components that make a word a path of this repository.
fn top_level() -> BTreeSet<String> {
    std::fs::read_dir(root())
        .expect("the repository can be read")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "target" && name != ".git")
        .collect()
}

fn is_pattern(word: &str) -> bool {
    word.contains(['*', '<', '>', '{', '}', '$', '…']) || word.contains("NNNN")
}

#[test]
fn paths_named_in_documents_exist() {
    let top = top_level();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is UTF-8");
        for code in code_of(&text) {
            for word in code.split_whitespace() {
                let word = word.trim_matches(|c: char| ",;()\"'".contains(c)).trim_start_matches("./");
                let word = word.split(':').next().unwrap_or(word).trim_end_matches('.');
                let Some((first, _)) = word.split_once('/') else { continue };
                if top.contains(first) && !is_pattern(word) && !root().join(word).exists() {
                    wrong.push(format!("{}: {word}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is UTF-8");
        for piece in text.split("](").skip(1) {
            let target = piece.split([')', '#', ' ']).next().unwrap_or("");
            let local = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            let folder = document.parent().expect("a document lies in a folder");
            if local && !folder.join(target).exists() {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn make_targets_named_in_documents_exist() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("there is a Makefile");
    let targets: BTreeSet<_> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is UTF-8");
        for code in code_of(&text) {
            let command = code.trim_start_matches("$ ");
            let Some(rest) = command.strip_prefix("make ") else { continue };
            for target in rest.split_whitespace().take_while(|w| !w.starts_with('#')) {
                if !target.contains('=') && !targets.contains(target) {
                    wrong.push(format!("{}: make {target}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
