//! Notes the git commit that is built, for reports: `unknown` outside a repository, `-dirty` when the sources differ
//! from the commit.

use std::{path::Path, process::Command};

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).map_or_else(
        || "unknown".to_owned(),
        |commit| {
            let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
            if changed { format!("{commit}-dirty") } else { commit }
        },
    );
    println!("cargo::rustc-env=GIT_COMMIT={commit}");
    let rerun_if_changed = |path: &str| {
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    };
    for file in ["HEAD", "logs/HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            rerun_if_changed(&path);
        }
    }
    for path in ["build.rs", "Cargo.toml", "src", "../engine/src", "../ringbuf/src", "../Cargo.toml", "../Cargo.lock"] {
        rerun_if_changed(path);
    }
}
