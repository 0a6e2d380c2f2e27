//! The recipes that the suite follows are the ones that the kernel's documentation gives.

use std::{fs, path::Path};

/// What the series adds to the tree in files whose patch is named like `subject`.
fn added_by_patch(subject: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../patches");
    let patches = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let patch = patches.into_iter().find(|path| path.to_string_lossy().contains(subject)).unwrap();
    let patch = fs::read_to_string(patch).unwrap();
    patch.lines().filter_map(|line| line.strip_prefix('+')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_recipe_stands_in_the_documentation_word_for_word() {
    let documentation = added_by_patch("docs-filesystems-add-loopfs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut recipes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A literal block of reStructuredText.
        let block: String = fs::read_to_string(&path).unwrap().lines().map(|line| format!("  {line}\n")).collect();
        assert!(documentation.contains(&format!("::\n\n{block}\n")), "{} is not in the documentation", path.display());
        recipes += 1;
    }
    assert!(recipes >= 6, "there are only {recipes} recipes");
}
