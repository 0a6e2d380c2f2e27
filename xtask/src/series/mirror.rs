//! Which file of `rust/` is which file of the kernel tree.

/// (folder under `rust/`, folder of the tree) that hold the same Rust files.
const FOLDERS: &[(&str, &str)] = &[("kernel", "rust/kernel"), ("loopfs", "drivers/block/loopfs")];

/// The folders of the repository that mirror files of the tree.
pub fn mirrored() -> impl Iterator<Item = String> {
    FOLDERS.iter().map(|(ours, _)| format!("rust/{ours}"))
}

/// The file of the tree that `path`, relative to the repository's top, is a view of.
pub fn tree_path(path: &str) -> Option<String> {
    FOLDERS.iter().find_map(|(ours, tree)| {
        let rest = path.strip_prefix("rust/")?.strip_prefix(ours)?.strip_prefix('/')?;
        rest.ends_with(".rs").then(|| format!("{tree}/{rest}"))
    })
}

/// The file, relative to the repository's top, that mirrors `path` of the tree when the series adds it.
pub fn our_path(path: &str) -> Option<String> {
    FOLDERS.iter().find_map(|(ours, tree)| {
        let rest = path.strip_prefix(tree)?.strip_prefix('/')?;
        rest.ends_with(".rs").then(|| format!("rust/{ours}/{rest}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_file_maps_to_the_tree_and_back() {
        for (ours, tree) in [
            ("rust/kernel/fs/inode.rs", "rust/kernel/fs/inode.rs"),
            ("rust/loopfs/control.rs", "drivers/block/loopfs/control.rs"),
        ] {
            assert_eq!(tree_path(ours).as_deref(), Some(tree));
            assert_eq!(our_path(tree).as_deref(), Some(ours));
        }
    }

    #[test]
    fn host_crate_build_files_and_lookalike_folders_are_not_mapped() {
        for path in ["rust/host/src/lib.rs", "rust/loopfs/Makefile", "rust/loopfs2/a.rs", "rust/kernel.rs"] {
            assert_eq!(tree_path(path), None, "{path}");
        }
        for path in ["drivers/block/loopfs/Kconfig", "drivers/block/loop.c", "rust/helpers/fs.c"] {
            assert_eq!(our_path(path), None, "{path}");
        }
    }
}
