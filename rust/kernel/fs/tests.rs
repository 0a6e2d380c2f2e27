// SPDX-License-Identifier: GPL-2.0

//! KUnit tests that register and mount a file system, and call it as the VFS does.
//!
//! They also fail if the C side changes what the abstractions rely on.

use super::{
    context::{
        self,
        Context,
        Parameter, //
    },
    dentry::{
        Child,
        Rename,
        Renamed,
        Unlinked, //
    },
    file,
    file_system::{
        Flag,
        Flags, //
    },
    inode,
    mount::WriteAccess,
    super_block::{
        self,
        IFlag, //
    },
    DevT,
    File,
    FileSystem,
    FileSystemType,
    Inode,
    Registration,
    SuperBlock, //
};
use crate::{
    bindings,
    bits::bit_u32,
    error::{
        from_err_ptr,
        to_result, //
    },
    invalfc,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CStrExt as _,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use core::{
    convert::Infallible,
    ptr::NonNull, //
};

// C: macros that bindgen does not evaluate.
const SB_RDONLY: u32 = bit_u32(0);
const SB_KERNMOUNT: u32 = bit_u32(22);

/// How many superblocks were destroyed.
static KILLED: Atomic<u32> = Atomic::new(0);

/// How many times the data of an inode was dropped.
static DROPPED: Atomic<u32> = Atomic::new(0);

/// The file system under test.
struct TestFs;

static TYPE: FileSystemType<TestFs> = FileSystemType::new();

#[vtable]
impl FileSystem for TestFs {
    const NAME: &'static CStr = c"kunit_rust_fs";
    const FLAGS: Flags = Flags::USERNS_MOUNT;

    type Context = Options;
    type SuperOperations = Self;
    type SuperData = KBox<Atomic<u32>>;
    type InodeData = KBox<Witness>;

    fn kill_sb(_data: KBox<Atomic<u32>>) {
        KILLED.fetch_add(1, Relaxed);
    }
}

/// Counts how many times it is dropped.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Relaxed);
    }
}

#[vtable]
impl super_block::Operations for TestFs {
    type FileSystem = Self;

    fn show_options(sb: &SuperBlock<Self>, m: &SeqFile) -> Result {
        seq_print!(m, ",max={}", sb.data().load(Relaxed));
        Ok(())
    }
}

/// The options of a mount.
struct Options {
    max: u32,
    fail: u32,
}

impl Options {
    fn set_max(mut self: Pin<&mut Self>, fc: &Context<TestFs>, max: u32) -> Result {
        if max > 255 {
            return Err(invalfc!(fc, "max={max} exceeds 255"));
        }
        self.max = max;
        Ok(())
    }

    fn set_fail(mut self: Pin<&mut Self>, _fc: &Context<TestFs>, fail: u32) -> Result {
        self.fail = fail;
        Ok(())
    }
}

const ROOT_INO: u64 = 1;
const CONTROL_INO: u64 = 2;

#[vtable]
impl context::Operations for Options {
    type FileSystem = TestFs;

    const PARAMETERS: &'static [Parameter<Self>] = &[
        Parameter::u32(c"max", Self::set_max),
        Parameter::u32(c"fail", Self::set_fail),
    ];

    fn init_fs_context(_fc: &Context<TestFs>) -> impl PinInit<Self, Error> {
        Ok(Self { max: 0, fail: 0 })
    }

    fn fill_super<'a>(
        self: Pin<&mut Self>,
        _fc: &Context<TestFs>,
        mut sb: super_block::New<'a, TestFs>,
    ) -> Result<&'a SuperBlock<TestFs>> {
        sb.set_magic(0x6b756e74);
        sb.clear_iflags(IFlag::Nodev);
        if self.fail == 1 {
            return Err(EIO);
        }

        let sb = sb.set_data(KBox::new(Atomic::new(self.max), GFP_KERNEL)?);
        if self.fail == 2 {
            return Err(EIO);
        }

        let mut root = sb.new_inode()?;
        root.set_ino(ROOT_INO);
        let sb = sb.set_root(root.into_dir::<Directory>(0o755))?;
        if self.fail == 3 {
            return Err(EIO);
        }

        let mut inode = sb.new_inode()?;
        inode.set_ino(CONTROL_INO);
        let inode = inode.into_char_device::<Control>(DevT::new(10, 0), 0o600);
        drop(
            sb.root()
                .start_creating(c"control")?
                .make_persistent(inode)?,
        );
        Ok(sb)
    }

    fn reconfigure(self: Pin<&mut Self>, _fc: &Context<TestFs>, sb: &SuperBlock<TestFs>) -> Result {
        sb.data().store(self.max, Relaxed);
        Ok(())
    }
}

/// The operations of the root directory. What happens to a name that begins with "fail" succeeds,
/// but the operation fails.
struct Directory;

fn fails(name: &[u8]) -> bool {
    name.starts_with(b"fail")
}

#[vtable]
impl inode::Operations for Directory {
    type FileSystem = TestFs;

    fn create(_child: Child<'_, TestFs>, _mode: u16) -> Result<Infallible> {
        Err(EPERM)
    }

    fn unlink<'a>(child: Child<'a, TestFs>) -> Result<Unlinked<'a>> {
        let fails = fails(child.name());
        let unlinked = child.simple_unlink()?;
        if fails {
            return Err(EBUSY);
        }
        Ok(unlinked)
    }

    fn rename<'a>(rename: Rename<'a, TestFs>) -> Result<Renamed<'a>> {
        let fails = fails(rename.old_child().name());
        let renamed = rename.simple_rename()?;
        if fails {
            return Err(EBUSY);
        }
        Ok(renamed)
    }
}

/// The operations of `control`.
struct Control;

/// An ioctl that gets write access and removes the node with the inode number in its argument.
const REMOVE: u32 = 1;

#[vtable]
impl file::Operations for Control {
    type FileSystem = TestFs;

    fn ioctl(file: &File, inode: &Inode<TestFs>, cmd: u32, arg: usize) -> Result<isize> {
        if cmd != REMOVE {
            return Err(ENOTTY);
        }
        let _access = WriteAccess::new(file)?;
        remove(inode.super_block(), arg as u64)?;
        Ok(7)
    }
}

/// Removes the node with the inode number `ino`.
fn remove(sb: &SuperBlock<TestFs>, ino: u64) -> Result {
    let inode = sb.ilookup(ino).ok_or(ENOENT)?;
    inode.find_any_alias().ok_or(ENOENT)?.recursive_removal();
    Ok(())
}

fn register() -> Result<Registration<TestFs>> {
    // SAFETY: `TYPE` is a static, and all tests drop the registration.
    unsafe { Registration::register(&TYPE) }
}

/// Returns a name for C.
fn qstr(name: &CStr) -> bindings::qstr {
    let mut qstr = bindings::qstr {
        name: name.as_char_ptr().cast(),
        ..pin_init::zeroed()
    };
    qstr.__bindgen_anon_1.__bindgen_anon_1.len = name.count_bytes() as u32;
    qstr
}

/// A context for a mount.
struct MountContext(NonNull<bindings::fs_context>);

impl MountContext {
    fn new(flags: u32) -> Result<Self> {
        let ty = core::ptr::from_ref(&TYPE).cast_mut().cast();
        // SAFETY: `TYPE` is valid, and all tests that get here have it registered.
        let fc = from_err_ptr(unsafe { bindings::fs_context_for_mount(ty, flags | SB_KERNMOUNT) })?;
        Ok(Self(NonNull::new(fc).ok_or(EINVAL)?))
    }

    fn parse(&mut self, key: &CStr, value: &CStr) -> Result {
        // SAFETY: The context is valid.
        to_result(unsafe {
            bindings::vfs_parse_fs_qstr(self.0.as_ptr(), key.as_char_ptr(), &qstr(value))
        })
    }
}

impl Drop for MountContext {
    fn drop(&mut self) {
        // SAFETY: The context is ours.
        unsafe { bindings::put_fs_context(self.0.as_ptr()) };
    }
}

/// A mount. Dropping it destroys the superblock.
struct Mount(NonNull<bindings::vfsmount>);

impl Mount {
    fn new(options: &[(&CStr, &CStr)]) -> Result<Self> {
        Self::with_flags(0, options)
    }

    fn with_flags(flags: u32, options: &[(&CStr, &CStr)]) -> Result<Self> {
        let mut fc = MountContext::new(flags)?;
        for (key, value) in options {
            fc.parse(key, value)?;
        }
        // SAFETY: The context is valid.
        let mnt = from_err_ptr(unsafe { bindings::fc_mount(fc.0.as_ptr()) })?;
        Ok(Self(NonNull::new(mnt).ok_or(EINVAL)?))
    }

    fn root(&self) -> *mut bindings::dentry {
        // SAFETY: The mount is valid.
        unsafe { (*self.0.as_ptr()).mnt_root }
    }

    fn sb(&self) -> &SuperBlock<TestFs> {
        // SAFETY: The mount keeps its superblock, which is of our type.
        unsafe { SuperBlock::from_raw((*self.0.as_ptr()).mnt_sb) }
    }

    /// Adds a node with data.
    fn add(&self, name: &CStr, ino: u64) -> Result {
        let mut inode = self.sb().new_inode()?;
        inode.set_ino(ino);
        inode.set_data(KBox::new(Witness, GFP_KERNEL)?);
        let inode = inode.into_block_device(DevT::new(7, 0), 0o600);
        drop(
            self.sb()
                .root()
                .start_creating(name)?
                .make_persistent(inode)?,
        );
        Ok(())
    }

    /// Returns a dentry with a reference, positive or negative.
    fn lookup(&self, name: &CStr) -> Result<TestDentry> {
        // SAFETY: The root is a valid directory.
        let dentry = unsafe { bindings::lookup_noperm_unlocked(&mut qstr(name), self.root()) };
        Ok(TestDentry(
            NonNull::new(from_err_ptr(dentry)?).ok_or(ENOENT)?,
        ))
    }

    /// Returns the inode number behind a name.
    fn ino(&self, name: &CStr) -> Option<u64> {
        self.lookup(name).ok()?.ino()
    }

    /// Removes a name as `unlink(2)` does.
    fn unlink(&self, name: &CStr) -> Result {
        // SAFETY: The root is a valid directory. `vfs_unlink` gets a positive dentry in it, with
        // the directory locked, and `simple_done_creating` does what `end_removing` does in C.
        unsafe {
            let dentry = from_err_ptr(bindings::start_removing_noperm(
                self.root(),
                &mut qstr(name),
            ))?;
            let result = to_result(bindings::vfs_unlink(
                &raw mut bindings::nop_mnt_idmap,
                (*self.root()).d_inode,
                dentry,
                core::ptr::null_mut(),
            ));
            bindings::simple_done_creating(dentry);
            result
        }
    }

    /// Renames as `renameat2(2)` does.
    fn rename(&self, old: &CStr, new: &CStr, flags: u32) -> Result {
        let mut data = bindings::renamedata {
            mnt_idmap: &raw mut bindings::nop_mnt_idmap,
            old_parent: self.root(),
            new_parent: self.root(),
            flags,
            ..pin_init::zeroed()
        };
        // SAFETY: The root is a valid directory, and `start_renaming` locks and looks up what
        // `vfs_rename` needs.
        unsafe {
            to_result(bindings::start_renaming(
                &mut data,
                0,
                &mut qstr(old),
                &mut qstr(new),
            ))?;
            let result = to_result(bindings::vfs_rename(&mut data));
            bindings::end_renaming(&mut data);
            result
        }
    }

    /// Creates a regular file as `open(2)` does.
    fn create(&self, name: &CStr) -> Result {
        // SAFETY: The root is a valid directory, which `simple_start_creating` locks.
        unsafe {
            let dentry = from_err_ptr(bindings::simple_start_creating(
                self.root(),
                name.as_char_ptr(),
            ))?;
            let result = to_result(bindings::vfs_create(
                &raw mut bindings::nop_mnt_idmap,
                dentry,
                (bindings::S_IFREG | 0o600) as bindings::umode_t,
                core::ptr::null_mut(),
            ));
            bindings::simple_done_creating(dentry);
            result
        }
    }

    /// Opens a node, calls an ioctl of it and closes it.
    fn ioctl(&self, name: &CStr, cmd: u32, arg: usize) -> Result<c_long> {
        let dentry = self.lookup(name)?;
        let path = bindings::path {
            mnt: self.0.as_ptr(),
            dentry: dentry.0.as_ptr(),
        };
        let task = crate::current!().as_ptr();
        // SAFETY: `path` is valid, and so are the current task and its credentials.
        unsafe {
            let cred = (*task).cred;
            let flags = bindings::O_RDWR as c_int;
            let file = from_err_ptr(bindings::dentry_open(&path, flags, cred))?;
            let ioctl = (*(*file).f_op).unlocked_ioctl;
            let result = ioctl.map(|ioctl| ioctl(file, cmd, arg));
            bindings::__fput_sync(file);

            let result = result.ok_or(ENOTTY)?;
            if result < 0 {
                return Err(Error::from_errno(result as c_int));
            }
            Ok(result)
        }
    }

    /// Returns the mount options that user space sees.
    fn options(&self) -> Result<(KVec<u8>, usize)> {
        let mut buf = KVec::from_elem(0u8, 64, GFP_KERNEL)?;
        let mut m = bindings::seq_file {
            buf: buf.as_mut_ptr().cast(),
            size: buf.len(),
            ..Default::default()
        };
        // SAFETY: The superblock is valid and has the operations of our type, and `m` has a buffer.
        unsafe {
            let show = (*(*self.sb().as_ptr()).s_op).show_options.ok_or(EINVAL)?;
            to_result(show(&mut m, self.root()))?;
        }
        Ok((buf, m.count))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // SAFETY: The mount is ours.
        unsafe { bindings::mntput(self.0.as_ptr()) };
    }
}

/// A reference to a dentry.
struct TestDentry(NonNull<bindings::dentry>);

impl TestDentry {
    fn ino(&self) -> Option<u64> {
        // SAFETY: The dentry is valid, and nobody else changes it in these tests.
        unsafe {
            let inode = (*self.0.as_ptr()).d_inode;
            (!inode.is_null()).then(|| (*inode).i_ino)
        }
    }

    /// Returns how many references there are.
    fn count(&self) -> c_int {
        // SAFETY: The dentry is valid, and nobody else changes it in these tests.
        unsafe {
            let lockref = &raw const (*self.0.as_ptr()).d_lockref;
            (*lockref).__bindgen_anon_1.__bindgen_anon_1.count
        }
    }

    fn is_persistent(&self) -> bool {
        // SAFETY: The dentry is valid, and nobody else changes it in these tests.
        unsafe { super::dentry::is_persistent(self.0.as_ptr()) }
    }

    fn is_hashed(&self) -> bool {
        // SAFETY: The dentry is valid, and nobody else changes it in these tests.
        unsafe { !(*self.0.as_ptr()).d_hash.pprev.is_null() }
    }
}

impl Drop for TestDentry {
    fn drop(&mut self) {
        // SAFETY: The reference is ours.
        unsafe { bindings::dput(self.0.as_ptr()) };
    }
}

#[macros::kunit_tests(rust_fs)]
mod cases {
    use super::*;

    #[test]
    fn a_type_is_registered_once() -> Result {
        let registration = register()?;
        assert_eq!(register().err(), Some(EBUSY));
        drop(registration);
        drop(register()?);
        Ok(())
    }

    #[test]
    fn flags_are_those_of_c() {
        assert_eq!(u32::from(Flags::USERNS_MOUNT), bindings::FS_USERNS_MOUNT);
        assert_eq!(Flags::from(Flag::UsernsMount), Flags::USERNS_MOUNT);
    }

    #[test]
    fn options_are_parsed() -> Result {
        let _registration = register()?;
        let mut fc = MountContext::new(0)?;
        assert_eq!(fc.parse(c"other", c"1").err(), Some(EINVAL));
        assert_eq!(fc.parse(c"max", c"x").err(), Some(EINVAL));
        assert_eq!(fc.parse(c"max", c"4294967296").err().is_some(), true);
        assert_eq!(fc.parse(c"max", c"256").err(), Some(EINVAL));
        assert!(fc.parse(c"max", c"255").is_ok());
        assert!(fc.parse(c"fail", c"0").is_ok());
        Ok(())
    }

    #[test]
    fn options_are_shown() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[(c"max", c"42")])?;
        let (buf, len) = mount.options()?;
        assert!(&buf[..len] == b",max=42");
        Ok(())
    }

    #[test]
    fn a_remount_is_applied() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[(c"max", c"1")])?;

        // SAFETY: The root is valid, and the context is used as `reconfigure_super` does.
        unsafe {
            let fc = from_err_ptr(bindings::fs_context_for_reconfigure(mount.root(), 0, 0))?;
            let mut fc = MountContext(NonNull::new(fc).ok_or(EINVAL)?);
            fc.parse(c"max", c"2")?;
            let reconfigure = (*(*fc.0.as_ptr()).ops).reconfigure.ok_or(EINVAL)?;
            to_result(reconfigure(fc.0.as_ptr()))?;
        }
        assert_eq!(mount.sb().data().load(Relaxed), 2);
        Ok(())
    }

    #[test]
    fn kill_sb_gets_the_data_if_there_is_any() -> Result {
        let _registration = register()?;
        for (fail, killed) in [(c"0", 1), (c"1", 0), (c"2", 1), (c"3", 1)] {
            let before = KILLED.load(Relaxed);
            let mount = Mount::new(&[(c"fail", fail)]);
            assert_eq!(mount.is_ok(), fail == c"0");
            drop(mount);
            assert_eq!(KILLED.load(Relaxed) - before, killed);
        }
        Ok(())
    }

    #[test]
    fn the_data_of_an_inode_is_dropped_once() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        let dropped = || DROPPED.load(Relaxed);

        // A new inode that is dropped, after its data was replaced.
        let before = dropped();
        let mut inode = mount.sb().new_inode()?;
        inode.set_data(KBox::new(Witness, GFP_KERNEL)?);
        assert_eq!(dropped() - before, 0);
        inode.set_data(KBox::new(Witness, GFP_KERNEL)?);
        assert_eq!(dropped() - before, 1);
        drop(inode.into_block_device(DevT::new(7, 0), 0o600));
        assert_eq!(dropped() - before, 2);

        // A name that is removed, from either side.
        let before = dropped();
        mount.add(c"a", 10)?;
        mount.add(c"b", 11)?;
        mount.add(c"c", 12)?;
        assert_eq!(dropped() - before, 0);
        mount.unlink(c"a")?;
        assert_eq!(dropped() - before, 1);
        remove(mount.sb(), 11)?;
        assert_eq!(dropped() - before, 2);

        // An unmount.
        drop(mount);
        assert_eq!(dropped() - before, 3);
        Ok(())
    }

    #[test]
    fn a_name_is_created_once() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        let root = mount.sb().root();

        // One that is given up does not exist.
        drop(root.start_creating(c"a")?);
        assert_eq!(mount.ino(c"a"), None);

        mount.add(c"a", 10)?;
        assert_eq!(mount.ino(c"a"), Some(10));
        assert_eq!(root.start_creating(c"a").err(), Some(EEXIST));
        assert_eq!(root.start_creating(c"a/b").err(), Some(EACCES));
        assert_eq!(root.start_creating(c"..").err(), Some(EACCES));
        Ok(())
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        let long = crate::str::CString::try_from_fmt(fmt!("{:0256}", 0))?;
        let result = mount.sb().root().start_creating(&long);
        assert_eq!(result.err(), Some(ENAMETOOLONG));
        Ok(())
    }

    #[test]
    fn an_inode_of_another_superblock_gets_no_name() -> Result {
        let _registration = register()?;
        let (mount, other) = (Mount::new(&[])?, Mount::new(&[])?);

        let before = DROPPED.load(Relaxed);
        let mut inode = other.sb().new_inode()?;
        inode.set_data(KBox::new(Witness, GFP_KERNEL)?);
        let inode = inode.into_block_device(DevT::new(7, 0), 0o600);
        let creating = mount.sb().root().start_creating(c"a")?;
        assert_eq!(creating.make_persistent(inode).err(), Some(EXDEV));
        assert_eq!(DROPPED.load(Relaxed) - before, 1);

        // The directory is not locked any more.
        mount.add(c"a", 10)?;
        Ok(())
    }

    #[test]
    fn a_name_is_persistent_until_it_is_removed() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        mount.add(c"b", 11)?;

        let (a, b) = (mount.lookup(c"a")?, mount.lookup(c"b")?);
        assert!(a.is_persistent() && a.is_hashed());
        assert_eq!(a.count(), 2);
        mount.unlink(c"a")?;
        assert!(!a.is_persistent() && !a.is_hashed());
        assert_eq!(a.count(), 1);

        assert_eq!(b.count(), 2);
        remove(mount.sb(), 11)?;
        assert!(!b.is_persistent() && !b.is_hashed());
        assert_eq!(b.count(), 1);
        Ok(())
    }

    #[test]
    fn an_unlink_that_fails_too_late_drops_one_reference() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"fail", 10)?;

        let dentry = mount.lookup(c"fail")?;
        assert_eq!(mount.unlink(c"fail").err(), Some(EBUSY));
        assert_eq!(dentry.count(), 1);
        assert!(!dentry.is_hashed());

        // Neither operation finds it again.
        assert_eq!(mount.unlink(c"fail").err(), Some(ENOENT));
        assert_eq!(mount.rename(c"fail", c"a", 0).err(), Some(ENOENT));
        assert!(mount.sb().ilookup(10).is_some());
        remove(mount.sb(), 10)?;
        assert_eq!(dentry.count(), 1);

        // The name can be used again.
        mount.add(c"fail", 11)?;
        Ok(())
    }

    #[test]
    fn a_name_that_is_not_persistent_cannot_be_removed() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        let dentry = mount.lookup(c"a")?;

        // The state that an operation would find if the C side left a discarded dentry hashed.
        // SAFETY: The dentry is valid and persistent.
        unsafe { bindings::d_make_discardable(dentry.0.as_ptr()) };
        assert_eq!(mount.unlink(c"a").err(), Some(ENOENT));
        assert_eq!(dentry.count(), 1);
        assert!(!dentry.is_hashed());
        Ok(())
    }

    #[test]
    fn a_name_is_renamed() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        mount.rename(c"a", c"b", 0)?;
        assert_eq!((mount.ino(c"a"), mount.ino(c"b")), (None, Some(10)));

        mount.add(c"a", 11)?;
        let noreplace = bindings::RENAME_NOREPLACE;
        let whiteout = bindings::RENAME_WHITEOUT;
        assert_eq!(mount.rename(c"a", c"b", noreplace).err(), Some(EEXIST));
        assert_eq!(mount.rename(c"a", c"c", whiteout).err(), Some(EINVAL));
        assert_eq!(mount.ino(c"a"), Some(11));
        Ok(())
    }

    #[test]
    fn a_rename_replaces() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        mount.add(c"b", 11)?;

        let before = DROPPED.load(Relaxed);
        let (a, b) = (mount.lookup(c"a")?, mount.lookup(c"b")?);
        mount.rename(c"a", c"b", 0)?;
        assert_eq!((mount.ino(c"a"), mount.ino(c"b")), (None, Some(10)));
        assert!(a.is_persistent() && a.is_hashed());
        assert!(!b.is_persistent() && !b.is_hashed());
        assert_eq!((a.count(), b.count()), (2, 1));
        drop(b);
        assert_eq!(DROPPED.load(Relaxed) - before, 1);
        Ok(())
    }

    #[test]
    fn a_rename_exchanges() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        mount.add(c"b", 11)?;

        let (a, b) = (mount.lookup(c"a")?, mount.lookup(c"b")?);
        mount.rename(c"a", c"b", bindings::RENAME_EXCHANGE)?;
        assert_eq!((mount.ino(c"a"), mount.ino(c"b")), (Some(11), Some(10)));
        assert!(a.is_persistent() && b.is_persistent());
        assert_eq!((a.count(), b.count()), (2, 2));
        mount.unlink(c"a")?;
        mount.unlink(c"b")?;
        assert_eq!((a.count(), b.count()), (1, 1));
        Ok(())
    }

    #[test]
    fn a_rename_that_fails_too_late_drops_one_reference() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"fail", 10)?;
        mount.add(c"b", 11)?;

        let b = mount.lookup(c"b")?;
        assert_eq!(mount.rename(c"fail", c"b", 0).err(), Some(EBUSY));
        assert_eq!((mount.ino(c"fail"), mount.ino(c"b")), (Some(10), None));
        assert_eq!(b.count(), 1);
        assert!(!b.is_hashed());
        assert_eq!(mount.unlink(c"b").err(), Some(ENOENT));

        // The old name is as it was.
        let old = mount.lookup(c"fail")?;
        assert!(old.is_persistent());
        assert_eq!(old.count(), 2);
        Ok(())
    }

    #[test]
    fn inodes_are_looked_up_by_a_number_that_was_set() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        mount.rename(c"a", c"b", 0)?;
        let inode = mount.sb().ilookup(10).ok_or(ENOENT)?;
        assert!(inode.data().is_some());
        assert!(core::ptr::eq(inode.super_block(), mount.sb()));
        drop(inode);

        // One that has a name, but a number that was not set.
        let inode = mount.sb().new_inode()?;
        let inode = inode.into_block_device(DevT::new(7, 0), 0o600);
        drop(
            mount
                .sb()
                .root()
                .start_creating(c"c")?
                .make_persistent(inode)?,
        );
        let ino = mount.ino(c"c").ok_or(ENOENT)?;
        assert!(ino != 0);
        // Any other inode may have the same number by chance.
        assert!(ino == 10 || ino == CONTROL_INO || mount.sb().ilookup(ino).is_none());

        // One that has a number, but no name.
        let mut inode = mount.sb().new_inode()?;
        inode.set_ino(12);
        assert!(mount.sb().ilookup(12).is_none());
        Ok(())
    }

    #[test]
    fn the_root_cannot_be_removed() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        assert_eq!(remove(mount.sb(), ROOT_INO).err(), Some(ENOENT));
        // SAFETY: The root is valid.
        assert_eq!(unsafe { nlink(mount.root()) }, 2);
        Ok(())
    }

    /// Returns the link count behind a dentry.
    ///
    /// # Safety
    ///
    /// `dentry` must be valid and positive.
    unsafe fn nlink(dentry: *mut bindings::dentry) -> u32 {
        // SAFETY: By the safety requirements.
        unsafe { (*(*dentry).d_inode).__bindgen_anon_1.i_nlink }
    }

    #[test]
    fn nothing_is_removed_twice() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        let dentry = mount.lookup(c"a")?;
        let (first, second) = (mount.sb().ilookup(10), mount.sb().ilookup(10));
        let alias = |inode: Option<inode::Ref<'_, TestFs>>| inode?.find_any_alias().map(|_| ());
        assert!(alias(first).is_some() && alias(second).is_some());

        remove(mount.sb(), 10)?;
        remove(mount.sb(), 10)?;
        assert_eq!(dentry.count(), 1);
        drop(dentry);
        assert_eq!(remove(mount.sb(), 10).err(), Some(ENOENT));
        Ok(())
    }

    #[test]
    fn create_can_only_fail() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        assert_eq!(mount.create(c"a").err(), Some(EPERM));
        assert_eq!(mount.ino(c"a"), None);
        Ok(())
    }

    #[test]
    fn an_ioctl_gets_its_file_system() -> Result {
        let _registration = register()?;
        let mount = Mount::new(&[])?;
        mount.add(c"a", 10)?;
        assert_eq!(mount.ioctl(c"control", 0, 0).err(), Some(ENOTTY));
        assert_eq!(mount.ioctl(c"control", REMOVE, 11).err(), Some(ENOENT));
        assert_eq!(mount.ioctl(c"control", REMOVE, 10)?, 7);
        assert_eq!(mount.ino(c"a"), None);
        Ok(())
    }

    #[test]
    fn a_read_only_mount_gives_no_write_access() -> Result {
        let _registration = register()?;
        let mount = Mount::with_flags(SB_RDONLY, &[])?;
        mount.add(c"a", 10)?;
        assert_eq!(mount.ioctl(c"control", REMOVE, 10).err(), Some(EROFS));
        assert_eq!(mount.ino(c"a"), Some(10));
        Ok(())
    }
}
