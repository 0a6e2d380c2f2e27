# Loop devices by way of a directory's descriptor: what a sandbox is handed instead of paths.
import fcntl, os, stat, sys

LOOP_SET_FD, LOOP_CLR_FD, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82

directory = os.open(sys.argv[1], os.O_DIRECTORY | os.O_PATH)
image = os.open(sys.argv[2], os.O_RDWR)
os.chdir("/")
control = os.open("loop-control", os.O_RDWR, dir_fd=directory)
number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
device = os.open(f"loop{number}", os.O_RDWR, dir_fd=directory)
node = os.fstat(device)
assert stat.S_ISBLK(node.st_mode), oct(node.st_mode)
assert (os.major(node.st_rdev), os.minor(node.st_rdev)) == (7, number), node.st_rdev
fcntl.ioctl(device, LOOP_SET_FD, image)
os.pwrite(device, b"through a descriptor", 0)
os.fsync(device)
assert os.pread(image, 20, 0) == b"through a descriptor"
fcntl.ioctl(device, LOOP_CLR_FD)
