//! Getting the source through the command a user types.

use std::{fs, path::Path, process::Command};

use crate::scene::{Scene, outcome};

/// A scene where git and the unpackers are real, and nothing can be downloaded.
fn scene() -> Scene {
    let scene = Scene::new();
    for name in ["git", "xz", "tar"] {
        scene.real(name);
    }
    scene
        .tool("apt-get", "echo 'E: Could not resolve the mirror' >&2; exit 100")
        .tool("curl", "echo 'curl: (6) Could not resolve host' >&2; exit 6");
    scene
}

/// The files of a small kernel tree, in the folder `name`.
fn tree(scene: &Scene, name: &str) {
    scene.file(&format!("{name}/Makefile"), "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n");
    scene.file(&format!("{name}/fs/inode.c"), &"int a;\n".repeat(50_000));
}

/// `linux.tar.xz` of [`tree`] in the scene.
fn tarball(scene: &Scene) -> Vec<u8> {
    tree(scene, "linux-7.3.4");
    let made =
        Command::new("tar").args(["-cJf", "linux.tar.xz", "linux-7.3.4"]).current_dir(scene.path("")).status().unwrap();
    assert!(made.success());
    fs::read(scene.path("linux.tar.xz")).unwrap()
}

fn get(scene: &Scene, from: Option<&Path>) -> (String, Option<i32>) {
    let mut command = scene.xtask();
    command.arg("tree");
    if let Some(from) = from {
        command.arg("--from").arg(from);
    }
    outcome(&mut command)
}

#[test]
fn without_a_network_every_candidate_is_told_and_what_to_do() {
    let scene = scene();
    let (told, code) = get(&scene, None);
    assert_eq!(code, Some(2), "{told}");
    for part in [
        "Debian's linux-source-7.3",
        "E: Could not resolve the mirror",
        "kernel.org",
        "curl: (6) Could not resolve host",
        "point --from at",
    ] {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    assert!(scene.cached("base").is_empty());
}

#[test]
fn a_tarball_with_another_hash_is_not_used_and_the_next_candidate_is_tried() {
    let scene = scene();
    tarball(&scene);
    // apt delivers something, and it has the tarball of the right name, but not the right one.
    scene
        .tool("apt-get", "for last; do :; done; [ $last = update ] || touch $PWD/linux-source.deb")
        .tool("dpkg-deb", "cd $SCENE && tar -cf - ./usr");
    fs::create_dir_all(scene.path("usr/src")).unwrap();
    fs::rename(scene.path("linux.tar.xz"), scene.path("usr/src/linux-source-7.3.tar.xz")).unwrap();
    let (told, code) = get(&scene, None);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("but it should be"), "{told}");
    assert!(told.contains("76df1affb19f24926949369be1d74b60071c963c598ce8780bddd4bbf0fc3bc4"), "{told}");
    assert!(told.contains("cannot get Linux 7.3.4 from kernel.org"), "{told}");
    assert!(scene.cached("base").is_empty());
}

#[test]
fn a_kernel_org_tarball_is_checked_against_the_published_list() {
    let scene = scene();
    let bytes = tarball(&scene);
    let hash = xtask::cache::sha256(bytes.as_slice(), |_| ()).unwrap();
    let curl = |hash: &str| {
        format!(
            "for last; do :; done\ncase $last in\n*sha256sums.asc) echo '{hash}  linux-7.3.4.tar.xz';;\n\
             *) while [ $1 != --output ]; do shift; done; cp $SCENE/linux.tar.xz $2;;\nesac"
        )
    };
    scene.tool("curl", &curl(&"0".repeat(64)));
    let (told, _) = get(&scene, None);
    assert!(told.contains("but it should be\n  0000"), "{told}");
    assert!(scene.cached("base").is_empty());

    scene.tool("curl", &curl(&hash));
    let (told, _) = get(&scene, None);
    assert!(told.contains("unpack linux-7.3.4.tar.xz: 2 files"), "{told}");
    assert_eq!(scene.cached("base").len(), 1);
}

#[test]
fn a_truncated_tarball_is_told_and_leaves_no_entry() {
    let scene = scene();
    let bytes = tarball(&scene);
    let cut = scene.path("cut.tar.xz");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let (told, code) = get(&scene, Some(&cut));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("cut.tar.xz") && told.contains("Unexpected end of input"), "{told}");
    assert!(scene.cached("base").is_empty());
}

#[test]
fn a_truncated_plain_tar_is_told_and_leaves_no_entry() {
    let scene = scene();
    tree(&scene, "linux");
    let tar = scene.path("linux.tar");
    Command::new("tar").arg("-cf").arg(&tar).arg("linux").current_dir(scene.path("")).status().unwrap();
    let bytes = fs::read(&tar).unwrap();
    fs::write(&tar, &bytes[..100_000]).unwrap();
    let (told, code) = get(&scene, Some(&tar));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("linux.tar") && told.contains("bytes early"), "{told}");
    assert!(scene.cached("base").is_empty());
}

#[test]
fn what_is_no_kernel_is_refused() {
    let scene = scene();
    scene.file("novel.txt", "It was a dark and stormy night.");
    fs::create_dir(scene.path("empty")).unwrap();
    for (from, expected) in [
        ("novel.txt", "not a tarball"),
        ("empty", "neither a git tree, nor a tarball, nor a folder with a kernel's source"),
        ("nothing here", "No such file"),
    ] {
        let (told, code) = get(&scene, Some(&scene.path(from)));
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(expected), "{told}");
    }
    assert!(scene.cached("base").is_empty());
}

#[test]
fn a_folder_a_tarball_and_a_git_tree_give_the_same_files() {
    let scene = scene();
    tarball(&scene);
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(scene.path("linux-7.3.4")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let from = |path: &Path| xtask::source::base(&scene.ctx(), Some(path)).unwrap();
    let tree_of = |base: &xtask::source::Base| {
        git(&["--git-dir", base.repo.join("").to_str().unwrap(), "rev-parse", &format!("{}^{{tree}}", base.commit)])
    };
    let tarball = from(&scene.path("linux.tar.xz"));
    let folder = from(&scene.path("linux-7.3.4"));
    assert_eq!(tree_of(&tarball), tree_of(&folder));
    assert_eq!(tarball.version, "7.3.4");

    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "v"]);
    let tree = from(&scene.path("linux-7.3.4"));
    assert_eq!(tree.repo, scene.path("linux-7.3.4").canonicalize().unwrap());
    assert_eq!(git(&["rev-parse", "HEAD^{tree}"]), tree_of(&folder));
}

#[test]
fn a_folder_that_changes_is_another_base() {
    let scene = scene();
    tree(&scene, "linux");
    let from = || xtask::source::base(&scene.ctx(), Some(&scene.path("linux"))).unwrap();
    let first = from();
    assert_eq!(from(), first);
    scene.file("linux/fs/inode.c", "int b;\n");
    assert_ne!(from().commit, first.commit);
}

#[test]
fn a_folder_that_was_built_in_is_refused_with_what_to_do() {
    let scene = scene();
    tree(&scene, "linux");
    scene.file("linux/.config", "");
    let (told, code) = get(&scene, Some(&scene.path("linux")));
    assert_eq!(code, Some(2));
    assert!(told.contains("make mrproper"), "{told}");
}

#[test]
fn a_path_with_spaces_can_be_given() {
    let scene = scene();
    tree(&scene, "my own/linux tree");
    let base = xtask::source::base(&scene.ctx(), Some(&scene.path("my own/linux tree"))).unwrap();
    assert_eq!(base.version, "7.3.4");
}

#[test]
fn a_full_disk_while_unpacking_is_told_and_leaves_no_entry() {
    let scene = scene();
    tree(&scene, "linux-7.3.4");
    // What does not compress: 4 MB on a disk of one.
    let noise: Vec<u8> = (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(scene.path("linux-7.3.4/noise"), noise).unwrap();
    fs::create_dir(scene.cache()).unwrap();
    // A disk of its own, in a namespace of its own: no privilege is needed where the machine allows that.
    let script = "mount -t tmpfs -o size=1m none \"$LOOPFS_CACHE\" && \"$@\"; code=$?; \
                  ls \"$LOOPFS_CACHE\"/base >&2; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_xtask")).args(["tree", "--from"]).arg(scene.path("linux-7.3.4"));
    command.env("LOOPFS_CACHE", scene.cache());
    let possible = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no user namespaces for us on this machine");
        return;
    }
    let (told, code) = outcome(&mut command);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("the disk that holds") && told.contains("is full: free some space"), "{told}");
    assert!(!told.contains(".partial"), "{told}");
}

/// A mirror that has the package in a later version, which has no hash in `patches/base.toml`.
const LATER_APT: &str = r#"
case "$*" in
*=*linux-source-7.3=*|*download*linux-source-7.3=*) echo "E: Version '1' for 'linux-source-7.3' was not found" >&2; exit 100;;
*download*linux-source-7.3*) touch linux-source-7.3_7.3.9_all.deb;;
esac
"#;

#[test]
fn when_the_exact_package_is_gone_the_newest_of_the_series_is_taken() {
    let scene = scene();
    tree(&scene, "linux-7.3.9");
    let pack = "mkdir -p usr/src && tar -cJf usr/src/linux-source-7.3.tar.xz linux-7.3.9 && tar -cf fsys.tar ./usr";
    assert!(Command::new("sh").args(["-c", pack]).current_dir(scene.path("")).status().unwrap().success());
    scene.tool("apt-get", LATER_APT).tool("dpkg-deb", "cat $SCENE/fsys.tar");
    let (told, _) = get(&scene, None);
    assert!(told.contains("the newest linux-source-7.3: 2 files") || told.contains("unpack linux-source"), "{told}");
    assert!(!told.contains("cannot obtain the source"), "{told}");
    assert_eq!(scene.cached("base").len(), 1, "{told}");
}
