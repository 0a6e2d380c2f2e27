systemd-nspawn --quiet --console=autopipe --register=no --keep-unit \
      --private-users=pick --private-users-ownership=off \
      --directory=/srv/rootfs --bind=/tmp sh -euc '
  mkdir /dev/loopfs
  mount -t loop loopfs /dev/loopfs
  ln -s loopfs/loop-control $(seq -f loopfs/loop%.0f 256 1023) /dev
  exec sh'
