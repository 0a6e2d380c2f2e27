cat > lxc.conf <<END
lxc.rootfs.path = dir:/srv/rootfs
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed sys:mixed
lxc.mount.entry = /tmp tmp none bind 0 0
lxc.mount.entry = loopfs dev/loopfs loop create=dir 0 0
END
lxc-execute --name loops --rcfile lxc.conf -- sh -euc '
  ln -s loopfs/loop-control $(seq -f loopfs/loop%.0f 256 1023) /dev
  exec sh'
