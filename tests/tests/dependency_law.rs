//! Holds the layering of the workspace: who may depend on whom, where `unsafe` may stand, what the pure core must not touch,
//! which licences we take in, how long a file may grow. Reads cargo's metadata and the sources; starts nothing.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each crate may use of ours. `None` is everything. A new crate must be entered here.
const LAW: &[(&str, Option<&[&str]>)] = &[
    ("shoal-core", Some(&[])),
    ("shoal-proto", Some(&["shoal-core"])),
    ("shoal-store", Some(&["shoal-core"])),
    ("shoal-container", Some(&[])),
    ("shoal-rootfs", Some(&[])),
    ("shoal-sim", Some(&["shoal-core"])),
    ("dmclock", Some(&[])),
    ("shoal-client", Some(&["shoal-proto", "shoal-sim"])),
    ("shoal-server", Some(&["shoal-core", "shoal-proto", "shoal-store", "shoal-container", "shoal-rootfs"])),
    ("shoal-tests", None),
];

/// Licences that a dependency may be under; of an `OR` one must be here, of an `AND` all.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whatever would let the core see a clock, a file, a socket, the environment or chance.
const FORBIDDEN_IN_CORE: &[&str] = &[
    "std::time::Instant",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "tokio",
    "async fn",
    "rand::",
    "Uuid::now_v7",
    "Uuid::new_v4",
];

/// Libraries that the core must not have at all.
const FORBIDDEN_CRATES_OF_CORE: &[&str] =
    &["tokio", "rand", "etcd-client", "tonic", "futures", "libc", "rustix"];

/// Lines of one source file.
const FILE_LINES_MAX: usize = 600;

fn metadata() -> Metadata {
    // Offline, so only what this platform needs: the crates of other systems were never downloaded.
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .other_options(vec!["--locked".to_owned(), "--offline".to_owned(), platform])
        .exec()
        .expect("cargo metadata answers")
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

#[test]
fn nothing_turns_failpoints_on_but_a_test_that_asks_for_them() {
    for package in metadata().workspace_packages() {
        let on = package.features.get("default").into_iter().flatten();
        assert!(
            !on.clone().any(|feature| feature.contains("failpoints")),
            "{} has them by default",
            package.name
        );
        for dependency in &package.dependencies {
            let asks = dependency.features.iter().any(|feature| feature == "failpoints");
            assert!(!asks, "{} always turns them on in {}", package.name, dependency.name);
        }
    }
}

fn normal_dependencies(package: &Package) -> BTreeSet<String> {
    let kept = |kind| kind != DependencyKind::Development;
    package.dependencies.iter().filter(|d| kept(d.kind)).map(|d| d.name.clone()).collect()
}

/// Every source file of the workspace, by the crate's folder.
fn sources() -> BTreeMap<String, Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    for package in metadata().workspace_packages() {
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder").as_std_path();
        let mut files = Vec::new();
        for part in ["src", "tests", "benches", "examples", "build.rs"] {
            collect(&folder.join(part), &mut files);
        }
        found.insert(package.name.to_string(), files);
    }
    found
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder can be read").flatten() {
            collect(&entry.path(), files);
        }
    } else if path.is_file() && path.extension().is_some_and(|e| e == "rs") {
        files.push(path.to_owned());
    }
}

/// Lines of code with their numbers: without comments, without what stands in string literals.
fn code_lines(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).expect("a source file is UTF-8");
    let strip = |line: &str| {
        let mut out = String::new();
        let mut quoted = false;
        let mut previous = ' ';
        for c in line.split("//").next().unwrap_or("").chars() {
            if c == '"' && previous != '\\' {
                quoted = !quoted;
            } else if !quoted {
                out.push(c);
            }
            previous = c;
        }
        out
    };
    text.lines().enumerate().map(|(number, line)| (number + 1, strip(line))).collect()
}

fn violations(crate_name: &str, wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in &sources()[crate_name] {
        for (number, line) in code_lines(file) {
            if wrong(&line) {
                found.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    found
}

#[test]
fn every_crate_depends_only_on_what_the_law_allows() {
    let law: BTreeMap<_, _> = LAW.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let Some(allowed) = law.get(package.name.as_str()) else {
            wrong.push(format!("{} is not in the law of this test", package.name));
            continue;
        };
        let ours = normal_dependencies(package).into_iter().filter(|d| d.starts_with("shoal-"));
        for dependency in ours {
            if allowed.is_some_and(|list| !list.contains(&dependency.as_str())) {
                wrong.push(format!("{} must not depend on {dependency}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_stands_in_container_alone() {
    let allows = |line: &str| {
        !line.contains("forbid(unsafe_code)")
            && line
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe" || word == "unsafe_code")
    };
    let wrong: Vec<_> = sources()
        .keys()
        .filter(|name| name.as_str() != "shoal-container")
        .flat_map(|name| violations(name, allows))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for file in &sources()["shoal-container"] {
        let text = std::fs::read_to_string(file).expect("a source file is UTF-8");
        let lines: Vec<_> = text.lines().collect();
        for (number, code) in code_lines(file) {
            if !code.contains("unsafe {") {
                continue;
            }
            // The SAFETY line stands in the comment just above the statement, or at its end.
            let from = number.saturating_sub(8);
            if !lines[from..number].iter().any(|line| line.contains("SAFETY")) {
                wrong.push(format!("{}:{number}: unsafe without a SAFETY line", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn core_has_no_clock_no_files_no_environment_and_no_chance() {
    // Its tests may read a seed from the environment.
    let in_src = |found: &String| found.contains("/core/src/");
    let found = violations("shoal-core", |line| FORBIDDEN_IN_CORE.iter().any(|word| line.contains(word)));
    let wrong: Vec<_> = found.into_iter().filter(in_src).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let all = metadata();
    let core = all.workspace_packages().into_iter().find(|p| p.name.as_str() == "shoal-core").expect("core");
    let taken = normal_dependencies(core);
    let wrong: Vec<_> = FORBIDDEN_CRATES_OF_CORE.iter().filter(|name| taken.contains(**name)).collect();
    assert!(wrong.is_empty(), "core depends on {wrong:?}");
}

#[test]
fn versions_stand_in_the_workspace_manifest_alone() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("a manifest is UTF-8");
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section.contains("dependencies") && line.contains('=') && !line.contains("workspace") {
                wrong.push(format!("{}: {line}", package.manifest_path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_dependency_is_under_a_licence_we_take() {
    let mut wrong = Vec::new();
    for package in &metadata().packages {
        let text = package.license.clone().unwrap_or_default();
        if !licence_is_fine(&text) {
            wrong.push(format!("{} {}: {text:?}", package.name, package.version));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `A OR B` needs one, `A AND B` both; `/` is the old way of writing OR. Parentheses only ever group an OR inside an AND.
fn licence_is_fine(text: &str) -> bool {
    let plain = text.replace(['(', ')'], "").replace('/', " OR ");
    let known =
        |name: &str| LICENCES.contains(&name.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
    !plain.is_empty() && plain.split(" AND ").all(|part| part.split(" OR ").any(known))
}

#[test]
fn no_source_file_is_longer_than_the_ceiling() {
    let mut wrong = Vec::new();
    for file in sources().values().flatten() {
        let lines = std::fs::read_to_string(file).expect("a source file is UTF-8").lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut wrong = Vec::new();
    // A module's unit tests in a file of their own are that module's, and its doc stands for them.
    let has_own_doc = |file: &&PathBuf| !file.to_string_lossy().ends_with("tests.rs");
    for file in sources().values().flatten().filter(has_own_doc) {
        let text = std::fs::read_to_string(file).expect("a source file is UTF-8");
        if !text.starts_with("//!") {
            wrong.push(file.strip_prefix(workspace_root()).unwrap_or(file).display().to_string());
        }
    }
    assert!(wrong.is_empty(), "these files do not open with a module doc: {wrong:#?}");
}

#[test]
fn licence_expressions_are_read_right() {
    assert!(licence_is_fine("MIT/Apache-2.0"));
    assert!(licence_is_fine("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(!licence_is_fine("MIT AND GPL-3.0"));
    assert!(!licence_is_fine(""));
}
