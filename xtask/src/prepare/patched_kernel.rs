//! The kernel this repository is about: the base with the series, configured for the suite.

use std::path::Path;

use anyhow::Result;
use loopfs_protocol::CaseInfo;

use crate::{
    cache,
    ctx::Ctx,
    kernel::{
        Built, Request, build,
        config::{Flavour, Wanted},
        find,
    },
    series::tree::{self, Tree},
    source,
    toolchain::{Toolchain, install, machine::Machine, needs::Purpose, version::Minimum},
};

/// The symbol of the series.
pub const LOOPFS: &str = "BLK_DEV_LOOPFS";

/// The symbol of the tests that the driver brings along, which KUnit runs at boot.
const LOOPFS_KUNIT_TEST: &str = "BLK_DEV_LOOPFS_KUNIT_TEST";

/// Which kernel with the series.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Which flavour.
    pub flavour: Flavour,
    /// A source the person has, in place of a download.
    pub from: Option<&'a Path>,
    /// Whether the option for loopfs is on.
    pub loopfs: bool,
    /// The cases it is to run: they decide symbols.
    pub cases: &'a [CaseInfo],
}

/// Gets the source, applies the series, finds or installs the tools and builds the kernel; each step
/// only as far as the cache does not have it.
///
/// # Errors
///
/// What the steps fail with: see [`patched_tree`], [`Toolchain::ensure`] and [`build`].
pub fn build_patched(ctx: &Ctx, order: &Order<'_>) -> Result<Built> {
    // Before anything is downloaded or installed that could not be used.
    cache::check_path(ctx.cache())?;
    let wanted = wanted(ctx, order)?;
    let tree = patched_tree(ctx, order.from)?;
    let request = Request { flavour: order.flavour, tree: &tree.path, tree_key: &tree.content_key, wanted: &wanted };
    let minimum = Minimum::of_tree(&tree.path, ctx.verbose)?;
    // With a finished kernel, only what decides its key has to be there.
    let found = Toolchain::find(&Machine::this(ctx.verbose), ctx.cache(), minimum);
    if let Some(built) = found.ok().and_then(|toolchain| find(ctx, &toolchain, &request)) {
        return Ok(built);
    }
    build(ctx, &Toolchain::ensure(ctx, minimum)?, &request)
}

/// Gets the source, from `from` or the first candidate that can be had, and applies the series.
///
/// # Errors
///
/// What [`install::ensure`], [`source::base`] and [`tree::prepare_tree`] fail with.
pub fn patched_tree(ctx: &Ctx, from: Option<&Path>) -> Result<Tree> {
    install::ensure(ctx, &[Purpose::Source], Minimum::default())?;
    let base = source::base(ctx, from)?;
    tree::prepare_tree(ctx, &base)
}

/// The symbols of the fragments, and those of the cases.
///
/// # Errors
///
/// What [`Wanted::read`] fails with.
pub fn wanted(ctx: &Ctx, order: &Order<'_>) -> Result<Wanted> {
    let mut wanted = Wanted::read(ctx.root(), order.flavour)?;
    for case in order.cases {
        let debug = if order.flavour == Flavour::Debug { case.kconfig_debug.as_slice() } else { &[] };
        for symbol in case.kconfig.iter().chain(debug) {
            wanted.declare(symbol, &case.name);
        }
    }
    if order.loopfs {
        wanted.declare(LOOPFS, "the series");
        if order.flavour == Flavour::Debug {
            wanted.declare(LOOPFS_KUNIT_TEST, "the series");
        }
    } else {
        wanted.set(LOOPFS, "n", "the choice to leave loopfs off");
    }
    Ok(wanted)
}
