mkdir bundle
cat > bundle/config.json <<END
{
  "ociVersion": "1.0.2",
  "root": { "path": "/srv/rootfs" },
  "process": {
    "cwd": "/",
    "user": { "uid": 0, "gid": 0 },
    "env": [ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" ],
    "args": [ "sh", "-euc", "ln -s loopfs/loop-control \$(seq -f loopfs/loop%.0f 256 1023) /dev; exec sh" ]
  },
  "linux": {
    "namespaces": [ { "type": "user" }, { "type": "mount" }, { "type": "pid" } ],
    "uidMappings": [ { "containerID": 0, "hostID": $(id -u), "size": 1 } ],
    "gidMappings": [ { "containerID": 0, "hostID": $(id -g), "size": 1 } ]
  },
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/sys", "type": "none", "source": "/sys", "options": [ "rbind", "ro" ] },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": [ "mode=755" ] },
    { "destination": "/dev/loopfs", "type": "loop", "source": "loopfs" },
    { "destination": "/tmp", "type": "none", "source": "/tmp", "options": [ "rbind" ] }
  ]
}
END
crun --cgroup-manager=disabled run --bundle bundle loops
