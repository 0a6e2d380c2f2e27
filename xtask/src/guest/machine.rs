//! The guest's machine, as QEMU's command line.
//!
//! It is the `microvm` of QEMU: no PCI, no ACPI, no firmware tables but an MP table from qboot, so the
//! kernel starts by PVH in under a second without KVM. Every word of the kernel's command line is
//! here for a reason that stands beside it.

use std::{
    ffi::OsString,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

use loopfs_protocol::port;

use crate::guest::accel::Accel;

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel, a `vmlinux` with `CONFIG_PVH=y`.
    pub kernel: PathBuf,
    /// The root, a newc archive.
    pub initramfs: PathBuf,
    /// A file system that becomes the guest's root in place of the initramfs; the guest cannot write to it.
    pub disk: Option<PathBuf>,
    /// How its instructions are run.
    pub accel: Accel,
    /// How many CPUs it has.
    pub cpus: usize,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// Kernel messages below this level show on the console before PID 1 turns all of them on.
    pub log_level: u8,
    /// More words for the kernel's command line.
    pub append: Option<String>,
    /// Ports for the standard streams of a program, beside the one for commands.
    pub with_streams: bool,
    /// Wait for a debugger on this socket.
    pub gdb: Option<PathBuf>,
}

/// The descriptors QEMU inherits, one for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The serial console.
    pub console: RawFd,
    /// Commands and results.
    pub control: RawFd,
    /// QEMU's own control channel.
    pub qmp: RawFd,
    /// Standard input, output and error of a program.
    pub streams: Option<[RawFd; 3]>,
    /// The state to start from, in place of a boot.
    pub incoming: Option<RawFd>,
}

impl Machine {
    /// QEMU's arguments.
    pub fn arguments(&self, fds: &Descriptors) -> Vec<OsString> {
        let mut line = Arguments::default();
        // Nothing comes from the person's or the distribution's settings.
        line.flag("-nodefaults").flag("-no-user-config").pair("-display", "none");
        // A guest that reboots has ended; QEMU must not start it over.
        line.flag("-no-reboot");
        line.pair("-name", "loopfs");
        line.pair("-M", "microvm,acpi=off,x-option-roms=off");
        line.pair("-accel", self.accel.as_argument()).pair("-cpu", self.accel.cpu_model());
        if let Some(icount) = self.accel.icount() {
            line.pair("-icount", icount);
        }
        line.pair("-smp", &self.cpus.to_string()).pair("-m", &self.memory_mib.to_string());

        line.channel("console", fds.console).pair("-serial", "chardev:console");
        line.channel("qmp", fds.qmp).pair("-mon", "chardev=qmp,mode=control");
        line.pair("-device", "virtio-serial-device,max_ports=5");
        line.port("control", fds.control, port::CONTROL);
        if let Some([stdin, stdout, stderr]) = fds.streams {
            line.port("stdin", stdin, port::STDIN);
            line.port("stdout", stdout, port::STDOUT);
            line.port("stderr", stderr, port::STDERR);
        }
        if let Some(disk) = &self.disk {
            let mut drive = OsString::from("if=none,id=root,format=raw,read-only=on,file=");
            drive.push(doubled_commas(disk));
            line.0.extend(["-drive".into(), drive]);
            line.pair("-device", "virtio-blk-device,drive=root");
        }
        if let Some(fd) = fds.incoming {
            line.pair("-incoming", &format!("fd:{fd}"));
        }
        if let Some(socket) = &self.gdb {
            let mut address = OsString::from("unix:");
            address.push(doubled_commas(socket));
            address.push(",server=on,wait=off");
            line.0.extend(["-gdb".into(), address]);
            line.flag("-S");
        }
        line.0.extend(["-kernel".into(), self.kernel.clone().into()]);
        line.0.extend(["-initrd".into(), self.initramfs.clone().into()]);
        line.pair("-append", &self.kernel_command_line());
        line.0
    }

    fn kernel_command_line(&self) -> String {
        let mut words = vec![
            // The serial port: it works from the first instruction to the last words of a panic.
            "console=ttyS0".to_owned(),
            // Printing is what a boot without KVM spends its time with.
            format!("loglevel={}", self.log_level),
            // A panic ends the guest at once, and so QEMU, which is told not to reboot.
            "panic=-1".to_owned(),
            // A triple fault: the only reset that needs no ACPI and no keyboard controller.
            "reboot=t".to_owned(),
            // After an oops locks may be held for ever; what would follow says nothing.
            "oops=panic".to_owned(),
            // The marks around each case must not be dropped for coming too fast.
            "printk.devkmsg=on".to_owned(),
            // On a busy host the timer interrupts of the test at boot come too late, and its verdict is a panic.
            "no_timer_check".to_owned(),
            // All of KASAN's findings, not only the first.
            "kasan_multi_shot".to_owned(),
        ];
        if let Some(khz) = self.accel.tsc_khz() {
            // Without it the kernel measures against an emulated timer, which takes time and on a busy host fails:
            // its clock then loses ticks. The guest's counter is the host's.
            words.push(format!("tsc_early_khz={khz} tsc=reliable"));
        }
        if self.disk.is_some() {
            // The kernel puts what it does not know into PID 1's environment.
            words.push(format!("{}=/dev/vda", loopfs_protocol::ROOT_VARIABLE));
        }
        if self.gdb.is_some() {
            // So that the addresses in vmlinux are the ones that run.
            words.push("nokaslr".to_owned());
        }
        words.extend(self.append.clone());
        words.join(" ")
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn pair(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.extend([name.into(), value.into()]);
        self
    }

    /// A channel over a connected socket that QEMU inherits.
    fn channel(&mut self, id: &str, fd: RawFd) -> &mut Self {
        self.pair("-chardev", &format!("socket,id={id},fd={fd}"))
    }

    fn port(&mut self, id: &str, fd: RawFd, name: &str) {
        self.channel(id, fd).pair("-device", &format!("virtserialport,chardev={id},name={name}"));
    }
}

/// QEMU's way to write a comma inside of a value.
fn doubled_commas(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            kernel: "/a path/vmlinux".into(),
            initramfs: "/tmp/root.cpio".into(),
            disk: None,
            accel: Accel::Tcg { tsc_khz: Some(2_596_000) },
            cpus: 2,
            memory_mib: 512,
            log_level: 5,
            append: None,
            with_streams: false,
            gdb: None,
        }
    }

    const FDS: Descriptors = Descriptors { console: 10, control: 11, qmp: 12, streams: None, incoming: None };

    fn words(machine: &Machine, fds: &Descriptors) -> Vec<String> {
        machine.arguments(fds).into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_path_with_spaces_stays_one_word() {
        let words = words(&machine(), &FDS);
        let at = words.iter().position(|word| word == "-kernel").unwrap();
        assert_eq!(words[at + 1], "/a path/vmlinux");
    }

    #[test]
    fn streams_are_ports_only_where_asked_for() {
        let without = words(&machine(), &FDS);
        let with = words(&machine(), &Descriptors { streams: Some([13, 14, 15]), ..FDS });
        let ports = |words: &[String]| words.iter().filter(|w| w.starts_with("virtserialport,")).count();
        assert_eq!((ports(&without), ports(&with)), (1, 4));
        assert!(with.contains(&"virtserialport,chardev=stderr,name=loopfs.stderr".to_owned()), "{with:?}");
    }

    #[test]
    fn a_debugger_gets_its_socket_and_fixed_addresses() {
        let machine = Machine { gdb: Some("/tmp/a,b".into()), ..machine() };
        let words = words(&machine, &FDS);
        assert!(words.contains(&"unix:/tmp/a,,b,server=on,wait=off".to_owned()), "{words:?}");
        assert!(words.last().unwrap().ends_with(" nokaslr"), "{words:?}");
    }

    #[test]
    fn a_disk_is_read_only_and_the_guest_is_told_of_it() {
        let machine = Machine { disk: Some("/c/a,b".into()), ..machine() };
        let words = words(&machine, &FDS);
        assert!(words.iter().any(|word| word.ends_with("read-only=on,file=/c/a,,b")), "{words:?}");
        assert!(words.last().unwrap().contains(" LOOPFS_ROOT=/dev/vda"), "{words:?}");
    }

    #[test]
    fn the_persons_words_come_last_so_that_they_count() {
        let machine = Machine { append: Some("loglevel=8 nosmp".to_owned()), ..machine() };
        assert!(machine.kernel_command_line().ends_with(" loglevel=8 nosmp"));
    }

    #[test]
    fn a_machine_that_counts_has_a_clock_of_one_tick_an_instruction() {
        let counted = Machine { accel: Accel::Counted, ..machine() };
        let words = words(&counted, &FDS);
        let at = words.iter().position(|word| word == "-icount").unwrap();
        assert_eq!(words[at + 1], "shift=0,sleep=off");
        let kernel = counted.kernel_command_line();
        assert!(kernel.split(' ').any(|word| word == loopfs_protocol::COUNTED_CLOCK), "{kernel}");
        assert!(!super::tests::words(&machine(), &FDS).contains(&"-icount".to_owned()));
    }

    #[test]
    fn the_clock_is_told_only_where_it_is_known() {
        assert!(machine().kernel_command_line().contains("tsc_early_khz=2596000 tsc=reliable"));
        let machine = Machine { accel: Accel::Kvm, ..machine() };
        assert!(!machine.kernel_command_line().contains("tsc"));
    }
}
