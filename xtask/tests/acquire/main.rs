//! From nothing to a kernel, on machines whose tools are scripts: what happens with bad input and bad luck.

mod fake_build;
mod interruption;
mod kernel;
mod scene;
mod source;
mod toolchain;
