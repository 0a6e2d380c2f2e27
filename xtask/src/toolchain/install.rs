//! Installs what is missing: Debian packages with apt, bindgen with cargo.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, anyhow};
use xshell::{Shell, cmd};

use crate::{
    cache::Lock,
    ctx::Ctx,
    error::Failure,
    process,
    progress::{self, Progress},
    toolchain::{
        bindgen,
        machine::Machine,
        needs::{Finding, Need, Purpose},
        packages::{self, Line},
        survey,
        version::Minimum,
    },
};

/// Makes sure that everything for `purposes` is there, and installs what is not, each with a line
/// that says so, unless [`Ctx::no_install`] forbids it or there is no right to.
///
/// # Errors
///
/// [`Failure::Environment`]: what is missing, why it cannot be installed here, and what to do.
pub fn ensure(ctx: &Ctx, purposes: &[Purpose], minimum: Minimum) -> Result<()> {
    ensure_on(ctx, &Machine::this(ctx.verbose), purposes, minimum)
}

/// As [`ensure`], on `machine`.
///
/// # Errors
///
/// As [`ensure`].
pub fn ensure_on(ctx: &Ctx, machine: &Machine, purposes: &[Purpose], minimum: Minimum) -> Result<()> {
    let lacking = lacking(ctx, machine, purposes, minimum);
    if lacking.is_empty() {
        return Ok(());
    }
    if ctx.no_install {
        return Err(refusal(ctx, &lacking, "--no-install is given"));
    }
    install(ctx, machine, &lacking)?;
    let still = self::lacking(ctx, machine, purposes, minimum);
    if still.is_empty() { Ok(()) } else { Err(refusal(ctx, &still, "what was installed does not bring it")) }
}

/// What is lacking, and why.
type Lacking = Vec<(Need, String)>;

fn lacking(ctx: &Ctx, machine: &Machine, purposes: &[Purpose], minimum: Minimum) -> Lacking {
    survey(ctx, machine, purposes, minimum)
        .into_iter()
        .filter_map(|(need, finding)| match finding {
            Finding::Found { .. } => None,
            Finding::Lacking { why } => Some((need, why)),
        })
        .collect()
}

fn refusal(ctx: &Ctx, lacking: &Lacking, reason: &str) -> anyhow::Error {
    let mut text = format!("something is missing, and cannot be installed: {reason}");
    for (need, why) in lacking {
        text.push_str(&format!("\n- {why} ({} would do)", need.otherwise()));
    }
    let needs: Vec<&Need> = lacking.iter().map(|(need, _)| need).collect();
    if let Ok(Some(command)) = command_line(ctx, &needs) {
        text.push_str(&format!("\nTo install it, on Debian: {command}"));
    }
    anyhow!(text).context(Failure::Environment)
}

/// The one command that installs `needs`, for a person to type; nothing if there is none.
///
/// # Errors
///
/// When the package lists cannot be read.
pub fn command_line(ctx: &Ctx, needs: &[&Need]) -> Result<Option<String>> {
    let lines = packages::read(ctx.root())?;
    let packages: Vec<String> =
        wanted(&lines, needs).into_iter().flat_map(|line| line.choices[0].iter().cloned()).collect();
    let mut commands = Vec::new();
    if !packages.is_empty() {
        commands.push(format!("sudo apt-get install --no-install-recommends {}", packages.join(" ")));
    }
    if needs.iter().any(|need| need.package().is_none()) {
        commands.push(format!("cargo install --locked bindgen-cli --version {}", bindgen::VERSION));
    }
    Ok((!commands.is_empty()).then(|| commands.join(" && ")))
}

/// The lines that bring `needs`, each once.
fn wanted<'a>(lines: &'a [Line], needs: &[&Need]) -> Vec<&'a Line> {
    let mut wanted: Vec<&Line> = Vec::new();
    for line in needs.iter().filter_map(|need| Line::find(lines, need.package()?)) {
        if !wanted.contains(&line) {
            wanted.push(line);
        }
    }
    wanted
}

fn install(ctx: &Ctx, machine: &Machine, lacking: &Lacking) -> Result<()> {
    let lines = packages::read(ctx.root())?;
    let needs: Vec<&Need> = lacking.iter().map(|(need, _)| need).collect();
    let wanted = wanted(&lines, &needs);
    if !wanted.is_empty() {
        let Some(apt) = Apt::new(machine) else {
            return Err(refusal(
                ctx,
                lacking,
                "this is no Debian, or there is neither root nor sudo without a password",
            ));
        };
        std::fs::create_dir_all(ctx.cache()).with_context(|| format!("cannot create {}", ctx.cache().display()))?;
        let _lock = Lock::acquire(&ctx.cache().join("install.lock"), "the installation of packages")?;
        apt.install(&wanted).with_context(|| describe(lacking))?;
    }
    if needs.iter().any(|need| need.package().is_none()) {
        progress::say(&format!(
            "building bindgen {} into {}: this machine has none that does",
            bindgen::VERSION,
            ctx.cache().display()
        ));
        bindgen::build(ctx).context(Failure::Environment)?;
    }
    Ok(())
}

fn describe(lacking: &Lacking) -> String {
    let names: Vec<String> = lacking.iter().map(|(need, _)| format!("{} ({})", need.name, need.otherwise())).collect();
    format!("cannot install what is missing; other ways to have it: {}", names.join("; "))
}

/// The machine's apt, and the right to use it.
#[derive(Debug)]
struct Apt<'a> {
    machine: &'a Machine,
    apt_get: PathBuf,
    apt_cache: PathBuf,
    /// Where we are not root ourselves.
    sudo: Option<PathBuf>,
}

impl<'a> Apt<'a> {
    fn new(machine: &'a Machine) -> Option<Self> {
        let apt_get = machine.program("apt-get")?;
        let apt_cache = machine.program("apt-cache")?;
        let sudo = if machine.is_root {
            None
        } else {
            let sudo = machine.program("sudo")?;
            // Succeeds only where no password is asked for.
            machine.ask(&sudo, &["-n", "true"])?;
            Some(sudo)
        };
        Some(Self { machine, apt_get, apt_cache, sudo })
    }

    fn command(&self) -> Command {
        let environment = ["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"];
        let mut command = match &self.sudo {
            Some(sudo) => {
                let mut command = Command::new(sudo);
                command.arg("-n");
                command
            }
            None => Command::new("env"),
        };
        command.args(environment).arg(&self.apt_get).arg("--yes");
        // Its status would be easier to read, but whatever descriptor that goes to is closed for dpkg, and the
        // packages' scripts fail when they print.
        command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
        command
    }

    fn install(&self, lines: &[&Line]) -> Result<()> {
        let mut chosen = self.choose(lines);
        if chosen.is_err() {
            let progress = Progress::spinner("read the package index");
            process::stream(self.command().arg("update"), self.machine.verbose, |_| Ok(()))
                .context(Failure::Environment)?;
            drop(progress);
            chosen = self.choose(lines);
        }
        let mut packages = BTreeSet::new();
        for (line, choice) in lines.iter().zip(chosen?) {
            progress::say(&format!("installing {}: {}", choice.join(" "), line.purpose));
            packages.extend(choice);
        }
        let progress = Progress::steps("install packages", 0);
        let mut command = self.command();
        command.args(["install", "--no-install-recommends"]).args(&packages);
        // dpkg, once it has begun, must not be cut off: Ctrl-C takes effect when it is done.
        process::stream_unbroken(&command, self.machine.verbose, |line| {
            if let Some(packages) = new_packages(line) {
                progress.set_total(packages * STEPS.len() as u64);
            }
            if STEPS.iter().any(|step| line.starts_with(step)) {
                progress.add(1);
                progress.detail(line);
            }
            Ok(())
        })
        .context(Failure::Environment)?;
        progress.done(&format!("{} installed", packages.len()));
        crate::interrupt::check()
    }

    /// The first choice of each line that the archive has.
    fn choose(&self, lines: &[&Line]) -> Result<Vec<Vec<String>>> {
        lines
            .iter()
            .map(|line| {
                line.choices.iter().find(|choice| choice.iter().all(|package| self.has(package))).cloned().ok_or_else(
                    || {
                        let choices: Vec<String> = line.choices.iter().map(|choice| choice.join(" ")).collect();
                        anyhow!("the archive of this machine has no {}", choices.join(", nor "))
                            .context(Failure::Environment)
                    },
                )
            })
            .collect()
    }

    fn has(&self, package: &str) -> bool {
        let (Ok(sh), apt_cache) = (Shell::new(), &self.apt_cache) else { return false };
        let show = cmd!(sh, "{apt_cache} --no-all-versions show {package}").env("LC_ALL", "C");
        process::read(&show.into(), self.machine.verbose).is_ok_and(|shown| !shown.is_empty())
    }
}

/// How the lines start that apt prints once for each package.
const STEPS: [&str; 3] = ["Get:", "Unpacking ", "Setting up "];

/// The number in apt's plan: `0 upgraded, 54 newly installed, 0 to remove and 0 not upgraded.`
fn new_packages(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" newly installed")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::needs;

    #[test]
    fn the_number_of_packages_is_read_from_apts_plan() {
        assert_eq!(new_packages("0 upgraded, 54 newly installed, 0 to remove and 2 not upgraded."), Some(54));
        assert_eq!(new_packages("The following NEW packages will be installed:"), None);
    }

    #[test]
    fn every_need_has_a_line_in_the_lists() {
        let lines = packages::read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        for need in needs::all(Minimum::default()) {
            if let Some(package) = need.package() {
                assert!(Line::find(&lines, package).is_some(), "no list has {package}, for {}", need.name);
            }
        }
    }
}
