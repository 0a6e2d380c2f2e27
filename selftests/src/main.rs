//! `loopfs-selftests`: PID 1 of a test guest, or a program on a real machine.

fn main() {
    println!("{} cases", loopfs_selftests::cases::all().len());
}
