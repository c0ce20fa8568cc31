//! The walls of the house: which room may import which, which crates stay in which room, and the words that no file may
//! hold. A failure here says which line reached through a wall; move the code, not the wall.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Room → rooms it may import (`DESIGN.md` §2). `*` is everything. Arrows point down only.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("exchange", &["domain"]),
    ("stream", &["domain", "exchange"]),
    ("event_loop", &["domain", "stream"]),
    ("spool", &["domain"]),
    ("store", &["domain"]),
    ("ops", &["domain"]),
    ("queue", &["domain"]),
    ("prices", &["domain", "exchange", "store"]),
    ("user_data", &["domain", "exchange", "spool", "queue", "store"]),
    (
        "daemon",
        &["domain", "exchange", "stream", "event_loop", "store", "ops", "prices", "spool", "queue", "user_data"],
    ),
    ("sim", &["*", "!cli"]),
    ("cli", &["*"]),
];

/// Crate → rooms that may name it, their unit tests apart. A crate that is not listed is free.
const CRATE_ROOMS: &[(&str, &[&str])] = &[
    ("mio", &["event_loop", "sim"]),
    ("rustls", &["stream", "ops", "store", "sim", "daemon"]),
    ("simd_json", &["exchange"]),
    ("postgres", &["store"]),
    ("rusqlite", &["store", "prices"]),
    ("redis", &["queue"]),
    ("ureq", &["ops"]),
    ("hyper", &["ops"]),
    ("tokio", &["ops"]),
    ("rcgen", &["sim"]),
    ("rustix", &["domain", "spool", "daemon", "cli"]),
    ("crc32fast", &["spool"]),
    ("clap", &["cli"]),
];

/// What marks unfinished or disabled work, cut in two so that this file does not find itself.
const FORBIDDEN: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[ign", "ore")];

struct Source {
    room: String,
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("a folder entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inner = path.strip_prefix(&root).expect("below src");
                let room = match inner.components().count() {
                    1 => inner.file_stem().expect("a file name").to_string_lossy().into_owned(),
                    _ => inner.components().next().expect("a folder").as_os_str().to_string_lossy().into_owned(),
                };
                found.push(Source { room, text: fs::read_to_string(&path).expect("UTF-8 source"), path });
            }
        }
    }
    found
}

/// The code of a file with comments dropped, line by line.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line = line.trim_start();
        (!line.starts_with("//")).then_some((at + 1, line))
    })
}

/// First path segments that follow `crate::` in a line, grouped imports included.
fn crate_rooms(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        let list = rest.strip_prefix('{').map_or(rest, |inner| inner);
        let grouped = rest.starts_with('{');
        let mut depth = 0usize;
        let mut word = String::new();
        let mut taking = true;
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 && grouped => {
                    rooms.push(std::mem::take(&mut word));
                    taking = true;
                }
                c if taking && depth == 0 && (c.is_alphanumeric() || c == '_') => word.push(c),
                ' ' if word.is_empty() => {}
                _ => {
                    taking = false;
                    if !grouped {
                        break;
                    }
                }
            }
        }
        rooms.push(word);
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

#[test]
fn imports_point_down() {
    let table: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources() {
        if source.room == "lib" || source.room == "main" {
            continue;
        }
        let allowed =
            table.get(source.room.as_str()).unwrap_or_else(|| panic!("room {} is not in the table", source.room));
        for (line_number, line) in code_lines(&source.text) {
            for room in crate_rooms(line) {
                if room == source.room || !table.contains_key(room.as_str()) {
                    continue;
                }
                let refused = allowed.contains(&format!("!{room}").as_str());
                if refused || !(allowed.contains(&"*") || allowed.contains(&room.as_str())) {
                    broken.push(format!("{}:{line_number}: {} imports {room}", source.path.display(), source.room));
                }
            }
        }
    }
    assert!(broken.is_empty(), "walls broken:\n{}", broken.join("\n"));
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut broken = Vec::new();
    let of_tests =
        |path: &Path| path.components().any(|part| ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name));
    for source in sources().into_iter().filter(|source| !of_tests(&source.path)) {
        for (line_number, line) in code_lines(&source.text) {
            for (name, rooms) in CRATE_ROOMS {
                let named = line.match_indices(&format!("{name}::")).any(|(at, _)| {
                    !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if named && !rooms.contains(&source.room.as_str()) {
                    broken.push(format!("{}:{line_number}: {} names {name}", source.path.display(), source.room));
                }
            }
        }
    }
    assert!(broken.is_empty(), "crates outside their rooms:\n{}", broken.join("\n"));
}

#[test]
fn nothing_is_unfinished_and_every_file_opens_with_what_it_is() {
    let mut broken = Vec::new();
    for source in sources() {
        for word in FORBIDDEN {
            if source.text.contains(word) {
                broken.push(format!("{}: {word}", source.path.display()));
            }
        }
        if !source.text.starts_with("//!") {
            broken.push(format!("{}: does not open with //!", source.path.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_unsafe_in_the_crate_roots() {
    for root in ["src/lib.rs", "src/main.rs"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(root)).expect("the crate root");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root} must forbid unsafe code");
    }
}

/// `tests/run` runs the files `servers_*.rs` with the feature `servers`; a test elsewhere behind it would never run.
#[test]
fn tests_with_servers_are_in_files_that_say_so() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in fs::read_dir(folder).expect("tests is readable") {
        let path = entry.expect("a folder entry").path();
        let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
        if !name.ends_with(".rs") || name == "architecture.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).expect("UTF-8 source");
        let behind = text.contains(r#"feature = "servers""#);
        assert_eq!(behind, name.starts_with("servers_"), "{name}: feature `servers` and the name must go together");
    }
}

#[test]
fn the_import_reader_reads_what_rust_reads() {
    for (line, rooms) in [
        ("use crate::domain::Mono;", &["domain"][..]),
        ("use crate::{domain::{Mono, Wall}, store, prices::board::Board};", &["domain", "store", "prices"]),
        ("let x = crate::sim::start(crate::ops::now());", &["sim", "ops"]),
        ("use my_crate::domain;", &[]),
        ("pub(crate) fn f() {}", &[]),
    ] {
        assert_eq!(crate_rooms(line), rooms, "{line}");
    }
}
