//! With the option off, there is nothing of loopfs (SPEC X1): no symbol in the kernel, and the loop driver compiles to
//! what it was, but for what a file names with a reason.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    cache::{Key, finding},
    ctx::Ctx,
    error::Failure,
    gate::Verdict,
    interrupt,
    kernel::targets::{Goal, make_targets},
    reason::Reason,
    verify::{
        Site, Switch, build,
        object::{self, Facts},
    },
};

/// The file of differences that are wanted.
pub const EXCEPTIONS: &str = "patches/absent.toml";

/// The object that is compared.
const OBJECT: &str = "drivers/block/loop.o";

/// A difference that is wanted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The function, structure or variable.
    pub name: String,
    /// The patch that brings it: its name without number and ending.
    pub patch: String,
    /// Why it changes nothing for those who leave the option off.
    pub reason: Reason,
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    /// Functions whose code differs.
    #[serde(default)]
    function: Vec<Exception>,
    /// Structures whose layout differs.
    #[serde(default)]
    layout: Vec<Exception>,
    /// Variables that come or go.
    #[serde(default)]
    data: Vec<Exception>,
}

impl Exceptions {
    /// Reads the file; nothing is excepted if there is none.
    ///
    /// # Errors
    ///
    /// When it is malformed or an exception has no reason.
    pub fn read(ctx: &Ctx) -> Result<Self> {
        let path = ctx.root().join(EXCEPTIONS);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {EXCEPTIONS}"))?;
        toml::from_str(&text).with_context(|| format!("{EXCEPTIONS} is malformed"))
    }
}

/// Whether a kernel without the option has symbols, `own`, that are loopfs's by their names.
pub fn symbols(own: &[String]) -> Verdict {
    Verdict::of(own.iter().map(|symbol| format!("the kernel has `{symbol}` although the option is off")))
}

/// Compares the loop driver's object without the option with that of the base. Exceptions that except nothing go to
/// `faults`.
///
/// # Errors
///
/// On Ctrl-C, or when tools are missing.
pub fn object(site: &Site<'_>, faults: &mut Vec<String>) -> Result<Verdict> {
    let exceptions = Exceptions::read(site.ctx)?;
    let mut facts = Vec::new();
    for number in [0, site.prefixes.len() - 1] {
        match facts_of(site, number) {
            Ok(found) => facts.push(found),
            Err(error) if interrupt::requested() || Failure::of(&error) != Failure::KernelBuild => return Err(error),
            Err(error) => return Ok(Verdict::Unchecked(format!("{OBJECT} does not build: {error:#}"))),
        }
    }
    let (found, idle) = compare(&facts[0], &facts[1], &exceptions);
    faults.extend(idle);
    Ok(Verdict::of(found))
}

/// The facts of the object of the prefix of `number` patches, without the option and without Rust, which most have not.
fn facts_of(site: &Site<'_>, number: usize) -> Result<Facts> {
    let mut wanted = build::wanted(site, Switch::Off)?;
    let origin = "the comparison of the loop driver without loopfs";
    wanted.leave_out("RUST", origin);
    wanted.set("DEBUG_INFO_NONE", "n", origin);
    wanted.set("DEBUG_KERNEL", "y", origin);
    wanted.set("DEBUG_INFO_DWARF4", "y", origin);
    let tree_key = site.tree_key(number, Switch::Off);
    let key = Key::default().with("object 1").with(&tree_key).with(wanted.text()).with(site.toolchain.key());
    finding(site.ctx.cache(), "object", key, || {
        let _tree = site.prepare(number, Switch::Off)?;
        let request = build::request(site, &wanted, &tree_key);
        let (variables, targets) = ([object::FLAGS.to_owned()], [OBJECT.to_owned()]);
        let goal = Goal { folder: "verify-absent", variables: &variables, targets: &targets, anew: &[] };
        let folder = make_targets(site.ctx, site.toolchain, &request, &goal, &mut |_| ())?;
        let facts = object::facts(&folder.join(OBJECT), site.toolchain, site.ctx.verbose)?;
        Ok(facts)
    })
}

/// What differs and is not excepted, and which exceptions except nothing.
fn compare(before: &Facts, after: &Facts, exceptions: &Exceptions) -> (Vec<String>, Vec<String>) {
    let names = |facts: &Facts| facts.data.iter().map(|name| (name.clone(), String::new())).collect();
    let (data_before, data_after): (BTreeMap<_, _>, BTreeMap<_, _>) = (names(before), names(after));
    let kinds = [
        ("function", &before.functions, &after.functions, &exceptions.function),
        ("structure", &before.layouts, &after.layouts, &exceptions.layout),
        ("variable", &data_before, &data_after, &exceptions.data),
    ];
    let (mut faults, mut idle) = (Vec::new(), Vec::new());
    for (kind, before, after, exceptions) in kinds {
        let mut differ: Vec<(&String, &str)> = Vec::new();
        for (name, old) in before {
            match after.get(name) {
                None => differ.push((name, "is gone")),
                Some(new) if new != old => differ.push((name, "differs")),
                Some(_) => {}
            }
        }
        differ.extend(after.keys().filter(|name| !before.contains_key(*name)).map(|name| (name, "is new")));
        for (name, how) in &differ {
            if !exceptions.iter().any(|exception| exception.name == **name) {
                faults.push(format!(
                    "{OBJECT}: with the option off, {kind} `{name}` {how}; {EXCEPTIONS} does not say why that is right"
                ));
            }
        }
        for exception in exceptions {
            if !differ.iter().any(|(name, _)| **name == exception.name) {
                let name = &exception.name;
                idle.push(format!("{EXCEPTIONS}: {kind} {name} is the same as before; remove its exception"));
            }
        }
    }
    (faults, idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(functions: &[(&str, &str)], data: &[&str]) -> Facts {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Facts {
            functions: pairs(functions),
            layouts: pairs(&[("loop_device", "int a;")]),
            data: data.iter().map(ToString::to_string).collect(),
        }
    }

    fn excepting(name: &str) -> Exceptions {
        let text = format!("[[function]]\nname = \"{name}\"\npatch = \"loop-split\"\nreason = \"it is split\"\n");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn only_a_difference_with_a_reason_passes() {
        let before = facts(&[("loop_add", "a"), ("loop_remove", "b")], &["max_loop"]);
        let after = facts(&[("loop_add", "x"), ("loop_remove", "b")], &["max_loop"]);
        let none = Exceptions::default();
        assert_eq!(compare(&before, &before, &none), (vec![], vec![]));
        let (faults, _) = compare(&before, &after, &none);
        assert!(faults.len() == 1 && faults[0].contains("function `loop_add` differs"), "{faults:?}");
        assert_eq!(compare(&before, &after, &excepting("loop_add")), (vec![], vec![]));
    }

    #[test]
    fn what_comes_and_what_goes_is_told() {
        let (faults, _) = compare(&facts(&[("a", "")], &["b"]), &facts(&[("c", "")], &[]), &Exceptions::default());
        let told = faults.join("\n");
        for part in ["function `a` is gone", "function `c` is new", "variable `b` is gone"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn an_exception_that_excepts_nothing_has_to_go() {
        let same = facts(&[("loop_add", "a")], &[]);
        let (_, idle) = compare(&same, &same, &excepting("loop_add"));
        assert!(idle.len() == 1 && idle[0].contains("function loop_add is the same as before"), "{idle:?}");
    }

    #[test]
    fn an_exception_without_a_reason_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Ctx::at(dir.path(), dir.path().join("cache"));
        assert_eq!(Exceptions::read(&ctx).unwrap(), Exceptions::default());
        fs::create_dir(dir.path().join("patches")).unwrap();
        let text = "[[layout]]\nname = \"device\"\npatch = \"a\"\nreason = \"\"\n";
        fs::write(dir.path().join(EXCEPTIONS), text).unwrap();
        assert!(format!("{:#}", Exceptions::read(&ctx).unwrap_err()).contains("has no reason"));
    }
}
