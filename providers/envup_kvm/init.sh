#!/bin/busybox sh
# The first program of a machine: finds its disks by their serial numbers, and leaves for the program `first`.
export PATH=/bin
/bin/busybox --install -s /bin
fail() {
    echo "envup: boot: fatal: $*" >/dev/console
    sync
    poweroff -f
}
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "envup: boot: begun" >/dev/console
while read -r module; do
    insmod "/lib/$module.ko" || echo "envup: boot: the kernel refuses module $module" >/dev/console
done </lib/order
case " $(cat /proc/cmdline) " in *" envup.probe "*) poweroff -f ;; esac
disk() {
    for file in /sys/block/*/serial; do
        [ "$(cat "$file")" = "$1" ] || continue
        file=${file%/serial}
        echo "/dev/${file##*/}"
        return
    done
    fail "there is no disk $1"
}
mount -t ext4 -o rw "$(disk envup-root)" /root || fail "the root file system cannot be mounted"
mount -t ext4 -o ro "$(disk envup-kit)" /kit || fail "the guest kit cannot be mounted"
mkdir -p /root/dev /root/proc /root/sys /root/run || fail "the root file system cannot be written"
mount -t tmpfs -o mode=755,nosuid,nodev run /root/run
mkdir -m 700 -p /root/run/envup/kit
mount --move /kit /root/run/envup/kit
mount -t tmpfs -o mode=700,nosuid,nodev,size=4m facts /root/run/envup/kit/facts
tar -xf "$(disk envup-facts)" -C /root/run/envup/kit/facts || fail "what the host says cannot be read"
mount --bind /dev /root/run/envup/kit/dev
for directory in dev proc sys; do
    mount --move "/$directory" "/root/$directory"
done
cp -r /programs /root/run/envup/programs
envup=/run/envup
python=$(cat /root$envup/kit/python.line)
exec switch_root -c /dev/console /root $python "$envup/programs/envup/namespaces/runner.py" \
    "$envup/programs/envup_kvm" first
