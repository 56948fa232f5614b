//! The repository's own rules, as a test: what the state machine may not name, where `unsafe` may stand, and
//! which way dependencies point. Comments are not looked at, and words inside longer words do not count.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What makes an outcome depend on anything but the journal.
const BANNED_IN_EXCHANGE: [&str; 11] = [
    "std::time",
    "Instant",
    "SystemTime",
    "thread",
    "std::fs",
    "std::io",
    "f32",
    "f64",
    "RandomState",
    "rand",
    "getrandom",
];

/// A part of the workspace, and the modules and crates it may not name.
const DIRECTIONS: [(&str, &[&str]); 6] = [
    ("engine/src/types", &["exchange", "journal", "pipeline", "recovery", "command", "event"]),
    ("engine/src/command.rs", &["exchange", "journal", "pipeline", "recovery"]),
    ("engine/src/event.rs", &["exchange", "journal", "pipeline", "recovery"]),
    ("engine/src/exchange", &["journal", "pipeline", "recovery", "rust_decimal", "decimal"]),
    ("engine/src/journal", &["exchange", "pipeline", "recovery"]),
    ("ringbuf", &["engine", "gateway_sim", "bench"]),
];

/// The crates without any `unsafe`.
const SAFE_CRATES: [&str; 3] = ["engine", "gateway-sim", "bench"];

#[test]
fn the_state_machine_depends_on_commands_alone() {
    let files = sources(&root().join("engine/src/exchange"));
    assert!(!files.is_empty(), "the state machine has files");
    for file in files {
        let code = code(&file);
        for banned in BANNED_IN_EXCHANGE {
            assert_absent(&file, &code, banned);
        }
        for map in ["HashMap", "HashSet"] {
            let found = imports_from(&code, "std::collections", map) || imports_from(&code, "collections", map);
            assert!(!found, "{}: {map} of std has random state", file.display());
        }
    }
}

#[test]
fn unsafe_code_is_in_the_rings_alone() {
    for name in SAFE_CRATES {
        let folder = root().join(name);
        for file in sources(&folder) {
            assert_absent(&file, &code(&file), "unsafe");
        }
        let roots: Vec<_> = ["src/lib.rs", "src/main.rs"].iter().map(|path| folder.join(path)).collect();
        let forbids = |file: &PathBuf| read(file).contains("#![forbid(unsafe_code)]");
        for file in roots.iter().filter(|file| file.exists()) {
            assert!(forbids(file), "{} does not forbid unsafe code", file.display());
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    for (part, banned) in DIRECTIONS {
        for file in sources(&root().join(part)) {
            let code = code(&file);
            for module in banned {
                assert!(!names_module(&code, module), "{} names {module}", file.display());
            }
        }
    }
    for file in sources(&root().join("engine/src/types")) {
        let code = code(&file);
        for (index, _) in code.match_indices("crate::") {
            let allowed = code[index..].starts_with("crate::types") || code[..index].ends_with('$');
            assert!(allowed, "{} names a part of the crate outside of types", file.display());
        }
    }
    // The state machine knows no ring, but may give hints where its memory is concerned: they change no outcome.
    for file in sources(&root().join("engine/src/exchange")) {
        let code = code(&file);
        for (index, name) in code.match_indices("ringbuf") {
            let used = &code[index + name.len()..];
            let is_hint = used.starts_with("::prefetch_") || used.starts_with("::advise_huge_pages");
            assert!(is_hint, "{} uses more of ringbuf than hints", file.display());
        }
    }
    let ringbuf = read(&root().join("ringbuf/Cargo.toml"));
    assert!(!ringbuf.contains("engine"), "ringbuf depends on the engine");
}

#[test]
fn the_reading_of_code_ignores_comments_and_longer_words() {
    let text = "let operand = 1; // rand\n/// f64\n/* std::fs\n thread */ let a = \"// not a comment\"; let b = 'x';\n";
    let code = without_comments(text);
    assert!(!mentions(&code, "rand") && !mentions(&code, "f64"));
    assert!(!mentions(&code, "std::fs") && !mentions(&code, "thread"));
    assert!(mentions(&code, "operand") && mentions(&code, "not a comment") && mentions(&code, "b"));
    assert!(mentions("use rand::Rng;", "rand") && !mentions("unsafe_code", "unsafe"));
    assert!(
        names_module("use crate::{exchange::Risk, types};", "exchange")
            && names_module("use crate::exchange;", "exchange")
    );
    assert!(!names_module("Cause::exchange()", "exchange") && !names_module("my_exchange::A", "exchange"));
    assert!(imports_from("use std::{collections::{BTreeMap, HashMap}, fmt};", "collections", "HashMap"));
    assert!(imports_from("let map: std::collections::HashMap<u8, u8>;", "std::collections", "HashMap"));
    assert!(!imports_from("use std::collections::BTreeMap; use hashbrown::HashMap;", "collections", "HashMap"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace").to_owned()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}

/// The Rust files at or below a path, except tests; none when it does not exist.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let file = path.with_extension("rs");
    let mut found: Vec<_> = file.is_file().then_some(file).into_iter().collect();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let path = entry.expect("the folder can be read").path();
        let skipped = path.file_name().is_some_and(|name| name == "tests" || name == "target");
        if path.is_dir() && !skipped {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found.dedup();
    found
}

fn code(file: &Path) -> String {
    without_comments(&read(file))
}

/// The text without comments; strings stay.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            let kept = string_length(rest);
            code.push_str(&rest[..kept]);
            kept
        } else if rest.starts_with("'\"'") {
            3
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    code
}

/// How long the string is that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether the code has the words, not as a part of longer ones.
fn mentions(code: &str, words: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(words).any(|(start, found)| {
        let before = code[..start].chars().next_back();
        let after = code[start + found.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether the code has a path through a module or crate of that name: the word alone may be anything else.
fn names_module(code: &str, module: &str) -> bool {
    code.match_indices(module).any(|(start, found)| {
        let (before, after) = (&code[..start], &code[start + found.len()..]);
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        let in_path = after.starts_with("::") || before.ends_with("crate::") || before.ends_with("super::");
        whole && in_path
    })
}

/// Whether the code names `item` as one of `module`: as `module::item` or within `module::{…}`.
fn imports_from(code: &str, module: &str, item: &str) -> bool {
    code.match_indices(&format!("{module}::")).any(|(start, found)| {
        let path = &code[start + found.len()..];
        let end = match path.strip_prefix('{') {
            Some(group) => 1 + group.find([';', '}']).unwrap_or(group.len()),
            None => path.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(path.len()),
        };
        mentions(&path[..end], item)
    })
}

fn assert_absent(file: &Path, code: &str, words: &str) {
    assert!(!mentions(code, words), "{} mentions {words}", file.display());
}
