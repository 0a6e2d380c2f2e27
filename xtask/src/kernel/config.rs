//! The kernel's configuration: fragments in `ci/kconfig` and what the suite's cases declare, and the
//! proof that Kconfig took all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::git::Git;

/// The fragments of `make tinyconfig` in the kernel's tree: ours go on top of them.
const TINY: &[&str] =
    &["kernel/configs/tiny-base.config", "kernel/configs/tiny.config", "arch/x86/configs/tiny.config"];

/// Which kernel is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Flavour {
    /// Small and fast.
    Default,
    /// With every check the kernel has for what loopfs does.
    Debug,
    /// For the prefixes of the series: each is built twice, so it has no more than shows whether a patch works.
    #[value(skip)]
    Verify,
    /// With what Debian's own programs and container managers run on.
    Clients,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Debug => "debug",
            Self::Verify => "verify",
            Self::Clients => "clients",
        })
    }
}

/// The symbols a kernel shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Each with its value and who asked for it.
    symbols: BTreeMap<String, (String, String)>,
    /// The only ones that have to come out so; nothing if all have to.
    insisted: Option<BTreeSet<String>>,
}

impl Wanted {
    /// The symbols of the fragments for `flavour` in the repository `root`.
    ///
    /// # Errors
    ///
    /// When a fragment cannot be read or has a line that is no symbol with a reason.
    pub fn read(root: &Path, flavour: Flavour) -> Result<Self> {
        let mut wanted = Self::default();
        for name in ["base".to_owned(), flavour.to_string()] {
            let name = format!("ci/kconfig/{name}.config");
            let text = fs::read_to_string(root.join(&name)).with_context(|| format!("cannot read {name}"))?;
            wanted.add_fragment(&name, &text)?;
        }
        Ok(wanted)
    }

    fn add_fragment(&mut self, name: &str, text: &str) -> Result<()> {
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let origin = format!("{name}:{}", number + 1);
            let (setting, reason) = line.split_once(" # ").unwrap_or((line, ""));
            let parts = setting.trim().strip_prefix("CONFIG_").and_then(|setting| setting.split_once('='));
            let Some((symbol, value)) = parts else { bail!("{origin}: {line:?} is not CONFIG_SYMBOL=value") };
            ensure!(!reason.trim().is_empty(), "{origin}: CONFIG_{symbol} has no reason behind it");
            self.set(symbol, value, &origin);
        }
        Ok(())
    }

    /// Wants `symbol`, without `CONFIG_`, to have `value`, because of `origin`; the last word counts.
    pub fn set(&mut self, symbol: &str, value: &str, origin: &str) {
        self.symbols.insert(symbol.to_owned(), (value.to_owned(), origin.to_owned()));
    }

    /// Wants `symbol`, without `CONFIG_`, because of `origin`, unless something else is said of it already.
    pub fn declare(&mut self, symbol: &str, origin: &str) {
        if !self.symbols.contains_key(symbol) {
            self.set(symbol, "y", origin);
        }
    }

    /// Wants `symbol` and all whose names continue it with an underscore to be off, because of `origin`.
    pub fn leave_out(&mut self, symbol: &str, origin: &str) {
        let continued = format!("{symbol}_");
        let concerned: Vec<String> = self.symbols.keys().filter(|name| name.starts_with(&continued)).cloned().collect();
        for name in concerned.iter().map(String::as_str).chain([symbol]) {
            self.set(name, "n", origin);
        }
    }

    /// Lets Kconfig have its own way with all symbols but these.
    pub fn insist_on_only(&mut self, symbols: &[&str]) {
        self.insisted = Some(symbols.iter().map(ToString::to_string).collect());
    }

    /// As Kconfig reads it: equal texts make equal configurations of the same tree.
    pub fn text(&self) -> String {
        self.symbols.iter().fold(String::new(), |mut text, (symbol, (value, _))| {
            let _ = writeln!(text, "CONFIG_{symbol}={value}");
            text
        })
    }

    /// The text of a whole answer to `make allnoconfig` in `tree`.
    ///
    /// # Errors
    ///
    /// When the tree's own fragments cannot be read.
    pub fn answer(&self, tree: &Path) -> Result<String> {
        let mut text = String::new();
        for name in TINY {
            let path = tree.join(name);
            text += &fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        Ok(text + &self.text())
    }

    /// Fails unless the final configuration `config` has every symbol as it is wanted.
    ///
    /// # Errors
    ///
    /// Which symbols are lost, who asked for them, and what the Kconfig files of `tree` say they depend on.
    pub fn verify(&self, config: &str, tree: &Path) -> Result<()> {
        let final_values = values(config);
        let mut lost = String::new();
        for (symbol, (value, origin)) in &self.symbols {
            let got = final_values.get(symbol.as_str()).copied().unwrap_or("n");
            if got != value && self.insisted.as_ref().is_none_or(|insisted| insisted.contains(symbol)) {
                let _ = write!(lost, "\n- CONFIG_{symbol}={value}, wanted by {origin}, is {got}");
                let _ = write!(lost, "{}", explain(tree, symbol));
            }
        }
        ensure!(lost.is_empty(), "Kconfig does not keep what is wanted:{lost}");
        Ok(())
    }
}

/// The symbols that the configuration `config` sets, without `CONFIG_`.
pub fn values(config: &str) -> BTreeMap<&str, &str> {
    config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('=')).collect()
}

/// What is known about why `symbol` could not be had.
fn explain(tree: &Path, symbol: &str) -> String {
    let places = Git::new(tree, false)
        .attempt(["grep", "--no-index", "-lE", &format!(r"^\s*(menu)?config {symbol}$"), "--", "*Kconfig*"])
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let mut told = String::new();
    for place in places.lines() {
        let text = fs::read_to_string(tree.join(place)).unwrap_or_default();
        for dependency in dependencies(&text, symbol) {
            let _ = write!(told, "\n    {place}: {dependency}");
        }
    }
    match (places.is_empty(), told.is_empty()) {
        (true, _) => "; this kernel has no such symbol".to_owned(),
        (false, true) => format!("; it is defined in {}", places.lines().collect::<Vec<_>>().join(", ")),
        (false, false) => told,
    }
}

/// The conditions that a Kconfig file puts on `symbol`: its own, and those of the menus around it
/// are left to the reader.
fn dependencies(kconfig: &str, symbol: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in kconfig.lines() {
        let line = line.trim_end();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["config" | "menuconfig", name] => inside = *name == symbol,
            ["help" | "endmenu" | "endif" | "endchoice" | "menu" | "choice" | "if" | "source" | "comment", ..] => {
                inside = false;
            }
            ["depends", "on", ..] if inside => found.push(words.join(" ")),
            ["bool" | "tristate", .., "if", _] if inside => found.push(words.join(" ")),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_symbol_of_the_repositorys_fragments_has_a_reason() {
        for flavour in [Flavour::Default, Flavour::Debug, Flavour::Verify, Flavour::Clients] {
            let wanted = Wanted::read(&root(), flavour).unwrap();
            assert!(wanted.text().contains("CONFIG_RUST=y\n"));
        }
    }

    #[test]
    fn a_line_that_is_no_symbol_or_has_no_reason_is_told_with_its_place() {
        let error = Wanted::default().add_fragment("f", "# c\nCONFIG_A=y # why\nB=y # why\n").unwrap_err().to_string();
        assert_eq!(error, "f:3: \"B=y # why\" is not CONFIG_SYMBOL=value");
        let error = Wanted::default().add_fragment("f", "CONFIG_A=y\n").unwrap_err().to_string();
        assert_eq!(error, "f:1: CONFIG_A has no reason behind it");
    }

    #[test]
    fn what_a_fragment_says_is_not_undone_by_a_case() {
        let mut wanted = Wanted::default();
        wanted.set("NR_CPUS", "8", "f:1");
        wanted.declare("NR_CPUS", "a");
        wanted.declare("SWAP", "b");
        assert_eq!(wanted.text(), "CONFIG_NR_CPUS=8\nCONFIG_SWAP=y\n");
    }

    #[test]
    fn what_hangs_on_a_symbol_that_is_left_out_goes_with_it() {
        let mut wanted = Wanted::default();
        wanted.set("RUST", "y", "f:1");
        wanted.set("RUST_OVERFLOW_CHECKS", "y", "f:2");
        wanted.set("RUSTY", "y", "f:3");
        wanted.leave_out("RUST", "the trial");
        assert_eq!(wanted.text(), "CONFIG_RUST=n\nCONFIG_RUSTY=y\nCONFIG_RUST_OVERFLOW_CHECKS=n\n");
    }

    #[test]
    fn a_lost_symbol_is_told_with_its_origin_and_what_it_depends_on() {
        let tree = tempfile::tempdir().unwrap();
        let kconfig = "config SWAP\n\tbool \"Swap\"\n\tdepends on MMU && BLOCK\n\thelp\n\t  depends on nothing here\n\
                       config OTHER\n\tdepends on X\n";
        fs::write(tree.path().join("Kconfig"), kconfig).unwrap();
        let mut wanted = Wanted::default();
        wanted.set("SWAP", "y", "ci/kconfig/base.config:7");
        wanted.set("GONE", "y", "the case c");
        wanted.set("NR_CPUS", "8", "f:1");
        wanted.set("OFF", "n", "f:2");
        let config = "# CONFIG_SWAP is not set\nCONFIG_NR_CPUS=8\n";
        let error = wanted.verify(config, tree.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            "Kconfig does not keep what is wanted:\
             \n- CONFIG_GONE=y, wanted by the case c, is n; this kernel has no such symbol\
             \n- CONFIG_SWAP=y, wanted by ci/kconfig/base.config:7, is n\
             \n    Kconfig: depends on MMU && BLOCK"
        );
        wanted.verify("CONFIG_SWAP=y\nCONFIG_GONE=y\nCONFIG_NR_CPUS=8\n", tree.path()).unwrap();
        wanted.insist_on_only(&["OFF", "NR_CPUS"]);
        wanted.verify(config, tree.path()).unwrap();
        assert!(wanted.verify("CONFIG_OFF=y\nCONFIG_NR_CPUS=8\n", tree.path()).is_err());
    }
}
