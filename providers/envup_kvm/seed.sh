# Run by cloud-init at each boot of a machine whose disk boots by itself: leads to the kit's program `disk_boot`.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
envup=/run/envup
[ -e $envup/kit/python ] && exit 0
fail() {
    echo "envup: boot: fatal: $*" >/dev/console
    exit 1
}
for module in virtio_blk virtio_console ext4; do
    modprobe -q $module
done
disk() {
    for file in /sys/block/*/serial; do
        [ "$(cat "$file")" = "$1" ] || continue
        file=${file%/serial}
        echo "/dev/${file##*/}"
        return
    done
    fail "there is no disk $1"
}
mkdir -p $envup
mkdir -m 700 -p $envup/kit
mount -t ext4 -o ro "$(disk envup-kit)" $envup/kit || fail "the guest kit cannot be mounted; it needs ext4"
busybox=$envup/kit/busybox
mount -t tmpfs -o mode=700,nosuid,nodev,size=4m facts $envup/kit/facts || fail "there is no tmpfs"
$busybox tar -xf "$(disk envup-facts)" -C $envup/kit/facts || fail "what the host says cannot be read"
mount --bind /dev $envup/kit/dev || fail "the kit has no devices"
cd $envup || fail "$envup cannot be entered"
$busybox zcat "$(disk envup-programs)" | $busybox cpio -id 2>/dev/null || fail "envup's programs cannot be read"
$envup/kit/python $envup/programs/envup/namespaces/runner.py $envup/programs/envup_kvm disk_boot >/dev/console 2>&1 ||
    fail "envup's agent does not start"
