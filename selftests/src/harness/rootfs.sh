# A root for containers at /srv/rootfs, made by hand of what the host has.
mkdir -p /srv/rootfs
cd /srv/rootfs
mkdir dev proc sys tmp run var root usr etc
ln -s usr/bin usr/sbin usr/lib usr/lib64 .
mount --bind /usr usr
cp /etc/passwd /etc/group /etc/os-release etc
ln -s /proc/mounts etc/mtab
