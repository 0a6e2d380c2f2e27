//! The suite's own program: built static, so that it is all a guest needs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use loopfs_protocol::CaseInfo;
use xshell::{Shell, cmd};

use crate::{ctx::Ctx, kernel::config::Flavour, process, progress::Progress};

const PACKAGE: &str = "loopfs-selftests";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the program for the guest, unless it is built already, and returns where it is.
///
/// # Errors
///
/// When it does not compile; the error ends with what the compiler says.
pub fn build(ctx: &Ctx) -> Result<PathBuf> {
    let (sh, cargo, folder) = (process::shell_in(ctx.root())?, ctx.cargo(), target_dir(ctx));
    let command = cmd!(
        sh,
        "{cargo} build --profile guest --package {PACKAGE} --bin {PACKAGE} --target {TARGET} --target-dir {folder}
         --message-format json-render-diagnostics"
    )
    .env("RUSTFLAGS", "-C target-feature=+crt-static");
    let mut progress = None;
    let mut program = None;
    process::stream(&command.into(), ctx.verbose, |line| {
        match executable(line) {
            Some(path) => program = Some(path),
            // With nothing to compile there is nothing to show.
            None if line.trim_start().starts_with("Compiling") => {
                progress.get_or_insert_with(|| Progress::spinner("build the suite")).detail(line.trim());
            }
            None => {}
        }
        Ok(())
    })?;
    drop(progress);
    program.context("cargo built the suite and did not say where")
}

/// The suite is built with other flags than the rest of the workspace; sharing a folder, each would undo the other's work.
fn target_dir(ctx: &Ctx) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| ctx.root().join("target"), PathBuf::from);
    target.join("guest")
}

/// The path of the program in a line of cargo's messages, if it has one.
fn executable(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line.strip_prefix('{').map(|_| line)?).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

/// The cases of the suite at `program` that are for the kernel `flavour`: those that run Debian's programs are for
/// [`Flavour::Clients`], and all others for the others.
///
/// # Errors
///
/// When the program does not run here or is not the suite.
pub fn cases(program: &Path, flavour: Flavour, verbose: bool) -> Result<Vec<CaseInfo>> {
    let sh = Shell::new()?;
    let json = process::read(&cmd!(sh, "{program} list --json").into(), verbose)?;
    let mut cases: Vec<CaseInfo> =
        serde_json::from_str(&json).with_context(|| format!("`{} list --json` lists no cases", program.display()))?;
    cases.retain(|case| case.wants_clients() == (flavour == Flavour::Clients));
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn cases_of_real_programs_are_for_their_own_kernel_only() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("suite");
        let case = |name: &str, need: &str| CaseInfo {
            name: name.into(),
            needs: vec!["loopfs".into(), need.into()],
            ..CaseInfo::default()
        };
        let json = serde_json::to_string(&[case("unlink", "loop"), case("losetup", "clients")]).unwrap();
        fs::write(&program, format!("#!/bin/sh\necho '{json}'\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let names = |flavour| -> Vec<String> {
            cases(&program, flavour, false).unwrap().into_iter().map(|case| case.name).collect()
        };
        assert_eq!(names(Flavour::Clients), ["losetup"]);
        assert_eq!(names(Flavour::Default), ["unlink"]);
        assert_eq!(names(Flavour::Debug), ["unlink"]);
    }

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let artifact = r#"{"reason":"compiler-artifact","executable":"/a b/loopfs-selftests","fresh":true}"#;
        assert_eq!(executable(artifact), Some("/a b/loopfs-selftests".into()));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
        assert_eq!(executable("   Compiling loopfs-selftests v0.1.0"), None);
    }
}
