//! A machine whose tools are scripts.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use xtask::{ctx::Ctx, toolchain::machine::Machine};

/// A folder with a `PATH`, a cache and whatever a test puts there.
pub(crate) struct Scene {
    dir: TempDir,
}

impl Scene {
    /// An empty one: its `PATH` has a shell and what a script cannot do without.
    pub(crate) fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.path("bin")).unwrap();
        for name in ["sh", "env", "cat", "cp", "mkdir", "sleep", "touch", "basename", "true"] {
            scene.real(name);
        }
        scene
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its cache.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Puts the machine's own program `name` into its `PATH`.
    pub(crate) fn real(&self, name: &str) -> &Self {
        let path = std::env::var_os("PATH").unwrap();
        let program = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
        symlink(program.unwrap_or_else(|| panic!("this machine has no {name}")), self.path("bin").join(name)).unwrap();
        self
    }

    /// Puts a program into its `PATH`, or replaces it: a shell script. `$SCENE` is this folder.
    pub(crate) fn tool(&self, name: &str, script: &str) -> &Self {
        let path = self.path("bin").join(name);
        let _ = fs::remove_file(&path);
        let text = format!("#!/bin/sh\nSCENE='{}'\n{script}\n", self.dir.path().display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Takes a program out of its `PATH`.
    pub(crate) fn without(&self, name: &str) -> &Self {
        fs::remove_file(self.path("bin").join(name)).unwrap();
        self
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Every tool a kernel build takes, as far as doctor can tell.
    pub(crate) fn with_toolchain(&self) -> &Self {
        self.tool("make", "echo 'GNU Make 4.3'");
        for name in ["flex", "bison", "bc", "gcc", "git", "xz"] {
            self.tool(name, &format!("echo '{name} 3.0.0'"));
        }
        self.with_llvm("-22", "22.1.8");
        self.with_rust("1.96.0");
        self.tool("bindgen", "echo 'bindgen 0.72.1'");
        self.file("usr/include/stdio.h", "");
        self.file("usr/include/libelf.h", "");
        self
    }

    /// A clang of `version`, whose programs have `suffix`.
    pub(crate) fn with_llvm(&self, suffix: &str, version: &str) -> &Self {
        let resources = self.path("llvm/lib/clang/22");
        self.file("llvm/lib/libclang.so", "");
        let clang = format!(
            "case $1 in -print-resource-dir) echo '{}';; *) echo 'Debian clang version {version} (1~deb)';; esac",
            resources.display()
        );
        self.tool(&format!("clang{suffix}"), &clang);
        for name in ["ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-objdump", "llvm-readelf", "llvm-strip"] {
            self.tool(&format!("{name}{suffix}"), "");
        }
        self
    }

    /// A rustc of `version` with its library's source.
    pub(crate) fn with_rust(&self, version: &str) -> &Self {
        let sysroot = self.path("rust");
        self.file("rust/lib/rustlib/src/rust/library/core/src/lib.rs", "");
        let rustc = format!(
            "case $1 in --print) echo '{}';; *) echo 'rustc {version} (abc 2026-01-01)';; esac",
            sysroot.display()
        );
        self.tool("rustc", &rustc)
    }

    /// The machine that this is, for an ordinary user.
    pub(crate) fn machine(&self) -> Machine {
        Machine { path: vec![self.path("bin")], root: self.dir.path().to_owned(), is_root: false, verbose: false }
    }

    /// The context of a run with this cache, which may install.
    pub(crate) fn ctx(&self) -> Ctx {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut ctx = Ctx::at(root, self.cache());
        ctx.no_install = false;
        ctx
    }

    /// `cargo xtask` on this machine.
    pub(crate) fn xtask(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.dir.path())
            .env("LOOPFS_CACHE", self.cache());
        command
    }

    /// The names of what is in the folder `name` of the cache, without locks.
    pub(crate) fn cached(&self, name: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.cache().join(name)) else { return Vec::new() };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect()
    }
}

/// What a finished command printed on standard error, and its exit code.
pub(crate) fn outcome(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}
