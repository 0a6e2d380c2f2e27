//! What a build under way has said, kept on the disk: what it compiled before an interruption is not compiled again
//! afterwards, so that its warnings would be lost.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use crate::verify::{
    Site,
    warnings::{Collector, Warnings},
};

/// The lines of one build that are of interest, also those of an attempt before that did not come to its end.
#[derive(Debug)]
pub struct Heard {
    collector: Collector,
    path: PathBuf,
    file: File,
    /// The build was interrupted before, and goes on.
    pub goes_on: bool,
}

impl Heard {
    /// Listens to the build that `key` stands for.
    ///
    /// # Errors
    ///
    /// When the cache cannot be written.
    pub fn open(site: &Site<'_>, key: &str) -> Result<Self> {
        let folder = site.ctx.cache().join("verify/heard");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(key);
        let before = fs::read_to_string(&path).ok();
        let mut collector = Collector::new(&site.tree);
        before.iter().flat_map(|text| text.lines()).for_each(|line| collector.take(line));
        let file = File::options().append(true).create(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { collector, path, file, goes_on: before.is_some() })
    }

    /// Takes one line of the output.
    pub fn take(&mut self, line: &str) {
        self.collector.take(line);
        if Collector::concerns(line) {
            // If the disk is full, the build itself fails on it.
            drop(writeln!(self.file, "{line}"));
        }
    }

    /// The build is done: what it warned of.
    ///
    /// # Errors
    ///
    /// When the cache cannot be written.
    pub fn finish(self) -> Result<Warnings> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        Ok(self.collector.finish())
    }
}
