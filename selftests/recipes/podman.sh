podman run --interactive --rm --network none --cgroups disabled --volume /tmp:/tmp \
      --cap-add SYS_ADMIN --security-opt unmask=/sys/dev/block \
      --rootfs /srv/rootfs sh -euc '
  mkdir /dev/loopfs
  mount -t loop loopfs /dev/loopfs
  ln -s loopfs/loop-control $(seq -f loopfs/loop%.0f 256 1023) /dev
  exec sh'
