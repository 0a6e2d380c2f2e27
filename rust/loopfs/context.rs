// SPDX-License-Identifier: GPL-2.0

//! The mount options.

use kernel::{
    fs::{
        self,
        context::{
            Operations,
            Parameter,
            ParameterSpec, //
        },
        super_block::{
            self,
            SuperBlock, //
        }, //
    },
    fs_invalid,
    prelude::*, //
};

use crate::{
    file_system::{
        self,
        Loopfs, //
    },
    private, //
};

/// The option `max=`.
const MAX: u8 = 0;

/// The options of one mount or remount.
pub(crate) struct Context {
    /// The option `max=`, if it was given.
    max: Option<u32>,
}

impl Operations for Context {
    type FileSystem = Loopfs;

    const PARAMETERS: &'static [ParameterSpec] =
        &[ParameterSpec::u32(c"max", MAX), ParameterSpec::END];

    fn new(_fc: &fs::context::Context<Loopfs>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self { max: None }, GFP_KERNEL_ACCOUNT)?)
    }

    fn parse_param(&mut self, fc: &fs::context::Context<Loopfs>, param: &Parameter) -> Result {
        match param.opt() {
            MAX => {
                let max = param.u32();
                let limit = private::index_limit();
                if max > limit {
                    return Err(fs_invalid!(fc, "max={max} exceeds {limit}"));
                }
                self.max = Some(max);
                Ok(())
            }
            _ => Err(EINVAL),
        }
    }

    fn fill_super<'a>(
        &mut self,
        sb: super_block::New<'a, Loopfs>,
    ) -> Result<&'a SuperBlock<Loopfs>> {
        file_system::fill_super(sb, self.max)
    }

    fn reconfigure(&mut self, sb: &SuperBlock<Loopfs>) -> Result {
        // A remount for another reason must not lift the limit.
        if let Some(max) = self.max {
            sb.data().set_max(max);
        }
        Ok(())
    }
}
