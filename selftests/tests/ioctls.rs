//! Holds the suite's table of ioctls against the headers of the kernel.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use loopfs_selftests::ioctl_table::TABLE;

/// The headers that define ioctls of block devices.
const HEADERS: [&str; 9] = ["fs", "blktrace_api", "loop", "blkzoned", "pr", "sed-opal", "blk-crypto", "blkpg", "hdreg"];

/// That of the commands of io_uring, which share a type with the ioctls.
const COMMANDS: &str = "blkdev";

/// A kernel's work tree: that of `LOOPFS_KERNEL_TREE`, or the last one that `cargo xtask` has made.
fn tree() -> Option<PathBuf> {
    if let Some(tree) = env::var_os("LOOPFS_KERNEL_TREE") {
        return Some(tree.into());
    }
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let trees = entries(cache.join("loopfs/series")).flat_map(entries).map(|base| base.join("linux"));
    trees
        .filter(|tree| header(tree, HEADERS[0]).exists())
        .max_by_key(|tree| fs::metadata(tree).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH))
}

fn header(tree: &Path, name: &str) -> PathBuf {
    tree.join(format!("include/uapi/linux/{name}.h"))
}

/// The ioctls of block devices in `text`: name, and type and number as the low 16 bits hold them.
fn ioctls(text: &str) -> Vec<(String, u32)> {
    text.lines().filter_map(ioctl).collect()
}

fn ioctl(line: &str) -> Option<(String, u32)> {
    let rest = line.trim().strip_prefix('#')?.trim_start().strip_prefix("define")?;
    let mut words = rest.split_whitespace();
    let name = words.next()?.to_owned();
    let value: String = words.collect();
    let code = if let Some(arguments) = value.strip_prefix("_IO") {
        let (_, arguments) = arguments.split_once('(')?;
        let mut arguments = arguments.split([',', ')']);
        let kind = match arguments.next()? {
            "0x12" => 0x12,
            "'p'" => u32::from(b'p'),
            // Others are no block device's, but for one.
            "0x15" if name == "FS_IOC_GETLBMD_CAP" => 0x15,
            _ => return None,
        };
        (kind << 8) | arguments.next()?.parse::<u32>().ok()?
    } else {
        let number = value.get(..6)?.to_ascii_lowercase();
        let number = u32::from_str_radix(number.strip_prefix("0x")?, 16).ok()?;
        let of_driver = matches!(number >> 8, 0x4c | 0x03) && (name.starts_with("LOOP_") || name.starts_with("HDIO_"));
        of_driver.then_some(number)?
    };
    Some((name, code))
}

#[test]
fn every_ioctl_of_the_kernels_headers_is_in_the_table() {
    let Some(tree) = tree() else {
        eprintln!("skipped: there is no kernel tree; `cargo xtask tree` makes one, LOOPFS_KERNEL_TREE names another");
        return;
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for name in HEADERS.into_iter().chain([COMMANDS]) {
        let path = header(&tree, name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (ioctl, code) in ioctls(&text) {
            count += 1;
            match TABLE.iter().find(|row| row.name == ioctl) {
                None => wrong.push(format!("{ioctl} of {name}.h is missing")),
                Some(row) if row.number & 0xffff != code => {
                    wrong.push(format!("{ioctl} is {code:#06x} in {name}.h, and {:#x} in the table", row.number));
                }
                Some(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "selftests/src/ioctl_table.rs and {} differ:\n{}", tree.display(), wrong.join("\n"));
    assert!(count > 80, "only {count} ioctls found in {}: are they written otherwise now?", tree.display());
}

#[test]
fn a_definition_is_read_in_all_its_forms() {
    let text = "#define BLKROSET   _IO(0x12,93)\t/* set */\n\
                # define BLKTRACESETUP2 _IOWR(0x12, 142, struct x)\n\
                #define IOC_PR_CLEAR\t\t_IOW('p', 205, struct pr_clear)\n\
                #define LOOP_SET_FD\t\t0x4C00\n\
                #define HDIO_DRIVE_CMD_AEB\tHDIO_DRIVE_TASK\n\
                #define FIFREEZE _IOWR('X', 119, int)\n\
                #define\tHDIO_GET_ADDRESS\t0x0310\t/* */\n";
    let expected = [
        ("BLKROSET", 0x125d),
        ("BLKTRACESETUP2", 0x128e),
        ("IOC_PR_CLEAR", 0x70cd),
        ("LOOP_SET_FD", 0x4c00),
        ("HDIO_GET_ADDRESS", 0x0310),
    ];
    assert_eq!(ioctls(text), expected.map(|(name, code)| (name.to_owned(), code)));
}
