mkdir /dev/loopfs
mount -t loop loopfs /dev/loopfs
ln -s loopfs/loop-control $(seq -f loopfs/loop%.0f 256 1023) /dev
