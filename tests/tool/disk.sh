# SPDX-License-Identifier: MIT
# Disks: what a program writes is in the file, bad files are refused in one line, errors of the device reach the program.
image=$work/image
fresh() { rm -f "$image" && truncate -s 4M "$image"; }
bytes() { dd if="$image" bs=1 skip="$1" count="$2" 2>/dev/null; }

fresh
check disk_is_written 0 'kept' run --disk "$image" -- busybox sh -c 'echo kept | dd of=/dev/vda bs=5 seek=200 2>/dev/null; dd if=/dev/vda bs=5 skip=200 count=1 2>/dev/null'
check disk_file_has_it 0 'kept' bytes 1000 5
check disk_is_read_by_the_next_run 0 'kept' run --cpus 2 --route remote --disk "$image" -- busybox dd if=/dev/vda bs=5 skip=200 count=1
check disk_of_microvm 0 'kept' run --machine microvm --disk "$image" -- busybox dd if=/dev/vda bs=5 skip=200 count=1
# A whole image, with no sync before the end.
head -c 4194304 /dev/urandom >"$work/random"
check disk_takes_4_mib 0 '' run --disk "$image" --disk "$work/random,ro" -- busybox dd if=/dev/vdb of=/dev/vda bs=100k
check disk_has_4_mib 0 '' cmp "$work/random" "$image"
fresh
check disk_read_only 1 '' run --disk "$image,ro" -- busybox sh -c 'echo x >/dev/vda'
check disk_read_only_unchanged 0 '' cmp -n 4194304 "$image" /dev/zero
cp "$image" "$work/with,comma"
check disk_with_comma 0 '8192' run --disk "$work/with,comma" -- busybox sh -c 'while read a b c d; do [ "$d" = vda ] && echo $((c * 2)); done </proc/partitions'
# Another name of another file is another disk, in the order of the options.
check disk_order 0 '8192 2048' sh -c "truncate -s 1M '$work/small'; '$farcall' run --timeout $limit --disk '$image' --disk '$work/small' -- busybox sh -c 'echo \$(while read a b c d; do [ -n \"\$c\" ] && [ \"\$d\" != name ] && echo \$((c * 2)); done </proc/partitions)'"

one_line disk_missing 2 '' run --disk "$work/no-such-file" -- busybox true
one_line disk_directory 2 '' run --disk "$work" -- busybox true
one_line disk_device 2 '' run --disk /dev/null -- busybox true
: >"$work/empty"
one_line disk_empty 2 '' run --disk "$work/empty" -- busybox true
head -c 1000 /dev/zero >"$work/odd"
one_line disk_odd_size 2 '' run --disk "$work/odd" -- busybox true
one_line disk_twice 2 '' run --disk "$image" --disk "$image,ro" -- busybox true
one_line disk_no_name 2 '' run --disk ,ro -- busybox true
one_line disk_server 2 '' run --route server --disk "$image" -- busybox true
one_line disk_native 2 '' run --native examples/hello --disk "$image"
if [ "$(id -u)" != 0 ]; then
    cp "$image" "$work/locked" && chmod 0 "$work/locked"
    one_line disk_unreadable 2 '' run --disk "$work/locked" -- busybox true
fi
# In use: by another run, which says when its program has begun; readers share.
mkfifo "$work/begun"
"$farcall" run --timeout $limit --disk "$image" -- busybox sh -c 'echo begun; exec sleep 1000' >"$work/begun" 2>/dev/null &
user=$!
read -r begun <"$work/begun"
one_line disk_in_use 2 '' run --disk "$image" -- busybox true
one_line disk_in_use_for_readers 2 '' run --disk "$image,ro" -- busybox true
kill $user
wait $user 2>/dev/null
check disk_free_again 0 '' run --disk "$image" -- busybox true
"$farcall" run --timeout $limit --disk "$image,ro" -- busybox sh -c 'echo begun; exec sleep 1000' >"$work/begun" 2>/dev/null &
user=$!
read -r begun <"$work/begun"
check disk_readers_share 0 '' run --disk "$image,ro" -- busybox true
one_line disk_in_use_by_readers 2 '' run --disk "$image" -- busybox true
kill $user
wait $user 2>/dev/null

# Whatever the device offers: blocks of 4 KiB, no indirect descriptors and a small ring, one queue for all CPUs.
device() { # OPTIONS RUN...
    options=$1
    shift
    run --cpus 2 --qemu-arg=-drive --qemu-arg="if=none,id=other,format=raw,file=$image" --qemu-arg=-device \
        --qemu-arg="virtio-blk-pci,disable-legacy=on,drive=other,$options" "$@"
}
for options in logical_block_size=4096,physical_block_size=4096 indirect_desc=off,event_idx=off,queue-size=8 num-queues=1,event_idx=off; do
    cp "$work/random" "$image"
    check "disk_device_${options%%=*}" 0 '' device $options -- busybox sh -c 'for i in 1 2 3 4 5 6; do
        dd if=/dev/zero of=/dev/vda bs=1000 seek=$((i * 100)) count=50 2>/dev/null & done; wait
        dd if=/dev/vda of=/dev/vda bs=100k count=10 skip=10 seek=20 2>/dev/null'
    cp "$work/random" "$work/expected"
    for i in 1 2 3 4 5 6; do dd if=/dev/zero of="$work/expected" bs=1000 seek=$((i * 100)) count=50 conv=notrunc 2>/dev/null; done
    dd if="$work/random" of="$work/expected" bs=100k count=10 skip=10 seek=20 conv=notrunc 2>/dev/null
    check "disk_device_${options%%=*}_result" 0 '' cmp "$image" "$work/expected"
done

# QEMU injects errors: at sector 8 for reads, at 16 for writes. The program gets EIO, the rest works.
printf '[inject-error]\nevent = "read_aio"\nsector = "8"\nerrno = "5"\n[inject-error]\nevent = "write_aio"\nsector = "16"\nerrno = "5"\n' >"$work/errors"
printf '[inject-error]\nevent = "none"\niotype = "flush"\nerrno = "5"\n' >"$work/flush_errors"
errors=$work/errors
broken() {
    run --qemu-arg=-drive --qemu-arg="if=none,id=broken,format=raw,file=blkdebug:$errors:$image" \
        --qemu-arg=-device --qemu-arg=virtio-blk-pci,disable-legacy=on,drive=broken,rerror=report,werror=report "$@"
}
check disk_read_error 0 '1 0 1 0' broken -- busybox sh -c '
    dd if=/dev/vda of=/dev/null bs=512 skip=8 count=1 2>/dev/null; a=$?
    dd if=/dev/vda of=/dev/null bs=512 skip=9 count=1 2>/dev/null; b=$?
    dd if=/dev/zero of=/dev/vda bs=512 seek=16 count=1 2>/dev/null; c=$?
    dd if=/dev/zero of=/dev/vda bs=512 seek=17 count=1 2>/dev/null; echo $a $b $c $?'
check disk_error_is_named 1 '' broken -- busybox dd if=/dev/vda of=/dev/null bs=512 skip=8 count=1
if grep -q 'Input/output error\|I/O error' "$work/err"; then echo 'tool disk_error_text ok'; else echo "tool disk_error_text FAIL $(tail -n 1 "$work/err")"; fi
# A flush that fails: fsync says so; at the end of the program, the tool.
errors=$work/flush_errors
check disk_fsync_error 1 '' broken -- busybox dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync
one_line disk_last_flush 73 '' broken -- busybox sh -c 'dd if=/dev/zero of=/dev/vda bs=512 count=1 2>/dev/null'
one_line disk_last_flush_keeps_an_error 3 '' broken -- busybox sh -c 'dd if=/dev/zero of=/dev/vda bs=512 count=1 2>/dev/null; exit 3'
